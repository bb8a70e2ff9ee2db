// SPDX-License-Identifier: MIT
// ggml's formats of 256 elements: integer scales of 16 or 32 elements under an f16. Layouts are
// told by where an element's bits lie.
#include "quant/codec.h"
#include "quant/packed.h"

#include <string.h>

#define BLOCK 256

static uint32_t bits_at(const uint8_t *bytes, uint32_t byte, uint32_t shift, uint32_t width)
{
    return bytes[byte] >> shift & ((1u << width) - 1);
}

static void put_bits(uint8_t *bytes, uint32_t byte, uint32_t shift, uint32_t bits)
{
    bytes[byte] |= (uint8_t)(bits << shift);
}

// Element j of two bits each: 128 elements share 32 bytes, 32 of them two bits of each byte.
static uint32_t two_bits(const uint8_t *bytes, uint32_t j)
{
    return bits_at(bytes, j / 128 * 32 + j % 32, j / 32 % 4 * 2, 2);
}

static void put_two_bits(uint8_t *bytes, uint32_t j, uint32_t code)
{
    put_bits(bytes, j / 128 * 32 + j % 32, j / 32 % 4 * 2, code & 3u);
}

// Element j of four bits each: 64 elements share 32 bytes, the first 32 their low nibbles.
static uint32_t four_bits(const uint8_t *bytes, uint32_t j)
{
    return bits_at(bytes, j / 64 * 32 + j % 32, j / 32 % 2 * 4, 4);
}

static void put_four_bits(uint8_t *bytes, uint32_t j, uint32_t code)
{
    put_bits(bytes, j / 64 * 32 + j % 32, j / 32 % 2 * 4, code & 15u);
}

// u8 scales[16] (offset in the high nibble), u8 q[64], f16 d, f16 dmin
static void q2_k(const uint8_t *in, inl_quant_block *out)
{
    for (uint32_t g = 0; g < 16; g++) {
        out->scales[g] = (int8_t)(in[g] & 15u);
        out->offsets[g] = (int8_t)(in[g] >> 4);
    }
    for (uint32_t j = 0; j < BLOCK; j++)
        out->codes[j] = (uint8_t)two_bits(in + 16, j);
}

static void put_q2_k(const inl_quant_block *in, uint8_t *out)
{
    for (uint32_t g = 0; g < 16; g++)
        out[g] = (uint8_t)(in->scales[g] | in->offsets[g] << 4);
    for (uint32_t j = 0; j < BLOCK; j++)
        put_two_bits(out + 16, j, in->codes[j]);
}

// u8 high[32] (a bit plane: byte j % 32, bit j / 32), u8 q[64], u8 scales[12], f16 d. Scales are of
// six bits less 32: the low four as nibbles of 8 bytes, the high two in the last 4 bytes.
static void q3_k(const uint8_t *in, inl_quant_block *out)
{
    const uint8_t *scales = in + 96;
    for (uint32_t g = 0; g < 16; g++) {
        uint32_t low = bits_at(scales, g % 8, g / 8 * 4, 4);
        uint32_t high = bits_at(scales, 8 + g % 4, g / 4 * 2, 2);
        out->scales[g] = (int8_t)((int32_t)(low | high << 4) - 32);
    }
    for (uint32_t j = 0; j < BLOCK; j++)
        out->codes[j] = (uint8_t)(two_bits(in + 32, j) | bits_at(in, j % 32, j / 32, 1) << 2);
}

static void put_q3_k(const inl_quant_block *in, uint8_t *out)
{
    for (uint32_t g = 0; g < 16; g++) {
        uint32_t scale = (uint32_t)(in->scales[g] + 32);
        put_bits(out + 96, g % 8, g / 8 * 4, scale & 15u);
        put_bits(out + 96, 8 + g % 4, g / 4 * 2, scale >> 4);
    }
    for (uint32_t j = 0; j < BLOCK; j++) {
        put_two_bits(out + 32, j, in->codes[j]);
        put_bits(out, j % 32, j / 32, in->codes[j] >> 2);
    }
}

// Eight pairs of six bits in 12 bytes: the first four whole, of the others the low four bits as
// nibbles and the high two above the first four.
static void six_bit_pairs(const uint8_t *in, inl_quant_block *out)
{
    for (uint32_t g = 0; g < 4; g++) {
        out->scales[g] = (int8_t)(in[g] & 63u);
        out->offsets[g] = (int8_t)(in[4 + g] & 63u);
        out->scales[4 + g] = (int8_t)((in[8 + g] & 15u) | (uint32_t)(in[g] >> 6) << 4);
        out->offsets[4 + g] = (int8_t)(in[8 + g] >> 4 | (uint32_t)(in[4 + g] >> 6) << 4);
    }
}

static void put_six_bit_pairs(const inl_quant_block *in, uint8_t *out)
{
    for (uint32_t g = 0; g < 4; g++) {
        uint32_t scale = (uint32_t)in->scales[4 + g], offset = (uint32_t)in->offsets[4 + g];
        out[g] = (uint8_t)((uint32_t)in->scales[g] | scale >> 4 << 6);
        out[4 + g] = (uint8_t)((uint32_t)in->offsets[g] | offset >> 4 << 6);
        out[8 + g] = (uint8_t)((scale & 15u) | (offset & 15u) << 4);
    }
}

// f16 d, f16 dmin, u8 pairs[12], u8 q[128]
static void q4_k(const uint8_t *in, inl_quant_block *out)
{
    six_bit_pairs(in + 4, out);
    for (uint32_t j = 0; j < BLOCK; j++)
        out->codes[j] = (uint8_t)four_bits(in + 16, j);
}

static void put_q4_k(const inl_quant_block *in, uint8_t *out)
{
    put_six_bit_pairs(in, out + 4);
    for (uint32_t j = 0; j < BLOCK; j++)
        put_four_bits(out + 16, j, in->codes[j]);
}

// As Q4_K, with u8 high[32] (bit j / 32 of byte j % 32) before q.
static void q5_k(const uint8_t *in, inl_quant_block *out)
{
    six_bit_pairs(in + 4, out);
    for (uint32_t j = 0; j < BLOCK; j++)
        out->codes[j] = (uint8_t)(four_bits(in + 48, j) | bits_at(in + 16, j % 32, j / 32, 1) << 4);
}

static void put_q5_k(const inl_quant_block *in, uint8_t *out)
{
    put_six_bit_pairs(in, out + 4);
    for (uint32_t j = 0; j < BLOCK; j++) {
        put_four_bits(out + 48, j, in->codes[j]);
        put_bits(out + 16, j % 32, j / 32, in->codes[j] >> 4);
    }
}

// u8 low[128] (128 elements share 64 bytes, 64 of them a nibble of each), u8 high[64],
// i8 scales[16], f16 d
static void q6_k(const uint8_t *in, inl_quant_block *out)
{
    memcpy(out->scales, in + 192, 16);
    for (uint32_t j = 0; j < BLOCK; j++) {
        uint32_t low = bits_at(in, j / 128 * 64 + j % 64, j / 64 % 2 * 4, 4);
        out->codes[j] = (uint8_t)(low | two_bits(in + 128, j) << 4);
    }
}

static void put_q6_k(const inl_quant_block *in, uint8_t *out)
{
    memcpy(out + 192, in->scales, 16);
    for (uint32_t j = 0; j < BLOCK; j++) {
        put_bits(out, j / 128 * 64 + j % 64, j / 64 % 2 * 4, in->codes[j] & 15u);
        put_two_bits(out + 128, j, in->codes[j] >> 4);
    }
}

// f16 d, u16 the scales' high two bits, u8 their low four [4], u8 q[128] (16 bytes for 32 elements)
static void iq4_xs(const uint8_t *in, inl_quant_block *out)
{
    for (uint32_t g = 0; g < 8; g++) {
        uint32_t low = bits_at(in + 4, g / 2, g % 2 * 4, 4);
        uint32_t high = bits_at(in + 2, g / 4, g % 4 * 2, 2);
        out->scales[g] = (int8_t)((int32_t)(low | high << 4) - 32);
    }
    for (uint32_t j = 0; j < BLOCK; j++)
        out->codes[j] = (uint8_t)bits_at(in + 8, j / 32 * 16 + j % 16, j / 16 % 2 * 4, 4);
}

static void put_iq4_xs(const inl_quant_block *in, uint8_t *out)
{
    for (uint32_t g = 0; g < 8; g++) {
        uint32_t scale = (uint32_t)(in->scales[g] + 32);
        put_bits(out + 4, g / 2, g % 2 * 4, scale & 15u);
        put_bits(out + 2, g / 4, g % 4 * 2, scale >> 4);
    }
    for (uint32_t j = 0; j < BLOCK; j++)
        put_bits(out + 8, j / 32 * 16 + j % 16, j / 16 % 2 * 4, in->codes[j]);
}

INL_PACKED_CODEC_BOTH(q2_k, INL_FORMAT_Q2_K, 80, 82, 15)
INL_PACKED_CODEC_BOTH(q3_k, INL_FORMAT_Q3_K, 108, -1, 31)
INL_PACKED_CODEC_BOTH(q4_k, INL_FORMAT_Q4_K, 0, 2, 63)
INL_PACKED_CODEC_BOTH(q5_k, INL_FORMAT_Q5_K, 0, 2, 63)
INL_PACKED_CODEC_BOTH(q6_k, INL_FORMAT_Q6_K, 208, -1, 127)
INL_PACKED_CODEC_BOTH(iq4_xs, INL_FORMAT_IQ4_XS, 0, -1, 31)
