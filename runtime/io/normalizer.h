// SPDX-License-Identifier: MIT
// What a tokenizer.json does to a text before it is cut: Unicode's normal forms, replacements,
// something put in front. Immutable once all steps are added, thread-safe.
#ifndef INL_IO_NORMALIZER_H
#define INL_IO_NORMALIZER_H

#include "io/gguf.h"

typedef struct inl_normalizer inl_normalizer;

typedef enum inl_normal_form { INL_NFC, INL_NFD, INL_NFKC, INL_NFKD } inl_normal_form;

// `env` must outlive it. Steps apply in the order in which they were added.
inlay_result inl_normalizer_create(const inl_env *env, const char *file, inl_normalizer **out);
void inl_normalizer_destroy(inl_normalizer **normalizer);

inlay_result inl_normalizer_add_form(inl_normalizer *n, inl_normal_form form);
inlay_result inl_normalizer_add_lowercase(inl_normalizer *n);
inlay_result inl_normalizer_add_strip_accents(inl_normalizer *n);
// White space at either end goes.
inlay_result inl_normalizer_add_strip(inl_normalizer *n, bool left, bool right);
// In front of a text that is not empty.
inlay_result inl_normalizer_add_prepend(inl_normalizer *n, inl_slice text);
inlay_result inl_normalizer_add_replace(inl_normalizer *n, inl_slice from, inl_slice to);
// `pattern` in Ruby's syntax; `place` names it in messages.
inlay_result inl_normalizer_add_replace_regex(inl_normalizer *n, const char *place,
                                              inl_slice pattern, inl_slice to);
// No step was added.
bool inl_normalizer_is_empty(const inl_normalizer *n);

// One thread's scratch; zero is a valid start.
typedef struct inl_normal_text {
    char *data[2];
    size_t caps[2];
    int32_t *points;
    size_t point_cap;
} inl_normal_text;

// Any bytes; those that are no UTF-8 stay. *out lies in `text` or in `scratch`, until the next
// call.
inlay_result inl_normalizer_run(const inl_env *env, const inl_normalizer *n, inl_slice text,
                                inl_normal_text *scratch, inl_slice *out);
void inl_normal_text_free(const inl_env *env, inl_normal_text *scratch);

#endif
