// SPDX-License-Identifier: MIT
// Loops of as many rounds as the host asks for, for inlay verify: y[2 i] is what n[i] rounds of a
// linear generator make of i, in two loops one in the other, y[2 i + 1] the rounds it counted.
#version 450
#extension GL_GOOGLE_include_directive : require
#include "lib/params.h"

layout(local_size_x_id = 0) in;
layout(constant_id = 0) const uint LANES = 64;
layout(push_constant) uniform Push { push_driver p; };
layout(binding = 0) readonly buffer N { uint n[]; };
layout(binding = 1) writeonly buffer Y { uvec2 y[]; };

#include "lib/linear.glsl"

void main()
{
    uint i = linear_index();
    if (i >= p.count)
        return;
    uint state = i, rounds = 0, left = n[i];
    while (left > 0) {
        uint inner = min(left, p.inner);
        for (uint k = 0; k < inner; k++) {
            state = state * 1664525u + 1013904223u;
            rounds++;
        }
        left -= inner;
    }
    y[i] = uvec2(state, rounds);
}
