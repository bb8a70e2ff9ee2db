// SPDX-License-Identifier: MIT
// tokenizer.json, as the Hugging Face tokenizers library writes it: a BPE model, the tokens added
// to it, and what is done around it (pipeline_json.c). Vocabulary and merges are scanned, the rest
// is small and read by jansson.
#include "io/json_scan.h"
#include "io/pipeline_json.h"
#include "io/tokenizer_parts.h"

#include "base/file.h"

#include <stdio.h>
#include <string.h>

// Ids may leave gaps, but no more than this beside one for each token.
#define MAX_GAP 65536

typedef struct entry {
    inl_slice text;
    int64_t id;
} entry;

typedef struct merge {
    inl_slice left, right;
} merge;

typedef struct reader {
    inl_tokenizer *t;
    const inl_env *env;
    const char *file;
    inl_map map;
    char *texts; // strings of the file, decoded: never longer than it
    uint64_t used;
    entry *vocab;
    size_t vocab_count, vocab_cap;
    merge *merges;
    size_t merge_count, merge_cap;
    json_t *added; // the array, or NULL
    json_t *model; // the model's small members
} reader;

static inl_json_scan scan_of(const reader *r, inl_slice value)
{
    uint64_t start = (uint64_t)(value.data - (const char *)r->map.data);
    return (inl_json_scan){.env = r->env,
                           .file = r->file,
                           .data = (const char *)r->map.data,
                           .size = start + value.size,
                           .at = start};
}

static inlay_result read_string(reader *r, inl_json_scan *s, inl_slice *out)
{
    out->data = r->texts + r->used;
    INL_TRY(inl_json_string(s, r->texts + r->used, &out->size));
    r->used += out->size;
    return INLAY_OK;
}

typedef struct member {
    const char *name;
    inl_slice value; // its text, size 0: not there
} member;

// Finds members of an object by name, without looking into them.
static inlay_result collect(reader *r, inl_json_scan *s, member *members, size_t count)
{
    bool more;
    INL_TRY(inl_json_enter(s, '{'));
    for (bool first = true;; first = false) {
        inl_slice value;
        uint64_t size;
        char *key = r->texts + r->used;
        INL_TRY(inl_json_next(s, first, '{', &more));
        if (!more)
            return INLAY_OK;
        INL_TRY(inl_json_key(s, key, &size));
        INL_TRY(inl_json_skip(s, &value));
        for (size_t i = 0; i < count; i++) {
            if (strlen(members[i].name) != size || memcmp(members[i].name, key, size) != 0)
                continue;
            if (members[i].value.size > 0)
                return inl_fail(r->env, INLAY_ERROR_BAD_FILE, "%s: \"%s\" is there twice", r->file,
                                members[i].name);
            members[i].value = value;
        }
    }
}

static inlay_result read_small(const reader *r, const char *name, inl_slice value, json_t **out)
{
    json_error_t error;
    *out = json_loadb(value.data, value.size,
                      JSON_DECODE_ANY | JSON_ALLOW_NUL | JSON_REJECT_DUPLICATES, &error);
    if (!*out)
        return inl_fail(r->env, INLAY_ERROR_BAD_FILE, "%s: %s: %s", r->file, name, error.text);
    return INLAY_OK;
}

// ---- vocabulary and merges

static inlay_result read_vocab(reader *r, inl_json_scan *s)
{
    bool more;
    INL_TRY(inl_json_enter(s, '{'));
    for (bool first = true;; first = false) {
        entry e;
        INL_TRY(inl_json_next(s, first, '{', &more));
        if (!more)
            return INLAY_OK;
        e.text.data = r->texts + r->used;
        INL_TRY(inl_json_key(s, r->texts + r->used, &e.text.size));
        r->used += e.text.size;
        INL_TRY(inl_json_integer(s, &e.id));
        if (e.id < 0)
            return inl_json_fail(s, "model.vocab has a negative id");
        INL_TRY(inl_grow(r->env, (void **)&r->vocab, &r->vocab_cap, r->vocab_count + 1,
                         sizeof(*r->vocab)));
        r->vocab[r->vocab_count++] = e;
    }
}

// "left right", with one space.
static bool cut_merge(inl_slice text, merge *out)
{
    const char *gap = memchr(text.data, ' ', text.size);
    if (!gap)
        return false;
    out->left = (inl_slice){text.data, (uint64_t)(gap - text.data)};
    out->right = (inl_slice){gap + 1, text.size - out->left.size - 1};
    return out->left.size > 0 && out->right.size > 0 &&
           !memchr(out->right.data, ' ', out->right.size);
}

static inlay_result read_merge(reader *r, inl_json_scan *s, merge *out)
{
    bool more;
    inl_slice text;
    if (inl_json_peek(s) == '"') {
        INL_TRY(read_string(r, s, &text));
        return cut_merge(text, out) ? INLAY_OK
                                    : inl_json_fail(s, "a merge of model.merges is no pair");
    }
    INL_TRY(inl_json_enter(s, '['));
    INL_TRY(inl_json_next(s, true, '[', &more));
    if (more)
        INL_TRY(read_string(r, s, &out->left));
    if (more)
        INL_TRY(inl_json_next(s, false, '[', &more));
    if (!more)
        return inl_json_fail(s, "a merge of model.merges is no pair");
    INL_TRY(read_string(r, s, &out->right));
    INL_TRY(inl_json_next(s, false, '[', &more));
    return more ? inl_json_fail(s, "a merge of model.merges is no pair") : INLAY_OK;
}

static inlay_result read_merges(reader *r, inl_json_scan *s)
{
    bool more;
    INL_TRY(inl_json_enter(s, '['));
    for (bool first = true;; first = false) {
        INL_TRY(inl_json_next(s, first, '[', &more));
        if (!more)
            return INLAY_OK;
        INL_TRY(inl_grow(r->env, (void **)&r->merges, &r->merge_cap, r->merge_count + 1,
                         sizeof(*r->merges)));
        INL_TRY(read_merge(r, s, &r->merges[r->merge_count]));
        r->merge_count++;
    }
}

// ---- the model

// The model's type, where the file says it or has what shows it.
static inlay_result check_type(const reader *r, inl_slice type, bool has_merges)
{
    if (type.size == 0 && has_merges)
        return INLAY_OK;
    if (type.size == 0)
        return inl_fail(r->env, INLAY_ERROR_BAD_FILE, "%s: model.merges is missing", r->file);
    if (type.size != 5 || memcmp(type.data, "\"BPE\"", 5) != 0)
        return inl_fail(r->env, INLAY_ERROR_UNSUPPORTED,
                        "%s: model.type %.*s is not supported (\"BPE\" is)", r->file,
                        (int)INL_MIN(type.size, 40), type.data);
    return has_merges
               ? INLAY_OK
               : inl_fail(r->env, INLAY_ERROR_BAD_FILE, "%s: model.merges is missing", r->file);
}

static inlay_result get_flag(const reader *r, const char *name, inl_slice value, bool *out)
{
    *out = value.size == 4 && memcmp(value.data, "true", 4) == 0;
    bool said = *out || value.size == 0 ||
                memcmp(value.data, "null", INL_MIN(value.size, 4)) == 0 ||
                (value.size == 5 && memcmp(value.data, "false", 5) == 0);
    return said ? INLAY_OK
                : inl_fail(r->env, INLAY_ERROR_BAD_FILE, "%s: model.%s is no boolean", r->file,
                           name);
}

static bool is_nothing(inl_slice value)
{
    return value.size == 0 || (value.size == 4 && memcmp(value.data, "null", 4) == 0) ||
           (value.size == 2 && memcmp(value.data, "\"\"", 2) == 0) ||
           (value.size == 3 && memcmp(value.data, "0.0", 3) == 0) ||
           (value.size == 1 && value.data[0] == '0');
}

enum { TYPE, VOCAB, MERGES, UNKNOWN, DROPOUT, SUBWORD, SUFFIX, FUSES, FALLBACK, IGNORES, MEMBERS };

static inlay_result read_model(reader *r, inl_slice value, inl_slice *unknown)
{
    member m[MEMBERS] = {
        [TYPE] = {.name = "type"},
        [VOCAB] = {.name = "vocab"},
        [MERGES] = {.name = "merges"},
        [UNKNOWN] = {.name = "unk_token"},
        [DROPOUT] = {.name = "dropout"},
        [SUBWORD] = {.name = "continuing_subword_prefix"},
        [SUFFIX] = {.name = "end_of_word_suffix"},
        [FUSES] = {.name = "fuse_unk"},
        [FALLBACK] = {.name = "byte_fallback"},
        [IGNORES] = {.name = "ignore_merges"},
    };
    inl_json_scan s = scan_of(r, value);
    INL_TRY(collect(r, &s, m, MEMBERS));
    INL_TRY(check_type(r, m[TYPE].value, m[MERGES].value.size > 0));
    if (m[VOCAB].value.size == 0)
        return inl_fail(r->env, INLAY_ERROR_BAD_FILE, "%s: model.vocab is missing", r->file);
    for (size_t i = DROPOUT; i <= SUFFIX; i++)
        if (!is_nothing(m[i].value))
            return inl_fail(r->env, INLAY_ERROR_UNSUPPORTED, "%s: model.%s is not supported",
                            r->file, m[i].name);
    INL_TRY(get_flag(r, m[FUSES].name, m[FUSES].value, &r->t->bpe.fuses_unknown));
    INL_TRY(get_flag(r, m[FALLBACK].name, m[FALLBACK].value, &r->t->bpe.byte_fallback));
    INL_TRY(get_flag(r, m[IGNORES].name, m[IGNORES].value, &r->t->bpe.ignores_merges));
    if (!is_nothing(m[UNKNOWN].value)) {
        s = scan_of(r, m[UNKNOWN].value);
        INL_TRY(read_string(r, &s, unknown));
    }
    s = scan_of(r, m[VOCAB].value);
    INL_TRY(read_vocab(r, &s));
    s = scan_of(r, m[MERGES].value);
    return read_merges(r, &s);
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

static inlay_result make_merge(const reader *r, const merge *m, char *joined, inl_bpe_merge *out)
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
                    "%s: model.merges[%u] (\"%.*s\", \"%.*s\") names no tokens of model.vocab",
                    r->file, out->rank, (int)INL_MIN(m->left.size, 64), m->left.data,
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

// ---- the file

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

static inlay_result build(reader *r, inl_slice unknown, const json_t *const *parts)
{
    inl_decoding decoding;
    inl_ends ends;
    inl_pretokenizer *pretokenizer = NULL;
    INL_TRY(inl_pipeline_normalizer(r->env, r->file, parts[0], &r->t->normalizer));
    INL_TRY(make_vocab(r, unknown));
    INL_TRY(inl_pipeline_pretokenizer(r->env, r->file, parts[1], &pretokenizer));
    INL_TRY(make_bpe(r, pretokenizer));
    INL_TRY(inl_pipeline_ends(r->env, r->file, parts[2], &ends));
    INL_TRY(set_ends(r, &ends));
    INL_TRY(inl_pipeline_decoder(r->env, r->file, parts[3], &decoding));
    return finish(r, &decoding);
}

static inlay_result read_file(reader *r)
{
    enum { MODEL, ADDED, FIRST_PART };
    member m[] = {{.name = "model"},         {.name = "added_tokens"},   {.name = "normalizer"},
                  {.name = "pre_tokenizer"}, {.name = "post_processor"}, {.name = "decoder"}};
    json_t *parts[INL_COUNT(m) - FIRST_PART] = {0};
    inl_slice unknown = {0};
    inl_json_scan s = scan_of(r, (inl_slice){(const char *)r->map.data, r->map.size});
    INL_TRY(collect(r, &s, m, INL_COUNT(m)));
    INL_TRY(inl_json_end(&s));
    if (m[MODEL].value.size == 0)
        return inl_fail(r->env, INLAY_ERROR_BAD_FILE, "%s: \"model\" is missing", r->file);
    INL_TRY(read_model(r, m[MODEL].value, &unknown));
    if (!is_nothing(m[ADDED].value))
        INL_TRY(read_small(r, m[ADDED].name, m[ADDED].value, &r->added));
    if (r->added && !json_is_array(r->added))
        return inl_fail(r->env, INLAY_ERROR_BAD_FILE, "%s: added_tokens is no list", r->file);
    inlay_result result = INLAY_OK;
    for (size_t i = 0; i < INL_COUNT(parts) && result == INLAY_OK; i++)
        if (m[FIRST_PART + i].value.size > 0)
            result = read_small(r, m[FIRST_PART + i].name, m[FIRST_PART + i].value, &parts[i]);
    if (result == INLAY_OK)
        result = build(r, unknown, (const json_t *const *)parts);
    for (size_t i = 0; i < INL_COUNT(parts); i++)
        json_decref(parts[i]);
    return result;
}

static void free_reader(reader *r)
{
    inl_free(r->env, r->texts);
    inl_free(r->env, r->vocab);
    inl_free(r->env, r->merges);
    json_decref(r->added);
    inl_map_close(&r->map);
}

inlay_result inl_tokenizer_read_json(inl_tokenizer *t, const char *path)
{
    reader r = {.t = t, .env = &t->env, .file = path};
    INL_TRY(inl_map_open(&t->env, path, &r.map));
    r.texts = inl_alloc(&t->env, r.map.size + 8, 1);
    inlay_result result = r.texts ? read_file(&r) : INLAY_ERROR_OUT_OF_MEMORY;
    free_reader(&r);
    return result;
}
