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
