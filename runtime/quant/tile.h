// SPDX-License-Identifier: MIT
// Repacking a weight matrix for the device: 8 x 8 tiles in [row tile][column tile] order, quants in
// one plane of dwords and scales in another, padded with values that decode to zero. The layouts
// are described in shaders/lib/dequant_<tiling>.glsl, which reads them.
#ifndef INL_QUANT_TILE_H
#define INL_QUANT_TILE_H

#include "quant/format.h"
#include "quant/nf4.h"

#define INL_TILE 8

// Bytes of the planes for [rows, cols]. Scales may be 0.
uint64_t inl_tile_quant_bytes(const inl_format *format, uint32_t rows, uint32_t cols);
uint64_t inl_tile_scale_bytes(const inl_format *format, uint32_t rows, uint32_t cols);

// Packs `rows` rows as they lie in a file. `quants` and `scales` have room for the bytes above and
// are zeroed by the caller. Not for NF4.
void inl_tile_pack(const inl_format *format, const void *data, uint32_t rows, uint32_t cols,
                   uint32_t *quants, uint32_t *scales);

// NF4: quants for rows [row0, row0 + rows) of the [all, cols] matrix; scales once for all of it.
void inl_tile_pack_nf4_quants(const inl_nf4 *nf4, uint32_t row0, uint32_t rows, uint32_t cols,
                              uint32_t *quants);
void inl_tile_pack_nf4_scales(const inl_nf4 *nf4, uint32_t rows, uint32_t cols, uint32_t *scales);

// For a format's pack_row: places the codes of columns [column, column + count), multiples of 8, of
// row `i` of 8. Tiles hold codes of 4, 2 and 1 bits in planes, see shaders/lib/dequant_packed.glsl.
void inl_tile_put_codes(uint32_t *quants, uint32_t column, uint32_t i, const uint8_t *codes,
                        uint32_t count, uint32_t bits);

#endif
