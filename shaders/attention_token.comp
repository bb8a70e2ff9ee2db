// SPDX-License-Identifier: MIT
// Attention of one token, that is generated: q, k and v of its row as the products left them are
// normed (NORM), turned by the token's position, k and v are stored in the cache at cache_row, and
//   o = softmax(score(scale q K^T)) V over all rows of the cache up to that one.
// A workgroup is one query head, or of SPLITS workgroups its part of the cached keys: then o is
// left as sums (attention_join.comp). PARTS threads share a head, and LANES / PARTS of those groups
// the keys, each an online softmax of its own, added in order. The heads of a group each make the
// token's own k and v for themselves, one of them stores it: nothing written here is read here.
#version 450
#extension GL_GOOGLE_include_directive : require
#extension GL_EXT_control_flow_attributes : require
#extension GL_KHR_shader_subgroup_basic : require
#extension GL_KHR_shader_subgroup_shuffle : require
#include "lib/inputs.glsl"
#include "lib/params.h"

layout(local_size_x_id = 0) in;
layout(constant_id = 0) const uint LANES = 64;
layout(constant_id = 1) const uint D4 = 16; // head size / 4
layout(constant_id = 2) const uint PARTS = 1; // divides D4
layout(constant_id = 3) const uint ROPE = ROPE_PAIRS;
layout(constant_id = 4) const bool NORM = false;
layout(constant_id = 5) const bool SOFTCAP = false;
layout(constant_id = 6) const uint SPLITS = 1;
layout(constant_id = 7) const uint SUBGROUPS = 16; // that LANES may be, of the smallest size
const uint N4 = D4 / PARTS;
const uint GROUPS = LANES / PARTS;

layout(push_constant) uniform Push { push_attention_token p; };
INPUT_VEC4(0, qkv)
IN_OUT_VEC4(1, keys)
IN_OUT_VEC4(2, values)
INPUT_VEC4(3, table) // [position, rope_dim / 2] (cos, sin)
INPUT_VEC4(4, q_gain)
INPUT_VEC4(5, k_gain)
layout(binding = 6) writeonly buffer O { vec4 o[]; };
layout(binding = 7) readonly buffer Step { step_scalars step_; };

#include "lib/tanh.glsl"

#ifdef SIMD
const uint KEYS = 2; // a thread's keys taken together
#define SUBGROUP SPREAD
#else
const uint KEYS = 4;
#define SUBGROUP gl_SubgroupSize
#endif

uint part = gl_LocalInvocationID.x % PARTS, group = gl_LocalInvocationID.x / PARTS;

// The sum over the head of what each part has, in all of them.
float over_head(vec4 v)
{
    float sum = v.x + v.y + v.z + v.w;
    [[unroll]] for (uint distance = 1; distance < PARTS; distance <<= 1)
        sum += subgroupShuffleXor(sum, distance);
    return sum;
}

// Vec4 i of the head whose first is `head`, normed.
vec4 normed(uint head, uint i, float rstd, bool key)
{
    vec4 v = qkv(head + i);
    return NORM ? v * rstd * (key ? k_gain(i) : q_gain(i)) : v;
}

vec2 two_normed(uint head, uint w, float rstd, bool key)
{
    vec4 v = normed(head, w / 4, rstd, key);
    return w % 4 == 0 ? v.xy : v.zw;
}

// Columns w and w + 1 of a head whose pairs are half of the turned columns apart.
vec2 two_turned(uint head, uint w, float rstd, bool key)
{
    uint half_dim = p.rope_dim / 2; // even
    bool low = w < half_dim;
    uint pair = low ? w : w - half_dim;
    vec4 cs = table((step_.cache_row * p.rope_dim + 2 * pair) / 4);
    vec2 mine = two_normed(head, w, rstd, key);
    vec2 other = two_normed(head, low ? w + half_dim : pair, rstd, key);
    return mine * cs.xz + (low ? -1.0 : 1.0) * other * cs.yw;
}

vec4 turned(uint head, uint i, float rstd, bool key)
{
    uint within = 4 * i;
    if (ROPE == ROPE_NONE || within >= p.rope_dim)
        return normed(head, i, rstd, key);
    if (ROPE == ROPE_HALVES)
        return vec4(two_turned(head, within, rstd, key), two_turned(head, within + 2, rstd, key));
    vec4 cs = table((step_.cache_row * p.rope_dim + within) / 4), v = normed(head, i, rstd, key);
    return vec4(v.x * cs.x - v.y * cs.y, v.x * cs.y + v.y * cs.x, v.z * cs.z - v.w * cs.w,
                v.z * cs.w + v.w * cs.z);
}

void load_head(uint head, bool key, out vec4 v[N4])
{
    float rstd = 1.0;
    if (NORM) {
        vec4 squares = vec4(0.0);
        [[unroll]] for (uint i = 0; i < N4; i++)
            squares += qkv(head + part * N4 + i) * qkv(head + part * N4 + i);
        rstd = inversesqrt(over_head(squares) / float(4 * D4) + p.eps);
    }
    [[unroll]] for (uint i = 0; i < N4; i++)
        v[i] = turned(head, part * N4 + i, rstd, key);
}

float score(float s)
{
    return SOFTCAP ? soft_capped(s, p.softcap) : s;
}

// Rows [from, end) of the cache that are this group's.
void walk(uint from, uint end, uint at, in vec4 q[N4], inout float most, inout float sum,
          inout vec4 acc[N4])
{
    for (uint j = from + group; j < end; j += KEYS * GROUPS) {
        float s[KEYS], now = most;
        [[unroll]] for (uint n = 0; n < KEYS; n++) {
            uint row = min(j + n * GROUPS, end - 1) * p.ldkv4 + at;
            vec4 d = vec4(0.0);
            [[unroll]] for (uint i = 0; i < N4; i++)
                d = fma(q[i], keys(row + i), d);
            s[n] = score(over_head(d));
            s[n] = j + n * GROUPS < end ? s[n] : -1e30;
            now = max(now, s[n]);
        }
        float old = exp(most - now);
        sum *= old;
        [[unroll]] for (uint i = 0; i < N4; i++)
            acc[i] *= old;
        [[unroll]] for (uint n = 0; n < KEYS; n++) {
            uint row = min(j + n * GROUPS, end - 1) * p.ldkv4 + at;
            float e = s[n] > -1e29 ? exp(s[n] - now) : 0.0;
            sum += e;
            [[unroll]] for (uint i = 0; i < N4; i++)
                acc[i] = fma(vec4(e), values(row + i), acc[i]);
        }
        most = now;
    }
}

// Joins two softmaxes, this thread's and another's.
void join(float other_most, float other_sum, inout float most, inout float sum, out float mine,
          out float others)
{
    float now = max(most, other_most);
    mine = exp(most - now);
    others = exp(other_most - now);
    sum = sum * mine + other_sum * others;
    most = now;
}

// Those of a subgroup's groups; all of them get the result.
void join_subgroup(inout float most, inout float sum, inout vec4 acc[N4])
{
    for (uint distance = PARTS; distance < min(SUBGROUP, LANES); distance <<= 1) {
        float mine, others;
        join(subgroupShuffleXor(most, distance), subgroupShuffleXor(sum, distance), most, sum, mine,
             others);
        [[unroll]] for (uint i = 0; i < N4; i++)
            acc[i] = acc[i] * mine + subgroupShuffleXor(acc[i], distance) * others;
    }
}

#ifdef SIMD
#define ONE_SUBGROUP (LANES <= SPREAD)
#else
#define ONE_SUBGROUP false
#endif
const uint SUBGROUPS_MAX = ONE_SUBGROUP ? 1 : SUBGROUPS;
shared vec4 joined[SUBGROUPS_MAX * D4];
shared vec2 joined_sums[SUBGROUPS_MAX];

// And those of all subgroups, in the threads of the first group.
void join_workgroup(inout float most, inout float sum, inout vec4 acc[N4])
{
    if (gl_SubgroupInvocationID < PARTS)
        [[unroll]] for (uint i = 0; i < N4; i++)
            joined[gl_SubgroupID * D4 + part * N4 + i] = acc[i];
    if (gl_SubgroupInvocationID == 0)
        joined_sums[gl_SubgroupID] = vec2(most, sum);
    barrier();
    if (group > 0)
        return;
    for (uint g = 1; g < gl_NumSubgroups; g++) {
        float mine, others;
        join(joined_sums[g].x, joined_sums[g].y, most, sum, mine, others);
        [[unroll]] for (uint i = 0; i < N4; i++)
            acc[i] = acc[i] * mine + joined[g * D4 + part * N4 + i] * others;
    }
}

void main()
{
    uint head = gl_WorkGroupID.x, split = gl_WorkGroupID.y, kv_head = head / p.group;
    uint key = step_.cache_row, at = kv_head * D4 + part * N4;
    vec4 q[N4], k[N4], acc[N4];
    load_head(head * D4, false, q);
    load_head(p.k4 + kv_head * D4, true, k);
    [[unroll]] for (uint i = 0; i < N4; i++)
        q[i] *= p.scale;
    vec4 d = vec4(0.0);
    [[unroll]] for (uint i = 0; i < N4; i++)
        d = fma(q[i], k[i], d);
    float most = score(over_head(d)), sum = 1.0;
    [[unroll]] for (uint i = 0; i < N4; i++)
        acc[i] = qkv(p.v4 + kv_head * D4 + part * N4 + i);
    bool stores = group == 0 && split == 0 && head % p.group == 0;
    if (stores)
        [[unroll]] for (uint i = 0; i < N4; i++) {
            keys_store(key * p.ldkv4 + at + i, k[i]);
            values_store(key * p.ldkv4 + at + i, acc[i]);
        }
    if (stores && kv_head == p.kv_heads - 1) // what pads the row
        for (uint i = p.kv_heads * D4 + part; i < p.ldkv4; i += PARTS) {
            keys_store(key * p.ldkv4 + i, vec4(0.0));
            values_store(key * p.ldkv4 + i, vec4(0.0));
        }
    if (group > 0 || split > 0) { // the token's own key is the first group's
        most = -1e30;
        sum = 0.0;
        [[unroll]] for (uint i = 0; i < N4; i++)
            acc[i] = vec4(0.0);
    }
    uint from = key + 1 > p.window ? key + 1 - p.window : 0;
    uint chunk = (key - from + SPLITS - 1) / SPLITS;
    walk(from + min(split * chunk, key - from), from + min((split + 1) * chunk, key - from), at, q,
         most, sum, acc);
    join_subgroup(most, sum, acc);
    if (!ONE_SUBGROUP)
        join_workgroup(most, sum, acc);
    if (group > 0)
        return;
    if (SPLITS > 1) {
        uint to = (split * p.heads + head) * (D4 + 1);
        [[unroll]] for (uint i = 0; i < N4; i++)
            o[to + part * N4 + i] = acc[i];
        if (part == 0)
            o[to + D4] = vec4(most, sum, 0.0, 0.0);
        return;
    }
    [[unroll]] for (uint i = 0; i < N4; i++)
        o[head * D4 + part * N4 + i] = acc[i] / sum;
    if (head == p.heads - 1)
        for (uint i = p.heads * D4 + part; i < p.ldo4; i += PARTS)
            o[i] = vec4(0.0);
}
