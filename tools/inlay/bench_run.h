// SPDX-License-Identifier: MIT
// A run of inlay bench: what was asked for, the device, the records so far, and the suites.
#ifndef BENCH_RUN_H
#define BENCH_RUN_H

#include "bench_record.h"
#include "cli.h"

#define BENCH_LIST 16

// Returns from the calling function when `expr` is not INLAY_OK.
#define BENCH_TRY(expr)                                                                            \
    do {                                                                                           \
        inlay_result bench_try_ = (expr);                                                          \
        if (bench_try_ != INLAY_OK)                                                                \
            return bench_try_;                                                                     \
    } while (0)

// What stood behind an option that takes several values, A,B or given twice.
typedef struct bench_list {
    char texts[BENCH_LIST][BENCH_TEXT];
    size_t count;
} bench_list;

typedef struct bench_files {
    const char *files[BENCH_LIST];
    size_t count;
} bench_files;

typedef struct bench_options {
    common_options common;
    bench_list suites, models, types, lengths, ranks;
    bench_files compared;
    const char *output;
    int format; // bench_format, or -1: by the output's name
    uint32_t warmup, repeats;
    double seconds; // of a repeat, at least
    uint32_t tokens; // generated
    int32_t checkpointing;
    bool no_check, tune;
} bench_options;

typedef struct bench_run {
    const bench_options *options;
    inlay_device *device;
    inlay_device_info info;
    bench_record system; // what all records have in common
    double peak_flops, peak_bytes; // a second; 0: not measured
    bench_record *records;
    size_t count, cap;
    uint32_t skipped; // rows that failed
} bench_run;

// A record with what is known of every one, to be filled in; bench_add keeps it.
bench_record bench_begin(const bench_run *run, const char *suite);
void bench_add(bench_run *run, const bench_record *record);
// Says which row is left out, the reason having been said, and counts it. Whether to go on.
bool bench_skip(bench_run *run, const char *suite, const char *row, inlay_result result);
// Whether something asked us to end.
bool bench_stopped(void);

// Text of the system: the OS, its kernel, the CPU, the date.
void bench_fill_system(bench_record *record);
uint64_t bench_rss(void); // the most this process held, in bytes

// A model by its name, a file or a folder, in a type; fills in what a record says of it.
// `layers` 0: all that it has.
inlay_result bench_open_model(const char *name, const char *type, uint32_t layers,
                              inlay_model **out, bench_record *record);
// The type of a row as --quantize has it: "none" is NULL.
const char *bench_type(const bench_run *run, size_t index);
uint32_t bench_number(const bench_list *list, size_t index);
double bench_mean(const double *values, size_t count);
double bench_deviation(const double *values, size_t count);
// Sets tflops, gb_per_s and peak_share of what took `seconds` for the record's flops and bytes.
void bench_rate(const bench_run *run, bench_record *record, double seconds);

// Each adds its records; false: the run is to end.
bool bench_suite_peak(bench_run *run);
bool bench_suite_kernels(bench_run *run);
bool bench_suite_train(bench_run *run);
bool bench_suite_generate(bench_run *run);
bool bench_suite_memory(bench_run *run);

// bench_tune.c: --tune, with its table on stdout. Returns the exit code.
int bench_tune(bench_run *run);
// bench_table.c: all records as people read them, on stdout.
void bench_print_tables(const bench_run *run);

#endif
