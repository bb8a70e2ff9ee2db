// SPDX-License-Identifier: MIT
#define PCRE2_CODE_UNIT_WIDTH 8
#include "adapter/targets.h"

#include <pcre2.h>
#include <stdio.h>
#include <string.h>

// Steps of one match: module paths are short, only a runaway expression needs more.
#define MATCH_LIMIT 200000

// ---- regular expressions

typedef struct regex {
    const inl_env *env;
    const char *source, *pattern; // for messages
    pcre2_general_context *memory;
    pcre2_match_context *limits;
    pcre2_code *code;
    pcre2_match_data *match;
} regex;

static void *regex_malloc(size_t size, void *env)
{
    return inl_alloc(env, size, 1);
}

static void regex_free(void *ptr, void *env)
{
    inl_free(env, ptr);
}

static void regex_close(regex *x)
{
    pcre2_match_data_free(x->match);
    pcre2_code_free(x->code);
    pcre2_match_context_free(x->limits);
    pcre2_general_context_free(x->memory);
}

static inlay_result regex_compile(regex *x)
{
    pcre2_compile_context *context = pcre2_compile_context_create(x->memory);
    if (!context)
        return INLAY_ERROR_OUT_OF_MEMORY;
    int error = 0;
    PCRE2_SIZE at = 0;
    x->code = pcre2_compile((PCRE2_SPTR)x->pattern, PCRE2_ZERO_TERMINATED, 0, &error, &at, context);
    pcre2_compile_context_free(context);
    if (x->code)
        return INLAY_OK;
    if (error == PCRE2_ERROR_HEAP_FAILED)
        return INLAY_ERROR_OUT_OF_MEMORY;
    char message[128] = "";
    pcre2_get_error_message(error, (PCRE2_UCHAR *)message, sizeof(message));
    return inl_fail(x->env, INLAY_ERROR_INVALID_ARGUMENT,
                    "%s: the regular expression \"%.200s\" is wrong at character %zu: %s",
                    x->source, x->pattern, (size_t)at, message);
}

// To be closed also after a failure.
static inlay_result regex_open(const inl_env *env, const char *source, const char *pattern,
                               regex *out)
{
    *out = (regex){.env = env, .source = source, .pattern = pattern};
    out->memory = pcre2_general_context_create(regex_malloc, regex_free, (void *)env);
    if (!out->memory)
        return INLAY_ERROR_OUT_OF_MEMORY;
    INL_TRY(regex_compile(out));
    out->limits = pcre2_match_context_create(out->memory);
    out->match = pcre2_match_data_create_from_pattern(out->code, out->memory);
    if (!out->limits || !out->match)
        return INLAY_ERROR_OUT_OF_MEMORY;
    pcre2_set_match_limit(out->limits, MATCH_LIMIT);
    return INLAY_OK;
}

// The whole of `text`.
static inlay_result regex_match(const regex *x, const char *text, bool *found)
{
    int result = pcre2_match(x->code, (PCRE2_SPTR)text, strlen(text), 0,
                             PCRE2_ANCHORED | PCRE2_ENDANCHORED, x->match, x->limits);
    *found = result >= 0;
    if (result >= 0 || result == PCRE2_ERROR_NOMATCH)
        return INLAY_OK;
    if (result == PCRE2_ERROR_NOMEMORY)
        return INLAY_ERROR_OUT_OF_MEMORY;
    return inl_fail(x->env, INLAY_ERROR_INVALID_ARGUMENT,
                    "%s: the regular expression \"%.200s\" takes too long to match", x->source,
                    x->pattern);
}

// A dot alone makes no expression: it stands in every module path.
static bool is_regex(const char *text)
{
    return strpbrk(text, "\\^$*+?()[]{}|") != NULL;
}

// ---- patterns

// What the expression does where its only metacharacter is the dot.
static bool ends_with_dotted(const char *path, const char *key)
{
    size_t path_length = strlen(path), length = strlen(key);
    if (length > path_length)
        return false;
    const char *end = path + path_length - length;
    for (size_t i = 0; i < length; i++)
        if (key[i] != '.' && key[i] != end[i])
            return false;
    return end == path || end[-1] == '.';
}

inlay_result inl_targets_pattern(const inl_env *env, const char *source, const char *key,
                                 const char *path, bool *found)
{
    *found = false;
    if (!is_regex(key)) {
        *found = ends_with_dotted(path, key);
        return INLAY_OK;
    }
    char *pattern = inl_sprintf(env, "(.*\\.)?(%s)", key);
    if (!pattern)
        return INLAY_ERROR_OUT_OF_MEMORY;
    regex x;
    inlay_result result = regex_open(env, source, pattern, &x);
    if (result == INLAY_OK)
        result = regex_match(&x, path, found);
    regex_close(&x);
    inl_free(env, pattern);
    return result;
}

// ---- target modules

const char *inl_targets_suffix(const char *path)
{
    const char *dot = strrchr(path, '.');
    return dot ? dot + 1 : path;
}

// "q_proj" matches the path "...self_attn.q_proj", not "...xq_proj".
static bool is_suffix(const char *path, const char *name, size_t length)
{
    size_t path_length = strlen(path);
    if (length == 0 || length > path_length)
        return false;
    const char *end = path + path_length - length;
    return memcmp(end, name, length) == 0 && (end == path || end[-1] == '.');
}

static void select_list(const inl_env *env, const inl_module_list *modules, const char *list,
                        bool *selected)
{
    for (;;) {
        list += strspn(list, ", \t");
        size_t length = strcspn(list, ", \t");
        if (length == 0)
            return;
        bool any = false;
        for (uint32_t i = 0; i < modules->count; i++)
            if (is_suffix(modules->items[i].path, list, length))
                any = selected[i] = true;
        if (!any)
            inl_logf(env, INLAY_LOG_WARN, "no module matches \"%.*s\"", (int)INL_MIN(length, 200),
                     list);
        list += length;
    }
}

static inlay_result select_regex(const inl_env *env, const inl_module_list *modules,
                                 const char *pattern, bool *selected)
{
    regex x;
    inlay_result result = regex_open(env, "target_modules", pattern, &x);
    for (uint32_t i = 0; result == INLAY_OK && i < modules->count; i++)
        result = regex_match(&x, modules->items[i].path, &selected[i]);
    regex_close(&x);
    return result;
}

static bool is_listed_before(const inl_module_list *modules, uint32_t index)
{
    const char *name = inl_targets_suffix(modules->items[index].path);
    for (uint32_t i = 0; i < index; i++)
        if (strcmp(inl_targets_suffix(modules->items[i].path), name) == 0)
            return true;
    return false;
}

static inlay_result fail_unmatched(const inl_env *env, const inl_module_list *modules,
                                   const char *targets)
{
    char names[256] = "nothing";
    size_t length = 0;
    for (uint32_t i = 0; i < modules->count; i++) {
        if (length >= sizeof(names) - 1 || is_listed_before(modules, i))
            continue;
        length += (size_t)snprintf(names + length, sizeof(names) - length, "%s%s",
                                   length ? ", " : "", inl_targets_suffix(modules->items[i].path));
    }
    return inl_fail(env, INLAY_ERROR_NOT_FOUND,
                    "no module matches \"%.200s\"; the model has %s, with paths like %s", targets,
                    names, modules->count ? modules->items[0].path : "none");
}

inlay_result inl_targets_match(const inl_env *env, const inl_module_list *modules,
                               const char *targets, bool *selected)
{
    if (!targets)
        targets = "all-linear";
    for (uint32_t i = 0; i < modules->count; i++)
        selected[i] = false;
    if (strcmp(targets, "all-linear") == 0) {
        for (uint32_t i = 0; i < modules->count; i++)
            selected[i] = !modules->items[i].only_by_name;
    } else if (is_regex(targets)) {
        INL_TRY(select_regex(env, modules, targets, selected));
    } else {
        select_list(env, modules, targets, selected);
    }
    for (uint32_t i = 0; i < modules->count; i++)
        if (selected[i])
            return INLAY_OK;
    return fail_unmatched(env, modules, targets);
}
