// SPDX-License-Identifier: MIT
// tokenizer.json, as the Hugging Face tokenizers library writes it: a BPE model, the tokens added
// to it, and what is done around it (pipeline_json.c). Vocabulary and merges are scanned, the rest
// is small and read by jansson.
#include "io/token_source.h"

#include "base/file.h"

#include <string.h>

typedef struct reader {
    inl_token_source s;
    const inl_env *env;
    const char *file;
    inl_map map;
    char *texts; // strings of the file, decoded: never longer than it
    uint64_t used;
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

// ---- merges

static inlay_result read_merge(reader *r, inl_json_scan *s, inl_source_merge *out)
{
    bool more;
    inl_slice text;
    if (inl_json_peek(s) == '"') {
        INL_TRY(read_string(r, s, &text));
        return inl_source_cut_merge(text, out)
                   ? INLAY_OK
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
    inl_source_merge merge;
    INL_TRY(inl_json_enter(s, '['));
    for (bool first = true;; first = false) {
        INL_TRY(inl_json_next(s, first, '[', &more));
        if (!more)
            return INLAY_OK;
        INL_TRY(read_merge(r, s, &merge));
        INL_TRY(inl_source_push_merge(&r->s, &merge));
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
                : inl_fail(r->env, INLAY_ERROR_BAD_FILE, "%s: model.%s is not true or false",
                           r->file, name);
}

static bool is_nothing(inl_slice value)
{
    return value.size == 0 || (value.size == 4 && memcmp(value.data, "null", 4) == 0) ||
           (value.size == 2 && memcmp(value.data, "\"\"", 2) == 0) ||
           (value.size == 3 && memcmp(value.data, "0.0", 3) == 0) ||
           (value.size == 1 && value.data[0] == '0');
}

enum { TYPE, VOCAB, MERGES, UNKNOWN, DROPOUT, SUBWORD, SUFFIX, FUSES, FALLBACK, IGNORES, MEMBERS };

static inlay_result read_model(reader *r, inl_slice value)
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
    INL_TRY(get_flag(r, m[FUSES].name, m[FUSES].value, &r->s.t->bpe.fuses_unknown));
    INL_TRY(get_flag(r, m[FALLBACK].name, m[FALLBACK].value, &r->s.t->bpe.byte_fallback));
    INL_TRY(get_flag(r, m[IGNORES].name, m[IGNORES].value, &r->s.t->bpe.ignores_merges));
    if (!is_nothing(m[UNKNOWN].value)) {
        s = scan_of(r, m[UNKNOWN].value);
        INL_TRY(read_string(r, &s, &r->s.unknown));
    }
    s = scan_of(r, m[VOCAB].value);
    INL_TRY(inl_source_read_vocab(&r->s, &s, r->texts, &r->used));
    s = scan_of(r, m[MERGES].value);
    return read_merges(r, &s);
}

// ---- the file

static inlay_result read_file(reader *r)
{
    enum { MODEL, ADDED, FIRST_PART };
    member m[] = {{.name = "model"},         {.name = "added_tokens"},   {.name = "normalizer"},
                  {.name = "pre_tokenizer"}, {.name = "post_processor"}, {.name = "decoder"}};
    json_t **parts[] = {&r->s.normalizer, &r->s.pretokenizer, &r->s.postprocessor, &r->s.decoder};
    inl_json_scan s = scan_of(r, (inl_slice){(const char *)r->map.data, r->map.size});
    INL_TRY(collect(r, &s, m, INL_COUNT(m)));
    INL_TRY(inl_json_end(&s));
    if (m[MODEL].value.size == 0)
        return inl_fail(r->env, INLAY_ERROR_BAD_FILE, "%s: \"model\" is missing", r->file);
    INL_TRY(read_model(r, m[MODEL].value));
    if (!is_nothing(m[ADDED].value))
        INL_TRY(read_small(r, m[ADDED].name, m[ADDED].value, &r->s.added));
    if (r->s.added && !json_is_array(r->s.added))
        return inl_fail(r->env, INLAY_ERROR_BAD_FILE, "%s: added_tokens is not a list", r->file);
    for (size_t i = 0; i < INL_COUNT(parts); i++)
        if (m[FIRST_PART + i].value.size > 0)
            INL_TRY(read_small(r, m[FIRST_PART + i].name, m[FIRST_PART + i].value, parts[i]));
    return inl_source_build(&r->s);
}

inlay_result inl_tokenizer_read_json(inl_tokenizer *t, const char *path)
{
    reader r = {.s = {.t = t, .env = &t->env, .file = path}, .env = &t->env, .file = path};
    INL_TRY(inl_map_open(&t->env, path, &r.map));
    r.texts = inl_alloc(&t->env, r.map.size + 8, 1);
    inlay_result result = r.texts ? read_file(&r) : INLAY_ERROR_OUT_OF_MEMORY;
    inl_source_free(&r.s);
    inl_free(r.env, r.texts);
    inl_map_close(&r.map);
    return result;
}
