// SPDX-License-Identifier: MIT
// What charts are drawn with: one of two pens, of SVG and of pixels, so that a chart is written
// once for pages and for pictures. Lengths are CSS pixels, y downwards.
#ifndef PEN_H
#define PEN_H

#include "plot_canvas.h"

#include <stdio.h>

// Series have colours of their own: PEN_SERIES + 0, 1, ..., any number of them.
typedef enum pen_colour { PEN_TEXT, PEN_SOFT, PEN_GRID, PEN_SERIES } pen_colour;

#define PEN_SERIES_COLOURS 8
// Told apart by the colour-blind as well, on white and on near-black.
extern const uint32_t pen_series_light[PEN_SERIES_COLOURS], pen_series_dark[PEN_SERIES_COLOURS];

typedef struct pen {
    FILE *svg;      // its body; colours are classes c0, c1, ... of the page's style. NULL: pixels
    canvas *pixels; // of a picture `scale` times as large, that begins at `left`
    double scale, left;
} pen;

// `tip`: what a page shows under the pointer; NULL: nothing.
void pen_box(pen *p, range x, range y, int colour, const char *tip);
void pen_line(pen *p, point a, point b, double width, int colour, bool dashed);
void pen_dot(pen *p, point at, double radius, int colour, const char *tip);
// `at` on the baseline, `anchor`: the part of the text before it: 0, 0.5 or 1.
void pen_text(pen *p, point at, double size, double anchor, int colour, const char *text);
// About: a page's font is not known.
double pen_width(double size, const char *text);
// As much of it as fits; in `out`, or `text` itself.
const char *pen_fit(double size, const char *text, double room, char out[FACE_ROOM]);

// Text for HTML: what has a meaning there is escaped, what is no UTF-8 becomes U+FFFD.
void html_text(FILE *out, const char *text);

#endif
