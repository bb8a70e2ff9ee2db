// SPDX-License-Identifier: MIT
// What holds of every model that opens, from whatever bytes: metadata, shapes, tensors, modules and
// tokenizer agree.
#ifndef FUZZ_CHECK_MODEL_H
#define FUZZ_CHECK_MODEL_H

#include "fuzz/fuzz.h"
#include "model/model.h"

#include <math.h>

// All that a 4-bit tensor points to.
static inline uint64_t check_bnb4(const inl_bnb4 *t)
{
    uint64_t blocks = (t->count + t->block - 1) / t->block;
    uint64_t sum = fuzz_touch(t->packed, (t->count + 1) / 2);
    if (t->absmax)
        return sum + fuzz_touch(t->absmax, 4 * blocks);
    uint64_t nested = (blocks + t->nested_block - 1) / t->nested_block;
    return sum + fuzz_touch(t->nested, blocks) + fuzz_touch(t->nested_absmax, 4 * nested) +
           fuzz_touch(t->nested_map, 4 * 256);
}

static inline uint64_t check_source(const inl_source *s, uint64_t rows, uint64_t cols)
{
    fuzz_require(s->rows == rows && s->cols == cols && rows > 0 && cols > 0);
    if (s->tensor->bnb4) {
        uint64_t sum = 0;
        for (uint32_t e = 0; e < INL_MAX(1, s->experts); e++) {
            const inl_gguf_tensor *t = s->each ? s->each[e] : s->tensor;
            fuzz_require(t->bnb4 && t->bnb4->count == rows * cols && inl_is_nf4(s->stored));
            sum += check_bnb4(t->bnb4);
        }
        return sum;
    }
    fuzz_require(s->format && s->stored->ggml_type == s->tensor->type);
    uint64_t bytes = rows * cols / s->stored->block_elements * s->stored->block_bytes, sum = 0;
    for (uint32_t e = 0; s->each && e < s->experts; e++) {
        fuzz_require(s->each[e]->type == s->tensor->type && s->each[e]->bytes == bytes);
        sum += fuzz_touch(s->each[e]->data, bytes);
    }
    fuzz_require(s->each || s->tensor->bytes == bytes * (s->experts ? s->experts : 1));
    return sum + fuzz_touch(s->tensor->data, s->tensor->bytes);
}

static inline uint64_t check_layer(const inl_model *m, uint32_t layer)
{
    const inl_config *c = &m->config;
    const inl_layer_sources *l = &m->layers[layer];
    uint64_t sum = 0;
    for (inl_norm_role norm = 0; norm < INL_NORM_COUNT; norm++)
        if (inl_config_norm(c, norm) > 0)
            sum += check_source(&l->norm[norm], 1, inl_config_norm(c, norm));
    for (uint32_t role = 0; role < INL_ROLE_COUNT; role++) {
        if (!inl_config_has_role(c, layer, role))
            continue;
        uint32_t out, in;
        inl_config_shape(c, layer, role, &out, &in);
        const inl_module *module = &m->modules.list.items[inl_config_module(c, layer, role)];
        fuzz_require(module->out == out && module->in == in);
        fuzz_require(module->experts == inl_config_experts(c, layer, role) &&
                     l->linear[role].experts == module->experts);
        fuzz_require(module->permuted_heads == 0 || module->out % module->permuted_heads == 0);
        sum += check_source(&l->linear[role], out, in);
        if (l->bias[role].tensor)
            sum += check_source(&l->bias[role], 1, out);
    }
    return sum;
}

static inline void check_model(const inl_model *m)
{
    const inl_config *c = &m->config;
    uint64_t sum =
        check_source(&m->embedding, c->vocab, c->dim) + check_source(&m->norm, 1, c->dim);
    sum += check_source(&m->head, c->vocab, c->dim);
    fuzz_require(c->heads % c->kv_heads == 0 && c->head_dim > 0 && c->rope.dim <= c->head_dim);
    fuzz_require(isfinite(c->rope.factor) && isfinite(c->rope.base) && isfinite(c->norm_eps));
    fuzz_require(inl_gguf_is_folder(m->gguf) ||
                 inl_tokenizer_get_info(m->tokenizer)->vocab <= c->vocab);
    fuzz_require(m->modules.list.count == inl_config_module_count(c));
    for (uint32_t i = 0; i < c->layers; i++)
        sum += check_layer(m, i);
    if (c->rope.divisors)
        sum += fuzz_touch(c->rope.divisors, c->rope.dim / 2 * sizeof(float));
    fuzz_require(sum != UINT64_MAX && inl_model_parameters(m) > 0); // the sums are used
}

#endif
