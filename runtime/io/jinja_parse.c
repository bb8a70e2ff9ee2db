// SPDX-License-Identifier: MIT
#include "io/jinja_parse.h"

#include <stdio.h>
#include <string.h>

// ---- what statements and expressions share

jinja_node *inl_jinja_node(jinja_parser *p, jinja_node_type type)
{
    jinja_node *node = inl_jinja_alloc(p->state, 1, sizeof(*node));
    if (node) {
        node->type = type;
        node->line = p->token.line;
    }
    return node;
}

void inl_jinja_advance(jinja_parser *p)
{
    inl_jinja_lex(&p->lexer, &p->token);
}

bool inl_jinja_at(const jinja_parser *p, jinja_token_type type, const char *text)
{
    return p->token.type == type && !p->state->failed &&
           (!text || (p->token.text.size == strlen(text) &&
                      memcmp(p->token.text.data, text, p->token.text.size) == 0));
}

bool inl_jinja_skip(jinja_parser *p, jinja_token_type type, const char *text)
{
    if (!inl_jinja_at(p, type, text))
        return false;
    inl_jinja_advance(p);
    return true;
}

void inl_jinja_unexpected(jinja_parser *p, const char *wanted)
{
    const jinja_token *t = &p->token;
    p->state->line = t->line;
    if (t->type == JINJA_T_NAME || t->type == JINJA_T_OPERATOR)
        inl_jinja_fail(p->state, "\"%.*s\" stands where %s is expected",
                       (int)INL_MIN(t->text.size, 32), t->text.data, wanted);
    else if (t->type == JINJA_T_STRING || t->type == JINJA_T_INT || t->type == JINJA_T_FLOAT)
        inl_jinja_fail(p->state, "a constant stands where %s is expected", wanted);
    else
        inl_jinja_fail(p->state, "%s is missing", wanted);
}

void inl_jinja_expect(jinja_parser *p, jinja_token_type type, const char *text)
{
    if (!inl_jinja_skip(p, type, text))
        inl_jinja_unexpected(p, text ? text : "the end of the tag");
}

const jinja_string *inl_jinja_take_name(jinja_parser *p)
{
    if (p->token.type != JINJA_T_NAME) {
        inl_jinja_unexpected(p, "a name");
        return NULL;
    }
    jinja_string *name = inl_jinja_alloc(p->state, 1, sizeof(*name));
    if (!name)
        return NULL;
    *name = p->token.text;
    inl_jinja_advance(p);
    return name;
}

bool inl_jinja_enter(jinja_parser *p)
{
    if (++p->state->depth > JINJA_MAX_NESTING)
        inl_jinja_fail(p->state, "it nests more than %d levels deep", JINJA_MAX_NESTING);
    return !p->state->failed;
}

void inl_jinja_leave(jinja_parser *p)
{
    p->state->depth--;
}

// ---- statements

static jinja_node *statements(jinja_parser *p, const char *const *ends);

static bool at_name(const jinja_parser *p, const char *text)
{
    return inl_jinja_at(p, JINJA_T_NAME, text);
}

static bool skip_name(jinja_parser *p, const char *text)
{
    return inl_jinja_skip(p, JINJA_T_NAME, text);
}

static void close_tag(jinja_parser *p)
{
    inl_jinja_expect(p, JINJA_T_CLOSE, NULL);
}

// Statements up to a tag of one of the NULL-terminated `ends`, whose name is the next token.
static jinja_node *body(jinja_parser *p, const char *const *ends)
{
    close_tag(p);
    return statements(p, ends);
}

static jinja_node *body_to(jinja_parser *p, const char *end)
{
    const char *const ends[] = {end, NULL};
    jinja_node *out = body(p, ends);
    inl_jinja_expect(p, JINJA_T_NAME, end);
    return out;
}

// The name "if" or "elif" has been read.
static jinja_node *parse_if(jinja_parser *p)
{
    static const char *const ends[] = {"elif", "else", "endif", NULL};
    static const char *const last[] = {"endif", NULL};
    jinja_node *node = inl_jinja_node(p, JINJA_N_IF);
    if (!node || !inl_jinja_enter(p))
        return NULL;
    node->a = inl_jinja_expressions(p, true);
    node->b = body(p, ends);
    if (skip_name(p, "elif")) {
        node->c = parse_if(p);
    } else {
        if (skip_name(p, "else"))
            node->c = body(p, last);
        inl_jinja_expect(p, JINJA_T_NAME, "endif");
    }
    inl_jinja_leave(p);
    return node;
}

static jinja_node *parse_for(jinja_parser *p)
{
    static const char *const ends[] = {"else", "endfor", NULL};
    static const char *const last[] = {"endfor", NULL};
    jinja_node *node = inl_jinja_node(p, JINJA_N_FOR);
    if (!node)
        return NULL;
    node->a = inl_jinja_target(p, false);
    inl_jinja_expect(p, JINJA_T_NAME, "in");
    node->b = inl_jinja_expressions(p, false);
    if (skip_name(p, "if"))
        node->e = inl_jinja_expression(p, true);
    if (at_name(p, "recursive"))
        inl_jinja_fail(p->state, "a recursive loop is not supported");
    p->loops++;
    node->c = body(p, ends);
    p->loops--;
    if (skip_name(p, "else"))
        node->d = body(p, last);
    inl_jinja_expect(p, JINJA_T_NAME, "endfor");
    return node;
}

static jinja_node *captured(jinja_parser *p)
{
    jinja_node *node = inl_jinja_node(p, JINJA_N_CAPTURED);
    return node && inl_jinja_skip(p, JINJA_T_OPERATOR, "|") ? inl_jinja_filters(p, node) : node;
}

static jinja_node *parse_set(jinja_parser *p)
{
    jinja_node *node = inl_jinja_node(p, JINJA_N_SET);
    if (!node)
        return NULL;
    node->a = inl_jinja_target(p, true);
    if (inl_jinja_skip(p, JINJA_T_OPERATOR, "=")) {
        node->b = inl_jinja_expressions(p, true);
        return node;
    }
    node->type = JINJA_N_SET_BLOCK;
    node->b = captured(p);
    node->c = body_to(p, "endset");
    return node;
}

static jinja_node *parse_filter(jinja_parser *p)
{
    jinja_node *node = inl_jinja_node(p, JINJA_N_FILTER_BLOCK);
    jinja_node *text = inl_jinja_node(p, JINJA_N_CAPTURED);
    if (!node || !text)
        return NULL;
    node->b = inl_jinja_filters(p, text);
    node->c = body_to(p, "endfilter");
    return node;
}

static jinja_node *parameter(jinja_parser *p)
{
    jinja_node *node = inl_jinja_node(p, JINJA_N_KEYWORD);
    if (!node)
        return NULL;
    node->text = inl_jinja_take_name(p);
    if (inl_jinja_skip(p, JINJA_T_OPERATOR, "="))
        node->a = inl_jinja_expression(p, true);
    return node;
}

static jinja_node *parse_macro(jinja_parser *p)
{
    jinja_node *node = inl_jinja_node(p, JINJA_N_MACRO);
    if (!node)
        return NULL;
    jinja_node **last = &node->a;
    node->text = inl_jinja_take_name(p);
    inl_jinja_expect(p, JINJA_T_OPERATOR, "(");
    while (!p->state->failed && !inl_jinja_skip(p, JINJA_T_OPERATOR, ")")) {
        *last = parameter(p);
        if (!*last)
            return NULL;
        last = &(*last)->next;
        if (!inl_jinja_skip(p, JINJA_T_OPERATOR, ",")) {
            inl_jinja_expect(p, JINJA_T_OPERATOR, ")");
            break;
        }
    }
    uint32_t loops = p->loops;
    p->loops = 0;
    node->c = body_to(p, "endmacro");
    p->loops = loops;
    return node;
}

static jinja_node *parse_with(jinja_parser *p)
{
    jinja_node *node = inl_jinja_node(p, JINJA_N_WITH);
    if (!node)
        return NULL;
    jinja_node **last = &node->a;
    while (!p->state->failed && p->token.type != JINJA_T_CLOSE) {
        jinja_node *set = inl_jinja_node(p, JINJA_N_SET);
        if (!set)
            return NULL;
        set->a = inl_jinja_target(p, false);
        inl_jinja_expect(p, JINJA_T_OPERATOR, "=");
        set->b = inl_jinja_expression(p, true);
        *last = set;
        last = &set->next;
        if (!inl_jinja_skip(p, JINJA_T_OPERATOR, ","))
            break;
    }
    node->c = body_to(p, "endwith");
    return node;
}

static jinja_node *parse_generation(jinja_parser *p)
{
    jinja_node *node = inl_jinja_node(p, JINJA_N_GENERATION);
    p->has_generation = true;
    jinja_node *inner = body_to(p, "endgeneration");
    if (node)
        node->c = inner;
    return node;
}

static jinja_node *parse_jump(jinja_parser *p, jinja_node_type type)
{
    if (p->loops == 0)
        inl_jinja_fail(p->state, "break and continue belong into a loop");
    return inl_jinja_node(p, type);
}

// The statement whose name is the next token.
static jinja_node *parse_block(jinja_parser *p)
{
    jinja_token name = p->token;
    if (skip_name(p, "if"))
        return parse_if(p);
    if (skip_name(p, "for"))
        return parse_for(p);
    if (skip_name(p, "set"))
        return parse_set(p);
    if (skip_name(p, "macro"))
        return parse_macro(p);
    if (skip_name(p, "filter"))
        return parse_filter(p);
    if (skip_name(p, "with"))
        return parse_with(p);
    if (skip_name(p, "generation"))
        return parse_generation(p);
    if (skip_name(p, "break"))
        return parse_jump(p, JINJA_N_BREAK);
    if (skip_name(p, "continue"))
        return parse_jump(p, JINJA_N_CONTINUE);
    p->state->line = name.line;
    inl_jinja_fail(p->state, "the statement \"%.*s\" is not supported here",
                   (int)INL_MIN(name.text.size, 32), name.text.data);
    return NULL;
}

static jinja_node *parse_text(jinja_parser *p)
{
    jinja_node *node = inl_jinja_node(p, JINJA_N_TEXT);
    if (node)
        node->value = inl_jinja_string(p->state, p->token.text.data, NULL, p->token.text.size);
    inl_jinja_advance(p);
    return node;
}

static jinja_node *parse_print(jinja_parser *p)
{
    jinja_node *node = inl_jinja_node(p, JINJA_N_PRINT);
    jinja_node *what = inl_jinja_expressions(p, true);
    if (node)
        node->a = what;
    close_tag(p);
    return node;
}

static bool is_end(const jinja_parser *p, const char *const *ends)
{
    for (size_t i = 0; ends[i]; i++)
        if (at_name(p, ends[i]))
            return true;
    return false;
}

// `ends` empty: up to the end of the template.
static jinja_node *statements(jinja_parser *p, const char *const *ends)
{
    jinja_node *first = NULL;
    jinja_node **last = &first;
    if (!inl_jinja_enter(p))
        return NULL;
    while (!p->state->failed && p->token.type != JINJA_T_END) {
        if (p->token.type == JINJA_T_TEXT) {
            *last = parse_text(p);
        } else if (inl_jinja_skip(p, JINJA_T_VARIABLE, NULL)) {
            *last = parse_print(p);
        } else {
            inl_jinja_expect(p, JINJA_T_BLOCK, NULL);
            if (is_end(p, ends))
                break;
            if (p->token.type != JINJA_T_NAME)
                inl_jinja_unexpected(p, "a statement");
            *last = p->state->failed ? NULL : parse_block(p);
            close_tag(p);
        }
        if (*last)
            last = &(*last)->next;
    }
    if (p->token.type == JINJA_T_END && ends[0])
        inl_jinja_fail(p->state, "%s is missing", ends[0][0] == 'e' && ends[1] ? "an end tag"
                                                                              : ends[0]);
    inl_jinja_leave(p);
    return first;
}

jinja_node *inl_jinja_parse(jinja_state *s, const char *text, size_t size, bool *has_generation)
{
    static const char *const none[] = {NULL};
    jinja_parser p = {.state = s,
                      .lexer = {.state = s, .text = text, .size = size, .line = 1,
                                .line_start = true}};
    inl_jinja_advance(&p);
    jinja_node *first = statements(&p, none);
    *has_generation = p.has_generation;
    return s->failed ? NULL : first;
}
