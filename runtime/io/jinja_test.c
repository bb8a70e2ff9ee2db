// SPDX-License-Identifier: MIT
// What stands behind `is`.
#include "io/jinja_run.h"

#include <math.h>
#include <string.h>

// Whether Python would say that a text is in one case.
static bool is_case(jinja_value value, bool upper)
{
    bool letters = false;
    if (value.type != JINJA_STRING)
        return false;
    for (size_t i = 0; i < value.as.string->size; i++) {
        char c = value.as.string->data[i];
        bool is_upper = c >= 'A' && c <= 'Z';
        bool is_lower = c >= 'a' && c <= 'z';
        if (upper ? is_lower : is_upper)
            return false;
        letters = letters || is_upper || is_lower;
    }
    return letters;
}

static bool is_type(const char *name, jinja_value v, bool *known)
{
    *known = true;
    jinja_type t = v.type;
    if (strcmp(name, "defined") == 0)
        return t != JINJA_UNDEFINED;
    if (strcmp(name, "undefined") == 0)
        return t == JINJA_UNDEFINED;
    if (strcmp(name, "none") == 0)
        return t == JINJA_NONE;
    if (strcmp(name, "string") == 0)
        return t == JINJA_STRING;
    if (strcmp(name, "mapping") == 0)
        return t == JINJA_DICT;
    if (strcmp(name, "sequence") == 0 || strcmp(name, "iterable") == 0)
        return t == JINJA_STRING || t == JINJA_LIST || t == JINJA_DICT || t == JINJA_UNDEFINED;
    if (strcmp(name, "number") == 0)
        return inl_jinja_is_number(v);
    if (strcmp(name, "integer") == 0)
        return t == JINJA_INT;
    if (strcmp(name, "float") == 0)
        return t == JINJA_FLOAT;
    if (strcmp(name, "boolean") == 0)
        return t == JINJA_BOOL;
    if (strcmp(name, "true") == 0)
        return t == JINJA_BOOL && v.as.boolean;
    if (strcmp(name, "false") == 0)
        return t == JINJA_BOOL && !v.as.boolean;
    if (strcmp(name, "callable") == 0)
        return t == JINJA_MACRO || t == JINJA_FUNCTION || t == JINJA_METHOD;
    if (strcmp(name, "lower") == 0 || strcmp(name, "upper") == 0)
        return is_case(v, *name == 'u');
    *known = false;
    return false;
}

static bool compares(jinja_run *r, const char *name, jinja_value a, jinja_value b, bool *known)
{
    static const struct {
        const char *name;
        int low, high; // orders that pass
    } orders[] = {{"lt", -1, -1}, {"lessthan", -1, -1}, {"<", -1, -1},   {"le", -1, 0},
                  {"<=", -1, 0},  {"gt", 1, 1},         {"greaterthan", 1, 1}, {">", 1, 1},
                  {"ge", 0, 1},   {">=", 0, 1}};
    *known = true;
    if (strcmp(name, "eq") == 0 || strcmp(name, "equalto") == 0 || strcmp(name, "==") == 0)
        return inl_jinja_equal(r->state, a, b);
    if (strcmp(name, "ne") == 0 || strcmp(name, "!=") == 0)
        return !inl_jinja_equal(r->state, a, b);
    if (strcmp(name, "in") == 0)
        return inl_jinja_contains(r, b, a);
    if (strcmp(name, "sameas") == 0)
        return a.type == b.type && inl_jinja_equal(r->state, a, b);
    for (size_t i = 0; i < INL_COUNT(orders); i++)
        if (strcmp(name, orders[i].name) == 0) {
            int order = inl_jinja_compare(r->state, a, b);
            order = (order > 0) - (order < 0);
            return order >= orders[i].low && order <= orders[i].high;
        }
    *known = false;
    return false;
}

static bool divides(jinja_run *r, jinja_value a, double by)
{
    if (!inl_jinja_is_number(a) || by == 0.0) {
        inl_jinja_fail(r->state, "%s is not divided", inl_jinja_type_name(a));
        return false;
    }
    return fmod(inl_jinja_number(a), by) == 0.0;
}

bool inl_jinja_test(jinja_run *r, const jinja_string *name, jinja_value value,
                    const jinja_args *args)
{
    char text[24] = "";
    bool known;
    memcpy(text, name->data, INL_MIN(name->size, sizeof(text) - 1));
    bool out = is_type(text, value, &known);
    if (known)
        return out;
    if (strcmp(text, "odd") == 0)
        return !divides(r, value, 2.0);
    if (strcmp(text, "even") == 0)
        return divides(r, value, 2.0);
    const jinja_value *other = inl_jinja_arg(args, 0, NULL);
    if (strcmp(text, "divisibleby") == 0 && other)
        return divides(r, value, inl_jinja_number(*other));
    if (other) {
        out = compares(r, text, value, *other, &known);
        if (known)
            return out;
    }
    inl_jinja_unsupported(r, "the test \"%s\" is not supported", text);
    return false;
}
