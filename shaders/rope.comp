// SPDX-License-Identifier: MIT
// Rotary position embedding (arXiv 2104.09864) over the first rope_dim columns of each head: pair i
// turns by position * theta_i; backward is the same with the opposite sign. A pair is (2i, 2i + 1),
// or with HALVES (i, i + rope_dim / 2), where y must not be x. A thread makes four columns. STORE:
// the row goes to row cache_row + t of the destination (the key-value cache). ROTATE off copies.
#version 450
#extension GL_GOOGLE_include_directive : require
#include "lib/inputs.glsl"
#include "lib/params.h"

layout(local_size_x_id = 0) in;
layout(constant_id = 0) const uint LANES = 32;
layout(constant_id = 1) const bool ROTATE = true;
layout(constant_id = 2) const bool STORE = false;
layout(constant_id = 3) const bool HALVES = false;

layout(push_constant) uniform Push { push_rope p; };
INPUT_VEC4(0, x)
layout(binding = 1) writeonly buffer Y { vec4 y[]; };
INPUT_VEC4(2, table) // [position, rope_dim / 2] (cos, sin)
layout(binding = 3) readonly buffer Positions { uint positions[]; };
layout(binding = 4) readonly buffer Step { step_scalars step_; };

// Columns w and w + 1, w even, of the head that begins at vec4 `head`.
vec2 two(uint head, uint w)
{
    vec4 v = x(head + w / 4);
    return w % 4 == 0 ? v.xy : v.zw;
}

// The same turned; `turns` is where the position's row of the table begins, in floats.
vec2 two_turned(uint head, uint w, uint turns)
{
    uint half_dim = p.rope_dim / 2; // even
    bool low = w < half_dim;
    uint pair = low ? w : w - half_dim;
    vec4 cs = table((turns + 2 * pair) / 4);
    vec2 mine = two(head, w), other = two(head, low ? w + half_dim : pair);
    return mine * cs.xz + (low ? -p.sign : p.sign) * other * cs.yw;
}

void main()
{
    uint i = gl_GlobalInvocationID.x, t = gl_WorkGroupID.y;
    if (i >= p.count4)
        return;
    uint from = t * p.ld_in4 + p.in4, within = 4 * i % p.head_dim;
    bool live = 4 * i < p.heads * p.head_dim;
    vec4 v = live ? x(from + i) : vec4(0.0);
    if (ROTATE && live && within < p.rope_dim) {
        uint turns = positions[t] * p.rope_dim;
        if (HALVES) {
            uint head = from + i - within / 4;
            v = vec4(two_turned(head, within, turns), two_turned(head, within + 2, turns));
        } else {
            vec4 cs = table((turns + within) / 4);
            cs.yw *= p.sign;
            v = vec4(v.x * cs.x - v.y * cs.y, v.x * cs.y + v.y * cs.x, v.z * cs.z - v.w * cs.w,
                     v.z * cs.w + v.w * cs.z);
        }
    }
    y[(t + (STORE ? step_.cache_row : 0)) * p.ld_out4 + p.out4 + i] = v;
}
