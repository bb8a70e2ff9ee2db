// SPDX-License-Identifier: MIT
// The store of tokens: sequences end to end with their masks, and the texts they were made from.
#ifndef INL_IO_CORPUS_H
#define INL_IO_CORPUS_H

#include "io/merge.h"
#include "io/pack.h"

// Offsets into inl_corpus.texts.
typedef struct inl_text_pair {
    size_t prompt, completion;
} inl_text_pair;

typedef struct inl_corpus {
    char format[32];
    uint32_t max_length;
    uint64_t records;
    uint64_t dropped; // records without a supervised token
    inl_ids tokens; // of all sequences, end to end
    uint8_t *supervised; // (tokens.count)
    size_t supervised_cap;
    inl_sequence *sequences;
    size_t count, cap;
    // Prompt-completion alone: one pair a record.
    inl_text_pair *pairs;
    size_t pair_count, pair_cap;
    char *texts; // NUL-terminated strings, end to end
    size_t text_size, text_cap;
} inl_corpus;

void inl_corpus_free(const inl_env *env, inl_corpus *corpus);

inlay_result inl_corpus_add_pair(const inl_env *env, inl_corpus *corpus, const char *prompt,
                                 const char *completion);
// Appends a sequence of `count` tokens.
inlay_result inl_corpus_add(const inl_env *env, inl_corpus *corpus, const inl_sequence *sequence,
                            const int32_t *tokens, const uint8_t *supervised);

// Marks the tokens from `marked` on that have no mark yet.
inlay_result inl_corpus_mark(const inl_env *env, inl_corpus *corpus, size_t marked,
                             bool supervised);
// A sequence of tokens that are there already.
inlay_result inl_corpus_push(const inl_env *env, inl_corpus *corpus, inl_sequence sequence);

#endif
