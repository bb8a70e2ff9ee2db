// SPDX-License-Identifier: MIT
// Metadata entries as they stand in the file, for a writer that passes them on.
#include "io/gguf_file.h"

#include <string.h>

static uint64_t string_bytes(const uint8_t *value)
{
    uint64_t size;
    memcpy(&size, value, 8);
    return size;
}

static uint64_t value_bytes(const inl_gguf_entry *e)
{
    if (e->kind != INL_GGUF_STRING)
        return e->count * inl_gguf_kind_bytes[e->kind];
    uint64_t size = 0;
    for (uint64_t i = 0; i < e->count; i++)
        size += 8 + string_bytes(e->value + size);
    return size;
}

uint32_t inl_gguf_entry_count(const inl_gguf *gguf)
{
    return gguf->entry_count;
}

inl_slice inl_gguf_entry_at(const inl_gguf *gguf, uint32_t index, inl_slice *key)
{
    const inl_gguf_entry *e = &gguf->entries[index];
    const char *start = e->key.data - 8; // the key's length
    *key = e->key;
    return (inl_slice){start, (uint64_t)((const char *)e->value - start) + value_bytes(e)};
}
