// SPDX-License-Identifier: MIT
// Options from tables: the command line and the configuration file fill the same rows.
#ifndef ARGS_H
#define ARGS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef enum arg_type {
    ARG_FLAG,   // bool
    ARG_STRING, // const char *, not copied
    ARG_TEXT,   // the same, may be empty
    ARG_UINT,   // uint32_t, min to max
    ARG_REAL,   // double, min to max
    ARG_CHOICE, // int, index into `choices`
    ARG_CUSTOM, // what `parse` makes of it
} arg_type;

typedef struct arg {
    const char *name; // without the dashes
    char letter;      // short form, 0: none
    arg_type type;
    size_t offset;     // into the options struct
    const char *value; // what help calls the value
    const char *help;
    double min, max;
    bool above, below; // min, max themselves are out
    const char *const *choices; // NULL at the end
    // False: the value is none of `expected`.
    bool (*parse)(const char *text, void *out);
    const char *expected; // "none, all, auto or a number of layers"
    const char *heading;  // starts a group in help
} arg;

// Another name of an option. With `when_true` the value is a yes or no that stands for it; there
// NULL means: leave the option alone. Such a name is for configuration files only.
typedef struct arg_alias {
    const char *alias, *name;
    bool yes_no;
    const char *when_true, *when_false;
} arg_alias;

#define ARGS_MAX 80
#define ARGS_MAX_REST 4

typedef struct args {
    const arg *table;
    size_t count;
    const arg_alias *aliases;
    size_t alias_count;
    void *options;
    const char *rest_name; // what an argument without a dash is: "FILE"; NULL: an error
    const char *rest;      // the one there was
    bool given[ARGS_MAX];  // by row, on the command line
    bool set[ARGS_MAX];    // by row, there or in the configuration file
} args;

typedef enum args_outcome { ARGS_DONE, ARGS_HELP, ARGS_BAD } args_outcome;

// argv without the command's name. ARGS_BAD: one sentence has been said.
args_outcome args_parse(args *args, int argc, char **argv);
// Row of an option's name, - and _ alike; -1: none.
int args_find(const args *args, const char *name);
const arg_alias *args_find_alias(const args *args, const char *name);
bool args_is_set(const args *args, const char *name);
// Sets one row; `shown` is how the message names the option ("--lora-r", "run.yaml:3: lora_r").
bool args_set(args *args, int row, const char *text, const char *shown);
// The nearest option or alias, or NULL when nothing is like it. Lives as long as the tables.
const char *args_nearest(const args *args, const char *name);
// The nearest of `count` words, or NULL.
const char *args_nearest_word(const char *word, const char *const *words, size_t count);
void args_print_help(const args *args);
bool args_is_yes_no(const char *text, bool *value);

#endif
