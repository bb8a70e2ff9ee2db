// SPDX-License-Identifier: MIT
// First values of an adapter from the base's weights: PiSSA (arXiv 2404.02948), whose B A is the
// best approximation of W of its rank, and OLoRA (arXiv 2406.01775), whose B A is the beginning of
// its QR decomposition.
//
// What B A is of W would have to go out of W. W stays as it is: the pair is as large again, and its
// other half, which does not learn, takes the first values away: W + s (B A - B0 A0).
//
// W is touched by products on the device alone, X W^T and Y W, so any format will do.
#ifndef INL_MODEL_PRINCIPAL_H
#define INL_MODEL_PRINCIPAL_H

#include "model/weights.h"

// Fills in A and B of every pair, both halves, where lora->init is one of these.
inlay_result inl_principal_init(const inl_env *env, inl_gpu *gpu, const inl_weights *weights,
                                inl_lora *lora);
// Bytes on the device that it takes for a while; 0 where lora->init is none of these.
inlay_result inl_principal_bytes(const inl_env *env, const inl_gpu_caps *caps,
                                 const inl_weights *weights, const inl_lora *lora,
                                 uint64_t *bytes);

#endif
