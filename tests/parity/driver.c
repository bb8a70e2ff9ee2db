// SPDX-License-Identifier: MIT
// inlay's side of a comparison: does what a JSON job asks for and leaves the results in a folder.
//
// The job: "model", "out", and what is wanted of
//   "quantize"   as in inlay_model_params
//   "texts"      [text]: their ids into the report; "parse_special" as in inlay_tokenize_params
//   "adapter"    a PEFT folder, or "lora" {r, alpha, rslora, dora, targets, init, seed}
//   "data"       a file, with "max_length", "no_packing", "chat_template", "train" {...} and
//                "steps"; no adapter: its rows alone
//   "sequences"  [[id]]: the trained model's logits into logits.safetensors, one tensor each
// Results: initial/, gradients/ (of the first micro-batch; not where the adapter's values come from
// the base's weights) and trained/ as PEFT writes adapters, report.json.
#include "api/handles.h"
#include "base/file.h"
#include "io/safetensors.h"

#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define LONGEST_PATH 4096
#define MOST_SEQUENCES 64

typedef struct run {
    const json_t *job;
    json_t *report;
    inlay_env public_env;
    inl_env env;
    const char *out;
    inlay_device *device;
    inlay_model *model;
    inlay_dataset *data;
    inlay_adapter *adapter;
    inlay_train_params params;
} run;

static void log_message(void *user, inlay_log_level level, const char *message)
{
    (void)user;
    (void)level;
    fprintf(stderr, "%s\n", message);
}

static const json_t *get(const json_t *object, const char *key)
{
    return json_object_get(object, key);
}

static uint32_t number(const json_t *object, const char *key)
{
    return (uint32_t)json_integer_value(get(object, key));
}

static float real(const json_t *object, const char *key)
{
    return (float)json_number_value(get(object, key));
}

static json_t *integers(const int32_t *values, uint32_t count)
{
    json_t *list = json_array();
    for (uint32_t i = 0; i < count; i++)
        json_array_append_new(list, json_integer(values[i]));
    return list;
}

static inlay_result save(const run *r, const inlay_adapter *adapter, const char *folder)
{
    char path[LONGEST_PATH];
    snprintf(path, sizeof(path), "%s/%s", r->out, folder);
    return inlay_adapter_save_peft(adapter, path);
}

// ---- what the job names

static inlay_result open_adapter(run *r)
{
    const char *folder = json_string_value(get(r->job, "adapter"));
    if (folder)
        return inlay_adapter_load(&r->adapter, &r->public_env, r->model, folder);
    const json_t *l = get(r->job, "lora");
    inlay_adapter_params params = {.r = number(l, "r"),
                                   .alpha = real(l, "alpha"),
                                   .use_rslora = json_is_true(get(l, "rslora")),
                                   .use_dora = json_is_true(get(l, "dora")),
                                   .target_modules = json_string_value(get(l, "targets")),
                                   .init_lora_weights = (inlay_init)number(l, "init"),
                                   .seed = number(l, "seed")};
    return l ? inlay_adapter_create(&r->adapter, &r->public_env, r->model, &params) : INLAY_OK;
}

static inlay_result open_data(run *r)
{
    inlay_dataset_params params = {.max_length = number(r->job, "max_length"),
                                   .chat_template = json_string_value(get(r->job, "chat_template")),
                                   .no_packing = json_is_true(get(r->job, "no_packing"))};
    const json_t *t = get(r->job, "train");
    r->params = (inlay_train_params){
        .batch_size = number(t, "batch_size"),
        .gradient_accumulation_steps = number(t, "accumulation"),
        .max_steps = number(r->job, "steps"),
        .learning_rate = real(t, "learning_rate"),
        .loraplus_lr_ratio = real(t, "loraplus_lr_ratio"),
        .lr_scheduler = (inlay_schedule)number(t, "schedule"),
        .warmup_steps = number(t, "warmup_steps"),
        .weight_decay = real(t, "weight_decay"),
        .max_grad_norm = real(t, "max_grad_norm"),
        .adam_beta2 = real(t, "beta2"),
        .gradient_checkpointing = (int32_t)number(t, "checkpointing"),
        .no_shuffle = json_is_false(get(t, "shuffle")),
        .seed = number(t, "seed")};
    return inlay_dataset_open(&r->data, &r->public_env, r->model,
                              json_string_value(get(r->job, "data")), &params);
}

static inlay_result open_all(run *r)
{
    inlay_model_params params = {.quantize = json_string_value(get(r->job, "quantize"))};
    INL_TRY(inlay_model_open(&r->model, &r->public_env, json_string_value(get(r->job, "model")),
                             &params));
    if (!get(r->job, "data") && !get(r->job, "sequences"))
        return INLAY_OK;
    INL_TRY(inlay_device_create(&r->device, &r->public_env, NULL));
    INL_TRY(open_adapter(r));
    return get(r->job, "data") ? open_data(r) : INLAY_OK;
}

// ---- ids of texts

static inlay_result tokenize(run *r)
{
    const json_t *text;
    size_t index;
    json_t *all = json_array();
    json_object_set_new(r->report, "ids", all);
    inlay_tokenize_params params = {.parse_special = json_is_true(get(r->job, "parse_special"))};
    json_array_foreach(get(r->job, "texts"), index, text) {
        size_t count = 0, size = json_string_length(text);
        const char *bytes = json_string_value(text);
        inlay_tokenize(r->model, bytes, size, &params, NULL, &count);
        int32_t *ids = calloc(count + 1, sizeof(*ids));
        if (!ids)
            return INLAY_ERROR_OUT_OF_MEMORY;
        inlay_result result = inlay_tokenize(r->model, bytes, size, &params, ids, &count);
        if (result == INLAY_OK)
            json_array_append_new(all, integers(ids, (uint32_t)count));
        free(ids);
        INL_TRY(result);
    }
    return INLAY_OK;
}

// ---- the data, so that others train on the same rows in the same order

static void report_rows(run *r)
{
    const inl_dataset *data = r->data->dataset;
    json_t *rows = json_array();
    for (uint64_t i = 0; i < inl_dataset_get_info(data)->rows; i++) {
        inl_row row;
        inl_dataset_get_row(data, i, &row);
        json_array_append_new(rows, json_pack("{s:o, s:o, s:o}", "tokens",
                                              integers(row.tokens, row.count), "starts",
                                              integers(row.starts, row.count), "labels",
                                              integers(row.labels, row.count)));
    }
    json_object_set_new(r->report, "rows", rows);
}

static inlay_result report_order(run *r, const inlay_train_plan *plan)
{
    uint32_t rows = (uint32_t)inl_dataset_get_info(r->data->dataset)->rows;
    uint32_t epochs = r->params.max_steps / plan->steps_per_epoch + 1;
    uint32_t *order = calloc(rows, sizeof(*order));
    if (!order)
        return INLAY_ERROR_OUT_OF_MEMORY;
    json_t *all = json_array();
    for (uint32_t epoch = 0; epoch < epochs; epoch++) {
        inl_epoch_order(r->params.seed, epoch, !r->params.no_shuffle, rows, order);
        json_array_append_new(all, integers((const int32_t *)order, rows));
    }
    free(order);
    json_object_set_new(r->report, "order", all);
    json_object_set_new(r->report, "steps_per_epoch", json_integer(plan->steps_per_epoch));
    return INLAY_OK;
}

// ---- training

// The gradients take the place of the values in a copy of the adapter, which then writes them as
// PEFT would: its names, and the rows of B in its order.
static inlay_result save_gradients(run *r)
{
    inl_train_params params = {.batch_size = INL_MAX(1, r->params.batch_size),
                               .accumulation = 1,
                               .max_steps = 1,
                               .learning_rate = 1e-3f,
                               .checkpointing = r->params.gradient_checkpointing,
                               .beta1 = 0.9f,
                               .beta2 = 0.999f,
                               .epsilon = 1e-8f};
    char initial[LONGEST_PATH];
    snprintf(initial, sizeof(initial), "%s/initial", r->out);
    inlay_adapter *copy = NULL;
    inl_trainer *trainer = NULL;
    float *image = NULL;
    inlay_result result = inlay_adapter_load(&copy, &r->public_env, r->model, initial);
    if (result == INLAY_OK)
        result = inl_trainer_create(&r->env, r->device->gpu, r->model->model, copy->lora,
                                    r->data->dataset, &params, &trainer);
    if (result == INLAY_OK)
        image = inl_alloc(&r->env, trainer->slots.floats, sizeof(float));
    if (image)
        result = inl_trainer_gradients(trainer, image);
    if (image && result == INLAY_OK) {
        inl_slots_unpack(&trainer->slots, image, copy->lora);
        result = save(r, copy, "gradients");
    }
    inl_free(&r->env, image);
    inl_trainer_destroy(&trainer);
    inlay_adapter_destroy(&copy);
    return result;
}

static inlay_result run_steps(run *r, inlay_trainer *trainer)
{
    json_t *steps = json_array();
    json_object_set_new(r->report, "steps", steps);
    for (uint32_t i = 0; i < r->params.max_steps; i++) {
        inlay_step_stats s;
        INL_TRY(inlay_trainer_step(trainer, &s));
        json_array_append_new(steps, json_pack("{s:f, s:f, s:f, s:I}", "loss", s.loss, "grad_norm",
                                               s.grad_norm, "learning_rate", s.learning_rate,
                                               "supervised", (json_int_t)s.supervised_tokens));
    }
    INL_TRY(inlay_trainer_sync(trainer));
    return save(r, r->adapter, "trained");
}

static inlay_result train(run *r)
{
    report_rows(r);
    if (!r->adapter)
        return INLAY_OK;
    // Values out of the base's weights are there when the trainer is.
    bool late = r->adapter->lora->init != INL_INIT_UNIFORM || r->adapter->lora->magnitudes_unset;
    if (!late) {
        INL_TRY(save(r, r->adapter, "initial"));
        INL_TRY(save_gradients(r));
    }
    inlay_trainer *trainer = NULL;
    INL_TRY(inlay_trainer_create(&trainer, &r->public_env, r->device, r->model, r->adapter, r->data,
                                 &r->params));
    inlay_train_plan plan;
    inlay_trainer_get_plan(trainer, &plan);
    inlay_result result = late ? save(r, r->adapter, "initial") : INLAY_OK;
    if (result == INLAY_OK)
        result = report_order(r, &plan);
    if (result == INLAY_OK)
        result = run_steps(r, trainer);
    inlay_trainer_destroy(&trainer);
    return result;
}

// ---- logits

static inlay_result logits_of(inlay_generator *generator, const json_t *sequence, uint32_t vocab,
                              inl_safetensor_out *out)
{
    size_t count = json_array_size(sequence);
    int32_t *ids = calloc(count, sizeof(*ids));
    float *logits = calloc(count * vocab, sizeof(*logits));
    for (size_t i = 0; ids && i < count; i++)
        ids[i] = (int32_t)json_integer_value(json_array_get(sequence, i));
    *out = (inl_safetensor_out){.dims = 2, .shape = {count, vocab}, .data = logits};
    inlay_result result = ids && logits ? inlay_generator_logits(generator, ids, count, logits)
                                        : INLAY_ERROR_OUT_OF_MEMORY;
    free(ids);
    return result;
}

static uint32_t longest(const json_t *sequences)
{
    const json_t *sequence;
    size_t index, most = 0;
    json_array_foreach(sequences, index, sequence)
        most = INL_MAX(most, json_array_size(sequence));
    return (uint32_t)most;
}

static inlay_result save_logits(run *r)
{
    inlay_generator_params params = {.context_length = longest(get(r->job, "sequences"))};
    inl_safetensor_out tensors[MOST_SEQUENCES];
    char names[MOST_SEQUENCES][24], path[LONGEST_PATH];
    inlay_generator *generator = NULL;
    inlay_model_info info;
    const json_t *sequence;
    uint32_t count = 0;
    size_t index;
    inlay_model_get_info(r->model, &info);
    inlay_result result = inlay_generator_create(&generator, &r->public_env, r->device, r->model,
                                                 r->adapter, &params);
    json_array_foreach(get(r->job, "sequences"), index, sequence) {
        if (result != INLAY_OK || count == MOST_SEQUENCES)
            break;
        result = logits_of(generator, sequence, info.vocab, &tensors[count]);
        snprintf(names[count], sizeof(names[count]), "%zu", index);
        tensors[count].name = names[count];
        count++;
    }
    snprintf(path, sizeof(path), "%s/logits.safetensors", r->out);
    if (result == INLAY_OK)
        result = inl_safetensors_write(&r->env, path, tensors, count);
    for (uint32_t i = 0; i < count; i++)
        free((void *)tensors[i].data);
    inlay_generator_destroy(&generator);
    return result;
}

static inlay_result write_report(const run *r)
{
    char path[LONGEST_PATH];
    snprintf(path, sizeof(path), "%s/report.json", r->out);
    return json_dump_file(r->report, path, JSON_REAL_PRECISION(17)) == 0 ? INLAY_OK
                                                                         : INLAY_ERROR_IO;
}

static inlay_result work(run *r)
{
    INL_TRY(inl_make_folder(&r->env, r->out));
    INL_TRY(open_all(r));
    if (get(r->job, "texts"))
        INL_TRY(tokenize(r));
    if (get(r->job, "data"))
        INL_TRY(train(r));
    if (get(r->job, "sequences"))
        INL_TRY(save_logits(r));
    return write_report(r);
}

int main(int argc, char **argv)
{
    json_error_t error;
    json_t *job = argc == 2 ? json_load_file(argv[1], JSON_ALLOW_NUL, &error) : NULL;
    run r = {.job = job, .public_env = {.log = log_message, .log_level = INLAY_LOG_WARN}};
    r.out = json_string_value(get(job, "out"));
    if (!job || !r.out) {
        fprintf(stderr, "usage: parity_driver JOB.json\n");
        json_decref(job);
        return 2;
    }
    r.env = inl_env_resolve(&r.public_env);
    r.report = json_object();
    inlay_result result = work(&r);
    inlay_adapter_destroy(&r.adapter);
    inlay_dataset_close(&r.data);
    inlay_model_close(&r.model);
    inlay_device_destroy(&r.device);
    json_decref(r.report);
    json_decref(job);
    return result == INLAY_OK ? 0 : 1;
}
