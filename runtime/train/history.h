// SPDX-License-Identifier: MIT
// The numbers of a run's newest steps: kept over a checkpoint, so that who resumes sees where the
// run came from.
#ifndef INL_TRAIN_HISTORY_H
#define INL_TRAIN_HISTORY_H

#include "base/env.h"

#include <jansson.h>

#define INL_HISTORY_STEPS 256

typedef struct inl_step_stats {
    uint32_t step;
    double epoch, loss, grad_norm, learning_rate, seconds, host_seconds;
    uint64_t tokens, supervised;
} inl_step_stats;

typedef struct inl_history {
    inl_step_stats steps[INL_HISTORY_STEPS]; // a ring
    uint64_t added;
} inl_history;

void inl_history_add(inl_history *history, const inl_step_stats *stats);
uint32_t inl_history_count(const inl_history *history);
// 0 is the oldest that is kept.
const inl_step_stats *inl_history_at(const inl_history *history, uint32_t index);

// As a list of objects; times are left out, so that it is a function of the run alone. NULL: out of
// memory.
json_t *inl_history_write(const inl_history *history);
// Times come back as 0. False: it is no such list, or not of steps up to `step`.
bool inl_history_read(const json_t *list, uint32_t step, inl_history *out);

#endif
