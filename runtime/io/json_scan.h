// SPDX-License-Identifier: MIT
// Reading a large JSON file value by value, without building it: a tokenizer's vocabulary and
// merges are a million strings. Untrusted bytes in; errors name the file, the place and what is
// wrong.
#ifndef INL_IO_JSON_SCAN_H
#define INL_IO_JSON_SCAN_H

#include "base/env.h"
#include "io/gguf.h"

typedef struct inl_json_scan {
    const inl_env *env;
    const char *file; // for messages
    const char *data;
    uint64_t size, at; // `at`: the next byte
} inl_json_scan;

// '{', '[', '"', 't', 'f', 'n' or '0' for a number: what the next value is; 0 at the end, or where
// no value begins.
char inl_json_peek(inl_json_scan *s);

// Into an object or array: `open` is its bracket. Then, before each member or element,
// inl_json_next, until *more is false.
inlay_result inl_json_enter(inl_json_scan *s, char open);
// `first`: nothing has been read of it yet.
inlay_result inl_json_next(inl_json_scan *s, bool first, char open, bool *more);

// Decodes a string into `out`, which has room for as many bytes as the file still holds; *size
// becomes its length. Any character may be in it, NUL too.
inlay_result inl_json_string(inl_json_scan *s, char *out, uint64_t *size);
// The name of an object's member and its colon; room as above.
inlay_result inl_json_key(inl_json_scan *s, char *out, uint64_t *size);
inlay_result inl_json_integer(inl_json_scan *s, int64_t *out);
// Past the next value, whatever it is; *raw becomes its text.
inlay_result inl_json_skip(inl_json_scan *s, inl_slice *raw);
// Nothing but white space may follow.
inlay_result inl_json_end(inl_json_scan *s);

// Logs "<file>: <what> at byte N".
inlay_result inl_json_fail(const inl_json_scan *s, const char *what);

#endif
