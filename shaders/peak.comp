// SPDX-License-Identifier: MIT
// What a device can do at best, for others to be measured against. Each thread computes for itself:
// FMA: CHAINS chains of vec4, x = x m + c 8 `rounds` times, then their sum; the first count4
// threads keep it.
// COPY: out[i] = in[i], four vec4s a thread.
#version 450
#extension GL_GOOGLE_include_directive : require
#include "lib/params.h"

layout(local_size_x_id = 0) in;
layout(constant_id = 0) const uint LANES = 64;
layout(push_constant) uniform Push { push_peak p; };
layout(binding = 0) readonly buffer In { vec4 x[]; };
layout(binding = 1) writeonly buffer Out { vec4 y[]; };

#ifdef COPY
const uint EACH = 4;

void main()
{
    uint first = gl_WorkGroupID.x * LANES * EACH + gl_LocalInvocationID.x;
    for (uint i = 0; i < EACH; i++)
        if (first + i * LANES < p.count4)
            y[first + i * LANES] = x[first + i * LANES];
}
#else
layout(constant_id = 1) const uint CHAINS = 4; // 1 to 4

// Written out, for not every driver unrolls; longer, CPU drivers keep less of it in registers.
#define STEP                                                                                       \
    a = fma(a, m, c);                                                                              \
    if (CHAINS > 1)                                                                                \
        a1 = fma(a1, m, c);                                                                        \
    if (CHAINS > 2)                                                                                \
        a2 = fma(a2, m, c);                                                                        \
    if (CHAINS > 3)                                                                                \
        a3 = fma(a3, m, c);
#define STEPS STEP STEP

void main()
{
    uint thread = gl_WorkGroupID.x * LANES + gl_LocalInvocationID.x;
    vec4 a = x[thread % p.count4], m = vec4(p.factor), c = vec4(p.addend);
    vec4 a1 = a + 1.0, a2 = a + 2.0, a3 = a + 3.0;
    for (uint i = 0; i < p.rounds; i++) {
        STEPS STEPS STEPS STEPS
    }
    if (CHAINS > 1)
        a += a1;
    if (CHAINS > 2)
        a += a2;
    if (CHAINS > 3)
        a += a3;
    if (thread < p.count4)
        y[thread] = a;
}
#endif
