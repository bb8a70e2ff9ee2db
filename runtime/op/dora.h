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
// The layer whole: args->y = W x + bias + residual and its tail, and u, which the backward pass
// needs. With the arena's dropout, as PEFT has it: u is of what dropout leaves of x, and the base
// sees the rest of x, y = m / norm u + W (x - left) + bias + residual. args->tail.h must be of the
// same pair and x, whose mask inl_op_lora_down takes for itself.
void inl_op_dora_linear(inl_plan *plan, const inl_inputs *in, const inl_gemm_args *args,
                        inl_tensor u);
// The gradient of x: args as inl_op_gemm_dx has them, args->x being du; dy is the layer's own.
void inl_op_dora_linear_dx(inl_plan *plan, const inl_inputs *in, const inl_gemm_args *args,
                           inl_tensor dy);
// arena->squares = the sums of the squares of W's rows. Once a run: it decodes W by a product with
// the unit vectors, so it takes as long as cols tokens.
void inl_op_dora_squares(inl_plan *plan, const inl_inputs *in, const inl_lora_arena *arena,
                         const inl_lora_slot *slot, const inl_weight *w);
// arena->norms = |W + s B A| from the squares and the adapter's values; as long as 4 rank4 tokens.
void inl_op_dora_norms(inl_plan *plan, const inl_inputs *in, const inl_lora_arena *arena,
                       const inl_lora_slot *slot, const inl_weight *w);

#endif
