// SPDX-License-Identifier: MIT
// BF16: 8 uvec4 a tile, a row each; the upper half of an f32.
#define TILE_GROUP 1u
#define TILE_SCALES 1

void begin_tiles()
{
}

void load_scales(uint rt, uint ct, inout float s[TILE_SCALES])
{
}

void load_tile(uint rt, uint ct, in float s[TILE_SCALES], out vec4 w[8][2])
{
    uint at = (rt * p.k_tiles + ct) * 8u;
    [[unroll]] for (uint i = 0; i < 8; i++) {
        uvec4 v = quants(at + i);
        uvec4 low = v << 16, high = v & 0xffff0000u;
        w[i][0] = uintBitsToFloat(uvec4(low.x, high.x, low.y, high.y));
        w[i][1] = uintBitsToFloat(uvec4(low.z, high.z, low.w, high.w));
    }
}

#ifdef TILE_BLOCKS
void load_block(uint rt, uint ct, uint half_, uint side, out vec4 w[4])
{
    uint at = (rt * p.k_tiles + ct) * 16u + 8u * half_ + side;
    [[unroll]] for (uint i = 0; i < 4; i++) {
        uvec2 v = quants_pairs[at + 2 * i], low = v << 16, high = v & 0xffff0000u;
        w[i] = uintBitsToFloat(uvec4(low.x, high.x, low.y, high.y));
    }
}
#endif
