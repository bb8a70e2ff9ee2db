// SPDX-License-Identifier: MIT
#include "quant/tile.h"

#include <string.h>

#define NF4_ZERO_CODE 7u
#define NF4_NESTED_WORD 260u // where the nested absmax start, see dequant_nf4.glsl

static uint32_t tiles(uint32_t count)
{
    return inl_div_up(count, INL_TILE);
}

static uint32_t words_per_tile(inl_format_id id)
{
    switch (id) {
    case INL_FORMAT_F32: return 64;
    case INL_FORMAT_F16:
    case INL_FORMAT_BF16: return 32;
    case INL_FORMAT_Q8_0: return 16;
    default: return 8;
    }
}

// Blocks that padded rows would have too: their scales must decode to something finite.
static uint64_t nf4_blocks(uint32_t rows, uint32_t cols)
{
    return (uint64_t)tiles(rows) * INL_TILE * cols / INL_NF4_BLOCK + 2;
}

static uint64_t nf4_nested(uint32_t rows, uint32_t cols)
{
    return nf4_blocks(rows, cols) / INL_NF4_NESTED_BLOCK + 1;
}

uint64_t inl_tile_quant_bytes(const inl_format *format, uint32_t rows, uint32_t cols)
{
    return 4ull * words_per_tile(format->id) * tiles(rows) * tiles(cols);
}

uint64_t inl_tile_scale_bytes(const inl_format *format, uint32_t rows, uint32_t cols)
{
    switch (format->id) {
    case INL_FORMAT_Q8_0:
    case INL_FORMAT_Q4_0: return 16ull * tiles(rows) * (cols / 32);
    case INL_FORMAT_NF4:
        return inl_round_up(4 * (NF4_NESTED_WORD + nf4_nested(rows, cols)) + nf4_blocks(rows, cols),
                            16);
    default: return 0;
    }
}

static void pack_row_f32(const void *row, uint32_t i, uint32_t cols, uint32_t *quants)
{
    for (uint32_t c = 0; c < cols; c++)
        memcpy(&quants[c / 8 * 64 + i * 8 + c % 8], (const uint8_t *)row + 4ull * c, 4);
}

static void pack_row_16(const void *row, uint32_t i, uint32_t cols, uint32_t *quants)
{
    uint16_t *halves = (uint16_t *)quants; // little-endian, as Vulkan's memory is
    for (uint32_t c = 0; c < cols; c++)
        memcpy(&halves[c / 8 * 64 + i * 8 + c % 8], (const uint8_t *)row + 2ull * c, 2);
}

// Scales: eight f16 of a row tile for each 32 columns.
static void put_scale(uint32_t *scales, uint32_t block, uint32_t i, const uint8_t *half)
{
    memcpy((uint8_t *)scales + 16ull * block + 2 * i, half, 2);
}

static void pack_row_q8_0(const void *row, uint32_t i, uint32_t cols, uint32_t *quants,
                          uint32_t *scales)
{
    const uint8_t *block = row; // f16 scale, 32 x i8
    for (uint32_t b = 0; b < cols / 32; b++, block += 34) {
        put_scale(scales, b, i, block);
        for (uint32_t c = 0; c < 4; c++)
            memcpy(&quants[(b * 4 + c) * 16 + i * 2], block + 2 + 8 * c, 8);
    }
}

// A word holds 8 columns: 0-3 in the low nibbles of its bytes, 4-7 in the high ones.
static uint32_t nibbles(const uint8_t code[8])
{
    uint32_t word = 0;
    for (uint32_t j = 0; j < 4; j++)
        word |= (uint32_t)(code[j] | code[4 + j] << 4) << 8 * j;
    return word;
}

static void pack_row_q4_0(const void *row, uint32_t i, uint32_t cols, uint32_t *quants,
                          uint32_t *scales)
{
    const uint8_t *block = row; // f16 scale, 16 bytes: element j low nibble, j + 16 high nibble
    for (uint32_t b = 0; b < cols / 32; b++, block += 18) {
        put_scale(scales, b, i, block);
        uint8_t codes[32];
        for (uint32_t j = 0; j < 16; j++) {
            codes[j] = block[2 + j] & 15u;
            codes[j + 16] = block[2 + j] >> 4;
        }
        for (uint32_t c = 0; c < 4; c++)
            quants[(b * 4 + c) * 8 + i] = nibbles(codes + 8 * c);
    }
}

void inl_tile_pack(const inl_format *format, const void *data, uint32_t rows, uint32_t cols,
                   uint32_t *quants, uint32_t *scales)
{
    uint64_t row_bytes = (uint64_t)cols / format->block_elements * format->block_bytes;
    uint64_t tile_row_words = (uint64_t)words_per_tile(format->id) * tiles(cols);
    for (uint32_t r = 0; r < rows; r++) {
        const uint8_t *row = (const uint8_t *)data + r * row_bytes;
        uint32_t *q = quants + r / 8 * tile_row_words, i = r % 8;
        uint32_t *s = scales ? scales + 4ull * (r / 8) * (cols / 32) : NULL;
        switch (format->id) {
        case INL_FORMAT_F32: pack_row_f32(row, i, cols, q); break;
        case INL_FORMAT_F16:
        case INL_FORMAT_BF16: pack_row_16(row, i, cols, q); break;
        case INL_FORMAT_Q8_0: pack_row_q8_0(row, i, cols, q, s); break;
        case INL_FORMAT_Q4_0: pack_row_q4_0(row, i, cols, q, s); break;
        default: break;
        }
    }
}

void inl_tile_pack_nf4_quants(const inl_nf4 *nf4, uint32_t row0, uint32_t rows, uint32_t cols,
                              uint32_t *quants)
{
    uint32_t column_tiles = tiles(cols);
    for (uint32_t r = 0; r < tiles(rows) * INL_TILE; r++)
        for (uint32_t ct = 0; ct < column_tiles; ct++) {
            uint8_t codes[8];
            for (uint32_t j = 0; j < 8; j++) {
                uint32_t c = ct * 8 + j;
                bool inside = r < rows && c < cols;
                codes[j] = inside ? nf4->codes[(uint64_t)(row0 + r) * cols + c] : NF4_ZERO_CODE;
            }
            quants[((uint64_t)(r / 8) * column_tiles + ct) * 8 + r % 8] = nibbles(codes);
        }
}

void inl_tile_pack_nf4_scales(const inl_nf4 *nf4, uint32_t rows, uint32_t cols, uint32_t *scales)
{
    uint64_t blocks = inl_round_up(nf4->count, INL_NF4_BLOCK) / INL_NF4_BLOCK;
    uint64_t nested = inl_round_up(blocks, INL_NF4_NESTED_BLOCK) / INL_NF4_NESTED_BLOCK;
    uint32_t room = (uint32_t)nf4_nested(rows, cols);
    memcpy(scales, nf4->nested_map, sizeof(nf4->nested_map));
    memcpy(&scales[256], &nf4->nested_offset, 4);
    scales[257] = room;
    memcpy(&scales[NF4_NESTED_WORD], nf4->nested_absmax, 4 * nested);
    memcpy(&scales[NF4_NESTED_WORD + room], nf4->absmax, blocks);
}
