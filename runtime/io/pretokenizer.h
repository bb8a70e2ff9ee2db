// SPDX-License-Identifier: MIT
// Byte-level BPE never merges across the pieces a regular expression cuts a text into first; which
// expressions is named by tokenizer.ggml.pre.
#ifndef INL_IO_PRETOKENIZER_H
#define INL_IO_PRETOKENIZER_H

#include "base/env.h"

typedef struct inl_pretokenizer inl_pretokenizer;

// `file` is for messages. An unknown name is INLAY_ERROR_UNSUPPORTED, listing the known ones.
// `env` must outlive the pretokenizer.
inlay_result inl_pretokenizer_create(const inl_env *env, const char *file, const char *name,
                                     inl_pretokenizer **out);
void inl_pretokenizer_destroy(inl_pretokenizer **pretokenizer);

// A piece that is itself a token is that token, whatever the merges would make of it.
bool inl_pretokenizer_ignores_merges(const inl_pretokenizer *pretokenizer);
// Whether the model adds BOS when the file does not say.
bool inl_pretokenizer_adds_bos(const inl_pretokenizer *pretokenizer);

// Called for each piece in order; none is empty and together they are the text.
typedef inlay_result (*inl_piece_fn)(void *context, const char *piece, size_t size);

// Any bytes: each byte that is not UTF-8 is a piece of its own. Thread-safe.
inlay_result inl_pretokenizer_split(const inl_env *env, const inl_pretokenizer *pretokenizer,
                                    const char *text, size_t size, inl_piece_fn piece,
                                    void *context);

#endif
