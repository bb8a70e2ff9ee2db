// SPDX-License-Identifier: MIT
// Y[t] = scale W[token[t]]: rows of the embedding, decoded. A thread makes 8 columns of one token.
// A table in several parts takes one dispatch each; a token of another part is left alone.
#version 450
#extension GL_GOOGLE_include_directive : require
#extension GL_EXT_control_flow_attributes : require
#include "lib/inputs.glsl"
#include "lib/params.h"

layout(local_size_x_id = 0) in;
layout(constant_id = 0) const uint LANES = 32;
layout(push_constant) uniform Push { push_embed p; };
layout(binding = 2) readonly buffer Tokens { uint tokens[]; };
layout(binding = 3) writeonly buffer Y { vec4 y[]; };

#include "lib/tile_common.glsl"
#include "lib/dequant.glsl"

void main()
{
    uint column = gl_GlobalInvocationID.x, t = gl_WorkGroupID.y;
    begin_tiles();
    uint row = tokens[t] - p.row0;
    if (column >= p.k_tiles || row >= p.rows)
        return;
    float s[TILE_SCALES];
    vec4 w[8][2];
    load_scales(row / 8, column, s);
    load_tile(row / 8, column, s, w);
    [[unroll]] for (uint i = 0; i < 8; i++)
        if (i == row % 8) {
            y[t * p.ldy4 + 2 * column] = p.scale * w[i][0];
            y[t * p.ldy4 + 2 * column + 1] = p.scale * w[i][1];
        }
}
