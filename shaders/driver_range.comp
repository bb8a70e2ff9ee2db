// SPDX-License-Identifier: MIT
// Words anywhere in a large binding, for inlay verify: with p.write thread i puts
// at[i] * 2654435761 at word at[i] of the range, else it copies the word there to y[i].
#version 450
#extension GL_GOOGLE_include_directive : require
#include "lib/params.h"

layout(local_size_x_id = 0) in;
layout(constant_id = 0) const uint LANES = 64;
layout(push_constant) uniform Push { push_driver p; };
layout(binding = 0) buffer Words { uint words[]; };
layout(binding = 1) readonly buffer At { uint at[]; };
layout(binding = 2) writeonly buffer Y { uint y[]; };

#include "lib/linear.glsl"

void main()
{
    uint i = linear_index();
    if (i >= p.count)
        return;
    if (p.write != 0)
        words[at[i]] = at[i] * 2654435761u;
    else
        y[i] = words[at[i]];
}
