// SPDX-License-Identifier: MIT
// ggml's first block formats: 32 elements, one f16 scale, then the quants. Encoders round as ggml's
// reference does. They never contract a multiplication and an addition (two statements, and C11
// without extensions), so that the bytes are the same on every machine.
#include "base/half.h"
#include "quant/codec.h"
#include "quant/packed.h"
#include "quant/tile.h"

#include <math.h>

#define BLOCK 32
#define Q8_0_BYTES 34 // f16 d, i8 q[32]: q * d
#define Q4_0_BYTES 18 // f16 d, u8 q[16]: (q - 8) * d; element j in low nibbles, j + 16 in high ones
#define Q4_1_BYTES 20
#define Q5_0_BYTES 22
#define Q5_1_BYTES 24
#define MXFP4_BYTES 17

static const float mxfp4_values[16] = {TABLE_MXFP4_VALUES};

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

// On the device: eight f16 of a row tile for each block.
static void put_scale(uint32_t *scales, uint32_t block, uint32_t i, const uint8_t *half)
{
    memcpy((uint8_t *)scales + 16ull * block + 2 * i, half, 2);
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

void inl_q8_0_pack_row(const void *row, uint32_t i, uint32_t cols, uint32_t *quants,
                       uint32_t *scales)
{
    const uint8_t *block = row;
    for (uint32_t b = 0; b < cols / BLOCK; b++, block += Q8_0_BYTES) {
        put_scale(scales, b, i, block);
        for (uint32_t c = 0; c < 4; c++)
            memcpy(&quants[(b * 4 + c) * 16 + i * 2], block + 2 + 8 * c, 8);
    }
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

uint64_t inl_q4_0_find_not_finite(const void *blocks, uint64_t count)
{
    return find_scale(blocks, count, Q4_0_BYTES);
}

void inl_q4_0_pack_row(const void *row, uint32_t i, uint32_t cols, uint32_t *quants,
                       uint32_t *scales)
{
    const uint8_t *block = row;
    for (uint32_t b = 0; b < cols / BLOCK; b++, block += Q4_0_BYTES) {
        put_scale(scales, b, i, block);
        uint8_t codes[BLOCK];
        for (uint32_t j = 0; j < BLOCK / 2; j++) {
            codes[j] = block[2 + j] & 15u;
            codes[j + BLOCK / 2] = block[2 + j] >> 4;
        }
        inl_tile_put_codes(quants, b * BLOCK, i, codes, BLOCK, 4);
    }
}

// ---- the packed ones

// Element j of 16 bytes: in the low nibbles the first 16.
static uint32_t nibble(const uint8_t *bytes, uint32_t j)
{
    return (uint32_t)bytes[j % 16] >> (j / 16 * 4) & 15u;
}

static uint32_t bit(const uint8_t *bytes, uint32_t j)
{
    return (uint32_t)bytes[j / 8] >> (j % 8) & 1u;
}

static void put_codes(uint8_t *high, uint8_t *low, const uint8_t *codes)
{
    for (uint32_t j = 0; j < 16; j++)
        low[j] = (uint8_t)((codes[j] & 15u) | (uint32_t)codes[j + 16] << 4);
    if (high)
        memset(high, 0, 4);
    for (uint32_t j = 0; high && j < BLOCK; j++)
        high[j / 8] |= (uint8_t)((uint32_t)codes[j] >> 4 << j % 8);
}

// f16 d, f16 m, u8 q[16]: q * d + m
static void q4_1(const uint8_t *in, inl_quant_block *out)
{
    for (uint32_t j = 0; j < BLOCK; j++)
        out->codes[j] = (uint8_t)nibble(in + 4, j);
}

// f16 d, u8 high[4], u8 q[16]: (q - 16) * d
static void q5_0(const uint8_t *in, inl_quant_block *out)
{
    for (uint32_t j = 0; j < BLOCK; j++)
        out->codes[j] = (uint8_t)(nibble(in + 6, j) | bit(in + 2, j) << 4);
}

// f16 d, f16 m, u8 high[4], u8 q[16]: q * d + m
static void q5_1(const uint8_t *in, inl_quant_block *out)
{
    for (uint32_t j = 0; j < BLOCK; j++)
        out->codes[j] = (uint8_t)(nibble(in + 8, j) | bit(in + 4, j) << 4);
}

// f16 d, u8 q[16]: table[q] * d
static void iq4_nl(const uint8_t *in, inl_quant_block *out)
{
    for (uint32_t j = 0; j < BLOCK; j++)
        out->codes[j] = (uint8_t)nibble(in + 2, j);
}

static void put_iq4_nl(const inl_quant_block *in, uint8_t *out)
{
    put_codes(NULL, out + 2, in->codes);
}

// u8 e, u8 q[16]: table[q] * 2^(e - 128), the table being twice that of the standard. As BF16 the
// power's exponent is e - 1; below the least normal number its one bit lies in the fraction.
static void mxfp4(const uint8_t *in, inl_quant_block *out)
{
    out->scale = (uint16_t)(in[0] < 2 ? 0x20u << in[0] : (in[0] - 1u) << 7);
    for (uint32_t j = 0; j < BLOCK; j++)
        out->codes[j] = (uint8_t)nibble(in + 1, j);
}

INL_PACKED_CODEC(q4_1, INL_FORMAT_Q4_1, 0, 2)
INL_PACKED_CODEC(q5_0, INL_FORMAT_Q5_0, 0, -1)
INL_PACKED_CODEC(q5_1, INL_FORMAT_Q5_1, 0, 2)
INL_PACKED_CODEC_BOTH(iq4_nl, INL_FORMAT_IQ4_NL, 0, -1, 0)
INL_PACKED_CODEC(mxfp4, INL_FORMAT_MXFP4, -1, -1)

// The extreme becomes code 0; `levels` is half of the codes there are.
static void symmetric_codes(const float *in, float levels, uint8_t *block, uint8_t *codes)
{
    float d = extreme(in) / -levels;
    float id = inverse(d);
    store_scale(block, d);
    for (uint32_t j = 0; j < BLOCK; j++) {
        float scaled = in[j] * id;
        float shifted = scaled + (levels + 0.5f);
        codes[j] = (uint8_t)clamp(shifted, 0.0f, 2.0f * levels - 1.0f);
    }
}

// From the least to the largest value in `steps` steps.
static void affine_codes(const float *in, float steps, uint8_t *block, uint8_t *codes)
{
    float least = in[0], most = in[0];
    for (uint32_t j = 1; j < BLOCK; j++) {
        least = in[j] < least ? in[j] : least;
        most = in[j] > most ? in[j] : most;
    }
    float d = (most - least) / steps;
    float id = inverse(d);
    store_scale(block, d);
    store_scale(block + 2, least);
    for (uint32_t j = 0; j < BLOCK; j++) {
        float scaled = (in[j] - least) * id;
        float shifted = scaled + 0.5f;
        codes[j] = (uint8_t)clamp(shifted, 0.0f, steps);
    }
}

void inl_q4_0_encode(const float *in, void *blocks, uint64_t count)
{
    uint8_t *block = blocks, codes[BLOCK];
    for (uint64_t b = 0; b < count / BLOCK; b++, block += Q4_0_BYTES, in += BLOCK) {
        symmetric_codes(in, 8.0f, block, codes);
        put_codes(NULL, block + 2, codes);
    }
}

void inl_q4_1_encode(const float *in, void *blocks, uint64_t count)
{
    uint8_t *block = blocks, codes[BLOCK];
    for (uint64_t b = 0; b < count / BLOCK; b++, block += Q4_1_BYTES, in += BLOCK) {
        affine_codes(in, 15.0f, block, codes);
        put_codes(NULL, block + 4, codes);
    }
}

void inl_q5_0_encode(const float *in, void *blocks, uint64_t count)
{
    uint8_t *block = blocks, codes[BLOCK];
    for (uint64_t b = 0; b < count / BLOCK; b++, block += Q5_0_BYTES, in += BLOCK) {
        symmetric_codes(in, 16.0f, block, codes);
        put_codes(block + 2, block + 6, codes);
    }
}

void inl_q5_1_encode(const float *in, void *blocks, uint64_t count)
{
    uint8_t *block = blocks, codes[BLOCK];
    for (uint64_t b = 0; b < count / BLOCK; b++, block += Q5_1_BYTES, in += BLOCK) {
        affine_codes(in, 31.0f, block, codes);
        put_codes(block + 4, block + 8, codes);
    }
}

// The power that brings the extreme below 8, of codes that reach 6 (twice that in the table).
static uint8_t mxfp4_exponent(float extreme)
{
    int exponent;
    if (!(fabsf(extreme) > 0.0f) || !isfinite(extreme))
        return 0;
    frexpf(extreme, &exponent); // |extreme| in [2^(exponent - 1), 2^exponent)
    return (uint8_t)INL_MAX(exponent - 3 + 127, 0);
}

void inl_mxfp4_encode(const float *in, void *blocks, uint64_t count)
{
    uint8_t *block = blocks, codes[BLOCK];
    for (uint64_t b = 0; b < count / BLOCK; b++, block += MXFP4_BYTES, in += BLOCK) {
        block[0] = mxfp4_exponent(extreme(in));
        float d = ldexpf(1.0f, block[0] - 128);
        for (uint32_t j = 0; j < BLOCK; j++) {
            uint8_t best = 0;
            for (uint8_t code = 1; code < 16; code++)
                if (fabsf(d * mxfp4_values[code] - in[j]) < fabsf(d * mxfp4_values[best] - in[j]))
                    best = code;
            codes[j] = best;
        }
        put_codes(NULL, block + 1, codes);
    }
}
