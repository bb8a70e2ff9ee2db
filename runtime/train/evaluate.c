// SPDX-License-Identifier: MIT
#include "train/evaluate.h"

#include <math.h>

#define TOKENS_AT_ONCE 512 // rows are taken together up to this many tokens

struct inl_evaluator {
    inl_env env;
    inl_gpu *gpu;
    uint32_t max_length, rows;
    inl_input_buffers inputs;
    inl_lora_arena arena; // without dropout
    inl_plan *plan;
};

static inlay_result build(inl_evaluator *e, const inl_weights *weights, const inl_slots *slots,
                          const inl_lora_arena *arena)
{
    INL_TRY(inl_inputs_create(e->gpu, e->rows * e->max_length, &e->inputs));
    INL_TRY(inl_plan_create(&e->env, e->gpu, &e->plan));
    if (arena) {
        e->arena = *arena;
        e->arena.dropout = 0.0f;
    }
    inl_network net = {.plan = e->plan,
                       .weights = weights,
                       .slots = slots,
                       .arena = arena ? &e->arena : NULL,
                       .in = inl_inputs_bind(e->plan, &e->inputs),
                       .tokens = e->inputs.tokens_max};
    inl_network_emit(&net, &(inl_walk){.losses = inl_inputs_losses(&e->inputs)});
    return inl_plan_finish(e->plan);
}

inlay_result inl_evaluator_create(const inl_env *env, inl_gpu *gpu, const inl_weights *weights,
                                  const inl_slots *slots, const inl_lora_arena *arena,
                                  uint32_t max_length, inl_evaluator **out)
{
    *out = NULL;
    inl_evaluator *e = inl_alloc(env, 1, sizeof(*e));
    if (!e)
        return INLAY_ERROR_OUT_OF_MEMORY;
    e->env = *env;
    e->gpu = gpu;
    e->max_length = max_length;
    e->rows = INL_MAX(1, TOKENS_AT_ONCE / max_length);
    inlay_result result = build(e, weights, slots, arena);
    if (result != INLAY_OK) {
        inl_evaluator_destroy(&e);
        return result;
    }
    *out = e;
    return INLAY_OK;
}

void inl_evaluator_destroy(inl_evaluator **handle)
{
    inl_evaluator *e = *handle;
    if (!e)
        return;
    *handle = NULL;
    inl_plan_destroy(&e->plan);
    inl_inputs_destroy(&e->inputs);
    inl_env env = e->env;
    inl_free(&env, e);
}

static inlay_result run_rows(inl_evaluator *e, const inl_dataset *dataset, uint64_t first,
                             uint64_t end, double *sum, uint64_t *tokens)
{
    inl_row rows[TOKENS_AT_ONCE];
    uint32_t count = 0;
    for (; count < e->rows && first + count < end; count++)
        inl_dataset_get_row(dataset, first + count, &rows[count]);
    inl_inputs_fill(&e->inputs, rows, count, e->max_length);
    uint64_t ticket;
    INL_TRY(inl_plan_run(e->plan, &ticket));
    INL_TRY(inl_gpu_wait(e->gpu, ticket));
    *sum += inl_inputs_sum_losses(&e->inputs);
    *tokens += e->inputs.scalars->supervised;
    return INLAY_OK;
}

inlay_result inl_evaluator_run(inl_evaluator *e, const inl_dataset *dataset, inl_evaluation *out)
{
    const inl_dataset_info *info = inl_dataset_get_info(dataset);
    if (info->max_length != e->max_length)
        return inl_fail(&e->env, INLAY_ERROR_MISMATCH,
                        "the dataset has rows of %u tokens, the evaluation of %u", info->max_length,
                        e->max_length);
    double sum = 0.0;
    uint64_t tokens = 0;
    for (uint64_t row = 0; row < info->rows; row += e->rows) {
        INL_TRY(run_rows(e, dataset, row, info->rows, &sum, &tokens));
        if (row <= 2ull * e->rows)
            INL_TRY(inl_plan_adjust(e->plan));
    }
    if (tokens == 0)
        return inl_fail(&e->env, INLAY_ERROR_BAD_FILE, "the dataset has no token to score");
    *out = (inl_evaluation){.loss = sum / (double)tokens, .tokens = tokens};
    if (!isfinite(out->loss))
        return inl_fail(&e->env, INLAY_ERROR_NOT_FINITE, "the evaluation loss is NaN or infinite");
    return INLAY_OK;
}
