// SPDX-License-Identifier: MIT
#include "base/env.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define LOG_LINE_BYTES 1024

static void *default_realloc(void *user, void *ptr, size_t size)
{
    (void)user;
    if (size == 0) {
        free(ptr);
        return NULL;
    }
    return realloc(ptr, size);
}

inl_env inl_env_resolve(const inlay_env *env)
{
    inl_env resolved = env ? *env : (inl_env){0};
    if (resolved.log_level == INLAY_LOG_NONE)
        resolved.log_level = INLAY_LOG_INFO;
    if (!resolved.realloc)
        resolved.realloc = default_realloc;
    return resolved;
}

void *inl_realloc(const inl_env *env, void *ptr, size_t count, size_t size)
{
    uint64_t bytes;
    if (!inl_mul_u64(count, size, &bytes) || bytes > SIZE_MAX / 2) {
        inl_logf(env, INLAY_LOG_ERROR, "a request for %zu x %zu bytes overflows", count, size);
        return NULL;
    }
    void *p = env->realloc(env->realloc_user, ptr, bytes ? (size_t)bytes : 1);
    if (!p)
        inl_logf(env, INLAY_LOG_ERROR, "out of host memory (%llu bytes wanted)",
                 (unsigned long long)bytes);
    return p;
}

void *inl_alloc(const inl_env *env, size_t count, size_t size)
{
    void *p = inl_realloc(env, NULL, count, size);
    if (p)
        memset(p, 0, count * size);
    return p;
}

void inl_free(const inl_env *env, void *ptr)
{
    if (ptr)
        env->realloc(env->realloc_user, ptr, 0);
}

char *inl_strndup(const inl_env *env, const char *text, size_t len)
{
    char *copy = inl_alloc(env, len + 1, 1);
    if (copy)
        memcpy(copy, text, len);
    return copy;
}

char *inl_strdup(const inl_env *env, const char *text)
{
    return inl_strndup(env, text, strlen(text));
}

char *inl_sprintf(const inl_env *env, const char *fmt, ...)
{
    va_list args;
    va_start(args, fmt);
    int len = vsnprintf(NULL, 0, fmt, args);
    va_end(args);
    if (len < 0)
        return NULL;
    char *text = inl_alloc(env, (size_t)len + 1, 1);
    if (!text)
        return NULL;
    va_start(args, fmt);
    vsnprintf(text, (size_t)len + 1, fmt, args);
    va_end(args);
    return text;
}

inlay_result inl_grow(const inl_env *env, void **array, size_t *cap, size_t need, size_t size)
{
    if (need <= *cap)
        return INLAY_OK;
    size_t wanted = INL_MAX(need, *cap < 16 ? 16 : *cap * 2);
    void *grown = inl_realloc(env, *array, wanted, size);
    if (!grown)
        return INLAY_ERROR_OUT_OF_MEMORY;
    *array = grown;
    *cap = wanted;
    return INLAY_OK;
}

// Names in messages may come from files: what could steer a terminal or end the line becomes '?'.
static void log_va(const inl_env *env, inlay_log_level level, const char *fmt, va_list args)
{
    if (!env->log || level > env->log_level)
        return;
    char line[LOG_LINE_BYTES];
    vsnprintf(line, sizeof(line), fmt, args);
    for (char *c = line; *c; c++)
        if ((unsigned char)*c < ' ' || *c == 0x7f)
            *c = '?';
    env->log(env->log_user, level, line);
}

void inl_logf(const inl_env *env, inlay_log_level level, const char *fmt, ...)
{
    va_list args;
    va_start(args, fmt);
    log_va(env, level, fmt, args);
    va_end(args);
}

inlay_result inl_fail(const inl_env *env, inlay_result result, const char *fmt, ...)
{
    va_list args;
    va_start(args, fmt);
    log_va(env, INLAY_LOG_ERROR, fmt, args);
    va_end(args);
    return result;
}
