// SPDX-License-Identifier: MIT
#include "adapter/merge.h"
#include "adapter/pairs.h"

#include <string.h>

#define HEAD "output.weight"
#define EMBEDDING "token_embd.weight"
#define MAX_NAMES 160 // bytes of a list of formats

// A tensor to be written: of `source`, under `name`.
typedef struct item {
    const char *name;
    const inl_gguf_tensor *source;
    const inl_format *wanted;           // NULL: the bytes as they are
    const inl_lora_pair *const *pairs;  // of its experts, or its one; NULL: none
    uint64_t pair_rows;
} item;

typedef struct writer {
    inl_merge_run run;
    const inl_gguf *base;
    const inl_module_list *modules;
    const inl_lora_pair **pair_of_module; // [modules->count]
    item *items;
    uint32_t count;
    uint32_t undivided; // matrices whose rows are no multiple of the format's blocks
    inl_gguf_writer *file;
} writer;

// ---- which tensors, in which format

// What a quantizer of GGUF files leaves alone: vectors, and what chooses experts.
static bool is_matrix(const inl_gguf_tensor *t)
{
    size_t size = strlen(t->name);
    static const char router[] = "ffn_gate_inp.weight";
    size_t part = sizeof(router) - 1;
    return t->shape[1] > 1 && t->dims > 1 &&
           !(size >= part && strcmp(t->name + size - part, router) == 0);
}

static const inl_lora_pair *const *find_pairs(const writer *w, const char *name, uint64_t *rows)
{
    for (uint32_t i = 0; i < w->modules->count; i++) {
        const inl_module *m = &w->modules->items[i];
        if (strcmp(m->gguf, name) != 0)
            continue;
        *rows = m->out;
        for (uint32_t e = 0; e < INL_MAX(1, m->experts); e++)
            if (w->pair_of_module[i + e])
                return &w->pair_of_module[i];
        return NULL;
    }
    return NULL;
}

static inlay_result choose_format(writer *w, item *t)
{
    const inl_env *env = &w->run.env;
    const inl_format *stored = inl_format_by_ggml(t->source->type), *want = w->run.params->format;
    char names[MAX_NAMES];
    if (!want || !is_matrix(t->source))
        want = stored;
    if (want == stored && !t->pairs)
        return INLAY_OK;
    if (!stored)
        return inl_fail(env, INLAY_ERROR_UNSUPPORTED,
                        "%s: tensor %s has the type %s, which cannot be merged (%s can)",
                        inl_gguf_path(w->base), t->name,
                        inl_ggml_type_info(t->source->type, NULL, NULL),
                        inl_format_names(names, sizeof(names)));
    if (t->source->shape[0] % want->block_elements != 0) {
        w->undivided++;
        want = inl_format_by_id(INL_FORMAT_F16);
    }
    t->wanted = want != stored || t->pairs ? want : NULL;
    return INLAY_OK;
}

static inlay_result add_item(writer *w, const char *name, const inl_gguf_tensor *source)
{
    item *t = &w->items[w->count++];
    *t = (item){.name = name, .source = source};
    t->pairs = find_pairs(w, name, &t->pair_rows);
    INL_TRY(choose_format(w, t));
    uint64_t bytes = source->bytes;
    uint32_t type = source->type;
    if (t->wanted) {
        uint64_t elements =
            source->shape[0] * source->shape[1] * source->shape[2] * source->shape[3];
        bytes = inl_format_bytes(t->wanted, elements);
        type = t->wanted->ggml_type;
    }
    w->run.total += bytes;
    return inl_gguf_writer_tensor(w->file, name, type, source->dims, source->shape, NULL, bytes);
}

// A head that shares the embedding's matrix gets its own where the adapter changes it.
static inlay_result add_items(writer *w)
{
    uint64_t rows;
    for (uint32_t i = 0; i < inl_gguf_tensor_count(w->base); i++) {
        const inl_gguf_tensor *t = inl_gguf_tensor_at(w->base, i);
        INL_TRY(add_item(w, t->name, t));
    }
    const inl_gguf_tensor *embedding = inl_gguf_find_tensor(w->base, EMBEDDING);
    if (embedding && !inl_gguf_find_tensor(w->base, HEAD) && find_pairs(w, HEAD, &rows))
        return add_item(w, HEAD, embedding);
    return INLAY_OK;
}

// ---- metadata

static bool is_key(inl_slice key, const char *name)
{
    return key.size == strlen(name) && memcmp(key.data, name, key.size) == 0;
}

static inlay_result copy_metadata(const writer *w)
{
    const inl_format *format = w->run.params->format;
    for (uint32_t i = 0; i < inl_gguf_entry_count(w->base); i++) {
        inl_slice key, entry = inl_gguf_entry_at(w->base, i, &key);
        bool own = is_key(key, "general.alignment") ||
                   (key.size > 6 && memcmp(key.data, "split.", 6) == 0);
        if (!own && !(format && is_key(key, "general.file_type")))
            INL_TRY(inl_gguf_writer_entry(w->file, key, entry));
    }
    if (format)
        INL_TRY(inl_gguf_writer_u32(w->file, "general.file_type", format->file_type));
    if (!inl_gguf_has(w->base, "general.quantization_version"))
        return inl_gguf_writer_u32(w->file, "general.quantization_version", 2);
    return INLAY_OK;
}

// ---- the file

static inlay_result put(void *user, uint32_t index, inl_writer *file)
{
    writer *w = user;
    const item *t = &w->items[index];
    const inl_gguf_tensor *s = t->source;
    if (!t->wanted)
        return inl_merge_put_bytes(&w->run, s->data, s->bytes, file);
    inl_merge_matrix m = {.name = t->name,
                          .stored = inl_format_by_ggml(s->type),
                          .wanted = t->wanted,
                          .data = s->data,
                          .rows = s->shape[1] * s->shape[2] * s->shape[3],
                          .cols = s->shape[0],
                          .pairs = t->pairs,
                          .pair_rows = t->pair_rows};
    return inl_merge_put_matrix(&w->run, &m, file);
}

static inlay_result write_all(writer *w, const inl_lora *lora, const char *path)
{
    const inl_env *env = &w->run.env;
    w->pair_of_module = inl_alloc(env, w->modules->count, sizeof(*w->pair_of_module));
    w->items = inl_alloc(env, (size_t)inl_gguf_tensor_count(w->base) + 1, sizeof(*w->items));
    if (!w->pair_of_module || !w->items)
        return INLAY_ERROR_OUT_OF_MEMORY;
    for (uint32_t i = 0; i < lora->pair_count; i++)
        w->pair_of_module[lora->pairs[i].module] = &lora->pairs[i];
    INL_TRY(inl_gguf_writer_create(env, &w->file));
    INL_TRY(copy_metadata(w));
    INL_TRY(add_items(w));
    if (w->undivided > 0)
        inl_logf(env, INLAY_LOG_WARN,
                 "%u of %u tensors become F16: their rows are no multiple of %s's blocks of %u",
                 w->undivided, w->count, w->run.params->format->name,
                 w->run.params->format->block_elements);
    return inl_gguf_writer_stream(w->file, path, put, w);
}

inlay_result inl_merge_gguf(const inl_gguf *base, const inl_module_list *modules,
                            const inl_lora *lora, const inl_merge_params *params, const char *path)
{
    writer w = {.run = {.env = lora->env, .params = params}, .base = base, .modules = modules};
    const inl_env *env = &w.run.env;
    INL_TRY(inl_lora_check_writable(lora, modules));
    inlay_result result = write_all(&w, lora, path);
    inl_gguf_writer_destroy(&w.file);
    inl_free(env, w.items);
    inl_free(env, (void *)w.pair_of_module);
    return result;
}
