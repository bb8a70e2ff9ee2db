// SPDX-License-Identifier: MIT
// Products on matrix cores, for those who emit products.
#ifndef INL_OP_MATRIX_H
#define INL_OP_MATRIX_H

#include "op/op.h"

// Whether the device's matrix cores multiply these rows.
bool inl_matrix_wanted(const inl_gpu_caps *caps, inl_kernel kernel, uint32_t rows);
// Makes a node for gemm.comp, whose push constants are `push`, one for gemm_matrix.comp: `kernel`
// of it, with a node before it that brings x into f16 where that has not been done. `tiles` are
// those of the result's columns; `align` rows are of one expert, 0: all are of one matrix.
void inl_matrix_take(inl_plan *plan, inl_node *node, struct push_gemm *push, inl_kernel kernel,
                     inl_tensor x, uint32_t tiles, uint32_t align);

// Multiplies a little both ways; a device that gets it wrong loses its path matrix, with a warning.
// Errors are those of running anything.
inlay_result inl_matrix_self_test(const inl_env *env, inl_gpu *gpu);

#endif
