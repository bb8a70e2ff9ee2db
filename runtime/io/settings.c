// SPDX-License-Identifier: MIT
#include "io/settings.h"
#include "base/file.h"
#include "io/json_load.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#define MOST_BYTES (256u << 20) // an index of a hundred thousand tensors has ten million
#define PRINTED_BYTES 80

inlay_result inl_settings_open_memory(const inl_env *env, const char *name, const char *text,
                                      uint64_t size, inl_settings *out)
{
    json_error_t error;
    *out = (inl_settings){.env = *env};
    if (size > MOST_BYTES)
        return inl_fail(env, INLAY_ERROR_BAD_FILE, "%s: the file is larger than settings can be",
                        name);
    out->root = inl_json_load(env, text, size, JSON_REJECT_DUPLICATES, &error);
    if (!out->root)
        return inl_fail(env, INLAY_ERROR_BAD_FILE, "%s:%d: %s", name, error.line, error.text);
    out->path = inl_strdup(env, name);
    inlay_result result = out->path ? INLAY_OK : INLAY_ERROR_OUT_OF_MEMORY;
    if (result == INLAY_OK && !json_is_object(out->root))
        result = inl_fail(env, INLAY_ERROR_BAD_FILE, "%s: not a JSON object", name);
    if (result != INLAY_OK)
        inl_settings_close(out);
    return result;
}

inlay_result inl_settings_open(const inl_env *env, const char *path, inl_settings *out)
{
    inl_map map;
    *out = (inl_settings){.env = *env};
    INL_TRY(inl_map_open(env, path, &map));
    const char *text = map.data ? (const char *)map.data : ""; // an empty file has no map
    inlay_result result = inl_settings_open_memory(env, path, text, map.size, out);
    inl_map_close(&map);
    return result;
}

void inl_settings_close(inl_settings *file)
{
    json_decref(file->root);
    inl_free(&file->env, file->path);
    *file = (inl_settings){.env = file->env};
}

inlay_result inl_settings_bad(const inl_settings *f, const char *key, const char *what)
{
    return inl_fail(&f->env, INLAY_ERROR_BAD_FILE, "%s: \"%.100s\" %s", f->path, key, what);
}

inlay_result inl_settings_refuse(const inl_settings *f, const char *key, const json_t *value)
{
    char *text = json_dumps(value, JSON_ENCODE_ANY | JSON_ENSURE_ASCII);
    bool cut = text && strlen(text) > PRINTED_BYTES;
    inlay_result result =
        inl_fail(&f->env, INLAY_ERROR_UNSUPPORTED, "%s: \"%.100s\" %.*s%s is not supported",
                 f->path, key, PRINTED_BYTES, text ? text : "", cut ? "..." : "");
    free(text);
    return result;
}

static const json_t *get(const inl_settings *f, const json_t *object, const char *key)
{
    const json_t *value = json_object_get(object ? object : f->root, key);
    return json_is_null(value) ? NULL : value;
}

inlay_result inl_settings_u32(const inl_settings *f, const json_t *object, const char *key,
                          uint32_t fallback, uint32_t *out)
{
    const json_t *value = get(f, object, key);
    json_int_t number = json_integer_value(value);
    *out = value ? (uint32_t)number : fallback;
    if (value && (!json_is_integer(value) || number < 0 || number > UINT32_MAX))
        return inl_settings_bad(f, key, "is not a whole number from 0 to 4294967295");
    return INLAY_OK;
}

inlay_result inl_settings_number(const inl_settings *f, const json_t *object, const char *key,
                             double fallback, double *out)
{
    const json_t *value = get(f, object, key);
    *out = value ? json_number_value(value) : fallback;
    if (value && !json_is_number(value))
        return inl_settings_bad(f, key, "is not a number");
    return !value || isfinite((float)*out) ? INLAY_OK : inl_settings_bad(f, key, "is too large");
}

inlay_result inl_settings_bool(const inl_settings *f, const json_t *object, const char *key,
                           bool fallback, bool *out)
{
    const json_t *value = get(f, object, key);
    *out = value ? json_is_true(value) : fallback;
    if (value && !json_is_boolean(value))
        return inl_settings_bad(f, key, "is not true or false");
    return INLAY_OK;
}

inlay_result inl_settings_string(const inl_settings *f, const json_t *object, const char *key,
                             const char *fallback, const char **out)
{
    const json_t *value = get(f, object, key);
    *out = value ? json_string_value(value) : fallback;
    return value && !json_is_string(value) ? inl_settings_bad(f, key, "is not a string") : INLAY_OK;
}

inlay_result inl_settings_object(const inl_settings *f, const json_t *object, const char *key,
                             json_t **out)
{
    *out = (json_t *)get(f, object, key);
    return *out && !json_is_object(*out) ? inl_settings_bad(f, key, "is not an object") : INLAY_OK;
}

inlay_result inl_settings_array(const inl_settings *f, const json_t *object, const char *key,
                            json_t **out)
{
    *out = (json_t *)get(f, object, key);
    return *out && !json_is_array(*out) ? inl_settings_bad(f, key, "is not a list") : INLAY_OK;
}
