// SPDX-License-Identifier: MIT
// BPE never merges across the pieces a text is cut into first: by the expressions a GGUF file names
// (tokenizer.ggml.pre), or by the steps a tokenizer.json lists.
#ifndef INL_IO_PRETOKENIZER_H
#define INL_IO_PRETOKENIZER_H

#include "io/gguf.h"

typedef struct inl_pretokenizer inl_pretokenizer;

// What becomes of an expression's matches. The gaps between them are pieces in any case.
typedef enum inl_split {
    INL_SPLIT_ISOLATED = 0, // each is a piece
    INL_SPLIT_REMOVED,      // they vanish
    INL_SPLIT_WITH_PREVIOUS,
    INL_SPLIT_WITH_NEXT,
    INL_SPLIT_CONTIGUOUS, // those in a row are one piece
} inl_split;

typedef enum inl_prefix {
    INL_PREFIX_NEVER = 0,
    INL_PREFIX_FIRST, // where the whole text begins
    INL_PREFIX_ALWAYS,
} inl_prefix;

// By name, as GGUF files have it. `file` is for messages. An unknown name is
// INLAY_ERROR_UNSUPPORTED, listing the known ones. `env` must outlive the pretokenizer.
inlay_result inl_pretokenizer_create(const inl_env *env, const char *file, const char *name,
                                     inl_pretokenizer **out);
// Without steps: a text is one piece. Then steps are added, each of which cuts every piece the one
// before it left.
inlay_result inl_pretokenizer_create_empty(const inl_env *env, const char *file,
                                           inl_pretokenizer **out);
// A file's expression, in Ruby's syntax. inverted: matches are gaps and gaps matches. `place` names
// it in messages.
inlay_result inl_pretokenizer_add_split(inl_pretokenizer *p, const char *place, inl_slice pattern,
                                        inl_split split, bool inverted);
// Our own expression, in PCRE2's syntax.
inlay_result inl_pretokenizer_add_known(inl_pretokenizer *p, const char *pattern, inl_split split,
                                        bool inverted);
// Spaces become `replacement` (at most 8 bytes), one is put in front, each begins a piece.
inlay_result inl_pretokenizer_add_metaspace(inl_pretokenizer *p, const char *place,
                                            inl_slice replacement, inl_prefix prefix, bool cuts);
// Byte-level: GPT-2's expression if asked for, then bytes are written as symbols. The symbols are
// written out only where a further step follows; else the pieces are bytes.
inlay_result inl_pretokenizer_add_bytes(inl_pretokenizer *p, const char *place, bool space_prefix,
                                        bool cuts);
void inl_pretokenizer_destroy(inl_pretokenizer **pretokenizer);

// A piece that is itself a token is that token, whatever the merges would make of it.
bool inl_pretokenizer_ignores_merges(const inl_pretokenizer *pretokenizer);
// Whether the model adds BOS when the file does not say.
bool inl_pretokenizer_adds_bos(const inl_pretokenizer *pretokenizer);
// Pieces are bytes that stand for their symbols, see utf8.h; else they are the vocabulary's text.
bool inl_pretokenizer_gives_bytes(const inl_pretokenizer *pretokenizer);

// What GGUF files call one that cuts as this one does; NULL: there is no such name.
const char *inl_pretokenizer_name(const inl_pretokenizer *pretokenizer, bool ignores_merges);

// Called for each piece in order; none is empty.
typedef inlay_result (*inl_piece_fn)(void *context, const char *piece, size_t size);

// Any bytes: each byte that is not UTF-8 is a piece of its own. at_start: the whole text begins
// here. Thread-safe.
inlay_result inl_pretokenizer_split(const inl_env *env, const inl_pretokenizer *pretokenizer,
                                    const char *text, size_t size, bool at_start,
                                    inl_piece_fn piece, void *context);

#endif
