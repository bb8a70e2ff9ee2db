// SPDX-License-Identifier: MIT
// Places buffers with known lifetimes into as little memory as a greedy search finds.
#ifndef INL_OP_ARENA_H
#define INL_OP_ARENA_H

#include "base/env.h"

typedef struct inl_arena_item {
    uint64_t bytes;
    uint32_t first, last; // uses, inclusive; items whose spans do not meet may share memory
    uint32_t block;       // result
    uint64_t offset;      // result, a multiple of the alignment
} inl_arena_item;

// Blocks are at most `block_bytes` (an item larger than that is an error of the caller's).
// block_sizes is allocated for the caller: bytes of each block.
inlay_result inl_arena_place(const inl_env *env, inl_arena_item *items, uint32_t count,
                             uint64_t alignment, uint64_t block_bytes, uint64_t **block_sizes,
                             uint32_t *block_count);

#endif
