// SPDX-License-Identifier: MIT
// NormalFloat 4 bit with double quantization (arXiv 2305.14314), code for code as bitsandbytes
// makes it: blocks of 64 over the flattened row-major matrix, their absmax quantized to 8 bits with
// the dynamic map in blocks of 256 around the mean.
#ifndef INL_QUANT_NF4_H
#define INL_QUANT_NF4_H

#include "base/env.h"

#define INL_NF4_BLOCK 64
#define INL_NF4_NESTED_BLOCK 256

extern const float inl_nf4_codes[16];

typedef struct inl_nf4 {
    uint64_t count;       // elements
    uint8_t *codes;       // [count], one code a byte, 0..15
    uint8_t *absmax;      // [ceil(count / 64)], index into nested_map
    float *nested_absmax; // [ceil(blocks / 256)]
    float nested_map[256];
    float nested_offset;
} inl_nf4;

// Quantizes `count` floats. On success the caller frees with inl_nf4_free.
inlay_result inl_nf4_encode(const inl_env *env, const float *in, uint64_t count, inl_nf4 *out);
void inl_nf4_free(const inl_env *env, inl_nf4 *nf4);
// code[i] * (map[absmax[i / 64]] * nested_absmax[i / 64 / 256] + offset), in f32.
void inl_nf4_decode(const inl_nf4 *nf4, float *out);
// The absmax of each block, [ceil(count / 64)], in f32.
void inl_nf4_block_absmax(const inl_nf4 *nf4, float *out);
// Fills the 256 sorted values of the signed dynamic map.
void inl_nf4_dynamic_map(float *map);

#endif
