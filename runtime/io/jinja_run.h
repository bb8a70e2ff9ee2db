// SPDX-License-Identifier: MIT
// One rendering of a template: what jinja_run.c (statements), jinja_eval.c (expressions),
// jinja_filter.c, jinja_test.c, jinja_method.c and jinja_function.c share.
#ifndef INL_IO_JINJA_RUN_H
#define INL_IO_JINJA_RUN_H

#include "io/jinja.h"
#include "io/jinja_parse.h"

typedef struct jinja_variable {
    const jinja_string *name;
    jinja_value value;
} jinja_variable;

typedef struct jinja_scope {
    struct jinja_scope *outer;
    jinja_variable *variables;
    size_t count, cap;
} jinja_scope;

// From `start` in the main text on, what is written belongs to this message.
typedef struct jinja_seam {
    size_t start, message;
} jinja_seam;

typedef struct jinja_run {
    jinja_state *state;
    const inl_jinja_input *input;
    jinja_scope *scope;
    jinja_buffer *out; // the main text, or that of a captured block
    jinja_buffer main;
    jinja_seam *seams;
    size_t seam_count, seam_cap;
    size_t message; // the one the innermost loop over messages stands at
    uint32_t generation; // blocks around this place
    bool in_filter_block;
    jinja_value captured;
    enum { JINJA_GO_ON, JINJA_BREAKS, JINJA_CONTINUES } flow;
} jinja_run;

// Fails the rendering as UNSUPPORTED.
jinja_value inl_jinja_unsupported(jinja_run *r, const char *fmt, ...) INL_PRINTF(2, 3);

void inl_jinja_assign(jinja_run *r, const jinja_string *name, jinja_value value);
// A scope inside the current one, which it becomes.
void inl_jinja_open_scope(jinja_run *r, jinja_scope *outer);
void inl_jinja_execute(jinja_run *r, const jinja_node *first);
// Executes with the output captured.
jinja_value inl_jinja_capture(jinja_run *r, const jinja_node *first);

jinja_value inl_jinja_eval(jinja_run *r, const jinja_node *node);
// x.name and x["name"]; undefined where there is none.
jinja_value inl_jinja_attribute(jinja_run *r, jinja_value of, const jinja_string *name);
jinja_value inl_jinja_item(jinja_run *r, jinja_value of, jinja_value key);
// a in b
bool inl_jinja_contains(jinja_run *r, jinja_value in, jinja_value what);
jinja_value inl_jinja_add(jinja_run *r, jinja_value a, jinja_value b);

jinja_value inl_jinja_filter(jinja_run *r, const jinja_string *name, jinja_value input,
                             const jinja_args *args);
bool inl_jinja_test(jinja_run *r, const jinja_string *name, jinja_value value,
                    const jinja_args *args);
// Whether a value of this type has a method of this name (or would have it in Python, where it
// changes the value, which templates must not).
bool inl_jinja_has_method(jinja_value of, const jinja_string *name);
jinja_value inl_jinja_call_method(jinja_run *r, const jinja_method *method,
                                  const jinja_args *args);
// NULL: there is no such function.
const char *inl_jinja_find_function(const jinja_string *name);
jinja_value inl_jinja_call_function(jinja_run *r, const char *name, const jinja_args *args);

#endif
