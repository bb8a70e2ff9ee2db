// SPDX-License-Identifier: MIT
// Jinja's strings by characters: one out of UTF-8, parts, blanks at the ends, a search.
#include "io/jinja_value.h"

#include <string.h>
#include <utf8proc.h>

size_t inl_jinja_char(const char *data, size_t size, uint32_t *code)
{
    utf8proc_int32_t point;
    utf8proc_ssize_t count = utf8proc_iterate((const utf8proc_uint8_t *)data,
                                              (utf8proc_ssize_t)INL_MIN(size, 4), &point);
    if (count <= 0) {
        *code = 0xfffd;
        return 1;
    }
    *code = (uint32_t)point;
    return (size_t)count;
}

bool inl_jinja_is_space(uint32_t code)
{
    return (code >= 9 && code <= 13) || (code >= 28 && code <= 32) || code == 0x85 ||
           code == 0xa0 || code == 0x1680 || (code >= 0x2000 && code <= 0x200a) ||
           code == 0x2028 || code == 0x2029 || code == 0x202f || code == 0x205f || code == 0x3000;
}

jinja_string inl_jinja_part(const jinja_string *s, size_t start, size_t size)
{
    return (jinja_string){.data = s->data + start, .size = size,
                          .marks = s->marks ? s->marks + start : NULL};
}

// Whether the character at `data` is to be stripped.
static bool strips(const char *data, size_t size, uint32_t code, const jinja_string *chars)
{
    if (!chars)
        return inl_jinja_is_space(code);
    for (size_t at = 0; at < chars->size;) {
        uint32_t other;
        size_t step = inl_jinja_char(chars->data + at, chars->size - at, &other);
        if (step == size && memcmp(chars->data + at, data, size) == 0)
            return true;
        at += step;
    }
    return false;
}

// Bytes of the last character.
static size_t last_char(const jinja_string *s)
{
    size_t size = 1;
    while (size < s->size && size < 4 && ((uint8_t)s->data[s->size - size] & 0xc0) == 0x80)
        size++;
    return size;
}

jinja_string inl_jinja_strip(jinja_string s, const jinja_string *chars, bool left, bool right)
{
    uint32_t code;
    while (left && s.size > 0) {
        size_t size = inl_jinja_char(s.data, s.size, &code);
        if (!strips(s.data, size, code, chars))
            break;
        s = inl_jinja_part(&s, size, s.size - size);
    }
    while (right && s.size > 0) {
        size_t size = last_char(&s);
        const char *last = s.data + s.size - size;
        inl_jinja_char(last, size, &code);
        if (!strips(last, size, code, chars))
            break;
        s.size -= size;
    }
    return s;
}

size_t inl_jinja_search(const jinja_string *s, const jinja_string *what, size_t from)
{
    if (what->size == 0)
        return from <= s->size ? from : SIZE_MAX;
    while (from < s->size && s->size - from >= what->size) {
        const char *hit = memchr(s->data + from, what->data[0], s->size - from - what->size + 1);
        if (!hit)
            break;
        if (memcmp(hit, what->data, what->size) == 0)
            return (size_t)(hit - s->data);
        from = (size_t)(hit - s->data) + 1;
    }
    return SIZE_MAX;
}
