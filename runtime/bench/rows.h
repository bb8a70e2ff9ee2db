// SPDX-License-Identifier: MIT
// Rows of a matrix of weights as numbers: those that the device's planes stand for.
#ifndef INL_BENCH_ROWS_H
#define INL_BENCH_ROWS_H

#include "model/model.h"

typedef struct inl_rows {
    const inl_source *source;
    float *all;      // of NF4, whose scales are not its rows': the whole matrix
    float *values;   // a row
    uint8_t *blocks; // the same in the format it has on the device
} inl_rows;

// What is no matrix of experts, nor bitsandbytes'.
inlay_result inl_rows_open(const inl_env *env, const inl_source *source, inl_rows *out);
void inl_rows_close(const inl_env *env, inl_rows *rows);
const float *inl_rows_get(const inl_rows *rows, uint32_t row); // until the next one
// sum w[i] x[i]
double inl_rows_dot(const float *w, const double *x, uint32_t count);

#endif
