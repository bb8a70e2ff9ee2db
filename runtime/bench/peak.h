// SPDX-License-Identifier: MIT
// What a device can do at best, measured: the denominators of everything else.
#ifndef INL_BENCH_PEAK_H
#define INL_BENCH_PEAK_H

#include "op/peak.h"

typedef enum inl_peak_kind {
    INL_PEAK_FP32, // vector fma in f32: flop/s
    INL_PEAK_COPY, // device memory to device memory: bytes/s, read and written ones
    INL_PEAK_COUNT,
} inl_peak_kind;

typedef struct inl_peak {
    double rate;           // a second, the best of the repeats
    double mean, deviation;
    uint32_t repeats;
    uint64_t flops, bytes; // of one repeat
    double seconds;        // of the best one
    double error;          // most of a result relative to what it should be
} inl_peak;

const char *inl_peak_name(inl_peak_kind kind); // "fp32"
// INTERNAL: results are wrong. UNSUPPORTED: no such kernel here, says why.
inlay_result inl_peak_measure(const inl_env *env, inl_gpu *gpu, inl_peak_kind kind, inl_peak *out);

#endif
