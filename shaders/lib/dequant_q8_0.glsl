// SPDX-License-Identifier: MIT
// Q8_0: 4 uvec4 a tile, two rows each; scales: a uvec4 of eight f16 for 8 rows by 32 columns.
#define TILE_GROUP 4u
#define TILE_SCALES 8

void begin_tiles()
{
}

void load_scales(uint rt, uint ct, inout float s[TILE_SCALES])
{
    unpack_scales(scales(rt * (p.k_tiles >> 2) + (ct >> 2)), s);
}

void load_tile(uint rt, uint ct, in float s[TILE_SCALES], out vec4 w[8][2])
{
    uint at = (rt * p.k_tiles + ct) * 4u;
    [[unroll]] for (uint i = 0; i < 4; i++) {
        uvec4 v = quants(at + i);
        w[2 * i][0] = unpack_i8(v.x) * s[2 * i];
        w[2 * i][1] = unpack_i8(v.y) * s[2 * i];
        w[2 * i + 1][0] = unpack_i8(v.z) * s[2 * i + 1];
        w[2 * i + 1][1] = unpack_i8(v.w) * s[2 * i + 1];
    }
}

#ifdef TILE_BLOCKS
void load_block(uint rt, uint ct, uint half_, uint side, out vec4 w[4])
{
    uint at = (rt * p.k_tiles + ct) * 4u + 2u * half_;
    vec4 s = unpack_four(scales_pairs[(rt * (p.k_tiles >> 2) + (ct >> 2)) * 2u + half_]);
    [[unroll]] for (uint i = 0; i < 2; i++) {
        uvec4 v = quants(at + i);
        w[2 * i] = unpack_i8(side == 0u ? v.x : v.y) * s[2 * i];
        w[2 * i + 1] = unpack_i8(side == 0u ? v.z : v.w) * s[2 * i + 1];
    }
}
#endif
