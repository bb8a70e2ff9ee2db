// SPDX-License-Identifier: MIT
#include "io/tokenizer.h"

#include "io/encode.h"
#include "io/tokenizer_parts.h"

#include <string.h>

inlay_result inl_tokenizer_new(const inl_env *env, inl_tokenizer **out)
{
    inl_tokenizer *t = *out = inl_alloc(env, 1, sizeof(*t));
    if (!t)
        return INLAY_ERROR_OUT_OF_MEMORY;
    t->env = *env;
    t->info.bos = t->info.eos = t->vocab.unknown = -1;
    return INLAY_OK;
}

void inl_tokenizer_destroy(inl_tokenizer **tokenizer)
{
    inl_tokenizer *t = *tokenizer;
    *tokenizer = NULL;
    if (!t)
        return;
    inl_env env = t->env;
    inl_bpe_free(&t->env, &t->bpe);
    inl_added_free(&env, &t->spm.whole);
    inl_vocab_free(&t->env, &t->vocab);
    inl_normalizer_destroy(&t->normalizer);
    inl_added_free(&env, &t->raw);
    inl_added_free(&env, &t->normalized);
    inl_free(&env, t->normalized_texts);
    inl_free(&env, t->ends);
    inl_tokenizer_drop_templates(t);
    inl_free(&env, t);
}

const inl_tokenizer_info *inl_tokenizer_get_info(const inl_tokenizer *tokenizer)
{
    return &tokenizer->info;
}

inlay_result inl_tokenizer_add_end(inl_tokenizer *t, int32_t id)
{
    if (id < 0 || inl_tokenizer_is_end(t, id))
        return INLAY_OK;
    INL_TRY(
        inl_grow(&t->env, (void **)&t->ends, &t->end_cap, t->info.end_count + 1, sizeof(*t->ends)));
    t->ends[t->info.end_count++] = id;
    t->info.ends = t->ends;
    return INLAY_OK;
}

// Tokens that end a turn by their text alone, as llama.cpp has it.
static const char *const turn_ends[] = {
    "<|eot_id|>",    "<|im_end|>", "<|end|>",         "<end_of_turn>",
    "<|endoftext|>", "<|eom_id|>", "<|end_of_text|>", "<EOT>",
};

inlay_result inl_tokenizer_add_turn_ends(inl_tokenizer *t)
{
    for (size_t i = 0; i < INL_COUNT(turn_ends); i++) {
        int32_t id = inl_tokenizer_find(t, turn_ends[i]);
        if (id >= 0 && t->vocab.tokens[id].kind == INL_TOKEN_CONTROL)
            INL_TRY(inl_tokenizer_add_end(t, id));
    }
    return INLAY_OK;
}

bool inl_tokenizer_is_end(const inl_tokenizer *tokenizer, int32_t id)
{
    for (uint32_t i = 0; i < tokenizer->info.end_count; i++)
        if (tokenizer->ends[i] == id)
            return true;
    return false;
}

inlay_result inl_tokenizer_set_template(inl_tokenizer *t, bool tools, const char *text,
                                        uint64_t size)
{
    char **own = tools ? &t->tool_template : &t->chat_template;
    inl_free(&t->env, *own);
    *own = inl_strndup(&t->env, text, size);
    t->info.chat_template = t->chat_template;
    t->info.tool_template = t->tool_template;
    return *own ? INLAY_OK : INLAY_ERROR_OUT_OF_MEMORY;
}

void inl_tokenizer_drop_templates(inl_tokenizer *t)
{
    inl_free(&t->env, t->chat_template);
    inl_free(&t->env, t->tool_template);
    t->chat_template = t->tool_template = NULL;
    t->info.chat_template = t->info.tool_template = NULL;
}

static const char *const markers[] = {
    "<|im_start|>",      "<|im_end|>",      "<|start_header_id|>",
    "<|end_header_id|>", "<|eot_id|>",      "<|begin_of_text|>",
    "<|end_of_text|>",   "<start_of_turn>", "<end_of_turn>",
    "<|system|>",        "<|user|>",        "<|assistant|>",
    "<|end|>",           "<|endoftext|>",   "[INST]",
    "[/INST]",
};

void inl_tokenizer_mark_control(inl_vocab *vocab)
{
    for (size_t i = 0; i < INL_COUNT(markers); i++) {
        int32_t id = inl_vocab_find(vocab, markers[i], strlen(markers[i]));
        if (id >= 0)
            vocab->tokens[id].kind = INL_TOKEN_CONTROL;
    }
}

// A stretch of text between special tokens, possibly out of several parts, or a special token.
typedef struct encoding {
    const inl_env *env;
    const inl_tokenizer *tokenizer;
    inl_ids *ids;
    inl_merger merger;
    inl_normal_text normal;
    char *raw; // text collected and not yet encoded
    size_t raw_size, raw_cap;
    bool raw_special; // control tokens in it may be parsed
    inl_place place;
} encoding;

// Whether SentencePiece's space is put before a text that stands there.
static bool has_prefix(const inl_tokenizer *t, inl_place place, const char *text, size_t size)
{
    if (!t->space_prefix ||
        (t->prefix_unless_space &&
         (text[0] == ' ' || (size >= 3 && memcmp(text, "\xe2\x96\x81", 3) == 0))))
        return false;
    return place == INL_PLACE_START || (place == INL_PLACE_AFTER_SPECIAL && !t->prefix_at_start);
}

static inlay_result encode_plain(encoding *e, const char *text, size_t size)
{
    const inl_tokenizer *t = e->tokenizer;
    inl_place place = e->place;
    if (size == 0)
        return INLAY_OK;
    e->place = INL_PLACE_INSIDE;
    if (!t->by_score)
        return inl_bpe_encode(e->env, &t->bpe, &t->vocab, text, size, place == INL_PLACE_START,
                              &e->merger, e->ids);
    return inl_spm_encode(e->env, &t->spm, &t->vocab, text, size, has_prefix(t, place, text, size),
                          &e->merger, e->ids);
}

static inlay_result push_special(encoding *e, int32_t id)
{
    e->place = INL_PLACE_AFTER_SPECIAL;
    return inl_ids_push(e->env, e->ids, id);
}

// Normalizes, and looks for the tokens that are found after that.
static inlay_result encode_stretch(encoding *e, const char *text, size_t size)
{
    const inl_tokenizer *t = e->tokenizer;
    inl_slice normal = {text, size};
    inl_added_match m = {0};
    size_t done = 0;
    if (t->normalizer)
        INL_TRY(inl_normalizer_run(e->env, t->normalizer, normal, &e->normal, &normal));
    while (inl_added_next(&t->normalized, normal.data, normal.size, m.next, done, e->raw_special,
                          &m)) {
        if (m.start > done)
            INL_TRY(encode_plain(e, normal.data + done, m.start - done));
        INL_TRY(push_special(e, m.id));
        done = m.end;
    }
    return encode_plain(e, normal.data + done, normal.size - done);
}

static inlay_result collect(encoding *e, const char *text, size_t size, bool parse_special)
{
    if (size == 0)
        return INLAY_OK;
    e->raw_special = parse_special && (e->raw_special || e->raw_size == 0);
    INL_TRY(inl_grow(e->env, (void **)&e->raw, &e->raw_cap, e->raw_size + size, 1));
    memcpy(e->raw + e->raw_size, text, size);
    e->raw_size += size;
    return INLAY_OK;
}

// Encodes what was collected, followed by `size` bytes more.
static inlay_result flush(encoding *e, const char *text, size_t size, bool parse_special)
{
    if (e->raw_size == 0) {
        e->raw_special = parse_special;
        return size > 0 ? encode_stretch(e, text, size) : INLAY_OK;
    }
    INL_TRY(collect(e, text, size, parse_special));
    size_t total = e->raw_size;
    e->raw_size = 0;
    return encode_stretch(e, e->raw, total);
}

// Up to the part's last special token; the text behind it is collected unless the part is the last.
static inlay_result encode_part(encoding *e, const inl_text_part *part, bool last)
{
    const inl_tokenizer *t = e->tokenizer;
    if (part->is_token) {
        INL_TRY(flush(e, NULL, 0, true));
        return push_special(e, part->token);
    }
    inl_added_match m = {0};
    size_t done = 0;
    while (inl_added_next(&t->raw, part->text, part->size, m.next, done, part->parse_special, &m)) {
        size_t before = m.start > done ? m.start - done : 0;
        INL_TRY(flush(e, part->text + done, before, part->parse_special));
        INL_TRY(push_special(e, m.id));
        done = m.end;
    }
    const char *rest = part->size > done ? part->text + done : NULL;
    return last ? flush(e, rest, part->size - done, part->parse_special)
                : collect(e, rest, part->size - done, part->parse_special);
}

inlay_result inl_encode_parts(const inl_env *env, const inl_tokenizer *tokenizer,
                              const inl_text_part *parts, size_t count, inl_place *place,
                              inl_ids *ids)
{
    encoding e = {.env = env, .tokenizer = tokenizer, .ids = ids, .place = *place};
    inlay_result result = INLAY_OK;
    for (size_t i = 0; i < count && result == INLAY_OK; i++)
        result = encode_part(&e, &parts[i], i + 1 == count);
    if (result == INLAY_OK) // the last part was a token
        result = flush(&e, NULL, 0, true);
    *place = e.place;
    inl_merger_free(env, &e.merger);
    inl_normal_text_free(env, &e.normal);
    inl_free(env, e.raw);
    return result;
}

inlay_result inl_tokenizer_encode(const inl_env *env, const inl_tokenizer *tokenizer,
                                  const char *text, size_t size, bool parse_special, int32_t **ids,
                                  size_t *count)
{
    inl_ids list = {0};
    inl_text_part part = {.text = text, .size = size, .parse_special = parse_special};
    inl_place place = INL_PLACE_START;
    inlay_result result = inl_grow(env, (void **)&list.data, &list.cap, 1, sizeof(*list.data));
    if (result == INLAY_OK)
        result = inl_encode_parts(env, tokenizer, &part, 1, &place, &list);
    if (result != INLAY_OK) {
        inl_free(env, list.data);
        list = (inl_ids){0};
    }
    *ids = list.data;
    *count = list.count;
    return result;
}

inl_slice inl_tokenizer_decode(const inl_tokenizer *tokenizer, int32_t id, bool first)
{
    if (id < 0 || (uint32_t)id >= tokenizer->vocab.count)
        return (inl_slice){"", 0};
    const inl_vocab_token *token = &tokenizer->vocab.tokens[id];
    inl_slice bytes = token->bytes;
    // All spaces: the pre-tokenizer put them there, where an added token has its own.
    bool own = token->kind == INL_TOKEN_USER_DEFINED && tokenizer->start_spaces == UINT32_MAX;
    uint32_t spaces = first && !own ? tokenizer->start_spaces : 0;
    for (; spaces > 0 && bytes.size > 0 && bytes.data[0] == ' '; spaces--) {
        bytes.data++;
        bytes.size--;
    }
    return bytes;
}

inl_slice inl_tokenizer_text(const inl_tokenizer *tokenizer, int32_t id)
{
    if (id < 0 || (uint32_t)id >= tokenizer->vocab.count)
        return (inl_slice){"", 0};
    return tokenizer->vocab.tokens[id].text;
}

int32_t inl_tokenizer_find(const inl_tokenizer *tokenizer, const char *text)
{
    return inl_vocab_find(&tokenizer->vocab, text, strlen(text));
}
