// SPDX-License-Identifier: MIT
// Helpers of the wrappers in this folder for filling a node.
#ifndef INL_OP_NODE_H
#define INL_OP_NODE_H

#include "op/op.h"

#include <string.h>

static inline void inl_node_push(inl_node *node, const void *push, size_t bytes)
{
    _Static_assert(INL_NODE_PUSH <= 128, "Vulkan guarantees 128 bytes of push constants");
    memcpy(node->push, push, bytes);
}

// A buffer that may be absent.
static inline inl_node_use inl_node_optional(inl_buf buf, inl_access access)
{
    return buf == INL_BUF_NONE ? (inl_node_use){0} : (inl_node_use){buf, access};
}

static inline uint32_t inl_ld4(inl_tensor t)
{
    return t.ld / 4;
}

// Lanes of a workgroup: a subgroup's where whole ones share what they read, so that none idles.
static inline uint32_t inl_node_lanes(const inl_plan *plan, uint32_t lanes)
{
    const inl_gpu_caps *caps = inl_plan_caps(plan);
    return caps && caps->simd_lanes ? caps->simd_lanes : lanes;
}

#define INL_SPEC_PACKING 9 // shaders/lib/dequant_packed.glsl

// That constant, where the weights are packed.
static inline void inl_node_packing(inl_node *node, const inl_format *format)
{
    if (format->packing == 0)
        return;
    node->spec[INL_SPEC_PACKING] = format->packing;
    node->spec_count = INL_MAX(node->spec_count, INL_SPEC_PACKING + 1);
}

// For a kernel that takes its element from linear_index(): `count` of them.
static inline void inl_node_linear(inl_node *node, uint32_t count, uint32_t lanes)
{
    uint32_t groups = inl_div_up(count, lanes);
    node->groups[0] = INL_MIN(groups, LINEAR_GROUPS_X);
    node->groups[1] = inl_div_up(groups, LINEAR_GROUPS_X);
    node->groups[2] = 1;
}

#endif
