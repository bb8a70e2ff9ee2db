// SPDX-License-Identifier: MIT
// Decodes an NF4 matrix into f32 tiles, where its columns are no multiple of its blocks, so that a
// block's rows do not meet the tiles'. A thread makes a tile;
// experts lie along z.
#version 450
#extension GL_GOOGLE_include_directive : require
#extension GL_EXT_control_flow_attributes : require
#include "lib/inputs.glsl"
#include "lib/params.h"

layout(local_size_x_id = 0) in;
layout(constant_id = 0) const uint LANES = 32;
layout(push_constant) uniform Push { push_gemm p; };
layout(binding = 2) writeonly buffer Y { vec4 y[]; };

#include "lib/tile_common.glsl"
#include "lib/nf4_blocks.glsl"
#include "lib/nf4_codes.glsl"

// For four columns of a row, from element `first` of the matrix.
vec4 scales_at(uint first)
{
    float s0 = nf4_absmax(first >> 6), s1 = nf4_absmax((first + 3u) >> 6); // they may be two
    uvec4 block = (uvec4(first) + uvec4(0, 1, 2, 3)) >> 6;
    return mix(vec4(s1), vec4(s0), equal(block, uvec4(first >> 6)));
}

void main()
{
    uint column = gl_GlobalInvocationID.x, row = gl_WorkGroupID.y;
    table16_begin();
    nf4_first = gl_WorkGroupID.z * p.expert_scales;
    if (column >= p.k_tiles)
        return;
    uint tile = (gl_WorkGroupID.z * p.n_tiles + row) * p.k_tiles + column;
    [[unroll]] for (uint i = 0; i < 2; i++) {
        uvec4 v = quants(tile * 2u + i);
        [[unroll]] for (uint j = 0; j < 4; j++) {
            uint first = (p.row0 + row * 8u + 4u * i + j) * p.cols + column * 8u;
            uint at = tile * 16u + 2u * (4u * i + j);
            y[at] = table16_values(v[j]) * scales_at(first);
            y[at + 1] = table16_values(v[j] >> 4) * scales_at(first + 4u);
        }
    }
}
