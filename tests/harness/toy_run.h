// SPDX-License-Identifier: MIT
// Training a toy model through the public API, for tests of devices. Header only.
#ifndef HARNESS_TOY_RUN_H
#define HARNESS_TOY_RUN_H

#include "harness/toy_model.h"

#include <inlay/inlay.h>
#include <unistd.h>

// The last sentence that was logged at error level, for tests of what is refused.
typedef struct toy_log {
    char error[512];
} toy_log;

static inline void toy_on_log(void *user, inlay_log_level level, const char *message)
{
    toy_log *log = user;
    if (level == INLAY_LOG_ERROR)
        snprintf(log->error, sizeof(log->error), "%s", message);
}

static inline inlay_env toy_env(toy_log *log)
{
    return (inlay_env){.log = toy_on_log, .log_user = log, .log_level = INLAY_LOG_WARN};
}

typedef struct toy_files {
    char model[64], data[64];
} toy_files;

static inline int toy_files_write(toy_files *files, const toy_model *shape)
{
    static const char lines[] = "{\"prompt\": \"say it\", \"completion\": \"abcd efg\"}\n"
                                "{\"prompt\": \"q\", \"completion\": \"r\"}\n"
                                "{\"prompt\": \"\", \"completion\": \"third one, longer\"}\n";
    snprintf(files->model, sizeof(files->model), "/tmp/inlay-model-XXXXXX");
    snprintf(files->data, sizeof(files->data), "/tmp/inlay-data-XXXXXX.jsonl");
    close(mkstemp(files->model));
    close(mkstemps(files->data, 6));
    FILE *f = fopen(files->data, "wb");
    int bad = !f || fwrite(lines, 1, sizeof(lines) - 1, f) != sizeof(lines) - 1;
    if (f)
        bad |= fclose(f) != 0;
    return bad | toy_model_write(files->model, shape);
}

static inline void toy_files_remove(const toy_files *files)
{
    unlink(files->model);
    unlink(files->data);
}

typedef struct toy_run {
    inlay_model *model;
    inlay_dataset *dataset;
    inlay_adapter *adapter;
    inlay_trainer *trainer;
} toy_run;

static inline void toy_run_close(toy_run *run)
{
    inlay_trainer_destroy(&run->trainer);
    inlay_adapter_destroy(&run->adapter);
    inlay_dataset_close(&run->dataset);
    inlay_model_close(&run->model);
}

static inline inlay_result toy_run_open(toy_run *run, const inlay_env *env, inlay_device *device,
                                        const toy_files *files, inlay_quantize quantize)
{
    inlay_model_params model = {.quantize = quantize};
    inlay_dataset_params rows = {.max_length = 29};
    inlay_adapter_params adapter = {.r = 3, .dropout = 0.1f};
    inlay_train_params params = {.batch_size = 2, .max_steps = 100, .learning_rate = 1e-2f};
    *run = (toy_run){0};
    inlay_result result = inlay_model_open(&run->model, env, files->model, &model);
    if (result == INLAY_OK)
        result = inlay_dataset_open(&run->dataset, env, run->model, files->data, &rows);
    if (result == INLAY_OK)
        result = inlay_adapter_create(&run->adapter, env, run->model, &adapter);
    if (result == INLAY_OK)
        result = inlay_trainer_create(&run->trainer, env, device, run->model, run->adapter,
                                      run->dataset, &params);
    if (result != INLAY_OK)
        toy_run_close(run);
    return result;
}

// The loss of the next step; -1 when the step failed.
static inline double toy_run_step(toy_run *run)
{
    inlay_step_stats stats;
    return inlay_trainer_step(run->trainer, &stats) == INLAY_OK ? stats.loss : -1.0;
}

#endif
