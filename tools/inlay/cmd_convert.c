// SPDX-License-Identifier: MIT
// inlay convert: an adapter from one format into the other.
#include "cli.h"
#include "files.h"

#include <stdlib.h>
#include <string.h>

typedef struct options {
    common_options common;
    model_options base;
    const char *output;
} options;

static const arg table[] = {
    MODEL_ARGS(options),
    {.name = "output", .letter = 'o', .type = ARG_STRING, .offset = offsetof(options, output),
     .value = "OUT", .help = "a file that ends in .gguf, or a folder for PEFT"},
    COMMON_ARGS(options),
};

static bool ends_in_gguf(const char *path)
{
    size_t size = strlen(path);
    return size > 5 && strcmp(path + size - 5, ".gguf") == 0;
}

static int convert(const options *o)
{
    inlay_model *model = NULL;
    inlay_adapter *adapter = NULL;
    inlay_result result = setup_model(&o->base, &model, &adapter);
    int code = cli_exit_input(result);
    if (result == INLAY_OK && ends_in_gguf(o->output)) {
        result = inlay_adapter_save_gguf(adapter, o->output);
        // DoRA's magnitudes, which the format cannot hold
        bool unfit = result == INLAY_ERROR_UNSUPPORTED;
        code = unfit ? cli_exit_input(result) : cli_exit_run(result);
    } else if (result == INLAY_OK) {
        code = cli_exit_output(inlay_adapter_save_peft(adapter, o->output));
    }
    inlay_adapter_destroy(&adapter);
    inlay_model_close(&model);
    if (code == EXIT_OK)
        cli_note("wrote %s", o->output);
    return code;
}

static int run(const command *self, int argc, char **argv)
{
    static const char *const required[] = {"model", "adapter", "output", NULL};
    options o = {0};
    args a = {.table = table, .count = COUNT(table), .options = &o};
    int code;
    if (!setup_args(&a, self, argc, argv, &code) || !setup_require(&a, required, &code))
        return code;
    setup_log(&o.common);
    if (setup_is_input(&o.base, o.output))
        return EXIT_BAD_INPUT;
    return convert(&o);
}

const command command_convert = {
    .name = "convert",
    .usage = "convert -m MODEL -a ADAPTER -o OUT",
    .summary = "writes an adapter in the other format",
    .notes = "OUT that ends in .gguf is for llama.cpp's --lora; any other name is a folder\n"
             "for PEFT.\n",
    .run = run};
