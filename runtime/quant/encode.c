// SPDX-License-Identifier: MIT
// Writing blocks under integer scales or tables: a group's scale is the one of several tried that
// fits best by weighted least squares, as ggml's quantizers choose theirs; large elements weigh
// more. Scales are then rounded to what the block can hold, and codes chosen for those.
// Nothing here depends on the machine: C11 without extensions contracts no product with a sum.
#include "base/half.h"
#include "quant/packed.h"

#include <math.h>

#define GROUP 32 // most elements under one scale
#define TRIALS 19

typedef struct fit {
    float scale, offset; // value * scale - offset
} fit;

// Inside [low, high] for NaN too.
static float clamp(float x, float low, float high)
{
    return x > low ? (x < high ? x : high) : low;
}

static float divide(float a, float b)
{
    return b != 0.0f ? a / b : 0.0f;
}

static uint8_t nearest_code(uint32_t packing, float x)
{
    float most = (float)((1u << PACKING_BITS(packing)) - 1);
    if (PACKING_TABLE(packing) == 0)
        return (uint8_t)(clamp(x + (float)PACKING_ZERO(packing), 0.0f, most) + 0.5f);
    uint8_t low = 0, high = 15; // of a sorted table
    while (high - low > 1) {
        uint8_t middle = (uint8_t)((low + high) / 2);
        if (x < (float)inl_packed_value(packing, middle))
            high = middle;
        else
            low = middle;
    }
    float below = x - (float)inl_packed_value(packing, low);
    float above = (float)inl_packed_value(packing, high) - x;
    return above < below ? high : low;
}

// The trials' scales put the element of largest magnitude on or near the lowest value.
static fit fit_scale(uint32_t packing, const float *x, uint32_t count)
{
    float extreme = 0.0f, step = PACKING_TABLE(packing) ? 1.0f : 0.1f, best = 0.0f;
    for (uint32_t j = 0; j < count; j++)
        extreme = fabsf(x[j]) > fabsf(extreme) ? x[j] : extreme;
    fit found = {0};
    for (int32_t trial = 0; trial < TRIALS; trial++) {
        float end = (float)inl_packed_value(packing, 0) + step * (float)(trial - TRIALS / 2);
        float inverse = divide(end, extreme), qx = 0.0f, qq = 0.0f;
        for (uint32_t j = 0; j < count; j++) {
            float scaled = x[j] * inverse, weight = x[j] * x[j];
            float q = (float)inl_packed_value(packing, nearest_code(packing, scaled));
            float wq = weight * q;
            qx += wq * x[j];
            qq += wq * q;
        }
        if (qq > 0.0f && qx / qq * qx > best) {
            found.scale = qx / qq;
            best = found.scale * qx;
        }
    }
    return found;
}

// The least and the largest element on the first and last code or near them; a least squares fit of
// both numbers, the offset not below zero.
typedef struct sums {
    float w, x, q, qq, qx;
} sums;

static fit solve(const sums *s)
{
    float determinant = s->w * s->qq - s->q * s->q;
    if (!(determinant > 0.0f))
        return (fit){0};
    fit f = {.scale = (s->w * s->qx - s->x * s->q) / determinant,
             .offset = (s->q * s->qx - s->qq * s->x) / determinant};
    if (!(f.offset > 0.0f))
        f = (fit){.scale = divide(s->qx, s->qq)};
    return f;
}

static fit try_range(uint32_t packing, const float *x, const float *weights, uint32_t count,
                     float least, float inverse, float *error)
{
    sums s = {0};
    float codes[GROUP];
    for (uint32_t j = 0; j < count; j++) {
        float scaled = (x[j] - least) * inverse, q = (float)nearest_code(packing, scaled);
        float wq = weights[j] * q;
        codes[j] = q;
        s.w += weights[j];
        s.x += weights[j] * x[j];
        s.q += wq;
        s.qq += wq * q;
        s.qx += wq * x[j];
    }
    fit f = solve(&s);
    *error = 0.0f;
    for (uint32_t j = 0; j < count; j++) {
        float value = f.scale * codes[j], off = value - f.offset - x[j];
        *error += weights[j] * off * off;
    }
    return f;
}

static fit fit_range(uint32_t packing, const float *x, uint32_t count)
{
    float least = 0.0f, most = x[0], squares = 0.0f, weights[GROUP], best = INFINITY;
    for (uint32_t j = 0; j < count; j++) {
        least = x[j] < least ? x[j] : least;
        most = x[j] > most ? x[j] : most;
        squares += x[j] * x[j];
    }
    float rms = sqrtf(squares / (float)count);
    for (uint32_t j = 0; j < count; j++)
        weights[j] = rms + fabsf(x[j]);
    fit found = {.offset = -least};
    float top = (float)((1u << PACKING_BITS(packing)) - 1);
    for (int32_t trial = 0; trial < TRIALS && most > least; trial++) {
        float error, steps = top + 0.1f * (float)(trial - TRIALS / 2);
        fit f = try_range(packing, x, weights, count, least, steps / (most - least), &error);
        if (f.scale > 0.0f && error < best) {
            best = error;
            found = f;
        }
    }
    return found;
}

static uint16_t half_of(float x)
{
    return inl_f32_to_f16(x);
}

// Rounds the groups' fits to the block's integers.
static void round_fits(const inl_packed *p, uint32_t packing, const fit *fits, uint32_t groups,
                       inl_quant_block *out)
{
    float most = (float)p->most, scale = 0.0f, offset = 0.0f;
    for (uint32_t g = 0; g < groups; g++) {
        scale = fabsf(fits[g].scale) > fabsf(scale) ? fits[g].scale : scale;
        offset = fits[g].offset > offset ? fits[g].offset : offset;
    }
    bool offsets = packing & PACKING_OFFSETS; // and scales above zero
    out->scale = half_of(offsets ? scale / most : scale / -(most + 1.0f));
    out->offset = half_of(offset / most);
    scale = inl_f16_to_f32(out->scale);
    offset = inl_f16_to_f32(out->offset);
    for (uint32_t g = 0; g < groups; g++) {
        float s = roundf(divide(fits[g].scale, scale)), m = roundf(divide(fits[g].offset, offset));
        out->scales[g] = (int8_t)clamp(s, offsets ? 0.0f : -most - 1.0f, most);
        out->offsets[g] = (int8_t)clamp(m, 0.0f, most);
    }
}

static void encode_block(const inl_packed *p, const inl_format *f, const float *in,
                         inl_quant_block *out)
{
    uint32_t packing = f->packing, size = 8 * PACKING_GROUP(packing);
    uint32_t groups = f->block_elements / size;
    fit fits[16];
    for (uint32_t g = 0; g < groups; g++)
        fits[g] = packing & PACKING_OFFSETS ? fit_range(packing, in + g * size, size)
                                            : fit_scale(packing, in + g * size, size);
    if (packing & PACKING_INTEGERS)
        round_fits(p, packing, fits, groups, out);
    else
        out->scale = half_of(fits[0].scale);
    float scale = inl_f16_to_f32(out->scale), offset = inl_f16_to_f32(out->offset);
    for (uint32_t j = 0; j < f->block_elements; j++) {
        bool integers = packing & PACKING_INTEGERS;
        float s = integers ? scale * (float)out->scales[j / size] : scale;
        float m = integers ? offset * (float)out->offsets[j / size] : 0.0f;
        out->codes[j] = nearest_code(packing, divide(in[j] + m, s));
    }
}

void inl_packed_encode(const inl_packed *packed, const float *in, void *blocks, uint64_t count)
{
    const inl_format *f = inl_format_by_id(packed->format);
    uint8_t *out = blocks;
    for (uint64_t at = 0; at < count; at += f->block_elements, out += f->block_bytes) {
        inl_quant_block block = {0};
        encode_block(packed, f, in + at, &block);
        inl_packed_put(packed, &block, out);
    }
}
