// SPDX-License-Identifier: MIT
// Views: the metadata are written as a GGUF file has them and then read as from one, so that a view
// is held to what a file is held to.
#include "io/gguf_file.h"

#include <string.h>

struct inl_gguf_view {
    inl_env env;
    void *metadata; // bytes as in a file, its header among them
    size_t metadata_size, metadata_cap;
    uint64_t entry_count;
    void *tensors; // inl_gguf_tensor, `name` NULL
    size_t tensor_count, tensor_cap;
    void *names; // the tensors', each with its NUL
    size_t names_size, names_cap;
    bool multimodal, stands_alone;
};

static inlay_result append(inl_gguf_view *v, const void *data, size_t size)
{
    INL_TRY(inl_grow(&v->env, &v->metadata, &v->metadata_cap, v->metadata_size + size, 1));
    if (size > 0)
        memcpy((uint8_t *)v->metadata + v->metadata_size, data, size);
    v->metadata_size += size;
    return INLAY_OK;
}

static inlay_result put_u32(inl_gguf_view *v, uint32_t value)
{
    return append(v, &value, sizeof(value));
}

static inlay_result put_u64(inl_gguf_view *v, uint64_t value)
{
    return append(v, &value, sizeof(value));
}

static inlay_result put_key(inl_gguf_view *v, const char *key, inl_gguf_kind kind)
{
    v->entry_count++;
    INL_TRY(put_u64(v, strlen(key)));
    INL_TRY(append(v, key, strlen(key)));
    return put_u32(v, kind);
}

inlay_result inl_gguf_view_create(const inl_env *env, inl_gguf_view **out)
{
    inl_gguf_view *v = *out = inl_alloc(env, 1, sizeof(*v));
    if (!v)
        return INLAY_ERROR_OUT_OF_MEMORY;
    v->env = *env;
    // Version 3, no tensors; the number of entries comes at the end.
    inlay_result result = append(v, "GGUF\3\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0", 24);
    if (result != INLAY_OK)
        inl_gguf_view_destroy(out);
    return result;
}

void inl_gguf_view_destroy(inl_gguf_view **view)
{
    inl_gguf_view *v = *view;
    *view = NULL;
    if (!v)
        return;
    inl_env env = v->env;
    inl_free(&env, v->metadata);
    inl_free(&env, v->tensors);
    inl_free(&env, v->names);
    inl_free(&env, v);
}

inlay_result inl_gguf_view_string(inl_gguf_view *v, const char *key, const char *value)
{
    INL_TRY(put_key(v, key, INL_GGUF_STRING));
    INL_TRY(put_u64(v, strlen(value)));
    return append(v, value, strlen(value));
}

inlay_result inl_gguf_view_u32(inl_gguf_view *v, const char *key, uint32_t value)
{
    INL_TRY(put_key(v, key, INL_GGUF_U32));
    return put_u32(v, value);
}

inlay_result inl_gguf_view_f32(inl_gguf_view *v, const char *key, float value)
{
    INL_TRY(put_key(v, key, INL_GGUF_F32));
    return append(v, &value, sizeof(value));
}

inlay_result inl_gguf_view_bool(inl_gguf_view *v, const char *key, bool value)
{
    INL_TRY(put_key(v, key, INL_GGUF_BOOL));
    return append(v, &(uint8_t){value}, 1);
}

inlay_result inl_gguf_view_array(inl_gguf_view *v, const char *key, inl_gguf_kind kind,
                                 const void *values, uint64_t count)
{
    INL_TRY(put_key(v, key, INL_GGUF_ARRAY));
    INL_TRY(put_u32(v, kind));
    INL_TRY(put_u64(v, count));
    return append(v, values, count * inl_gguf_kind_bytes[kind]);
}

inlay_result inl_gguf_view_strings(inl_gguf_view *v, const char *key, const inl_slice *values,
                                   uint64_t count)
{
    INL_TRY(put_key(v, key, INL_GGUF_ARRAY));
    INL_TRY(put_u32(v, INL_GGUF_STRING));
    INL_TRY(put_u64(v, count));
    for (uint64_t i = 0; i < count; i++) {
        INL_TRY(put_u64(v, values[i].size));
        INL_TRY(append(v, values[i].data, values[i].size));
    }
    return INLAY_OK;
}

inlay_result inl_gguf_view_tensor(inl_gguf_view *v, const char *name, const inl_gguf_tensor *tensor)
{
    size_t size = strlen(name) + 1;
    INL_TRY(inl_grow(&v->env, &v->tensors, &v->tensor_cap, v->tensor_count + 1, sizeof(*tensor)));
    INL_TRY(inl_grow(&v->env, &v->names, &v->names_cap, v->names_size + size, 1));
    memcpy((char *)v->names + v->names_size, name, size);
    v->names_size += size;
    inl_gguf_tensor *t = (inl_gguf_tensor *)v->tensors + v->tensor_count++;
    *t = *tensor;
    for (uint32_t d = t->dims; d < INL_COUNT(t->shape); d++)
        t->shape[d] = 1;
    return INLAY_OK;
}

void inl_gguf_view_multimodal(inl_gguf_view *v, bool multimodal)
{
    v->multimodal = multimodal;
}

void inl_gguf_view_stands_alone(inl_gguf_view *v)
{
    v->stands_alone = true;
}

// The names stand one behind the other, in the tensors' order.
static inlay_result move_tensors(inl_gguf_view *v, inl_gguf *gguf)
{
    gguf->tensors = v->tensors;
    gguf->tensor_names = v->names;
    gguf->tensor_count = (uint32_t)v->tensor_count;
    v->tensors = v->names = NULL;
    char *name = gguf->tensor_names;
    for (uint32_t i = 0; i < gguf->tensor_count; i++, name += strlen(name) + 1)
        gguf->tensors[i].name = name;
    gguf->tensor_order =
        inl_alloc(&gguf->env, gguf->tensor_count, sizeof(*gguf->tensor_order));
    if (!gguf->tensor_order)
        return INLAY_ERROR_OUT_OF_MEMORY;
    uint32_t twice = inl_gguf_order_tensors(gguf);
    if (twice == UINT32_MAX)
        return INLAY_OK;
    return inl_fail(&gguf->env, INLAY_ERROR_BAD_FILE, "%s: two tensors are %s", gguf->path,
                    gguf->tensors[twice].name);
}

inlay_result inl_gguf_view_finish(inl_gguf_view **view, const char *path, uint64_t file_bytes,
                                  void *owner, inl_gguf_release *release, inl_gguf **out)
{
    inl_gguf_view *v = *view;
    inl_gguf *gguf = *out = inl_gguf_new(&v->env, path);
    if (!gguf)
        return INLAY_ERROR_OUT_OF_MEMORY;
    memcpy((uint8_t *)v->metadata + 16, &v->entry_count, 8);
    gguf->data = gguf->metadata = v->metadata;
    gguf->size = v->metadata_size;
    gguf->file_bytes = file_bytes;
    gguf->is_folder = !v->stands_alone;
    gguf->is_multimodal = v->multimodal;
    v->metadata = NULL;
    inlay_result result = inl_gguf_read_metadata(gguf);
    if (result == INLAY_OK)
        result = move_tensors(v, gguf);
    if (result == INLAY_OK) {
        gguf->owner = owner;
        gguf->release = release;
        inl_gguf_view_destroy(view);
    } else {
        inl_gguf_close(out);
    }
    return result;
}
