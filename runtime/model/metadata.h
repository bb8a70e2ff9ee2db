// SPDX-License-Identifier: MIT
// Reading a model file's "<architecture>.<key>", with one sentence where a value is not what it
// must be.
#ifndef INL_MODEL_METADATA_H
#define INL_MODEL_METADATA_H

#include "io/gguf.h"

typedef struct inl_metadata {
    const inl_env *env;
    const inl_gguf *gguf;
    const char *architecture;
} inl_metadata;

// A number from `least` to 2^24. An array, which may differ from layer to layer, must have it
// everywhere.
inlay_result inl_metadata_u32(const inl_metadata *m, const char *key, uint32_t least,
                              uint32_t *out);
// The same where the key may lack.
inlay_result inl_metadata_u32_or(const inl_metadata *m, const char *key, uint32_t least,
                                 uint32_t fallback, uint32_t *out);
// 0, or a number from 1e-30 to 1e30.
inlay_result inl_metadata_f32_or(const inl_metadata *m, const char *key, float fallback,
                                 float *out);
inlay_result inl_metadata_bool_or(const inl_metadata *m, const char *key, bool fallback, bool *out);
// A flag for each layer: the file's array of them, or, of so many layers as the key or else
// `period` says, all but the last; 0: all. `bit` is set in masks[layer] where the flag is not.
inlay_result inl_metadata_flags(const inl_metadata *m, const char *key, uint32_t period,
                                uint32_t layers, uint8_t bit, uint8_t *masks);
bool inl_metadata_has(const inl_metadata *m, const char *key);
// A copy of a tensor of `count` numbers of type F32, or *out NULL where the file has none.
inlay_result inl_metadata_vector(const inl_metadata *m, const char *tensor, uint32_t count,
                                 float **out);

#endif
