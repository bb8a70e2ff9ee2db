// SPDX-License-Identifier: MIT
// What a driver's compiler makes of every kernel, in the specializations that training and
// generation ask for: registers, spills, occupancy, its estimate of cycles, and how much of the
// chip's peak the innermost loop could reach by a model of its machine code (isa.h). Nothing is
// run, so the lab's drivers of cards that are not there do.
//
// Cycles are the driver's own, and compare with the same driver's alone. RADV: of 64 invocations,
// each loop taken 8 times (4 in a loop, 2 in that), every unit as busy as the occupancy lets it.
// ANV: of a thread that runs alone, loops 10 times each. NVK: of every instruction once, loops too,
// without waiting for memory.
//
// usage: kernel_stats [OPTION...] [KERNEL...]
//   --check        all formats on a small model; exit 1 when a kernel spills registers
//   --all          every statistic, under the driver's names
//   --code         the machine code too
//   --csv          rows of bench/compile_matrix.csv, without the target
//   --list         the same, but what needs no compiling: kernel,spec,for,hash
//   --only FILE    only kernels whose hash is a line of it
//   --shaders FOLDER  kernels are compiled of this folder's sources
//   --chip NAME    the chip for the model, where the device's name does not say
#define _GNU_SOURCE
#include "isa.h"
#include "kernel_report.h"

#include "common.h"
#include "shaders.h"

#include <math.h>
#include <string.h>
#define XXH_INLINE_ALL
#include <xxhash.h>

typedef struct options {
    bool check, all, code, csv, list;
    const char *chip, *only_path, *shaders;
    char *only; // the file's text
    char **kernels;
    int kernel_count;
} options;

static const char *const csv_columns =
    "kernel,spec,for,hash,registers,scalars,spills,scratch,shared,occupancy,width,instructions,"
    "cycles,latency,share,limit,loop_cycles,loop_flops";

static void usage(void)
{
    fprintf(stderr, "usage: kernel_stats [--check] [--all] [--code] [--csv] [--list] [--only FILE]"
                    " [--chip NAME] [--shaders FOLDER] [KERNEL...]\n");
    exit(2);
}

static char *read_text(const char *path)
{
    char *text = NULL;
    size_t size = 0;
    FILE *f = fopen(path, "rb");
    if (!f || (getdelim(&text, &size, '\0', f) < 0 && ferror(f)))
        dev_check(INLAY_ERROR_IO, path);
    fclose(f);
    return text;
}

static options read_options(int argc, char **argv)
{
    options o = {0};
    int i = 1;
    for (; i < argc && strncmp(argv[i], "--", 2) == 0; i++) {
        const char *word = argv[i] + 2;
        bool *flag = strcmp(word, "check") == 0  ? &o.check
                     : strcmp(word, "all") == 0  ? &o.all
                     : strcmp(word, "code") == 0 ? &o.code
                     : strcmp(word, "csv") == 0  ? &o.csv
                     : strcmp(word, "list") == 0 ? &o.list
                                                 : NULL;
        const char **value = strcmp(word, "only") == 0      ? &o.only_path
                             : strcmp(word, "chip") == 0    ? &o.chip
                             : strcmp(word, "shaders") == 0 ? &o.shaders
                                                            : NULL;
        if (flag)
            *flag = true;
        else if (value && i + 1 < argc)
            *value = argv[++i];
        else
            usage();
    }
    if (o.only_path)
        o.only = read_text(o.only_path);
    o.kernels = argv + i;
    o.kernel_count = argc - i;
    return o;
}

// Of the SPIR-V and the constants: two that are equal need not be compiled twice.
static void hash_of(const inl_shader *shader, const stats_node *node, char hash[17])
{
    uint64_t code = XXH64(shader->code, shader->code_bytes, 0);
    uint64_t both =
        XXH64(node->spec, node->spec_count * sizeof(*node->spec), code + node->subgroup);
    snprintf(hash, 17, "%016llx", (unsigned long long)both);
}

static bool is_wanted(const options *o, const inl_shader *shader, const char *hash)
{
    bool wanted = o->kernel_count == 0;
    for (int i = 0; i < o->kernel_count; i++)
        wanted |= strcmp(o->kernels[i], shader->name) == 0;
    return wanted && (!o->only_path || (o->only && strstr(o->only, hash)));
}

static void print_spec(const stats_node *node)
{
    for (uint32_t i = 0; i < node->spec_count; i++)
        printf("%s%u", i ? " " : "", node->spec[i]);
}

// ---- rows of the CSV file

static void print_number(double value)
{
    if (isnan(value))
        printf(",");
    else
        printf(",%.10g", value);
}

static void print_csv(const inl_shader *shader, const stats_node *node, const char *hash,
                      const stats_report *report, const isa_model *model)
{
    printf("%s,", shader->name);
    print_spec(node);
    printf(",%s,%s", node->tag, hash);
    if (report) {
        for (int i = 0; i < STATS_FIELD_COUNT; i++)
            print_number(report->values[i]);
        if (model->known)
            printf(",%.3f,%s,%.4g,%.4g", model->share, isa_pipe_name(model->limit), model->cycles,
                   model->flops);
        else
            printf(",,,,");
    }
    printf("\n");
}

// ---- for people

static void print_table_head(const isa_chip *chip)
{
    if (chip)
        printf("Shares of peak are modelled from the machine code of the innermost loop, for %s.\n",
               chip->name);
    else
        printf("This chip is not in the table of tools/dev/isa.c: no share of peak is modelled.\n");
    printf("%-22s %-34s %5s %6s %6s %5s %6s %8s %8s  %s\n", "kernel [constants]", "", "regs",
           "spills", "shared", "occup", "instr", "cycles", "latency", "of peak, limited by");
}

static void print_cell(double value, int width)
{
    if (isnan(value))
        printf(" %*s", width, "-");
    else
        printf(" %*.0f", width, value);
}

static void print_row(const inl_shader *shader, const stats_node *node, const stats_report *report,
                      const isa_model *model)
{
    static const struct {
        stats_field field;
        int width;
    } cells[] = {{STATS_REGISTERS, 5}, {STATS_SPILLS, 6},       {STATS_SHARED, 6},
                 {STATS_OCCUPANCY, 5}, {STATS_INSTRUCTIONS, 6}, {STATS_CYCLES, 8},
                 {STATS_LATENCY, 8}};
    char spec[128] = "[";
    for (uint32_t i = 0; i < node->spec_count; i++)
        snprintf(spec + strlen(spec), sizeof(spec) - strlen(spec), "%s%u", i ? " " : "",
                 node->spec[i]);
    int rest = INL_MAX(0, 32 - (int)strlen(spec));
    printf("%-22s %s] %-*s", shader->name, spec, rest, node->tag);
    for (size_t i = 0; i < INL_COUNT(cells); i++)
        print_cell(report->values[cells[i].field], cells[i].width);
    if (model->known)
        printf("  %5.1f %% %s", 100.0 * model->share, isa_pipe_name(model->limit));
    printf("\n");
}

static bool spills(const stats_report *report)
{
    return report->values[STATS_SPILLS] > 0.0 || report->values[STATS_SCRATCH] > 0.0;
}

// Subgroups that a SIMD holds. ANV does not say: 8 threads an engine, 7 before Xe, as far as memory
// of workgroups lasts, of which 8 or 16 engines share 64 or 128 KiB. NVK counts those of an SM.
static double subgroups_of(const isa_chip *chip, const stats_report *report)
{
    double told = report->values[STATS_OCCUPANCY], shared = report->values[STATS_SHARED];
    if (chip->family != ISA_INTEL)
        return chip->family == ISA_NVIDIA ? told / 4.0 : told;
    bool old = chip->generation < 120, wide = chip->generation >= 120 && chip->generation < 200;
    double threads = old ? 7.0 : 8.0, engines = wide ? 16.0 : 8.0;
    if (shared > 0.0) {
        double groups = floor((old ? 65536.0 : 131072.0) / shared);
        double each = ceil(report->invocations / report->values[STATS_WIDTH]);
        threads = INL_MIN(threads, groups * each / engines);
    }
    return threads;
}

static isa_model model_of(const isa_chip *chip, const stats_report *report)
{
    double width = report->values[STATS_WIDTH];
    if (!chip || isnan(width))
        return (isa_model){0};
    return isa_model_of(chip, (uint32_t)width, report->invocations, subgroups_of(chip, report),
                        report->code);
}

// True: it spills.
static bool print_node(inl_gpu *gpu, const options *o, const isa_chip *chip, const stats_node *node)
{
    const inl_shader *shader = &inl_kernels[node->kernel];
    char hash[17];
    hash_of(shader, node, hash);
    if (!is_wanted(o, shader, hash))
        return false;
    if (o->list) {
        print_csv(shader, node, hash, NULL, NULL);
        return false;
    }
    stats_report report;
    stats_compile(gpu, shader, node, &report);
    isa_model model = model_of(chip, &report);
    if (o->csv)
        print_csv(shader, node, hash, &report, &model);
    else
        print_row(shader, node, &report, &model);
    if (o->all)
        printf("%s\n", report.listing);
    if (o->code)
        printf("%s\n", report.code ? report.code : "(the driver shows no machine code)");
    fflush(stdout);
    bool bad = spills(&report);
    stats_report_free(&report);
    return bad;
}

int main(int argc, char **argv)
{
    options o = read_options(argc, argv);
    inl_env env = inl_env_resolve(&(inlay_env){.log = dev_log});
    inl_gpu *gpu;
    dev_check(inl_gpu_create(&env, NULL, &gpu), "open the device");
    dev_use_shaders(gpu, o.shaders);
    const isa_chip *chip = isa_find_chip(o.chip, gpu->caps.name);
    if (o.csv || o.list)
        printf("# %s, %s\n%s\n", gpu->caps.name, gpu->caps.driver_info, csv_columns);
    else {
        printf("%s, %s\n", gpu->caps.name, gpu->caps.driver_info);
        print_table_head(chip);
    }
    stats_nodes nodes = {0};
    stats_collect(&env, &gpu->caps, o.check ? STATS_EVERY : STATS_REAL, &nodes);
    stats_device saved;
    uint32_t spilling = 0;
    if (!o.list)
        stats_open(gpu, &saved);
    for (size_t i = 0; i < nodes.count; i++)
        spilling += print_node(gpu, &o, chip, &nodes.list[i]);
    if (!o.list)
        stats_close(gpu, &saved);
    if (!o.csv && !o.list)
        printf("%s: %zu pipelines, %u spill\n", gpu->caps.name, nodes.count, spilling);
    free(nodes.list);
    free(o.only);
    dev_free_shaders(gpu);
    inl_gpu_destroy(&gpu);
    return o.check && spilling > 0;
}
