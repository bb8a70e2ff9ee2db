// SPDX-License-Identifier: MIT
// The kernels that say what a device can do at best.
#ifndef INL_OP_PEAK_H
#define INL_OP_PEAK_H

#include "op/op.h"

#define INL_PEAK_UNROLLED 8 // steps of a chain in a round
#define INL_PEAK_MOST_CHAINS 4

typedef enum inl_peak_kind {
    INL_PEAK_FP32,
    INL_PEAK_F16,
    INL_PEAK_DOT8,
    INL_PEAK_MATRIX,
    INL_PEAK_COPY,
    INL_PEAK_COUNT,
} inl_peak_kind;

typedef struct inl_peak_args {
    inl_range in, out; // f32; of MATRIX `in` holds A and B
    uint32_t floats;   // of each, a multiple of 4
    // Of arithmetic: a thread's chains (1 to 4; MATRIX has 4), of INL_PEAK_UNROLLED `rounds` steps
    // each. Chain i begins at in + i; the chains' sum goes to out (peak.comp).
    uint32_t chains, rounds;
    float factor, addend;
    uint32_t threads; // a multiple of 64, at least as many as `in` has vec4s
} inl_peak_args;

inl_kernel inl_peak_kernel(inl_peak_kind kind);
// flops are operations: a multiplication and an addition are two, of integers too.
void inl_op_peak(inl_plan *plan, inl_peak_kind kind, const inl_peak_args *args);

#endif
