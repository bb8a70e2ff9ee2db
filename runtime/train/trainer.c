// SPDX-License-Identifier: MIT
#define _POSIX_C_SOURCE 199309L
#include "train/trainer.h"
#include "base/rng.h"
#include "model/dora.h"
#include "model/principal.h"
#include "train/emit.h"

#include <math.h>
#include <time.h>

#define ADJUSTMENTS 3 // steps after which submits are cut by measured time: the first ones compile

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

// ---- creation

static inl_range arena_range(const inl_trainer *t, uint32_t index)
{
    return (inl_range){.buffer = t->arenas[index], .size = 4 * t->slots.floats};
}

static inlay_result upload_adapter(inl_trainer *t)
{
    float *image = inl_alloc(&t->env, t->slots.floats, sizeof(float));
    if (!image)
        return INLAY_ERROR_OUT_OF_MEMORY;
    inl_slots_pack(&t->slots, image);
    inlay_result result = inl_gpu_upload(t->gpu, t->arenas[0], 0, image, 4 * t->slots.floats);
    inl_free(&t->env, image);
    return result;
}

// Where all parts of the adapter learn at one rate there is no table of factors.
static uint64_t rates_bytes(const inl_trainer *t)
{
    return inl_rates_bytes(&t->params, &t->slots);
}

static inlay_result create_rates(inl_trainer *t)
{
    uint64_t bytes = rates_bytes(t);
    if (bytes == 0)
        return INLAY_OK;
    float *rates = inl_alloc(&t->env, bytes, 1);
    if (!rates)
        return INLAY_ERROR_OUT_OF_MEMORY;
    float ratio = t->params.loraplus_lr_ratio;
    inl_slots_rates(&t->slots, ratio > 0.0f ? ratio : 1.0f, rates);
    inlay_result result =
        inl_buffer_create(t->gpu, "the learning rates", bytes, INL_MEMORY_DEVICE, &t->rates);
    if (result == INLAY_OK)
        result = inl_gpu_upload(t->gpu, t->rates, 0, rates, bytes);
    inl_free(&t->env, rates);
    return result;
}

static inlay_result create_arenas(inl_trainer *t)
{
    INL_TRY(inl_slots_create(&t->env, &t->model->config, t->lora, &t->slots));
    for (uint32_t i = 0; i < 4; i++) {
        INL_TRY(inl_buffer_create(t->gpu, "the adapter", 4 * t->slots.floats, INL_MEMORY_DEVICE,
                                  &t->arenas[i]));
        INL_TRY(inl_gpu_zero(t->gpu, t->arenas[i], 0, inl_buffer_size(t->arenas[i])));
    }
    INL_TRY(inl_buffer_create(t->gpu, "the gradient's norm", INL_NORM_BYTES, INL_MEMORY_HOST,
                              &t->norm));
    t->arena = (inl_lora_arena){.weights = arena_range(t, 0),
                                .gradients = arena_range(t, 1),
                                .dropout = t->lora->dropout};
    uint64_t norms = inl_dora_bytes(&t->slots);
    if (norms > 0)
        INL_TRY(inl_buffer_create(t->gpu, "the norms", norms, INL_MEMORY_DEVICE, &t->norms));
    inl_dora_bind(&t->slots, t->norms, &t->arena);
    INL_TRY(create_rates(t));
    return upload_adapter(t);
}

static inlay_result emit(inl_trainer *t)
{
    INL_TRY(inl_plan_create(&t->env, t->gpu, &t->micro));
    INL_TRY(inl_emit_micro(t->micro, t->weights, &t->slots, &t->arena, &t->inputs,
                           t->plan_info.checkpointed_layers,
                           t->plan_info.checkpoint_segment));
    INL_TRY(inl_plan_create(&t->env, t->gpu, &t->update));
    return inl_emit_update(t->update,
                           &(inl_adamw_args){.weights = t->arena.weights,
                                             .gradients = t->arena.gradients,
                                             .m = arena_range(t, 2),
                                             .v = arena_range(t, 3),
                                             .norm = {.buffer = t->norm, .size = INL_NORM_BYTES},
                                             .rates = {.buffer = t->rates,
                                                       .size = rates_bytes(t)},
                                             .floats = t->slots.floats},
                           &t->arena, t->weights, &t->slots, &t->inputs);
}

// What a fresh adapter takes from the weights on the device: values, and DoRA's magnitudes, which
// are norms.
static inlay_result start_adapter(inl_trainer *t)
{
    if (t->lora->init != INL_INIT_UNIFORM) {
        INL_TRY(inl_principal_init(&t->env, t->gpu, t->weights, t->lora));
        t->lora->init = INL_INIT_UNIFORM;
        INL_TRY(upload_adapter(t));
    }
    INL_TRY(inl_dora_start(&t->env, t->gpu, t->weights, &t->slots, &t->arena, t->micro));
    return t->lora->magnitudes_unset ? inl_trainer_sync(t) : INLAY_OK;
}

static inlay_result build(inl_trainer *t)
{
    INL_TRY(inl_train_plan_make(&t->env, t->gpu, t->model, t->lora, t->dataset, &t->params,
                                &t->plan_info));
    INL_TRY(inl_train_plan_check(&t->env, t->gpu, t->model, t->lora, t->dataset, &t->params,
                                 &t->plan_info));
    const inl_dataset_info *data = inl_dataset_get_info(t->dataset);
    t->order = inl_alloc(&t->env, data->rows, sizeof(*t->order));
    t->rows = inl_alloc(&t->env, t->params.batch_size, sizeof(*t->rows));
    if (!t->order || !t->rows)
        return INLAY_ERROR_OUT_OF_MEMORY;
    t->order_epoch = UINT32_MAX;
    INL_TRY(create_arenas(t));
    INL_TRY(inl_weights_create(t->model, t->gpu, 0, data->max_length, data->max_length,
                               &t->weights));
    INL_TRY(inl_inputs_create(t->gpu, t->params.batch_size * data->max_length, &t->inputs));
    t->inputs.longest = data->max_length;
    INL_TRY(emit(t));
    return start_adapter(t);
}

inlay_result inl_trainer_create(const inl_env *env, inl_gpu *gpu, const inl_model *model,
                                inl_lora *lora, const inl_dataset *dataset,
                                const inl_train_params *params, inl_trainer **out)
{
    *out = NULL;
    inl_trainer *t = inl_alloc(env, 1, sizeof(*t));
    if (!t)
        return INLAY_ERROR_OUT_OF_MEMORY;
    *t = (inl_trainer){.env = *env,
                       .gpu = gpu,
                       .model = model,
                       .lora = lora,
                       .dataset = dataset,
                       .params = *params};
    inlay_result result = build(t);
    if (result != INLAY_OK) {
        inl_trainer_destroy(&t);
        return result;
    }
    *out = t;
    return INLAY_OK;
}

void inl_trainer_destroy(inl_trainer **handle)
{
    inl_trainer *t = *handle;
    if (!t)
        return;
    *handle = NULL;
    inl_evaluator_destroy(&t->evaluator);
    inl_plan_destroy(&t->micro);
    inl_plan_destroy(&t->update);
    inl_inputs_destroy(&t->inputs);
    inl_weights_destroy(&t->weights);
    for (uint32_t i = 0; i < 4; i++)
        inl_buffer_destroy(t->gpu, &t->arenas[i]);
    inl_buffer_destroy(t->gpu, &t->norm);
    inl_buffer_destroy(t->gpu, &t->rates);
    inl_buffer_destroy(t->gpu, &t->norms);
    inl_slots_free(&t->env, &t->slots);
    inl_free(&t->env, t->order);
    inl_free(&t->env, t->rows);
    inl_env env = t->env;
    inl_free(&env, t);
}

// ---- a step

// The rows of the step to come: fewer in the last one of an epoch.
static const uint32_t *rows_of_step(inl_trainer *t, uint32_t *count)
{
    uint32_t rows = (uint32_t)inl_dataset_get_info(t->dataset)->rows;
    uint32_t epoch = t->step / t->plan_info.steps_per_epoch;
    if (epoch != t->order_epoch)
        inl_epoch_order(t->params.seed, epoch, t->params.shuffle, rows, t->order);
    t->order_epoch = epoch;
    uint64_t per_step = (uint64_t)t->params.batch_size * t->params.accumulation;
    uint64_t first = t->step % t->plan_info.steps_per_epoch * per_step;
    *count = (uint32_t)INL_MIN(per_step, rows - first);
    return t->order + first;
}

static uint64_t supervised_in_step(inl_trainer *t)
{
    uint64_t sum = 0;
    uint32_t count;
    const uint32_t *rows = rows_of_step(t, &count);
    for (uint32_t i = 0; i < count; i++) {
        inl_row row;
        inl_dataset_get_row(t->dataset, rows[i], &row);
        sum += row.supervised;
    }
    return sum;
}

uint32_t inl_trainer_warmup(const inl_trainer *t)
{
    const inl_train_params *p = &t->params;
    return p->warmup_steps ? p->warmup_steps
                           : (uint32_t)ceil(p->warmup_ratio * t->plan_info.total_steps);
}

static double rate_of(const inl_trainer *t, uint32_t step)
{
    const inl_train_params *p = &t->params;
    uint32_t total = t->plan_info.total_steps;
    return (double)p->learning_rate *
           inl_schedule_factor(p->schedule, step, inl_trainer_warmup(t), total);
}

// Everything but the tokens; `micro` tells the random numbers of the micro-batches apart.
static void fill_scalars(inl_trainer *t, uint32_t micro, uint64_t supervised)
{
    const inl_train_params *p = &t->params;
    struct step_scalars *s = t->inputs.scalars;
    uint32_t count = t->step + 1;
    s->seed = inl_rng_u32(p->seed, 0x64726f70u, t->step * p->accumulation + micro);
    s->inv_tokens = supervised ? (float)(1.0 / (double)supervised) : 0.0f;
    s->learning_rate = (float)rate_of(t, t->step);
    s->beta1 = p->beta1;
    s->beta2 = p->beta2;
    s->epsilon = p->epsilon;
    s->weight_decay = p->weight_decay;
    s->max_grad_norm = p->max_grad_norm;
    s->correction1 = (float)(1.0 - pow((double)p->beta1, count));
    s->correction2 = (float)(1.0 - pow((double)p->beta2, count));
}

// Puts the micro-batch's rows in place; returns its tokens without padding.
static uint32_t fill_micro(inl_trainer *t, uint32_t micro)
{
    uint32_t count, batch = t->params.batch_size;
    const uint32_t *rows = rows_of_step(t, &count) + micro * batch;
    count = INL_MIN(batch, count - micro * batch);
    for (uint32_t i = 0; i < count; i++)
        inl_dataset_get_row(t->dataset, rows[i], &t->rows[i]);
    return inl_inputs_fill(&t->inputs, t->rows, count,
                           inl_dataset_get_info(t->dataset)->max_length);
}

static inlay_result name_not_finite(inl_trainer *t, double loss)
{
    float *image = inl_alloc(&t->env, t->slots.floats, sizeof(float));
    if (!image)
        return INLAY_ERROR_OUT_OF_MEMORY;
    inlay_result result = inl_gpu_download(t->gpu, t->arenas[1], 0, image, 4 * t->slots.floats);
    const char *module = NULL, *tensor = NULL;
    if (result == INLAY_OK &&
        inl_slots_find_not_finite(&t->slots, image, &module, &tensor))
        result = inl_fail(&t->env, INLAY_ERROR_NOT_FINITE,
                          "step %u: the gradient of %s, tensor %s, is NaN or infinite%s",
                          t->step + 1, module, tensor,
                          isfinite(loss) ? "" : ", and so is the loss");
    else if (result == INLAY_OK)
        result = inl_fail(&t->env, INLAY_ERROR_NOT_FINITE,
                          "step %u: the %s is NaN or infinite, while each gradient is finite",
                          t->step + 1, isfinite(loss) ? "gradient's norm" : "loss");
    inl_free(&t->env, image);
    if (result == INLAY_ERROR_NOT_FINITE)
        (void)inl_gpu_zero(t->gpu, t->arenas[1], 0, inl_buffer_size(t->arenas[1]));
    return result;
}

typedef struct step_sums {
    double loss, waited;
    uint64_t tokens;
} step_sums;

static inlay_result wait_for(inl_trainer *t, uint64_t ticket, step_sums *sums)
{
    double before = now();
    inlay_result result = inl_gpu_wait(t->gpu, ticket);
    sums->waited += now() - before;
    return result;
}

// All micro-batches; the last one's submission is followed by the update's without a wait between.
static inlay_result run_step(inl_trainer *t, uint64_t supervised, step_sums *sums)
{
    uint32_t rows;
    (void)rows_of_step(t, &rows);
    uint32_t micros = inl_div_up(rows, t->params.batch_size);
    for (uint32_t micro = 0; micro < micros; micro++) {
        sums->tokens += fill_micro(t, micro);
        fill_scalars(t, micro, supervised);
        uint64_t ticket;
        INL_TRY(inl_plan_run(t->micro, &ticket));
        if (micro + 1 == micros)
            INL_TRY(inl_plan_run(t->update, &ticket));
        INL_TRY(wait_for(t, ticket, sums));
        sums->loss += inl_inputs_sum_losses(&t->inputs);
    }
    return INLAY_OK;
}

inlay_result inl_trainer_step(inl_trainer *t, inl_step_stats *stats)
{
    double start = now();
    uint64_t supervised = supervised_in_step(t);
    step_sums sums = {0};
    INL_TRY(run_step(t, supervised, &sums));
    double loss = supervised ? sums.loss / (double)supervised : 0.0;
    float norm = *(const float *)inl_buffer_map(t->norm);
    if (!isfinite(loss) || !isfinite(norm))
        return name_not_finite(t, loss);
    *stats = (inl_step_stats){.step = t->step + 1,
                              .epoch = (double)(t->step + 1) / t->plan_info.steps_per_epoch,
                              .loss = loss,
                              .grad_norm = (double)norm,
                              .learning_rate = rate_of(t, t->step),
                              .seconds = now() - start,
                              .tokens = sums.tokens,
                              .supervised = supervised};
    stats->host_seconds = stats->seconds - sums.waited;
    inl_history_add(&t->history, stats);
    t->step++;
    if (t->adjusted < ADJUSTMENTS) {
        t->adjusted++;
        INL_TRY(inl_plan_adjust(t->micro));
        return inl_plan_adjust(t->update);
    }
    return INLAY_OK;
}

inlay_result inl_trainer_gradients(inl_trainer *t, float *arena)
{
    fill_micro(t, 0);
    fill_scalars(t, 0, t->inputs.scalars->supervised);
    uint64_t ticket;
    INL_TRY(inl_plan_run(t->micro, &ticket));
    INL_TRY(inl_gpu_wait(t->gpu, ticket));
    INL_TRY(inl_gpu_download(t->gpu, t->arenas[1], 0, arena, 4 * t->slots.floats));
    return inl_gpu_zero(t->gpu, t->arenas[1], 0, inl_buffer_size(t->arenas[1]));
}

inlay_result inl_trainer_sync(inl_trainer *t)
{
    float *image = inl_alloc(&t->env, t->slots.floats, sizeof(float));
    if (!image)
        return INLAY_ERROR_OUT_OF_MEMORY;
    inlay_result result = inl_gpu_download(t->gpu, t->arenas[0], 0, image, 4 * t->slots.floats);
    const char *module = NULL, *tensor = NULL;
    if (result == INLAY_OK && inl_slots_find_not_finite(&t->slots, image, &module, &tensor))
        result = inl_fail(&t->env, INLAY_ERROR_NOT_FINITE,
                          "after step %u the adapter's %s, tensor %s, is NaN or infinite",
                          t->step, module, tensor);
    if (result == INLAY_OK)
        inl_slots_unpack(&t->slots, image, t->lora);
    t->lora->magnitudes_unset &= result != INLAY_OK;
    inl_free(&t->env, image);
    return result;
}

inlay_result inl_trainer_evaluate(inl_trainer *t, const inl_dataset *dataset, inl_evaluation *out)
{
    inl_evaluation_host host = {.plan = t->micro, .inputs = &t->inputs};
    if (!t->evaluator)
        INL_TRY(inl_evaluator_create(&t->env, t->gpu, t->weights, &t->slots, &t->arena,
                                     inl_dataset_get_info(t->dataset)->max_length, &host,
                                     &t->evaluator));
    return inl_evaluator_run(t->evaluator, dataset, &t->watch, out);
}
