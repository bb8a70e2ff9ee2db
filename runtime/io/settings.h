// SPDX-License-Identifier: MIT
// JSON files of settings: loading one, and reading keys whose values may be missing, null or of the
// wrong kind. Messages name the file and the key.
#ifndef INL_IO_SETTINGS_H
#define INL_IO_SETTINGS_H

#include "base/env.h"

#include <jansson.h>

typedef struct inl_settings {
    inl_env env;
    char *path;
    json_t *root; // an object
} inl_settings;

// A file that is not one JSON object, with unique keys and at most jansson's depth, is BAD_FILE.
inlay_result inl_settings_open(const inl_env *env, const char *path, inl_settings *out);
// The same of bytes in memory; `name` is for messages.
inlay_result inl_settings_open_memory(const inl_env *env, const char *name, const char *text,
                                      uint64_t size, inl_settings *out);
void inl_settings_close(inl_settings *file);

// Of `object`, the file's root where it is NULL. A key that is missing or null gives `fallback`.
inlay_result inl_settings_u32(const inl_settings *f, const json_t *object, const char *key,
                          uint32_t fallback, uint32_t *out);
// Finite as a float.
inlay_result inl_settings_number(const inl_settings *f, const json_t *object, const char *key,
                             double fallback, double *out);
inlay_result inl_settings_bool(const inl_settings *f, const json_t *object, const char *key,
                           bool fallback, bool *out);
inlay_result inl_settings_string(const inl_settings *f, const json_t *object, const char *key,
                             const char *fallback, const char **out);
// NULL: missing or null.
inlay_result inl_settings_object(const inl_settings *f, const json_t *object, const char *key,
                             json_t **out);
inlay_result inl_settings_array(const inl_settings *f, const json_t *object, const char *key,
                            json_t **out);
// BAD_FILE: "FILE: "KEY" WHAT".
inlay_result inl_settings_bad(const inl_settings *f, const char *key, const char *what);
// UNSUPPORTED: "FILE: "KEY" VALUE is not supported", the value as JSON, cut where it is long.
inlay_result inl_settings_refuse(const inl_settings *f, const char *key, const json_t *value);

#endif
