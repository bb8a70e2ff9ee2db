// SPDX-License-Identifier: MIT
// O = softmax(score(scale Q K^T)) V by row, online (arXiv 2205.14135): nothing of size T x T stays,
// the row's log-sum-exp does, for the backward pass. A thread is one query of one head; its
// workgroup walks the keys together, so that k and v are read at uniform addresses.
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
layout(binding = 4) writeonly buffer O { vec4 o[]; };
layout(binding = 5) writeonly buffer Lse { float lse[]; }; // [rows, heads]
layout(binding = 6) readonly buffer Step { step_scalars step_; };

const uint KEYS = 4; // taken together, so that the sums are rescaled once for all of them
// Vec4 n of the KEYS keys, of their values, from key j on.
#define K_AT(n) k(min(j + (n) / D4, end) * p.ldkv4 + kv + (n) % D4)
#define V_AT(n) v(min(j + (n) / D4, end) * p.ldkv4 + kv + (n) % D4)

void main()
{
    uint head = gl_WorkGroupID.y, kv = head / p.group * D4;
    uint first_row = gl_WorkGroupID.x * LANES;
    uint last_row = min(first_row + LANES, p.rows) - 1;
    bool live = gl_GlobalInvocationID.x < p.rows;
    uint t = min(gl_GlobalInvocationID.x, p.rows - 1), at = t * p.ldq4 + head * D4;
    uint base = CACHED ? step_.cache_row : 0;
    uint key = base + t;
    uint from = first_key(key, starts[t]);
    uint j0 = first_key(base + first_row, starts[first_row]), end = base + last_row;

    vec4 mine[D4], acc[D4];
    [[unroll]] for (uint i = 0; i < D4; i++) {
        mine[i] = p.scale * q(at + i);
        acc[i] = vec4(0.0);
    }
    float most = -1e30, sum = 0.0;
    for (uint j = j0; j <= end; j += KEYS) {
        SHARED_VEC4S(keys, KEYS * D4, K_AT);
        SHARED_VEC4S(values, KEYS * D4, V_AT);
        float s[KEYS];
        float now = most;
        [[unroll]] for (uint n = 0; n < KEYS; n++) {
            vec4 d = vec4(0.0);
            [[unroll]] for (uint i = 0; i < D4; i++)
                d = fma(mine[i], SHARED(keys, n * D4 + i, K_AT), d);
            float dot = score(sum4(d));
            bool seen = j + n >= from && j + n <= key;
            s[n] = seen ? dot : -1e30;
            now = max(now, s[n]);
        }
        float old = exp(most - now);
        sum *= old;
        [[unroll]] for (uint i = 0; i < D4; i++)
            acc[i] *= old;
        [[unroll]] for (uint n = 0; n < KEYS; n++) {
            float e = s[n] > -1e29 ? exp(s[n] - now) : 0.0;
            sum += e;
            [[unroll]] for (uint i = 0; i < D4; i++)
                acc[i] = fma(vec4(e), SHARED(values, n * D4 + i, V_AT), acc[i]);
        }
        most = now;
    }
    if (!live)
        return;
    [[unroll]] for (uint i = 0; i < D4; i++)
        o[at + i] = acc[i] / sum;
    ZERO_PADDING(o, t, p.ldq4, head + 1 == p.heads);
    lse[t * p.heads + head] = most + log(sum);
}
