// SPDX-License-Identifier: MIT
// Backward of attention, second pass, by key: dV = sum_t P dO, dK = scale sum_t
// score' P (dP - D) q over the queries of all heads that share this key-value head. No atomics: a
// thread is one key of one head.
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
layout(binding = 3) readonly buffer Ends { uint ends[]; }; // one past the sequence's last token
layout(binding = 4) readonly buffer Lse { float lse[]; };
layout(binding = 5) readonly buffer Delta { float delta[]; };
INPUT_VEC4(6, d_o)
layout(binding = 7) writeonly buffer Dk { vec4 dk[]; };
layout(binding = 8) writeonly buffer Dv { vec4 dv[]; };

#define Q_AT(n) q(at + (n))
#define DO_AT(n) d_o(at + (n))

void main()
{
    uint kv_head = gl_WorkGroupID.y, kv = kv_head * D4;
    uint first_row = gl_WorkGroupID.x * LANES;
    bool live = gl_GlobalInvocationID.x < p.rows;
    uint j = min(gl_GlobalInvocationID.x, p.rows - 1), row = j * p.ldkv4 + kv;
    uint last_row = min(first_row + LANES, p.rows) - 1;
    uint mine_end = ends[j], end = ends[last_row];
    uint sees = j + min(p.window, p.rows - j); // one past the last query whose window holds j
    uint limit = last_row + min(p.window, p.rows - last_row);
    end = min(end, limit);

    vec4 key[D4], value[D4], acc_k[D4], acc_v[D4];
    [[unroll]] for (uint i = 0; i < D4; i++) {
        key[i] = p.scale * k(row + i);
        value[i] = v(row + i);
        acc_k[i] = acc_v[i] = vec4(0.0);
    }
    for (uint g = 0; g < p.group; g++) {
        uint head = kv_head * p.group + g;
        for (uint t = first_row; t < end; t++) {
            vec4 s4 = vec4(0.0), p4 = vec4(0.0);
            uint at = t * p.ldq4 + head * D4;
            SHARED_VEC4S(queries, D4, Q_AT);
            SHARED_VEC4S(grads, D4, DO_AT);
            [[unroll]] for (uint i = 0; i < D4; i++) {
                s4 = fma(key[i], SHARED(queries, i, Q_AT), s4);
                p4 = fma(value[i], SHARED(grads, i, DO_AT), p4);
            }
            bool seen = t >= j && t < mine_end && t < sees;
            float s = score(sum4(s4)), dp = sum4(p4);
            float e = seen ? exp(s - lse[t * p.heads + head]) : 0.0;
            float w = e * (dp - delta[t * p.heads + head]) * score_slope(s);
            [[unroll]] for (uint i = 0; i < D4; i++) {
                acc_v[i] = fma(vec4(e), SHARED(grads, i, DO_AT), acc_v[i]);
                acc_k[i] = fma(vec4(seen ? w : 0.0), SHARED(queries, i, Q_AT), acc_k[i]);
            }
        }
    }
    if (!live)
        return;
    [[unroll]] for (uint i = 0; i < D4; i++) {
        dk[row + i] = p.scale * acc_k[i];
        dv[row + i] = acc_v[i];
    }
    ZERO_PADDING(dk, j, p.ldkv4, (kv_head + 1) * p.group == p.heads);
    ZERO_PADDING(dv, j, p.ldkv4, (kv_head + 1) * p.group == p.heads);
}
