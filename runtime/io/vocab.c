// SPDX-License-Identifier: MIT
#include "io/vocab.h"

#include "io/utf8.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#define XXH_INLINE_ALL
#include <xxhash.h>

#define KEY_TOKENS "tokenizer.ggml.tokens"
#define KEY_SCORES "tokenizer.ggml.scores"
#define KEY_KINDS "tokenizer.ggml.token_type"
#define MAX_VOCAB (1u << 28)

static const char space_symbol[] = "\xe2\x96\x81";          // U+2581
static const char replacement_character[] = "\xef\xbf\xbd"; // U+FFFD

static bool has_text(const inl_vocab_token *token, const char *text, uint64_t size)
{
    return token->text.size == size && memcmp(token->text.data, text, size) == 0;
}

int32_t inl_vocab_find(const inl_vocab *vocab, const char *text, uint64_t size)
{
    if (size == 0 || size > vocab->longest)
        return -1;
    uint32_t slot = (uint32_t)XXH3_64bits(text, size) & vocab->slot_mask;
    for (; vocab->slots[slot]; slot = (slot + 1) & vocab->slot_mask)
        if (has_text(&vocab->tokens[vocab->slots[slot] - 1], text, size))
            return (int32_t)(vocab->slots[slot] - 1);
    return -1;
}

int32_t inl_vocab_find_text(const inl_vocab *vocab, const char *text, uint64_t size)
{
    int32_t id = inl_vocab_find(vocab, text, size);
    if (id < 0)
        return -1;
    inl_token_kind kind = vocab->tokens[id].kind;
    bool ordinary =
        kind == INL_TOKEN_NORMAL || kind == INL_TOKEN_USER_DEFINED || kind == INL_TOKEN_UNUSED;
    return ordinary ? id : -1;
}

inlay_result inl_vocab_index(const inl_env *env, inl_vocab *vocab)
{
    uint32_t slots = 16;
    while (slots < vocab->count * 2)
        slots *= 2;
    vocab->slots = inl_alloc(env, slots, sizeof(*vocab->slots));
    if (!vocab->slots)
        return INLAY_ERROR_OUT_OF_MEMORY;
    vocab->slot_mask = slots - 1;
    for (uint32_t id = 0; id < vocab->count; id++) {
        inl_slice text = vocab->tokens[id].text;
        if (text.size == 0)
            continue;
        uint32_t slot = (uint32_t)XXH3_64bits(text.data, text.size) & vocab->slot_mask;
        while (vocab->slots[slot] &&
               !has_text(&vocab->tokens[vocab->slots[slot] - 1], text.data, text.size))
            slot = (slot + 1) & vocab->slot_mask;
        vocab->slots[slot] = id + 1;
    }
    return INLAY_OK;
}

inlay_result inl_vocab_create(const inl_env *env, const inl_slice *slices, uint32_t count,
                              inl_vocab *vocab)
{
    *vocab = (inl_vocab){.count = count, .unknown = -1};
    vocab->tokens = inl_alloc(env, count, sizeof(*vocab->tokens));
    if (!vocab->tokens)
        return INLAY_ERROR_OUT_OF_MEMORY;
    uint64_t total = 0;
    for (uint32_t i = 0; i < vocab->count; i++)
        total += slices[i].size; // each lies in the file: no overflow
    vocab->texts = inl_alloc(env, total + 1, 1);
    if (!vocab->texts)
        return INLAY_ERROR_OUT_OF_MEMORY;
    char *at = vocab->texts;
    for (uint32_t i = 0; i < vocab->count; i++) {
        if (slices[i].size > 0)
            memcpy(at, slices[i].data, slices[i].size);
        vocab->tokens[i] =
            (inl_vocab_token){.text = {at, slices[i].size}, .kind = INL_TOKEN_NORMAL};
        vocab->longest = INL_MAX(vocab->longest, slices[i].size);
        at += slices[i].size;
    }
    return INLAY_OK;
}

static inlay_result load_texts(const inl_env *env, const inl_gguf *gguf, inl_vocab *vocab)
{
    inl_gguf_kind kind;
    uint64_t count;
    if (!inl_gguf_get_array(gguf, KEY_TOKENS, &kind, &count) || kind != INL_GGUF_STRING)
        return inl_fail(env, INLAY_ERROR_BAD_FILE, "%s: " KEY_TOKENS " is no array of strings",
                        inl_gguf_path(gguf));
    if (count == 0 || count > MAX_VOCAB)
        return inl_fail(env, INLAY_ERROR_BAD_FILE, "%s: " KEY_TOKENS " has %llu entries",
                        inl_gguf_path(gguf), (unsigned long long)count);
    inl_slice *slices = inl_alloc(env, count, sizeof(*slices));
    if (!slices)
        return INLAY_ERROR_OUT_OF_MEMORY;
    inlay_result result;
    if (inl_gguf_read_strings(gguf, KEY_TOKENS, slices, count))
        result = inl_vocab_create(env, slices, (uint32_t)count, vocab);
    else
        result =
            inl_fail(env, INLAY_ERROR_BAD_FILE, "%s: cannot read " KEY_TOKENS, inl_gguf_path(gguf));
    inl_free(env, slices);
    return result;
}

// An array beside the tokens must have as many entries. *found: false where there is none.
static inlay_result check_side_array(const inl_env *env, const inl_gguf *gguf, const char *key,
                                     uint64_t want, bool *found)
{
    inl_gguf_kind kind;
    uint64_t count;
    *found = inl_gguf_has(gguf, key);
    if (!*found)
        return INLAY_OK;
    if (!inl_gguf_get_array(gguf, key, &kind, &count))
        return inl_fail(env, INLAY_ERROR_BAD_FILE, "%s: %s is no array", inl_gguf_path(gguf), key);
    if (count != want)
        return inl_fail(env, INLAY_ERROR_BAD_FILE, "%s: %s has %llu entries for %llu tokens",
                        inl_gguf_path(gguf), key, (unsigned long long)count,
                        (unsigned long long)want);
    return INLAY_OK;
}

static inlay_result load_scores(const inl_env *env, const inl_gguf *gguf, bool need,
                                inl_vocab *vocab)
{
    bool found;
    INL_TRY(check_side_array(env, gguf, KEY_SCORES, vocab->count, &found));
    if (!found && need)
        return inl_fail(env, INLAY_ERROR_BAD_FILE, "%s: " KEY_SCORES " is missing",
                        inl_gguf_path(gguf));
    if (!found || !need)
        return INLAY_OK;
    float *scores = inl_alloc(env, vocab->count, sizeof(*scores));
    if (!scores)
        return INLAY_ERROR_OUT_OF_MEMORY;
    bool read = inl_gguf_read_f32s(gguf, KEY_SCORES, scores, vocab->count);
    for (uint32_t i = 0; read && i < vocab->count; i++)
        vocab->tokens[i].score = isnan(scores[i]) ? -INFINITY : scores[i];
    inl_free(env, scores);
    if (!read)
        return inl_fail(env, INLAY_ERROR_BAD_FILE, "%s: " KEY_SCORES " holds no floats",
                        inl_gguf_path(gguf));
    return INLAY_OK;
}

static int hex_digit(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    if (c >= 'A' && c <= 'F')
        return c - 'A' + 10;
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

int inl_vocab_parse_byte(inl_slice text)
{
    if (text.size != 6 || memcmp(text.data, "<0x", 3) != 0 || text.data[5] != '>')
        return -1;
    int high = hex_digit(text.data[3]);
    int low = hex_digit(text.data[4]);
    return high < 0 || low < 0 ? -1 : high * 16 + low;
}

static inlay_result load_kinds(const inl_env *env, const inl_gguf *gguf, inl_vocab *vocab)
{
    bool found;
    INL_TRY(check_side_array(env, gguf, KEY_KINDS, vocab->count, &found));
    if (!found) {
        for (uint32_t i = 0; i < vocab->count; i++)
            if (inl_vocab_parse_byte(vocab->tokens[i].text) >= 0)
                vocab->tokens[i].kind = INL_TOKEN_BYTE;
        return INLAY_OK;
    }
    int32_t *kinds = inl_alloc(env, vocab->count, sizeof(*kinds));
    if (!kinds)
        return INLAY_ERROR_OUT_OF_MEMORY;
    bool read = inl_gguf_read_i32s(gguf, KEY_KINDS, kinds, vocab->count);
    for (uint32_t i = 0; read && i < vocab->count; i++)
        if (kinds[i] >= INL_TOKEN_NORMAL && kinds[i] <= INL_TOKEN_BYTE)
            vocab->tokens[i].kind = (inl_token_kind)kinds[i];
    inl_free(env, kinds);
    if (!read)
        return inl_fail(env, INLAY_ERROR_BAD_FILE, "%s: " KEY_KINDS " holds no integers",
                        inl_gguf_path(gguf));
    return INLAY_OK;
}

inlay_result inl_vocab_load(const inl_env *env, const inl_gguf *gguf, bool need_scores,
                            inl_vocab *out)
{
    *out = (inl_vocab){.unknown = -1};
    inlay_result result = load_texts(env, gguf, out);
    if (result == INLAY_OK)
        result = load_scores(env, gguf, need_scores, out);
    if (result == INLAY_OK)
        result = load_kinds(env, gguf, out);
    if (result == INLAY_OK)
        result = inl_vocab_index(env, out);
    if (result != INLAY_OK)
        inl_vocab_free(env, out);
    return result;
}

void inl_vocab_free(const inl_env *env, inl_vocab *vocab)
{
    inl_free(env, vocab->tokens);
    inl_free(env, vocab->texts);
    inl_free(env, vocab->decoded);
    inl_free(env, vocab->slots);
    *vocab = (inl_vocab){.unknown = -1};
}

// Byte symbols become bytes; a text with a character that is none stands for itself. Returns the
// bytes written, never more than the text has.
static uint64_t decode_symbols(inl_slice text, char *out)
{
    uint64_t written = 0;
    for (uint64_t i = 0; i < text.size;) {
        size_t length = inl_utf8_length(text.data + i, text.size - i);
        int byte = length ? inl_symbol_to_byte(inl_utf8_decode(text.data + i, length)) : -1;
        if (byte < 0) {
            memcpy(out, text.data, text.size);
            return text.size;
        }
        out[written++] = (char)byte;
        i += length;
    }
    return written;
}

static uint64_t decode_spaces(inl_slice text, char *out)
{
    uint64_t written = 0;
    for (uint64_t i = 0; i < text.size;) {
        if (text.size - i >= 3 && memcmp(text.data + i, space_symbol, 3) == 0) {
            out[written++] = ' ';
            i += 3;
        } else {
            out[written++] = text.data[i++];
        }
    }
    return written;
}

static uint64_t decode_token(const inl_vocab_token *token, bool byte_level, char *out)
{
    int byte = token->kind == INL_TOKEN_BYTE ? inl_vocab_parse_byte(token->text) : -1;
    if (byte >= 0) {
        out[0] = (char)byte;
        return 1;
    }
    switch (token->kind) {
    case INL_TOKEN_CONTROL: return 0;
    case INL_TOKEN_USER_DEFINED: // found in the raw text, so written as there
        memcpy(out, token->text.data, token->text.size);
        return token->text.size;
    default: return byte_level ? decode_symbols(token->text, out) : decode_spaces(token->text, out);
    }
}

void inl_vocab_find_bytes(inl_vocab *vocab, bool byte_level)
{
    for (uint32_t byte = 0; byte < 256; byte++) {
        char text[8];
        if (byte_level) {
            size_t size = inl_utf8_encode_short(inl_byte_to_symbol((uint8_t)byte), text);
            vocab->byte_ids[byte] = inl_vocab_find_text(vocab, text, size);
        } else {
            snprintf(text, sizeof(text), "<0x%02X>", byte);
            int32_t id = inl_vocab_find(vocab, text, sizeof("<0x00>") - 1);
            bool is_byte = id >= 0 && vocab->tokens[id].kind == INL_TOKEN_BYTE;
            vocab->byte_ids[byte] = is_byte ? id : -1;
        }
    }
}

inlay_result inl_vocab_decode(const inl_env *env, inl_vocab *vocab, bool byte_level)
{
    uint64_t total = 0;
    for (uint32_t i = 0; i < vocab->count; i++)
        total += vocab->tokens[i].text.size;
    vocab->decoded = inl_alloc(env, total + 1, 1);
    if (!vocab->decoded)
        return INLAY_ERROR_OUT_OF_MEMORY;
    char *at = vocab->decoded;
    for (uint32_t i = 0; i < vocab->count; i++) {
        inl_vocab_token *token = &vocab->tokens[i];
        if (token->kind == INL_TOKEN_UNKNOWN) {
            token->bytes = (inl_slice){replacement_character, 3};
            continue;
        }
        token->bytes = (inl_slice){at, decode_token(token, byte_level, at)};
        at += token->bytes.size;
    }
    inl_vocab_find_bytes(vocab, byte_level);
    return INLAY_OK;
}
