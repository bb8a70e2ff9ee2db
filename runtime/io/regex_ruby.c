// SPDX-License-Identifier: MIT
#include "io/regex_ruby.h"

#include "io/regex.h"

#include <string.h>

#define MAX_GROUPS 64
#define WORD "\\p{L}\\p{M}\\p{N}\\p{Pc}"

typedef struct translation {
    const inl_env *env;
    const char *place;
    const char *in;
    size_t size, at;
    char *out;
    size_t used, cap;
    size_t atom;               // where in `out` what a quantifier would repeat begins
    size_t groups[MAX_GROUPS]; // where the open groups begin
    int depth;
} translation;

static inlay_result refuse(const translation *t, const char *what)
{
    return inl_fail(t->env, INLAY_ERROR_UNSUPPORTED,
                    "%s: the regular expression has %s at %zu, which is not supported", t->place,
                    what, t->at);
}

static inlay_result put(translation *t, const char *text, size_t size)
{
    INL_TRY(inl_grow(t->env, (void **)&t->out, &t->cap, t->used + size, 1));
    memcpy(t->out + t->used, text, size);
    t->used += size;
    return INLAY_OK;
}

static inlay_result put_text(translation *t, const char *text)
{
    return put(t, text, strlen(text));
}

static inlay_result insert(translation *t, size_t where, const char *text)
{
    size_t size = strlen(text);
    size_t moved = t->used - where;
    INL_TRY(put(t, text, size)); // makes room
    memmove(t->out + where + size, t->out + where, moved);
    memcpy(t->out + where, text, size);
    return INLAY_OK;
}

static char peek(const translation *t, size_t ahead)
{
    return ahead < t->size - t->at ? t->in[t->at + ahead] : '\0';
}

// A class escape that PCRE2 reads in another way, as the inside of a class; NULL: not one of those.
static const char *class_of(char letter)
{
    switch (letter) {
    case 's':
    case 'S': return INL_REGEX_SPACES;
    case 'w':
    case 'W': return WORD;
    case 'd':
    case 'D': return "\\p{Nd}";
    case 'h':
    case 'H': return "0-9a-fA-F";
    default: return NULL;
    }
}

// \uHHHH, which PCRE2 writes \x{HHHH}.
static inlay_result put_point(translation *t)
{
    for (size_t i = 2; i < 6; i++)
        if (!peek(t, i) || !strchr("0123456789abcdefABCDEF", peek(t, i)))
            return refuse(t, "a wrong \\u");
    INL_TRY(put_text(t, "\\x{"));
    INL_TRY(put(t, t->in + t->at + 2, 4));
    t->at += 6;
    return put_text(t, "}");
}

// The escape at `at`. in_class: between brackets.
static inlay_result put_escape(translation *t, bool in_class)
{
    char letter = peek(t, 1);
    if (letter == '\0')
        return refuse(t, "a backslash at its end");
    if (letter == 'u')
        return put_point(t);
    const char *class = class_of(letter);
    bool negated = letter >= 'A' && letter <= 'Z';
    if (class && in_class && negated && letter != 'D' && letter != 'S')
        return refuse(t, "a negated class inside a class");
    if (class && !(in_class && negated)) {
        t->at += 2;
        if (!in_class)
            INL_TRY(put_text(t, negated ? "[^" : "["));
        INL_TRY(put_text(t, class));
        return in_class ? INLAY_OK : put_text(t, "]");
    }
    bool letters = (letter >= 'a' && letter <= 'z') || (letter >= 'A' && letter <= 'Z');
    if (letters && !strchr("abfnrtvxpPzAZBDSRX", letter))
        return refuse(t, "an escape");
    INL_TRY(put(t, t->in + t->at, 2));
    t->at += 2;
    return INLAY_OK;
}

// [:alpha:] and the like, between brackets.
static bool posix_class(const translation *t, size_t *length)
{
    if (peek(t, 0) != '[' || peek(t, 1) != ':')
        return false;
    for (size_t i = 2; peek(t, i); i++)
        if (peek(t, i) == ':' && peek(t, i + 1) == ']') {
            *length = i + 2;
            return true;
        }
    return false;
}

static inlay_result put_class(translation *t, bool nested);

// A && B: what is in both. `start` is where A's bracket stands in the output, closed by us.
static inlay_result put_intersection(translation *t, size_t start)
{
    t->at += 2;
    INL_TRY(insert(t, start, "(?:(?="));
    INL_TRY(put_text(t, "])"));
    if (peek(t, 0) != '[')
        return refuse(t, "an intersection with no class of its own");
    INL_TRY(put_class(t, true));
    if (peek(t, 0) != ']')
        return refuse(t, "a set operation");
    t->at++;
    return put_text(t, ")");
}

// The class at `at`, its bracket included.
static inlay_result put_class(translation *t, bool nested)
{
    size_t start = t->used;
    INL_TRY(put(t, t->in + t->at++, 1));
    bool negated = peek(t, 0) == '^';
    if (negated)
        INL_TRY(put(t, t->in + t->at++, 1));
    for (bool first = true; t->at < t->size; first = false) {
        size_t length;
        char c = peek(t, 0);
        if (c == ']' && !first) {
            t->at++;
            return put_text(t, "]");
        }
        if (c == '&' && peek(t, 1) == '&')
            return nested || negated ? refuse(t, "a set operation") : put_intersection(t, start);
        if (c == '\\') {
            INL_TRY(put_escape(t, true));
        } else if (posix_class(t, &length)) {
            INL_TRY(put(t, t->in + t->at, length));
            t->at += length;
        } else if (c == '[') {
            return refuse(t, "a class in a class");
        } else {
            INL_TRY(put(t, t->in + t->at++, 1));
        }
    }
    return refuse(t, "a class that does not end");
}

// "(" with what tells its kind. In Ruby (?m lets the dot match a line's end, PCRE2's s.
static inlay_result put_group(translation *t)
{
    if (t->depth == MAX_GROUPS)
        return refuse(t, "groups nested too deeply");
    t->groups[t->depth++] = t->used;
    INL_TRY(put(t, t->in + t->at++, 1));
    if (peek(t, 0) != '?')
        return INLAY_OK;
    char kind = peek(t, 1);
    if (kind == '\0' || !strchr(":=!><#imx-", kind) ||
        (kind == '<' && peek(t, 2) != '=' && peek(t, 2) != '!'))
        return refuse(t, "a special group");
    while (peek(t, 0) && strchr("?imx-", peek(t, 0))) {
        char letter = peek(t, 0) == 'm' ? 's' : peek(t, 0);
        INL_TRY(put(t, &letter, 1));
        t->at++;
    }
    return INLAY_OK;
}

// {n,m}, after which a plus repeats it all: PCRE2 would read that as possessive.
static inlay_result put_braces(translation *t)
{
    size_t length = 1;
    while (peek(t, length) && strchr("0123456789,", peek(t, length)))
        length++;
    bool quantifier = length > 1 && peek(t, length) == '}' && peek(t, 1) != ',';
    if (!quantifier && peek(t, 1) == ',')
        return refuse(t, "a quantifier without a lower bound");
    length += peek(t, length) == '}';
    INL_TRY(put(t, t->in + t->at, length));
    t->at += length;
    if (quantifier && peek(t, 0) == '+') {
        INL_TRY(insert(t, t->atom, "(?:"));
        INL_TRY(put_text(t, ")"));
    }
    return INLAY_OK;
}

static inlay_result put_next(translation *t)
{
    char c = peek(t, 0);
    if (c == '{')
        return put_braces(t);
    if (c == ')') {
        if (t->depth > 0)
            t->atom = t->groups[--t->depth];
        return put(t, t->in + t->at++, 1);
    }
    if (c == '(')
        return put_group(t);
    if (c != '*' && c != '+' && c != '?' && (c & 0xc0) != 0x80)
        t->atom = t->used;
    if (c == '\\') {
        bool property = peek(t, 1) == 'p' || peek(t, 1) == 'P' || peek(t, 1) == 'x';
        INL_TRY(put_escape(t, false));
        if (property && peek(t, 0) == '{') // no quantifier
            while (t->at < t->size && t->in[t->at - 1] != '}')
                INL_TRY(put(t, t->in + t->at++, 1));
        return INLAY_OK;
    }
    if (c == '[')
        return put_class(t, false);
    return put(t, t->in + t->at++, 1);
}

inlay_result inl_regex_from_ruby(const inl_env *env, const char *place, inl_slice pattern,
                                 char **out, size_t *size)
{
    translation t = {.env = env, .place = place, .in = pattern.data, .size = pattern.size};
    inlay_result result = inl_grow(env, (void **)&t.out, &t.cap, pattern.size * 2 + 64, 1);
    if (result == INLAY_OK && memchr(pattern.data, '\0', pattern.size))
        result = refuse(&t, "a NUL");
    while (result == INLAY_OK && t.at < t.size)
        result = put_next(&t);
    if (result != INLAY_OK) {
        inl_free(env, t.out);
        return result;
    }
    *out = t.out;
    *size = t.used;
    return INLAY_OK;
}
