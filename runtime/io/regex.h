// SPDX-License-Identifier: MIT
// Regular expressions over UTF-8: PCRE2's, or as tokenizer.json files have them (Oniguruma's, in
// Ruby's syntax), translated. Compiled ones are immutable and thread-safe.
#ifndef INL_IO_REGEX_H
#define INL_IO_REGEX_H

#include "io/gguf.h"

typedef struct inl_regex inl_regex;

// Unicode's White_Space as ranges of a PCRE2 class, spelled out: PCRE2's \s also takes U+180E, the
// expressions' home engines do not.
#define INL_REGEX_SPACES                                                                           \
    "\\x{9}-\\x{d}\\x{20}\\x{85}\\x{a0}\\x{1680}\\x{2000}-\\x{200a}\\x{2028}\\x{2029}"             \
    "\\x{202f}\\x{205f}\\x{3000}"

// Our own expression, in PCRE2's syntax; it never explodes, so matching has no limit. `env` must
// outlive the result.
inlay_result inl_regex_create(const inl_env *env, const char *pattern, inl_regex **out);
// A file's expression. What cannot be translated is INLAY_ERROR_UNSUPPORTED; `file` and `place` are
// for that message.
inlay_result inl_regex_create_ruby(const inl_env *env, const char *file, const char *place,
                                   inl_slice pattern, inl_regex **out);
void inl_regex_destroy(inl_regex **regex);

// What one thread needs to match.
typedef struct inl_matcher {
    const inl_regex *regex;
    void *data, *context;
} inl_matcher;

inlay_result inl_matcher_open(const inl_env *env, const inl_regex *regex, inl_matcher *out);
void inl_matcher_close(inl_matcher *matcher);
// The first match at or after `at` in well-formed UTF-8; *start == *end == size where there is
// none. An empty match is one where *start == *end < size.
inlay_result inl_matcher_find(const inl_env *env, inl_matcher *matcher, const char *text,
                              size_t size, size_t at, size_t *start, size_t *end);

#endif
