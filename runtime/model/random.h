// SPDX-License-Identifier: MIT
// Models of well-known shapes with random weights, for measuring speed and memory: nothing is read
// and nothing is held but one pool of blocks for each tensor type.
#ifndef INL_MODEL_RANDOM_H
#define INL_MODEL_RANDOM_H

#include "model/model.h"

typedef struct inl_shape {
    const char *name;  // "1.1b"
    const char *title; // "TinyLlama-1.1B"
    uint32_t layers, dim, ffn, heads, kv_heads, head_dim, vocab, context;
    float rope_base;
    bool tied; // the embedding is the head
} inl_shape;

const inl_shape *inl_shape_at(uint32_t index);         // NULL: there are no more
const inl_shape *inl_shape_by_name(const char *name);  // case ignored; NULL: none

// A llama of this shape. `type`: a tensor type that files have; "NF4", made at load of BF16; or
// "Q4_K_M", llama.cpp's mixture. Types below 6 bits have a head of Q6_K, as llama.cpp's files do,
// and rows that a type's blocks do not divide get the type that llama.cpp falls back to. The same
// `seed` gives the same model on every machine. INVALID_ARGUMENT: there is no such type.
inlay_result inl_model_create_random(const inl_env *env, const inl_shape *shape, const char *type,
                                     uint32_t seed, inl_model **out);

#endif
