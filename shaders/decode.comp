// SPDX-License-Identifier: MIT
// Decodes a weight once into f32 tiles, for products with many rows and a format whose decoding
// costs more than the multiplication (NF4). A thread makes a tile.
#version 450
#extension GL_GOOGLE_include_directive : require
#extension GL_EXT_control_flow_attributes : require
#include "lib/inputs.glsl"
#include "lib/params.h"

layout(local_size_x_id = 0) in;
layout(constant_id = 0) const uint LANES = 32;
layout(push_constant) uniform Push { push_gemm p; };
layout(binding = 2) writeonly buffer Y { uvec4 y[]; };

#include "lib/tile_common.glsl"
#include "lib/dequant.glsl"

void main()
{
    uint column = gl_GlobalInvocationID.x, row = gl_WorkGroupID.y;
    if (column >= p.k_tiles)
        return;
    float s[8];
    vec4 w[8][2];
    load_scales(row, column, s);
    load_tile(row, column, s, w);
    uint at = (row * p.k_tiles + column) * 16u;
    [[unroll]] for (uint i = 0; i < 8; i++) {
        y[at + 2 * i] = floatBitsToUint(w[i][0]);
        y[at + 2 * i + 1] = floatBitsToUint(w[i][1]);
    }
}
