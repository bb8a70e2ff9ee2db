// SPDX-License-Identifier: MIT
#include "io/json_scan.h"

#include "io/utf8.h"

#include <string.h>

#define MAX_DEPTH 64

inlay_result inl_json_fail(const inl_json_scan *s, const char *what)
{
    return inl_fail(s->env, INLAY_ERROR_BAD_FILE, "%s: %s at byte %llu", s->file, what,
                    (unsigned long long)s->at);
}

static void skip_space(inl_json_scan *s)
{
    while (s->at < s->size && (s->data[s->at] == ' ' || s->data[s->at] == '\n' ||
                               s->data[s->at] == '\r' || s->data[s->at] == '\t'))
        s->at++;
}

char inl_json_peek(inl_json_scan *s)
{
    skip_space(s);
    if (s->at == s->size)
        return 0;
    char c = s->data[s->at];
    if (c == '-' || (c >= '0' && c <= '9'))
        return '0';
    return c != '\0' && strchr("{[\"tfn", c) ? c : 0;
}

inlay_result inl_json_enter(inl_json_scan *s, char open)
{
    skip_space(s);
    if (s->at == s->size || s->data[s->at] != open)
        return inl_json_fail(s, open == '{' ? "an object is expected" : "an array is expected");
    s->at++;
    return INLAY_OK;
}

inlay_result inl_json_next(inl_json_scan *s, bool first, char open, bool *more)
{
    char close = open == '{' ? '}' : ']';
    skip_space(s);
    *more = false;
    if (s->at == s->size)
        return inl_json_fail(s, "the JSON ends early");
    if (s->data[s->at] == close) {
        s->at++;
        return INLAY_OK;
    }
    *more = true;
    if (first)
        return INLAY_OK;
    if (s->data[s->at] != ',')
        return inl_json_fail(s, "a comma is missing");
    s->at++;
    return INLAY_OK;
}

static bool read_hex4(inl_json_scan *s, uint32_t *out)
{
    if (s->size - s->at < 4)
        return false;
    uint32_t value = 0;
    for (int i = 0; i < 4; i++) {
        char c = s->data[s->at + (uint64_t)i];
        uint32_t digit = c >= '0' && c <= '9'   ? (uint32_t)(c - '0')
                         : c >= 'a' && c <= 'f' ? (uint32_t)(c - 'a' + 10)
                         : c >= 'A' && c <= 'F' ? (uint32_t)(c - 'A' + 10)
                                                : 16;
        if (digit == 16)
            return false;
        value = value << 4 | digit;
    }
    s->at += 4;
    *out = value;
    return true;
}

// After "\u": one or, for a surrogate pair, two escapes. No lone surrogates.
static bool read_escaped_point(inl_json_scan *s, uint32_t *point)
{
    uint32_t low;
    if (!read_hex4(s, point))
        return false;
    if (*point < 0xd800 || *point > 0xdfff)
        return true;
    if (*point > 0xdbff || s->size - s->at < 6 || memcmp(s->data + s->at, "\\u", 2) != 0)
        return false;
    s->at += 2;
    if (!read_hex4(s, &low) || low < 0xdc00 || low > 0xdfff)
        return false;
    *point = 0x10000u + ((*point - 0xd800u) << 10) + (low - 0xdc00u);
    return true;
}

// After the backslash. An escape is never shorter than what it stands for.
static inlay_result read_escape(inl_json_scan *s, char *out, uint64_t *used)
{
    static const char names[] = "\"\\/bfnrt";
    static const char values[] = "\"\\/\b\f\n\r\t";
    char c = s->at < s->size ? s->data[s->at++] : '\0';
    const char *name = c ? strchr(names, c) : NULL;
    if (name) {
        out[(*used)++] = values[name - names];
        return INLAY_OK;
    }
    uint32_t point;
    if (c != 'u' || !read_escaped_point(s, &point))
        return inl_json_fail(s, "a string has a wrong escape");
    *used += inl_utf8_encode(point, out + *used);
    return INLAY_OK;
}

inlay_result inl_json_string(inl_json_scan *s, char *out, uint64_t *size)
{
    skip_space(s);
    if (s->at == s->size || s->data[s->at] != '"')
        return inl_json_fail(s, "a string is expected");
    s->at++;
    for (*size = 0; s->at < s->size;) {
        uint8_t c = (uint8_t)s->data[s->at];
        if (c == '"') {
            s->at++;
            return INLAY_OK;
        }
        if (c == '\\') {
            s->at++;
            INL_TRY(read_escape(s, out, size));
            continue;
        }
        size_t length = inl_utf8_length(s->data + s->at, s->size - s->at);
        if (c < 0x20 || length == 0)
            return inl_json_fail(s, c < 0x20 ? "a string has a bare control character"
                                             : "a string is no UTF-8");
        memcpy(out + *size, s->data + s->at, length);
        *size += length;
        s->at += length;
    }
    return inl_json_fail(s, "a string does not end");
}

inlay_result inl_json_key(inl_json_scan *s, char *out, uint64_t *size)
{
    INL_TRY(inl_json_string(s, out, size));
    skip_space(s);
    if (s->at == s->size || s->data[s->at] != ':')
        return inl_json_fail(s, "a colon is missing");
    s->at++;
    return INLAY_OK;
}

inlay_result inl_json_integer(inl_json_scan *s, int64_t *out)
{
    skip_space(s);
    uint64_t start = s->at;
    bool negative = s->at < s->size && s->data[s->at] == '-';
    s->at += negative;
    int64_t value = 0;
    uint64_t digits = s->at;
    for (; s->at < s->size && s->data[s->at] >= '0' && s->data[s->at] <= '9'; s->at++) {
        if (value > (INT64_MAX - 9) / 10)
            return inl_json_fail(s, "a number is too large");
        value = value * 10 + (s->data[s->at] - '0');
    }
    bool fraction = s->at < s->size && s->data[s->at] != '\0' && strchr(".eE", s->data[s->at]);
    if (s->at == digits || fraction) {
        s->at = start;
        return inl_json_fail(s, "an integer is expected");
    }
    *out = negative ? -value : value;
    return INLAY_OK;
}

// Past a string, without looking into it.
static bool skip_string(inl_json_scan *s)
{
    for (s->at++; s->at < s->size; s->at++) {
        if (s->data[s->at] == '\\')
            s->at++;
        else if (s->data[s->at] == '"') {
            s->at++;
            return true;
        }
    }
    s->at = s->size;
    return false;
}

// Brackets are counted; what lies between them is read by whoever is given *raw.
static inlay_result skip_nested(inl_json_scan *s)
{
    int depth = 0;
    do {
        char c = s->data[s->at];
        if (c == '"') {
            if (!skip_string(s))
                return inl_json_fail(s, "a string does not end");
            continue;
        }
        depth += (c == '{' || c == '[') - (c == '}' || c == ']');
        if (depth > MAX_DEPTH)
            return inl_json_fail(s, "the JSON is nested too deeply");
        s->at++;
    } while (depth > 0 && s->at < s->size);
    return depth > 0 ? inl_json_fail(s, "the JSON ends early") : INLAY_OK;
}

inlay_result inl_json_skip(inl_json_scan *s, inl_slice *raw)
{
    char kind = inl_json_peek(s);
    uint64_t start = s->at;
    if (kind == '{' || kind == '[') {
        INL_TRY(skip_nested(s));
    } else if (kind == '"') {
        if (!skip_string(s))
            return inl_json_fail(s, "a string does not end");
    } else if (kind) {
        while (s->at < s->size && s->data[s->at] != '\0' && !strchr(",]} \n\r\t", s->data[s->at]))
            s->at++;
    } else {
        return inl_json_fail(s, "a value is expected");
    }
    *raw = (inl_slice){s->data + start, s->at - start};
    return INLAY_OK;
}

inlay_result inl_json_end(inl_json_scan *s)
{
    skip_space(s);
    return s->at < s->size ? inl_json_fail(s, "something follows the JSON") : INLAY_OK;
}
