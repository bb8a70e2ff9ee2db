// SPDX-License-Identifier: MIT
#include "train/emit.h"
#include "model/dora.h"

inlay_result inl_emit_micro(inl_plan *plan, const inl_weights *weights, const inl_slots *slots,
                            const inl_lora_arena *arena, const inl_input_buffers *inputs,
                            uint32_t checkpointed, uint32_t segment)
{
    inl_network net = {.plan = plan,
                       .weights = weights,
                       .slots = slots,
                       .arena = arena,
                       .in = inl_inputs_bind(plan, inputs),
                       .tokens = inputs->tokens_max};
    inl_network_emit(&net, &(inl_walk){.backward = true,
                                       .checkpointed_layers = checkpointed,
                                       .segment = segment,
                                       .losses = inl_inputs_losses(inputs)});
    return inl_plan_finish(plan);
}

inlay_result inl_emit_update(inl_plan *plan, const inl_adamw_args *args,
                             const inl_lora_arena *arena, const inl_weights *weights,
                             const inl_slots *slots, const inl_input_buffers *inputs)
{
    inl_inputs in = inl_inputs_bind(plan, inputs);
    inl_op_grad_norm(plan, args->gradients, args->floats, args->norm);
    inl_op_adamw(plan, &in, args);
    inl_dora_emit_norms(plan, &in, weights, slots, arena);
    return inl_plan_finish(plan);
}
