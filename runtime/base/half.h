// SPDX-License-Identifier: MIT
// f16 and bf16 to and from f32, exact, round to nearest even, subnormals and NaN kept.
#ifndef INL_BASE_HALF_H
#define INL_BASE_HALF_H

#include <stdint.h>
#include <string.h>

static inline uint32_t inl_f32_bits(float f)
{
    uint32_t u;
    memcpy(&u, &f, 4);
    return u;
}

static inline float inl_f32_from_bits(uint32_t u)
{
    float f;
    memcpy(&f, &u, 4);
    return f;
}

static inline float inl_bf16_to_f32(uint16_t h)
{
    return inl_f32_from_bits((uint32_t)h << 16);
}

static inline uint16_t inl_f32_to_bf16(float f)
{
    uint32_t u = inl_f32_bits(f);
    if ((u & 0x7fffffffu) > 0x7f800000u)
        return (uint16_t)((u >> 16) | 64); // quiet NaN
    return (uint16_t)((u + 0x7fffu + ((u >> 16) & 1u)) >> 16);
}

static inline float inl_f16_to_f32(uint16_t h)
{
    uint32_t sign = (uint32_t)(h & 0x8000u) << 16;
    uint32_t exponent = (h >> 10) & 31u;
    uint32_t mantissa = h & 0x3ffu;
    if (exponent == 31)
        return inl_f32_from_bits(sign | 0x7f800000u | mantissa << 13);
    if (exponent != 0)
        return inl_f32_from_bits(sign | (exponent + 112) << 23 | mantissa << 13);
    float magnitude = (float)mantissa * (1.0f / 16777216.0f); // subnormal: mantissa * 2^-24
    return sign ? -magnitude : magnitude;
}

static inline uint16_t inl_f32_to_f16(float f)
{
    uint32_t u = inl_f32_bits(f);
    uint32_t sign = (u >> 16) & 0x8000u;
    uint32_t magnitude = u & 0x7fffffffu;
    if (magnitude > 0x7f800000u)
        return (uint16_t)(sign | 0x7e00u | ((magnitude >> 13) & 0x3ffu));
    if (magnitude >= 0x477ff000u) // rounds to 65536 or more
        return (uint16_t)(sign | 0x7c00u);
    if (magnitude < 0x38800000u) { // subnormal: count units of 2^-24, the adder rounds to even
        float shifted = inl_f32_from_bits(magnitude) + 0.5f;
        return (uint16_t)(sign | (inl_f32_bits(shifted) - 0x3f000000u));
    }
    uint32_t rounded = magnitude + 0xfffu + ((magnitude >> 13) & 1u);
    return (uint16_t)(sign | ((rounded - 0x38000000u) >> 13));
}

#endif
