// SPDX-License-Identifier: MIT
// Backward of attention, first pass, by query (arXiv 2307.08691): with P = exp(scale q.k - lse),
// dP = dO.v, D = dO.O: dQ = scale sum_j P (dP - D) k. Also writes D for the second pass.
#version 450
#extension GL_GOOGLE_include_directive : require
#extension GL_EXT_control_flow_attributes : require
#include "lib/params.h"
#include "lib/attention.glsl"

layout(binding = 0) readonly buffer Q { vec4 q[]; };
layout(binding = 1) readonly buffer K { vec4 k[]; };
layout(binding = 2) readonly buffer V { vec4 v[]; };
layout(binding = 3) readonly buffer Starts { uint starts[]; };
layout(binding = 4) readonly buffer O { vec4 o[]; };
layout(binding = 5) readonly buffer Lse { float lse[]; };
layout(binding = 6) readonly buffer Do { vec4 d_o[]; };
layout(binding = 7) writeonly buffer Dq { vec4 dq[]; };
layout(binding = 8) writeonly buffer Delta { float delta[]; };

void main()
{
    uint head = gl_WorkGroupID.y, kv = head / p.group * D4;
    uint first_row = gl_WorkGroupID.x * LANES;
    uint t = min(first_row + gl_LocalInvocationID.x, p.rows - 1);
    bool live = first_row + gl_LocalInvocationID.x < p.rows;
    uint end = min(first_row + LANES, p.rows) - 1;
    uint from = first_key(t, starts[t]);

    vec4 mine[D4], grad[D4], acc[D4], d4 = vec4(0.0);
    [[unroll]] for (uint i = 0; i < D4; i++) {
        uint at = t * p.ldq4 + head * D4 + i;
        mine[i] = p.scale * q[at];
        grad[i] = d_o[at];
        acc[i] = vec4(0.0);
        d4 = fma(grad[i], o[at], d4);
    }
    float d = d4.x + d4.y + d4.z + d4.w; // as dp is: a query that sees one key has dp - d = 0
    float l = lse[t * p.heads + head];
    for (uint j = first_key(first_row, starts[first_row]); j <= end; j++) {
        vec4 keys[HELD(D4)], values[HELD(D4)];
        uint at = j * p.ldkv4 + kv;
        HOLD(keys, D4, n, k[at + n]);
        HOLD(values, D4, n, v[at + n]);
        vec4 s4 = vec4(0.0), p4 = vec4(0.0);
        [[unroll]] for (uint i = 0; i < D4; i++) {
            s4 = fma(mine[i], HELD_AT(keys, i, k[at + i]), s4);
            p4 = fma(grad[i], HELD_AT(values, i, v[at + i]), p4);
        }
        float s = s4.x + s4.y + s4.z + s4.w, dp = p4.x + p4.y + p4.z + p4.w;
        float w = j >= from && j <= t ? exp(s - l) * (dp - d) : 0.0;
        [[unroll]] for (uint i = 0; i < D4; i++)
            acc[i] = fma(vec4(w), HELD_AT(keys, i, k[at + i]), acc[i]);
    }
    if (!live)
        return;
    [[unroll]] for (uint i = 0; i < D4; i++)
        dq[t * p.ldq4 + head * D4 + i] = p.scale * acc[i];
    ZERO_PADDING(dq, t, p.ldq4, head + 1 == p.heads);
    delta[t * p.heads + head] = d;
}
