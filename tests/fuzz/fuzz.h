// SPDX-License-Identifier: MIT
// What a fuzz target is: one file with these two functions. libFuzzer's main or replay.c drives it.
#ifndef FUZZ_FUZZ_H
#define FUZZ_FUZZ_H

#include "base/env.h"

#include <stdlib.h>
#include <string.h>

// Any bytes. Aborts where the code breaks a promise that no sanitizer sees.
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

// Hands `put` the inputs from which a fuzzer starts: good ones, of every kind there is. `name` is
// unique in the target.
typedef void fuzz_put(void *user, const char *name, const void *data, size_t size);
void fuzz_seeds(fuzz_put *put, void *user);

static inline void fuzz_require(bool condition)
{
    if (!condition)
        abort();
}

// Reads every byte.
static inline uint64_t fuzz_touch(const void *data, uint64_t size)
{
    uint64_t sum = 0;
    for (uint64_t i = 0; i < size; i++)
        sum += ((const uint8_t *)data)[i];
    return sum;
}

// Counts the sentences at error level into *user, an int; each level's must have words.
static inline void fuzz_count_errors(void *user, inlay_log_level level, const char *message)
{
    fuzz_require(strlen(message) > 0);
    *(int *)user += level == INLAY_LOG_ERROR;
}

static inline inl_env fuzz_env(int *errors)
{
    inlay_env env = {.log = fuzz_count_errors, .log_user = errors, .log_level = INLAY_LOG_DEBUG};
    *errors = 0;
    return inl_env_resolve(&env);
}

// A seed whose first bytes choose what the target does with the rest.
static inline void fuzz_put_with(fuzz_put *put, void *user, const char *name, const char *head,
                                 size_t head_size, const void *data, size_t size)
{
    uint8_t *both = malloc(head_size + size);
    fuzz_require(both != NULL);
    memcpy(both, head, head_size);
    if (size > 0)
        memcpy(both + head_size, data, size);
    put(user, name, both, head_size + size);
    free(both);
}

#endif
