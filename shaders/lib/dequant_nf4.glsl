// SPDX-License-Identifier: MIT
// NF4, for matrices whose columns are a multiple of its blocks of 64: 2 uvec4 a tile, codes as
// Q4_0's nibbles. Scales: two vec4 for 8 rows by 64 columns, made of the stored ones by
// nf4_scales.comp.
#include "nf4_codes.glsl"

#define TILE_GROUP 8u
#define TILE_SCALES 8

void begin_tiles()
{
    table16_begin();
}

void load_scales(uint rt, uint ct, inout float s[TILE_SCALES])
{
    uint at = (rt * (p.k_tiles >> 3) + (ct >> 3)) * 2u;
    vec4 a = uintBitsToFloat(scales(at)), b = uintBitsToFloat(scales(at + 1));
    [[unroll]] for (uint i = 0; i < 4; i++) {
        s[i] = a[i];
        s[4 + i] = b[i];
    }
}

void load_tile(uint rt, uint ct, in float s[TILE_SCALES], out vec4 w[8][2])
{
    uint at = (rt * p.k_tiles + ct) * 2u;
    [[unroll]] for (uint i = 0; i < 2; i++) {
        uvec4 v = quants(at + i);
        [[unroll]] for (uint j = 0; j < 4; j++) {
            w[4 * i + j][0] = table16_values(v[j]) * s[4 * i + j];
            w[4 * i + j][1] = table16_values(v[j] >> 4) * s[4 * i + j];
        }
    }
}

#ifdef TILE_BLOCKS
void load_block(uint rt, uint ct, uint half_, uint side, out vec4 w[4])
{
    uvec4 v = quants((rt * p.k_tiles + ct) * 2u + half_) >> 4u * side;
    vec4 s = uintBitsToFloat(scales((rt * (p.k_tiles >> 3) + (ct >> 3)) * 2u + half_));
    [[unroll]] for (uint i = 0; i < 4; i++)
        w[i] = table16_values(v[i]) * s[i];
}
#endif
