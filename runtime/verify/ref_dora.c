// SPDX-License-Identifier: MIT
#include "verify/ref.h"

#include <math.h>

void ref_dora_norms(const double *w, const double *a, const double *b, uint32_t out, uint32_t in,
                    uint32_t rank, double scale, double *norm)
{
    for (uint32_t n = 0; n < out; n++) {
        double sum = 0.0;
        for (uint32_t k = 0; k < in; k++) {
            double value = 0.0;
            for (uint32_t r = 0; r < rank; r++)
                value += b[(uint64_t)n * rank + r] * a[(uint64_t)r * in + k];
            value = w[(uint64_t)n * in + k] + scale * value;
            sum += value * value;
        }
        norm[n] = sqrt(sum);
    }
}

void ref_dora(const double *u, const double *m, const double *norm, const double *bias,
              const double *residual, uint32_t rows, uint32_t cols, double *y)
{
    for (uint32_t t = 0; t < rows; t++)
        for (uint32_t n = 0; n < cols; n++) {
            uint64_t at = (uint64_t)t * cols + n;
            y[at] = m[n] / norm[n] * u[at] + (bias ? bias[n] : 0.0) +
                    (residual ? residual[at] : 0.0);
        }
}

void ref_dora_dm(const double *dy, const double *u, const double *norm, uint32_t rows,
                 uint32_t cols, double *dm)
{
    for (uint32_t n = 0; n < cols; n++)
        for (uint32_t t = 0; t < rows; t++)
            dm[n] += dy[(uint64_t)t * cols + n] * u[(uint64_t)t * cols + n] / norm[n];
}
