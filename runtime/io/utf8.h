// SPDX-License-Identifier: MIT
// UTF-8 of untrusted text: how long the character at a place is, and code points to bytes.
#ifndef INL_IO_UTF8_H
#define INL_IO_UTF8_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

static inline int inl_utf8_is_tail(uint8_t byte)
{
    return (byte & 0xc0u) == 0x80u;
}

// Bytes of the well-formed character at `text` (no surrogates or overlong forms, at most U+10FFFF);
// 0 where there is none. `size` > 0.
static inline size_t inl_utf8_length(const char *text, size_t size)
{
    const uint8_t *p = (const uint8_t *)text;
    if (p[0] < 0x80)
        return 1;
    if (p[0] < 0xc2 || p[0] > 0xf4 || size < 2 || !inl_utf8_is_tail(p[1]))
        return 0;
    if (p[0] < 0xe0)
        return 2;
    if ((p[0] == 0xe0 && p[1] < 0xa0) || (p[0] == 0xed && p[1] > 0x9f) ||
        (p[0] == 0xf0 && p[1] < 0x90) || (p[0] == 0xf4 && p[1] > 0x8f))
        return 0;
    if (size < 3 || !inl_utf8_is_tail(p[2]))
        return 0;
    if (p[0] < 0xf0)
        return 3;
    return size >= 4 && inl_utf8_is_tail(p[3]) ? 4 : 0;
}

// The code point of a well-formed character of `length` bytes.
static inline uint32_t inl_utf8_decode(const char *text, size_t length)
{
    const uint8_t *p = (const uint8_t *)text;
    uint32_t point = length == 1 ? p[0] : p[0] & (0x7fu >> length);
    for (size_t i = 1; i < length; i++)
        point = point << 6 | (p[i] & 0x3fu);
    return point;
}

// Unicode's White_Space.
static inline int inl_utf8_is_space(uint32_t point)
{
    if (point < 0x80)
        return point == ' ' || (point >= '\t' && point <= '\r');
    return point == 0x85 || point == 0xa0 || point == 0x1680 ||
           (point >= 0x2000 && point <= 0x200a) || point == 0x2028 || point == 0x2029 ||
           point == 0x202f || point == 0x205f || point == 0x3000;
}

// Bytes of the white space character that begins the text, 0: none does. `size` > 0.
static inline size_t inl_utf8_space(const char *text, size_t size)
{
    size_t length = inl_utf8_length(text, size);
    return length && inl_utf8_is_space(inl_utf8_decode(text, length)) ? length : 0;
}

// Where the character that ends the text begins, counted from the end; 0: no well-formed one does.
static inline size_t inl_utf8_length_before(const char *text, size_t size)
{
    for (size_t length = 1; length <= 4 && length <= size; length++)
        if (!inl_utf8_is_tail((uint8_t)text[size - length]))
            return inl_utf8_length(text + size - length, length) == length ? length : 0;
    return 0;
}

// The same for a white space character.
static inline size_t inl_utf8_space_before(const char *text, size_t size)
{
    size_t length = inl_utf8_length_before(text, size);
    bool space = length && inl_utf8_is_space(inl_utf8_decode(text + size - length, length));
    return space ? length : 0;
}

// Writes a code point below U+0800 (all the byte symbols need), returns its 1 or 2 bytes.
static inline size_t inl_utf8_encode_short(uint32_t point, char *out)
{
    if (point < 0x80) {
        out[0] = (char)point;
        return 1;
    }
    out[0] = (char)(0xc0u | point >> 6);
    out[1] = (char)(0x80u | (point & 0x3fu));
    return 2;
}

// Writes a code point (no surrogate, at most U+10FFFF), returns its 1 to 4 bytes.
static inline size_t inl_utf8_encode(uint32_t point, char *out)
{
    if (point < 0x800)
        return inl_utf8_encode_short(point, out);
    size_t size = point < 0x10000 ? 3 : 4;
    for (size_t i = size - 1; i > 0; i--, point >>= 6)
        out[i] = (char)(0x80u | (point & 0x3fu));
    out[0] = (char)((size == 3 ? 0xe0u : 0xf0u) | point);
    return size;
}

// Byte-level BPE writes each byte as a printable character: printable Latin-1 as itself, the 68
// others as U+0100, U+0101, ... in order.
static inline uint32_t inl_byte_to_symbol(uint8_t byte)
{
    if (byte < 0x21)
        return 0x100u + byte;
    if (byte >= 0x7f && byte <= 0xa0)
        return 0x100u + 33u + (byte - 0x7fu);
    return byte == 0xad ? 0x100u + 67u : byte;
}

// -1: no byte is written as this.
static inline int inl_symbol_to_byte(uint32_t point)
{
    if (point >= 0x100 && point < 0x100 + 33)
        return (int)(point - 0x100);
    if (point >= 0x100 + 33 && point < 0x100 + 67)
        return (int)(point - 0x100 - 33 + 0x7f);
    if (point == 0x100 + 67)
        return 0xad;
    return point < 0x100 && inl_byte_to_symbol((uint8_t)point) == point ? (int)point : -1;
}

#endif
