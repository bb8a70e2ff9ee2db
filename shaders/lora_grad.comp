// SPDX-License-Identifier: MIT
// The adapter's gradients, summed over tokens and added to what is there:
//   lora_grad:        dA[r, k] += sum_t G[t, r] mask(X)[t, k]
//   lora_grad (UP):   dB[n, r] += s sum_t dY[t, n] H[t, r]
// EXPERTS: a sum for each expert, over its own rows.
// A thread makes 8 wide columns by 4 of the rank; threads lie along the wide side. SLICES threads
// share the tokens, eight in turn; their sums are added in an order of their own, pair by pair.
#version 450
#extension GL_GOOGLE_include_directive : require
#extension GL_EXT_control_flow_attributes : require
#include "lib/inputs.glsl"
#include "lib/params.h"

layout(local_size_x_id = 0, local_size_y_id = 3) in;
layout(constant_id = 0) const uint LANES = 32;
layout(constant_id = 1) const bool DROPOUT = false;
layout(constant_id = 2) const bool EXPERTS = false;
layout(constant_id = 3) const uint SLICES = 1; // a power of two

layout(push_constant) uniform Push { push_lora_grad p; };
INPUT_VEC4(0, x) // X or dY
INPUT_VEC4(1, h) // G or H
layout(binding = 2) buffer Gradient { vec4 g[]; };
layout(binding = 3) readonly buffer Step { step_scalars step_; };
layout(binding = 4) readonly buffer Segments { uvec2 segments[]; }; // first row and rows, by expert

#include "lib/rng.glsl"

const uint TOKENS = 8; // taken together; those past the end count as zero
shared vec4 parts[SLICES > 1 ? SLICES / 2 * LANES * 8 : 1];

#define H_AT(i) h(min(t0 + (i), end - 1) * p.ldh4 + p.h4 + r4)

void main()
{
    uint c8 = gl_GlobalInvocationID.x, r4 = gl_WorkGroupID.y;
    bool live = c8 < p.cols8;
    c8 = min(c8, p.cols8 - 1);
    uint first = 0, end = p.rows, base = 0;
    if (EXPERTS) {
        first = segments[gl_WorkGroupID.z].x;
        end = first + segments[gl_WorkGroupID.z].y;
        base = gl_WorkGroupID.z * p.expert4;
    }
    vec4 acc[4][2]; // [rank][wide]
    [[unroll]] for (uint r = 0; r < 4; r++)
        acc[r][0] = acc[r][1] = vec4(0.0);
    uint slice = gl_LocalInvocationID.y;
    for (uint t0 = first + slice * TOKENS; t0 < end; t0 += SLICES * TOKENS) {
        SHARED_VEC4S(held, TOKENS, H_AT);
        [[unroll]] for (uint i = 0; i < TOKENS; i++) {
            uint t = min(t0 + i, end - 1);
            vec4 a = x(t * p.ldx4 + 2 * c8), b = x(t * p.ldx4 + 2 * c8 + 1);
            if (DROPOUT) {
                a *= dropout_mask(step_.seed, p.stream, t * p.cols + 8 * c8, p.dropout);
                b *= dropout_mask(step_.seed, p.stream, t * p.cols + 8 * c8 + 4, p.dropout);
            }
            vec4 v = SHARED(held, i, H_AT);
            v = t0 + i < end ? v : vec4(0.0);
            [[unroll]] for (uint r = 0; r < 4; r++) {
                acc[r][0] = fma(vec4(v[r]), a, acc[r][0]);
                acc[r][1] = fma(vec4(v[r]), b, acc[r][1]);
            }
        }
    }
    for (uint half_ = SLICES / 2; half_ > 0; half_ /= 2) {
        uint at = (slice % half_ * LANES + gl_LocalInvocationID.x) * 8;
        [[unroll]] for (uint i = 0; i < 8; i++)
            if (slice >= half_ && slice < 2 * half_)
                parts[at + i] = acc[i / 2][i % 2];
        barrier();
        [[unroll]] for (uint i = 0; i < 8; i++)
            if (slice < half_)
                acc[i / 2][i % 2] += parts[at + i];
        barrier(); // before the next half is written over them
    }
    if (!live || first == end || slice > 0)
        return;
#ifdef UP
    [[unroll]] for (uint n = 0; n < 8; n++)
        g[base + (8 * c8 + n) * p.ldg4 + r4] +=
            p.scale * vec4(acc[0][n / 4][n % 4], acc[1][n / 4][n % 4], acc[2][n / 4][n % 4],
                           acc[3][n / 4][n % 4]);
#else
    [[unroll]] for (uint r = 0; r < 4; r++) {
        uint at = base + (4 * r4 + r) * p.ldg4 + 2 * c8;
        g[at] += p.scale * acc[r][0];
        g[at + 1] += p.scale * acc[r][1];
    }
#endif
}
