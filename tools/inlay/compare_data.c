// SPDX-License-Identifier: MIT
#include "compare_data.h"

#include "cli.h"
#include "files.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#define SCHEMA 1

double compare_number(const json_t *record, const char *field)
{
    const json_t *value = json_object_get(record, field);
    return json_is_number(value) ? json_number_value(value) : (double)NAN;
}

const char *compare_word(const json_t *record, const char *field)
{
    return json_string_value(json_object_get(record, field));
}

static bool same(const char *a, const char *b)
{
    return strcmp(a ? a : "", b ? b : "") == 0;
}

static bool is_suite(const json_t *record, const char *suite)
{
    return same(compare_word(record, "suite"), suite);
}

// ---- reading

static const char *wrong_with(const json_t *record)
{
    static const char *const words[] = {"suite", "test", "device"};
    static const char *const numbers[] = {"tokens_per_s", "tokens_per_s_stddev", "kernel_ms",
                                          "flops", "bytes", "tflops", "gb_per_s", "peak_share",
                                          "loss", "loss_reference", "peak_bytes"};
    static char text[96];
    if (!json_is_object(record))
        return "it is no JSON object";
    if (compare_number(record, "schema") != SCHEMA)
        return "its \"schema\" is not 1: it is no result of inlay bench, or of a newer one";
    for (size_t i = 0; i < COUNT(words); i++) {
        snprintf(text, sizeof(text), "it has no \"%s\"", words[i]);
        if (!compare_word(record, words[i]))
            return text;
    }
    for (size_t i = 0; i < COUNT(numbers); i++) {
        const json_t *value = json_object_get(record, numbers[i]);
        snprintf(text, sizeof(text), "its \"%s\" is neither a number nor null", numbers[i]);
        if (value && !json_is_null(value) && !json_is_number(value))
            return text;
    }
    return NULL;
}

static size_t device_of(compare_data *data, const json_t *record, size_t file)
{
    for (size_t i = 0; i < data->device_count; i++) {
        const json_t *other = data->devices[i].record;
        if (data->devices[i].file == file &&
            same(compare_word(other, "device"), compare_word(record, "device")) &&
            same(compare_word(other, "driver_info"), compare_word(record, "driver_info")))
            return i;
    }
    if (data->device_count == COMPARE_MAX_DEVICES)
        return COMPARE_MAX_DEVICES;
    data->devices[data->device_count] =
        (compare_device){.record = record, .file = file, .roof = {(double)NAN, (double)NAN}};
    return data->device_count++;
}

static char *group_of(const json_t *record)
{
    const char *model = compare_word(record, "model");
    const char *type = compare_word(record, "quantization");
    const char *test = compare_word(record, "test");
    return xprintf("%s%s%s%s%s", model ? model : "", model ? " " : "", type ? type : "",
                   type ? ", " : model ? ", " : "", test);
}

static bool add(compare_data *data, json_t *record, size_t file)
{
    size_t device = device_of(data, record, file);
    if (device == COMPARE_MAX_DEVICES) {
        cli_error("there are more than %d devices in these files", COMPARE_MAX_DEVICES);
        json_decref(record);
        return false;
    }
    data->records =
        xrealloc(data->records, data->record_count + 1, sizeof(*data->records));
    data->records[data->record_count++] =
        (compare_record){.json = record, .device = device, .group = group_of(record)};
    return true;
}

static bool read_line(compare_data *data, const char *line, size_t size, const char *path,
                      size_t number, size_t file)
{
    json_error_t error;
    json_t *record = json_loadb(line, size, JSON_REJECT_DUPLICATES, &error);
    if (!record) {
        cli_error("%s:%zu: it is not JSON: %s", path, number, error.text);
        return false;
    }
    const char *wrong = wrong_with(record);
    if (!wrong)
        return add(data, record, file);
    cli_error("%s:%zu: %s", path, number, wrong);
    json_decref(record);
    return false;
}

static bool read_file(compare_data *data, const char *path, size_t file)
{
    size_t size, before = data->record_count, number = 0;
    bool fine = true;
    char *text = file_read(path, &size);
    if (!text) {
        cli_error("cannot read %s", path);
        return false;
    }
    for (const char *line = text, *end = text + size; fine && line < end;) {
        const char *stop = memchr(line, '\n', (size_t)(end - line));
        size_t length = (size_t)((stop ? stop : end) - line);
        number++;
        if (strspn(line, " \t\r") < length)
            fine = read_line(data, line, length, path, number, file);
        line += length + 1;
    }
    free(text);
    if (fine && data->record_count == before) {
        cli_error("%s holds no results", path);
        return false;
    }
    return fine;
}

// ---- names and roofs

static size_t alike(const compare_data *data, const char *label)
{
    size_t count = 0;
    for (size_t i = 0; i < data->device_count; i++)
        count += same(data->devices[i].label, label);
    return count;
}

static void relabel(compare_data *data, const char *const *files, int step)
{
    char *fresh[COMPARE_MAX_DEVICES] = {0};
    for (size_t i = 0; i < data->device_count; i++) {
        compare_device *d = &data->devices[i];
        const char *more = step == 0   ? compare_word(d->record, "driver_info")
                           : step == 1 ? compare_word(d->record, "commit")
                                       : files[d->file];
        if (alike(data, d->label) > 1 && more)
            fresh[i] = xprintf("%s, %s", d->label, more);
    }
    for (size_t i = 0; i < data->device_count; i++) {
        if (!fresh[i])
            continue;
        free(data->devices[i].label);
        data->devices[i].label = fresh[i];
    }
}

static void find_roofs(compare_data *data)
{
    for (size_t i = 0; i < data->record_count; i++) {
        const compare_record *r = &data->records[i];
        chart_roof *roof = &data->devices[r->device].roof;
        if (!is_suite(r->json, "peak"))
            continue;
        bool integers = strstr(compare_word(r->json, "test"), "int") != NULL;
        if (!integers) // fmax: the other one where one is a NaN
            roof->flops = fmax(roof->flops, compare_number(r->json, "tflops"));
        roof->bytes = fmax(roof->bytes, compare_number(r->json, "gb_per_s"));
    }
}

bool compare_read(compare_data *data, const char *const *files, size_t count)
{
    *data = (compare_data){0};
    for (size_t i = 0; i < count; i++)
        if (!read_file(data, files[i], i))
            return false;
    for (size_t i = 0; i < data->device_count; i++)
        data->devices[i].label = xstrdup(compare_word(data->devices[i].record, "device"));
    for (int step = 0; step < 3; step++)
        relabel(data, files, step);
    find_roofs(data);
    return true;
}

void compare_free(compare_data *data)
{
    for (size_t i = 0; i < data->record_count; i++) {
        json_decref(data->records[i].json);
        free(data->records[i].group);
    }
    for (size_t i = 0; i < data->device_count; i++)
        free(data->devices[i].label);
    free(data->records);
    *data = (compare_data){0};
}

// ---- tables

static size_t find_name(const char **names, size_t count, const char *name)
{
    size_t i = 0;
    while (i < count && !same(names[i], name))
        i++;
    return i;
}

static void add_name(const char ***names, size_t *count, const char *name)
{
    if (find_name(*names, *count, name) < *count)
        return;
    *names = xrealloc(*names, *count + 1, sizeof(**names));
    (*names)[(*count)++] = name;
}

static double *missing(size_t count)
{
    double *values = xalloc(count + 1, sizeof(*values));
    for (size_t i = 0; i < count; i++)
        values[i] = (double)NAN;
    return values;
}

static bool has_speed(const compare_record *r, const char *suite)
{
    return is_suite(r->json, suite) && !compare_word(r->json, "kernel") &&
           compare_number(r->json, "tokens_per_s") > 0.0;
}

compare_table compare_speed(const compare_data *data, const char *suite)
{
    compare_table t = {0};
    for (size_t i = 0; i < data->record_count; i++)
        if (has_speed(&data->records[i], suite))
            add_name(&t.groups, &t.group_count, data->records[i].group);
    size_t cells = t.group_count * data->device_count;
    t.values = missing(cells);
    t.deviations = missing(cells);
    t.records = xalloc(cells + 1, sizeof(*t.records));
    for (size_t i = 0; i < data->record_count; i++) {
        const compare_record *r = &data->records[i];
        if (!has_speed(r, suite))
            continue;
        size_t at = find_name(t.groups, t.group_count, r->group) * data->device_count + r->device;
        t.values[at] = compare_number(r->json, "tokens_per_s");
        t.deviations[at] = compare_number(r->json, "tokens_per_s_stddev");
        t.records[at] = r->json;
    }
    return t;
}

static bool has_time(const compare_record *r)
{
    return is_suite(r->json, "train") && compare_word(r->json, "kernel") &&
           compare_number(r->json, "kernel_ms") > 0.0;
}

// Kernels that do one thing, whatever the weights' types, the tiles or the device; the longer of
// two beginnings comes first. A kernel that is not known stands for itself.
static const char *family_of(const json_t *record)
{
    static const char *const families[][2] = {
        {"gemm_dx", "products, backward"}, {"gemm", "products"},
        {"attention_bwd", "attention, backward"}, {"attention", "attention"},
        {"lora", "adapter"}, {"dora", "adapter"}, {"rmsnorm", "norms"}, {"rope", "rope"},
        {"glu", "activation"}, {"loss", "loss"}, {"softcap", "loss"}, {"embed", "embedding"},
        {"sumsq", "update"}, {"adamw", "update"}, {"moe", "experts"},
        {"decode", "decoding weights"}, {"nf4_scales", "decoding weights"}, {"copy", "copies"}};
    const char *kernel = compare_word(record, "kernel");
    for (size_t i = 0; i < COUNT(families); i++)
        if (strncmp(kernel, families[i][0], strlen(families[i][0])) == 0)
            return families[i][1];
    return kernel;
}

typedef struct part_sum {
    const char *name;
    double sum;
} part_sum;

static int larger_first(const void *a, const void *b)
{
    const part_sum *x = a, *y = b;
    return (x->sum < y->sum) - (x->sum > y->sum);
}

// The kernels that take most, in all, and "other" for the rest.
static void choose_parts(const compare_data *data, size_t most, compare_table *t)
{
    const char **names = NULL;
    size_t count = 0;
    for (size_t i = 0; i < data->record_count; i++)
        if (has_time(&data->records[i]))
            add_name(&names, &count, family_of(data->records[i].json));
    part_sum *sums = xalloc(count + 1, sizeof(*sums));
    for (size_t i = 0; i < count; i++)
        sums[i].name = names[i];
    for (size_t i = 0; i < data->record_count; i++) {
        const json_t *r = data->records[i].json;
        if (has_time(&data->records[i]))
            sums[find_name(names, count, family_of(r))].sum +=
                compare_number(r, "kernel_ms");
    }
    qsort(sums, count, sizeof(*sums), larger_first);
    for (size_t i = 0; i < count && i < most; i++)
        add_name(&t->parts, &t->part_count, sums[i].name);
    if (count > most)
        add_name(&t->parts, &t->part_count, "other");
    free(sums);
    free(names);
}

compare_table compare_time(const compare_data *data, size_t most)
{
    compare_table t = {0};
    for (size_t i = 0; i < data->record_count; i++)
        if (has_time(&data->records[i]))
            add_name(&t.groups, &t.group_count, data->records[i].group);
    choose_parts(data, most, &t);
    t.values = missing(t.group_count * data->device_count * t.part_count);
    for (size_t i = 0; i < data->record_count; i++) {
        const compare_record *r = &data->records[i];
        if (!has_time(r))
            continue;
        size_t part = find_name(t.parts, t.part_count, family_of(r->json));
        size_t group = find_name(t.groups, t.group_count, r->group);
        part = part < t.part_count ? part : t.part_count - 1;
        double *value =
            &t.values[(group * data->device_count + r->device) * t.part_count + part];
        *value = (isnan(*value) ? 0.0 : *value) + compare_number(r->json, "kernel_ms");
    }
    return t;
}

void compare_table_free(compare_table *table)
{
    free(table->groups);
    free(table->parts);
    free(table->values);
    free(table->deviations);
    free(table->records);
    *table = (compare_table){0};
}

chart_kernel *compare_kernels(const compare_data *data, size_t *count)
{
    chart_kernel *kernels = xalloc(data->record_count + 1, sizeof(*kernels));
    *count = 0;
    for (size_t i = 0; i < data->record_count; i++) {
        const compare_record *r = &data->records[i];
        double ms = compare_number(r->json, "kernel_ms"), flops = compare_number(r->json, "flops");
        double bytes = compare_number(r->json, "bytes");
        if (is_suite(r->json, "peak") || !(ms > 0.0 && flops > 0.0 && bytes > 0.0))
            continue;
        const char *kernel = compare_word(r->json, "kernel");
        kernels[(*count)++] = (chart_kernel){.series = r->device,
                                             .intensity = flops / bytes,
                                             .tflops = flops / ms / 1e9,
                                             .name = kernel ? kernel : r->group};
    }
    return kernels;
}
