// SPDX-License-Identifier: MIT
// Checkpoints: the adapter as PEFT stores it, the moments, and a step number. Written beside their
// final name and renamed, so that a folder called checkpoint-N is whole.
//
//   adapter_config.json, adapter_model.safetensors   the adapter
//   optimizer.safetensors                            m, v: the arenas' images
//   trainer_state.json                               step, the newest steps' numbers, and what the
//                                                    run was started with
#define _POSIX_C_SOURCE 200809L // rmdir
#include "base/file.h"
#include "base/finite.h"
#include "base/folder.h"
#include "io/safetensors.h"
#include "io/settings.h"
#include "model/dora.h"
#include "train/trainer.h"

#include <jansson.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define STATE_FILE "trainer_state.json"
#define OPTIMIZER_FILE "optimizer.safetensors"

// ---- the state: everything that decides how the run goes on

static json_t *make_state(const inl_trainer *t)
{
    const inl_train_params *p = &t->params;
    char dataset[32], model[32];
    snprintf(dataset, sizeof(dataset), "%016llx",
             (unsigned long long)inl_dataset_hash(t->dataset));
    snprintf(model, sizeof(model), "%016llx", (unsigned long long)inl_model_hash(t->model));
    return json_pack("{s:i, s:s, s:s, s:s, s:I, s:I, s:I, s:I, s:I, s:f, s:f, s:I, s:f, s:f, s:f, "
                     "s:f, s:f, s:b, s:I, s:I}",
                     "version", 1, "model", model, "quantize",
                     t->model->quantize ? t->model->quantize->name : "none", "dataset", dataset,
                     "global_step", (json_int_t)t->step, "max_steps",
                     (json_int_t)t->plan_info.total_steps, "batch_size", (json_int_t)p->batch_size,
                     "gradient_accumulation_steps", (json_int_t)p->accumulation, "lr_scheduler",
                     (json_int_t)p->schedule, "learning_rate", (double)p->learning_rate,
                     "loraplus_lr_ratio", (double)p->loraplus_lr_ratio, "warmup_steps",
                     (json_int_t)inl_trainer_warmup(t), "weight_decay", (double)p->weight_decay,
                     "max_grad_norm", (double)p->max_grad_norm, "adam_beta1", (double)p->beta1,
                     "adam_beta2", (double)p->beta2, "adam_epsilon", (double)p->epsilon, "shuffle",
                     (int)p->shuffle, "seed", (json_int_t)p->seed, "frozen_rank",
                     (json_int_t)(t->lora->pair_count ? t->lora->pairs[0].frozen : 0));
}

// The number of steps may be another one; where the rate depends on it, that is said. A warm-up
// that is a share of the steps changes with them.
static bool may_differ(const inl_trainer *t, const json_t *saved, const char *key)
{
    const json_t *steps = json_object_get(saved, "max_steps");
    bool other = json_integer_value(steps) != (json_int_t)t->plan_info.total_steps;
    if (strcmp(key, "warmup_steps") == 0)
        return other && t->params.warmup_steps == 0 && t->params.warmup_ratio > 0.0;
    return strcmp(key, "max_steps") == 0 && json_is_integer(steps);
}

static void warn_of_steps(const inl_trainer *t, const json_t *saved, const char *folder)
{
    json_int_t steps = json_integer_value(json_object_get(saved, "max_steps"));
    bool constant = t->params.schedule >= INL_SCHEDULE_CONSTANT && t->params.warmup_ratio <= 0.0;
    if (steps != (json_int_t)t->plan_info.total_steps && !constant)
        inl_logf(&t->env, INLAY_LOG_WARN,
                 "%s is of a run of %lld steps, this one is of %u: the learning rate follows the "
                 "new number from here on",
                 folder, (long long)steps, t->plan_info.total_steps);
}

// Options that must be as they were.
static inlay_result compare_state(const inl_trainer *t, const json_t *saved, const char *folder)
{
    json_t *now = make_state(t);
    const char *key;
    json_t *value;
    inlay_result result = now ? INLAY_OK : INLAY_ERROR_OUT_OF_MEMORY;
    json_object_foreach(now, key, value) {
        if (strcmp(key, "global_step") == 0 || may_differ(t, saved, key))
            continue;
        if (result == INLAY_OK && !json_equal(value, json_object_get(saved, key)))
            result = inl_fail(&t->env, INLAY_ERROR_MISMATCH,
                              "%s was made with another %s: a resumed run needs the same", folder,
                              key);
    }
    json_decref(now);
    if (result == INLAY_OK)
        warn_of_steps(t, saved, folder);
    return result;
}

// ---- saving

static inlay_result save_optimizer(inl_trainer *t, const char *path)
{
    uint64_t floats = t->slots.floats;
    float *images = inl_alloc(&t->env, 2 * floats, sizeof(float));
    if (!images)
        return INLAY_ERROR_OUT_OF_MEMORY;
    inlay_result result = inl_gpu_download(t->gpu, t->arenas[2], 0, images, 4 * floats);
    if (result == INLAY_OK)
        result = inl_gpu_download(t->gpu, t->arenas[3], 0, images + floats, 4 * floats);
    if (result == INLAY_OK && !inl_all_finite(images, 2 * floats))
        result = inl_fail(&t->env, INLAY_ERROR_NOT_FINITE,
                          "after step %u a moment of the gradients is NaN or infinite", t->step);
    inl_safetensor_out tensors[2] = {{"m", 1, {floats}, images},
                                     {"v", 1, {floats}, images + floats}};
    if (result == INLAY_OK)
        result = inl_safetensors_write(&t->env, path, tensors, 2);
    inl_free(&t->env, images);
    return result;
}

static inlay_result save_state(const inl_trainer *t, const char *path)
{
    json_t *state = make_state(t), *history = inl_history_write(&t->history);
    if (json_object_set_new(state, "log_history", history) != 0) {
        json_decref(state);
        return INLAY_ERROR_OUT_OF_MEMORY;
    }
    char *text = state ? json_dumps(state, JSON_INDENT(2) | JSON_SORT_KEYS) : NULL;
    inlay_result result = text ? inl_file_write(&t->env, path, text, strlen(text))
                               : INLAY_ERROR_OUT_OF_MEMORY;
    json_decref(state);
    free(text);
    return result;
}

static inlay_result save_files(inl_trainer *t, const char *folder)
{
    INL_TRY(inl_trainer_sync(t));
    INL_TRY(inl_lora_save_peft(t->lora, &t->model->modules.list, folder));
    char *optimizer = inl_path_join(&t->env, folder, OPTIMIZER_FILE);
    char *state = inl_path_join(&t->env, folder, STATE_FILE);
    inlay_result result = INLAY_ERROR_OUT_OF_MEMORY;
    if (optimizer && state)
        result = save_optimizer(t, optimizer);
    if (result == INLAY_OK)
        result = save_state(t, state);
    inl_free(&t->env, optimizer);
    inl_free(&t->env, state);
    return result;
}

// What is there under a checkpoint's name is replaced if it is one, or nothing: no other folder of
// the user's is ever emptied.
static inlay_result check_target(const inl_trainer *t, const char *folder)
{
    char *state = inl_path_join(&t->env, folder, STATE_FILE);
    if (!state)
        return INLAY_ERROR_OUT_OF_MEMORY;
    bool replaceable = !inl_exists(folder) || inl_exists(state) || rmdir(folder) == 0;
    inl_free(&t->env, state);
    return replaceable ? INLAY_OK
                       : inl_fail(&t->env, INLAY_ERROR_IO,
                                  "%s is there and is no checkpoint: it is left as it is", folder);
}

inlay_result inl_trainer_save(inl_trainer *t, const char *folder)
{
    inl_folder_writer w;
    INL_TRY(check_target(t, folder));
    INL_TRY(inl_folder_begin(&t->env, folder, &w));
    inlay_result result = save_files(t, w.made);
    if (result == INLAY_OK)
        return inl_folder_commit(&w);
    inl_folder_abandon(&w);
    return result;
}

// ---- resuming: everything is read and checked before anything of the run is touched

static inlay_result check_state(inl_trainer *t, const inl_settings *saved, const char *folder,
                                uint32_t *step, inl_history *history)
{
    json_t *list;
    if (!json_object_get(saved->root, "global_step"))
        return inl_fail(&t->env, INLAY_ERROR_BAD_FILE, "%s is not the state of a run",
                        saved->path);
    INL_TRY(inl_settings_u32(saved, NULL, "global_step", 0, step));
    if (*step > INT32_MAX)
        return inl_settings_bad(saved, "global_step", "is too large");
    INL_TRY(compare_state(t, saved->root, folder));
    INL_TRY(inl_settings_array(saved, NULL, "log_history", &list));
    if (list && !inl_history_read(list, *step, history))
        return inl_settings_bad(saved, "log_history", "is not a list of steps");
    return INLAY_OK;
}

static inlay_result load_state(inl_trainer *t, const char *folder, uint32_t *step,
                               inl_history *history)
{
    inl_settings saved;
    char *path = inl_path_join(&t->env, folder, STATE_FILE);
    if (!path)
        return INLAY_ERROR_OUT_OF_MEMORY;
    inlay_result result = inl_settings_open(&t->env, path, &saved);
    if (result == INLAY_OK)
        result = check_state(t, &saved, folder, step, history);
    inl_settings_close(&saved);
    inl_free(&t->env, path);
    return result;
}

// What a checkpoint holds, in the run's own layout.
typedef struct checkpoint {
    uint32_t step;
    inl_history history;
    inl_lora *lora;
    float *images; // weights (filled in last), first and second moments
} checkpoint;

static inlay_result load_moment(const inl_trainer *t, const inl_safetensors *file, const char *name,
                                float *image)
{
    const inl_safetensor *tensor = inl_safetensors_find(file, name);
    if (!tensor)
        return inl_fail(&t->env, INLAY_ERROR_BAD_FILE, "the optimizer's file has no tensor %s",
                        name);
    INL_TRY(inl_safetensors_read_f32(file, tensor, image, t->slots.floats));
    if (!inl_all_finite(image, t->slots.floats))
        return inl_fail(&t->env, INLAY_ERROR_NOT_FINITE,
                        "the optimizer's file has NaN or infinity in tensor %s", name);
    return INLAY_OK;
}

static inlay_result load_optimizer(const inl_trainer *t, const char *folder, float *m, float *v)
{
    char *path = inl_path_join(&t->env, folder, OPTIMIZER_FILE);
    if (!path)
        return INLAY_ERROR_OUT_OF_MEMORY;
    inl_safetensors *file;
    inlay_result result = inl_safetensors_open(&t->env, path, &file);
    inl_free(&t->env, path);
    if (result != INLAY_OK)
        return result;
    result = load_moment(t, file, "m", m);
    if (result == INLAY_OK)
        result = load_moment(t, file, "v", v);
    inl_safetensors_close(&file);
    return result;
}

// The checkpoint's adapter must have the pairs of the run's. A scale may come back from its pattern
// in the configuration rounded otherwise; the run's own is kept.
static inlay_result check_adapter(const inl_trainer *t, const char *folder, const inl_lora *saved)
{
    bool same = saved->pair_count == t->lora->pair_count && saved->dropout == t->lora->dropout;
    for (uint32_t i = 0; same && i < saved->pair_count; i++) {
        const inl_lora_pair *a = &saved->pairs[i], *b = &t->lora->pairs[i];
        same = a->module == b->module && a->r == b->r && !a->magnitude == !b->magnitude &&
               fabsf(a->scale - b->scale) <= 1e-6f * fabsf(b->scale);
    }
    return same ? INLAY_OK
                : inl_fail(&t->env, INLAY_ERROR_MISMATCH,
                           "%s was made with another rank, alpha, dropout, use_dora or set of "
                           "target modules",
                           folder);
}

static inlay_result load(inl_trainer *t, const char *folder, checkpoint *c)
{
    uint64_t floats = t->slots.floats;
    INL_TRY(load_state(t, folder, &c->step, &c->history));
    INL_TRY(inl_lora_load(&t->env, &t->model->modules.list, folder, &c->lora));
    INL_TRY(check_adapter(t, folder, c->lora));
    c->images = inl_alloc(&t->env, 3 * floats, sizeof(float));
    if (!c->images)
        return INLAY_ERROR_OUT_OF_MEMORY;
    return load_optimizer(t, folder, c->images + floats, c->images + 2 * floats);
}

static inlay_result adopt(inl_trainer *t, const checkpoint *c)
{
    static const uint32_t arenas[] = {0, 2, 3};
    uint64_t floats = t->slots.floats;
    for (uint32_t i = 0; i < c->lora->pair_count; i++) {
        const inl_lora_pair *from = &c->lora->pairs[i], *to = &t->lora->pairs[i];
        memcpy(to->a, from->a, sizeof(float) * from->r * from->in);
        memcpy(to->b, from->b, sizeof(float) * from->r * from->out);
        if (to->magnitude)
            memcpy(to->magnitude, from->magnitude, sizeof(float) * from->out);
    }
    inl_slots_pack(&t->slots, c->images);
    for (uint32_t i = 0; i < INL_COUNT(arenas); i++)
        INL_TRY(
            inl_gpu_upload(t->gpu, t->arenas[arenas[i]], 0, c->images + i * floats, 4 * floats));
    t->step = c->step;
    t->history = c->history;
    return inl_dora_renew(&t->env, t->gpu, t->weights, &t->slots, &t->arena, t->micro);
}

inlay_result inl_trainer_resume(inl_trainer *t, const char *folder)
{
    checkpoint c = {0};
    inlay_result result = load(t, folder, &c);
    if (result == INLAY_OK)
        result = adopt(t, &c);
    inl_lora_destroy(&c.lora);
    inl_free(&t->env, c.images);
    return result;
}
