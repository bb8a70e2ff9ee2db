// SPDX-License-Identifier: MIT
#include "plot_canvas.h"

#include "plot_font.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define STB_IMAGE_WRITE_STATIC
#define STB_IMAGE_WRITE_IMPLEMENTATION
#include <stb/stb_image_write.h>

static int clamp_int(double value, int low, int high)
{
    return value < low ? low : value > high ? high : (int)value;
}

static void cover(canvas *c, int x, int y, double amount)
{
    float *pixel = &c->mask[(size_t)y * (size_t)c->width + (size_t)x];
    *pixel = fmaxf(*pixel, (float)fmin(amount, 1.0));
    c->dirty_from = y < c->dirty_from ? y : c->dirty_from;
    c->dirty_to = y >= c->dirty_to ? y + 1 : c->dirty_to;
}

static double distance(point p, point a, point b)
{
    double dx = b.x - a.x, dy = b.y - a.y, length = dx * dx + dy * dy;
    double t = length > 0.0 ? ((p.x - a.x) * dx + (p.y - a.y) * dy) / length : 0.0;
    t = fmin(fmax(t, 0.0), 1.0);
    return hypot(p.x - a.x - t * dx, p.y - a.y - t * dy);
}

// Walks the longer axis and looks only near the line on the other: time is length times width.
void canvas_stroke(canvas *c, point a, point b, double radius)
{
    bool steep = fabs(b.y - a.y) > fabs(b.x - a.x);
    range along = steep ? c->clip_y : c->clip_x, across = steep ? c->clip_x : c->clip_y;
    double a0 = steep ? a.y : a.x, b0 = steep ? b.y : b.x;
    double a1 = steep ? a.x : a.y, b1 = steep ? b.x : b.y;
    double slope = a0 == b0 ? 0.0 : (b1 - a1) / (b0 - a0), reach = 1.5 * (radius + 1.0);
    int from = clamp_int(floor(fmin(a0, b0) - reach), (int)along.low, (int)along.high);
    int to = clamp_int(ceil(fmax(a0, b0) + reach), (int)along.low, (int)along.high);
    for (int i = from; i < to; i++) {
        double middle = a1 + slope * (fmin(fmax(i + 0.5, fmin(a0, b0)), fmax(a0, b0)) - a0);
        int first = clamp_int(floor(middle - reach), (int)across.low, (int)across.high);
        int last = clamp_int(ceil(middle + reach), (int)across.low, (int)across.high);
        for (int j = first; j < last; j++) {
            int x = steep ? j : i, y = steep ? i : j;
            double amount = radius + 0.5 - distance((point){x + 0.5, y + 0.5}, a, b);
            if (amount > 0.0)
                cover(c, x, y, amount);
        }
    }
}

void canvas_box(canvas *c, range x, range y)
{
    int left = clamp_int(floor(x.low), (int)c->clip_x.low, (int)c->clip_x.high);
    int right = clamp_int(ceil(x.high), (int)c->clip_x.low, (int)c->clip_x.high);
    int top = clamp_int(floor(y.low), (int)c->clip_y.low, (int)c->clip_y.high);
    int bottom = clamp_int(ceil(y.high), (int)c->clip_y.low, (int)c->clip_y.high);
    for (int j = top; j < bottom; j++) {
        double high = fmin(y.high, j + 1) - fmax(y.low, j);
        for (int i = left; i < right; i++)
            cover(c, i, j, high * (fmin(x.high, i + 1) - fmax(x.low, i)));
    }
}

bool canvas_open(canvas *c, int width, int height)
{
    size_t pixels = (size_t)width * (size_t)height;
    *c = (canvas){.width = width, .height = height, .rgb = malloc(3 * pixels),
                  .mask = calloc(pixels, sizeof(float))};
    if (c->rgb)
        memset(c->rgb, 0xff, 3 * pixels);
    c->dirty_from = c->height;
    canvas_whole(c);
    return c->rgb && c->mask;
}

void canvas_close(canvas *c)
{
    free(c->rgb);
    free(c->mask);
    *c = (canvas){0};
}

uint8_t *canvas_png(const canvas *c, size_t *size)
{
    int bytes = 0;
    uint8_t *png = stbi_write_png_to_mem(c->rgb, 3 * c->width, c->width, c->height, 3, &bytes);
    *size = png ? (size_t)bytes : 0;
    return png;
}

void canvas_whole(canvas *c)
{
    c->clip_x = (range){0, c->width};
    c->clip_y = (range){0, c->height};
}

// Colours the mask and empties it.
void canvas_ink(canvas *c, uint32_t colour, float opacity)
{
    size_t from = (size_t)c->dirty_from * (size_t)c->width,
           to = (size_t)c->dirty_to * (size_t)c->width;
    for (size_t i = from; i < to; i++) {
        float amount = c->mask[i] * opacity;
        for (int k = 0; k < 3 && amount > 0.0f; k++) {
            float old = c->rgb[3 * i + k], fresh = (float)(colour >> (16 - 8 * k) & 0xff);
            c->rgb[3 * i + k] = (uint8_t)(old + (fresh - old) * amount + 0.5f);
        }
        c->mask[i] = 0.0f;
    }
    c->dirty_from = c->height;
    c->dirty_to = 0;
}

#define FONT_HEIGHT 14.0
#define FONT_SMALL 10.0 // small letters' height
#define FONT_SPACE 4.4  // between two characters' outermost strokes

// Where a glyph goes: `origin` is its baseline's start.
typedef struct place {
    point origin;
    const face *face;
    bool upwards;
} place;

// Baseline and both tops lie on whole pixels: their strokes are then sharp.
static point font_point(const place *p, double x, double y)
{
    double scale = p->face->size / FONT_HEIGHT, small = round(FONT_SMALL * scale);
    double up = y <= 0.0           ? y * scale
                : y <= FONT_SMALL ? y * small / FONT_SMALL
                                  : small + (y - FONT_SMALL) * (p->face->size - small) /
                                                (FONT_HEIGHT - FONT_SMALL);
    x *= scale;
    return p->upwards ? (point){p->origin.x - up, p->origin.y - x}
                      : (point){p->origin.x + x, p->origin.y - up};
}

static point between(point a, point b, double t)
{
    return (point){a.x + (b.x - a.x) * t, a.y + (b.y - a.y) * t};
}

static void curve(canvas *c, point a, point control, point b, double radius)
{
    point from = a;
    for (int i = 1; i <= 8; i++) {
        double t = i / 8.0;
        point to = between(between(a, control, t), between(control, b, t), t);
        canvas_stroke(c, from, to, radius);
        from = to;
    }
}

static void glyph(canvas *c, const place *p, const char *code)
{
    double radius = p->face->radius;
    point pen = {0}, control = {0};
    bool begun = false, bent = false;
    for (; *code; code += *code == ' ' ? 1 : 2) {
        if (*code == ' ') {
            begun = false;
            continue;
        }
        bool off = code[0] >= 'a';
        point at = font_point(p, code[0] - (off ? 'a' : '0'), 'o' - code[1]);
        if (!begun && (code[2] == ' ' || code[2] == '\0'))
            canvas_stroke(c, at, at, 1.5 * radius); // a dot
        else if (begun && bent)
            curve(c, pen, control, off ? between(control, at, 0.5) : at, radius);
        else if (begun && !off)
            canvas_stroke(c, pen, at, radius);
        pen = !off ? at : bent ? between(control, at, 0.5) : pen;
        control = at;
        bent = off;
        begun = true;
    }
}

// The next character's strokes after the width; what is not ASCII shows as a question mark, once.
static const char *next_glyph(const char **text, double *advance)
{
    unsigned char byte = (unsigned char)*(*text)++;
    while (byte >= 0x80 && ((unsigned char)**text & 0xc0) == 0x80)
        ++*text;
    const char *code = plot_font[byte >= 32 && byte < 127 ? byte - 32 : '?' - 32];
    *advance = code[0] - '0' + FONT_SPACE;
    return code + 1;
}

double face_width(const face *f, const char *text)
{
    double width = 0.0, advance;
    while (*text) {
        next_glyph(&text, &advance);
        width += advance;
    }
    return fmax(width - FONT_SPACE, 0.0) * f->size / FONT_HEIGHT;
}

// `anchor`: the part of the text that lies before `at`, from 0 (left-aligned) to 1.
void canvas_text(canvas *c, const face *f, point at, double anchor, bool upwards,
                      const char *text)
{
    double start = round(face_width(f, text) * anchor);
    place p = {{floor(at.x) + 0.5, floor(at.y) + 0.5}, f, upwards};
    *(upwards ? &p.origin.y : &p.origin.x) += upwards ? start : -start;
    for (double advance; *text;) {
        const char *code = next_glyph(&text, &advance);
        glyph(c, &p, code);
        advance *= f->size / FONT_HEIGHT;
        *(upwards ? &p.origin.y : &p.origin.x) += upwards ? -advance : advance;
    }
    canvas_ink(c, f->colour, 1.0f);
}

// As much of `text` as is no wider than `room`, with dots for the rest.
const char *face_fit(const face *f, const char *text, double room, char out[FACE_ROOM])
{
    snprintf(out, FACE_ROOM, "%s", text ? text : "");
    for (size_t length = strlen(out); face_width(f, out) > room && length > 0; length--)
        snprintf(out + length - 1, FACE_ROOM - length + 1, length < FACE_ROOM - 4 ? "..." : "");
    return out;
}
