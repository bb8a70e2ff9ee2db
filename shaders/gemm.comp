// SPDX-License-Identifier: MIT
// A frozen weight W [N, K] in tiles, decoded in the loop, and the LoRA tail riding on it.
//   gemm:        Y[t, n] = sum_k X[t, k] W[n, k] + bias[n] + R[t, n] + s sum_r H[t, r] B[n, r]
//   gemm_dx:    dX[t, k] = sum_n dY[t, n] W[n, k] + R[t, k] + mask sum_r G[t, r] A[r, k]
// A thread makes ROWS rows by 8 columns. Threads of a workgroup share the rows, so X is read at
// uniform addresses, and lie along the columns, so each reads whole tiles of W. Rows of X and Y are
// padded to a multiple of ROWS and columns to 8: no bounds are tested, padding columns come out as
// zero.
// EXPERTS: W holds a matrix an expert, one below the other, each padded to whole tiles, A and B lie
// so too, and every so many rows of X are of one expert, which the table in the place of the bias
// names. Rows of experts in other parts of W, or of none, are left alone.
#version 450
#extension GL_GOOGLE_include_directive : require
#extension GL_EXT_control_flow_attributes : require
#include "lib/inputs.glsl"
#include "lib/params.h"

layout(local_size_x_id = 0) in;
layout(constant_id = 0) const uint LANES = 32;
layout(constant_id = 1) const uint ROWS = 8;
layout(constant_id = 2) const bool BIAS = false;
layout(constant_id = 3) const bool RESIDUAL = false;
layout(constant_id = 4) const bool TAIL = false;
layout(constant_id = 5) const bool DROPOUT = false;
layout(constant_id = 6) const bool LIMIT = false; // skip rows past the supervised tokens
layout(constant_id = 7) const uint EXPERTS = 0;

layout(push_constant) uniform Push { push_gemm p; };
INPUT_VEC4(2, x)
layout(binding = 3) buffer Y { vec4 y[]; };
INPUT_VEC4(4, residual)
INPUT_VEC4(5, bias)
INPUT_VEC4(6, h)
INPUT_VEC4(7, tail)
layout(binding = 8) readonly buffer Step { step_scalars step_; };

#include "lib/tile_common.glsl"
#include "lib/dequant.glsl"
#include "lib/rng.glsl"

uint expert = 0;

// Rows from `at` on, two vec4s each.
#define X_AT(j) x(at + ((j) >> 1) * p.ldx4 + ((j) & 1u))
// Rows of H or G, one vec4 each.
#define H_AT(j) h((row + (j)) * p.ldh4 + p.h4 + r4)

#ifdef DX

// acc[t] += sum_n dy[t, n] w[n, :]
void multiply(in vec4 w[8][2], uint at, inout vec4 acc[ROWS][2])
{
    SHARED_VEC4S(rows, 2 * ROWS, X_AT);
    [[unroll]] for (uint t = 0; t < ROWS; t++) {
        vec4 a = SHARED(rows, 2 * t, X_AT), b = SHARED(rows, 2 * t + 1, X_AT);
        [[unroll]] for (uint n = 0; n < 4; n++) {
            acc[t][0] = fma(vec4(a[n]), w[n][0], acc[t][0]);
            acc[t][1] = fma(vec4(a[n]), w[n][1], acc[t][1]);
        }
        [[unroll]] for (uint n = 0; n < 4; n++) {
            acc[t][0] = fma(vec4(b[n]), w[4 + n][0], acc[t][0]);
            acc[t][1] = fma(vec4(b[n]), w[4 + n][1], acc[t][1]);
        }
    }
}

// G A: tail is A [rank, K], leading dimension ldy4.
void add_tail(uint row, uint tile, inout vec4 acc[ROWS][2])
{
    vec4 sum[ROWS][2];
    [[unroll]] for (uint t = 0; t < ROWS; t++)
        sum[t][0] = sum[t][1] = vec4(0.0);
    for (uint r4 = 0; r4 < p.rank4; r4++) {
        vec4 a[4][2];
        [[unroll]] for (uint r = 0; r < 4; r++) {
            uint at = ((expert * p.rank4 + r4) * 4 + r) * p.ldy4 + 2 * tile;
            a[r][0] = tail(at);
            a[r][1] = tail(at + 1);
        }
        SHARED_VEC4S(rows, ROWS, H_AT);
        [[unroll]] for (uint t = 0; t < ROWS; t++) {
            vec4 g = SHARED(rows, t, H_AT);
            [[unroll]] for (uint r = 0; r < 4; r++) {
                sum[t][0] = fma(vec4(g[r]), a[r][0], sum[t][0]);
                sum[t][1] = fma(vec4(g[r]), a[r][1], sum[t][1]);
            }
        }
    }
    [[unroll]] for (uint t = 0; t < ROWS; t++)
        [[unroll]] for (uint i = 0; i < 2; i++) {
            if (DROPOUT)
                sum[t][i] *= dropout_mask(step_.seed, p.stream,
                                          (row + t) * p.cols + 8 * tile + 4 * i, p.dropout);
            acc[t][i] += sum[t][i];
        }
}

#else

// acc[t][n] += sum_k x[t, k] w[n, k]
void multiply(in vec4 w[8][2], uint at, inout vec4 acc[ROWS][2])
{
    SHARED_VEC4S(rows, 2 * ROWS, X_AT);
    [[unroll]] for (uint t = 0; t < ROWS; t++) {
        vec4 a = SHARED(rows, 2 * t, X_AT), b = SHARED(rows, 2 * t + 1, X_AT);
        [[unroll]] for (uint n = 0; n < 8; n++) {
            float sum = acc[t][n / 4][n % 4];
            [[unroll]] for (uint k = 0; k < 4; k++)
                sum = fma(a[k], w[n][0][k], sum);
            [[unroll]] for (uint k = 0; k < 4; k++)
                sum = fma(b[k], w[n][1][k], sum);
            acc[t][n / 4][n % 4] = sum;
        }
    }
}

// s H B^T: tail is B [N, rank], leading dimension rank4.
void add_tail(uint row, uint tile, inout vec4 acc[ROWS][2])
{
    for (uint r4 = 0; r4 < p.rank4; r4++) {
        vec4 b[8];
        [[unroll]] for (uint n = 0; n < 8; n++)
            b[n] = p.scale * tail((p.row0 + 8 * (expert * p.n_tiles + tile) + n) * p.rank4 + r4);
        SHARED_VEC4S(rows, ROWS, H_AT);
        [[unroll]] for (uint t = 0; t < ROWS; t++) {
            vec4 v = SHARED(rows, t, H_AT);
            [[unroll]] for (uint n = 0; n < 8; n++)
                acc[t][n / 4][n % 4] += dot(v, b[n]);
        }
    }
}

#endif

void main()
{
    uint row = gl_WorkGroupID.y * ROWS;
#ifdef DX
    uint tiles = p.k_tiles, steps = p.n_tiles, x4 = p.row0 / 4, y4 = 0;
#else
    uint tiles = p.n_tiles, steps = p.k_tiles, x4 = 0, y4 = p.row0 / 4;
#endif
    if (LIMIT && p.first + row >= step_.supervised)
        return;
    uint above = 0; // row tiles of W above the expert's
    if (EXPERTS > 0) {
        float named = bias(row / EXPERTS / 4)[row / EXPERTS % 4] - float(p.expert0);
        if (named < 0.0 || named >= float(p.experts))
            return;
        expert = p.expert0 + uint(named);
        above = uint(named) * p.n_tiles;
    }
    uint tile = min(gl_GlobalInvocationID.x, tiles - 1); // of the result's columns
    bool live = gl_GlobalInvocationID.x < tiles; // the others take part in what is fetched together
    y4 += 2 * tile;
    vec4 acc[ROWS][2];
    [[unroll]] for (uint t = 0; t < ROWS; t++)
        acc[t][0] = acc[t][1] = vec4(0.0);
    float s[TILE_SCALES];
    vec4 w[8][2];
    begin_tiles();
#ifdef DX
    for (uint i = 0; i < steps; i++) {
        load_scales(above + i, tile, s);
        load_tile(above + i, tile, s, w);
        multiply(w, row * p.ldx4 + x4 + 2 * i, acc);
    }
#else
    for (uint i = 0; i < steps; i++) {
        if (i % TILE_GROUP == 0)
            load_scales(above + tile, i, s);
        load_tile(above + tile, i, s, w);
        multiply(w, row * p.ldx4 + x4 + 2 * i, acc);
    }
#endif
    if (TAIL)
        add_tail(row, tile, acc);
    if (!live)
        return;
    [[unroll]] for (uint t = 0; t < ROWS; t++)
        [[unroll]] for (uint i = 0; i < 2; i++) {
            uint at = (row + t) * p.ldy4 + y4 + i;
            vec4 v = acc[t][i];
            if (BIAS)
                v += bias(y4 + i);
            if (RESIDUAL)
                v += residual(at);
            y[at] = v;
        }
}
