// SPDX-License-Identifier: MIT
// Q4_0: 2 uvec4 a tile, a uint a row: columns 0-3 in the bytes' low nibbles, 4-7 in the high ones;
// scales as in Q8_0.
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
    uint at = (rt * p.k_tiles + ct) * 2u;
    [[unroll]] for (uint i = 0; i < 2; i++) {
        uvec4 v = quants(at + i);
        [[unroll]] for (uint j = 0; j < 4; j++) {
            w[4 * i + j][0] = (unpack_u4(v[j]) - 8.0) * s[4 * i + j];
            w[4 * i + j][1] = (unpack_u4(v[j] >> 4) - 8.0) * s[4 * i + j];
        }
    }
}

#ifdef TILE_BLOCKS
void load_block(uint rt, uint ct, uint half_, uint side, out vec4 w[4])
{
    uvec4 v = quants((rt * p.k_tiles + ct) * 2u + half_) >> 4u * side;
    vec4 s = unpack_four(scales_pairs[(rt * (p.k_tiles >> 2) + (ct >> 2)) * 2u + half_]);
    [[unroll]] for (uint i = 0; i < 4; i++)
        w[i] = (unpack_u4(v[i]) - 8.0) * s[i];
}
#endif
