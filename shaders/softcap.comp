// SPDX-License-Identifier: MIT
// z = cap tanh(z / cap) in place: the cap on the head's logits. Its derivative, 1 - (z / cap)^2, is
// in loss.comp.
#version 450
#extension GL_GOOGLE_include_directive : require
#include "lib/params.h"

layout(local_size_x_id = 0) in;
layout(constant_id = 0) const uint LANES = 64;
layout(push_constant) uniform Push { push_softcap p; };
layout(binding = 0) buffer Z { vec4 z[]; };

#include "lib/linear.glsl"
#include "lib/tanh.glsl"

void main()
{
    uint i = linear_index();
    if (i >= p.count4)
        return;
    vec4 v = z[i];
    z[i] = vec4(soft_capped(v.x, p.cap), soft_capped(v.y, p.cap), soft_capped(v.z, p.cap),
                soft_capped(v.w, p.cap));
}
