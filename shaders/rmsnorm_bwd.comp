// SPDX-License-Identifier: MIT
// dx = R + rstd (g dy - x rstd^2 mean(x g dy)), a workgroup a row, or a head of it (rmsnorm.comp);
// the norm's weight is frozen.
// SCATTER: row r of dy is of row index[first + r] of x, dx and rstd's own row is r; rows past the
// list are left alone. R is the gradient that came past the norm (the residual), or none.
#version 450
#extension GL_GOOGLE_include_directive : require
#extension GL_KHR_shader_subgroup_basic : require
#extension GL_KHR_shader_subgroup_arithmetic : require
#include "lib/inputs.glsl"
#include "lib/params.h"

layout(local_size_x_id = 0) in;
layout(constant_id = 0) const uint LANES = 32;
layout(constant_id = 1) const bool SCATTER = false;
layout(constant_id = 2) const bool RESIDUAL = false;

layout(push_constant) uniform Push { push_rmsnorm p; };
INPUT_VEC4(0, x)
INPUT_VEC4(1, g)
layout(binding = 2) readonly buffer Rstd { float rstd[]; };
INPUT_VEC4(3, dy)
INPUT_VEC4(4, residual)
layout(binding = 5) writeonly buffer Dx { vec4 dx[]; };
layout(binding = 6) readonly buffer Index { uint index[]; };
layout(binding = 7) readonly buffer Step { step_scalars step_; };

#include "lib/reduce.glsl"

void main()
{
    uint row = gl_WorkGroupID.x, head = gl_WorkGroupID.y, within = head * p.width4;
    bool live = !SCATTER || p.first + row < step_.supervised;
    uint at = (SCATTER ? index[p.first + row] : row) * p.ld4 + within;
    uint from = row * p.ld4 + within;
    float scale = rstd[row * p.heads + head];
    float sum = 0.0;
    for (uint i = gl_LocalInvocationID.x; i < p.width4; i += LANES)
        sum += dot(x(at + i), g(i) * dy(from + i));
    float mean = reduce_add(sum) / float(p.cols) * scale * scale;
    if (!live)
        return;
    for (uint i = gl_LocalInvocationID.x; i < p.width4; i += LANES) {
        vec4 v = scale * (g(i) * dy(from + i) - x(at + i) * mean);
        dx[at + i] = RESIDUAL ? residual(at + i) + v : v;
    }
    if (head + 1 == p.heads) // what pads the row
        for (uint i = within + p.width4 + gl_LocalInvocationID.x; i < p.ld4; i += LANES)
            dx[at - within + i] = vec4(0.0);
}
