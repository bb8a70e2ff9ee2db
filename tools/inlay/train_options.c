// SPDX-License-Identifier: MIT
#include "train_options.h"

#include <stdlib.h>
#include <string.h>

#define AT(member) offsetof(train_options, member)
#define STEPS_MAX 1e9

static const char *const schedule_names[] = {"linear", "cosine", "constant", "constant_with_warmup",
                                             NULL}; // in the order of inlay_schedule

static bool parse_checkpointing(const char *text, void *out)
{
    static const struct {
        const char *name;
        int32_t value;
    } names[] = {{"none", INLAY_CHECKPOINT_NONE}, {"false", INLAY_CHECKPOINT_NONE},
                 {"all", INLAY_CHECKPOINT_ALL},   {"true", INLAY_CHECKPOINT_ALL},
                 {"auto", INLAY_CHECKPOINT_AUTO}};
    for (size_t i = 0; i < COUNT(names); i++) {
        if (strcmp(text, names[i].name) == 0) {
            *(int32_t *)out = names[i].value;
            return true;
        }
    }
    char *end;
    long layers = strtol(text, &end, 10);
    if (end == text || *end || layers < 0 || layers > 100000)
        return false;
    *(int32_t *)out = (int32_t)layers;
    return true;
}

// PEFT's names; a YAML file may have its true.
static bool parse_init(const char *text, void *out)
{
    struct init_option *init = out;
    const char *const rounds = "pissa_niter_";
    if (strncmp(text, rounds, strlen(rounds)) == 0) {
        char *end;
        unsigned long n = strtoul(text + strlen(rounds), &end, 10);
        *init = (struct init_option){INLAY_INIT_PISSA, (uint32_t)n};
        return *end == '\0' && n >= 1 && n <= 1000;
    }
    static const struct {
        const char *name;
        inlay_init value;
    } names[] = {{"default", INLAY_INIT_DEFAULT},
                 {"true", INLAY_INIT_DEFAULT},
                 {"gaussian", INLAY_INIT_GAUSSIAN},
                 {"pissa", INLAY_INIT_PISSA},
                 {"olora", INLAY_INIT_OLORA}};
    for (size_t i = 0; i < COUNT(names); i++) {
        if (strcmp(text, names[i].name) == 0) {
            *init = (struct init_option){.kind = names[i].value};
            return true;
        }
    }
    return false;
}

static const arg table[] = {
    {.name = "model", .letter = 'm', .type = ARG_STRING, .offset = AT(model), .value = "MODEL",
     .help = "the base model: a GGUF file or a Hugging Face folder", .heading = "What"},
    {.name = "data", .letter = 'd', .type = ARG_STRING, .offset = AT(data), .value = "DATA",
     .help = DATA_HELP},
    {.name = "output", .letter = 'o', .type = ARG_STRING, .offset = AT(output), .value = "OUTDIR",
     .help = "folder for adapter, log and checkpoints"},
    {.name = "config", .letter = 'c', .type = ARG_STRING, .offset = AT(config_path),
     .value = "FILE", .help = "options from a YAML file; the command line goes before it"},
    {.name = "adapter", .letter = 'a', .type = ARG_STRING, .offset = AT(adapter),
     .value = "ADAPTER", .help = "go on from this adapter instead of a fresh one"},
    {.name = "quantize", .type = ARG_STRING, .offset = AT(quantize), .value = "TYPE",
     .help = QUANTIZE_HELP},
    {.name = "dry-run", .type = ARG_FLAG, .offset = AT(dry_run),
     .help = "print what a run would need, and stop"},
    {.name = "json", .type = ARG_FLAG, .offset = AT(json), .help = "the result as JSON"},

    {.name = "lora-r", .type = ARG_UINT, .offset = AT(lora_r), .value = "R",
     .help = "rank (default 16)", .min = 1, .max = 4096, .heading = "Adapter"},
    {.name = "lora-alpha", .type = ARG_REAL, .offset = AT(lora_alpha), .value = "A",
     .help = "scale is alpha / r (default 2 r)", .max = 1e6, .above = true},
    {.name = "lora-dropout", .type = ARG_REAL, .offset = AT(lora_dropout), .value = "P",
     .help = "on the input of A (default 0)", .max = 1, .below = true},
    {.name = "use-rslora", .type = ARG_FLAG, .offset = AT(use_rslora),
     .help = "scale is alpha / sqrt(r)"},
    {.name = "use-dora", .type = ARG_FLAG, .offset = AT(use_dora),
     .help = "also trains a magnitude a row of each matrix (DoRA); no adapter.gguf then"},
    {.name = "lora-target-modules", .type = ARG_STRING, .offset = AT(target_modules),
     .value = "LIST|REGEX",
     .help = "all-linear (default), q_proj,v_proj,... or a regex on the path"},
    {.name = "init-lora-weights", .type = ARG_CUSTOM, .offset = AT(init),
     .value = "default|gaussian|pissa|pissa_niter_N|olora",
     .help = "how A and B begin; pissa_niter_16 is quick; with these a file has twice the rank",
     .parse = parse_init, .expected = "default, gaussian, pissa, pissa_niter_N or olora"},

    {.name = "learning-rate", .type = ARG_REAL, .offset = AT(learning_rate), .value = "LR",
     .help = "(default 2e-4)", .max = 1e30, .above = true, .heading = "Training"},
    {.name = "loraplus-lr-ratio", .type = ARG_REAL, .offset = AT(loraplus_lr_ratio), .value = "N",
     .help = "LoRA+: the rate of the B's is N times it (default 1)", .max = 1e6, .above = true},
    {.name = "lr-scheduler-type", .type = ARG_CHOICE, .offset = AT(schedule),
     .help = "(default linear)", .choices = schedule_names},
    {.name = "warmup-steps", .type = ARG_UINT, .offset = AT(warmup_steps), .value = "N",
     .help = "steps in which the rate rises from 0 (default 0)", .max = STEPS_MAX},
    {.name = "warmup-ratio", .type = ARG_REAL, .offset = AT(warmup_ratio), .value = "F",
     .help = "the same as a share of all steps", .max = 1},
    {.name = "weight-decay", .type = ARG_REAL, .offset = AT(weight_decay), .value = "W",
     .help = "(default 0)", .max = 1e6},
    {.name = "max-grad-norm", .type = ARG_REAL, .offset = AT(max_grad_norm), .value = "N",
     .help = "clips the gradient; 0: off (default 1)", .max = 1e30},
    {.name = "adam-beta1", .type = ARG_REAL, .offset = AT(beta1), .value = "B",
     .help = "(default 0.9)", .max = 1, .above = true, .below = true},
    {.name = "adam-beta2", .type = ARG_REAL, .offset = AT(beta2), .value = "B",
     .help = "(default 0.999)", .max = 1, .above = true, .below = true},
    {.name = "adam-epsilon", .type = ARG_REAL, .offset = AT(epsilon), .value = "E",
     .help = "(default 1e-8)", .max = 1e30, .above = true},
    {.name = "num-train-epochs", .type = ARG_REAL, .offset = AT(epochs), .value = "N",
     .help = "(default 1)", .max = 1e6, .below = true, .above = true},
    {.name = "max-steps", .type = ARG_UINT, .offset = AT(max_steps), .value = "N",
     .help = "goes before the epochs; 0 writes the initial adapter", .max = STEPS_MAX},
    {.name = "max-length", .type = ARG_UINT, .offset = AT(max_length), .value = "N",
     .help = "tokens in a row (default: the model's context, at most 512)", .min = 2,
     .max = 1 << 22},
    {.name = "batch-size", .type = ARG_UINT, .offset = AT(batch_size), .value = "N",
     .help = "rows in a micro-batch (default 1)", .min = 1, .max = 1 << 20},
    {.name = "gradient-accumulation-steps", .type = ARG_UINT, .offset = AT(accumulation),
     .value = "N", .help = "micro-batches in a step (default 1)", .min = 1, .max = 1 << 20},
    {.name = "gradient-checkpointing", .type = ARG_CUSTOM, .offset = AT(checkpointing),
     .value = "none|all|auto|N",
     .help = "layers computed again to save memory (default auto: as few as fit)",
     .parse = parse_checkpointing, .expected = "none, all, auto or a number of layers"},
    {.name = "checkpoint-segment", .type = ARG_UINT, .offset = AT(checkpoint_segment), .value = "N",
     .help = "of them every Nth keeps its input: less memory, more time (default: what fits)",
     .max = 1 << 16},
    {.name = "seed", .type = ARG_UINT, .offset = AT(seed), .value = "S",
     .help = "of the adapter's first values, the shuffle and dropout (default 0)",
     .max = UINT32_MAX},

    {.name = "no-packing", .type = ARG_FLAG, .offset = AT(no_packing),
     .help = "one sequence a row", .heading = "Data"},
    CHAT_ARGS(train_options),
    {.name = "no-eos", .type = ARG_FLAG, .offset = AT(no_eos),
     .help = "no end-of-sequence token after text and completions"},
    {.name = "no-shuffle", .type = ARG_FLAG, .offset = AT(no_shuffle),
     .help = "rows in the file's order"},
    {.name = "eval-data", .type = ARG_STRING, .offset = AT(eval_data), .value = "FILE",
     .help = "measure the loss on this too"},
    {.name = "eval-split", .type = ARG_REAL, .offset = AT(eval_split), .value = "F",
     .help = "hold out this share of the data for that", .max = 1, .below = true},

    {.name = "eval-steps", .type = ARG_UINT, .offset = AT(eval_steps), .value = "N",
     .help = "evaluate every N steps; 0: at the end alone (default 0)", .max = STEPS_MAX,
     .heading = "Reports and checkpoints"},
    {.name = "save-steps", .type = ARG_UINT, .offset = AT(save_steps), .value = "N",
     .help = "a checkpoint every N steps; 0: none (default 500)", .max = STEPS_MAX},
    {.name = "save-total-limit", .type = ARG_UINT, .offset = AT(save_total_limit), .value = "N",
     .help = "keep the newest N checkpoints; 0: all (default 0)", .max = STEPS_MAX},
    {.name = "logging-steps", .type = ARG_UINT, .offset = AT(logging_steps), .value = "N",
     .help = "a report every N steps (default 10)", .min = 1, .max = STEPS_MAX},
    {.name = "resume-from-checkpoint", .type = ARG_STRING, .offset = AT(resume),
     .value = "auto|DIR", .help = "go on from a checkpoint; auto: the newest of OUTDIR, if any"},
    {.name = "overwrite-output-dir", .type = ARG_FLAG, .offset = AT(overwrite),
     .help = "remove the checkpoints of an earlier run in OUTDIR"},
    DEVICE_ARGS(train_options),
    COMMON_ARGS(train_options),
};

static bool check(const args *a, train_options *o, int *code)
{
    static const char *const dry[] = {"model", "data", NULL};
    static const char *const full[] = {"model", "data", "output", NULL};
    if (!setup_require(a, o->dry_run ? dry : full, code))
        return false;
    *code = EXIT_BAD_INPUT;
    // An adapter_config.json in a model's folder makes transformers load another model.
    if (o->output && setup_is_input(&(model_options){.model = o->model}, o->output))
        return false;
    if (o->eval_data && o->eval_split > 0.0) {
        cli_error("--eval-data and --eval-split exclude each other");
        return false;
    }
    static const char *const fresh[] = {"lora-r", "lora-alpha", "lora-dropout", "use-rslora",
                                        "use-dora", "lora-target-modules", "init-lora-weights"};
    for (size_t i = 0; o->adapter && i < COUNT(fresh); i++) {
        if (args_is_set(a, fresh[i])) {
            cli_error("--%s is the adapter's own, it cannot be set together with --adapter",
                      fresh[i]);
            return false;
        }
    }
    return true;
}

bool train_options_read(train_options *o, const command *self, int argc, char **argv, int *code)
{
    *o = (train_options){.max_grad_norm = 1.0,
                         .checkpointing = INLAY_CHECKPOINT_AUTO,
                         .save_steps = 500,
                         .logging_steps = 10};
    args a = {.table = table,
              .count = COUNT(table),
              .aliases = config_aliases,
              .alias_count = config_alias_count,
              .options = o};
    _Static_assert(COUNT(table) <= ARGS_MAX, "args.h has room for fewer options");
    if (!setup_args(&a, self, argc, argv, code))
        return false;
    if (o->config_path && !config_apply(&o->config, &a, o->config_path)) {
        *code = EXIT_BAD_INPUT;
        return false;
    }
    setup_log(&o->common);
    o->no_steps = args_is_set(&a, "max-steps") && o->max_steps == 0;
    if (!check(&a, o, code))
        return false;
    *code = EXIT_BAD_INPUT;
    return setup_chat(&o->chat);
}

void train_options_free(train_options *o)
{
    config_free(&o->config);
    setup_chat_free(&o->chat);
}

// ---- for the library

inlay_model_params train_model_params(const train_options *o)
{
    return (inlay_model_params){.quantize = o->quantize};
}

inlay_dataset_params train_dataset_params(const train_options *o)
{
    return (inlay_dataset_params){.max_length = o->max_length,
                                  .chat_template = o->chat.chat_template,
                                  .local_time = o->chat.local_time,
                                  .no_packing = o->no_packing,
                                  .no_eos = o->no_eos,
                                  .no_records = true};
}

inlay_adapter_params train_adapter_params(const train_options *o)
{
    return (inlay_adapter_params){.r = o->lora_r,
                                  .alpha = (float)o->lora_alpha,
                                  .dropout = (float)o->lora_dropout,
                                  .use_rslora = o->use_rslora,
                                  .use_dora = o->use_dora,
                                  .target_modules = o->target_modules,
                                  .init_lora_weights = o->init.kind,
                                  .pissa_niter = o->init.rounds,
                                  .seed = o->seed};
}

inlay_train_params train_train_params(const train_options *o)
{
    return (inlay_train_params){.batch_size = o->batch_size,
                                .gradient_accumulation_steps = o->accumulation,
                                .max_steps = o->no_steps ? 1 : o->max_steps,
                                .num_train_epochs = o->epochs,
                                .learning_rate = (float)o->learning_rate,
                                .loraplus_lr_ratio = (float)o->loraplus_lr_ratio,
                                .lr_scheduler = (inlay_schedule)o->schedule,
                                .warmup_steps = o->warmup_steps,
                                .warmup_ratio = o->warmup_ratio,
                                .weight_decay = (float)o->weight_decay,
                                .max_grad_norm = (float)o->max_grad_norm,
                                .adam_beta1 = (float)o->beta1,
                                .adam_beta2 = (float)o->beta2,
                                .adam_epsilon = (float)o->epsilon,
                                .gradient_checkpointing = o->checkpointing,
                                .checkpoint_segment = o->checkpoint_segment,
                                .no_shuffle = o->no_shuffle,
                                .seed = o->seed};
}
