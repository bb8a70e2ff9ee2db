// SPDX-License-Identifier: MIT
// ggml's first block formats: 32 elements, one f16 scale, then the quants. Encoders round as ggml's
// reference does. They never contract a multiplication and an addition (two statements, and C11
// without extensions), so that the bytes are the same on every machine.
#include "base/half.h"
#include "quant/codec.h"

#include <math.h>

#define BLOCK 32
#define Q8_0_BYTES 34 // f16 d, i8 q[32]: q * d
#define Q4_0_BYTES 18 // f16 d, u8 q[16]: (q - 8) * d; element j in low nibbles, j + 16 in high ones

static float load_scale(const uint8_t *block)
{
    uint16_t half;
    memcpy(&half, block, 2);
    return inl_f16_to_f32(half);
}

static void store_scale(uint8_t *block, float scale)
{
    uint16_t half = inl_f32_to_f16(scale);
    memcpy(block, &half, 2);
}

static uint64_t find_scale(const uint8_t *block, uint64_t count, uint32_t block_bytes)
{
    for (uint64_t b = 0; b < count / BLOCK; b++, block += block_bytes)
        if (!isfinite(load_scale(block)))
            return b;
    return UINT64_MAX;
}

// The element with the largest magnitude, the first of equals; 0 where all are zero or NaN.
static float extreme(const float *in)
{
    float best = 0.0f;
    for (uint32_t j = 0; j < BLOCK; j++)
        if (fabsf(in[j]) > fabsf(best))
            best = in[j];
    return best;
}

static float inverse(float scale)
{
    return scale != 0.0f ? 1.0f / scale : 0.0f;
}

// Inside [low, high] also for NaN and for the infinities a subnormal scale gives.
static float clamp(float x, float low, float high)
{
    return x > low ? (x < high ? x : high) : low;
}

void inl_q8_0_decode(const void *blocks, float *out, uint64_t count)
{
    const uint8_t *block = blocks;
    for (uint64_t b = 0; b < count / BLOCK; b++, block += Q8_0_BYTES, out += BLOCK) {
        float d = load_scale(block);
        for (uint32_t j = 0; j < BLOCK; j++)
            out[j] = (float)(int8_t)block[2 + j] * d;
    }
}

void inl_q8_0_encode(const float *in, void *blocks, uint64_t count)
{
    uint8_t *block = blocks;
    for (uint64_t b = 0; b < count / BLOCK; b++, block += Q8_0_BYTES, in += BLOCK) {
        float d = fabsf(extreme(in)) / 127.0f;
        float id = inverse(d);
        store_scale(block, d);
        for (uint32_t j = 0; j < BLOCK; j++)
            block[2 + j] = (uint8_t)(int8_t)clamp(roundf(in[j] * id), -127.0f, 127.0f);
    }
}

uint64_t inl_q8_0_find_not_finite(const void *blocks, uint64_t count)
{
    return find_scale(blocks, count, Q8_0_BYTES);
}

void inl_q4_0_decode(const void *blocks, float *out, uint64_t count)
{
    const uint8_t *block = blocks;
    for (uint64_t b = 0; b < count / BLOCK; b++, block += Q4_0_BYTES, out += BLOCK) {
        float d = load_scale(block);
        for (uint32_t j = 0; j < BLOCK / 2; j++) {
            out[j] = (float)((block[2 + j] & 15) - 8) * d;
            out[j + BLOCK / 2] = (float)((block[2 + j] >> 4) - 8) * d;
        }
    }
}

static uint8_t q4_0_code(float x, float id)
{
    float scaled = x * id;
    float shifted = scaled + 8.5f;
    return (uint8_t)clamp(shifted, 0.0f, 15.0f);
}

void inl_q4_0_encode(const float *in, void *blocks, uint64_t count)
{
    uint8_t *block = blocks;
    for (uint64_t b = 0; b < count / BLOCK; b++, block += Q4_0_BYTES, in += BLOCK) {
        float d = extreme(in) / -8.0f;
        float id = inverse(d);
        store_scale(block, d);
        for (uint32_t j = 0; j < BLOCK / 2; j++) {
            uint32_t low = q4_0_code(in[j], id), high = q4_0_code(in[j + BLOCK / 2], id);
            block[2 + j] = (uint8_t)(low | high << 4);
        }
    }
}

uint64_t inl_q4_0_find_not_finite(const void *blocks, uint64_t count)
{
    return find_scale(blocks, count, Q4_0_BYTES);
}
