// SPDX-License-Identifier: MIT
// y = silu(gate) up, silu(x) = x / (1 + exp(-x)).
// BACKWARD: dgate = dy up s (1 + gate (1 - s)) and dup = dy silu(gate), s = 1 / (1 + exp(-gate)).
#version 450
#extension GL_GOOGLE_include_directive : require
#include "lib/inputs.glsl"
#include "lib/params.h"

layout(local_size_x_id = 0) in;
layout(constant_id = 0) const uint LANES = 32;
layout(push_constant) uniform Push { push_swiglu p; };
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

void main()
{
    uint i = linear_index();
    if (i >= p.count4)
        return;
    vec4 g = gate(i), u = up(i);
    vec4 s = 1.0 / (1.0 + exp(-g));
#ifdef BACKWARD
    vec4 d = dy(i);
    dgate[i] = d * u * s * (1.0 + g * (1.0 - s));
    dup[i] = d * g * s;
#else
    y[i] = g * s * u;
#endif
}
