// SPDX-License-Identifier: MIT
// inlay merge: a model with an adapter added to its weights.
#include "cli.h"
#include "interrupt.h"
#include "progress.h"

#include <math.h>

typedef struct options {
    common_options common;
    model_options base;
    const char *output, *type;
} options;

static const arg table[] = {
    MODEL_ARGS(options),
    {.name = "output", .letter = 'o', .type = ARG_STRING, .offset = offsetof(options, output),
     .value = "OUT", .help = "a file that ends in .gguf; of a folder a new folder"},
    {.name = "type", .letter = 't', .type = ARG_STRING, .offset = offsetof(options, type),
     .value = "TYPE", .help = "of the matrices: keep (default), f32, f16, bf16, q8_0, q4_k, ..."},
    COMMON_ARGS(options),
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

static int merge(const options *o)
{
    inlay_model *model = NULL;
    inlay_adapter *adapter = NULL;
    int code = cli_exit_input(setup_model(&o->base, &model, &adapter));
    if (code == EXIT_OK) {
        double start = clock_seconds();
        inlay_merge_params params = {.type = o->type, .progress = show, .user = &start};
        interrupt_remember();
        progress_begin();
        inlay_result result = inlay_adapter_merge(adapter, model, o->output, &params);
        progress_end();
        code = cli_exit_output(result);
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
    return setup_is_input(&o.base, o.output) ? EXIT_BAD_INPUT : merge(&o);
}

const command command_merge = {
    .name = "merge",
    .usage = "merge -m MODEL -a ADAPTER[:SCALE]... -o OUT [--type TYPE]",
    .summary = "writes a model with an adapter added to its weights",
    .run = run};
