// SPDX-License-Identifier: MIT
// The ids of short words met before: a text repeats its words. One thread's; the last word of a
// slot stays.
#ifndef INL_IO_WORDS_H
#define INL_IO_WORDS_H

#include "base/env.h"

#define INL_WORD_BYTES 30
#define INL_WORD_IDS 8

typedef struct inl_word {
    char text[INL_WORD_BYTES];
    uint8_t size, count; // size 0: a free slot
    int32_t ids[INL_WORD_IDS];
} inl_word;

// Zero is a valid start: nothing is found and nothing kept.
typedef struct inl_words {
    inl_word *slots;
    uint32_t mask;
} inl_words;

typedef struct inl_word_key {
    inl_word *slot; // NULL: the word is too long
    const int32_t *ids;
    uint8_t count;
} inl_word_key;

// Slots for a text of so many bytes; what is there stays.
inlay_result inl_words_open(const inl_env *env, inl_words *words, size_t text_size);
void inl_words_free(const inl_env *env, inl_words *words);
bool inl_words_find(const inl_words *words, const char *text, size_t size, inl_word_key *key);
// After inl_words_find said no.
void inl_words_keep(const inl_word_key *key, const char *text, size_t size, const int32_t *ids,
                    size_t count);

#endif
