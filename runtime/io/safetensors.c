// SPDX-License-Identifier: MIT
#include "io/safetensors.h"
#include "base/file.h"
#include "base/half.h"

#include <jansson.h>
#include <stdlib.h>
#include <string.h>

#define MAX_HEADER_BYTES 100000000ull

struct inl_safetensors {
    inl_env env;
    inl_map map;
    char *path;
    inl_safetensor *tensors; // sorted by offset
    inl_safetensor **names;  // sorted by name
    uint32_t count;
};

static const struct {
    const char *name;
    uint32_t bits;
} known_dtypes[] = {
    {"F64", 64},    {"F32", 32},    {"F16", 16},        {"BF16", 16},       {"I64", 64},
    {"I32", 32},    {"I16", 16},    {"I8", 8},          {"U64", 64},        {"U32", 32},
    {"U16", 16},    {"U8", 8},      {"BOOL", 8},        {"C64", 64},        {"F8_E4M3", 8},
    {"F8_E5M2", 8}, {"F8_E8M0", 8}, {"F8_E4M3FNUZ", 8}, {"F8_E5M2FNUZ", 8}, {"F6_E2M3", 6},
    {"F6_E3M2", 6}, {"F4", 4},
};

static uint32_t dtype_bits(const char *name)
{
    for (size_t i = 0; i < INL_COUNT(known_dtypes); i++)
        if (strcmp(known_dtypes[i].name, name) == 0)
            return known_dtypes[i].bits;
    return 0;
}

static inlay_result bad(const inl_safetensors *f, const char *name, const char *what)
{
    return inl_fail(&f->env, INLAY_ERROR_BAD_FILE, "%s: tensor %.80s: %s", f->path, name, what);
}

static inlay_result read_shape(const inl_safetensors *f, const json_t *shape, inl_safetensor *t,
                               uint64_t *elements)
{
    if (!json_is_array(shape) || json_array_size(shape) > INL_COUNT(t->shape))
        return bad(f, t->name, "\"shape\" is not a list of at most 8 numbers");
    t->dims = (uint32_t)json_array_size(shape);
    *elements = 1;
    for (uint32_t i = 0; i < t->dims; i++) {
        const json_t *n = json_array_get(shape, i);
        if (!json_is_integer(n) || json_integer_value(n) < 0)
            return bad(f, t->name, "\"shape\" has something that is no size");
        t->shape[i] = (uint64_t)json_integer_value(n);
        if (!inl_mul_u64(*elements, t->shape[i], elements))
            return bad(f, t->name, "\"shape\" overflows");
    }
    return INLAY_OK;
}

static inlay_result read_entry(const inl_safetensors *f, const json_t *entry, const uint8_t *base,
                               uint64_t size, inl_safetensor *t)
{
    const char *dtype = json_string_value(json_object_get(entry, "dtype"));
    const json_t *offsets = json_object_get(entry, "data_offsets");
    uint32_t bits = dtype ? dtype_bits(dtype) : 0;
    if (bits == 0)
        return bad(f, t->name, "\"dtype\" is missing or unknown");
    memcpy(t->dtype, dtype, strlen(dtype) + 1);
    uint64_t elements = 0, width;
    INL_TRY(read_shape(f, json_object_get(entry, "shape"), t, &elements));
    const json_t *from = json_array_get(offsets, 0), *to = json_array_get(offsets, 1);
    if (json_array_size(offsets) != 2 || !json_is_integer(from) || !json_is_integer(to))
        return bad(f, t->name, "\"data_offsets\" is not a pair of numbers");
    int64_t begin = json_integer_value(from), end = json_integer_value(to);
    if (begin < 0 || end < begin || (uint64_t)end > size)
        return bad(f, t->name, "\"data_offsets\" lie outside the file");
    t->data = base + begin;
    t->bytes = (uint64_t)(end - begin);
    if (!inl_mul_u64(elements, bits, &width) || width % 8 != 0 || width / 8 != t->bytes)
        return bad(f, t->name, "\"data_offsets\" and \"shape\" do not agree");
    return INLAY_OK;
}

static int by_offset(const void *a, const void *b)
{
    const inl_safetensor *x = a, *y = b;
    if (x->data != y->data)
        return x->data < y->data ? -1 : 1;
    return x->bytes < y->bytes ? -1 : x->bytes > y->bytes;
}

static int by_name(const void *a, const void *b)
{
    return strcmp((*(inl_safetensor *const *)a)->name, (*(inl_safetensor *const *)b)->name);
}

static inlay_result check_cover(const inl_safetensors *f, const uint8_t *base, uint64_t size)
{
    const uint8_t *at = base;
    for (uint32_t i = 0; i < f->count; i++) {
        if (f->tensors[i].data != at)
            return bad(f, f->tensors[i].name, "its bytes overlap another tensor's or leave a hole");
        at += f->tensors[i].bytes;
    }
    if (at != base + size)
        return inl_fail(&f->env, INLAY_ERROR_BAD_FILE,
                        "%s: %llu bytes after the last tensor belong to none", f->path,
                        (unsigned long long)(base + size - at));
    return INLAY_OK;
}

static inlay_result read_entries(inl_safetensors *f, const json_t *header, const uint8_t *base,
                                 uint64_t size)
{
    size_t room = json_object_size(header) + 1;
    f->tensors = inl_alloc(&f->env, room, sizeof(*f->tensors));
    f->names = f->tensors ? inl_alloc(&f->env, room, sizeof(*f->names)) : NULL;
    if (!f->names)
        return INLAY_ERROR_OUT_OF_MEMORY;
    const char *name;
    json_t *entry;
    json_object_foreach ((json_t *)header, name, entry) {
        if (strcmp(name, "__metadata__") == 0)
            continue;
        inl_safetensor *t = &f->tensors[f->count++];
        t->name = inl_strdup(&f->env, name);
        if (!t->name)
            return INLAY_ERROR_OUT_OF_MEMORY;
        INL_TRY(read_entry(f, entry, base, size, t));
    }
    qsort(f->tensors, f->count, sizeof(*f->tensors), by_offset);
    for (uint32_t i = 0; i < f->count; i++)
        f->names[i] = &f->tensors[i];
    qsort(f->names, f->count, sizeof(*f->names), by_name);
    return check_cover(f, base, size);
}

static inlay_result parse(inl_safetensors *f, const uint8_t *data, uint64_t size)
{
    uint64_t header_bytes = 0;
    for (uint32_t i = 0; i < 8 && size >= 8; i++)
        header_bytes |= (uint64_t)data[i] << 8 * i;
    if (size < 8 || header_bytes > MAX_HEADER_BYTES || header_bytes > size - 8)
        return inl_fail(&f->env, INLAY_ERROR_BAD_FILE,
                        "%s: the header's length (%llu) does not fit a file of %llu bytes", f->path,
                        (unsigned long long)header_bytes, (unsigned long long)size);
    json_error_t error;
    json_t *header =
        json_loadb((const char *)data + 8, header_bytes, JSON_REJECT_DUPLICATES, &error);
    if (!json_is_object(header)) {
        inlay_result result = inl_fail(
            &f->env, INLAY_ERROR_BAD_FILE, "%s: the header is not a JSON object (byte %d: %s)",
            f->path, header ? 0 : error.position, header ? "another type" : error.text);
        json_decref(header);
        return result;
    }
    inlay_result result = read_entries(f, header, data + 8 + header_bytes, size - 8 - header_bytes);
    json_decref(header);
    return result;
}

inlay_result inl_safetensors_open_memory(const inl_env *env, const char *name, const uint8_t *data,
                                         uint64_t size, inl_safetensors **out)
{
    *out = NULL;
    inl_safetensors *f = inl_alloc(env, 1, sizeof(*f));
    if (!f)
        return INLAY_ERROR_OUT_OF_MEMORY;
    f->env = *env;
    f->path = inl_strdup(env, name);
    inlay_result result = f->path ? parse(f, data, size) : INLAY_ERROR_OUT_OF_MEMORY;
    if (result != INLAY_OK) {
        inl_safetensors_close(&f);
        return result;
    }
    *out = f;
    return INLAY_OK;
}

inlay_result inl_safetensors_open(const inl_env *env, const char *path, inl_safetensors **out)
{
    *out = NULL;
    inl_map map;
    INL_TRY(inl_map_open(env, path, &map));
    inlay_result result = inl_safetensors_open_memory(env, path, map.data, map.size, out);
    if (result != INLAY_OK)
        inl_map_close(&map);
    else
        (*out)->map = map;
    return result;
}

void inl_safetensors_close(inl_safetensors **handle)
{
    inl_safetensors *f = *handle;
    if (!f)
        return;
    *handle = NULL;
    for (uint32_t i = 0; i < f->count; i++)
        inl_free(&f->env, f->tensors[i].name);
    inl_free(&f->env, f->tensors);
    inl_free(&f->env, f->names);
    inl_free(&f->env, f->path);
    inl_map_close(&f->map);
    inl_env env = f->env;
    inl_free(&env, f);
}

const char *inl_safetensors_path(const inl_safetensors *file)
{
    return file->path;
}

uint64_t inl_safetensors_file_bytes(const inl_safetensors *file)
{
    return file->map.size;
}

uint32_t inl_safetensors_count(const inl_safetensors *file)
{
    return file->count;
}

const inl_safetensor *inl_safetensors_at(const inl_safetensors *file, uint32_t index)
{
    return &file->tensors[index];
}

const inl_safetensor *inl_safetensors_find(const inl_safetensors *file, const char *name)
{
    const inl_safetensor wanted = {.name = (char *)name}, *key = &wanted;
    inl_safetensor **found = bsearch(&key, file->names, file->count, sizeof(*file->names), by_name);
    return found ? *found : NULL;
}

inlay_result inl_safetensors_rename(inl_safetensors *f, inl_safetensors_namer *rename)
{
    for (uint32_t i = 0; i < f->count; i++) {
        char *name = rename(&f->env, f->tensors[i].name);
        if (!name)
            return INLAY_ERROR_OUT_OF_MEMORY;
        inl_free(&f->env, f->tensors[i].name);
        f->tensors[i].name = name;
    }
    qsort(f->names, f->count, sizeof(*f->names), by_name);
    for (uint32_t i = 1; i < f->count; i++)
        if (strcmp(f->names[i - 1]->name, f->names[i]->name) == 0)
            return inl_fail(&f->env, INLAY_ERROR_BAD_FILE, "%s: two tensors stand for %.200s",
                            f->path, f->names[i]->name);
    return INLAY_OK;
}

inlay_result inl_safetensors_read_f32(const inl_safetensors *f, const inl_safetensor *t, float *out,
                                      uint64_t count)
{
    bool f32 = strcmp(t->dtype, "F32") == 0, f16 = strcmp(t->dtype, "F16") == 0;
    if (!f32 && !f16 && strcmp(t->dtype, "BF16") != 0)
        return inl_fail(&f->env, INLAY_ERROR_UNSUPPORTED,
                        "%s: tensor %.200s has type %s (F32, F16 and BF16 are supported)", f->path,
                        t->name, t->dtype);
    if (t->bytes / (f32 ? 4 : 2) != count)
        return inl_fail(&f->env, INLAY_ERROR_MISMATCH,
                        "%s: tensor %.200s does not have %llu elements", f->path, t->name,
                        (unsigned long long)count);
    if (f32) {
        if (count > 0)
            memcpy(out, t->data, t->bytes);
        return INLAY_OK;
    }
    for (uint64_t i = 0; i < count; i++) {
        uint16_t half;
        memcpy(&half, t->data + 2 * i, 2);
        out[i] = f16 ? inl_f16_to_f32(half) : inl_bf16_to_f32(half);
    }
    return INLAY_OK;
}

// ---- writing

static uint64_t out_bytes(const inl_safetensor_out *t, const char *dtype)
{
    uint64_t elements = 1;
    for (uint32_t i = 0; i < t->dims; i++)
        elements *= t->shape[i];
    return elements * dtype_bits(dtype) / 8;
}

static json_t *make_entry(const inl_safetensor_out *t, const char *dtype, uint64_t at)
{
    json_t *shape = json_array();
    for (uint32_t d = 0; d < t->dims; d++)
        json_array_append_new(shape, json_integer((json_int_t)t->shape[d]));
    return json_pack("{s:s, s:o, s:[I, I]}", "dtype", dtype, "shape", shape, "data_offsets",
                     (json_int_t)at, (json_int_t)(at + out_bytes(t, dtype)));
}

static inlay_result add_entries(const inl_env *env, const inl_safetensor_out *tensors,
                                const char *const *dtypes, uint32_t count, json_t *header)
{
    uint64_t at = 0;
    for (uint32_t i = 0; i < count; i++) {
        const inl_safetensor_out *t = &tensors[i];
        const char *dtype = dtypes ? dtypes[i] : "F32";
        if (json_object_get(header, t->name))
            return inl_fail(env, INLAY_ERROR_INVALID_ARGUMENT,
                            "the tensor name %.200s was written before", t->name);
        if (json_object_set_new(header, t->name, make_entry(t, dtype, at)) != 0)
            return inl_fail(env, INLAY_ERROR_INVALID_ARGUMENT,
                            "the tensor name %.200s is not UTF-8", t->name);
        at += out_bytes(t, dtype);
    }
    return INLAY_OK;
}

// The header's text, allocated by jansson.
static inlay_result make_header(const inl_env *env, const inl_safetensor_out *tensors,
                                const char *const *dtypes, uint32_t count, char **out)
{
    json_t *header = json_pack("{s:{s:s}}", "__metadata__", "format", "pt");
    inlay_result result = header ? add_entries(env, tensors, dtypes, count, header) : INLAY_OK;
    *out = header && result == INLAY_OK ? json_dumps(header, JSON_COMPACT) : NULL;
    json_decref(header);
    if (*out || result != INLAY_OK)
        return result;
    return inl_fail(env, INLAY_ERROR_OUT_OF_MEMORY, "out of host memory for a header");
}

static void put_data(const inl_safetensor_out *t, uint64_t bytes, uint32_t index,
                     inl_safetensors_put *put, void *user, inl_writer *file)
{
    uint64_t end = file->written + bytes;
    inlay_result result = INLAY_OK;
    if (t->data || !put)
        inl_writer_put(file, t->data, t->data ? bytes : 0);
    else
        result = put(user, index, file);
    if (file->error == INLAY_OK)
        file->error = result;
    if (file->error == INLAY_OK && file->written != end)
        file->error = inl_fail(file->env, INLAY_ERROR_INTERNAL,
                               "%s: tensor %.200s was not written whole", file->path, t->name);
}

inlay_result inl_safetensors_write(const inl_env *env, const char *path,
                                   const inl_safetensor_out *tensors, uint32_t count)
{
    return inl_safetensors_stream(env, path, tensors, NULL, count, NULL, NULL);
}

inlay_result inl_safetensors_stream(const inl_env *env, const char *path,
                                    const inl_safetensor_out *tensors, const char *const *dtypes,
                                    uint32_t count, inl_safetensors_put *put, void *user)
{
    char *header;
    INL_TRY(make_header(env, tensors, dtypes, count, &header));
    uint64_t length = strlen(header), padded = inl_round_up(length, 8);
    inl_writer w;
    inlay_result result = inl_writer_open(env, path, &w);
    if (result == INLAY_OK) {
        uint8_t prefix[8];
        for (uint32_t i = 0; i < 8; i++)
            prefix[i] = (uint8_t)(padded >> 8 * i);
        inl_writer_put(&w, prefix, 8);
        inl_writer_put(&w, header, length);
        inl_writer_pad(&w, 8, ' ');
        for (uint32_t i = 0; i < count && w.error == INLAY_OK; i++)
            put_data(&tensors[i], out_bytes(&tensors[i], dtypes ? dtypes[i] : "F32"), i, put, user,
                     &w);
        result = inl_writer_commit(&w);
    }
    free(header);
    return result;
}
