// SPDX-License-Identifier: MIT
// Values that every lane of a subgroup needs, loaded once by its lanes together and handed round.
// Where a load at a uniform address is as cheap as a register (any GPU) SHARE is 0 and each lane
// loads for itself; drivers that load lane by lane get the subgroup's size (gpu/caps.c). All lanes
// must take part. Include after the id of SHARE is set:
//   #define SHARE_ID 3
//   vec4 held[HELD(count)];
//   HOLD(held, count, i, x[first + i]);              i: 0 to count - 1
//   vec4 v = HELD_AT(held, n, x[first + n]);          n the same in all lanes, best a constant
#extension GL_KHR_shader_subgroup_basic : require
#extension GL_KHR_shader_subgroup_ballot : require

layout(constant_id = SHARE_ID) const uint SHARE = 0;
const uint SHARE_LANES = SHARE > 0 ? SHARE : 1;

#define HELD(count) (SHARE > 0 ? ((count) + SHARE_LANES - 1) / SHARE_LANES : 1)
#define HOLD(held, count, i, load)                                                                 \
    if (SHARE > 0)                                                                                 \
        [[unroll]] for (uint i_ = 0; i_ < HELD(count); i_++) {                                     \
            uint i = min(i_ * SHARE_LANES + gl_SubgroupInvocationID, (count) - 1);                 \
            held[i_] = load;                                                                       \
        }
#define HELD_AT(held, n, load)                                                                     \
    (SHARE > 0 ? subgroupBroadcast(held[(n) / SHARE_LANES], (n) % SHARE_LANES) : (load))
