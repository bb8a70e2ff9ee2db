// SPDX-License-Identifier: MIT
// What `inlay bench` wrote, of one device or several, arranged for charts and tables.
#ifndef COMPARE_DATA_H
#define COMPARE_DATA_H

#include "chart.h"

#include <jansson.h>
#include <stdbool.h>

#define COMPARE_MAX_DEVICES 16

// A device with its driver, in one file: a later run of the same is another.
typedef struct compare_device {
    char *label;           // told from the other ones'
    const json_t *record;  // its first one
    size_t file;
    chart_roof roof;       // of the suite "peak"; NaN: not measured
} compare_device;

typedef struct compare_record {
    json_t *json;
    size_t device;
    char *group; // model, type and test: what may be compared
} compare_record;

typedef struct compare_data {
    compare_device devices[COMPARE_MAX_DEVICES];
    size_t device_count;
    compare_record *records;
    size_t record_count;
} compare_data;

// JSON lines of each file. False: one sentence has been said, with file and line.
bool compare_read(compare_data *data, const char *const *files, size_t count);
void compare_free(compare_data *data);

// NaN and NULL where a record has none.
double compare_number(const json_t *record, const char *field);
const char *compare_word(const json_t *record, const char *field);

// Tables made of the records; their arrays are freed by compare_table_free, names belong to `data`.
typedef struct compare_table {
    const char **groups, **parts; // parts: of time by kernel, else none
    size_t group_count, part_count;
    double *values, *deviations; // [groups, devices, parts or 1]
    const json_t **records;      // [groups, devices] or NULL
} compare_table;
// tokens_per_s of a suite, "train" or "generate".
compare_table compare_speed(const compare_data *data, const char *suite);
// kernel_ms of the suite "train", at most `most` kernels and "other".
compare_table compare_time(const compare_data *data, size_t most);
void compare_table_free(compare_table *table);

// Kernels of which flops, bytes and time are known; allocated.
chart_kernel *compare_kernels(const compare_data *data, size_t *count);

#endif
