// SPDX-License-Identifier: MIT
// Learning rates against Hugging Face's formulas, written out again in long double, and the order
// of the data: permutations, uniform, the same on every machine.
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "train/schedule.h"

static const uint32_t sizes[][2] = { // warm-up, total
    {0, 1}, {0, 10}, {1, 10}, {3, 10}, {9, 10}, {10, 10}, {20, 10}, {0, 0}, {100, 2000}};

// ---- learning rates

static long double warmed(uint32_t step, uint32_t warmup)
{
    return (long double)step / (warmup > 1 ? warmup : 1);
}

static long double wanted(inl_schedule_kind kind, uint32_t step, uint32_t warmup, uint32_t total)
{
    long double left = total > warmup ? total - warmup : 1;
    if (kind == INL_SCHEDULE_CONSTANT)
        return 1.0L;
    if (step < warmup)
        return warmed(step, warmup);
    if (kind == INL_SCHEDULE_CONSTANT_WITH_WARMUP)
        return 1.0L;
    if (kind == INL_SCHEDULE_LINEAR)
        return fmaxl(0.0L, ((long double)total - step) / left);
    return fmaxl(0.0L, 0.5L * (1.0L + cosl(acosl(-1.0L) * (step - warmup) / left)));
}

static void check_schedule(inl_schedule_kind kind, uint32_t warmup, uint32_t total)
{
    for (uint32_t step = 0; step <= total; step++) {
        double got = inl_schedule_factor(kind, step, warmup, total);
        long double want = wanted(kind, step, warmup, total);
        if (fabsl(got - want) > 1e-15L)
            fail_msg("kind %d, step %u of %u, warm-up %u: wanted %.17Lg, got %.17g", kind, step,
                     total, warmup, want, got);
    }
}

static void test_formulas(void **state)
{
    (void)state;
    for (size_t i = 0; i < INL_COUNT(sizes); i++) {
        check_schedule(INL_SCHEDULE_LINEAR, sizes[i][0], sizes[i][1]);
        check_schedule(INL_SCHEDULE_COSINE, sizes[i][0], sizes[i][1]);
        check_schedule(INL_SCHEDULE_CONSTANT, sizes[i][0], sizes[i][1]);
        check_schedule(INL_SCHEDULE_CONSTANT_WITH_WARMUP, sizes[i][0], sizes[i][1]);
    }
}

// Numbers anybody can check: 4 steps of warm-up, 10 in all.
static void test_by_hand(void **state)
{
    (void)state;
    static const double linear[] = {0.0,     0.25, 0.5,     0.75,    1.0, 5.0 / 6,
                                    4.0 / 6, 0.5,  2.0 / 6, 1.0 / 6, 0.0};
    for (uint32_t step = 0; step < INL_COUNT(linear); step++)
        assert_true(fabs(inl_schedule_factor(INL_SCHEDULE_LINEAR, step, 4, 10) - linear[step]) <
                    1e-15);
    assert_true(fabs(inl_schedule_factor(INL_SCHEDULE_COSINE, 7, 4, 10) - 0.5) < 1e-15);
    assert_true(fabs(inl_schedule_factor(INL_SCHEDULE_COSINE, 6, 4, 10) - 0.75) < 1e-15);
    assert_true(inl_schedule_factor(INL_SCHEDULE_CONSTANT_WITH_WARMUP, 1, 4, 10) == 0.25);
    assert_true(inl_schedule_factor(INL_SCHEDULE_CONSTANT, 0, 4, 10) == 1.0);
}

// Past the end, and with counts that would overflow.
static void test_extremes(void **state)
{
    (void)state;
    for (int kind = INL_SCHEDULE_LINEAR; kind <= INL_SCHEDULE_CONSTANT_WITH_WARMUP; kind++)
        for (int i = 0; i < 27; i++) {
            static const uint32_t values[] = {0, 1, UINT32_MAX};
            double f = inl_schedule_factor(kind, values[i % 3], values[i / 3 % 3], values[i / 9]);
            assert_true(f >= 0.0 && f <= 1.0);
        }
    assert_true(inl_schedule_factor(INL_SCHEDULE_LINEAR, 11, 0, 10) == 0.0);
    assert_true(inl_schedule_factor(INL_SCHEDULE_COSINE, 1000, 0, 10) == 0.0);
}

// ---- the order of the data

static void check_permutation(uint32_t seed, uint32_t epoch, uint32_t count)
{
    uint32_t *order = malloc((count + 1) * sizeof(*order));
    uint8_t *seen = calloc(count + 1, 1);
    assert_true(order && seen);
    order[count] = 0xfeedbeef;
    inl_epoch_order(seed, epoch, true, count, order);
    assert_int_equal(order[count], 0xfeedbeef);
    for (uint32_t i = 0; i < count; i++) {
        assert_true(order[i] < count && !seen[order[i]]);
        seen[order[i]] = 1;
    }
    free(order);
    free(seen);
}

static void test_permutations(void **state)
{
    (void)state;
    static const uint32_t counts[] = {0, 1, 2, 3, 100, 10007};
    for (uint32_t i = 0; i < INL_COUNT(counts); i++)
        for (uint32_t seed = 0; seed < 5; seed++)
            check_permutation(seed * 0x3fffffff, i * 1000, counts[i]);
    uint32_t plain[100];
    inl_epoch_order(7, 3, false, 100, plain);
    for (uint32_t i = 0; i < 100; i++)
        assert_int_equal(plain[i], i);
}

static uint32_t places_that_differ(uint32_t seed_a, uint32_t epoch_a, uint32_t seed_b,
                                   uint32_t epoch_b)
{
    uint32_t a[100], b[100], differ = 0;
    inl_epoch_order(seed_a, epoch_a, true, 100, a);
    inl_epoch_order(seed_b, epoch_b, true, 100, b);
    for (uint32_t i = 0; i < 100; i++)
        differ += a[i] != b[i];
    return differ;
}

static void test_seeds(void **state)
{
    (void)state;
    assert_int_equal(places_that_differ(5, 2, 5, 2), 0);
    for (uint32_t i = 1; i < 20; i++) {
        assert_true(places_that_differ(0, 0, i, 0) > 85); // one in a hundred stays by chance
        assert_true(places_that_differ(0, 0, 0, i) > 85);
    }
    // From the definition, computed with Python's integers: a run resumed elsewhere reads the same
    // rows.
    static const uint32_t known[2][10] = {{2, 7, 0, 8, 4, 5, 3, 6, 1, 9},
                                          {4, 7, 8, 5, 6, 1, 3, 9, 0, 2}};
    for (uint32_t epoch = 0; epoch < 2; epoch++) {
        uint32_t order[10];
        inl_epoch_order(42, epoch, true, 10, order);
        assert_memory_equal(order, known[epoch], sizeof(order));
    }
}

// Each of the 24 orders of four rows comes equally often.
static void test_uniform(void **state)
{
    (void)state;
    uint32_t times[256] = {0};
    double chi = 0.0;
    for (uint32_t seed = 0; seed < 24000; seed++) {
        uint32_t o[4];
        inl_epoch_order(seed, 0, true, 4, o);
        times[o[0] | o[1] << 2 | o[2] << 4 | o[3] << 6]++;
    }
    for (int i = 0; i < 256; i++)
        if (times[i] > 0)
            chi += (times[i] - 1000.0) * (times[i] - 1000.0) / 1000.0 - 1000.0;
    chi += 24 * 1000.0; // an order that never comes counts 1000
    print_message("chi squared %.1f of 23\n", chi);
    assert_true(chi > 5.0 && chi < 55.0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_formulas), cmocka_unit_test(test_by_hand),
        cmocka_unit_test(test_extremes), cmocka_unit_test(test_permutations),
        cmocka_unit_test(test_seeds),    cmocka_unit_test(test_uniform),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
