// SPDX-License-Identifier: MIT
// What the files of the command share. Results go to stdout, everything else through the functions
// here to stderr. The command sees the library through its public headers alone.
#ifndef CLI_H
#define CLI_H

#include "args.h"

#include <inlay/inlay.h>
#include <stdio.h>

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

#if defined(__GNUC__)
#define CLI_PRINTF(fmt, args) __attribute__((format(printf, fmt, args)))
#else
#define CLI_PRINTF(fmt, args)
#endif

enum { EXIT_OK = 0, EXIT_FAILED = 1, EXIT_BAD_INPUT = 2 };

// ---- messages (env.c)

void cli_error(const char *fmt, ...) CLI_PRINTF(1, 2);
void cli_warn(const char *fmt, ...) CLI_PRINTF(1, 2);
void cli_note(const char *fmt, ...) CLI_PRINTF(1, 2); // not with --quiet
void cli_set_level(inlay_log_level level);
inlay_log_level cli_get_level(void);
// Called before each message: a progress line gets out of the way. NULL: none.
void cli_before_message(void (*hook)(void));
// The library's log goes where our messages go.
const inlay_env *cli_env(void);

// Exit code of a failure while reading what the user named, and of one while working.
int cli_exit_input(inlay_result result);
int cli_exit_run(inlay_result result);
// Of writing what was asked for: it may be impossible, or the disk full.
int cli_exit_output(inlay_result result);
// `code`, or a failure when stdout could not take the results.
int cli_finish_stdout(int code);

// ---- memory: these end the program when there is none (env.c)

void *xalloc(size_t count, size_t size); // zeroed
void *xrealloc(void *ptr, size_t count, size_t size);
char *xstrdup(const char *text);
char *xprintf(const char *fmt, ...) CLI_PRINTF(1, 2);

// ---- text (text.c)

typedef struct text_buffer {
    char text[48];
} text_buffer;
const char *text_bytes(text_buffer *out, uint64_t bytes);      // "12.3 MiB"
const char *text_count(text_buffer *out, double count);        // "1.23 M"
const char *text_duration(text_buffer *out, double seconds);   // "1:02:03"
// Bytes at the end that begin a UTF-8 character which is not complete yet.
size_t utf8_incomplete_tail(const char *text, size_t size);
// What is not UTF-8 becomes U+FFFD. Allocated, NUL-terminated.
char *utf8_clean(const char *text, size_t size, size_t *out_size);

// ---- commands (main.c, cmd_*.c)

typedef struct command {
    const char *name, *usage, *summary;
    const char *notes; // after the options in --help; NULL: none
    int (*run)(const struct command *self, int argc, char **argv); // without the command's name
} command;

extern const command command_devices, command_verify, command_info, command_tokenize, command_train,
    command_eval, command_generate, command_convert, command_data, command_merge, command_bench;

// ---- the first steps of every command (setup.c)

typedef struct common_options {
    const char *device, *paths;
    uint64_t memory_budget; // bytes
    uint32_t max_submit_ms;
    bool verbose, quiet, validation;
} common_options;

// Rows for an options struct that has a member `common`.
#define COMMON_ARGS(opts_)                                                                         \
    {.name = "quiet", .letter = 'q', .type = ARG_FLAG, .offset = offsetof(opts_, common.quiet),    \
     .help = "warnings and errors alone", .heading = "General"},                                   \
    {.name = "verbose", .letter = 'v', .type = ARG_FLAG, .offset = offsetof(opts_, common.verbose),\
     .help = "more on stderr"}
#define DEVICE_ARGS(opts_)                                                                         \
    {.name = "device", .type = ARG_STRING, .offset = offsetof(opts_, common.device),               \
     .value = "NAME|N", .help = "Vulkan device: a part of its name, or its number",                \
     .heading = "Device"},                                                                         \
    {.name = "paths", .type = ARG_STRING, .offset = offsetof(opts_, common.paths),                 \
     .value = "LIST", .help = "kernels to use or not, like -matrix,+f16 (see inlay devices)"},     \
    {.name = "memory-budget", .type = ARG_CUSTOM, .offset = offsetof(opts_, common.memory_budget), \
     .value = "SIZE", .help = "device memory to stay within, like 6G; default: what is free",      \
     .parse = setup_parse_size, .expected = "a size like 512M or 6G"},                             \
    {.name = "max-submit-ms", .type = ARG_UINT, .offset = offsetof(opts_, common.max_submit_ms),   \
     .value = "MS", .help = "longest piece of work given to the device (default 100)", .min = 1,   \
     .max = 60000},                                                                                \
    {.name = "validation", .type = ARG_FLAG, .offset = offsetof(opts_, common.validation),         \
     .help = "run under the Vulkan validation layer"}

#define ADAPTERS_MAX 16

// What stood behind each -a: PATH, or PATH:SCALE where there is nothing of that name.
typedef struct adapter_list {
    const char *texts[ADAPTERS_MAX];
    size_t count;
} adapter_list;

// A model and the adapters on it, for an options struct that has a member `base`.
typedef struct model_options {
    const char *model;
    adapter_list adapters;
    const char *quantize;
} model_options;
#define MODEL_HELP "a GGUF file or a Hugging Face folder"
#define MODEL_ARGS(opts_)                                                                          \
    {.name = "model", .letter = 'm', .type = ARG_STRING, .offset = offsetof(opts_, base.model),    \
     .value = "MODEL", .help = MODEL_HELP},                                                        \
    {.name = "adapter", .letter = 'a', .type = ARG_CUSTOM,                                         \
     .offset = offsetof(opts_, base.adapters), .value = "ADAPTER[:SCALE]",                         \
     .help = "a run's output folder, a PEFT folder or a .gguf; several are added",                 \
     .parse = setup_parse_adapter, .expected = "PATH or PATH:SCALE, at most 16 times"}
#define QUANTIZE_HELP "of the layers' matrices, at load: none (default), nf4, q8_0, q4_k, ..."
#define QUANTIZE_ARG(opts_)                                                                        \
    {.name = "quantize", .type = ARG_STRING, .offset = offsetof(opts_, base.quantize),             \
     .value = "TYPE", .help = QUANTIZE_HELP}

// How conversations become text, for an options struct that has a member `chat`.
typedef struct chat_options {
    const char *chat_template; // a name, or a .jinja file
    int64_t local_time;        // seconds since 1970; 0: now
    char *text;                // what the file holds, or NULL
} chat_options;
#define CHAT_ARGS(opts_)                                                                           \
    {.name = "chat-template", .type = ARG_STRING, .offset = offsetof(opts_, chat.chat_template),   \
     .value = "NAME|FILE", .help = "for conversations: a name like chatml, or a .jinja file; "     \
     "default: the model's own"},                                                                  \
    {.name = "chat-date", .type = ARG_CUSTOM, .offset = offsetof(opts_, chat.local_time),          \
     .value = "YYYY-MM-DD", .help = "for templates that write the date; default: today",           \
     .parse = setup_parse_date, .expected = "a date like 2026-01-31"}

// The dataset of a command that only reads it, for an options struct that has members `data`,
// `max_length`, `chat`, `no_packing` and `no_eos`.
#define DATA_HELP "a .txt, .jsonl, .json or .csv file, the last three also .zst"
#define DATA_ARGS(opts_)                                                                           \
    {.name = "data", .letter = 'd', .type = ARG_STRING, .offset = offsetof(opts_, data),           \
     .value = "DATA", .help = DATA_HELP},                                                          \
    {.name = "max-length", .type = ARG_UINT, .offset = offsetof(opts_, max_length), .value = "N",  \
     .help = "tokens in a row (default: the model's context, at most 512)", .min = 2,              \
     .max = 1 << 22},                                                                              \
    CHAT_ARGS(opts_),                                                                              \
    {.name = "no-packing", .type = ARG_FLAG, .offset = offsetof(opts_, no_packing),                \
     .help = "one sequence a row"},                                                                \
    {.name = "no-eos", .type = ARG_FLAG, .offset = offsetof(opts_, no_eos),                        \
     .help = "no end-of-sequence token after text and completions"}

bool setup_parse_size(const char *text, void *bytes);
// What others call the options of CHAT_ARGS.
extern const arg_alias setup_aliases[];
extern const size_t setup_alias_count;
bool setup_parse_date(const char *text, void *seconds);
// Reads the template's file, if it is one, and the clock. False: that has failed, and was said.
bool setup_chat(chat_options *chat);
void setup_chat_free(chat_options *chat);
// False: the command ends here with *code (help was shown, or the arguments are wrong).
bool setup_args(args *a, const command *c, int argc, char **argv, int *code);
void setup_log(const common_options *common);
// Whether all options of the NULL-terminated list were given; says which one is missing.
bool setup_require(const args *a, const char *const *names, int *code);
bool setup_parse_adapter(const char *text, void *list);
// Whether `path` is that of the model or of an adapter: says so.
bool setup_is_input(const model_options *base, const char *path);
// What was opened before a failure is the caller's to close. No adapter asked for leaves it NULL,
// several give their sum.
inlay_result setup_model(const model_options *base, inlay_model **model, inlay_adapter **adapter);

// A command that makes a file or folder of a model and an adapter.
typedef struct rewrite_options {
    common_options common;
    model_options base;
    const char *output, *type;
} rewrite_options;
typedef int rewrite_fn(const rewrite_options *o, const inlay_model *model, inlay_adapter *adapter);
// All of it: `a->options` is a rewrite_options; `write` gives the exit status. `required` as in
// setup_require.
int setup_rewrite(args *a, const command *c, int argc, char **argv, const char *const *required,
                  rewrite_fn *write);
inlay_result setup_device(inlay_device **out, const inlay_env *env, const common_options *common);

#endif
