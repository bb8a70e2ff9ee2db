// SPDX-License-Identifier: MIT
// Values as text: as Python's str, repr and json.dumps write them.
#include "io/jinja_value.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MAX_DEPTH 120 // of values in values

static bool make_room(jinja_buffer *b, size_t more)
{
    if (b->state->failed)
        return false;
    if (b->cap - b->size >= more)
        return true;
    size_t cap = INL_MAX(b->cap * 2, b->size + more + 64);
    char *data = inl_jinja_alloc(b->state, cap, 1);
    uint8_t *marks = inl_jinja_alloc(b->state, cap, 1);
    if (!data || !marks)
        return false;
    if (b->size > 0) {
        memcpy(data, b->data, b->size);
        memcpy(marks, b->marks, b->size);
    }
    b->data = data;
    b->marks = marks;
    b->cap = cap;
    return true;
}

void inl_jinja_append(jinja_buffer *b, const char *data, size_t size, uint8_t mark)
{
    if (size == 0 || !make_room(b, size))
        return;
    memcpy(b->data + b->size, data, size);
    memset(b->marks + b->size, mark, size);
    b->size += size;
}

void inl_jinja_append_string(jinja_buffer *b, const jinja_string *string)
{
    if (string->size == 0 || !make_room(b, string->size))
        return;
    memcpy(b->data + b->size, string->data, string->size);
    if (string->marks)
        memcpy(b->marks + b->size, string->marks, string->size);
    else
        memset(b->marks + b->size, 0, string->size);
    b->size += string->size;
}

void inl_jinja_append_escaped(jinja_buffer *b, const jinja_string *string)
{
    static const char *const names[] = {"&amp;", "&lt;", "&gt;", "&#34;", "&#39;"};
    static const char chars[] = "&<>\"'";
    for (size_t i = 0; i < string->size && !b->state->failed; i++) {
        char c = string->data[i];
        const char *at = c ? strchr(chars, c) : NULL;
        uint8_t mark = string->marks ? string->marks[i] : 0;
        inl_jinja_append(b, at ? names[at - chars] : &c, at ? strlen(names[at - chars]) : 1, mark);
    }
}

static void put(jinja_buffer *b, const char *text)
{
    inl_jinja_append(b, text, strlen(text), 0);
}

jinja_value inl_jinja_finish(jinja_buffer *b)
{
    return inl_jinja_string(b->state, b->data, b->marks, b->size);
}

// The shortest form that reads back as the same number.
static void put_real(jinja_buffer *b, double value)
{
    char text[40];
    if (isnan(value) || isinf(value)) {
        put(b, isnan(value) ? "nan" : value < 0 ? "-inf" : "inf");
        return;
    }
    for (int digits = 1; digits <= 17; digits++) {
        snprintf(text, sizeof(text), "%.*e", digits - 1, value);
        if (strtod(text, NULL) == value)
            break;
    }
    int exponent = atoi(strchr(text, 'e') + 1);
    if (exponent < -4 || exponent >= 16) { // 1.5e-07, 1e+16
        put(b, text);
        return;
    }
    int digits = (int)(strchr(text, 'e') - text);
    digits -= (text[0] == '-') + (strchr(text, '.') != NULL);
    int decimals = digits - 1 - exponent;
    snprintf(text, sizeof(text), "%.*f", INL_MAX(decimals, 1), value);
    put(b, text);
}

static void put_integer(jinja_buffer *b, int64_t value)
{
    char text[24];
    snprintf(text, sizeof(text), "%lld", (long long)value);
    put(b, text);
}

static void put_quoted(jinja_buffer *b, const jinja_string *s)
{
    bool single = s->size > 0 && memchr(s->data, '\'', s->size);
    bool twice = s->size > 0 && memchr(s->data, '"', s->size);
    char quote = single && !twice ? '"' : '\'';
    inl_jinja_append(b, &quote, 1, 0);
    for (size_t i = 0; i < s->size; i++) {
        char c = s->data[i];
        uint8_t mark = s->marks ? s->marks[i] : 0;
        char text[8];
        if (c == quote || c == '\\')
            snprintf(text, sizeof(text), "\\%c", c);
        else if (c == '\n' || c == '\r' || c == '\t')
            snprintf(text, sizeof(text), "\\%c", c == '\n' ? 'n' : c == '\r' ? 'r' : 't');
        else if ((uint8_t)c < 32 || c == 127)
            snprintf(text, sizeof(text), "\\x%02x", (uint8_t)c);
        else
            snprintf(text, sizeof(text), "%c", c);
        inl_jinja_append(b, text, c ? strlen(text) : 4, mark);
    }
    inl_jinja_append(b, &quote, 1, 0);
}

static void put_list(jinja_buffer *b, const jinja_list *list, uint32_t depth)
{
    put(b, list->is_tuple ? "(" : "[");
    for (size_t i = 0; i < list->count && !b->state->failed; i++) {
        put(b, i ? ", " : "");
        inl_jinja_append_repr(b, list->items[i], depth + 1);
    }
    put(b, !list->is_tuple ? "]" : list->count == 1 ? ",)" : ")");
}

static void put_dict(jinja_buffer *b, const jinja_dict *dict, uint32_t depth)
{
    put(b, "{");
    for (size_t i = 0; i < dict->count && !b->state->failed; i++) {
        put(b, i ? ", " : "");
        inl_jinja_append_repr(b, dict->entries[i].key, depth + 1);
        put(b, ": ");
        inl_jinja_append_repr(b, dict->entries[i].value, depth + 1);
    }
    put(b, "}");
}

void inl_jinja_append_repr(jinja_buffer *b, jinja_value value, uint32_t depth)
{
    if (depth > MAX_DEPTH) {
        inl_jinja_fail(b->state, "a value nests more than %d levels deep", MAX_DEPTH);
        return;
    }
    switch (value.type) {
    case JINJA_UNDEFINED: put(b, "Undefined"); break;
    case JINJA_NONE: put(b, "None"); break;
    case JINJA_BOOL: put(b, value.as.boolean ? "True" : "False"); break;
    case JINJA_INT: put_integer(b, value.as.integer); break;
    case JINJA_FLOAT: put_real(b, value.as.real); break;
    case JINJA_STRING: put_quoted(b, value.as.string); break;
    case JINJA_LIST: put_list(b, value.as.list, depth); break;
    case JINJA_DICT: put_dict(b, value.as.dict, depth); break;
    default:
        inl_jinja_fail(b->state, "%s is written, not called", inl_jinja_type_name(value));
        break;
    }
}

void inl_jinja_append_value(jinja_buffer *b, jinja_value value)
{
    if (value.type == JINJA_STRING)
        inl_jinja_append_string(b, value.as.string);
    else if (value.type != JINJA_UNDEFINED)
        inl_jinja_append_repr(b, value, 0);
}

jinja_value inl_jinja_to_string(jinja_state *s, jinja_value value)
{
    if (value.type == JINJA_STRING)
        return value;
    jinja_buffer b = {.state = s};
    inl_jinja_append_value(&b, value);
    return inl_jinja_finish(&b);
}

// ---- JSON

typedef struct json_writer {
    jinja_buffer *b;
    const jinja_json_style *style;
} json_writer;

static void put_escaped(json_writer *w, const jinja_string *s)
{
    static const char letters[] = "\b\f\n\r\t\"\\";
    put(w->b, "\"");
    for (size_t at = 0; at < s->size && !w->b->state->failed;) {
        uint32_t code;
        size_t size = inl_jinja_char(s->data + at, s->size - at, &code);
        uint8_t mark = s->marks ? s->marks[at] : 0;
        const char *letter = code && code < 128 ? strchr(letters, (int)code) : NULL;
        char text[16];
        if (letter)
            snprintf(text, sizeof(text), "\\%c", "bfnrt\"\\"[letter - letters]);
        else if (code < 32 || (w->style->ascii && code > 126 && code < 0x10000))
            snprintf(text, sizeof(text), "\\u%04x", code);
        else if (w->style->ascii && code > 126)
            snprintf(text, sizeof(text), "\\u%04x\\u%04x", 0xd800 + ((code - 0x10000) >> 10),
                     0xdc00 + ((code - 0x10000) & 0x3ff));
        else
            text[0] = '\0';
        if (text[0])
            inl_jinja_append(w->b, text, strlen(text), mark);
        else
            inl_jinja_append(w->b, s->data + at, size, mark);
        at += size;
    }
    put(w->b, "\"");
}

static void put_break(json_writer *w, uint32_t depth)
{
    if (w->style->indent < 0)
        return;
    put(w->b, "\n");
    for (int64_t i = 0; i < w->style->indent * depth && !w->b->state->failed; i++)
        put(w->b, " ");
}

static void put_between(json_writer *w, size_t index, uint32_t depth)
{
    if (index > 0 && w->style->between)
        inl_jinja_append_string(w->b, w->style->between);
    else if (index > 0)
        put(w->b, w->style->indent < 0 ? ", " : ",");
    put_break(w, depth);
}

static void put_json(json_writer *w, jinja_value value, uint32_t depth);

static void put_key(json_writer *w, jinja_value key)
{
    if (key.type == JINJA_STRING)
        put_escaped(w, key.as.string);
    else if (key.type == JINJA_NONE || inl_jinja_is_number(key)) {
        put(w->b, "\"");
        put_json(w, key, 0);
        put(w->b, "\"");
    } else {
        inl_jinja_fail(w->b->state, "%s is no key in JSON", inl_jinja_type_name(key));
    }
    if (w->style->colon)
        inl_jinja_append_string(w->b, w->style->colon);
    else
        put(w->b, ": ");
}

static int compare_entries(const void *a, const void *b)
{
    const jinja_value x = ((const jinja_entry *)a)->key;
    const jinja_value y = ((const jinja_entry *)b)->key;
    if (x.type != JINJA_STRING || y.type != JINJA_STRING)
        return (int)x.type - (int)y.type;
    size_t size = INL_MIN(x.as.string->size, y.as.string->size);
    int order = size ? memcmp(x.as.string->data, y.as.string->data, size) : 0;
    return order ? order : (x.as.string->size > y.as.string->size) -
                               (x.as.string->size < y.as.string->size);
}

static void put_object(json_writer *w, const jinja_dict *dict, uint32_t depth)
{
    const jinja_entry *entries = dict->entries;
    if (w->style->sorted && dict->count > 1) {
        jinja_entry *copy = inl_jinja_alloc(w->b->state, dict->count, sizeof(*copy));
        if (!copy)
            return;
        memcpy(copy, entries, dict->count * sizeof(*copy));
        qsort(copy, dict->count, sizeof(*copy), compare_entries);
        entries = copy;
    }
    put(w->b, "{");
    for (size_t i = 0; i < dict->count && !w->b->state->failed; i++) {
        put_between(w, i, depth + 1);
        put_key(w, entries[i].key);
        put_json(w, entries[i].value, depth + 1);
    }
    if (dict->count > 0)
        put_break(w, depth);
    put(w->b, "}");
}

static void put_array(json_writer *w, const jinja_list *list, uint32_t depth)
{
    put(w->b, "[");
    for (size_t i = 0; i < list->count && !w->b->state->failed; i++) {
        put_between(w, i, depth + 1);
        put_json(w, list->items[i], depth + 1);
    }
    if (list->count > 0)
        put_break(w, depth);
    put(w->b, "]");
}

static void put_json(json_writer *w, jinja_value value, uint32_t depth)
{
    if (depth > MAX_DEPTH) {
        inl_jinja_fail(w->b->state, "a value nests more than %d levels deep", MAX_DEPTH);
        return;
    }
    switch (value.type) {
    case JINJA_NONE: put(w->b, "null"); break;
    case JINJA_BOOL: put(w->b, value.as.boolean ? "true" : "false"); break;
    case JINJA_INT: put_integer(w->b, value.as.integer); break;
    case JINJA_FLOAT:
        if (isfinite(value.as.real))
            put_real(w->b, value.as.real);
        else
            put(w->b, isnan(value.as.real) ? "NaN" : value.as.real < 0 ? "-Infinity" : "Infinity");
        break;
    case JINJA_STRING: put_escaped(w, value.as.string); break;
    case JINJA_LIST: put_array(w, value.as.list, depth); break;
    case JINJA_DICT: put_object(w, value.as.dict, depth); break;
    default:
        inl_jinja_fail(w->b->state, "%s has no form in JSON", inl_jinja_type_name(value));
        break;
    }
}

jinja_value inl_jinja_to_json(jinja_state *s, jinja_value value, const jinja_json_style *style)
{
    jinja_buffer b = {.state = s};
    json_writer w = {.b = &b, .style = style};
    put_json(&w, value, 0);
    return inl_jinja_finish(&b);
}
