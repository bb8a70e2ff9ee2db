// SPDX-License-Identifier: MIT
// Dropout of a DoRA layer's input, as PEFT has it: the base keeps the whole of x, everything else
// sees what is left of it. With the mask M of lib/rng.glsl:
//   dora_drop:          left = M x                 rest = x - M x
//   dora_drop (MIX):    dx = R + whole + M (left - whole), from the gradients of the two
// A thread makes four columns of a row.
#version 450
#extension GL_GOOGLE_include_directive : require
#extension GL_EXT_control_flow_attributes : require
#include "lib/params.h"

layout(local_size_x_id = 0) in;
layout(constant_id = 0) const uint LANES = 64;
layout(push_constant) uniform Push { push_dora_drop p; };
#ifdef MIX
layout(constant_id = 1) const bool RESIDUAL = false;
layout(binding = 0) readonly buffer Left { vec4 left[]; };
layout(binding = 1) readonly buffer Whole { vec4 whole[]; };
layout(binding = 2) buffer Dx { vec4 dx[]; }; // may be R
layout(binding = 4) readonly buffer Residual { vec4 residual[]; };
#else
layout(binding = 0) readonly buffer X { vec4 x[]; };
layout(binding = 1) writeonly buffer Left { vec4 left[]; };
layout(binding = 2) writeonly buffer Rest { vec4 rest[]; };
#endif
layout(binding = 3) readonly buffer Step { step_scalars step_; };

#include "lib/linear.glsl"
#include "lib/rng.glsl"

void main()
{
    uint i = linear_index();
    if (i >= p.count4)
        return;
    uint row = i / p.ld4, column = 4 * (i % p.ld4);
    vec4 mask = dropout_mask(step_.seed, p.stream, row * p.cols + column, p.dropout);
#ifdef MIX
    vec4 v = whole[i] + mask * (left[i] - whole[i]);
    if (RESIDUAL)
        v += residual[i];
    dx[i] = v;
#else
    vec4 v = x[i];
    left[i] = mask * v;
    rest[i] = v - mask * v;
#endif
}
