// SPDX-License-Identifier: MIT
// o = the softmax over all keys, of the sums that attention_token.comp left for the SPLITS parts of
// them, in order: [SPLITS, heads] of a head's numbers, then its largest score and the sum of its
// weights. A thread makes four columns.
#version 450
#extension GL_GOOGLE_include_directive : require
#include "lib/params.h"

layout(local_size_x_id = 0) in;
layout(constant_id = 0) const uint LANES = 64;
layout(constant_id = 1) const uint D4 = 16;
layout(constant_id = 2) const uint SPLITS = 2;

layout(push_constant) uniform Push { push_attention_token p; };
layout(binding = 0) readonly buffer Parts { vec4 parts[]; };
layout(binding = 1) writeonly buffer O { vec4 o[]; };

void main()
{
    uint i = gl_GlobalInvocationID.x, head = i / D4;
    if (i >= p.ldo4)
        return;
    vec4 acc = vec4(0.0);
    if (head < p.heads) {
        float most = -1e30, sum = 0.0;
        for (uint s = 0; s < SPLITS; s++)
            most = max(most, parts[(s * p.heads + head) * (D4 + 1) + D4].x);
        for (uint s = 0; s < SPLITS; s++) {
            uint at = (s * p.heads + head) * (D4 + 1);
            float weight = exp(parts[at + D4].x - most);
            sum += weight * parts[at + D4].y;
            acc += weight * parts[at + i % D4];
        }
        acc /= sum;
    }
    o[i] = acc;
}
