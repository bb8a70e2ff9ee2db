// SPDX-License-Identifier: MIT
// Counter-based random numbers, the bits of runtime/base/rng.h.
uint rng_mix(uint x)
{
    x ^= x >> 16;
    x *= 0x7feb352du;
    x ^= x >> 15;
    x *= 0x846ca68bu;
    x ^= x >> 16;
    return x;
}

uint rng_u32(uint seed, uint stream, uint counter)
{
    return rng_mix(rng_mix(rng_mix(seed ^ 0x9e3779b9u) + stream) + counter);
}

// 1 / (1 - probability) where the element is kept, 0 where it is dropped; four columns in a row.
vec4 dropout_mask(uint seed, uint stream, uint counter, float probability)
{
    vec4 m;
    [[unroll]] for (uint i = 0; i < 4; i++) {
        float u = float(rng_u32(seed, stream, counter + i) >> 8) * (1.0 / 16777216.0);
        m[i] = u < probability ? 0.0 : 1.0 / (1.0 - probability);
    }
    return m;
}
