// SPDX-License-Identifier: MIT
#include "train/evaluate.h"

#include <math.h>

#define TOKENS_AT_ONCE 512 // in whole rows, where there is no host

struct inl_evaluator {
    inl_env env;
    inl_gpu *gpu;
    uint32_t max_length;
    inl_input_buffers own, *inputs; // the host's or `own`
    inl_lora_arena arena; // without dropout
    inl_plan *plan;
};

static inlay_result build(inl_evaluator *e, const inl_weights *weights, const inl_slots *slots,
                          const inl_lora_arena *arena, const inl_evaluation_host *host)
{
    uint32_t tokens = INL_MAX(1, TOKENS_AT_ONCE / e->max_length) * e->max_length;
    if (!host)
        INL_TRY(inl_inputs_create(e->gpu, tokens, &e->own));
    e->inputs = host ? host->inputs : &e->own;
    INL_TRY(inl_plan_create(&e->env, e->gpu, &e->plan));
    inl_plan_share(e->plan, host ? host->plan : NULL);
    if (arena) {
        e->arena = *arena;
        e->arena.dropout = 0.0f;
    }
    inl_network net = {.plan = e->plan,
                       .weights = weights,
                       .slots = slots,
                       .arena = arena ? &e->arena : NULL,
                       .in = inl_inputs_bind(e->plan, e->inputs),
                       .tokens = e->inputs->tokens_max};
    inl_network_emit(&net, &(inl_walk){.losses = inl_inputs_losses(e->inputs)});
    return inl_plan_finish(e->plan);
}

inlay_result inl_evaluator_create(const inl_env *env, inl_gpu *gpu, const inl_weights *weights,
                                  const inl_slots *slots, const inl_lora_arena *arena,
                                  uint32_t max_length, const inl_evaluation_host *host,
                                  inl_evaluator **out)
{
    *out = NULL;
    inl_evaluator *e = inl_alloc(env, 1, sizeof(*e));
    if (!e)
        return INLAY_ERROR_OUT_OF_MEMORY;
    e->env = *env;
    e->gpu = gpu;
    e->max_length = max_length;
    inlay_result result = build(e, weights, slots, arena, host);
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
    inl_inputs_destroy(&e->own);
    inl_env env = e->env;
    inl_free(&env, e);
}

typedef struct sums {
    double loss;
    uint64_t tokens;
} sums;

static inlay_result run_rows(inl_evaluator *e, const inl_row *rows, uint32_t count,
                             uint32_t max_length, sums *s)
{
    inl_inputs_fill(e->inputs, rows, count, max_length);
    uint64_t ticket;
    INL_TRY(inl_plan_run(e->plan, &ticket));
    INL_TRY(inl_gpu_wait(e->gpu, ticket));
    s->loss += inl_inputs_sum_losses(e->inputs);
    s->tokens += e->inputs->scalars->supervised;
    return INLAY_OK;
}

static inlay_result run_all(inl_evaluator *e, const inl_dataset *dataset, inl_row *rows,
                            uint32_t room, const inl_eval_watch *watch, sums *s)
{
    const inl_dataset_info *info = inl_dataset_get_info(dataset);
    for (uint64_t first = 0; first < info->rows; first += room) {
        uint32_t count = (uint32_t)INL_MIN(room, info->rows - first);
        for (uint32_t i = 0; i < count; i++)
            inl_dataset_get_row(dataset, first + i, &rows[i]);
        INL_TRY(run_rows(e, rows, count, info->max_length, s));
        if (first <= 2ull * room)
            INL_TRY(inl_plan_adjust(e->plan));
        if (watch && watch->ask)
            INL_TRY(watch->ask(watch->user, first + count, info->rows));
    }
    return INLAY_OK;
}

inlay_result inl_evaluator_run(inl_evaluator *e, const inl_dataset *dataset,
                               const inl_eval_watch *watch, inl_evaluation *out)
{
    const inl_dataset_info *info = inl_dataset_get_info(dataset);
    if (info->max_length > e->max_length)
        return inl_fail(&e->env, INLAY_ERROR_MISMATCH,
                        "the dataset has rows of %u tokens, the evaluation of at most %u",
                        info->max_length, e->max_length);
    uint32_t room = e->inputs->tokens_max / info->max_length;
    inl_row *rows = inl_alloc(&e->env, room, sizeof(*rows));
    if (!rows)
        return INLAY_ERROR_OUT_OF_MEMORY;
    sums s = {0};
    inlay_result result = run_all(e, dataset, rows, room, watch, &s);
    inl_free(&e->env, rows);
    if (result != INLAY_OK)
        return result;
    *out = (inl_evaluation){.loss = s.loss / (double)INL_MAX(1, s.tokens), .tokens = s.tokens};
    if (s.tokens == 0)
        return inl_fail(&e->env, INLAY_ERROR_BAD_FILE, "the dataset has no token to score");
    if (!isfinite(out->loss))
        return inl_fail(&e->env, INLAY_ERROR_NOT_FINITE, "the evaluation loss is NaN or infinite");
    return INLAY_OK;
}
