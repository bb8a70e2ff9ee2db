// SPDX-License-Identifier: MIT
// The loss of a row's first tokens as plain loops in float64 have it: what a fast step is held to.
#ifndef INL_BENCH_LOSS_H
#define INL_BENCH_LOSS_H

#include "train/trainer.h"

typedef struct inl_loss_check {
    double loss, reference; // means over the tokens
    uint32_t tokens;        // looked at, fewer than asked for where fewer are learned
    uint32_t step;          // that was made meanwhile
} inl_loss_check;

// Trains one step and compares the loss of its first `tokens` learned tokens with that of the CPU,
// for the adapter as it was before the step. Weights are decoded once, row by row: the time is that
// of 2 tokens flop a weight. UNSUPPORTED, without a log: what the loops do not know (other
// architectures than a plain llama, DoRA, dropout, an adapter on the head).
inlay_result inl_check_loss(inl_trainer *trainer, uint32_t tokens, inl_loss_check *out);

#endif
