// SPDX-License-Identifier: MIT
// Methods of Python's str, dict and list, as far as they change nothing.
#include "io/jinja_run.h"

#include <string.h>
#include <utf8proc.h>

static const char *const string_methods[] = {
    "strip", "lstrip", "rstrip", "split", "rsplit", "splitlines", "startswith", "endswith",
    "replace", "upper", "lower", "title", "capitalize", "join", "find", "rfind", "index", "count",
    "removeprefix", "removesuffix", "isdigit", "isalpha", "isalnum", "isspace", "isupper",
    "islower", "format", "partition", "rpartition", "zfill", "ljust", "rjust", "center",
    "casefold", "swapcase", "encode", "isnumeric", "isdecimal",
};
static const char *const dict_methods[] = {
    "items", "keys", "values", "get", "copy",
    "pop", "update", "clear", "setdefault", "popitem", "fromkeys",
};
static const char *const list_methods[] = {
    "index", "count", "copy", "append", "extend", "insert", "pop", "remove", "reverse", "sort",
    "clear",
};

static bool is(const jinja_string *name, const char *text)
{
    return name->size == strlen(text) && memcmp(name->data, text, name->size) == 0;
}

static bool is_among(const jinja_string *name, const char *const *names, size_t count)
{
    for (size_t i = 0; i < count; i++)
        if (is(name, names[i]))
            return true;
    return false;
}

bool inl_jinja_has_method(jinja_value of, const jinja_string *name)
{
    if (of.type == JINJA_STRING)
        return is_among(name, string_methods, INL_COUNT(string_methods));
    if (of.type == JINJA_DICT)
        return is_among(name, dict_methods, INL_COUNT(dict_methods));
    return of.type == JINJA_LIST && is_among(name, list_methods, INL_COUNT(list_methods));
}

static jinja_value part(jinja_run *r, const jinja_string *s, size_t start, size_t size)
{
    jinja_string p = inl_jinja_part(s, start, size);
    return inl_jinja_string(r->state, p.data, p.marks, p.size);
}

static const jinja_string *text_arg(const jinja_args *args, size_t index, const char *name)
{
    const jinja_value *value = inl_jinja_arg(args, index, name);
    return value && value->type == JINJA_STRING ? value->as.string : NULL;
}

// ---- characters

static size_t put_code(char *out, utf8proc_int32_t code)
{
    return (size_t)utf8proc_encode_char(code, (utf8proc_uint8_t *)out);
}

// Letter by letter; `first` decides the first one of the text (or with `words` of each word).
static jinja_value change_case(jinja_run *r, const jinja_string *s, bool first, bool others,
                               bool words)
{
    jinja_buffer out = {.state = r->state};
    bool upper = first;
    for (size_t at = 0; at < s->size && !r->state->failed;) {
        uint32_t code;
        char text[4];
        size_t size = inl_jinja_char(s->data + at, s->size - at, &code);
        uint8_t mark = s->marks ? s->marks[at] : 0;
        if (code == 0xdf && upper && code != 0xfffd) // no single letter is its upper case
            inl_jinja_append(&out, first && !others ? "Ss" : "SS", 2, mark);
        else if (code == 0xfffd)
            inl_jinja_append(&out, s->data + at, size, mark);
        else
            inl_jinja_append(&out, text,
                             put_code(text, upper ? utf8proc_toupper((utf8proc_int32_t)code)
                                                  : utf8proc_tolower((utf8proc_int32_t)code)),
                             mark);
        utf8proc_category_t kind = utf8proc_category((utf8proc_int32_t)code);
        bool letter = kind >= UTF8PROC_CATEGORY_LU && kind <= UTF8PROC_CATEGORY_LO;
        upper = words && !letter ? first : others;
        at += size;
    }
    return inl_jinja_finish(&out);
}

// Whether there are characters and each is of the kind.
static bool all_are(const jinja_string *s, const char *kind)
{
    bool upper = strcmp(kind, "isupper") == 0;
    bool cased = false;
    for (size_t at = 0; at < s->size;) {
        uint32_t code;
        at += inl_jinja_char(s->data + at, s->size - at, &code);
        utf8proc_category_t c = utf8proc_category((utf8proc_int32_t)code);
        bool letter = c >= UTF8PROC_CATEGORY_LU && c <= UTF8PROC_CATEGORY_LO;
        bool digit = c == UTF8PROC_CATEGORY_ND;
        if (upper || strcmp(kind, "islower") == 0) {
            if (c == (upper ? UTF8PROC_CATEGORY_LL : UTF8PROC_CATEGORY_LU))
                return false;
            cased = cased || c == (upper ? UTF8PROC_CATEGORY_LU : UTF8PROC_CATEGORY_LL);
            continue;
        }
        bool fits = strcmp(kind, "isspace") == 0 ? inl_jinja_is_space(code)
                    : strcmp(kind, "isalpha") == 0 ? letter
                    : strcmp(kind, "isalnum") == 0 ? letter || digit : digit;
        if (!fits)
            return false;
        cased = true;
    }
    return cased;
}

// ---- taking apart

// Pieces between blanks; `most` splits, from the right if asked.
static jinja_value split_blanks(jinja_run *r, const jinja_string *s, int64_t most, bool right)
{
    jinja_value out = inl_jinja_list(r->state);
    jinja_string rest = inl_jinja_strip(*s, NULL, true, true);
    while (rest.size > 0 && !r->state->failed) {
        size_t at = right ? rest.size : 0;
        uint32_t code;
        while (right ? at > 0 : at < rest.size) {
            size_t size = 1;
            while (right && size < at && size < 4 &&
                   ((uint8_t)rest.data[at - size] & 0xc0) == 0x80)
                size++;
            size = inl_jinja_char(rest.data + (right ? at - size : at),
                                  right ? size : rest.size - at, &code);
            if (inl_jinja_is_space(code))
                break;
            at = right ? at - size : at + size;
        }
        if (most == 0)
            at = right ? 0 : rest.size;
        most--;
        inl_jinja_push(r->state, out.as.list,
                       right ? part(r, &rest, at, rest.size - at) : part(r, &rest, 0, at));
        rest = right ? inl_jinja_part(&rest, 0, at) : inl_jinja_part(&rest, at, rest.size - at);
        rest = inl_jinja_strip(rest, NULL, !right, right);
    }
    return out;
}

static size_t search_back(const jinja_string *s, const jinja_string *what, size_t end)
{
    for (size_t at = end >= what->size ? end - what->size + 1 : 0; at-- > 0;)
        if (memcmp(s->data + at, what->data, what->size) == 0)
            return at;
    return SIZE_MAX;
}

static void turn_around(jinja_list *list)
{
    for (size_t i = 0; i < list->count / 2; i++) {
        jinja_value a = list->items[i];
        list->items[i] = list->items[list->count - 1 - i];
        list->items[list->count - 1 - i] = a;
    }
}

static jinja_value split_at(jinja_run *r, const jinja_string *s, const jinja_string *between,
                            int64_t most, bool right)
{
    jinja_value out = inl_jinja_list(r->state);
    if (between->size == 0)
        return inl_jinja_fail(r->state, "text is split at nothing");
    jinja_string rest = *s;
    for (; most != 0 && !r->state->failed; most--) {
        size_t at = right ? search_back(&rest, between, rest.size)
                          : inl_jinja_search(&rest, between, 0);
        if (at == SIZE_MAX)
            break;
        size_t behind = at + between->size;
        inl_jinja_push(r->state, out.as.list,
                       right ? part(r, &rest, behind, rest.size - behind) : part(r, &rest, 0, at));
        rest = right ? inl_jinja_part(&rest, 0, at)
                     : inl_jinja_part(&rest, behind, rest.size - behind);
    }
    inl_jinja_push(r->state, out.as.list, part(r, &rest, 0, rest.size));
    return out;
}

static jinja_value method_split(jinja_run *r, const jinja_string *s, const jinja_args *args,
                                bool right)
{
    const jinja_string *between = text_arg(args, 0, "sep");
    const jinja_value *most = inl_jinja_arg(args, 1, "maxsplit");
    int64_t count = most && most->type == JINJA_INT ? most->as.integer : -1;
    jinja_value out = between ? split_at(r, s, between, count, right)
                              : split_blanks(r, s, count, right);
    if (right && !r->state->failed)
        turn_around(out.as.list);
    return out;
}

static jinja_value method_splitlines(jinja_run *r, const jinja_string *s, const jinja_args *args)
{
    const jinja_value *keep = inl_jinja_arg(args, 0, "keepends");
    bool keeps = keep && inl_jinja_truth(*keep);
    jinja_value out = inl_jinja_list(r->state);
    for (size_t start = 0; start < s->size && !r->state->failed;) {
        size_t end = start;
        while (end < s->size && s->data[end] != '\n' && s->data[end] != '\r')
            end++;
        size_t behind = end + (end < s->size);
        behind += end + 1 < s->size && s->data[end] == '\r' && s->data[end + 1] == '\n';
        inl_jinja_push(r->state, out.as.list, part(r, s, start, (keeps ? behind : end) - start));
        start = behind;
    }
    return out;
}

static jinja_value method_partition(jinja_run *r, const jinja_string *s, const jinja_args *args,
                                    bool right)
{
    const jinja_string *between = text_arg(args, 0, "sep");
    if (!between || between->size == 0)
        return inl_jinja_fail(r->state, "text is parted at nothing");
    size_t at = right ? search_back(s, between, s->size) : inl_jinja_search(s, between, 0);
    jinja_value out = inl_jinja_list(r->state);
    size_t cuts[4] = {0, at, at + between->size, s->size};
    if (at == SIZE_MAX)
        cuts[1] = cuts[2] = right ? 0 : s->size;
    for (int i = 0; i < 3; i++)
        inl_jinja_push(r->state, out.as.list, part(r, s, cuts[i], cuts[i + 1] - cuts[i]));
    if (!r->state->failed)
        out.as.list->is_tuple = true;
    return out;
}

// ---- finding

static bool has_affix(const jinja_string *s, const jinja_string *what, bool end)
{
    return s->size >= what->size &&
           (what->size == 0 ||
            memcmp(s->data + (end ? s->size - what->size : 0), what->data, what->size) == 0);
}

static jinja_value method_affix(jinja_run *r, const jinja_string *s, const jinja_args *args,
                                bool end)
{
    const jinja_value *what = inl_jinja_arg(args, 0, NULL);
    if (what && what->type == JINJA_STRING)
        return jinja_bool(has_affix(s, what->as.string, end));
    if (!what || what->type != JINJA_LIST)
        return inl_jinja_fail(r->state, "%s needs a text", end ? "endswith" : "startswith");
    for (size_t i = 0; i < what->as.list->count; i++)
        if (what->as.list->items[i].type == JINJA_STRING &&
            has_affix(s, what->as.list->items[i].as.string, end))
            return jinja_bool(true);
    return jinja_bool(false);
}

static jinja_value method_find(jinja_run *r, const jinja_string *s, const jinja_args *args,
                               bool right, bool must)
{
    const jinja_string *what = text_arg(args, 0, NULL);
    if (!what || args->count > 1)
        return inl_jinja_unsupported(r, "text is searched for in a way that is not supported");
    size_t at = right ? search_back(s, what, s->size) : inl_jinja_search(s, what, 0);
    if (at == SIZE_MAX && must)
        return inl_jinja_fail(r->state, "a text that is looked for is not there");
    if (at == SIZE_MAX)
        return jinja_int(-1);
    jinja_value before = part(r, s, 0, at);
    return jinja_int(r->state->failed ? 0 : inl_jinja_length(before));
}

static jinja_value method_count(const jinja_string *s, const jinja_string *what)
{
    int64_t count = 0;
    if (!what || what->size == 0)
        return jinja_int(0);
    for (size_t at = 0; (at = inl_jinja_search(s, what, at)) != SIZE_MAX; at += what->size)
        count++;
    return jinja_int(count);
}

// ---- making new text

static jinja_value method_replace(jinja_run *r, const jinja_string *s, const jinja_args *args)
{
    const jinja_string *old = text_arg(args, 0, "old");
    const jinja_string *new = text_arg(args, 1, "new");
    const jinja_value *most = inl_jinja_arg(args, 2, "count");
    int64_t left = most && most->type == JINJA_INT ? most->as.integer : -1;
    jinja_buffer out = {.state = r->state};
    if (!old || !new || old->size == 0)
        return inl_jinja_fail(r->state, "replace needs a text and another");
    size_t at = 0;
    for (; left != 0 && !r->state->failed; left--) {
        size_t hit = inl_jinja_search(s, old, at);
        if (hit == SIZE_MAX)
            break;
        jinja_string before = inl_jinja_part(s, at, hit - at);
        inl_jinja_append_string(&out, &before);
        inl_jinja_append_string(&out, new);
        at = hit + old->size;
    }
    jinja_string rest = inl_jinja_part(s, at, s->size - at);
    inl_jinja_append_string(&out, &rest);
    return inl_jinja_finish(&out);
}

static jinja_value method_join(jinja_run *r, const jinja_string *between, const jinja_args *args)
{
    const jinja_value *what = inl_jinja_arg(args, 0, NULL);
    const jinja_list *items = what ? inl_jinja_items(r->state, *what) : NULL;
    jinja_buffer out = {.state = r->state};
    for (size_t i = 0; items && i < items->count && !r->state->failed; i++) {
        if (items->items[i].type != JINJA_STRING)
            return inl_jinja_fail(r->state, "join needs texts, not %s",
                                  inl_jinja_type_name(items->items[i]));
        if (i > 0)
            inl_jinja_append_string(&out, between);
        inl_jinja_append_string(&out, items->items[i].as.string);
    }
    return inl_jinja_finish(&out);
}

// {} and {0} and {name}, nothing more inside the braces.
static jinja_value method_format(jinja_run *r, const jinja_string *s, const jinja_args *args)
{
    jinja_buffer out = {.state = r->state};
    size_t next = 0;
    for (size_t at = 0; at < s->size && !r->state->failed; at++) {
        char c = s->data[at];
        jinja_string one = inl_jinja_part(s, at, 1);
        if ((c == '{' || c == '}') && at + 1 < s->size && s->data[at + 1] == c) {
            at++;
        } else if (c == '{') {
            char name[32] = "";
            size_t end = at + 1;
            for (; end < s->size && s->data[end] != '}' && end - at < sizeof(name); end++)
                name[end - at - 1] = s->data[end];
            bool digits = name[0] >= '0' && name[0] <= '9';
            size_t index = !name[0] ? next++ : digits ? (size_t)(name[0] - '0') : SIZE_MAX;
            const jinja_value *value = inl_jinja_arg(args, index, name);
            if (end >= s->size || s->data[end] != '}' || !value || (digits && name[1]))
                return inl_jinja_unsupported(r, "a format is not supported: {%s}", name);
            inl_jinja_append_value(&out, *value);
            at = end;
            continue;
        }
        inl_jinja_append_string(&out, &one);
    }
    return inl_jinja_finish(&out);
}

static jinja_value method_pad(jinja_run *r, const jinja_string *s, const jinja_args *args,
                              char kind)
{
    const jinja_value *width = inl_jinja_arg(args, 0, NULL);
    const jinja_string *fill = text_arg(args, 1, NULL);
    jinja_string padding = {.data = kind == 'z' ? "0" : " ", .size = 1};
    jinja_buffer out = {.state = r->state};
    jinja_value self = inl_jinja_string(r->state, s->data, s->marks, s->size);
    if (r->state->failed || !width || width->type != JINJA_INT)
        return inl_jinja_fail(r->state, "a width is missing");
    int64_t more = INL_MIN(width->as.integer, 10000) - inl_jinja_length(self);
    more = INL_MAX(more, 0);
    int64_t left = kind == 'l' ? 0 : kind == 'c' ? more / 2 : more;
    for (int64_t i = 0; i < more; i++) {
        if (i == left)
            inl_jinja_append_string(&out, s);
        inl_jinja_append_string(&out, fill ? fill : &padding);
    }
    if (left == more)
        inl_jinja_append_string(&out, s);
    return inl_jinja_finish(&out);
}

static jinja_value strip(jinja_run *r, const jinja_string *s, const jinja_args *args, bool left,
                         bool right)
{
    jinja_string out = inl_jinja_strip(*s, text_arg(args, 0, "chars"), left, right);
    return inl_jinja_string(r->state, out.data, out.marks, out.size);
}

static jinja_value without_affix(jinja_run *r, const jinja_string *s, const jinja_args *args,
                                 bool end)
{
    const jinja_string *what = text_arg(args, 0, NULL);
    size_t cut = what && has_affix(s, what, end) ? what->size : 0;
    return part(r, s, end ? 0 : cut, s->size - cut);
}

static jinja_value call_string(jinja_run *r, const jinja_string *s, const jinja_string *name,
                               const jinja_args *args)
{
    if (is(name, "strip") || is(name, "lstrip") || is(name, "rstrip"))
        return strip(r, s, args, name->data[0] != 'r', name->data[0] != 'l');
    if (is(name, "split") || is(name, "rsplit"))
        return method_split(r, s, args, name->data[0] == 'r');
    if (is(name, "splitlines"))
        return method_splitlines(r, s, args);
    if (is(name, "startswith") || is(name, "endswith"))
        return method_affix(r, s, args, name->data[0] == 'e');
    if (is(name, "replace"))
        return method_replace(r, s, args);
    if (is(name, "upper") || is(name, "lower") || is(name, "casefold"))
        return change_case(r, s, name->data[0] == 'u', name->data[0] == 'u', false);
    if (is(name, "capitalize") || is(name, "title"))
        return change_case(r, s, true, false, name->data[0] == 't');
    if (is(name, "join"))
        return method_join(r, s, args);
    if (is(name, "find") || is(name, "rfind") || is(name, "index"))
        return method_find(r, s, args, name->data[0] == 'r', name->data[0] == 'i');
    if (is(name, "count"))
        return method_count(s, text_arg(args, 0, NULL));
    if (is(name, "removeprefix") || is(name, "removesuffix"))
        return without_affix(r, s, args, name->data[6] == 's');
    if (is(name, "partition") || is(name, "rpartition"))
        return method_partition(r, s, args, name->data[0] == 'r');
    if (is(name, "zfill") || is(name, "ljust") || is(name, "rjust") || is(name, "center"))
        return method_pad(r, s, args, name->data[0]);
    if (is(name, "format"))
        return method_format(r, s, args);
    if (name->size > 2 && name->size < 10 && memcmp(name->data, "is", 2) == 0) {
        char kind[10] = "";
        memcpy(kind, name->data, name->size);
        return jinja_bool(all_are(s, kind));
    }
    return inl_jinja_unsupported(r, "the method \"%.*s\" is not supported", (int)name->size,
                                 name->data);
}

static jinja_value pair(jinja_run *r, jinja_value a, jinja_value b)
{
    jinja_value out = inl_jinja_list(r->state);
    inl_jinja_push(r->state, out.as.list, a);
    inl_jinja_push(r->state, out.as.list, b);
    if (!r->state->failed)
        out.as.list->is_tuple = true;
    return out;
}

static jinja_value call_dict(jinja_run *r, const jinja_dict *dict, const jinja_string *name,
                             const jinja_args *args)
{
    if (is(name, "get")) {
        const jinja_value *key = inl_jinja_arg(args, 0, NULL);
        const jinja_value *otherwise = inl_jinja_arg(args, 1, NULL);
        for (size_t i = 0; key && i < dict->count; i++)
            if (inl_jinja_equal(r->state, dict->entries[i].key, *key))
                return dict->entries[i].value;
        return otherwise ? *otherwise : jinja_none();
    }
    if (is(name, "copy")) {
        jinja_value out = inl_jinja_dict(r->state);
        for (size_t i = 0; i < dict->count && !r->state->failed; i++)
            inl_jinja_put(r->state, out.as.dict, dict->entries[i].key, dict->entries[i].value);
        return out;
    }
    bool items = is(name, "items");
    if (!items && !is(name, "keys") && !is(name, "values"))
        return inl_jinja_fail(r->state, "a template must not change a dict (%.*s)",
                              (int)name->size, name->data);
    jinja_value out = inl_jinja_list(r->state);
    for (size_t i = 0; i < dict->count && !r->state->failed; i++) {
        const jinja_entry *e = &dict->entries[i];
        inl_jinja_push(r->state, out.as.list,
                       items ? pair(r, e->key, e->value) : is(name, "keys") ? e->key : e->value);
    }
    return out;
}

static jinja_value call_list(jinja_run *r, const jinja_list *list, const jinja_string *name,
                             const jinja_args *args)
{
    const jinja_value *what = inl_jinja_arg(args, 0, NULL);
    int64_t count = 0;
    if (!what || (!is(name, "index") && !is(name, "count")))
        return inl_jinja_fail(r->state, "a template must not change a list (%.*s)",
                              (int)name->size, name->data);
    for (size_t i = 0; i < list->count; i++) {
        bool same = inl_jinja_equal(r->state, list->items[i], *what);
        if (same && is(name, "index"))
            return jinja_int((int64_t)i);
        count += same;
    }
    return is(name, "count") ? jinja_int(count)
                             : inl_jinja_fail(r->state, "what is looked for is not in the list");
}

static jinja_value call_loop(jinja_run *r, jinja_loop *loop, const jinja_string *name,
                             const jinja_args *args)
{
    const jinja_value *what = inl_jinja_arg(args, 0, NULL);
    if (!what)
        return inl_jinja_fail(r->state, "loop.%.*s needs a value", (int)name->size, name->data);
    if (is(name, "cycle"))
        return args->items[loop->index % args->count];
    bool changed = loop->index == 0 || !inl_jinja_equal(r->state, loop->changed, *what);
    loop->changed = *what;
    return jinja_bool(changed);
}

jinja_value inl_jinja_call_method(jinja_run *r, const jinja_method *method, const jinja_args *args)
{
    if (r->state->failed)
        return jinja_undefined();
    switch (method->self.type) {
    case JINJA_STRING: return call_string(r, method->self.as.string, method->name, args);
    case JINJA_DICT: return call_dict(r, method->self.as.dict, method->name, args);
    case JINJA_LIST: return call_list(r, method->self.as.list, method->name, args);
    default: return call_loop(r, method->self.as.loop, method->name, args);
    }
}
