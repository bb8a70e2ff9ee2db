// SPDX-License-Identifier: MIT
#include "io/added.h"

#include "io/utf8.h"

#include <stdlib.h>
#include <string.h>
#include <utf8proc.h>

inlay_result inl_added_push(const inl_env *env, inl_added *added, const inl_added_token *token)
{
    if (token->text.size == 0)
        return INLAY_OK;
    INL_TRY(inl_grow(env, (void **)&added->tokens, &added->cap, added->count + 1,
                     sizeof(*added->tokens)));
    added->tokens[added->count++] = *token;
    added->first[(uint8_t)token->text.data[0]] = true;
    return INLAY_OK;
}

static int compare(const void *a, const void *b)
{
    const inl_added_token *x = a;
    const inl_added_token *y = b;
    int order = memcmp(x->text.data, y->text.data, INL_MIN(x->text.size, y->text.size));
    if (order != 0)
        return order;
    if (x->text.size != y->text.size)
        return x->text.size < y->text.size ? -1 : 1;
    return x->id < y->id ? -1 : x->id > y->id;
}

void inl_added_index(inl_added *added)
{
    if (added->count > 1)
        qsort(added->tokens, added->count, sizeof(*added->tokens), compare);
}

void inl_added_free(const inl_env *env, inl_added *added)
{
    inl_free(env, added->tokens);
    *added = (inl_added){0};
}

// Narrows [*low, *high), all sharing their first `depth` bytes, to those that go on with `byte`.
static void narrow(const inl_added *added, uint64_t depth, uint8_t byte, size_t *low, size_t *high)
{
    for (size_t end = *high; *low < end;) { // the first not below `byte`
        size_t middle = *low + (end - *low) / 2;
        if ((uint8_t)added->tokens[middle].text.data[depth] < byte)
            *low = middle + 1;
        else
            end = middle;
    }
    for (size_t start = *low; start < *high;) { // the first above it
        size_t middle = start + (*high - start) / 2;
        if ((uint8_t)added->tokens[middle].text.data[depth] <= byte)
            start = middle + 1;
        else
            *high = middle;
    }
}

// The longest token the text starts with, NULL: none.
static const inl_added_token *match(const inl_added *added, const char *text, size_t size, bool all)
{
    const inl_added_token *best = NULL;
    size_t low = 0;
    size_t high = added->count;
    for (size_t depth = 0; low < high; depth++) {
        for (; low < high && added->tokens[low].text.size == depth; low++) // the shortest first
            if (all || !added->tokens[low].control)
                best = &added->tokens[low];
        if (depth == size)
            break;
        narrow(added, depth, (uint8_t)text[depth], &low, &high);
    }
    return best;
}

const inl_added_token *inl_added_at(const inl_added *added, const char *text, size_t size)
{
    return size > 0 && added->first[(uint8_t)text[0]] ? match(added, text, size, true) : NULL;
}

static bool is_word_point(uint32_t point)
{
    switch (utf8proc_category((int32_t)point)) {
    case UTF8PROC_CATEGORY_LU:
    case UTF8PROC_CATEGORY_LL:
    case UTF8PROC_CATEGORY_LT:
    case UTF8PROC_CATEGORY_LM:
    case UTF8PROC_CATEGORY_LO:
    case UTF8PROC_CATEGORY_MN:
    case UTF8PROC_CATEGORY_MC:
    case UTF8PROC_CATEGORY_ME:
    case UTF8PROC_CATEGORY_ND:
    case UTF8PROC_CATEGORY_NL:
    case UTF8PROC_CATEGORY_PC: return true;
    default: return false;
    }
}

static bool is_word_at(const char *text, size_t size)
{
    size_t length = size ? inl_utf8_length(text, size) : 0;
    return length && is_word_point(inl_utf8_decode(text, length));
}

static bool is_word_before(const char *text, size_t size)
{
    size_t length = inl_utf8_length_before(text, size);
    return length && is_word_point(inl_utf8_decode(text + size - length, length));
}

// Takes in the white space on either side, back to `from` at most.
static void widen(const inl_added_token *token, const char *text, size_t size, size_t from,
                  inl_added_match *m)
{
    size_t length;
    while (token->strips_left && m->start > from &&
           (length = inl_utf8_space_before(text + from, m->start - from)) > 0)
        m->start -= length;
    while (token->strips_right && m->end < size &&
           (length = inl_utf8_space(text + m->end, size - m->end)) > 0)
        m->end += length;
}

bool inl_added_next(const inl_added *added, const char *text, size_t size, size_t at, size_t done,
                    bool parse_control, inl_added_match *out)
{
    while (at < size) {
        const inl_added_token *token =
            added->first[(uint8_t)text[at]]
                ? match(added, text + at, size - at, parse_control || added->control_hides)
                : NULL;
        if (!token) {
            at++;
            continue;
        }
        *out = (inl_added_match){at, at + token->text.size, at + token->text.size, token->id};
        at = out->end;
        if (token->control && !parse_control)
            continue;
        if (token->single_word &&
            (is_word_before(text, out->start) || is_word_at(text + out->end, size - out->end)))
            continue;
        widen(token, text, size, done, out);
        return true;
    }
    return false;
}
