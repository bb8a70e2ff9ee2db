// SPDX-License-Identifier: MIT
#include "io/spm.h"

#include "base/half.h"
#include "io/utf8.h"

#include <string.h>

#define SPACE "\xe2\x96\x81" // U+2581
#define SPACE_BYTES 3

static bool is_space(const char *text, size_t size)
{
    return size >= SPACE_BYTES && memcmp(text, SPACE, SPACE_BYTES) == 0;
}

bool inl_spm_has_inner_space(inl_slice text)
{
    uint64_t i = 0;
    while (is_space(text.data + i, text.size - i))
        i += SPACE_BYTES;
    for (; i < text.size; i++)
        if (is_space(text.data + i, text.size - i))
            return true;
    return false;
}

inlay_result inl_spm_load(const inl_env *env, const char *file, const inl_vocab *vocab,
                          inl_spm *out)
{
    int missing = 0;
    for (int byte = 0; byte < 256; byte++)
        missing += vocab->byte_ids[byte] < 0;
    if (missing > 0 && vocab->unknown < 0)
        return inl_fail(env, INLAY_ERROR_BAD_FILE,
                        "%s: the vocabulary lacks %d byte tokens and has no unknown token", file,
                        missing);
    out->splits_at_spaces = true;
    for (uint32_t i = 0; i < vocab->count && out->splits_at_spaces; i++)
        out->splits_at_spaces = !inl_spm_has_inner_space(vocab->tokens[i].text);
    return INLAY_OK;
}

// What the rule needs: the word's text and the vocabulary.
typedef struct word {
    const inl_spm *spm;
    const inl_vocab *vocab;
    const char *text;
    size_t size;
    size_t first_id; // of the whole text, in the ids
} word;

// Floats in descending order as ascending integers.
static uint32_t priority_of(float score)
{
    uint32_t bits = inl_f32_bits(score + 0.0f); // -0 becomes 0
    uint32_t ascending = bits & 0x80000000u ? ~bits : bits | 0x80000000u;
    return ~ascending;
}

static bool is_whole(const word *w, const inl_symbol *symbol)
{
    return w->spm->whole.count > 0 && symbol->id >= 0 &&
           w->vocab->tokens[symbol->id].kind == INL_TOKEN_USER_DEFINED;
}

static bool merge_rule(const void *context, const inl_symbol *left, const inl_symbol *right,
                       uint32_t *priority, int32_t *id)
{
    const word *w = context;
    if (is_whole(w, left) || is_whole(w, right))
        return false;
    *id = inl_vocab_find_text(w->vocab, w->text + left->start, (uint64_t)left->size + right->size);
    if (*id < 0)
        return false;
    *priority = priority_of(w->vocab->tokens[*id].score);
    return true;
}

// A run of characters that are no tokens is one unknown token; `first`: where this text's ids
// begin.
static inlay_result emit_unknown(const inl_env *env, int32_t unknown, size_t first, inl_ids *ids)
{
    if (ids->count > first && ids->data[ids->count - 1] == unknown)
        return INLAY_OK;
    return inl_ids_push(env, ids, unknown);
}

static inlay_result emit(const inl_env *env, const word *w, const inl_symbol *symbol, inl_ids *ids)
{
    if (symbol->id >= 0)
        return inl_ids_push(env, ids, symbol->id);
    const uint8_t *bytes = (const uint8_t *)w->text + symbol->start; // one character
    bool spelled = true;
    for (uint32_t i = 0; i < symbol->size; i++)
        spelled = spelled && w->vocab->byte_ids[bytes[i]] >= 0;
    if (!spelled)
        return emit_unknown(env, w->vocab->unknown, w->first_id, ids);
    for (uint32_t i = 0; i < symbol->size; i++)
        INL_TRY(inl_ids_push(env, ids, w->vocab->byte_ids[bytes[i]]));
    return INLAY_OK;
}

static inlay_result encode_word(const inl_env *env, const word *w, inl_merger *m, inl_ids *ids)
{
    if (w->size > INT32_MAX)
        return inl_fail(env, INLAY_ERROR_UNSUPPORTED, "a word of 2 GiB cannot be tokenized");
    inl_merger_clear(m);
    for (size_t at = 0; at < w->size;) {
        const inl_added_token *whole = inl_added_at(&w->spm->whole, w->text + at, w->size - at);
        size_t length =
            whole ? whole->text.size : INL_MAX(inl_utf8_length(w->text + at, w->size - at), 1);
        int32_t id = whole ? whole->id : inl_vocab_find_text(w->vocab, w->text + at, length);
        INL_TRY(inl_merger_push(env, m, (uint32_t)length, id));
        at += length;
    }
    INL_TRY(inl_merger_run(env, m, merge_rule, w));
    for (int32_t i = 0; i >= 0; i = m->symbols[i].next)
        INL_TRY(emit(env, w, &m->symbols[i], ids));
    return INLAY_OK;
}

// `text` into m->text with U+2581 for spaces; *size becomes the new length.
static inlay_result escape(const inl_env *env, inl_merger *m, const char *text, size_t *size,
                           bool space_prefix)
{
    size_t length = *size + (space_prefix ? SPACE_BYTES : 0);
    for (size_t i = 0; i < *size; i++)
        length += text[i] == ' ' ? SPACE_BYTES - 1 : 0;
    INL_TRY(inl_grow(env, (void **)&m->text, &m->text_cap, length, 1));
    char *out = m->text;
    if (space_prefix) {
        memcpy(out, SPACE, SPACE_BYTES);
        out += SPACE_BYTES;
    }
    for (size_t i = 0; i < *size; i++) {
        if (text[i] == ' ') {
            memcpy(out, SPACE, SPACE_BYTES);
            out += SPACE_BYTES;
        } else {
            *out++ = text[i];
        }
    }
    *size = length;
    return INLAY_OK;
}

size_t inl_spm_word_size(const char *text, size_t size)
{
    size_t i = 0;
    while (is_space(text + i, size - i))
        i += SPACE_BYTES;
    while (i < size && !is_space(text + i, size - i))
        i++;
    return i;
}

inlay_result inl_spm_encode(const inl_env *env, const inl_spm *spm, const inl_vocab *vocab,
                            const char *text, size_t size, bool space_prefix, inl_merger *merger,
                            inl_ids *ids)
{
    size_t first = ids->count;
    INL_TRY(escape(env, merger, text, &size, space_prefix));
    for (size_t at = 0; at < size;) {
        word w = {.spm = spm,
                  .vocab = vocab,
                  .text = merger->text + at,
                  .size = size - at,
                  .first_id = first};
        if (spm->splits_at_spaces)
            w.size = inl_spm_word_size(w.text, w.size);
        INL_TRY(encode_word(env, &w, merger, ids));
        at += w.size;
    }
    return INLAY_OK;
}
