// SPDX-License-Identifier: MIT
// Cross-entropy of a row of logits and, in place, its gradient:
//   loss = log sum exp(z) - z[label];  dz = (softmax(z) - onehot(label)) / supervised tokens.
// Where the logits are capped, z = cap tanh(u / cap), the gradient is that of u.
// A workgroup is a row; rows past the list of supervised tokens get loss 0 and gradient 0. A loss
// that is NaN or infinite makes its gradient NaN, so that the update sees it in the norm and does
// not happen.
#version 450
#extension GL_GOOGLE_include_directive : require
#extension GL_KHR_shader_subgroup_basic : require
#extension GL_KHR_shader_subgroup_arithmetic : require
#include "lib/params.h"

layout(local_size_x_id = 0) in;
layout(constant_id = 0) const uint LANES = 64;
layout(push_constant) uniform Push { push_loss p; };
layout(binding = 0) buffer Z { float z[]; };
layout(binding = 1) readonly buffer Labels { uint labels[]; };
layout(binding = 2) writeonly buffer Losses { float losses[]; };
layout(binding = 3) readonly buffer Step { step_scalars step_; };

#include "lib/finite.glsl"
#include "lib/reduce.glsl"
#include "lib/tanh.glsl"

void main()
{
    uint row = gl_WorkGroupID.x, entry = p.first + row, at = row * p.ld4 * 4;
    bool live = entry < step_.supervised;
    float most = -3.4e38;
    for (uint i = gl_LocalInvocationID.x; i < p.cols; i += LANES)
        most = max(most, z[at + i]);
    most = reduce_max(most);
    float sum = 0.0;
    for (uint i = gl_LocalInvocationID.x; i < p.cols; i += LANES)
        sum += exp(z[at + i] - most);
    sum = reduce_add(sum);
    uint label = live ? labels[entry] : 0;
    float loss = live ? most + log(sum) - z[at + label] : 0.0;
    if (gl_LocalInvocationID.x == 0)
        losses[entry] = loss;
    if (p.gradient == 0)
        return;
    memoryBarrierBuffer(); // the label's logit is read above
    barrier();
    float factor = is_finite(loss) ? step_.inv_tokens : uintBitsToFloat(0x7fc00000u);
    for (uint i = gl_LocalInvocationID.x; i < p.ld4 * 4; i += LANES) {
        float soft = i < p.cols ? exp(z[at + i] - most) / sum : 0.0;
        float slope = p.softcap > 0.0 ? soft_cap_slope(z[at + i], p.softcap) : 1.0;
        z[at + i] = live ? (soft - (i == label ? 1.0 : 0.0)) * slope * factor : 0.0;
    }
}
