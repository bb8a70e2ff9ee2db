// SPDX-License-Identifier: MIT
// The two plans of a training step, emitted into a plan that is dry or real, and finished.
#ifndef INL_TRAIN_EMIT_H
#define INL_TRAIN_EMIT_H

#include "train/trainer.h"

// Forward, loss and backward of one micro-batch; gradients are added to the arena.
inlay_result inl_emit_micro(inl_plan *plan, const inl_weights *weights, const inl_slots *slots,
                            const inl_lora_arena *arena, const inl_input_buffers *inputs,
                            uint32_t checkpointed, uint32_t segment);
// Norm, clipping, AdamW, gradients zeroed; what DoRA derives from the new values.
inlay_result inl_emit_update(inl_plan *plan, const inl_adamw_args *args,
                             const inl_lora_arena *arena, const inl_weights *weights,
                             const inl_slots *slots, const inl_input_buffers *inputs);

#endif
