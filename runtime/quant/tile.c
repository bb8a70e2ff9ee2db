// SPDX-License-Identifier: MIT
#include "quant/tile.h"
#include "quant/codec.h"

#include <string.h>

#define NF4_ZERO_CODE 7u // FP4's is 0
#define NF4_NESTED_WORD 260u // where the nested absmax start, see nf4_blocks.glsl

static uint32_t tiles(uint32_t count)
{
    return inl_div_up(count, INL_TILE);
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
    return 8ull * format->tile_bits * tiles(rows) * tiles(cols);
}

static uint64_t scale_bytes_of_8_rows(const inl_format *format, uint32_t cols)
{
    return (uint64_t)format->tile_scale_bytes * (cols / format->block_elements);
}

uint64_t inl_tile_scale_bytes(const inl_format *format, uint32_t rows, uint32_t cols)
{
    uint64_t bytes = tiles(rows) * scale_bytes_of_8_rows(format, cols);
    if (inl_is_nf4(format) && format->tile_scale_bytes > 0)
        bytes = 4 * (NF4_NESTED_WORD + nf4_blocks(rows, cols));
    else if (inl_is_nf4(format))
        bytes = 4 * (NF4_NESTED_WORD + nf4_nested(rows, cols)) + nf4_blocks(rows, cols);
    return inl_round_up(bytes, 16);
}

// Bits [shift, shift + width) of the codes of 8 columns into a tile's plane of `width` bits, where
// a word has 4 / width rows: of each, columns 0-3 lie in its bytes, `width` bits above them 4-7.
static void put_plane(uint32_t *words, uint32_t i, const uint8_t codes[8], uint32_t shift,
                      uint32_t width)
{
    uint32_t rows = 4 / width, mask = (1u << width) - 1, word = 0;
    for (uint32_t j = 0; j < 4; j++) {
        uint32_t low = codes[j] >> shift & mask, high = codes[4 + j] >> shift & mask;
        word |= (low | high << width) << 8 * j;
    }
    words[i / rows] |= word << 2 * width * (i % rows);
}

void inl_tile_put_codes(uint32_t *quants, uint32_t column, uint32_t i, const uint8_t *codes,
                        uint32_t count, uint32_t bits)
{
    uint32_t low = bits < 4 ? 2 : 4, high = bits - low;
    for (uint32_t c = 0; c < count; c += 8) {
        uint32_t tile = (column + c) / 8, odd = tile % 2;
        uint32_t *low_plane = quants + tile * 2 * bits, *high_plane = low_plane + 2 * low;
        if (high == 1) { // which two tiles share
            uint32_t *pair = quants + tile / 2 * 4 * bits;
            low_plane = pair + odd * 2 * low;
            high_plane = pair + 4 * low + odd * 2;
        }
        put_plane(low_plane, i, codes + c, 0, low);
        if (high > 0)
            put_plane(high_plane, i, codes + c, low, high);
    }
}

void inl_tile_pack(const inl_format *format, const void *data, uint32_t rows, uint32_t cols,
                   uint32_t *quants, uint32_t *scales)
{
    uint64_t row_bytes = inl_format_bytes(format, cols);
    uint64_t tile_row_words = 2ull * format->tile_bits * tiles(cols);
    uint64_t scale_words = scale_bytes_of_8_rows(format, cols) / 4;
    for (uint32_t r = 0; r < rows; r++)
        format->pack_row((const uint8_t *)data + r * row_bytes, r % 8, cols,
                         quants + r / 8 * tile_row_words,
                         scales ? scales + r / 8 * scale_words : NULL);
}

void inl_tile_pack_nf4_quants(const inl_nf4 *nf4, uint32_t row0, uint32_t rows, uint32_t cols,
                              uint32_t *quants)
{
    uint32_t column_tiles = tiles(cols);
    uint8_t zero = nf4->fp4 ? 0 : NF4_ZERO_CODE;
    for (uint32_t r = 0; r < tiles(rows) * INL_TILE; r++)
        for (uint32_t ct = 0; ct < column_tiles; ct++) {
            uint8_t codes[8];
            for (uint32_t j = 0; j < 8; j++) {
                uint32_t c = ct * 8 + j;
                bool inside = r < rows && c < cols;
                codes[j] = inside ? nf4->codes[(uint64_t)(row0 + r) * cols + c] : zero;
            }
            uint32_t *tile = quants + ((uint64_t)(r / 8) * column_tiles + ct) * 8;
            put_plane(tile, r % 8, codes, 0, 4);
        }
}

void inl_tile_pack_nf4_scales(const inl_nf4 *nf4, uint32_t rows, uint32_t cols, uint32_t *scales)
{
    uint64_t blocks = inl_round_up(nf4->count, INL_NF4_BLOCK) / INL_NF4_BLOCK;
    uint64_t nested = inl_round_up(blocks, INL_NF4_NESTED_BLOCK) / INL_NF4_NESTED_BLOCK;
    uint32_t room = (uint32_t)nf4_nested(rows, cols);
    if (nf4->plain) {
        memcpy(&scales[NF4_NESTED_WORD], nf4->plain, 4 * blocks);
        return;
    }
    memcpy(scales, nf4->nested_map, sizeof(nf4->nested_map));
    memcpy(&scales[256], &nf4->nested_offset, 4);
    scales[257] = room;
    memcpy(&scales[NF4_NESTED_WORD], nf4->nested_absmax, 4 * nested);
    memcpy(&scales[NF4_NESTED_WORD + room], nf4->absmax, blocks);
}
