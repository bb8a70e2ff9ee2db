// SPDX-License-Identifier: MIT
// Formats of 2 to 6 bits under scales, by the word PACKING (packing.h), which is constant when a
// driver compiles this. Codes: for BITS >= 4 a plane of the low four (2 uvec4 a tile, a uint a row:
// columns 0-3 in the bytes' low nibbles, 4-7 in the high ones), else of the low two (1 uvec4, two
// rows a uint), then one of the bits above: two as just said, or one, a uvec4 for a pair of tiles.
// Scales: eight f16 for 8 rows by GROUP tiles, then as many offsets. Of INTEGERS: both for 8 rows
// by 32 tiles, then for each group eight i8, and eight more for the offsets.
#include "packing.h"
layout(constant_id = 9) const uint PACKING_WORD = PACKING(4u, 8u, 0u, 4u, 0u);
const uint BITS = PACKING_BITS(PACKING_WORD);
const uint LOW = BITS < 4u ? 2u : 4u;
const uint HIGH = BITS - LOW;
const uint ZERO = PACKING_ZERO(PACKING_WORD);
const uint TABLE = PACKING_TABLE(PACKING_WORD);
const uint TILE_GROUP = PACKING_GROUP(PACKING_WORD);
const bool OFFSETS = (PACKING_WORD & PACKING_OFFSETS) != 0u;
const bool INTEGERS = (PACKING_WORD & PACKING_INTEGERS) != 0u;
const bool BFLOATS = (PACKING_WORD & PACKING_BF16) != 0u;
const uint KINDS = OFFSETS ? 2u : 1u; // of scales
#define TILE_SCALES 16

const float iq4_values[16] = float[](TABLE_IQ4_VALUES);
const float mxfp4_values[16] = float[](TABLE_MXFP4_VALUES);
#define TABLE16_AT(i) (TABLE == TABLE_MXFP4 ? mxfp4_values[i] : iq4_values[i])
#include "table16.glsl"

void begin_tiles()
{
    if (TABLE != 0u)
        table16_begin();
}

void unpack_eight(uvec4 v, uint first, inout float s[TILE_SCALES])
{
    [[unroll]] for (uint i = 0; i < 4; i++) {
        vec2 pair = BFLOATS ? uintBitsToFloat(uvec2(v[i] << 16, v[i] & 0xffff0000u))
                            : unpackHalf2x16(v[i]);
        s[first + 2 * i] = pair.x;
        s[first + 2 * i + 1] = pair.y;
    }
}

void times_eight(uvec2 v, uint first, inout float s[TILE_SCALES])
{
    [[unroll]] for (uint i = 0; i < 8; i++)
        s[first + i] *= unpack_i8(v[i / 4])[i % 4];
}

void load_scales(uint rt, uint ct, inout float s[TILE_SCALES])
{
    uint group = (ct & 31u) / TILE_GROUP, block = KINDS;
    uint at = rt * (p.k_tiles >> 2) + (ct >> 2);
    if (INTEGERS) {
        block += 16u / TILE_GROUP * KINDS;
        at = rt * (p.k_tiles >> 5) + (ct >> 5);
    }
    at *= block;
    unpack_eight(scales(at), 0, s);
    if (OFFSETS)
        unpack_eight(scales(at + 1), 8, s);
    if (INTEGERS) {
        uvec4 v = scales(at + KINDS + (group * KINDS) / 2u);
        times_eight(OFFSETS || (group & 1u) == 0u ? v.xy : v.zw, 0, s);
        if (OFFSETS)
            times_eight(v.zw, 8, s);
    }
}

// Of the bytes of v.
vec4 decode_codes(uint v)
{
    uvec4 q = uvec4(v, v >> 8, v >> 16, v >> 24) & 255u;
    return TABLE != 0u ? table16_look_up(q) : vec4(ivec4(q) - int(ZERO));
}

void load_tile(uint rt, uint ct, in float s[TILE_SCALES], out vec4 w[8][2])
{
    uint tile = rt * p.k_tiles + ct, odd = tile & 1u;
    uint low_at = HIGH == 1u ? (tile >> 1) * BITS + odd * (LOW / 2u) : (tile * BITS) >> 1;
    uvec4 low[2], high = uvec4(0);
    low[0] = low[1] = quants(low_at);
    if (LOW == 4u)
        low[1] = quants(low_at + 1);
    if (HIGH == 1u) {
        high = quants((tile >> 1) * BITS + LOW);
        high.xy = odd == 1u ? high.zw : high.xy;
    } else if (HIGH == 2u) {
        high = quants(low_at + LOW / 2u);
    }
    const uint low_mask = LOW == 4u ? 0x0f0f0f0fu : 0x03030303u;
    [[unroll]] for (uint i = 0; i < 8; i++) {
        uint v = LOW == 4u ? low[i / 4][i % 4] : low[0][i / 2] >> 4 * (i % 2);
        uint a = v & low_mask, b = v >> LOW & low_mask;
        if (HIGH == 1u) {
            uint h = high[i / 4] >> 2 * (i % 4);
            a |= (h & 0x01010101u) << LOW;
            b |= (h >> 1 & 0x01010101u) << LOW;
        } else if (HIGH == 2u) {
            uint h = high[i / 2] >> 4 * (i % 2);
            a |= (h & 0x03030303u) << LOW;
            b |= (h >> 2 & 0x03030303u) << LOW;
        }
        w[i][0] = decode_codes(a) * s[i];
        w[i][1] = decode_codes(b) * s[i];
        if (OFFSETS) {
            w[i][0] += s[8 + i];
            w[i][1] += s[8 + i];
        }
    }
}

#ifdef TILE_BLOCKS
vec4 four_scales(uint at, uint half_)
{
    uvec2 v = scales_pairs[2 * at + half_];
    return BFLOATS ? uintBitsToFloat(uvec4(v.x << 16, v.x & 0xffff0000u, v.y << 16,
                                           v.y & 0xffff0000u))
                   : unpack_four(v);
}

// Scales of four rows, and their offsets.
void block_scales(uint rt, uint ct, uint half_, out vec4 s, out vec4 offset)
{
    const uint per_block = INTEGERS ? KINDS + 16u / TILE_GROUP * KINDS : KINDS;
    uint at = (INTEGERS ? rt * (p.k_tiles >> 5) + (ct >> 5) : rt * (p.k_tiles >> 2) + (ct >> 2));
    at *= per_block;
    s = four_scales(at, half_);
    offset = OFFSETS ? four_scales(at + 1, half_) : vec4(0.0);
    if (INTEGERS) {
        uint group = 2 * (at + KINDS) + (ct & 31u) / TILE_GROUP * KINDS;
        uvec2 v = scales_pairs[group];
        s *= unpack_i8(half_ == 0u ? v.x : v.y);
        if (OFFSETS) {
            v = scales_pairs[group + 1];
            offset *= unpack_i8(half_ == 0u ? v.x : v.y);
        }
    }
}

void load_block(uint rt, uint ct, uint half_, uint side, out vec4 w[4])
{
    uint tile = rt * p.k_tiles + ct;
    uint low_at = HIGH == 1u ? (tile >> 1) * BITS + (tile & 1u) * (LOW / 2u) : (tile * BITS) >> 1;
    vec4 s, offset;
    block_scales(rt, ct, half_, s, offset);
    uvec4 codes;
    if (LOW == 4u) {
        codes = quants(low_at + half_) >> 4u * side & 0x0f0f0f0fu;
    } else {
        uvec2 v = quants_pairs[2 * low_at + half_] >> 2u * side;
        codes = uvec4(v.x, v.x >> 4, v.y, v.y >> 4) & 0x03030303u;
    }
    if (HIGH == 1u) {
        uvec2 v = quants_pairs[2 * ((tile >> 1) * BITS + LOW) + (tile & 1u)];
        uint h = (half_ == 0u ? v.x : v.y) >> side;
        codes |= (uvec4(h, h >> 2, h >> 4, h >> 6) & 0x01010101u) << LOW;
    } else if (HIGH == 2u) {
        uvec2 v = quants_pairs[2 * (low_at + LOW / 2u) + half_] >> 2u * side;
        codes |= (uvec4(v.x, v.x >> 4, v.y, v.y >> 4) & 0x03030303u) << LOW;
    }
    [[unroll]] for (uint i = 0; i < 4; i++)
        w[i] = decode_codes(codes[i]) * s[i] + (OFFSETS ? offset[i] : 0.0);
}
#endif
