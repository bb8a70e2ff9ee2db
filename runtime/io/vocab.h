// SPDX-License-Identifier: MIT
// A tokenizer's vocabulary: each token's text, score, kind and bytes, and the way from text to id.
// It copies what it needs: the GGUF may go away.
#ifndef INL_IO_VOCAB_H
#define INL_IO_VOCAB_H

#include "io/gguf.h"

// The values of tokenizer.ggml.token_type.
typedef enum inl_token_kind {
    INL_TOKEN_NORMAL = 1,
    INL_TOKEN_UNKNOWN = 2,
    INL_TOKEN_CONTROL = 3,
    INL_TOKEN_USER_DEFINED = 4,
    INL_TOKEN_UNUSED = 5,
    INL_TOKEN_BYTE = 6,
} inl_token_kind;

typedef struct inl_vocab_token {
    inl_slice text;  // as the file spells it
    inl_slice bytes; // what it stands for; empty for control tokens
    float score;
    inl_token_kind kind;
} inl_vocab_token;

typedef struct inl_vocab {
    uint32_t count;
    inl_vocab_token *tokens;
    char *texts;     // all texts, end to end
    char *decoded;   // all bytes, end to end
    uint32_t *slots; // open addressing by text: id + 1, 0 for a free slot
    uint32_t slot_mask;
    uint64_t longest;      // bytes of the longest text
    int32_t byte_ids[256]; // the token of a single byte, -1: none
    int32_t unknown;       // -1: none
} inl_vocab;

// Texts, kinds, and scores (which `need_scores` makes mandatory), indexed.
inlay_result inl_vocab_load(const inl_env *env, const inl_gguf *gguf, bool need_scores,
                            inl_vocab *out);
// From texts that may go away: `count` of them, all NORMAL and with score 0, not yet indexed. An
// empty text is an id without a token.
inlay_result inl_vocab_create(const inl_env *env, const inl_slice *texts, uint32_t count,
                              inl_vocab *out);
inlay_result inl_vocab_index(const inl_env *env, inl_vocab *vocab);
// The byte a text "<0xXX>" stands for, or -1.
int inl_vocab_parse_byte(inl_slice text);
// Once the kinds are final: each token's bytes, and the tokens of single bytes.
// byte_level: texts are written in byte symbols; else U+2581 is a space and <0xXX> a byte.
inlay_result inl_vocab_decode(const inl_env *env, inl_vocab *vocab, bool byte_level);
// Fills byte_ids alone.
void inl_vocab_find_bytes(inl_vocab *vocab, bool byte_level);
void inl_vocab_free(const inl_env *env, inl_vocab *vocab);

// The id with exactly this text (the last one of equals), or -1.
int32_t inl_vocab_find(const inl_vocab *vocab, const char *text, uint64_t size);
// The same, but only tokens ordinary text may become: no control, unknown or byte tokens.
int32_t inl_vocab_find_text(const inl_vocab *vocab, const char *text, uint64_t size);

#endif
