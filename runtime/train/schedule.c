// SPDX-License-Identifier: MIT
#include "train/schedule.h"
#include "base/rng.h"

#include <math.h>

double inl_schedule_factor(inl_schedule_kind kind, uint32_t step, uint32_t warmup, uint32_t total)
{
    if (kind == INL_SCHEDULE_CONSTANT)
        return 1.0;
    if (step < warmup)
        return (double)step / (double)INL_MAX(1, warmup);
    if (kind == INL_SCHEDULE_CONSTANT_WITH_WARMUP)
        return 1.0;
    double left = total > warmup ? (double)(total - warmup) : 1.0;
    if (kind == INL_SCHEDULE_LINEAR)
        return total > step ? (double)(total - step) / left : 0.0;
    double progress = INL_MIN(1.0, (double)(step - warmup) / left);
    return 0.5 * (1.0 + cos(3.14159265358979323846 * progress));
}

// Fisher-Yates with random numbers that depend on seed, epoch and place alone.
void inl_epoch_order(uint32_t seed, uint32_t epoch, bool shuffle, uint32_t count, uint32_t *order)
{
    const uint32_t stream = 0x65706f63u; // apart from dropout's and the adapter's streams
    for (uint32_t i = 0; i < count; i++)
        order[i] = i;
    for (uint32_t i = count; shuffle && i > 1; i--) {
        uint64_t draw = inl_rng_u32(seed, stream + epoch, i);
        uint32_t j = (uint32_t)(draw * i >> 32), held = order[i - 1];
        order[i - 1] = order[j];
        order[j] = held;
    }
}
