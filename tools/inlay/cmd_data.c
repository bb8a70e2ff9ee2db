// SPDX-License-Identifier: MIT
// inlay data: what a model will be trained on, before it is.
#define _POSIX_C_SOURCE 200809L
#include "data_view.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

typedef struct options {
    common_options common;
    chat_options chat;
    const char *model, *data;
    uint32_t max_length, show, from;
    int color;
    bool no_packing, no_eos, full, json;
} options;

static const char *const color_names[] = {"auto", "always", "never", NULL};

static const arg table[] = {
    {.name = "model", .letter = 'm', .type = ARG_STRING, .offset = offsetof(options, model),
     .value = "MODEL", .help = MODEL_HELP},
    DATA_ARGS(options),
    {.name = "show", .type = ARG_UINT, .offset = offsetof(options, show), .value = "N",
     .help = "show N sequences (default 3)", .max = UINT32_MAX, .heading = "View"},
    {.name = "from", .type = ARG_UINT, .offset = offsetof(options, from), .value = "K",
     .help = "the first of them is sequence K, counted from 1 (default 1)", .min = 1,
     .max = UINT32_MAX},
    {.name = "full", .type = ARG_FLAG, .offset = offsetof(options, full),
     .help = "long ones whole"},
    {.name = "color", .type = ARG_CHOICE, .offset = offsetof(options, color),
     .help = "what is learned in green, else in [[ ]]; default: on a terminal",
     .choices = color_names},
    {.name = "json", .type = ARG_FLAG, .offset = offsetof(options, json),
     .help = "as JSON; a \"record\" is counted from 0 there"},
    COMMON_ARGS(options),
};

static bool wants_color(const options *o)
{
    const char *none = getenv("NO_COLOR"); // no-color.org: any value but the empty one
    const char *terminal = getenv("TERM");
    if (o->color > 0)
        return o->color == 1;
    return isatty(STDOUT_FILENO) && !(none && *none) &&
           !(terminal && strcmp(terminal, "dumb") == 0);
}

static double share(uint64_t part, uint64_t whole)
{
    return whole ? 100.0 * (double)part / (double)whole : 0.0;
}

// ---- results

static void print_totals(const data_view *v, const options *o)
{
    const inlay_dataset_info *i = &v->info;
    text_buffer a, b;
    printf("%s: %s, in rows of %u tokens\n\n", o->data, i->format, i->max_length);
    printf("records    %10llu", (unsigned long long)i->records);
    if (i->dropped_records > 0)
        printf("   %llu left out: nothing to learn in them",
               (unsigned long long)i->dropped_records);
    printf("\nsequences  %10llu\n", (unsigned long long)i->sequences);
    printf("tokens     %10s\n", text_count(&a, (double)i->tokens));
    printf("learned    %10s   %.1f %%\n", text_count(&b, (double)i->supervised_tokens),
           share(i->supervised_tokens, i->tokens));
    printf("cut off    %10llu   tokens, of %llu sequences\n",
           (unsigned long long)i->truncated_tokens, (unsigned long long)i->truncated_sequences);
    printf("rows       %10llu   %.1f %% full\n\n", (unsigned long long)i->rows,
           share(i->tokens, i->rows * i->max_length));
}

static uint64_t end_of(const data_view *v, const options *o)
{
    uint64_t end = (uint64_t)o->from - 1 + o->show;
    return end < v->info.sequences ? end : v->info.sequences;
}

static void print_text(const data_view *v, const options *o)
{
    lengths l;
    for (uint64_t i = o->from - 1; i < end_of(v, o); i++) {
        printf("%s%llu%s\n", v->color ? "\033[1m" : "", (unsigned long long)i + 1,
               v->color ? "\033[0m" : "");
        data_view_print(v, i);
    }
    print_totals(v, o);
    lengths_find(v, &l);
    lengths_print(v, &l);
}

static void print_json(const data_view *v, const options *o)
{
    const inlay_dataset_info *i = &v->info;
    json_t *all = json_object();
    json_t *shown = json_array();
    lengths l;
    json_put(all, "format", json_words(i->format));
    json_put(all, "max_length", json_count(i->max_length));
    json_put(all, "records", json_count(i->records));
    json_put(all, "dropped_records", json_count(i->dropped_records));
    json_put(all, "sequences", json_count(i->sequences));
    json_put(all, "tokens", json_count(i->tokens));
    json_put(all, "supervised_tokens", json_count(i->supervised_tokens));
    json_put(all, "truncated_sequences", json_count(i->truncated_sequences));
    json_put(all, "truncated_tokens", json_count(i->truncated_tokens));
    json_put(all, "rows", json_count(i->rows));
    lengths_find(v, &l);
    json_put(all, "lengths", lengths_json(&l));
    for (uint64_t k = o->from - 1; k < end_of(v, o); k++)
        json_array_append_new(shown, data_view_json(v, k));
    json_put(all, "shown", shown);
    json_print(all);
}

static int look(const options *o, inlay_model **model, inlay_dataset **data)
{
    inlay_model_params weights = {.skip_finite_check = true}; // they are not used
    inlay_dataset_params params = {.max_length = o->max_length,
                                   .chat_template = o->chat.chat_template,
                                   .local_time = o->chat.local_time,
                                   .no_packing = o->no_packing,
                                   .no_eos = o->no_eos,
                                   .no_records = true};
    inlay_result result = inlay_model_open(model, cli_env(), o->model, &weights);
    if (result == INLAY_OK)
        result = inlay_dataset_open(data, cli_env(), *model, o->data, &params);
    if (result != INLAY_OK)
        return cli_exit_input(result);
    data_view v = {.model = *model, .data = *data, .color = wants_color(o), .full = o->full};
    inlay_dataset_get_info(*data, &v.info);
    if (o->from > v.info.sequences) {
        cli_error("--from %u: %s has %llu sequences", o->from, o->data,
                  (unsigned long long)v.info.sequences);
        return EXIT_BAD_INPUT;
    }
    if (o->json)
        print_json(&v, o);
    else
        print_text(&v, o);
    return EXIT_OK;
}

static int run(const command *self, int argc, char **argv)
{
    static const char *const required[] = {"model", "data", NULL};
    options o = {.show = 3, .from = 1};
    args a = {.table = table, .count = COUNT(table), .options = &o, .aliases = setup_aliases,
              .alias_count = setup_alias_count};
    inlay_model *model = NULL;
    inlay_dataset *data = NULL;
    int code;
    if (!setup_args(&a, self, argc, argv, &code) || !setup_require(&a, required, &code))
        return code;
    setup_log(&o.common);
    code = setup_chat(&o.chat) ? look(&o, &model, &data) : EXIT_BAD_INPUT;
    inlay_dataset_close(&data);
    inlay_model_close(&model);
    setup_chat_free(&o.chat);
    return code;
}

const command command_data = {.name = "data",
                              .usage = "data -m MODEL -d DATA [--show N] [--json] [options]",
                              .summary = "shows what will be trained on, and what of it is learned",
                              .run = run};
