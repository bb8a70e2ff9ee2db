// SPDX-License-Identifier: MIT
// Weights lie in tiles of 8 rows by 8 columns, ordered [row tile][column tile], so that a thread
// reads whole tiles with 16-byte loads in both directions of a product. Padding is zero.
// A dequant_<tiling>.glsl defines, over the two planes below:
//     TILE_GROUP: column tiles that share scales
//     TILE_SCALES: how many numbers those are, with offsets, for 8 rows
//     void begin_tiles()  by all threads of a workgroup, before the others
//     void load_scales(uint rt, uint ct, inout float s[TILE_SCALES])  once a group
//     void load_tile(uint rt, uint ct, in float s[TILE_SCALES], out vec4 w[8][2])
//                         w[row][column / 4]
INPUT_UVEC4(0, quants)
INPUT_UVEC4(1, scales)

vec4 unpack_i8(uint v)
{
    return vec4(int(v << 24) >> 24, int(v << 16) >> 24, int(v << 8) >> 24, int(v) >> 24);
}

// The low nibbles of the four bytes.
vec4 unpack_u4(uint v)
{
    return vec4(v & 15u, (v >> 8) & 15u, (v >> 16) & 15u, (v >> 24) & 15u);
}

// Eight f16 scales, one a row.
void unpack_scales(uvec4 v, out float s[8])
{
    [[unroll]] for (uint i = 0; i < 4; i++) {
        vec2 pair = unpackHalf2x16(v[i]);
        s[2 * i] = pair.x;
        s[2 * i + 1] = pair.y;
    }
}
