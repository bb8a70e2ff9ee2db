// SPDX-License-Identifier: MIT
// GGUF files put together field by field, so that each field can lie. For the unit tests and the
// fuzzer's seeds.
#ifndef GGUF_BY_HAND_H
#define GGUF_BY_HAND_H

#include "io/gguf.h"

#include <assert.h>
#include <string.h>

typedef struct bytes {
    uint8_t data[2048];
    size_t size;
} bytes;

static inline void put(bytes *b, const void *data, size_t size)
{
    assert(b->size + size <= sizeof(b->data));
    memcpy(b->data + b->size, data, size);
    b->size += size;
}

static inline void put_u8(bytes *b, uint8_t value)
{
    put(b, &value, 1);
}

static inline void put_u32(bytes *b, uint32_t value)
{
    put(b, &value, 4);
}

static inline void put_u64(bytes *b, uint64_t value)
{
    put(b, &value, 8);
}

static inline void put_text(bytes *b, const char *text)
{
    put_u64(b, strlen(text));
    put(b, text, strlen(text));
}

static inline bytes header(uint64_t tensors, uint64_t entries)
{
    bytes b = {.size = 0};
    put(&b, "GGUF", 4);
    put_u32(&b, 3);
    put_u64(&b, tensors);
    put_u64(&b, entries);
    return b;
}

static inline void put_key(bytes *b, const char *key, uint32_t kind)
{
    put_text(b, key);
    put_u32(b, kind);
}

static inline void put_array(bytes *b, const char *key, uint32_t kind, uint64_t count)
{
    put_key(b, key, INL_GGUF_ARRAY);
    put_u32(b, kind);
    put_u64(b, count);
}

static inline void put_tensor(bytes *b, const char *name, uint32_t type, uint64_t ne0,
                              uint64_t offset)
{
    put_text(b, name);
    put_u32(b, 1);
    put_u64(b, ne0);
    put_u32(b, type);
    put_u64(b, offset);
}

static inline void put_data(bytes *b, size_t size)
{
    while (b->size % 32 != 0)
        put_u8(b, 0);
    for (size_t i = 0; i < size; i++)
        put_u8(b, (uint8_t)i);
}

#endif
