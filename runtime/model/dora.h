// SPDX-License-Identifier: MIT
// What DoRA's pairs need beside their values: the norm of every row of W + s B A on the device, up
// to date with the adapter.
#ifndef INL_MODEL_DORA_H
#define INL_MODEL_DORA_H

#include "model/slots.h"
#include "model/weights.h"

// Bytes of one arena's norms and squares, together; 0: no pair is DoRA's.
uint64_t inl_dora_bytes(const inl_slots *slots);
// Points the arena at them: `buffer` (NULL in a dry run) has inl_dora_bytes.
void inl_dora_bind(const inl_slots *slots, inl_buffer *buffer, inl_lora_arena *arena);

// Adds the norms of all pairs to a plan, or what they begin with, which is the base's alone.
void inl_dora_emit_norms(inl_plan *plan, const inl_inputs *in, const inl_weights *weights,
                         const inl_slots *slots, const inl_lora_arena *arena);
void inl_dora_emit_squares(inl_plan *plan, const inl_inputs *in, const inl_weights *weights,
                           const inl_slots *slots, const inl_lora_arena *arena);

// For an arena that has been filled: squares and norms, and, where the adapter is fresh, the
// magnitudes, which begin as the norms. Scratch memory is `owner`'s (op/plan.h) where that is not
// NULL and suffices. Nothing where no pair is DoRA's.
inlay_result inl_dora_start(const inl_env *env, inl_gpu *gpu, const inl_weights *weights,
                            const inl_slots *slots, const inl_lora_arena *arena,
                            const inl_plan *owner);
// The norms after the arena's values were replaced.
inlay_result inl_dora_renew(const inl_env *env, inl_gpu *gpu, const inl_weights *weights,
                            const inl_slots *slots, const inl_lora_arena *arena,
                            const inl_plan *owner);

#endif
