// SPDX-License-Identifier: MIT
// A data file's records, checked and tokenized into sequences: what is packed afterwards.
#ifndef INL_IO_RECORDS_H
#define INL_IO_RECORDS_H

#include "io/dataset.h"
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

// `name` is for messages. On failure nothing is left in *out.
inlay_result inl_corpus_read(const inl_env *env, const inl_tokenizer *tokenizer, const char *name,
                             const char *data, uint64_t size, bool is_jsonl,
                             const inl_dataset_params *params, inl_corpus *out);
void inl_corpus_free(const inl_env *env, inl_corpus *corpus);

inlay_result inl_corpus_add_pair(const inl_env *env, inl_corpus *corpus, const char *prompt,
                                 const char *completion);
// Appends a sequence of `count` tokens.
inlay_result inl_corpus_add(const inl_env *env, inl_corpus *corpus, const inl_sequence *sequence,
                            const int32_t *tokens, const uint8_t *supervised);

#endif
