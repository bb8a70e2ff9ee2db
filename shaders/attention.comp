// SPDX-License-Identifier: MIT
// O = softmax(score(scale Q K^T)) V by row, online (arXiv 2205.14135, 2307.08691): nothing of size
// T x T stays, the row's log-sum-exp does, for the backward pass. A workgroup is WORKGROUP_ROWS
// queries of one head and walks their keys by tiles (lib/attention_tile.glsl).
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
layout(binding = 4) writeonly buffer O { vec4 o[]; };
layout(binding = 5) writeonly buffer Lse { float lse[]; }; // [rows, heads]
layout(binding = 6) readonly buffer Step { step_scalars step_; };

shared float weights[TEAMS * WEIGHTS]; // of a team: scores, then what they weigh, [TILE, ROWS]
shared float factors[WORKGROUP_ROWS];

const float UNSEEN = -1e30;

void main()
{
    uint head = gl_WorkGroupID.y, first_row = gl_WorkGroupID.x * WORKGROUP_ROWS;
    uint last_row = min(first_row + WORKGROUP_ROWS, p.rows) - 1;
    uint base = CACHED ? step_.cache_row : 0, end = base + last_row;
    uint row = min(team_row(score_row()), p.rows - 1), key = base + row;
    uint from = first_key(key, starts[row]);
    uint mine = team() * WEIGHTS + score_step() * ROWS + score_row(), theirs = team() * WEIGHTS;

    vec4 query[ROWS * N4], acc[ROWS * N4];
    [[unroll]] for (uint r = 0; r < ROWS; r++)
        [[unroll]] for (uint i = 0; i < N4; i++) {
            uint at = min(team_row(r), p.rows - 1) * p.ldq4 + head * D4 + i * PARTS + part();
            query[r * N4 + i] = in_head(i) ? p.scale * q(at) : vec4(0.0);
            acc[r * N4 + i] = vec4(0.0);
        }
    float most = UNSEEN, sum = 0.0;
    for (uint j = first_key(base + first_row, starts[first_row]); j <= end; j += TILE) {
        LOAD_TILE(k, v, j, end, p.ldkv4, head / p.group * D4)
        barrier();
        float now = most;
        [[dont_unroll]] for (uint n = 0; n < TILE; n += STEP) {
            float s[SIDE];
            [[unroll]] for (uint m = 0; m < SIDE; m++)
                s[m] = 0.0;
            [[unroll]] for (uint m = 0; m < STEP; m++)
                [[unroll]] for (uint i = 0; i < N4; i++) {
                    vec4 other = tile_a[(n + m) * ROW4 + i * PARTS + part()];
                    [[unroll]] for (uint r = 0; r < ROWS; r++)
                        s[r * STEP + m] = add_dot(query[r * N4 + i], other, s[r * STEP + m]);
                }
            uint at = j + n + score_step();
            float x = score(summed(s));
            x = at >= from && at <= key ? x : UNSEEN;
            weights[mine + n * ROWS] = x;
            now = max(now, x);
        }
        now = row_max(now);
        float old = exp(most - now);
        most = now;
        sum *= old;
        for (uint n = 0; n < TILE; n += STEP) {
            float x = weights[mine + n * ROWS];
            float e = x > 0.1 * UNSEEN ? exp(x - now) : 0.0;
            weights[mine + n * ROWS] = e;
            sum += e;
        }
        factors[team() * ROWS + score_row()] = old;
        team_barrier();
        [[unroll]] for (uint r = 0; r < ROWS; r++)
            [[unroll]] for (uint i = 0; i < N4; i++)
                acc[r * N4 + i] *= factors[team() * ROWS + r];
        [[dont_unroll]] for (uint n = 0; n < TILE; n++)
            [[unroll]] for (uint i = 0; i < N4; i++) {
                vec4 other = tile_b[n * ROW4 + i * PARTS + part()];
                [[unroll]] for (uint r = 0; r < ROWS; r++)
                    acc[r * N4 + i] =
                        fma(vec4(weights[theirs + n * ROWS + r]), other, acc[r * N4 + i]);
            }
    }
    sum = row_sum(sum);
    team_barrier();
    factors[team() * ROWS + score_row()] = 1.0 / sum;
    team_barrier();
    if (score_step() == 0 && part() % ALIKE == 0 && team_row(score_row()) < p.rows) {
        lse[row * p.heads + head] = most + log(sum);
        ZERO_PADDING(o, row, p.ldq4, head + 1 == p.heads);
    }
    [[unroll]] for (uint r = 0; r < ROWS; r++)
        [[unroll]] for (uint i = 0; i < N4; i++)
            if (team_row(r) < p.rows && in_head(i))
                o[team_row(r) * p.ldq4 + head * D4 + i * PARTS + part()] =
                    acc[r * N4 + i] * factors[team() * ROWS + r];
}
