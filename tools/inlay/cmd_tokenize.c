// SPDX-License-Identifier: MIT
// inlay tokenize: text on stdin to ids on stdout.
#include "answer.h"
#include "files.h"

#include <stdlib.h>

typedef struct options {
    common_options common;
    const char *model;
    bool add_special, no_parse_special, json;
} options;

static const arg table[] = {
    {.name = "model", .letter = 'm', .type = ARG_STRING, .offset = offsetof(options, model),
     .value = "MODEL", .help = MODEL_HELP},
    {.name = "add-special", .type = ARG_FLAG, .offset = offsetof(options, add_special),
     .help = "BOS and EOS where the model wants them"},
    {.name = "no-parse-special", .type = ARG_FLAG, .offset = offsetof(options, no_parse_special),
     .help = "control tokens written in the text are plain text"},
    {.name = "json", .type = ARG_FLAG, .offset = offsetof(options, json),
     .help = "as a JSON array"},
    COMMON_ARGS(options),
};

static void print_ids(const int32_t *ids, size_t count, bool json)
{
    if (json)
        putchar('[');
    for (size_t i = 0; i < count; i++)
        printf("%s%d", i == 0 ? "" : json ? ", " : " ", ids[i]);
    puts(json ? "]" : "");
}

static int tokenize(const inlay_model *model, const options *o)
{
    size_t size, count;
    char *text = stream_read(stdin, &size);
    if (!text) {
        cli_error("cannot read stdin");
        return EXIT_FAILED;
    }
    inlay_tokenize_params params = {.add_special = o->add_special,
                                    .parse_special = !o->no_parse_special};
    int32_t *ids = answer_tokenize(model, text, size, &params, &count);
    if (ids)
        print_ids(ids, count, o->json);
    int code = ids ? EXIT_OK : EXIT_FAILED;
    free(ids);
    free(text);
    return code;
}

static int run(const command *self, int argc, char **argv)
{
    static const char *const required[] = {"model", NULL};
    options o = {0};
    args a = {.table = table, .count = COUNT(table), .options = &o};
    int code;
    if (!setup_args(&a, self, argc, argv, &code) || !setup_require(&a, required, &code))
        return code;
    setup_log(&o.common);
    inlay_model *model;
    inlay_model_params params = {.skip_finite_check = true}; // the weights are not used
    code = cli_exit_input(inlay_model_open(&model, cli_env(), o.model, &params));
    if (code == EXIT_OK)
        code = tokenize(model, &o);
    inlay_model_close(&model);
    return code;
}

const command command_tokenize = {.name = "tokenize",
                                  .usage = "tokenize -m MODEL [options] <TEXT",
                                  .summary = "turns the text on stdin into token ids",
                                  .run = run};
