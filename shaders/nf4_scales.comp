// SPDX-License-Identifier: MIT
// The scales of an NF4 matrix as products read them (lib/dequant_nf4.glsl). A thread makes those of
// 8 rows by 64 columns; experts lie along z.
#version 450
#extension GL_GOOGLE_include_directive : require
#extension GL_EXT_control_flow_attributes : require
#include "lib/inputs.glsl"
#include "lib/params.h"

layout(local_size_x_id = 0) in;
layout(constant_id = 0) const uint LANES = 32;
layout(push_constant) uniform Push { push_gemm p; };
layout(binding = 1) writeonly buffer Y { vec4 y[]; };
INPUT_UVEC4(0, scales)

#include "lib/nf4_blocks.glsl"

void main()
{
    uint groups = p.k_tiles >> 3, group = gl_GlobalInvocationID.x, row = gl_WorkGroupID.y;
    nf4_first = gl_WorkGroupID.z * p.expert_scales;
    if (group >= groups)
        return;
    vec4 s[2];
    [[unroll]] for (uint i = 0; i < 8; i++)
        s[i / 4][i % 4] = nf4_absmax((p.row0 + row * 8u + i) * groups + group);
    uint at = ((gl_WorkGroupID.z * p.n_tiles + row) * groups + group) * 2u;
    y[at] = s[0];
    y[at + 1] = s[1];
}
