// SPDX-License-Identifier: MIT
// The table of weight formats: one row each. A format is a row here, a codec (float.c, legacy.c,
// nf4.c), and shaders/lib/dequant_<name>.glsl.
#ifndef INL_QUANT_FORMAT_H
#define INL_QUANT_FORMAT_H

#include "base/env.h"

typedef enum inl_format_id {
    INL_FORMAT_F32,
    INL_FORMAT_F16,
    INL_FORMAT_BF16,
    INL_FORMAT_Q8_0,
    INL_FORMAT_Q4_0,
    INL_FORMAT_NF4, // made at load, in no GGUF file
    INL_FORMAT_COUNT,
} inl_format_id;

#define INL_GGML_TYPE_NONE UINT32_MAX

typedef struct inl_format {
    inl_format_id id;
    const char *name;         // "Q8_0"
    const char *shader;       // "q8_0": lib/dequant_q8_0.glsl
    uint32_t ggml_type;       // id in GGUF files, or INL_GGML_TYPE_NONE
    uint32_t block_elements;  // 1, 32, 64
    uint32_t block_bytes;     // as in files; 0 for NF4, which has no block of its own (nf4.h)
    // `count` is a multiple of block_elements. Bit-exact to ggml's reference. NULL for NF4.
    void (*decode)(const void *blocks, float *out, uint64_t count);
    void (*encode)(const float *in, void *blocks, uint64_t count);
    // Index of the first block whose scale (or element, for float types) is NaN or infinite, or
    // UINT64_MAX.
    uint64_t (*find_not_finite)(const void *blocks, uint64_t count);
} inl_format;

const inl_format *inl_format_by_id(inl_format_id id);
const inl_format *inl_format_by_ggml(uint32_t ggml_type);  // NULL: not supported
const inl_format *inl_format_by_name(const char *name);    // case ignored; NULL: unknown
// ggml's own name of a type id for messages, also of types inlay cannot read; NULL: no such type.
// *block_elements and *block_bytes may be NULL.
const char *inl_ggml_type_info(uint32_t type, uint32_t *block_elements, uint32_t *block_bytes);

#endif
