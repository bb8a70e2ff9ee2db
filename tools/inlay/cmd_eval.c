// SPDX-License-Identifier: MIT
// inlay eval: the loss of a model, with or without an adapter, on a dataset; with --exact-match
// also how many completions a greedy answer gets right.
#include "answer.h"
#include "json_out.h"

#include <stdlib.h>
#include <string.h>

#define ANSWER_SLACK 8 // tokens an answer may have beyond the expected one's before it is cut

typedef struct options {
    common_options common;
    model_options base;
    chat_options chat;
    const char *data;
    uint32_t max_length, show;
    bool no_packing, no_eos, exact_match, json;
} options;

static const arg table[] = {
    MODEL_ARGS(options),
    DATA_ARGS(options),
    QUANTIZE_ARG(options),
    {.name = "exact-match", .type = ARG_FLAG, .offset = offsetof(options, exact_match),
     .help = "answer each prompt greedily and compare with its completion"},
    {.name = "show", .type = ARG_UINT, .offset = offsetof(options, show), .value = "N",
     .help = "with --exact-match: show the first N answers", .max = 1e6},
    {.name = "json", .type = ARG_FLAG, .offset = offsetof(options, json), .help = "as JSON"},
    DEVICE_ARGS(options),
    COMMON_ARGS(options),
};

typedef struct session {
    inlay_model *model;
    inlay_adapter *adapter;
    inlay_dataset *data;
    inlay_device *device;
    inlay_eval_result loss;
    uint64_t examples, matches;
    json_t *shown;
} session;

static int open_inputs(session *s, const options *o)
{
    inlay_dataset_params data = {.max_length = o->max_length,
                                 .chat_template = o->chat.chat_template,
                                 .local_time = o->chat.local_time,
                                 .no_packing = o->no_packing,
                                 .no_eos = o->no_eos,
                                 .no_records = !o->exact_match};
    inlay_result result = setup_model(&o->base, &s->model, &s->adapter);
    if (result == INLAY_OK)
        result = inlay_dataset_open(&s->data, cli_env(), s->model, o->data, &data);
    if (result != INLAY_OK)
        return cli_exit_input(result);
    inlay_dataset_info info;
    inlay_dataset_get_info(s->data, &info);
    if (o->exact_match && strcmp(info.format, "prompt-completion") != 0) {
        cli_error("--exact-match needs records of prompt and completion, %s has %s", o->data,
                  info.format);
        return EXIT_BAD_INPUT;
    }
    if (info.supervised_tokens == 0) {
        cli_error("%s has no token to score", o->data);
        return EXIT_BAD_INPUT;
    }
    return EXIT_OK;
}

// ---- exact match

static size_t trimmed(const char *text)
{
    size_t size = strlen(text);
    while (size > 0 && strchr(" \t\r\n", text[size - 1]))
        size--;
    return size;
}

static bool same_text(const char *a, const char *b)
{
    size_t size = trimmed(a);
    return size == trimmed(b) && memcmp(a, b, size) == 0;
}

static void show(session *s, const char *prompt, const char *answer, const char *expected)
{
    json_t *o = json_object();
    json_put(o, "prompt", json_words(prompt));
    json_put(o, "answer", json_words(answer));
    json_put(o, "expected", json_words(expected));
    json_array_append_new(s->shown, o);
}

// Prompt and expected answer as ids; the answer's count decides where a long one is cut.
static inlay_result judge(session *s, inlay_generator *g, const options *o, const char *prompt,
                          const char *completion)
{
    size_t count, expected;
    int32_t *ids = answer_ids(s->model, prompt, true, &count);
    int32_t *wanted = answer_ids(s->model, completion, true, &expected);
    inlay_result result = INLAY_ERROR_OUT_OF_MEMORY;
    char *text = NULL;
    if (ids && wanted) {
        answer_params params = {.max_tokens = (uint32_t)expected + ANSWER_SLACK,
                                .at_start = *prompt == '\0'};
        result = answer_text(s->model, g, ids, count, &params, &text);
    }
    if (result == INLAY_OK) {
        s->examples++;
        s->matches += same_text(text, completion);
        if (s->examples <= o->show)
            show(s, prompt, text, completion);
    }
    free(text);
    free(ids);
    free(wanted);
    return result;
}

// Tokens of the longest prompt with its answer.
static inlay_result find_longest(const session *s, uint64_t records, uint32_t *tokens)
{
    *tokens = 0;
    for (uint64_t i = 0; i < records; i++) {
        const char *texts[2];
        size_t sum = ANSWER_SLACK;
        inlay_result result = inlay_dataset_get_record(s->data, i, &texts[0], &texts[1]);
        for (int k = 0; result == INLAY_OK && k < 2; k++) {
            size_t count = 0;
            int32_t *ids = answer_ids(s->model, texts[k], true, &count);
            result = ids ? INLAY_OK : INLAY_ERROR_OUT_OF_MEMORY;
            sum += count;
            free(ids);
        }
        if (result != INLAY_OK)
            return result;
        *tokens = sum > *tokens ? (uint32_t)sum : *tokens;
    }
    return INLAY_OK;
}

static inlay_result match_all(session *s, const options *o)
{
    inlay_dataset_info info;
    inlay_generator *g = NULL;
    inlay_generator_params params = {0};
    inlay_dataset_get_info(s->data, &info);
    inlay_result result = find_longest(s, info.records, &params.context_length);
    if (result == INLAY_OK)
        result = inlay_generator_create(&g, cli_env(), s->device, s->model, s->adapter, &params);
    for (uint64_t i = 0; result == INLAY_OK && i < info.records; i++) {
        const char *prompt, *completion;
        result = inlay_dataset_get_record(s->data, i, &prompt, &completion);
        if (result == INLAY_OK)
            result = judge(s, g, o, prompt, completion);
    }
    inlay_generator_destroy(&g);
    return result;
}

// ---- results

static void print_json(const session *s, const options *o)
{
    json_t *all = json_object();
    json_put(all, "loss", json_number(s->loss.loss, 15));
    json_put(all, "perplexity", json_number(s->loss.perplexity, 15));
    json_put(all, "tokens", json_count(s->loss.tokens));
    if (o->exact_match) {
        json_put(all, "exact_match", json_number((double)s->matches / (double)s->examples, 15));
        json_put(all, "examples", json_count(s->examples));
        json_put(all, "shown", json_incref(s->shown));
    }
    json_print(all);
}

static void print_text(const session *s, const options *o)
{
    printf("loss         %.6f\nperplexity   %.6g\ntokens       %llu\n", s->loss.loss,
           s->loss.perplexity, (unsigned long long)s->loss.tokens);
    if (!o->exact_match)
        return;
    printf("exact match  %llu of %llu (%.1f %%)\n", (unsigned long long)s->matches,
           (unsigned long long)s->examples, 100.0 * (double)s->matches / (double)s->examples);
    for (size_t i = 0; i < json_array_size(s->shown); i++) {
        const json_t *o2 = json_array_get(s->shown, i);
        printf("\n%s\n  answer   %s\n  expected %s\n",
               json_string_value(json_object_get(o2, "prompt")),
               json_string_value(json_object_get(o2, "answer")),
               json_string_value(json_object_get(o2, "expected")));
    }
}

static int evaluate(session *s, const options *o)
{
    inlay_result result = setup_device(&s->device, cli_env(), &o->common);
    if (result == INLAY_OK)
        result = inlay_evaluate(cli_env(), s->device, s->model, s->adapter, s->data, &s->loss);
    if (result == INLAY_OK && o->exact_match)
        result = match_all(s, o);
    if (result != INLAY_OK)
        return cli_exit_run(result);
    if (o->json)
        print_json(s, o);
    else
        print_text(s, o);
    return EXIT_OK;
}

static int run(const command *self, int argc, char **argv)
{
    static const char *const required[] = {"model", "data", NULL};
    options o = {0};
    args a = {.table = table, .count = COUNT(table), .options = &o, .aliases = setup_aliases,
              .alias_count = setup_alias_count};
    int code;
    if (!setup_args(&a, self, argc, argv, &code) || !setup_require(&a, required, &code))
        return code;
    setup_log(&o.common);
    session s = {.shown = json_array()};
    code = setup_chat(&o.chat) ? open_inputs(&s, &o) : EXIT_BAD_INPUT;
    if (code == EXIT_OK)
        code = evaluate(&s, &o);
    inlay_dataset_close(&s.data);
    inlay_adapter_destroy(&s.adapter);
    inlay_model_close(&s.model);
    inlay_device_destroy(&s.device);
    json_decref(s.shown);
    setup_chat_free(&o.chat);
    return code;
}

const command command_eval = {.name = "eval",
                              .usage = "eval -m MODEL [-a ADAPTER[:SCALE]]... -d DATA [--json] "
                                       "[options]",
                              .summary = "measures the loss on a dataset",
                              .run = run};
