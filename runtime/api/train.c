// SPDX-License-Identifier: MIT
#include "api/handles.h"

#include <math.h>

static inlay_result resolve(const inl_env *env, const inlay_train_params *params,
                            inl_train_params *out)
{
    static const inlay_train_params none;
    const inlay_train_params *p = params ? params : &none;
    INL_REQUIRE(env, p->learning_rate >= 0.0f && isfinite(p->learning_rate));
    INL_REQUIRE(env, p->loraplus_lr_ratio >= 0.0f && isfinite(p->loraplus_lr_ratio));
    INL_REQUIRE(env, (unsigned)p->lr_scheduler <= INLAY_SCHEDULE_CONSTANT_WITH_WARMUP);
    INL_REQUIRE(env, p->warmup_ratio >= 0.0 && p->warmup_ratio <= 1.0);
    INL_REQUIRE(env, p->weight_decay >= 0.0f && p->max_grad_norm >= 0.0f);
    INL_REQUIRE(env, p->adam_beta1 >= 0.0f && p->adam_beta1 < 1.0f);
    INL_REQUIRE(env, p->adam_beta2 >= 0.0f && p->adam_beta2 < 1.0f);
    INL_REQUIRE(env, p->adam_epsilon >= 0.0f && p->num_train_epochs >= 0.0);
    INL_REQUIRE(env, p->num_train_epochs < 1e6 && p->gradient_accumulation_steps <= 1u << 20);
    INL_REQUIRE(env, p->gradient_checkpointing >= INLAY_CHECKPOINT_AUTO);
    *out = (inl_train_params){
        .batch_size = p->batch_size ? p->batch_size : 1,
        .accumulation = p->gradient_accumulation_steps ? p->gradient_accumulation_steps : 1,
        .max_steps = p->max_steps,
        .epochs = p->num_train_epochs > 0.0 ? p->num_train_epochs : 1.0,
        .learning_rate = p->learning_rate > 0.0f ? p->learning_rate : 2e-4f,
        .loraplus_lr_ratio = p->loraplus_lr_ratio == 1.0f ? 0.0f : p->loraplus_lr_ratio,
        .schedule = (inl_schedule_kind)p->lr_scheduler,
        .warmup_steps = p->warmup_steps,
        .warmup_ratio = p->warmup_ratio,
        .weight_decay = p->weight_decay,
        .max_grad_norm = p->max_grad_norm,
        .beta1 = p->adam_beta1 > 0.0f ? p->adam_beta1 : 0.9f,
        .beta2 = p->adam_beta2 > 0.0f ? p->adam_beta2 : 0.999f,
        .epsilon = p->adam_epsilon > 0.0f ? p->adam_epsilon : 1e-8f,
        .checkpointing = p->gradient_checkpointing,
        .checkpoint_segment = p->checkpoint_segment,
        .shuffle = !p->no_shuffle,
        .seed = p->seed,
    };
    return INLAY_OK;
}

static void translate_plan(const inl_train_plan *plan, const inl_model *model,
                           const inl_dataset *dataset, const inl_train_params *p,
                           inlay_train_plan *out)
{
    *out = (inlay_train_plan){
        .trainable_parameters = plan->trainable,
        .total_parameters = plan->trainable + inl_model_parameters(model),
        .weights_bytes = plan->weights,
        .adapter_bytes = plan->adapter,
        .optimizer_bytes = plan->optimizer,
        .activations_bytes = plan->activations,
        .scratch_bytes = plan->scratch,
        .total_bytes = plan->total,
        .device_budget_bytes = plan->available == UINT64_MAX ? 0 : plan->available,
        .fits = plan->total <= plan->available,
        .flops_per_step = plan->flops,
        .tokens_per_step =
            p->batch_size * p->accumulation * inl_dataset_get_info(dataset)->max_length,
        .total_steps = plan->total_steps,
        .steps_per_epoch = plan->steps_per_epoch,
        .checkpointed_layers = plan->checkpointed_layers,
        .checkpoint_segment = plan->checkpoint_segment,
        .dispatches = plan->dispatches};
}

inlay_result inlay_train_plan_run(inlay_train_plan *out, const inlay_env *public_env,
                                  inlay_device *device, const inlay_model *model,
                                  const inlay_adapter *adapter, const inlay_dataset *dataset,
                                  const inlay_train_params *params)
{
    inl_env env = inl_env_resolve(public_env);
    INL_REQUIRE(&env, out && model && adapter && dataset);
    INL_TRY(inl_check_adapter(&env, model, adapter));
    inl_train_params p;
    INL_TRY(resolve(&env, params, &p));
    inl_gpu *gpu = device ? device->gpu : NULL;
    inl_train_plan plan;
    INL_TRY(
        inl_train_plan_make(&env, gpu, model->model, adapter->lora, dataset->dataset, &p, &plan));
    translate_plan(&plan, model->model, dataset->dataset, &p, out);
    return INLAY_OK;
}

inlay_result inlay_trainer_create(inlay_trainer **out, const inlay_env *public_env,
                                  inlay_device *device, const inlay_model *model,
                                  inlay_adapter *adapter, const inlay_dataset *dataset,
                                  const inlay_train_params *params)
{
    inl_env env = inl_env_resolve(public_env);
    INL_REQUIRE(&env, out != NULL);
    *out = NULL;
    INL_REQUIRE(&env, device && model && adapter && dataset);
    INL_TRY(inl_check_adapter(&env, model, adapter));
    inl_train_params p;
    INL_TRY(resolve(&env, params, &p));
    inlay_trainer *handle = inl_alloc(&env, 1, sizeof(*handle));
    if (!handle)
        return INLAY_ERROR_OUT_OF_MEMORY;
    *handle = (inlay_trainer){.env = env, .device = device};
    inlay_result result = inl_trainer_create(&env, device->gpu, model->model, adapter->lora,
                                             dataset->dataset, &p, &handle->trainer);
    if (result != INLAY_OK) {
        inl_free(&env, handle);
        return result;
    }
    *out = handle;
    return INLAY_OK;
}

void inlay_trainer_destroy(inlay_trainer **handle)
{
    inlay_trainer *trainer = handle ? *handle : NULL;
    if (!trainer)
        return;
    *handle = NULL;
    inl_trainer_destroy(&trainer->trainer);
    inl_env env = trainer->env;
    inl_free(&env, trainer);
}

void inlay_trainer_get_plan(const inlay_trainer *trainer, inlay_train_plan *plan)
{
    const inl_trainer *t = trainer->trainer;
    translate_plan(&t->plan_info, t->model, t->dataset, &t->params, plan);
}

uint32_t inlay_trainer_get_step(const inlay_trainer *trainer)
{
    return trainer->trainer->step;
}

static inlay_step_stats translate_stats(const inl_step_stats *s)
{
    return (inlay_step_stats){.step = s->step,
                              .epoch = s->epoch,
                              .loss = s->loss,
                              .grad_norm = s->grad_norm,
                              .learning_rate = s->learning_rate,
                              .tokens = s->tokens,
                              .supervised_tokens = s->supervised,
                              .seconds = s->seconds,
                              .host_seconds = s->host_seconds};
}

inlay_result inlay_trainer_step(inlay_trainer *trainer, inlay_step_stats *stats)
{
    INL_REQUIRE(&trainer->env, stats != NULL);
    inl_step_stats s;
    INL_TRY(inl_trainer_step(trainer->trainer, &s));
    *stats = translate_stats(&s);
    stats->peak_device_bytes = inl_gpu_peak(trainer->device->gpu);
    return INLAY_OK;
}

uint32_t inlay_trainer_get_history(const inlay_trainer *trainer, inlay_step_stats *stats,
                                   uint32_t room)
{
    const inl_history *history = &trainer->trainer->history;
    uint32_t kept = inl_history_count(history), count = INL_MIN(kept, room);
    for (uint32_t i = 0; i < count; i++)
        stats[i] = translate_stats(inl_history_at(history, kept - count + i));
    return count;
}

void inlay_trainer_watch_evaluation(inlay_trainer *trainer, inlay_eval_callback callback,
                                    void *user)
{
    trainer->trainer->watch = (inl_eval_watch){callback, user};
}

inlay_result inlay_trainer_sync(inlay_trainer *trainer)
{
    return inl_trainer_sync(trainer->trainer);
}

inlay_result inlay_trainer_save_checkpoint(inlay_trainer *trainer, const char *folder)
{
    INL_REQUIRE(&trainer->env, folder != NULL);
    return inl_trainer_save(trainer->trainer, folder);
}

inlay_result inlay_trainer_resume(inlay_trainer *trainer, const char *folder)
{
    INL_REQUIRE(&trainer->env, folder != NULL);
    return inl_trainer_resume(trainer->trainer, folder);
}

static void translate_evaluation(const inl_evaluation *e, inlay_eval_result *out)
{
    *out = (inlay_eval_result){.loss = e->loss, .perplexity = exp(e->loss), .tokens = e->tokens};
}

inlay_result inlay_trainer_evaluate(inlay_trainer *trainer, const inlay_dataset *dataset,
                                    inlay_eval_result *result)
{
    INL_REQUIRE(&trainer->env, dataset && result);
    inl_evaluation e;
    INL_TRY(inl_trainer_evaluate(trainer->trainer, dataset->dataset, &e));
    translate_evaluation(&e, result);
    return INLAY_OK;
}

inlay_result inlay_evaluate(const inlay_env *public_env, inlay_device *device,
                            const inlay_model *model, const inlay_adapter *adapter,
                            const inlay_dataset *dataset, inlay_eval_result *out)
{
    inl_env env = inl_env_resolve(public_env);
    INL_REQUIRE(&env, device && model && dataset && out);
    INL_TRY(inl_check_adapter(&env, model, adapter));
    uint32_t length = inl_dataset_get_info(dataset->dataset)->max_length;
    inl_weights *weights = NULL;
    inl_evaluator *evaluator = NULL;
    inl_resident_adapter resident;
    INL_TRY(inl_resident_create(&env, device->gpu, model->model, adapter, &resident));
    inlay_result result =
        inl_weights_create(model->model, device->gpu, 0, length, length, &weights);
    if (result == INLAY_OK)
        result = inl_resident_start(&env, weights, &resident);
    if (result == INLAY_OK)
        result = inl_evaluator_create(&env, device->gpu, weights, &resident.slots,
                                      adapter ? &resident.arena : NULL, length, NULL, &evaluator);
    inl_evaluation e;
    if (result == INLAY_OK)
        result = inl_evaluator_run(evaluator, dataset->dataset, NULL, &e);
    if (result == INLAY_OK)
        translate_evaluation(&e, out);
    inl_evaluator_destroy(&evaluator);
    inl_weights_destroy(&weights);
    inl_resident_destroy(&env, &resident);
    return result;
}
