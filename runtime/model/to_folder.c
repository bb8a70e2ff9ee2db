// SPDX-License-Identifier: MIT
#include "model/to_folder.h"
#include "adapter/pairs.h"
#include "base/folder.h"
#include "io/hf_names.h"
#include "io/safetensors.h"

#include <string.h>

#define HEAD "output.weight"
#define EMBEDDING "token_embd.weight"
#define MODEL_FILE "model.safetensors"

// A tensor to be written.
typedef struct item {
    char name[INL_HF_NAME_ROOM];
    const inl_gguf_tensor *source;
    const inl_lora_pair *pair; // or NULL
    uint32_t file_heads;       // inl_merge_matrix
    bool minus_one;            // gemma's norms count from 1 in GGUF
} item;

typedef struct writer {
    inl_merge_run run;
    const inl_model *model;
    const inl_lora *lora;
    const inl_hf_architecture *arch;
    const inl_format *format;
    item *items;
    inl_safetensor_out *tensors;
    const char **dtypes;
    uint32_t count;
} writer;

// ---- which tensors

static const inl_lora_pair *find_pair(const writer *w, const inl_module *m)
{
    for (uint32_t i = 0; m && i < w->lora->pair_count; i++)
        if (&w->model->modules.list.items[w->lora->pairs[i].module] == m)
            return &w->lora->pairs[i];
    return NULL;
}

static inlay_result add_item(writer *w, const char *name, const inl_gguf_tensor *t)
{
    const inl_module_list *list = &w->model->modules.list;
    const inl_module *rows = inl_merge_find_rows(list, name);
    item *i = &w->items[w->count];
    if (strncmp(name, "rope_", 5) == 0) // config.json says it
        return INLAY_OK;
    if (!inl_hf_untranslate(w->arch, name, i->name) || t->dims > 2 ||
        !inl_format_by_ggml(t->type))
        return inl_fail(&w->run.env, INLAY_ERROR_UNSUPPORTED,
                        "%s: tensor %s has no place in a folder of the class %s",
                        inl_gguf_path(w->model->gguf), name, w->arch->name);
    i->source = t;
    i->pair = find_pair(w, inl_merge_find_module(list, name));
    i->file_heads = rows ? rows->permuted_heads : 0;
    i->minus_one = w->arch->traits & INL_HF_GEMMA && strstr(name, "norm.weight");
    inl_safetensor_out *out = &w->tensors[w->count];
    *out = (inl_safetensor_out){.name = i->name, .dims = t->dims};
    for (uint32_t d = 0; d < t->dims; d++)
        out->shape[d] = t->shape[t->dims - 1 - d];
    w->dtypes[w->count++] = w->format->name;
    w->run.total += inl_format_bytes(w->format, t->shape[0] * t->shape[1]);
    return INLAY_OK;
}

// Whether the adapter gives a head that shares the embedding's matrix one of its own.
static bool unties(const writer *w)
{
    const inl_module *head = inl_merge_find_module(&w->model->modules.list, HEAD);
    return w->model->config.tied_head && find_pair(w, head);
}

static inlay_result add_items(writer *w)
{
    const inl_gguf *gguf = w->model->gguf;
    uint32_t count = inl_gguf_tensor_count(gguf);
    w->items = inl_alloc(&w->run.env, (size_t)count + 1, sizeof(*w->items));
    w->tensors = inl_alloc(&w->run.env, (size_t)count + 1, sizeof(*w->tensors));
    w->dtypes = inl_alloc(&w->run.env, (size_t)count + 1, sizeof(*w->dtypes));
    if (!w->items || !w->tensors || !w->dtypes)
        return INLAY_ERROR_OUT_OF_MEMORY;
    for (uint32_t i = 0; i < count; i++) {
        const inl_gguf_tensor *t = inl_gguf_tensor_at(gguf, i);
        INL_TRY(add_item(w, t->name, t));
    }
    return unties(w) ? add_item(w, HEAD, inl_gguf_find_tensor(gguf, EMBEDDING)) : INLAY_OK;
}

// The largest matrix's, F16 where that is quantized.
static const inl_format *kept_format(const inl_gguf *gguf)
{
    const inl_gguf_tensor *most = NULL;
    for (uint32_t i = 0; i < inl_gguf_tensor_count(gguf); i++) {
        const inl_gguf_tensor *t = inl_gguf_tensor_at(gguf, i);
        if (t->dims > 1 && (!most || t->bytes > most->bytes))
            most = t;
    }
    const inl_format *format = most ? inl_format_by_ggml(most->type) : NULL;
    return format && format->block_elements == 1 ? format : inl_format_by_id(INL_FORMAT_F16);
}

// ---- the tensors

static inlay_result put_less_one(writer *w, const item *i, inl_merge_matrix m, inl_writer *file)
{
    float *values = inl_alloc(&w->run.env, m.cols, sizeof(*values));
    if (!values)
        return INLAY_ERROR_OUT_OF_MEMORY;
    m.stored->decode(i->source->data, values, m.cols);
    for (uint64_t k = 0; k < m.cols; k++)
        values[k] -= 1.0f;
    m.stored = inl_format_by_id(INL_FORMAT_F32);
    m.data = (const uint8_t *)values;
    inlay_result result = inl_merge_put_matrix(&w->run, &m, file);
    inl_free(&w->run.env, values);
    return result;
}

static inlay_result put(void *user, uint32_t index, inl_writer *file)
{
    writer *w = user;
    const item *i = &w->items[index];
    const inl_gguf_tensor *t = i->source;
    inl_merge_matrix m = {.name = t->name,
                          .stored = inl_format_by_ggml(t->type),
                          .wanted = w->format,
                          .data = t->data,
                          .rows = t->shape[1],
                          .cols = t->shape[0],
                          .pairs = i->pair ? &i->pair : NULL,
                          .pair_rows = i->pair ? i->pair->out : 0,
                          .file_heads = i->file_heads};
    if (i->file_heads > 0 && t->dims == 1) { // a bias: rows of one
        m.rows = t->shape[0];
        m.cols = 1;
    }
    return i->minus_one ? put_less_one(w, i, m, file) : inl_merge_put_matrix(&w->run, &m, file);
}

static inlay_result write_tensors(writer *w, const char *folder)
{
    char *path = inl_path_join(&w->run.env, folder, MODEL_FILE);
    inlay_result result =
        path ? inl_safetensors_stream(&w->run.env, path, w->tensors, w->dtypes, w->count, put, w)
             : INLAY_ERROR_OUT_OF_MEMORY;
    inl_free(&w->run.env, path);
    return result;
}

// ---- the folder

static inlay_result write_all(writer *w, const char *folder)
{
    const inl_config *c = &w->model->config;
    const inl_tokenizer *tokenizer = w->model->tokenizer;
    w->arch = inl_hf_architecture_of(c->architecture, c->window > 0);
    INL_TRY(inl_model_write_config(w->model, w->format, c->tied_head && !unties(w), folder));
    INL_TRY(inl_tokenizer_write_folder(tokenizer, inl_gguf_path(w->model->gguf), folder));
    INL_TRY(add_items(w));
    return write_tensors(w, folder);
}

inlay_result inl_model_write_folder(const inl_model *model, const inl_lora *lora,
                                    const inl_merge_params *params, const char *folder)
{
    writer w = {.run = {.env = lora->env, .params = params},
                .model = model,
                .lora = lora,
                .format = params->format ? params->format : kept_format(model->gguf)};
    const inl_env *env = &w.run.env;
    inl_folder_writer out;
    INL_TRY(inl_lora_check_writable(lora, &model->modules.list));
    INL_TRY(inl_folder_check_free(env, folder));
    INL_TRY(inl_folder_begin(env, folder, &out));
    inlay_result result = write_all(&w, out.made);
    if (result == INLAY_OK)
        result = inl_folder_commit(&out);
    else
        inl_folder_abandon(&out);
    inl_free(env, w.items);
    inl_free(env, w.tensors);
    inl_free(env, (void *)w.dtypes);
    return result;
}
