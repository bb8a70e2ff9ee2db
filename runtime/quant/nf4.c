// SPDX-License-Identifier: MIT
#include "quant/nf4.h"

#include <math.h>
#include <string.h>

#define MAP_SIZE 256
#define PIECE 65536u // elements encoded at once
#define MAP_ZERO 127
#define MAP_DECADES 7
// Below this 1 / absmax is no longer a number; bitsandbytes' floor.
#define LEAST_ABSMAX 1e-38f

// Quantiles of the normal distribution, scaled to [-1, 1], with an exact zero.
const float inl_nf4_codes[16] = {
    -1.0f,
    -0.6961928009986877f,
    -0.5250730514526367f,
    -0.39491748809814453f,
    -0.28444138169288635f,
    -0.18477343022823334f,
    -0.09105003625154495f,
    0.0f,
    0.07958029955625534f,
    0.16093020141124725f,
    0.24611230194568634f,
    0.33791524171829224f,
    0.44070982933044434f,
    0.5626170039176941f,
    0.7229568362236023f,
    1.0f,
};

// Sign, two bits of exponent, one of fraction, over 12: bitsandbytes' values.
const float inl_fp4_codes[16] = {
    0.0f,  0.0052083334885537624f,  0.6666666865348816f,  1.0f,  0.3333333432674408f,  0.5f,
    0.1666666716337204f,  0.25f,
    0.0f,  -0.0052083334885537624f, -0.6666666865348816f, -1.0f, -0.3333333432674408f, -0.5f,
    -0.1666666716337204f, -0.25f,
};

// A value gets code c when it is above c of these: the codes' middles, rounded as bitsandbytes does
// on the CPU (on CUDA it has constants that are a bit off the same).
static void set_thresholds(float out[15])
{
    for (uint32_t i = 0; i < 15; i++)
        out[i] = (inl_nf4_codes[i] + inl_nf4_codes[i + 1]) / 2.0f;
}

// Point i of n points over [0.1, 1], counted from the nearer end and rounded once, as
// torch.linspace does: the map is to have the bits that checkpoints have.
static float grid_point(uint32_t i, uint32_t n)
{
    const float first = 0.1f, last = 1.0f;
    float step = (last - first) / (float)(n - 1);
    return i < n / 2 ? fmaf(step, (float)i, first) : fmaf(-step, (float)(n - 1 - i), last);
}

// Decade e has 2^e values, the centres of as many equal parts of [0.1, 1], times 10^(e - 6), each
// with both signs. Besides them 0 and 1.
void inl_nf4_dynamic_map(float *map)
{
    static const float powers[MAP_DECADES] = {1e-6f, 1e-5f, 1e-4f, 1e-3f, 1e-2f, 1e-1f, 1.0f};
    map[MAP_ZERO] = 0.0f;
    map[MAP_SIZE - 1] = 1.0f;
    uint32_t rank = 1; // from the zero outwards: decades do not overlap
    for (uint32_t e = 0; e < MAP_DECADES; e++)
        for (uint32_t i = 0; i < 1u << e; i++, rank++) {
            float centre = (grid_point(i, (1u << e) + 1) + grid_point(i + 1, (1u << e) + 1)) / 2.0f;
            map[MAP_ZERO + rank] = powers[e] * centre;
            map[MAP_ZERO - rank] = -map[MAP_ZERO + rank];
        }
}

// Nearest entry of the sorted map; the lower one of two equally near.
static uint8_t nearest(const float *map, float x)
{
    uint32_t low = 0, high = MAP_SIZE - 1; // the answer lies in [low, high]
    while (low < high) {
        uint32_t i = (low + high) / 2;
        if (x > (map[i] + map[i + 1]) * 0.5f)
            low = i + 1;
        else
            high = i;
    }
    return (uint8_t)low;
}

static float absmax_of(const float *in, uint64_t count)
{
    float absmax = 0.0f;
    for (uint64_t i = 0; i < count; i++)
        absmax = fabsf(in[i]) > absmax ? fabsf(in[i]) : absmax;
    return absmax;
}

// A block that the matrix's end cuts short is divided, others are multiplied.
static float encode_block(const float thresholds[15], const float *in, uint64_t count,
                          uint8_t *codes)
{
    float absmax = absmax_of(in, count), floor = INL_MAX(absmax, LEAST_ABSMAX);
    float scale = 1.0f / floor;
    for (uint64_t i = 0; i < count; i++) {
        // may pass 1 by a rounding, which no threshold sees
        float x = count == INL_NF4_BLOCK ? in[i] * scale : in[i] / floor;
        uint8_t code = 0;
        for (uint32_t t = 0; t < 15; t++)
            code += x > thresholds[t];
        codes[i] = code;
    }
    return absmax;
}

static float mean(const float *values, uint64_t count)
{
    double sum = 0.0;
    for (uint64_t i = 0; i < count; i++)
        sum += values[i];
    return count ? (float)(sum / (double)count) : 0.0f;
}

// The second quantization: the blocks' absmax around their mean. Overwrites `values`.
static void encode_absmax(float *values, uint64_t blocks, inl_nf4 *out)
{
    out->nested_offset = mean(values, blocks);
    for (uint64_t i = 0; i < blocks; i++)
        values[i] -= out->nested_offset;
    for (uint64_t at = 0; at < blocks; at += INL_NF4_NESTED_BLOCK) {
        uint64_t count = INL_MIN(blocks - at, INL_NF4_NESTED_BLOCK);
        float absmax = absmax_of(values + at, count);
        float scale = 1.0f / INL_MAX(absmax, LEAST_ABSMAX);
        for (uint64_t i = at; i < at + count; i++)
            out->absmax[i] = nearest(out->nested_map, values[i] * scale);
        out->nested_absmax[at / INL_NF4_NESTED_BLOCK] = absmax;
    }
}

static uint64_t parts(uint64_t count, uint64_t size)
{
    return count / size + (count % size != 0);
}

static void encode_blocks(inl_nf4_reader *read, const void *user, float *piece, float *absmax,
                          inl_nf4 *out)
{
    float thresholds[15];
    set_thresholds(thresholds);
    for (uint64_t at = 0; at < out->count; at += PIECE) {
        uint64_t count = INL_MIN(out->count - at, PIECE);
        read(user, at, count, piece);
        for (uint64_t i = 0; i < count; i += INL_NF4_BLOCK)
            absmax[(at + i) / INL_NF4_BLOCK] =
                encode_block(thresholds, piece + i, INL_MIN(count - i, INL_NF4_BLOCK),
                             out->codes + at + i);
    }
}

inlay_result inl_nf4_from_absmax(const inl_env *env, float *absmax, uint64_t count, inl_nf4 *out)
{
    uint64_t blocks = parts(count, INL_NF4_BLOCK);
    *out = (inl_nf4){.count = count};
    out->absmax = inl_alloc(env, blocks, 1);
    out->nested_absmax = inl_alloc(env, parts(blocks, INL_NF4_NESTED_BLOCK), sizeof(float));
    if (!out->absmax || !out->nested_absmax) {
        inl_nf4_free(env, out);
        return INLAY_ERROR_OUT_OF_MEMORY;
    }
    inl_nf4_dynamic_map(out->nested_map);
    encode_absmax(absmax, blocks, out);
    return INLAY_OK;
}

inlay_result inl_nf4_encode_from(const inl_env *env, inl_nf4_reader *read, const void *user,
                                 uint64_t count, inl_nf4 *out)
{
    inl_nf4 coded = {.count = count, .codes = inl_alloc(env, count, 1)};
    float *absmax = inl_alloc(env, parts(count, INL_NF4_BLOCK), sizeof(float));
    float *piece = inl_alloc(env, INL_MIN(count, PIECE), sizeof(float));
    inlay_result result = INLAY_ERROR_OUT_OF_MEMORY;
    *out = (inl_nf4){0};
    if (coded.codes && absmax && piece) {
        encode_blocks(read, user, piece, absmax, &coded);
        result = inl_nf4_from_absmax(env, absmax, count, out);
    }
    if (result == INLAY_OK)
        out->codes = coded.codes;
    else
        inl_free(env, coded.codes);
    inl_free(env, absmax);
    inl_free(env, piece);
    return result;
}

static void copy_piece(const void *user, uint64_t at, uint64_t count, float *out)
{
    memcpy(out, (const float *)user + at, count * sizeof(float));
}

inlay_result inl_nf4_encode(const inl_env *env, const float *in, uint64_t count, inl_nf4 *out)
{
    return inl_nf4_encode_from(env, copy_piece, in, count, out);
}

void inl_nf4_free(const inl_env *env, inl_nf4 *nf4)
{
    inl_free(env, nf4->codes);
    inl_free(env, nf4->absmax);
    inl_free(env, nf4->nested_absmax);
    inl_free(env, nf4->plain);
    *nf4 = (inl_nf4){0};
}

static float block_absmax(const inl_nf4 *nf4, uint64_t block)
{
    if (nf4->plain)
        return nf4->plain[block];
    float scaled = nf4->nested_map[nf4->absmax[block]] *
                   nf4->nested_absmax[block / INL_NF4_NESTED_BLOCK];
    return scaled + nf4->nested_offset;
}

void inl_nf4_decode(const inl_nf4 *nf4, float *out)
{
    for (uint64_t at = 0; at < nf4->count; at += INL_NF4_BLOCK) {
        float absmax = block_absmax(nf4, at / INL_NF4_BLOCK);
        const float *values = nf4->fp4 ? inl_fp4_codes : inl_nf4_codes;
        uint64_t end = INL_MIN(nf4->count, at + INL_NF4_BLOCK);
        for (uint64_t i = at; i < end; i++)
            out[i] = values[nf4->codes[i] & 15] * absmax;
    }
}

void inl_nf4_block_absmax(const inl_nf4 *nf4, float *out)
{
    for (uint64_t b = 0; b < parts(nf4->count, INL_NF4_BLOCK); b++)
        out[b] = block_absmax(nf4, b);
}

// ---- bitsandbytes' checkpoints

inl_format_id inl_bnb4_format(const inl_bnb4 *t)
{
    bool as_ours = !t->absmax && t->block == INL_NF4_BLOCK &&
                   t->nested_block == INL_NF4_NESTED_BLOCK;
    return t->fp4 ? INL_FORMAT_FP4 : as_ours ? INL_FORMAT_NF4 : INL_FORMAT_NF4_PLAIN;
}

// Of the tensor's own block i.
static float stored_absmax(const inl_bnb4 *t, uint64_t i)
{
    if (t->absmax)
        return t->absmax[i];
    float scaled = t->nested_map[t->nested[i]] * t->nested_absmax[i / t->nested_block];
    return scaled + t->nested_offset;
}

static inlay_result read_nested(const inl_env *env, const inl_bnb4 *t, inl_nf4 *out)
{
    uint64_t blocks = parts(t->count, INL_NF4_BLOCK), nested = parts(blocks, INL_NF4_NESTED_BLOCK);
    out->absmax = inl_alloc(env, blocks, 1);
    out->nested_absmax = inl_alloc(env, nested, sizeof(float));
    if (!out->absmax || !out->nested_absmax)
        return INLAY_ERROR_OUT_OF_MEMORY;
    memcpy(out->absmax, t->nested, blocks);
    memcpy(out->nested_absmax, t->nested_absmax, nested * sizeof(float));
    memcpy(out->nested_map, t->nested_map, sizeof(out->nested_map));
    out->nested_offset = t->nested_offset;
    return INLAY_OK;
}

static inlay_result read_plain(const inl_env *env, const inl_bnb4 *t, inl_nf4 *out)
{
    uint64_t blocks = parts(t->count, INL_NF4_BLOCK);
    out->plain = inl_alloc(env, blocks, sizeof(float));
    if (!out->plain)
        return INLAY_ERROR_OUT_OF_MEMORY;
    for (uint64_t b = 0; b < blocks; b++)
        out->plain[b] = stored_absmax(t, b * INL_NF4_BLOCK / t->block);
    return INLAY_OK;
}

inlay_result inl_nf4_read(const inl_env *env, const inl_bnb4 *t, inl_nf4 *out)
{
    *out = (inl_nf4){.count = t->count, .fp4 = t->fp4};
    if (t->block == 0 || t->block % INL_NF4_BLOCK != 0 || (!t->absmax && t->nested_block == 0))
        return INLAY_ERROR_UNSUPPORTED;
    out->codes = inl_alloc(env, t->count, 1);
    inlay_result result = INLAY_ERROR_OUT_OF_MEMORY;
    if (out->codes)
        result = inl_bnb4_format(t) == INL_FORMAT_NF4 ? read_nested(env, t, out)
                                                      : read_plain(env, t, out);
    for (uint64_t i = 0; i < t->count && result == INLAY_OK; i++)
        out->codes[i] = (uint8_t)(t->packed[i / 2] >> (i % 2 ? 0 : 4) & 15u);
    if (result != INLAY_OK)
        inl_nf4_free(env, out);
    return result;
}
