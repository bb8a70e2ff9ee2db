// SPDX-License-Identifier: MIT
#include "model/model.h"
#include "base/file.h"
#include "io/hf_folder.h"

#include <stdio.h>
#include <string.h>

#define XXH_INLINE_ALL
#include <xxhash.h>

#define HASHED_BYTES 4096 // of each tensor

static const inl_format *supported_format(const inl_model *m, const inl_gguf_tensor *t)
{
    if (t->bnb4)
        return inl_format_by_id(inl_bnb4_format(t->bnb4));
    const inl_format *format = inl_format_by_ggml(t->type);
    if (!format) {
        const char *name = inl_ggml_type_info(t->type, NULL, NULL);
        char names[256];
        inl_logf(&m->env, INLAY_LOG_ERROR,
                 "%s: tensor %s has type %s (%u), which is not supported (%s are)",
                 inl_gguf_path(m->gguf), inl_gguf_stored_name(t), name ? name : "unknown", t->type,
                 inl_format_names(names, sizeof(names)));
    }
    return format;
}

// NULL: there is none. What was found is not among what nothing reads.
static const inl_gguf_tensor *find_tensor(inl_model *m, const char *name)
{
    const inl_gguf_tensor *t = inl_gguf_find_tensor(m->gguf, name);
    if (t)
        m->read[t - inl_gguf_tensor_at(m->gguf, 0)] = true;
    return t;
}

// rows 0 stands for a vector of `cols`.
static inlay_result find_source(inl_model *m, const char *name, uint32_t rows, uint32_t cols,
                                bool optional, inl_source *out)
{
    *out = (inl_source){0};
    const inl_gguf_tensor *t = find_tensor(m, name);
    if (!t && optional)
        return INLAY_OK;
    if (!t)
        return inl_fail(&m->env, INLAY_ERROR_BAD_FILE, "%s: there is no tensor %s",
                        inl_gguf_path(m->gguf), name);
    uint64_t have_rows = t->dims > 1 ? t->shape[1] : 0;
    if (t->dims > 2 || t->shape[0] != cols || have_rows != rows)
        return inl_fail(&m->env, INLAY_ERROR_BAD_FILE,
                        "%s: tensor %s is %llu x %llu, the metadata ask for %u x %u",
                        inl_gguf_path(m->gguf), inl_gguf_stored_name(t),
                        (unsigned long long)t->shape[0],
                        (unsigned long long)have_rows, cols, rows);
    const inl_format *format = supported_format(m, t);
    if (!format)
        return INLAY_ERROR_UNSUPPORTED;
    *out = (inl_source){.tensor = t,
                        .stored = format,
                        .format = rows ? format : inl_format_by_id(INL_FORMAT_F32),
                        .rows = rows ? rows : 1,
                        .cols = cols};
    return INLAY_OK;
}

const uint8_t *inl_source_row(const inl_source *s, uint32_t expert, uint32_t row)
{
    uint64_t row_bytes = inl_format_bytes(s->stored, s->cols);
    const inl_gguf_tensor *t = s->each ? s->each[expert] : s->tensor;
    uint64_t rows = s->each ? row : (uint64_t)expert * s->rows + row;
    return (const uint8_t *)t->data + rows * row_bytes;
}

static inlay_result find_each_expert(inl_model *m, const char *base, uint32_t rows, uint32_t cols,
                                     uint32_t experts, inl_source *out)
{
    const inl_gguf_tensor **each = inl_alloc(&m->env, experts, sizeof(*each));
    inlay_result result = each ? INLAY_OK : INLAY_ERROR_OUT_OF_MEMORY;
    for (uint32_t e = 0; result == INLAY_OK && e < experts; e++) {
        char name[96];
        inl_source one;
        snprintf(name, sizeof(name), "%s.%u.weight", base, e);
        result = find_source(m, name, rows, cols, false, &one);
        if (result == INLAY_OK && e > 0 && one.stored != out->stored)
            result = inl_fail(&m->env, INLAY_ERROR_UNSUPPORTED,
                              "%s: tensor %s is %s and that of expert 0 is %s",
                              inl_gguf_path(m->gguf), inl_gguf_stored_name(one.tensor),
                              one.stored->name,
                              out->stored->name);
        if (result == INLAY_OK && e == 0)
            *out = one;
        if (result == INLAY_OK)
            each[e] = one.tensor;
    }
    out->each = each; // freed with the model
    out->experts = experts;
    return result;
}

// All experts of a role: GGUF has them in one tensor, a Hugging Face folder one by one.
static inlay_result find_experts(inl_model *m, const char *base, uint32_t rows, uint32_t cols,
                                 uint32_t experts, inl_source *out)
{
    char name[80];
    snprintf(name, sizeof(name), "%s.weight", base);
    const inl_gguf_tensor *t = find_tensor(m, name);
    *out = (inl_source){0};
    if (!t) {
        char first[80];
        snprintf(first, sizeof(first), "%s.0.weight", base);
        if (inl_gguf_find_tensor(m->gguf, first))
            return find_each_expert(m, base, rows, cols, experts, out);
        return inl_fail(&m->env, INLAY_ERROR_BAD_FILE, "%s: there is no tensor %s",
                        inl_gguf_path(m->gguf), name);
    }
    uint64_t have[3] = {t->shape[0], t->dims > 1 ? t->shape[1] : 0, t->dims > 2 ? t->shape[2] : 1};
    if (t->dims > 3 || have[0] != cols || have[1] != rows || have[2] != experts)
        return inl_fail(&m->env, INLAY_ERROR_BAD_FILE,
                        "%s: tensor %s is %llu x %llu x %llu, the metadata ask for %u x %u x %u",
                        inl_gguf_path(m->gguf), inl_gguf_stored_name(t),
                        (unsigned long long)have[0],
                        (unsigned long long)have[1], (unsigned long long)have[2], cols, rows,
                        experts);
    const inl_format *format = supported_format(m, t);
    if (!format)
        return INLAY_ERROR_UNSUPPORTED;
    *out = (inl_source){.tensor = t,
                        .stored = format,
                        .format = format,
                        .rows = rows,
                        .cols = cols,
                        .experts = experts};
    return INLAY_OK;
}

// A matrix of bitsandbytes' bits, or that the wanted format's blocks do not divide, keeps its own.
static void requantize(inl_model *m, inl_source *s)
{
    const inl_format *want = m->quantize;
    if (!want || want == s->stored)
        return;
    bool undivided = !inl_is_nf4(want) && s->cols % want->block_elements > 0;
    if (!s->tensor->bnb4 && !undivided) {
        s->format = want;
        return;
    }
    uint32_t why = s->tensor->bnb4 ? 0 : 1;
    if (m->kept_count[why]++ == 0)
        m->kept[why] = s;
}

static void warn_of_kept(const inl_model *m)
{
    const uint32_t *n = m->kept_count;
    const inl_source *const *first = m->kept;
    if (n[0] > 0)
        inl_logf(&m->env, INLAY_LOG_WARN,
                 "matrices that keep bitsandbytes' types: %u, first %s's %s", n[0],
                 inl_gguf_stored_name(first[0]->tensor), first[0]->stored->name);
    if (n[1] > 0)
        inl_logf(&m->env, INLAY_LOG_WARN,
                 "matrices that keep their types: %u, first %s's %s, whose rows of %u are no "
                 "multiple of %s's %u", n[1], inl_gguf_stored_name(first[1]->tensor),
                 first[1]->stored->name, first[1]->cols, m->quantize->name,
                 m->quantize->block_elements);
}

static inlay_result find_linear(inl_model *m, uint32_t layer, inl_role role)
{
    const inl_config *c = &m->config;
    inl_layer_sources *l = &m->layers[layer];
    const char *base = inl_role_gguf_name(c, layer, role);
    char name[64];
    uint32_t rows, cols, experts = inl_config_experts(c, layer, role);
    inl_config_shape(c, layer, role, &rows, &cols);
    snprintf(name, sizeof(name), "blk.%u.%s", layer, base);
    if (experts > 0) {
        INL_TRY(find_experts(m, name, rows, cols, experts, &l->linear[role]));
        requantize(m, &l->linear[role]);
        return INLAY_OK;
    }
    snprintf(name, sizeof(name), "blk.%u.%s.weight", layer, base);
    INL_TRY(find_source(m, name, rows, cols, false, &l->linear[role]));
    if (role != INL_ROLE_ROUTER) // small, and what it decides is not to change
        requantize(m, &l->linear[role]);
    snprintf(name, sizeof(name), "blk.%u.%s.bias", layer, base);
    return find_source(m, name, 0, rows, !inl_config_needs_bias(c, role), &l->bias[role]);
}

static inlay_result find_layer(inl_model *m, uint32_t layer)
{
    const inl_config *c = &m->config;
    char name[64];
    for (inl_norm_role norm = 0; norm < INL_NORM_COUNT; norm++) {
        uint32_t elements = inl_config_norm(c, norm);
        snprintf(name, sizeof(name), "blk.%u.%s.weight", layer, inl_norm_gguf_name(norm));
        if (elements > 0)
            INL_TRY(find_source(m, name, 0, elements, false, &m->layers[layer].norm[norm]));
    }
    for (inl_role role = 0; role < INL_ROLE_COUNT; role++)
        if (inl_config_has_role(c, layer, role))
            INL_TRY(find_linear(m, layer, role));
    return INLAY_OK;
}

static inlay_result find_sources(inl_model *m)
{
    const inl_config *c = &m->config;
    INL_TRY(find_source(m, "token_embd.weight", c->vocab, c->dim, false, &m->embedding));
    INL_TRY(find_source(m, "output_norm.weight", 0, c->dim, false, &m->norm));
    m->head = m->embedding;
    if (!c->tied_head)
        INL_TRY(find_source(m, "output.weight", c->vocab, c->dim, false, &m->head));
    m->layers = inl_alloc(&m->env, c->layers, sizeof(*m->layers));
    if (!m->layers)
        return INLAY_ERROR_OUT_OF_MEMORY;
    for (uint32_t i = 0; i < c->layers; i++)
        INL_TRY(find_layer(m, i));
    warn_of_kept(m);
    return INLAY_OK;
}

static bool starts_with_any(const char *name, const char *const *starts)
{
    for (; *starts; starts++)
        if (strncmp(name, *starts, strlen(*starts)) == 0)
            return true;
    return false;
}

// A tensor that would be passed over is a model computed wrongly: a bias, a norm, a matrix that
// this architecture is not known to have. Harmless are the tables of RoPE, which config.c reads,
// and what stands before the text model.
static inlay_result check_all_read(const inl_model *m)
{
    static const char *const ropes[] = {"rope_freqs.", "rope_factors_", NULL};
    static const char *const other_senses[] = {"v.", "a.", "mm.", NULL};
    uint32_t unused = 0;
    for (uint32_t i = 0; i < inl_gguf_tensor_count(m->gguf); i++) {
        const inl_gguf_tensor *t = inl_gguf_tensor_at(m->gguf, i);
        if (m->read[i] || starts_with_any(t->name, ropes) || strstr(t->name, ".rope_freqs.") ||
            strstr(t->name, ".attn_rot_embd."))
            continue;
        if (!starts_with_any(t->name, other_senses))
            return inl_fail(&m->env, INLAY_ERROR_UNSUPPORTED,
                            "%s: tensor %s is none that the architecture %s is known to have",
                            inl_gguf_path(m->gguf), inl_gguf_stored_name(t),
                            m->config.architecture);
        unused++;
    }
    if (unused > 0)
        inl_logf(&m->env, INLAY_LOG_WARN,
                 "%s: %u tensors of a vision or audio part are left out; the text model is used",
                 inl_gguf_path(m->gguf), unused);
    return INLAY_OK;
}

static inlay_result check_finite(const inl_model *m)
{
    for (uint32_t i = 0; i < inl_gguf_tensor_count(m->gguf); i++) {
        const inl_gguf_tensor *t = inl_gguf_tensor_at(m->gguf, i);
        const inl_format *format = inl_format_by_ggml(t->type);
        if (!format || !format->find_not_finite)
            continue;
        uint64_t count = t->shape[0] * t->shape[1] * t->shape[2] * t->shape[3];
        uint64_t bad = format->find_not_finite(t->data, count);
        if (bad != UINT64_MAX)
            return inl_fail(&m->env, INLAY_ERROR_NOT_FINITE,
                            "%s: tensor %s has NaN or infinity (block %llu)",
                            inl_gguf_path(m->gguf), inl_gguf_stored_name(t),
                            (unsigned long long)bad);
    }
    return INLAY_OK;
}

// Tokenizers of folders may have tokens that the model is without, such as those for pictures: who
// makes ids of text holds them to the embedding.
static inlay_result check_vocabulary(const inl_model *m)
{
    uint32_t tokens = inl_tokenizer_get_info(m->tokenizer)->vocab;
    if (tokens <= m->config.vocab)
        return INLAY_OK;
    if (!inl_gguf_is_folder(m->gguf))
        return inl_fail(&m->env, INLAY_ERROR_BAD_FILE,
                        "%s: the tokenizer has %u tokens, the embedding %u rows",
                        inl_gguf_path(m->gguf), tokens, m->config.vocab);
    inl_logf(&m->env, INLAY_LOG_WARN,
             "%s: the tokenizer has %u tokens, the embedding %u rows: the others cannot be used",
             inl_gguf_path(m->gguf), tokens, m->config.vocab);
    return INLAY_OK;
}

// m->gguf is there.
static inlay_result open_all(inl_model *m, const char *folder, const inl_model_params *params)
{
    m->quantize = params->quantize;
    INL_TRY(inl_config_read(&m->env, m->gguf, &m->config));
    m->read = inl_alloc(&m->env, inl_gguf_tensor_count(m->gguf), sizeof(*m->read));
    if (!m->read)
        return INLAY_ERROR_OUT_OF_MEMORY;
    INL_TRY(find_sources(m));
    INL_TRY(check_all_read(m));
    INL_TRY(inl_modules_create(&m->env, &m->config, &m->modules));
    m->modules.list.folder = folder ? inl_gguf_path(m->gguf) : NULL;
    INL_TRY(folder ? inl_tokenizer_open_folder(&m->env, folder, &m->tokenizer)
                   : inl_tokenizer_create(&m->env, m->gguf, &m->tokenizer));
    INL_TRY(check_vocabulary(m));
    return params->skip_finite_check ? INLAY_OK : check_finite(m);
}

static inlay_result open_gguf(const inl_env *env, inl_gguf *gguf, const char *folder,
                              const inl_model_params *params, inl_model **out)
{
    inl_model *m = inl_alloc(env, 1, sizeof(*m));
    *out = NULL;
    if (!m) {
        inl_gguf_close(&gguf);
        return INLAY_ERROR_OUT_OF_MEMORY;
    }
    m->env = *env;
    m->gguf = gguf;
    inlay_result result = open_all(m, folder, params ? params : &(inl_model_params){0});
    if (result != INLAY_OK) {
        inl_model_close(&m);
        return result;
    }
    *out = m;
    return INLAY_OK;
}

inlay_result inl_model_open_gguf(const inl_env *env, inl_gguf *gguf, const inl_model_params *params,
                                 inl_model **out)
{
    return open_gguf(env, gguf, NULL, params, out);
}

inlay_result inl_model_open(const inl_env *env, const char *path, const inl_model_params *params,
                            inl_model **out)
{
    inl_gguf *gguf;
    bool folder = inl_is_folder(path);
    *out = NULL;
    INL_TRY(folder ? inl_hf_folder_open(env, path, &gguf) : inl_gguf_open(env, path, &gguf));
    return open_gguf(env, gguf, folder ? path : NULL, params, out);
}

void inl_model_close(inl_model **handle)
{
    inl_model *m = *handle;
    if (!m)
        return;
    *handle = NULL;
    inl_tokenizer_destroy(&m->tokenizer);
    inl_modules_free(&m->env, &m->modules);
    for (uint32_t i = 0; m->layers && i < m->config.layers; i++)
        for (inl_role role = 0; role < INL_ROLE_COUNT; role++)
            inl_free(&m->env, m->layers[i].linear[role].each);
    inl_free(&m->env, m->layers);
    inl_free(&m->env, m->read);
    inl_config_free(&m->env, &m->config);
    inl_gguf_close(&m->gguf);
    inl_env env = m->env;
    inl_free(&env, m);
}

uint64_t inl_model_parameters(const inl_model *model)
{
    uint64_t sum = 0;
    for (uint32_t i = 0; i < inl_gguf_tensor_count(model->gguf); i++) {
        const inl_gguf_tensor *t = inl_gguf_tensor_at(model->gguf, i);
        sum += t->shape[0] * t->shape[1] * t->shape[2] * t->shape[3];
    }
    return sum;
}

uint64_t inl_model_hash(const inl_model *model)
{
    uint64_t hash = 0;
    for (uint32_t i = 0; i < inl_gguf_tensor_count(model->gguf); i++) {
        const inl_gguf_tensor *t = inl_gguf_tensor_at(model->gguf, i);
        hash = XXH3_64bits_withSeed(t->name, strlen(t->name), hash);
        hash = XXH3_64bits_withSeed(&t->type, sizeof(t->type), hash);
        hash = XXH3_64bits_withSeed(t->shape, sizeof(t->shape), hash);
        hash = XXH3_64bits_withSeed(t->data, INL_MIN(t->bytes, HASHED_BYTES), hash);
    }
    return hash;
}
