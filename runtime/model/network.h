// SPDX-License-Identifier: MIT
// Walking a model: the nodes of its forward and backward pass, emitted into a plan.
#ifndef INL_MODEL_NETWORK_H
#define INL_MODEL_NETWORK_H

#include "model/slots.h"
#include "model/weights.h"

// What a walk needs to know.
typedef struct inl_network {
    inl_plan *plan;
    const inl_weights *weights;
    const inl_slots *slots;      // no pairs: no adapter
    const inl_lora_arena *arena; // NULL with no adapter
    inl_inputs in;
    uint32_t tokens; // T
    // Of an expert's layers, whose T rows these are; NULL: all layers see all tokens.
    const inl_routing *routing;
    // With a key-value cache: one tensor a layer, [context, kv_heads * head_dim]; NULL without.
    const inl_tensor *cache_k, *cache_v;
} inl_network;

// What the backward pass of a block reads. T rows each.
typedef struct inl_block {
    bool again;                        // made once more for the backward pass alone
    inl_tensor x;                      // input [T, dim]
    inl_tensor xn, q, k, v, o;         // normed; [T, heads * head_dim], kv; attention's output
    inl_tensor x2, xn2, gate, up, act; // after attention [T, dim]; [T, ffn], or gate [T, 2 ffn]
    inl_buf rstd1, rstd2, lse;         // [T], [T], [T, heads]
    inl_tensor h[INL_GROUP_COUNT];     // X A^T of each group of linear layers, [T, ranks]
    inl_tensor u[INL_ROLE_COUNT];      // DoRA: W x + s B A x, before the norm and the magnitude
    // Inputs of the norms that not every architecture has: of heads, of what is added to x and x2.
    inl_tensor q_raw, k_raw, attended, fed;
    inl_buf rstd_q, rstd_k, rstd_attended, rstd_fed; // [T, heads], [T, kv_heads], [T], [T]
    // Of experts: where xn2's rows went, and they; gate, up, act and their h have so many rows.
    inl_routing routing;
    inl_tensor rows;
} inl_block;

// Emits layer `layer` on x and returns its output [T, dim].
inl_tensor inl_block_forward(const inl_network *net, uint32_t layer, inl_tensor x,
                             inl_block *saved);
// The same but for the output, of which nothing is needed then.
void inl_block_forward_again(const inl_network *net, uint32_t layer, inl_tensor x,
                             inl_block *saved);
// Emits the layer's gradients for dy, the gradient of its output; returns the gradient of its
// input, or a tensor without a buffer when `need_dx` is false.
inl_tensor inl_block_backward(const inl_network *net, uint32_t layer, const inl_block *saved,
                              inl_tensor dy, bool need_dx);

typedef struct inl_walk {
    bool backward;                // also the adapter's gradients
    uint32_t checkpointed_layers; // the first so many are computed again for the backward pass:
    uint32_t segment;             // of them every so many keep their input; 0: 1
    inl_range losses;             // f32 [T], host-visible
    inl_range logits;             // size 0: none; else [head_rows, vocab padded to 8] are kept
    uint32_t head_rows;           // of in.rows that get logits or a loss; 0: all T
} inl_walk;
// Emits embedding, blocks, head and loss; backwards as far as there are adapters.
void inl_network_emit(const inl_network *net, const inl_walk *walk);

#endif
