// SPDX-License-Identifier: MIT
// `inlay bench --compare`: results of several devices as one page or picture.
#ifndef COMPARE_H
#define COMPARE_H

#include <stddef.h>

// `output` ends in .html or .png. Returns the exit status; what was wrong has been said.
int compare_run(const char *const *files, size_t count, const char *output);

#endif
