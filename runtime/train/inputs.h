// SPDX-License-Identifier: MIT
// What changes from one submission of a plan to the next: tokens, their places, labels, scalars.
// The host writes a mapped buffer, the plan's first node copies it to the device.
#ifndef INL_TRAIN_INPUTS_H
#define INL_TRAIN_INPUTS_H

#include "io/dataset.h"
#include "op/op.h"

typedef struct inl_input_buffers {
    inl_gpu *gpu;
    uint32_t tokens_max; // T
    uint32_t longest;    // most tokens of a sequence, or 0
    inl_buffer *host, *device, *losses;
    // Views of the mapped buffer, T entries each. NULL in a dry run.
    struct step_scalars *scalars;
    uint32_t *tokens, *positions, *starts, *ends, *rows, *labels;
    const float *loss_values; // [T]
} inl_input_buffers;

// `gpu` NULL: no buffers, for a dry plan. `longest` is the caller's to set.
inlay_result inl_inputs_create(inl_gpu *gpu, uint32_t tokens, inl_input_buffers *out);
void inl_inputs_destroy(inl_input_buffers *inputs);
uint64_t inl_inputs_bytes(uint32_t tokens);
// Emits the copy and gives the plan's view of the inputs.
inl_inputs inl_inputs_bind(inl_plan *plan, const inl_input_buffers *inputs);
inl_range inl_inputs_losses(const inl_input_buffers *inputs);

// Fills in `count` rows of the dataset, each of max_length tokens; what is left of T is padding
// that sees only itself. Sets scalars->supervised. Returns tokens that are not padding.
uint32_t inl_inputs_fill(inl_input_buffers *inputs, const inl_row *rows, uint32_t count,
                         uint32_t max_length);
// Sum of the losses of the supervised tokens, in order, in double.
double inl_inputs_sum_losses(const inl_input_buffers *inputs);

#endif
