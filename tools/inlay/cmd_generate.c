// SPDX-License-Identifier: MIT
// inlay generate: continues a prompt; the continuation alone goes to stdout, as it comes.
#include "answer.h"
#include "interrupt.h"
#include "json_out.h"
#include "progress.h"

#include <stdlib.h>

typedef struct options {
    common_options common;
    model_options base;
    chat_options chat;
    const char *prompt, *system;
    bool is_chat;
    uint32_t tokens, top_k, seed;
    double temperature, top_p;
} options;

static const arg table[] = {
    MODEL_ARGS(options),
    {.name = "prompt", .letter = 'p', .type = ARG_TEXT, .offset = offsetof(options, prompt),
     .value = "PROMPT", .help = "the text to go on from; may be empty"},
    {.name = "max-new-tokens", .letter = 'n', .type = ARG_UINT, .offset = offsetof(options, tokens),
     .value = "N", .help = "at most so many tokens (default 256)", .max = 1e9},
    {.name = "chat", .type = ARG_FLAG, .offset = offsetof(options, is_chat),
     .help = "PROMPT is a user's message, the answer is the assistant's"},
    {.name = "system", .type = ARG_TEXT, .offset = offsetof(options, system), .value = "TEXT",
     .help = "with --chat: a system message before it"},
    CHAT_ARGS(options),
    QUANTIZE_ARG(options),
    {.name = "temperature", .type = ARG_REAL, .offset = offsetof(options, temperature),
     .value = "T", .help = "0 is greedy (default 0)", .max = 100.0, .heading = "Sampling"},
    {.name = "top-k", .type = ARG_UINT, .offset = offsetof(options, top_k), .value = "K",
     .help = "among the K likeliest tokens; 0: all (default 0)", .max = UINT32_MAX},
    {.name = "top-p", .type = ARG_REAL, .offset = offsetof(options, top_p), .value = "P",
     .help = "among the likeliest that hold the share P (default 1)", .max = 1.0,
     .above = true},
    {.name = "seed", .type = ARG_UINT, .offset = offsetof(options, seed), .value = "S",
     .help = "of the random draws (default 0)", .max = UINT32_MAX},
    DEVICE_ARGS(options),
    COMMON_ARGS(options),
};

typedef struct session {
    inlay_model *model;
    inlay_adapter *adapter;
    inlay_device *device;
    inlay_generator *generator;
    int32_t *ids;
    size_t count;
} session;

// Bytes that are no UTF-8 become U+FFFD: a reader of text must be able to rely on that. False:
// nobody reads on.
static bool write_out(void *user, const char *bytes, size_t size)
{
    (void)user;
    char *clean = utf8_clean(bytes, size, &size);
    bool written = fwrite(clean, 1, size, stdout) == size && fflush(stdout) == 0;
    free(clean);
    return written;
}

static void add_message(json_t *messages, const char *role, const char *text)
{
    json_t *message = json_object();
    json_put(message, "role", json_words(role));
    json_put(message, "content", json_words(text));
    json_array_append_new(messages, message);
}

// The prompt as a conversation's tokens.
static inlay_result ask(session *s, const options *o)
{
    inlay_chat_params params = {.chat_template = o->chat.chat_template,
                                .local_time = o->chat.local_time};
    json_t *messages = json_array();
    if (o->system)
        add_message(messages, "system", o->system);
    add_message(messages, "user", o->prompt);
    char *text = json_line(messages);
    inlay_result result = inlay_chat_tokenize(s->model, text, &params, NULL, &s->count);
    if (s->count > 0) { // that was the number of them
        s->ids = xalloc(s->count, sizeof(*s->ids));
        result = inlay_chat_tokenize(s->model, text, &params, s->ids, &s->count);
    }
    json_decref(messages);
    free(text);
    return result;
}

static int open_inputs(session *s, const options *o)
{
    inlay_result result = setup_model(&o->base, &s->model, &s->adapter);
    if (result != INLAY_OK)
        return cli_exit_input(result);
    if (o->is_chat)
        return cli_exit_input(ask(s, o));
    s->ids = answer_ids(s->model, o->prompt, true, &s->count);
    return s->ids ? EXIT_OK : EXIT_FAILED;
}

// Room for prompt and answer. The model's context is a limit of its quality, not of its arithmetic.
static uint32_t choose_context(const session *s, const options *o)
{
    inlay_model_info info;
    inlay_model_get_info(s->model, &info);
    uint64_t tokens = (s->count ? s->count : 1) + (uint64_t)o->tokens;
    if (tokens > info.context_length)
        cli_warn("%zu tokens of prompt and up to %u new ones go beyond the model's context of %u",
                 s->count, o->tokens, info.context_length);
    return tokens < UINT32_MAX ? (uint32_t)tokens : UINT32_MAX;
}

// A token's rate is without the first, which waits for its kernels to be compiled.
static void print_speed(size_t prompt, double start, const answer_stats *stats)
{
    if (stats->tokens == 0)
        return;
    double first = stats->first - start, more = stats->last - stats->second;
    cli_note("prompt: %zu tokens, %.2f s to the first new one", prompt, first);
    if (stats->tokens > 2)
        cli_note("generated: %u tokens, %.2f s, %.1f tokens/s", stats->tokens,
                 stats->last - start, (stats->tokens - 2) / more);
    else
        cli_note("generated: %u tokens, %.2f s", stats->tokens, stats->last - start);
}

static int generate(session *s, const options *o)
{
    if (o->tokens == 0)
        return EXIT_OK;
    inlay_generator_params params = {.context_length = choose_context(s, o)};
    inlay_result result = setup_device(&s->device, cli_env(), &o->common);
    if (result != INLAY_OK)
        return cli_exit_run(result);
    result = inlay_generator_create(&s->generator, cli_env(), s->device, s->model, s->adapter,
                                    &params);
    if (result != INLAY_OK)
        return cli_exit_run(result);
    answer_params answer = {.max_tokens = o->tokens,
                            .sample = {.temperature = (float)o->temperature,
                                       .top_k = o->top_k,
                                       .top_p = (float)o->top_p,
                                       .seed = o->seed},
                            .at_start = o->is_chat || *o->prompt == '\0'};
    answer_stats stats;
    double start = clock_seconds();
    interrupt_remember();
    result = answer_stream(s->model, s->generator, s->ids, s->count, &answer, write_out, NULL,
                           &stats);
    puts("");
    if (o->common.verbose)
        print_speed(s->count, start, &stats);
    if (result == INLAY_OK && interrupt_name()) {
        cli_error("stopped by %s after %u tokens", interrupt_name(), stats.tokens);
        return EXIT_FAILED;
    }
    return cli_exit_run(result);
}

static int run(const command *self, int argc, char **argv)
{
    static const char *const required[] = {"model", "prompt", NULL};
    options o = {.tokens = 256};
    args a = {.table = table, .count = COUNT(table), .options = &o, .aliases = setup_aliases,
              .alias_count = setup_alias_count};
    int code;
    if (!setup_args(&a, self, argc, argv, &code) || !setup_require(&a, required, &code))
        return code;
    setup_log(&o.common);
    session s = {0};
    if (!o.is_chat && (o.system || o.chat.chat_template)) {
        cli_error("--system and --chat-template belong to --chat");
        return EXIT_BAD_INPUT;
    }
    code = setup_chat(&o.chat) ? open_inputs(&s, &o) : EXIT_BAD_INPUT;
    if (code == EXIT_OK)
        code = generate(&s, &o);
    inlay_generator_destroy(&s.generator);
    inlay_adapter_destroy(&s.adapter);
    inlay_model_close(&s.model);
    inlay_device_destroy(&s.device);
    free(s.ids);
    setup_chat_free(&o.chat);
    return code;
}

const command command_generate = {
    .name = "generate",
    .usage = "generate -m MODEL [-a ADAPTER[:SCALE]]... -p PROMPT [-n N] [--chat] [options]",
    .summary = "continues a prompt",
    .run = run};
