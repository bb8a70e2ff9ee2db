// SPDX-License-Identifier: MIT
// What pictures are drawn on: strokes, which are lines with round ends, and boxes. The exact
// coverage of each pixel goes into a mask (the highest counts, so joints do not show), then
// canvas_ink() colours the mask at once. Text is strokes as well, from plot_font.h. Pixels from the
// top left, y downwards.
#ifndef PLOT_CANVAS_H
#define PLOT_CANVAS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define FACE_ROOM 256

typedef struct point {
    double x, y;
} point;

typedef struct range {
    double low, high;
} range;

typedef struct canvas {
    int width, height;
    uint8_t *rgb; // [height, width, 3]
    float *mask;  // [height, width], zero between two inks
    range clip_x, clip_y; // what strokes may cover
    int dirty_from, dirty_to; // rows of the mask
} canvas;

// How a text is set: the capitals' height in pixels, the lines' radius, the colour.
typedef struct face {
    double size, radius;
    uint32_t colour;
} face;

// White; false when memory ran out. To be closed in either case.
bool canvas_open(canvas *c, int width, int height);
void canvas_close(canvas *c);
// A PNG file, allocated, *size bytes; NULL when memory ran out.
uint8_t *canvas_png(const canvas *c, size_t *size);
void canvas_whole(canvas *c); // no clipping
// Coordinates are finite and not past a few million.
void canvas_stroke(canvas *c, point a, point b, double radius);
void canvas_box(canvas *c, range x, range y);
void canvas_ink(canvas *c, uint32_t colour, float opacity);

// `anchor`: the part of the text that lies before `at` (on its baseline), from 0 to 1.
void canvas_text(canvas *c, const face *f, point at, double anchor, bool upwards,
                 const char *text);
double face_width(const face *f, const char *text);
// As much of `text` as is no wider than `room`, with dots for the rest; NULL is an empty text.
const char *face_fit(const face *f, const char *text, double room, char out[FACE_ROOM]);

#endif
