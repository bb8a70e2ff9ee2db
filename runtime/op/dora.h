// SPDX-License-Identifier: MIT
// DoRA (arXiv 2402.09353): y = m / |W + s B A| u + bias with u = W x + s B A x and one norm and one
// magnitude m a row of W. The norm counts as a constant in the backward pass, as PEFT has it.
#ifndef INL_OP_DORA_H
#define INL_OP_DORA_H

#include "op/op.h"

// y = m / norm u + bias + residual; bias and residual may be INL_BUF_NONE.
void inl_op_dora(inl_plan *plan, const inl_lora_arena *arena, const inl_lora_slot *slot,
                 inl_tensor u, inl_buf bias, inl_buf residual, inl_tensor y);
// dm += sum over rows of dy u / norm, and du = m / norm dy. du may be dy.
void inl_op_dora_bwd(inl_plan *plan, const inl_lora_arena *arena, const inl_lora_slot *slot,
                     inl_tensor u, inl_tensor dy, inl_tensor du);
// arena->squares = the sums of the squares of W's rows. Once a run: it decodes W by a product with
// the unit vectors, so it takes as long as cols tokens.
void inl_op_dora_squares(inl_plan *plan, const inl_inputs *in, const inl_lora_arena *arena,
                         const inl_lora_slot *slot, const inl_weight *w);
// arena->norms = |W + s B A| from the squares and the adapter's values; as long as 4 rank4 tokens.
void inl_op_dora_norms(inl_plan *plan, const inl_inputs *in, const inl_lora_arena *arena,
                       const inl_lora_slot *slot, const inl_weight *w);

#endif
