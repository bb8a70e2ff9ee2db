// SPDX-License-Identifier: MIT
// Adapters as llama.cpp's --lora loads them: A as "<tensor>.lora_a" {in, r}, B as "<tensor>.lora_b"
// {r, out}, one alpha for all, scale = alpha / rank of the pair.
#include "adapter/pairs.h"
#include "io/gguf.h"
#include "quant/format.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

// ---- reading

typedef struct gguf_reader {
    const inl_env *env;
    const inl_module_list *modules; // or NULL
    const char *path;
    inl_gguf *file;
    inl_lora *lora;
} gguf_reader;

static bool string_is(const inl_gguf *file, const char *key, const char *wanted)
{
    inl_slice text;
    return inl_gguf_get_string(file, key, &text) && text.size == strlen(wanted) &&
           memcmp(text.data, wanted, text.size) == 0;
}

static inlay_result check_metadata(gguf_reader *r)
{
    if (!string_is(r->file, "general.type", "adapter") || !string_is(r->file, "adapter.type", "lora"))
        return inl_fail(r->env, INLAY_ERROR_UNSUPPORTED, "%s is not a LoRA adapter", r->path);
    inl_slice name;
    if (!inl_gguf_get_string(r->file, "general.architecture", &name))
        return inl_fail(r->env, INLAY_ERROR_BAD_FILE, "%s: the metadata lack general.architecture",
                        r->path);
    snprintf(r->lora->architecture, sizeof(r->lora->architecture), "%.*s",
             (int)INL_MIN(name.size, 31), name.data);
    if (r->modules && strcmp(r->lora->architecture, r->modules->architecture) != 0)
        return inl_fail(r->env, INLAY_ERROR_MISMATCH, "%s is for a %s model, this one is %s", r->path,
                        r->lora->architecture, r->modules->architecture);
    if (!inl_gguf_get_f32(r->file, "adapter.lora.alpha", &r->lora->alpha))
        r->lora->alpha = 0.0f;
    if (!isfinite(r->lora->alpha))
        return inl_fail(r->env, INLAY_ERROR_NOT_FINITE, "%s: adapter.lora.alpha is not finite",
                        r->path);
    return INLAY_OK;
}

static const inl_module *find_module(const gguf_reader *r, const char *name, uint32_t *index)
{
    for (uint32_t i = 0; r->modules && i < r->modules->count; i++)
        if (strcmp(r->modules->items[i].gguf, name) == 0) {
            *index = i;
            return &r->modules->items[i];
        }
    return NULL;
}

static inlay_result decode(const gguf_reader *r, const inl_gguf_tensor *t, float *out)
{
    const inl_format *format = inl_format_by_ggml(t->type);
    if (!format)
        return inl_fail(r->env, INLAY_ERROR_UNSUPPORTED, "%s: tensor %s has an unsupported type",
                        r->path, t->name);
    format->decode(t->data, out, t->shape[0] * t->shape[1]);
    return INLAY_OK;
}

static inlay_result check_shapes(const gguf_reader *r, const inl_gguf_tensor *a,
                                 const inl_gguf_tensor *b, const inl_module *m)
{
    if (a->dims > 2 || b->dims > 2 || a->shape[1] != b->shape[0] || a->shape[0] > 1u << 24 ||
        b->shape[1] > 1u << 24 || a->shape[1] > 1u << 16)
        return inl_fail(r->env, INLAY_ERROR_BAD_FILE, "%s: tensors %s and %s do not fit together",
                        r->path, a->name, b->name);
    if (m && (a->shape[0] != m->in || b->shape[1] != m->out))
        return inl_fail(r->env, INLAY_ERROR_MISMATCH,
                        "%s: tensor %s is for a matrix of %llu x %llu, the model's is %u x %u",
                        r->path, a->name, (unsigned long long)b->shape[1],
                        (unsigned long long)a->shape[0], m->out, m->in);
    return INLAY_OK;
}

static inlay_result read_pair(const gguf_reader *r, const inl_gguf_tensor *a, const char *base)
{
    char name[128];
    snprintf(name, sizeof(name), "%s.lora_b", base);
    const inl_gguf_tensor *b = inl_gguf_find_tensor(r->file, name);
    if (!b)
        return inl_fail(r->env, INLAY_ERROR_MISMATCH, "%s: there is %s but no %s", r->path, a->name,
                        name);
    uint32_t index = 0;
    const inl_module *m = find_module(r, base, &index);
    if (r->modules && !m)
        return inl_fail(r->env, INLAY_ERROR_MISMATCH, "%s: the model has no matrix %s to adapt",
                        r->path, base);
    INL_TRY(check_shapes(r, a, b, m));
    inl_lora_pair *p;
    INL_TRY(inl_lora_add_pair(r->lora, index, m ? m->path : base, (uint32_t)a->shape[1],
                              (uint32_t)a->shape[0], (uint32_t)b->shape[1], &p));
    p->scale = r->lora->alpha != 0.0f ? r->lora->alpha / (float)p->r : 1.0f;
    r->lora->r = INL_MAX(r->lora->r, p->r);
    r->lora->has_head |= m && m->is_head;
    INL_TRY(decode(r, a, p->a));
    return decode(r, b, p->b);
}

static int by_module(const void *x, const void *y)
{
    const inl_lora_pair *a = x, *b = y;
    return a->module < b->module ? -1 : a->module > b->module;
}

static inlay_result read_tensors(const gguf_reader *r)
{
    uint32_t halves = 0;
    for (uint32_t i = 0; i < inl_gguf_tensor_count(r->file); i++) {
        const inl_gguf_tensor *t = inl_gguf_tensor_at(r->file, i);
        size_t length = strlen(t->name);
        const char *end = length > 7 ? t->name + length - 7 : "";
        bool a = strcmp(end, ".lora_a") == 0, b = strcmp(end, ".lora_b") == 0;
        if (!a && !b)
            return inl_fail(r->env, INLAY_ERROR_UNSUPPORTED, "%s: tensor %s is not supported", r->path,
                            t->name);
        halves += b;
        if (!a)
            continue;
        char base[128];
        snprintf(base, sizeof(base), "%.*s", (int)(length - 7), t->name);
        INL_TRY(read_pair(r, t, base));
    }
    if (halves != r->lora->pair_count || halves == 0)
        return inl_fail(r->env, INLAY_ERROR_MISMATCH,
                        halves ? "%s: a lora_b has no lora_a" : "%s: the adapter holds no tensors",
                        r->path);
    if (r->modules)
        qsort(r->lora->pairs, r->lora->pair_count, sizeof(*r->lora->pairs), by_module);
    return INLAY_OK;
}

static inlay_result read_all(gguf_reader *r)
{
    INL_TRY(inl_gguf_open(r->env, r->path, &r->file));
    INL_TRY(inl_lora_begin(r->env, inl_gguf_tensor_count(r->file), "gguf", &r->lora));
    INL_TRY(check_metadata(r));
    INL_TRY(read_tensors(r));
    if (r->lora->alpha == 0.0f)
        r->lora->alpha = (float)r->lora->r; // a scale of 1
    INL_TRY(inl_lora_check_finite(r->lora, r->path));
    return inl_lora_name_targets(r->lora, r->modules);
}

inlay_result inl_lora_load_gguf(const inl_env *env, const inl_module_list *modules, const char *path,
                                inl_lora **out)
{
    gguf_reader r = {.env = env, .modules = modules, .path = path};
    inlay_result result = read_all(&r);
    inl_gguf_close(&r.file);
    if (result != INLAY_OK)
        inl_lora_destroy(&r.lora);
    *out = r.lora;
    return result;
}

// ---- writing

static inlay_result write_metadata(const inl_lora *lora, float alpha, inl_gguf_writer *w)
{
    INL_TRY(inl_gguf_writer_string(w, "general.architecture", lora->architecture));
    INL_TRY(inl_gguf_writer_string(w, "general.type", "adapter"));
    INL_TRY(inl_gguf_writer_string(w, "general.name", "inlay LoRA"));
    INL_TRY(inl_gguf_writer_u32(w, "general.file_type", 0));
    INL_TRY(inl_gguf_writer_u32(w, "general.quantization_version", 2));
    INL_TRY(inl_gguf_writer_string(w, "adapter.type", "lora"));
    return inl_gguf_writer_f32(w, "adapter.lora.alpha", alpha);
}

// The one alpha gives each pair the scale alpha / r; what its own scale has beyond that goes into B.
static inlay_result write_pair(const inl_lora *lora, const inl_lora_pair *p, const inl_module *m,
                               float alpha, float *b, inl_gguf_writer *w)
{
    char name[128];
    float scale = alpha / (float)p->r, factor = p->scale == scale ? 1.0f : p->scale / scale;
    for (size_t i = 0; i < (size_t)p->out * p->r; i++)
        b[i] = factor == 1.0f ? p->b[i] : p->b[i] * factor;
    uint32_t f32 = inl_format_by_id(INL_FORMAT_F32)->ggml_type;
    uint64_t a_shape[2] = {p->in, p->r}, b_shape[2] = {p->r, p->out};
    snprintf(name, sizeof(name), "%s.lora_a", m->gguf);
    INL_TRY(inl_gguf_writer_tensor(w, name, f32, 2, a_shape, p->a, 4ull * p->r * p->in));
    snprintf(name, sizeof(name), "%s.lora_b", m->gguf);
    (void)lora;
    return inl_gguf_writer_tensor(w, name, f32, 2, b_shape, b, 4ull * p->r * p->out);
}

static inlay_result write_all(const inl_lora *lora, const inl_module_list *modules, const char *path,
                              float **copies, inl_gguf_writer *w)
{
    float alpha = lora->pair_count ? lora->pairs[0].scale * (float)lora->pairs[0].r : lora->alpha;
    INL_TRY(write_metadata(lora, alpha, w));
    for (uint32_t i = 0; i < lora->pair_count; i++) {
        const inl_lora_pair *p = &lora->pairs[i];
        copies[i] = inl_alloc(&lora->env, (size_t)p->out * p->r, sizeof(float));
        if (!copies[i])
            return INLAY_ERROR_OUT_OF_MEMORY;
        INL_TRY(write_pair(lora, p, &modules->items[p->module], alpha, copies[i], w));
    }
    return inl_gguf_writer_write(w, path);
}

inlay_result inl_lora_save_gguf(const inl_lora *lora, const inl_module_list *modules,
                                const char *path)
{
    inl_gguf_writer *w;
    INL_TRY(inl_gguf_writer_create(&lora->env, &w));
    float **copies = inl_alloc(&lora->env, lora->pair_count + 1, sizeof(*copies));
    inlay_result result =
        copies ? write_all(lora, modules, path, copies, w) : INLAY_ERROR_OUT_OF_MEMORY;
    for (uint32_t i = 0; copies && i < lora->pair_count; i++)
        inl_free(&lora->env, copies[i]);
    inl_free(&lora->env, copies);
    inl_gguf_writer_destroy(&w);
    return result;
}
