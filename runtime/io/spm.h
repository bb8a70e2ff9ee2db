// SPDX-License-Identifier: MIT
// SentencePiece-style BPE ("llama"): spaces become U+2581, characters are merged by the score of
// the token they make. A character that is no token becomes its byte tokens; where there are none,
// a run of such characters becomes one unknown token.
#ifndef INL_IO_SPM_H
#define INL_IO_SPM_H

#include "io/added.h"
#include "io/merge.h"
#include "io/vocab.h"

typedef struct inl_spm {
    // No token has U+2581 after another character, so words can be merged one by one.
    bool splits_at_spaces;
    // Tokens that stay whole wherever they are found in the escaped text; often none.
    inl_added whole;
} inl_spm;

// Fails where some byte would have neither a token nor an unknown token. `file`: for messages.
inlay_result inl_spm_load(const inl_env *env, const char *file, const inl_vocab *vocab,
                          inl_spm *out);
// Appends the ids of `size` bytes without special tokens. space_prefix: as if a space came first.
inlay_result inl_spm_encode(const inl_env *env, const inl_spm *spm, const inl_vocab *vocab,
                            const char *text, size_t size, bool space_prefix, inl_merger *merger,
                            inl_ids *ids);

// Whether U+2581 comes after any other character.
bool inl_spm_has_inner_space(inl_slice text);
// Bytes up to the next U+2581 that follows something else. `size` > 0.
size_t inl_spm_word_size(const char *text, size_t size);

#endif
