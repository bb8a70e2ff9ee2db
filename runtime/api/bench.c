// SPDX-License-Identifier: MIT
#include "api/handles.h"
#include "base/rng.h"
#include "bench/kernels.h"
#include "bench/loss.h"
#include "bench/peak.h"
#include "bench/tune.h"
#include "gpu/tuning.h"
#include "model/random.h"
#include "model/weights.h"
#include "train/profile.h"

#include <stdio.h>
#include <string.h>

#define MOST_ROWS 65536u
#define MOST_LENGTH (1u << 20)
#define ALPHABET 61u    // tokens that random data are made of
#define FIRST_TOKEN 259 // past the bytes of a random model's vocabulary

// ---- models and data

bool inlay_shape_get(uint32_t index, inlay_shape *out)
{
    const inl_shape *s = inl_shape_at(index);
    if (!s)
        return false;
    *out = (inlay_shape){.layers = s->layers,
                         .dim = s->dim,
                         .ffn_dim = s->ffn,
                         .heads = s->heads,
                         .kv_heads = s->kv_heads,
                         .head_dim = s->head_dim,
                         .vocab = s->vocab};
    snprintf(out->name, sizeof(out->name), "%s", s->name);
    snprintf(out->title, sizeof(out->title), "%s", s->title);
    return true;
}

static inlay_result find_shape(const inl_env *env, const char *name, const inl_shape **out)
{
    char names[128] = "";
    *out = inl_shape_by_name(name);
    if (*out)
        return INLAY_OK;
    for (uint32_t i = 0; inl_shape_at(i); i++)
        snprintf(names + strlen(names), sizeof(names) - strlen(names), "%s%s", i ? ", " : "",
                 inl_shape_at(i)->name);
    return inl_fail(env, INLAY_ERROR_INVALID_ARGUMENT, "there is no shape \"%.40s\" (there are %s)",
                    name, names);
}

inlay_result inlay_model_create_random(inlay_model **out, const inlay_env *public_env,
                                       const inlay_random_model_params *params)
{
    inl_env env = inl_env_resolve(public_env);
    INL_REQUIRE(&env, out != NULL);
    *out = NULL;
    const inl_shape *shape;
    INL_TRY(find_shape(&env, params && params->shape ? params->shape : "25m", &shape));
    const char *type = params && params->type ? params->type : "Q8_0";
    inl_shape own = *shape;
    own.layers = params && params->layers ? params->layers : shape->layers;
    INL_REQUIRE(&env, own.layers <= 1000);
    inlay_model *handle = inl_alloc(&env, 1, sizeof(*handle));
    if (!handle)
        return INLAY_ERROR_OUT_OF_MEMORY;
    handle->env = env;
    inlay_result result = inl_model_create_random(&env, &own, type, params ? params->seed : 0,
                                                  &handle->model);
    if (result != INLAY_OK) {
        inl_free(&env, handle);
        return result;
    }
    *out = handle;
    return INLAY_OK;
}

inlay_result inlay_model_get_token_bytes(const inlay_model *model, uint64_t *bytes)
{
    INL_REQUIRE(&model->env, bytes != NULL);
    inl_weights *w;
    INL_TRY(inl_weights_create(model->model, NULL, UINT32_MAX, 8, 8, &w));
    *bytes = w->bytes;
    for (uint32_t i = 0; !model->model->config.tied_head && i < w->embedding.part_count; i++)
        *bytes -= w->embedding.parts[i].quants.size + w->embedding.parts[i].scales.size;
    inl_weights_destroy(&w);
    return INLAY_OK;
}

// One line of JSON a row: ids, which are their own labels. A row's tokens go round the alphabet in
// steps that are mostly the same.
static char *write_rows(const inl_env *env, uint32_t vocab, uint32_t rows, uint32_t length,
                        uint32_t seed, size_t *size)
{
    size_t room = (size_t)rows * (16ull * length + 64), used = 0;
    uint32_t first = vocab > FIRST_TOKEN + ALPHABET ? FIRST_TOKEN : 0;
    uint32_t alphabet = INL_MIN(ALPHABET, vocab - first);
    char *text = inl_alloc(env, room, 1);
    for (uint32_t r = 0; text && r < rows; r++)
        for (uint32_t list = 0; list < 2; list++) {
            uint32_t at = r;
            used += (size_t)sprintf(text + used, list ? "],\"labels\":[" : "{\"input_ids\":[");
            for (uint32_t i = 0; i < length; i++) {
                uint32_t draw = inl_rng_u32(seed, r, i);
                at += draw % 4 ? 7 : draw >> 8 & 31;
                used += (size_t)sprintf(text + used, "%s%u", i ? "," : "", first + at % alphabet);
            }
            if (list)
                used += (size_t)sprintf(text + used, "]}\n");
        }
    *size = used;
    return text;
}

inlay_result inlay_dataset_create_random(inlay_dataset **out, const inlay_env *public_env,
                                         const inlay_model *model, uint32_t rows, uint32_t length,
                                         uint32_t seed)
{
    inl_env env = inl_env_resolve(public_env);
    INL_REQUIRE(&env, out != NULL);
    *out = NULL;
    INL_REQUIRE(&env, model != NULL);
    INL_REQUIRE(&env, rows > 0 && rows <= MOST_ROWS && length >= 2 && length <= MOST_LENGTH);
    INL_REQUIRE(&env, (uint64_t)rows * length <= 1u << 26);
    inlay_dataset *handle = inl_alloc(&env, 1, sizeof(*handle));
    size_t size;
    char *text = write_rows(&env, model->model->config.vocab, rows, length, seed, &size);
    inl_dataset_params params = {.max_length = length, .no_records = true};
    inlay_result result = INLAY_ERROR_OUT_OF_MEMORY;
    if (handle && text)
        result = inl_dataset_open_memory(&env, model->model->tokenizer, "random rows",
                                         (uint8_t *)text, size, INL_DATA_JSONL, &params,
                                         &handle->dataset);
    inl_free(&env, text);
    if (result != INLAY_OK) {
        inl_free(&env, handle);
        return result;
    }
    handle->env = env;
    *out = handle;
    return INLAY_OK;
}

// ---- times

inlay_result inlay_trainer_profile(inlay_trainer *trainer, bool on)
{
    return inl_trainer_profile(trainer->trainer, on);
}

inlay_result inlay_trainer_get_times(const inlay_trainer *trainer, inlay_step_times *times)
{
    inl_step_times t;
    INL_TRY(inl_trainer_times(trainer->trainer, &t));
    *times = (inlay_step_times){.forward_seconds = t.forward,
                                .backward_seconds = t.backward,
                                .update_seconds = t.update,
                                .longest_submit_seconds = t.longest_submit};
    return INLAY_OK;
}

inlay_result inlay_trainer_get_kernels(const inlay_trainer *trainer, inlay_kernel_time *kernels,
                                       uint32_t *count)
{
    INL_REQUIRE(&trainer->env, count != NULL);
    uint32_t room = kernels ? *count : 0;
    inl_kernel_time *times = inl_alloc(&trainer->env, room + 1, sizeof(*times));
    if (!times)
        return INLAY_ERROR_OUT_OF_MEMORY;
    *count = room;
    inlay_result result = inl_trainer_kernels(trainer->trainer, times, count);
    for (uint32_t i = 0; result == INLAY_OK && i < INL_MIN(room, *count); i++) {
        const inl_kernel_time *t = &times[i];
        kernels[i] = (inlay_kernel_time){.dispatches = t->dispatches,
                                         .seconds = t->seconds,
                                         .flops = t->flops,
                                         .bytes = t->bytes};
        snprintf(kernels[i].kernel, sizeof(kernels[i].kernel), "%s", t->kernel);
        snprintf(kernels[i].tag, sizeof(kernels[i].tag), "%s", t->tag);
    }
    inl_free(&trainer->env, times);
    return result;
}

inlay_result inlay_trainer_check_loss(inlay_trainer *trainer, uint32_t tokens,
                                      inlay_loss_check *check)
{
    INL_REQUIRE(&trainer->env, check != NULL && tokens > 0);
    inl_loss_check c;
    INL_TRY(inl_check_loss(trainer->trainer, tokens, &c));
    *check = (inlay_loss_check){
        .loss = c.loss, .reference = c.reference, .tokens = c.tokens, .step = c.step};
    return INLAY_OK;
}

// ---- kernels

typedef struct kernel_receiver {
    inlay_kernel_callback callback;
    void *user;
} kernel_receiver;

static inlay_result receive(void *user, const inl_kernel_result *r)
{
    const kernel_receiver *to = user;
    inlay_kernel_result out = {.seconds = r->seconds,
                               .deviation = r->deviation,
                               .repeats = r->repeats,
                               .flops = r->flops,
                               .bytes = r->bytes,
                               .error = r->error,
                               .correct = r->error <= INL_KERNEL_ERROR};
    snprintf(out.name, sizeof(out.name), "%s", r->name);
    snprintf(out.kernel, sizeof(out.kernel), "%s", r->kernel);
    return to->callback(to->user, &out) ? INLAY_OK : INLAY_ERROR_INTERRUPTED;
}

inlay_result inlay_device_measure_kernels(inlay_device *device, const inlay_model *model,
                                          uint32_t tokens, inlay_kernel_callback callback,
                                          void *user)
{
    INL_REQUIRE(&device->env, model && callback);
    INL_REQUIRE(&device->env, tokens >= 2 && tokens <= 1u << 20);
    kernel_receiver to = {callback, user};
    return inl_kernels_measure(&device->env, device->gpu, model->model, tokens, receive, &to);
}

// ---- peaks

_Static_assert((int)INLAY_PEAK_COUNT == (int)INL_PEAK_COUNT, "one list of peaks");

inlay_result inlay_device_measure_peak(inlay_device *device, inlay_peak_kind kind,
                                       inlay_peak_result *result)
{
    INL_REQUIRE(&device->env, result != NULL);
    INL_REQUIRE(&device->env, (unsigned)kind < INLAY_PEAK_COUNT);
    inl_peak p;
    *result = (inlay_peak_result){0};
    snprintf(result->name, sizeof(result->name), "%s", inl_peak_name((inl_peak_kind)kind));
    INL_TRY(inl_peak_measure(&device->env, device->gpu, (inl_peak_kind)kind, &p));
    result->per_second = p.rate;
    result->mean = p.mean;
    result->deviation = p.deviation;
    result->repeats = p.repeats;
    result->flops = p.flops;
    result->bytes = p.bytes;
    result->seconds = p.seconds;
    result->largest_error = p.error;
    return INLAY_OK;
}

// ---- tiles

static bool tell(void *user, const inl_tune_candidate *c)
{
    const inlay_tune_params *params = user;
    inlay_tune_candidate told = {
        .ratio = c->ratio, .largest_error = c->error, .chosen = c->chosen};
    snprintf(told.what, sizeof(told.what), "%s", c->what);
    snprintf(told.tiles, sizeof(told.tiles), "%s", c->tiles);
    return params->progress(params->user, &told);
}

inlay_result inlay_device_tune(inlay_device *device, const inlay_tune_params *params)
{
    inl_tune_params p = {.seconds = params ? params->seconds : 0.0};
    if (params && params->progress) {
        p.progress = tell;
        p.user = (void *)(uintptr_t)params;
    }
    INL_REQUIRE(&device->env, p.seconds >= 0.0 && p.seconds <= 86400.0);
    INL_TRY(inl_tune(&device->env, device->gpu, &p));
    return inl_tuning_save(device->gpu);
}
