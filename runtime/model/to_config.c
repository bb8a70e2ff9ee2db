// SPDX-License-Identifier: MIT
// A GGUF file's metadata in transformers' words; the other way round it is io/hf_config.c. Keys are
// those of transformers 4, which 5 reads too.
#include "adapter/pairs.h"
#include "base/file.h"
#include "io/hf_config.h"
#include "model/to_folder.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct maker {
    const inl_model *model;
    const inl_config *c;
    const inl_hf_architecture *arch;
    json_t *root;
} maker;

static inlay_result refuse(const maker *m, const char *what)
{
    return inl_fail(&m->model->env, INLAY_ERROR_UNSUPPORTED,
                    "%s: it cannot become a folder, because its class in transformers has no "
                    "word for %s",
                    inl_gguf_path(m->model->gguf), what);
}

static void put(const maker *m, const char *key, json_t *value)
{
    json_object_set_new(m->root, key, value);
}

static void put_u32(const maker *m, const char *key, uint32_t value)
{
    put(m, key, json_integer(value));
}

static json_t *real(float value)
{
    return json_real(inl_lora_decimal(value));
}

// ---- RoPE

static json_t *list_of(const float *values, uint32_t count)
{
    json_t *list = json_array();
    for (uint32_t i = 0; i < count; i++)
        json_array_append_new(list, real(values[i]));
    return list;
}

// The options that give Llama 3's divisors; all its files have these three.
static inlay_result make_llama3(const maker *m, json_t *scaling)
{
    const double low = 1.0, high = 4.0, context = 8192.0;
    const inl_rope_config *r = &m->c->rope;
    float factor = 1.0f;
    for (uint32_t i = 0; i < r->dim / 2; i++)
        factor = fmaxf(factor, r->divisors[i]);
    for (uint32_t i = 0; i < r->dim / 2; i++) {
        double wave = 2.0 * 3.14159265358979323846 * pow((double)r->base, 2.0 * i / r->dim);
        double blend = fmin(fmax((context / wave - low) / (high - low), 0.0), 1.0);
        double want = 1.0 / ((1.0 - blend) / (double)factor + blend);
        if (fabs((double)r->divisors[i] / want - 1.0) > 1e-4)
            return refuse(m, "the divisors in its rope_freqs.weight, which are not Llama 3's");
    }
    json_object_set_new(scaling, "rope_type", json_string("llama3"));
    json_object_set_new(scaling, "factor", real(factor));
    json_object_set_new(scaling, "low_freq_factor", json_real(low));
    json_object_set_new(scaling, "high_freq_factor", json_real(high));
    json_object_set_new(scaling, "original_max_position_embeddings",
                        json_integer((json_int_t)context));
    return INLAY_OK;
}

static void make_yarn(const inl_rope_config *r, json_t *scaling)
{
    double growth = r->factor > 1.0f ? 0.1 * log((double)r->factor) : 0.0;
    json_object_set_new(scaling, "rope_type", json_string("yarn"));
    json_object_set_new(scaling, "factor", real(r->factor));
    json_object_set_new(scaling, "attention_factor",
                        json_real((double)r->attention_factor * (1.0 + growth)));
    json_object_set_new(scaling, "beta_fast", real(r->beta_fast));
    json_object_set_new(scaling, "beta_slow", real(r->beta_slow));
    json_object_set_new(scaling, "original_max_position_embeddings",
                        json_integer(r->original_context));
}

static void make_longrope(const maker *m, json_t *scaling)
{
    const inl_rope_config *r = &m->c->rope;
    json_object_set_new(scaling, "rope_type", json_string("longrope"));
    json_object_set_new(scaling, "short_factor", list_of(r->divisors, r->dim / 2));
    json_object_set_new(scaling, "long_factor", list_of(r->long_divisors, r->dim / 2));
    json_object_set_new(scaling, "attention_factor", real(r->attention_factor));
    put_u32(m, "original_max_position_embeddings", r->original_context);
}

static inlay_result make_scaling(const maker *m, json_t *scaling)
{
    const inl_rope_config *r = &m->c->rope;
    if (r->scaling == INL_ROPE_LONGROPE) {
        make_longrope(m, scaling);
        return INLAY_OK;
    }
    bool plain = r->scaling != INL_ROPE_YARN && (r->factor == 1.0f || r->factor == 0.0f);
    if (r->divisors)
        return plain ? make_llama3(m, scaling) : refuse(m, "divisors with another RoPE scaling");
    if (!plain && r->scaling == INL_ROPE_YARN)
        make_yarn(r, scaling);
    if (!plain && r->scaling == INL_ROPE_LINEAR) {
        json_object_set_new(scaling, "rope_type", json_string("linear"));
        json_object_set_new(scaling, "factor", real(r->factor));
    }
    if (r->scaling != INL_ROPE_YARN && r->attention_factor != 1.0f)
        return refuse(m, "an attention factor without yarn");
    return INLAY_OK;
}

// gemma3's two kinds of layers have an object each in transformers 5, keys of their own in 4.
static void put_ropes(const maker *m, json_t *scaling)
{
    json_t *full = json_copy(scaling);
    if (json_object_size(full) == 0)
        json_object_set_new(full, "rope_type", json_string("default"));
    json_object_set_new(full, "rope_theta", real(m->c->rope.base));
    put(m, "rope_parameters",
        json_pack("{s:o, s:{s:s, s:o}}", "full_attention", full, "sliding_attention", "rope_type",
                  "default", "rope_theta", real(m->c->arch.window_rope_base)));
    put(m, "rope_local_base_freq", real(m->c->arch.window_rope_base));
}

static inlay_result put_rope(const maker *m)
{
    const inl_rope_config *r = &m->c->rope;
    json_t *scaling = json_object();
    inlay_result result = make_scaling(m, scaling);
    put(m, "rope_theta", real(r->base));
    if (m->arch->traits & INL_HF_TWO_ROPES)
        put_ropes(m, scaling);
    else if (json_object_size(scaling) > 0)
        put(m, "rope_scaling", json_incref(scaling));
    json_decref(scaling);
    if (result != INLAY_OK || r->dim == m->c->head_dim)
        return result;
    if (!(m->arch->traits & INL_HF_FUSED))
        return refuse(m, "RoPE over a part of a head");
    put(m, "partial_rotary_factor", json_real((double)r->dim / m->c->head_dim));
    return INLAY_OK;
}

// ---- attention

static inlay_result put_windows(const maker *m)
{
    const inl_config *c = m->c;
    json_t *types = json_array();
    bool all = true;
    for (uint32_t i = 0; i < c->layers; i++) {
        bool local = inl_config_window(c, i) != UINT32_MAX;
        all &= local;
        json_array_append_new(types,
                              json_string(local ? "sliding_attention" : "full_attention"));
    }
    bool listed = m->arch->window_layers > INL_HF_WINDOW_EACH;
    if (m->arch->window_layers != INL_HF_WINDOW_NONE)
        put(m, "sliding_window", c->window ? json_integer(c->window) : json_null());
    if (m->arch->traits & INL_HF_WINDOW_SWITCH)
        put(m, "use_sliding_window", json_boolean(c->window > 0));
    if (listed)
        put(m, "layer_types", json_incref(types));
    json_decref(types);
    bool known = c->window == 0 || listed || (all && m->arch->window_layers != INL_HF_WINDOW_NONE);
    return known ? INLAY_OK : refuse(m, "a sliding window in these layers");
}

static inlay_result put_attention(const maker *m)
{
    const inl_config *c = m->c;
    double usual = 1.0 / sqrt((double)c->head_dim);
    bool caps = c->attention_softcap != 0.0f || c->final_softcap != 0.0f;
    if (m->arch->traits & INL_HF_QUERY_SCALE) {
        double scalar = 1.0 / ((double)c->attention_scale * (double)c->attention_scale);
        double whole = round(scalar);
        bool integral = fabs(scalar - whole) < 1e-5 * scalar; // what the classes ask for
        put(m, "query_pre_attn_scalar",
            integral ? json_integer((json_int_t)whole) : json_real(scalar));
        put(m, "attn_logit_softcapping",
            c->attention_softcap != 0.0f ? real(c->attention_softcap) : json_null());
        put(m, "final_logit_softcapping",
            c->final_softcap != 0.0f ? real(c->final_softcap) : json_null());
    } else if (caps || fabs((double)c->attention_scale / usual - 1.0) > 1e-5) {
        return refuse(m, caps ? "soft caps" : "a scale of attention of its own");
    }
    if (m->arch->traits & INL_HF_NOPE) {
        json_t *list = json_array();
        for (uint32_t i = 0; i < c->layers; i++)
            json_array_append_new(list, json_integer(inl_config_rope(c, i) != INL_ROPE_NONE));
        put(m, "no_rope_layers", list);
    }
    return INLAY_OK;
}

// Which roles have biases is one option for attention and one for the rest.
static inlay_result put_biases(const maker *m)
{
    for (uint32_t i = 0; i < m->c->layers; i++) {
        const inl_source *bias = m->model->layers[i].bias;
        bool qkv = bias[INL_ROLE_Q].tensor && bias[INL_ROLE_K].tensor && bias[INL_ROLE_V].tensor;
        bool none = !bias[INL_ROLE_Q].tensor && !bias[INL_ROLE_K].tensor &&
                    !bias[INL_ROLE_V].tensor;
        bool o = bias[INL_ROLE_O].tensor;
        bool others = bias[INL_ROLE_GATE].tensor || bias[INL_ROLE_UP].tensor ||
                      bias[INL_ROLE_DOWN].tensor;
        bool needed = m->arch->traits & INL_HF_QKV_BIAS;
        bool good = needed ? qkv && !o : (qkv && o) || (none && !o);
        if (!good || others || (qkv && m->arch->traits & INL_HF_FUSED))
            return refuse(m, "biases where it has them");
        if (!needed)
            put(m, "attention_bias", json_boolean(qkv));
    }
    return INLAY_OK;
}

// ---- the files

static void put_sizes(const maker *m)
{
    const inl_config *c = m->c;
    put_u32(m, "hidden_size", c->dim);
    put_u32(m, "intermediate_size", c->ffn_dim);
    put_u32(m, "num_hidden_layers", c->layers);
    put_u32(m, "num_attention_heads", c->heads);
    put_u32(m, "num_key_value_heads", c->kv_heads);
    put_u32(m, "head_dim", c->head_dim);
    put_u32(m, "vocab_size", c->vocab);
    put_u32(m, "max_position_embeddings", c->context_length);
    put(m, "rms_norm_eps", real(c->norm_eps));
}

// What generation begins and ends with; absent ones are null, for the classes have their own.
static void put_ends(const inl_tokenizer_info *info, json_t *root)
{
    json_t *ends = json_array();
    for (uint32_t i = 0; i < info->end_count; i++)
        json_array_append_new(ends, json_integer(info->ends[i]));
    json_object_set_new(root, "bos_token_id",
                        info->bos >= 0 ? json_integer(info->bos) : json_null());
    json_object_set_new(root, "eos_token_id",
                        json_array_size(ends) == 0   ? json_null()
                        : json_array_size(ends) == 1 ? json_incref(json_array_get(ends, 0))
                                                     : json_incref(ends));
    json_object_set_new(root, "pad_token_id", json_null());
    json_decref(ends);
}

static inlay_result write(const maker *m, const char *folder, const char *name, const json_t *root)
{
    const inl_env *env = &m->model->env;
    char *path = inl_path_join(env, folder, name);
    char *text = json_dumps(root, JSON_INDENT(2) | JSON_REAL_PRECISION(15));
    inlay_result result = path && text ? inl_file_write(env, path, text, strlen(text))
                                       : INLAY_ERROR_OUT_OF_MEMORY;
    inl_free(env, path);
    free(text);
    return result;
}

static inlay_result write_generation(const maker *m, const char *folder)
{
    json_t *root = json_object();
    put_ends(inl_tokenizer_get_info(m->model->tokenizer), root);
    inlay_result result = write(m, folder, "generation_config.json", root);
    json_decref(root);
    return result;
}

static inlay_result fill(const maker *m, const inl_format *format, bool tied)
{
    bool gemma = m->arch->traits & INL_HF_GEMMA;
    put(m, "architectures", json_pack("[s]", m->arch->name));
    put(m, "model_type", json_string(inl_hf_type_of_class(m->arch->name)));
    put_sizes(m);
    put(m, gemma ? "hidden_activation" : "hidden_act",
        json_string(gemma ? "gelu_pytorch_tanh" : "silu"));
    put(m, "tie_word_embeddings", json_boolean(tied));
    put(m, "torch_dtype", json_string(format->id == INL_FORMAT_F32   ? "float32"
                                      : format->id == INL_FORMAT_F16 ? "float16"
                                                                     : "bfloat16"));
    put_ends(inl_tokenizer_get_info(m->model->tokenizer), m->root);
    INL_TRY(put_rope(m));
    INL_TRY(put_windows(m));
    INL_TRY(put_attention(m));
    return put_biases(m);
}

inlay_result inl_model_write_config(const inl_model *model, const inl_format *format, bool tied,
                                    const char *folder)
{
    const inl_config *c = &model->config;
    maker m = {.model = model,
               .c = c,
               .arch = inl_hf_architecture_of(c->architecture, c->window > 0),
               .root = json_object()};
    inlay_result result = !m.arch || c->experts > 0
                              ? inl_fail(&model->env, INLAY_ERROR_UNSUPPORTED,
                                         "%s: a GGUF file of the architecture %s cannot become a "
                                         "folder: merge it into one that ends in .gguf",
                                         inl_gguf_path(model->gguf), c->architecture)
                              : fill(&m, format, tied);
    if (result == INLAY_OK)
        result = write(&m, folder, "config.json", m.root);
    if (result == INLAY_OK)
        result = write_generation(&m, folder);
    json_decref(m.root);
    return result;
}
