// SPDX-License-Identifier: MIT
// Counter-based random numbers: the value depends on (seed, stream, counter) alone, so a resumed
// run draws what the unbroken run would have. Same bits as shaders/lib/rng.glsl.
// Mixing function: "lowbias32" of C. Wellons' hash prospector, applied to the three words in turn.
#ifndef INL_BASE_RNG_H
#define INL_BASE_RNG_H

#include <stdint.h>

static inline uint32_t inl_rng_mix(uint32_t x)
{
    x ^= x >> 16;
    x *= 0x7feb352du;
    x ^= x >> 15;
    x *= 0x846ca68bu;
    x ^= x >> 16;
    return x;
}

static inline uint32_t inl_rng_u32(uint32_t seed, uint32_t stream, uint32_t counter)
{
    return inl_rng_mix(inl_rng_mix(inl_rng_mix(seed ^ 0x9e3779b9u) + stream) + counter);
}

// In [0, 1), 24 bits.
static inline float inl_rng_f32(uint32_t seed, uint32_t stream, uint32_t counter)
{
    return (float)(inl_rng_u32(seed, stream, counter) >> 8) * (1.0f / 16777216.0f);
}

#endif
