// SPDX-License-Identifier: MIT
#include "io/feed.h"

#include "io/json_load.h"

#include <stdio.h>
#include <string.h>

inlay_result inl_feed_fail(const inl_feed *source, inlay_result result, const char *fmt, ...)
{
    char text[512];
    va_list args;
    va_start(args, fmt);
    vsnprintf(text, sizeof(text), fmt, args);
    va_end(args);
    return inl_fail(source->input.env, result, "%s %s: %s", source->input.name, source->place,
                    text);
}

static void set_place(inl_feed *s)
{
    if (s->kind == INL_DATA_JSON)
        snprintf(s->place, sizeof(s->place), "record %llu", (unsigned long long)s->record);
    else
        snprintf(s->place, sizeof(s->place), "line %llu", (unsigned long long)s->line);
}

static inlay_result parse(inl_feed *s, const char *text, uint64_t size, json_t **record)
{
    json_error_t error;
    json_t *value =
        inl_json_load(s->input.env, text, size,
                      JSON_REJECT_DUPLICATES | JSON_DECODE_ANY | JSON_ALLOW_NUL, &error);
    if (!value)
        return inl_feed_fail(s, INLAY_ERROR_BAD_FILE, "invalid JSON at byte %d: %s", error.position,
                             error.text);
    if (json_is_object(value)) {
        *record = value;
        return INLAY_OK;
    }
    json_decref(value);
    return inl_feed_fail(s, INLAY_ERROR_BAD_FILE, "the record is not a JSON object");
}

// ---- lines of JSON

// The length of the next line without its end; *step is what to skip behind it.
static inlay_result find_line(inl_feed *s, uint64_t *size, uint64_t *step)
{
    inl_input *in = &s->input;
    for (uint64_t from = 0;;) {
        const char *end = in->size > from ? memchr(in->data + from, '\n', in->size - from) : NULL;
        if (end || in->ended) {
            *size = end ? (uint64_t)(end - in->data) : in->size;
            *step = *size + (end != NULL);
            return INLAY_OK;
        }
        from = in->size;
        INL_TRY(inl_input_more(in));
    }
}

static bool is_space(char c)
{
    return c == ' ' || c == '\t' || c == '\r' || c == '\n';
}

static bool is_blank(const char *text, uint64_t size)
{
    for (uint64_t i = 0; i < size; i++)
        if (!is_space(text[i]))
            return false;
    return true;
}

static inlay_result next_line(inl_feed *s, json_t **record)
{
    inl_input *in = &s->input;
    for (;;) {
        uint64_t size, step;
        INL_TRY(find_line(s, &size, &step));
        if (step == 0)
            return INLAY_OK;
        s->line++;
        set_place(s);
        bool blank = is_blank(in->data, size);
        inlay_result result = blank ? INLAY_OK : parse(s, in->data, size, record);
        inl_input_skip(in, step);
        if (!blank)
            return result;
    }
}

// ---- a JSON array, or values in a row

// The next byte that is no blank; '\0' at the end.
static inlay_result peek(inl_feed *s, char *out)
{
    inl_input *in = &s->input;
    *out = '\0';
    for (;;) {
        uint64_t i = 0;
        while (i < in->size && is_space(in->data[i]))
            i++;
        inl_input_skip(in, i);
        if (in->size > 0) {
            *out = in->data[0];
            return INLAY_OK;
        }
        if (in->ended)
            return INLAY_OK;
        INL_TRY(inl_input_more(in));
    }
}

typedef struct json_scan {
    uint64_t at, depth;
    bool in_string, escaped;
} json_scan;

// Goes on through the window; true: the value ends before `at`.
static bool scan_value(json_scan *scan, const char *data, uint64_t size)
{
    for (; scan->at < size; scan->at++) {
        char c = data[scan->at];
        if (scan->in_string) {
            scan->in_string = scan->escaped || c != '"';
            scan->escaped = !scan->escaped && c == '\\';
            if (!scan->in_string && scan->depth == 0)
                return scan->at++, true;
        } else if (c == '"') {
            scan->in_string = true;
        } else if (c == '{' || c == '[') {
            scan->depth++;
        } else if (scan->depth == 0 && (c == ',' || c == ']' || c == '}' || is_space(c))) {
            return true;
        } else if ((c == '}' || c == ']') && --scan->depth == 0) {
            return scan->at++, true;
        }
    }
    return false;
}

static inlay_result take_value(inl_feed *s, json_t **record)
{
    inl_input *in = &s->input;
    json_scan scan = {0};
    while (!scan_value(&scan, in->data, in->size) && !in->ended)
        INL_TRY(inl_input_more(in));
    s->record++;
    set_place(s);
    uint64_t size = INL_MAX(scan.at, 1);
    inlay_result result = parse(s, in->data, size, record);
    inl_input_skip(in, size);
    return result;
}

static inlay_result bad_array(inl_feed *s, const char *what)
{
    s->record++;
    set_place(s);
    return inl_feed_fail(s, INLAY_ERROR_BAD_FILE, "invalid JSON: %s", what);
}

static inlay_result next_value(inl_feed *s, json_t **record)
{
    char c;
    INL_TRY(peek(s, &c));
    if (s->state == FEED_START) {
        s->state = c == '[' ? FEED_ITEM : FEED_VALUES;
        if (c == '[') {
            inl_input_skip(&s->input, 1);
            INL_TRY(peek(s, &c));
            if (c == ']')
                s->state = FEED_BEHIND_ITEM;
        }
    }
    if (s->state == FEED_BEHIND_ITEM && (c == ',' || c == ']')) {
        s->state = c == ',' ? FEED_ITEM : FEED_END;
        inl_input_skip(&s->input, 1);
        INL_TRY(peek(s, &c));
    } else if (s->state == FEED_BEHIND_ITEM) {
        return bad_array(s, c ? "a comma or ] is missing before it" : "the array has no end");
    }
    if (s->state == FEED_END)
        return c ? bad_array(s, "something stands behind the array") : INLAY_OK;
    if (!c)
        return s->state == FEED_VALUES ? INLAY_OK : bad_array(s, "the array has no end");
    if (s->state == FEED_ITEM)
        s->state = FEED_BEHIND_ITEM;
    return take_value(s, record);
}

// ---- CSV, as in RFC 4180

typedef struct csv_scan {
    uint64_t at;
    enum { FIELD_START, FIELD_PLAIN, FIELD_QUOTED, FIELD_CLOSED } field;
} csv_scan;

// Goes on through the window; true: the row ends before `at`.
static bool scan_row(csv_scan *scan, const char *data, uint64_t size)
{
    while (scan->at < size) {
        char c = data[scan->at++];
        if (scan->field == FIELD_QUOTED) {
            scan->field = c == '"' ? FIELD_CLOSED : FIELD_QUOTED; // a doubled one opens it again
        } else if (c == '"' && scan->field != FIELD_PLAIN) {
            scan->field = FIELD_QUOTED;
        } else if (c == '\n') {
            return true;
        } else {
            scan->field = c == ',' ? FIELD_START : FIELD_PLAIN;
        }
    }
    return false;
}

static inlay_result find_row(inl_feed *s, uint64_t *size)
{
    inl_input *in = &s->input;
    csv_scan scan = {0};
    while (!scan_row(&scan, in->data, in->size) && !in->ended)
        INL_TRY(inl_input_more(in));
    *size = scan.at;
    if (scan.field == FIELD_QUOTED)
        return inl_feed_fail(s, INLAY_ERROR_BAD_FILE, "a quoted field has no end");
    return INLAY_OK;
}

// The field at *at, up to its comma or the row's end, into s->field without its quotes.
static inlay_result take_field(inl_feed *s, const char *row, uint64_t size, uint64_t *at,
                               size_t *length)
{
    INL_TRY(inl_grow(s->input.env, (void **)&s->field, &s->field_cap, size - *at + 1, 1));
    *length = 0;
    bool quoted = *at < size && row[*at] == '"';
    for (*at += quoted; *at < size; ++*at) {
        char c = row[*at];
        if (quoted && c == '"' && (*at + 1 == size || row[*at + 1] != '"')) {
            ++*at;
            break;
        }
        if (!quoted && c == ',')
            break;
        *at += quoted && c == '"';
        s->field[(*length)++] = c;
    }
    if (*at < size && row[*at] != ',')
        return inl_feed_fail(s, INLAY_ERROR_BAD_FILE,
                             "text stands behind a field's closing "
                             "quote, at byte %llu of the row",
                             (unsigned long long)*at + 1);
    return INLAY_OK;
}

static inlay_result add_field(inl_feed *s, json_t *fields, size_t length)
{
    json_t *text = json_stringn(s->field, length);
    if (!text)
        return inl_feed_fail(s, INLAY_ERROR_BAD_FILE, "field %zu is not UTF-8",
                             json_array_size(fields) + 1);
    return json_array_append_new(fields, text) == 0 ? INLAY_OK : INLAY_ERROR_OUT_OF_MEMORY;
}

static inlay_result split_row(inl_feed *s, const char *row, uint64_t size, json_t *fields)
{
    for (uint64_t at = 0;; at++) {
        size_t length;
        INL_TRY(take_field(s, row, size, &at, &length));
        INL_TRY(add_field(s, fields, length));
        if (at >= size)
            return INLAY_OK;
    }
}

// The fields of the next row that is not blank; NULL at the end.
static inlay_result next_fields(inl_feed *s, json_t **fields)
{
    inl_input *in = &s->input;
    *fields = NULL;
    for (;;) {
        uint64_t size;
        s->line = s->lines_read + 1;
        set_place(s);
        INL_TRY(find_row(s, &size));
        if (size == 0)
            return INLAY_OK;
        for (uint64_t i = 0; i < size; i++)
            s->lines_read += in->data[i] == '\n';
        uint64_t length = size;
        length -= length > 0 && in->data[length - 1] == '\n';
        length -= length > 0 && in->data[length - 1] == '\r';
        inlay_result result = INLAY_OK;
        if (length > 0) {
            *fields = json_array();
            result = *fields ? split_row(s, in->data, length, *fields) : INLAY_ERROR_OUT_OF_MEMORY;
        }
        inl_input_skip(in, size);
        if (result != INLAY_OK) {
            json_decref(*fields);
            *fields = NULL;
        }
        if (length > 0 || result != INLAY_OK)
            return result;
    }
}

static inlay_result check_columns(inl_feed *s)
{
    size_t count = json_array_size(s->columns);
    for (size_t i = 0; i < count; i++)
        if (strchr(json_string_value(json_array_get(s->columns, i)), '\r'))
            return inl_feed_fail(s, INLAY_ERROR_BAD_FILE,
                                 "a carriage return stands in the name of column %zu (rows end "
                                 "with a line feed)",
                                 i + 1);
    for (size_t i = 0; i < count; i++)
        for (size_t j = 0; j < i; j++)
            if (json_equal(json_array_get(s->columns, i), json_array_get(s->columns, j)))
                return inl_feed_fail(s, INLAY_ERROR_BAD_FILE, "two columns are called \"%.64s\"",
                                     json_string_value(json_array_get(s->columns, i)));
    return INLAY_OK;
}

static inlay_result name_fields(inl_feed *s, json_t *fields, json_t **record)
{
    size_t count = json_array_size(s->columns);
    if (json_array_size(fields) != count)
        return inl_feed_fail(s, INLAY_ERROR_BAD_FILE,
                             "the row has %zu fields, but the first row names %zu columns",
                             json_array_size(fields), count);
    json_t *object = json_object();
    for (size_t i = 0; i < count; i++)
        if (json_object_set(object, json_string_value(json_array_get(s->columns, i)),
                            json_array_get(fields, i)) != 0) {
            json_decref(object);
            return INLAY_ERROR_OUT_OF_MEMORY;
        }
    *record = object;
    return INLAY_OK;
}

static inlay_result next_row(inl_feed *s, json_t **record)
{
    json_t *fields;
    if (!s->columns) {
        INL_TRY(next_fields(s, &s->columns));
        if (!s->columns)
            return INLAY_OK;
        INL_TRY(check_columns(s));
    }
    INL_TRY(next_fields(s, &fields));
    if (!fields)
        return INLAY_OK;
    inlay_result result = name_fields(s, fields, record);
    json_decref(fields);
    return result;
}

// ----

inlay_result inl_feed_open(const inl_env *env, const char *name, const char *data, uint64_t size,
                           inl_data_kind kind, inl_feed *out)
{
    *out = (inl_feed){.kind = kind & ~INL_DATA_ZSTD};
    return inl_input_open(env, name, data, size, kind & INL_DATA_ZSTD, &out->input);
}

void inl_feed_close(inl_feed *source)
{
    if (source->input.env)
        inl_free(source->input.env, source->field);
    json_decref(source->columns);
    inl_input_close(&source->input);
}

inlay_result inl_feed_next(inl_feed *source, json_t **record)
{
    *record = NULL;
    if (source->kind == INL_DATA_JSON)
        return next_value(source, record);
    return source->kind == INL_DATA_CSV ? next_row(source, record) : next_line(source, record);
}
