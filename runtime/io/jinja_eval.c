// SPDX-License-Identifier: MIT
// Jinja's expressions: a node of the tree becomes a value.
#include "io/jinja_run.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

static jinja_value eval_one(jinja_run *r, const jinja_node *node);

static jinja_value missing(jinja_run *r, const jinja_string *name)
{
    jinja_value out = jinja_undefined();
    char *text = inl_jinja_alloc(r->state, INL_MIN(name->size, 64) + 1, 1);
    if (text) {
        memcpy(text, name->data, INL_MIN(name->size, 64));
        out.as.missing = text;
    }
    return out;
}

static jinja_value fail_undefined(jinja_run *r, jinja_value value)
{
    return inl_jinja_fail(r->state, "\"%s\" is undefined",
                          value.as.missing ? value.as.missing : "something");
}

// ---- names, members

static jinja_value eval_name(jinja_run *r, const jinja_string *name)
{
    for (const jinja_scope *s = r->scope; s; s = s->outer)
        for (size_t i = 0; i < s->count; i++)
            if (inl_jinja_same(s->variables[i].name, name))
                return s->variables[i].value;
    const char *function = inl_jinja_find_function(name);
    if (function)
        return (jinja_value){.type = JINJA_FUNCTION, .as.function = function};
    return missing(r, name);
}

static jinja_value method_of(jinja_run *r, jinja_value of, const jinja_string *name)
{
    jinja_method *method = inl_jinja_alloc(r->state, 1, sizeof(*method));
    if (!method)
        return jinja_undefined();
    *method = (jinja_method){of, name};
    return (jinja_value){.type = JINJA_METHOD, .as.method = method};
}

static bool is_called(const jinja_string *name, const char *text)
{
    return name->size == strlen(text) && memcmp(name->data, text, name->size) == 0;
}

static jinja_value neighbour(const jinja_loop *loop, size_t index)
{
    return index < loop->items->count ? loop->items->items[index] : jinja_undefined();
}

static jinja_value loop_member(jinja_run *r, jinja_value of, const jinja_string *name)
{
    const jinja_loop *l = of.as.loop;
    int64_t index = (int64_t)l->index;
    int64_t count = (int64_t)l->items->count;
    const struct {
        const char *name;
        jinja_value value;
    } members[] = {
        {"index", jinja_int(index + 1)},          {"index0", jinja_int(index)},
        {"revindex", jinja_int(count - index)},   {"revindex0", jinja_int(count - index - 1)},
        {"first", jinja_bool(index == 0)},        {"last", jinja_bool(index + 1 == count)},
        {"length", jinja_int(count)},             {"depth", jinja_int((int64_t)l->depth)},
        {"depth0", jinja_int((int64_t)l->depth - 1)},
        {"previtem", neighbour(l, l->index - 1)}, {"nextitem", neighbour(l, l->index + 1)},
    };
    for (size_t i = 0; i < INL_COUNT(members); i++)
        if (is_called(name, members[i].name))
            return members[i].value;
    if (is_called(name, "cycle") || is_called(name, "changed"))
        return method_of(r, of, name);
    return missing(r, name);
}

jinja_value inl_jinja_attribute(jinja_run *r, jinja_value of, const jinja_string *name)
{
    if (of.type == JINJA_UNDEFINED)
        return fail_undefined(r, of);
    if (r->state->failed || !name)
        return jinja_undefined();
    if (of.type == JINJA_LOOP)
        return loop_member(r, of, name);
    if (of.type != JINJA_NAMESPACE && inl_jinja_has_method(of, name))
        return method_of(r, of, name);
    if (of.type == JINJA_DICT || of.type == JINJA_NAMESPACE) {
        const jinja_value *value = inl_jinja_find(of.as.dict, name);
        if (value)
            return *value;
    }
    return missing(r, name);
}

static jinja_value index_items(jinja_run *r, jinja_value of, int64_t index)
{
    if (of.type == JINJA_STRING) {
        jinja_value at = jinja_int(index);
        jinja_value behind = jinja_int(index + 1);
        int64_t length = inl_jinja_length(of);
        if (index < -length || index >= length)
            return jinja_undefined();
        return inl_jinja_slice(r->state, of, &at, index == -1 ? NULL : &behind, NULL);
    }
    int64_t count = (int64_t)of.as.list->count;
    index += index < 0 ? count : 0;
    return index >= 0 && index < count ? of.as.list->items[index] : jinja_undefined();
}

jinja_value inl_jinja_item(jinja_run *r, jinja_value of, jinja_value key)
{
    if (of.type == JINJA_UNDEFINED)
        return fail_undefined(r, of);
    if (of.type == JINJA_DICT)
        for (size_t i = 0; i < of.as.dict->count; i++)
            if (inl_jinja_equal(r->state, of.as.dict->entries[i].key, key))
                return of.as.dict->entries[i].value;
    bool is_index = key.type == JINJA_INT || key.type == JINJA_BOOL;
    if (is_index && (of.type == JINJA_LIST || of.type == JINJA_STRING))
        return index_items(r, of, key.type == JINJA_INT ? key.as.integer : key.as.boolean);
    if (key.type == JINJA_STRING)
        return inl_jinja_attribute(r, of, key.as.string);
    return jinja_undefined();
}

// ---- operators

static jinja_value arithmetic_of_integers(jinja_run *r, jinja_op op, int64_t a, int64_t b)
{
    int64_t out = 0;
    bool over = false;
    if ((op == JINJA_FLOOR || op == JINJA_MOD) && b == 0)
        return inl_jinja_fail(r->state, "division by zero");
    if (b == -1 && (op == JINJA_FLOOR || op == JINJA_MOD)) {
        over = op == JINJA_FLOOR && a == INT64_MIN;
        out = op == JINJA_MOD || over ? 0 : -a;
    } else if (op == JINJA_FLOOR) {
        out = a / b - (a % b != 0 && (a < 0) != (b < 0));
    } else if (op == JINJA_MOD) {
        out = a % b;
        out += out != 0 && (out < 0) != (b < 0) ? b : 0;
    } else if (op == JINJA_ADD) {
        over = __builtin_add_overflow(a, b, &out);
    } else if (op == JINJA_SUB) {
        over = __builtin_sub_overflow(a, b, &out);
    } else if (op == JINJA_MUL) {
        over = __builtin_mul_overflow(a, b, &out);
    } else { // a power
        if (b < 0)
            return jinja_real(pow((double)a, (double)b));
        out = 1;
        for (int64_t i = 0; i < b && !over && a != 1; i++) {
            over = __builtin_mul_overflow(out, a, &out);
            if (out == 0 || (a == -1 && i > 1))
                break;
        }
        if (a == -1)
            out = b % 2 ? -1 : 1;
    }
    if (over)
        return inl_jinja_fail(r->state, "a number is too large");
    return jinja_int(out);
}

static jinja_value arithmetic_of_reals(jinja_run *r, jinja_op op, double a, double b)
{
    if (b == 0.0 && (op == JINJA_DIV || op == JINJA_FLOOR || op == JINJA_MOD))
        return inl_jinja_fail(r->state, "division by zero");
    switch (op) {
    case JINJA_ADD: return jinja_real(a + b);
    case JINJA_SUB: return jinja_real(a - b);
    case JINJA_MUL: return jinja_real(a * b);
    case JINJA_DIV: return jinja_real(a / b);
    case JINJA_FLOOR: return jinja_real(floor(a / b));
    case JINJA_MOD: return jinja_real(a - b * floor(a / b));
    default: return jinja_real(pow(a, b));
    }
}

// A string or a list so many times.
static jinja_value repeat(jinja_run *r, jinja_value what, int64_t times)
{
    jinja_buffer text = {.state = r->state};
    jinja_value list = inl_jinja_list(r->state);
    size_t size = what.type == JINJA_STRING ? what.as.string->size : what.as.list->count;
    for (int64_t i = 0; size > 0 && i < times && !r->state->failed; i++) {
        if (what.type == JINJA_STRING)
            inl_jinja_append_string(&text, what.as.string);
        for (size_t k = 0; what.type == JINJA_LIST && k < size; k++)
            inl_jinja_push(r->state, list.as.list, what.as.list->items[k]);
    }
    return what.type == JINJA_STRING ? inl_jinja_finish(&text) : list;
}

static jinja_value concat_lists(jinja_run *r, const jinja_list *a, const jinja_list *b)
{
    jinja_value out = inl_jinja_list(r->state);
    for (size_t i = 0; i < a->count + b->count && !r->state->failed; i++)
        inl_jinja_push(r->state, out.as.list, i < a->count ? a->items[i] : b->items[i - a->count]);
    if (!r->state->failed)
        out.as.list->is_tuple = a->is_tuple;
    return out;
}

static jinja_value arithmetic(jinja_run *r, jinja_op op, jinja_value a, jinja_value b)
{
    static const char *const signs[] = {"+", "-", "*", "/", "//", "%", "**"};
    if (r->state->failed)
        return jinja_undefined();
    if (a.type == JINJA_UNDEFINED)
        return fail_undefined(r, a);
    if (b.type == JINJA_UNDEFINED)
        return fail_undefined(r, b);
    if (inl_jinja_is_number(a) && inl_jinja_is_number(b)) {
        if (a.type == JINJA_FLOAT || b.type == JINJA_FLOAT || op == JINJA_DIV)
            return arithmetic_of_reals(r, op, inl_jinja_number(a), inl_jinja_number(b));
        return arithmetic_of_integers(r, op, a.type == JINJA_INT ? a.as.integer : a.as.boolean,
                                      b.type == JINJA_INT ? b.as.integer : b.as.boolean);
    }
    if (op == JINJA_ADD && a.type == JINJA_STRING && b.type == JINJA_STRING)
        return inl_jinja_join(r->state, a.as.string, b.as.string);
    if (op == JINJA_ADD && a.type == JINJA_LIST && b.type == JINJA_LIST &&
        a.as.list->is_tuple == b.as.list->is_tuple)
        return concat_lists(r, a.as.list, b.as.list);
    if (op == JINJA_MUL && b.type == JINJA_INT && (a.type == JINJA_STRING || a.type == JINJA_LIST))
        return repeat(r, a, b.as.integer);
    if (op == JINJA_MUL && a.type == JINJA_INT && (b.type == JINJA_STRING || b.type == JINJA_LIST))
        return repeat(r, b, a.as.integer);
    if (op == JINJA_MOD && a.type == JINJA_STRING)
        return inl_jinja_unsupported(r, "text formatted with %% is not supported");
    return inl_jinja_fail(r->state, "%s %s %s is not possible", inl_jinja_type_name(a), signs[op],
                          inl_jinja_type_name(b));
}

jinja_value inl_jinja_add(jinja_run *r, jinja_value a, jinja_value b)
{
    return arithmetic(r, JINJA_ADD, a, b);
}

bool inl_jinja_contains(jinja_run *r, jinja_value in, jinja_value what)
{
    if (in.type == JINJA_STRING && what.type == JINJA_STRING)
        return inl_jinja_search(in.as.string, what.as.string, 0) != SIZE_MAX;
    if (in.type == JINJA_STRING || inl_jinja_is_number(in) || in.type == JINJA_NONE) {
        inl_jinja_fail(r->state, "%s cannot be looked for in %s", inl_jinja_type_name(what),
                       inl_jinja_type_name(in));
        return false;
    }
    const jinja_list *items = inl_jinja_items(r->state, in);
    for (size_t i = 0; items && i < items->count; i++)
        if (inl_jinja_equal(r->state, items->items[i], what))
            return true;
    return false;
}

static bool holds(jinja_run *r, jinja_op op, jinja_value a, jinja_value b)
{
    switch (op) {
    case JINJA_EQ: return inl_jinja_equal(r->state, a, b);
    case JINJA_NE: return !inl_jinja_equal(r->state, a, b);
    case JINJA_LT: return inl_jinja_compare(r->state, a, b) < 0;
    case JINJA_LE: return inl_jinja_compare(r->state, a, b) <= 0;
    case JINJA_GT: return inl_jinja_compare(r->state, a, b) > 0;
    case JINJA_GE: return inl_jinja_compare(r->state, a, b) >= 0;
    case JINJA_IN: return inl_jinja_contains(r, b, a);
    default: return !inl_jinja_contains(r, b, a);
    }
}

static jinja_value compare(jinja_run *r, const jinja_node *node)
{
    jinja_value left = inl_jinja_eval(r, node->a);
    for (const jinja_node *o = node->b; o && !r->state->failed; o = o->next) {
        jinja_value right = inl_jinja_eval(r, o->a);
        if (r->state->failed || !holds(r, o->op, left, right))
            return jinja_bool(false);
        left = right;
    }
    return jinja_bool(true);
}

static jinja_value concat(jinja_run *r, const jinja_node *node)
{
    jinja_value a = inl_jinja_to_string(r->state, inl_jinja_eval(r, node->a));
    jinja_value b = inl_jinja_to_string(r->state, inl_jinja_eval(r, node->b));
    jinja_buffer out = {.state = r->state};
    if (r->state->failed)
        return jinja_undefined();
    inl_jinja_append_string(&out, a.as.string); // unlike +, this never escapes
    inl_jinja_append_string(&out, b.as.string);
    return inl_jinja_finish(&out);
}

static jinja_value negate(jinja_run *r, jinja_value value)
{
    if (value.type == JINJA_FLOAT)
        return jinja_real(-value.as.real);
    return arithmetic(r, JINJA_SUB, jinja_int(0), value);
}

// ---- lists, dicts, calls

static jinja_value list_of(jinja_run *r, const jinja_node *first, bool is_tuple)
{
    jinja_value out = inl_jinja_list(r->state);
    for (const jinja_node *n = first; n && !r->state->failed; n = n->next)
        inl_jinja_push(r->state, out.as.list, inl_jinja_eval(r, n));
    if (!r->state->failed)
        out.as.list->is_tuple = is_tuple;
    return out;
}

static jinja_value dict_of(jinja_run *r, const jinja_node *first)
{
    jinja_value out = inl_jinja_dict(r->state);
    for (const jinja_node *n = first; n && !r->state->failed; n = n->next) {
        jinja_value key = inl_jinja_eval(r, n->a);
        inl_jinja_put(r->state, out.as.dict, key, inl_jinja_eval(r, n->b));
    }
    return out;
}

static jinja_value slice(jinja_run *r, const jinja_node *node)
{
    jinja_value of = inl_jinja_eval(r, node->a);
    jinja_value bounds[3];
    const jinja_value *given[3] = {NULL, NULL, NULL};
    const jinja_node *nodes[3] = {node->b, node->c, node->d};
    if (of.type == JINJA_UNDEFINED)
        return fail_undefined(r, of);
    for (int i = 0; i < 3; i++)
        if (nodes[i]) {
            bounds[i] = inl_jinja_eval(r, nodes[i]);
            given[i] = &bounds[i];
        }
    return r->state->failed ? jinja_undefined()
                            : inl_jinja_slice(r->state, of, given[0], given[1], given[2]);
}

static void eval_args(jinja_run *r, const jinja_node *first, jinja_args *out)
{
    out->count = out->named_count = 0;
    for (const jinja_node *n = first; n && !r->state->failed; n = n->next) {
        bool named = n->type == JINJA_N_KEYWORD;
        if ((named ? out->named_count : out->count) == JINJA_MAX_ARGS) {
            inl_jinja_unsupported(r, "a call has more than %d arguments", JINJA_MAX_ARGS);
            return;
        }
        jinja_value value = inl_jinja_eval(r, named ? n->a : n);
        if (named) {
            out->names[out->named_count] = n->text;
            out->named[out->named_count++] = value;
        } else {
            out->items[out->count++] = value;
        }
    }
}

static const jinja_value *named_arg(const jinja_args *args, const jinja_string *name)
{
    for (size_t i = 0; i < args->named_count; i++)
        if (inl_jinja_same(args->names[i], name))
            return &args->named[i];
    return NULL;
}

static jinja_value call_macro(jinja_run *r, const jinja_macro *macro, const jinja_args *args)
{
    jinja_scope *before = r->scope;
    size_t index = 0;
    inl_jinja_open_scope(r, macro->scope);
    for (const jinja_node *p = macro->node->a; p && !r->state->failed; p = p->next, index++) {
        const jinja_value *named = named_arg(args, p->text);
        jinja_value value = index < args->count ? args->items[index]
                            : named             ? *named
                            : p->a              ? inl_jinja_eval(r, p->a)
                                                : missing(r, p->text);
        inl_jinja_assign(r, p->text, value);
    }
    if (index < args->count)
        inl_jinja_fail(r->state, "the macro takes %zu arguments, not %zu", index, args->count);
    jinja_value out = r->state->failed ? jinja_undefined()
                                       : inl_jinja_capture(r, macro->node->c);
    r->scope = before;
    return out;
}

static jinja_value call(jinja_run *r, const jinja_node *node)
{
    jinja_args args;
    jinja_value what = inl_jinja_eval(r, node->a);
    eval_args(r, node->b, &args);
    if (r->state->failed)
        return jinja_undefined();
    r->state->line = node->line;
    switch (what.type) {
    case JINJA_FUNCTION: return inl_jinja_call_function(r, what.as.function, &args);
    case JINJA_METHOD: return inl_jinja_call_method(r, what.as.method, &args);
    case JINJA_MACRO: return call_macro(r, what.as.macro, &args);
    case JINJA_UNDEFINED:
        if (node->a->type != JINJA_N_NAME)
            return inl_jinja_fail(r->state, "there is no method \"%s\"",
                                  what.as.missing ? what.as.missing : "");
        return inl_jinja_unsupported(r, "there is no function \"%s\"",
                                     what.as.missing ? what.as.missing : "");
    default: return inl_jinja_fail(r->state, "%s cannot be called", inl_jinja_type_name(what));
    }
}

static jinja_value filter_or_test(jinja_run *r, const jinja_node *node)
{
    jinja_args args;
    jinja_value of = inl_jinja_eval(r, node->a);
    eval_args(r, node->b, &args);
    if (r->state->failed || !node->text)
        return jinja_undefined();
    r->state->line = node->line;
    if (node->type == JINJA_N_TEST)
        return jinja_bool(inl_jinja_test(r, node->text, of, &args));
    return inl_jinja_filter(r, node->text, of, &args);
}

static jinja_value logic(jinja_run *r, const jinja_node *node)
{
    jinja_value left = inl_jinja_eval(r, node->a);
    if (inl_jinja_truth(left) == (node->type == JINJA_N_OR))
        return left;
    return inl_jinja_eval(r, node->b);
}

static jinja_value condition(jinja_run *r, const jinja_node *node)
{
    if (inl_jinja_truth(inl_jinja_eval(r, node->b)))
        return inl_jinja_eval(r, node->a);
    return node->c ? inl_jinja_eval(r, node->c) : jinja_undefined();
}

static jinja_value eval_one(jinja_run *r, const jinja_node *node)
{
    switch (node->type) {
    case JINJA_N_CONST: return node->value;
    case JINJA_N_CAPTURED: return r->captured;
    case JINJA_N_NAME: return eval_name(r, node->text);
    case JINJA_N_LIST: return list_of(r, node->a, false);
    case JINJA_N_TUPLE: return list_of(r, node->a, true);
    case JINJA_N_DICT: return dict_of(r, node->a);
    case JINJA_N_ATTRIBUTE: return inl_jinja_attribute(r, inl_jinja_eval(r, node->a), node->text);
    case JINJA_N_ITEM: {
        jinja_value of = inl_jinja_eval(r, node->a);
        return inl_jinja_item(r, of, inl_jinja_eval(r, node->b));
    }
    case JINJA_N_SLICE: return slice(r, node);
    case JINJA_N_CALL: return call(r, node);
    case JINJA_N_FILTER:
    case JINJA_N_TEST: return filter_or_test(r, node);
    case JINJA_N_NOT: return jinja_bool(!inl_jinja_truth(inl_jinja_eval(r, node->a)));
    case JINJA_N_NEGATE: return negate(r, inl_jinja_eval(r, node->a));
    case JINJA_N_POSITIVE: return inl_jinja_eval(r, node->a);
    case JINJA_N_AND:
    case JINJA_N_OR: return logic(r, node);
    case JINJA_N_ARITHMETIC: {
        jinja_value a = inl_jinja_eval(r, node->a);
        return arithmetic(r, node->op, a, inl_jinja_eval(r, node->b));
    }
    case JINJA_N_CONCAT: return concat(r, node);
    case JINJA_N_COMPARE: return compare(r, node);
    case JINJA_N_CONDITION: return condition(r, node);
    default: return inl_jinja_fail(r->state, "an expression is broken");
    }
}

jinja_value inl_jinja_eval(jinja_run *r, const jinja_node *node)
{
    jinja_state *s = r->state;
    if (s->failed || !node)
        return jinja_undefined();
    if (s->steps == 0)
        return inl_jinja_fail(s, "it takes too many steps");
    s->steps--;
    if (++s->depth > JINJA_MAX_NESTING * 2)
        return inl_jinja_fail(s, "it nests too deep");
    jinja_value out = eval_one(r, node);
    s->depth--;
    return s->failed ? jinja_undefined() : out;
}
