// SPDX-License-Identifier: MIT
// The safetensors format: a bounded JSON header over a memory map, and a writer of f32 tensors.
// Layout and rules: the format's README (header of at most 100 MB, no holes, no overlap,
// little-endian).
#ifndef INL_IO_SAFETENSORS_H
#define INL_IO_SAFETENSORS_H

#include "base/file.h"

typedef struct inl_safetensor {
    char *name;
    char dtype[12]; // "F32", "BF16", ...
    uint32_t dims;
    uint64_t shape[8];
    const uint8_t *data; // into the map
    uint64_t bytes;
} inl_safetensor;

typedef struct inl_safetensors inl_safetensors;

inlay_result inl_safetensors_open(const inl_env *env, const char *path, inl_safetensors **out);
inlay_result inl_safetensors_open_memory(const inl_env *env, const char *name, const uint8_t *data,
                                         uint64_t size, inl_safetensors **out);
void inl_safetensors_close(inl_safetensors **file);
const char *inl_safetensors_path(const inl_safetensors *file);
uint64_t inl_safetensors_file_bytes(const inl_safetensors *file);
uint32_t inl_safetensors_count(const inl_safetensors *file);
const inl_safetensor *inl_safetensors_at(const inl_safetensors *file, uint32_t index);
const inl_safetensor *inl_safetensors_find(const inl_safetensors *file, const char *name);
// Gives each tensor the name that `rename` makes of its own (allocated, NULL: out of memory).
// BAD_FILE where two would be called the same.
typedef char *inl_safetensors_namer(const inl_env *env, const char *name);
inlay_result inl_safetensors_rename(inl_safetensors *file, inl_safetensors_namer *rename);
// Copies an F32, F16 or BF16 tensor of `count` elements as f32; UNSUPPORTED for other types.
inlay_result inl_safetensors_read_f32(const inl_safetensors *file, const inl_safetensor *tensor,
                                      float *out, uint64_t count);

typedef struct inl_safetensor_out {
    const char *name;
    uint32_t dims;
    uint64_t shape[8];
    const void *data; // NULL: it comes when the file is written
} inl_safetensor_out;

// Tensors of `dtypes` (NULL: all F32). `put` writes the bytes of those that have no data, in order.
// Whole or not at all.
typedef inlay_result inl_safetensors_put(void *user, uint32_t tensor, inl_writer *file);
inlay_result inl_safetensors_stream(const inl_env *env, const char *path,
                                    const inl_safetensor_out *tensors, const char *const *dtypes,
                                    uint32_t count, inl_safetensors_put *put, void *user);
// Writes F32 tensors in the given order, whole or not at all.
inlay_result inl_safetensors_write(const inl_env *env, const char *path,
                                   const inl_safetensor_out *tensors, uint32_t count);

#endif
