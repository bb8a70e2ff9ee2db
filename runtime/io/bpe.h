// SPDX-License-Identifier: MIT
// BPE by merge rank: GGUF's "gpt2" and tokenizer.json's "BPE". A text is cut by the pre-tokenizer;
// a piece's symbols, bytes or characters, are merged by the rank of the file's merges.
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
    bool ignores_merges; // a piece that is a token is that token
    bool by_bytes;       // symbols are bytes, else characters
    // What has no token. GGUF: it stays apart, and becomes the unknown token or nothing. With
    // `as_json`, tokenizer.json's rules: the character's byte tokens if byte_fallback, the unknown
    // token (one for a run if fuses_unknown), or nothing, so that its neighbours may merge.
    bool as_json, byte_fallback, fuses_unknown;
    bool cuts_at_spaces; // nothing merges across a U+2581 that follows another character
} inl_bpe;

// Room for `count` merges. The pretokenizer is given, and freed with the rest.
inlay_result inl_bpe_create(const inl_env *env, uint64_t count, inl_pretokenizer *pretokenizer,
                            inl_bpe *out);
// Of equal pairs the first counts, or the last.
void inl_bpe_add(inl_bpe *bpe, const inl_bpe_merge *merge, bool last_counts);
// A GGUF file's. `vocab` must be decoded. `env` and `vocab` must outlive the result.
inlay_result inl_bpe_load(const inl_env *env, const inl_gguf *gguf, const inl_vocab *vocab,
                          const char *pre, inl_bpe *out);
// The merges by rank, in a fresh array the caller frees with inl_free(env, *out).
inlay_result inl_bpe_list_merges(const inl_env *env, const inl_bpe *bpe, inl_bpe_merge **out,
                                 uint32_t *count);
void inl_bpe_free(const inl_env *env, inl_bpe *bpe);
// Appends the ids of `size` bytes without special tokens. at_start: the whole text begins here.
inlay_result inl_bpe_encode(const inl_env *env, const inl_bpe *bpe, const inl_vocab *vocab,
                            const char *text, size_t size, bool at_start, inl_merger *merger,
                            inl_ids *ids);

#endif
