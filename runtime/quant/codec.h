// SPDX-License-Identifier: MIT
// The codecs behind the rows of format.c. `blocks` need no alignment: they lie in files.
#ifndef INL_QUANT_CODEC_H
#define INL_QUANT_CODEC_H

#include <stdint.h>

// float.c
void inl_f32_decode(const void *blocks, float *out, uint64_t count);
void inl_f32_encode(const float *in, void *blocks, uint64_t count);
uint64_t inl_f32_find_not_finite(const void *blocks, uint64_t count);
void inl_f16_decode(const void *blocks, float *out, uint64_t count);
void inl_f16_encode(const float *in, void *blocks, uint64_t count);
uint64_t inl_f16_find_not_finite(const void *blocks, uint64_t count);
void inl_bf16_decode(const void *blocks, float *out, uint64_t count);
void inl_bf16_encode(const float *in, void *blocks, uint64_t count);
uint64_t inl_bf16_find_not_finite(const void *blocks, uint64_t count);

// legacy.c
void inl_q8_0_decode(const void *blocks, float *out, uint64_t count);
void inl_q8_0_encode(const float *in, void *blocks, uint64_t count);
uint64_t inl_q8_0_find_not_finite(const void *blocks, uint64_t count);
void inl_q4_0_decode(const void *blocks, float *out, uint64_t count);
void inl_q4_0_encode(const float *in, void *blocks, uint64_t count);
uint64_t inl_q4_0_find_not_finite(const void *blocks, uint64_t count);

#endif
