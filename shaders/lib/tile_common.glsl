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
// With TILE_BLOCKS, where threads of a GPU share a tile:
//     void load_block(uint rt, uint ct, uint half_, uint side, out vec4 w[4])
//                         rows 4 half_ to 4 half_ + 3, columns 4 side to 4 side + 3; w[row]
INPUT_UVEC4(0, quants)
INPUT_UVEC4(1, scales)
#ifdef TILE_BLOCKS
layout(binding = 0) readonly buffer quants_pair_buffer { uvec2 quants_pairs[]; };
layout(binding = 1) readonly buffer scales_pair_buffer { uvec2 scales_pairs[]; };

// Of half of eight f16.
vec4 unpack_four(uvec2 v)
{
    return vec4(unpackHalf2x16(v.x), unpackHalf2x16(v.y));
}
#endif

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
