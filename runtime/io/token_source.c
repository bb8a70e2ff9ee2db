// SPDX-License-Identifier: MIT
// From a BPE model's tokens and merges, as its files list them, to the tokenizer.
#include "io/token_source.h"

#include <stdio.h>
#include <string.h>

// Ids may leave gaps, but no more than this beside one for each token.
#define MAX_GAP 65536

typedef inl_token_source reader;

// ---- what the files say

inlay_result inl_source_read_vocab(inl_token_source *r, inl_json_scan *s, char *texts,
                                   uint64_t *used)
{
    bool more;
    INL_TRY(inl_json_enter(s, '{'));
    for (bool first = true;; first = false) {
        inl_source_token e;
        INL_TRY(inl_json_next(s, first, '{', &more));
        if (!more)
            return INLAY_OK;
        e.text.data = texts + *used;
        INL_TRY(inl_json_key(s, texts + *used, &e.text.size));
        *used += e.text.size;
        INL_TRY(inl_json_integer(s, &e.id));
        if (e.id < 0)
            return inl_json_fail(s, "the vocabulary has a negative id");
        INL_TRY(inl_grow(r->env, (void **)&r->vocab, &r->vocab_cap, r->vocab_count + 1,
                         sizeof(*r->vocab)));
        r->vocab[r->vocab_count++] = e;
    }
}

bool inl_source_cut_merge(inl_slice text, inl_source_merge *out)
{
    const char *gap = memchr(text.data, ' ', text.size);
    if (!gap)
        return false;
    out->left = (inl_slice){text.data, (uint64_t)(gap - text.data)};
    out->right = (inl_slice){gap + 1, text.size - out->left.size - 1};
    return out->left.size > 0 && out->right.size > 0 &&
           !memchr(out->right.data, ' ', out->right.size);
}

inlay_result inl_source_push_merge(inl_token_source *r, const inl_source_merge *merge)
{
    INL_TRY(inl_grow(r->env, (void **)&r->merges, &r->merge_cap, r->merge_count + 1,
                     sizeof(*r->merges)));
    r->merges[r->merge_count++] = *merge;
    return INLAY_OK;
}

// ---- tokens to the tokenizer

static inlay_result get_added(const reader *r, size_t index, inl_slice *text, int64_t *id)
{
    const json_t *token = json_array_get(r->added, index);
    const json_t *content = json_object_get(token, "content");
    const json_t *number = json_object_get(token, "id");
    if (!json_is_string(content) || !json_is_integer(number) || json_integer_value(number) < 0)
        return inl_fail(r->env, INLAY_ERROR_BAD_FILE,
                        "%s: added_tokens[%zu] has no string \"content\" or no \"id\"", r->file,
                        index);
    *text = (inl_slice){json_string_value(content), json_string_length(content)};
    *id = json_integer_value(number);
    return INLAY_OK;
}

static inlay_result place_token(const reader *r, inl_slice *texts, inl_slice text, int64_t id)
{
    inl_slice *place = &texts[id];
    bool same = place->size == text.size &&
                (text.size == 0 || memcmp(place->data, text.data, text.size) == 0);
    if (place->data && !same)
        return inl_fail(r->env, INLAY_ERROR_BAD_FILE,
                        "%s: the tokens \"%.*s\" and \"%.*s\" both have the id %lld", r->file,
                        (int)INL_MIN(place->size, 64), place->data, (int)INL_MIN(text.size, 64),
                        text.data, (long long)id);
    *place = text;
    return INLAY_OK;
}

static inlay_result count_ids(const reader *r, uint32_t *out)
{
    int64_t largest = -1;
    size_t added = json_array_size(r->added);
    for (size_t i = 0; i < r->vocab_count; i++)
        largest = INL_MAX(largest, r->vocab[i].id);
    for (size_t i = 0; i < added; i++) {
        inl_slice text;
        int64_t id;
        INL_TRY(get_added(r, i, &text, &id));
        largest = INL_MAX(largest, id);
    }
    if (largest < 0)
        return inl_fail(r->env, INLAY_ERROR_BAD_FILE, "%s: there are no tokens", r->file);
    if (largest >= INT32_MAX || (uint64_t)largest >= r->vocab_count + added + MAX_GAP)
        return inl_fail(r->env, INLAY_ERROR_BAD_FILE,
                        "%s: a token has the id %lld, but there are %zu tokens", r->file,
                        (long long)largest, r->vocab_count + added);
    *out = (uint32_t)(largest + 1);
    return INLAY_OK;
}

static inlay_result fill_texts(const reader *r, inl_slice *texts)
{
    for (size_t i = 0; i < r->vocab_count; i++)
        INL_TRY(place_token(r, texts, r->vocab[i].text, r->vocab[i].id));
    for (size_t i = 0; i < json_array_size(r->added); i++) {
        inl_slice text;
        int64_t id;
        INL_TRY(get_added(r, i, &text, &id));
        INL_TRY(place_token(r, texts, text, id));
    }
    return INLAY_OK;
}

static inlay_result check_unique(const reader *r)
{
    const inl_vocab *v = &r->t->vocab;
    for (uint32_t i = 0; i < v->count; i++) {
        inl_slice text = v->tokens[i].text;
        if (text.size > 0 && inl_vocab_find(v, text.data, text.size) != (int32_t)i)
            return inl_fail(r->env, INLAY_ERROR_BAD_FILE,
                            "%s: the token \"%.*s\" has two ids, %u and %d", r->file,
                            (int)INL_MIN(text.size, 64), text.data, i,
                            inl_vocab_find(v, text.data, text.size));
    }
    return INLAY_OK;
}

static bool is_set(const json_t *token, const char *key, bool otherwise)
{
    const json_t *value = json_object_get(token, key);
    return value ? json_is_true(value) : otherwise;
}

// `unknown`: its text, or nothing.
static inlay_result make_vocab(reader *r, inl_slice unknown)
{
    inl_vocab *v = &r->t->vocab;
    uint32_t count = 0;
    INL_TRY(count_ids(r, &count));
    inl_slice *texts = inl_alloc(r->env, count, sizeof(*texts));
    if (!texts)
        return INLAY_ERROR_OUT_OF_MEMORY;
    inlay_result result = fill_texts(r, texts);
    if (result == INLAY_OK)
        result = inl_vocab_create(r->env, texts, count, v);
    inl_free(r->env, texts);
    if (result == INLAY_OK)
        result = inl_vocab_index(r->env, v);
    if (result == INLAY_OK)
        result = check_unique(r);
    if (result != INLAY_OK)
        return result;
    r->t->info.vocab = count;
    for (uint32_t i = 0; i < count && r->t->bpe.byte_fallback; i++)
        if (inl_vocab_parse_byte(v->tokens[i].text) >= 0)
            v->tokens[i].kind = INL_TOKEN_BYTE;
    v->unknown = unknown.size ? inl_vocab_find(v, unknown.data, unknown.size) : -1;
    if (unknown.size && v->unknown < 0)
        inl_logf(r->env, INLAY_LOG_WARN, "%s: model.unk_token is no token: ignored", r->file);
    if (v->unknown >= 0)
        v->tokens[v->unknown].kind = INL_TOKEN_UNKNOWN;
    for (size_t i = 0; i < json_array_size(r->added); i++) {
        const json_t *token = json_array_get(r->added, i);
        v->tokens[json_integer_value(json_object_get(token, "id"))].kind =
            is_set(token, "special", false) ? INL_TOKEN_CONTROL : INL_TOKEN_USER_DEFINED;
    }
    inl_tokenizer_mark_control(v);
    return INLAY_OK;
}

static int32_t find_part(const reader *r, inl_slice text)
{
    const inl_vocab *v = &r->t->vocab;
    return inl_vocab_find(v, text.data, text.size);
}

static inlay_result make_merge(const reader *r, const inl_source_merge *m, char *joined,
                               inl_bpe_merge *out)
{
    out->left = find_part(r, m->left);
    out->right = find_part(r, m->right);
    out->id = -1;
    uint64_t size = m->left.size + m->right.size;
    if (size <= r->t->vocab.longest) {
        memcpy(joined, m->left.data, m->left.size);
        memcpy(joined + m->left.size, m->right.data, m->right.size);
        out->id = find_part(r, (inl_slice){joined, size});
    }
    if (out->left >= 0 && out->right >= 0 && out->id >= 0)
        return INLAY_OK;
    return inl_fail(r->env, INLAY_ERROR_BAD_FILE,
                    "%s: merge %u (\"%.*s\", \"%.*s\") names no tokens of the vocabulary", r->file,
                    out->rank, (int)INL_MIN(m->left.size, 64), m->left.data,
                    (int)INL_MIN(m->right.size, 64), m->right.data);
}

static inlay_result add_merges(reader *r)
{
    inl_bpe *bpe = &r->t->bpe;
    inlay_result result = INLAY_OK;
    char *joined = inl_alloc(r->env, r->t->vocab.longest + 1, 1);
    if (!joined)
        return INLAY_ERROR_OUT_OF_MEMORY;
    int32_t space = inl_vocab_find_text(&r->t->vocab, "\xe2\x96\x81", 3);
    bpe->cuts_at_spaces = space >= 0 && !bpe->ignores_merges && !bpe->by_bytes;
    for (size_t i = 0; i < r->merge_count && result == INLAY_OK; i++) {
        inl_bpe_merge m = {.rank = (uint32_t)i};
        result = make_merge(r, &r->merges[i], joined, &m);
        if (result != INLAY_OK)
            break;
        inl_bpe_add(bpe, &m, true);
        if (bpe->cuts_at_spaces)
            bpe->cuts_at_spaces = !inl_spm_has_inner_space(r->t->vocab.tokens[m.id].text);
    }
    inl_free(r->env, joined);
    return result;
}

static inlay_result make_bpe(reader *r, inl_pretokenizer *pretokenizer)
{
    inl_bpe rules = r->t->bpe;
    INL_TRY(inl_bpe_create(r->env, r->merge_count, pretokenizer, &r->t->bpe));
    r->t->bpe.as_json = true;
    r->t->bpe.fuses_unknown = rules.fuses_unknown;
    r->t->bpe.byte_fallback = rules.byte_fallback;
    r->t->bpe.ignores_merges = rules.ignores_merges;
    inl_vocab_find_bytes(&r->t->vocab, r->t->bpe.by_bytes);
    return add_merges(r);
}

// ---- added tokens

// A token that is found in the normalized text is looked for as it would look there.
static inlay_result normalize_added(reader *r, inl_added_token *added, inl_normal_text *scratch,
                                    uint64_t *used, uint64_t *room)
{
    inl_slice normal;
    INL_TRY(inl_normalizer_run(r->env, r->t->normalizer, added->text, scratch, &normal));
    if (normal.size > *room - *used)
        return inl_fail(r->env, INLAY_ERROR_UNSUPPORTED,
                        "%s: the added tokens are too long once normalized", r->file);
    added->text = (inl_slice){r->t->normalized_texts + *used, normal.size};
    if (normal.size > 0)
        memcpy(r->t->normalized_texts + *used, normal.data, normal.size);
    *used += normal.size;
    return INLAY_OK;
}

static inlay_result add_tokens(reader *r, inl_normal_text *scratch)
{
    inl_tokenizer *t = r->t;
    uint64_t used = 0, room = 4096;
    for (size_t i = 0; i < json_array_size(r->added); i++)
        room += 8 * json_string_length(json_object_get(json_array_get(r->added, i), "content"));
    t->normalized_texts = inl_alloc(r->env, t->normalizer ? room : 1, 1);
    if (!t->normalized_texts)
        return INLAY_ERROR_OUT_OF_MEMORY;
    for (size_t i = 0; i < json_array_size(r->added); i++) {
        const json_t *token = json_array_get(r->added, i);
        int32_t id = (int32_t)json_integer_value(json_object_get(token, "id"));
        bool special = is_set(token, "special", false);
        inl_added_token added = {.text = t->vocab.tokens[id].text,
                                 .id = id,
                                 .control = t->vocab.tokens[id].kind == INL_TOKEN_CONTROL,
                                 .strips_left = is_set(token, "lstrip", false),
                                 .strips_right = is_set(token, "rstrip", false),
                                 .single_word = is_set(token, "single_word", false)};
        bool normalized = is_set(token, "normalized", !special);
        if (normalized && t->normalizer)
            INL_TRY(normalize_added(r, &added, scratch, &used, &room));
        INL_TRY(inl_added_push(r->env, normalized ? &t->normalized : &t->raw, &added));
    }
    t->raw.control_hides = t->normalized.control_hides = true;
    inl_added_index(&t->raw);
    inl_added_index(&t->normalized);
    return INLAY_OK;
}

// ---- all of it

static inlay_result set_ends(const reader *r, const inl_ends *ends)
{
    inl_tokenizer_info *info = &r->t->info;
    if (INL_MAX(ends->before, ends->after) >= info->vocab)
        return inl_fail(r->env, INLAY_ERROR_BAD_FILE,
                        "%s: post_processor names the token %lld, but there are %u", r->file,
                        (long long)INL_MAX(ends->before, ends->after), info->vocab);
    info->bos = (int32_t)ends->before;
    info->eos = (int32_t)ends->after;
    info->add_bos = info->bos >= 0;
    info->add_eos = info->eos >= 0;
    return INLAY_OK;
}

static void swap_text(inl_vocab *vocab, inl_added_token *added)
{
    inl_slice *text = &vocab->tokens[added->id].text;
    inl_slice other = *text;
    *text = added->text;
    added->text = other;
}

// A token that is found in the normalized text is written as it would be found.
static inlay_result decode(reader *r, const inl_decoding *decoding)
{
    inl_tokenizer *t = r->t;
    for (size_t i = 0; i < t->normalized.count; i++)
        swap_text(&t->vocab, &t->normalized.tokens[i]);
    inlay_result result = inl_pipeline_decode(r->env, decoding, &t->vocab);
    for (size_t i = t->normalized.count; i > 0; i--)
        swap_text(&t->vocab, &t->normalized.tokens[i - 1]);
    return result;
}

static inlay_result finish(reader *r, const inl_decoding *decoding)
{
    inl_tokenizer *t = r->t;
    inl_normal_text scratch = {0};
    t->start_spaces = decoding->start_spaces;
    snprintf(t->info.model, sizeof(t->info.model), "%s", decoding->symbols ? "gpt2" : "llama");
    snprintf(t->info.pre, sizeof(t->info.pre), "tokenizer.json");
    inlay_result result = add_tokens(r, &scratch);
    inl_normal_text_free(r->env, &scratch);
    return result == INLAY_OK ? decode(r, decoding) : result;
}

inlay_result inl_source_build(inl_token_source *r)
{
    inl_decoding decoding;
    inl_ends ends;
    inl_pretokenizer *pretokenizer = NULL;
    INL_TRY(inl_pipeline_normalizer(r->env, r->file, r->normalizer, &r->t->normalizer));
    INL_TRY(make_vocab(r, r->unknown));
    INL_TRY(inl_pipeline_pretokenizer(r->env, r->file, r->pretokenizer, &pretokenizer));
    INL_TRY(make_bpe(r, pretokenizer));
    INL_TRY(inl_pipeline_ends(r->env, r->file, r->postprocessor, &ends));
    INL_TRY(set_ends(r, &ends));
    INL_TRY(inl_pipeline_decoder(r->env, r->file, r->decoder, &decoding));
    return finish(r, &decoding);
}

void inl_source_free(inl_token_source *r)
{
    inl_free(r->env, r->vocab);
    inl_free(r->env, r->merges);
    json_decref(r->added);
    json_decref(r->normalizer);
    json_decref(r->pretokenizer);
    json_decref(r->postprocessor);
    json_decref(r->decoder);
}
