// SPDX-License-Identifier: MIT
// Rows in f16 for matrix cores, each times a power of two of its own that puts its largest number
// between 2^14 and 2^15: activations past f16's range and gradients far below it keep 11 bits.
//   y[t, :] = f16(x[t, :] f_t), and behind each row 1 / f_t as f32
// A workgroup is a row. A row that holds infinity or NaN goes on holding it.
#version 450
#extension GL_GOOGLE_include_directive : require
#extension GL_EXT_control_flow_attributes : require
#extension GL_EXT_shader_explicit_arithmetic_types_float16 : require
#extension GL_KHR_shader_subgroup_arithmetic : require
#extension GL_KHR_shader_subgroup_basic : require
#include "lib/params.h"

layout(local_size_x_id = 0) in;
layout(constant_id = 0) const uint LANES = 64;

layout(push_constant) uniform Push { push_halve p; };
layout(binding = 0) readonly buffer X { vec4 x[]; };
layout(binding = 1) writeonly buffer Y { uvec4 y[]; };

#include "lib/reduce.glsl"
#include "lib/halves.glsl"

void main()
{
    uint row = gl_WorkGroupID.y * LINEAR_GROUPS_X + gl_WorkGroupID.x;
    if (row >= p.rows)
        return;
    uint from = row * p.ldx4, to = row * p.ldy8, count = p.ldx4 / 2;
    float most = 0.0;
    for (uint i = gl_LocalInvocationID.x; i < p.ldx4; i += LANES) {
        vec4 v = abs(x[from + i]);
        most = max(most, max(max(v.x, v.y), max(v.z, v.w)));
    }
    float factor = factor_of(reduce_max(most));
    for (uint i = gl_LocalInvocationID.x; i < count; i += LANES)
        y[to + i] = eight_halves(factor * x[from + 2 * i], factor * x[from + 2 * i + 1]);
    if (gl_LocalInvocationID.x == 0)
        y[to + count] = uvec4(floatBitsToUint(1.0 / factor), 0, 0, 0);
}
