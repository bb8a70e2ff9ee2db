// SPDX-License-Identifier: MIT
// Backward of attention, second pass, by key: dV = sum_t P dO, dK = scale sum_t
// score' P (dP - D) q over the queries of all heads that share this key-value head. No atomics: a
// workgroup is WORKGROUP_ROWS keys of one head and walks their queries by tiles
// (lib/attention_tile.glsl).
#version 450
#extension GL_GOOGLE_include_directive : require
#extension GL_EXT_control_flow_attributes : require
#extension GL_KHR_shader_subgroup_basic : require
#extension GL_KHR_shader_subgroup_shuffle : require
#include "lib/inputs.glsl"
#include "lib/params.h"
#include "lib/attention.glsl"
#include "lib/attention_tile.glsl"

INPUT_VEC4(0, q)
INPUT_VEC4(1, k)
INPUT_VEC4(2, v)
layout(binding = 3) readonly buffer Ends { uint ends[]; }; // one past the sequence's last token
layout(binding = 4) readonly buffer Lse { float lse[]; };
layout(binding = 5) readonly buffer Delta { float delta[]; };
INPUT_VEC4(6, d_o)
layout(binding = 7) writeonly buffer Dk { vec4 dk[]; };
layout(binding = 8) writeonly buffer Dv { vec4 dv[]; };

shared float probs[TEAMS * WEIGHTS], slopes[TEAMS * WEIGHTS]; // P and score' P (dP - D)
shared float tile_lse[TILE], tile_delta[TILE];

vec4 key[ROWS * N4], value[ROWS * N4], acc_k[ROWS * N4], acc_v[ROWS * N4];

// Adds what the queries of a tile that begins at t give. `row` is the key of the lane's scores,
// seen by the queries before `seen_end`.
void add_tile(uint t, uint row, uint seen_end)
{
    uint mine = team() * WEIGHTS + score_step() * ROWS + score_row(), theirs = team() * WEIGHTS;
    [[dont_unroll]] for (uint n = 0; n < TILE; n += STEP) {
        float s[SIDE], dp[SIDE];
        [[unroll]] for (uint m = 0; m < SIDE; m++)
            s[m] = dp[m] = 0.0;
        [[unroll]] for (uint m = 0; m < STEP; m++)
            [[unroll]] for (uint i = 0; i < N4; i++) {
                vec4 query = tile_a[(n + m) * ROW4 + i * PARTS + part()];
                vec4 grad = tile_b[(n + m) * ROW4 + i * PARTS + part()];
                [[unroll]] for (uint r = 0; r < ROWS; r++) {
                    uint at = r * STEP + m;
                    s[at] = add_dot(key[r * N4 + i], query, s[at]);
                    dp[at] = add_dot(value[r * N4 + i], grad, dp[at]);
                }
            }
        uint at = n + score_step();
        float x = score(summed(s)), w = (summed(dp) - tile_delta[at]) * score_slope(x);
        bool seen = t + at >= row && t + at < seen_end;
        float e = seen ? exp(x - tile_lse[at]) : 0.0;
        probs[mine + n * ROWS] = e;
        slopes[mine + n * ROWS] = seen ? e * w : 0.0;
    }
    team_barrier();
    [[dont_unroll]] for (uint n = 0; n < TILE; n++)
        [[unroll]] for (uint i = 0; i < N4; i++) {
            vec4 query = tile_a[n * ROW4 + i * PARTS + part()];
            vec4 grad = tile_b[n * ROW4 + i * PARTS + part()];
            [[unroll]] for (uint r = 0; r < ROWS; r++) {
                uint at = theirs + n * ROWS + r, m = r * N4 + i;
                acc_v[m] = fma(vec4(probs[at]), grad, acc_v[m]);
                acc_k[m] = fma(vec4(slopes[at]), query, acc_k[m]);
            }
        }
}

void main()
{
    uint kv_head = gl_WorkGroupID.y, first_row = gl_WorkGroupID.x * WORKGROUP_ROWS;
    uint last_row = min(first_row + WORKGROUP_ROWS, p.rows) - 1;
    uint row = min(team_row(score_row()), p.rows - 1);
    // One past the last query whose window holds a key.
    uint seen_end = min(ends[row], row + min(p.window, p.rows - row));
    uint end = min(ends[last_row], last_row + min(p.window, p.rows - last_row));

    [[unroll]] for (uint r = 0; r < ROWS; r++)
        [[unroll]] for (uint i = 0; i < N4; i++) {
            uint n = r * N4 + i;
            uint at = min(team_row(r), p.rows - 1) * p.ldkv4 + kv_head * D4 + i * PARTS + part();
            key[n] = in_head(i) ? p.scale * k(at) : vec4(0.0);
            value[n] = in_head(i) ? v(at) : vec4(0.0);
            acc_k[n] = acc_v[n] = vec4(0.0);
        }
    for (uint g = 0; g < p.group; g++) {
        uint head = kv_head * p.group + g;
        for (uint t = first_row; t < end; t += TILE) {
            LOAD_TILE(q, d_o, t, end - 1, p.ldq4, head * D4)
            if (gl_LocalInvocationID.x < TILE) {
                uint at = min(t + gl_LocalInvocationID.x, end - 1) * p.heads + head;
                tile_lse[gl_LocalInvocationID.x] = lse[at];
                tile_delta[gl_LocalInvocationID.x] = delta[at];
            }
            barrier();
            add_tile(t, row, seen_end);
        }
    }
    if (score_step() == 0 && part() % ALIKE == 0 && team_row(score_row()) < p.rows) {
        ZERO_PADDING(dk, row, p.ldkv4, (kv_head + 1) * p.group == p.heads);
        ZERO_PADDING(dv, row, p.ldkv4, (kv_head + 1) * p.group == p.heads);
    }
    [[unroll]] for (uint r = 0; r < ROWS; r++)
        [[unroll]] for (uint i = 0; i < N4; i++)
            if (team_row(r) < p.rows && in_head(i)) {
                uint at = team_row(r) * p.ldkv4 + kv_head * D4 + i * PARTS + part();
                dk[at] = p.scale * acc_k[r * N4 + i];
                dv[at] = acc_v[r * N4 + i];
            }
}
