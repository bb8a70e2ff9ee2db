// SPDX-License-Identifier: MIT
// Backward of attention, first pass, by query (arXiv 2307.08691): with s = score(scale q.k),
// P = exp(s - lse), dP = dO.v, D = dO.O: dQ = scale sum_j score' P (dP - D) k. Also writes D
// for the second pass.
#version 450
#extension GL_GOOGLE_include_directive : require
#extension GL_EXT_control_flow_attributes : require
#extension GL_KHR_shader_subgroup_basic : require
#extension GL_KHR_shader_subgroup_shuffle : require
#include "lib/inputs.glsl"
#include "lib/params.h"
#include "lib/attention.glsl"

INPUT_VEC4(0, q)
INPUT_VEC4(1, k)
INPUT_VEC4(2, v)
layout(binding = 3) readonly buffer Starts { uint starts[]; };
INPUT_VEC4(4, o)
layout(binding = 5) readonly buffer Lse { float lse[]; };
INPUT_VEC4(6, d_o)
layout(binding = 7) writeonly buffer Dq { vec4 dq[]; };
layout(binding = 8) writeonly buffer Delta { float delta[]; };

#define K_AT(n) k(at + (n))
#define V_AT(n) v(at + (n))

void main()
{
    uint head = gl_WorkGroupID.y, kv = head / p.group * D4;
    uint first_row = gl_WorkGroupID.x * LANES;
    bool live = gl_GlobalInvocationID.x < p.rows;
    uint t = min(gl_GlobalInvocationID.x, p.rows - 1), row = t * p.ldq4 + head * D4;
    uint end = min(first_row + LANES, p.rows) - 1;
    uint from = first_key(t, starts[t]);

    vec4 mine[D4], grad[D4], acc[D4], d4 = vec4(0.0);
    [[unroll]] for (uint i = 0; i < D4; i++) {
        mine[i] = p.scale * q(row + i);
        grad[i] = d_o(row + i);
        acc[i] = vec4(0.0);
        d4 = fma(grad[i], o(row + i), d4);
    }
    float d = sum4(d4); // as dp is: a query that sees one key has dp - d = 0
    float l = lse[t * p.heads + head];
    for (uint j = first_key(first_row, starts[first_row]); j <= end; j++) {
        uint at = j * p.ldkv4 + kv;
        SHARED_VEC4S(keys, D4, K_AT);
        SHARED_VEC4S(values, D4, V_AT);
        vec4 s4 = vec4(0.0), p4 = vec4(0.0);
        [[unroll]] for (uint i = 0; i < D4; i++) {
            s4 = fma(mine[i], SHARED(keys, i, K_AT), s4);
            p4 = fma(grad[i], SHARED(values, i, V_AT), p4);
        }
        float s = score(sum4(s4)), dp = sum4(p4);
        float w = j >= from && j <= t ? exp(s - l) * (dp - d) * score_slope(s) : 0.0;
        [[unroll]] for (uint i = 0; i < D4; i++)
            acc[i] = fma(vec4(w), SHARED(keys, i, K_AT), acc[i]);
    }
    if (!live)
        return;
    [[unroll]] for (uint i = 0; i < D4; i++)
        dq[row + i] = p.scale * acc[i];
    ZERO_PADDING(dq, t, p.ldq4, head + 1 == p.heads);
    delta[t * p.heads + head] = d;
}
