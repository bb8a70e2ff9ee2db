// SPDX-License-Identifier: MIT
#include "io/jinja_value.h"

#include <stdio.h>
#include <string.h>

#define BLOCK_SIZE 65536u
#define MAX_DEPTH 100 // of values in values

// ---- the arena

typedef struct block {
    struct block *older;
    size_t size;
    max_align_t data[];
} block;

void inl_jinja_state_free(jinja_state *s)
{
    for (block *b = s->blocks; b;) {
        block *older = b->older;
        inl_free(s->env, b);
        b = older;
    }
    s->blocks = NULL;
    s->used = s->block_size = 0;
    s->total = 0;
}

static bool add_block(jinja_state *s, size_t size)
{
    size_t want = INL_MAX(size, BLOCK_SIZE);
    if (s->total + want > s->limit) {
        inl_jinja_fail(s, "it needs more than %llu MiB", (unsigned long long)(s->limit >> 20));
        return false;
    }
    block *b = inl_alloc(s->env, 1, sizeof(*b) + want);
    if (!b) {
        inl_jinja_fail(s, "out of memory");
        s->result = INLAY_ERROR_OUT_OF_MEMORY;
        return false;
    }
    b->older = s->blocks;
    b->size = want;
    s->blocks = b;
    s->used = 0;
    s->block_size = want;
    s->total += want;
    return true;
}

void *inl_jinja_alloc(jinja_state *s, size_t count, size_t size)
{
    uint64_t bytes;
    if (s->failed)
        return NULL;
    if (!inl_mul_u64(count, size, &bytes) || bytes > s->limit) {
        inl_jinja_fail(s, "it needs more than %llu MiB", (unsigned long long)(s->limit >> 20));
        return NULL;
    }
    bytes = inl_round_up(INL_MAX(bytes, 1), sizeof(max_align_t));
    if (bytes > s->block_size - s->used && !add_block(s, bytes))
        return NULL;
    void *out = (char *)((block *)s->blocks)->data + s->used;
    s->used += bytes;
    return out;
}

jinja_value inl_jinja_fail(jinja_state *s, const char *fmt, ...)
{
    if (s->failed)
        return jinja_undefined();
    s->failed = true;
    s->result = INLAY_ERROR_BAD_FILE;
    va_list args;
    va_start(args, fmt);
    vsnprintf(s->error, sizeof(s->error), fmt, args);
    va_end(args);
    return jinja_undefined();
}

const jinja_value *inl_jinja_arg(const jinja_args *args, size_t index, const char *name)
{
    if (index < args->count)
        return &args->items[index];
    for (size_t i = 0; name && i < args->named_count; i++)
        if (args->names[i]->size == strlen(name) &&
            memcmp(args->names[i]->data, name, args->names[i]->size) == 0)
            return &args->named[i];
    return NULL;
}

// ---- making values

jinja_value inl_jinja_string(jinja_state *s, const char *data, const uint8_t *marks, size_t size)
{
    jinja_string *string = inl_jinja_alloc(s, 1, sizeof(*string));
    if (!string)
        return jinja_undefined();
    *string = (jinja_string){.data = size ? data : "", .marks = size ? marks : NULL, .size = size};
    return (jinja_value){.type = JINJA_STRING, .as.string = string};
}

jinja_value inl_jinja_text(jinja_state *s, const char *text)
{
    return inl_jinja_string(s, text, NULL, strlen(text));
}

jinja_value inl_jinja_join(jinja_state *s, const jinja_string *a, const jinja_string *b)
{
    jinja_buffer out = {.state = s};
    if (a->safe == b->safe) {
        inl_jinja_append_string(&out, a);
        inl_jinja_append_string(&out, b);
        return a->safe ? inl_jinja_make_safe(s, inl_jinja_finish(&out)) : inl_jinja_finish(&out);
    }
    if (a->safe)
        inl_jinja_append_string(&out, a);
    else
        inl_jinja_append_escaped(&out, a);
    if (b->safe)
        inl_jinja_append_string(&out, b);
    else
        inl_jinja_append_escaped(&out, b);
    return inl_jinja_make_safe(s, inl_jinja_finish(&out));
}

jinja_value inl_jinja_make_safe(jinja_state *s, jinja_value string)
{
    if (s->failed || string.type != JINJA_STRING)
        return string;
    jinja_string *copy = inl_jinja_alloc(s, 1, sizeof(*copy));
    if (!copy)
        return jinja_undefined();
    *copy = *string.as.string;
    copy->safe = true;
    return (jinja_value){.type = JINJA_STRING, .as.string = copy};
}

jinja_value inl_jinja_list(jinja_state *s)
{
    jinja_list *list = inl_jinja_alloc(s, 1, sizeof(*list));
    return list ? (jinja_value){.type = JINJA_LIST, .as.list = list} : jinja_undefined();
}

jinja_value inl_jinja_dict(jinja_state *s)
{
    jinja_dict *dict = inl_jinja_alloc(s, 1, sizeof(*dict));
    return dict ? (jinja_value){.type = JINJA_DICT, .as.dict = dict} : jinja_undefined();
}

// Twice the room; what was there is left to the arena.
static void *enlarge(jinja_state *s, const void *old, size_t count, size_t *cap, size_t size)
{
    size_t wanted = INL_MAX(4, *cap * 2);
    void *new = inl_jinja_alloc(s, wanted, size);
    if (!new)
        return NULL;
    if (count > 0)
        memcpy(new, old, count * size);
    *cap = wanted;
    return new;
}

void inl_jinja_push(jinja_state *s, jinja_list *list, jinja_value item)
{
    if (!list || s->failed)
        return;
    if (list->count == list->cap) {
        jinja_value *items = enlarge(s, list->items, list->count, &list->cap, sizeof(item));
        if (!items)
            return;
        list->items = items;
    }
    list->items[list->count++] = item;
}

void inl_jinja_put(jinja_state *s, jinja_dict *dict, jinja_value key, jinja_value value)
{
    if (!dict || s->failed)
        return;
    for (size_t i = 0; i < dict->count; i++)
        if (inl_jinja_equal(s, dict->entries[i].key, key)) {
            dict->entries[i].value = value;
            return;
        }
    if (dict->count == dict->cap) {
        jinja_entry *entries =
            enlarge(s, dict->entries, dict->count, &dict->cap, sizeof(*entries));
        if (!entries)
            return;
        dict->entries = entries;
    }
    dict->entries[dict->count++] = (jinja_entry){key, value};
}

static jinja_value marked(jinja_state *s, const char *data, size_t size)
{
    uint8_t *marks = inl_jinja_alloc(s, size, 1);
    if (!marks)
        return jinja_undefined();
    memset(marks, JINJA_FROM_DATA, size);
    return inl_jinja_string(s, data, marks, size);
}

static jinja_value dict_from_json(jinja_state *s, const json_t *json)
{
    jinja_value out = inl_jinja_dict(s);
    const char *key;
    json_t *value;
    json_object_foreach((json_t *)json, key, value) {
        if (s->failed)
            break;
        inl_jinja_put(s, out.as.dict, marked(s, key, strlen(key)), inl_jinja_from_json(s, value));
    }
    return out;
}

jinja_value inl_jinja_from_json(jinja_state *s, const json_t *json)
{
    switch (json_typeof(json)) {
    case JSON_OBJECT:
    case JSON_ARRAY: break;
    case JSON_STRING: return marked(s, json_string_value(json), json_string_length(json));
    case JSON_INTEGER: return jinja_int(json_integer_value(json));
    case JSON_REAL: return jinja_real(json_real_value(json));
    case JSON_TRUE: return jinja_bool(true);
    case JSON_FALSE: return jinja_bool(false);
    default: return jinja_none();
    }
    if (++s->depth > MAX_DEPTH)
        return inl_jinja_fail(s, "the record nests more than %d levels deep", MAX_DEPTH);
    jinja_value out;
    if (json_is_object(json)) {
        out = dict_from_json(s, json);
    } else {
        out = inl_jinja_list(s);
        for (size_t i = 0; i < json_array_size(json) && !s->failed; i++)
            inl_jinja_push(s, out.as.list, inl_jinja_from_json(s, json_array_get(json, i)));
    }
    s->depth--;
    return out;
}

// ---- looking at values

bool inl_jinja_same(const jinja_string *a, const jinja_string *b)
{
    return a->size == b->size && (a->size == 0 || memcmp(a->data, b->data, a->size) == 0);
}

bool inl_jinja_is_number(jinja_value value)
{
    return value.type == JINJA_BOOL || value.type == JINJA_INT || value.type == JINJA_FLOAT;
}

double inl_jinja_number(jinja_value value)
{
    if (value.type == JINJA_FLOAT)
        return value.as.real;
    return value.type == JINJA_BOOL ? value.as.boolean : (double)value.as.integer;
}

bool inl_jinja_truth(jinja_value value)
{
    switch (value.type) {
    case JINJA_UNDEFINED:
    case JINJA_NONE: return false;
    case JINJA_BOOL:
    case JINJA_INT:
    case JINJA_FLOAT: return inl_jinja_number(value) != 0.0;
    case JINJA_STRING: return value.as.string->size > 0;
    case JINJA_LIST: return value.as.list->count > 0;
    case JINJA_DICT: return value.as.dict->count > 0;
    default: return true;
    }
}

static bool same_items(jinja_state *s, const jinja_list *a, const jinja_list *b)
{
    if (a->count != b->count || a->is_tuple != b->is_tuple)
        return false;
    for (size_t i = 0; i < a->count; i++)
        if (!inl_jinja_equal(s, a->items[i], b->items[i]))
            return false;
    return true;
}

static const jinja_value *find_key(jinja_state *s, const jinja_dict *dict, jinja_value key)
{
    for (size_t i = 0; i < dict->count; i++)
        if (inl_jinja_equal(s, dict->entries[i].key, key))
            return &dict->entries[i].value;
    return NULL;
}

static bool same_entries(jinja_state *s, const jinja_dict *a, const jinja_dict *b)
{
    if (a == b)
        return true;
    if (a->count != b->count)
        return false;
    for (size_t i = 0; i < a->count; i++) {
        const jinja_value *other = find_key(s, b, a->entries[i].key);
        if (!other || !inl_jinja_equal(s, a->entries[i].value, *other))
            return false;
    }
    return true;
}

bool inl_jinja_equal(jinja_state *s, jinja_value a, jinja_value b)
{
    if (inl_jinja_is_number(a) && inl_jinja_is_number(b)) {
        if (a.type == JINJA_INT && b.type == JINJA_INT)
            return a.as.integer == b.as.integer;
        return inl_jinja_number(a) == inl_jinja_number(b);
    }
    if (a.type != b.type)
        return false;
    if (s->steps == 0) {
        inl_jinja_fail(s, "it takes too many steps");
        return false;
    }
    s->steps--;
    switch (a.type) {
    case JINJA_UNDEFINED:
    case JINJA_NONE: return true;
    case JINJA_STRING: return inl_jinja_same(a.as.string, b.as.string);
    case JINJA_LIST: return same_items(s, a.as.list, b.as.list);
    case JINJA_DICT: return same_entries(s, a.as.dict, b.as.dict);
    default: return a.as.dict == b.as.dict;
    }
}

int inl_jinja_compare(jinja_state *s, jinja_value a, jinja_value b)
{
    if (inl_jinja_is_number(a) && inl_jinja_is_number(b)) {
        if (a.type == JINJA_INT && b.type == JINJA_INT)
            return (a.as.integer > b.as.integer) - (a.as.integer < b.as.integer);
        double x = inl_jinja_number(a);
        double y = inl_jinja_number(b);
        return (x > y) - (x < y);
    }
    if (a.type == JINJA_STRING && b.type == JINJA_STRING) {
        size_t size = INL_MIN(a.as.string->size, b.as.string->size);
        int order = size ? memcmp(a.as.string->data, b.as.string->data, size) : 0;
        return order ? order : (a.as.string->size > b.as.string->size) -
                                   (a.as.string->size < b.as.string->size);
    }
    if (a.type == JINJA_LIST && b.type == JINJA_LIST) {
        for (size_t i = 0; i < a.as.list->count && i < b.as.list->count && !s->failed; i++)
            if (!inl_jinja_equal(s, a.as.list->items[i], b.as.list->items[i]))
                return inl_jinja_compare(s, a.as.list->items[i], b.as.list->items[i]);
        return (a.as.list->count > b.as.list->count) - (a.as.list->count < b.as.list->count);
    }
    inl_jinja_fail(s, "%s and %s have no order", inl_jinja_type_name(a), inl_jinja_type_name(b));
    return 0;
}

const jinja_value *inl_jinja_find(const jinja_dict *dict, const jinja_string *key)
{
    for (size_t i = 0; i < dict->count; i++)
        if (dict->entries[i].key.type == JINJA_STRING &&
            inl_jinja_same(dict->entries[i].key.as.string, key))
            return &dict->entries[i].value;
    return NULL;
}

const jinja_value *inl_jinja_get(const jinja_dict *dict, const char *key)
{
    jinja_string string = {.data = key, .size = strlen(key)};
    return inl_jinja_find(dict, &string);
}

const char *inl_jinja_type_name(jinja_value value)
{
    switch (value.type) {
    case JINJA_UNDEFINED: return "an undefined value";
    case JINJA_NONE: return "None";
    case JINJA_BOOL: return "a bool";
    case JINJA_INT: return "an int";
    case JINJA_FLOAT: return "a float";
    case JINJA_STRING: return "a string";
    case JINJA_LIST: return value.as.list->is_tuple ? "a tuple" : "a list";
    case JINJA_DICT: return "a dict";
    case JINJA_NAMESPACE: return "a namespace";
    default: return "a function";
    }
}

static jinja_value character(jinja_state *s, const jinja_string *string, size_t at, size_t size)
{
    return inl_jinja_string(s, string->data + at, string->marks ? string->marks + at : NULL, size);
}

jinja_list *inl_jinja_items(jinja_state *s, jinja_value value)
{
    if (value.type == JINJA_LIST)
        return value.as.list;
    jinja_value out = inl_jinja_list(s);
    if (value.type == JINJA_DICT) {
        for (size_t i = 0; i < value.as.dict->count; i++)
            inl_jinja_push(s, out.as.list, value.as.dict->entries[i].key);
    } else if (value.type == JINJA_STRING) {
        const jinja_string *string = value.as.string;
        for (size_t at = 0; at < string->size && !s->failed;) {
            uint32_t code;
            size_t size = inl_jinja_char(string->data + at, string->size - at, &code);
            inl_jinja_push(s, out.as.list, character(s, string, at, size));
            at += size;
        }
    } else if (value.type != JINJA_UNDEFINED) {
        inl_jinja_fail(s, "%s cannot be iterated", inl_jinja_type_name(value));
    }
    return s->failed ? NULL : out.as.list;
}

int64_t inl_jinja_length(jinja_value value)
{
    if (value.type == JINJA_LIST)
        return (int64_t)value.as.list->count;
    if (value.type == JINJA_DICT)
        return (int64_t)value.as.dict->count;
    if (value.type == JINJA_UNDEFINED)
        return 0;
    if (value.type != JINJA_STRING)
        return -1;
    int64_t count = 0;
    for (size_t at = 0; at < value.as.string->size; count++) {
        uint32_t code;
        at += inl_jinja_char(value.as.string->data + at, value.as.string->size - at, &code);
    }
    return count;
}

// A bound of a slice as Python clamps it.
static int64_t bound(jinja_state *s, const jinja_value *value, int64_t count, int64_t low,
                     int64_t high, int64_t otherwise)
{
    if (!value || value->type == JINJA_NONE)
        return otherwise;
    if (value->type != JINJA_INT) {
        inl_jinja_fail(s, "a slice needs whole numbers");
        return 0;
    }
    int64_t at = value->as.integer < 0 ? value->as.integer + count : value->as.integer;
    return at < low ? low : at > high ? high : at;
}

jinja_value inl_jinja_slice(jinja_state *s, jinja_value value, const jinja_value *from,
                            const jinja_value *to, const jinja_value *step_value)
{
    int64_t step = 1;
    if (value.type != JINJA_STRING && value.type != JINJA_LIST)
        return inl_jinja_fail(s, "%s cannot be sliced", inl_jinja_type_name(value));
    if (step_value && step_value->type == JINJA_INT)
        step = step_value->as.integer;
    if (step == 0 || step == INT64_MIN)
        return inl_jinja_fail(s, "a slice's step is zero");
    jinja_list *items = inl_jinja_items(s, value);
    if (!items)
        return jinja_undefined();
    int64_t count = (int64_t)items->count;
    int64_t low = step > 0 ? 0 : -1;
    int64_t high = step > 0 ? count : count - 1;
    int64_t start = bound(s, from, count, low, high, step > 0 ? low : high);
    int64_t stop = bound(s, to, count, low, high, step > 0 ? high : low);
    jinja_buffer text = {.state = s};
    jinja_value out = inl_jinja_list(s);
    for (int64_t i = start; (step > 0 ? i < stop : i > stop) && !s->failed; i += step) {
        if (value.type == JINJA_STRING)
            inl_jinja_append_string(&text, items->items[i].as.string);
        else
            inl_jinja_push(s, out.as.list, items->items[i]);
        if (step > count || step < -count)
            break;
    }
    if (value.type == JINJA_STRING)
        return inl_jinja_finish(&text);
    if (!s->failed)
        out.as.list->is_tuple = value.as.list->is_tuple;
    return out;
}
