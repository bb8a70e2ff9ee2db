// SPDX-License-Identifier: MIT
// An environment whose allocations can fail and are counted, and the test over it: what runs out of
// memory says so, with an error code and a sentence, and gives back all it had. Jansson allocates
// for itself, so its failures are left out. Include after cmocka.h. Header only.
#ifndef HARNESS_FAILING_ENV_H
#define HARNESS_FAILING_ENV_H

#include "base/env.h"
#include "base/rng.h"

#include <stdio.h>
#include <stdlib.h>
#include <time.h>

typedef struct failing_env {
    uint32_t calls;   // allocations asked for so far
    uint32_t fail_at; // the first that fails, counted from 1; 0: none
    bool recovers;    // it alone fails, instead of all from there on
    int live;         // blocks not given back
    int errors;       // sentences at error level
    char text[1024];  // the last of them
    char warning[1024]; // the last one
} failing_env;

static inline void *failing_realloc(void *user, void *ptr, size_t size)
{
    failing_env *f = user;
    if (size == 0) {
        f->live -= ptr != NULL;
        free(ptr);
        return NULL;
    }
    f->calls++;
    if (f->fail_at != 0 && (f->recovers ? f->calls == f->fail_at : f->calls >= f->fail_at))
        return NULL;
    f->live += ptr == NULL;
    return realloc(ptr, size);
}

static inline void failing_log(void *user, inlay_log_level level, const char *message)
{
    failing_env *f = user;
    if (level == INLAY_LOG_WARN)
        snprintf(f->warning, sizeof(f->warning), "%s", message);
    if (level != INLAY_LOG_ERROR)
        return;
    f->errors++;
    snprintf(f->text, sizeof(f->text), "%s", message);
}

// The environment keeps a pointer to *f.
static inline inl_env failing_env_start(failing_env *f, uint32_t fail_at, bool recovers)
{
    *f = (failing_env){.fail_at = fail_at, .recovers = recovers};
    return inl_env_resolve(&(inlay_env){.log = failing_log, .log_user = f,
                                        .realloc = failing_realloc, .realloc_user = f});
}

// Does all it is about with `env` and gives back whatever it got, on failure too.
typedef inlay_result failing_act(const inl_env *env, void *user);

static inline void check_failure_at(failing_act *act, void *user, uint32_t at, bool recovers)
{
    failing_env f;
    inl_env env = failing_env_start(&f, at, recovers);
    inlay_result result = act(&env, user);
    bool not_reached = f.calls < at; // `act` on a device may do less than it did the first time
    bool did_without = (recovers || not_reached) && result == INLAY_OK && f.errors == 0;
    bool said_so = result == INLAY_ERROR_OUT_OF_MEMORY && f.errors > 0;
    if ((!did_without && !said_so) || f.live != 0)
        fail_msg("allocation %u %s: result %d, %d blocks left, %d errors, the last \"%s\"", at,
                 recovers ? "alone fails" : "and all after it fail", result, f.live, f.errors,
                 f.text);
}

// `act` with each of its allocations failing, alone and with all after it; of more than `most` a
// random choice. The seed is printed; INLAY_TEST_SEED sets it. Returns how many allocations `act`
// makes.
static inline uint32_t check_each_failure(const char *name, failing_act *act, void *user,
                                          uint32_t most)
{
    failing_env f;
    inl_env env = failing_env_start(&f, 0, false);
    inlay_result result = act(&env, user);
    if (result != INLAY_OK || f.live != 0)
        fail_msg("%s: result %d, %d blocks left, \"%s\"", name, result, f.live, f.text);
    uint32_t calls = f.calls, tried = INL_MIN(calls, most);
    const char *given = getenv("INLAY_TEST_SEED");
    uint32_t seed = given ? (uint32_t)strtoul(given, NULL, 0) : (uint32_t)time(NULL);
    print_message("%s: %u of %u allocations made to fail, seed %u\n", name, tried, calls, seed);
    for (uint32_t i = 0; i < tried; i++) {
        uint32_t at = calls <= most ? i + 1 : inl_rng_u32(seed, 0, i) % calls + 1;
        check_failure_at(act, user, at, false);
        check_failure_at(act, user, at, true);
    }
    return calls;
}

#endif
