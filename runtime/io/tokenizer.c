// SPDX-License-Identifier: MIT
#include "io/tokenizer.h"

#include "io/bpe.h"
#include "io/encode.h"
#include "io/spm.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

// Tokens found in the raw text before anything else is done to it.
typedef struct special {
    inl_slice text;
    int32_t id;
    bool control; // only where special tokens are to be parsed
} special;

struct inl_tokenizer {
    inl_env env;
    inl_tokenizer_info info;
    char *chat_template;
    inl_vocab vocab;
    bool byte_level; // `bpe` is in use, else `spm`
    inl_bpe bpe;
    inl_spm spm;
    bool space_prefix;  // SentencePiece: a text starts as if after a space
    bool strips_after;  // whitespace after a special token is dropped
    special *specials;  // sorted by text
    uint32_t special_count;
    bool special_first[256]; // a special token starts with this byte
};

// Markers of chat templates. Some files call them ordinary or user-defined tokens, which would let
// a user's words close a turn.
static const char *const markers[] = {
    "<|im_start|>",  "<|im_end|>",         "<|start_header_id|>", "<|end_header_id|>",
    "<|eot_id|>",    "<|begin_of_text|>",  "<|end_of_text|>",     "<start_of_turn>",
    "<end_of_turn>", "<|system|>",         "<|user|>",            "<|assistant|>",
    "<|end|>",       "<|endoftext|>",      "[INST]",              "[/INST]",
};

static inlay_result read_model(inl_tokenizer *t, const inl_gguf *gguf)
{
    inl_slice model;
    if (!inl_gguf_get_string(gguf, "tokenizer.ggml.model", &model))
        return inl_fail(&t->env, INLAY_ERROR_BAD_FILE, "%s: tokenizer.ggml.model is missing",
                        inl_gguf_path(gguf));
    bool spm = model.size == 5 && memcmp(model.data, "llama", 5) == 0;
    t->byte_level = model.size == 4 && memcmp(model.data, "gpt2", 4) == 0;
    if (!spm && !t->byte_level)
        return inl_fail(&t->env, INLAY_ERROR_UNSUPPORTED,
                        "%s: the tokenizer model \"%.*s\" is not supported (llama and gpt2 are)",
                        inl_gguf_path(gguf), (int)INL_MIN(model.size, 64), model.data);
    snprintf(t->info.model, sizeof(t->info.model), "%s", spm ? "llama" : "gpt2");
    return INLAY_OK;
}

static inlay_result read_pre(inl_tokenizer *t, const inl_gguf *gguf)
{
    inl_slice pre = {"default", 7};
    if (!inl_gguf_get_string(gguf, "tokenizer.ggml.pre", &pre) && t->byte_level)
        inl_logf(&t->env, INLAY_LOG_WARN,
                 "%s: tokenizer.ggml.pre is missing, \"default\" is taken; tokens may be wrong",
                 inl_gguf_path(gguf));
    if (pre.size >= sizeof(t->info.pre) || memchr(pre.data, '\0', pre.size)) {
        if (t->byte_level)
            return inl_fail(&t->env, INLAY_ERROR_UNSUPPORTED,
                            "%s: tokenizer.ggml.pre is no name of a pre-tokenizer",
                            inl_gguf_path(gguf));
        pre = (inl_slice){"default", 7}; // of no consequence for SentencePiece
    }
    memcpy(t->info.pre, pre.data, pre.size);
    return INLAY_OK;
}

// A token id from the file, -1 where there is none or it is not one.
static int32_t read_id(const inl_tokenizer *t, const inl_gguf *gguf, const char *key,
                       int32_t otherwise)
{
    uint32_t id = (uint32_t)otherwise;
    bool said = inl_gguf_get_u32(gguf, key, &id);
    if (id < t->info.vocab)
        return (int32_t)id;
    if (said && id != UINT32_MAX)
        inl_logf(&t->env, INLAY_LOG_WARN, "%s: %s is %u, but there are %u tokens: ignored",
                 inl_gguf_path(gguf), key, id, t->info.vocab);
    return -1;
}

static void mark_control(inl_vocab *vocab)
{
    for (size_t i = 0; i < INL_COUNT(markers); i++) {
        int32_t id = inl_vocab_find(vocab, markers[i], strlen(markers[i]));
        if (id >= 0)
            vocab->tokens[id].kind = INL_TOKEN_CONTROL;
    }
}

static inlay_result read_vocab(inl_tokenizer *t, const inl_gguf *gguf)
{
    bool spm = !t->byte_level;
    INL_TRY(inl_vocab_load(&t->env, gguf, spm, &t->vocab));
    t->info.vocab = t->vocab.count;
    mark_control(&t->vocab);
    INL_TRY(inl_vocab_decode(&t->env, &t->vocab, t->byte_level));
    t->info.bos = read_id(t, gguf, "tokenizer.ggml.bos_token_id", spm ? 1 : -1);
    t->info.eos = read_id(t, gguf, "tokenizer.ggml.eos_token_id", spm ? 2 : -1);
    t->vocab.unknown = read_id(t, gguf, "tokenizer.ggml.unknown_token_id", spm ? 0 : -1);
    return INLAY_OK;
}

static inlay_result read_rules(inl_tokenizer *t, const inl_gguf *gguf)
{
    bool add_bos = true;
    t->space_prefix = !t->byte_level;
    if (t->byte_level) {
        INL_TRY(inl_bpe_load(&t->env, gguf, &t->vocab, t->info.pre, &t->bpe));
        add_bos = inl_pretokenizer_adds_bos(t->bpe.pretokenizer);
    } else {
        INL_TRY(inl_spm_load(&t->env, gguf, &t->vocab, &t->spm));
        inl_gguf_get_bool(gguf, "tokenizer.ggml.add_space_prefix", &t->space_prefix);
    }
    bool add_eos = false;
    inl_gguf_get_bool(gguf, "tokenizer.ggml.add_bos_token", &add_bos);
    inl_gguf_get_bool(gguf, "tokenizer.ggml.add_eos_token", &add_eos);
    t->info.add_bos = add_bos && t->info.bos >= 0;
    t->info.add_eos = add_eos && t->info.eos >= 0;
    // Phi-3's tokenizer swallows whitespace after its markers; GGUF has no field that says so.
    inl_slice architecture = {0};
    inl_gguf_get_string(gguf, "general.architecture", &architecture);
    t->strips_after = !t->byte_level && architecture.size == 4 &&
                      memcmp(architecture.data, "phi3", 4) == 0;
    return INLAY_OK;
}

static inlay_result read_chat_template(inl_tokenizer *t, const inl_gguf *gguf)
{
    inl_slice text;
    if (!inl_gguf_get_string(gguf, "tokenizer.chat_template", &text))
        return INLAY_OK;
    t->chat_template = inl_strndup(&t->env, text.data, text.size);
    t->info.chat_template = t->chat_template;
    return t->chat_template ? INLAY_OK : INLAY_ERROR_OUT_OF_MEMORY;
}

static int compare_specials(const void *a, const void *b)
{
    const special *x = a;
    const special *y = b;
    int order = memcmp(x->text.data, y->text.data, INL_MIN(x->text.size, y->text.size));
    if (order != 0)
        return order;
    if (x->text.size != y->text.size)
        return x->text.size < y->text.size ? -1 : 1;
    return x->id < y->id ? -1 : x->id > y->id;
}

static bool is_special(const inl_vocab_token *token)
{
    return token->text.size > 0 &&
           (token->kind == INL_TOKEN_CONTROL || token->kind == INL_TOKEN_UNKNOWN ||
            token->kind == INL_TOKEN_USER_DEFINED);
}

static inlay_result list_specials(inl_tokenizer *t)
{
    uint32_t count = 0;
    for (uint32_t i = 0; i < t->vocab.count; i++)
        count += is_special(&t->vocab.tokens[i]);
    t->specials = inl_alloc(&t->env, count, sizeof(*t->specials));
    if (!t->specials)
        return INLAY_ERROR_OUT_OF_MEMORY;
    for (uint32_t i = 0; i < t->vocab.count; i++) {
        const inl_vocab_token *token = &t->vocab.tokens[i];
        if (!is_special(token))
            continue;
        t->specials[t->special_count++] =
            (special){token->text, (int32_t)i, token->kind != INL_TOKEN_USER_DEFINED};
        t->special_first[(uint8_t)token->text.data[0]] = true;
    }
    if (count > 1)
        qsort(t->specials, count, sizeof(*t->specials), compare_specials);
    return INLAY_OK;
}

inlay_result inl_tokenizer_create(const inl_env *env, const inl_gguf *gguf, inl_tokenizer **out)
{
    *out = NULL;
    inl_tokenizer *t = inl_alloc(env, 1, sizeof(*t));
    if (!t)
        return INLAY_ERROR_OUT_OF_MEMORY;
    t->env = *env;
    inlay_result result = read_model(t, gguf);
    if (result == INLAY_OK)
        result = read_pre(t, gguf);
    if (result == INLAY_OK)
        result = read_vocab(t, gguf);
    if (result == INLAY_OK)
        result = read_rules(t, gguf);
    if (result == INLAY_OK)
        result = read_chat_template(t, gguf);
    if (result == INLAY_OK)
        result = list_specials(t);
    *out = t;
    if (result != INLAY_OK)
        inl_tokenizer_destroy(out);
    return result;
}

void inl_tokenizer_destroy(inl_tokenizer **tokenizer)
{
    inl_tokenizer *t = *tokenizer;
    *tokenizer = NULL;
    if (!t)
        return;
    inl_env env = t->env;
    inl_bpe_free(&t->env, &t->bpe);
    inl_vocab_free(&t->env, &t->vocab);
    inl_free(&env, t->specials);
    inl_free(&env, t->chat_template);
    inl_free(&env, t);
}

const inl_tokenizer_info *inl_tokenizer_get_info(const inl_tokenizer *tokenizer)
{
    return &tokenizer->info;
}

// Narrows [*low, *high), all sharing their first `depth` bytes, to those that go on with `byte`.
static void narrow(const inl_tokenizer *t, uint64_t depth, uint8_t byte, uint32_t *low,
                   uint32_t *high)
{
    for (uint32_t end = *high; *low < end;) { // the first not below `byte`
        uint32_t middle = *low + (end - *low) / 2;
        if ((uint8_t)t->specials[middle].text.data[depth] < byte)
            *low = middle + 1;
        else
            end = middle;
    }
    for (uint32_t start = *low; start < *high;) { // the first above it
        uint32_t middle = start + (*high - start) / 2;
        if ((uint8_t)t->specials[middle].text.data[depth] <= byte)
            start = middle + 1;
        else
            *high = middle;
    }
}

// The longest special token the text starts with, NULL: none.
static const special *match_special(const inl_tokenizer *t, const char *text, size_t size,
                                    bool parse_control)
{
    const special *best = NULL;
    uint32_t low = 0;
    uint32_t high = t->special_first[(uint8_t)text[0]] ? t->special_count : 0;
    for (size_t depth = 0; low < high; depth++) {
        for (; low < high && t->specials[low].text.size == depth; low++) // the shortest come first
            if (parse_control || !t->specials[low].control)
                best = &t->specials[low];
        if (depth == size)
            break;
        narrow(t, depth, (uint8_t)text[depth], &low, &high);
    }
    return best;
}

// A stretch of text between special tokens, possibly out of several parts, or a special token.
typedef struct encoding {
    const inl_env *env;
    const inl_tokenizer *tokenizer;
    inl_ids *ids;
    inl_merger merger;
    char *raw; // text collected and not yet encoded
    size_t raw_size, raw_cap;
    bool after_special;
} encoding;

static inlay_result encode_stretch(encoding *e, const char *text, size_t size)
{
    const inl_tokenizer *t = e->tokenizer;
    bool space = t->space_prefix && e->after_special;
    e->after_special = false;
    if (t->byte_level)
        return inl_bpe_encode(e->env, &t->bpe, &t->vocab, text, size, &e->merger, e->ids);
    return inl_spm_encode(e->env, &t->spm, &t->vocab, text, size, space, &e->merger, e->ids);
}

// Encodes what was collected, followed by `size` bytes more.
static inlay_result flush(encoding *e, const char *text, size_t size)
{
    if (e->raw_size == 0)
        return size > 0 ? encode_stretch(e, text, size) : INLAY_OK;
    INL_TRY(inl_grow(e->env, (void **)&e->raw, &e->raw_cap, e->raw_size + size, 1));
    if (size > 0)
        memcpy(e->raw + e->raw_size, text, size);
    size_t total = e->raw_size + size;
    e->raw_size = 0;
    return encode_stretch(e, e->raw, total);
}

static inlay_result collect(encoding *e, const char *text, size_t size)
{
    if (size == 0)
        return INLAY_OK;
    INL_TRY(inl_grow(e->env, (void **)&e->raw, &e->raw_cap, e->raw_size + size, 1));
    memcpy(e->raw + e->raw_size, text, size);
    e->raw_size += size;
    return INLAY_OK;
}

static inlay_result push_special(encoding *e, int32_t id)
{
    e->after_special = true;
    return inl_ids_push(e->env, e->ids, id);
}

static bool is_blank(char c)
{
    return c == ' ' || (c >= '\t' && c <= '\r');
}

// Up to the part's last special token; the text behind it is collected unless the part is the last.
static inlay_result encode_part(encoding *e, const inl_text_part *part, bool last)
{
    const inl_tokenizer *t = e->tokenizer;
    if (part->is_token) {
        INL_TRY(flush(e, NULL, 0));
        return push_special(e, part->token);
    }
    size_t start = 0;
    for (size_t at = 0; at < part->size;) {
        const special *found =
            match_special(t, part->text + at, part->size - at, part->parse_special);
        if (!found) {
            at++;
            continue;
        }
        INL_TRY(flush(e, part->text + start, at - start));
        INL_TRY(push_special(e, found->id));
        at += found->text.size;
        while (t->strips_after && at < part->size && is_blank(part->text[at]))
            at++;
        start = at;
    }
    if (last)
        return flush(e, part->size > start ? part->text + start : NULL, part->size - start);
    return collect(e, part->size > start ? part->text + start : NULL, part->size - start);
}

inlay_result inl_encode_parts(const inl_env *env, const inl_tokenizer *tokenizer,
                              const inl_text_part *parts, size_t count, bool *after_special,
                              inl_ids *ids)
{
    encoding e = {.env = env, .tokenizer = tokenizer, .ids = ids, .after_special = *after_special};
    inlay_result result = INLAY_OK;
    for (size_t i = 0; i < count && result == INLAY_OK; i++)
        result = encode_part(&e, &parts[i], i + 1 == count);
    *after_special = e.after_special;
    inl_merger_free(env, &e.merger);
    inl_free(env, e.raw);
    return result;
}

inlay_result inl_tokenizer_encode(const inl_env *env, const inl_tokenizer *tokenizer,
                                  const char *text, size_t size, bool parse_special, int32_t **ids,
                                  size_t *count)
{
    inl_ids list = {0};
    inl_text_part part = {.text = text, .size = size, .parse_special = parse_special};
    bool after_special = true;
    inlay_result result = inl_grow(env, (void **)&list.data, &list.cap, 1, sizeof(*list.data));
    if (result == INLAY_OK)
        result = inl_encode_parts(env, tokenizer, &part, 1, &after_special, &list);
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
    inl_slice bytes = tokenizer->vocab.tokens[id].bytes;
    if (first && tokenizer->space_prefix && bytes.size > 0 && bytes.data[0] == ' ') {
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
