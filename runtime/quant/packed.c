// SPDX-License-Identifier: MIT
#include "quant/packed.h"
#include "base/half.h"
#include "quant/codec.h"
#include "quant/tile.h"

#include <math.h>
#include <string.h>

#define SAFE_EXPONENT 250 // MXFP4's, a block's first byte: below it no code overflows

static const int8_t iq4_values[16] = {TABLE_IQ4_VALUES};
static const int8_t mxfp4_values[16] = {TABLE_MXFP4_VALUES};

int32_t inl_packed_value(uint32_t packing, uint8_t code)
{
    switch (PACKING_TABLE(packing)) {
    case TABLE_IQ4: return iq4_values[code];
    case TABLE_MXFP4: return mxfp4_values[code];
    default: return (int32_t)code - (int32_t)PACKING_ZERO(packing);
    }
}

static float scale_of(uint32_t packing, uint16_t bits)
{
    return packing & PACKING_BF16 ? inl_bf16_to_f32(bits) : inl_f16_to_f32(bits);
}

static void read_halves(const inl_packed *p, const uint8_t *in, inl_quant_block *out)
{
    if (p->scale_at >= 0)
        memcpy(&out->scale, in + p->scale_at, 2);
    if (p->offset_at >= 0)
        memcpy(&out->offset, in + p->offset_at, 2);
}

static void take(const inl_packed *p, const uint8_t *in, inl_quant_block *out)
{
    memset(out, 0, sizeof(*out));
    read_halves(p, in, out);
    p->take_apart(in, out);
}

static void decode_block(const inl_format *f, const inl_quant_block *b, float *out)
{
    bool integers = f->packing & PACKING_INTEGERS, offsets = f->packing & PACKING_OFFSETS;
    uint32_t group = 8 * PACKING_GROUP(f->packing);
    float scale = scale_of(f->packing, b->scale), offset = scale_of(f->packing, b->offset);
    for (uint32_t j = 0; j < f->block_elements; j++) {
        float s = integers ? scale * (float)b->scales[j / group] : scale;
        float product = (float)inl_packed_value(f->packing, b->codes[j]) * s;
        float m = integers ? -(offset * (float)b->offsets[j / group]) : offset;
        out[j] = offsets ? product + m : product;
    }
}

void inl_packed_decode(const inl_packed *packed, const void *blocks, float *out, uint64_t count)
{
    const inl_format *f = inl_format_by_id(packed->format);
    const uint8_t *in = blocks;
    inl_quant_block block;
    for (uint64_t at = 0; at < count; at += f->block_elements, in += f->block_bytes) {
        take(packed, in, &block);
        decode_block(f, &block, out + at);
    }
}

static bool is_finite(const inl_format *f, const inl_packed *packed, const uint8_t *in)
{
    inl_quant_block block = {0};
    if (packed->scale_at >= 0) { // whose products are far from f32's end
        read_halves(packed, in, &block);
        return isfinite(scale_of(f->packing, block.scale)) &&
               isfinite(scale_of(f->packing, block.offset));
    }
    float values[INL_MAX_BLOCK];
    if (in[0] < SAFE_EXPONENT)
        return true;
    take(packed, in, &block);
    decode_block(f, &block, values);
    for (uint32_t j = 0; j < f->block_elements; j++)
        if (!isfinite(values[j]))
            return false;
    return true;
}

uint64_t inl_packed_find_not_finite(const inl_packed *packed, const void *blocks, uint64_t count)
{
    const inl_format *f = inl_format_by_id(packed->format);
    const uint8_t *in = blocks;
    for (uint64_t b = 0; b < count / f->block_elements; b++, in += f->block_bytes)
        if (!is_finite(f, packed, in))
            return b;
    return UINT64_MAX;
}

// See shaders/lib/dequant_packed.glsl. `scales` is where those of the 8 rows of the block start.
static void pack_scales(const inl_format *f, const inl_quant_block *b, uint32_t i, uint8_t *scales)
{
    bool integers = f->packing & PACKING_INTEGERS, offsets = f->packing & PACKING_OFFSETS;
    uint32_t kinds = offsets ? 2 : 1;
    uint16_t offset = integers ? b->offset ^ 0x8000u : b->offset; // the device adds it
    memcpy(scales + 2 * i, &b->scale, 2);
    if (offsets)
        memcpy(scales + 16 + 2 * i, &offset, 2);
    uint32_t groups = integers ? f->block_elements / 8 / PACKING_GROUP(f->packing) : 0;
    for (uint32_t g = 0; g < groups; g++) {
        uint8_t *eight = scales + 16 * kinds + 8 * kinds * g;
        eight[i] = (uint8_t)b->scales[g];
        if (offsets)
            eight[8 + i] = (uint8_t)b->offsets[g];
    }
}

void inl_packed_pack_row(const inl_packed *packed, const void *row, uint32_t i, uint32_t cols,
                         uint32_t *quants, uint32_t *scales)
{
    const inl_format *f = inl_format_by_id(packed->format);
    const uint8_t *in = row;
    inl_quant_block block;
    for (uint32_t b = 0; b < cols / f->block_elements; b++, in += f->block_bytes) {
        take(packed, in, &block);
        pack_scales(f, &block, i, (uint8_t *)scales + (uint64_t)b * f->tile_scale_bytes);
        inl_tile_put_codes(quants, b * f->block_elements, i, block.codes, f->block_elements,
                           PACKING_BITS(f->packing));
    }
}

void inl_packed_put(const inl_packed *packed, const inl_quant_block *block, uint8_t *out)
{
    memset(out, 0, inl_format_by_id(packed->format)->block_bytes);
    if (packed->scale_at >= 0)
        memcpy(out + packed->scale_at, &block->scale, 2);
    if (packed->offset_at >= 0)
        memcpy(out + packed->offset_at, &block->offset, 2);
    packed->put_together(block, out);
}
