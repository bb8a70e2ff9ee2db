// SPDX-License-Identifier: MIT
#include "api/handles.h"

#include <stdio.h>
#include <string.h>
#include <strings.h>

static inlay_result find_quantize(const inl_env *env, const char *name, const inl_format **out)
{
    char names[160];
    *out = NULL;
    if (!name || strcasecmp(name, "none") == 0)
        return INLAY_OK;
    const inl_format *format = inl_format_by_name(name);
    if (!format || (!format->encode && format->id != INL_FORMAT_NF4))
        return inl_fail(env, INLAY_ERROR_INVALID_ARGUMENT,
                        "weights cannot be quantized to %.40s (supported: none, NF4, %s)", name,
                        inl_format_names(names, sizeof(names)));
    *out = format;
    return INLAY_OK;
}

inlay_result inlay_model_open(inlay_model **out, const inlay_env *public_env, const char *path,
                              const inlay_model_params *params)
{
    inl_env env = inl_env_resolve(public_env);
    INL_REQUIRE(&env, out != NULL);
    *out = NULL;
    INL_REQUIRE(&env, path != NULL);
    inl_model_params p = {.skip_finite_check = params && params->skip_finite_check};
    INL_TRY(find_quantize(&env, params ? params->quantize : NULL, &p.quantize));
    inlay_model *handle = inl_alloc(&env, 1, sizeof(*handle));
    if (!handle)
        return INLAY_ERROR_OUT_OF_MEMORY;
    handle->env = env;
    inlay_result result = inl_model_open(&env, path, &p, &handle->model);
    if (result != INLAY_OK) {
        inl_free(&env, handle);
        return result;
    }
    *out = handle;
    return INLAY_OK;
}

void inlay_model_close(inlay_model **handle)
{
    inlay_model *model = handle ? *handle : NULL;
    if (!model)
        return;
    *handle = NULL;
    inl_model_close(&model->model);
    inl_env env = model->env;
    inl_free(&env, model);
}

void inlay_model_get_info(const inlay_model *handle, inlay_model_info *info)
{
    const inl_model *m = handle->model;
    const inl_config *c = &m->config;
    const inl_tokenizer_info *t = inl_tokenizer_get_info(m->tokenizer);
    *info = (inlay_model_info){.file_bytes = inl_gguf_file_bytes(m->gguf),
                               .parameters = inl_model_parameters(m),
                               .layers = c->layers,
                               .dim = c->dim,
                               .ffn_dim = c->ffn_dim,
                               .experts = c->experts,
                               .experts_used = c->experts_used,
                               .expert_dim = c->expert_dim,
                               .heads = c->heads,
                               .kv_heads = c->kv_heads,
                               .head_dim = c->head_dim,
                               .vocab = c->vocab,
                               .context_length = c->context_length,
                               .rope_base = c->rope.base,
                               .norm_eps = c->norm_eps,
                               .tied_head = c->tied_head,
                               .bos = t->bos,
                               .eos = t->eos,
                               .add_bos = t->add_bos,
                               .tensor_count = inl_gguf_tensor_count(m->gguf)};
    snprintf(info->architecture, sizeof(info->architecture), "%s", c->architecture);
    snprintf(info->tokenizer, sizeof(info->tokenizer), "%s", t->model);
    snprintf(info->pre_tokenizer, sizeof(info->pre_tokenizer), "%s", t->pre);
    for (uint32_t i = 0; i < c->layers; i++)
        info->expert_layers += inl_config_has_experts(c, i);
    inl_slice name;
    if (inl_gguf_get_string(m->gguf, "general.name", &name))
        snprintf(info->name, sizeof(info->name), "%.*s",
                 (int)INL_MIN(name.size, sizeof(info->name) - 1), name.data);
}

static const char *bnb4_name(const inl_bnb4 *tensor)
{
    return tensor->fp4 ? "FP4" : "NF4";
}

inlay_result inlay_model_get_tensor(const inlay_model *model, uint32_t index,
                                    inlay_tensor_info *info)
{
    INL_REQUIRE(&model->env, index < inl_gguf_tensor_count(model->model->gguf));
    const inl_gguf_tensor *t = inl_gguf_tensor_at(model->model->gguf, index);
    const char *type = t->bnb4 ? bnb4_name(t->bnb4) : inl_ggml_type_info(t->type, NULL, NULL);
    *info = (inlay_tensor_info){
        .name = t->name, .type = type ? type : "unknown", .dims = t->dims, .bytes = t->bytes};
    memcpy(info->shape, t->shape, sizeof(info->shape));
    return INLAY_OK;
}

static inlay_result copy_ids(const inlay_model *model, const int32_t *encoded, size_t count,
                             bool bos, bool eos, int32_t *ids, size_t *room)
{
    const inl_tokenizer_info *t = inl_tokenizer_get_info(model->model->tokenizer);
    size_t total = count + bos + eos, have = *room;
    *room = total;
    if (total > have && (ids || have > 0))
        return inl_fail(&model->env, INLAY_ERROR_INVALID_ARGUMENT,
                        "%zu tokens do not fit the room for %zu", total, have);
    if (total > have || !ids)
        return total ? INLAY_ERROR_INVALID_ARGUMENT : INLAY_OK;
    if (bos)
        ids[0] = t->bos;
    if (count > 0)
        memcpy(ids + bos, encoded, count * sizeof(*ids));
    if (eos)
        ids[total - 1] = t->eos;
    return INLAY_OK;
}

inlay_result inlay_tokenize(const inlay_model *model, const char *text, size_t size,
                            const inlay_tokenize_params *params, int32_t *ids, size_t *count)
{
    INL_REQUIRE(&model->env, count != NULL);
    INL_REQUIRE(&model->env, text != NULL || size == 0);
    const inl_tokenizer_info *t = inl_tokenizer_get_info(model->model->tokenizer);
    bool special = params && params->add_special;
    int32_t *encoded = NULL;
    size_t n = 0;
    INL_TRY(inl_tokenizer_encode(&model->env, model->model->tokenizer, text, size,
                                 params && params->parse_special, &encoded, &n));
    inlay_result result = copy_ids(model, encoded, n, special && t->add_bos && t->bos >= 0,
                                   special && t->add_eos && t->eos >= 0, ids, count);
    inl_free(&model->env, encoded);
    return result;
}

inlay_result inlay_detokenize(const inlay_model *model, int32_t id, bool first, char *bytes,
                              size_t *size)
{
    inl_slice text = inl_tokenizer_decode(model->model->tokenizer, id, first);
    size_t room = *size;
    *size = text.size;
    if (!bytes)
        return INLAY_OK;
    INL_REQUIRE(&model->env, text.size <= room);
    if (text.size > 0)
        memcpy(bytes, text.data, text.size);
    return INLAY_OK;
}

const char *inlay_model_get_token(const inlay_model *model, int32_t id, size_t *size)
{
    inl_slice text = inl_tokenizer_text(model->model->tokenizer, id);
    *size = text.size;
    return text.data;
}
