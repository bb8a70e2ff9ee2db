// SPDX-License-Identifier: MIT
// A line chart as a PNG file in memory: 1280 x 720, linear axes with round ticks, a legend.
// Text is ASCII. When a few values stand far above the rest, the picture is of the rest and says
// so.
#ifndef PLOT_H
#define PLOT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

// A point with a NaN or an infinity is left out. A faint series has the colour of the one after
// it: put raw values before their smoothed line. No name: no legend entry.
typedef struct plot_series {
    const char *name;
    const double *x, *y;
    size_t count;
    bool faint;
    bool markers;
} plot_series;

typedef struct plot_labels {
    const char *title, *x, *y;
} plot_labels;

// Allocated, *size bytes; NULL when memory ran out.
uint8_t *plot_png(const plot_labels *labels, const plot_series *series, size_t count, size_t *size);

// Exponential moving average with bias correction, over about a 100th of the values (5, if there
// are few). What is not
// finite stays as it is and does not count.
void plot_smooth(const double *y, size_t count, double *out);

// Ticks first * step, (first + 1) * step, ..., step = 1, 2 or 5 times a power of ten.
typedef struct plot_ticks {
    double first;
    int unit, exponent; // step = unit * 10^exponent
    size_t count;
} plot_ticks;

// The finest ticks inside [low, high] that are at most `most`; `whole`: no fractions. Neither end
// is past 1e300, and low < high are 1e-290 or more apart.
plot_ticks plot_ticks_find(double low, double high, size_t most, bool whole);
double plot_tick(const plot_ticks *ticks, size_t index);
// With the digits that the step needs.
void plot_tick_text(const plot_ticks *ticks, size_t index, char *out, size_t room);

#endif
