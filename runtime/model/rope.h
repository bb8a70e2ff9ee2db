// SPDX-License-Identifier: MIT
// The frequencies of rotary position embedding, with the ways of stretching them to longer contexts
// that model files ask for. What they are: transformers' modeling_rope_utils; what GGUF says about
// them: llama.cpp.
#ifndef INL_MODEL_ROPE_H
#define INL_MODEL_ROPE_H

#include "io/gguf.h"

typedef enum inl_rope_scaling {
    INL_ROPE_UNSCALED,
    INL_ROPE_LINEAR,   // all frequencies / factor
    INL_ROPE_YARN,     // arXiv 2309.00071: slow ones / factor, fast ones as they are
    INL_ROPE_LONGROPE, // arXiv 2402.13753: each / its own factor, one list for long contexts
} inl_rope_scaling;

typedef struct inl_rope_config {
    uint32_t dim; // columns of a head that turn, a multiple of 4
    float base;
    inl_rope_scaling scaling;
    float factor; // linear, yarn
    uint32_t original_context; // yarn; longrope: the long list is for contexts beyond it
    float attention_factor;    // on cosine and sine, beyond yarn's own 1 + ln(factor) / 10
    float beta_fast, beta_slow; // yarn: turns over the original context where the ramp ends, begins
    float *divisors;      // [dim / 2] of the frequencies, or NULL; longrope: for short contexts
    float *long_divisors; // longrope
} inl_rope_config;

// Reads "<architecture>.rope.*" and the tensors of factors; `head_dim` is what turns where the file
// does not say. inl_rope_config_free also after a failure.
inlay_result inl_rope_config_read(const inl_env *env, const inl_gguf *gguf,
                                  const char *architecture, uint32_t head_dim,
                                  inl_rope_config *out);
void inl_rope_config_free(const inl_env *env, inl_rope_config *config);

// frequencies [dim / 2], in radians a position, for sequences of at most `context` tokens; returns
// what cosine and sine are multiplied by.
float inl_rope_frequencies(const inl_rope_config *config, uint32_t context, float *frequencies);

#endif
