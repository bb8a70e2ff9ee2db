// SPDX-License-Identifier: MIT
// y = act(gate) up (lib/glu.glsl).
// BACKWARD: dup = dy act(gate) and dgate = dy up s (1 + gate (1 - s) w').
// FUSED: gate and up, and their gradients, are the halves of rows of one matrix.
#version 450
#extension GL_GOOGLE_include_directive : require
#include "lib/inputs.glsl"
#include "lib/params.h"

layout(local_size_x_id = 0) in;
layout(constant_id = 0) const uint LANES = 32;
layout(constant_id = 1) const bool GELU = false;
layout(constant_id = 2) const bool FUSED = false;
layout(push_constant) uniform Push { push_glu p; };
INPUT_VEC4(0, gate)
INPUT_VEC4(1, up)
#ifdef BACKWARD
INPUT_VEC4(2, dy)
layout(binding = 3) writeonly buffer Dgate { vec4 dgate[]; };
layout(binding = 4) writeonly buffer Dup { vec4 dup[]; };
#else
layout(binding = 2) writeonly buffer Y { vec4 y[]; };
#endif

#include "lib/linear.glsl"
#include "lib/glu.glsl"

void main()
{
    uint i = linear_index();
    if (i >= p.count4)
        return;
    uint at_gate = i, at_up = i;
    if (FUSED) {
        uint row = i / p.ld4, column = i % p.ld4;
        if (column >= p.cols4) { // y's padding; the fused rows have none
#ifndef BACKWARD
            y[i] = vec4(0.0);
#endif
            return;
        }
        at_gate = row * p.ld_fused4 + column;
        at_up = at_gate + p.cols4;
    }
    vec4 g = gate(at_gate), u = up(at_up);
#ifdef BACKWARD
    vec4 s = glu_sigmoid(g, GELU), d = dy(i);
    vec4 slope = GELU ? GELU_LINEAR * (1.0 + 3.0 * GELU_CUBIC * g * g) : vec4(1.0);
    dgate[at_gate] = d * u * s * (1.0 + g * (1.0 - s) * slope);
    dup[at_up] = d * g * s;
#else
    y[i] = glu(g, u, GELU);
#endif
}
