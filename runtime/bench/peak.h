// SPDX-License-Identifier: MIT
// What a device can do at best, measured: the denominators of everything else.
#ifndef INL_BENCH_PEAK_H
#define INL_BENCH_PEAK_H

#include "op/peak.h"

typedef struct inl_peak {
    double rate;           // a second, the best of the repeats
    double mean, deviation;
    uint32_t repeats;
    uint64_t flops, bytes; // of one repeat
    double seconds;        // of the best one
    double error;          // most of a result relative to what it should be
} inl_peak;

const char *inl_peak_name(inl_peak_kind kind); // "fp32"
// INTERNAL: results are wrong. UNSUPPORTED, without a log: the device does not get this kernel.
inlay_result inl_peak_measure(const inl_env *env, inl_gpu *gpu, inl_peak_kind kind, inl_peak *out);

#endif
