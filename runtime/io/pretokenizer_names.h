// SPDX-License-Identifier: MIT
// The pre-tokenizers a GGUF file names: their expressions, in PCRE2's syntax.
#ifndef INL_IO_PRETOKENIZER_NAMES_H
#define INL_IO_PRETOKENIZER_NAMES_H

#include "base/env.h"

#define INL_PRETOKENIZER_PASSES 8
#define INL_PRETOKENIZER_NAMES 14
#define INL_PRETOKENIZER_NAMES_ROOM 768
// Bytes of the longest expression of ours, and a zero.
#define INL_PRETOKENIZER_PATTERN 8192

typedef struct inl_pretokenizer_family {
    const char *names[INL_PRETOKENIZER_NAMES];
    const char *passes[INL_PRETOKENIZER_PASSES]; // each cuts every piece the one before it left
    bool ignores_merges;
    bool adds_bos;
} inl_pretokenizer_family;

// GPT-2's own, which ByteLevel in a tokenizer.json stands for.
extern const char inl_pretokenizer_gpt2[];

// NULL: unknown.
const inl_pretokenizer_family *inl_pretokenizer_find(const char *name);
// The name of the family whose passes these are, in Ruby's spelling or in ours; NULL: of none.
// Where several have them, of one that does with merges as `ignores_merges` says.
const char *inl_pretokenizer_recognize(const char *const *patterns, uint32_t count,
                                       bool ignores_merges);
// An expression, ours or a file's, in the shorter of its spellings, which are Ruby's: white space
// by its class, characters as such. `out` has room for as much as `pattern` is.
void inl_pretokenizer_spell(const char *pattern, char *out);
// All names there are, "default, gpt-2, ...", into `known`, which is returned.
const char *inl_pretokenizer_names(char known[INL_PRETOKENIZER_NAMES_ROOM]);
inlay_result inl_pretokenizer_fail_unknown(const inl_env *env, const char *file, const char *name);

#endif
