// SPDX-License-Identifier: MIT
#include "model/metadata.h"
#include "quant/format.h"

#include <stdio.h>
#include <string.h>

#define KEY_SIZE 128
#define MOST (1u << 24)
#define MOST_LAYERS 10000u

static void full_key(const inl_metadata *m, const char *key, char out[KEY_SIZE])
{
    snprintf(out, KEY_SIZE, "%s.%s", m->architecture, key);
}

bool inl_metadata_has(const inl_metadata *m, const char *key)
{
    char name[KEY_SIZE];
    full_key(m, key, name);
    return inl_gguf_has(m->gguf, name);
}

// Of an array whose elements are all one number.
static inlay_result read_uniform(const inl_metadata *m, const char *name, uint64_t count,
                                 uint32_t *out)
{
    int32_t *values = count <= MOST_LAYERS ? inl_alloc(m->env, count + 1, sizeof(*values)) : NULL;
    if (!values && count <= MOST_LAYERS)
        return INLAY_ERROR_OUT_OF_MEMORY;
    bool ok = values && count > 0 && inl_gguf_read_i32s(m->gguf, name, values, count);
    *out = ok ? (uint32_t)values[0] : 0; // a negative one is past every limit
    for (uint64_t i = 1; ok && i < count; i++)
        ok = values[i] == values[0];
    inl_free(m->env, values);
    if (ok)
        return INLAY_OK;
    return inl_fail(m->env, INLAY_ERROR_UNSUPPORTED,
                    "%s: %s differs from layer to layer, which is not supported",
                    inl_gguf_path(m->gguf), name);
}

inlay_result inl_metadata_u32(const inl_metadata *m, const char *key, uint32_t least, uint32_t *out)
{
    char name[KEY_SIZE];
    inl_gguf_kind kind;
    uint64_t count;
    full_key(m, key, name);
    if (!inl_gguf_has(m->gguf, name))
        return inl_fail(m->env, INLAY_ERROR_BAD_FILE, "%s: the metadata lack %s",
                        inl_gguf_path(m->gguf), name);
    bool ok = true;
    if (inl_gguf_get_array(m->gguf, name, &kind, &count))
        INL_TRY(read_uniform(m, name, count, out));
    else
        ok = inl_gguf_get_u32(m->gguf, name, out);
    if (ok && *out >= least && *out <= MOST)
        return INLAY_OK;
    return inl_fail(m->env, INLAY_ERROR_BAD_FILE, "%s: %s is not a number from %u to %u",
                    inl_gguf_path(m->gguf), name, least, MOST);
}

inlay_result inl_metadata_u32_or(const inl_metadata *m, const char *key, uint32_t least,
                                 uint32_t fallback, uint32_t *out)
{
    *out = fallback;
    return inl_metadata_has(m, key) ? inl_metadata_u32(m, key, least, out) : INLAY_OK;
}

inlay_result inl_metadata_bool_or(const inl_metadata *m, const char *key, bool fallback, bool *out)
{
    char name[KEY_SIZE];
    full_key(m, key, name);
    *out = fallback;
    if (!inl_gguf_has(m->gguf, name) || inl_gguf_get_bool(m->gguf, name, out))
        return INLAY_OK;
    return inl_fail(m->env, INLAY_ERROR_BAD_FILE, "%s: %s is not true or false",
                    inl_gguf_path(m->gguf), name);
}

static inlay_result read_flags(const inl_metadata *m, const char *name, uint64_t count,
                               uint32_t layers, uint8_t bit, uint8_t *masks)
{
    int32_t *flags = inl_alloc(m->env, layers, sizeof(*flags));
    if (!flags)
        return INLAY_ERROR_OUT_OF_MEMORY;
    bool ok = count == layers && inl_gguf_read_i32s(m->gguf, name, flags, count);
    for (uint32_t i = 0; ok && i < layers; i++)
        masks[i] |= flags[i] ? 0 : bit;
    inl_free(m->env, flags);
    if (ok)
        return INLAY_OK;
    return inl_fail(m->env, INLAY_ERROR_BAD_FILE, "%s: %s has not one flag for each of %u layers",
                    inl_gguf_path(m->gguf), name, layers);
}

inlay_result inl_metadata_flags(const inl_metadata *m, const char *key, uint32_t period,
                                uint32_t layers, uint8_t bit, uint8_t *masks)
{
    char name[KEY_SIZE];
    inl_gguf_kind kind;
    uint64_t count;
    full_key(m, key, name);
    if (inl_gguf_get_array(m->gguf, name, &kind, &count))
        return read_flags(m, name, count, layers, bit, masks);
    INL_TRY(inl_metadata_u32_or(m, key, 1, period, &period));
    for (uint32_t i = 0; period > 0 && i < layers; i++)
        masks[i] |= (i + 1) % period == 0 ? bit : 0;
    return INLAY_OK;
}

inlay_result inl_metadata_f32_or(const inl_metadata *m, const char *key, float fallback, float *out)
{
    char name[KEY_SIZE];
    full_key(m, key, name);
    *out = fallback;
    if (!inl_gguf_has(m->gguf, name))
        return INLAY_OK;
    if (inl_gguf_get_f32(m->gguf, name, out) && (*out == 0.0f || (*out > 1e-30f && *out < 1e30f)))
        return INLAY_OK;
    return inl_fail(m->env, INLAY_ERROR_BAD_FILE, "%s: %s is neither 0 nor from 1e-30 to 1e30",
                    inl_gguf_path(m->gguf), name);
}

inlay_result inl_metadata_vector(const inl_metadata *m, const char *tensor, uint32_t count,
                                 float **out)
{
    *out = NULL;
    const inl_gguf_tensor *t = inl_gguf_find_tensor(m->gguf, tensor);
    if (!t)
        return INLAY_OK;
    const inl_format *format = inl_format_by_ggml(t->type);
    if (t->shape[0] != count || t->dims != 1 || !format || format->id != INL_FORMAT_F32)
        return inl_fail(m->env, INLAY_ERROR_BAD_FILE, "%s: %s is not %u numbers of type F32",
                        inl_gguf_path(m->gguf), tensor, count);
    *out = inl_alloc(m->env, count, sizeof(float));
    if (!*out)
        return INLAY_ERROR_OUT_OF_MEMORY;
    memcpy(*out, t->data, count * sizeof(float));
    return INLAY_OK;
}
