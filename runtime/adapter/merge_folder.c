// SPDX-License-Identifier: MIT
// A Hugging Face folder with an adapter in its weights: the same files under the same names, each
// tensor where it was.
#define _GNU_SOURCE
#include "adapter/merge.h"
#include "adapter/pairs.h"
#include "base/file.h"
#include "base/folder.h"
#include "io/hf_bnb.h"
#include "io/hf_names.h"
#include "io/hf_shards.h"
#include "io/settings.h"

#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#define INDEX "model.safetensors.index.json"
#define CONFIG "config.json"
#define QUANTIZATION "quantization_config"
#define HEAD "lm_head"
#define EMBEDDING "model.embed_tokens"
#define WEIGHT ".weight"

// A tensor of the file that is being written.
typedef struct item {
    const inl_safetensor *source;
    const inl_format *stored, *wanted; // NULL: the bytes as they are
    const inl_gguf_tensor *bnb;        // bitsandbytes' 4 bits, or NULL
    const inl_lora_pair *pair;         // or NULL
} item;

typedef struct writer {
    inl_merge_run run;
    const inl_gguf *view; // of the base
    const inl_module_list *modules;
    bool quantized; // by bitsandbytes: what is written is not
    const char *base, *made; // folders
    inl_hf_shards shards;
    const inl_lora_pair **pairs; // by path
    uint32_t pair_count, merged;
    bool untied;               // the adapter changes a head that shares the embedding's matrix,
    const inl_lora_pair *head; // and which has no tensor yet
    item *items;               // of one file
    inl_safetensor_out *tensors;
    const char **dtypes;
    uint32_t count;
} writer;

// ---- tensors

static int by_path(const void *x, const void *y)
{
    return strcmp((*(const inl_lora_pair *const *)x)->path,
                  (*(const inl_lora_pair *const *)y)->path);
}

static const inl_lora_pair *find_pair(const writer *w, const char *name)
{
    char room[INL_HF_NAME_ROOM], base[INL_HF_NAME_ROOM];
    const char *own = inl_hf_model_name(name, w->modules->multimodal, room);
    if (!inl_lora_cut_suffix(own, WEIGHT, base, sizeof(base)))
        return NULL;
    const inl_lora_pair wanted = {.path = base}, *key = &wanted;
    const inl_lora_pair **found =
        bsearch(&key, w->pairs, w->pair_count, sizeof(*w->pairs), by_path);
    return found ? *found : NULL;
}

static const inl_format *float_format(const char *dtype)
{
    static const inl_format_id ids[] = {INL_FORMAT_F32, INL_FORMAT_F16, INL_FORMAT_BF16};
    for (size_t i = 0; i < INL_COUNT(ids); i++)
        if (strcmp(inl_format_by_id(ids[i])->name, dtype) == 0)
            return inl_format_by_id(ids[i]);
    return NULL;
}

// The values of bitsandbytes' 4 bits that are stored under the name; NULL: it is not quantized.
static const inl_gguf_tensor *find_bnb(const writer *w, const char *name)
{
    for (uint32_t i = 0; w->quantized && i < inl_gguf_tensor_count(w->view); i++) {
        const inl_gguf_tensor *t = inl_gguf_tensor_at(w->view, i);
        if (t->bnb4 && strcmp(t->stored_name, name) == 0)
            return t;
    }
    return NULL;
}

static bool is_dropped(const writer *w, const char *name)
{
    return w->quantized && inl_hf_bnb_is_part(name);
}

static const inl_format *bnb_format(const writer *w)
{
    const inl_format *want = w->run.params->format;
    return want ? want : inl_format_by_id(INL_FORMAT_F16);
}

static void add_bnb(writer *w, const char *name, const inl_safetensor *t,
                    const inl_gguf_tensor *bnb, const inl_lora_pair *pair)
{
    w->items[w->count] =
        (item){.source = t, .bnb = bnb, .wanted = bnb_format(w), .pair = pair};
    w->tensors[w->count] =
        (inl_safetensor_out){.name = name, .dims = 2, .shape = {bnb->shape[1], bnb->shape[0]}};
    w->dtypes[w->count++] = bnb_format(w)->name;
    w->merged += pair != NULL;
}

static inlay_result add_item(writer *w, const char *name, const inl_safetensor *t,
                             const inl_lora_pair *pair)
{
    const inl_format *stored = float_format(t->dtype), *want = w->run.params->format;
    const inl_gguf_tensor *bnb = find_bnb(w, t->name);
    bool as_is = !pair && (!stored || !want || want == stored);
    if (bnb) { // the model was opened: it has the pair's shape
        add_bnb(w, name, t, bnb, pair);
        return INLAY_OK;
    }
    if (pair && (!stored || t->dims != 2 || t->shape[0] != pair->out || t->shape[1] != pair->in))
        return inl_fail(&w->run.env, INLAY_ERROR_UNSUPPORTED,
                        "%s: tensor %.200s has the type %s, to which nothing can be added", w->base,
                        t->name, t->dtype);
    item *i = &w->items[w->count];
    inl_safetensor_out *out = &w->tensors[w->count];
    *i = (item){.source = t, .pair = pair};
    if (!as_is) {
        i->stored = stored;
        i->wanted = want ? want : stored;
    }
    w->dtypes[w->count++] = as_is ? t->dtype : i->wanted->name;
    *out = (inl_safetensor_out){.name = name, .dims = t->dims};
    memcpy(out->shape, t->shape, sizeof(out->shape));
    w->merged += pair != NULL;
    return INLAY_OK;
}

static inlay_result put(void *user, uint32_t index, inl_writer *file)
{
    writer *w = user;
    const item *i = &w->items[index];
    const inl_safetensor *t = i->source;
    if (!i->wanted)
        return inl_merge_put_bytes(&w->run, t->data, t->bytes, file);
    inl_merge_matrix m = {.name = t->name,
                          .stored = i->stored,
                          .wanted = i->wanted,
                          .data = t->data,
                          .cols = i->bnb        ? i->bnb->shape[0]
                                  : t->dims > 0 ? t->shape[t->dims - 1]
                                                : 1,
                          .pairs = i->pair ? &i->pair : NULL,
                          .pair_rows = i->pair ? i->pair->out : 0};
    if (i->bnb) {
        m.rows = i->bnb->shape[1];
        return inl_merge_put_bnb4(&w->run, &m, i->bnb->bnb4, file);
    }
    m.rows = m.cols ? t->bytes / i->stored->block_bytes / m.cols : 0;
    return inl_merge_put_matrix(&w->run, &m, file);
}

static const inl_safetensor *find_embedding(const writer *w)
{
    char room[INL_HF_NAME_ROOM];
    for (size_t f = 0; f < w->shards.count; f++)
        for (uint32_t i = 0; i < inl_safetensors_count(w->shards.files[f]); i++) {
            const inl_safetensor *t = inl_safetensors_at(w->shards.files[f], i);
            if (strcmp(inl_hf_language_name(t->name, room), EMBEDDING WEIGHT) == 0)
                return t;
        }
    return NULL;
}

// The last file gets the head that the base does not have.
static inlay_result add_head(writer *w, bool last)
{
    const inl_safetensor *embedding = last && w->head ? find_embedding(w) : NULL;
    return embedding ? add_item(w, HEAD WEIGHT, embedding, w->head) : INLAY_OK;
}

static inlay_result write_shard(writer *w, size_t number)
{
    const inl_safetensors *file = w->shards.files[number];
    const char *path = inl_safetensors_path(file), *slash = strrchr(path, '/');
    bool last = number + 1 == w->shards.count;
    uint32_t count = inl_safetensors_count(file);
    w->count = 0;
    for (uint32_t i = 0; i < count; i++) {
        const inl_safetensor *t = inl_safetensors_at(file, i);
        if (!is_dropped(w, t->name))
            INL_TRY(add_item(w, t->name, t, find_pair(w, t->name)));
    }
    INL_TRY(add_head(w, last));
    char *target = inl_path_join(&w->run.env, w->made, slash ? slash + 1 : path);
    if (!target)
        return INLAY_ERROR_OUT_OF_MEMORY;
    inlay_result result =
        inl_safetensors_stream(&w->run.env, target, w->tensors, w->dtypes, w->count, put, w);
    inl_free(&w->run.env, target);
    return result;
}

static uint64_t bytes_of(const writer *w, const inl_safetensor *t)
{
    const inl_format *stored = float_format(t->dtype), *want = w->run.params->format;
    const inl_gguf_tensor *bnb = find_bnb(w, t->name);
    if (bnb)
        return bnb->bnb4->count * bnb_format(w)->block_bytes;
    if (is_dropped(w, t->name))
        return 0;
    return stored && want ? t->bytes / stored->block_bytes * want->block_bytes : t->bytes;
}

static inlay_result write_shards(writer *w)
{
    uint32_t most = 0;
    const inl_safetensor *embedding = w->head ? find_embedding(w) : NULL;
    w->run.total = embedding ? bytes_of(w, embedding) : 0;
    for (size_t i = 0; i < w->shards.count; i++) {
        uint32_t count = inl_safetensors_count(w->shards.files[i]);
        most = INL_MAX(most, count);
        for (uint32_t t = 0; t < count; t++)
            w->run.total += bytes_of(w, inl_safetensors_at(w->shards.files[i], t));
    }
    w->items = inl_alloc(&w->run.env, (size_t)most + 1, sizeof(*w->items));
    w->tensors = inl_alloc(&w->run.env, (size_t)most + 1, sizeof(*w->tensors));
    w->dtypes = inl_alloc(&w->run.env, (size_t)most + 1, sizeof(*w->dtypes));
    if (!w->items || !w->tensors || !w->dtypes)
        return INLAY_ERROR_OUT_OF_MEMORY;
    for (size_t i = 0; i < w->shards.count; i++)
        INL_TRY(write_shard(w, i));
    if (w->merged == w->pair_count)
        return INLAY_OK;
    return inl_fail(&w->run.env, INLAY_ERROR_MISMATCH,
                    "%s: %u of the adapter's %u matrices have no tensor of their own there",
                    w->base, w->pair_count - w->merged, w->pair_count);
}

// ---- the other files

static void set_config(const writer *w, json_t *root)
{
    static const char *const keys[] = {"dtype", "torch_dtype"};
    const inl_format *f = w->run.params->format;
    const char *name = !f                         ? NULL
                       : f->id == INL_FORMAT_F32  ? "float32"
                       : f->id == INL_FORMAT_F16  ? "float16"
                                                  : "bfloat16";
    for (size_t i = 0; name && i < INL_COUNT(keys); i++)
        if (json_object_get(root, keys[i]))
            json_object_set_new(root, keys[i], json_string(name));
    json_t *text = json_object_get(root, "text_config"); // of a multimodal model
    for (; w->untied && root; root = root == text ? NULL : text)
        json_object_set_new(root, "tie_word_embeddings", json_false());
    json_object_del(root, QUANTIZATION);
    json_object_del(json_object_get(root, "text_config"), QUANTIZATION);
}

static void set_index(const writer *w, json_t *root)
{
    json_t *map = json_object_get(root, "weight_map");
    json_t *metadata = json_object_get(root, "metadata"), *file;
    const char *name;
    void *next;
    json_object_foreach_safe (map, next, name, file)
        if (is_dropped(w, name))
            json_object_del(map, name);
    const char *path = inl_safetensors_path(w->shards.files[w->shards.count - 1]);
    if (w->head && map && !json_object_get(map, HEAD WEIGHT))
        json_object_set_new(map, HEAD WEIGHT, json_string(strrchr(path, '/') + 1));
    if (json_object_get(metadata, "total_size"))
        json_object_set_new(metadata, "total_size", json_integer((json_int_t)w->run.done));
}

static inlay_result write_settings(const writer *w, const char *from, const char *to,
                                   void (*change)(const writer *, json_t *))
{
    inl_settings file;
    INL_TRY(inl_settings_open(&w->run.env, from, &file));
    change(w, file.root);
    char *text = json_dumps(file.root, JSON_INDENT(2) | JSON_REAL_PRECISION(17));
    inlay_result result = text ? inl_file_write(&w->run.env, to, text, strlen(text))
                               : inl_fail(&w->run.env, INLAY_ERROR_OUT_OF_MEMORY,
                                          "out of memory writing %s", to);
    free(text);
    inl_settings_close(&file);
    return result;
}

static inlay_result copy_file(const writer *w, const char *from, const char *to)
{
    inl_map map;
    INL_TRY(inl_map_open(&w->run.env, from, &map));
    inlay_result result = inl_file_write(&w->run.env, to, map.data, map.size);
    inl_map_close(&map);
    return result;
}

// Weights in other forms would be those of the base.
static bool is_weights(const char *name)
{
    static const char *const endings[] = {".safetensors", ".bin", ".pt",   ".pth",  ".gguf",
                                          ".h5",          ".onnx", ".msgpack", ".ckpt"};
    for (size_t i = 0; i < INL_COUNT(endings); i++) {
        char base[256];
        if (inl_lora_cut_suffix(name, endings[i], base, sizeof(base)))
            return true;
    }
    return strstr(name, ".bin.index.json") || strncmp(name, "adapter_", 8) == 0;
}

static inlay_result copy_entry(const writer *w, const char *name)
{
    const inl_env *env = &w->run.env;
    char *from = inl_path_join(env, w->base, name), *to = inl_path_join(env, w->made, name);
    struct stat st;
    inlay_result result = from && to ? INLAY_OK : INLAY_ERROR_OUT_OF_MEMORY;
    if (result == INLAY_OK && stat(from, &st) == 0 && S_ISREG(st.st_mode))
        result = strcmp(name, CONFIG) == 0  ? write_settings(w, from, to, set_config)
                 : strcmp(name, INDEX) == 0 ? write_settings(w, from, to, set_index)
                                            : copy_file(w, from, to);
    inl_free(env, from);
    inl_free(env, to);
    return result;
}

static inlay_result copy_others(const writer *w)
{
    inlay_result result = INLAY_OK;
    DIR *entries = opendir(w->base);
    if (!entries)
        return inl_fail(&w->run.env, INLAY_ERROR_IO, "cannot read the folder %s: %s", w->base,
                        strerror(errno));
    for (struct dirent *e; result == INLAY_OK && (e = readdir(entries));)
        if (e->d_name[0] != '.' && !is_weights(e->d_name))
            result = copy_entry(w, e->d_name);
    closedir(entries);
    return result;
}

// ---- the folder

// Whether the base's matrices are quantized; how, its view has checked.
static bool is_quantized(const inl_gguf *view)
{
    for (uint32_t i = 0; i < inl_gguf_tensor_count(view); i++)
        if (inl_gguf_tensor_at(view, i)->bnb4)
            return true;
    return false;
}

static inlay_result collect_pairs(writer *w, const inl_lora *lora)
{
    w->pairs = inl_alloc(&w->run.env, (size_t)lora->pair_count + 1, sizeof(*w->pairs));
    if (!w->pairs)
        return INLAY_ERROR_OUT_OF_MEMORY;
    for (uint32_t i = 0; i < lora->pair_count; i++) {
        const inl_lora_pair *p = &lora->pairs[i];
        w->pairs[w->pair_count++] = p;
        if (w->modules->items[p->module].tied) {
            w->untied = true;
            w->head = p;
        }
    }
    qsort(w->pairs, w->pair_count, sizeof(*w->pairs), by_path);
    return INLAY_OK;
}

static inlay_result write_all(writer *w, const inl_lora *lora)
{
    INL_TRY(collect_pairs(w, lora));
    INL_TRY(inl_hf_shards_open(&w->run.env, w->base, &w->shards));
    if (w->head && inl_hf_shards_find(&w->shards, HEAD WEIGHT))
        w->head = NULL; // found by its name like the others
    INL_TRY(write_shards(w));
    return copy_others(w);
}

inlay_result inl_merge_folder(const inl_gguf *base, const inl_module_list *modules,
                              const inl_lora *lora, const inl_merge_params *params,
                              const char *folder)
{
    writer w = {.run = {.env = lora->env, .params = params},
                .view = base,
                .quantized = is_quantized(base),
                .modules = modules,
                .base = inl_gguf_path(base)};
    const inl_env *env = &w.run.env;
    inl_folder_writer out;
    INL_TRY(inl_lora_check_writable(lora, modules));
    INL_TRY(inl_folder_check_free(env, folder));
    INL_TRY(inl_folder_begin(env, folder, &out));
    w.made = out.made;
    inlay_result result = write_all(&w, lora);
    if (result == INLAY_OK)
        result = inl_folder_commit(&out);
    else
        inl_folder_abandon(&out);
    inl_hf_shards_close(&w.shards);
    inl_free(env, (void *)w.pairs);
    inl_free(env, w.items);
    inl_free(env, w.tensors);
    inl_free(env, (void *)w.dtypes);
    return result;
}
