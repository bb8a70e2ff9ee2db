// SPDX-License-Identifier: MIT
#include "model/config.h"
#include "quant/format.h"

#include <stdio.h>
#include <string.h>

// An architecture: what its files must and may hold, and which conventions it follows.
typedef struct architecture {
    const char *name;
    bool interleaved_rope; // pairs (2i, 2i + 1): q's and k's rows are not in Hugging Face's order
} architecture;

static const architecture architectures[] = {
    {"llama", true},
};

static const struct {
    const char *gguf, *module;
} roles[INL_ROLE_COUNT] = {
    [INL_ROLE_Q] = {"attn_q", "self_attn.q_proj"},
    [INL_ROLE_K] = {"attn_k", "self_attn.k_proj"},
    [INL_ROLE_V] = {"attn_v", "self_attn.v_proj"},
    [INL_ROLE_O] = {"attn_output", "self_attn.o_proj"},
    [INL_ROLE_GATE] = {"ffn_gate", "mlp.gate_proj"},
    [INL_ROLE_UP] = {"ffn_up", "mlp.up_proj"},
    [INL_ROLE_DOWN] = {"ffn_down", "mlp.down_proj"},
};

const char *inl_role_gguf_name(inl_role role)
{
    return roles[role].gguf;
}

static const architecture *find_architecture(const char *name)
{
    for (size_t i = 0; i < INL_COUNT(architectures); i++)
        if (strcmp(architectures[i].name, name) == 0)
            return &architectures[i];
    return NULL;
}

// ---- metadata: "<architecture>.<key>"

typedef struct reader {
    const inl_env *env;
    const inl_gguf *gguf;
    const char *architecture;
} reader;

static void full_key(const reader *r, const char *key, char *out, size_t size)
{
    snprintf(out, size, "%s.%s", r->architecture, key);
}

static inlay_result read_u32(const reader *r, const char *key, uint32_t least, uint32_t *out)
{
    char name[128];
    full_key(r, key, name, sizeof(name));
    if (!inl_gguf_has(r->gguf, name))
        return inl_fail(r->env, INLAY_ERROR_BAD_FILE, "%s: the metadata lack %s",
                        inl_gguf_path(r->gguf), name);
    if (!inl_gguf_get_u32(r->gguf, name, out) || *out < least || *out > 1u << 24)
        return inl_fail(r->env, INLAY_ERROR_BAD_FILE, "%s: %s is not a number from %u to %u",
                        inl_gguf_path(r->gguf), name, least, 1u << 24);
    return INLAY_OK;
}

static inlay_result read_u32_or(const reader *r, const char *key, uint32_t fallback, uint32_t *out)
{
    char name[128];
    full_key(r, key, name, sizeof(name));
    *out = fallback;
    return inl_gguf_has(r->gguf, name) ? read_u32(r, key, 1, out) : INLAY_OK;
}

static inlay_result read_f32_or(const reader *r, const char *key, float fallback, float *out)
{
    char name[128];
    full_key(r, key, name, sizeof(name));
    *out = fallback;
    if (!inl_gguf_has(r->gguf, name))
        return INLAY_OK;
    if (!inl_gguf_get_f32(r->gguf, name, out) || !(*out > 1e-30f && *out < 1e30f))
        return inl_fail(r->env, INLAY_ERROR_BAD_FILE, "%s: %s is not a number from 1e-30 to 1e30",
                        inl_gguf_path(r->gguf), name);
    return INLAY_OK;
}

static inlay_result refuse_other_scaling(const reader *r)
{
    char name[128];
    inl_slice type;
    full_key(r, "rope.scaling.type", name, sizeof(name));
    if (!inl_gguf_get_string(r->gguf, name, &type))
        return INLAY_OK;
    if ((type.size == 4 && memcmp(type.data, "none", 4) == 0) ||
        (type.size == 6 && memcmp(type.data, "linear", 6) == 0))
        return INLAY_OK;
    return inl_fail(r->env, INLAY_ERROR_UNSUPPORTED, "%s: RoPE scaling \"%.*s\" is not supported",
                    inl_gguf_path(r->gguf), (int)INL_MIN(type.size, 32), type.data);
}

static inlay_result read_rope(const reader *r, inl_config *c)
{
    INL_TRY(read_u32_or(r, "rope.dimension_count", c->head_dim, &c->rope_dim));
    INL_TRY(read_f32_or(r, "rope.freq_base", 10000.0f, &c->rope_base));
    INL_TRY(refuse_other_scaling(r));
    float factor;
    INL_TRY(read_f32_or(r, "rope.scaling.factor", 1.0f, &factor));
    c->rope_scale = 1.0f / factor;
    if (c->rope_dim > c->head_dim || c->rope_dim % 4 != 0)
        return inl_fail(r->env, INLAY_ERROR_UNSUPPORTED,
                        "%s: RoPE over %u of %u head elements is not supported",
                        inl_gguf_path(r->gguf), c->rope_dim, c->head_dim);
    const inl_gguf_tensor *factors = inl_gguf_find_tensor(r->gguf, "rope_freqs.weight");
    if (!factors)
        return INLAY_OK;
    const inl_format *format = inl_format_by_ggml(factors->type);
    if (factors->shape[0] != c->rope_dim / 2 || factors->dims != 1 || !format ||
        format->id != INL_FORMAT_F32)
        return inl_fail(r->env, INLAY_ERROR_BAD_FILE,
                        "%s: rope_freqs.weight is not %u numbers of type F32",
                        inl_gguf_path(r->gguf), c->rope_dim / 2);
    c->rope_factors = inl_alloc(r->env, c->rope_dim / 2, sizeof(float));
    if (!c->rope_factors)
        return INLAY_ERROR_OUT_OF_MEMORY;
    memcpy(c->rope_factors, factors->data, c->rope_dim / 2 * sizeof(float));
    return INLAY_OK;
}

static inlay_result read_vocab(const reader *r, inl_config *c)
{
    const inl_gguf_tensor *embedding = inl_gguf_find_tensor(r->gguf, "token_embd.weight");
    if (!embedding || embedding->dims != 2 || embedding->shape[1] > 1u << 24)
        return inl_fail(r->env, INLAY_ERROR_BAD_FILE, "%s: there is no matrix token_embd.weight",
                        inl_gguf_path(r->gguf));
    c->vocab = (uint32_t)embedding->shape[1];
    c->tied_head = inl_gguf_find_tensor(r->gguf, "output.weight") == NULL;
    return INLAY_OK;
}

static inlay_result check_heads(const reader *r, const inl_config *c)
{
    if (c->heads % c->kv_heads != 0)
        return inl_fail(r->env, INLAY_ERROR_BAD_FILE,
                        "%s: %u query heads cannot share %u key-value heads",
                        inl_gguf_path(r->gguf), c->heads, c->kv_heads);
    if (c->head_dim == 0 || c->head_dim % 4 != 0 || c->head_dim > 256)
        return inl_fail(r->env, INLAY_ERROR_UNSUPPORTED,
                        "%s: a head size of %u is not supported (multiples of 4 up to 256 are)",
                        inl_gguf_path(r->gguf), c->head_dim);
    return INLAY_OK;
}

static inlay_result read_shapes(const reader *r, inl_config *c)
{
    INL_TRY(read_u32(r, "block_count", 1, &c->layers));
    INL_TRY(read_u32(r, "embedding_length", 1, &c->dim));
    INL_TRY(read_u32(r, "feed_forward_length", 1, &c->ffn_dim));
    INL_TRY(read_u32(r, "context_length", 1, &c->context_length));
    INL_TRY(read_u32(r, "attention.head_count", 1, &c->heads));
    INL_TRY(read_u32_or(r, "attention.head_count_kv", c->heads, &c->kv_heads));
    INL_TRY(read_u32_or(r, "attention.key_length", c->dim / c->heads, &c->head_dim));
    uint32_t value_length;
    INL_TRY(read_u32_or(r, "attention.value_length", c->head_dim, &value_length));
    if (value_length != c->head_dim)
        return inl_fail(r->env, INLAY_ERROR_UNSUPPORTED,
                        "%s: keys of %u and values of %u elements are not supported",
                        inl_gguf_path(r->gguf), c->head_dim, value_length);
    if (c->layers > 10000)
        return inl_fail(r->env, INLAY_ERROR_BAD_FILE, "%s: %u layers is not believable",
                        inl_gguf_path(r->gguf), c->layers);
    return check_heads(r, c);
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

static inlay_result read_all(const inl_env *env, const inl_gguf *gguf, inl_config *c)
{
    INL_TRY(refuse_adapter(env, gguf));
    inl_slice name;
    if (!inl_gguf_get_string(gguf, "general.architecture", &name))
        return inl_fail(env, INLAY_ERROR_BAD_FILE, "%s: the metadata lack general.architecture",
                        inl_gguf_path(gguf));
    snprintf(c->architecture, sizeof(c->architecture), "%.*s", (int)INL_MIN(name.size, 31),
             name.data);
    if (!find_architecture(c->architecture))
        return inl_fail(env, INLAY_ERROR_UNSUPPORTED,
                        "%s: the architecture \"%s\" is not supported (llama is)",
                        inl_gguf_path(gguf), c->architecture);
    reader r = {env, gguf, c->architecture};
    INL_TRY(read_shapes(&r, c));
    INL_TRY(read_f32_or(&r, "attention.layer_norm_rms_epsilon", 1e-5f, &c->norm_eps));
    INL_TRY(read_vocab(&r, c));
    return read_rope(&r, c);
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
    inl_free(env, config->rope_factors);
    config->rope_factors = NULL;
}

void inl_config_shape(const inl_config *c, inl_role role, uint32_t *out, uint32_t *in)
{
    uint32_t q = c->heads * c->head_dim, kv = c->kv_heads * c->head_dim;
    switch (role) {
    case INL_ROLE_Q: *out = q, *in = c->dim; break;
    case INL_ROLE_K:
    case INL_ROLE_V: *out = kv, *in = c->dim; break;
    case INL_ROLE_O: *out = c->dim, *in = q; break;
    case INL_ROLE_GATE:
    case INL_ROLE_UP: *out = c->ffn_dim, *in = c->dim; break;
    default: *out = c->dim, *in = c->ffn_dim; break;
    }
}

// ---- modules

static uint32_t permuted_heads(const inl_config *c, inl_role role)
{
    if (!find_architecture(c->architecture)->interleaved_rope)
        return 0;
    return role == INL_ROLE_Q ? c->heads : role == INL_ROLE_K ? c->kv_heads : 0;
}

static bool name_module(const inl_env *env, const inl_config *c, uint32_t layer, inl_role role,
                        inl_module *m)
{
    *m = (inl_module){.permuted_heads = permuted_heads(c, role)};
    inl_config_shape(c, role, &m->out, &m->in);
    m->path = inl_sprintf(env, "model.layers.%u.%s", layer, roles[role].module);
    m->gguf = inl_sprintf(env, "blk.%u.%s.weight", layer, roles[role].gguf);
    return m->path && m->gguf;
}

inlay_result inl_modules_create(const inl_env *env, const inl_config *config, inl_modules *out)
{
    uint32_t count = config->layers * INL_ROLE_COUNT + 1;
    *out = (inl_modules){0};
    out->items = inl_alloc(env, count, sizeof(*out->items));
    if (!out->items)
        return INLAY_ERROR_OUT_OF_MEMORY;
    out->list = (inl_module_list){config->architecture, out->items, count};
    bool ok = true;
    for (uint32_t i = 0; i + 1 < count; i++)
        ok &= name_module(env, config, i / INL_ROLE_COUNT, i % INL_ROLE_COUNT, &out->items[i]);
    inl_module *head = &out->items[count - 1];
    *head = (inl_module){.in = config->dim, .out = config->vocab, .is_head = true};
    head->path = inl_strdup(env, "lm_head");
    head->gguf = inl_strdup(env, "output.weight");
    if (ok && head->path && head->gguf)
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
    *modules = (inl_modules){0};
}
