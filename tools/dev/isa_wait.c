// SPDX-License-Identifier: MIT
// One subgroup alone in a loop: it goes on to the next instruction, and waits where the machine
// code makes it wait for what it has loaded. Passes follow each other, so what is loaded in one for
// the next costs no time when there is enough to do between.
#include "isa.h"

#include <string.h>

enum { PASSES = 4, UNDER_WAY = 64 };

typedef struct subgroup {
    double now, tokens[ISA_TOKENS];
    double ready[ISA_COUNTERS][UNDER_WAY]; // the oldest first
    uint32_t count[ISA_COUNTERS];
} subgroup;

static void drop_oldest(subgroup *s, int counter)
{
    s->now = INL_MAX(s->now, s->ready[counter][0]);
    s->count[counter]--;
    memmove(s->ready[counter], s->ready[counter] + 1, s->count[counter] * sizeof(double));
}

static void wait_for(subgroup *s, const isa_line *line)
{
    for (int c = 1; c < ISA_COUNTERS; c++)
        while ((line->waits >> c & 1u) && s->count[c] > line->left[c])
            drop_oldest(s, c);
    for (int t = 0; t < ISA_TOKENS; t++)
        if (line->awaits >> t & 1u)
            s->now = INL_MAX(s->now, s->tokens[t]);
}

static void start(subgroup *s, const isa_line *line)
{
    double ready = s->now + line->latency;
    for (int t = 0; t < ISA_TOKENS; t++)
        if (line->signals >> t & 1u)
            s->tokens[t] = ready;
    if (line->counter == 0)
        return;
    if (s->count[line->counter] == UNDER_WAY)
        drop_oldest(s, line->counter);
    s->ready[line->counter][s->count[line->counter]++] = ready;
}

double isa_pass(const isa_line *lines, size_t count)
{
    subgroup s = {0};
    double before = 0.0;
    for (int pass = 0; pass < PASSES; pass++) {
        before = s.now;
        for (size_t i = 0; i < count; i++) {
            wait_for(&s, &lines[i]);
            start(&s, &lines[i]);
            s.now += lines[i].issue;
        }
    }
    return s.now - before;
}
