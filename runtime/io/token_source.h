// SPDX-License-Identifier: MIT
// What a BPE model's files say, read but not yet made into a tokenizer: tokenizer.json, or
// vocab.json and merges.txt. Used by io/tokenizer*.c alone.
#ifndef INL_IO_TOKEN_SOURCE_H
#define INL_IO_TOKEN_SOURCE_H

#include "io/json_scan.h"
#include "io/pipeline_json.h"
#include "io/tokenizer_parts.h"

typedef struct inl_source_token {
    inl_slice text;
    int64_t id;
} inl_source_token;

typedef struct inl_source_merge {
    inl_slice left, right;
} inl_source_merge;

// Texts are kept by whoever reads the files, until the tokenizer is built.
typedef struct inl_token_source {
    inl_tokenizer *t; // its bpe holds the flags
    const inl_env *env;
    const char *file; // for messages
    inl_source_token *vocab;
    size_t vocab_count, vocab_cap;
    inl_source_merge *merges;
    size_t merge_count, merge_cap;
    inl_slice unknown; // the unknown token's text, or nothing
    json_t *added;     // an array as tokenizer.json's added_tokens, or NULL
    // As in tokenizer.json, each may be NULL.
    json_t *normalizer, *pretokenizer, *postprocessor, *decoder;
} inl_token_source;

// An object of tokens and their ids. Texts are decoded to `texts` + *used, which has room for as
// many bytes as the file has.
inlay_result inl_source_read_vocab(inl_token_source *source, inl_json_scan *scan, char *texts,
                                   uint64_t *used);
inlay_result inl_source_push_merge(inl_token_source *source, const inl_source_merge *merge);
// "left right", with one space.
bool inl_source_cut_merge(inl_slice text, inl_source_merge *out);
// Fills the source's tokenizer.
inlay_result inl_source_build(inl_token_source *source);
void inl_source_free(inl_token_source *source);

#endif
