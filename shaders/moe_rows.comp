// SPDX-License-Identifier: MIT
// Between tokens and the experts' rows.
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
    uint i = gl_WorkGroupID.x * LANES + gl_LocalInvocationID.x;
#ifdef COMBINE
    uint t = gl_WorkGroupID.y;
    if (i >= p.ld4)
        return;
    vec4 sum = RESIDUAL ? residual(t * p.ld4 + i) : vec4(0.0);
    for (uint k = 0; k < p.used; k++)
        sum += x(position[t * p.used + k] * p.ld4 + i);
    y[t * p.ld4 + i] = sum;
#else
    uint tile = gl_WorkGroupID.y;
    if (i >= p.align * p.ld4 || table(tile / 4)[tile % 4] < 0.0)
        return;
    uint at = tile * p.align * p.ld4 + i, token = row_token[tile * p.align + i / p.ld4];
    y[at] = token == 0xffffffffu ? vec4(0.0) : x(token * p.ld4 + i % p.ld4);
#endif
}
