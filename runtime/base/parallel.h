// SPDX-License-Identifier: MIT
// Work in pieces on several threads. The calling thread takes part and returns when all is done.
#ifndef INL_BASE_PARALLEL_H
#define INL_BASE_PARALLEL_H

#include <stdint.h>

// Called once for each index, from whichever thread. It must not use the environment: the caller's
// allocator and log need not be thread-safe.
typedef void inl_parallel_work(void *user, uint32_t index);

// Calls work(user, i) for i below `count`, on at most `threads` threads (0: as many as the machine
// has processors), in about that order. Fewer threads do it where the system gives no more.
void inl_parallel(uint32_t threads, uint32_t count, inl_parallel_work *work, void *user);

// Processors of this machine that are turned on, at least 1.
uint32_t inl_processors(void);

#endif
