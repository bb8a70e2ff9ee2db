// SPDX-License-Identifier: MIT
// Sums and maxima over a workgroup, for any subgroup size, in an order fixed by the device.
// Needs GL_KHR_shader_subgroup_arithmetic and a local size along x alone, a power of two: Mesa
// 22.3's CPU driver does not count a last subgroup that is not full.
#ifdef SIMD
#define ONE_SUBGROUP (LANES <= SPREAD) // a constant: no barrier is left in the kernel
#else
#define ONE_SUBGROUP (gl_NumSubgroups == 1)
#endif

shared float reduce_parts[256];

float reduce_add(float v)
{
    v = subgroupAdd(v);
    if (ONE_SUBGROUP)
        return v;
    barrier(); // reduce_parts may still be read by the call before
    if (subgroupElect())
        reduce_parts[gl_SubgroupID] = v;
    barrier();
    float sum = 0.0;
    for (uint i = 0; i < gl_NumSubgroups; i++)
        sum += reduce_parts[i];
    return sum;
}

float reduce_max(float v)
{
    v = subgroupMax(v);
    if (ONE_SUBGROUP)
        return v;
    barrier();
    if (subgroupElect())
        reduce_parts[gl_SubgroupID] = v;
    barrier();
    float most = reduce_parts[0];
    for (uint i = 1; i < gl_NumSubgroups; i++)
        most = max(most, reduce_parts[i]);
    return most;
}
