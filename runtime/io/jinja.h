// SPDX-License-Identifier: MIT
// The part of Jinja that models' chat templates are written in, set up as transformers does it
// (trim_blocks, lstrip_blocks, its tojson, {% generation %}, raise_exception, strftime_now).
// A template is untrusted: it gets so much memory, so many steps, and reaches nothing but its data.
#ifndef INL_IO_JINJA_H
#define INL_IO_JINJA_H

#include "base/env.h"

#include <jansson.h>

typedef struct inl_jinja inl_jinja;

typedef struct inl_jinja_input {
    const json_t *messages;
    const json_t *tools;    // or NULL
    const json_t *options;  // more names, or NULL
    const json_t *specials; // "bos_token", "eos_token", ...: the model's own, not data
    bool add_generation_prompt;
    int64_t now; // seconds since 1970, in local time: what strftime_now writes
} inl_jinja_input;

// A piece of what was rendered. All pieces in a row are the whole text.
typedef struct inl_jinja_piece {
    size_t start, size; // bytes
    bool from_data;     // out of the data, not of the template
    bool generated;     // in a {% generation %} block
    size_t message;     // 1-based: written while a loop stood at this message; 0: at none
} inl_jinja_piece;

typedef struct inl_jinja_output {
    char *text;
    size_t size;
    inl_jinja_piece *pieces;
    size_t count;
} inl_jinja_output;

// UNSUPPORTED for what is no Jinja or beyond this part of it: `error` then says what and where.
inlay_result inl_jinja_open(const inl_env *env, const char *text, size_t size, inl_jinja **out,
                            char *error, size_t room);
void inl_jinja_close(inl_jinja **jinja);
bool inl_jinja_has_generation(const inl_jinja *jinja);
// Nothing is logged: `error` gets one sentence. BAD_FILE: the template does not take this data, or
// refuses it itself; UNSUPPORTED: it needs what is not there (a filter, a function).
inlay_result inl_jinja_render(const inl_jinja *jinja, const inl_jinja_input *input,
                              inl_jinja_output *out, char *error, size_t room);
void inl_jinja_output_free(const inl_env *env, inl_jinja_output *output);

#endif
