// SPDX-License-Identifier: MIT
// JSON as other programs write it: a whole number beyond 64 bits (transformers' "no limit" is 1e30,
// written out) is no error. Then all numbers of the text are read as reals.
#ifndef INL_IO_JSON_LOAD_H
#define INL_IO_JSON_LOAD_H

#include <jansson.h>

static inline json_t *inl_json_load(const char *text, size_t size, size_t flags,
                                    json_error_t *error)
{
    json_t *value = json_loadb(text, size, flags, error);
    if (value || json_error_code(error) != json_error_numeric_overflow)
        return value;
    return json_loadb(text, size, flags | JSON_DECODE_INT_AS_REAL, error);
}

#endif
