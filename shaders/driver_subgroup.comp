// SPDX-License-Identifier: MIT
// What a driver says of subgroups, for inlay verify: where each thread is, and what comes of its
// number there: of a sum, a maximum, shuffles and an election. A thread writes eight words.
#version 450
#extension GL_KHR_shader_subgroup_basic : require
#extension GL_KHR_shader_subgroup_arithmetic : require
#extension GL_KHR_shader_subgroup_shuffle : require

layout(local_size_x_id = 0) in;
layout(constant_id = 0) const uint LANES = 64;
layout(binding = 0) readonly buffer X { float x[]; };
layout(binding = 1) writeonly buffer Y { uint y[]; };

void main()
{
    uint i = gl_WorkGroupID.x * LANES + gl_LocalInvocationID.x, lane = gl_SubgroupInvocationID;
    float v = x[i];
    y[8 * i] = gl_SubgroupSize;
    y[8 * i + 1] = gl_SubgroupID;
    y[8 * i + 2] = lane;
    y[8 * i + 3] = floatBitsToUint(subgroupAdd(v));
    y[8 * i + 4] = floatBitsToUint(subgroupMax(v));
    y[8 * i + 5] = floatBitsToUint(subgroupShuffle(v, lane ^ 1u));
    y[8 * i + 6] = floatBitsToUint(subgroupShuffle(v, (lane & ~3u) | (lane + 1u & 3u)));
    y[8 * i + 7] = subgroupElect() ? 1u : 0u;
}
