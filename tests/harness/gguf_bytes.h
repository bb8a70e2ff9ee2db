// SPDX-License-Identifier: MIT
// GGUF files put together in memory, for tests that need one small or broken in a certain way: any
// key, arrays too, any tensor. Header only. Out of memory ends the test program.
//
//     gguf_bytes g;
//     gguf_bytes_begin(&g);
//     gguf_bytes_u32(&g, "llama.block_count", 2);
//     gguf_bytes_end(&g);                 // g.data, g.size: the file
//     gguf_bytes_free(&g);
#ifndef TESTS_HARNESS_GGUF_BYTES_H
#define TESTS_HARNESS_GGUF_BYTES_H

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#define GGUF_BYTES_ALIGNMENT 32

typedef struct gguf_bytes_block {
    uint8_t *data;
    size_t size, cap;
} gguf_bytes_block;

typedef struct gguf_bytes {
    uint8_t *data; // the file, after gguf_bytes_end
    size_t size;
    gguf_bytes_block keys, tensors, payload;
    uint64_t key_count, tensor_count;
    uint64_t hollow; // bytes of tensors without data, which follow the file's
} gguf_bytes;

static inline void gguf_bytes_put(gguf_bytes_block *b, const void *data, size_t size)
{
    if (b->size + size > b->cap) {
        b->cap = (b->size + size) * 2;
        b->data = realloc(b->data, b->cap);
        if (!b->data)
            abort();
    }
    if (size > 0)
        memcpy(b->data + b->size, data, size);
    b->size += size;
}

static inline void gguf_bytes_put_u32(gguf_bytes_block *b, uint32_t value)
{
    gguf_bytes_put(b, &value, sizeof(value));
}

static inline void gguf_bytes_put_u64(gguf_bytes_block *b, uint64_t value)
{
    gguf_bytes_put(b, &value, sizeof(value));
}

static inline void gguf_bytes_put_text(gguf_bytes_block *b, const char *text, size_t size)
{
    gguf_bytes_put_u64(b, size);
    gguf_bytes_put(b, text, size);
}

static inline void gguf_bytes_begin(gguf_bytes *g)
{
    memset(g, 0, sizeof(*g));
}

static inline void gguf_bytes_free(gguf_bytes *g)
{
    free(g->data);
    free(g->keys.data);
    free(g->tensors.data);
    free(g->payload.data);
    memset(g, 0, sizeof(*g));
}

// A key and the number of its value's kind; the value's bytes must follow into g->keys.
static inline void gguf_bytes_key(gguf_bytes *g, const char *key, uint32_t kind)
{
    gguf_bytes_put_text(&g->keys, key, strlen(key));
    gguf_bytes_put_u32(&g->keys, kind);
    g->key_count++;
}

static inline void gguf_bytes_u32(gguf_bytes *g, const char *key, uint32_t value)
{
    gguf_bytes_key(g, key, 4);
    gguf_bytes_put_u32(&g->keys, value);
}

static inline void gguf_bytes_f32(gguf_bytes *g, const char *key, float value)
{
    gguf_bytes_key(g, key, 6);
    gguf_bytes_put(&g->keys, &value, sizeof(value));
}

static inline void gguf_bytes_bool(gguf_bytes *g, const char *key, int value)
{
    uint8_t byte = value != 0;
    gguf_bytes_key(g, key, 7);
    gguf_bytes_put(&g->keys, &byte, 1);
}

static inline void gguf_bytes_string(gguf_bytes *g, const char *key, const char *value)
{
    gguf_bytes_key(g, key, 8);
    gguf_bytes_put_text(&g->keys, value, strlen(value));
}

// An array's head: `count` elements of `kind` must follow into g->keys.
static inline void gguf_bytes_array(gguf_bytes *g, const char *key, uint32_t kind, uint64_t count)
{
    gguf_bytes_key(g, key, 9);
    gguf_bytes_put_u32(&g->keys, kind);
    gguf_bytes_put_u64(&g->keys, count);
}

static inline void gguf_bytes_strings(gguf_bytes *g, const char *key, const char *const *values,
                                      uint64_t count)
{
    gguf_bytes_array(g, key, 8, count);
    for (uint64_t i = 0; i < count; i++)
        gguf_bytes_put_text(&g->keys, values[i], strlen(values[i]));
}

static inline void gguf_bytes_f32s(gguf_bytes *g, const char *key, const float *values,
                                   uint64_t count)
{
    gguf_bytes_array(g, key, 6, count);
    gguf_bytes_put(&g->keys, values, count * sizeof(*values));
}

static inline void gguf_bytes_i32s(gguf_bytes *g, const char *key, const int32_t *values,
                                   uint64_t count)
{
    gguf_bytes_array(g, key, 5, count);
    gguf_bytes_put(&g->keys, values, count * sizeof(*values));
}

static inline void gguf_bytes_pad(gguf_bytes_block *b)
{
    while (b->size % GGUF_BYTES_ALIGNMENT != 0)
        gguf_bytes_put(b, "", 1);
}

// `shape`: ne order, shape[0] contiguous. `type`: ggml's id. `data` NULL, of all tensors or of
// none: the file ends before them, and is made g->hollow bytes longer by who writes it.
static inline void gguf_bytes_tensor(gguf_bytes *g, const char *name, uint32_t type, uint32_t dims,
                                     const uint64_t *shape, const void *data, size_t bytes)
{
    gguf_bytes_put_text(&g->tensors, name, strlen(name));
    gguf_bytes_put_u32(&g->tensors, dims);
    gguf_bytes_put(&g->tensors, shape, dims * sizeof(*shape));
    gguf_bytes_put_u32(&g->tensors, type);
    gguf_bytes_put_u64(&g->tensors, g->payload.size + g->hollow);
    g->tensor_count++;
    if (!data) {
        g->hollow +=
            (bytes + GGUF_BYTES_ALIGNMENT - 1) / GGUF_BYTES_ALIGNMENT * GGUF_BYTES_ALIGNMENT;
        return;
    }
    gguf_bytes_put(&g->payload, data, bytes);
    gguf_bytes_pad(&g->payload);
}

static inline void gguf_bytes_end(gguf_bytes *g)
{
    gguf_bytes_block file = {0};
    gguf_bytes_put(&file, "GGUF", 4);
    gguf_bytes_put_u32(&file, 3);
    gguf_bytes_put_u64(&file, g->tensor_count);
    gguf_bytes_put_u64(&file, g->key_count);
    gguf_bytes_put(&file, g->keys.data, g->keys.size);
    gguf_bytes_put(&file, g->tensors.data, g->tensors.size);
    gguf_bytes_pad(&file);
    gguf_bytes_put(&file, g->payload.data, g->payload.size);
    free(g->data);
    g->data = file.data;
    g->size = file.size;
}

#endif
