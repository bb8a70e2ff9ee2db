// SPDX-License-Identifier: MIT
#include "chart.h"

#include <math.h>
#include <string.h>

#define FONT 13.0
#define SMALL 11.0
#define BAR 15.0
#define BAR_GAP 4.0
#define GROUP_GAP 14.0
#define LINE 20.0
#define MARK 10.0

double chart_legend(pen *p, double width, double top, const char *const *names, size_t count)
{
    double x = 0.0, y = top;
    char text[FACE_ROOM];
    for (size_t i = 0; i < count; i++) {
        const char *name = pen_fit(FONT, names[i], width - MARK - 6.0, text);
        double wide = MARK + 6.0 + 1.05 * pen_width(FONT, name);
        if (x > 0.0 && x + wide > width) {
            x = 0.0;
            y += LINE;
        }
        if (p) {
            pen_box(p, (range){x, x + MARK}, (range){y + 4.0, y + 4.0 + MARK},
                    PEN_SERIES + (int)i, NULL);
            pen_text(p, (point){x + MARK + 6.0, y + 13.0}, FONT, 0.0, PEN_TEXT, name);
        }
        x += wide + 18.0;
    }
    return y + LINE + 6.0 - top;
}

// Three digits where there are no more, else whole numbers in groups of three.
static const char *number(double value, char out[48])
{
    char digits[32];
    if (fabs(value) < 99.95) {
        snprintf(out, 48, "%.3g", value);
        return out;
    }
    snprintf(digits, sizeof(digits), "%.0f", fmin(value, 1e15));
    size_t count = strlen(digits), at = 0;
    for (size_t i = 0; i < count; i++) {
        if (i > 0 && (count - i) % 3 == 0)
            out[at++] = ',';
        out[at++] = digits[i];
    }
    out[at] = '\0';
    return out;
}

static double largest(const double *values, size_t count)
{
    double most = 0.0;
    for (size_t i = 0; i < count; i++)
        most = values[i] > most ? values[i] : most; // not a NaN
    return most;
}

// ---- bars

double chart_bars_height(const chart_bars *c, double width)
{
    double group = LINE + (double)c->series_count * (BAR + BAR_GAP) + GROUP_GAP;
    return chart_legend(NULL, width, 0.0, c->series, c->series_count) +
           (double)c->group_count * group;
}

static void value_text(char out[128], double value, double deviation, const char *unit)
{
    char a[48], b[48];
    if (deviation > 0.0)
        snprintf(out, 128, "%s \xc2\xb1 %s %s", number(value, a), number(deviation, b), unit);
    else
        snprintf(out, 128, "%s %s", number(value, a), unit);
}

static void bar(const chart_bars *c, pen *p, size_t group, size_t series, double scale, double y,
                double room)
{
    size_t at = group * c->series_count + series;
    double value = c->values[at], deviation = c->deviations ? c->deviations[at] : 0.0;
    double middle = y + BAR / 2.0, end = fmax(value * scale, 1.0);
    char text[128], tip[512];
    if (isnan(value)) {
        pen_text(p, (point){4.0, y + 11.5}, SMALL, 0.0, PEN_SOFT, "not measured");
        return;
    }
    value_text(text, value, deviation, c->unit);
    snprintf(tip, sizeof(tip), "%.200s: %s", c->series[series], text);
    pen_box(p, (range){0.0, end}, (range){y, y + BAR}, PEN_SERIES + (int)series, tip);
    double spread = fmin(deviation * scale, room - end);
    if (spread > 0.5)
        pen_line(p, (point){fmax(end - spread, 0.0), middle}, (point){end + spread, middle}, 1.5,
                 PEN_TEXT, false);
    pen_text(p, (point){end + fmax(spread, 0.0) + 6.0, y + 11.5}, SMALL, 0.0, PEN_TEXT, text);
}

void chart_bars_draw(const chart_bars *c, pen *p, double width, double top)
{
    char text[FACE_ROOM];
    double y = top + chart_legend(p, width, top, c->series, c->series_count);
    double room = width - 1.15 * pen_width(SMALL, "000,000 \xc2\xb1 00.0") -
                  1.15 * pen_width(SMALL, c->unit) - 10.0;
    for (size_t g = 0; g < c->group_count; g++) {
        double most = largest(c->values + g * c->series_count, c->series_count);
        pen_text(p, (point){0.0, y + 13.0}, FONT, 0.0, PEN_TEXT,
                 pen_fit(FONT, c->groups[g], width, text));
        y += LINE;
        for (size_t s = 0; s < c->series_count; s++, y += BAR + BAR_GAP)
            bar(c, p, g, s, most > 0.0 ? room / most : 0.0, y, room);
        y += GROUP_GAP;
    }
}

// ---- stacks

double chart_stacks_height(const chart_stacks *c, double width)
{
    double group = LINE + (double)c->bar_count * (LINE + BAR) + GROUP_GAP;
    return chart_legend(NULL, width, 0.0, c->parts, c->part_count) +
           (double)c->group_count * group;
}

static double sum_of(const double *values, size_t count)
{
    double sum = 0.0;
    for (size_t i = 0; i < count; i++)
        sum += isnan(values[i]) ? 0.0 : values[i];
    return sum;
}

static void stack(const chart_stacks *c, pen *p, const double *values, double scale, double y)
{
    double x = 0.0, sum = sum_of(values, c->part_count);
    char text[48], tip[512];
    for (size_t i = 0; i < c->part_count; i++) {
        double wide = isnan(values[i]) ? 0.0 : values[i] * scale;
        if (wide <= 0.0)
            continue;
        snprintf(tip, sizeof(tip), "%.200s: %s %s, %.0f %%", c->parts[i], number(values[i], text),
                 c->unit, 100.0 * values[i] / sum);
        pen_box(p, (range){x, x + wide}, (range){y, y + BAR}, PEN_SERIES + (int)i, tip);
        x += wide;
    }
}

void chart_stacks_draw(const chart_stacks *c, pen *p, double width, double top)
{
    char text[FACE_ROOM], value[48], line[FACE_ROOM + 64];
    double y = top + chart_legend(p, width, top, c->parts, c->part_count);
    for (size_t g = 0; g < c->group_count; g++) {
        double most = 0.0;
        const double *group = c->values + g * c->bar_count * c->part_count;
        for (size_t b = 0; b < c->bar_count; b++)
            most = fmax(most, sum_of(group + b * c->part_count, c->part_count));
        pen_text(p, (point){0.0, y + 13.0}, FONT, 0.0, PEN_TEXT,
                 pen_fit(FONT, c->groups[g], width, text));
        y += LINE;
        for (size_t b = 0; b < c->bar_count; b++, y += LINE + BAR) {
            double sum = sum_of(group + b * c->part_count, c->part_count);
            snprintf(line, sizeof(line), "%s: %s %s",
                     pen_fit(SMALL, c->bars[b], 0.7 * width, text),
                     sum > 0.0 ? number(sum, value) : "not measured", sum > 0.0 ? c->unit : "");
            pen_text(p, (point){0.0, y + 13.0}, SMALL, 0.0, PEN_SOFT, line);
            stack(c, p, group + b * c->part_count, most > 0.0 ? width / most : 0.0, y + 17.0);
        }
        y += GROUP_GAP;
    }
}

// ---- roofline

// Powers of ten around what is drawn.
typedef struct log_axis {
    int low, high;
    double from, to; // pixels
} log_axis;

static double on_axis(const log_axis *a, double value)
{
    double part = (log10(value) - a->low) / (a->high - a->low);
    return a->from + fmin(fmax(part, 0.0), 1.0) * (a->to - a->from);
}

static void widen(log_axis *a, double value)
{
    if (!(value > 1e-12) || !(value < 1e12))
        return;
    a->low = (int)fmin(a->low, floor(log10(value)));
    a->high = (int)fmax(a->high, ceil(log10(value) + 1e-9));
}

static void settle(log_axis *a, int low, int high)
{
    if (a->low > a->high) {
        a->low = low;
        a->high = high;
    }
    a->high += a->high == a->low;
}

static void find_axes(const chart_roofline *c, log_axis *x, log_axis *y)
{
    x->low = y->low = 1000;
    x->high = y->high = -1000;
    for (size_t i = 0; i < c->kernel_count; i++) {
        widen(x, c->kernels[i].intensity);
        widen(y, c->kernels[i].tflops);
    }
    for (size_t i = 0; i < c->series_count; i++) {
        widen(y, c->roofs[i].flops);
        if (c->roofs[i].bytes > 0.0)
            widen(x, 1000.0 * c->roofs[i].flops / c->roofs[i].bytes);
    }
    settle(x, 0, 3);
    settle(y, -2, 1);
}

static void draw_axes(pen *p, const log_axis *x, const log_axis *y)
{
    char text[32];
    for (int e = x->low; e <= x->high; e++) {
        double at = on_axis(x, pow(10.0, e));
        pen_line(p, (point){at, y->to}, (point){at, y->from}, 1.0, PEN_GRID, false);
        snprintf(text, sizeof(text), "%g", pow(10.0, e));
        pen_text(p, (point){at, y->from + 16.0}, SMALL, 0.5, PEN_SOFT, text);
    }
    for (int e = y->low; e <= y->high; e++) {
        double at = on_axis(y, pow(10.0, e));
        pen_line(p, (point){x->from, at}, (point){x->to, at}, 1.0, PEN_GRID, false);
        snprintf(text, sizeof(text), "%g", pow(10.0, e));
        pen_text(p, (point){x->from - 6.0, at + 4.0}, SMALL, 1.0, PEN_SOFT, text);
    }
    pen_text(p, (point){(x->from + x->to) / 2.0, y->from + 34.0}, SMALL, 0.5, PEN_SOFT,
             "FLOP for each byte read or written");
    pen_text(p, (point){0.0, y->to - 10.0}, SMALL, 0.0, PEN_SOFT, "TFLOP/s");
}

static void draw_roof(pen *p, const chart_roof *r, const log_axis *x, const log_axis *y, int colour)
{
    double left = pow(10.0, x->low), right = pow(10.0, x->high), knee = left;
    if (!(r->flops > 0.0))
        return;
    double flat = on_axis(y, r->flops);
    if (r->bytes > 0.0) { // TFLOP/s = GB/s * FLOP a byte / 1000
        double slope = r->bytes / 1000.0, bottom = pow(10.0, y->low);
        double from = fmax(left, bottom / slope);
        knee = fmin(fmax(r->flops / slope, left), right);
        if (from < knee)
            pen_line(p, (point){on_axis(x, from), on_axis(y, from * slope)},
                     (point){on_axis(x, knee), on_axis(y, knee * slope)}, 2.0, colour, false);
    }
    pen_line(p, (point){on_axis(x, knee), flat}, (point){x->to, flat}, 2.0, colour,
             !(r->bytes > 0.0));
}

double chart_roofline_height(const chart_roofline *c, double width)
{
    return chart_legend(NULL, width, 0.0, c->series, c->series_count) +
           fmin(0.62 * width, 420.0) + 80.0;
}

void chart_roofline_draw(const chart_roofline *c, pen *p, double width, double top)
{
    char tip[512], a[48], b[48];
    double head = top + chart_legend(p, width, top, c->series, c->series_count) + 24.0;
    log_axis x = {.from = 52.0, .to = width - 14.0};
    log_axis y = {.from = head + fmin(0.62 * width, 420.0), .to = head};
    find_axes(c, &x, &y);
    draw_axes(p, &x, &y);
    for (size_t i = 0; i < c->series_count; i++)
        draw_roof(p, &c->roofs[i], &x, &y, PEN_SERIES + (int)i);
    for (size_t i = 0; i < c->kernel_count; i++) {
        const chart_kernel *k = &c->kernels[i];
        if (!(k->intensity > 0.0) || !(k->tflops > 0.0))
            continue;
        snprintf(tip, sizeof(tip), "%.150s, %.150s: %s TFLOP/s, %s FLOP a byte",
                 c->series[k->series], k->name, number(k->tflops, a), number(k->intensity, b));
        pen_dot(p, (point){on_axis(&x, k->intensity), on_axis(&y, k->tflops)},
                width < 500.0 ? 3.0 : 4.0,
                PEN_SERIES + (int)k->series, tip);
    }
}
