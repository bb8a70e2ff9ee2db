// SPDX-License-Identifier: MIT
// Text to ids and back, from the tokenizer in a GGUF file: SentencePiece-style BPE ("llama", by
// score, with and without byte tokens) and byte-level BPE ("gpt2", by merge rank after a
// pre-tokenizer's regular expression). Immutable once made, thread-safe.
#ifndef INL_IO_TOKENIZER_H
#define INL_IO_TOKENIZER_H

#include "io/gguf.h"

typedef struct inl_tokenizer inl_tokenizer;

typedef struct inl_tokenizer_info {
    char model[16]; // "llama", "gpt2"
    char pre[32];
    uint32_t vocab;
    int32_t bos, eos; // -1: none
    bool add_bos, add_eos;
    // The model's Jinja chat template, NUL-terminated, or NULL.
    const char *chat_template;
} inl_tokenizer_info;

inlay_result inl_tokenizer_create(const inl_env *env, const inl_gguf *gguf, inl_tokenizer **out);
void inl_tokenizer_destroy(inl_tokenizer **tokenizer);
const inl_tokenizer_info *inl_tokenizer_get_info(const inl_tokenizer *tokenizer);

// Ids of `size` bytes (any bytes) into a fresh array the caller frees with inl_free(env, *ids).
// parse_special: control tokens written in the text become their ids. No BOS or EOS is added.
inlay_result inl_tokenizer_encode(const inl_env *env, const inl_tokenizer *tokenizer,
                                  const char *text, size_t size, bool parse_special, int32_t **ids,
                                  size_t *count);
// The bytes of a token, a pointer into the tokenizer. Empty for control tokens and ids out of
// range. `first`: at a text's start the space SentencePiece put there is dropped.
inl_slice inl_tokenizer_decode(const inl_tokenizer *tokenizer, int32_t id, bool first);
// A token as the vocabulary spells it, also a control token; empty for ids out of range.
inl_slice inl_tokenizer_text(const inl_tokenizer *tokenizer, int32_t id);
// The id whose vocabulary entry is exactly `text`, or -1.
int32_t inl_tokenizer_find(const inl_tokenizer *tokenizer, const char *text);

#endif
