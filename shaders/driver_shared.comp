// SPDX-License-Identifier: MIT
// Shared memory, all that a device says it has, for inlay verify: threads write it, and read after
// a barrier what others wrote, in rounds. y[t] is what thread t makes of it (check_driver.c has the
// same loop).
#version 450
#extension GL_GOOGLE_include_directive : require
#include "lib/params.h"

layout(local_size_x_id = 0) in;
layout(constant_id = 0) const uint LANES = 64;
layout(constant_id = 1) const uint WORDS = 4096;
layout(push_constant) uniform Push { push_driver p; };
layout(binding = 0) writeonly buffer Y { uint y[]; };

shared uint words[WORDS];

void main()
{
    uint t = gl_LocalInvocationID.x, sum = t;
    for (uint round = 0; round < p.count; round++) {
        for (uint i = t; i < WORDS; i += LANES)
            words[i] = (i + 1u) * 2654435761u ^ sum + round;
        barrier();
        for (uint i = t; i < WORDS; i += LANES)
            sum = sum * 31u + words[(i * 7u + round * 13u + 1u) % WORDS];
        barrier();
    }
    y[gl_WorkGroupID.x * LANES + t] = sum;
}
