// SPDX-License-Identifier: MIT
// Jinja's filters: what stands behind "|", by name.
#include "io/jinja_run.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

typedef jinja_value filter_run(jinja_run *r, jinja_value in, const jinja_args *args);

static bool flag(const jinja_args *args, size_t index, const char *name, bool otherwise)
{
    const jinja_value *value = inl_jinja_arg(args, index, name);
    return value ? inl_jinja_truth(*value) : otherwise;
}

static const jinja_string *text_arg(const jinja_args *args, size_t index, const char *name)
{
    const jinja_value *value = inl_jinja_arg(args, index, name);
    return value && value->type == JINJA_STRING ? value->as.string : NULL;
}

// A method of strings as a filter.
static jinja_value by_method(jinja_run *r, jinja_value in, const char *name, const jinja_args *args)
{
    jinja_string called = {.data = name, .size = strlen(name)};
    jinja_method method = {inl_jinja_to_string(r->state, in), &called};
    return r->state->failed ? in : inl_jinja_call_method(r, &method, args);
}

static jinja_value filter_trim(jinja_run *r, jinja_value in, const jinja_args *args)
{
    return by_method(r, in, "strip", args);
}

static jinja_value filter_upper(jinja_run *r, jinja_value in, const jinja_args *args)
{
    return by_method(r, in, "upper", args);
}

static jinja_value filter_lower(jinja_run *r, jinja_value in, const jinja_args *args)
{
    return by_method(r, in, "lower", args);
}

static jinja_value filter_capitalize(jinja_run *r, jinja_value in, const jinja_args *args)
{
    return by_method(r, in, "capitalize", args);
}

static jinja_value filter_title(jinja_run *r, jinja_value in, const jinja_args *args)
{
    return by_method(r, in, "title", args);
}

static jinja_value filter_replace(jinja_run *r, jinja_value in, const jinja_args *args)
{
    return by_method(r, in, "replace", args);
}

static jinja_value filter_string(jinja_run *r, jinja_value in, const jinja_args *args)
{
    (void)args;
    return inl_jinja_to_string(r->state, in);
}

static jinja_value filter_safe(jinja_run *r, jinja_value in, const jinja_args *args)
{
    (void)args;
    return inl_jinja_make_safe(r->state, inl_jinja_to_string(r->state, in));
}

static jinja_value filter_tojson(jinja_run *r, jinja_value in, const jinja_args *args)
{
    jinja_json_style style = {.indent = -1, .ascii = flag(args, 0, "ensure_ascii", false),
                              .sorted = flag(args, 3, "sort_keys", false)};
    const jinja_value *indent = inl_jinja_arg(args, 1, "indent");
    const jinja_value *separators = inl_jinja_arg(args, 2, "separators");
    if (indent && indent->type == JINJA_INT)
        style.indent = INL_MAX(0, INL_MIN(indent->as.integer, 64));
    if (separators && separators->type == JINJA_LIST && separators->as.list->count == 2 &&
        separators->as.list->items[0].type == JINJA_STRING &&
        separators->as.list->items[1].type == JINJA_STRING) {
        style.between = separators->as.list->items[0].as.string;
        style.colon = separators->as.list->items[1].as.string;
    }
    return inl_jinja_to_json(r->state, in, &style);
}

static jinja_value filter_length(jinja_run *r, jinja_value in, const jinja_args *args)
{
    (void)args;
    int64_t length = inl_jinja_length(in);
    if (length < 0)
        return inl_jinja_fail(r->state, "%s has no length", inl_jinja_type_name(in));
    return jinja_int(length);
}

static jinja_value filter_default(jinja_run *r, jinja_value in, const jinja_args *args)
{
    const jinja_value *other = inl_jinja_arg(args, 0, "default_value");
    bool also_false = flag(args, 1, "boolean", false);
    if (in.type == JINJA_UNDEFINED || (also_false && !inl_jinja_truth(in)))
        return other ? *other : inl_jinja_text(r->state, "");
    return in;
}

static jinja_value filter_first(jinja_run *r, jinja_value in, const jinja_args *args)
{
    (void)args;
    const jinja_list *items = inl_jinja_items(r->state, in);
    return items && items->count > 0 ? items->items[0] : jinja_undefined();
}

static jinja_value filter_last(jinja_run *r, jinja_value in, const jinja_args *args)
{
    (void)args;
    const jinja_list *items = inl_jinja_items(r->state, in);
    return items && items->count > 0 ? items->items[items->count - 1] : jinja_undefined();
}

static jinja_value copy_items(jinja_run *r, const jinja_list *items, bool backwards)
{
    jinja_value out = inl_jinja_list(r->state);
    for (size_t i = 0; items && i < items->count && !r->state->failed; i++)
        inl_jinja_push(r->state, out.as.list,
                       items->items[backwards ? items->count - 1 - i : i]);
    return out;
}

static jinja_value filter_list(jinja_run *r, jinja_value in, const jinja_args *args)
{
    (void)args;
    return copy_items(r, inl_jinja_items(r->state, in), false);
}

static jinja_value filter_reverse(jinja_run *r, jinja_value in, const jinja_args *args)
{
    (void)args;
    jinja_value step = jinja_int(-1);
    if (in.type == JINJA_STRING)
        return inl_jinja_slice(r->state, in, NULL, NULL, &step);
    return copy_items(r, inl_jinja_items(r->state, in), true);
}

// The member of an item that "a.b.0" names; the item itself without a name.
static jinja_value member(jinja_run *r, jinja_value item, const jinja_value *path)
{
    if (!path || path->type == JINJA_NONE)
        return item;
    if (path->type == JINJA_INT)
        return inl_jinja_item(r, item, *path);
    if (path->type != JINJA_STRING)
        return inl_jinja_fail(r->state, "an attribute is named by %s", inl_jinja_type_name(*path));
    const jinja_string *text = path->as.string;
    for (size_t start = 0; start <= text->size && !r->state->failed;) {
        size_t end = start;
        bool digits = true;
        for (; end < text->size && text->data[end] != '.'; end++)
            digits = digits && text->data[end] >= '0' && text->data[end] <= '9';
        jinja_value key = inl_jinja_string(r->state, text->data + start, NULL, end - start);
        if (digits && end > start && end - start < 10)
            key = jinja_int(strtol(text->data + start, NULL, 10));
        item = r->state->failed ? item : inl_jinja_item(r, item, key);
        start = end + 1;
    }
    return item;
}

static jinja_value filter_join(jinja_run *r, jinja_value in, const jinja_args *args)
{
    const jinja_string *between = text_arg(args, 0, "d");
    const jinja_value *attribute = inl_jinja_arg(args, 1, "attribute");
    const jinja_list *items = inl_jinja_items(r->state, in);
    jinja_buffer out = {.state = r->state};
    for (size_t i = 0; items && i < items->count && !r->state->failed; i++) {
        if (i > 0 && between)
            inl_jinja_append_string(&out, between);
        inl_jinja_append_value(&out, member(r, items->items[i], attribute));
    }
    return inl_jinja_finish(&out);
}

// Jinja makes these lists when they are looked at: one of nothing that nobody looks at is no error.
static const jinja_list *lazy_items(jinja_run *r, jinja_value in)
{
    return inl_jinja_items(r->state, in.type == JINJA_NONE ? jinja_undefined() : in);
}

static jinja_value filter_map(jinja_run *r, jinja_value in, const jinja_args *args)
{
    const jinja_value *attribute = inl_jinja_arg(args, SIZE_MAX, "attribute");
    const jinja_value *otherwise = inl_jinja_arg(args, SIZE_MAX, "default");
    const jinja_list *items = lazy_items(r, in);
    jinja_value out = inl_jinja_list(r->state);
    jinja_args rest = *args;
    if (!attribute && (args->count == 0 || args->items[0].type != JINJA_STRING))
        return inl_jinja_fail(r->state, "map needs a filter or an attribute");
    if (!attribute)
        memmove(rest.items, rest.items + 1, --rest.count * sizeof(*rest.items));
    for (size_t i = 0; items && i < items->count && !r->state->failed; i++) {
        jinja_value item = items->items[i];
        if (attribute)
            item = member(r, item, attribute);
        else
            item = inl_jinja_filter(r, args->items[0].as.string, item, &rest);
        if (attribute && otherwise && item.type == JINJA_UNDEFINED)
            item = *otherwise;
        inl_jinja_push(r->state, out.as.list, item);
    }
    return out;
}

// The items that pass a test, or fail it; with an attribute its value is tested.
static jinja_value choose(jinja_run *r, jinja_value in, const jinja_args *args, bool by_attribute,
                          bool wanted)
{
    const jinja_list *items = lazy_items(r, in);
    jinja_value out = inl_jinja_list(r->state);
    size_t first = by_attribute;
    if (args->count < first)
        return inl_jinja_fail(r->state, "an attribute's name is missing");
    const jinja_value *test = inl_jinja_arg(args, first, NULL);
    jinja_args rest = {0};
    for (size_t i = first + 1; i < args->count; i++)
        rest.items[rest.count++] = args->items[i];
    if (test && test->type != JINJA_STRING)
        return inl_jinja_fail(r->state, "a test is named by %s", inl_jinja_type_name(*test));
    for (size_t i = 0; items && i < items->count && !r->state->failed; i++) {
        jinja_value item = items->items[i];
        jinja_value tested = by_attribute ? member(r, item, &args->items[0]) : item;
        bool passes = test ? inl_jinja_test(r, test->as.string, tested, &rest)
                           : inl_jinja_truth(tested);
        if (passes == wanted)
            inl_jinja_push(r->state, out.as.list, item);
    }
    return out;
}

static jinja_value filter_select(jinja_run *r, jinja_value in, const jinja_args *args)
{
    return choose(r, in, args, false, true);
}

static jinja_value filter_reject(jinja_run *r, jinja_value in, const jinja_args *args)
{
    return choose(r, in, args, false, false);
}

static jinja_value filter_selectattr(jinja_run *r, jinja_value in, const jinja_args *args)
{
    return choose(r, in, args, true, true);
}

static jinja_value filter_rejectattr(jinja_run *r, jinja_value in, const jinja_args *args)
{
    return choose(r, in, args, true, false);
}

static jinja_value pair(jinja_run *r, jinja_value a, jinja_value b)
{
    jinja_value out = inl_jinja_list(r->state);
    if (r->state->failed)
        return out;
    inl_jinja_push(r->state, out.as.list, a);
    inl_jinja_push(r->state, out.as.list, b);
    out.as.list->is_tuple = true;
    return out;
}

static jinja_value filter_items(jinja_run *r, jinja_value in, const jinja_args *args)
{
    (void)args;
    jinja_value out = inl_jinja_list(r->state);
    if (in.type == JINJA_UNDEFINED)
        return out;
    if (in.type != JINJA_DICT)
        return inl_jinja_fail(r->state, "%s has no items", inl_jinja_type_name(in));
    for (size_t i = 0; i < in.as.dict->count && !r->state->failed; i++)
        inl_jinja_push(r->state, out.as.list,
                       pair(r, in.as.dict->entries[i].key, in.as.dict->entries[i].value));
    return out;
}

// ---- sorting

// What an item is sorted by: lower case where case does not count.
static jinja_value sort_key(jinja_run *r, jinja_value item, const jinja_value *attribute,
                            bool case_sensitive)
{
    jinja_value key = member(r, item, attribute);
    jinja_args none = {0};
    return key.type == JINJA_STRING && !case_sensitive ? filter_lower(r, key, &none) : key;
}

// By insertion, stable: the lists are short, and steps are counted.
static jinja_value sorted(jinja_run *r, const jinja_list *items, const jinja_value *attribute,
                          bool case_sensitive, bool backwards)
{
    jinja_value out = inl_jinja_list(r->state);
    jinja_value keys = inl_jinja_list(r->state);
    for (size_t i = 0; items && i < items->count && !r->state->failed; i++) {
        jinja_value key = sort_key(r, items->items[i], attribute, case_sensitive);
        inl_jinja_push(r->state, out.as.list, items->items[i]);
        inl_jinja_push(r->state, keys.as.list, key);
        if (r->state->failed)
            break;
        jinja_value *o = out.as.list->items;
        jinja_value *k = keys.as.list->items;
        for (size_t j = i; j > 0 && r->state->steps > 0; j--, r->state->steps--) {
            int order = inl_jinja_compare(r->state, k[j - 1], key);
            if (backwards ? order >= 0 : order <= 0)
                break;
            k[j] = k[j - 1];
            k[j - 1] = key;
            o[j] = o[j - 1];
            o[j - 1] = items->items[i];
        }
    }
    return out;
}

static jinja_value filter_sort(jinja_run *r, jinja_value in, const jinja_args *args)
{
    return sorted(r, inl_jinja_items(r->state, in), inl_jinja_arg(args, 2, "attribute"),
                  flag(args, 1, "case_sensitive", false), flag(args, 0, "reverse", false));
}

static jinja_value filter_dictsort(jinja_run *r, jinja_value in, const jinja_args *args)
{
    const jinja_string *by = text_arg(args, 1, "by");
    jinja_value place = jinja_int(by && by->size == 5);
    jinja_value pairs = filter_items(r, in, args);
    if (r->state->failed)
        return pairs;
    return sorted(r, pairs.as.list, &place, flag(args, 0, "case_sensitive", false),
                  flag(args, 2, "reverse", false));
}

static jinja_value filter_unique(jinja_run *r, jinja_value in, const jinja_args *args)
{
    const jinja_list *items = inl_jinja_items(r->state, in);
    const jinja_value *attribute = inl_jinja_arg(args, 1, "attribute");
    jinja_value seen = inl_jinja_list(r->state);
    jinja_value out = inl_jinja_list(r->state);
    for (size_t i = 0; items && i < items->count && !r->state->failed; i++) {
        jinja_value key = sort_key(r, items->items[i], attribute,
                                   flag(args, 0, "case_sensitive", false));
        if (r->state->failed || inl_jinja_contains(r, seen, key))
            continue;
        inl_jinja_push(r->state, seen.as.list, key);
        inl_jinja_push(r->state, out.as.list, items->items[i]);
    }
    return out;
}

// The greatest, or the least; undefined for an empty list.
static jinja_value extreme(jinja_run *r, jinja_value in, const jinja_args *args, int sign)
{
    const jinja_list *items = inl_jinja_items(r->state, in);
    const jinja_value *attribute = inl_jinja_arg(args, 1, "attribute");
    jinja_value best = jinja_undefined();
    jinja_value best_key = best;
    for (size_t i = 0; items && i < items->count && !r->state->failed; i++) {
        jinja_value key = sort_key(r, items->items[i], attribute,
                                   flag(args, 0, "case_sensitive", false));
        if (i > 0 && inl_jinja_compare(r->state, key, best_key) * sign <= 0)
            continue;
        best = items->items[i];
        best_key = key;
    }
    return best;
}

static jinja_value filter_max(jinja_run *r, jinja_value in, const jinja_args *args)
{
    return extreme(r, in, args, 1);
}

static jinja_value filter_min(jinja_run *r, jinja_value in, const jinja_args *args)
{
    return extreme(r, in, args, -1);
}

static jinja_value filter_sum(jinja_run *r, jinja_value in, const jinja_args *args)
{
    const jinja_list *items = inl_jinja_items(r->state, in);
    const jinja_value *start = inl_jinja_arg(args, 1, "start");
    const jinja_value *attribute = inl_jinja_arg(args, 0, "attribute");
    jinja_value out = start ? *start : jinja_int(0);
    for (size_t i = 0; items && i < items->count && !r->state->failed; i++)
        out = inl_jinja_add(r, out, member(r, items->items[i], attribute));
    return out;
}

// ---- numbers

static jinja_value filter_int(jinja_run *r, jinja_value in, const jinja_args *args)
{
    const jinja_value *otherwise = inl_jinja_arg(args, 0, "default");
    if (in.type == JINJA_INT)
        return in;
    if (in.type == JINJA_BOOL)
        return jinja_int(in.as.boolean);
    if (in.type == JINJA_FLOAT && fabs(in.as.real) < 9e18)
        return jinja_int((int64_t)in.as.real);
    char text[32] = "";
    if (in.type == JINJA_STRING && in.as.string->size < sizeof(text)) {
        jinja_string s = inl_jinja_strip(*in.as.string, NULL, true, true);
        memcpy(text, s.data, s.size);
        char *end;
        long long value = strtoll(text, &end, 10);
        if (end > text && *end == '\0')
            return jinja_int(value);
        double real = strtod(text, &end);
        if (end > text && *end == '\0' && fabs(real) < 9e18)
            return jinja_int((int64_t)real);
    }
    (void)r;
    return otherwise ? *otherwise : jinja_int(0);
}

static jinja_value filter_float(jinja_run *r, jinja_value in, const jinja_args *args)
{
    const jinja_value *otherwise = inl_jinja_arg(args, 0, "default");
    if (inl_jinja_is_number(in))
        return jinja_real(inl_jinja_number(in));
    char text[64] = "";
    (void)r;
    if (in.type == JINJA_STRING && in.as.string->size < sizeof(text)) {
        jinja_string s = inl_jinja_strip(*in.as.string, NULL, true, true);
        memcpy(text, s.data, s.size);
        char *end;
        double real = strtod(text, &end);
        if (end > text && *end == '\0')
            return jinja_real(real);
    }
    return otherwise ? *otherwise : jinja_real(0.0);
}

static jinja_value filter_abs(jinja_run *r, jinja_value in, const jinja_args *args)
{
    (void)args;
    if (in.type == JINJA_INT && in.as.integer != INT64_MIN)
        return jinja_int(in.as.integer < 0 ? -in.as.integer : in.as.integer);
    if (in.type == JINJA_FLOAT)
        return jinja_real(fabs(in.as.real));
    return inl_jinja_fail(r->state, "%s has no absolute value", inl_jinja_type_name(in));
}

static jinja_value filter_round(jinja_run *r, jinja_value in, const jinja_args *args)
{
    const jinja_value *digits = inl_jinja_arg(args, 0, "precision");
    const jinja_string *method = text_arg(args, 1, "method");
    if (!inl_jinja_is_number(in))
        return inl_jinja_fail(r->state, "%s cannot be rounded", inl_jinja_type_name(in));
    double scale = pow(10.0, digits && digits->type == JINJA_INT ? (double)digits->as.integer : 0);
    double x = inl_jinja_number(in) * scale;
    if (method && method->size > 0 && method->data[0] == 'c' && method->data[1] == 'e')
        return jinja_real(ceil(x) / scale);
    if (method && method->size > 0 && method->data[0] == 'f')
        return jinja_real(floor(x) / scale);
    return jinja_real(nearbyint(x) / scale);
}

// ---- text

static void append_spaces(jinja_buffer *b, int64_t count)
{
    for (int64_t i = 0; i < INL_MIN(count, 1000); i++)
        inl_jinja_append(b, " ", 1, 0);
}

static jinja_value filter_indent(jinja_run *r, jinja_value in, const jinja_args *args)
{
    const jinja_value *width = inl_jinja_arg(args, 0, "width");
    bool first = flag(args, 1, "first", false);
    bool blank = flag(args, 2, "blank", false);
    jinja_value text = inl_jinja_to_string(r->state, in);
    jinja_buffer out = {.state = r->state};
    if (r->state->failed)
        return text;
    const jinja_string *s = text.as.string;
    for (size_t start = 0; start <= s->size && !r->state->failed;) {
        size_t end = start;
        while (end < s->size && s->data[end] != '\n')
            end++;
        jinja_string line = inl_jinja_part(s, start, end - start + (end < s->size));
        if ((start > 0 || first) && (end > start || blank)) {
            if (width && width->type == JINJA_STRING)
                inl_jinja_append_string(&out, width->as.string);
            else
                append_spaces(&out, width && width->type == JINJA_INT ? width->as.integer : 4);
        }
        inl_jinja_append_string(&out, &line);
        start = end + 1;
    }
    return inl_jinja_finish(&out);
}

static jinja_value filter_escape(jinja_run *r, jinja_value in, const jinja_args *args)
{
    jinja_value text = inl_jinja_to_string(r->state, in);
    jinja_buffer out = {.state = r->state};
    (void)args;
    if (r->state->failed || text.as.string->safe)
        return text;
    inl_jinja_append_escaped(&out, text.as.string);
    return inl_jinja_make_safe(r->state, inl_jinja_finish(&out));
}

static jinja_value filter_wordcount(jinja_run *r, jinja_value in, const jinja_args *args)
{
    jinja_args none = {0};
    (void)args;
    jinja_value words = by_method(r, in, "split", &none);
    return r->state->failed ? words : jinja_int((int64_t)words.as.list->count);
}

static jinja_value filter_attr(jinja_run *r, jinja_value in, const jinja_args *args)
{
    const jinja_string *name = text_arg(args, 0, "name");
    return name ? inl_jinja_attribute(r, in, name) : jinja_undefined();
}

static const struct {
    const char *name;
    filter_run *run;
} filters[] = {
    {"abs", filter_abs},           {"attr", filter_attr},         {"capitalize", filter_capitalize},
    {"count", filter_length},      {"d", filter_default},         {"default", filter_default},
    {"dictsort", filter_dictsort}, {"e", filter_escape},          {"escape", filter_escape},
    {"first", filter_first},       {"float", filter_float},       {"indent", filter_indent},
    {"int", filter_int},           {"items", filter_items},       {"join", filter_join},
    {"last", filter_last},         {"length", filter_length},     {"list", filter_list},
    {"lower", filter_lower},       {"map", filter_map},           {"max", filter_max},
    {"min", filter_min},           {"reject", filter_reject},     {"rejectattr", filter_rejectattr},
    {"replace", filter_replace},   {"reverse", filter_reverse},   {"round", filter_round},
    {"safe", filter_safe},         {"select", filter_select},     {"selectattr", filter_selectattr},
    {"sort", filter_sort},         {"string", filter_string},     {"sum", filter_sum},
    {"title", filter_title},       {"tojson", filter_tojson},     {"trim", filter_trim},
    {"unique", filter_unique},     {"upper", filter_upper},       {"wordcount", filter_wordcount},
};

jinja_value inl_jinja_filter(jinja_run *r, const jinja_string *name, jinja_value input,
                             const jinja_args *args)
{
    for (size_t i = 0; i < INL_COUNT(filters); i++)
        if (name->size == strlen(filters[i].name) &&
            memcmp(name->data, filters[i].name, name->size) == 0)
            return filters[i].run(r, input, args);
    return inl_jinja_unsupported(r, "the filter \"%.*s\" is not supported",
                                 (int)INL_MIN(name->size, 32), name->data);
}
