// SPDX-License-Identifier: MIT
#include "io/json_load.h"

#include <stdio.h>
#include <string.h>

#define WHOLE_DIGITS 18 // that many always fit 64 bits

static bool is_digit(char c)
{
    return c >= '0' && c <= '9';
}

// "1234...9" of n digits -> "1.234...e{n-1}", as long as before.
static void make_real(char *digits, size_t n)
{
    char exponent[24];
    size_t tail = (size_t)snprintf(exponent, sizeof(exponent), "e%zu", n - 1);
    memmove(digits + 2, digits + 1, n - 2 - tail);
    digits[1] = '.';
    memcpy(digits + n - tail, exponent, tail);
}

static void make_large_real(char *text, size_t size)
{
    bool quoted = false;
    for (size_t i = 0; i < size; i++) {
        if (quoted && text[i] == '\\')
            i++;
        else if (text[i] == '"')
            quoted = !quoted;
        if (quoted || i >= size || !is_digit(text[i]))
            continue;
        size_t start = i;
        while (i < size && is_digit(text[i]))
            i++;
        bool in_fraction = start > 0 && strchr(".eE+", text[start - 1]);
        bool is_real = i < size && strchr(".eE", text[i]);
        if (i - start > WHOLE_DIGITS && !in_fraction && !is_real)
            make_real(text + start, i - start);
        i--;
    }
}

json_t *inl_json_load(const inl_env *env, const char *text, size_t size, size_t flags,
                      json_error_t *error)
{
    json_t *value = json_loadb(text, size, flags, error);
    if (value || json_error_code(error) != json_error_numeric_overflow)
        return value;
    char *copy = inl_alloc(env, size, 1);
    if (!copy)
        return NULL;
    memcpy(copy, text, size);
    make_large_real(copy, size);
    value = json_loadb(copy, size, flags, error);
    inl_free(env, copy);
    return value;
}
