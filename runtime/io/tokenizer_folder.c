// SPDX-License-Identifier: MIT
// The tokenizer of a Hugging Face folder: tokenizer.json, vocab.json with merges.txt, or
// tokenizer.model, and what the files beside it add: further tokens, which of them begin and end a
// text, where generation ends, the chat template.
#include "io/tokenizer_parts.h"

#include "base/file.h"
#include "io/json_load.h"

#include <stdlib.h>
#include <string.h>

typedef struct folder {
    inl_tokenizer *t;
    const inl_env *env;
    const char *path;
    bool is_json; // there is a tokenizer.json
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

// As transformers 5 has it: tokenizer.json's post_processor alone counts, but for a class that
// builds its own, without either token. The flags do where there is no tokenizer.json.
static void read_flags(const folder *f, const json_t *config)
{
    inl_tokenizer *t = f->t;
    const json_t *bos = json_object_get(config, "add_bos_token");
    const json_t *eos = json_object_get(config, "add_eos_token");
    const char *name = json_string_value(json_object_get(config, "tokenizer_class"));
    if (f->is_json) {
        if (name && (strcmp(name, "GPTNeoXTokenizer") == 0 ||
                     strcmp(name, "GPTNeoXTokenizerFast") == 0))
            t->info.add_bos = t->info.add_eos = false;
        return;
    }
    if (!json_is_boolean(bos) && !json_is_boolean(eos))
        return;
    if (bos || !t->by_score) // of tokenizer.model's classes each begins with BOS
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
    read_flags(f, config);
    INL_TRY(inl_tokenizer_add_end(t, t->info.eos));
    INL_TRY(add_ends(f, ids));
    return json_object_get(generation, "eos_token_id") ? INLAY_OK : inl_tokenizer_add_turn_ends(t);
}

// ---- chat template

static inlay_result read_template_file(const folder *f, const char *path, bool tools)
{
    inl_map map;
    INL_TRY(inl_map_open(f->env, path, &map));
    inlay_result result =
        inl_tokenizer_set_template(f->t, tools, (const char *)map.data, map.size);
    inl_map_close(&map);
    return result;
}

// Where there is one of the files, what JSON says no longer counts.
static inlay_result read_template_files(const folder *f)
{
    static const char *const names[] = {"chat_template.jinja",
                                        "additional_chat_templates/tool_use.jinja"};
    inlay_result result = INLAY_OK;
    bool any = false;
    for (size_t i = 0; i < INL_COUNT(names) && result == INLAY_OK; i++) {
        char *path = inl_path_join(f->env, f->path, names[i]);
        if (!path)
            return INLAY_ERROR_OUT_OF_MEMORY;
        if (inl_exists(path)) {
            if (!any)
                inl_tokenizer_drop_templates(f->t);
            any = true;
            result = read_template_file(f, path, i == 1);
        }
        inl_free(f->env, path);
    }
    return result;
}

// A text, or a list of named ones, of which "default" and "tool_use" are taken.
static inlay_result read_template(const folder *f, const json_t *config)
{
    const json_t *value = json_object_get(config, "chat_template");
    for (size_t i = 0; i < json_array_size(value); i++) {
        const json_t *entry = json_array_get(value, i);
        const char *name = json_string_value(json_object_get(entry, "name"));
        const json_t *text = json_object_get(entry, "template");
        bool tools = name && strcmp(name, "tool_use") == 0;
        if (json_is_string(text) && (tools || (name && strcmp(name, "default") == 0)))
            INL_TRY(inl_tokenizer_set_template(f->t, tools, json_string_value(text),
                                               json_string_length(text)));
    }
    if (!json_is_string(value))
        return INLAY_OK;
    return inl_tokenizer_set_template(f->t, false, json_string_value(value),
                                      json_string_length(value));
}

// ---- added tokens

static int compare_ids(const void *a, const void *b)
{
    json_int_t x = json_integer_value(json_object_get(*(json_t *const *)a, "id"));
    json_int_t y = json_integer_value(json_object_get(*(json_t *const *)b, "id"));
    return x < y ? -1 : x > y;
}

// added_tokens_decoder: {"id": {"content": ..., ...}}
static inlay_result add_decoder(const inl_env *env, const inl_tokenizer_beside *b, json_t *list,
                                json_t *seen)
{
    const char *key;
    json_t *token;
    json_object_foreach(json_object_get(b->config, "added_tokens_decoder"), key, token)
    {
        char *end;
        long long id = strtoll(key, &end, 10);
        if (*end || end == key || id < 0 || id >= INT32_MAX || !json_is_object(token) ||
            !json_is_string(json_object_get(token, "content")))
            return inl_fail(env, INLAY_ERROR_BAD_FILE,
                            "%s/tokenizer_config.json: added_tokens_decoder has the key \"%.32s\", "
                            "which is no id, or is no token",
                            b->folder, key);
        json_t *copy = json_copy(token);
        if (json_object_set_new(copy, "id", json_integer(id)) != 0 ||
            json_array_append(list, copy) != 0 ||
            json_object_set(seen, json_string_value(json_object_get(copy, "content")), copy) != 0) {
            json_decref(copy);
            return INLAY_ERROR_OUT_OF_MEMORY;
        }
        json_decref(copy);
    }
    return INLAY_OK;
}

// added_tokens.json: {"content": id}
static inlay_result add_names(const inl_env *env, const inl_tokenizer_beside *b, json_t *list,
                              json_t *seen)
{
    const char *text;
    json_t *id;
    json_object_foreach(b->added, text, id)
    {
        if (!json_is_integer(id) || json_integer_value(id) < 0 ||
            json_integer_value(id) >= INT32_MAX)
            return inl_fail(env, INLAY_ERROR_BAD_FILE,
                            "%s/added_tokens.json: the token \"%.64s\" has no id", b->folder, text);
        if (json_object_get(seen, text))
            continue;
        json_t *token = json_pack("{s:O, s:s, s:b}", "id", id, "content", text, "special", 0);
        if (json_array_append_new(list, token) != 0)
            return INLAY_ERROR_OUT_OF_MEMORY;
    }
    return INLAY_OK;
}

static inlay_result sort_by_id(const inl_env *env, const json_t *list, json_t *out)
{
    size_t count = json_array_size(list);
    json_t **tokens = inl_alloc(env, count + 1, sizeof(json_t *));
    bool done = tokens != NULL;
    for (size_t i = 0; done && i < count; i++)
        tokens[i] = json_array_get(list, i);
    if (done)
        qsort(tokens, count, sizeof(json_t *), compare_ids);
    for (size_t i = 0; done && i < count; i++)
        done = json_array_append(out, tokens[i]) == 0;
    inl_free(env, tokens);
    return done ? INLAY_OK : INLAY_ERROR_OUT_OF_MEMORY;
}

inlay_result inl_tokenizer_list_added(const inl_env *env, const inl_tokenizer_beside *beside,
                                      json_t **out)
{
    json_t *list = json_array();
    json_t *seen = json_object();
    *out = json_array();
    inlay_result result = list && seen && *out ? INLAY_OK : INLAY_ERROR_OUT_OF_MEMORY;
    if (result == INLAY_OK)
        result = add_decoder(env, beside, list, seen);
    if (result == INLAY_OK)
        result = add_names(env, beside, list, seen);
    if (result == INLAY_OK)
        result = sort_by_id(env, list, *out);
    json_decref(list);
    json_decref(seen);
    return result;
}

// ---- the folder

static inlay_result read_small(const folder *f, inl_tokenizer_beside *b)
{
    INL_TRY(read_json(f, "tokenizer_config.json", &b->config));
    INL_TRY(read_json(f, "added_tokens.json", &b->added));
    INL_TRY(read_json(f, "chat_template.json", &b->chat_template));
    INL_TRY(read_json(f, "generation_config.json", &b->generation));
    return read_json(f, "config.json", &b->model);
}

static inlay_result has_file(const folder *f, const char *name, char **path, bool *out)
{
    inl_free(f->env, *path);
    *path = inl_path_join(f->env, f->path, name);
    *out = *path && inl_exists(*path);
    return *path ? INLAY_OK : INLAY_ERROR_OUT_OF_MEMORY;
}

static inlay_result read_tokens(folder *f, const inl_tokenizer_beside *b, char **path)
{
    bool found;
    INL_TRY(has_file(f, "tokenizer.json", path, &f->is_json));
    if (f->is_json)
        return inl_tokenizer_read_json(f->t, *path);
    INL_TRY(has_file(f, "merges.txt", path, &found));
    if (found)
        return inl_tokenizer_read_files(f->t, b);
    INL_TRY(has_file(f, "tokenizer.model", path, &found));
    if (found)
        return inl_tokenizer_read_model(f->t, *path, b);
    INL_TRY(has_file(f, "vocab.json", path, &found));
    if (found) // merges.txt is missing, and so it says
        return inl_tokenizer_read_files(f->t, b);
    return inl_fail(f->env, INLAY_ERROR_NOT_FOUND,
                    "%s: there is no tokenizer.json, no vocab.json and no tokenizer.model",
                    f->path);
}

static inlay_result read_all(folder *f, inl_tokenizer_beside *b)
{
    char *path = NULL;
    INL_TRY(read_small(f, b));
    inlay_result result = read_tokens(f, b, &path);
    inl_free(f->env, path);
    if (result != INLAY_OK)
        return result;
    INL_TRY(read_ends(f, b->config, b->generation, b->model));
    INL_TRY(read_template(f, b->config));
    INL_TRY(read_template(f, b->chat_template));
    return read_template_files(f);
}

inlay_result inl_tokenizer_open_folder(const inl_env *env, const char *path, inl_tokenizer **out)
{
    inl_tokenizer *t;
    *out = NULL;
    INL_TRY(inl_tokenizer_new(env, &t));
    folder f = {.t = t, .env = &t->env, .path = path};
    inl_tokenizer_beside beside = {.folder = path};
    inlay_result result = read_all(&f, &beside);
    json_decref(beside.config);
    json_decref(beside.added);
    json_decref(beside.chat_template);
    json_decref(beside.generation);
    json_decref(beside.model);
    *out = t;
    if (result != INLAY_OK)
        inl_tokenizer_destroy(out);
    return result;
}
