// SPDX-License-Identifier: MIT
// Jinja's expressions: tokens become a tree, by precedence.
#include "io/jinja_parse.h"

#include <string.h>

static jinja_node *unary(jinja_parser *p, bool with_filters);

static const jinja_string *keep(jinja_parser *p, jinja_string text)
{
    jinja_string *out = inl_jinja_alloc(p->state, 1, sizeof(*out));
    if (out)
        *out = text;
    return out;
}

static jinja_node *constant(jinja_parser *p, jinja_value value)
{
    jinja_node *node = inl_jinja_node(p, JINJA_N_CONST);
    if (node)
        node->value = value;
    return node;
}

static bool at_operator(const jinja_parser *p, const char *text)
{
    return inl_jinja_at(p, JINJA_T_OPERATOR, text);
}

static bool skip_operator(jinja_parser *p, const char *text)
{
    return inl_jinja_skip(p, JINJA_T_OPERATOR, text);
}

static bool at_name(const jinja_parser *p, const char *text)
{
    return inl_jinja_at(p, JINJA_T_NAME, text);
}

// ---- things that stand alone

static jinja_node *name_or_constant(jinja_parser *p)
{
    static const struct {
        const char *text;
        jinja_type type;
        bool boolean;
    } constants[] = {{"true", JINJA_BOOL, true}, {"True", JINJA_BOOL, true},
                     {"false", JINJA_BOOL, false}, {"False", JINJA_BOOL, false},
                     {"none", JINJA_NONE, false}, {"None", JINJA_NONE, false}};
    for (size_t i = 0; i < INL_COUNT(constants); i++)
        if (inl_jinja_skip(p, JINJA_T_NAME, constants[i].text))
            return constant(p, constants[i].type == JINJA_BOOL ? jinja_bool(constants[i].boolean)
                                                              : jinja_none());
    jinja_node *node = inl_jinja_node(p, JINJA_N_NAME);
    const jinja_string *name = inl_jinja_take_name(p);
    if (node)
        node->text = name;
    return node;
}

// Strings side by side are one.
static jinja_node *string_constant(jinja_parser *p)
{
    jinja_buffer b = {.state = p->state};
    while (p->token.type == JINJA_T_STRING) {
        inl_jinja_append_string(&b, &p->token.text);
        inl_jinja_advance(p);
    }
    jinja_value value = inl_jinja_string(p->state, b.data, NULL, b.size);
    return constant(p, value);
}

// Items up to `end`, which is read. *commas: how many there were.
static jinja_node *items(jinja_parser *p, const char *end, size_t *commas)
{
    jinja_node *first = NULL;
    jinja_node **last = &first;
    *commas = 0;
    while (!p->state->failed && !skip_operator(p, end)) {
        *last = inl_jinja_expression(p, true);
        if (!*last)
            break;
        last = &(*last)->next;
        if (skip_operator(p, ",")) {
            ++*commas;
        } else {
            inl_jinja_expect(p, JINJA_T_OPERATOR, end);
            break;
        }
    }
    return first;
}

static jinja_node *parenthesis(jinja_parser *p)
{
    size_t commas;
    jinja_node *first = items(p, ")", &commas);
    if (first && commas == 0)
        return first;
    jinja_node *tuple = inl_jinja_node(p, JINJA_N_TUPLE);
    if (tuple)
        tuple->a = first;
    return tuple;
}

static jinja_node *dict(jinja_parser *p)
{
    jinja_node *out = inl_jinja_node(p, JINJA_N_DICT);
    jinja_node **last = out ? &out->a : NULL;
    while (!p->state->failed && !skip_operator(p, "}")) {
        jinja_node *pair = inl_jinja_node(p, JINJA_N_PAIR);
        if (!pair)
            break;
        pair->a = inl_jinja_expression(p, true);
        inl_jinja_expect(p, JINJA_T_OPERATOR, ":");
        pair->b = inl_jinja_expression(p, true);
        *last = pair;
        last = &pair->next;
        if (!skip_operator(p, ",")) {
            inl_jinja_expect(p, JINJA_T_OPERATOR, "}");
            break;
        }
    }
    return out;
}

static jinja_node *primary(jinja_parser *p)
{
    jinja_token token = p->token;
    if (token.type == JINJA_T_NAME)
        return name_or_constant(p);
    if (token.type == JINJA_T_STRING)
        return string_constant(p);
    if (token.type == JINJA_T_INT || token.type == JINJA_T_FLOAT) {
        inl_jinja_advance(p);
        return constant(p, token.type == JINJA_T_INT ? jinja_int(token.integer)
                                                    : jinja_real(token.real));
    }
    if (skip_operator(p, "("))
        return parenthesis(p);
    if (skip_operator(p, "[")) {
        size_t commas;
        jinja_node *list = inl_jinja_node(p, JINJA_N_LIST);
        jinja_node *first = items(p, "]", &commas);
        if (list)
            list->a = first;
        return list;
    }
    if (skip_operator(p, "{"))
        return dict(p);
    inl_jinja_unexpected(p, "a value");
    return NULL;
}

// ---- what follows a value

// Arguments up to the closing bracket; the opening one has been read.
static jinja_node *arguments(jinja_parser *p)
{
    jinja_node *first = NULL;
    jinja_node **last = &first;
    while (!p->state->failed && !skip_operator(p, ")")) {
        if (at_operator(p, "*") || at_operator(p, "**")) {
            inl_jinja_fail(p->state, "arguments out of a list (*) are not supported");
            break;
        }
        jinja_lexer lexer = p->lexer;
        jinja_token token = p->token;
        jinja_node *node = NULL;
        if (token.type == JINJA_T_NAME) {
            inl_jinja_advance(p);
            if (skip_operator(p, "=")) {
                node = inl_jinja_node(p, JINJA_N_KEYWORD);
                if (!node)
                    break;
                node->text = keep(p, token.text);
                node->a = inl_jinja_expression(p, true);
            } else {
                p->lexer = lexer;
                p->token = token;
            }
        }
        *last = node ? node : inl_jinja_expression(p, true);
        if (!*last)
            break;
        last = &(*last)->next;
        if (!skip_operator(p, ",")) {
            inl_jinja_expect(p, JINJA_T_OPERATOR, ")");
            break;
        }
    }
    return first;
}

// [which] or [from:to:step]; the opening bracket has been read.
static jinja_node *subscript(jinja_parser *p, jinja_node *of)
{
    jinja_node *node = inl_jinja_node(p, JINJA_N_ITEM);
    if (!node)
        return NULL;
    node->a = of;
    if (!at_operator(p, ":"))
        node->b = inl_jinja_expressions(p, true);
    if (skip_operator(p, ":")) {
        node->type = JINJA_N_SLICE;
        if (!at_operator(p, ":") && !at_operator(p, "]"))
            node->c = inl_jinja_expression(p, true);
        if (skip_operator(p, ":") && !at_operator(p, "]"))
            node->d = inl_jinja_expression(p, true);
    }
    inl_jinja_expect(p, JINJA_T_OPERATOR, "]");
    return node;
}

static jinja_node *postfix(jinja_parser *p, jinja_node *node)
{
    while (node && !p->state->failed) {
        jinja_node *outer;
        if (skip_operator(p, ".")) {
            bool number = p->token.type == JINJA_T_INT;
            outer = inl_jinja_node(p, number ? JINJA_N_ITEM : JINJA_N_ATTRIBUTE);
            if (outer && number) {
                outer->b = constant(p, jinja_int(p->token.integer));
                inl_jinja_advance(p);
            } else if (outer) {
                outer->text = inl_jinja_take_name(p);
            }
        } else if (skip_operator(p, "[")) {
            outer = subscript(p, node);
        } else if (skip_operator(p, "(")) {
            outer = inl_jinja_node(p, JINJA_N_CALL);
            jinja_node *args = arguments(p);
            if (outer)
                outer->b = args;
        } else {
            return node;
        }
        if (outer)
            outer->a = node;
        node = outer;
    }
    return node;
}

jinja_node *inl_jinja_filters(jinja_parser *p, jinja_node *node)
{
    do {
        jinja_node *filter = inl_jinja_node(p, JINJA_N_FILTER);
        if (!filter)
            return NULL;
        filter->a = node;
        filter->text = inl_jinja_take_name(p);
        if (skip_operator(p, "("))
            filter->b = arguments(p);
        node = filter;
    } while (!p->state->failed && skip_operator(p, "|"));
    return node;
}

// Whether a test's argument without brackets begins here.
static bool at_argument(const jinja_parser *p)
{
    if (p->token.type == JINJA_T_NAME)
        return !at_name(p, "else") && !at_name(p, "or") && !at_name(p, "and") &&
               !at_name(p, "is") && !at_name(p, "if") && !at_name(p, "in") && !at_name(p, "not");
    return p->token.type == JINJA_T_STRING || p->token.type == JINJA_T_INT ||
           p->token.type == JINJA_T_FLOAT || at_operator(p, "[") || at_operator(p, "{");
}

static jinja_node *test(jinja_parser *p, jinja_node *node)
{
    bool negated = inl_jinja_skip(p, JINJA_T_NAME, "not");
    jinja_node *out = inl_jinja_node(p, JINJA_N_TEST);
    if (!out)
        return NULL;
    out->a = node;
    out->text = inl_jinja_take_name(p);
    if (skip_operator(p, "("))
        out->b = arguments(p);
    else if (at_argument(p))
        out->b = postfix(p, primary(p));
    if (!negated)
        return out;
    jinja_node *outer = inl_jinja_node(p, JINJA_N_NOT);
    if (outer)
        outer->a = out;
    return outer;
}

static jinja_node *filters_and_tests(jinja_parser *p, jinja_node *node)
{
    while (node && !p->state->failed) {
        if (skip_operator(p, "|"))
            node = inl_jinja_filters(p, node);
        else if (inl_jinja_skip(p, JINJA_T_NAME, "is"))
            node = test(p, node);
        else if (at_operator(p, "("))
            node = postfix(p, node);
        else
            break;
    }
    return node;
}

static jinja_node *unary(jinja_parser *p, bool with_filters)
{
    jinja_node *node = NULL;
    if (!inl_jinja_enter(p))
        return NULL;
    bool minus = at_operator(p, "-");
    if (minus || at_operator(p, "+")) {
        inl_jinja_advance(p);
        node = inl_jinja_node(p, minus ? JINJA_N_NEGATE : JINJA_N_POSITIVE);
        jinja_node *inner = unary(p, false);
        if (node)
            node->a = inner;
    } else {
        node = primary(p);
    }
    node = postfix(p, node);
    if (with_filters)
        node = filters_and_tests(p, node);
    inl_jinja_leave(p);
    return node;
}

// ---- operators, from the tightest

typedef struct level {
    const char *texts[4];
    jinja_op ops[4];
} level;

static const level levels[] = {
    {{"+", "-"}, {JINJA_ADD, JINJA_SUB}},
    {{"~"}, {0}},
    {{"*", "/", "//", "%"}, {JINJA_MUL, JINJA_DIV, JINJA_FLOOR, JINJA_MOD}},
    {{"**"}, {JINJA_POWER}},
};

static jinja_node *binary(jinja_parser *p, size_t depth)
{
    if (depth == INL_COUNT(levels))
        return unary(p, true);
    const level *l = &levels[depth];
    jinja_node *left = binary(p, depth + 1);
    while (left && !p->state->failed) {
        size_t i = 0;
        while (i < INL_COUNT(l->texts) && !(l->texts[i] && at_operator(p, l->texts[i])))
            i++;
        if (i == INL_COUNT(l->texts))
            break;
        inl_jinja_advance(p);
        jinja_node *node =
            inl_jinja_node(p, *l->texts[0] == '~' ? JINJA_N_CONCAT : JINJA_N_ARITHMETIC);
        jinja_node *right = binary(p, depth + 1);
        if (!node)
            return NULL;
        node->op = l->ops[i];
        node->a = left;
        node->b = right;
        left = node;
    }
    return left;
}

static bool comparison(jinja_parser *p, jinja_op *op)
{
    static const struct {
        const char *text;
        jinja_op op;
    } rows[] = {{"==", JINJA_EQ}, {"!=", JINJA_NE}, {"<", JINJA_LT},
                {"<=", JINJA_LE}, {">", JINJA_GT},  {">=", JINJA_GE}};
    for (size_t i = 0; i < INL_COUNT(rows); i++)
        if (skip_operator(p, rows[i].text)) {
            *op = rows[i].op;
            return true;
        }
    *op = JINJA_IN;
    if (inl_jinja_skip(p, JINJA_T_NAME, "in"))
        return true;
    if (!at_name(p, "not"))
        return false;
    jinja_lexer lexer = p->lexer; // "not in", or a "not" that is somebody else's
    jinja_token token = p->token;
    inl_jinja_advance(p);
    *op = JINJA_NOT_IN;
    if (inl_jinja_skip(p, JINJA_T_NAME, "in"))
        return true;
    p->lexer = lexer;
    p->token = token;
    return false;
}

static jinja_node *compare(jinja_parser *p)
{
    jinja_node *left = binary(p, 0);
    jinja_node *out = NULL;
    jinja_node **last = NULL;
    jinja_op op;
    while (left && !p->state->failed && comparison(p, &op)) {
        if (!out) {
            out = inl_jinja_node(p, JINJA_N_COMPARE);
            if (!out)
                return NULL;
            out->a = left;
            last = &out->b;
        }
        jinja_node *operand = inl_jinja_node(p, JINJA_N_OPERAND);
        if (!operand)
            return NULL;
        operand->op = op;
        operand->a = binary(p, 0);
        *last = operand;
        last = &operand->next;
    }
    return out ? out : left;
}

static jinja_node *negation(jinja_parser *p)
{
    if (!at_name(p, "not"))
        return compare(p);
    if (!inl_jinja_enter(p))
        return NULL;
    inl_jinja_advance(p);
    jinja_node *node = inl_jinja_node(p, JINJA_N_NOT);
    jinja_node *inner = negation(p);
    if (node)
        node->a = inner;
    inl_jinja_leave(p);
    return node;
}

static jinja_node *logic(jinja_parser *p, bool is_or)
{
    jinja_node *left = is_or ? logic(p, false) : negation(p);
    while (left && !p->state->failed && inl_jinja_skip(p, JINJA_T_NAME, is_or ? "or" : "and")) {
        jinja_node *node = inl_jinja_node(p, is_or ? JINJA_N_OR : JINJA_N_AND);
        jinja_node *right = is_or ? logic(p, false) : negation(p);
        if (!node)
            return NULL;
        node->a = left;
        node->b = right;
        left = node;
    }
    return left;
}

jinja_node *inl_jinja_expression(jinja_parser *p, bool condition)
{
    if (!inl_jinja_enter(p))
        return NULL;
    jinja_node *node = logic(p, true);
    while (condition && node && !p->state->failed && inl_jinja_skip(p, JINJA_T_NAME, "if")) {
        jinja_node *outer = inl_jinja_node(p, JINJA_N_CONDITION);
        if (!outer)
            break;
        outer->a = node;
        outer->b = logic(p, true);
        if (inl_jinja_skip(p, JINJA_T_NAME, "else"))
            outer->c = inl_jinja_expression(p, true);
        node = outer;
    }
    inl_jinja_leave(p);
    return p->state->failed ? NULL : node;
}

static jinja_node *tuple_of(jinja_parser *p, jinja_node *first)
{
    jinja_node *tuple = inl_jinja_node(p, JINJA_N_TUPLE);
    if (tuple)
        tuple->a = first;
    return tuple;
}

// Whether a list without brackets ends here.
static bool at_end(const jinja_parser *p)
{
    return p->token.type == JINJA_T_CLOSE || p->token.type == JINJA_T_END ||
           at_operator(p, "=") || at_operator(p, ")") || at_operator(p, "]") || at_name(p, "in");
}

// One, or a tuple of several without brackets; `flag` is the reader's.
static jinja_node *list_of(jinja_parser *p, jinja_node *read_one(jinja_parser *, bool), bool flag)
{
    jinja_node *first = read_one(p, flag);
    if (!first || !at_operator(p, ","))
        return first;
    jinja_node **last = &first->next;
    while (!p->state->failed && skip_operator(p, ",") && !at_end(p)) {
        *last = read_one(p, flag);
        if (!*last)
            return NULL;
        last = &(*last)->next;
    }
    return tuple_of(p, first);
}

jinja_node *inl_jinja_expressions(jinja_parser *p, bool condition)
{
    return list_of(p, inl_jinja_expression, condition);
}

static jinja_node *one_target(jinja_parser *p, bool namespaces)
{
    if (skip_operator(p, "(")) {
        jinja_node *inner = inl_jinja_enter(p) ? inl_jinja_target(p, false) : NULL;
        inl_jinja_leave(p);
        inl_jinja_expect(p, JINJA_T_OPERATOR, ")");
        return inner;
    }
    jinja_node *node = inl_jinja_node(p, JINJA_N_NAME);
    const jinja_string *name = inl_jinja_take_name(p);
    if (!node)
        return NULL;
    node->text = name;
    if (!namespaces || !skip_operator(p, "."))
        return node;
    jinja_node *outer = inl_jinja_node(p, JINJA_N_ATTRIBUTE);
    if (!outer)
        return NULL;
    outer->a = node;
    outer->text = inl_jinja_take_name(p);
    return outer;
}

jinja_node *inl_jinja_target(jinja_parser *p, bool namespaces)
{
    return list_of(p, one_target, namespaces);
}
