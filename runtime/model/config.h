// SPDX-License-Identifier: MIT
// A model's hyper-parameters and the names of its tensors, read from a GGUF file's metadata. An
// architecture is one row of the table in arch.c.
#ifndef INL_MODEL_CONFIG_H
#define INL_MODEL_CONFIG_H

#include "adapter/lora.h"
#include "io/gguf.h"

typedef struct inl_config {
    char architecture[32];
    uint32_t layers, dim, ffn_dim, heads, kv_heads, head_dim, vocab, context_length;
    uint32_t rope_dim;
    float rope_base, rope_scale, norm_eps;
    float *rope_factors; // [rope_dim / 2] or NULL: each angle is divided by its factor
    bool tied_head;
} inl_config;

// The linear layers of a block, in the order adapters lie: those that share an input side by side.
typedef enum inl_role {
    INL_ROLE_Q,
    INL_ROLE_K,
    INL_ROLE_V,
    INL_ROLE_O,
    INL_ROLE_GATE,
    INL_ROLE_UP,
    INL_ROLE_DOWN,
    INL_ROLE_COUNT,
} inl_role;

inlay_result inl_config_read(const inl_env *env, const inl_gguf *gguf, inl_config *out);
void inl_config_free(const inl_env *env, inl_config *config);
// [out, in] of a role's matrix.
void inl_config_shape(const inl_config *config, inl_role role, uint32_t *out, uint32_t *in);
// "attn_q", "ffn_gate", ...
const char *inl_role_gguf_name(inl_role role);

// Modules in order: layer * INL_ROLE_COUNT + role, then the head. Owns its strings.
typedef struct inl_modules {
    inl_module_list list;
    inl_module *items;
} inl_modules;
inlay_result inl_modules_create(const inl_env *env, const inl_config *config, inl_modules *out);
void inl_modules_free(const inl_env *env, inl_modules *modules);

#endif
