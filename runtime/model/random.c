// SPDX-License-Identifier: MIT
// Tensors lie in pools, one of each type, at places drawn at random: they overlap, but no two of
// them begin at the same block, so that to the arithmetic they are as random as if each had its own
// memory. A pool is as large as the largest tensor, and is filled with copies of a few thousand
// blocks that the type's own encoder made of normal numbers: valid blocks of any type, at the speed
// of memory.
#include "model/random.h"
#include "base/rng.h"

#include <math.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

#define UNIT 256                // elements that are copied together: whole blocks of any type
#define SAMPLE (256u * 1024u)   // elements that are encoded
#define SLACK (1024u * 1024u)   // elements by which places differ
#define GAIN 0.7                // deviation of a weight times sqrt(dim)
#define BYTE_TOKENS 259         // <unk>, <s>, </s>, 256 bytes
#define MOST_NAME 64

static const inl_shape shapes[] = {
    {"toy", "a llama of 0.2M parameters", 2, 64, 192, 4, 2, 16, 512, 2048, 10000.0f, false},
    {"25m", "the 25M llama of shaders/SPEED.md", 8, 512, 1536, 8, 4, 64, 512, 2048, 10000.0f,
     false},
    {"135m", "SmolLM2-135M", 30, 576, 1536, 9, 3, 64, 49152, 8192, 100000.0f, true},
    {"1.1b", "TinyLlama-1.1B", 22, 2048, 5632, 32, 4, 64, 32000, 2048, 10000.0f, false},
    {"3b", "Llama-3.2-3B", 28, 3072, 8192, 24, 8, 128, 128256, 131072, 500000.0f, true},
    {"8b", "Llama-3.1-8B", 32, 4096, 14336, 32, 8, 128, 128256, 131072, 500000.0f, false},
};

const inl_shape *inl_shape_at(uint32_t index)
{
    return index < INL_COUNT(shapes) ? &shapes[index] : NULL;
}

const inl_shape *inl_shape_by_name(const char *name)
{
    for (size_t i = 0; i < INL_COUNT(shapes); i++)
        if (strcasecmp(shapes[i].name, name) == 0)
            return &shapes[i];
    return NULL;
}

// ---- pools

// What the model's tensors lie in; owned by its gguf.
typedef struct pools {
    inl_env env;
    uint8_t *bytes[INL_FORMAT_COUNT]; // NULL: no tensor has the type
    uint64_t elements;                // of each pool
    float *norm;                      // all norms' weights, about 1
} pools;

static void release_pools(void *owner)
{
    pools *p = owner;
    inl_env env = p->env;
    for (size_t i = 0; i < INL_COUNT(p->bytes); i++)
        inl_free(&env, p->bytes[i]);
    inl_free(&env, p->norm);
    inl_free(&env, p);
}

// The sum of 12 uniform numbers, about normal, by integers: the same on every machine.
static float draw_normal(uint32_t seed, uint32_t stream, uint32_t index)
{
    uint32_t sum = 0;
    for (uint32_t i = 0; i < 6; i++) {
        uint32_t word = inl_rng_u32(seed, stream, 6 * index + i);
        sum += (word & 0xffff) + (word >> 16);
    }
    return ((float)sum - 6.0f * 65535.0f) / 65536.0f;
}

static inlay_result encode_sample(const inl_env *env, const inl_format *format, float deviation,
                                  uint32_t seed, uint8_t **out)
{
    float *values = inl_alloc(env, SAMPLE, sizeof(*values));
    *out = inl_alloc(env, inl_format_bytes(format, SAMPLE), 1);
    if (values && *out) {
        for (uint32_t i = 0; i < SAMPLE; i++)
            values[i] = deviation * draw_normal(seed, 0x77656967u, i);
        format->encode(values, *out, SAMPLE);
    }
    inl_free(env, values);
    return values && *out ? INLAY_OK : INLAY_ERROR_OUT_OF_MEMORY;
}

static inlay_result fill_pool(pools *p, const inl_format *format, float deviation, uint32_t seed)
{
    uint64_t unit = inl_format_bytes(format, UNIT);
    uint8_t *sample = NULL, *pool = inl_alloc(&p->env, inl_format_bytes(format, p->elements), 1);
    p->bytes[format->id] = pool;
    inlay_result result = pool ? encode_sample(&p->env, format, deviation, seed, &sample)
                               : INLAY_ERROR_OUT_OF_MEMORY;
    for (uint64_t i = 0; result == INLAY_OK && i < p->elements / UNIT; i++) {
        uint32_t from = inl_rng_u32(seed, 0x706f6f6cu, (uint32_t)i) % (SAMPLE / UNIT);
        memcpy(pool + i * unit, sample + from * unit, unit);
    }
    inl_free(&p->env, sample);
    return result;
}

static inlay_result create_pools(const inl_env *env, const inl_shape *s, pools **out)
{
    *out = inl_alloc(env, 1, sizeof(**out));
    if (!*out)
        return INLAY_ERROR_OUT_OF_MEMORY;
    uint64_t largest = (uint64_t)INL_MAX(s->vocab, s->ffn) * s->dim;
    largest = INL_MAX(largest, (uint64_t)s->heads * s->head_dim * s->dim);
    (*out)->env = *env;
    (*out)->elements = inl_round_up(largest, UNIT) + SLACK;
    return INLAY_OK;
}

// ---- types

typedef struct type_choice {
    const inl_format *layers, *quantize;
    bool mixed; // Q4_K_M
} type_choice;

static inlay_result choose_type(const inl_env *env, const char *type, type_choice *out)
{
    char names[256];
    const inl_format *format = inl_format_by_name(type);
    *out = (type_choice){.mixed = strcasecmp(type, "Q4_K_M") == 0};
    if (out->mixed)
        format = inl_format_by_id(INL_FORMAT_Q4_K);
    if (format && format->id == INL_FORMAT_NF4) {
        out->quantize = format;
        format = inl_format_by_id(INL_FORMAT_BF16);
    }
    out->layers = format;
    if (format && format->encode)
        return INLAY_OK;
    return inl_fail(env, INLAY_ERROR_INVALID_ARGUMENT,
                    "random weights cannot be of type %.40s (supported: NF4, Q4_K_M, %s)", type,
                    inl_format_names(names, sizeof(names)));
}

// What llama.cpp takes where a row is no multiple of 256.
static const inl_format *that_divides(const inl_format *format, uint32_t cols)
{
    inl_format_id id = INL_FORMAT_F16;
    if (cols % format->block_elements == 0)
        return format;
    if (cols % 32 == 0)
        switch (format->id) {
        case INL_FORMAT_Q4_K: id = INL_FORMAT_Q5_0; break;
        case INL_FORMAT_Q5_K: id = INL_FORMAT_Q5_1; break;
        case INL_FORMAT_Q6_K: id = INL_FORMAT_Q8_0; break;
        default: id = INL_FORMAT_IQ4_NL; break;
        }
    return inl_format_by_id(id);
}

static const inl_format *head_format(const type_choice *type)
{
    return type->layers->tile_bits < 6 ? inl_format_by_id(INL_FORMAT_Q6_K) : type->layers;
}

// Of Q4_K_M: the first and last eighth of the layers, and every third of the others.
static bool gets_more_bits(uint32_t layer, uint32_t layers)
{
    return layer < layers / 8 || layer >= 7 * layers / 8 || (layer - layers / 8) % 3 == 2;
}

// ---- the view

typedef struct maker {
    inl_gguf_view *view;
    const inl_shape *shape;
    pools *pools;
    type_choice type;
    uint32_t seed, tensors;
    uint64_t bytes;
} maker;

static inlay_result add_matrix(maker *m, const char *name, uint32_t rows, uint32_t cols,
                               const inl_format *format)
{
    format = that_divides(format, cols);
    if (!m->pools->bytes[format->id]) {
        float deviation = (float)(GAIN / sqrt((double)m->shape->dim));
        INL_TRY(fill_pool(m->pools, format, deviation, m->seed));
    }
    uint64_t count = (uint64_t)rows * cols;
    uint64_t places = (m->pools->elements - inl_round_up(count, UNIT)) / UNIT;
    uint64_t at = inl_rng_u32(m->seed, 0x706c6163u, m->tensors++) % places * UNIT;
    inl_gguf_tensor t = {.type = format->ggml_type,
                         .dims = 2,
                         .shape = {cols, rows},
                         .data = m->pools->bytes[format->id] + inl_format_bytes(format, at),
                         .bytes = inl_format_bytes(format, count)};
    m->bytes += t.bytes;
    return inl_gguf_view_tensor(m->view, name, &t);
}

static inlay_result add_norm(maker *m, const char *name)
{
    uint64_t bytes = 4ull * m->shape->dim;
    inl_gguf_tensor t = {.dims = 1,
                         .shape = {m->shape->dim},
                         .data = (const uint8_t *)m->pools->norm,
                         .bytes = bytes};
    m->bytes += bytes;
    return inl_gguf_view_tensor(m->view, name, &t);
}

static inlay_result add_layer(maker *m, uint32_t layer)
{
    const inl_shape *s = m->shape;
    uint32_t q = s->heads * s->head_dim, kv = s->kv_heads * s->head_dim;
    const inl_format *plain = m->type.layers, *better = plain;
    if (m->type.mixed && gets_more_bits(layer, s->layers))
        better = inl_format_by_id(INL_FORMAT_Q6_K);
    const struct {
        const char *name;
        uint32_t rows, cols;
        const inl_format *format;
    } matrices[] = {{"attn_q", q, s->dim, plain},      {"attn_k", kv, s->dim, plain},
                    {"attn_v", kv, s->dim, better},    {"attn_output", s->dim, q, plain},
                    {"ffn_gate", s->ffn, s->dim, plain}, {"ffn_up", s->ffn, s->dim, plain},
                    {"ffn_down", s->dim, s->ffn, better}};
    char name[MOST_NAME];
    for (size_t i = 0; i < INL_COUNT(matrices); i++) {
        snprintf(name, sizeof(name), "blk.%u.%s.weight", layer, matrices[i].name);
        INL_TRY(add_matrix(m, name, matrices[i].rows, matrices[i].cols, matrices[i].format));
    }
    snprintf(name, sizeof(name), "blk.%u.attn_norm.weight", layer);
    INL_TRY(add_norm(m, name));
    snprintf(name, sizeof(name), "blk.%u.ffn_norm.weight", layer);
    return add_norm(m, name);
}

static inlay_result add_tensors(maker *m)
{
    const inl_shape *s = m->shape;
    const inl_format *head = head_format(&m->type);
    INL_TRY(add_matrix(m, "token_embd.weight", s->vocab, s->dim, s->tied ? head : m->type.layers));
    INL_TRY(add_norm(m, "output_norm.weight"));
    if (!s->tied)
        INL_TRY(add_matrix(m, "output.weight", s->vocab, s->dim, head));
    for (uint32_t i = 0; i < s->layers; i++)
        INL_TRY(add_layer(m, i));
    return INLAY_OK;
}

static inlay_result add_number(maker *m, const char *key, uint32_t value)
{
    char full[MOST_NAME];
    snprintf(full, sizeof(full), "llama.%s", key);
    return inl_gguf_view_u32(m->view, full, value);
}

static inlay_result add_metadata(maker *m)
{
    const inl_shape *s = m->shape;
    INL_TRY(inl_gguf_view_string(m->view, "general.architecture", "llama"));
    INL_TRY(inl_gguf_view_string(m->view, "general.name", s->title));
    INL_TRY(add_number(m, "context_length", s->context));
    INL_TRY(add_number(m, "embedding_length", s->dim));
    INL_TRY(add_number(m, "feed_forward_length", s->ffn));
    INL_TRY(add_number(m, "block_count", s->layers));
    INL_TRY(add_number(m, "attention.head_count", s->heads));
    INL_TRY(add_number(m, "attention.head_count_kv", s->kv_heads));
    INL_TRY(add_number(m, "attention.key_length", s->head_dim));
    INL_TRY(add_number(m, "attention.value_length", s->head_dim));
    INL_TRY(inl_gguf_view_f32(m->view, "llama.rope.freq_base", s->rope_base));
    return inl_gguf_view_f32(m->view, "llama.attention.layer_norm_rms_epsilon", 1e-5f);
}

// Bytes, and names that no text has for the rest.
static inlay_result add_tokenizer(maker *m)
{
    const inl_env *env = &m->pools->env;
    uint32_t vocab = m->shape->vocab;
    char(*texts)[16] = inl_alloc(env, vocab, sizeof(*texts));
    inl_slice *tokens = inl_alloc(env, vocab, sizeof(*tokens));
    float *scores = inl_alloc(env, vocab, sizeof(*scores));
    int32_t *kinds = inl_alloc(env, vocab, sizeof(*kinds));
    inlay_result result = INLAY_ERROR_OUT_OF_MEMORY;
    if (texts && tokens && scores && kinds) {
        static const char *const control[] = {"<unk>", "<s>", "</s>"};
        for (uint32_t i = 0; i < vocab; i++) {
            bool byte = i >= INL_COUNT(control) && i < BYTE_TOKENS;
            int size = i < INL_COUNT(control) ? snprintf(texts[i], 16, "%s", control[i])
                                              : snprintf(texts[i], 16, byte ? "<0x%02X>" : "w%u",
                                                         byte ? i - 3 : i);
            tokens[i] = (inl_slice){texts[i], (uint64_t)size};
            kinds[i] = i == 0 ? 2 : i < INL_COUNT(control) ? 3 : byte ? 6 : 1;
            scores[i] = -(float)i;
        }
        result = inl_gguf_view_strings(m->view, "tokenizer.ggml.tokens", tokens, vocab);
    }
    const char *scores_key = "tokenizer.ggml.scores", *kinds_key = "tokenizer.ggml.token_type";
    if (result == INLAY_OK)
        result = inl_gguf_view_array(m->view, scores_key, INL_GGUF_F32, scores, vocab);
    if (result == INLAY_OK)
        result = inl_gguf_view_array(m->view, kinds_key, INL_GGUF_I32, kinds, vocab);
    inl_free(env, texts);
    inl_free(env, tokens);
    inl_free(env, scores);
    inl_free(env, kinds);
    INL_TRY(result);
    INL_TRY(inl_gguf_view_string(m->view, "tokenizer.ggml.model", "llama"));
    INL_TRY(inl_gguf_view_u32(m->view, "tokenizer.ggml.bos_token_id", 1));
    return inl_gguf_view_u32(m->view, "tokenizer.ggml.eos_token_id", 2);
}

static inlay_result fill_norm(const maker *m)
{
    float *norm = m->pools->norm = inl_alloc(&m->pools->env, m->shape->dim, sizeof(*norm));
    for (uint32_t i = 0; norm && i < m->shape->dim; i++)
        norm[i] = 0.9f + 0.2f * inl_rng_f32(m->seed, 0x6e6f726du, i);
    return norm ? INLAY_OK : INLAY_ERROR_OUT_OF_MEMORY;
}

static inlay_result make_gguf(maker *m, inl_gguf **out)
{
    INL_TRY(inl_gguf_view_create(&m->pools->env, &m->view));
    INL_TRY(fill_norm(m));
    INL_TRY(add_metadata(m));
    INL_TRY(add_tokenizer(m));
    INL_TRY(add_tensors(m));
    inl_gguf_view_stands_alone(m->view);
    char name[MOST_NAME];
    snprintf(name, sizeof(name), "random:%s", m->shape->name);
    return inl_gguf_view_finish(&m->view, name, m->bytes, m->pools, release_pools, out);
}

inlay_result inl_model_create_random(const inl_env *env, const inl_shape *shape, const char *type,
                                     uint32_t seed, inl_model **out)
{
    maker m = {.shape = shape, .seed = seed};
    inl_gguf *gguf = NULL;
    *out = NULL;
    INL_TRY(choose_type(env, type, &m.type));
    INL_TRY(create_pools(env, shape, &m.pools));
    inlay_result result = make_gguf(&m, &gguf);
    inl_gguf_view_destroy(&m.view);
    if (result != INLAY_OK) {
        release_pools(m.pools);
        return result;
    }
    inl_model_params params = {.quantize = m.type.quantize, .skip_finite_check = true};
    return inl_model_open_gguf(env, gguf, &params, out);
}
