// SPDX-License-Identifier: MIT
#include "io/regex.h"

#include "io/regex_ruby.h"

#include <stdio.h>
#include <string.h>

#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>

// A file's expression may try so many ways, and so many more for each byte of the text.
#define MATCH_LIMIT 100000u
#define MATCH_LIMIT_PER_BYTE 64u
#define MAX_PATTERN 65536 // bytes

struct inl_regex {
    const inl_env *env;
    pcre2_general_context *memory;
    pcre2_code *code;
    bool limited;
    char *place; // "file: key", or NULL
};

// Says nothing on failure: PCRE2 goes on where it can, and its callers here report where it cannot.
static void *pcre_malloc(size_t size, void *user)
{
    const inl_env *env = user;
    return env->realloc(env->realloc_user, NULL, size);
}

static void pcre_free(void *ptr, void *user)
{
    inl_free(user, ptr);
}

static inlay_result fail_memory(const inl_env *env)
{
    return inl_fail(env, INLAY_ERROR_OUT_OF_MEMORY,
                    "out of host memory for the pre-tokenizer's expressions");
}

static inlay_result fail_compile(const inl_regex *r, int error, size_t offset)
{
    unsigned char reason[128];
    if (error == PCRE2_ERROR_HEAP_FAILED)
        return fail_memory(r->env);
    if (pcre2_get_error_message(error, reason, sizeof(reason)) < 0)
        snprintf((char *)reason, sizeof(reason), "error %d", error);
    if (r->place)
        return inl_fail(r->env, INLAY_ERROR_UNSUPPORTED,
                        "%s: the regular expression is not supported (%s at %zu)", r->place,
                        (const char *)reason, offset);
    return inl_fail(r->env, INLAY_ERROR_INTERNAL,
                    "a pre-tokenizer expression does not compile (%s at %zu)", (const char *)reason,
                    offset);
}

static inlay_result compile(inl_regex *r, const char *pattern, size_t size, uint32_t options)
{
    int error;
    size_t offset;
    r->memory = pcre2_general_context_create(pcre_malloc, pcre_free, (void *)r->env);
    pcre2_compile_context *context = r->memory ? pcre2_compile_context_create(r->memory) : NULL;
    if (!context)
        return fail_memory(r->env);
    pcre2_set_newline(context, PCRE2_NEWLINE_LF);
    r->code = pcre2_compile((PCRE2_SPTR)pattern, size, PCRE2_UTF | PCRE2_UCP | options, &error,
                            &offset, context);
    pcre2_compile_context_free(context);
    if (!r->code)
        return fail_compile(r, error, offset);
    pcre2_jit_compile(r->code, PCRE2_JIT_COMPLETE); // where there is no JIT the interpreter does it
    return INLAY_OK;
}

static inlay_result finish(inl_regex *r, inlay_result result, inl_regex **out)
{
    *out = r;
    if (result != INLAY_OK)
        inl_regex_destroy(out);
    return result;
}

inlay_result inl_regex_create(const inl_env *env, const char *pattern, inl_regex **out)
{
    *out = NULL;
    inl_regex *r = inl_alloc(env, 1, sizeof(*r));
    if (!r)
        return INLAY_ERROR_OUT_OF_MEMORY;
    r->env = env;
    return finish(r, compile(r, pattern, PCRE2_ZERO_TERMINATED, 0), out);
}

static inlay_result compile_ruby(inl_regex *r, inl_slice pattern)
{
    char *translated;
    size_t size;
    if (pattern.size > MAX_PATTERN)
        return inl_fail(r->env, INLAY_ERROR_UNSUPPORTED,
                        "%s: the regular expression has %llu bytes (at most %d are supported)",
                        r->place, (unsigned long long)pattern.size, MAX_PATTERN);
    INL_TRY(inl_regex_from_ruby(r->env, r->place, pattern, &translated, &size));
    inlay_result result = compile(r, translated, size, PCRE2_MULTILINE | PCRE2_NEVER_BACKSLASH_C);
    inl_free(r->env, translated);
    return result;
}

inlay_result inl_regex_create_ruby(const inl_env *env, const char *file, const char *place,
                                   inl_slice pattern, inl_regex **out)
{
    *out = NULL;
    inl_regex *r = inl_alloc(env, 1, sizeof(*r));
    if (!r)
        return INLAY_ERROR_OUT_OF_MEMORY;
    r->env = env;
    r->limited = true;
    r->place = inl_sprintf(env, "%s: %s", file, place);
    return finish(r, r->place ? compile_ruby(r, pattern) : INLAY_ERROR_OUT_OF_MEMORY, out);
}

void inl_regex_destroy(inl_regex **regex)
{
    inl_regex *r = *regex;
    *regex = NULL;
    if (!r)
        return;
    pcre2_code_free(r->code);
    pcre2_general_context_free(r->memory);
    inl_free(r->env, r->place);
    inl_free(r->env, r);
}

inlay_result inl_matcher_open(const inl_env *env, const inl_regex *regex, inl_matcher *out)
{
    *out = (inl_matcher){.regex = regex};
    out->context = pcre2_match_context_create(regex->memory);
    out->data = pcre2_match_data_create(1, regex->memory);
    if (!out->context || !out->data)
        return fail_memory(env);
    return INLAY_OK;
}

void inl_matcher_close(inl_matcher *matcher)
{
    pcre2_match_data_free(matcher->data);
    pcre2_match_context_free(matcher->context);
    *matcher = (inl_matcher){0};
}

static inlay_result fail_match(const inl_env *env, const inl_regex *r, int error, size_t size)
{
    if (error == PCRE2_ERROR_NOMEMORY || error == PCRE2_ERROR_HEAPLIMIT)
        return inl_fail(env, INLAY_ERROR_OUT_OF_MEMORY,
                        "the pre-tokenizer ran out of memory on a text of %zu bytes", size);
    if (error == PCRE2_ERROR_MATCHLIMIT || error == PCRE2_ERROR_DEPTHLIMIT)
        return inl_fail(env, INLAY_ERROR_UNSUPPORTED,
                        "%s: the regular expression takes too long on a text of %zu bytes",
                        r->place ? r->place : "the pre-tokenizer", size);
    return inl_fail(env, INLAY_ERROR_INTERNAL, "the pre-tokenizer failed (error %d)", error);
}

static uint32_t match_limit(const inl_regex *r, size_t size)
{
    uint64_t limit = MATCH_LIMIT + (uint64_t)MATCH_LIMIT_PER_BYTE * size;
    return r->limited && limit < UINT32_MAX ? (uint32_t)limit : UINT32_MAX;
}

inlay_result inl_matcher_find(const inl_env *env, inl_matcher *matcher, const char *text,
                              size_t size, size_t at, size_t *start, size_t *end)
{
    const inl_regex *r = matcher->regex;
    uint32_t options = PCRE2_NO_UTF_CHECK; // else each call would read the whole rest
    pcre2_set_match_limit(matcher->context, match_limit(r, size));
    int found =
        pcre2_match(r->code, (PCRE2_SPTR)text, size, at, options, matcher->data, matcher->context);
    if (found == PCRE2_ERROR_JIT_STACKLIMIT)
        found = pcre2_match(r->code, (PCRE2_SPTR)text, size, at, options | PCRE2_NO_JIT,
                            matcher->data, matcher->context);
    *start = *end = size;
    if (found == PCRE2_ERROR_NOMATCH)
        return INLAY_OK;
    if (found < 0)
        return fail_match(env, r, found, size);
    const size_t *ends = pcre2_get_ovector_pointer(matcher->data);
    *start = ends[0];
    *end = ends[1];
    if (*end < *start) // \K in a lookahead
        return fail_match(env, r, PCRE2_ERROR_INTERNAL, size);
    return INLAY_OK;
}
