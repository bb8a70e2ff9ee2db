// SPDX-License-Identifier: MIT
// What the programs in this folder share. Header only.
#ifndef DEV_COMMON_H
#define DEV_COMMON_H

#include "base/env.h"

#include <stdio.h>
#include <stdlib.h>

static inline void dev_log(void *user, inlay_log_level level, const char *message)
{
    (void)user;
    if (level <= INLAY_LOG_WARN)
        fprintf(stderr, "%s\n", message);
}

// Ends the program when something failed; the reason has been logged.
static inline void dev_check(inlay_result result, const char *what)
{
    if (result == INLAY_OK)
        return;
    fprintf(stderr, "cannot %s\n", what);
    exit(1);
}

#endif
