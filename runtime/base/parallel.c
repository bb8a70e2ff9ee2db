// SPDX-License-Identifier: MIT
#define _POSIX_C_SOURCE 200809L
#include "base/parallel.h"
#include "base/env.h"

#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <unistd.h>

#define MAX_THREADS 16
#define STACK_BYTES (8u << 20) // a driver's compiler expects what a process starts with

typedef struct team {
    inl_parallel_work *work;
    void *user;
    uint32_t count;
    atomic_uint next;
} team;

uint32_t inl_processors(void)
{
    long count = sysconf(_SC_NPROCESSORS_ONLN);
    return count > 0 ? (uint32_t)INL_MIN(count, 1024) : 1;
}

static void *take_turns(void *p)
{
    team *t = p;
    for (uint32_t i; (i = atomic_fetch_add(&t->next, 1)) < t->count;)
        t->work(t->user, i);
    return NULL;
}

// The caller's signals stay the caller's: a handler of the host runs on no thread of ours.
static uint32_t start(pthread_t *threads, uint32_t count, team *t)
{
    uint32_t started = 0;
    pthread_attr_t attributes;
    sigset_t all, before;
    if (count == 0 || pthread_attr_init(&attributes) != 0)
        return 0;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    if (pthread_attr_setstacksize(&attributes, STACK_BYTES) == 0)
        while (started < count &&
               pthread_create(&threads[started], &attributes, take_turns, t) == 0)
            started++;
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    pthread_attr_destroy(&attributes);
    return started;
}

void inl_parallel(uint32_t threads, uint32_t count, inl_parallel_work *work, void *user)
{
    pthread_t others[MAX_THREADS];
    team t = {.work = work, .user = user, .count = count};
    uint32_t wanted = INL_MIN(threads ? threads : inl_processors(), count);
    uint32_t started = start(others, INL_MIN(wanted, MAX_THREADS) - (wanted > 0), &t);
    take_turns(&t);
    for (uint32_t i = 0; i < started; i++)
        pthread_join(others[i], NULL);
}
