// SPDX-License-Identifier: MIT
// Backward of attention, first pass, by query (arXiv 2307.08691): with s = score(scale q.k),
// P = exp(s - lse), dP = dO.v, D = dO.O: dQ = scale sum_j score' P (dP - D) k. Also writes D
// for the second pass. A workgroup as in attention.comp.
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
layout(binding = 3) readonly buffer Starts { uint starts[]; };
INPUT_VEC4(4, o)
layout(binding = 5) readonly buffer Lse { float lse[]; };
INPUT_VEC4(6, d_o)
layout(binding = 7) writeonly buffer Dq { vec4 dq[]; };
layout(binding = 8) writeonly buffer Delta { float delta[]; };

shared float weights[TEAMS * WEIGHTS]; // of a team: score' P (dP - D), [TILE, ROWS]

void main()
{
    uint head = gl_WorkGroupID.y, first_row = gl_WorkGroupID.x * WORKGROUP_ROWS;
    uint end = min(first_row + WORKGROUP_ROWS, p.rows) - 1;
    uint row = min(team_row(score_row()), p.rows - 1), from = first_key(row, starts[row]);
    uint mine = team() * WEIGHTS + score_step() * ROWS + score_row(), theirs = team() * WEIGHTS;

    vec4 query[ROWS * N4], grad[ROWS * N4], acc[ROWS * N4];
    float d[SIDE];
    [[unroll]] for (uint r = 0; r < ROWS; r++) {
        float sum = 0.0;
        [[unroll]] for (uint i = 0; i < N4; i++) {
            uint n = r * N4 + i;
            uint at = min(team_row(r), p.rows - 1) * p.ldq4 + head * D4 + i * PARTS + part();
            query[n] = in_head(i) ? p.scale * q(at) : vec4(0.0);
            grad[n] = in_head(i) ? d_o(at) : vec4(0.0);
            acc[n] = vec4(0.0);
            sum = in_head(i) ? add_dot(grad[n], o(at), sum) : sum;
        }
        [[unroll]] for (uint m = 0; m < STEP; m++) // summed as dp is: a query that sees one key has
            d[r * STEP + m] = sum;                 // dp - d = 0
    }
    float own_d = summed(d), l = lse[row * p.heads + head];
    for (uint j = first_key(first_row, starts[first_row]); j <= end; j += TILE) {
        LOAD_TILE(k, v, j, end, p.ldkv4, head / p.group * D4)
        barrier();
        [[dont_unroll]] for (uint n = 0; n < TILE; n += STEP) {
            float s[SIDE], dp[SIDE];
            [[unroll]] for (uint m = 0; m < SIDE; m++)
                s[m] = dp[m] = 0.0;
            [[unroll]] for (uint m = 0; m < STEP; m++)
                [[unroll]] for (uint i = 0; i < N4; i++) {
                    vec4 key = tile_a[(n + m) * ROW4 + i * PARTS + part()];
                    vec4 value = tile_b[(n + m) * ROW4 + i * PARTS + part()];
                    [[unroll]] for (uint r = 0; r < ROWS; r++) {
                        uint at = r * STEP + m;
                        s[at] = add_dot(query[r * N4 + i], key, s[at]);
                        dp[at] = add_dot(grad[r * N4 + i], value, dp[at]);
                    }
                }
            uint at = j + n + score_step();
            float x = score(summed(s)), w = (summed(dp) - own_d) * score_slope(x);
            weights[mine + n * ROWS] = at >= from && at <= row ? exp(x - l) * w : 0.0;
        }
        team_barrier();
        [[dont_unroll]] for (uint n = 0; n < TILE; n++)
            [[unroll]] for (uint i = 0; i < N4; i++) {
                vec4 key = tile_a[n * ROW4 + i * PARTS + part()];
                [[unroll]] for (uint r = 0; r < ROWS; r++)
                    acc[r * N4 + i] =
                        fma(vec4(weights[theirs + n * ROWS + r]), key, acc[r * N4 + i]);
            }
    }
    if (score_step() == 0 && part() % ALIKE == 0 && team_row(score_row()) < p.rows) {
        delta[row * p.heads + head] = own_d;
        ZERO_PADDING(dq, row, p.ldq4, head + 1 == p.heads);
    }
    [[unroll]] for (uint r = 0; r < ROWS; r++)
        [[unroll]] for (uint i = 0; i < N4; i++)
            if (team_row(r) < p.rows && in_head(i))
                dq[team_row(r) * p.ldq4 + head * D4 + i * PARTS + part()] =
                    p.scale * acc[r * N4 + i];
}
