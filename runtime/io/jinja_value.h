// SPDX-License-Identifier: MIT
// The values of a Jinja template as Python has them. All of them live in the arena of one rendering
// and go with it. Every byte of a string carries marks: whether it came out of the data, and
// whether it stands in a {% generation %} block.
#ifndef INL_IO_JINJA_VALUE_H
#define INL_IO_JINJA_VALUE_H

#include "base/env.h"

#include <jansson.h>

#define JINJA_FROM_DATA 1
#define JINJA_GENERATED 2

typedef enum jinja_type {
    JINJA_UNDEFINED,
    JINJA_NONE,
    JINJA_BOOL,
    JINJA_INT,
    JINJA_FLOAT,
    JINJA_STRING,
    JINJA_LIST, // tuples too
    JINJA_DICT,
    JINJA_NAMESPACE, // a dict that can be set
    JINJA_LOOP,
    JINJA_MACRO,
    JINJA_FUNCTION, // a global one, by name
    JINJA_METHOD,   // of `self`, by name
} jinja_type;

typedef struct jinja_string {
    const char *data; // UTF-8, no end mark
    const uint8_t *marks; // one for each byte; NULL: none is marked
    size_t size;
    bool safe; // came through `safe` or `escape`: what is joined to it is escaped, as Jinja does
} jinja_string;

typedef struct jinja_value {
    jinja_type type;
    union {
        bool boolean;
        int64_t integer;
        double real;
        const jinja_string *string;
        struct jinja_list *list;
        struct jinja_dict *dict;
        struct jinja_loop *loop;
        const struct jinja_macro *macro;
        const struct jinja_method *method;
        const char *function;
        const char *missing; // undefined: what was looked for
    } as;
} jinja_value;

typedef struct jinja_list {
    jinja_value *items;
    size_t count, cap;
    bool is_tuple;
} jinja_list;

typedef struct jinja_entry {
    jinja_value key; // a string, most of the time
    jinja_value value;
} jinja_entry;

typedef struct jinja_dict {
    jinja_entry *entries; // in the order they were put in
    size_t count, cap;
    size_t message; // 1-based place among the messages, 0: none of them
} jinja_dict;

typedef struct jinja_loop {
    const jinja_list *items;
    size_t index; // from 0
    size_t depth; // from 1
    jinja_value changed; // what loop.changed() saw last
} jinja_loop;

typedef struct jinja_method {
    jinja_value self;
    const jinja_string *name;
} jinja_method;

typedef struct jinja_macro {
    const struct jinja_node *node;
    struct jinja_scope *scope; // where it was made
} jinja_macro;

// What a filter, test, method or function is called with.
#define JINJA_MAX_ARGS 16
typedef struct jinja_args {
    jinja_value items[JINJA_MAX_ARGS];
    size_t count;
    const jinja_string *names[JINJA_MAX_ARGS]; // of those given by name
    jinja_value named[JINJA_MAX_ARGS];
    size_t named_count;
} jinja_args;

// The argument at a place or of a name; NULL where there is none.
const jinja_value *inl_jinja_arg(const jinja_args *args, size_t index, const char *name);

// What one rendering or parsing has allocated, and its first error. After a failure everything
// goes on with undefined values until somebody looks at `failed`.
typedef struct jinja_state {
    const inl_env *env;
    void *blocks; // newest first
    size_t used, block_size;
    uint64_t total, limit; // bytes
    uint64_t steps;        // left
    uint32_t depth;        // of nested calls and values
    uint32_t line;         // of the template, for messages
    bool failed;
    bool refused; // by the template's own raise_exception
    inlay_result result;
    char error[320];
} jinja_state;

void inl_jinja_state_free(jinja_state *s);
// Zeroed; NULL after failing the state.
void *inl_jinja_alloc(jinja_state *s, size_t count, size_t size);
// The first one counts. Returns undefined.
jinja_value inl_jinja_fail(jinja_state *s, const char *fmt, ...) INL_PRINTF(2, 3);

// ---- making values

static inline jinja_value jinja_undefined(void)
{
    return (jinja_value){.type = JINJA_UNDEFINED};
}

static inline jinja_value jinja_none(void)
{
    return (jinja_value){.type = JINJA_NONE};
}

static inline jinja_value jinja_bool(bool value)
{
    return (jinja_value){.type = JINJA_BOOL, .as.boolean = value};
}

static inline jinja_value jinja_int(int64_t value)
{
    return (jinja_value){.type = JINJA_INT, .as.integer = value};
}

static inline jinja_value jinja_real(double value)
{
    return (jinja_value){.type = JINJA_FLOAT, .as.real = value};
}

// The bytes are not copied.
jinja_value inl_jinja_string(jinja_state *s, const char *data, const uint8_t *marks, size_t size);
jinja_value inl_jinja_text(jinja_state *s, const char *text);
jinja_value inl_jinja_list(jinja_state *s);
jinja_value inl_jinja_dict(jinja_state *s);
void inl_jinja_push(jinja_state *s, jinja_list *list, jinja_value item);
void inl_jinja_put(jinja_state *s, jinja_dict *dict, jinja_value key, jinja_value value);
// Data: all strings are marked.
jinja_value inl_jinja_from_json(jinja_state *s, const json_t *json);
jinja_value inl_jinja_join(jinja_state *s, const jinja_string *a, const jinja_string *b);
jinja_value inl_jinja_make_safe(jinja_state *s, jinja_value string);

// ---- looking at values

bool inl_jinja_same(const jinja_string *a, const jinja_string *b);
bool inl_jinja_truth(jinja_value value);
bool inl_jinja_is_number(jinja_value value); // bool, int or float
double inl_jinja_number(jinja_value value);
bool inl_jinja_equal(jinja_state *s, jinja_value a, jinja_value b);
// <0, 0, >0; fails for what Python cannot order.
int inl_jinja_compare(jinja_state *s, jinja_value a, jinja_value b);
const jinja_value *inl_jinja_find(const jinja_dict *dict, const jinja_string *key);
const jinja_value *inl_jinja_get(const jinja_dict *dict, const char *key);
const char *inl_jinja_type_name(jinja_value value); // as Python calls it

// Items, keys or characters as a list; fails for what cannot be iterated.
jinja_list *inl_jinja_items(jinja_state *s, jinja_value value);
// Characters, items or entries; -1: it has no length.
int64_t inl_jinja_length(jinja_value value);
// [from:to:step]; NULL: left out.
jinja_value inl_jinja_slice(jinja_state *s, jinja_value value, const jinja_value *from,
                            const jinja_value *to, const jinja_value *step);

// ---- text under construction (jinja_write.c)

typedef struct jinja_buffer {
    jinja_state *state;
    char *data;
    uint8_t *marks;
    size_t size, cap;
} jinja_buffer;

void inl_jinja_append(jinja_buffer *b, const char *data, size_t size, uint8_t mark);
void inl_jinja_append_string(jinja_buffer *b, const jinja_string *string);
// For HTML.
void inl_jinja_append_escaped(jinja_buffer *b, const jinja_string *string);
jinja_value inl_jinja_finish(jinja_buffer *b);
// As Python's str() and repr() write it.
void inl_jinja_append_value(jinja_buffer *b, jinja_value value);
void inl_jinja_append_repr(jinja_buffer *b, jinja_value value, uint32_t depth);
jinja_value inl_jinja_to_string(jinja_state *s, jinja_value value);

typedef struct jinja_json_style {
    int64_t indent; // -1: all on one line
    bool ascii, sorted;
    const jinja_string *between, *colon; // NULL: ", " (or "," with an indent) and ": "
} jinja_json_style;

jinja_value inl_jinja_to_json(jinja_state *s, jinja_value value, const jinja_json_style *style);

// ---- characters (jinja_chars.c)

// Bytes of the character at `data` (size > 0), at least 1; *code is its number.
size_t inl_jinja_char(const char *data, size_t size, uint32_t *code);
bool inl_jinja_is_space(uint32_t code); // Python's
jinja_string inl_jinja_part(const jinja_string *s, size_t start, size_t size);
// What is not in `chars` (NULL: blanks) at the ends.
jinja_string inl_jinja_strip(jinja_string s, const jinja_string *chars, bool left, bool right);
// The first place of `what` from `from` on, or SIZE_MAX.
size_t inl_jinja_search(const jinja_string *s, const jinja_string *what, size_t from);

#endif
