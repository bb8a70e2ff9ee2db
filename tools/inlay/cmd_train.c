// SPDX-License-Identifier: MIT
// inlay train: opens what a run needs, says what it will be, runs it, says what it was.
#include "checkpoints.h"
#include "json_out.h"
#include "train_run.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define DIGITS 9
#define SPLIT_SEED_STEP 1 // apart from the seed of the shuffle

// ---- inputs

static inlay_result open_eval(train_run *run)
{
    const train_options *o = run->options;
    if (o->eval_split > 0.0)
        return inlay_dataset_split(run->data, o->eval_split, o->seed + SPLIT_SEED_STEP,
                                   &run->eval_data);
    if (!o->eval_data)
        return INLAY_OK;
    inlay_dataset_info info;
    inlay_dataset_get_info(run->data, &info);
    inlay_dataset_params params = train_dataset_params(o);
    params.max_length = info.max_length;
    return inlay_dataset_open(&run->eval_data, cli_env(), run->model, o->eval_data, &params);
}

static inlay_result open_inputs(train_run *run)
{
    const train_options *o = run->options;
    inlay_model_params model = train_model_params(o);
    inlay_dataset_params data = train_dataset_params(o);
    inlay_adapter_params adapter = train_adapter_params(o);
    inlay_result result = inlay_model_open(&run->model, cli_env(), o->model, &model);
    if (result == INLAY_OK && o->adapter)
        result = inlay_adapter_load(&run->adapter, cli_env(), run->model, o->adapter);
    else if (result == INLAY_OK)
        result = inlay_adapter_create(&run->adapter, cli_env(), run->model, &adapter);
    if (result == INLAY_OK)
        result = inlay_dataset_open(&run->data, cli_env(), run->model, o->data, &data);
    return result == INLAY_OK ? open_eval(run) : result;
}

static int check_data(const train_run *run)
{
    inlay_dataset_info info;
    inlay_dataset_get_info(run->data, &info);
    if (info.supervised_tokens > 0)
        return EXIT_OK;
    cli_error("%s has no token to train on", run->options->data);
    return EXIT_BAD_INPUT;
}

// ---- what is said before

static void note_data(const char *what, const inlay_dataset *data)
{
    inlay_dataset_info d;
    text_buffer tokens, supervised;
    inlay_dataset_get_info(data, &d);
    cli_note("%s: %llu %s, %s tokens (%s with a loss) in %llu rows of %u", what,
             (unsigned long long)d.records, strcmp(d.format, "txt") == 0 ? "text" : "records",
             text_count(&tokens, (double)d.tokens),
             text_count(&supervised, (double)d.supervised_tokens), (unsigned long long)d.rows,
             d.max_length);
}

static void note_device(const train_run *run)
{
    inlay_device_info d;
    inlay_device_get_info(run->device, &d);
    cli_note("device: %s, %s %s%s", d.name, d.driver_name, d.driver_info,
             d.type == INLAY_DEVICE_CPU ? " (no GPU: this runs on the CPU)" : "");
}

static void note_plan(const train_run *run)
{
    const inlay_train_plan *p = &run->plan;
    inlay_adapter_info a;
    inlay_model_info m;
    text_buffer total, budget, trainable, parameters;
    inlay_adapter_get_info(run->adapter, &a);
    inlay_model_get_info(run->model, &m);
    cli_note("model: %s of %s parameters; adapter: rank %u on %u matrices, %s parameters",
             m.architecture, text_count(&parameters, (double)m.parameters), a.r, a.pair_count,
             text_count(&trainable, (double)p->trainable_parameters));
    char segments[32] = "";
    if (p->checkpoint_segment > 1)
        snprintf(segments, sizeof(segments), " in segments of %u", p->checkpoint_segment);
    cli_note("plan: %u steps, %s of %s device memory, %u of %u layers checkpointed%s",
             p->total_steps, text_bytes(&total, p->total_bytes),
             text_bytes(&budget, p->device_budget_bytes), p->checkpointed_layers, m.layers,
             segments);
}

// ---- the dry run

static void print_plan_json(const inlay_train_plan *p)
{
    json_t *o = json_object(), *memory = json_object();
    json_put(memory, "weights", json_count(p->weights_bytes));
    json_put(memory, "adapter", json_count(p->adapter_bytes));
    json_put(memory, "optimizer", json_count(p->optimizer_bytes));
    json_put(memory, "activations", json_count(p->activations_bytes));
    json_put(memory, "scratch", json_count(p->scratch_bytes));
    json_put(memory, "total", json_count(p->total_bytes));
    json_put(o, "trainable_parameters", json_count(p->trainable_parameters));
    json_put(o, "total_parameters", json_count(p->total_parameters));
    json_put(o, "memory_bytes", memory);
    json_put(o, "budget_bytes", json_count(p->device_budget_bytes));
    json_put(o, "fits", json_boolean(p->fits));
    json_put(o, "flops_per_step", json_count(p->flops_per_step));
    json_put(o, "tokens_per_step", json_count(p->tokens_per_step));
    json_put(o, "total_steps", json_count(p->total_steps));
    json_put(o, "steps_per_epoch", json_count(p->steps_per_epoch));
    json_put(o, "checkpointed_layers", json_count(p->checkpointed_layers));
    json_put(o, "checkpoint_segment", json_count(p->checkpoint_segment));
    json_put(o, "dispatches", json_count(p->dispatches));
    json_print(o);
}

static void print_plan(const inlay_train_plan *p)
{
    text_buffer a, b;
    printf("trainable    %s of %s parameters (%.2f %%)\n",
           text_count(&a, (double)p->trainable_parameters),
           text_count(&b, (double)p->total_parameters),
           100.0 * (double)p->trainable_parameters / (double)p->total_parameters);
    const struct {
        const char *name;
        uint64_t bytes;
    } rows[] = {{"weights", p->weights_bytes},         {"adapter", p->adapter_bytes},
                {"optimizer", p->optimizer_bytes},     {"activations", p->activations_bytes},
                {"scratch", p->scratch_bytes},         {"total", p->total_bytes},
                {"free", p->device_budget_bytes}};
    for (size_t i = 0; i < COUNT(rows); i++)
        printf("%-12s %s\n", rows[i].name, text_bytes(&a, rows[i].bytes));
    printf("fits         %s\n", p->fits ? "yes" : "no");
    printf("step         %sFLOP, %u tokens, %u dispatches a micro-batch\n",
           text_count(&a, (double)p->flops_per_step), p->tokens_per_step, p->dispatches);
    printf("steps        %u, %u an epoch\n", p->total_steps, p->steps_per_epoch);
    printf("checkpointed %u layers", p->checkpointed_layers);
    printf(p->checkpoint_segment > 1 ? ", in segments of %u\n" : "\n", p->checkpoint_segment);
}

// ---- the output folder

static int prepare_output(const train_options *o, bool *made)
{
    *made = !path_exists(o->output);
    if (!folder_make(o->output, false))
        return EXIT_FAILED;
    checkpoints_sweep(o->output);
    if (o->resume || !checkpoints_any(o->output))
        return EXIT_OK;
    if (!o->overwrite) {
        cli_error("%s holds the checkpoints of an earlier run: give --resume-from-checkpoint auto "
                  "to go on with it, or --overwrite-output-dir to start anew",
                  o->output);
        return EXIT_BAD_INPUT;
    }
    return checkpoints_remove_all(o->output) ? EXIT_OK : EXIT_FAILED;
}

static int resume(train_run *run)
{
    const train_options *o = run->options;
    if (!o->resume)
        return EXIT_OK;
    bool newest = strcmp(o->resume, "auto") == 0 || strcmp(o->resume, "true") == 0;
    char *path = newest ? checkpoints_newest(o->output) : xstrdup(o->resume);
    if (!path) {
        cli_note("%s holds no checkpoint: starting at step 0", o->output);
        return EXIT_OK;
    }
    inlay_result result = inlay_trainer_resume(run->trainer, path);
    run->first_step = inlay_trainer_get_step(run->trainer);
    if (result == INLAY_OK) {
        cli_note("resuming from %s at step %u", path, run->first_step);
        run->last = (inlay_step_stats){
            .step = run->first_step,
            .epoch = (double)run->first_step / run->plan.steps_per_epoch};
    }
    free(path);
    return cli_exit_input(result);
}

// ---- what is said after

static void put_paths(json_t *o, const char *folder)
{
    static const char *const files[][2] = {{"adapter", "adapter_model.safetensors"},
                                           {"adapter_gguf", "adapter.gguf"},
                                           {"log", "log.jsonl"},
                                           {"loss_picture", "loss.png"}};
    for (size_t i = 0; i < COUNT(files); i++) {
        char *path = path_join(folder, files[i][1]);
        if (path_exists(path))
            json_put(o, files[i][0], json_words(path));
        free(path);
    }
}

static json_t *result_json(const train_run *run)
{
    json_t *o = json_object();
    uint64_t used, peak = 0;
    inlay_device_info d = {0};
    if (run->device) {
        inlay_device_get_memory(run->device, &used, &peak);
        inlay_device_get_info(run->device, &d);
    }
    json_put(o, "output", json_words(run->options->output));
    json_put(o, "device", json_words(d.name));
    json_put(o, "steps", json_count(run->last.step));
    json_put(o, "epoch", json_number(run->last.epoch, DIGITS));
    json_put(o, "loss", json_number(run->log.loss, DIGITS));
    json_put(o, "eval_loss", run->eval.tokens ? json_number(run->eval.loss, DIGITS) : json_null());
    json_put(o, "tokens", json_count(run->log.tokens));
    json_put(o, "seconds", json_number(run->seconds, 6));
    json_put(o, "tokens_per_second",
             run->seconds > 0.0 ? json_number((double)run->tokens / run->seconds, 6) : json_null());
    json_put(o, "peak_memory_bytes", json_count(peak));
    put_paths(o, run->options->output);
    return o;
}

static void print_result(const train_run *run)
{
    json_t *o = result_json(run);
    if (run->options->json) {
        json_print(o);
        return;
    }
    text_buffer rate, memory, time;
    const train_curve *curve = &run->log.train;
    if (run->seconds > 0.0)
        printf("trained  %u steps in %s, %s tokens/s, %s of device memory at most\n",
               run->last.step - run->first_step, text_duration(&time, run->seconds),
               text_count(&rate, (double)run->tokens / run->seconds),
               text_bytes(&memory, run->last.peak_device_bytes));
    if (curve->count > 0)
        printf("loss     %.4f at the start, %.4f at the end\n", curve->losses[0],
               run->log.loss);
    if (run->eval.tokens > 0)
        printf("eval     loss %.4f, perplexity %.4g\n", run->eval.loss, run->eval.perplexity);
    static const char *const keys[] = {"adapter", "adapter_gguf", "loss_picture", "log"};
    for (size_t i = 0; i < COUNT(keys); i++) {
        const char *path = json_string_value(json_object_get(o, keys[i]));
        if (path)
            printf("%-8s %s\n", i == 0 ? "wrote" : "", path);
    }
    json_decref(o);
}

// ---- the command

static int train(train_run *run)
{
    const train_options *o = run->options;
    inlay_train_params params = train_train_params(o);
    bool made;
    int code = prepare_output(o, &made);
    // What begins as something of the base's weights needs a trainer to find it.
    bool from_weights = o->use_dora || o->init.kind >= INLAY_INIT_PISSA;
    if (code == EXIT_OK && (!o->no_steps || from_weights))
        code = cli_exit_run(inlay_trainer_create(&run->trainer, cli_env(), run->device, run->model,
                                                 run->adapter, run->data, &params));
    if (code == EXIT_OK && run->trainer)
        code = resume(run);
    if (code != EXIT_OK && made)
        (void)rmdir(o->output); // nothing is in it yet
    if (code == EXIT_OK && !train_log_open(&run->log, o->output, run->first_step))
        code = EXIT_FAILED;
    if (code == EXIT_OK && !o->no_steps)
        code = train_run_steps(run);
    if (code == EXIT_OK)
        code = train_run_save(run);
    if (code == EXIT_OK)
        print_result(run);
    return code;
}

static int plan(train_run *run)
{
    inlay_train_params params = train_train_params(run->options);
    inlay_result result = setup_device(&run->device, cli_env(), &run->options->common);
    if (result != INLAY_OK)
        return cli_exit_run(result);
    result = inlay_train_plan_run(&run->plan, cli_env(), run->device, run->model, run->adapter,
                                  run->data, &params);
    // An adapter that the model cannot have, as DoRA of experts.
    return result == INLAY_ERROR_UNSUPPORTED ? cli_exit_input(result) : cli_exit_run(result);
}

static int prepare_and_train(train_run *run)
{
    int code = cli_exit_input(open_inputs(run));
    if (code == EXIT_OK)
        code = check_data(run);
    if (code == EXIT_OK)
        code = plan(run);
    if (code != EXIT_OK)
        return code;
    note_device(run);
    note_data("data", run->data);
    if (run->eval_data)
        note_data("evaluation", run->eval_data);
    if (!run->options->dry_run) {
        note_plan(run);
        return train(run);
    }
    if (run->options->json)
        print_plan_json(&run->plan);
    else
        print_plan(&run->plan);
    return EXIT_OK;
}

static int run_command(const command *self, int argc, char **argv)
{
    train_options options;
    int code;
    if (train_options_read(&options, self, argc, argv, &code)) {
        train_run run = {.options = &options,
                         .log = {.lines.fd = -1, .tensorboard.file.fd = -1, .loss = NAN}};
        code = prepare_and_train(&run);
        train_log_close(&run.log);
        inlay_trainer_destroy(&run.trainer);
        inlay_dataset_close(&run.eval_data);
        inlay_dataset_close(&run.data);
        inlay_adapter_destroy(&run.adapter);
        inlay_model_close(&run.model);
        inlay_device_destroy(&run.device);
    }
    train_options_free(&options);
    return code;
}

const command command_train = {
    .name = "train",
    .usage = "train -m MODEL -d DATA -o OUTDIR [options]",
    .summary = "trains a LoRA or QLoRA adapter",
    .notes = "OUTDIR gets adapter_model.safetensors and adapter_config.json (for PEFT),\n"
             "adapter.gguf (for llama.cpp's --lora), log.jsonl, TensorBoard events, loss.png and\n"
             "checkpoint-N.\n"
             "Ctrl-C finishes the step and saves a checkpoint.\n",
    .run = run_command};
