// SPDX-License-Identifier: MIT
// What the wrappers of products with frozen weights share.
#ifndef INL_OP_MATMUL_H
#define INL_OP_MATMUL_H

#include "op/op.h"

// What a product reads as the two planes of a part of W.
typedef struct inl_planes {
    inl_buf quants, scales;
    bool decoded; // into f32 tiles
} inl_planes;
inl_planes inl_planes_of(inl_plan *plan, const inl_weight *w, const inl_weight_part *part);

// NF4's scales, decoded to part->expanded, and the bytes that they take there.
void inl_op_nf4_scales(inl_plan *plan, const inl_weight *w, const inl_weight_part *part);
uint64_t inl_nf4_scale_bytes(const inl_weight *w, const inl_weight_part *part);

// `count` floats of an adapter arena, from `first` on.
inl_range inl_floats_of(inl_range arena, uint64_t first, uint64_t count);

#endif
