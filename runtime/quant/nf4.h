// SPDX-License-Identifier: MIT
// NormalFloat 4 bit with double quantization (arXiv 2305.14314), code for code as bitsandbytes
// makes it: blocks of 64 over the flattened row-major matrix, their absmax quantized to 8 bits with
// the dynamic map in blocks of 256 around the mean.
#ifndef INL_QUANT_NF4_H
#define INL_QUANT_NF4_H

#include "quant/format.h"

#define INL_NF4_BLOCK 64
#define INL_NF4_NESTED_BLOCK 256

extern const float inl_nf4_codes[16], inl_fp4_codes[16];

typedef struct inl_nf4 {
    uint64_t count;       // elements
    uint8_t *codes;       // [count], one code a byte, 0..15
    uint8_t *absmax;      // [ceil(count / 64)], index into nested_map
    float *nested_absmax; // [ceil(blocks / 256)]
    float nested_map[256];
    float nested_offset;
    float *plain; // [ceil(count / 64)] absmax in place of the four above, or NULL
    bool fp4;     // codes stand for inl_fp4_codes
} inl_nf4;

// A 4-bit tensor as bitsandbytes stores it, checked by the caller against the file: the arrays hold
// as much as `count` asks for.
typedef struct inl_bnb4 {
    uint64_t count;
    const uint8_t *packed; // [ceil(count / 2)], element 2k in the high nibble
    bool fp4;
    uint32_t block;        // elements of an absmax: 64, 128, ... 4096
    const float *absmax;   // [ceil(count / block)], or NULL: double-quantized
    const uint8_t *nested; // [ceil(count / block)], index into nested_map
    uint32_t nested_block; // of those under one nested_absmax
    const float *nested_absmax, *nested_map; // [...], [256]
    float nested_offset;
} inl_bnb4;

// The format that holds the tensor's values to the bit.
inl_format_id inl_bnb4_format(const inl_bnb4 *tensor);
// On success the caller frees with inl_nf4_free. UNSUPPORTED: blocks of another size, no log.
inlay_result inl_nf4_read(const inl_env *env, const inl_bnb4 *tensor, inl_nf4 *out);

// Quantizes `count` floats. On success the caller frees with inl_nf4_free.
inlay_result inl_nf4_encode(const inl_env *env, const float *in, uint64_t count, inl_nf4 *out);
// The same of floats that `read` gives piece by piece, [at, at + count) into `out`; `at` is a
// multiple of 256, and `count` too but at the end.
typedef void inl_nf4_reader(const void *user, uint64_t at, uint64_t count, float *out);
inlay_result inl_nf4_encode_from(const inl_env *env, inl_nf4_reader *read, const void *user,
                                 uint64_t count, inl_nf4 *out);
// What is left where the codes are made elsewhere (shaders/encode.comp): quantizes the absmax,
// [ceil(count / 64)], and overwrites them. `out` has no codes. On success the caller frees it.
inlay_result inl_nf4_from_absmax(const inl_env *env, float *absmax, uint64_t count, inl_nf4 *out);
void inl_nf4_free(const inl_env *env, inl_nf4 *nf4);
// code[i] * (map[absmax[i / 64]] * nested_absmax[i / 64 / 256] + offset), or times plain, in f32.
void inl_nf4_decode(const inl_nf4 *nf4, float *out);
// The absmax of each block, [ceil(count / 64)], in f32.
void inl_nf4_block_absmax(const inl_nf4 *nf4, float *out);
// Fills the 256 sorted values of the signed dynamic map.
void inl_nf4_dynamic_map(float *map);

#endif
