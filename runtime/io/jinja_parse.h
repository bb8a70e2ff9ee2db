// SPDX-License-Identifier: MIT
// Jinja's text as a tree: jinja_lex.c makes tokens, jinja_parse.c statements, jinja_expression.c
// expressions. Everything lives in the arena of the state.
#ifndef INL_IO_JINJA_PARSE_H
#define INL_IO_JINJA_PARSE_H

#include "io/jinja_value.h"

#define JINJA_MAX_NESTING 200 // of statements and expressions

typedef enum jinja_node_type {
    // Statements.
    JINJA_N_TEXT,       // value
    JINJA_N_PRINT,      // a
    JINJA_N_IF,         // a: condition, b: then, c: else
    JINJA_N_FOR,        // a: target, b: over what, c: body, d: else, e: condition of an item
    JINJA_N_SET,        // a: target, b: value
    JINJA_N_SET_BLOCK,  // a: target, b: filters over JINJA_N_CAPTURED, c: body
    JINJA_N_FILTER_BLOCK, // b, c as above
    JINJA_N_MACRO,      // text: name, a: parameters (text, a: default), c: body
    JINJA_N_GENERATION, // c: body
    JINJA_N_WITH,       // a: list of JINJA_N_SET, c: body
    JINJA_N_BREAK,
    JINJA_N_CONTINUE,
    // Expressions.
    JINJA_N_CONST,      // value
    JINJA_N_CAPTURED,   // the text of the block
    JINJA_N_NAME,       // text
    JINJA_N_LIST,       // a: items
    JINJA_N_TUPLE,      // a: items
    JINJA_N_DICT,       // a: list of JINJA_N_PAIR
    JINJA_N_PAIR,       // a: key, b: value
    JINJA_N_ATTRIBUTE,  // a: of what, text
    JINJA_N_ITEM,       // a: of what, b: which
    JINJA_N_SLICE,      // a: of what, b: from, c: to, d: step; NULL: left out
    JINJA_N_CALL,       // a: what, b: arguments
    JINJA_N_KEYWORD,    // an argument by name: text, a
    JINJA_N_FILTER,     // text: name, a: input, b: arguments
    JINJA_N_TEST,       // text: name, a: of what, b: arguments
    JINJA_N_NOT,        // a
    JINJA_N_NEGATE,     // a
    JINJA_N_POSITIVE,   // a
    JINJA_N_AND,        // a, b
    JINJA_N_OR,         // a, b
    JINJA_N_ARITHMETIC, // op, a, b
    JINJA_N_CONCAT,     // a ~ b
    JINJA_N_COMPARE,    // a, b: list of JINJA_N_OPERAND
    JINJA_N_OPERAND,    // op, a
    JINJA_N_CONDITION,  // a if b else c
} jinja_node_type;

typedef enum jinja_op {
    JINJA_ADD, JINJA_SUB, JINJA_MUL, JINJA_DIV, JINJA_FLOOR, JINJA_MOD, JINJA_POWER,
    JINJA_EQ, JINJA_NE, JINJA_LT, JINJA_LE, JINJA_GT, JINJA_GE, JINJA_IN, JINJA_NOT_IN,
} jinja_op;

typedef struct jinja_node {
    jinja_node_type type;
    jinja_op op;
    uint32_t line;
    const jinja_string *text;
    jinja_value value;
    struct jinja_node *a, *b, *c, *d, *e;
    struct jinja_node *next; // in a list
} jinja_node;

typedef enum jinja_token_type {
    JINJA_T_TEXT,     // between the tags
    JINJA_T_VARIABLE, // {{
    JINJA_T_BLOCK,    // {%
    JINJA_T_CLOSE,    // }} or %}
    JINJA_T_NAME,
    JINJA_T_STRING,
    JINJA_T_INT,
    JINJA_T_FLOAT,
    JINJA_T_OPERATOR,
    JINJA_T_END,
} jinja_token_type;

typedef struct jinja_token {
    jinja_token_type type;
    uint32_t line;
    jinja_string text; // a name, an operator; a string's value
    int64_t integer;
    double real;
} jinja_token;

typedef struct jinja_lexer {
    jinja_state *state;
    const char *text;
    size_t size, at;
    uint32_t line;
    bool in_tag, in_block;
    bool line_start;   // what comes stands at the beginning of a line
    bool strip_next;   // the text that comes loses its blanks on the left
    size_t open;       // brackets
} jinja_lexer;

typedef struct jinja_parser {
    jinja_state *state;
    jinja_lexer lexer;
    jinja_token token; // the one to be read
    uint32_t loops; // around this place
    bool has_generation;
} jinja_parser;

// `text` must have no CR; jinja_token.text points into it or the arena.
void inl_jinja_lex(jinja_lexer *lexer, jinja_token *out);

// The first statement of the template; also NULL for an empty one and on failure.
jinja_node *inl_jinja_parse(jinja_state *s, const char *text, size_t size, bool *has_generation);

// ---- between jinja_parse.c and jinja_expression.c

jinja_node *inl_jinja_node(jinja_parser *p, jinja_node_type type);
void inl_jinja_advance(jinja_parser *p);
bool inl_jinja_at(const jinja_parser *p, jinja_token_type type, const char *text);
bool inl_jinja_skip(jinja_parser *p, jinja_token_type type, const char *text);
void inl_jinja_expect(jinja_parser *p, jinja_token_type type, const char *text);
const jinja_string *inl_jinja_take_name(jinja_parser *p);
void inl_jinja_unexpected(jinja_parser *p, const char *wanted);
bool inl_jinja_enter(jinja_parser *p); // false: nested too deep, or failed
void inl_jinja_leave(jinja_parser *p);

// An expression; `condition`: also "a if b else c".
jinja_node *inl_jinja_expression(jinja_parser *p, bool condition);
// One, or a tuple of them where there are commas.
jinja_node *inl_jinja_expressions(jinja_parser *p, bool condition);
// Names, or tuples of names: what a loop and `set` assign to.
jinja_node *inl_jinja_target(jinja_parser *p, bool namespaces);
// Filters after `node`, as many as there are; the first without its |.
jinja_node *inl_jinja_filters(jinja_parser *p, jinja_node *node);

#endif
