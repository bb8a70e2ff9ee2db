// SPDX-License-Identifier: MIT
// Where the library's sentences and memory come from and go to: log callback, allocator, both in
// one `inlay_env` that every constructor takes. A NULL env is legal: silent, malloc and free.
#ifndef INLAY_LOG_H
#define INLAY_LOG_H

#include <inlay/error.h>
#include <stddef.h>

INLAY_BEGIN

typedef enum inlay_log_level {
    INLAY_LOG_NONE = 0,  // nothing
    INLAY_LOG_ERROR = 1, // the call failed; the sentence says why
    INLAY_LOG_WARN = 2,  // the call went on, the result may not be what was wanted
    INLAY_LOG_INFO = 3,  // what a user may want to know: device, counts, choices made
    INLAY_LOG_DEBUG = 4, // what a developer may want to know
} inlay_log_level;

typedef struct inlay_env {
    // One sentence, no newline, valid during the call alone. May be called from the thread that
    // called the library, and for driver messages from a driver's thread. NULL: no log.
    void (*log)(void *user, inlay_log_level level, const char *message);
    void *log_user;
    inlay_log_level log_level; // most talkative level wanted; 0 means INLAY_LOG_INFO

    // realloc-like: `ptr` NULL allocates, `size` 0 frees and returns NULL. NULL: the C library's.
    // Must be thread-safe when handles are used from several threads.
    void *(*realloc)(void *user, void *ptr, size_t size);
    void *realloc_user;
} inlay_env;

INLAY_END

#endif
