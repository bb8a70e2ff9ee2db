// SPDX-License-Identifier: MIT
#include "model/config.h"
#include "io/hf_names.h"
#include "model/metadata.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MOST_LAYERS 10000u
#define MOST_EXPERTS 4096u
#define GATING_SOFTMAX 1u // expert_gating_func

typedef struct role_names {
    const char *gguf, *module;
} role_names;

static const role_names roles[INL_ROLE_COUNT] = {
    [INL_ROLE_Q] = {"attn_q", "self_attn.q_proj"},
    [INL_ROLE_K] = {"attn_k", "self_attn.k_proj"},
    [INL_ROLE_V] = {"attn_v", "self_attn.v_proj"},
    [INL_ROLE_O] = {"attn_output", "self_attn.o_proj"},
    [INL_ROLE_GATE] = {"ffn_gate", "mlp.gate_proj"},
    [INL_ROLE_UP] = {"ffn_up", "mlp.up_proj"},
    [INL_ROLE_DOWN] = {"ffn_down", "mlp.down_proj"},
    [INL_ROLE_ROUTER] = {"ffn_gate_inp", "mlp.gate"},
};
static const role_names fused_qkv = {"attn_qkv", "self_attn.qkv_proj"};
static const role_names fused_gate_up = {"ffn_up", "mlp.gate_up_proj"};

// A module's path has the expert's number before its last part.
static const role_names expert_roles[INL_ROLE_COUNT] = {
    [INL_ROLE_GATE] = {"ffn_gate_exps", "gate_proj"},
    [INL_ROLE_UP] = {"ffn_up_exps", "up_proj"},
    [INL_ROLE_DOWN] = {"ffn_down_exps", "down_proj"},
};

static role_names names_of(const inl_config *c, uint32_t layer, inl_role role)
{
    if (inl_config_experts(c, layer, role) > 0)
        return expert_roles[role];
    if (role == INL_ROLE_Q && c->arch.fused_qkv)
        return fused_qkv;
    return role == INL_ROLE_GATE && c->arch.fused_gate_up ? fused_gate_up : roles[role];
}

const char *inl_role_gguf_name(const inl_config *config, uint32_t layer, inl_role role)
{
    return names_of(config, layer, role).gguf;
}

const char *inl_norm_gguf_name(inl_norm_role role)
{
    static const char *const names[INL_NORM_COUNT] = {
        [INL_NORM_ATTENTION] = "attn_norm",
        [INL_NORM_FFN] = "ffn_norm",
        [INL_NORM_POST_ATTENTION] = "post_attention_norm",
        [INL_NORM_POST_FFN] = "post_ffw_norm",
        [INL_NORM_Q] = "attn_q_norm",
        [INL_NORM_K] = "attn_k_norm",
    };
    return names[role];
}

// ---- reading

static inlay_result read_vocab(const inl_metadata *m, inl_config *c)
{
    const inl_gguf_tensor *embedding = inl_gguf_find_tensor(m->gguf, "token_embd.weight");
    if (!embedding || embedding->dims != 2 || embedding->shape[1] > 1u << 24)
        return inl_fail(m->env, INLAY_ERROR_BAD_FILE, "%s: there is no matrix token_embd.weight",
                        inl_gguf_path(m->gguf));
    c->vocab = (uint32_t)embedding->shape[1];
    c->tied_head = inl_gguf_find_tensor(m->gguf, "output.weight") == NULL;
    return INLAY_OK;
}

static inlay_result check_heads(const inl_metadata *m, const inl_config *c)
{
    if (c->heads % c->kv_heads != 0)
        return inl_fail(m->env, INLAY_ERROR_BAD_FILE,
                        "%s: %u query heads cannot share %u key-value heads",
                        inl_gguf_path(m->gguf), c->heads, c->kv_heads);
    if (c->head_dim == 0 || c->head_dim % 4 != 0 || c->head_dim > 256)
        return inl_fail(m->env, INLAY_ERROR_UNSUPPORTED,
                        "%s: a head size of %u is not supported (multiples of 4 up to 256 are)",
                        inl_gguf_path(m->gguf), c->head_dim);
    if (c->arch.fused_gate_up && c->ffn_dim % 4 != 0)
        return inl_fail(m->env, INLAY_ERROR_UNSUPPORTED,
                        "%s: a fused feed-forward size of %u is not supported (multiples of 4 are)",
                        inl_gguf_path(m->gguf), c->ffn_dim);
    return INLAY_OK;
}

static inlay_result check_router(const inl_metadata *m, const inl_config *c)
{
    uint32_t gating, shared;
    float scale;
    if (c->experts > MOST_EXPERTS || c->experts_used > c->experts)
        return inl_fail(m->env, INLAY_ERROR_BAD_FILE,
                        "%s: a token cannot go to %u of %u experts (there may be %u)",
                        inl_gguf_path(m->gguf), c->experts_used, c->experts, MOST_EXPERTS);
    INL_TRY(inl_metadata_u32_or(m, "expert_gating_func", 0, GATING_SOFTMAX, &gating));
    INL_TRY(inl_metadata_u32_or(m, "expert_shared_count", 0, 0, &shared));
    INL_TRY(inl_metadata_f32_or(m, "expert_weights_scale", 1.0f, &scale));
    if (gating != GATING_SOFTMAX || shared > 0 || (scale != 1.0f && scale != 0.0f))
        return inl_fail(m->env, INLAY_ERROR_UNSUPPORTED,
                        "%s: experts that all tokens share, or weights other than softmax's, are "
                        "not supported",
                        inl_gguf_path(m->gguf));
    return INLAY_OK;
}

// A layer is dense where it has that part's matrix and no router.
static void find_dense(const inl_metadata *m, inl_config *c)
{
    for (uint32_t i = 0; i < c->layers; i++) {
        char gate[64], router[64];
        snprintf(gate, sizeof(gate), "blk.%u.%s.weight", i, roles[INL_ROLE_GATE].gguf);
        snprintf(router, sizeof(router), "blk.%u.%s.weight", i, roles[INL_ROLE_ROUTER].gguf);
        if (inl_gguf_find_tensor(m->gguf, gate) && !inl_gguf_find_tensor(m->gguf, router))
            c->kinds[i] |= INL_LAYER_DENSE;
    }
}

// llama.cpp always normalizes these architectures' weights; a file may say otherwise.
static inlay_result read_experts(const inl_metadata *m, inl_config *c)
{
    if (c->arch.gelu || c->arch.post_norms || c->arch.fused_gate_up) // what block.c has no form of
        return inl_fail(m->env, INLAY_ERROR_UNSUPPORTED,
                        "%s: experts of %s, with GELU, norms behind or fused matrices, are not "
                        "supported",
                        inl_gguf_path(m->gguf), c->arch.name);
    INL_TRY(inl_metadata_u32(m, "expert_count", 1, &c->experts));
    INL_TRY(inl_metadata_u32(m, "expert_used_count", 1, &c->experts_used));
    INL_TRY(inl_metadata_u32_or(m, "expert_feed_forward_length", 1,
                                INL_MAX(1, c->ffn_dim / c->experts_used), &c->expert_dim));
    INL_TRY(inl_metadata_bool_or(m, "expert_weights_norm", true, &c->normalized_experts));
    find_dense(m, c);
    return check_router(m, c);
}

static inlay_result read_shapes(const inl_metadata *m, inl_config *c)
{
    INL_TRY(inl_metadata_u32(m, "block_count", 1, &c->layers));
    INL_TRY(inl_metadata_u32(m, "embedding_length", 1, &c->dim));
    INL_TRY(inl_metadata_u32(m, "feed_forward_length", 1, &c->ffn_dim));
    INL_TRY(inl_metadata_u32(m, "context_length", 1, &c->context_length));
    INL_TRY(inl_metadata_u32(m, "attention.head_count", 1, &c->heads));
    INL_TRY(inl_metadata_u32_or(m, "attention.head_count_kv", 1, c->heads, &c->kv_heads));
    INL_TRY(inl_metadata_u32_or(m, "attention.key_length", 1, c->dim / c->heads, &c->head_dim));
    uint32_t value_length;
    INL_TRY(inl_metadata_u32_or(m, "attention.value_length", 1, c->head_dim, &value_length));
    if (value_length != c->head_dim)
        return inl_fail(m->env, INLAY_ERROR_UNSUPPORTED,
                        "%s: keys of %u and values of %u elements are not supported",
                        inl_gguf_path(m->gguf), c->head_dim, value_length);
    if (c->layers > MOST_LAYERS)
        return inl_fail(m->env, INLAY_ERROR_BAD_FILE, "%s: %u layers is not believable",
                        inl_gguf_path(m->gguf), c->layers);
    c->kinds = inl_alloc(m->env, c->layers, sizeof(*c->kinds));
    if (!c->kinds)
        return INLAY_ERROR_OUT_OF_MEMORY;
    if (c->arch.experts)
        INL_TRY(read_experts(m, c));
    return check_heads(m, c);
}

static inlay_result read_attention(const inl_metadata *m, inl_config *c)
{
    bool wide = c->arch.wide_query_layers == c->layers;
    float width = (float)(wide ? c->dim / c->heads : c->head_dim);
    INL_TRY(inl_metadata_f32_or(m, "attention.scale", 0.0f, &c->attention_scale));
    if (c->attention_scale == 0.0f)
        c->attention_scale = 1.0f / sqrtf(width);
    INL_TRY(inl_metadata_f32_or(m, "attn_logit_softcapping", c->arch.attention_softcap,
                                &c->attention_softcap));
    INL_TRY(inl_metadata_f32_or(m, "rope.freq_base_swa", c->arch.window_rope_base,
                                &c->arch.window_rope_base));
    INL_TRY(inl_metadata_flags(m, "rope.layers", c->arch.nope_period, c->layers, // of folders alone
                               INL_LAYER_NOPE, c->kinds));
    INL_TRY(inl_metadata_u32_or(m, "attention.sliding_window", 0, c->arch.window, &c->window));
    if (c->window == 0)
        return INLAY_OK;
    return inl_metadata_flags(m, "attention.sliding_window_pattern", c->arch.window_period,
                              c->layers, INL_LAYER_FULL, c->kinds);
}

static inlay_result refuse_adapter(const inl_env *env, const inl_gguf *gguf)
{
    inl_slice type;
    if (inl_gguf_get_string(gguf, "general.type", &type) && type.size == 7 &&
        memcmp(type.data, "adapter", 7) == 0)
        return inl_fail(env, INLAY_ERROR_UNSUPPORTED, "%s is an adapter, not a model",
                        inl_gguf_path(gguf));
    return INLAY_OK;
}

static inlay_result read_architecture(const inl_env *env, const inl_gguf *gguf, inl_config *c)
{
    inl_slice name;
    if (!inl_gguf_get_string(gguf, "general.architecture", &name))
        return inl_fail(env, INLAY_ERROR_BAD_FILE, "%s: the metadata lack general.architecture",
                        inl_gguf_path(gguf));
    snprintf(c->architecture, sizeof(c->architecture), "%.*s", (int)INL_MIN(name.size, 31),
             name.data);
    const inl_arch *arch = inl_arch_find(c->architecture);
    if (arch) {
        c->arch = *arch;
        return INLAY_OK;
    }
    char names[256];
    inl_arch_names(names, sizeof(names));
    return inl_fail(env, INLAY_ERROR_UNSUPPORTED,
                    "%s: the architecture \"%s\" is not supported (%s are)", inl_gguf_path(gguf),
                    c->architecture, names);
}

// In a layer, of the roles before `end`.
static uint32_t modules_before(const inl_config *c, uint32_t layer, inl_role end)
{
    uint32_t count = 0;
    for (inl_role role = 0; role < end; role++)
        if (inl_config_has_role(c, layer, role))
            count += INL_MAX(1, inl_config_experts(c, layer, role));
    return count;
}

// Where each layer's modules begin, where they are not everywhere as many.
static inlay_result count_modules(const inl_env *env, inl_config *c)
{
    uint32_t *firsts = inl_alloc(env, c->layers + 1, sizeof(*firsts));
    if (!firsts)
        return INLAY_ERROR_OUT_OF_MEMORY;
    for (uint32_t i = 0; i < c->layers; i++)
        firsts[i + 1] = firsts[i] + modules_before(c, i, INL_ROLE_COUNT);
    c->first_modules = firsts;
    return INLAY_OK;
}

static inlay_result read_all(const inl_env *env, const inl_gguf *gguf, inl_config *c)
{
    INL_TRY(refuse_adapter(env, gguf));
    INL_TRY(read_architecture(env, gguf, c));
    inl_metadata m = {env, gguf, c->architecture};
    INL_TRY(read_shapes(&m, c));
    INL_TRY(inl_metadata_f32_or(&m, "attention.layer_norm_rms_epsilon", 1e-5f, &c->norm_eps));
    INL_TRY(inl_metadata_f32_or(&m, "final_logit_softcapping", c->arch.final_softcap,
                                &c->final_softcap));
    c->embedding_scale = c->arch.scaled_embedding ? sqrtf((float)c->dim) : 1.0f;
    INL_TRY(read_vocab(&m, c));
    INL_TRY(read_attention(&m, c));
    INL_TRY(count_modules(env, c));
    c->rope_halves = !c->arch.interleaved_rope || inl_gguf_is_folder(gguf);
    c->multimodal = inl_gguf_is_multimodal(gguf);
    return inl_rope_config_read(env, gguf, c->architecture, c->head_dim, &c->rope);
}

inlay_result inl_config_read(const inl_env *env, const inl_gguf *gguf, inl_config *out)
{
    *out = (inl_config){0};
    inlay_result result = read_all(env, gguf, out);
    if (result != INLAY_OK)
        inl_config_free(env, out);
    return result;
}

void inl_config_free(const inl_env *env, inl_config *config)
{
    inl_rope_config_free(env, &config->rope);
    inl_free(env, config->kinds);
    inl_free(env, config->first_modules);
    config->kinds = NULL;
    config->first_modules = NULL;
}

// ---- what a layer has

static bool is_kind(const inl_config *c, uint32_t layer, uint8_t kind)
{
    return c->kinds && c->kinds[layer] & kind;
}

bool inl_config_has_experts(const inl_config *c, uint32_t layer)
{
    return c->experts > 0 && !is_kind(c, layer, INL_LAYER_DENSE);
}

bool inl_config_has_role(const inl_config *c, uint32_t layer, inl_role role)
{
    if (role == INL_ROLE_K || role == INL_ROLE_V)
        return !c->arch.fused_qkv;
    if (role == INL_ROLE_ROUTER)
        return inl_config_has_experts(c, layer);
    return role != INL_ROLE_UP || !c->arch.fused_gate_up;
}

uint32_t inl_config_experts(const inl_config *c, uint32_t layer, inl_role role)
{
    bool of_each = role >= INL_ROLE_GATE && role <= INL_ROLE_DOWN;
    return of_each && inl_config_has_experts(c, layer) ? c->experts : 0;
}

void inl_config_shape(const inl_config *c, uint32_t layer, inl_role role, uint32_t *out,
                      uint32_t *in)
{
    uint32_t q = c->heads * c->head_dim, kv = c->kv_heads * c->head_dim;
    uint32_t ffn = inl_config_has_experts(c, layer) ? c->expert_dim : c->ffn_dim;
    *out = *in = 0;
    if (!inl_config_has_role(c, layer, role))
        return;
    switch (role) {
    case INL_ROLE_Q: *out = c->arch.fused_qkv ? q + 2 * kv : q, *in = c->dim; break;
    case INL_ROLE_K:
    case INL_ROLE_V: *out = kv, *in = c->dim; break;
    case INL_ROLE_O: *out = c->dim, *in = q; break;
    case INL_ROLE_GATE:
    case INL_ROLE_UP: *out = ffn << c->arch.fused_gate_up, *in = c->dim; break;
    case INL_ROLE_ROUTER: *out = c->experts, *in = c->dim; break;
    default: *out = c->dim, *in = ffn; break;
    }
}

bool inl_config_needs_bias(const inl_config *c, inl_role role)
{
    return c->arch.qkv_bias && role <= INL_ROLE_V;
}

uint32_t inl_config_norm(const inl_config *c, inl_norm_role role)
{
    switch (role) {
    case INL_NORM_ATTENTION:
    case INL_NORM_FFN: return c->dim;
    case INL_NORM_POST_ATTENTION:
    case INL_NORM_POST_FFN: return c->arch.post_norms ? c->dim : 0;
    default: return c->arch.qk_norm ? c->head_dim : 0;
    }
}

static bool is_windowed(const inl_config *c, uint32_t layer)
{
    return c->window > 0 && !is_kind(c, layer, INL_LAYER_FULL);
}

uint32_t inl_config_window(const inl_config *c, uint32_t layer)
{
    return is_windowed(c, layer) ? c->window : UINT32_MAX;
}

inl_rope_kind inl_config_rope(const inl_config *c, uint32_t layer)
{
    if (is_kind(c, layer, INL_LAYER_NOPE))
        return INL_ROPE_NONE;
    return c->arch.window_rope_base > 0.0f && is_windowed(c, layer) ? INL_ROPE_LOCAL
                                                                    : INL_ROPE_GLOBAL;
}

inl_rope_config inl_config_rope_of(const inl_config *c, inl_rope_kind kind)
{
    if (kind == INL_ROPE_GLOBAL)
        return c->rope;
    bool local = c->arch.window_rope_base > 0.0f && c->window > 0;
    return (inl_rope_config){.dim = local ? c->rope.dim : 0,
                             .base = c->arch.window_rope_base,
                             .factor = 1.0f,
                             .attention_factor = 1.0f};
}

// ---- modules

static uint32_t first_module(const inl_config *c, uint32_t layer)
{
    return c->first_modules ? c->first_modules[layer]
                            : layer * modules_before(c, 0, INL_ROLE_COUNT);
}

uint32_t inl_config_module(const inl_config *c, uint32_t layer, inl_role role)
{
    if (!inl_config_has_role(c, layer, role))
        return UINT32_MAX;
    return first_module(c, layer) + modules_before(c, layer, role);
}

uint32_t inl_config_module_count(const inl_config *c)
{
    return first_module(c, c->layers) + 1;
}

bool inl_config_find_module(const inl_config *c, uint32_t module, uint32_t *layer, inl_role *role)
{
    uint32_t low = 0, high = c->layers;
    if (module >= first_module(c, c->layers))
        return false;
    while (low + 1 < high) {
        uint32_t middle = low + (high - low) / 2;
        if (first_module(c, middle) <= module)
            low = middle;
        else
            high = middle;
    }
    *layer = low;
    *role = INL_ROLE_COUNT - 1;
    while (*role > 0 && (!inl_config_has_role(c, low, *role) ||
                         inl_config_module(c, low, *role) > module))
        --*role;
    return true;
}

static uint32_t interleaved_heads(const inl_config *c, inl_role role)
{
    if (!c->arch.interleaved_rope)
        return 0;
    return role == INL_ROLE_Q ? c->heads : role == INL_ROLE_K ? c->kv_heads : 0;
}

static bool name_module(const inl_env *env, const inl_config *c, uint32_t layer, inl_role role,
                        uint32_t expert, inl_module *m)
{
    role_names names = names_of(c, layer, role);
    *m = (inl_module){.permuted_heads = c->rope_halves ? 0 : interleaved_heads(c, role),
                      .folder_heads = c->rope_halves ? interleaved_heads(c, role) : 0,
                      .expert = expert,
                      .experts = inl_config_experts(c, layer, role),
                      .only_by_name = role == INL_ROLE_ROUTER};
    inl_config_shape(c, layer, role, &m->out, &m->in);
    const char *model = c->multimodal ? INL_HF_NESTED : INL_HF_LANGUAGE;
    m->path = m->experts ? inl_sprintf(env, "%slayers.%u.mlp.experts.%u.%s", model, layer, expert,
                                       names.module)
                         : inl_sprintf(env, "%slayers.%u.%s", model, layer, names.module);
    m->gguf = inl_sprintf(env, "blk.%u.%s.weight", layer, names.gguf);
    return m->path && m->gguf;
}

static bool name_layer(const inl_env *env, const inl_config *c, uint32_t layer, inl_module *items)
{
    bool ok = true;
    for (inl_role role = 0; role < INL_ROLE_COUNT; role++) {
        if (!inl_config_has_role(c, layer, role))
            continue;
        inl_module *first = items + inl_config_module(c, layer, role);
        for (uint32_t e = 0; e < INL_MAX(1, inl_config_experts(c, layer, role)); e++)
            ok &= name_module(env, c, layer, role, e, &first[e]);
    }
    return ok;
}

static int by_path(const void *x, const void *y)
{
    return strcmp((*(const inl_module *const *)x)->path, (*(const inl_module *const *)y)->path);
}

// The modules' indices in the order of their paths: experts make them many.
static inlay_result sort_modules(const inl_env *env, inl_modules *out)
{
    uint32_t count = out->list.count;
    const inl_module **sorted = inl_alloc(env, count, sizeof(*sorted));
    out->by_path = inl_alloc(env, count, sizeof(*out->by_path));
    if (!sorted || !out->by_path) {
        inl_free(env, sorted);
        return INLAY_ERROR_OUT_OF_MEMORY;
    }
    for (uint32_t i = 0; i < count; i++)
        sorted[i] = &out->items[i];
    qsort(sorted, count, sizeof(*sorted), by_path);
    for (uint32_t i = 0; i < count; i++)
        out->by_path[i] = (uint32_t)(sorted[i] - out->items);
    inl_free(env, sorted);
    out->list.by_path = out->by_path;
    return INLAY_OK;
}

inlay_result inl_modules_create(const inl_env *env, const inl_config *config, inl_modules *out)
{
    uint32_t count = inl_config_module_count(config);
    *out = (inl_modules){0};
    out->items = inl_alloc(env, count, sizeof(*out->items));
    if (!out->items)
        return INLAY_ERROR_OUT_OF_MEMORY;
    out->list = (inl_module_list){.architecture = config->architecture,
                                  .items = out->items,
                                  .count = count,
                                  .multimodal = config->multimodal};
    bool ok = true;
    for (uint32_t layer = 0; layer < config->layers; layer++)
        ok &= name_layer(env, config, layer, out->items);
    inl_module *head = &out->items[count - 1];
    *head = (inl_module){.in = config->dim,
                         .out = config->vocab,
                         .is_head = true,
                         .tied = config->tied_head,
                         .only_by_name = true};
    head->path = inl_strdup(env, "lm_head");
    head->gguf = inl_strdup(env, "output.weight");
    if (ok && head->path && head->gguf && sort_modules(env, out) == INLAY_OK)
        return INLAY_OK;
    inl_modules_free(env, out);
    return INLAY_ERROR_OUT_OF_MEMORY;
}

void inl_modules_free(const inl_env *env, inl_modules *modules)
{
    for (uint32_t i = 0; i < modules->list.count; i++) {
        inl_free(env, (char *)modules->items[i].path);
        inl_free(env, (char *)modules->items[i].gguf);
    }
    inl_free(env, modules->items);
    inl_free(env, modules->by_path);
    *modules = (inl_modules){0};
}
