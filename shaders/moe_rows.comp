// SPDX-License-Identifier: MIT
// Between tokens and the experts' rows, a workgroup a row of the result.
//   gather:  y[row] = x[row_token[row]], zero where a row only pads; in tiles of an expert alone
//   COMBINE: y[t] = residual[t] + sum_k x[position[t, k]]
#version 450
#extension GL_GOOGLE_include_directive : require
#include "lib/inputs.glsl"
#include "lib/params.h"

layout(local_size_x_id = 0) in;
layout(constant_id = 0) const uint LANES = 32;
layout(constant_id = 1) const bool RESIDUAL = false;

layout(push_constant) uniform Push { push_moe_rows p; };
INPUT_VEC4(0, x)
layout(binding = 1) writeonly buffer Y { vec4 y[]; };
#ifdef COMBINE
layout(binding = 2) readonly buffer Position { uint position[]; };
INPUT_VEC4(3, residual)
#else
layout(binding = 2) readonly buffer Tokens { uint row_token[]; };
INPUT_VEC4(3, table)
#endif

void main()
{
    uint row = gl_WorkGroupID.y * LINEAR_GROUPS_X + gl_WorkGroupID.x;
#ifdef COMBINE
    if (row >= p.rows)
        return;
    for (uint i = gl_LocalInvocationID.x; i < p.ld4; i += LANES) {
        vec4 sum = RESIDUAL ? residual(row * p.ld4 + i) : vec4(0.0);
        for (uint k = 0; k < p.used; k++)
            sum += x(position[row * p.used + k] * p.ld4 + i);
        y[row * p.ld4 + i] = sum;
    }
#else
    uint tile = row / p.align;
    if (row >= p.rows || table(tile / 4)[tile % 4] < 0.0)
        return;
    uint token = row_token[row];
    bool pads = token == 0xffffffffu;
    uint from = (pads ? 0 : token) * p.ld4;
    for (uint i = gl_LocalInvocationID.x; i < p.ld4; i += LANES)
        y[row * p.ld4 + i] = pads ? vec4(0.0) : x(from + i);
#endif
}
