// SPDX-License-Identifier: MIT
// Small dense linear algebra in double. Matrices are row-major.
#ifndef INL_BASE_DENSE_H
#define INL_BASE_DENSE_H

#include <stdint.h>

// Makes the rows of x [rows, cols] orthonormal, each by what the rows before it leave of it
// (Gram-Schmidt, twice); the first `done` are so already. A row that nothing is left of becomes
// zero.
void inl_dense_orthonormalize(double *x, uint32_t done, uint32_t rows, uint32_t cols);
// The eigenvalues of the symmetric a [n, n], largest first, and their vectors as the rows of
// `vectors` [n, n], by Jacobi's rotations. a is used up.
void inl_dense_eigen(double *a, uint32_t n, double *values, double *vectors);
// out [rows, cols] = sum_k a[r, k] b[k, c]
void inl_dense_multiply(const double *a, const double *b, uint32_t rows, uint32_t inner,
                        uint32_t cols, double *out);
// out [rows, rows] = x x^T
void inl_dense_gram(const double *x, uint32_t rows, uint32_t cols, double *out);

#endif
