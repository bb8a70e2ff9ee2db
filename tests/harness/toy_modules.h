// SPDX-License-Identifier: MIT
// Models that are only a list of modules, and the values of their adapters. Header only.
#ifndef HARNESS_TOY_MODULES_H
#define HARNESS_TOY_MODULES_H

#include "base/rng.h"
#include "model/config.h"

#include <stdlib.h>

// No two sizes alike, none a multiple of another where the architecture does not ask for it.
static const inl_config toy_odd = {.architecture = "llama",
                                   .arch = {.interleaved_rope = true},
                                   .layers = 2,
                                   .dim = 20,
                                   .ffn_dim = 14,
                                   .heads = 3,
                                   .kv_heads = 1,
                                   .head_dim = 6,
                                   .vocab = 13};
// All of them multiples of 32, for block formats.
static const inl_config toy_even = {.architecture = "llama",
                                    .arch = {.interleaved_rope = true},
                                    .layers = 1,
                                    .dim = 64,
                                    .ffn_dim = 96,
                                    .heads = 4,
                                    .kv_heads = 2,
                                    .head_dim = 16,
                                    .vocab = 32};

static const inl_config toy_mixture = {.architecture = "qwen3moe",
                                       .arch = {.qk_norm = true, .experts = true},
                                       .layers = 2,
                                       .dim = 20,
                                       .expert_dim = 14,
                                       .experts = 3,
                                       .experts_used = 2,
                                       .heads = 3,
                                       .kv_heads = 1,
                                       .head_dim = 6,
                                       .vocab = 13,
                                       .rope_halves = true};

static inline inl_modules toy_modules(const inl_config *config)
{
    inl_env env = inl_env_resolve(NULL);
    inl_modules modules;
    if (inl_modules_create(&env, config, &modules) != INLAY_OK)
        abort();
    return modules;
}

static inline void toy_modules_free(inl_modules *modules)
{
    inl_env env = inl_env_resolve(NULL);
    inl_modules_free(&env, modules);
}

// In [-1, 1); another sequence for each `stream`.
static inline float toy_value(uint32_t stream, uint32_t i)
{
    return 2.0f * inl_rng_f32(77, stream, i) - 1.0f;
}

// Element i of a pair's half: the streams differ by module and half.
static inline float toy_half_value(uint32_t module, bool is_b, uint32_t i)
{
    return toy_value(2 * module + is_b, i);
}

#endif
