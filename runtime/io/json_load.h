// SPDX-License-Identifier: MIT
// JSON as other programs write it: a whole number beyond 64 bits (transformers' "no limit" is 1e30,
// written out) is no error but a real; the others stay whole numbers.
#ifndef INL_IO_JSON_LOAD_H
#define INL_IO_JSON_LOAD_H

#include "base/env.h"

#include <jansson.h>

// NULL: `error` says why. The caller lets go of the value.
json_t *inl_json_load(const inl_env *env, const char *text, size_t size, size_t flags,
                      json_error_t *error);

#endif
