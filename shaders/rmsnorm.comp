// SPDX-License-Identifier: MIT
// y = x rstd g, rstd = 1 / sqrt(mean(x^2) + eps), a workgroup a row.
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

layout(push_constant) uniform Push { push_rmsnorm p; };
INPUT_VEC4(0, x)
INPUT_VEC4(1, g)
layout(binding = 2) writeonly buffer Y { vec4 y[]; };
layout(binding = 3) writeonly buffer Rstd { float rstd[]; };
layout(binding = 4) readonly buffer Index { uint index[]; };

#include "lib/reduce.glsl"

void main()
{
    uint row = gl_WorkGroupID.x;
    uint from = (GATHER ? index[p.first + row] : row) * p.ld4;
    float sum = 0.0;
    for (uint i = gl_LocalInvocationID.x; i < p.ld4; i += LANES)
        sum += dot(x(from + i), x(from + i));
    float scale = inversesqrt(reduce_add(sum) / float(p.cols) + p.eps);
    for (uint i = gl_LocalInvocationID.x; i < p.ld4; i += LANES)
        y[row * p.ld4 + i] = x(from + i) * scale * g(i);
    if (gl_LocalInvocationID.x == 0)
        rstd[row] = scale;
}
