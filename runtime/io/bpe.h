// SPDX-License-Identifier: MIT
// Byte-level BPE ("gpt2"): a text is cut by the pre-tokenizer, each piece's bytes are merged by the
// rank of the file's merges. Bytes without a token become the unknown token, or nothing.
#ifndef INL_IO_BPE_H
#define INL_IO_BPE_H

#include "io/merge.h"
#include "io/pretokenizer.h"
#include "io/vocab.h"

typedef struct inl_bpe_merge {
    int32_t left, right; // token ids; left -1: a free slot
    uint32_t rank;
    int32_t id; // what they make
} inl_bpe_merge;

typedef struct inl_bpe {
    inl_bpe_merge *slots; // open addressing by (left, right)
    uint32_t slot_mask;
    inl_pretokenizer *pretokenizer;
} inl_bpe;

// `vocab` must be decoded. `env` and `vocab` must outlive the result.
inlay_result inl_bpe_load(const inl_env *env, const inl_gguf *gguf, const inl_vocab *vocab,
                          const char *pre, inl_bpe *out);
void inl_bpe_free(const inl_env *env, inl_bpe *bpe);
// Appends the ids of `size` bytes without special tokens.
inlay_result inl_bpe_encode(const inl_env *env, const inl_bpe *bpe, const inl_vocab *vocab,
                            const char *text, size_t size, inl_merger *merger, inl_ids *ids);

#endif
