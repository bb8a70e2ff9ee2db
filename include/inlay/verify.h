// SPDX-License-Identifier: MIT
// Whether a device and its driver compute what they should: the kernels that training and
// generating would use there, forward and gradient, against float64 on the CPU.
#ifndef INLAY_VERIFY_H
#define INLAY_VERIFY_H

#include <inlay/device.h>

INLAY_BEGIN

typedef enum inlay_verify_outcome {
    INLAY_VERIFY_OK = 0,
    INLAY_VERIFY_FAILED = 1,
    INLAY_VERIFY_SKIPPED = 2,
} inlay_verify_outcome;

#define INLAY_VERIFY_MAX_WRONG 4

// An element of a result that is not what it should be.
typedef struct inlay_verify_wrong {
    const char *tensor; // "dx"
    uint32_t row, column;
    double got, expected;
} inlay_verify_wrong;

// One check: a kernel or a few in a row, with inputs drawn by a seed. All strings are there, some
// empty, and live during the callback.
typedef struct inlay_verify_check {
    const char *family;  // "matmul"
    const char *name;    // "matmul gemm Q4_0 T33 N65 K96 plain"; params.only takes it
    const char *kernels; // that were run, with blanks between them
    inlay_verify_outcome outcome;
    const char *message; // what is wrong, or why the check was skipped
    // Sum of squared errors over that of what is expected, of the result that came nearest to its
    // bound; a bound of 0: results are to be equal, bit for bit.
    double error, bound;
    double seconds; // with what the CPU did
    uint32_t seed;
    uint32_t wrong_count; // the worst one and the first ones
    inlay_verify_wrong wrong[INLAY_VERIFY_MAX_WRONG];
} inlay_verify_check;

typedef struct inlay_verify_params {
    const char *only; // checks whose names have this in them; NULL: all
    uint32_t seed;    // of the inputs; 0: 1
    bool thorough;    // all checks there are (minutes), not the few for each kernel
    // On the caller's thread; either may be NULL. `begin` is told what is checked next: after a
    // crash the culprit is known. `check` is told of each; false ends it with INTERRUPTED.
    void (*begin)(void *user, const char *name);
    bool (*check)(void *user, const inlay_verify_check *check);
    void *user;
} inlay_verify_params;

typedef struct inlay_verify_result {
    uint32_t ok, failed, skipped;  // checks
    uint32_t kernels, kernels_run; // that the device gets, and of them those that a check ran
    double seconds;
} inlay_verify_result;

// INLAY_OK says that all checks were made: whether they were passed is in *result, which is filled
// in any case. `params` NULL: defaults. Takes about 50 MiB of the host's memory and 25 MiB of the
// device's, and while it checks what the device binds at most as much as that is and is free.
// Errors: NOT_FOUND, no check has `only` in its name; DEVICE_LOST, OUT_OF_MEMORY,
// OUT_OF_DEVICE_MEMORY, INTERRUPTED: it ended early.
INLAY_API inlay_result inlay_verify(inlay_verify_result *result, const inlay_env *env,
                                    inlay_device *device, const inlay_verify_params *params);

INLAY_END

#endif
