// SPDX-License-Identifier: MIT
// A model's frozen weights on a device: laid out into a few large buffers, repacked, uploaded.
#ifndef INL_MODEL_WEIGHTS_H
#define INL_MODEL_WEIGHTS_H

#include "model/model.h"
#include "op/op.h"

typedef struct inl_layer_weights {
    inl_weight linear[INL_ROLE_COUNT]; // rows 0: the architecture has none there
    inl_range bias[INL_ROLE_COUNT];    // size 0: none
    inl_norm norm[INL_NORM_COUNT];     // weight's size 0: none
} inl_layer_weights;

typedef struct inl_weights {
    const inl_model *model;
    inl_gpu *gpu; // NULL: sizes alone
    inl_weight embedding, head;
    inl_norm norm;
    inl_rope ropes[INL_ROPE_COUNT]; // LOCAL's table has size 0 where all layers turn alike
    uint32_t context;   // tokens of a sequence: longrope is one for short and one for long ones
    uint32_t positions; // rows of a rope table
    inl_layer_weights *layers;
    uint64_t bytes;
    // Of the device's memory while they are made, besides the staging buffer; given back before
    // inl_weights_create returns, so before a generator or an evaluation takes any.
    uint64_t encode_bytes;
    inl_buffer **expanded; // [layers], or NULL (expand.h)
    inl_buffer **blocks;
    uint32_t block_count;
} inl_weights;

// `gpu` NULL lays out without allocating; `max_range` is then the binding limit to plan for.
// `context`: the longest a sequence may be. `positions`: how many a rope table covers.
inlay_result inl_weights_create(const inl_model *model, inl_gpu *gpu, uint64_t max_range,
                                uint32_t context, uint32_t positions, inl_weights **out);
// The matrix that a module's adapter is for (model/config.h's list of modules); of an expert: that
// of all of them.
const inl_weight *inl_weights_of_module(const inl_weights *weights, uint32_t module);
void inl_weights_destroy(inl_weights **weights);

#endif
