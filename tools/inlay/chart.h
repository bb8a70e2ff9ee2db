// SPDX-License-Identifier: MIT
// The charts of a comparison: each says how high it is at a width, and draws itself there with a
// pen. Values that are NaN are missing.
#ifndef CHART_H
#define CHART_H

#include "pen.h"

// A row of marks with their names, as many lines as the width needs. Draws nothing with `p` NULL;
// returns its height.
double chart_legend(pen *p, double width, double top, const char *const *names, size_t count);

// Bars in groups, a bar a series. Each group has a scale of its own, from 0 to its longest: groups
// may be models of very different sizes.
typedef struct chart_bars {
    const char *const *groups; // names
    size_t group_count;
    const char *const *series;
    size_t series_count;
    const double *values, *deviations; // [groups, series]
    const char *unit;
} chart_bars;
double chart_bars_height(const chart_bars *c, double width);
void chart_bars_draw(const chart_bars *c, pen *p, double width, double top);

// Bars in groups, each made of parts that have colours and a legend.
typedef struct chart_stacks {
    const char *const *groups;
    size_t group_count;
    const char *const *bars;
    size_t bar_count;
    const char *const *parts;
    size_t part_count;
    const double *values; // [groups, bars, parts]
    const char *unit;
} chart_stacks;
double chart_stacks_height(const chart_stacks *c, double width);
void chart_stacks_draw(const chart_stacks *c, pen *p, double width, double top);

// Speed over arithmetic intensity on logarithmic axes, under what each device could do at best.
typedef struct chart_roof {
    double flops;           // peak TFLOP/s
    double bytes;           // peak GB/s; NaN: not known
} chart_roof;
typedef struct chart_kernel {
    size_t series;
    double intensity; // FLOP a byte
    double tflops;
    const char *name;
} chart_kernel;
typedef struct chart_roofline {
    const char *const *series;
    const chart_roof *roofs; // [series]
    size_t series_count;
    const chart_kernel *kernels;
    size_t kernel_count;
} chart_roofline;
double chart_roofline_height(const chart_roofline *c, double width);
void chart_roofline_draw(const chart_roofline *c, pen *p, double width, double top);

#endif
