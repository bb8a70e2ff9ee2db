// SPDX-License-Identifier: MIT
// A tokenizer.json's decoder: each token's bytes, made once. What the library does to tokens in a
// row is done where a text starts (a space goes) or not at all (bytes that are no UTF-8 stay as
// they are).
#include "io/pipeline_json.h"

#include "io/utf8.h"

#include <string.h>

#define MAX_NESTING 8
#define ALL_SPACES UINT32_MAX
#define MAX_GROWTH 64 // times the vocabulary's own text that replacements may make of it

typedef struct reader {
    inl_decoding *out;
    bool fused; // the tokens are one text from here on
} reader;

static inlay_result add_step(const inl_json_place *place, reader *r, const inl_decoding_step *step)
{
    inl_decoding *d = r->out;
    if (d->count == INL_COUNT(d->steps))
        return inl_fail(place->env, INLAY_ERROR_UNSUPPORTED,
                        "%s: the decoder has more than %zu steps", place->file,
                        INL_COUNT(d->steps));
    d->steps[d->count++] = *step;
    return INLAY_OK;
}

static inlay_result add_replace(const inl_json_place *place, const json_t *spec, reader *r)
{
    bool is_regex;
    inl_decoding_step step = {.kind = INL_DECODING_REPLACE};
    INL_TRY(inl_json_get_pattern(place, spec, &is_regex, &step.from));
    INL_TRY(inl_json_get_text(place, spec, "content", &step.to));
    if (is_regex)
        return inl_fail(place->env, INLAY_ERROR_UNSUPPORTED,
                        "%s: %s.pattern is a regular expression, which is not supported in a "
                        "decoder",
                        place->file, place->path);
    return add_step(place, r, &step);
}

static inlay_result get_count(const inl_json_place *place, const json_t *spec, const char *key,
                              uint64_t *out)
{
    const json_t *value = json_object_get(spec, key);
    if (value && (!json_is_integer(value) || json_integer_value(value) < 0))
        return inl_json_refuse(place, key, "is no count");
    *out = (uint64_t)json_integer_value(value);
    return INLAY_OK;
}

static inlay_result add_strip(const inl_json_place *place, const json_t *spec, reader *r)
{
    uint64_t stop = 0;
    inl_decoding_step step = {.kind = INL_DECODING_STRIP};
    INL_TRY(inl_json_get_text(place, spec, "content", &step.from));
    INL_TRY(get_count(place, spec, "start", &step.count));
    INL_TRY(get_count(place, spec, "stop", &stop));
    if (stop > 0)
        return inl_fail(place->env, INLAY_ERROR_UNSUPPORTED,
                        "%s: %s.stop is %llu; only 0 is supported", place->file, place->path,
                        (unsigned long long)stop);
    if (!r->fused)
        return add_step(place, r, &step);
    if (step.from.size != 1 || step.from.data[0] != ' ')
        return inl_fail(place->env, INLAY_ERROR_UNSUPPORTED,
                        "%s: %s.content is no space, which is not supported after Fuse",
                        place->file, place->path);
    r->out->start_spaces = (uint32_t)INL_MIN(step.count, ALL_SPACES);
    return INLAY_OK;
}

static inlay_result add_metaspace(const inl_json_place *place, const json_t *spec, reader *r)
{
    inl_decoding_step step = {.kind = INL_DECODING_REPLACE, .to = {" ", 1}};
    const char *scheme = json_string_value(json_object_get(spec, "prepend_scheme"));
    bool prefix;
    INL_TRY(inl_json_get_text(place, spec, "replacement", &step.from));
    INL_TRY(inl_json_get_flag(place, spec, "add_prefix_space", true, &prefix));
    if (scheme ? strcmp(scheme, "never") != 0 : prefix)
        r->out->start_spaces = ALL_SPACES; // as the library does
    return add_step(place, r, &step);
}

static inlay_result add_decoder(const inl_json_place *place, const json_t *spec, int depth,
                                reader *r);

static inlay_result add_decoders(const inl_json_place *place, const json_t *spec, int depth,
                                 reader *r)
{
    const json_t *list = json_object_get(spec, "decoders");
    if (!json_is_array(list) || depth == MAX_NESTING)
        return inl_json_refuse(place, "decoders",
                               json_is_array(list) ? "is nested too deeply" : "is not a list");
    for (size_t i = 0; i < json_array_size(list); i++) {
        inl_json_place inner = inl_json_element(place, "decoders", i);
        INL_TRY(add_decoder(&inner, json_array_get(list, i), depth + 1, r));
    }
    return INLAY_OK;
}

static inlay_result add_decoder(const inl_json_place *place, const json_t *spec, int depth,
                                reader *r)
{
    if (inl_json_has_type(spec, "Sequence"))
        return add_decoders(place, spec, depth, r);
    if (inl_json_has_type(spec, "Replace"))
        return add_replace(place, spec, r);
    if (inl_json_has_type(spec, "Strip"))
        return add_strip(place, spec, r);
    if (inl_json_has_type(spec, "Metaspace"))
        return add_metaspace(place, spec, r);
    if (inl_json_has_type(spec, "ByteFallback"))
        return add_step(place, r, &(inl_decoding_step){.kind = INL_DECODING_BYTES});
    if (inl_json_has_type(spec, "ByteLevel")) {
        r->out->symbols = r->fused = true;
        return add_step(place, r, &(inl_decoding_step){.kind = INL_DECODING_SYMBOLS});
    }
    if (!inl_json_has_type(spec, "Fuse"))
        return inl_json_refuse_type(place, spec);
    r->fused = true;
    return INLAY_OK;
}

inlay_result inl_pipeline_decoder(const inl_env *env, const char *file, const json_t *spec,
                                  inl_decoding *out)
{
    inl_json_place place = {.env = env, .file = file, .path = "decoder"};
    reader r = {.out = out};
    *out = (inl_decoding){0};
    return spec && !json_is_null(spec) ? add_decoder(&place, spec, 0, &r) : INLAY_OK;
}

// ---- the tokens' bytes

typedef struct builder {
    const inl_env *env;
    char *data;
    size_t size, cap;
    uint64_t limit;
} builder;

static inlay_result append(builder *b, const char *text, uint64_t size)
{
    if (size > b->limit - b->size)
        return inl_fail(b->env, INLAY_ERROR_UNSUPPORTED,
                        "the decoder makes the tokens more than %d times as long", MAX_GROWTH);
    INL_TRY(inl_grow(b->env, (void **)&b->data, &b->cap, b->size + size + 1, 1));
    if (size > 0)
        memcpy(b->data + b->size, text, size);
    b->size += size;
    return INLAY_OK;
}

static bool starts_with(inl_slice text, inl_slice start)
{
    return start.size > 0 && text.size >= start.size &&
           memcmp(text.data, start.data, start.size) == 0;
}

static inlay_result replace(builder *b, const inl_decoding_step *s, inl_slice text)
{
    for (uint64_t i = 0; i < text.size;) {
        inl_slice rest = {text.data + i, text.size - i};
        bool found = starts_with(rest, s->from);
        INL_TRY(found ? append(b, s->to.data, s->to.size) : append(b, rest.data, 1));
        i += found ? s->from.size : 1;
    }
    return INLAY_OK;
}

// A text with a character that is no symbol stands for itself.
static inlay_result decode_symbols(builder *b, inl_slice text)
{
    size_t start = b->size;
    for (uint64_t i = 0; i < text.size;) {
        size_t length = inl_utf8_length(text.data + i, text.size - i);
        int byte = length ? inl_symbol_to_byte(inl_utf8_decode(text.data + i, length)) : -1;
        if (byte < 0) {
            b->size = start;
            return append(b, text.data, text.size);
        }
        char c = (char)byte;
        INL_TRY(append(b, &c, 1));
        i += length;
    }
    return INLAY_OK;
}

static inlay_result decode_byte(builder *b, inl_slice text)
{
    int byte = inl_vocab_parse_byte(text);
    char c = (char)byte;
    return byte >= 0 ? append(b, &c, 1) : append(b, text.data, text.size);
}

static inlay_result strip(builder *b, const inl_decoding_step *s, inl_slice text)
{
    for (uint64_t i = 0; i < s->count && starts_with(text, s->from); i++) {
        text.data += s->from.size;
        text.size -= s->from.size;
    }
    return append(b, text.data, text.size);
}

static inlay_result run_step(builder *b, const inl_decoding_step *s, inl_slice text)
{
    switch (s->kind) {
    case INL_DECODING_REPLACE: return replace(b, s, text);
    case INL_DECODING_STRIP: return strip(b, s, text);
    case INL_DECODING_BYTES: return decode_byte(b, text);
    default: return decode_symbols(b, text);
    }
}

// Through all steps, between two builders; the last appends to `all`.
static inlay_result decode_token(const inl_decoding *d, inl_slice text, builder sides[2],
                                 builder *all)
{
    for (uint32_t i = 0; i < d->count; i++) {
        builder *b = &sides[i % 2];
        b->size = 0;
        INL_TRY(run_step(b, &d->steps[i], text));
        text = (inl_slice){b->size ? b->data : "", b->size};
    }
    return append(all, text.data, text.size);
}

static inlay_result decode_all(const inl_decoding *d, inl_vocab *vocab, builder sides[2],
                               builder *all)
{
    static const inl_decoding verbatim = {0};
    for (uint32_t i = 0; i < vocab->count; i++) {
        inl_vocab_token *token = &vocab->tokens[i];
        size_t start = all->size;
        bool own_text = d->symbols && token->kind == INL_TOKEN_USER_DEFINED;
        if (token->kind != INL_TOKEN_CONTROL)
            INL_TRY(decode_token(own_text ? &verbatim : d, token->text, sides, all));
        token->bytes.size = all->size - start;
    }
    return INLAY_OK;
}

inlay_result inl_pipeline_decode(const inl_env *env, const inl_decoding *decoding, inl_vocab *vocab)
{
    uint64_t limit = 4096;
    for (uint32_t i = 0; i < vocab->count; i++)
        limit += MAX_GROWTH * vocab->tokens[i].text.size;
    builder all = {.env = env, .limit = limit};
    builder sides[2] = {all, all};
    inlay_result result = append(&all, "", 0);
    if (result == INLAY_OK)
        result = decode_all(decoding, vocab, sides, &all);
    inl_free(env, sides[0].data);
    inl_free(env, sides[1].data);
    vocab->decoded = all.data;
    if (result != INLAY_OK)
        return result;
    const char *at = all.data;
    for (uint32_t i = 0; i < vocab->count; i++) {
        vocab->tokens[i].bytes.data = at;
        at += vocab->tokens[i].bytes.size;
    }
    return INLAY_OK;
}
