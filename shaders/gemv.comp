// SPDX-License-Identifier: MIT
// One row times a frozen weight W [N, K], for a token that is generated: each weight is read once.
//   y[n] = rstd sum_k x[k] g[k] W[n, k] + bias[n] + R[n] + s sum_r H[r] B[n, r]
// NORM: rstd = 1 / sqrt(mean(x^2) + eps), and g is the norm's weight; else both are 1.
// GLU: W has 2 F rows, gate's and then up's: y[f] = act(gate[f]) up[f] (glu.comp).
// A workgroup makes 8 columns, a row tile of W, and its threads share the sum over K: neighbours
// read neighbouring tiles; the parts are added in order. Scales are left out of the products and
// multiply a tile's sums.
// EXPERTS: as in gemm.comp, with rows of X along y; the table is in the place of the bias.
// With a tail, rows of W before segment1, before segment2 and behind have an adapter of their own
// each: their H's lie side by side, their B's one below the other.
#version 450
#extension GL_GOOGLE_include_directive : require
#extension GL_EXT_control_flow_attributes : require
#extension GL_KHR_shader_subgroup_basic : require
#extension GL_KHR_shader_subgroup_arithmetic : require
#include "lib/inputs.glsl"
#include "lib/params.h"

layout(local_size_x_id = 0) in;
layout(constant_id = 0) const uint LANES = 64;
layout(constant_id = 1) const bool BIAS = false;
layout(constant_id = 2) const bool RESIDUAL = false;
layout(constant_id = 3) const bool TAIL = false;
layout(constant_id = 4) const uint EXPERTS = 0;
layout(constant_id = 5) const bool NORM = false;
layout(constant_id = 6) const uint GLU = 0; // GLU_NONE, GLU_SILU, GLU_GELU
const uint TILES = GLU > 0 ? 2 : 1;

layout(push_constant) uniform Push { push_gemv p; };
INPUT_VEC4(2, x)
layout(binding = 3) writeonly buffer Y { vec4 y[]; };
INPUT_VEC4(4, residual)
INPUT_VEC4(5, bias)
INPUT_VEC4(6, h)
INPUT_VEC4(7, tail)
INPUT_VEC4(8, gain)

#include "lib/tile_common.glsl"
#include "lib/dequant.glsl"
#include "lib/glu.glsl"

uint expert = 0;
uint first_row = 0; // of X, in vec4s
float squares = 0.0;

// sum[n] += sum_k x[k] w[n, k] over the 8 columns from vec4 `at` on.
void multiply(in vec4 w[8][2], vec4 a, vec4 b, inout float sum[8])
{
    [[unroll]] for (uint n = 0; n < 8; n++) {
        [[unroll]] for (uint k = 0; k < 4; k++)
            sum[n] = fma(a[k], w[n][0][k], sum[n]);
        [[unroll]] for (uint k = 0; k < 4; k++)
            sum[n] = fma(b[k], w[n][1][k], sum[n]);
    }
}

#if TILE_SCALES > 1
#define UNSCALED(ones)                                                                             \
    float ones[TILE_SCALES];                                                                       \
    [[unroll]] for (uint ones##_i = 0; ones##_i < TILE_SCALES; ones##_i++)                         \
        ones[ones##_i] = ones##_i < 8 ? 1.0 : 0.0
#else
#define UNSCALED(ones) float ones[TILE_SCALES]
#endif

// acc[n] += sum[n] times the scales, and the sum of x times the offsets.
void add_group(in float s[TILE_SCALES], in float sum[8], float x_sum, inout float acc[8])
{
    [[unroll]] for (uint n = 0; n < 8; n++) {
#if TILE_SCALES > 1
        acc[n] = fma(s[n], sum[n], acc[n]);
#else
        acc[n] += sum[n];
#endif
#ifdef W_PACKED
        if (OFFSETS)
            acc[n] = fma(s[8 + n], x_sum, acc[n]);
#endif
    }
}

float sum_of(vec4 v)
{
    return v.x + v.y + v.z + v.w;
}

#ifdef SIMD
#define ONE_SUBGROUP (LANES <= SPREAD) // a constant: no barrier is left in the kernel
#else
#define ONE_SUBGROUP false
#endif
const uint SUBGROUPS_MAX = ONE_SUBGROUP ? 1 : LANES / 4;
shared vec4 parts[SUBGROUPS_MAX * (2 * TILES + 1)];

// A thread's part of K.
void walk(uint tiles[TILES], inout float acc[TILES][8])
{
    UNSCALED(ones);
    float s[TILE_SCALES];
    vec4 w[8][2];
    for (uint i = gl_LocalInvocationID.x; i < p.k_tiles; i += LANES) {
        uint at = 2 * i;
        vec4 a = x(first_row + at), b = x(first_row + at + 1);
        if (NORM) {
            squares += dot(a, a) + dot(b, b);
            a *= gain(at);
            b *= gain(at + 1);
        }
        [[unroll]] for (uint t = 0; t < TILES; t++) {
            float sum[8] = float[8](0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0);
            load_scales(tiles[t], i, s);
            load_tile(tiles[t], i, ones, w);
            multiply(w, a, b, sum);
            add_group(s, sum, sum_of(a + b), acc[t]);
        }
    }
}

vec4 subgroup_sum(in float v[8], uint i)
{
    return subgroupAdd(vec4(v[4 * i], v[4 * i + 1], v[4 * i + 2], v[4 * i + 3]));
}

// The sums of all threads: in the first two, one for each half of the columns.
void combine(in float acc[TILES][8], out vec4 sums[TILES])
{
    const uint PARTS = 2 * TILES + 1;
    uint first = gl_SubgroupID * PARTS, i = gl_LocalInvocationID.x & 1u;
    squares = NORM ? subgroupAdd(squares) : 0.0;
    [[unroll]] for (uint t = 0; t < TILES; t++) {
        vec4 a = subgroup_sum(acc[t], 0), b = subgroup_sum(acc[t], 1);
        sums[t] = i == 0 ? a : b;
        if (!ONE_SUBGROUP && subgroupElect()) {
            parts[first + 2 * t] = a;
            parts[first + 2 * t + 1] = b;
        }
    }
    if (ONE_SUBGROUP)
        return;
    if (subgroupElect())
        parts[first + 2 * TILES].x = squares;
    barrier();
    squares = 0.0;
    [[unroll]] for (uint t = 0; t < TILES; t++)
        sums[t] = vec4(0.0);
    for (uint g = 0; g < gl_NumSubgroups; g++) {
        [[unroll]] for (uint t = 0; t < TILES; t++)
            sums[t] += parts[g * PARTS + 2 * t + i];
        squares += parts[g * PARTS + 2 * TILES].x;
    }
}

// Rows 4 i to 4 i + 3 of a row tile of B, times H.
vec4 tail_of(uint tile, uint i)
{
    uint row = 8 * tile + 4 * i;
    uint segment = (row >= p.segment1 ? 1 : 0) + (row >= p.segment2 ? 1 : 0);
    uint from = gl_WorkGroupID.y * p.ldh4 + p.h4 + segment * p.rank4;
    uint b = (p.row0 + 8 * expert * p.n_tiles + row) * p.rank4;
    vec4 sum = vec4(0.0);
    for (uint r4 = 0; r4 < p.rank4; r4++) {
        vec4 v = h(from + r4);
        [[unroll]] for (uint n = 0; n < 4; n++)
            sum[n] += dot(v, tail(b + n * p.rank4 + r4));
    }
    return p.scale * sum;
}

// Vec4 i of the row tile, from its sums over K.
vec4 finish(uint tile, uint i, vec4 v)
{
    if (NORM)
        v *= inversesqrt(squares / float(p.cols) + p.eps);
    if (TAIL)
        v += tail_of(tile, i);
    if (BIAS)
        v += bias(p.row0 / 4 + 2 * tile + i);
    return v;
}

void store(uint tile, uint i, vec4 v)
{
    uint at = gl_WorkGroupID.y * p.ldy4 + p.y4 + 2 * tile + i;
    y[at] = RESIDUAL ? residual(at) + v : v;
}

void main()
{
    uint row = gl_WorkGroupID.y, above = 0; // row tiles of W above the expert's
    first_row = row * p.ldx4;
    if (EXPERTS > 0) {
        float named = bias(row / 4)[row % 4] - float(p.expert0);
        if (named < 0.0 || named >= float(p.experts))
            return;
        expert = p.expert0 + uint(named);
        above = uint(named) * p.n_tiles;
    }
    begin_tiles();
    uint tile = gl_WorkGroupID.x, all[TILES];
    float acc[TILES][8];
    [[unroll]] for (uint t = 0; t < TILES; t++) {
        all[t] = above + tile + t * (p.n_tiles / 2);
        [[unroll]] for (uint n = 0; n < 8; n++)
            acc[t][n] = 0.0;
    }
    walk(all, acc);
    vec4 sums[TILES];
    combine(acc, sums);
    uint i = gl_LocalInvocationID.x;
    if (i >= 2)
        return;
    vec4 v = finish(tile, i, sums[0]);
    if (GLU > 0)
        v = glu(v, finish(tile + p.n_tiles / 2, i, sums[TILES - 1]), GLU == GLU_GELU);
    store(tile, i, v);
}
