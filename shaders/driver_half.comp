// SPDX-License-Identifier: MIT
// f16 as the device reads and rounds it, for inlay verify: of thread i the number that f16's bits i
// are, and the bits that x[i] is rounded to.
#version 450
#extension GL_GOOGLE_include_directive : require
#include "lib/params.h"

layout(local_size_x_id = 0) in;
layout(constant_id = 0) const uint LANES = 64;
layout(push_constant) uniform Push { push_driver p; };
layout(binding = 0) readonly buffer X { float x[]; };
layout(binding = 1) writeonly buffer Y { float y[]; };
layout(binding = 2) writeonly buffer Z { uint z[]; };

#include "lib/linear.glsl"

void main()
{
    uint i = linear_index();
    if (i >= p.count)
        return;
    y[i] = i % 2 == 0 ? unpackHalf2x16(i).x : unpackHalf2x16(i << 16).y;
    z[i] = packHalf2x16(vec2(x[i], 0.0)) & 0xffffu;
}
