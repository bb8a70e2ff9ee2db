// SPDX-License-Identifier: MIT
// One line of results of inlay bench: flat, with the same names in every format.
#ifndef BENCH_RECORD_H
#define BENCH_RECORD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define BENCH_SCHEMA 1
#define BENCH_TEXT 256

// In order. S: text, "" is null; C: a whole number, N: any number, NaN is null.
#define BENCH_FIELDS(S, C, N)                                                                      \
    C(schema) S(version) S(commit) S(date) S(os) S(kernel_release) S(cpu) S(device) S(vendor)      \
    C(vendor_id) C(device_id) S(device_type) S(driver_name) S(driver_info) C(driver_version)       \
    S(api_version) S(path) C(subgroup_size) S(suite) S(test) S(model) S(architecture)              \
    C(parameters) S(quantization) C(model_bytes) S(method) C(rank) N(alpha) S(targets)             \
    C(trainable_parameters) C(row_tokens) C(batch) C(accumulation) C(checkpointing) C(warmup)      \
    C(repeats) N(tokens_per_s) N(tokens_per_s_stddev) N(step_ms) N(forward_ms) N(backward_ms)      \
    N(update_ms) N(host_ms) N(longest_submit_ms) S(kernel) N(kernel_ms) C(flops) C(bytes)          \
    N(tflops) N(gb_per_s) N(peak_share) C(peak_bytes) C(rss_bytes) C(loss_step) N(loss)            \
    N(loss_reference)

typedef struct bench_record {
#define BENCH_TEXT_FIELD(name) char name[BENCH_TEXT];
#define BENCH_NUMBER_FIELD(name) double name;
    BENCH_FIELDS(BENCH_TEXT_FIELD, BENCH_NUMBER_FIELD, BENCH_NUMBER_FIELD)
#undef BENCH_TEXT_FIELD
#undef BENCH_NUMBER_FIELD
} bench_record;

typedef enum bench_kind { BENCH_IS_TEXT, BENCH_IS_COUNT, BENCH_IS_NUMBER } bench_kind;

typedef struct bench_field {
    const char *name;
    bench_kind kind;
    size_t offset;
} bench_field;

extern const bench_field bench_fields[];
extern const size_t bench_field_count;

extern const char *const bench_commit; // of the sources, written by the build

// A record with nothing in it but the schema.
bench_record bench_record_empty(void);
// Formatted into a text field; what does not fit is cut off.
#define bench_put(field, ...) snprintf(field, sizeof(field), __VA_ARGS__)

typedef enum bench_format { BENCH_TABLE, BENCH_CSV, BENCH_JSONL, BENCH_SQL } bench_format;
extern const char *const bench_format_names[]; // NULL at the end

// The text of all records, allocated; not for BENCH_TABLE.
char *bench_write(bench_format format, const bench_record *records, size_t count);

#endif
