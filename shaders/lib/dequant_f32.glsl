// SPDX-License-Identifier: MIT
// F32: 16 uvec4 a tile, rows in turn.
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
    uint at = (rt * p.k_tiles + ct) * 16u;
    [[unroll]] for (uint i = 0; i < 8; i++) {
        w[i][0] = uintBitsToFloat(quants(at + 2 * i));
        w[i][1] = uintBitsToFloat(quants(at + 2 * i + 1));
    }
}

#ifdef TILE_BLOCKS
void load_block(uint rt, uint ct, uint half_, uint side, out vec4 w[4])
{
    uint at = (rt * p.k_tiles + ct) * 16u + 8u * half_ + side;
    [[unroll]] for (uint i = 0; i < 4; i++)
        w[i] = uintBitsToFloat(quants(at + 2 * i));
}
#endif
