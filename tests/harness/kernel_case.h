// SPDX-License-Identifier: MIT
// What kernel_test.c and kernel_data.c share.
#ifndef INL_TEST_KERNEL_CASE_H
#define INL_TEST_KERNEL_CASE_H

#include "harness/kernel_test.h"

#define KT_HEAP_BYTES (24u << 20)
#define KT_GUARD_BYTES 64u
#define KT_GUARD_WORD 0x7fc0deadu // a NaN
#define KT_MAX_REGIONS 64
#define KT_MAX_BLOCKS 256

struct kt_suite {
    inl_env env;
    inl_gpu *gpu;
    inl_buffer *heap;
    uint8_t *image, *after; // of the heap, before and after a run
    uint32_t seed;
    const char *filter, *family;
    bool verbose, list, quick, gpu_kernels, compile;
    uint32_t cases, failures, validation_errors;
    double worst; // NMSE, of the family
};

typedef struct kt_region {
    const char *name;
    uint64_t offset, bytes;
    uint64_t live; // bytes before the rows that only pad: those are nobody's, and may be anything
    bool output;
} kt_region;

struct kt {
    kt_suite *suite;
    char name[256];
    uint32_t seed, counter;
    inl_plan *plan;
    kt_region regions[KT_MAX_REGIONS];
    uint32_t region_count;
    uint64_t heap_used;
    double *blocks[KT_MAX_BLOCKS];
    uint32_t block_count;
    bool failed;
    double worst, began;
};

#endif
