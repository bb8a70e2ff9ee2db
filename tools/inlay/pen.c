// SPDX-License-Identifier: MIT
#include "pen.h"

#include "cli.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#define CAPITALS 0.72 // height of a font's capitals, in its size
#define STROKE 0.055  // radius of their lines
#define DASH 6.0

const uint32_t pen_series_light[PEN_SERIES_COLOURS] = {0x0072b2, 0xd55e00, 0x009e73, 0xb5578f,
                                                       0xb97f00, 0x3794d1, 0x6b6f76, 0x7a4fb5};
const uint32_t pen_series_dark[PEN_SERIES_COLOURS] = {0x4aa8e0, 0xf08a45, 0x3cc79c, 0xdf92c2,
                                                      0xe6b045, 0x86c5f2, 0xa6acb5, 0xb297e6};

void html_text(FILE *out, const char *text)
{
    size_t size;
    char *clean = utf8_clean(text, strlen(text), &size);
    for (const char *c = clean; *c; c++) {
        switch (*c) {
        case '&': fputs("&amp;", out); break;
        case '<': fputs("&lt;", out); break;
        case '>': fputs("&gt;", out); break;
        case '"': fputs("&quot;", out); break;
        case '\'': fputs("&#39;", out); break;
        default: fputc((unsigned char)*c < ' ' ? ' ' : *c, out);
        }
    }
    free(clean);
}

static int colour_class(int colour)
{
    return colour < PEN_SERIES ? colour
                               : PEN_SERIES + (colour - PEN_SERIES) % PEN_SERIES_COLOURS;
}

static uint32_t rgb_of(int colour)
{
    static const uint32_t plain[] = {0x1b1f26, 0x59606b, 0xdfe2e6};
    int k = colour_class(colour);
    return k < PEN_SERIES ? plain[k] : pen_series_light[k - PEN_SERIES];
}

static point scaled(const pen *p, point at)
{
    return (point){(at.x + p->left) * p->scale, at.y * p->scale};
}

static void end_mark(pen *p, const char *name, const char *tip)
{
    if (!tip) {
        fputs("/>\n", p->svg);
        return;
    }
    fputs("><title>", p->svg);
    html_text(p->svg, tip);
    fprintf(p->svg, "</title></%s>\n", name);
}

void pen_box(pen *p, range x, range y, int colour, const char *tip)
{
    if (p->pixels) {
        point from = scaled(p, (point){x.low, y.low}), to = scaled(p, (point){x.high, y.high});
        canvas_box(p->pixels, (range){from.x, to.x}, (range){from.y, to.y});
        canvas_ink(p->pixels, rgb_of(colour), 1.0f);
        return;
    }
    fprintf(p->svg, "<rect class=\"f%d\" x=\"%.1f\" y=\"%.1f\" width=\"%.1f\" height=\"%.1f\"",
            colour_class(colour), x.low, y.low, x.high - x.low, y.high - y.low);
    end_mark(p, "rect", tip);
}

static void stroke_pixels(pen *p, point a, point b, double radius, bool dashed)
{
    double length = hypot(b.x - a.x, b.y - a.y), step = DASH * p->scale;
    if (!dashed || !(length > step)) {
        canvas_stroke(p->pixels, a, b, radius);
        return;
    }
    for (double at = 0.0; at < length; at += 2.0 * step) {
        double from = at / length, to = fmin(at + step, length) / length;
        canvas_stroke(p->pixels,
                      (point){a.x + (b.x - a.x) * from, a.y + (b.y - a.y) * from},
                      (point){a.x + (b.x - a.x) * to, a.y + (b.y - a.y) * to}, radius);
    }
}

void pen_line(pen *p, point a, point b, double width, int colour, bool dashed)
{
    if (p->pixels) {
        stroke_pixels(p, scaled(p, a), scaled(p, b), width * p->scale / 2.0, dashed);
        canvas_ink(p->pixels, rgb_of(colour), 1.0f);
        return;
    }
    fprintf(p->svg,
            "<line class=\"s%d\" x1=\"%.1f\" y1=\"%.1f\" x2=\"%.1f\" y2=\"%.1f\""
            " stroke-width=\"%.1f\"%s/>\n",
            colour_class(colour), a.x, a.y, b.x, b.y, width,
            dashed ? " stroke-dasharray=\"6 6\"" : "");
}

void pen_dot(pen *p, point at, double radius, int colour, const char *tip)
{
    if (p->pixels) {
        canvas_stroke(p->pixels, scaled(p, at), scaled(p, at), radius * p->scale);
        canvas_ink(p->pixels, rgb_of(colour), 1.0f);
        return;
    }
    fprintf(p->svg, "<circle class=\"f%d\" cx=\"%.1f\" cy=\"%.1f\" r=\"%.1f\"",
            colour_class(colour), at.x, at.y, radius);
    end_mark(p, "circle", tip);
}

static face face_of(double size, int colour)
{
    return (face){CAPITALS * size, STROKE * size, rgb_of(colour)};
}

// The strokes' font has ASCII alone.
static void ascii(const char *text, char out[FACE_ROOM])
{
    size_t at = 0;
    for (; *text && at + 3 < FACE_ROOM; text++) {
        if (strncmp(text, "\xc2\xb1", 2) == 0) {
            out[at++] = '+';
            out[at++] = '-';
            text++;
        } else {
            out[at++] = *text;
        }
    }
    out[at] = '\0';
}

void pen_text(pen *p, point at, double size, double anchor, int colour, const char *text)
{
    static const char *const anchors[] = {"start", "middle", "end"};
    if (p->pixels) {
        char plain[FACE_ROOM];
        face f = face_of(size * p->scale, colour);
        ascii(text, plain);
        canvas_text(p->pixels, &f, scaled(p, at), anchor, false, plain);
        return;
    }
    fprintf(p->svg, "<text class=\"f%d\" x=\"%.1f\" y=\"%.1f\" font-size=\"%.0f\""
                    " text-anchor=\"%s\">",
            colour_class(colour), at.x, at.y, size, anchors[(int)(2.0 * anchor)]);
    html_text(p->svg, text);
    fputs("</text>\n", p->svg);
}

double pen_width(double size, const char *text)
{
    face f = face_of(size, PEN_TEXT);
    return face_width(&f, text);
}

const char *pen_fit(double size, const char *text, double room, char out[FACE_ROOM])
{
    face f = face_of(size, PEN_TEXT);
    return face_width(&f, text) <= room ? text : face_fit(&f, text, room, out);
}
