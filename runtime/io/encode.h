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

// What stands before a text. SentencePiece puts a space at the start and after a special token,
// some tokenizers at the start alone.
typedef enum inl_place { INL_PLACE_INSIDE = 0, INL_PLACE_AFTER_SPECIAL, INL_PLACE_START } inl_place;

// Appends the ids of the parts read as one text: no token but a special one ends because a part
// does. *place: what stands before it; becomes what would stand before a text that follows.
inlay_result inl_encode_parts(const inl_env *env, const inl_tokenizer *tokenizer,
                              const inl_text_part *parts, size_t count, inl_place *place,
                              inl_ids *ids);

#endif
