// SPDX-License-Identifier: MIT
// Oniguruma's regular expressions in Ruby's syntax, as the Hugging Face tokenizers library reads
// them, written for PCRE2: where the same letters mean something else, and what PCRE2 lacks.
#ifndef INL_IO_REGEX_RUBY_H
#define INL_IO_REGEX_RUBY_H

#include "io/gguf.h"

// *out: an allocated text of *size bytes. `place` is for messages.
inlay_result inl_regex_from_ruby(const inl_env *env, const char *place, inl_slice pattern,
                                 char **out, size_t *size);

#endif
