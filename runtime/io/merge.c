// SPDX-License-Identifier: MIT
#include "io/merge.h"

void inl_merger_free(const inl_env *env, inl_merger *merger)
{
    inl_free(env, merger->symbols);
    inl_free(env, merger->heap);
    inl_free(env, merger->text);
    inl_free(env, merger->initial.data);
    inl_words_free(env, &merger->words);
    *merger = (inl_merger){0};
}

void inl_merger_clear(inl_merger *merger)
{
    merger->count = 0;
    merger->heap_count = 0;
}

inlay_result inl_merger_push(const inl_env *env, inl_merger *merger, uint32_t size, int32_t id)
{
    size_t index = merger->count;
    if (index >= INT32_MAX)
        return inl_fail(env, INLAY_ERROR_UNSUPPORTED, "a word of 2 GiB cannot be tokenized");
    INL_TRY(inl_grow(env, (void **)&merger->symbols, &merger->cap, index + 1,
                     sizeof(*merger->symbols)));
    inl_symbol *symbol = &merger->symbols[index];
    *symbol = (inl_symbol){.size = size, .prev = (int32_t)index - 1, .next = -1, .id = id};
    if (index > 0) {
        symbol[-1].next = (int32_t)index;
        symbol->start = symbol[-1].start + symbol[-1].size;
    }
    merger->count = index + 1;
    return INLAY_OK;
}

static inlay_result heap_push(const inl_env *env, inl_merger *merger, uint64_t key)
{
    INL_TRY(inl_grow(env, (void **)&merger->heap, &merger->heap_cap, merger->heap_count + 1,
                     sizeof(*merger->heap)));
    size_t i = merger->heap_count++;
    for (; i > 0 && merger->heap[(i - 1) / 2] > key; i = (i - 1) / 2)
        merger->heap[i] = merger->heap[(i - 1) / 2];
    merger->heap[i] = key;
    return INLAY_OK;
}

static uint64_t heap_pop(inl_merger *merger)
{
    uint64_t top = merger->heap[0];
    uint64_t key = merger->heap[--merger->heap_count];
    size_t i = 0;
    for (size_t child; (child = 2 * i + 1) < merger->heap_count; i = child) {
        if (child + 1 < merger->heap_count && merger->heap[child + 1] < merger->heap[child])
            child++;
        if (merger->heap[child] >= key)
            break;
        merger->heap[i] = merger->heap[child];
    }
    merger->heap[i] = key;
    return top;
}

static inlay_result offer(const inl_env *env, inl_merger *merger, int32_t left, inl_merge_rule rule,
                          const void *context)
{
    uint32_t priority;
    int32_t id;
    if (left < 0 || merger->symbols[left].next < 0)
        return INLAY_OK;
    const inl_symbol *symbol = &merger->symbols[left];
    if (!rule(context, symbol, &merger->symbols[symbol->next], &priority, &id))
        return INLAY_OK;
    return heap_push(env, merger, (uint64_t)priority << 32 | (uint32_t)left);
}

static void join(inl_merger *merger, inl_symbol *left, int32_t id)
{
    inl_symbol *right = &merger->symbols[left->next];
    left->size += right->size;
    left->id = id;
    left->next = right->next;
    if (right->next >= 0)
        merger->symbols[right->next].prev = (int32_t)(left - merger->symbols);
    right->size = 0;
}

inlay_result inl_merger_run(const inl_env *env, inl_merger *merger, inl_merge_rule rule,
                            const void *context)
{
    for (size_t i = 0; i + 1 < merger->count; i++)
        INL_TRY(offer(env, merger, (int32_t)i, rule, context));
    while (merger->heap_count > 0) {
        uint64_t key = heap_pop(merger);
        int32_t index = (int32_t)(key & UINT32_MAX);
        inl_symbol *left = &merger->symbols[index];
        // The entry may be older than its pair: it counts if the pair there now is as good.
        uint32_t priority;
        int32_t id;
        if (left->size == 0 || left->next < 0 ||
            !rule(context, left, &merger->symbols[left->next], &priority, &id) ||
            priority != key >> 32)
            continue;
        join(merger, left, id);
        INL_TRY(offer(env, merger, left->prev, rule, context));
        INL_TRY(offer(env, merger, index, rule, context));
    }
    return INLAY_OK;
}

inlay_result inl_ids_push(const inl_env *env, inl_ids *ids, int32_t id)
{
    INL_TRY(inl_grow(env, (void **)&ids->data, &ids->cap, ids->count + 1, sizeof(*ids->data)));
    ids->data[ids->count++] = id;
    return INLAY_OK;
}

inlay_result inl_ids_append(const inl_env *env, inl_ids *ids, const int32_t *more, size_t count)
{
    INL_TRY(inl_grow(env, (void **)&ids->data, &ids->cap, ids->count + count, sizeof(*ids->data)));
    for (size_t i = 0; i < count; i++)
        ids->data[ids->count++] = more[i];
    return INLAY_OK;
}
