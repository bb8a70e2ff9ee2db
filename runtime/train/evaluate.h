// SPDX-License-Identifier: MIT
// The loss of a model, with or without adapter, over a dataset.
#ifndef INL_TRAIN_EVALUATE_H
#define INL_TRAIN_EVALUATE_H

#include "model/network.h"
#include "train/inputs.h"

typedef struct inl_evaluator inl_evaluator;

typedef struct inl_evaluation {
    double loss; // mean over `tokens`, nats
    uint64_t tokens;
} inl_evaluation;

// What an evaluation in the middle of a run takes from it, so that it needs no memory of its own.
typedef struct inl_evaluation_host {
    const inl_plan *plan;      // whose scratch memory is used where it suffices
    inl_input_buffers *inputs; // as many tokens are taken at once
} inl_evaluation_host;

// Asked after every submission; what is not INLAY_OK ends the evaluation with it.
typedef struct inl_eval_watch {
    inlay_result (*ask)(void *user, uint64_t rows_done, uint64_t rows); // or NULL
    void *user;
} inl_eval_watch;

// `arena` NULL: no adapter. `host` NULL: none. Everything given must outlive the evaluator.
inlay_result inl_evaluator_create(const inl_env *env, inl_gpu *gpu, const inl_weights *weights,
                                  const inl_slots *slots, const inl_lora_arena *arena,
                                  uint32_t max_length, const inl_evaluation_host *host,
                                  inl_evaluator **out);
void inl_evaluator_destroy(inl_evaluator **evaluator);
// MISMATCH when `dataset`'s rows are longer than the evaluator's. NOT_FINITE when the loss is.
// `watch` NULL: none.
inlay_result inl_evaluator_run(inl_evaluator *evaluator, const inl_dataset *dataset,
                               const inl_eval_watch *watch, inl_evaluation *out);

#endif
