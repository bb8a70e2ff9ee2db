// SPDX-License-Identifier: MIT
// Largest first: each item goes to the lowest offset of the first block where no item alive at the
// same time lies.
#include "op/arena.h"

#include <stdlib.h>

static int larger_first(const void *a, const void *b)
{
    const inl_arena_item *x = *(inl_arena_item *const *)a, *y = *(inl_arena_item *const *)b;
    if (x->bytes != y->bytes)
        return x->bytes < y->bytes ? 1 : -1;
    return x->first != y->first ? (x->first < y->first ? -1 : 1) : (x < y ? -1 : x > y);
}

static bool alive_together(const inl_arena_item *a, const inl_arena_item *b)
{
    return a->first <= b->last && b->first <= a->last;
}

// Placed items are kept sorted by block and offset, so that one pass finds the first gap.
static uint64_t first_gap(inl_arena_item *const *placed, uint32_t count, const inl_arena_item *item,
                          uint32_t block)
{
    uint64_t at = 0;
    for (uint32_t i = 0; i < count; i++) {
        const inl_arena_item *other = placed[i];
        if (other->block != block || !alive_together(item, other))
            continue;
        if (other->offset >= at + item->bytes)
            return at;
        at = INL_MAX(at, other->offset + other->bytes);
    }
    return at;
}

static void insert(inl_arena_item **placed, uint32_t count, inl_arena_item *item)
{
    uint32_t i = count;
    while (i > 0 &&
           (placed[i - 1]->block > item->block ||
            (placed[i - 1]->block == item->block && placed[i - 1]->offset > item->offset))) {
        placed[i] = placed[i - 1];
        i--;
    }
    placed[i] = item;
}

static void place_all(inl_arena_item **order, inl_arena_item **placed, uint32_t count,
                      uint64_t block_bytes, uint64_t *sizes, uint32_t *blocks)
{
    for (uint32_t i = 0; i < count; i++) {
        inl_arena_item *item = order[i];
        for (item->block = 0;; item->block++) {
            item->offset = first_gap(placed, i, item, item->block);
            if (item->offset + item->bytes <= block_bytes || item->offset == 0)
                break;
        }
        *blocks = INL_MAX(*blocks, item->block + 1);
        sizes[item->block] = INL_MAX(sizes[item->block], item->offset + item->bytes);
        insert(placed, i, item);
    }
}

inlay_result inl_arena_place(const inl_env *env, inl_arena_item *items, uint32_t count,
                             uint64_t alignment, uint64_t block_bytes, uint64_t **block_sizes,
                             uint32_t *block_count)
{
    *block_count = 0;
    inl_arena_item **order = inl_alloc(env, 2 * (size_t)count + 1, sizeof(*order));
    *block_sizes = inl_alloc(env, (size_t)count + 1, sizeof(**block_sizes));
    if (!order || !*block_sizes) {
        inl_free(env, order);
        return INLAY_ERROR_OUT_OF_MEMORY;
    }
    for (uint32_t i = 0; i < count; i++) {
        items[i].bytes = inl_round_up(items[i].bytes, alignment);
        order[i] = &items[i];
    }
    qsort(order, count, sizeof(*order), larger_first);
    place_all(order, order + count, count, block_bytes, *block_sizes, block_count);
    inl_free(env, order);
    return INLAY_OK;
}
