// SPDX-License-Identifier: MIT
// Training runs through the public API, for tests: a toy model or a file, text in memory, one
// device for all tests of a program, and the adapter's bytes to compare. Header only; defines
// cmocka's includes.
#ifndef HARNESS_TRAIN_RUN_H
#define HARNESS_TRAIN_RUN_H

#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "api/handles.h"
#include "harness/toy_model.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>
#include <ftw.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

// ---- what the library said

static char train_error[1024]; // the last error's sentence
static uint32_t train_warnings;

static inline void train_message(void *user, inlay_log_level level, const char *message)
{
    (void)user;
    train_warnings += level == INLAY_LOG_WARN;
    if (level == INLAY_LOG_ERROR)
        snprintf(train_error, sizeof(train_error), "%s", message);
}

static const inlay_env train_env = {.log = train_message, .log_level = INLAY_LOG_WARN};

static inline void train_ok(inlay_result result, const char *what)
{
    if (result != INLAY_OK)
        fail_msg("%s: %s (%s)", what, inlay_result_string(result), train_error);
}
#define TRAIN_OK(call) train_ok(call, #call)

// `result` is the expected error, and its sentence contains each of the strings up to NULL.
static inline void train_refused(inlay_result result, inlay_result expected, const char *first, ...)
{
    if (result != expected)
        fail_msg("%s instead of %s (%s)", inlay_result_string(result),
                 inlay_result_string(expected), train_error);
    va_list parts;
    va_start(parts, first);
    for (const char *part = first; part; part = va_arg(parts, const char *))
        if (!strstr(train_error, part))
            fail_msg("\"%s\" is not in \"%s\"", part, train_error);
    va_end(parts);
}

// ---- one device and one folder a program

static inlay_device *train_device;
static char train_folder[64];

static inline inlay_device *train_open_device(uint64_t budget)
{
    inlay_device *device;
    inlay_device_params params = {.validation = getenv("INLAY_TEST_VALIDATION") != NULL,
                                  .memory_budget_bytes = budget,
                                  .paths = getenv("INLAY_TEST_PATHS")};
    TRAIN_OK(inlay_device_create(&device, &train_env, &params));
    return device;
}

static inline void train_close_device(inlay_device **device)
{
    assert_int_equal(inl_gpu_validation_errors((*device)->gpu), 0);
    inlay_device_destroy(device);
}

static inline int train_remove_entry(const char *path, const struct stat *st, int kind,
                                     struct FTW *walk)
{
    (void)st, (void)kind, (void)walk;
    return remove(path);
}

static inline void train_remove(const char *folder)
{
    nftw(folder, train_remove_entry, 8, FTW_DEPTH | FTW_PHYS);
}

static inline int train_begin_in(const char *parent)
{
    snprintf(train_folder, sizeof(train_folder), "%s/inlay-train-XXXXXX", parent);
    assert_non_null(mkdtemp(train_folder));
    train_device = train_open_device(0);
    return 0;
}

static inline int train_begin(void **state)
{
    (void)state;
    return train_begin_in("/tmp");
}

static inline int train_end(void **state)
{
    (void)state;
    train_remove(train_folder);
    train_close_device(&train_device);
    return 0;
}

// A path in the program's folder; four live at a time.
static inline const char *train_path(const char *name)
{
    static char paths[4][256];
    static unsigned next;
    char *path = paths[next++ % 4];
    snprintf(path, sizeof(paths[0]), "%s/%s", train_folder, name);
    return path;
}

// ---- a run

static const toy_model train_toy = {.dim = 24, .ffn = 36, .layers = 2, .heads = 2, .kv_heads = 1,
                                    .head_dim = 12, .vocab = 261, .seed = 3, .biases = 1,
                                    .rope_factors = 1};

#define TRAIN_MIXTURE                                                                              \
    {                                                                                              \
        .dim = 64, .ffn = 32, .layers = 2, .heads = 2, .kv_heads = 1, .head_dim = 32,              \
        .vocab = 261, .experts = 5, .experts_used = 2, .seed = 3                                   \
    }

static const char train_sentences[] =
    "{\"text\": \"a fox\"}\n{\"text\": \"two hens\"}\n{\"text\": \"thin ice\"}\n{\"text\": "
    "\"run\"}\n"
    "{\"text\": \"who?\"}\n{\"text\": \"the wind\"}\n{\"text\": \"snow\"}\n{\"text\": \"bells\"}\n";

typedef struct train_setup {
    toy_model model;        // dim 0: train_toy
    const char *model_file; // goes before `model`
    inlay_model_params open;
    const char *text; // NULL: train_sentences
    bool is_txt;
    inlay_dataset_params rows; // max_length 0: 24
    inlay_adapter_params adapter; // r 0: 3
    inlay_train_params params;    // learning_rate 0: 1e-2
    inlay_device *device;         // NULL: train_device
} train_setup;

typedef struct train_run {
    inlay_model *model;
    inlay_dataset *dataset;
    inlay_adapter *adapter;
    inlay_trainer *trainer;
} train_run;

static inline void train_write(const char *path, const char *text)
{
    FILE *f = fopen(path, "wb");
    assert_non_null(f);
    assert_int_equal(fwrite(text, 1, strlen(text), f), strlen(text));
    assert_int_equal(fclose(f), 0);
}

static inline inlay_dataset *train_open_text(const inlay_model *model, const char *text,
                                             bool is_txt, const inlay_dataset_params *rows)
{
    inlay_dataset *dataset;
    const char *path = train_path(is_txt ? "data.txt" : "data.jsonl");
    train_write(path, text);
    TRAIN_OK(inlay_dataset_open(&dataset, &train_env, model, path, rows));
    return dataset;
}

// Everything but the trainer.
static inline void train_prepare(train_run *r, const train_setup *setup)
{
    *r = (train_run){0};
    train_setup s = *setup;
    const char *path = s.model_file ? s.model_file : train_path("model.gguf");
    if (!s.model_file)
        assert_int_equal(toy_model_write(path, s.model.dim ? &s.model : &train_toy), 0);
    s.rows.max_length = s.rows.max_length ? s.rows.max_length : 24;
    s.adapter.r = s.adapter.r ? s.adapter.r : 3;
    TRAIN_OK(inlay_model_open(&r->model, &train_env, path, &s.open));
    r->dataset = train_open_text(r->model, s.text ? s.text : train_sentences, s.is_txt, &s.rows);
    TRAIN_OK(inlay_adapter_create(&r->adapter, &train_env, r->model, &s.adapter));
}

// B starts at zero, which would hide A.
static inline void train_draw_b(train_run *r)
{
    for (uint32_t i = 0; i < r->adapter->lora->pair_count; i++) {
        inl_lora_pair *p = &r->adapter->lora->pairs[i];
        for (uint32_t k = 0; k < p->out * p->r; k++)
            p->b[k] = 0.5f * (inl_rng_f32(77, i, k) - 0.5f);
    }
}

static inline inlay_train_params train_params_of(const train_setup *setup)
{
    inlay_train_params params = setup->params;
    params.learning_rate = params.learning_rate > 0.0f ? params.learning_rate : 1e-2f;
    return params;
}

static inline void train_open(train_run *r, const train_setup *setup)
{
    inlay_train_params params = train_params_of(setup);
    train_prepare(r, setup);
    TRAIN_OK(inlay_trainer_create(&r->trainer, &train_env,
                                  setup->device ? setup->device : train_device, r->model,
                                  r->adapter, r->dataset, &params));
}

static inline void train_close(train_run *r)
{
    inlay_trainer_destroy(&r->trainer);
    inlay_adapter_destroy(&r->adapter);
    inlay_dataset_close(&r->dataset);
    inlay_model_close(&r->model);
}

// `count` steps; the last one's numbers.
static inline inlay_step_stats train_steps(train_run *r, uint32_t count)
{
    inlay_step_stats stats = {0};
    for (uint32_t i = 0; i < count; i++)
        TRAIN_OK(inlay_trainer_step(r->trainer, &stats));
    return stats;
}

// ---- what is compared

typedef struct train_bytes {
    char *data;
    size_t size;
} train_bytes;

static inline train_bytes train_read(const char *path)
{
    train_bytes b = {0};
    FILE *f = fopen(path, "rb");
    if (!f)
        fail_msg("there is no %s", path);
    fseek(f, 0, SEEK_END);
    b.size = (size_t)ftell(f);
    b.data = malloc(b.size + 1);
    rewind(f);
    assert_int_equal(fread(b.data, 1, b.size, f), b.size);
    b.data[b.size] = 0;
    fclose(f);
    return b;
}

// The adapter as its file holds it.
static inline train_bytes train_adapter(train_run *r)
{
    if (r->trainer)
        TRAIN_OK(inlay_trainer_sync(r->trainer));
    const char *folder = train_path("adapter");
    TRAIN_OK(inlay_adapter_save_peft(r->adapter, folder));
    return train_read(train_path("adapter/adapter_model.safetensors"));
}

static inline bool train_same(train_bytes a, train_bytes b)
{
    return a.size == b.size && memcmp(a.data, b.data, a.size) == 0;
}

// Frees both.
static inline void train_assert_same(train_bytes a, train_bytes b, const char *what)
{
    bool same = train_same(a, b);
    free(a.data);
    free(b.data);
    if (!same)
        fail_msg("%s: the adapters differ", what);
}

#endif
