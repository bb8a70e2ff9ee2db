// SPDX-License-Identifier: MIT
// The adapter's narrow products, summed over the wide side:
//   lora_down:       H[t, r] = sum_k mask(X)[t, k] A[r, k]     A [rank, K]
//   lora_down (UP):  G[t, r] = s sum_n dY[t, n] B[n, r]        B [N, rank]
// EXPERTS: every so many rows are of one expert, which a table names; its A or B lies p.expert4
// after that of the one before. Rows of no expert are left alone.
// A thread makes 8 columns of one row; threads lie along the rows, so the weight is read at uniform
// addresses. SLICES threads share a row's sum where rows are few; their parts are added in order.
#version 450
#extension GL_GOOGLE_include_directive : require
#extension GL_EXT_control_flow_attributes : require
#include "lib/inputs.glsl"
#include "lib/params.h"

layout(local_size_x_id = 0, local_size_y_id = 1) in;
layout(constant_id = 0) const uint LANES = 8;
layout(constant_id = 1) const uint SLICES = 1;
layout(constant_id = 2) const bool DROPOUT = false;

layout(push_constant) uniform Push { push_lora_down p; };
INPUT_VEC4(0, x)
INPUT_VEC4(1, w)
layout(binding = 2) writeonly buffer H { vec4 h[]; };
layout(binding = 3) readonly buffer Step { step_scalars step_; };
layout(constant_id = 3) const uint ROWS_TOTAL = 8; // padded rows of X
layout(constant_id = 4) const uint EXPERTS = 0;
INPUT_VEC4(4, table)

#include "lib/rng.glsl"

shared vec4 parts[SLICES > 1 ? LANES * SLICES * 2 : 1];

uint base = 0; // of the expert's matrix

// The 8 vec4s of W that meet columns 4 k4 to 4 k4 + 3 of X: four of column group c4, four of the
// next one (the same again where there is no next one).
#ifdef UP
#define W_AT(i) w(base + (4 * k4 + ((i) & 3)) * p.ldw4 + c4 + ((i) >> 2) * next)
#else
#define W_AT(i) w(base + (4 * (c4 + ((i) >> 2) * next) + ((i) & 3)) * p.ldw4 + k4)
#endif

void accumulate(uint k4, vec4 v, uint c4, uint next, inout vec4 acc[2])
{
    SHARED_VEC4S(weights, 8, W_AT);
    [[unroll]] for (uint i = 0; i < 8; i++) {
        vec4 weight = SHARED(weights, i, W_AT);
#ifdef UP
        acc[i >> 2] = fma(vec4(v[i & 3]), weight, acc[i >> 2]);
#else
        acc[i >> 2][i & 3] += dot(v, weight);
#endif
    }
}

void main()
{
    uint row = min(gl_WorkGroupID.x * LANES + gl_LocalInvocationID.x, ROWS_TOTAL - 1);
    if (EXPERTS > 0) { // lanes past the expert's rows repeat the last
        uint groups = (EXPERTS + LANES - 1) / LANES, tile = gl_WorkGroupID.x / groups;
        float expert = table(tile / 4)[tile % 4];
        if (expert < 0.0)
            return;
        base = uint(expert) * p.expert4;
        row = gl_WorkGroupID.x % groups * LANES + gl_LocalInvocationID.x;
        row = tile * EXPERTS + min(row, EXPERTS - 1);
    }
    uint slice = gl_LocalInvocationID.y;
    uint c4 = gl_WorkGroupID.y * 2;
    uint next = c4 + 1 < p.rank4 ? 1 : 0;
    vec4 acc[2] = vec4[2](vec4(0.0), vec4(0.0));
    for (uint k4 = slice; k4 < p.cols4; k4 += SLICES) {
        vec4 v = x(row * p.ldx4 + k4);
        if (DROPOUT)
            v *= dropout_mask(step_.seed, p.stream, row * p.cols + 4 * k4, p.dropout);
        accumulate(k4, v, c4, next, acc);
    }
    if (SLICES > 1) {
        uint at = (slice * LANES + gl_LocalInvocationID.x) * 2;
        parts[at] = acc[0];
        parts[at + 1] = acc[1];
        barrier();
        if (slice > 0)
            return;
        for (uint i = 1; i < SLICES; i++) {
            acc[0] += parts[(i * LANES + gl_LocalInvocationID.x) * 2];
            acc[1] += parts[(i * LANES + gl_LocalInvocationID.x) * 2 + 1];
        }
    }
    uint at = row * p.ldh4 + p.h4 + c4;
    h[at] = p.scale * acc[0];
    if (next > 0)
        h[at + 1] = p.scale * acc[1];
}
