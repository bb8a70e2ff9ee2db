// SPDX-License-Identifier: MIT
// Records as people read them: a table for each suite, columns as wide as what stands in them.
#include "bench_run.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#define MOST_COLUMNS 16
#define CELL 48
#define MIB (1.0 / (1 << 20))

typedef char table_cell[CELL];

typedef struct table_column {
    const char *title;
    bool left;
    void (*print)(const bench_record *r, char *out);
} table_column;

static void put_number(char *out, double value, int decimals)
{
    if (isfinite(value))
        snprintf(out, CELL, "%.*f", decimals, value);
    else
        snprintf(out, CELL, "-");
}

// Three digits at least, so that small and large rates are told alike.
static void put_rate(char *out, double value)
{
    double size = fabs(value);
    int decimals = size < 0.1 ? 4 : size < 1.0 ? 3 : size < 10.0 ? 2 : size < 1000.0 ? 1 : 0;
    put_number(out, value, decimals);
}

#define TEXT_CELL(field)                                                                           \
    static void cell_##field(const bench_record *r, char *out)                                     \
    {                                                                                              \
        snprintf(out, CELL, "%.47s", r->field[0] ? r->field : "-");                                \
    }
#define RATE_CELL(field)                                                                           \
    static void cell_##field(const bench_record *r, char *out)                                     \
    {                                                                                              \
        put_rate(out, r->field);                                                                   \
    }
TEXT_CELL(test)
TEXT_CELL(model)
TEXT_CELL(quantization)
TEXT_CELL(kernel)
RATE_CELL(gb_per_s)
RATE_CELL(kernel_ms)
RATE_CELL(forward_ms)
RATE_CELL(backward_ms)
RATE_CELL(update_ms)
RATE_CELL(host_ms)
RATE_CELL(longest_submit_ms)

static void cell_gflops(const bench_record *r, char *out)
{
    put_rate(out, 1e3 * r->tflops);
}

static void cell_tokens(const bench_record *r, char *out)
{
    char rate[CELL], deviation[CELL];
    put_rate(rate, r->tokens_per_s);
    put_rate(deviation, r->tokens_per_s_stddev);
    snprintf(out, CELL, "%.20s +- %.20s", rate, deviation);
}

static void cell_share(const bench_record *r, char *out)
{
    put_number(out, 100.0 * r->peak_share, 1);
}

static void cell_memory(const bench_record *r, char *out)
{
    put_number(out, r->peak_bytes * MIB, 1);
}

static void cell_loss(const bench_record *r, char *out)
{
    put_number(out, r->loss, 5);
}

static void cell_loss_reference(const bench_record *r, char *out)
{
    put_number(out, r->loss_reference, 5);
}

static const table_column peak_columns[] = {{"peak", true, cell_test},
                                            {"GFLOP/s", false, cell_gflops},
                                            {"GB/s", false, cell_gb_per_s},
                                            {"ms", false, cell_kernel_ms},
                                            {0}};
static const table_column train_columns[] = {{"model", true, cell_model},
                                             {"type", true, cell_quantization},
                                             {"test", true, cell_test},
                                             {"tokens/s", false, cell_tokens},
                                             {"GFLOP/s", false, cell_gflops},
                                             {"% peak", false, cell_share},
                                             {"fwd ms", false, cell_forward_ms},
                                             {"bwd ms", false, cell_backward_ms},
                                             {"upd ms", false, cell_update_ms},
                                             {"host ms", false, cell_host_ms},
                                             {"submit ms", false, cell_longest_submit_ms},
                                             {"MiB", false, cell_memory},
                                             {"loss", false, cell_loss},
                                             {"reference", false, cell_loss_reference},
                                             {0}};
static const table_column generate_columns[] = {{"model", true, cell_model},
                                                {"type", true, cell_quantization},
                                                {"test", true, cell_test},
                                                {"tokens/s", false, cell_tokens},
                                                {"GB/s", false, cell_gb_per_s},
                                                {"% peak", false, cell_share},
                                                {"MiB", false, cell_memory},
                                                {0}};
// Of a plan's total: its part, among the records just before it.
static void put_part(const bench_record *total, const char *part, char *out)
{
    const bench_record *r = total;
    while (strcmp(r->kernel, part) != 0)
        r--;
    put_number(out, r->peak_bytes * MIB, 1);
}

#define PART_CELL(part)                                                                            \
    static void cell_##part(const bench_record *r, char *out)                                      \
    {                                                                                              \
        put_part(r, #part, out);                                                                   \
    }
PART_CELL(weights)
PART_CELL(adapter)
PART_CELL(optimizer)
PART_CELL(activations)
PART_CELL(scratch)

static const table_column memory_columns[] = {{"model", true, cell_model},
                                              {"type", true, cell_quantization},
                                              {"test", true, cell_test},
                                              {"weights", false, cell_weights},
                                              {"adapter", false, cell_adapter},
                                              {"optimizer", false, cell_optimizer},
                                              {"activations", false, cell_activations},
                                              {"scratch", false, cell_scratch},
                                              {"all, MiB", false, cell_memory},
                                              {0}};
static const table_column kernel_columns[] = {{"model", true, cell_model},
                                              {"type", true, cell_quantization},
                                              {"test", true, cell_test},
                                              {"kernel", true, cell_kernel},
                                              {"ms", false, cell_kernel_ms},
                                              {"GFLOP/s", false, cell_gflops},
                                              {"GB/s", false, cell_gb_per_s},
                                              {"% peak", false, cell_share},
                                              {0}};

typedef struct bench_table {
    const char *suite, *title;
    const table_column *columns;
    bool kernels; // rows about one kernel of a step
    bool verbose;
} bench_table;

static const bench_table tables[] = {
    {"peak", "What the device can do at best", peak_columns, true, false},
    {"kernels", "Kernels by themselves", kernel_columns, true, false},
    {"train", "Training, whole steps", train_columns, false, false},
    {"train", "Training, by kernel", kernel_columns, true, true},
    {"generate", "Generation: pp a prompt's tokens, tg those of an answer", generate_columns,
     false, false},
    {"memory", "Device memory that training would take, every layer computed again", memory_columns,
     false, false},
};

static bool belongs(const bench_table *t, const bench_record *r)
{
    return strcmp(r->suite, t->suite) == 0 && t->kernels == (r->kernel[0] != '\0');
}

static void print_row(const table_cell *cells, const table_column *columns, const int *widths)
{
    for (size_t i = 0; columns[i].title; i++)
        printf(columns[i].left ? "%s%-*s" : "%s%*s", i ? "  " : "",
               columns[i].left && !columns[i + 1].title ? 0 : widths[i], cells[i]);
    puts("");
}

static void print_table(const bench_run *run, const bench_table *t)
{
    table_cell *cells = xalloc((run->count + 1) * MOST_COLUMNS, sizeof(*cells));
    int widths[MOST_COLUMNS] = {0};
    size_t rows = 1;
    for (size_t i = 0; t->columns[i].title; i++)
        snprintf(cells[i], CELL, "%s", t->columns[i].title);
    for (size_t r = 0; r < run->count; r++) {
        if (!belongs(t, &run->records[r]))
            continue;
        for (size_t i = 0; t->columns[i].title; i++)
            t->columns[i].print(&run->records[r], cells[rows * MOST_COLUMNS + i]);
        rows++;
    }
    for (size_t r = 0; r < rows; r++)
        for (size_t i = 0; t->columns[i].title; i++) {
            int width = (int)strlen(cells[r * MOST_COLUMNS + i]);
            widths[i] = width > widths[i] ? width : widths[i];
        }
    if (rows > 1)
        printf("\n%s\n", t->title);
    for (size_t r = 0; rows > 1 && r < rows; r++)
        print_row(cells + r * MOST_COLUMNS, t->columns, widths);
    free(cells);
}

void bench_print_tables(const bench_run *run)
{
    const bench_record *s = &run->system;
    printf("%s\n%s %s, Vulkan %s, kernels %s\ninlay %s (%s), %s, %s\n", s->device, s->driver_name,
           s->driver_info, s->api_version, s->path, s->version, s->commit, s->os, s->cpu);
    for (size_t i = 0; i < COUNT(tables); i++)
        if (!tables[i].verbose || run->options->common.verbose)
            print_table(run, &tables[i]);
}
