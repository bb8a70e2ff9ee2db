// SPDX-License-Identifier: MIT
// y = R + x rstd g, rstd = 1 / sqrt(mean(x^2) + eps), a workgroup a row, or a head of it where the
// heads of a row each have a mean and share g. R is what the result is added to, or none.
// GATHER: row r of the result is of row index[first + r] of x (the head's supervised tokens).
#version 450
#extension GL_GOOGLE_include_directive : require
#extension GL_KHR_shader_subgroup_basic : require
#extension GL_KHR_shader_subgroup_arithmetic : require
#include "lib/inputs.glsl"
#include "lib/params.h"

layout(local_size_x_id = 0) in;
layout(constant_id = 0) const uint LANES = 32;
layout(constant_id = 1) const bool GATHER = false;
layout(constant_id = 2) const bool RESIDUAL = false;

layout(push_constant) uniform Push { push_rmsnorm p; };
INPUT_VEC4(0, x)
INPUT_VEC4(1, g)
layout(binding = 2) writeonly buffer Y { vec4 y[]; };
layout(binding = 3) writeonly buffer Rstd { float rstd[]; };
layout(binding = 4) readonly buffer Index { uint index[]; };
INPUT_VEC4(5, residual)

#include "lib/reduce.glsl"

void main()
{
    uint row = gl_WorkGroupID.x, head = gl_WorkGroupID.y, within = head * p.width4;
    uint from = (GATHER ? index[p.first + row] : row) * p.ld4 + within;
    uint to = row * p.ld4 + within;
    float sum = 0.0;
    for (uint i = gl_LocalInvocationID.x; i < p.width4; i += LANES)
        sum += dot(x(from + i), x(from + i));
    float scale = inversesqrt(reduce_add(sum) / float(p.cols) + p.eps);
    for (uint i = gl_LocalInvocationID.x; i < p.width4; i += LANES) {
        vec4 v = x(from + i) * scale * g(i);
        y[to + i] = RESIDUAL ? residual(to + i) + v : v;
    }
    if (gl_LocalInvocationID.x == 0)
        rstd[row * p.heads + head] = scale;
    if (head + 1 == p.heads) // what pads the row
        for (uint i = within + p.width4 + gl_LocalInvocationID.x; i < p.ld4; i += LANES)
            y[to - within + i] = vec4(0.0);
}
