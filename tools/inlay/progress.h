// SPDX-License-Identifier: MIT
// How far a run is, on stderr: on a terminal one line that is drawn anew, elsewhere one line a
// report.
#ifndef PROGRESS_H
#define PROGRESS_H

#include <stdbool.h>
#include <stdint.h>

typedef struct progress_state {
    const char *unit; // "step"
    uint32_t done, total;
    uint32_t start;    // done before this process
    double seconds;    // since then, wall clock
    double loss;       // NaN: not shown
    double per_second; // tokens; 0: not shown
    uint64_t memory_bytes; // 0: not shown
    double learning_rate, grad_norm; // in reports alone; NaN: not shown
} progress_state;

void progress_begin(void);
// A terminal's line, at most a few times a second; nothing elsewhere.
void progress_draw(const progress_state *state);
// A line of its own where stderr is no terminal.
void progress_report(const progress_state *state);
void progress_end(void);
// The line's text for a width, for tests.
void progress_format(const progress_state *state, unsigned width, char *out, unsigned room);

double clock_seconds(void); // monotonic

#endif
