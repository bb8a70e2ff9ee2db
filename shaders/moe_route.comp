// SPDX-License-Identifier: MIT
// The router of a mixture of experts, a workgroup a token.
//   probs = softmax(logits), in place; the `used` largest of them, equal ones by lowest index:
//   ids[t, k], and weights[t, k] their probabilities, divided by their sum with `normalize`
// BACKWARD: dlogits from the gradients of the weights, which lie by the experts' rows. With
// c = sum_k w_k dw_k it is p_e (dw_k - c) for a chosen expert and -p_e c for another, or, where the
// weights are normalized, w_k (dw_k - c) and 0.
#version 450
#extension GL_GOOGLE_include_directive : require
#extension GL_KHR_shader_subgroup_basic : require
#extension GL_KHR_shader_subgroup_arithmetic : require
#include "lib/params.h"

layout(local_size_x_id = 0) in;
layout(constant_id = 0) const uint LANES = 32;

layout(push_constant) uniform Push { push_moe_route p; };
layout(binding = 0) buffer Probs { float probs[]; };
layout(binding = 1) buffer Ids { uint ids[]; };
layout(binding = 2) buffer Weights { float weights[]; };
#ifdef BACKWARD
layout(binding = 3) readonly buffer Dweights { float dweights[]; };
layout(binding = 4) readonly buffer Position { uint position[]; };
layout(binding = 5) writeonly buffer Dlogits { float dlogits[]; };
#endif

#include "lib/reduce.glsl"

#ifdef BACKWARD

float gradient(uint row, uint e, float c)
{
    float prob = probs[row * p.ld + e], d = p.normalize != 0 ? 0.0 : -prob * c;
    for (uint k = 0; k < p.used; k++) {
        uint i = row * p.used + k;
        if (ids[i] == e)
            d = (p.normalize != 0 ? weights[i] : prob) * (dweights[position[i]] - c);
    }
    return d;
}

void main()
{
    uint row = gl_WorkGroupID.x;
    float c = 0.0;
    for (uint k = 0; k < p.used; k++)
        c += weights[row * p.used + k] * dweights[position[row * p.used + k]];
    for (uint e = gl_LocalInvocationID.x; e < p.ld; e += LANES)
        dlogits[row * p.ld + e] = e < p.experts ? gradient(row, e, c) : 0.0;
}

#else

const float NOWHERE = -3e38; // less than any index taken negative

// The first expert after (value, index) in the order of falling probability and rising index.
// NOWHERE when none is left, as where all are NaN.
float next_expert(uint at, inout float value, float index)
{
    float best = -1.0, own = NOWHERE;
    for (uint e = gl_LocalInvocationID.x; e < p.experts; e += LANES) {
        float v = probs[at + e];
        if ((v < value || (v == value && float(e) > index)) && v > best) {
            best = v;
            own = -float(e);
        }
    }
    value = reduce_max(best);
    return -reduce_max(best == value ? own : NOWHERE);
}

void main()
{
    uint row = gl_WorkGroupID.x, at = row * p.ld;
    float most = NOWHERE, sum = 0.0;
    for (uint e = gl_LocalInvocationID.x; e < p.experts; e += LANES)
        most = max(most, probs[at + e]);
    most = reduce_max(most);
    for (uint e = gl_LocalInvocationID.x; e < p.experts; e += LANES) {
        probs[at + e] = exp(probs[at + e] - most);
        sum += probs[at + e];
    }
    sum = reduce_add(sum);
    for (uint e = gl_LocalInvocationID.x; e < p.experts; e += LANES)
        probs[at + e] /= sum;
    float value = 2.0, index = -1.0, total = 0.0;
    for (uint k = 0; k < p.used; k++) {
        index = next_expert(at, value, index);
        bool found = index < float(p.experts);
        total += value;
        if (gl_LocalInvocationID.x == 0) { // a broken token goes to experts that exist, as NaN
            ids[row * p.used + k] = found ? uint(index) : k;
            weights[row * p.used + k] = found ? value : uintBitsToFloat(0x7fc00000u);
        }
    }
    if (p.normalize != 0 && gl_LocalInvocationID.x == 0)
        for (uint k = 0; k < p.used; k++)
            weights[row * p.used + k] /= total;
}

#endif
