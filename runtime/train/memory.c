// SPDX-License-Identifier: MIT
// What a run needs, from a dry walk: the same emission as the run's, with nothing allocated.
#include "train/emit.h"

#define STAGING_BYTES (8ull << 20) // of the gpu's staging buffer

static uint32_t steps_per_epoch(const inl_dataset *dataset, const inl_train_params *p)
{
    uint64_t rows = inl_dataset_get_info(dataset)->rows;
    uint64_t per_step = (uint64_t)p->batch_size * p->accumulation;
    return (uint32_t)((rows + per_step - 1) / per_step);
}

static void count_steps(const inl_dataset *dataset, const inl_train_params *p, inl_train_plan *out)
{
    out->steps_per_epoch = steps_per_epoch(dataset, p);
    double steps = p->epochs * out->steps_per_epoch;
    out->total_steps = p->max_steps ? p->max_steps : (uint32_t)(steps + 0.999999);
}

static inlay_result measure(const inl_env *env, const inl_weights *weights, const inl_slots *slots,
                            const inl_train_params *p, uint32_t tokens, uint32_t checkpointed,
                            inl_train_plan *out)
{
    inl_lora_arena arena = {.weights = {.size = 4 * slots->floats},
                            .gradients = {.size = 4 * slots->floats},
                            .dropout = slots->lora->dropout};
    inl_input_buffers inputs;
    inl_plan *micro = NULL, *update = NULL;
    INL_TRY(inl_inputs_create(NULL, tokens, &inputs));
    inlay_result result =
        inl_emit_micro(env, NULL, weights, slots, &arena, &inputs, checkpointed, &micro);
    if (result == INLAY_OK)
        result = inl_emit_update(env, NULL, &arena, (inl_range){0}, (inl_range){0}, (inl_range){0},
                                 slots->floats, &inputs, &update);
    if (result == INLAY_OK) {
        out->checkpointed_layers = checkpointed;
        out->activations = inl_plan_memory(micro, INL_ACTIVATION);
        out->scratch = inl_plan_memory(micro, INL_SCRATCH) + inl_plan_memory(update, INL_SCRATCH) +
                       inl_plan_memory(update, INL_ACTIVATION) + inl_inputs_bytes(tokens) +
                       STAGING_BYTES;
        out->flops = inl_plan_flops(micro) * p->accumulation + inl_plan_flops(update);
        out->dispatches = inl_plan_node_count(micro);
        out->total = out->weights + out->adapter + out->optimizer + out->activations + out->scratch;
    }
    inl_plan_destroy(&micro);
    inl_plan_destroy(&update);
    return result;
}

// As few layers as fit: memory falls with each, so halve the interval.
static inlay_result choose_checkpointing(const inl_env *env, const inl_weights *weights,
                                         const inl_slots *slots, const inl_train_params *p,
                                         uint32_t tokens, uint64_t budget, inl_train_plan *out)
{
    uint32_t least = 0, most = slots->layers;
    INL_TRY(measure(env, weights, slots, p, tokens, 0, out));
    if (out->total <= budget)
        return INLAY_OK;
    while (least < most) {
        uint32_t middle = least + (most - least) / 2;
        INL_TRY(measure(env, weights, slots, p, tokens, middle, out));
        if (out->total <= budget)
            most = middle;
        else
            least = middle + 1;
    }
    return measure(env, weights, slots, p, tokens, least, out);
}

static inlay_result fill_plan(const inl_env *env, inl_gpu *gpu, const inl_weights *weights,
                              const inl_slots *slots, const inl_dataset *dataset,
                              const inl_train_params *p, inl_train_plan *out)
{
    uint32_t tokens = p->batch_size * inl_dataset_get_info(dataset)->max_length;
    count_steps(dataset, p, out);
    out->weights = weights->bytes;
    out->adapter = 2 * 4 * slots->floats; // values and gradients
    out->optimizer = 2 * 4 * slots->floats;
    for (uint32_t i = 0; i < slots->lora->pair_count; i++) {
        const inl_lora_pair *pair = &slots->lora->pairs[i];
        out->trainable += (uint64_t)pair->r * ((uint64_t)pair->in + pair->out);
    }
    uint64_t budget = gpu ? inl_gpu_budget(gpu) - INL_MIN(inl_gpu_budget(gpu), inl_gpu_used(gpu))
                          : UINT64_MAX;
    if (p->checkpointing == INL_CHECKPOINT_AUTO)
        return choose_checkpointing(env, weights, slots, p, tokens, budget, out);
    uint32_t layers = p->checkpointing == INL_CHECKPOINT_ALL
                          ? slots->layers
                          : INL_MIN((uint32_t)p->checkpointing, slots->layers);
    return measure(env, weights, slots, p, tokens, layers, out);
}

inlay_result inl_train_plan_make(const inl_env *env, inl_gpu *gpu, const inl_model *model,
                                 const inl_lora *lora, const inl_dataset *dataset,
                                 const inl_train_params *params, inl_train_plan *out)
{
    *out = (inl_train_plan){0};
    inl_weights *weights;
    inl_slots slots;
    uint64_t max_range = gpu ? inl_gpu_get_caps(gpu)->max_buffer_range_bytes : UINT32_MAX;
    INL_TRY(inl_weights_create(model, NULL, max_range, inl_dataset_get_info(dataset)->max_length,
                               &weights));
    inlay_result result = inl_slots_create(env, &model->config, lora, &slots);
    if (result == INLAY_OK) {
        result = fill_plan(env, gpu, weights, &slots, dataset, params, out);
        inl_slots_free(env, &slots);
    }
    inl_weights_destroy(&weights);
    return result;
}
