// SPDX-License-Identifier: MIT
// Blocks of codes of 2 to 6 bits under scales, taken apart: what the formats have in common. From
// this they are decoded, packed into tiles and searched for numbers that are not finite.
#ifndef INL_QUANT_PACKED_H
#define INL_QUANT_PACKED_H

#include "quant/format.h"

#include "../../shaders/lib/packing.h"

// Element j has value v = table[codes[j]] or codes[j] - ZERO, and is v * scale + offset; of
// INTEGERS v * (scale * scales[g]) - offset * offsets[g], with g = j / (8 GROUP). Products are
// exact in f32.
typedef struct inl_quant_block {
    uint16_t scale, offset; // f16, or BF16
    int8_t scales[16], offsets[16];
    uint8_t codes[INL_MAX_BLOCK];
} inl_quant_block;

// A packed format's functions of a row of format.c, from what its blocks are.
typedef struct inl_packed {
    inl_format_id format;
    int32_t scale_at, offset_at; // bytes of a block where those are, as f16; -1: take_apart's
    // `in` is unaligned; `out` is zero but for the two above.
    void (*take_apart)(const uint8_t *in, inl_quant_block *out);
    // The inverse; `out` is zero but for the two above. NULL: inl_packed_encode is not used.
    void (*put_together)(const inl_quant_block *in, uint8_t *out);
    int32_t most; // of INTEGERS: what they reach, from 0, or from -most - 1 where none are offsets
} inl_packed;

int32_t inl_packed_value(uint32_t packing, uint8_t code); // table[code] or code - ZERO
void inl_packed_decode(const inl_packed *packed, const void *blocks, float *out, uint64_t count);
uint64_t inl_packed_find_not_finite(const inl_packed *packed, const void *blocks, uint64_t count);
void inl_packed_pack_row(const inl_packed *packed, const void *row, uint32_t i, uint32_t cols,
                         uint32_t *quants, uint32_t *scales);
void inl_packed_put(const inl_packed *packed, const inl_quant_block *block, uint8_t *out);
// encode.c: the format has offsets of integers, or none.
void inl_packed_encode(const inl_packed *packed, const float *in, void *blocks, uint64_t count);

// Defines them, from a static take_apart named `name`; with put_name also the encoder.
#define INL_PACKED_CODEC(name, id, scale_at, offset_at)                                            \
    static const inl_packed name##_packed = {id, scale_at, offset_at, name, NULL, 0};              \
    INL_PACKED_DECODER(name)
#define INL_PACKED_CODEC_BOTH(name, id, scale_at, offset_at, most)                                 \
    static const inl_packed name##_packed = {id, scale_at, offset_at, name, put_##name, most};     \
    INL_PACKED_DECODER(name)                                                                       \
    void inl_##name##_encode(const float *in, void *blocks, uint64_t count)                        \
    {                                                                                              \
        inl_packed_encode(&name##_packed, in, blocks, count);                                      \
    }
#define INL_PACKED_DECODER(name)                                                                   \
    void inl_##name##_decode(const void *blocks, float *out, uint64_t count)                       \
    {                                                                                              \
        inl_packed_decode(&name##_packed, blocks, out, count);                                     \
    }                                                                                              \
    uint64_t inl_##name##_find_not_finite(const void *blocks, uint64_t count)                      \
    {                                                                                              \
        return inl_packed_find_not_finite(&name##_packed, blocks, count);                          \
    }                                                                                              \
    void inl_##name##_pack_row(const void *row, uint32_t i, uint32_t cols, uint32_t *quants,       \
                               uint32_t *scales)                                                   \
    {                                                                                              \
        inl_packed_pack_row(&name##_packed, row, i, cols, quants, scales);                         \
    }

#endif
