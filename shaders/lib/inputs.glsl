// SPDX-License-Identifier: MIT
// Operands in two spellings: INPUT_VEC4(binding, x) declares one, x(i) reads its vec4 i. Of
// IN_OUT_VEC4 there is also x_store(i, v); who stores does not read it again.
//
// On a GPU it is a storage buffer, and what a whole workgroup needs is read at a uniform address.
// SIMD is for drivers that run a subgroup in the lanes of one CPU vector (SPREAD of them): there a
// storage buffer is read word by word and lane by lane, each behind tests of its own, a texel
// buffer by vec4s without a branch. What all lanes need is fetched once, each lane its part, and
// handed round:
//     SHARED_VEC4S(part, count, READ)   READ(j) reads vec4 j of `count`
//     SHARED(part, j, READ)             vec4 j, for a j that is constant once loops are unrolled
// All lanes must be active at both.
#ifdef SIMD
#extension GL_KHR_shader_subgroup_basic : require
#extension GL_KHR_shader_subgroup_shuffle : require

layout(constant_id = 8) const uint SPREAD = 8; // the subgroup's size

#define INPUT_VEC4(slot, name)                                                                     \
    layout(binding = slot, rgba32f) readonly uniform imageBuffer name##_texels;                    \
    vec4 name(uint i) { return imageLoad(name##_texels, int(i)); }
#define IN_OUT_VEC4(slot, name)                                                                    \
    layout(binding = slot, rgba32f) uniform imageBuffer name##_texels;                             \
    vec4 name(uint i) { return imageLoad(name##_texels, int(i)); }                                 \
    void name##_store(uint i, vec4 v) { imageStore(name##_texels, int(i), v); }
#define INPUT_UVEC4(slot, name)                                                                    \
    layout(binding = slot, rgba32ui) readonly uniform uimageBuffer name##_texels;                  \
    uvec4 name(uint i) { return imageLoad(name##_texels, int(i)); }

vec4 from_lane(vec4 v, uint lane)
{
    return vec4(subgroupShuffle(v.x, lane), subgroupShuffle(v.y, lane), subgroupShuffle(v.z, lane),
                subgroupShuffle(v.w, lane));
}

#define SHARED_VEC4S(part, count, READ)                                                            \
    vec4 part[((count) + SPREAD - 1) / SPREAD];                                                    \
    [[unroll]] for (uint part##_i = 0; part##_i < ((count) + SPREAD - 1) / SPREAD; part##_i++)     \
        part[part##_i] = READ(min(gl_SubgroupInvocationID + SPREAD * part##_i, (count) - 1))
#define SHARED(part, j, READ) from_lane(part[(j) / SPREAD], (j) % SPREAD)

#else

#define INPUT_VEC4(slot, name)                                                                     \
    layout(binding = slot) readonly buffer name##_buffer { vec4 name##_words[]; };                 \
    vec4 name(uint i) { return name##_words[i]; }
#define IN_OUT_VEC4(slot, name)                                                                    \
    layout(binding = slot) buffer name##_buffer { vec4 name##_words[]; };                          \
    vec4 name(uint i) { return name##_words[i]; }                                                  \
    void name##_store(uint i, vec4 v) { name##_words[i] = v; }
#define INPUT_UVEC4(slot, name)                                                                    \
    layout(binding = slot) readonly buffer name##_buffer { uvec4 name##_words[]; };                \
    uvec4 name(uint i) { return name##_words[i]; }

#define SHARED_VEC4S(part, count, READ)
#define SHARED(part, j, READ) READ(j)

#endif
