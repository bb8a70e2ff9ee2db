// SPDX-License-Identifier: MIT
#include "io/pipeline_json.h"

#include "io/regex.h"

#include <stdio.h>
#include <string.h>

#define MAX_NESTING 8 // sequences in sequences

// ---- reading a part's members

inl_json_place inl_json_member(const inl_json_place *place, const char *key)
{
    inl_json_place inner = *place;
    size_t used = strlen(inner.path);
    snprintf(inner.path + used, sizeof(inner.path) - used, ".%s", key);
    return inner;
}

inl_json_place inl_json_element(const inl_json_place *place, const char *key, size_t index)
{
    inl_json_place inner = inl_json_member(place, key);
    size_t used = strlen(inner.path);
    snprintf(inner.path + used, sizeof(inner.path) - used, "[%zu]", index);
    return inner;
}

inlay_result inl_json_refuse_type(const inl_json_place *place, const json_t *spec)
{
    const char *type = json_string_value(json_object_get(spec, "type"));
    if (!type)
        return inl_fail(place->env, INLAY_ERROR_BAD_FILE, "%s: %s has no \"type\"", place->file,
                        place->path);
    return inl_fail(place->env, INLAY_ERROR_UNSUPPORTED,
                    "%s: %s is of the type \"%.64s\", which is not supported", place->file,
                    place->path, type);
}

inlay_result inl_json_refuse(const inl_json_place *place, const char *key, const char *what)
{
    return inl_fail(place->env, INLAY_ERROR_BAD_FILE, "%s: %s.%s %s", place->file, place->path, key,
                    what);
}

bool inl_json_has_type(const json_t *spec, const char *type)
{
    const char *found = json_string_value(json_object_get(spec, "type"));
    return found && strcmp(found, type) == 0;
}

inlay_result inl_json_get_text(const inl_json_place *place, const json_t *spec, const char *key,
                               inl_slice *out)
{
    const json_t *value = json_object_get(spec, key);
    if (!json_is_string(value))
        return inl_json_refuse(place, key, value ? "is not a string" : "is missing");
    *out = (inl_slice){json_string_value(value), json_string_length(value)};
    return INLAY_OK;
}

inlay_result inl_json_get_flag(const inl_json_place *place, const json_t *spec, const char *key,
                               bool otherwise, bool *out)
{
    const json_t *value = json_object_get(spec, key);
    *out = value ? json_is_true(value) : otherwise;
    return value && !json_is_boolean(value) ? inl_json_refuse(place, key, "is not true or false")
                                            : INLAY_OK;
}

inlay_result inl_json_get_pattern(const inl_json_place *place, const json_t *spec, bool *is_regex,
                                  inl_slice *out)
{
    inl_json_place inner = inl_json_member(place, "pattern");
    const json_t *pattern = json_object_get(spec, "pattern");
    if (!json_is_object(pattern))
        return inl_json_refuse(place, "pattern", pattern ? "is not an object" : "is missing");
    *is_regex = json_object_get(pattern, "Regex") != NULL;
    return inl_json_get_text(&inner, pattern, *is_regex ? "Regex" : "String", out);
}

// The parts of a Sequence, NULL after complaining.
static const json_t *get_sequence(const inl_json_place *place, const json_t *spec, const char *key,
                                  int depth)
{
    const json_t *list = json_object_get(spec, key);
    if (json_is_array(list) && depth < MAX_NESTING)
        return list;
    inl_json_refuse(place, key, json_is_array(list) ? "is nested too deeply" : "is not a list");
    return NULL;
}

// ---- normalizer

static bool find_form(const json_t *spec, inl_normal_form *out)
{
    static const char *const names[] = {"NFC", "NFD", "NFKC", "NFKD"};
    static const inl_normal_form forms[] = {INL_NFC, INL_NFD, INL_NFKC, INL_NFKD};
    for (size_t i = 0; i < INL_COUNT(names); i++)
        if (inl_json_has_type(spec, names[i])) {
            *out = forms[i];
            return true;
        }
    return false;
}

static inlay_result add_strip(inl_normalizer *n, const inl_json_place *place, const json_t *spec)
{
    bool left, right;
    INL_TRY(inl_json_get_flag(place, spec, "strip_left", true, &left));
    INL_TRY(inl_json_get_flag(place, spec, "strip_right", true, &right));
    return inl_normalizer_add_strip(n, left, right);
}

static inlay_result add_replace(inl_normalizer *n, const inl_json_place *place, const json_t *spec)
{
    bool is_regex;
    inl_slice from, to;
    INL_TRY(inl_json_get_pattern(place, spec, &is_regex, &from));
    INL_TRY(inl_json_get_text(place, spec, "content", &to));
    inl_json_place inner = inl_json_member(place, "pattern.Regex");
    return is_regex ? inl_normalizer_add_replace_regex(n, inner.path, from, to)
                    : inl_normalizer_add_replace(n, from, to);
}

static inlay_result add_normalizer(inl_normalizer *n, const inl_json_place *place,
                                   const json_t *spec, int depth);

static inlay_result add_normalizers(inl_normalizer *n, const inl_json_place *place,
                                    const json_t *spec, int depth)
{
    const json_t *list = get_sequence(place, spec, "normalizers", depth);
    if (!list)
        return INLAY_ERROR_BAD_FILE;
    for (size_t i = 0; i < json_array_size(list); i++) {
        inl_json_place inner = inl_json_element(place, "normalizers", i);
        INL_TRY(add_normalizer(n, &inner, json_array_get(list, i), depth + 1));
    }
    return INLAY_OK;
}

static inlay_result add_normalizer(inl_normalizer *n, const inl_json_place *place,
                                   const json_t *spec, int depth)
{
    inl_normal_form form;
    inl_slice text;
    if (inl_json_has_type(spec, "Sequence"))
        return add_normalizers(n, place, spec, depth);
    if (find_form(spec, &form))
        return inl_normalizer_add_form(n, form);
    if (inl_json_has_type(spec, "Lowercase"))
        return inl_normalizer_add_lowercase(n);
    if (inl_json_has_type(spec, "StripAccents"))
        return inl_normalizer_add_strip_accents(n);
    if (inl_json_has_type(spec, "Strip"))
        return add_strip(n, place, spec);
    if (inl_json_has_type(spec, "Replace"))
        return add_replace(n, place, spec);
    if (inl_json_has_type(spec, "Prepend")) {
        INL_TRY(inl_json_get_text(place, spec, "prepend", &text));
        return inl_normalizer_add_prepend(n, text);
    }
    return inl_json_refuse_type(place, spec);
}

inlay_result inl_pipeline_normalizer(const inl_env *env, const char *file, const json_t *spec,
                                     inl_normalizer **out)
{
    inl_json_place place = {.env = env, .file = file, .path = "normalizer"};
    *out = NULL;
    if (!spec || json_is_null(spec))
        return INLAY_OK;
    INL_TRY(inl_normalizer_create(env, file, out));
    inlay_result result = add_normalizer(*out, &place, spec, 0);
    if (result != INLAY_OK || inl_normalizer_is_empty(*out))
        inl_normalizer_destroy(out);
    return result;
}

// ---- pre-tokenizer

// ASCII's and Unicode's P*, with one that has become a symbol since.
#define PUNCTUATION "[!-/:-@\\[-`{-~\\p{P}\\x{166d}]"
#define SPACE "[" INL_REGEX_SPACES "]"
#define WORDS                                                                                      \
    "[\\p{Alphabetic}\\p{M}\\p{Nd}\\p{Pc}\\x{200c}\\x{200d}]+|"                                    \
    "[^\\p{Alphabetic}\\p{M}\\p{Nd}\\p{Pc}\\x{200c}\\x{200d}" INL_REGEX_SPACES "]+"

static inlay_result get_behavior(const inl_json_place *place, const json_t *spec,
                                 const char *otherwise, inl_split *out)
{
    static const char *const names[] = {"Isolated", "Removed", "MergedWithPrevious",
                                        "MergedWithNext", "Contiguous"};
    static const inl_split splits[] = {INL_SPLIT_ISOLATED, INL_SPLIT_REMOVED,
                                       INL_SPLIT_WITH_PREVIOUS, INL_SPLIT_WITH_NEXT,
                                       INL_SPLIT_CONTIGUOUS};
    inl_slice name = {otherwise, otherwise ? strlen(otherwise) : 0};
    if (!otherwise || json_object_get(spec, "behavior"))
        INL_TRY(inl_json_get_text(place, spec, "behavior", &name));
    for (size_t i = 0; i < INL_COUNT(names); i++)
        if (strcmp(name.data, names[i]) == 0) {
            *out = splits[i];
            return INLAY_OK;
        }
    return inl_json_refuse(place, "behavior", "is none that is known");
}

// A text becomes an expression that matches it alone.
static inlay_result add_text_split(inl_pretokenizer *p, const inl_json_place *place, inl_slice text,
                                   inl_split split, bool inverted)
{
    char pattern[256];
    size_t used = 0;
    if (text.size == 0)
        return INLAY_OK;
    if (text.size > sizeof(pattern) / 2 - 1 || memchr(text.data, '\0', text.size))
        return inl_json_refuse(place, "pattern", "is longer than 127 bytes or has a NUL");
    for (size_t i = 0; i < text.size; i++) {
        if ((uint8_t)text.data[i] < 0x80 && strchr("\\^$.[]|()?*+{}-#&~", text.data[i]))
            pattern[used++] = '\\';
        pattern[used++] = text.data[i];
    }
    pattern[used] = '\0';
    return inl_pretokenizer_add_known(p, pattern, split, inverted);
}

static inlay_result add_split(inl_pretokenizer *p, const inl_json_place *place, const json_t *spec)
{
    bool is_regex, inverted;
    inl_split split = INL_SPLIT_ISOLATED;
    inl_slice pattern;
    INL_TRY(inl_json_get_pattern(place, spec, &is_regex, &pattern));
    INL_TRY(get_behavior(place, spec, NULL, &split));
    INL_TRY(inl_json_get_flag(place, spec, "invert", false, &inverted));
    inl_json_place inner = inl_json_member(place, "pattern.Regex");
    return is_regex ? inl_pretokenizer_add_split(p, inner.path, pattern, split, inverted)
                    : add_text_split(p, place, pattern, split, inverted);
}

static inlay_result add_bytes(inl_pretokenizer *p, const inl_json_place *place, const json_t *spec)
{
    bool prefix, cuts;
    INL_TRY(inl_json_get_flag(place, spec, "add_prefix_space", true, &prefix));
    INL_TRY(inl_json_get_flag(place, spec, "use_regex", true, &cuts));
    return inl_pretokenizer_add_bytes(p, place->path, prefix, cuts);
}

// "prepend_scheme", or as files before it say it.
static inlay_result get_prefix(const inl_json_place *place, const json_t *spec, inl_prefix *out)
{
    bool prefix;
    const json_t *scheme = json_object_get(spec, "prepend_scheme");
    const char *name = json_string_value(scheme);
    INL_TRY(inl_json_get_flag(place, spec, "add_prefix_space", true, &prefix));
    *out = prefix ? INL_PREFIX_ALWAYS : INL_PREFIX_NEVER;
    if (!scheme)
        return INLAY_OK;
    if (name && strcmp(name, "first") == 0)
        *out = INL_PREFIX_FIRST;
    else if (name && strcmp(name, "never") == 0)
        *out = INL_PREFIX_NEVER;
    else if (name && strcmp(name, "always") == 0)
        *out = INL_PREFIX_ALWAYS;
    else
        return inl_json_refuse(place, "prepend_scheme", "is none that is known");
    return INLAY_OK;
}

static inlay_result add_metaspace(inl_pretokenizer *p, const inl_json_place *place,
                                  const json_t *spec)
{
    bool cuts;
    inl_prefix prefix;
    inl_slice replacement;
    INL_TRY(inl_json_get_text(place, spec, "replacement", &replacement));
    INL_TRY(inl_json_get_flag(place, spec, "split", true, &cuts));
    INL_TRY(get_prefix(place, spec, &prefix));
    return inl_pretokenizer_add_metaspace(p, place->path, replacement, prefix, cuts);
}

static inlay_result add_digits(inl_pretokenizer *p, const inl_json_place *place, const json_t *spec)
{
    bool each;
    INL_TRY(inl_json_get_flag(place, spec, "individual_digits", false, &each));
    return inl_pretokenizer_add_known(p, each ? "\\p{N}" : "\\p{N}+", INL_SPLIT_ISOLATED, false);
}

static inlay_result add_punctuation(inl_pretokenizer *p, const inl_json_place *place,
                                    const json_t *spec)
{
    inl_split split = INL_SPLIT_ISOLATED;
    INL_TRY(get_behavior(place, spec, "Isolated", &split));
    return inl_pretokenizer_add_known(p, PUNCTUATION, split, false);
}

static inlay_result add_delimiter(inl_pretokenizer *p, const inl_json_place *place,
                                  const json_t *spec)
{
    inl_slice delimiter;
    INL_TRY(inl_json_get_text(place, spec, "delimiter", &delimiter));
    return add_text_split(p, place, delimiter, INL_SPLIT_REMOVED, false);
}

static inlay_result add_bert(inl_pretokenizer *p)
{
    INL_TRY(inl_pretokenizer_add_known(p, SPACE, INL_SPLIT_REMOVED, false));
    return inl_pretokenizer_add_known(p, PUNCTUATION, INL_SPLIT_ISOLATED, false);
}

static inlay_result add_pretokenizer(inl_pretokenizer *p, const inl_json_place *place,
                                     const json_t *spec, int depth);

static inlay_result add_pretokenizers(inl_pretokenizer *p, const inl_json_place *place,
                                      const json_t *spec, int depth)
{
    const json_t *list = get_sequence(place, spec, "pretokenizers", depth);
    if (!list)
        return INLAY_ERROR_BAD_FILE;
    for (size_t i = 0; i < json_array_size(list); i++) {
        inl_json_place inner = inl_json_element(place, "pretokenizers", i);
        INL_TRY(add_pretokenizer(p, &inner, json_array_get(list, i), depth + 1));
    }
    return INLAY_OK;
}

static inlay_result add_pretokenizer(inl_pretokenizer *p, const inl_json_place *place,
                                     const json_t *spec, int depth)
{
    if (inl_json_has_type(spec, "Sequence"))
        return add_pretokenizers(p, place, spec, depth);
    if (inl_json_has_type(spec, "Split"))
        return add_split(p, place, spec);
    if (inl_json_has_type(spec, "ByteLevel"))
        return add_bytes(p, place, spec);
    if (inl_json_has_type(spec, "Metaspace"))
        return add_metaspace(p, place, spec);
    if (inl_json_has_type(spec, "Digits"))
        return add_digits(p, place, spec);
    if (inl_json_has_type(spec, "Punctuation"))
        return add_punctuation(p, place, spec);
    if (inl_json_has_type(spec, "CharDelimiterSplit"))
        return add_delimiter(p, place, spec);
    if (inl_json_has_type(spec, "BertPreTokenizer"))
        return add_bert(p);
    if (inl_json_has_type(spec, "WhitespaceSplit"))
        return inl_pretokenizer_add_known(p, SPACE, INL_SPLIT_REMOVED, false);
    if (inl_json_has_type(spec, "Whitespace"))
        return inl_pretokenizer_add_known(p, WORDS, INL_SPLIT_REMOVED, true);
    return inl_json_refuse_type(place, spec);
}

inlay_result inl_pipeline_pretokenizer(const inl_env *env, const char *file, const json_t *spec,
                                       inl_pretokenizer **out)
{
    inl_json_place place = {.env = env, .file = file, .path = "pre_tokenizer"};
    INL_TRY(inl_pretokenizer_create_empty(env, file, out));
    if (!spec || json_is_null(spec))
        return INLAY_OK;
    inlay_result result = add_pretokenizer(*out, &place, spec, 0);
    if (result != INLAY_OK)
        inl_pretokenizer_destroy(out);
    return result;
}

// ---- post-processor

static inlay_result set_end(const inl_json_place *place, int64_t *end, const json_t *id)
{
    if (!json_is_integer(id) || json_integer_value(id) < 0)
        return inl_fail(place->env, INLAY_ERROR_BAD_FILE, "%s: %s names a token without an id",
                        place->file, place->path);
    if (*end >= 0)
        return inl_fail(place->env, INLAY_ERROR_UNSUPPORTED,
                        "%s: %s puts more than one token on a side of the text, which is not "
                        "supported",
                        place->file, place->path);
    *end = json_integer_value(id);
    return INLAY_OK;
}

// The ids of a special token of a template, by its name in it.
static inlay_result add_special(const inl_json_place *place, const json_t *spec,
                                const json_t *piece, int64_t *end)
{
    const char *name = json_string_value(json_object_get(piece, "id"));
    const json_t *token =
        json_object_get(json_object_get(spec, "special_tokens"), name ? name : "");
    const json_t *ids = json_object_get(token, "ids");
    if (!json_is_array(ids))
        return set_end(place, end, NULL);
    for (size_t i = 0; i < json_array_size(ids); i++)
        INL_TRY(set_end(place, end, json_array_get(ids, i)));
    return INLAY_OK;
}

static inlay_result add_template(const inl_json_place *place, const json_t *spec, inl_ends *out)
{
    const json_t *list = json_object_get(spec, "single");
    bool seen = false;
    if (!json_is_array(list))
        return inl_json_refuse(place, "single", list ? "is not a list" : "is missing");
    for (size_t i = 0; i < json_array_size(list); i++) {
        const json_t *piece = json_array_get(list, i);
        const json_t *special = json_object_get(piece, "SpecialToken");
        if (special) {
            INL_TRY(add_special(place, spec, special, seen ? &out->after : &out->before));
            continue;
        }
        const json_t *sequence = json_object_get(json_object_get(piece, "Sequence"), "id");
        if (!json_is_string(sequence) || strcmp(json_string_value(sequence), "A") != 0 || seen)
            return inl_json_refuse(place, "single", "is no template of one text");
        seen = true;
    }
    return seen ? INLAY_OK : inl_json_refuse(place, "single", "is no template of one text");
}

static inlay_result add_ends(const inl_json_place *place, const json_t *spec, int depth,
                             inl_ends *out)
{
    if (inl_json_has_type(spec, "Sequence")) {
        const json_t *list = get_sequence(place, spec, "processors", depth);
        for (size_t i = 0; list && i < json_array_size(list); i++) {
            inl_json_place inner = inl_json_element(place, "processors", i);
            INL_TRY(add_ends(&inner, json_array_get(list, i), depth + 1, out));
        }
        return list ? INLAY_OK : INLAY_ERROR_BAD_FILE;
    }
    if (inl_json_has_type(spec, "ByteLevel")) // of use to offsets alone
        return INLAY_OK;
    if (inl_json_has_type(spec, "TemplateProcessing"))
        return add_template(place, spec, out);
    if (!inl_json_has_type(spec, "BertProcessing") && !inl_json_has_type(spec, "RobertaProcessing"))
        return inl_json_refuse_type(place, spec);
    INL_TRY(set_end(place, &out->before, json_array_get(json_object_get(spec, "cls"), 1)));
    return set_end(place, &out->after, json_array_get(json_object_get(spec, "sep"), 1));
}

inlay_result inl_pipeline_ends(const inl_env *env, const char *file, const json_t *spec,
                               inl_ends *out)
{
    inl_json_place place = {.env = env, .file = file, .path = "post_processor"};
    *out = (inl_ends){-1, -1};
    return spec && !json_is_null(spec) ? add_ends(&place, spec, 0, out) : INLAY_OK;
}
