// SPDX-License-Identifier: MIT
#include "model/rope.h"
#include "model/metadata.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#define YARN_BETA_FAST 32.0f
#define YARN_BETA_SLOW 1.0f
#define YARN_MAGNITUDE 0.1 // per e-fold of the factor, on cosine and sine
#define PI 3.14159265358979323846

static bool equals(inl_slice text, const char *word)
{
    return text.size == strlen(word) && memcmp(text.data, word, text.size) == 0;
}

static inlay_result read_type(const inl_metadata *m, inl_rope_config *c)
{
    char name[128];
    inl_slice type;
    snprintf(name, sizeof(name), "%s.rope.scaling.type", m->architecture);
    if (inl_gguf_find_tensor(m->gguf, "rope_factors_long.weight")) { // Phi 3's files say no type
        c->scaling = INL_ROPE_LONGROPE;
        return INLAY_OK;
    }
    c->scaling = INL_ROPE_LINEAR; // a factor alone says so
    if (!inl_gguf_get_string(m->gguf, name, &type) || equals(type, "linear"))
        return INLAY_OK;
    static const struct {
        const char *name;
        inl_rope_scaling scaling;
    } others[] = {{"none", INL_ROPE_UNSCALED},
                  {"yarn", INL_ROPE_YARN},
                  {"longrope", INL_ROPE_LONGROPE}};
    for (size_t i = 0; i < INL_COUNT(others); i++)
        if (equals(type, others[i].name)) {
            c->scaling = others[i].scaling;
            return INLAY_OK;
        }
    return inl_fail(m->env, INLAY_ERROR_UNSUPPORTED,
                    "%s: RoPE scaling \"%.*s\" is not supported (none, linear, yarn and longrope "
                    "are, and Llama 3's as rope_freqs.weight)",
                    inl_gguf_path(m->gguf), (int)INL_MIN(type.size, 32), type.data);
}

static inlay_result read_yarn(const inl_metadata *m, inl_rope_config *c)
{
    float log_multiplier, extrapolation;
    INL_TRY(inl_metadata_f32_or(m, "rope.scaling.yarn_beta_fast", YARN_BETA_FAST, &c->beta_fast));
    INL_TRY(inl_metadata_f32_or(m, "rope.scaling.yarn_beta_slow", YARN_BETA_SLOW, &c->beta_slow));
    INL_TRY(inl_metadata_f32_or(m, "rope.scaling.yarn_log_multiplier", 0.0f, &log_multiplier));
    INL_TRY(inl_metadata_f32_or(m, "rope.scaling.yarn_ext_factor", 1.0f, &extrapolation));
    if (log_multiplier != 0.0f || extrapolation != 1.0f)
        return inl_fail(m->env, INLAY_ERROR_UNSUPPORTED,
                        "%s: yarn with a %s of its own is not supported", inl_gguf_path(m->gguf),
                        log_multiplier != 0.0f ? "log_multiplier" : "ext_factor");
    if (c->base == 1.0f || c->beta_fast == 0.0f || c->beta_slow == 0.0f)
        return inl_fail(m->env, INLAY_ERROR_BAD_FILE,
                        "%s: yarn's freq_base is 1, or its beta_fast or beta_slow is 0",
                        inl_gguf_path(m->gguf));
    return INLAY_OK;
}

static inlay_result read_longrope(const inl_metadata *m, inl_rope_config *c)
{
    INL_TRY(inl_metadata_vector(m, "rope_factors_short.weight", c->dim / 2, &c->divisors));
    INL_TRY(inl_metadata_vector(m, "rope_factors_long.weight", c->dim / 2, &c->long_divisors));
    if (c->divisors && c->long_divisors)
        return INLAY_OK;
    return inl_fail(m->env, INLAY_ERROR_BAD_FILE, "%s: longrope lacks the tensor rope_factors_%s",
                    inl_gguf_path(m->gguf), c->divisors ? "long.weight" : "short.weight");
}

static inlay_result read_scaling(const inl_metadata *m, inl_rope_config *c)
{
    INL_TRY(read_type(m, c));
    INL_TRY(inl_metadata_f32_or(m, "rope.scale_linear", 0.0f, &c->factor)); // of old files
    INL_TRY(inl_metadata_f32_or(m, "rope.scaling.factor", c->factor, &c->factor));
    INL_TRY(inl_metadata_f32_or(m, "rope.scaling.attn_factor", 1.0f, &c->attention_factor));
    if (c->attention_factor == 0.0f)
        c->attention_factor = 1.0f;
    uint32_t context; // of the whole model, where it has not been stretched
    INL_TRY(inl_metadata_u32(m, "context_length", 1, &context));
    INL_TRY(inl_metadata_u32_or(m, "rope.scaling.original_context_length", 1, context,
                                &c->original_context));
    if (c->factor == 0.0f || c->scaling == INL_ROPE_UNSCALED)
        c->factor = 1.0f;
    if (c->scaling == INL_ROPE_LONGROPE)
        return read_longrope(m, c);
    if (c->scaling == INL_ROPE_YARN)
        INL_TRY(read_yarn(m, c));
    return inl_metadata_vector(m, "rope_freqs.weight", c->dim / 2, &c->divisors);
}

inlay_result inl_rope_config_read(const inl_env *env, const inl_gguf *gguf,
                                  const char *architecture, uint32_t head_dim, inl_rope_config *c)
{
    inl_metadata m = {env, gguf, architecture};
    *c = (inl_rope_config){0};
    INL_TRY(inl_metadata_u32_or(&m, "rope.dimension_count", 1, head_dim, &c->dim));
    INL_TRY(inl_metadata_f32_or(&m, "rope.freq_base", 10000.0f, &c->base));
    if (c->base == 0.0f)
        return inl_fail(env, INLAY_ERROR_BAD_FILE, "%s: %s.rope.freq_base is 0",
                        inl_gguf_path(gguf), architecture);
    if (c->dim > head_dim || c->dim % 4 != 0)
        return inl_fail(env, INLAY_ERROR_UNSUPPORTED,
                        "%s: RoPE over %u of %u head elements is not supported",
                        inl_gguf_path(gguf), c->dim, head_dim);
    return read_scaling(&m, c);
}

void inl_rope_config_free(const inl_env *env, inl_rope_config *config)
{
    inl_free(env, config->divisors);
    inl_free(env, config->long_divisors);
    *config = (inl_rope_config){0};
}

// ---- frequencies

// The pair that makes `turns` turns over the original context.
static double yarn_pair(const inl_rope_config *c, float turns)
{
    double wave = (double)c->original_context / ((double)turns * 2.0 * PI);
    return c->dim * log(wave) / (2.0 * log((double)c->base));
}

// Pairs that turn faster keep their frequency, slower ones are stretched, a ramp is between them.
static void stretch_yarn(const inl_rope_config *c, float *frequencies)
{
    double low = fmax(floor(yarn_pair(c, c->beta_fast)), 0.0);
    double high = fmin(ceil(yarn_pair(c, c->beta_slow)), c->dim - 1.0);
    if (high <= low)
        high = low + 0.001;
    for (uint32_t i = 0; i < c->dim / 2; i++) {
        float ramp = (float)fmin(fmax(((double)i - low) / (high - low), 0.0), 1.0);
        float own = frequencies[i];
        frequencies[i] = own / c->factor * ramp + own * (1.0f - ramp);
    }
}

float inl_rope_frequencies(const inl_rope_config *c, uint32_t context, float *frequencies)
{
    bool is_long = c->scaling == INL_ROPE_LONGROPE && context > c->original_context;
    const float *divisors = is_long ? c->long_divisors : c->divisors;
    float magnitude = c->attention_factor;
    for (uint32_t i = 0; i < c->dim / 2; i++) {
        float power = powf(c->base, (float)(2 * i) / (float)c->dim);
        if (c->scaling == INL_ROPE_LONGROPE)
            frequencies[i] = 1.0f / (divisors[i] * power);
        else
            frequencies[i] = 1.0f / power / (divisors ? divisors[i] : 1.0f);
        if (c->scaling == INL_ROPE_LINEAR)
            frequencies[i] /= c->factor;
    }
    if (c->scaling == INL_ROPE_YARN) {
        stretch_yarn(c, frequencies);
        if (c->factor > 1.0f)
            magnitude *= (float)(1.0 + YARN_MAGNITUDE * log((double)c->factor));
    }
    return magnitude;
}
