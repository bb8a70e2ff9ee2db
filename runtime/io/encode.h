// SPDX-License-Identifier: MIT
// A text in parts, some of which may hold special tokens and some may not: how a chat template's
// markers count and the same characters in a user's words do not. Used by the dataset reader.
#ifndef INL_IO_ENCODE_H
#define INL_IO_ENCODE_H

#include "io/merge.h"
#include "io/tokenizer.h"

typedef struct inl_text_part {
    const char *text;
    size_t size;
    bool parse_special; // control tokens written in the text become their ids
    bool is_token;      // no text but `token`
    int32_t token;
} inl_text_part;

// Appends the ids of the parts read as one text: no token but a special one ends because a part
// does. *after_special: whether the text stands at the beginning or after a special token (where
// SentencePiece puts a space); becomes whether what follows this text would.
inlay_result inl_encode_parts(const inl_env *env, const inl_tokenizer *tokenizer,
                              const inl_text_part *parts, size_t count, bool *after_special,
                              inl_ids *ids);

#endif
