// SPDX-License-Identifier: MIT
// The kernels that measure what a device can do (peak.comp): that they do it.
#include "op/peak.h"
#include "verify/families.h"

#define BOUND 1e-10

enum { COUNT = 4 * 1003, THREADS = 1024 };

static inl_peak_args arguments(kt *k, kt_mat *in, kt_mat *out, float factor, float addend)
{
    *in = kt_array(k, KT_IN, "in", COUNT, 4, 2.0f);
    *out = kt_array(k, KT_OUT, "out", COUNT, 4, 0.0f);
    return (inl_peak_args){.in = kt_range(k, in),
                           .out = kt_range(k, out),
                           .floats = COUNT,
                           .factor = factor,
                           .addend = addend,
                           .threads = THREADS};
}

static kt *begin(kt_suite *suite, inl_peak_kind kind, const char *name, uint32_t chains,
                 uint32_t rounds)
{
    kt *k = kt_begin(suite, "peak: %s, %u chains, %u rounds", name, chains, rounds);
    if (!k || inl_kernel_usable(kt_caps(suite), inl_peak_kernel(kind)))
        return k;
    kt_skip(k, "the device does not get it");
    kt_end(k);
    return NULL;
}

static void check_fp32(kt_suite *suite, uint32_t chains, uint32_t rounds)
{
    kt *k = begin(suite, INL_PEAK_FP32, "fp32", chains, rounds);
    kt_mat in, out;
    if (!k)
        return;
    inl_peak_args args = arguments(k, &in, &out, 0.875f, 0.375f);
    args.chains = chains;
    args.rounds = rounds;
    inl_op_peak(kt_plan(k), INL_PEAK_FP32, &args);
    for (uint32_t i = 0; i < COUNT; i++) {
        out.v[i] = 0.0;
        for (uint32_t c = 0; c < chains; c++) {
            double x = in.v[i] + c;
            for (uint32_t n = 0; n < rounds * INL_PEAK_UNROLLED; n++)
                x = x * 0.875 + 0.375;
            out.v[i] += x;
        }
    }
    if (kt_run(k))
        kt_expect(k, &out, BOUND);
    kt_end(k);
}

// Numbers that f16 holds, and steps that give such: nothing is rounded.
static void check_f16(kt_suite *suite, uint32_t chains, uint32_t rounds)
{
    kt *k = begin(suite, INL_PEAK_F16, "f16", chains, rounds);
    kt_mat in, out;
    if (!k)
        return;
    inl_peak_args args = arguments(k, &in, &out, -1.0f, 3.0f);
    args.chains = chains;
    args.rounds = rounds;
    double *values = kt_doubles(k, COUNT);
    for (uint32_t i = 0; i < COUNT; i++)
        values[i] = 1.0 + kt_below(k, 64) / 64.0;
    kt_set(k, &in, values);
    inl_op_peak(kt_plan(k), INL_PEAK_F16, &args);
    for (uint32_t i = 0; i < COUNT; i++)
        out.v[i] = chains * in.v[i] + chains * (chains - 1) / 2.0;
    if (kt_run(k))
        kt_expect_exact(k, &out);
    kt_end(k);
}

static int32_t bits_of(float value)
{
    union {
        float f;
        int32_t i;
    } u = {value};
    return u.i;
}

static void check_dot8(kt_suite *suite, uint32_t chains, uint32_t rounds)
{
    kt *k = begin(suite, INL_PEAK_DOT8, "dot8", chains, rounds);
    kt_mat in, out;
    if (!k)
        return;
    inl_peak_args args = arguments(k, &in, &out, -1.3f, 3.7f);
    args.chains = chains;
    args.rounds = rounds;
    inl_op_peak(kt_plan(k), INL_PEAK_DOT8, &args);
    for (uint32_t i = 0; i < COUNT; i++) {
        out.v[i] = 0.0;
        for (uint32_t c = 0; c < chains; c++) {
            int64_t x = bits_of((float)in.v[i] + (float)c), m = bits_of(args.factor);
            for (uint32_t n = 0; n < rounds * INL_PEAK_UNROLLED; n++) {
                int64_t sum = bits_of(args.addend);
                for (int b = 0; b < 4; b++)
                    sum += (int8_t)(x >> 8 * b) * (int8_t)(m >> 8 * b);
                x = (int32_t)sum;
            }
            out.v[i] += (double)(x & 0xffff);
        }
    }
    if (kt_run(k))
        kt_expect_exact(k, &out);
    kt_end(k);
}

// Every workgroup gives the same tile.
static void check_matrix(kt_suite *suite, uint32_t rounds)
{
    kt *k = begin(suite, INL_PEAK_MATRIX, "matrix", INL_PEAK_MOST_CHAINS, rounds);
    if (!k)
        return;
    inl_matrix_shape s = kt_caps(suite)->matrix;
    uint32_t tile = s.m * s.n, count = 4 * tile;
    count = count > (s.m + s.n) * s.k ? count : (s.m + s.n) * s.k / tile * tile + tile;
    kt_mat in = kt_array(k, KT_IN, "in", count, 4, 1.0f);
    kt_mat out = kt_array(k, KT_OUT, "out", count, 4, 0.0f);
    double *values = kt_doubles(k, count);
    for (uint32_t i = 0; i < count; i++)
        values[i] = kt_below(k, 64) / 64.0 - 0.5;
    kt_set(k, &in, values);
    inl_peak_args args = {.in = kt_range(k, &in),
                          .out = kt_range(k, &out),
                          .floats = count,
                          .rounds = rounds,
                          .addend = 3.0f,
                          .threads = 64 * (count / tile)};
    inl_op_peak(kt_plan(k), INL_PEAK_MATRIX, &args);
    for (uint32_t i = 0; i < count; i++) {
        uint32_t row = i % tile / s.n, column = i % s.n;
        out.v[i] = 4 * 3.0 + 6.0;
        for (uint32_t j = 0; j < s.k; j++)
            out.v[i] += in.v[row * s.k + j] * in.v[s.m * s.k + j * s.n + column];
    }
    if (kt_run(k))
        kt_expect_exact(k, &out);
    kt_end(k);
}

static void check_copy(kt_suite *suite, uint32_t count)
{
    kt *k = kt_begin(suite, "peak: a copy of %u floats", count);
    if (!k)
        return;
    kt_mat in = kt_array(k, KT_IN, "in", count, 4, 1.0f);
    kt_mat out = kt_array(k, KT_OUT, "out", count, 4, 0.0f);
    inl_peak_args args = {.in = kt_range(k, &in), .out = kt_range(k, &out), .floats = count};
    inl_op_peak(kt_plan(k), INL_PEAK_COPY, &args);
    for (uint32_t i = 0; i < count; i++)
        out.v[i] = in.v[i];
    if (kt_run(k))
        kt_expect_exact(k, &out);
    kt_end(k);
}

void check_peak(kt_suite *suite)
{
    if (kt_brief(suite)) {
        check_fp32(suite, INL_PEAK_MOST_CHAINS, 2);
        check_f16(suite, INL_PEAK_MOST_CHAINS, 2);
        check_dot8(suite, INL_PEAK_MOST_CHAINS, 2);
        check_matrix(suite, 2);
        check_copy(suite, 5000);
        return;
    }
    for (uint32_t chains = 1; chains <= INL_PEAK_MOST_CHAINS; chains++)
        for (uint32_t rounds = 0; rounds <= 2; rounds++) {
            check_fp32(suite, chains, rounds);
            check_f16(suite, chains, rounds);
            check_dot8(suite, chains, rounds);
        }
    for (uint32_t rounds = 0; rounds <= 2; rounds++)
        check_matrix(suite, rounds);
    static const uint32_t counts[] = {4, 1020, 1024, 1028, 5000};
    for (size_t i = 0; i < INL_COUNT(counts); i++)
        check_copy(suite, counts[i]);
}
