// SPDX-License-Identifier: MIT
// The small linear algebra behind an adapter's first values.
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#include "base/dense.h"
#include "base/rng.h"

static double *random_matrix(uint32_t rows, uint32_t cols, uint32_t stream)
{
    double *x = malloc((size_t)rows * cols * sizeof(*x));
    assert_non_null(x);
    for (uint32_t i = 0; i < rows * cols; i++)
        x[i] = (double)inl_rng_f32(8, stream, i) - 0.5;
    return x;
}

static void assert_orthonormal(const double *x, uint32_t rows, uint32_t cols)
{
    double *gram = malloc((size_t)rows * rows * sizeof(*gram));
    inl_dense_gram(x, rows, cols, gram);
    for (uint32_t i = 0; i < rows * rows; i++)
        if (!(fabs(gram[i] - (i % (rows + 1) == 0)) < 1e-13))
            fail_msg("row %u with row %u: %g", i / rows, i % rows, gram[i]);
    free(gram);
}

static void rows_become_orthonormal(void **state)
{
    (void)state;
    static const uint32_t shapes[][2] = {{1, 1}, {1, 9}, {5, 5}, {7, 40}, {40, 41}};
    for (uint32_t i = 0; i < 5; i++) {
        uint32_t rows = shapes[i][0], cols = shapes[i][1];
        double *x = random_matrix(rows, cols, i);
        for (uint32_t c = 0; c < cols; c++) // nearly the row before it
            x[(rows - 1) * cols + c] = x[(rows / 2) * cols + c] + 1e-7 * x[(rows - 1) * cols + c];
        inl_dense_orthonormalize(x, 0, rows / 2, cols);
        inl_dense_orthonormalize(x, rows / 2, rows, cols);
        assert_orthonormal(x, rows, cols);
        free(x);
    }
}

static void what_depends_becomes_zero(void **state)
{
    (void)state;
    double *x = random_matrix(5, 6, 3);
    for (uint32_t c = 0; c < 6; c++) {
        x[6 + c] = 0.0;
        x[18 + c] = x[c] - 2.0 * x[12 + c];
    }
    inl_dense_orthonormalize(x, 0, 5, 6);
    for (uint32_t c = 0; c < 6; c++) {
        assert_true(x[6 + c] == 0.0 && x[18 + c] == 0.0);
        x[6 + c] = x[24 + c]; // the rows that are left
    }
    assert_orthonormal(x, 3, 6);
    free(x);
}

// a = V^T diag(values) V from a V that is known.
static void check_eigen(uint32_t n, const double *values)
{
    double *v = random_matrix(n, n, n), *scaled = random_matrix(n, n, 0);
    double *a = random_matrix(n, n, 0), *found = random_matrix(n, n, 0), *got = scaled;
    inl_dense_orthonormalize(v, 0, n, n);
    for (uint32_t r = 0; r < n; r++)
        for (uint32_t c = 0; c < n; c++) {
            a[r * n + c] = 0.0;
            for (uint32_t k = 0; k < n; k++)
                a[r * n + c] += values[k] * v[k * n + r] * v[k * n + c];
        }
    inl_dense_eigen(a, n, got, found);
    for (uint32_t i = 0; i < n; i++)
        if (!(fabs(got[i] - values[i]) < 1e-12 * fabs(values[0])))
            fail_msg("value %u of %u: %.15g, not %.15g", i, n, got[i], values[i]);
    assert_orthonormal(found, n, n);
    for (uint32_t i = 0; i < n; i++) {
        double same = 0.0;
        for (uint32_t c = 0; c < n; c++)
            same += found[i * n + c] * v[i * n + c];
        bool alone = (i == 0 || values[i - 1] > values[i]) &&
                     (i + 1 == n || values[i] > values[i + 1]);
        assert_true(!alone || fabs(fabs(same) - 1.0) < 1e-10);
    }
    free(v);
    free(scaled);
    free(a);
    free(found);
}

static void products(void **state)
{
    (void)state;
    const double a[6] = {1, 2, 3, 4, 5, 6}, b[6] = {1, -1, 0, 2, 3, 1};
    double out[4];
    inl_dense_multiply(a, b, 2, 3, 2, out); // [2, 3] by [3, 2]
    assert_true(out[0] == 10 && out[1] == 6 && out[2] == 22 && out[3] == 12);
    inl_dense_gram(a, 2, 3, out);
    assert_true(out[0] == 14 && out[1] == 32 && out[2] == 32 && out[3] == 77);
}

static void eigenvalues_and_vectors(void **state)
{
    (void)state;
    check_eigen(1, (const double[]){3.0});
    check_eigen(2, (const double[]){2.0, -1.0});
    check_eigen(4, (const double[]){5.0, 5.0, 1.0, 0.0}); // one of them twice
    double many[60];
    for (uint32_t i = 0; i < 60; i++)
        many[i] = pow(0.7, i);
    check_eigen(60, many);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(rows_become_orthonormal),
        cmocka_unit_test(what_depends_becomes_zero),
        cmocka_unit_test(products),
        cmocka_unit_test(eigenvalues_and_vectors),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
