// SPDX-License-Identifier: MIT
// Sum of squares in two passes of fixed order: parts of the gradient arena, then (LAST) the norm.
#version 450
#extension GL_GOOGLE_include_directive : require
#extension GL_KHR_shader_subgroup_basic : require
#extension GL_KHR_shader_subgroup_arithmetic : require
#include "lib/params.h"

layout(local_size_x_id = 0) in;
layout(constant_id = 0) const uint LANES = 64;
layout(push_constant) uniform Push { push_reduce p; };
#ifdef LAST
layout(binding = 0) readonly buffer Parts { float parts[]; };
layout(binding = 1) writeonly buffer Norm { float norm[]; };
#else
layout(binding = 0) readonly buffer X { vec4 x[]; };
layout(binding = 1) writeonly buffer Parts { float parts[]; };
#endif

#include "lib/reduce.glsl"

void main()
{
    float sum = 0.0;
#ifdef LAST
    for (uint i = gl_LocalInvocationID.x; i < p.count4; i += LANES)
        sum += parts[i];
    sum = reduce_add(sum);
    if (gl_LocalInvocationID.x == 0)
        norm[0] = sqrt(sum);
#else
    uint from = gl_WorkGroupID.x * p.chunk4, to = min(from + p.chunk4, p.count4);
    for (uint i = from + gl_LocalInvocationID.x; i < to; i += LANES)
        sum += dot(x[i], x[i]);
    sum = reduce_add(sum);
    if (gl_LocalInvocationID.x == 0)
        parts[p.first + gl_WorkGroupID.x] = sum;
#endif
}
