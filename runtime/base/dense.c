// SPDX-License-Identifier: MIT
#include "base/dense.h"

#include <math.h>
#include <string.h>

#define SWEEPS 40           // of Jacobi's; 8 are usual
#define DEPENDENT 1e-10     // what may be left of a row that others make up
#define OFF_DIAGONAL 1e-28  // of the trace's square

static double dot(const double *a, const double *b, uint32_t n)
{
    double sum = 0.0;
    for (uint32_t i = 0; i < n; i++)
        sum += a[i] * b[i];
    return sum;
}

static void add_scaled(double *a, double factor, const double *b, uint32_t n)
{
    for (uint32_t i = 0; i < n; i++)
        a[i] += factor * b[i];
}

void inl_dense_orthonormalize(double *x, uint32_t done, uint32_t rows, uint32_t cols)
{
    for (uint32_t r = done; r < rows; r++) {
        double *row = x + (uint64_t)r * cols, before = sqrt(dot(row, row, cols));
        for (uint32_t pass = 0; pass < 2; pass++)
            for (uint32_t q = 0; q < r; q++) {
                const double *other = x + (uint64_t)q * cols;
                add_scaled(row, -dot(row, other, cols), other, cols);
            }
        double left = sqrt(dot(row, row, cols));
        double factor = left > DEPENDENT * before ? 1.0 / left : 0.0;
        for (uint32_t c = 0; c < cols; c++)
            row[c] *= factor;
    }
}

// Turns rows and columns p and q of a, and rows p and q of v, so that a[p, q] becomes zero.
static void rotate(double *a, double *v, uint32_t n, uint32_t p, uint32_t q)
{
    double apq = a[(uint64_t)p * n + q];
    if (apq == 0.0)
        return;
    double theta = (a[(uint64_t)q * n + q] - a[(uint64_t)p * n + p]) / (2.0 * apq);
    double t = (theta < 0.0 ? -1.0 : 1.0) / (fabs(theta) + sqrt(theta * theta + 1.0));
    double c = 1.0 / sqrt(t * t + 1.0), s = t * c;
    for (uint32_t k = 0; k < n; k++) {
        double x = a[(uint64_t)k * n + p], y = a[(uint64_t)k * n + q];
        a[(uint64_t)k * n + p] = c * x - s * y;
        a[(uint64_t)k * n + q] = s * x + c * y;
    }
    double *rows[2] = {a, v};
    for (uint32_t i = 0; i < 2; i++)
        for (uint32_t k = 0; k < n; k++) {
            double *x = &rows[i][(uint64_t)p * n + k], *y = &rows[i][(uint64_t)q * n + k], old = *x;
            *x = c * old - s * *y;
            *y = s * old + c * *y;
        }
}

static double off_diagonal(const double *a, uint32_t n, double *trace)
{
    double sum = 0.0;
    *trace = 0.0;
    for (uint32_t p = 0; p < n; p++) {
        *trace += a[(uint64_t)p * n + p];
        for (uint32_t q = p + 1; q < n; q++)
            sum += a[(uint64_t)p * n + q] * a[(uint64_t)p * n + q];
    }
    return sum;
}

static void swap_rows(double *v, uint32_t n, uint32_t p, uint32_t q)
{
    for (uint32_t k = 0; k < n && p != q; k++) {
        double old = v[(uint64_t)p * n + k];
        v[(uint64_t)p * n + k] = v[(uint64_t)q * n + k];
        v[(uint64_t)q * n + k] = old;
    }
}

void inl_dense_eigen(double *a, uint32_t n, double *values, double *v)
{
    double trace;
    memset(v, 0, (uint64_t)n * n * sizeof(*v));
    for (uint32_t i = 0; i < n; i++)
        v[(uint64_t)i * n + i] = 1.0;
    for (uint32_t sweep = 0; sweep < SWEEPS; sweep++) {
        if (off_diagonal(a, n, &trace) <= OFF_DIAGONAL * trace * trace)
            break;
        for (uint32_t p = 0; p < n; p++)
            for (uint32_t q = p + 1; q < n; q++)
                rotate(a, v, n, p, q);
    }
    for (uint32_t i = 0; i < n; i++)
        values[i] = a[(uint64_t)i * n + i];
    for (uint32_t i = 0; i < n; i++) {
        uint32_t most = i;
        for (uint32_t k = i + 1; k < n; k++)
            most = values[k] > values[most] ? k : most;
        double value = values[most];
        values[most] = values[i];
        values[i] = value;
        swap_rows(v, n, i, most);
    }
}

void inl_dense_multiply(const double *a, const double *b, uint32_t rows, uint32_t inner,
                        uint32_t cols, double *out)
{
    memset(out, 0, (uint64_t)rows * cols * sizeof(*out));
    for (uint32_t r = 0; r < rows; r++)
        for (uint32_t k = 0; k < inner; k++)
            add_scaled(out + (uint64_t)r * cols, a[(uint64_t)r * inner + k],
                       b + (uint64_t)k * cols, cols);
}

void inl_dense_gram(const double *x, uint32_t rows, uint32_t cols, double *out)
{
    for (uint32_t r = 0; r < rows; r++)
        for (uint32_t q = 0; q <= r; q++)
            out[(uint64_t)r * rows + q] = out[(uint64_t)q * rows + r] =
                dot(x + (uint64_t)r * cols, x + (uint64_t)q * cols, cols);
}
