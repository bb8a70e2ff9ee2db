// SPDX-License-Identifier: MIT
// Learning rates as Hugging Face's schedulers give them, and the order of the data.
#ifndef INL_TRAIN_SCHEDULE_H
#define INL_TRAIN_SCHEDULE_H

#include "base/env.h"

typedef enum inl_schedule_kind {
    INL_SCHEDULE_LINEAR,
    INL_SCHEDULE_COSINE,
    INL_SCHEDULE_CONSTANT,
    INL_SCHEDULE_CONSTANT_WITH_WARMUP,
} inl_schedule_kind;

// Factor on the learning rate of step `step` (0 is the first) of `total`.
double inl_schedule_factor(inl_schedule_kind kind, uint32_t step, uint32_t warmup, uint32_t total);

// The order of `count` rows in an epoch: a seeded permutation, or 0, 1, 2, ... `order` has room.
void inl_epoch_order(uint32_t seed, uint32_t epoch, bool shuffle, uint32_t count, uint32_t *order);

#endif
