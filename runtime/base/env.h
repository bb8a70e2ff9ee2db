// SPDX-License-Identifier: MIT
// The environment every module is handed: allocator and log. Copied by value into each handle.
// Also the few macros all C files share.
#ifndef INL_BASE_ENV_H
#define INL_BASE_ENV_H

#include <inlay/error.h>
#include <inlay/log.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define INL_COUNT(array) (sizeof(array) / sizeof((array)[0]))
#define INL_MIN(a, b) ((a) < (b) ? (a) : (b))
#define INL_MAX(a, b) ((a) > (b) ? (a) : (b))

#if defined(__GNUC__)
#define INL_PRINTF(fmt, args) __attribute__((format(printf, fmt, args)))
#define INL_CHECKED __attribute__((warn_unused_result))
#else
#define INL_PRINTF(fmt, args)
#define INL_CHECKED
#endif

// Returns from the calling function when `expr` is not INLAY_OK.
#define INL_TRY(expr)                                                                              \
    do {                                                                                           \
        inlay_result inl_try_ = (expr);                                                            \
        if (inl_try_ != INLAY_OK)                                                                  \
            return inl_try_;                                                                       \
    } while (0)

typedef inlay_env inl_env;

// A copy of `env` with the defaults filled in; NULL gives a silent malloc environment.
inl_env inl_env_resolve(const inlay_env *env);

// Zeroed memory, or NULL after logging. `count * size` is checked for overflow.
void *inl_alloc(const inl_env *env, size_t count, size_t size) INL_CHECKED;
// Keeps the old bytes, does not zero new ones; on failure NULL and the old block stays valid.
void *inl_realloc(const inl_env *env, void *ptr, size_t count, size_t size) INL_CHECKED;
void inl_free(const inl_env *env, void *ptr);
char *inl_strdup(const inl_env *env, const char *text) INL_CHECKED;
char *inl_strndup(const inl_env *env, const char *text, size_t len) INL_CHECKED;
char *inl_sprintf(const inl_env *env, const char *fmt, ...) INL_PRINTF(2, 3) INL_CHECKED;

// Makes room for `need` elements in a growing array; doubles. `*cap` is in elements.
inlay_result inl_grow(const inl_env *env, void **array, size_t *cap, size_t need,
                      size_t size) INL_CHECKED;

void inl_logf(const inl_env *env, inlay_log_level level, const char *fmt, ...) INL_PRINTF(3, 4);
// Logs one sentence at error level and returns `result`: `return inl_fail(env, INLAY_ERROR_IO,
// "...")`.
inlay_result inl_fail(const inl_env *env, inlay_result result, const char *fmt, ...)
    INL_PRINTF(3, 4);

// a * b and a + b into *out; false when the result does not fit.
static inline bool inl_mul_u64(uint64_t a, uint64_t b, uint64_t *out)
{
    if (a != 0 && b > UINT64_MAX / a)
        return false;
    *out = a * b;
    return true;
}

static inline bool inl_add_u64(uint64_t a, uint64_t b, uint64_t *out)
{
    if (b > UINT64_MAX - a)
        return false;
    *out = a + b;
    return true;
}

static inline uint64_t inl_round_up(uint64_t value, uint64_t multiple)
{
    return (value + multiple - 1) / multiple * multiple;
}

static inline uint32_t inl_div_up(uint32_t value, uint32_t divisor)
{
    return (value + divisor - 1) / divisor;
}

#endif
