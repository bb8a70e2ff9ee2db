// SPDX-License-Identifier: MIT
// A mixture of experts: which tokens go to which expert, and the rows that the experts work on.
//
// A token has a row for each of its experts. Rows lie by expert, an expert's in the order of the
// tokens, padded to whole tiles of `align` rows, so that rows taken together are of one matrix.
// How many rows an expert has is known on the device alone: lists are as long as they may get, and
// what finds its tile behind the last one does nothing. Rows of such tiles are never written or
// read.
#ifndef INL_OP_MOE_H
#define INL_OP_MOE_H

#include "op/plan.h"

typedef struct inl_routing {
    uint32_t tokens, experts, used; // T; E; K experts a token
    bool normalize;                 // a token's weights sum to 1
    uint32_t align;                 // rows of a tile
    uint32_t rows;                  // the most there can be, with those that pad
    inl_tensor probs;               // [T, E]
    inl_buf ids, weights, position; // [T, K]: expert, its weight, its row
    inl_buf table;                  // f32 [tiles padded to 4]: a tile's expert, -1: none
    inl_buf segments;               // [E] pairs: first row, rows
    inl_buf row_token, row_weight;  // [rows]; ~0 and 0 where a row pads
} inl_routing;

// The sizes alone; the rest is zero.
inl_routing inl_routing_shape(uint32_t tokens, uint32_t experts, uint32_t used, bool normalize);
// With lists for logits [T, E], that inl_op_route fills.
inl_routing inl_routing_create(inl_plan *plan, inl_tensor logits, uint32_t used, bool normalize);
// Softmax over all experts, in place of the logits, and the `used` largest, equal ones by lowest
// index; then the lists.
void inl_op_route(inl_plan *plan, const inl_routing *routing);
// dlogits [T, E] from dweights [rows].
void inl_op_route_bwd(inl_plan *plan, const inl_routing *routing, inl_buf dweights,
                      inl_tensor dlogits);
// y [rows, D] = the tokens' rows of x [T, D].
void inl_op_moe_gather(inl_plan *plan, const inl_routing *routing, inl_tensor x, inl_tensor y);
// y [T, D] = residual + the sum of each token's rows of x [rows, D]; `residual` may be NONE.
void inl_op_moe_combine(inl_plan *plan, const inl_routing *routing, inl_tensor x, inl_buf residual,
                        inl_tensor y);
// y = w silu(gate) up, w the row's weight.
void inl_op_moe_swiglu(inl_plan *plan, const inl_routing *routing, inl_tensor gate, inl_tensor up,
                       inl_tensor y);
// dgate, dup and dweights [rows].
void inl_op_moe_swiglu_bwd(inl_plan *plan, const inl_routing *routing, inl_tensor gate,
                           inl_tensor up, inl_tensor dy, inl_tensor dgate, inl_tensor dup,
                           inl_buf dweights);

#endif
