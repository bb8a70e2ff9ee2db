// SPDX-License-Identifier: MIT
#include "adapter/merge.h"
#include "adapter/pairs.h"

#include <stdio.h>
#include <string.h>

#define HEAD "output.weight"
#define EMBEDDING "token_embd.weight"
#define MAX_NAMES 160 // bytes of a list of formats
#define MAX_NAME 128  // bytes of a tensor's name

// A tensor to be written: of `source`, under `name`.
typedef struct item {
    const char *name;
    const inl_gguf_tensor *source;
    uint32_t experts; // a folder's, each in a tensor, `source` the first's; 0: one tensor
    uint32_t folder_heads; // inl_merge_matrix
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
    bool folder;        // the base is one
    uint64_t most;      // bytes in the largest matrix that has
    const inl_format *main; // this format
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

static const inl_lora_pair *const *find_pairs(const writer *w, const inl_module *m)
{
    const inl_lora_pair **pairs = m ? &w->pair_of_module[m - w->modules->items] : NULL;
    for (uint32_t e = 0; m && e < INL_MAX(1, m->experts); e++)
        if (pairs[e])
            return pairs;
    return NULL;
}

// What a folder's tensor is stored as where it keeps its values.
static const inl_format *kept_format(const writer *w, const inl_gguf_tensor *t)
{
    if (w->folder && !is_matrix(t))
        return inl_format_by_id(INL_FORMAT_F32);
    return t->bnb4 ? inl_format_by_id(INL_FORMAT_F16) : inl_format_by_ggml(t->type);
}

static inlay_result choose_format(writer *w, item *t)
{
    const inl_env *env = &w->run.env;
    const inl_format *stored = inl_format_by_ggml(t->source->type), *want = w->run.params->format;
    char names[MAX_NAMES];
    if (!want || !is_matrix(t->source))
        want = kept_format(w, t->source);
    bool anew = t->pairs || t->experts > 0 || t->folder_heads > 0 || want != stored;
    if (!anew)
        return INLAY_OK;
    if (!stored && !t->source->bnb4)
        return inl_fail(env, INLAY_ERROR_UNSUPPORTED,
                        "%s: tensor %s has the type %s, which cannot be merged (%s can)",
                        inl_gguf_path(w->base), t->name,
                        inl_ggml_type_info(t->source->type, NULL, NULL),
                        inl_format_names(names, sizeof(names)));
    if (t->source->shape[0] % want->block_elements != 0) {
        w->undivided++;
        want = inl_format_by_id(INL_FORMAT_F16);
    }
    t->wanted = want;
    return INLAY_OK;
}

static inlay_result list_tensor(writer *w, const item *t)
{
    const inl_gguf_tensor *s = t->source;
    uint64_t bytes = s->bytes, shape[4] = {s->shape[0], s->shape[1], s->shape[2], s->shape[3]};
    uint32_t type = s->type, dims = s->dims;
    if (t->experts > 0) {
        shape[2] = t->experts;
        dims = 3;
    }
    if (t->wanted) {
        uint64_t elements = shape[0] * shape[1] * shape[2] * shape[3];
        bytes = inl_format_bytes(t->wanted, elements);
        type = t->wanted->ggml_type;
    }
    if (is_matrix(s) && bytes > w->most) {
        w->most = bytes;
        w->main = t->wanted ? t->wanted : inl_format_by_ggml(type);
    }
    w->run.total += bytes;
    return inl_gguf_writer_tensor(w->file, t->name, type, dims, shape, NULL, bytes);
}

static inlay_result add_item(writer *w, const char *name, const inl_gguf_tensor *source,
                             uint32_t experts)
{
    const inl_module *m = inl_merge_find_module(w->modules, name);
    const inl_module *rows = inl_merge_find_rows(w->modules, name);
    item *t = &w->items[w->count++];
    *t = (item){.name = m ? m->gguf : name,
                .source = source,
                .experts = experts,
                .folder_heads = rows ? rows->folder_heads : 0,
                .pairs = find_pairs(w, m),
                .pair_rows = m ? m->out : 0};
    INL_TRY(choose_format(w, t));
    return list_tensor(w, t);
}

// "blk.0.ffn_up_exps.3.weight", a folder's, into "blk.0.ffn_up_exps.weight" and 3.
static bool is_expert(const char *name, char all[MAX_NAME], uint32_t *expert)
{
    int size = 0, end = 0;
    const char *mark = strstr(name, "_exps.");
    if (!mark || sscanf(mark, "_exps.%u.weight%n", expert, &end) != 1 || end == 0)
        return false;
    size = (int)(mark - name) + (int)strlen("_exps");
    snprintf(all, MAX_NAME, "%.*s.weight", size, name);
    return true;
}

// All of a layer's experts come where the first one is.
static inlay_result add_expert(writer *w, const char *all, const inl_gguf_tensor *t,
                               uint32_t expert)
{
    const inl_module *m = expert == 0 ? inl_merge_find_module(w->modules, all) : NULL;
    return m ? add_item(w, all, t, m->experts) : INLAY_OK;
}

// A head that shares the embedding's matrix gets its own where the adapter changes it.
static inlay_result add_items(writer *w)
{
    uint32_t expert;
    char all[MAX_NAME];
    for (uint32_t i = 0; i < inl_gguf_tensor_count(w->base); i++) {
        const inl_gguf_tensor *t = inl_gguf_tensor_at(w->base, i);
        INL_TRY(w->folder && is_expert(t->name, all, &expert) ? add_expert(w, all, t, expert)
                                                             : add_item(w, t->name, t, 0));
    }
    const inl_gguf_tensor *embedding = inl_gguf_find_tensor(w->base, EMBEDDING);
    const inl_module *head = inl_merge_find_module(w->modules, HEAD);
    if (embedding && !inl_gguf_find_tensor(w->base, HEAD) && find_pairs(w, head))
        return add_item(w, HEAD, embedding, 0);
    return INLAY_OK;
}

// ---- metadata

static bool is_key(inl_slice key, const char *name)
{
    return key.size == strlen(name) && memcmp(key.data, name, key.size) == 0;
}

// What a file has and a folder's view has not.
static inlay_result add_metadata(const writer *w)
{
    const inl_gguf_tensor *embedding = inl_gguf_find_tensor(w->base, EMBEDDING);
    const char *path = inl_gguf_path(w->base), *end = path + strlen(path);
    while (end > path && end[-1] == '/')
        end--;
    const char *start = end;
    while (start > path && start[-1] != '/')
        start--;
    char *name = inl_strndup(&w->run.env, start, (size_t)(end - start));
    if (!name)
        return INLAY_ERROR_OUT_OF_MEMORY;
    inlay_result result =
        *name ? inl_gguf_writer_string(w->file, "general.name", name) : INLAY_OK;
    inl_free(&w->run.env, name);
    if (result != INLAY_OK || !embedding)
        return result;
    return inl_tokenizer_write_gguf(w->run.params->tokenizer, path, (uint32_t)embedding->shape[1],
                                    w->file);
}

static inlay_result copy_metadata(const writer *w)
{
    const inl_format *format = w->run.params->format;
    if (w->folder)
        format = w->main;
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
        INL_TRY(inl_gguf_writer_u32(w->file, "general.quantization_version", 2));
    return w->folder ? add_metadata(w) : INLAY_OK;
}

// ---- the file

static inlay_result put_tensor(writer *w, const item *t, const inl_gguf_tensor *s,
                               const inl_lora_pair *const *pairs, inl_writer *file)
{
    inl_merge_matrix m = {.name = t->name,
                          .stored = inl_format_by_ggml(s->type),
                          .wanted = t->wanted,
                          .data = s->data,
                          .rows = s->shape[1] * s->shape[2] * s->shape[3],
                          .cols = s->shape[0],
                          .pairs = pairs,
                          .pair_rows = t->pair_rows,
                          .folder_heads = t->folder_heads};
    if (t->folder_heads > 0 && s->dims == 1) { // a bias: rows of one
        m.rows = s->shape[0];
        m.cols = 1;
    }
    return s->bnb4 ? inl_merge_put_bnb4(&w->run, &m, s->bnb4, file)
                   : inl_merge_put_matrix(&w->run, &m, file);
}

static inlay_result put_experts(writer *w, const item *t, inl_writer *file)
{
    int size = (int)(strlen(t->name) - strlen(".weight"));
    inlay_result result = INLAY_OK;
    for (uint32_t e = 0; result == INLAY_OK && e < t->experts; e++) {
        char name[MAX_NAME];
        snprintf(name, sizeof(name), "%.*s.%u.weight", size, t->name, e);
        const inl_gguf_tensor *s = inl_gguf_find_tensor(w->base, name);
        result = s ? put_tensor(w, t, s, t->pairs ? t->pairs + e : NULL, file)
                   : inl_fail(&w->run.env, INLAY_ERROR_BAD_FILE, "%s: there is no tensor %s",
                              inl_gguf_path(w->base), name);
    }
    return result;
}

static inlay_result put(void *user, uint32_t index, inl_writer *file)
{
    writer *w = user;
    const item *t = &w->items[index];
    if (!t->wanted)
        return inl_merge_put_bytes(&w->run, t->source->data, t->source->bytes, file);
    return t->experts > 0 ? put_experts(w, t, file) : put_tensor(w, t, t->source, t->pairs, file);
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
    INL_TRY(add_items(w));
    INL_TRY(copy_metadata(w));
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
    writer w = {.run = {.env = lora->env, .params = params}, .base = base, .modules = modules,
                .folder = inl_gguf_is_folder(base)};
    const inl_env *env = &w.run.env;
    INL_TRY(inl_lora_check_writable(lora, modules));
    inlay_result result = write_all(&w, lora, path);
    inl_gguf_writer_destroy(&w.file);
    inl_free(env, w.items);
    inl_free(env, (void *)w.pair_of_module);
    return result;
}
