// SPDX-License-Identifier: MIT
// Writing GGUF version 3: metadata are put into their final form as they come, tensors are only
// listed. What the reader would refuse is refused here, when it is added.
#include "io/gguf.h"
#include "io/gguf_file.h"

#include "base/file.h"
#include "quant/format.h"

#include <string.h>

#define VERSION 3
#define ALIGNMENT 32
#define NAME_ROOM 64 // ggml's limit for tensor names, with the NUL

typedef struct listed_tensor {
    char name[NAME_ROOM];
    uint32_t type, dims;
    uint64_t shape[4];
    const void *data;
    uint64_t bytes;
} listed_tensor;

struct inl_gguf_writer {
    inl_env env;
    void *metadata; // bytes as in the file
    size_t metadata_size, metadata_cap;
    void *keys; // listed_key
    size_t key_cap;
    uint64_t entry_count;
    void *tensors; // listed_tensor
    size_t tensor_count, tensor_cap;
};

inlay_result inl_gguf_writer_create(const inl_env *env, inl_gguf_writer **out)
{
    *out = inl_alloc(env, 1, sizeof(**out));
    if (!*out)
        return INLAY_ERROR_OUT_OF_MEMORY;
    (*out)->env = *env;
    return INLAY_OK;
}

void inl_gguf_writer_destroy(inl_gguf_writer **writer)
{
    inl_gguf_writer *w = *writer;
    *writer = NULL;
    if (!w)
        return;
    inl_env env = w->env;
    inl_free(&env, w->metadata);
    inl_free(&env, w->keys);
    inl_free(&env, w->tensors);
    inl_free(&env, w);
}

// ---- metadata

// Of an entry's bytes in the metadata.
typedef struct listed_key {
    size_t at, size;
} listed_key;

static bool has_key(const inl_gguf_writer *w, const char *key, size_t size)
{
    const listed_key *keys = w->keys;
    for (size_t i = 0; i < w->entry_count; i++)
        if (keys[i].size == size &&
            (size == 0 || memcmp((const char *)w->metadata + keys[i].at, key, size) == 0))
            return true;
    return false;
}

static void append(inl_gguf_writer *w, const void *data, size_t size)
{
    if (size > 0)
        memcpy((uint8_t *)w->metadata + w->metadata_size, data, size);
    w->metadata_size += size;
}

// Refuses a key that cannot be written, and makes room for an entry of so many bytes.
static inlay_result begin_entry(inl_gguf_writer *w, const char *key, uint64_t key_size,
                                uint64_t bytes)
{
    static const char alignment[] = "general.alignment";
    if (key_size > UINT16_MAX || has_key(w, key, key_size))
        return inl_fail(&w->env, INLAY_ERROR_INVALID_ARGUMENT,
                        "the metadata key %.*s is too long or was written before",
                        (int)INL_MIN(key_size, 80), key);
    if (key_size == sizeof(alignment) - 1 && memcmp(key, alignment, key_size) == 0)
        return inl_fail(&w->env, INLAY_ERROR_INVALID_ARGUMENT,
                        "general.alignment cannot be chosen, files are aligned to %d", ALIGNMENT);
    INL_TRY(inl_grow(&w->env, &w->keys, &w->key_cap, w->entry_count + 1, sizeof(listed_key)));
    INL_TRY(inl_grow(&w->env, &w->metadata, &w->metadata_cap, w->metadata_size + bytes, 1));
    ((listed_key *)w->keys)[w->entry_count++] = (listed_key){w->metadata_size + 8, key_size};
    return INLAY_OK;
}

// An entry's key, kind and value; a string's value comes in two parts, its length and its bytes.
static inlay_result add_entry(inl_gguf_writer *w, const char *key, uint32_t kind, const void *head,
                              size_t head_size, const void *tail, size_t tail_size)
{
    uint64_t key_size = strlen(key);
    INL_TRY(begin_entry(w, key, key_size, 8 + key_size + 4 + head_size + tail_size));
    append(w, &key_size, 8);
    append(w, key, key_size);
    append(w, &kind, 4);
    append(w, head, head_size);
    append(w, tail, tail_size);
    return INLAY_OK;
}

inlay_result inl_gguf_writer_entry(inl_gguf_writer *w, inl_slice key, inl_slice entry)
{
    INL_TRY(begin_entry(w, key.data, key.size, entry.size));
    append(w, entry.data, entry.size);
    return INLAY_OK;
}

inlay_result inl_gguf_writer_string(inl_gguf_writer *w, const char *key, const char *value)
{
    uint64_t size = strlen(value);
    return add_entry(w, key, INL_GGUF_STRING, &size, 8, value, size);
}

inlay_result inl_gguf_writer_u32(inl_gguf_writer *w, const char *key, uint32_t value)
{
    return add_entry(w, key, INL_GGUF_U32, &value, 4, NULL, 0);
}

inlay_result inl_gguf_writer_f32(inl_gguf_writer *w, const char *key, float value)
{
    return add_entry(w, key, INL_GGUF_F32, &value, 4, NULL, 0);
}

inlay_result inl_gguf_writer_bool(inl_gguf_writer *w, const char *key, bool value)
{
    uint8_t byte = value;
    return add_entry(w, key, INL_GGUF_BOOL, &byte, 1, NULL, 0);
}

// ---- arrays

static void append_array_head(inl_gguf_writer *w, const char *key, uint32_t kind, uint64_t count)
{
    uint64_t key_size = strlen(key);
    append(w, &key_size, 8);
    append(w, key, key_size);
    append(w, &(uint32_t){INL_GGUF_ARRAY}, 4);
    append(w, &kind, 4);
    append(w, &count, 8);
}

inlay_result inl_gguf_writer_array(inl_gguf_writer *w, const char *key, inl_gguf_kind kind,
                                   const void *values, uint64_t count)
{
    uint64_t bytes = count * inl_gguf_kind_bytes[kind], key_size = strlen(key);
    INL_TRY(begin_entry(w, key, key_size, 8 + key_size + 16 + bytes));
    append_array_head(w, key, kind, count);
    append(w, values, bytes);
    return INLAY_OK;
}

inlay_result inl_gguf_writer_strings(inl_gguf_writer *w, const char *key, const inl_slice *values,
                                     uint64_t count)
{
    uint64_t bytes = 8 * count, key_size = strlen(key);
    for (uint64_t i = 0; i < count; i++)
        bytes += values[i].size;
    INL_TRY(begin_entry(w, key, key_size, 8 + key_size + 16 + bytes));
    append_array_head(w, key, INL_GGUF_STRING, count);
    for (uint64_t i = 0; i < count; i++) {
        append(w, &values[i].size, 8);
        append(w, values[i].data, values[i].size);
    }
    return INLAY_OK;
}

// ---- tensors

static bool has_tensor(const inl_gguf_writer *w, const char *name)
{
    const listed_tensor *tensors = w->tensors;
    for (size_t i = 0; i < w->tensor_count; i++)
        if (strcmp(tensors[i].name, name) == 0)
            return true;
    return false;
}

// Bytes of the shape, 0 where type and shape do not fit or it has none.
static uint64_t shape_bytes(uint32_t type, uint32_t dims, const uint64_t *shape)
{
    uint32_t block_elements, block_bytes;
    uint64_t elements = 1, bytes;
    if (!inl_ggml_type_info(type, &block_elements, &block_bytes) || dims < 1 || dims > 4)
        return 0;
    for (uint32_t d = 0; d < dims; d++)
        if (!inl_mul_u64(elements, shape[d], &elements))
            return 0;
    if (shape[0] % block_elements != 0 ||
        !inl_mul_u64(elements / block_elements, block_bytes, &bytes))
        return 0;
    return bytes;
}

inlay_result inl_gguf_writer_tensor(inl_gguf_writer *w, const char *name, uint32_t type,
                                    uint32_t dims, const uint64_t *shape, const void *data,
                                    uint64_t bytes)
{
    if (strlen(name) >= NAME_ROOM || has_tensor(w, name))
        return inl_fail(&w->env, INLAY_ERROR_INVALID_ARGUMENT,
                        "the tensor name %.80s is longer than %d bytes or was written before", name,
                        NAME_ROOM - 1);
    if (bytes == 0 || shape_bytes(type, dims, shape) != bytes)
        return inl_fail(&w->env, INLAY_ERROR_INVALID_ARGUMENT,
                        "the tensor %s has %llu bytes, which its shape and type do not give", name,
                        (unsigned long long)bytes);
    INL_TRY(inl_grow(&w->env, &w->tensors, &w->tensor_cap, w->tensor_count + 1,
                     sizeof(listed_tensor)));
    listed_tensor *t = (listed_tensor *)w->tensors + w->tensor_count++;
    *t = (listed_tensor){.type = type, .dims = dims, .data = data, .bytes = bytes};
    memcpy(t->name, name, strlen(name));
    memcpy(t->shape, shape, dims * sizeof(*shape));
    return INLAY_OK;
}

// ---- the file

static void put_header(const inl_gguf_writer *w, inl_writer *file)
{
    uint32_t version = VERSION;
    uint64_t tensor_count = w->tensor_count;
    inl_writer_put(file, "GGUF", 4);
    inl_writer_put(file, &version, 4);
    inl_writer_put(file, &tensor_count, 8);
    inl_writer_put(file, &w->entry_count, 8);
}

static void put_tensor_list(const inl_gguf_writer *w, inl_writer *file)
{
    uint64_t offset = 0; // in the data section
    for (size_t i = 0; i < w->tensor_count; i++) {
        const listed_tensor *t = (const listed_tensor *)w->tensors + i;
        uint64_t name_size = strlen(t->name);
        inl_writer_put(file, &name_size, 8);
        inl_writer_put(file, t->name, name_size);
        inl_writer_put(file, &t->dims, 4);
        inl_writer_put(file, t->shape, t->dims * sizeof(*t->shape));
        inl_writer_put(file, &t->type, 4);
        inl_writer_put(file, &offset, 8);
        offset += inl_round_up(t->bytes, ALIGNMENT);
    }
}

static void put_tensor(const inl_gguf_writer *w, size_t index, inl_gguf_put *put, void *user,
                       inl_writer *file)
{
    const listed_tensor *t = (const listed_tensor *)w->tensors + index;
    uint64_t end = file->written + t->bytes;
    inlay_result result = INLAY_OK;
    if (t->data || !put)
        inl_writer_put(file, t->data, t->data ? t->bytes : 0);
    else
        result = put(user, (uint32_t)index, file);
    if (file->error == INLAY_OK)
        file->error = result;
    if (file->error == INLAY_OK && file->written != end)
        file->error = inl_fail(&w->env, INLAY_ERROR_INTERNAL,
                               "%s: tensor %s was not written whole", file->path, t->name);
    inl_writer_pad(file, ALIGNMENT, 0);
}

inlay_result inl_gguf_writer_stream(inl_gguf_writer *w, const char *path, inl_gguf_put *put,
                                    void *user)
{
    inl_writer file;
    INL_TRY(inl_writer_open(&w->env, path, &file));
    put_header(w, &file);
    inl_writer_put(&file, w->metadata, w->metadata_size);
    put_tensor_list(w, &file);
    inl_writer_pad(&file, ALIGNMENT, 0);
    for (size_t i = 0; i < w->tensor_count && file.error == INLAY_OK; i++)
        put_tensor(w, i, put, user, &file);
    return inl_writer_commit(&file);
}

inlay_result inl_gguf_writer_write(inl_gguf_writer *w, const char *path)
{
    return inl_gguf_writer_stream(w, path, NULL, NULL);
}
