// SPDX-License-Identifier: MIT
// Codecs of F32, F16 and BF16, whose blocks are one element.
#include "base/half.h"
#include "quant/codec.h"

static uint16_t load_16(const void *blocks, uint64_t i)
{
    uint16_t half;
    memcpy(&half, (const uint8_t *)blocks + 2 * i, 2);
    return half;
}

static void store_16(void *blocks, uint64_t i, uint16_t half)
{
    memcpy((uint8_t *)blocks + 2 * i, &half, 2);
}

void inl_f32_decode(const void *blocks, float *out, uint64_t count)
{
    if (count > 0)
        memcpy(out, blocks, count * 4);
}

void inl_f32_encode(const float *in, void *blocks, uint64_t count)
{
    if (count > 0)
        memcpy(blocks, in, count * 4);
}

uint64_t inl_f32_find_not_finite(const void *blocks, uint64_t count)
{
    for (uint64_t i = 0; i < count; i++) {
        uint32_t bits;
        memcpy(&bits, (const uint8_t *)blocks + 4 * i, 4);
        if ((bits & 0x7f800000u) == 0x7f800000u)
            return i;
    }
    return UINT64_MAX;
}

void inl_f16_decode(const void *blocks, float *out, uint64_t count)
{
    for (uint64_t i = 0; i < count; i++)
        out[i] = inl_f16_to_f32(load_16(blocks, i));
}

void inl_f16_encode(const float *in, void *blocks, uint64_t count)
{
    for (uint64_t i = 0; i < count; i++)
        store_16(blocks, i, inl_f32_to_f16(in[i]));
}

static uint64_t find_exponent_16(const void *blocks, uint64_t count, uint32_t exponent)
{
    for (uint64_t i = 0; i < count; i++)
        if ((load_16(blocks, i) & exponent) == exponent)
            return i;
    return UINT64_MAX;
}

uint64_t inl_f16_find_not_finite(const void *blocks, uint64_t count)
{
    return find_exponent_16(blocks, count, 0x7c00u);
}

void inl_bf16_decode(const void *blocks, float *out, uint64_t count)
{
    for (uint64_t i = 0; i < count; i++)
        out[i] = inl_bf16_to_f32(load_16(blocks, i));
}

void inl_bf16_encode(const float *in, void *blocks, uint64_t count)
{
    for (uint64_t i = 0; i < count; i++)
        store_16(blocks, i, inl_f32_to_bf16(in[i]));
}

uint64_t inl_bf16_find_not_finite(const void *blocks, uint64_t count)
{
    return find_exponent_16(blocks, count, 0x7f80u);
}

void inl_f32_pack_row(const void *row, uint32_t i, uint32_t cols, uint32_t *quants,
                      uint32_t *scales)
{
    (void)scales;
    for (uint32_t c = 0; c < cols; c++)
        memcpy(&quants[c / 8 * 64 + i * 8 + c % 8], (const uint8_t *)row + 4ull * c, 4);
}

void inl_f16_pack_row(const void *row, uint32_t i, uint32_t cols, uint32_t *quants,
                      uint32_t *scales)
{
    (void)scales;
    uint16_t *halves = (uint16_t *)quants; // little-endian, as Vulkan's memory is
    for (uint32_t c = 0; c < cols; c++)
        halves[c / 8 * 64 + i * 8 + c % 8] = load_16(row, c);
}

void inl_bf16_pack_row(const void *row, uint32_t i, uint32_t cols, uint32_t *quants,
                       uint32_t *scales)
{
    inl_f16_pack_row(row, i, cols, quants, scales);
}
