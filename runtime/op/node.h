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

#endif
