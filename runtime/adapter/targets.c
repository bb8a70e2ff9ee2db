// SPDX-License-Identifier: MIT
#define PCRE2_CODE_UNIT_WIDTH 8
#include "adapter/targets.h"

#include <pcre2.h>
#include <stdio.h>
#include <string.h>

static bool is_regex(const char *text)
{
    return strpbrk(text, "\\^$*+?()[]{}|") != NULL;
}

static pcre2_code *compile(const char *pattern, int *error)
{
    PCRE2_SIZE at;
    return pcre2_compile((PCRE2_SPTR)pattern, PCRE2_ZERO_TERMINATED, 0, error, &at, NULL);
}

static bool matches(const pcre2_code *code, const char *text, uint32_t options)
{
    pcre2_match_data *data = pcre2_match_data_create_from_pattern(code, NULL);
    int found = data ? pcre2_match(code, (PCRE2_SPTR)text, strlen(text), 0, options, data, NULL) : -1;
    pcre2_match_data_free(data);
    return found >= 0;
}

bool inl_targets_pattern(const char *key, const char *path)
{
    char pattern[512];
    int error, length = snprintf(pattern, sizeof(pattern), "^(.*\\.)?(%s)$", key);
    if (length < 0 || (size_t)length >= sizeof(pattern))
        return false;
    pcre2_code *code = compile(pattern, &error);
    bool found = code && matches(code, path, 0);
    pcre2_code_free(code);
    return found;
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

static void select_list(const inl_module_list *modules, const char *list, bool *selected)
{
    while (*list) {
        list += strspn(list, ", \t");
        size_t length = strcspn(list, ", \t");
        for (uint32_t i = 0; i < modules->count; i++)
            selected[i] |= is_suffix(modules->items[i].path, list, length);
        list += length;
    }
}

static inlay_result select_regex(const inl_env *env, const inl_module_list *modules,
                                 const char *pattern, bool *selected)
{
    int error;
    pcre2_code *code = compile(pattern, &error);
    if (!code) {
        char message[128] = "";
        pcre2_get_error_message(error, (PCRE2_UCHAR *)message, sizeof(message));
        return inl_fail(env, INLAY_ERROR_INVALID_ARGUMENT,
                        "the target modules' regular expression \"%s\" is wrong: %s", pattern,
                        message);
    }
    for (uint32_t i = 0; i < modules->count; i++)
        selected[i] = matches(code, modules->items[i].path, PCRE2_ANCHORED | PCRE2_ENDANCHORED);
    pcre2_code_free(code);
    return INLAY_OK;
}

inlay_result inl_targets_match(const inl_env *env, const inl_module_list *modules,
                               const char *targets, bool *selected)
{
    memset(selected, 0, modules->count * sizeof(*selected));
    if (!targets || strcmp(targets, "all-linear") == 0) {
        for (uint32_t i = 0; i < modules->count; i++)
            selected[i] = !modules->items[i].is_head;
    } else if (is_regex(targets)) {
        INL_TRY(select_regex(env, modules, targets, selected));
    } else {
        select_list(modules, targets, selected);
    }
    for (uint32_t i = 0; i < modules->count; i++)
        if (selected[i])
            return INLAY_OK;
    return inl_fail(env, INLAY_ERROR_NOT_FOUND,
                    "no module matches \"%s\": there are q_proj, k_proj, v_proj, o_proj, gate_proj, "
                    "up_proj, down_proj and lm_head, with paths like %s",
                    targets, modules->count ? modules->items[0].path : "(none)");
}
