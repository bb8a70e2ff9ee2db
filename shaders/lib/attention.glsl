// SPDX-License-Identifier: MIT
// What the attention kernels share. q, o and their gradients are [tokens, heads * HEAD_DIM]; k and
// v are [keys, kv_heads * HEAD_DIM]; key j of query t is seen when start[t] <= j <= key(t), where
// key(t) is t in training and cache_row + t with a cache, and when j is within the window. With
// SOFTCAP a score s is cap tanh(s / cap).
layout(local_size_x_id = 0) in;
layout(constant_id = 0) const uint LANES = 32;
layout(constant_id = 1) const uint D4 = 16; // head size / 4
layout(constant_id = 2) const bool CACHED = false;
layout(constant_id = 3) const bool SOFTCAP = false;
layout(push_constant) uniform Push { push_attention p; };

#include "tanh.glsl"

float sum4(vec4 v)
{
    return (v.x + v.y) + (v.z + v.w);
}

// A score from scale q.k, and its slope there.
float score(float s)
{
    return SOFTCAP ? soft_capped(s, p.softcap) : s;
}

float score_slope(float capped)
{
    return SOFTCAP ? soft_cap_slope(capped, p.softcap) : 1.0;
}

// First key a query at key index `key`, whose sequence starts at `start`, sees.
uint first_key(uint key, uint start)
{
    return key + 1 > p.window ? max(start, key + 1 - p.window) : start;
}

// Columns that only pad a row: the kernels write zero there, once a row.
#define ZERO_PADDING(buffer_, row, ld4, last)                                                      \
    if (last)                                                                                      \
        for (uint pad_ = (gl_WorkGroupID.y + 1) * D4; pad_ < (ld4); pad_++)                        \
            buffer_[(row) * (ld4) + pad_] = vec4(0.0)
