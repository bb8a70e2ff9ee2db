// SPDX-License-Identifier: MIT
// Codes of four bits that stand for any 16 values: TABLE16_AT(code), defined by who includes this.
// A constant array indexed at run time is slow or spills: the values lie in shared memory, in a
// bank each, or (SIMD) in the lanes of two vectors, from where a shuffle takes them.
#define TABLE16_PAIR(i) mix(vec4(TABLE16_AT(i)), vec4(TABLE16_AT((i) + 1)), b0)
#define TABLE16_FOUR(i) mix(TABLE16_PAIR(i), TABLE16_PAIR((i) + 2), b1)
#define TABLE16_EIGHT(i) mix(TABLE16_FOUR(i), TABLE16_FOUR((i) + 4), b2)

vec4 table16_by_halving(uvec4 q)
{
    bvec4 b0 = notEqual(q & 1u, uvec4(0)), b1 = notEqual(q & 2u, uvec4(0));
    bvec4 b2 = notEqual(q & 4u, uvec4(0)), b3 = notEqual(q & 8u, uvec4(0));
    return mix(TABLE16_EIGHT(0), TABLE16_EIGHT(8), b3);
}

#ifdef SIMD
// Lane i has values i and 8 + i.
vec4 table16_lanes = table16_by_halving(uvec4(gl_SubgroupInvocationID & 7u) + uvec4(0, 8, 0, 8));

void table16_begin()
{
}

vec4 table16_look_up(uvec4 q)
{
    if (SPREAD != 8)
        return table16_by_halving(q);
    vec4 w;
    [[unroll]] for (uint i = 0; i < 4; i++) {
        float low = subgroupShuffle(table16_lanes.x, q[i] & 7u);
        float high = subgroupShuffle(table16_lanes.y, q[i] & 7u);
        w[i] = q[i] > 7u ? high : low;
    }
    return w;
}
#else
shared float table16_shared[16];

// By all threads of the workgroup, before the first value.
void table16_begin()
{
    for (uint i = gl_LocalInvocationIndex; i < 16; i += LANES)
        table16_shared[i] = table16_by_halving(uvec4(i)).x;
    barrier();
}

vec4 table16_look_up(uvec4 q)
{
    return vec4(table16_shared[q.x], table16_shared[q.y], table16_shared[q.z],
                table16_shared[q.w]);
}
#endif

// Of the low nibbles of the four bytes.
vec4 table16_values(uint v)
{
    return table16_look_up(uvec4(v, v >> 8, v >> 16, v >> 24) & 15u);
}
