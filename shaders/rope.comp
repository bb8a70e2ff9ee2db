// SPDX-License-Identifier: MIT
// Rotary position embedding (arXiv 2104.09864) in GGUF's order for llama: pairs (2i, 2i + 1) of a
// head turn by position * theta_i; backward is the same with the opposite sign. A thread turns two
// pairs. STORE: the row goes to row cache_row + t of the destination (the key-value cache). ROTATE
// off copies.
#version 450
#extension GL_GOOGLE_include_directive : require
#include "lib/inputs.glsl"
#include "lib/params.h"

layout(local_size_x_id = 0) in;
layout(constant_id = 0) const uint LANES = 32;
layout(constant_id = 1) const bool ROTATE = true;
layout(constant_id = 2) const bool STORE = false;

layout(push_constant) uniform Push { push_rope p; };
INPUT_VEC4(0, x)
layout(binding = 1) writeonly buffer Y { vec4 y[]; };
INPUT_VEC4(2, table) // [position, rope_dim / 2] (cos, sin)
layout(binding = 3) readonly buffer Positions { uint positions[]; };
layout(binding = 4) readonly buffer Step { step_scalars step_; };

void main()
{
    uint i = gl_GlobalInvocationID.x, t = gl_WorkGroupID.y;
    if (i >= p.ld_in4)
        return;
    vec4 v = x(t * p.ld_in4 + i);
    uint within = 4 * i % p.head_dim;
    if (ROTATE && within < p.rope_dim && 4 * i < p.heads * p.head_dim) {
        vec4 cs = table((positions[t] * p.rope_dim + within) / 4);
        cs.yw *= p.sign;
        v = vec4(v.x * cs.x - v.y * cs.y, v.x * cs.y + v.y * cs.x, v.z * cs.z - v.w * cs.w,
                 v.z * cs.w + v.w * cs.z);
    }
    y[(t + (STORE ? step_.cache_row : 0)) * p.ld_out4 + i] = v;
}
