// SPDX-License-Identifier: MIT
// Puts rows of W, as they lie in files, into a format's planes (quant/tile.h), with the bits that
// the CPU's encoders give (runtime/quant/legacy.c, nf4.c):
//     Q8_0: d = max |w| / 127, code = w / d rounded, halves away from 0; blocks of 32
//     Q4_0: d = w of the largest magnitude / -8, code = floor(w / d + 8.5), at most 15
//     NF4: code = how many of the values' middles are below w / absmax; blocks of 64 over the
//          flattened matrix. Where they do not lie in rows, absmax come first, in their own pass
// A thread makes two rows of a block of 32 (so that their f16 scales are a word), or a block of NF4
// (NF4_ROWS), or of one that lies anywhere an absmax (NF4_ABSMAX), then 8 codes in a row (NF4_ANY).
#version 450
#extension GL_GOOGLE_include_directive : require
#extension GL_EXT_control_flow_attributes : require
#include "lib/inputs.glsl"
#include "lib/params.h"
#include "lib/exact.glsl"

layout(local_size_x_id = 0) in;
layout(constant_id = 0) const uint LANES = 64;
layout(constant_id = 1) const uint TARGET = ENCODE_Q8_0;
layout(constant_id = 2) const uint SOURCE = ENCODE_F32;
layout(push_constant) uniform Push { push_encode p; };
INPUT_UVEC4(0, source)
layout(binding = 1) writeonly buffer Quants { uint quants[]; };
// NF4: of each block absmax and 1 / absmax, [blocks, 2]
layout(binding = 2) buffer Scales { uint scales[]; };

#include "lib/linear.glsl"

// Elements 8 i to 8 i + 7.
void eight(uint i, out vec4 v[2])
{
    if (SOURCE == ENCODE_F32) {
        v[0] = uintBitsToFloat(source(2u * i));
        v[1] = uintBitsToFloat(source(2u * i + 1u));
        return;
    }
    uvec4 words = source(i), low = words & 0xffffu, high = words >> 16;
    uvec4 a = uvec4(low.x, high.x, low.y, high.y), b = uvec4(low.z, high.z, low.w, high.w);
    v[0] = SOURCE == ENCODE_F16 ? exact_from_halves(a) : uintBitsToFloat(a << 16);
    v[1] = SOURCE == ENCODE_F16 ? exact_from_halves(b) : uintBitsToFloat(b << 16);
}

// ---- blocks of 32

// The bits of the one of the largest magnitude, the first of equals; 0 where all are zero.
uint extreme_of(vec4 v[2], uint extreme)
{
    [[unroll]] for (uint j = 0; j < 8; j++) {
        uint bits = floatBitsToUint(v[j / 4][j % 4]);
        extreme = (bits & 0x7fffffffu) > (extreme & 0x7fffffffu) ? bits : extreme;
    }
    return extreme;
}

float scale_of(uint extreme)
{
    uint magnitude = extreme & 0x7fffffffu;
    if (TARGET == ENCODE_Q8_0)
        return exact_divide(uintBitsToFloat(magnitude), 127.0);
    uint sign = ~extreme & 0x80000000u; // a zero is divided by -8 too
    return uintBitsToFloat(sign | (magnitude < 0x02000000u ? 0u : magnitude - 0x01800000u));
}

uvec4 codes_of(vec4 v, float inverse)
{
    precise vec4 scaled = v * inverse;
    if (TARGET == ENCODE_Q8_0) {
        vec4 whole = trunc(scaled);
        vec4 rest = abs(scaled - whole); // exact
        whole += mix(vec4(0.0), sign(scaled), greaterThanEqual(rest, vec4(0.5)));
        return uvec4(ivec4(clamp(whole, -127.0, 127.0))) & 255u;
    }
    precise vec4 shifted = scaled + 8.5;
    return uvec4(clamp(shifted, 0.0, 15.0));
}

uint bytes_of(uvec4 c)
{
    return c.x | c.y << 8 | c.z << 16 | c.w << 24;
}

// Returns the block's scale, f16's bits.
uint encode_block(uint row, uint block)
{
    vec4 v[4][2];
    uint extreme = 0;
    bool inside = row < p.rows; // else it pads
    [[unroll]] for (uint i = 0; i < 4; i++) {
        v[i][0] = v[i][1] = vec4(0.0);
        if (inside)
            eight(row * p.k_tiles + block * 4u + i, v[i]);
        extreme = extreme_of(v[i], extreme);
    }
    float scale = scale_of(extreme);
    float inverse = exact_divide(1.0, scale);
    inverse = scale < 0.0 ? -inverse : inverse;
    uint tile = row / 8u * p.k_tiles + block * 4u;
    [[unroll]] for (uint i = 0; i < 4; i++) {
        uint a = bytes_of(codes_of(v[i][0], inverse)), b = bytes_of(codes_of(v[i][1], inverse));
        if (TARGET == ENCODE_Q8_0) {
            uint at = p.quants_at + (tile + i) * 16u + row % 8u * 2u;
            quants[at] = inside ? a : 0u;
            quants[at + 1] = inside ? b : 0u;
        } else {
            quants[p.quants_at + (tile + i) * 8u + row % 8u] = inside ? a | b << 4 : 0u;
        }
    }
    return inside ? exact_half(scale) : 0u;
}

void encode_two_rows(uint i)
{
    uint blocks = p.k_tiles / 4u, block = i % blocks, row = i / blocks * 2u;
    uint low = encode_block(row, block), high = encode_block(row + 1u, block);
    scales[p.scales_at + (row / 8u * blocks + block) * 4u + row % 8u / 2u] = low | high << 16;
}

// ---- NF4

uint largest_of(vec4 v[2], uint first, uint count)
{
    uint largest = 0;
    [[unroll]] for (uint j = 0; j < 8; j++) {
        uint magnitude = floatBitsToUint(v[j / 4][j % 4]) & 0x7fffffffu;
        largest = first + j < count ? max(largest, magnitude) : largest;
    }
    return largest;
}

float store_absmax(uint block, uint absmax)
{
    float inverse = exact_divide(1.0, uintBitsToFloat(absmax));
    scales[2u * block] = absmax;
    scales[2u * block + 1u] = floatBitsToUint(inverse);
    return inverse;
}

void encode_absmax(uint block)
{
    uint count = p.rows * p.cols, absmax = 0;
    for (uint i = 0; i < 8 && block * 64u + i * 8u < count; i++) {
        vec4 v[2];
        eight(block * 8u + i, v);
        absmax = max(absmax, largest_of(v, block * 64u + i * 8u, count));
    }
    store_absmax(block, absmax);
}

// The middles of the 16 values, rounded to f32.
const float middles[15] = float[](
    -0.84809637069702148, -0.61063289642333984, -0.45999526977539062, -0.33967941999435425,
    -0.23460739850997925, -0.13791173696517944, -0.045525018125772476, 0.03979014977812767,
    0.120255246758461, 0.2035212516784668, 0.29201376438140869, 0.38931253552436829,
    0.5016634464263916, 0.64278692007064819, 0.86147844791412354);

uvec4 nf4_codes(vec4 scaled)
{
    uvec4 codes = uvec4(0);
    [[unroll]] for (uint t = 0; t < 15; t++)
        codes += uvec4(greaterThan(scaled, vec4(middles[t])));
    return codes;
}

void encode_nf4_rows(uint block)
{
    vec4 v[8][2];
    uint absmax = 0, blocks = p.k_tiles >> 3, row = block / blocks;
    bool inside = row < p.rows;
    [[unroll]] for (uint i = 0; i < 8; i++) {
        v[i][0] = v[i][1] = vec4(0.0);
        if (inside)
            eight(block * 8u + i, v[i]);
        absmax = max(absmax, largest_of(v[i], 0u, 8u));
    }
    float inverse = inside ? store_absmax(block, absmax) : 0.0; // codes of zeros
    uint tile = row / 8u * p.k_tiles + block % blocks * 8u;
    [[unroll]] for (uint i = 0; i < 8; i++) {
        precise vec4 low = v[i][0] * inverse, high = v[i][1] * inverse;
        quants[p.quants_at + (tile + i) * 8u + row % 8u] =
            bytes_of(nf4_codes(low) | nf4_codes(high) << 4);
    }
}

// Element i of the flattened rows over its block's absmax.
float scaled_nf4(uint i, float v)
{
    uint block = i >> 6;
    if ((block + 1u) * 64u > p.rows * p.cols) // the end cuts it short: divided, not multiplied
        return (floatBitsToUint(v) >> 31 != 0u ? -1.0 : 1.0) *
               exact_divide(v, uintBitsToFloat(scales[2u * block]));
    precise float scaled = v * uintBitsToFloat(scales[2u * block + 1u]);
    return scaled;
}

void encode_nf4_any(uint i)
{
    uint row = i / p.k_tiles, column = i % p.k_tiles * 8u, first = row * p.cols + column;
    vec4 v[4], scaled[2];
    scaled[0] = scaled[1] = vec4(0.0);
    if (row < p.rows) {
        vec4 a[2], b[2];
        eight(first >> 3, a);
        b = a;
        if ((first & 7u) != 0u && (first | 7u) + 1u < p.rows * p.cols)
            eight((first >> 3) + 1u, b);
        v[0] = a[0], v[1] = a[1], v[2] = b[0], v[3] = b[1];
        for (uint j = 0; j < 8 && column + j < p.cols; j++) {
            uint at = (first & 7u) + j;
            scaled[j / 4][j % 4] = scaled_nf4(first + j, v[at / 4][at % 4]);
        }
    }
    quants[p.quants_at + (row / 8u * p.k_tiles + column / 8u) * 8u + row % 8u] =
        bytes_of(nf4_codes(scaled[0]) | nf4_codes(scaled[1]) << 4);
}

void main()
{
    uint i = linear_index();
    if (i >= p.count)
        return;
    if (TARGET == ENCODE_NF4_ABSMAX)
        encode_absmax(i);
    else if (TARGET == ENCODE_NF4_ROWS)
        encode_nf4_rows(i);
    else if (TARGET == ENCODE_NF4_ANY)
        encode_nf4_any(i);
    else
        encode_two_rows(i);
}
