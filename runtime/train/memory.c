// SPDX-License-Identifier: MIT
// What a run needs, and what would fit in its place, from dry walks: the same emission as the
// run's, with nothing allocated. Memory depends on the rows and their length through their product
// alone.
#include "model/dora.h"
#include "model/principal.h"
#include "train/emit.h"

#include <math.h>
#include <stdio.h>

#define MIB (1.0 / (1 << 20))
#define MAX_MICRO_TOKENS (1u << 24)
#define SHORTEST_ADVICE 16 // tokens; shorter rows are not suggested

// What a walk needs beside the number of tokens.
typedef struct walker {
    inl_env env;
    const inl_gpu *gpu;   // or NULL
    inl_weights *weights; // sizes alone
    inl_slots slots;
    const inl_train_params *params;
} walker;

static uint32_t layer_count(const walker *w)
{
    return w->weights->model->config.layers;
}

// ---- steps

static inlay_result check_params(const inl_env *env, const inl_train_params *p,
                                 const inl_dataset_info *data)
{
    if (data->rows == 0 || data->rows > UINT32_MAX)
        return inl_fail(env, INLAY_ERROR_BAD_FILE, "the dataset has %llu rows to train on",
                        (unsigned long long)data->rows);
    uint64_t tokens = (uint64_t)p->batch_size * data->max_length;
    if (p->batch_size == 0 || p->batch_size > INL_MAX_BATCH || tokens > MAX_MICRO_TOKENS)
        return inl_fail(env, INLAY_ERROR_INVALID_ARGUMENT,
                        "a batch of %u rows of %u tokens is out of range", p->batch_size,
                        data->max_length);
    if (tokens * p->accumulation > UINT32_MAX)
        return inl_fail(env, INLAY_ERROR_INVALID_ARGUMENT,
                        "a step of %u times %llu tokens is out of range", p->accumulation,
                        (unsigned long long)tokens);
    return INLAY_OK;
}

static inlay_result count_steps(const inl_env *env, const inl_dataset_info *data,
                                const inl_train_params *p, inl_train_plan *out)
{
    uint64_t per_step = (uint64_t)p->batch_size * p->accumulation;
    out->steps_per_epoch = (uint32_t)((data->rows + per_step - 1) / per_step);
    double steps = p->max_steps ? p->max_steps : ceil(p->epochs * out->steps_per_epoch);
    if (!(steps <= INT32_MAX))
        return inl_fail(env, INLAY_ERROR_INVALID_ARGUMENT, "a run of %.0f steps is out of range",
                        steps);
    out->total_steps = (uint32_t)steps;
    return INLAY_OK;
}

// ---- memory

uint64_t inl_rates_bytes(const inl_train_params *params, const inl_slots *slots)
{
    bool frozen = false; // what is frozen has no gradient, but would decay
    for (uint32_t i = 0; i < slots->lora->pair_count; i++)
        frozen |= slots->lora->pairs[i].frozen > 0;
    bool decays = frozen && params->weight_decay > 0.0f;
    return params->loraplus_lr_ratio > 0.0f || decays ? slots->floats : 0;
}

// Which layers are computed again, and every how many of them keep their input.
typedef struct checkpointing {
    uint32_t layers, segment;
} checkpointing;

static inlay_result emit_dry(const walker *w, uint32_t tokens, checkpointing c, inl_plan *micro,
                             inl_plan *update)
{
    uint64_t floats = w->slots.floats;
    inl_range none = {.size = 4 * floats};
    inl_lora_arena arena = {.weights = none, .gradients = none, .dropout = w->slots.lora->dropout};
    inl_input_buffers inputs;
    INL_TRY(inl_inputs_create(NULL, tokens, &inputs));
    inl_dora_bind(&w->slots, NULL, &arena);
    INL_TRY(inl_emit_micro(micro, w->weights, &w->slots, &arena, &inputs, c.layers,
                           c.segment));
    return inl_emit_update(update,
                           &(inl_adamw_args){.weights = none,
                                             .gradients = none,
                                             .m = none,
                                             .v = none,
                                             .norm = {.size = INL_NORM_BYTES},
                                             .rates = {.size = inl_rates_bytes(w->params,
                                                                               &w->slots)},
                                             .floats = floats},
                           &arena, w->weights, &w->slots, &inputs);
}

// Before the first step first values may be made, in memory of their own, and DoRA's norms are
// found, in the step's scratch memory or, where that does not suffice, in memory of their own.
static inlay_result add_start(const walker *w, uint64_t step_bytes, inl_train_plan *out)
{
    inl_plan *plan;
    inl_lora_arena arena = {.weights = {.size = 4 * w->slots.floats}};
    uint64_t bytes;
    const inl_gpu_caps *caps = w->gpu ? inl_gpu_get_caps(w->gpu) : NULL;
    INL_TRY(inl_principal_bytes(&w->env, caps, w->weights, w->slots.lora, &bytes));
    out->scratch += bytes;
    if (w->slots.norm_floats == 0)
        return INLAY_OK;
    inl_dora_bind(&w->slots, NULL, &arena);
    INL_TRY(inl_plan_create_dry(&w->env, caps, &plan));
    inl_inputs in = {.scalars = inl_op_external(plan, arena.norms)};
    inl_dora_emit_squares(plan, &in, w->weights, &w->slots, &arena);
    inl_dora_emit_norms(plan, &in, w->weights, &w->slots, &arena);
    inlay_result result = inl_plan_finish(plan);
    bytes = inl_plan_memory(plan, INL_ACTIVATION) + inl_plan_memory(plan, INL_SCRATCH);
    if (bytes > step_bytes)
        out->scratch += bytes;
    inl_plan_destroy(&plan);
    return result;
}

// Weights that are encoded at load need memory for that, which is given back when there is nothing
// beside them but the adapter's arenas.
static void add_encoding(const walker *w, inl_train_plan *out)
{
    uint64_t staging = w->gpu ? inl_gpu_staging_bytes(w->gpu) : 0;
    uint64_t loading = out->weights + w->weights->encode_bytes + out->adapter + out->optimizer +
                       INL_NORM_BYTES + staging;
    if (loading <= out->total)
        return;
    out->scratch += loading - out->total;
    out->total = loading;
}

static inlay_result sum_up(const walker *w, uint32_t tokens, checkpointing c,
                           const inl_plan *micro, const inl_plan *update, inl_train_plan *out)
{
    out->checkpointed_layers = c.layers;
    out->checkpoint_segment = c.segment;
    out->activations = inl_plan_memory(micro, INL_ACTIVATION);
    out->scratch = inl_plan_memory(micro, INL_SCRATCH) + inl_plan_memory(update, INL_SCRATCH) +
                   inl_plan_memory(update, INL_ACTIVATION) + inl_inputs_bytes(tokens) +
                   INL_NORM_BYTES + (w->gpu ? inl_gpu_staging_bytes(w->gpu) : 0);
    INL_TRY(add_start(w, inl_plan_memory(micro, INL_ACTIVATION) +
                             inl_plan_memory(micro, INL_SCRATCH), out));
    out->flops = inl_plan_flops(micro) * w->params->accumulation + inl_plan_flops(update);
    out->dispatches = inl_plan_node_count(micro);
    out->total = out->weights + out->adapter + out->optimizer + out->activations + out->scratch;
    add_encoding(w, out);
    return INLAY_OK;
}

static inlay_result measure(const walker *w, uint32_t tokens, checkpointing c,
                            inl_train_plan *out)
{
    const inl_gpu_caps *caps = w->gpu ? inl_gpu_get_caps(w->gpu) : NULL;
    inl_plan *micro = NULL, *update = NULL;
    inlay_result result = inl_plan_create_dry(&w->env, caps, &micro);
    if (result == INLAY_OK)
        result = inl_plan_create_dry(&w->env, caps, &update);
    if (result == INLAY_OK)
        result = emit_dry(w, tokens, c, micro, update);
    if (result == INLAY_OK)
        result = sum_up(w, tokens, c, micro, update, out);
    inl_plan_destroy(&micro);
    inl_plan_destroy(&update);
    return result;
}

// All layers, and the shortest segments that fit; where none does, those that need least.
static inlay_result checkpoint_all(const walker *w, uint32_t tokens, inl_train_plan *out)
{
    static const uint32_t segments[] = {1, 2, 3, 4, 6, 8, 12};
    bool choose = w->params->checkpointing == INL_CHECKPOINT_AUTO &&
                  w->params->checkpoint_segment == 0;
    checkpointing c = {layer_count(w), INL_MAX(w->params->checkpoint_segment, 1)};
    INL_TRY(measure(w, tokens, c, out));
    for (size_t i = 1; i < INL_COUNT(segments) && choose && out->total > out->available; i++) {
        inl_train_plan trial = *out;
        c.segment = segments[i];
        if (c.segment > c.layers)
            break;
        INL_TRY(measure(w, tokens, c, &trial));
        if (trial.total < out->total)
            *out = trial;
    }
    return INLAY_OK;
}

// As few layers as fit: memory falls with each, so halve the interval.
static inlay_result choose_checkpointing(const walker *w, uint32_t tokens, inl_train_plan *out)
{
    checkpointing c = {0, INL_MAX(w->params->checkpoint_segment, 1)};
    uint32_t least = 0, most = layer_count(w);
    INL_TRY(measure(w, tokens, c, out));
    if (out->total <= out->available)
        return INLAY_OK;
    INL_TRY(checkpoint_all(w, tokens, out));
    if (out->total > out->available || out->checkpoint_segment != c.segment)
        return INLAY_OK;
    while (least < most) {
        c.layers = least + (most - least) / 2;
        INL_TRY(measure(w, tokens, c, out));
        if (out->total <= out->available)
            most = c.layers;
        else
            least = c.layers + 1;
    }
    c.layers = least;
    return measure(w, tokens, c, out);
}

static inlay_result fill_plan(const walker *w, uint32_t tokens, inl_train_plan *out)
{
    const inl_train_params *p = w->params;
    out->weights = w->weights->bytes;
    out->adapter = 2 * 4 * w->slots.floats + inl_dora_bytes(&w->slots); // values and gradients
    out->optimizer = 2 * 4 * w->slots.floats + inl_rates_bytes(p, &w->slots);
    for (uint32_t i = 0; i < w->slots.lora->pair_count; i++) {
        const inl_lora_pair *pair = &w->slots.lora->pairs[i];
        out->trainable += inl_lora_pair_trainable(pair);
    }
    if (p->checkpointing == INL_CHECKPOINT_AUTO)
        return choose_checkpointing(w, tokens, out);
    if (p->checkpointing == INL_CHECKPOINT_ALL)
        return checkpoint_all(w, tokens, out);
    checkpointing c = {INL_MIN((uint32_t)p->checkpointing, layer_count(w)),
                       INL_MAX(p->checkpoint_segment, 1)};
    return measure(w, tokens, c, out);
}

static void close_walker(walker *w)
{
    inl_slots_free(&w->env, &w->slots);
    inl_weights_destroy(&w->weights);
}

static inlay_result open_walker(const inl_env *env, const inl_gpu *gpu, const inl_model *model,
                                const inl_lora *lora, uint32_t max_length,
                                const inl_train_params *params, walker *w)
{
    *w = (walker){.env = *env, .gpu = gpu, .params = params};
    uint64_t max_range = gpu ? inl_gpu_get_caps(gpu)->max_buffer_range_bytes : UINT32_MAX;
    INL_TRY(inl_weights_create(model, NULL, max_range, max_length, max_length, &w->weights));
    inlay_result result = inl_slots_create(env, &model->config, lora, &w->slots);
    if (result != INLAY_OK)
        close_walker(w);
    return result;
}

inlay_result inl_train_plan_make(const inl_env *env, inl_gpu *gpu, const inl_model *model,
                                 const inl_lora *lora, const inl_dataset *dataset,
                                 const inl_train_params *params, inl_train_plan *out)
{
    const inl_dataset_info *data = inl_dataset_get_info(dataset);
    *out = (inl_train_plan){.available = gpu ? inl_gpu_available(gpu) : UINT64_MAX};
    INL_TRY(check_params(env, params, data));
    INL_TRY(count_steps(env, data, params, out));
    walker w;
    INL_TRY(open_walker(env, gpu, model, lora, data->max_length, params, &w));
    inlay_result result = fill_plan(&w, params->batch_size * data->max_length, out);
    close_walker(&w);
    return result;
}

// ---- what would fit

static bool fits(const walker *w, uint32_t tokens, const inl_train_plan *plan, inl_train_plan *out)
{
    *out = *plan;
    return checkpoint_all(w, tokens, out) == INLAY_OK && out->total <= out->available;
}

// The most units of `unit` tokens, below `too_many`, that fit with every layer checkpointed; 0:
// none.
static uint32_t most_that_fit(const walker *w, uint32_t unit, uint32_t too_many,
                              const inl_train_plan *plan)
{
    uint32_t least = 0;
    inl_train_plan trial;
    while (least + 1 < too_many) {
        uint32_t middle = least + (too_many - least) / 2;
        if (fits(w, middle * unit, plan, &trial))
            least = middle;
        else
            too_many = middle;
    }
    return least;
}

// What to say after "N MiB are free".
static void advise(const walker *w, uint32_t rows, uint32_t length, const inl_train_plan *plan,
                   char *text, size_t size)
{
    const char *all = plan->checkpointed_layers < layer_count(w)
                          ? " with --gradient-checkpointing all" : "";
    inl_train_plan trial;
    if (*all && fits(w, rows * length, plan, &trial)) {
        snprintf(text, size, "--gradient-checkpointing all needs %.1f MiB",
                 (double)trial.total * MIB);
        return;
    }
    uint32_t batch = rows > 1 ? most_that_fit(w, length, rows, plan) : 0;
    if (batch > 0) {
        snprintf(text, size, "--batch-size %u fits%s", batch, all);
        return;
    }
    uint32_t shorter = most_that_fit(w, 8, (length + 7) / 8, plan) * 8;
    if (shorter >= SHORTEST_ADVICE) {
        snprintf(text, size, "--max-length %u fits%s%s", shorter,
                 rows > 1 ? " with --batch-size 1" : "", all);
        return;
    }
    uint32_t shortest = INL_MIN(length, SHORTEST_ADVICE); // one row of it does not fit either
    (void)fits(w, shortest, plan, &trial);
    snprintf(text, size, "no row length fits: even %u tokens need %.1f MiB%s", shortest,
             (double)trial.total * MIB, all);
}

inlay_result inl_train_plan_check(const inl_env *env, inl_gpu *gpu, const inl_model *model,
                                  const inl_lora *lora, const inl_dataset *dataset,
                                  const inl_train_params *params, const inl_train_plan *plan)
{
    if (plan->total <= plan->available)
        return INLAY_OK;
    walker w;
    char advice[160];
    uint32_t max_length = inl_dataset_get_info(dataset)->max_length;
    INL_TRY(open_walker(env, gpu, model, lora, max_length, params, &w));
    w.env.log = NULL; // a trial that fails is no news
    advise(&w, params->batch_size, max_length, plan, advice, sizeof(advice));
    close_walker(&w);
    bool shrinks = !model->quantize && model->layers[0].linear[0].stored->tile_bits > 4;
    return inl_fail(env, INLAY_ERROR_OUT_OF_DEVICE_MEMORY,
                    "the run needs %.1f MiB of device memory and %.1f MiB are free; %s%s",
                    (double)plan->total * MIB, (double)plan->available * MIB, advice,
                    shrinks ? "; --quantize nf4 shrinks the weights" : "");
}
