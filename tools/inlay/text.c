// SPDX-License-Identifier: MIT
#include "cli.h"

#include <math.h>
#include <string.h>

const char *text_bytes(text_buffer *out, uint64_t bytes)
{
    static const char *const units[] = {"KiB", "MiB", "GiB", "TiB"};
    if (bytes < 1024) {
        snprintf(out->text, sizeof(out->text), "%u B", (unsigned)bytes);
        return out->text;
    }
    double value = (double)bytes / 1024.0;
    size_t unit = 0;
    while (value >= 1023.95 && unit + 1 < COUNT(units)) {
        value /= 1024.0;
        unit++;
    }
    snprintf(out->text, sizeof(out->text), "%.1f %s", value, units[unit]);
    return out->text;
}

const char *text_count(text_buffer *out, double count)
{
    static const char *const units[] = {"", " K", " M", " G", " T", " P", " E"};
    size_t unit = 0;
    while (count >= 999.5 && unit + 1 < COUNT(units)) {
        count /= 1000.0;
        unit++;
    }
    int decimals = unit == 0 ? 0 : count < 9.995 ? 2 : count < 99.95 ? 1 : 0;
    snprintf(out->text, sizeof(out->text), "%.*f%s", decimals, count, units[unit]);
    return out->text;
}

const char *text_duration(text_buffer *out, double seconds)
{
    if (!(seconds >= 0.0) || seconds > 1e9) {
        snprintf(out->text, sizeof(out->text), "?");
        return out->text;
    }
    unsigned whole = (unsigned)(seconds + 0.5);
    if (whole < 3600)
        snprintf(out->text, sizeof(out->text), "%u:%02u", whole / 60, whole % 60);
    else
        snprintf(out->text, sizeof(out->text), "%u:%02u:%02u", whole / 3600, whole / 60 % 60,
                 whole % 60);
    return out->text;
}

// Length of the sequence a byte starts, 0 for a byte that starts none.
static size_t sequence_size(uint8_t first)
{
    if (first < 0x80)
        return 1;
    if (first >= 0xc2 && first <= 0xdf)
        return 2;
    if (first >= 0xe0 && first <= 0xef)
        return 3;
    return first >= 0xf0 && first <= 0xf4 ? 4 : 0;
}

// The second byte's range keeps out overlong forms, surrogates and what lies past U+10FFFF.
static bool continues(const uint8_t *bytes, size_t index)
{
    uint8_t low = 0x80, high = 0xbf;
    if (index == 1) {
        low = bytes[0] == 0xe0 ? 0xa0 : bytes[0] == 0xf0 ? 0x90 : 0x80;
        high = bytes[0] == 0xed ? 0x9f : bytes[0] == 0xf4 ? 0x8f : 0xbf;
    }
    return bytes[index] >= low && bytes[index] <= high;
}

// Bytes of the character at `bytes` that are there and right, at most its length in *want.
static size_t right_bytes(const uint8_t *bytes, size_t size, size_t *want)
{
    *want = size ? sequence_size(bytes[0]) : 0;
    size_t right = *want ? 1 : 0;
    while (right < *want && right < size && continues(bytes, right))
        right++;
    return right;
}

size_t utf8_incomplete_tail(const char *text, size_t size)
{
    const uint8_t *bytes = (const uint8_t *)text;
    for (size_t tail = 1; tail <= 3 && tail <= size; tail++) {
        size_t want;
        size_t right = right_bytes(bytes + size - tail, tail, &want);
        if (want)
            return right == tail && tail < want ? tail : 0;
    }
    return 0;
}

char *utf8_clean(const char *text, size_t size, size_t *out_size)
{
    const uint8_t *bytes = (const uint8_t *)text;
    char *out = xalloc(3 * size + 1, 1);
    size_t used = 0;
    for (size_t i = 0; i < size;) {
        size_t want;
        size_t right = right_bytes(bytes + i, size - i, &want);
        if (want && right == want) {
            memcpy(out + used, bytes + i, right);
            used += right;
        } else {
            memcpy(out + used, "\xef\xbf\xbd", 3);
            used += 3;
        }
        i += right ? right : 1;
    }
    out[used] = '\0';
    *out_size = used;
    return out;
}
