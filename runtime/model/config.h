// SPDX-License-Identifier: MIT
// A model's hyper-parameters and the names of its tensors, read from a GGUF file's metadata. What
// an architecture does is a row of the table in arch.c.
#ifndef INL_MODEL_CONFIG_H
#define INL_MODEL_CONFIG_H

#include "adapter/lora.h"
#include "model/arch.h"
#include "model/rope.h"

typedef struct inl_config {
    char architecture[32];
    inl_arch arch;
    uint32_t layers, dim, ffn_dim, heads, kv_heads, head_dim, vocab, context_length;
    uint32_t experts, experts_used; // of a layer, and by a token; 0: none
    uint32_t expert_dim;            // an expert's ffn_dim
    bool normalized_experts;        // the weights of a token's experts sum to 1
    float norm_eps;
    float attention_scale; // of scores
    float attention_softcap, final_softcap; // 0: none
    float embedding_scale;
    uint32_t window;  // keys a query sees in layers with a sliding window, with itself; 0: none
    bool rope_halves; // how pairs lie in this file's q and k (inl_rope)
    bool multimodal;  // how the base's modules are named (inl_module_list)
    inl_rope_config rope;
    bool tied_head;
    uint8_t *kinds;          // [layers] of INL_LAYER_*, or NULL: all 0
    uint32_t *first_modules; // [layers + 1], or NULL: all layers have as many
} inl_config;

// What a layer does otherwise than the architecture's others.
enum {
    INL_LAYER_FULL = 1 << 0,  // a query sees all keys though others have a window
    INL_LAYER_NOPE = 1 << 1,  // q and k do not turn
    INL_LAYER_DENSE = 1 << 2, // one feed-forward part though others have experts
};

// The linear layers of a block, in the order adapters lie: those that share an input side by side.
// One that is fused stands at its first: Q is then q, k and v, GATE is gate and up, and K, V and UP
// are absent.
typedef enum inl_role {
    INL_ROLE_Q,
    INL_ROLE_K,
    INL_ROLE_V,
    INL_ROLE_O,
    INL_ROLE_GATE,
    INL_ROLE_UP,
    INL_ROLE_DOWN,
    INL_ROLE_ROUTER, // where there are experts: GATE, UP and DOWN are then a matrix for each
    INL_ROLE_COUNT,
} inl_role;

// The norms of a block; the last four are there where the architecture has them.
typedef enum inl_norm_role {
    INL_NORM_ATTENTION,
    INL_NORM_FFN,
    INL_NORM_POST_ATTENTION,
    INL_NORM_POST_FFN,
    INL_NORM_Q,
    INL_NORM_K,
    INL_NORM_COUNT,
} inl_norm_role;

inlay_result inl_config_read(const inl_env *env, const inl_gguf *gguf, inl_config *out);
void inl_config_free(const inl_env *env, inl_config *config);

bool inl_config_has_experts(const inl_config *config, uint32_t layer);
bool inl_config_has_role(const inl_config *config, uint32_t layer, inl_role role);
// Matrices of a role in a layer, one for each expert; 0: the role is one matrix.
uint32_t inl_config_experts(const inl_config *config, uint32_t layer, inl_role role);
// [out, in] of a role's matrix, or of one of them; 0 where it is absent.
void inl_config_shape(const inl_config *config, uint32_t layer, inl_role role, uint32_t *out,
                      uint32_t *in);
bool inl_config_needs_bias(const inl_config *config, inl_role role);
// Elements of a norm's weight; 0: the architecture has no such norm.
uint32_t inl_config_norm(const inl_config *config, inl_norm_role role);
// "attn_q", "attn_q_norm", ...
const char *inl_role_gguf_name(const inl_config *config, uint32_t layer, inl_role role);
const char *inl_norm_gguf_name(inl_norm_role role);

// Keys a query sees in this layer; UINT32_MAX: all.
uint32_t inl_config_window(const inl_config *config, uint32_t layer);
// Which rotation a layer's q and k get. LOCAL is that of layers with a window, where it is another.
typedef enum inl_rope_kind {
    INL_ROPE_GLOBAL,
    INL_ROPE_LOCAL,
    INL_ROPE_COUNT,
    INL_ROPE_NONE = INL_ROPE_COUNT,
} inl_rope_kind;
inl_rope_kind inl_config_rope(const inl_config *config, uint32_t layer);
// Of LOCAL dim is 0 where there is none. The lists stay `config`'s.
inl_rope_config inl_config_rope_of(const inl_config *config, inl_rope_kind kind);

// The linear layers that adapters may target, layer by layer in order of roles, of experts one by
// one, then the head. Owns its strings.
typedef struct inl_modules {
    inl_module_list list;
    inl_module *items;
    uint32_t *by_path;
} inl_modules;
// Where a layer's role, or its first expert's, is in the list; UINT32_MAX: it is absent.
uint32_t inl_config_module(const inl_config *config, uint32_t layer, inl_role role);
uint32_t inl_config_module_count(const inl_config *config);
// The layer and role of a module in the list, of any of its experts; false: it is the head.
bool inl_config_find_module(const inl_config *config, uint32_t module, uint32_t *layer,
                            inl_role *role);
inlay_result inl_modules_create(const inl_env *env, const inl_config *config, inl_modules *out);
void inl_modules_free(const inl_env *env, inl_modules *modules);

#endif
