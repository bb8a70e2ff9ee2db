// SPDX-License-Identifier: MIT
// RoPE's options, in the two spellings they have: transformers 5's rope_parameters, one object or
// one for each kind of layer, and 4's rope_theta and rope_scaling beside each other.
#include "io/hf_config.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

typedef struct rope_source {
    inl_hf_config *config;
    inl_gguf_view *view;
    json_t *values; // the object with the options, or NULL
    const char *key;
    double theta;
} rope_source;

static inlay_result number(const rope_source *r, const char *key, double fallback, double *out)
{
    if (!r->values) {
        *out = fallback;
        return INLAY_OK;
    }
    return inl_settings_number(&r->config->file, r->values, key, fallback, out);
}

static inlay_result positive(const rope_source *r, const char *key, double fallback, double *out)
{
    INL_TRY(number(r, key, fallback, out));
    if (*out > 0.0)
        return INLAY_OK;
    return inl_settings_bad(&r->config->file, key, fallback == 0.0 ? "is missing or not positive"
                                                               : "is not positive");
}

// The context the model was first trained for. phi3 has it beside the options, and first.
static inlay_result original_context(const rope_source *r, double *out)
{
    const inl_hf_config *c = r->config;
    const char *key = "original_max_position_embeddings";
    double outer, fallback = c->context;
    INL_TRY(inl_settings_number(&c->file, c->text, key, 0.0, &outer));
    if (outer == 0.0 && c->arch->traits & INL_HF_FUSED)
        outer = 4096.0;
    if (outer > 0.0) {
        *out = outer;
        return INLAY_OK;
    }
    INL_TRY(positive(r, key, fallback, out));
    return *out <= 1e9 ? INLAY_OK : inl_settings_bad(&c->file, key, "is not a number of tokens");
}

static inlay_result put_type(const rope_source *r, const char *type)
{
    char name[64];
    snprintf(name, sizeof(name), "%s.rope.scaling.type", r->config->arch->gguf);
    return inl_gguf_view_string(r->view, name, type);
}

static inlay_result put_linear(const rope_source *r)
{
    double factor;
    INL_TRY(positive(r, "factor", 0.0, &factor));
    INL_TRY(put_type(r, "linear"));
    return inl_hf_put_f32(r->config, r->view, "rope.scaling.factor", factor);
}

// ---- llama3: slow frequencies become `factor` times slower, fast ones stay, between is blended

static inlay_result put_llama3(const rope_source *r)
{
    inl_hf_config *c = r->config;
    double factor, low, high, context;
    INL_TRY(positive(r, "factor", 0.0, &factor));
    INL_TRY(positive(r, "low_freq_factor", 0.0, &low));
    INL_TRY(positive(r, "high_freq_factor", 0.0, &high));
    INL_TRY(original_context(r, &context));
    if (!(high > low))
        return inl_settings_bad(&c->file, "high_freq_factor", "is not above low_freq_factor");
    c->rope_freqs = inl_alloc(&c->file.env, c->rope_dim / 2, sizeof(float));
    if (!c->rope_freqs)
        return INLAY_ERROR_OUT_OF_MEMORY;
    for (uint32_t i = 0; i < c->rope_dim / 2; i++) {
        double wave = 2.0 * 3.14159265358979323846 * pow(r->theta, 2.0 * i / c->rope_dim);
        double blend = (context / wave - low) / (high - low);
        blend = blend < 0.0 ? 0.0 : blend > 1.0 ? 1.0 : blend;
        c->rope_freqs[i] = (float)(1.0 / ((1.0 - blend) / factor + blend));
    }
    return INLAY_OK;
}

// ---- yarn

// By how much cos and sin grow, and by how much llama.cpp, which multiplies its own idea of it in,
// has to be told so.
static inlay_result put_yarn(const rope_source *r)
{
    inl_hf_config *c = r->config;
    double factor, context, attention, mscale, all, fast, slow;
    bool truncate = true;
    INL_TRY(original_context(r, &context));
    INL_TRY(positive(r, "factor", (double)c->context / context, &factor));
    INL_TRY(number(r, "mscale", 0.0, &mscale));
    INL_TRY(number(r, "mscale_all_dim", 0.0, &all));
    INL_TRY(positive(r, "beta_fast", 32.0, &fast));
    INL_TRY(positive(r, "beta_slow", 1.0, &slow));
    INL_TRY(inl_settings_bool(&c->file, r->values, "truncate", true, &truncate));
    if (!truncate)
        return inl_settings_refuse(&c->file, "truncate", json_false());
    double growth = factor > 1.0 ? 0.1 * log(factor) : 0.0;
    double usual = mscale != 0.0 && all != 0.0 ? (1.0 + growth * mscale) / (1.0 + growth * all)
                                               : 1.0 + growth;
    INL_TRY(positive(r, "attention_factor", usual, &attention));
    INL_TRY(put_type(r, "yarn"));
    INL_TRY(inl_hf_put_f32(c, r->view, "rope.scaling.factor", factor));
    INL_TRY(inl_hf_put_u32(c, r->view, "rope.scaling.original_context_length", (uint32_t)context));
    INL_TRY(inl_hf_put_f32(c, r->view, "rope.scaling.attn_factor", attention / (1.0 + growth)));
    INL_TRY(inl_hf_put_f32(c, r->view, "rope.scaling.yarn_beta_fast", fast));
    return inl_hf_put_f32(c, r->view, "rope.scaling.yarn_beta_slow", slow);
}

// ---- longrope

static inlay_result read_factors(const rope_source *r, const char *key, float **out)
{
    const inl_hf_config *c = r->config;
    json_t *list;
    char what[64];
    INL_TRY(inl_settings_array(&c->file, r->values, key, &list));
    snprintf(what, sizeof(what), "does not have %u positive numbers", c->rope_dim / 2);
    if (json_array_size(list) != c->rope_dim / 2)
        return inl_settings_bad(&c->file, key, what);
    *out = inl_alloc(&c->file.env, c->rope_dim / 2, sizeof(float));
    if (!*out)
        return INLAY_ERROR_OUT_OF_MEMORY;
    for (uint32_t i = 0; i < c->rope_dim / 2; i++) {
        (*out)[i] = (float)json_number_value(json_array_get(list, i));
        if (!((*out)[i] > 0.0f && isfinite((*out)[i])))
            return inl_settings_bad(&c->file, key, what);
    }
    return INLAY_OK;
}

static inlay_result put_longrope(const rope_source *r)
{
    inl_hf_config *c = r->config;
    double context, factor, attention;
    INL_TRY(read_factors(r, "long_factor", &c->rope_long));
    INL_TRY(read_factors(r, "short_factor", &c->rope_short));
    INL_TRY(original_context(r, &context));
    INL_TRY(positive(r, "factor", (double)c->context / context, &factor));
    double usual = factor > 1.0 ? sqrt(1.0 + log(factor) / log(context)) : 1.0;
    INL_TRY(positive(r, "attention_factor", usual, &attention));
    INL_TRY(put_type(r, "longrope"));
    INL_TRY(inl_hf_put_u32(c, r->view, "rope.scaling.original_context_length", (uint32_t)context));
    return inl_hf_put_f32(c, r->view, "rope.scaling.attn_factor", attention);
}

// ---- both spellings

static inlay_result put_scaling(const rope_source *r)
{
    const inl_hf_config *c = r->config;
    const char *type = "default";
    if (r->values) {
        INL_TRY(inl_settings_string(&c->file, r->values, "type", "default", &type));
        INL_TRY(inl_settings_string(&c->file, r->values, "rope_type", type, &type));
    }
    bool phi3 = c->arch->traits & INL_HF_FUSED; // its first files called it otherwise
    if (strcmp(type, "longrope") == 0 ||
        (phi3 && (strcmp(type, "su") == 0 || strcmp(type, "yarn") == 0)))
        return put_longrope(r);
    if (strcmp(type, "default") == 0)
        return INLAY_OK;
    if (strcmp(type, "linear") == 0)
        return put_linear(r);
    if (strcmp(type, "llama3") == 0)
        return put_llama3(r);
    if (strcmp(type, "yarn") == 0)
        return put_yarn(r);
    json_t *value = json_string(type);
    inlay_result result = inl_settings_refuse(&c->file, "rope_type", value);
    json_decref(value);
    return result;
}

// The local layers' base. transformers has no scaling for them in any model there is.
static inlay_result put_local(const rope_source *r, json_t *nested)
{
    const inl_hf_config *c = r->config;
    double base;
    json_t *local = NULL;
    const char *type = "default";
    if (nested)
        INL_TRY(inl_settings_object(&c->file, nested, "sliding_attention", &local));
    if (!local && !(c->arch->traits & INL_HF_TWO_ROPES))
        return INLAY_OK;
    INL_TRY(inl_settings_number(&c->file, c->text, "rope_local_base_freq", 10000.0, &base));
    if (local) {
        INL_TRY(inl_settings_number(&c->file, local, "rope_theta", base, &base));
        INL_TRY(inl_settings_string(&c->file, local, "rope_type", "default", &type));
    }
    if (strcmp(type, "default") != 0)
        return inl_settings_refuse(&c->file, "rope_type", json_object_get(local, "rope_type"));
    if (!(base > 0.0))
        return inl_settings_bad(&c->file, "rope_local_base_freq", "is not positive");
    return inl_hf_put_f32(c, r->view, "rope.freq_base_swa", base);
}

static inlay_result read_dimensions(rope_source *r)
{
    inl_hf_config *c = r->config;
    double partial;
    INL_TRY(inl_settings_number(&c->file, c->text, "partial_rotary_factor", 1.0, &partial));
    INL_TRY(number(r, "partial_rotary_factor", partial, &partial));
    if (!(partial > 0.0 && partial <= 1.0))
        return inl_settings_bad(&c->file, "partial_rotary_factor", "is not above 0 and at most 1");
    if (!(c->arch->traits & INL_HF_FUSED)) // the other classes turn all of a head whatever it says
        partial = 1.0;
    c->rope_dim = (uint32_t)((double)c->head_dim * partial);
    if (c->rope_dim < 2)
        return inl_settings_bad(&c->file, "partial_rotary_factor", "leaves RoPE nothing to turn");
    return inl_hf_put_u32(c, r->view, "rope.dimension_count", c->rope_dim);
}

inlay_result inl_hf_rope_write(inl_hf_config *c, inl_gguf_view *view)
{
    rope_source r = {.config = c, .view = view};
    json_t *all, *nested = NULL;
    INL_TRY(inl_settings_object(&c->file, c->text, "rope_parameters", &all));
    if (!all)
        INL_TRY(inl_settings_object(&c->file, c->text, "rope_scaling", &all));
    if (json_object_get(all, "full_attention") || json_object_get(all, "sliding_attention"))
        nested = all;
    r.values = all;
    if (nested)
        INL_TRY(inl_settings_object(&c->file, nested, "full_attention", &r.values));
    INL_TRY(inl_settings_number(&c->file, c->text, "rope_theta", c->arch->theta, &r.theta));
    INL_TRY(positive(&r, "rope_theta", r.theta, &r.theta));
    INL_TRY(inl_hf_put_f32(c, view, "rope.freq_base", r.theta));
    INL_TRY(read_dimensions(&r));
    INL_TRY(put_local(&r, nested));
    return put_scaling(&r);
}
