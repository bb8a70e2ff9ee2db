// SPDX-License-Identifier: MIT
#include "model/dora.h"
#include "op/dora.h"

uint64_t inl_dora_bytes(const inl_slots *slots)
{
    return 2 * 4 * slots->norm_floats;
}

void inl_dora_bind(const inl_slots *slots, inl_buffer *buffer, inl_lora_arena *arena)
{
    uint64_t bytes = 4 * slots->norm_floats;
    arena->norms = (inl_range){.buffer = buffer, .size = bytes};
    arena->squares = (inl_range){.buffer = buffer, .offset = bytes, .size = bytes};
}

typedef void (*emit_pair)(inl_plan *plan, const inl_inputs *in, const inl_lora_arena *arena,
                          const inl_lora_slot *slot, const inl_weight *w);

static void emit_all(inl_plan *plan, const inl_inputs *in, const inl_weights *weights,
                     const inl_slots *slots, const inl_lora_arena *arena, emit_pair emit)
{
    for (uint32_t i = 0; i < slots->module_count; i++)
        if (slots->of_module[i].dora)
            emit(plan, in, arena, &slots->of_module[i], inl_weights_of_module(weights, i));
}

void inl_dora_emit_norms(inl_plan *plan, const inl_inputs *in, const inl_weights *weights,
                         const inl_slots *slots, const inl_lora_arena *arena)
{
    emit_all(plan, in, weights, slots, arena, inl_op_dora_norms);
}

void inl_dora_emit_squares(inl_plan *plan, const inl_inputs *in, const inl_weights *weights,
                           const inl_slots *slots, const inl_lora_arena *arena)
{
    emit_all(plan, in, weights, slots, arena, inl_op_dora_squares);
}

static void copy_norms(inl_plan *plan, const inl_slots *slots, const inl_lora_arena *arena)
{
    for (uint32_t i = 0; i < slots->module_count; i++) {
        const inl_lora_slot *s = &slots->of_module[i];
        uint64_t bytes = 4ull * inl_round_up(s->out, 8);
        inl_range norm = {arena->norms.buffer, arena->norms.offset + 4 * s->norm, bytes};
        inl_range magnitude = {arena->weights.buffer, arena->weights.offset + 4 * s->magnitude,
                               bytes};
        if (s->dora)
            inl_plan_copy(plan, inl_op_external(plan, norm), inl_op_external(plan, magnitude),
                          bytes);
    }
}

static inlay_result run(const inl_env *env, inl_gpu *gpu, const inl_weights *weights,
                        const inl_slots *slots, const inl_lora_arena *arena, const inl_plan *owner,
                        bool start)
{
    inl_plan *plan;
    if (slots->norm_floats == 0)
        return INLAY_OK;
    INL_TRY(inl_plan_create(env, gpu, &plan));
    inl_plan_share(plan, owner);
    // None of the products here reads a scalar: what is bound in their place is never looked at.
    inl_inputs in = {.scalars = inl_op_external(plan, arena->norms)};
    if (start)
        inl_dora_emit_squares(plan, &in, weights, slots, arena);
    inl_dora_emit_norms(plan, &in, weights, slots, arena);
    if (start && slots->lora->magnitudes_unset)
        copy_norms(plan, slots, arena);
    return inl_plan_once(plan);
}

inlay_result inl_dora_start(const inl_env *env, inl_gpu *gpu, const inl_weights *weights,
                            const inl_slots *slots, const inl_lora_arena *arena,
                            const inl_plan *owner)
{
    return run(env, gpu, weights, slots, arena, owner, true);
}

inlay_result inl_dora_renew(const inl_env *env, inl_gpu *gpu, const inl_weights *weights,
                            const inl_slots *slots, const inl_lora_arena *arena,
                            const inl_plan *owner)
{
    return run(env, gpu, weights, slots, arena, owner, false);
}
