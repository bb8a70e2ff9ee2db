// SPDX-License-Identifier: MIT
// The tokenizer of a Hugging Face folder: tokenizer.json, and what the files beside it add: which
// tokens begin and end a text, where generation ends, the chat template.
#include "io/tokenizer_parts.h"

#include "base/file.h"
#include "io/json_load.h"

#include <jansson.h>
#include <stdio.h>
#include <string.h>

typedef struct folder {
    inl_tokenizer *t;
    const inl_env *env;
    const char *path;
} folder;

// *out NULL: there is no such file.
static inlay_result read_json(const folder *f, const char *name, json_t **out)
{
    inl_map map;
    json_error_t error;
    *out = NULL;
    char *path = inl_path_join(f->env, f->path, name);
    if (!path)
        return INLAY_ERROR_OUT_OF_MEMORY;
    inlay_result result = INLAY_OK;
    if (inl_exists(path) && (result = inl_map_open(f->env, path, &map)) == INLAY_OK) {
        const char *text = map.size > 0 ? (const char *)map.data : "";
        *out = inl_json_load(f->env, text, map.size, JSON_ALLOW_NUL, &error);
        if (!*out || !json_is_object(*out))
            result = inl_fail(f->env, INLAY_ERROR_BAD_FILE, "%s: %s, line %d", path,
                              *out ? "no JSON object" : error.text, *out ? 1 : error.line);
        inl_map_close(&map);
    }
    inl_free(f->env, path);
    if (result != INLAY_OK) {
        json_decref(*out);
        *out = NULL;
    }
    return result;
}

// ---- BOS and EOS

// A token by its text: a string, or an object as an added token. -1: none.
static int32_t find_token(const folder *f, const json_t *config, const char *key)
{
    const json_t *token = json_object_get(config, key);
    const char *text =
        json_string_value(json_is_object(token) ? json_object_get(token, "content") : token);
    int32_t id = text ? inl_tokenizer_find(f->t, text) : -1;
    if (text && id < 0)
        inl_logf(f->env, INLAY_LOG_WARN, "%s: %s in tokenizer_config.json is no token: ignored",
                 f->path, key);
    return id;
}

// transformers makes the template anew where the configuration speaks of either.
static void read_flags(inl_tokenizer *t, const json_t *config)
{
    const json_t *bos = json_object_get(config, "add_bos_token");
    const json_t *eos = json_object_get(config, "add_eos_token");
    if (!json_is_boolean(bos) && !json_is_boolean(eos))
        return;
    t->info.add_bos = json_is_true(bos) && t->info.bos >= 0;
    t->info.add_eos = json_is_true(eos) && t->info.eos >= 0;
}

// An id, or the first of a list.
static int32_t read_id(const folder *f, const json_t *config, const char *key)
{
    const json_t *value = json_object_get(config, key);
    if (json_is_array(value))
        value = json_array_get(value, 0);
    json_int_t id = json_is_integer(value) ? json_integer_value(value) : -1;
    return id >= 0 && id < f->t->info.vocab ? (int32_t)id : -1;
}

static inlay_result add_ends(const folder *f, const json_t *config)
{
    const json_t *value = json_object_get(config, "eos_token_id");
    INL_TRY(inl_tokenizer_add_end(f->t, read_id(f, config, "eos_token_id")));
    for (size_t i = 1; i < json_array_size(value); i++) {
        json_int_t id = json_integer_value(json_array_get(value, i));
        if (id >= 0 && id < f->t->info.vocab)
            INL_TRY(inl_tokenizer_add_end(f->t, (int32_t)id));
    }
    return INLAY_OK;
}

// The files say bos and eos as text (for the tokenizer) or as ids (for the model).
static inlay_result read_ends(const folder *f, const json_t *config, const json_t *generation,
                              const json_t *model)
{
    inl_tokenizer *t = f->t;
    int32_t bos = find_token(f, config, "bos_token");
    int32_t eos = find_token(f, config, "eos_token");
    const json_t *ids = generation ? generation : model;
    if (bos >= 0 || t->info.bos < 0)
        t->info.bos = bos >= 0 ? bos : read_id(f, ids, "bos_token_id");
    if (eos >= 0 || t->info.eos < 0)
        t->info.eos = eos >= 0 ? eos : read_id(f, ids, "eos_token_id");
    read_flags(t, config);
    INL_TRY(inl_tokenizer_add_end(t, t->info.eos));
    INL_TRY(add_ends(f, ids));
    return json_object_get(generation, "eos_token_id") ? INLAY_OK : inl_tokenizer_add_turn_ends(t);
}

// ---- chat template

static inlay_result read_template_file(const folder *f, const char *name)
{
    inl_map map;
    char *path = inl_path_join(f->env, f->path, name);
    if (!path)
        return INLAY_ERROR_OUT_OF_MEMORY;
    inlay_result result = INLAY_OK;
    if (inl_exists(path) && (result = inl_map_open(f->env, path, &map)) == INLAY_OK) {
        result = inl_tokenizer_set_template(f->t, (const char *)map.data, map.size);
        inl_map_close(&map);
    }
    inl_free(f->env, path);
    return result;
}

// A text, or a list of named ones, of which "default" is taken.
static inlay_result read_template(const folder *f, const json_t *config)
{
    const json_t *value = json_object_get(config, "chat_template");
    for (size_t i = 0; i < json_array_size(value); i++) {
        const json_t *entry = json_array_get(value, i);
        const char *name = json_string_value(json_object_get(entry, "name"));
        if (name && strcmp(name, "default") == 0) {
            value = json_object_get(entry, "template");
            break;
        }
    }
    if (!json_is_string(value))
        return INLAY_OK;
    return inl_tokenizer_set_template(f->t, json_string_value(value), json_string_length(value));
}

// ---- the folder

static inlay_result read_beside(const folder *f)
{
    enum { CONFIG, TEMPLATE, GENERATION, MODEL, FILES };
    static const char *const names[FILES] = {"tokenizer_config.json", "chat_template.json",
                                             "generation_config.json", "config.json"};
    json_t *files[FILES] = {0};
    inlay_result result = INLAY_OK;
    for (size_t i = 0; i < FILES && result == INLAY_OK; i++)
        result = read_json(f, names[i], &files[i]);
    if (result == INLAY_OK)
        result = read_ends(f, files[CONFIG], files[GENERATION], files[MODEL]);
    if (result == INLAY_OK)
        result = read_template(f, files[CONFIG]);
    if (result == INLAY_OK)
        result = read_template(f, files[TEMPLATE]);
    if (result == INLAY_OK)
        result = read_template_file(f, "chat_template.jinja");
    for (size_t i = 0; i < FILES; i++)
        json_decref(files[i]);
    return result;
}

static inlay_result read_tokenizer(const folder *f)
{
    char *path = inl_path_join(f->env, f->path, "tokenizer.json");
    if (!path)
        return INLAY_ERROR_OUT_OF_MEMORY;
    inlay_result result = inl_exists(path) ? inl_tokenizer_read_json(f->t, path)
                                           : inl_fail(f->env, INLAY_ERROR_NOT_FOUND,
                                                      "%s: there is no tokenizer.json", f->path);
    inl_free(f->env, path);
    return result;
}

inlay_result inl_tokenizer_open_folder(const inl_env *env, const char *path, inl_tokenizer **out)
{
    inl_tokenizer *t;
    *out = NULL;
    INL_TRY(inl_tokenizer_new(env, &t));
    folder f = {.t = t, .env = &t->env, .path = path};
    inlay_result result = read_tokenizer(&f);
    if (result == INLAY_OK)
        result = read_beside(&f);
    *out = t;
    if (result != INLAY_OK)
        inl_tokenizer_destroy(out);
    return result;
}
