// SPDX-License-Identifier: MIT
// libFuzzer target: any bytes as a model file, opened by its path: metadata, shapes, tensors,
// modules and tokenizer must agree, or be refused with one sentence.
#define _GNU_SOURCE // memfd_create
#include "fuzz/fuzz.h"
#include "harness/toy_model.h"
#include "model/model.h"

#include <sys/mman.h>
#include <unistd.h>

// A file without a name that lives in memory; written anew for each input.
static const char *write_input(const uint8_t *data, size_t size)
{
    static int fd = -1;
    static char path[64];
    if (fd < 0) {
        fd = memfd_create("fuzz", MFD_CLOEXEC);
        snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
    }
    fuzz_require(fd >= 0 && ftruncate(fd, 0) == 0);
    fuzz_require(pwrite(fd, data, size, 0) == (ssize_t)size);
    return path;
}

static uint64_t check_source(const inl_source *s, uint64_t rows, uint64_t cols)
{
    fuzz_require(s->rows == rows && s->cols == cols && rows > 0 && cols > 0);
    fuzz_require(s->format && s->stored->ggml_type == s->tensor->type);
    uint64_t bytes = rows * cols / s->stored->block_elements * s->stored->block_bytes, sum = 0;
    for (uint32_t e = 0; s->each && e < s->experts; e++) {
        fuzz_require(s->each[e]->type == s->tensor->type && s->each[e]->bytes == bytes);
        sum += fuzz_touch(s->each[e]->data, bytes);
    }
    fuzz_require(s->each || s->tensor->bytes == bytes * (s->experts ? s->experts : 1));
    return sum + fuzz_touch(s->tensor->data, s->tensor->bytes);
}

static uint64_t check_layer(const inl_model *m, uint32_t layer)
{
    const inl_config *c = &m->config;
    const inl_layer_sources *l = &m->layers[layer];
    uint64_t sum = 0;
    for (inl_norm_role norm = 0; norm < INL_NORM_COUNT; norm++)
        if (inl_config_norm(c, norm) > 0)
            sum += check_source(&l->norm[norm], 1, inl_config_norm(c, norm));
    for (uint32_t role = 0; role < INL_ROLE_COUNT; role++) {
        if (!inl_config_has_role(c, role))
            continue;
        uint32_t out, in;
        inl_config_shape(c, role, &out, &in);
        const inl_module *module = &m->modules.list.items[inl_config_module(c, layer, role)];
        fuzz_require(module->out == out && module->in == in);
        fuzz_require(module->experts == inl_config_experts(c, role) &&
                     l->linear[role].experts == module->experts);
        fuzz_require(module->permuted_heads == 0 || module->out % module->permuted_heads == 0);
        sum += check_source(&l->linear[role], out, in);
        if (l->bias[role].tensor)
            sum += check_source(&l->bias[role], 1, out);
    }
    return sum;
}

static void check_model(const inl_model *m)
{
    const inl_config *c = &m->config;
    uint64_t sum =
        check_source(&m->embedding, c->vocab, c->dim) + check_source(&m->norm, 1, c->dim);
    sum += check_source(&m->head, c->vocab, c->dim);
    fuzz_require(c->heads % c->kv_heads == 0 && c->head_dim > 0 && c->rope.dim <= c->head_dim);
    fuzz_require(isfinite(c->rope.factor) && isfinite(c->rope.base) && isfinite(c->norm_eps));
    fuzz_require(inl_tokenizer_get_info(m->tokenizer)->vocab <= c->vocab);
    fuzz_require(m->modules.list.count == inl_config_module_count(c));
    for (uint32_t i = 0; i < c->layers; i++)
        sum += check_layer(m, i);
    if (c->rope.divisors)
        sum += fuzz_touch(c->rope.divisors, c->rope.dim / 2 * sizeof(float));
    fuzz_require(sum != UINT64_MAX && inl_model_parameters(m) > 0); // the sums are used
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const int formats[] = {-1, INL_FORMAT_NF4, INL_FORMAT_Q8_0, INL_FORMAT_Q4_0};
    int errors;
    inl_env env = fuzz_env(&errors);
    int format = formats[size % INL_COUNT(formats)];
    inl_model_params params = {.quantize = format < 0 ? NULL : inl_format_by_id(format),
                               .skip_finite_check = size & 4};
    inl_model *model;
    inlay_result result = inl_model_open(&env, write_input(data, size), &params, &model);
    fuzz_require((result == INLAY_OK) == (model != NULL) && errors == (result != INLAY_OK));
    if (model)
        check_model(model);
    inl_model_close(&model);
    return 0;
}

void fuzz_seeds(fuzz_put *put, void *user)
{
    static const toy_model models[] = {
        {.dim = 8, .ffn = 12, .layers = 1, .heads = 2, .kv_heads = 1, .head_dim = 4,
         .vocab = TOY_VOCAB, .format = INL_FORMAT_F32, .tied = 1},
        {.dim = 32, .ffn = 32, .layers = 1, .heads = 2, .kv_heads = 2, .head_dim = 8,
         .vocab = TOY_VOCAB, .format = INL_FORMAT_Q4_0, .biases = 1, .rope_factors = 1},
        {.dim = 8, .ffn = 4, .layers = 1, .heads = 2, .kv_heads = 1, .head_dim = 4,
         .vocab = TOY_VOCAB, .format = INL_FORMAT_F16, .tied = 1, .experts = 3, .experts_used = 2},
        {.dim = 4, .ffn = 4, .layers = 2, .heads = 1, .kv_heads = 1, .head_dim = 4,
         .vocab = TOY_VOCAB + 1, .tokens = TOY_VOCAB, .format = INL_FORMAT_F16},
    };
    for (size_t i = 0; i < INL_COUNT(models); i++) {
        gguf_bytes g;
        toy_model_build(&g, &models[i]);
        put(user, (char[]){(char)('a' + i), 0}, g.data, g.size);
        gguf_bytes_free(&g);
    }
}
