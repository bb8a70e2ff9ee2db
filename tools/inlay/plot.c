// SPDX-License-Identifier: MIT
// Ranges and ticks from the values, then the drawing, back to front.
#include "plot.h"

#include "plot_canvas.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#define WIDTH 1280
#define HEIGHT 720
// The box that the values are drawn in; its left side depends on the tick labels.
#define TOP 108
#define BOTTOM 640
#define RIGHT (WIDTH - MARGIN)
#define MARGIN 32
#define MOST_X_TICKS 11
#define MOST_Y_TICKS 8
#define LARGEST 1e300   // values are drawn as if they were no larger: differences stay finite
#define SMALLEST 1e-290 // a range below counts as none: powers of ten stay finite
#define FAR_PIXEL 1e6

// Blue, vermillion, green, purple, orange, sky: told apart by the colour-blind as well.
static const uint32_t palette[] = {0x0072b2, 0xd55e00, 0x009e73, 0xcc79a7, 0xe69f00, 0x56b4e9};
enum { PAPER = 0xffffff, GRID = 0xe7e9ec, AXIS = 0x8a9099, SOFT = 0x59606b, DARK = 0x1b1f26 };

static const face title_face = {15.0, 1.15, DARK};
static const face label_face = {11.0, 0.62, SOFT};
static const face legend_face = {11.0, 0.68, DARK};

static double clamp_value(double value)
{
    return fmin(fmax(value, -LARGEST), LARGEST);
}

static bool is_point(const plot_series *s, size_t i)
{
    return isfinite(s->x[i]) && isfinite(s->y[i]);
}

void plot_smooth(const double *y, size_t count, double *out)
{
    double span = fmax((double)count / 100.0, fmin((double)count / 4.0, 5.0)); // values, about
    double weight = span > 1.0 ? 1.0 - 1.0 / span : 0.0, average = 0.0, correction = 1.0;
    for (size_t i = 0; i < count; i++) {
        out[i] = y[i];
        if (!isfinite(y[i]))
            continue;
        average = weight * average + (1.0 - weight) * y[i];
        correction *= weight;
        out[i] = average / (1.0 - correction);
    }
}

static double times_power(double value, int exponent)
{
    return exponent < 0 ? value / pow(10.0, -exponent) : value * pow(10.0, exponent);
}

plot_ticks plot_ticks_find(double low, double high, size_t most, bool whole)
{
    static const int units[] = {1, 2, 5};
    int exponent = (int)floor(log10((high - low) / (double)most)) - 1;
    for (int k = whole && exponent < 0 ? -3 * exponent : 0;; k++) {
        plot_ticks t = {.unit = units[k % 3], .exponent = exponent + k / 3};
        double step = times_power(t.unit, t.exponent);
        double last = floor(high / step + 1e-9);
        t.first = ceil(low / step - 1e-9) + 0.0;
        double count = fmax(last - t.first + 1.0, 0.0);
        t.count = count < 1e6 ? (size_t)count : SIZE_MAX;
        if (t.count <= most)
            return t;
    }
}

double plot_tick(const plot_ticks *ticks, size_t index)
{
    return times_power((ticks->first + (double)index) * ticks->unit, ticks->exponent) + 0.0;
}

void plot_tick_text(const plot_ticks *ticks, size_t index, char *out, size_t room)
{
    double value = plot_tick(ticks, index);
    double largest = fmax(fabs(plot_tick(ticks, 0)), fabs(plot_tick(ticks, ticks->count - 1)));
    if (largest < 1e7 && ticks->exponent >= -6) {
        snprintf(out, room, "%.*f", ticks->exponent < 0 ? -ticks->exponent : 0, value);
        return;
    }
    int power = value == 0.0 ? 0 : (int)floor(log10(fabs(value)) + 1e-12);
    int digits = value != 0.0 && power > ticks->exponent ? power - ticks->exponent : 0;
    if (value == 0.0)
        snprintf(out, room, "0");
    else
        snprintf(out, room, "%.*fe%d", digits, times_power(value, -power), power);
}

// What the picture shows, and where on it.
typedef struct view {
    range x, y;
    double left;
    bool whole_x;   // every x is a whole number
    bool empty;     // not one point
    bool has_faint; // a plain line is then a smoothed one: it repeats what a faint one says
    size_t above;   // points that are higher than the picture
    double highest; // of those
    plot_ticks x_ticks, y_ticks;
} view;

static range padded(range r, double part)
{
    double size = fmax(fabs(r.low), fabs(r.high)), span = r.high - r.low;
    if (r.low > r.high)
        return (range){0.0, 1.0};
    if (span < SMALLEST || span < 1e-9 * size) { // all equal
        double room = size < 1e-9 ? 1.0 : 0.1 * size;
        return (range){r.low - room, r.high + room};
    }
    return (range){r.low - part * span, r.high + part * span};
}

static int by_value(const void *a, const void *b)
{
    double left = *(const double *)a, right = *(const double *)b;
    return (left > right) - (left < right);
}

// The highest value worth showing: where the top 2% (at least one) take most of the height, what
// is below them. `values` has room for the series.
static double worth_showing(const plot_series *s, double *values)
{
    size_t count = 0;
    for (size_t i = 0; i < s->count; i++)
        if (is_point(s, i))
            values[count++] = clamp_value(s->y[i]);
    if (count == 0)
        return -INFINITY;
    qsort(values, count, sizeof(*values), by_value);
    size_t top = count < 100 ? 1 : count / 50;
    if (count < 5)
        return values[count - 1];
    double rest = values[count - 1 - top], low = values[0];
    return values[count - 1] - low > 12.0 * (rest - low) && rest > low ? rest + 0.4 * (rest - low)
                                                                      : values[count - 1];
}

static void widen(range *r, double value)
{
    r->low = fmin(r->low, value);
    r->high = fmax(r->high, value);
}

static bool is_repeated(const view *v, const plot_series *s)
{
    return v->has_faint && !s->faint && !s->markers;
}

// The two ranges. An outlier pulls a smoothed line up for long, so that has no say in what is worth
// showing.
static void measure(view *v, const plot_series *series, size_t count, double *values)
{
    double most = -INFINITY;
    v->x = v->y = (range){INFINITY, -INFINITY};
    v->whole_x = true;
    for (size_t i = 0; i < count; i++)
        v->has_faint = v->has_faint || series[i].faint;
    for (size_t i = 0; i < count; i++) {
        const plot_series *s = &series[i];
        if (!is_repeated(v, s))
            most = fmax(most, worth_showing(s, values));
        for (size_t k = 0; k < s->count; k++) {
            if (!is_point(s, k))
                continue;
            widen(&v->x, clamp_value(s->x[k]));
            widen(&v->y, clamp_value(s->y[k]));
            v->whole_x = v->whole_x && s->x[k] == floor(s->x[k]);
        }
    }
    v->highest = v->y.high;
    if (most >= v->y.low)
        v->y.high = fmin(v->y.high, most);
}

static void count_above(view *v, const plot_series *series, size_t count)
{
    for (size_t i = 0; i < count; i++)
        for (size_t k = 0; k < series[i].count; k++)
            v->above += !is_repeated(v, &series[i]) && is_point(&series[i], k) &&
                        clamp_value(series[i].y[k]) > v->y.high;
}

static view make_view(const plot_series *series, size_t count, double *values)
{
    view v = {0};
    measure(&v, series, count, values);
    bool positive = v.y.low >= 0.0;
    v.empty = v.x.low > v.x.high;
    v.x = v.x.low == v.x.high ? (range){v.x.low - 0.5, v.x.high + 0.5} : v.x;
    v.x = padded(v.x, 0.01);
    v.y = padded(v.y, 0.05);
    v.y.low = positive ? fmax(v.y.low, 0.0) : v.y.low;
    count_above(&v, series, count);
    v.x_ticks = plot_ticks_find(v.x.low, v.x.high, MOST_X_TICKS, v.whole_x);
    v.y_ticks = plot_ticks_find(v.y.low, v.y.high, MOST_Y_TICKS, false);
    double widest = 0.0;
    for (size_t i = 0; i < v.y_ticks.count; i++) {
        char text[64];
        plot_tick_text(&v.y_ticks, i, text, sizeof(text));
        widest = fmax(widest, face_width(&label_face, text));
    }
    v.left = MARGIN + 30.0 + ceil(widest) + 12.0;
    return v;
}

static double place_x(const view *v, double x)
{
    double at = (clamp_value(x) - v->x.low) / (v->x.high - v->x.low);
    return fmin(fmax(v->left + at * (RIGHT - v->left), -FAR_PIXEL), FAR_PIXEL);
}

static double place_y(const view *v, double y)
{
    double at = (clamp_value(y) - v->y.low) / (v->y.high - v->y.low);
    return fmin(fmax(BOTTOM - at * (BOTTOM - TOP), -FAR_PIXEL), FAR_PIXEL);
}

static void draw_grid(canvas *c, const view *v)
{
    for (size_t i = 0; i < v->y_ticks.count; i++) {
        double y = floor(place_y(v, plot_tick(&v->y_ticks, i))) + 0.5;
        canvas_stroke(c, (point){v->left + 0.5, y}, (point){RIGHT, y}, 0.5);
    }
    for (size_t i = 0; i < v->x_ticks.count; i++) {
        double x = floor(place_x(v, plot_tick(&v->x_ticks, i))) + 0.5;
        canvas_stroke(c, (point){x, TOP}, (point){x, BOTTOM}, 0.5);
    }
    canvas_ink(c, GRID, 1.0f);
    canvas_stroke(c, (point){v->left + 0.5, BOTTOM + 0.5}, (point){RIGHT, BOTTOM + 0.5}, 0.5);
    canvas_ink(c, AXIS, 1.0f);
}

static void draw_axis_texts(canvas *c, const view *v, const plot_labels *labels)
{
    char text[FACE_ROOM];
    const face *f = &label_face;
    for (size_t i = 0; i < v->y_ticks.count; i++) {
        plot_tick_text(&v->y_ticks, i, text, sizeof(text));
        double y = place_y(v, plot_tick(&v->y_ticks, i)) + f->size / 2;
        canvas_text(c, f, (point){v->left - 12, y}, 1.0, false, text);
    }
    for (size_t i = 0; i < v->x_ticks.count; i++) {
        plot_tick_text(&v->x_ticks, i, text, sizeof(text));
        double x = place_x(v, plot_tick(&v->x_ticks, i));
        x = fmin(x, WIDTH - 12 - face_width(f, text) / 2);
        canvas_text(c, f, (point){x, BOTTOM + 24}, 0.5, false, text);
    }
    point below = {(v->left + RIGHT) / 2, HEIGHT - 28};
    point beside = {MARGIN + f->size, (TOP + BOTTOM) / 2};
    canvas_text(c, f, below, 0.5, false, face_fit(f, labels->x, WIDTH / 2, text));
    canvas_text(c, f, beside, 0.5, true, face_fit(f, labels->y, BOTTOM - TOP, text));
}

// The points of one pixel column so far: of many, only these four are seen.
typedef struct column {
    bool any, low_last;
    point first, low, high, last;
} column;

static void end_column(canvas *c, const column *col, point *pen, bool begun, double radius)
{
    const point way[] = {col->first, col->low_last ? col->high : col->low,
                         col->low_last ? col->low : col->high, col->last};
    *pen = begun ? *pen : col->first;
    for (size_t i = 0; i < 4; i++) {
        canvas_stroke(c, *pen, way[i], radius);
        *pen = way[i];
    }
}

static void draw_line(canvas *c, const view *v, const plot_series *s, double radius)
{
    column col = {0};
    point pen = {0};
    bool begun = false;
    for (size_t i = 0; i < s->count; i++) {
        if (!is_point(s, i))
            continue;
        point p = {place_x(v, s->x[i]), place_y(v, s->y[i])};
        if (col.any && floor(p.x) != floor(col.last.x)) {
            end_column(c, &col, &pen, begun, radius);
            begun = true;
            col.any = false;
        }
        if (!col.any)
            col = (column){true, false, p, p, p, p};
        if (p.y > col.low.y) {
            col.low = p;
            col.low_last = true;
        }
        if (p.y < col.high.y) {
            col.high = p;
            col.low_last = false;
        }
        col.last = p;
    }
    if (col.any)
        end_column(c, &col, &pen, begun, radius);
}

// How a series looks: fewer points, larger marks.
typedef struct look {
    uint32_t colour;
    float opacity;
    double radius, mark; // mark: 0 for none
} look;

static look make_look(const plot_series *series, size_t index)
{
    const plot_series *s = &series[index];
    size_t before = 0, points = 0;
    for (size_t i = 0; i < s->count; i++)
        points += is_point(s, i);
    for (size_t i = 0; i < index; i++)
        before += !series[i].faint;
    look l = {.colour = palette[before % (sizeof(palette) / sizeof(*palette))]};
    l.opacity = s->faint ? 0.3f : 1.0f;
    l.radius = s->faint ? 0.7 : 1.25;
    l.mark = s->markers ? fmin(4.5, 400.0 / (double)(points + 1)) : points == 1 ? 3.5 : 0.0;
    l.mark = l.mark < 2.0 ? 0.0 : l.mark;
    return l;
}

// A ring of paper keeps a mark apart from the lines below it.
static void draw_mark(canvas *c, point at, const look *l)
{
    canvas_stroke(c, at, at, l->mark + 1.5);
    canvas_ink(c, PAPER, 1.0f);
    canvas_stroke(c, at, at, l->mark);
    canvas_ink(c, l->colour, l->opacity);
}

static void draw_series(canvas *c, const view *v, const plot_series *s, const look *l)
{
    c->clip_x = (range){floor(v->left) - 1, RIGHT + 1};
    c->clip_y = (range){TOP, BOTTOM + 1};
    draw_line(c, v, s, l->radius);
    canvas_ink(c, l->colour, l->opacity);
    canvas_whole(c);
    for (size_t i = 0; i < s->count && l->mark > 0.0; i++)
        if (is_point(s, i) && clamp_value(s->y[i]) <= v->y.high)
            draw_mark(c, (point){place_x(v, s->x[i]), place_y(v, s->y[i])}, l);
}

static void draw_legend(canvas *c, const plot_series *series, size_t count, double row, double room)
{
    double x = MARGIN;
    char text[FACE_ROOM];
    for (size_t i = 0; i < count; i++) {
        if (!series[i].name || !*series[i].name)
            continue;
        look l = make_look(series, i);
        canvas_stroke(c, (point){x + 2, row - 5}, (point){x + 28, row - 5}, l.radius);
        canvas_ink(c, l.colour, l.opacity);
        if (l.mark > 0.0)
            draw_mark(c, (point){x + 15, row - 5}, &l);
        face_fit(&legend_face, series[i].name, room / (double)count - 70, text);
        canvas_text(c, &legend_face, (point){x + 38, row}, 0.0, false, text);
        x += 38 + face_width(&legend_face, text) + 32;
    }
}

// The title, and below it the legend; on the right what the picture leaves out.
static void draw_head(canvas *c, const view *v, const plot_labels *labels,
                      const plot_series *series, size_t count)
{
    char text[FACE_ROOM];
    const double row = TOP - 28;
    face_fit(&title_face, labels->title, RIGHT - MARGIN, text);
    canvas_text(c, &title_face, (point){MARGIN, 46}, 0.0, false, text);
    draw_legend(c, series, count, row, RIGHT - MARGIN - 320);
    if (v->above == 0)
        return;
    snprintf(text, sizeof(text), "not shown: %zu higher, up to %.4g", v->above, v->highest);
    canvas_text(c, &label_face, (point){RIGHT, row}, 1.0, false, text);
}

static void draw(canvas *c, const plot_labels *labels, const plot_series *series, size_t count,
                 double *values)
{
    view v = make_view(series, count, values);
    draw_grid(c, &v);
    for (size_t i = 0; i < count; i++) {
        look l = make_look(series, i);
        draw_series(c, &v, &series[i], &l);
    }
    draw_axis_texts(c, &v, labels);
    draw_head(c, &v, labels, series, count);
    if (v.empty)
        canvas_text(c, &label_face, (point){(v.left + RIGHT) / 2, (TOP + BOTTOM) / 2}, 0.5, false,
                    "nothing to show yet");
}

uint8_t *plot_png(const plot_labels *labels, const plot_series *series, size_t count, size_t *size)
{
    canvas c;
    size_t most = 1;
    uint8_t *png = NULL;
    *size = 0;
    for (size_t i = 0; i < count; i++)
        most = series[i].count > most ? series[i].count : most;
    double *values = malloc(most * sizeof(double)); // no larger than an x that is there
    if (canvas_open(&c, WIDTH, HEIGHT) && values) {
        draw(&c, labels, series, count, values);
        png = canvas_png(&c, size);
    }
    free(values);
    canvas_close(&c);
    return png;
}
