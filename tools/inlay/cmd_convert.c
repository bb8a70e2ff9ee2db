// SPDX-License-Identifier: MIT
// inlay convert: an adapter from one format into the other.
#include "cli.h"
#include "files.h"

static const arg table[] = {
    MODEL_ARGS(rewrite_options),
    {.name = "output", .letter = 'o', .type = ARG_STRING,
     .offset = offsetof(rewrite_options, output),
     .value = "OUT", .help = "a file that ends in .gguf, or a folder for PEFT"},
    COMMON_ARGS(rewrite_options),
};

static int convert(const rewrite_options *o, const inlay_model *model, inlay_adapter *adapter)
{
    (void)model;
    if (!path_ends_in(o->output, ".gguf"))
        return cli_exit_output(inlay_adapter_save_peft(adapter, o->output));
    inlay_result result = inlay_adapter_save_gguf(adapter, o->output);
    // DoRA's magnitudes, which the format cannot hold
    return result == INLAY_ERROR_UNSUPPORTED ? cli_exit_input(result) : cli_exit_run(result);
}

static int run(const command *self, int argc, char **argv)
{
    static const char *const required[] = {"model", "adapter", "output", NULL};
    rewrite_options o = {0};
    args a = {.table = table, .count = COUNT(table), .options = &o};
    return setup_rewrite(&a, self, argc, argv, required, convert);
}

const command command_convert = {
    .name = "convert",
    .usage = "convert -m MODEL -a ADAPTER[:SCALE] ... -o OUT",
    .summary = "writes an adapter, or a sum of some, as GGUF or for PEFT",
    .notes = "OUT that ends in .gguf is for llama.cpp's --lora; any other name is a folder\n"
             "for PEFT.\n",
    .run = run};
