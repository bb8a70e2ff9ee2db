// SPDX-License-Identifier: MIT
// The parts put together: metadata (hf_config.h), names (hf_names.h), data (hf_shards.h).
// Gemma's norms count from 1 in these files and from 0 in GGUF: they are the only ones converted.
#include "io/hf_folder.h"
#include "base/file.h"
#include "io/hf_bnb.h"
#include "io/hf_names.h"
#include "io/hf_shards.h"
#include "quant/format.h"

#include <stdio.h>
#include <string.h>

// What a handle's tensors lie in.
typedef struct folder {
    inl_env env;
    inl_hf_shards shards;
    void **owned;
    size_t owned_count, owned_cap;
} folder;

typedef struct opening {
    const char *path;
    folder *folder;
    inl_hf_config config;
    inl_gguf_view *view;
    uint32_t *seen; // [layers], a bit for each module that has its weight
    uint32_t *matrices; // [layers], of experts
    uint32_t vision;    // tensors left out
    bool embedding, norm, head;
} opening;

static void release(void *owner)
{
    folder *f = owner;
    if (!f)
        return;
    for (size_t i = 0; i < f->owned_count; i++)
        inl_free(&f->env, f->owned[i]);
    inl_free(&f->env, f->owned);
    inl_hf_shards_close(&f->shards);
    inl_env env = f->env;
    inl_free(&env, f);
}

// Takes `block` over, also when that fails.
static inlay_result own(folder *f, void *block)
{
    inlay_result result =
        inl_grow(&f->env, (void **)&f->owned, &f->owned_cap, f->owned_count + 1, sizeof(void *));
    if (result != INLAY_OK)
        inl_free(&f->env, block);
    else
        f->owned[f->owned_count++] = block;
    return result;
}

// ---- tensors

static inlay_result find_type(const opening *o, const inl_safetensors *file,
                              const inl_safetensor *t, uint32_t *type)
{
    static const inl_format_id formats[] = {INL_FORMAT_F32, INL_FORMAT_F16, INL_FORMAT_BF16};
    for (size_t i = 0; i < INL_COUNT(formats); i++)
        if (strcmp(inl_format_by_id(formats[i])->name, t->dtype) == 0) {
            *type = inl_format_by_id(formats[i])->ggml_type;
            return INLAY_OK;
        }
    return inl_fail(&o->folder->env, INLAY_ERROR_UNSUPPORTED,
                    "%s: tensor %.200s has type %s (F32, F16 and BF16 are supported)",
                    inl_safetensors_path(file), t->name, t->dtype);
}

static inlay_result shape_tensor(const opening *o, const inl_safetensors *file,
                                 const inl_safetensor *t, inl_gguf_tensor *out)
{
    INL_TRY(find_type(o, file, t, &out->type));
    if (t->dims < 1 || t->dims > 2 || t->bytes == 0)
        return inl_fail(&o->folder->env, INLAY_ERROR_BAD_FILE,
                        "%s: tensor %.200s is neither a vector nor a matrix",
                        inl_safetensors_path(file), t->name);
    out->dims = t->dims;
    for (uint32_t d = 0; d < t->dims; d++)
        out->shape[d] = t->shape[t->dims - 1 - d];
    out->data = t->data;
    out->bytes = t->bytes;
    return INLAY_OK;
}

// The weight and all that stands beside it become one tensor. *found false: it is not quantized.
static inlay_result shape_bnb(const opening *o, const inl_safetensors *file,
                              const inl_safetensor *t, inl_gguf_tensor *out, bool *found)
{
    const inl_env *env = &o->folder->env;
    inl_hf_bnb bnb;
    inlay_result result = inl_hf_bnb_read(&o->folder->shards, file, t, &bnb);
    for (size_t i = 0; i < INL_COUNT(bnb.copies); i++)
        if (bnb.copies[i]) {
            inlay_result owned = own(o->folder, bnb.copies[i]);
            result = result == INLAY_OK ? owned : result;
        }
    *found = bnb.found;
    if (result != INLAY_OK || !bnb.found)
        return result;
    inl_bnb4 *values = inl_alloc(env, 1, sizeof(*values));
    if (!values)
        return INLAY_ERROR_OUT_OF_MEMORY;
    *values = bnb.values;
    INL_TRY(own(o->folder, values));
    *out = (inl_gguf_tensor){.type = INL_GGUF_TYPE_BNB4,
                             .dims = 2,
                             .shape = {bnb.shape[1], bnb.shape[0]},
                             .data = t->data,
                             .bytes = t->bytes,
                             .bnb4 = values};
    return INLAY_OK;
}

static inlay_result add_one_to_norm(const opening *o, const inl_safetensors *file,
                                    const inl_safetensor *t, inl_gguf_tensor *out)
{
    uint64_t count = out->shape[0];
    if (out->dims != 1)
        return inl_fail(&o->folder->env, INLAY_ERROR_BAD_FILE, "%s: tensor %.200s is no vector",
                        inl_safetensors_path(file), t->name);
    float *values = inl_alloc(&o->folder->env, count, sizeof(*values));
    if (!values)
        return INLAY_ERROR_OUT_OF_MEMORY;
    INL_TRY(own(o->folder, values));
    INL_TRY(inl_safetensors_read_f32(file, t, values, count));
    for (uint64_t i = 0; i < count; i++)
        values[i] += 1.0f;
    out->type = inl_format_by_id(INL_FORMAT_F32)->ggml_type;
    out->data = (const uint8_t *)values;
    out->bytes = count * sizeof(*values);
    return INLAY_OK;
}

static void note(opening *o, const inl_hf_name *name)
{
    o->embedding |= strcmp(name->gguf, "token_embd.weight") == 0;
    o->norm |= strcmp(name->gguf, "output_norm.weight") == 0;
    o->head |= strcmp(name->gguf, "output.weight") == 0;
    if (name->module >= 0 && name->is_weight)
        o->seen[name->layer] |= 1u << name->module;
    else if (name->layer < o->config.layers && name->is_weight)
        o->matrices[name->layer]++;
}

// Each expert's gate and up are rows of one matrix, one below the other: views into the file.
static inlay_result add_gates_and_ups(opening *o, const inl_safetensor *t, uint32_t layer,
                                      uint32_t type)
{
    inl_gguf_tensor half = {.stored_name = t->name,
                            .type = type,
                            .dims = 2,
                            .shape = {t->shape[2], t->shape[1] / 2},
                            .bytes = t->bytes / t->shape[0] / 2};
    for (uint32_t i = 0; i < 2 * o->config.experts; i++) {
        char name[INL_HF_NAME_ROOM];
        snprintf(name, sizeof(name), "blk.%u.ffn_%s_exps.%u.weight", layer, i % 2 ? "up" : "gate",
                 i / 2);
        half.data = (const uint8_t *)t->data + i * half.bytes;
        INL_TRY(inl_gguf_view_tensor(o->view, name, &half));
    }
    return INLAY_OK;
}

static inlay_result add_fused(opening *o, const inl_safetensors *file, const inl_safetensor *t,
                              uint32_t layer, bool gate_up)
{
    char name[INL_HF_NAME_ROOM];
    uint32_t type = 0;
    INL_TRY(find_type(o, file, t, &type));
    if (t->dims != 3 || t->bytes == 0 || t->shape[0] != o->config.experts ||
        (gate_up && t->shape[1] % 2 != 0))
        return inl_fail(&o->folder->env, INLAY_ERROR_BAD_FILE,
                        "%s: tensor %.200s is not one matrix for each of %u experts",
                        inl_safetensors_path(file), t->name, o->config.experts);
    o->matrices[layer] += o->config.experts << gate_up;
    if (gate_up)
        return add_gates_and_ups(o, t, layer, type);
    inl_gguf_tensor all = {.stored_name = t->name,
                           .type = type,
                           .dims = 3,
                           .shape = {t->shape[2], t->shape[1], t->shape[0]},
                           .data = t->data,
                           .bytes = t->bytes};
    snprintf(name, sizeof(name), "blk.%u.ffn_down_exps.weight", layer);
    return inl_gguf_view_tensor(o->view, name, &all);
}

static inlay_result add_tensor(opening *o, const inl_safetensors *file, const inl_safetensor *t)
{
    inl_hf_name name;
    inl_gguf_tensor tensor = {0};
    uint32_t layer;
    bool gate_up, bnb = false;
    if (inl_hf_is_fused(&o->config, t->name, &layer, &gate_up))
        return add_fused(o, file, t, layer, gate_up);
    if (o->config.quantized && inl_hf_bnb_is_part(t->name))
        return INLAY_OK;
    inl_hf_fate fate = inl_hf_translate(&o->config, t->name, &name);
    o->vision += inl_hf_is_vision(t->name);
    if (fate == INL_HF_IGNORE)
        return INLAY_OK;
    if (fate == INL_HF_UNKNOWN)
        return inl_fail(&o->folder->env, INLAY_ERROR_UNSUPPORTED,
                        "%s: tensor %.200s is none that a %s of %u layers is known to have",
                        inl_safetensors_path(file), t->name, o->config.arch->name,
                        o->config.layers);
    if (o->config.quantized)
        INL_TRY(shape_bnb(o, file, t, &tensor, &bnb));
    if (!bnb)
        INL_TRY(shape_tensor(o, file, t, &tensor));
    if (o->config.arch->traits & INL_HF_GEMMA && strstr(name.gguf, "norm.weight"))
        INL_TRY(add_one_to_norm(o, file, t, &tensor));
    tensor.stored_name = t->name;
    if (strcmp(name.gguf, "token_embd.weight") == 0 && tensor.shape[1] != o->config.vocab)
        return inl_fail(&o->folder->env, INLAY_ERROR_BAD_FILE,
                        "%s: tensor %.200s has %llu rows, the vocab_size of config.json is %u",
                        inl_safetensors_path(file), t->name, (unsigned long long)tensor.shape[1],
                        o->config.vocab);
    note(o, &name);
    return inl_gguf_view_tensor(o->view, name.gguf, &tensor);
}

static inlay_result missing(const opening *o, const char *name)
{
    return inl_fail(&o->folder->env, INLAY_ERROR_BAD_FILE, "%s: there is no tensor %s", o->path,
                    name);
}

// By the names the files have: later there are GGUF's alone.
static inlay_result check_complete(const opening *o)
{
    if (!o->embedding)
        return missing(o, "model.embed_tokens.weight");
    if (!o->norm)
        return missing(o, "model.norm.weight");
    if (!o->head && !o->config.tied)
        return missing(o, "lm_head.weight");
    for (uint32_t layer = 0; layer < o->config.layers; layer++) {
        bool needed;
        const char *module;
        for (int i = 0; (module = inl_hf_module(&o->config, layer, i, &needed)); i++) {
            char name[INL_HF_NAME_ROOM];
            if (!needed || o->seen[layer] >> i & 1)
                continue;
            snprintf(name, sizeof(name), "model.layers.%u.%s.weight", layer, module);
            return missing(o, name);
        }
        bool experts = inl_hf_layer_traits(&o->config, layer) & INL_HF_EXPERTS;
        if (o->matrices[layer] != (experts ? 3 * o->config.experts : 0))
            return inl_fail(&o->folder->env, INLAY_ERROR_BAD_FILE,
                            "%s: model.layers.%u.mlp.experts has %u matrices, not three for each "
                            "of %u experts",
                            o->path, layer, o->matrices[layer], o->config.experts);
    }
    return INLAY_OK;
}

// A list of RoPE's divisors, which become the folder's.
static inlay_result add_divisors(opening *o, const char *name, float **values)
{
    uint32_t count = o->config.rope_dim / 2;
    inl_gguf_tensor t = {.type = inl_format_by_id(INL_FORMAT_F32)->ggml_type,
                         .dims = 1,
                         .shape = {count},
                         .data = (const uint8_t *)*values,
                         .bytes = 4ull * count};
    if (!*values)
        return INLAY_OK;
    void *block = *values;
    *values = NULL;
    INL_TRY(own(o->folder, block));
    return inl_gguf_view_tensor(o->view, name, &t);
}

static inlay_result add_tensors(opening *o)
{
    const inl_hf_shards *s = &o->folder->shards;
    o->seen = inl_alloc(&o->folder->env, o->config.layers, sizeof(*o->seen));
    o->matrices = inl_alloc(&o->folder->env, o->config.layers, sizeof(*o->matrices));
    if (!o->seen || !o->matrices)
        return INLAY_ERROR_OUT_OF_MEMORY;
    for (size_t i = 0; i < s->count; i++)
        for (uint32_t t = 0; t < inl_safetensors_count(s->files[i]); t++)
            INL_TRY(add_tensor(o, s->files[i], inl_safetensors_at(s->files[i], t)));
    INL_TRY(check_complete(o));
    if (o->vision > 0)
        inl_logf(&o->folder->env, INLAY_LOG_WARN,
                 "%s: %u tensors of a vision part are left out; the text model is used", o->path,
                 o->vision);
    INL_TRY(add_divisors(o, "rope_freqs.weight", &o->config.rope_freqs));
    INL_TRY(add_divisors(o, "rope_factors_long.weight", &o->config.rope_long));
    return add_divisors(o, "rope_factors_short.weight", &o->config.rope_short);
}

// ---- the folder

static inlay_result open_config(opening *o)
{
    const inl_env *env = &o->folder->env;
    char *path = inl_path_join(env, o->path, "config.json");
    if (!path)
        return INLAY_ERROR_OUT_OF_MEMORY;
    inlay_result result =
        inl_exists(path)
            ? inl_hf_config_open(env, path, &o->config)
            : inl_fail(env, INLAY_ERROR_NOT_FOUND,
                       "%s: there is no config.json: a model's folder has one, beside safetensors",
                       o->path);
    inl_free(env, path);
    return result;
}

static inlay_result build(opening *o, inl_gguf **out)
{
    folder *f = o->folder;
    INL_TRY(open_config(o));
    INL_TRY(inl_hf_shards_open(&f->env, o->path, &f->shards));
    INL_TRY(inl_gguf_view_create(&f->env, &o->view));
    inl_gguf_view_multimodal(o->view, o->config.text != o->config.file.root);
    INL_TRY(inl_hf_config_write(&o->config, o->view));
    INL_TRY(add_tensors(o));
    uint64_t bytes = 0;
    for (size_t i = 0; i < f->shards.count; i++)
        bytes += inl_safetensors_file_bytes(f->shards.files[i]);
    return inl_gguf_view_finish(&o->view, o->path, bytes, f, release, out);
}

inlay_result inl_hf_folder_open(const inl_env *env, const char *path, inl_gguf **out)
{
    *out = NULL;
    folder *f = inl_alloc(env, 1, sizeof(*f));
    if (!f)
        return INLAY_ERROR_OUT_OF_MEMORY;
    f->env = f->shards.env = *env;
    opening o = {.path = path, .folder = f, .config.file.env = *env};
    inlay_result result = build(&o, out);
    inl_free(env, o.seen);
    inl_free(env, o.matrices);
    inl_gguf_view_destroy(&o.view);
    inl_hf_config_close(&o.config);
    if (result != INLAY_OK)
        release(f);
    return result;
}
