// SPDX-License-Identifier: MIT
// A small random llama, or qwen3moe, as a GGUF file, with a SentencePiece-style tokenizer of bytes,
// for tests that run a whole model. Header only.
#ifndef HARNESS_TOY_MODEL_H
#define HARNESS_TOY_MODEL_H

#include "base/rng.h"
#include "harness/gguf_bytes.h"
#include "quant/format.h"

#include <math.h>
#include <stdio.h>

#define TOY_VOCAB 259 // <unk>, <s>, </s>, 256 bytes

typedef struct toy_model {
    uint32_t dim, ffn, layers, heads, kv_heads, head_dim, vocab; // vocab >= TOY_VOCAB
    uint32_t tokens;       // of the tokenizer, at least TOY_VOCAB; 0: vocab
    inl_format_id format;  // of the matrices
    float gain, head_gain; // on the layers' matrices and on the head; 0: 1
    int tied, biases, rope_factors;
    uint32_t context; // tokens of a row at most; 0: 256
    uint32_t experts, experts_used; // 0: a llama
    uint32_t seed;
    int hollow; // the tensors are a hole in the file: for those that never read them
} toy_model;

// `experts` 0 and `rows` 0: so many dimensions less.
static inline void toy_tensor(gguf_bytes *g, const toy_model *m, const char *name, uint32_t experts,
                              uint32_t rows, uint32_t cols, float scale, float center,
                              inl_format_id id, uint32_t *stream)
{
    uint64_t count = (uint64_t)(experts ? experts : 1) * (rows ? rows : 1) * cols;
    const inl_format *format = inl_format_by_id(id);
    uint64_t bytes = count / format->block_elements * format->block_bytes;
    uint64_t shape[3] = {cols, rows, experts};
    uint32_t dims = experts ? 3 : rows ? 2 : 1;
    if (m->hollow) {
        gguf_bytes_tensor(g, name, format->ggml_type, dims, shape, NULL, bytes);
        return;
    }
    float *values = malloc(count * sizeof(float));
    for (uint32_t i = 0; i < count; i++)
        values[i] = center + scale * (2.0f * inl_rng_f32(m->seed, *stream, i) - 1.0f);
    ++*stream;
    void *blocks = malloc(bytes);
    format->encode(values, blocks, count);
    gguf_bytes_tensor(g, name, format->ggml_type, dims, shape, blocks, bytes);
    free(values);
    free(blocks);
}

static inline void toy_matrix(gguf_bytes *g, const toy_model *m, const char *name, uint32_t rows,
                              uint32_t cols, float scale, float center, inl_format_id id,
                              uint32_t *stream)
{
    toy_tensor(g, m, name, 0, rows, cols, scale, center, id, stream);
}

static inline float toy_gain(float gain)
{
    return gain > 0.0f ? gain : 1.0f;
}

static inline void toy_norm(gguf_bytes *g, const toy_model *m, uint32_t layer, const char *name,
                            uint32_t cols, uint32_t *stream)
{
    char full[64];
    snprintf(full, sizeof(full), "blk.%u.%s.weight", layer, name);
    toy_matrix(g, m, full, 0, cols, 0.3f, 1.0f, INL_FORMAT_F32, stream);
}

static inline void toy_layer(gguf_bytes *g, const toy_model *m, uint32_t layer, uint32_t *stream)
{
    uint32_t q = m->heads * m->head_dim, kv = m->kv_heads * m->head_dim, e = m->experts;
    const struct {
        const char *name;
        uint32_t experts, rows, cols;
    } matrices[] = {{"attn_q", 0, q, m->dim},
                    {"attn_k", 0, kv, m->dim},
                    {"attn_v", 0, kv, m->dim},
                    {"attn_output", 0, m->dim, q},
                    {e ? "ffn_gate_exps" : "ffn_gate", e, m->ffn, m->dim},
                    {e ? "ffn_up_exps" : "ffn_up", e, m->ffn, m->dim},
                    {e ? "ffn_down_exps" : "ffn_down", e, m->dim, m->ffn}};
    char name[64];
    for (size_t i = 0; i < sizeof(matrices) / sizeof(matrices[0]); i++) {
        snprintf(name, sizeof(name), "blk.%u.%s.weight", layer, matrices[i].name);
        toy_tensor(g, m, name, matrices[i].experts, matrices[i].rows, matrices[i].cols,
                   toy_gain(m->gain) * 1.5f / sqrtf((float)matrices[i].cols), 0.0f, m->format,
                   stream);
        snprintf(name, sizeof(name), "blk.%u.%s.bias", layer, matrices[i].name);
        if (m->biases)
            toy_matrix(g, m, name, 0, matrices[i].rows, 0.3f, 0.0f, INL_FORMAT_F32, stream);
    }
    toy_norm(g, m, layer, "attn_norm", m->dim, stream);
    toy_norm(g, m, layer, "ffn_norm", m->dim, stream);
    if (e == 0)
        return;
    toy_norm(g, m, layer, "attn_q_norm", m->head_dim, stream);
    toy_norm(g, m, layer, "attn_k_norm", m->head_dim, stream);
    snprintf(name, sizeof(name), "blk.%u.ffn_gate_inp.weight", layer);
    toy_matrix(g, m, name, e, m->dim, 3.0f / sqrtf((float)m->dim), 0.0f, INL_FORMAT_F32, stream);
}

static inline void toy_tokenizer(gguf_bytes *g, uint32_t vocab)
{
    char(*texts)[24] = calloc(vocab, sizeof(*texts));
    const char **pointers = calloc(vocab, sizeof(*pointers));
    float *scores = calloc(vocab, sizeof(*scores));
    int32_t *kinds = calloc(vocab, sizeof(*kinds));
    for (uint32_t i = 0; i < vocab; i++) {
        static const char *const control[] = {"<unk>", "<s>", "</s>"};
        if (i < 3)
            snprintf(texts[i], sizeof(*texts), "%s", control[i]);
        else if (i < TOY_VOCAB)
            snprintf(texts[i], sizeof(*texts), "<0x%02X>", i - 3);
        else
            snprintf(texts[i], sizeof(*texts), "filler%u", i);
        kinds[i] = i == 0 ? 2 : i < 3 ? 3 : i < TOY_VOCAB ? 6 : 1;
        scores[i] = -(float)i;
        pointers[i] = texts[i];
    }
    gguf_bytes_string(g, "tokenizer.ggml.model", "llama");
    gguf_bytes_strings(g, "tokenizer.ggml.tokens", pointers, vocab);
    gguf_bytes_f32s(g, "tokenizer.ggml.scores", scores, vocab);
    gguf_bytes_i32s(g, "tokenizer.ggml.token_type", kinds, vocab);
    gguf_bytes_u32(g, "tokenizer.ggml.bos_token_id", 1);
    gguf_bytes_u32(g, "tokenizer.ggml.eos_token_id", 2);
    free(texts);
    free(pointers);
    free(scores);
    free(kinds);
}

static inline void toy_number(gguf_bytes *g, const toy_model *m, const char *key, uint32_t value)
{
    char full[64];
    snprintf(full, sizeof(full), "%s.%s", m->experts ? "qwen3moe" : "llama", key);
    gguf_bytes_u32(g, full, value);
}

static inline void toy_model_build(gguf_bytes *g, const toy_model *m)
{
    uint32_t stream = 1;
    gguf_bytes_begin(g);
    gguf_bytes_string(g, "general.architecture", m->experts ? "qwen3moe" : "llama");
    toy_number(g, m, "context_length", m->context ? m->context : 256);
    toy_number(g, m, "embedding_length", m->dim);
    toy_number(g, m, "feed_forward_length", m->ffn);
    toy_number(g, m, "block_count", m->layers);
    toy_number(g, m, "attention.head_count", m->heads);
    toy_number(g, m, "attention.head_count_kv", m->kv_heads);
    toy_number(g, m, "attention.key_length", m->head_dim);
    toy_number(g, m, "attention.value_length", m->head_dim);
    if (m->experts > 0) {
        toy_number(g, m, "expert_count", m->experts);
        toy_number(g, m, "expert_used_count", m->experts_used);
        toy_number(g, m, "expert_feed_forward_length", m->ffn);
    }
    gguf_bytes_f32(g,
                   m->experts ? "qwen3moe.attention.layer_norm_rms_epsilon"
                              : "llama.attention.layer_norm_rms_epsilon",
                   1e-5f);
    toy_tokenizer(g, m->tokens ? m->tokens : m->vocab);
    toy_matrix(g, m, "token_embd.weight", m->vocab, m->dim, 1.0f, 0.0f, m->format, &stream);
    toy_matrix(g, m, "output_norm.weight", 0, m->dim, 0.3f, 1.0f, INL_FORMAT_F32, &stream);
    if (!m->tied)
        toy_matrix(g, m, "output.weight", m->vocab, m->dim,
                   toy_gain(m->head_gain) * 2.0f / sqrtf((float)m->dim), 0.0f, m->format, &stream);
    if (m->rope_factors)
        toy_matrix(g, m, "rope_freqs.weight", 0, m->head_dim / 2, 0.8f, 2.0f, INL_FORMAT_F32,
                   &stream);
    for (uint32_t i = 0; i < m->layers; i++)
        toy_layer(g, m, i, &stream);
    gguf_bytes_end(g);
}

// Writes the model under `path`; 0 on success.
static inline int toy_model_write(const char *path, const toy_model *m)
{
    gguf_bytes g;
    toy_model_build(&g, m);
    FILE *f = fopen(path, "wb");
    int bad = !f || fwrite(g.data, 1, g.size, f) != g.size;
    if (!bad && g.hollow > 0)
        bad = fseek(f, (long)g.hollow - 1, SEEK_CUR) != 0 || fputc(0, f) != 0;
    if (f)
        bad |= fclose(f) != 0;
    gguf_bytes_free(&g);
    return bad;
}

#endif
