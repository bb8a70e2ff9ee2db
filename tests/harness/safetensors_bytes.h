// SPDX-License-Identifier: MIT
// Safetensors files put together in memory, of any type and with any lie. Header only. Out of
// memory ends the test program.
//
//     safetensors_bytes s = {0};
//     safetensors_bytes_tensor(&s, "a", "BF16", 2, (uint64_t[]){3, 4}, values, 24);
//     safetensors_bytes_end(&s);          // s.data, s.size: the file
//     safetensors_bytes_free(&s);
#ifndef HARNESS_SAFETENSORS_BYTES_H
#define HARNESS_SAFETENSORS_BYTES_H

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct safetensors_bytes {
    uint8_t *data; // the file, after safetensors_bytes_end
    size_t size;
    char *header; // entries, each with a comma before it but the first
    size_t header_size;
    uint8_t *payload;
    size_t payload_size;
} safetensors_bytes;

static inline void *safetensors_bytes_grow(void *block, size_t size)
{
    void *grown = realloc(block, size ? size : 1);
    if (!grown)
        abort();
    return grown;
}

// A file of this header and payload, whatever they say. Adds no padding.
static inline void safetensors_bytes_join(safetensors_bytes *s, const char *header,
                                          size_t header_size, const void *payload, size_t size)
{
    s->size = 8 + header_size + size;
    s->data = safetensors_bytes_grow(s->data, s->size);
    for (size_t i = 0; i < 8; i++)
        s->data[i] = (uint8_t)((uint64_t)header_size >> 8 * i);
    memcpy(s->data + 8, header, header_size);
    if (size > 0)
        memcpy(s->data + 8 + header_size, payload, size);
}

static inline void safetensors_bytes_tensor(safetensors_bytes *s, const char *name,
                                            const char *dtype, uint32_t dims, const uint64_t *shape,
                                            const void *data, size_t bytes)
{
    char sizes[128] = "";
    for (uint32_t i = 0; i < dims; i++)
        snprintf(sizes + strlen(sizes), sizeof(sizes) - strlen(sizes), "%s%llu", i ? "," : "",
                 (unsigned long long)shape[i]);
    size_t room = s->header_size + strlen(name) + strlen(dtype) + 256;
    s->header = safetensors_bytes_grow(s->header, room);
    s->header_size += (size_t)snprintf(
        s->header + s->header_size, room - s->header_size,
        "%s\"%s\":{\"dtype\":\"%s\",\"shape\":[%s],\"data_offsets\":[%zu,%zu]}",
        s->header_size ? "," : "", name, dtype, sizes, s->payload_size, s->payload_size + bytes);
    s->payload = safetensors_bytes_grow(s->payload, s->payload_size + bytes);
    if (bytes > 0)
        memcpy(s->payload + s->payload_size, data, bytes);
    s->payload_size += bytes;
}

static inline void safetensors_bytes_end(safetensors_bytes *s)
{
    size_t size = s->header_size + 2;
    char *header = safetensors_bytes_grow(NULL, size + 1);
    snprintf(header, size + 1, "{%s}", s->header ? s->header : "");
    safetensors_bytes_join(s, header, size, s->payload, s->payload_size);
    free(header);
}

static inline void safetensors_bytes_free(safetensors_bytes *s)
{
    free(s->data);
    free(s->header);
    free(s->payload);
    *s = (safetensors_bytes){0};
}

#endif
