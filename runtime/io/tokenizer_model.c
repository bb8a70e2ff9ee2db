// SPDX-License-Identifier: MIT
// tokenizer.model, SentencePiece's own file: a protobuf message of pieces with their scores and
// kinds, and how a text is treated before it is cut. Ids are SentencePiece's; tokens that the files
// beside it add are found as transformers finds them.
#include "io/tokenizer_parts.h"

#include "base/file.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#define MAX_GAP 65536 // ids without a token
#define MAX_PIECES (1u << 28)

// ---- protobuf

typedef struct message {
    const uint8_t *data;
    uint64_t size, at;
    bool broken;
} message;

typedef enum wire { WIRE_VARINT = 0, WIRE_64 = 1, WIRE_BYTES = 2, WIRE_32 = 5 } wire;

typedef struct field {
    uint32_t number;
    wire wire;
    uint64_t value;  // VARINT, or the bits of 32 and 64
    inl_slice bytes; // BYTES
} field;

static uint64_t read_varint(message *m)
{
    uint64_t value = 0;
    for (uint32_t shift = 0; shift < 64 && m->at < m->size; shift += 7) {
        uint8_t byte = m->data[m->at++];
        value |= (uint64_t)(byte & 0x7f) << shift;
        if (!(byte & 0x80))
            return value;
    }
    m->broken = true;
    return 0;
}

static uint64_t read_fixed(message *m, uint32_t bytes)
{
    uint64_t value = 0;
    if (m->size - m->at < bytes) {
        m->broken = true;
        return 0;
    }
    for (uint32_t i = 0; i < bytes; i++)
        value |= (uint64_t)m->data[m->at++] << (8 * i);
    return value;
}

// false at the end, or where the message is broken.
static bool next_field(message *m, field *out)
{
    if (m->broken || m->at == m->size)
        return false;
    uint64_t key = read_varint(m);
    *out = (field){.number = (uint32_t)(key >> 3), .wire = (wire)(key & 7)};
    switch (out->wire) {
    case WIRE_VARINT: out->value = read_varint(m); break;
    case WIRE_64: out->value = read_fixed(m, 8); break;
    case WIRE_32: out->value = read_fixed(m, 4); break;
    case WIRE_BYTES: {
        uint64_t size = read_varint(m);
        m->broken = m->broken || size > m->size - m->at;
        if (m->broken)
            return false;
        out->bytes = (inl_slice){(const char *)m->data + m->at, size};
        m->at += size;
        break;
    }
    default: m->broken = true;
    }
    m->broken = m->broken || out->number == 0 || key >> 3 > UINT32_MAX;
    return !m->broken;
}

static message message_of(inl_slice bytes)
{
    return (message){.data = (const uint8_t *)bytes.data, .size = bytes.size};
}

// ---- the model

typedef enum model_type { TYPE_UNIGRAM = 1, TYPE_BPE, TYPE_WORD, TYPE_CHAR } model_type;

typedef struct piece {
    inl_slice text;
    float score;
    uint32_t kind; // an inl_token_kind: they are numbered alike
} piece;

typedef struct reader {
    inl_tokenizer *t;
    const inl_env *env;
    const char *file;
    const inl_tokenizer_beside *beside;
    inl_map map;
    piece *pieces;
    size_t count, cap;
    uint64_t type; // a model_type
    inl_slice bos, eos, rule;
    bool suffix, rules, prefix, strips, escapes;
    json_t *added;
} reader;

static inlay_result fail_broken(const reader *r)
{
    return inl_fail(r->env, INLAY_ERROR_BAD_FILE, "%s: this is no SentencePiece model", r->file);
}

static inlay_result read_piece(reader *r, inl_slice bytes)
{
    message m = message_of(bytes);
    piece p = {.kind = INL_TOKEN_NORMAL};
    for (field f; next_field(&m, &f);) {
        uint32_t bits = (uint32_t)f.value;
        if (f.number == 1 && f.wire == WIRE_BYTES)
            p.text = f.bytes;
        else if (f.number == 2 && f.wire == WIRE_32)
            memcpy(&p.score, &bits, sizeof(bits));
        else if (f.number == 3 && f.wire == WIRE_VARINT)
            p.kind = f.value > UINT32_MAX ? 0 : bits;
    }
    if (m.broken)
        return fail_broken(r);
    if (p.text.size == 0 || p.kind < INL_TOKEN_NORMAL || p.kind > INL_TOKEN_BYTE || isnan(p.score))
        return inl_fail(r->env, INLAY_ERROR_BAD_FILE,
                        "%s: piece %zu has no text, no score or an unknown type", r->file,
                        r->count);
    if (r->count == MAX_PIECES)
        return inl_fail(r->env, INLAY_ERROR_BAD_FILE, "%s: there are too many pieces", r->file);
    INL_TRY(inl_grow(r->env, (void **)&r->pieces, &r->cap, r->count + 1, sizeof(p)));
    r->pieces[r->count++] = p;
    return INLAY_OK;
}

static inlay_result read_trainer(reader *r, inl_slice bytes)
{
    message m = message_of(bytes);
    for (field f; next_field(&m, &f);) {
        if (f.number == 3 && f.wire == WIRE_VARINT)
            r->type = f.value;
        else if (f.number == 24 && f.wire == WIRE_VARINT)
            r->suffix = f.value != 0;
        else if (f.number == 46 && f.wire == WIRE_BYTES)
            r->bos = f.bytes;
        else if (f.number == 47 && f.wire == WIRE_BYTES)
            r->eos = f.bytes;
    }
    return m.broken ? fail_broken(r) : INLAY_OK;
}

static inlay_result read_normalizer(reader *r, inl_slice bytes)
{
    message m = message_of(bytes);
    for (field f; next_field(&m, &f);) {
        if (f.number == 1 && f.wire == WIRE_BYTES)
            r->rule = f.bytes;
        else if (f.number == 2 && f.wire == WIRE_BYTES)
            r->rules = f.bytes.size > 0;
        else if (f.number == 3 && f.wire == WIRE_VARINT)
            r->prefix = f.value != 0;
        else if (f.number == 4 && f.wire == WIRE_VARINT)
            r->strips = f.value != 0;
        else if (f.number == 5 && f.wire == WIRE_VARINT)
            r->escapes = f.value != 0;
    }
    return m.broken ? fail_broken(r) : INLAY_OK;
}

static inlay_result check_supported(const reader *r)
{
    static const char *const names[] = {"unknown", "unigram", "bpe", "word", "char"};
    if (r->type != TYPE_BPE)
        return inl_fail(r->env, INLAY_ERROR_UNSUPPORTED,
                        "%s: a SentencePiece model of the type %s is not supported (bpe is)",
                        r->file, names[r->type < INL_COUNT(names) ? r->type : 0]);
    if (r->rules)
        return inl_fail(r->env, INLAY_ERROR_UNSUPPORTED,
                        "%s: SentencePiece's normalization \"%.*s\" is not supported (identity is)",
                        r->file, (int)INL_MIN(r->rule.size, 64), r->rule.data);
    if (r->suffix || !r->escapes)
        return inl_fail(r->env, INLAY_ERROR_UNSUPPORTED, "%s: %s is not supported", r->file,
                        r->suffix ? "treat_whitespace_as_suffix" : "escape_whitespaces off");
    for (size_t i = 0; i < r->count; i++)
        if (r->pieces[i].kind == INL_TOKEN_UNUSED)
            return inl_fail(r->env, INLAY_ERROR_UNSUPPORTED,
                            "%s: piece %zu is of the type unused, which is not supported", r->file,
                            i);
    return INLAY_OK;
}

static inlay_result read_message(reader *r)
{
    message m = {.data = r->map.data, .size = r->map.size};
    for (field f; next_field(&m, &f);) {
        if (f.wire != WIRE_BYTES)
            continue;
        if (f.number == 1)
            INL_TRY(read_piece(r, f.bytes));
        else if (f.number == 2)
            INL_TRY(read_trainer(r, f.bytes));
        else if (f.number == 3)
            INL_TRY(read_normalizer(r, f.bytes));
    }
    if (m.broken || r->count == 0)
        return fail_broken(r);
    return check_supported(r);
}

// ---- the vocabulary

typedef struct added {
    int64_t id;
    const char *text;
    bool special, strips_left, strips_right, single_word;
} added;

static added get_added(const reader *r, size_t index)
{
    const json_t *token = json_array_get(r->added, index);
    return (added){.id = json_integer_value(json_object_get(token, "id")),
                   .text = json_string_value(json_object_get(token, "content")),
                   .special = json_is_true(json_object_get(token, "special")),
                   .strips_left = json_is_true(json_object_get(token, "lstrip")),
                   .strips_right = json_is_true(json_object_get(token, "rstrip")),
                   .single_word = json_is_true(json_object_get(token, "single_word"))};
}

static inlay_result count_ids(const reader *r, uint32_t *out)
{
    size_t more = json_array_size(r->added);
    int64_t count = (int64_t)r->count;
    if (more > 0) // sorted by id
        count = INL_MAX(count, get_added(r, more - 1).id + 1);
    if (count < 0 || (uint64_t)count > r->count + more + MAX_GAP)
        return inl_fail(r->env, INLAY_ERROR_BAD_FILE,
                        "%s: a token beside it has the id %lld, but there are %zu pieces", r->file,
                        (long long)(count - 1), r->count);
    *out = (uint32_t)count;
    return INLAY_OK;
}

static inlay_result create_vocab(const reader *r, uint32_t count)
{
    inl_vocab *v = &r->t->vocab;
    inl_slice *texts = inl_alloc(r->env, count, sizeof(*texts));
    if (!texts)
        return INLAY_ERROR_OUT_OF_MEMORY;
    for (size_t i = 0; i < r->count; i++)
        texts[i] = r->pieces[i].text;
    for (size_t i = 0; i < json_array_size(r->added); i++) {
        added a = get_added(r, i);
        texts[a.id] = (inl_slice){a.text, strlen(a.text)};
    }
    inlay_result result = inl_vocab_create(r->env, texts, count, v);
    inl_free(r->env, texts);
    return result == INLAY_OK ? inl_vocab_index(r->env, v) : result;
}

static inlay_result check_unique(const reader *r)
{
    const inl_vocab *v = &r->t->vocab;
    for (uint32_t i = 0; i < v->count; i++) {
        inl_slice text = v->tokens[i].text;
        if (text.size > 0 && inl_vocab_find(v, text.data, text.size) != (int32_t)i)
            return inl_fail(r->env, INLAY_ERROR_BAD_FILE, "%s: the token \"%.*s\" has two ids",
                            r->file, (int)INL_MIN(text.size, 64), text.data);
    }
    return INLAY_OK;
}

static inlay_result set_kinds(const reader *r)
{
    inl_vocab *v = &r->t->vocab;
    for (size_t i = 0; i < r->count; i++) {
        inl_vocab_token *token = &v->tokens[i];
        token->score = r->pieces[i].score;
        token->kind = (inl_token_kind)r->pieces[i].kind;
        if (token->kind == INL_TOKEN_UNKNOWN && v->unknown >= 0)
            return inl_fail(r->env, INLAY_ERROR_BAD_FILE, "%s: pieces %d and %zu are both unknown",
                            r->file, v->unknown, i);
        if (token->kind == INL_TOKEN_UNKNOWN)
            v->unknown = (int32_t)i;
        if (token->kind == INL_TOKEN_BYTE && inl_vocab_parse_byte(token->text) < 0)
            return inl_fail(r->env, INLAY_ERROR_BAD_FILE, "%s: piece %zu is no byte", r->file, i);
    }
    for (size_t i = 0; i < json_array_size(r->added); i++) {
        added a = get_added(r, i);
        inl_token_kind *kind = &v->tokens[a.id].kind;
        if (*kind == INL_TOKEN_NORMAL || a.special)
            *kind = a.special ? INL_TOKEN_CONTROL : INL_TOKEN_USER_DEFINED;
    }
    inl_tokenizer_mark_control(v);
    return INLAY_OK;
}

// A piece of the user is found in the text as SentencePiece finds it, and has spaces.
static inlay_result decode(const reader *r)
{
    inl_vocab *v = &r->t->vocab;
    for (size_t i = 0; i < r->count; i++)
        if (v->tokens[i].kind == INL_TOKEN_USER_DEFINED)
            v->tokens[i].kind = INL_TOKEN_NORMAL;
    INL_TRY(inl_vocab_decode(r->env, v, false));
    for (size_t i = 0; i < r->count; i++)
        if (r->pieces[i].kind == INL_TOKEN_USER_DEFINED && v->tokens[i].kind == INL_TOKEN_NORMAL)
            v->tokens[i].kind = INL_TOKEN_USER_DEFINED;
    return INLAY_OK;
}

// ---- tokens found in the text

static inlay_result list_added(const reader *r, bool *listed)
{
    for (size_t i = 0; i < json_array_size(r->added); i++) {
        added a = get_added(r, i);
        const inl_vocab_token *token = &r->t->vocab.tokens[a.id];
        inl_added_token found = {.text = token->text,
                                 .id = (int32_t)a.id,
                                 .control = token->kind != INL_TOKEN_USER_DEFINED,
                                 .strips_left = a.strips_left,
                                 .strips_right = a.strips_right,
                                 .single_word = a.single_word};
        if (listed[a.id])
            continue;
        listed[a.id] = true;
        INL_TRY(inl_added_push(r->env, &r->t->raw, &found));
    }
    return INLAY_OK;
}

static inlay_result list_pieces(const reader *r, const bool *listed)
{
    inl_tokenizer *t = r->t;
    for (size_t i = 0; i < r->count; i++) {
        const inl_vocab_token *token = &t->vocab.tokens[i];
        bool whole = token->kind == INL_TOKEN_USER_DEFINED;
        inl_added_token found = {.text = token->text, .id = (int32_t)i, .control = !whole};
        if (listed[i] || token->kind == INL_TOKEN_NORMAL || token->kind == INL_TOKEN_BYTE)
            continue;
        INL_TRY(inl_added_push(r->env, whole ? &t->spm.whole : &t->raw, &found));
    }
    return INLAY_OK;
}

static inlay_result list_tokens(const reader *r)
{
    bool *listed = inl_alloc(r->env, r->t->vocab.count, sizeof(*listed));
    if (!listed)
        return INLAY_ERROR_OUT_OF_MEMORY;
    inlay_result result = list_added(r, listed);
    if (result == INLAY_OK)
        result = list_pieces(r, listed);
    inl_free(r->env, listed);
    inl_added_index(&r->t->raw);
    inl_added_index(&r->t->spm.whole);
    return result;
}

// ---- what is done to the text

static inlay_result make_normalizer(const reader *r)
{
    inl_tokenizer *t = r->t;
    if (!r->strips)
        return INLAY_OK;
    INL_TRY(inl_normalizer_create(r->env, r->file, &t->normalizer));
    // U+2581 goes at the end as a space does, for there it is one already.
    static const char ends[] = "\\A +|[ \xe2\x96\x81]+\\z";
    INL_TRY(inl_normalizer_add_replace_regex(
        t->normalizer, "spaces", (inl_slice){ends, sizeof(ends) - 1}, (inl_slice){"", 0}));
    return inl_normalizer_add_replace_regex(t->normalizer, "spaces", (inl_slice){" {2,}", 5},
                                            (inl_slice){" ", 1});
}

// transformers' LlamaTokenizer takes the pieces from the file, but has its own way with spaces.
static void set_llama_rules(reader *r)
{
    const json_t *legacy = json_object_get(r->beside->config, "legacy");
    const char *name = json_string_value(json_object_get(r->beside->config, "tokenizer_class"));
    if (!name || (strcmp(name, "LlamaTokenizer") != 0 && strcmp(name, "LlamaTokenizerFast") != 0))
        return;
    r->prefix = true;
    r->strips = false;
    r->t->prefix_at_start = !json_is_true(legacy);
    r->t->prefix_unless_space = true;
}

static void set_rules(const reader *r)
{
    inl_tokenizer *t = r->t;
    const json_t *space = json_object_get(r->beside->config, "add_prefix_space");
    t->by_score = true;
    t->space_prefix = json_is_boolean(space) ? json_is_true(space) : r->prefix;
    t->start_spaces = t->space_prefix;
    t->info.vocab = t->vocab.count;
    t->info.bos = inl_vocab_find(&t->vocab, r->bos.data, r->bos.size);
    t->info.eos = inl_vocab_find(&t->vocab, r->eos.data, r->eos.size);
    t->info.add_bos = t->info.bos >= 0;
    snprintf(t->info.model, sizeof(t->info.model), "llama");
    snprintf(t->info.pre, sizeof(t->info.pre), "tokenizer.model");
}

static inlay_result read_all(reader *r)
{
    uint32_t count = 0;
    INL_TRY(inl_map_open(r->env, r->file, &r->map));
    INL_TRY(read_message(r));
    INL_TRY(inl_tokenizer_list_added(r->env, r->beside, &r->added));
    INL_TRY(count_ids(r, &count));
    INL_TRY(create_vocab(r, count));
    INL_TRY(check_unique(r));
    INL_TRY(set_kinds(r));
    INL_TRY(decode(r));
    INL_TRY(inl_spm_load(r->env, r->file, &r->t->vocab, &r->t->spm));
    INL_TRY(list_tokens(r));
    set_llama_rules(r);
    INL_TRY(make_normalizer(r));
    set_rules(r);
    return INLAY_OK;
}

inlay_result inl_tokenizer_read_model(inl_tokenizer *t, const char *path,
                                      const inl_tokenizer_beside *beside)
{
    reader r = {.t = t,
                .env = &t->env,
                .file = path,
                .beside = beside,
                .type = TYPE_UNIGRAM,
                .bos = {"<s>", 3},
                .eos = {"</s>", 4},
                .prefix = true,
                .strips = true,
                .escapes = true};
    inlay_result result = read_all(&r);
    inl_free(r.env, r.pieces);
    json_decref(r.added);
    inl_map_close(&r.map);
    return result;
}
