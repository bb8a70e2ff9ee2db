// SPDX-License-Identifier: MIT
// NF4, block 64 over the flattened matrix, double quantization. Codes as in Q4_0's nibbles.
// The scales' words: 0-255 the map as f32, 256 its offset, 257 the count c of nested absmax, from
// 260 those c as f32, from 260 + c the blocks' 8-bit indices into the map, four a word. Blocks run
// over the whole matrix: where NF4_ALIGNED (columns a multiple of 64) a group of 8 tiles has one
// block a row.
#define TILE_GROUP 8u
#define NF4_NESTED 260u

layout(constant_id = 6) const bool NF4_ALIGNED = true;

uint nf4_word(uint i)
{
    return scales(i >> 2)[i & 3u];
}

float nf4_absmax(uint block)
{
    uint nested_count = nf4_word(257u);
    uint code = (nf4_word(NF4_NESTED + nested_count + (block >> 2)) >> (8u * (block & 3u))) & 255u;
    return uintBitsToFloat(nf4_word(code)) * uintBitsToFloat(nf4_word(NF4_NESTED + (block >> 8))) +
           uintBitsToFloat(nf4_word(256u));
}

// The 16 codes by halving: a constant array indexed at run time is slow or spills.
vec4 nf4_value(uvec4 q)
{
    bvec4 b0 = notEqual(q & 1u, uvec4(0)), b1 = notEqual(q & 2u, uvec4(0));
    bvec4 b2 = notEqual(q & 4u, uvec4(0)), b3 = notEqual(q & 8u, uvec4(0));
    vec4 c0 = mix(mix(vec4(-1.0), vec4(-0.6961928009986877), b0),
                  mix(vec4(-0.5250730514526367), vec4(-0.39491748809814453), b0), b1);
    vec4 c1 = mix(mix(vec4(-0.28444138169288635), vec4(-0.18477343022823334), b0),
                  mix(vec4(-0.09105003625154495), vec4(0.0), b0), b1);
    vec4 c2 = mix(mix(vec4(0.07958029955625534), vec4(0.16093020141124725), b0),
                  mix(vec4(0.24611230194568634), vec4(0.33791524171829224), b0), b1);
    vec4 c3 = mix(mix(vec4(0.44070982933044434), vec4(0.5626170039176941), b0),
                  mix(vec4(0.7229568362236023), vec4(1.0), b0), b1);
    return mix(mix(c0, c1, b2), mix(c2, c3, b2), b3);
}

void load_scales(uint rt, uint ct, inout float s[8])
{
    if (NF4_ALIGNED) {
        [[unroll]] for (uint i = 0; i < 8; i++)
            s[i] = nf4_absmax(((p.row0 + rt * 8u + i) * p.cols + ct * 8u) >> 6);
    }
}

vec4 nf4_scaled(uint v, uint row, uint column, float s)
{
    vec4 w = nf4_value(uvec4(v, v >> 8, v >> 16, v >> 24) & 15u);
    if (NF4_ALIGNED)
        return w * s;
    uint first = row * p.cols + column; // the four may lie in two blocks
    float s0 = nf4_absmax(first >> 6), s1 = nf4_absmax((first + 3u) >> 6);
    uvec4 block = (uvec4(first) + uvec4(0, 1, 2, 3)) >> 6;
    return w * mix(vec4(s1), vec4(s0), equal(block, uvec4(first >> 6)));
}

void load_tile(uint rt, uint ct, in float s[8], out vec4 w[8][2])
{
    uint at = (rt * p.k_tiles + ct) * 2u;
    [[unroll]] for (uint i = 0; i < 2; i++) {
        uvec4 v = quants(at + i);
        [[unroll]] for (uint j = 0; j < 4; j++) {
            uint row = p.row0 + rt * 8u + 4u * i + j;
            w[4 * i + j][0] = nf4_scaled(v[j], row, ct * 8u, s[4 * i + j]);
            w[4 * i + j][1] = nf4_scaled(v[j] >> 4, row, ct * 8u + 4u, s[4 * i + j]);
        }
    }
}
