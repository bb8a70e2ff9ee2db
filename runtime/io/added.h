// SPDX-License-Identifier: MIT
// Tokens found in the text itself, before anything else is done to it or once it is normalized:
// control tokens and a model's own words. The leftmost, of those the longest.
#ifndef INL_IO_ADDED_H
#define INL_IO_ADDED_H

#include "io/gguf.h"

typedef struct inl_added_token {
    inl_slice text; // kept by whoever filled the list
    int32_t id;
    bool control;                   // only where special tokens are to be parsed
    bool strips_left, strips_right; // white space beside it belongs to it
    bool single_word;               // not inside a word
} inl_added_token;

// Zero is an empty list.
typedef struct inl_added {
    inl_added_token *tokens; // sorted by text once inl_added_index was called
    size_t count, cap;
    bool first[256]; // one starts with this byte
    // A control token that is not parsed still hides shorter tokens in it, as in tokenizers.
    bool control_hides;
} inl_added;

inlay_result inl_added_push(const inl_env *env, inl_added *added, const inl_added_token *token);
void inl_added_index(inl_added *added);
void inl_added_free(const inl_env *env, inl_added *added);

typedef struct inl_added_match {
    size_t start, end; // with the white space that belongs to it
    size_t next;       // where the search goes on: before that white space, as in tokenizers
    int32_t id;
} inl_added_match;

// The longest that the text starts with, of all, or NULL.
const inl_added_token *inl_added_at(const inl_added *added, const char *text, size_t size);
// The first at or after `at`; false: none. Text before `done` belongs to matches before it.
bool inl_added_next(const inl_added *added, const char *text, size_t size, size_t at, size_t done,
                    bool parse_control, inl_added_match *out);

#endif
