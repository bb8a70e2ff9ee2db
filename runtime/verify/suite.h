// SPDX-License-Identifier: MIT
// A run of cases, for whoever starts one (api/verify.c and the tests of kernels), and what case.c
// and data.c share.
#ifndef INL_VERIFY_SUITE_H
#define INL_VERIFY_SUITE_H

#include "verify/case.h"

#include <setjmp.h>

#define KT_HEAP_BYTES (24u << 20)
#define KT_GUARD_BYTES 64u
#define KT_MAX_REGIONS 64
#define KT_MAX_BUFFERS 8
#define KT_MAX_WRONG 4

// How many of a family's cases: ALL, those that take the CPU driver and its compiler not too long,
// or a few for each kernel.
typedef enum kt_extent { KT_ALL, KT_QUICK, KT_BRIEF } kt_extent;

typedef struct kt_wrong {
    const char *name; // of the region
    uint32_t row, col;
    double got, expected;
} kt_wrong;

// What a case came to. Lives during the callback alone.
typedef struct kt_report {
    const char *family, *name; // the name begins with the family's
    uint32_t seed;             // the suite's
    bool failed;
    const char *skipped;  // why; NULL: it was run
    const char *message;  // what failed, or ""
    double nmse, bound;   // of the comparison that came nearest to its bound, or passed it
    double seconds;
    const uint8_t *kernels; // [INL_KERNEL_COUNT]: 1 for those of its plan
    kt_wrong wrong[KT_MAX_WRONG];
    uint32_t wrong_count;
} kt_report;

typedef struct kt_family {
    const char *name;
    void (*check)(kt_suite *suite);
} kt_family;

// All of this folder, in the order in which they run.
extern const kt_family inl_families[];
extern const uint32_t inl_family_count;

// Its owner sets all up to `user` before kt_open.
struct kt_suite {
    inl_env env;
    inl_gpu *gpu;
    uint32_t seed;
    const char *filter; // part of the names of cases; NULL: all
    kt_extent extent;
    bool repeat;  // runs each case twice, not only one of some
    bool compile; // records and submits, looks at no result: for a driver without a card behind it
    bool (*begin)(void *user, const char *name); // before a case, false leaves it out; NULL: none
    bool (*report)(void *user, const kt_report *report); // false: ends the suite, INTERRUPTED
    void *user;

    inl_buffer *heap;
    uint8_t *image, *after; // of the heap, before and after a run
    const char *family;
    uint32_t cases, failures, skipped, validation_errors;
    uint8_t ran[INL_KERNEL_COUNT]; // 1 for the kernels of all plans that were run
    kt *current;
    jmp_buf *stop;
    inlay_result stopped;
};

inlay_result kt_open(kt_suite *suite);
void kt_close(kt_suite *suite);
// Not INLAY_OK: the suite has ended: memory ran out, the device was lost, or `report` said so.
inlay_result kt_run_family(kt_suite *suite, const kt_family *family);
// All families; then each kernel of the device's that no case ran is reported as skipped, unless
// there is a filter.
inlay_result inl_verify(kt_suite *suite);
// Whether the device is to get this kernel: of a kernel and its variant for a CPU's vectors it gets
// one.
bool kt_kernel_is_expected(const inl_gpu_caps *caps, inl_kernel kernel);

// ---- for case.c, data.c and a few families

typedef struct kt_region {
    const char *name;
    uint64_t offset, bytes;
    uint64_t live; // bytes before the rows that only pad: those are nobody's, and may be anything
    bool output;
} kt_region;

typedef union kt_block { // of memory, in a list
    union kt_block *next;
    max_align_t align;
} kt_block;

struct kt {
    kt_suite *suite;
    char name[256], message[512], skipped[160];
    uint32_t seed, counter;
    inl_plan *plan;
    kt_region regions[KT_MAX_REGIONS];
    uint32_t region_count;
    uint64_t heap_used;
    kt_block *blocks;
    inl_buffer *buffers[KT_MAX_BUFFERS];
    uint32_t buffer_count;
    bool failed;
    double nmse, bound, began;
    uint8_t kernels[INL_KERNEL_COUNT];
    kt_wrong wrong[KT_MAX_WRONG];
    uint32_t wrong_count;
};

// The kernels of the case's plan, or one that it runs in a plan of its own, have been run.
void kt_note_plan(kt *k);
void kt_note_kernel(kt *k, inl_kernel kernel);
// Ends the suite: does not return.
_Noreturn void kt_stop(kt_suite *suite, inlay_result result);
// A comparison's error and bound, kept where it is the one nearest to its bound.
void kt_note_error(kt *k, double nmse, double bound);
void kt_note_wrong(kt *k, const char *name, uint32_t row, uint32_t col, double got,
                   double expected);

#endif
