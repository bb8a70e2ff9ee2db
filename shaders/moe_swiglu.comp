// SPDX-License-Identifier: MIT
// An expert's activation times its weight w for the row: y = w silu(gate) up, a workgroup a row.
// What comes after is linear, so the experts' results need only be summed.
// BACKWARD: dgate and dup as of swiglu with w dy, and dw = sum_c dy silu(gate) up.
#version 450
#extension GL_GOOGLE_include_directive : require
#extension GL_KHR_shader_subgroup_basic : require
#extension GL_KHR_shader_subgroup_arithmetic : require
#include "lib/inputs.glsl"
#include "lib/params.h"

layout(local_size_x_id = 0) in;
layout(constant_id = 0) const uint LANES = 32;

layout(push_constant) uniform Push { push_moe_rows p; };
INPUT_VEC4(0, gate)
INPUT_VEC4(1, up)
INPUT_VEC4(2, table)
layout(binding = 3) readonly buffer RowWeights { float row_weight[]; };
#ifdef BACKWARD
INPUT_VEC4(4, dy)
layout(binding = 5) writeonly buffer Dgate { vec4 dgate[]; };
layout(binding = 6) writeonly buffer Dup { vec4 dup[]; };
layout(binding = 7) writeonly buffer Dweight { float dweight[]; };
#else
layout(binding = 4) writeonly buffer Y { vec4 y[]; };
#endif

#include "lib/reduce.glsl"

void main()
{
    uint row = gl_WorkGroupID.y * LINEAR_GROUPS_X + gl_WorkGroupID.x, tile = row / p.align;
    if (row >= p.rows || table(tile / 4)[tile % 4] < 0.0)
        return;
    float w = row_weight[row];
#ifdef BACKWARD
    float sum = 0.0;
#endif
    for (uint i = gl_LocalInvocationID.x; i < p.ld4; i += LANES) {
        uint at = row * p.ld4 + i;
        vec4 g = gate(at), u = up(at), s = 1.0 / (1.0 + exp(-g));
#ifdef BACKWARD
        vec4 d = dy(at);
        sum += dot(d, g * s * u);
        dgate[at] = w * d * u * s * (1.0 + g * (1.0 - s));
        dup[at] = w * d * g * s;
#else
        y[at] = w * g * s * u;
#endif
    }
#ifdef BACKWARD
    sum = reduce_add(sum);
    if (gl_LocalInvocationID.x == 0)
        dweight[row] = sum;
#endif
}
