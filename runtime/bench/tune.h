// SPDX-License-Identifier: MIT
// Which tiles are fastest on the device at hand: candidates take turns at products of some shapes
// and formats, and each one's result is compared with that of the tiles the device has.
#ifndef INL_BENCH_TUNE_H
#define INL_BENCH_TUNE_H

#include "op/op.h"

// What one candidate came to: geometric mean of seconds by the seconds of the tiles there were,
// over the products it was tried on.
typedef struct inl_tune_candidate {
    const char *what; // "gemm", "small tile", ...
    char tiles[64];   // "128 x 64 x 16, 8 x 8 a thread"
    double ratio;     // below 1: faster; 0: wrong
    bool chosen;
    double error; // largest NMSE of its results
} inl_tune_candidate;

typedef struct inl_tune_params {
    double seconds; // it takes about so long at most; 0: 60
    bool (*progress)(void *user, const inl_tune_candidate *candidate); // false: stops, INTERRUPTED
    void *user;
} inl_tune_params;

// Gives gpu the tiles that were found. On failure it keeps those it had.
inlay_result inl_tune(const inl_env *env, inl_gpu *gpu, const inl_tune_params *params);

#endif
