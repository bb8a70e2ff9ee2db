// SPDX-License-Identifier: MIT
// inlay merge: a model with an adapter added to its weights.
#include "cli.h"
#include "interrupt.h"
#include "progress.h"

#include <math.h>

static const arg table[] = {
    MODEL_ARGS(rewrite_options),
    {.name = "output", .letter = 'o', .type = ARG_STRING,
     .offset = offsetof(rewrite_options, output),
     .value = "OUT", .help = "a file that ends in .gguf, or a new Hugging Face folder"},
    {.name = "type", .letter = 't', .type = ARG_STRING,
     .offset = offsetof(rewrite_options, type),
     .value = "TYPE", .help = "of the matrices: keep (default), f32, f16, bf16, q8_0, q4_k, ..."},
    COMMON_ARGS(rewrite_options),
};

#define MIB 1048576.0

static bool show(void *user, uint64_t done, uint64_t total)
{
    const double *start = user;
    progress_state state = {.unit = "MiB",
                            .done = (uint32_t)ceil((double)done / MIB),
                            .total = (uint32_t)ceil((double)total / MIB),
                            .seconds = clock_seconds() - *start,
                            .loss = (double)NAN};
    progress_draw(&state);
    return interrupt_name() == NULL;
}

static int merge(const rewrite_options *o, const inlay_model *model, inlay_adapter *adapter)
{
    double start = clock_seconds();
    inlay_merge_params params = {.type = o->type, .progress = show, .user = &start};
    interrupt_remember();
    progress_begin();
    inlay_result result = inlay_adapter_merge(adapter, model, o->output, &params);
    progress_end();
    return cli_exit_output(result);
}

static int run(const command *self, int argc, char **argv)
{
    static const char *const required[] = {"model", "output", NULL};
    rewrite_options o = {0};
    args a = {.table = table, .count = COUNT(table), .options = &o};
    return setup_rewrite(&a, self, argc, argv, required, merge);
}

const command command_merge = {
    .name = "merge",
    .usage = "merge -m MODEL [-a ADAPTER[:SCALE]]... -o OUT [--type TYPE]",
    .summary = "writes a model with an adapter added to its weights",
    .notes = "OUT is a GGUF file where it ends in .gguf, else a Hugging Face folder in F32, F16\n"
             "or BF16; MODEL may be either. Without an adapter: the model, as it is or in TYPE.\n",
    .run = run};
