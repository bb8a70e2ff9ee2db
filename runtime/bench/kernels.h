// SPDX-License-Identifier: MIT
// Single kernels in the shapes of a model's first layer and its head, each held against float64 on
// a sample of what it gives.
#ifndef INL_BENCH_KERNELS_H
#define INL_BENCH_KERNELS_H

#include "model/model.h"
#include "op/op.h"

typedef struct inl_kernel_result {
    char name[64];       // "gemm q8_0 512x512x128": rows, columns, tokens
    const char *kernel;  // static: the one that does most of it
    double seconds, deviation; // the mean of the repeats
    uint32_t repeats;
    uint64_t flops, bytes;
    double error; // NMSE of the sample
} inl_kernel_result;

// Gives each result as it comes; what is not INLAY_OK ends it. `error` beyond what f16 products in
// f32 sums may have is the receiver's to refuse (INL_KERNEL_ERROR).
#define INL_KERNEL_ERROR 1e-6
typedef inlay_result inl_kernel_sink(void *user, const inl_kernel_result *result);
// UNSUPPORTED: the model is a mixture of experts. Its weights are on the device meanwhile.
inlay_result inl_kernels_measure(const inl_env *env, inl_gpu *gpu, const inl_model *model,
                                 uint32_t tokens, inl_kernel_sink *sink, void *user);

#endif
