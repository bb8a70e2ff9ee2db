// SPDX-License-Identifier: MIT
// The loop both kinds of BPE share: of all adjacent pairs that make a token merge the best one, the
// leftmost of equals, until none is left. A heap of (priority, place) makes it O(n log n).
#ifndef INL_IO_MERGE_H
#define INL_IO_MERGE_H

#include "io/words.h"

// A growing list of token ids.
typedef struct inl_ids {
    int32_t *data;
    size_t count, cap;
} inl_ids;

inlay_result inl_ids_push(const inl_env *env, inl_ids *ids, int32_t id);
inlay_result inl_ids_append(const inl_env *env, inl_ids *ids, const int32_t *more, size_t count);

typedef struct inl_symbol {
    uint32_t start, size; // bytes in the word; size 0: merged into the one before
    int32_t prev, next;   // -1: none
    int32_t id;           // its token, -1: none
} inl_symbol;

// What a pair becomes: false if nothing, else the token and a priority, the smaller the earlier.
typedef bool (*inl_merge_rule)(const void *context, const inl_symbol *left, const inl_symbol *right,
                               uint32_t *priority, int32_t *id);

// Scratch for one thread, kept from word to word. Zero is a valid start.
typedef struct inl_merger {
    inl_symbol *symbols;
    size_t count, cap;
    uint64_t *heap; // priority << 32 | index of the left symbol
    size_t heap_count, heap_cap;
    char *text; // for a rewritten text
    size_t text_cap;
    inl_ids initial; // a word's symbols
    inl_words words; // met before, by this merger's tokenizer
} inl_merger;

void inl_merger_free(const inl_env *env, inl_merger *merger);
void inl_merger_clear(inl_merger *merger);
// Appends a symbol that follows the last one.
inlay_result inl_merger_push(const inl_env *env, inl_merger *merger, uint32_t size, int32_t id);
// Afterwards symbols[0] heads the list of those left, joined by `next`.
inlay_result inl_merger_run(const inl_env *env, inl_merger *merger, inl_merge_rule rule,
                            const void *context);

#endif
