// SPDX-License-Identifier: MIT
// The kernels that say what a device can do at best.
#ifndef INL_OP_PEAK_H
#define INL_OP_PEAK_H

#include "op/op.h"

#define INL_PEAK_UNROLLED 8 // steps of a chain in a round
#define INL_PEAK_MOST_CHAINS 4

typedef struct inl_peak_args {
    inl_range in, out; // f32, of one size, a multiple of 16
    // Arithmetic alone: a thread's chains of vec4 (1 to 4), and how often each is
    // x = x factor + addend, over INL_PEAK_UNROLLED. Chain i begins at in + i; the sum goes to out.
    uint32_t chains, rounds;
    float factor, addend;
    uint32_t threads; // a multiple of 64, at least as many as `in` has vec4s
} inl_peak_args;

void inl_op_peak_fp32(inl_plan *plan, const inl_peak_args *args);
// out = in, by a kernel; inl_plan_copy is the other way.
void inl_op_peak_copy(inl_plan *plan, const inl_peak_args *args);

#endif
