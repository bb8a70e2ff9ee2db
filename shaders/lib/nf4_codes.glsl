// SPDX-License-Identifier: MIT
// NF4's 16 values. A constant array indexed at run time is slow or spills: they lie in shared
// memory, in a bank each, or (SIMD) in the lanes of two vectors, from where a shuffle takes them.
vec4 nf4_by_halving(uvec4 q)
{
    bvec4 b0 = notEqual(q & 1u, uvec4(0)), b1 = notEqual(q & 2u, uvec4(0));
    bvec4 b2 = notEqual(q & 4u, uvec4(0)), b3 = notEqual(q & 8u, uvec4(0));
    vec4 c0 = mix(mix(vec4(-1.0), vec4(-0.6961928009986877), b0),
                  mix(vec4(-0.5250730514526367), vec4(-0.39491748809814453), b0), b1);
    vec4 c1 = mix(mix(vec4(-0.28444138169288635), vec4(-0.18477343022823334), b0),
                  mix(vec4(-0.09105003625154495), vec4(0.0), b0), b1);
    vec4 c2 = mix(mix(vec4(0.07958029955625534), vec4(0.16093020141124725), b0),
                  mix(vec4(0.24611230194568634), vec4(0.33791524171829224), b0), b1);
    vec4 c3 = mix(mix(vec4(0.44070982933044434), vec4(0.5626170039176941), b0),
                  mix(vec4(0.7229568362236023), vec4(1.0), b0), b1);
    return mix(mix(c0, c1, b2), mix(c2, c3, b2), b3);
}

#ifdef SIMD
// Lane i has values i and 8 + i.
vec4 nf4_lanes = nf4_by_halving(uvec4(gl_SubgroupInvocationID & 7u) + uvec4(0, 8, 0, 8));

void nf4_begin()
{
}

vec4 nf4_look_up(uvec4 q)
{
    if (SPREAD != 8)
        return nf4_by_halving(q);
    vec4 w;
    [[unroll]] for (uint i = 0; i < 4; i++) {
        float low = subgroupShuffle(nf4_lanes.x, q[i] & 7u);
        float high = subgroupShuffle(nf4_lanes.y, q[i] & 7u);
        w[i] = q[i] > 7u ? high : low;
    }
    return w;
}
#else
shared float nf4_table[16];

// By all threads of the workgroup, before the first value.
void nf4_begin()
{
    for (uint i = gl_LocalInvocationIndex; i < 16; i += LANES)
        nf4_table[i] = nf4_by_halving(uvec4(i)).x;
    barrier();
}

vec4 nf4_look_up(uvec4 q)
{
    return vec4(nf4_table[q.x], nf4_table[q.y], nf4_table[q.z], nf4_table[q.w]);
}
#endif

// Of the low nibbles of the four bytes.
vec4 nf4_values(uint v)
{
    return nf4_look_up(uvec4(v, v >> 8, v >> 16, v >> 24) & 15u);
}
