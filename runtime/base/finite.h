// SPDX-License-Identifier: MIT
// Looking for NaN and infinity in f32 values.
#ifndef INL_BASE_FINITE_H
#define INL_BASE_FINITE_H

#include <math.h>
#include <stdbool.h>
#include <stdint.h>

static inline bool inl_all_finite(const float *values, uint64_t count)
{
    for (uint64_t i = 0; i < count; i++)
        if (!isfinite(values[i]))
            return false;
    return true;
}

#endif
