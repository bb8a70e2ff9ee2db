// SPDX-License-Identifier: MIT
// What an open GGUF file holds: tensors by name, metadata by key.
#include "io/gguf_file.h"

#include <math.h>
#include <string.h>

// ---- tensors

const char *inl_gguf_path(const inl_gguf *gguf)
{
    return gguf->path;
}

bool inl_gguf_is_folder(const inl_gguf *gguf)
{
    return gguf->is_folder;
}

bool inl_gguf_is_multimodal(const inl_gguf *gguf)
{
    return gguf->is_multimodal;
}

uint64_t inl_gguf_file_bytes(const inl_gguf *gguf)
{
    return gguf->file_bytes;
}

uint32_t inl_gguf_tensor_count(const inl_gguf *gguf)
{
    return gguf->tensor_count;
}

const inl_gguf_tensor *inl_gguf_tensor_at(const inl_gguf *gguf, uint32_t index)
{
    return index < gguf->tensor_count ? &gguf->tensors[index] : NULL;
}

const inl_gguf_tensor *inl_gguf_find_tensor(const inl_gguf *gguf, const char *name)
{
    const inl_gguf_name *item = inl_gguf_find_name(gguf->tensor_order, gguf->tensor_count, name);
    return item ? &gguf->tensors[item->index] : NULL;
}

// ---- metadata

const inl_gguf_entry *inl_gguf_find_entry(const inl_gguf *gguf, const char *key)
{
    const inl_gguf_name *item = inl_gguf_find_name(gguf->entry_order, gguf->entry_count, key);
    return item ? &gguf->entries[item->index] : NULL;
}

bool inl_gguf_has(const inl_gguf *gguf, const char *key)
{
    return inl_gguf_find_entry(gguf, key) != NULL;
}

static const inl_gguf_entry *find_scalar(const inl_gguf *gguf, const char *key)
{
    const inl_gguf_entry *e = inl_gguf_find_entry(gguf, key);
    return e && !e->is_array ? e : NULL;
}

static const inl_gguf_entry *find_array(const inl_gguf *gguf, const char *key)
{
    const inl_gguf_entry *e = inl_gguf_find_entry(gguf, key);
    return e && e->is_array ? e : NULL;
}

// Sign extended from the kind's width; false for what is no integer or passes i64.
static bool load_integer(inl_gguf_kind kind, const uint8_t *p, int64_t *out)
{
    uint64_t value = 0;
    memcpy(&value, p, inl_gguf_kind_bytes[kind]);
    switch (kind) {
    case INL_GGUF_U8:
    case INL_GGUF_U16:
    case INL_GGUF_U32: *out = (int64_t)value; return true;
    case INL_GGUF_I8: *out = (int8_t)value; return true;
    case INL_GGUF_I16: *out = (int16_t)value; return true;
    case INL_GGUF_I32: *out = (int32_t)value; return true;
    case INL_GGUF_I64: *out = (int64_t)value; return true;
    case INL_GGUF_U64: *out = (int64_t)value; return value <= INT64_MAX;
    default: return false;
    }
}

// A double is rounded; false where that would make an infinity of a number.
static bool load_float(inl_gguf_kind kind, const uint8_t *p, float *out)
{
    double wide;
    if (kind == INL_GGUF_F32) {
        memcpy(out, p, 4);
        return true;
    }
    if (kind != INL_GGUF_F64)
        return false;
    memcpy(&wide, p, 8);
    *out = (float)wide;
    return !isinf(*out) || isinf(wide);
}

bool inl_gguf_get_u32(const inl_gguf *gguf, const char *key, uint32_t *out)
{
    const inl_gguf_entry *e = find_scalar(gguf, key);
    int64_t value;
    if (!e || !load_integer(e->kind, e->value, &value) || value < 0 || value > UINT32_MAX)
        return false;
    *out = (uint32_t)value;
    return true;
}

bool inl_gguf_get_f32(const inl_gguf *gguf, const char *key, float *out)
{
    const inl_gguf_entry *e = find_scalar(gguf, key);
    float value;
    if (!e || !load_float(e->kind, e->value, &value))
        return false;
    *out = value;
    return true;
}

bool inl_gguf_get_bool(const inl_gguf *gguf, const char *key, bool *out)
{
    const inl_gguf_entry *e = find_scalar(gguf, key);
    if (!e || e->kind != INL_GGUF_BOOL)
        return false;
    *out = e->value[0] != 0;
    return true;
}

static inl_slice string_at(const uint8_t *p)
{
    uint64_t size;
    memcpy(&size, p, 8);
    return (inl_slice){(const char *)p + 8, size};
}

bool inl_gguf_get_string(const inl_gguf *gguf, const char *key, inl_slice *out)
{
    const inl_gguf_entry *e = find_scalar(gguf, key);
    if (!e || e->kind != INL_GGUF_STRING)
        return false;
    *out = string_at(e->value);
    return true;
}

bool inl_gguf_get_array(const inl_gguf *gguf, const char *key, inl_gguf_kind *kind, uint64_t *count)
{
    const inl_gguf_entry *e = find_array(gguf, key);
    if (!e)
        return false;
    *kind = e->kind;
    *count = e->count;
    return true;
}

bool inl_gguf_read_strings(const inl_gguf *gguf, const char *key, inl_slice *out, uint64_t count)
{
    const inl_gguf_entry *e = find_array(gguf, key);
    if (!e || e->kind != INL_GGUF_STRING || count > e->count)
        return false;
    const uint8_t *p = e->value;
    for (uint64_t i = 0; i < count; i++) {
        out[i] = string_at(p);
        p += 8 + out[i].size;
    }
    return true;
}

bool inl_gguf_read_f32s(const inl_gguf *gguf, const char *key, float *out, uint64_t count)
{
    const inl_gguf_entry *e = find_array(gguf, key);
    if (!e || count > e->count)
        return false;
    for (uint64_t i = 0; i < count; i++)
        if (!load_float(e->kind, e->value + i * inl_gguf_kind_bytes[e->kind], &out[i]))
            return false;
    return true;
}

bool inl_gguf_read_i32s(const inl_gguf *gguf, const char *key, int32_t *out, uint64_t count)
{
    const inl_gguf_entry *e = find_array(gguf, key);
    if (!e || count > e->count)
        return false;
    inl_gguf_kind kind = e->kind == INL_GGUF_BOOL ? INL_GGUF_U8 : e->kind;
    for (uint64_t i = 0; i < count; i++) {
        int64_t value;
        if (!load_integer(kind, e->value + i * inl_gguf_kind_bytes[kind], &value) ||
            value < INT32_MIN || value > INT32_MAX)
            return false;
        out[i] = (int32_t)value;
    }
    return true;
}
