// SPDX-License-Identifier: MIT
// The kernels that measure what a device can do (peak.comp): that they do it.
#include "kernels/more.h"
#include "op/peak.h"

#include <math.h>

#define BOUND 1e-10

static void check_fp32(kt_suite *suite, uint32_t chains, uint32_t rounds)
{
    enum { COUNT = 4 * 1003, THREADS = 1024 };
    kt *k = kt_begin(suite, "peak: %u chains, %u rounds", chains, rounds);
    if (!k)
        return;
    kt_mat in = kt_array(k, KT_IN, "in", COUNT, 4, 2.0f);
    kt_mat out = kt_array(k, KT_OUT, "out", COUNT, 4, 0.0f);
    inl_peak_args args = {.in = kt_range(k, &in),
                          .out = kt_range(k, &out),
                          .chains = chains,
                          .rounds = rounds,
                          .factor = 0.875f,
                          .addend = 0.375f,
                          .threads = THREADS};
    inl_op_peak_fp32(kt_plan(k), &args);
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

static void check_copy(kt_suite *suite, uint32_t count)
{
    kt *k = kt_begin(suite, "peak: a copy of %u floats", count);
    if (!k)
        return;
    kt_mat in = kt_array(k, KT_IN, "in", count, 4, 1.0f);
    kt_mat out = kt_array(k, KT_OUT, "out", count, 4, 0.0f);
    inl_peak_args args = {.in = kt_range(k, &in), .out = kt_range(k, &out)};
    inl_op_peak_copy(kt_plan(k), &args);
    for (uint32_t i = 0; i < count; i++)
        out.v[i] = in.v[i];
    if (kt_run(k))
        kt_expect_exact(k, &out);
    kt_end(k);
}

void check_peak(kt_suite *suite)
{
    for (uint32_t chains = 1; chains <= INL_PEAK_MOST_CHAINS; chains++)
        for (uint32_t rounds = 0; rounds <= 2; rounds++)
            check_fp32(suite, chains, rounds);
    static const uint32_t counts[] = {4, 1020, 1024, 1028, 5000};
    for (size_t i = 0; i < INL_COUNT(counts); i++)
        check_copy(suite, counts[i]);
}
