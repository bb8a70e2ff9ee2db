// SPDX-License-Identifier: MIT
// Work shared by threads: each piece once, however many threads there are, and signals stay away.
#define _GNU_SOURCE
#include "base/parallel.h"
#include "base/env.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <string.h>

enum { PIECES = 1000 };

static atomic_uint done[PIECES], with_signals;
static pthread_t caller;

static void work(void *user, uint32_t index)
{
    sigset_t blocked;
    pthread_sigmask(SIG_SETMASK, NULL, &blocked);
    if (!pthread_equal(pthread_self(), caller))
        atomic_fetch_add(&with_signals, !sigismember(&blocked, SIGINT));
    atomic_fetch_add(&done[index], *(const unsigned *)user);
}

static void each_piece_is_done_once(void **state)
{
    (void)state;
    static const uint32_t counts[] = {0, 1, 2, 17, PIECES}, threads[] = {0, 1, 2, 5, 1000};
    unsigned one = 1;
    caller = pthread_self();
    sigset_t before, after;
    pthread_sigmask(SIG_SETMASK, NULL, &before);
    for (size_t c = 0; c < INL_COUNT(counts); c++)
        for (size_t t = 0; t < INL_COUNT(threads); t++) {
            memset(done, 0, sizeof(done));
            inl_parallel(threads[t], counts[c], work, &one);
            for (uint32_t i = 0; i < PIECES; i++)
                assert_int_equal(done[i], i < counts[c]);
        }
    pthread_sigmask(SIG_SETMASK, NULL, &after);
    for (int signal = 1; signal < NSIG; signal++)
        assert_int_equal(sigismember(&before, signal), sigismember(&after, signal));
    assert_int_equal(with_signals, 0);
}

static void a_machine_has_a_processor(void **state)
{
    (void)state;
    assert_true(inl_processors() >= 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_piece_is_done_once),
        cmocka_unit_test(a_machine_has_a_processor),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
