// SPDX-License-Identifier: MIT
// The page is one file without scripts: charts are SVG, twice, for wide and for narrow screens, and
// a picture has the same charts below each other.
#define _POSIX_C_SOURCE 200809L
#include "compare.h"

#include "cli.h"
#include "compare_data.h"
#include "files.h"

#include <math.h>
#include <stdlib.h>

#define WIDE 860.0
#define NARROW 340.0
#define KERNELS 7 // that have colours of their own
#define PICTURE_SCALE 1.5
#define PICTURE_MARGIN 24.0
#define PICTURE_MOST 32000 // pixels: higher ones are shown by few programs

// All there is to show.
typedef struct comparison {
    compare_data data;
    const char *labels[COMPARE_MAX_DEVICES];
    chart_roof roofs[COMPARE_MAX_DEVICES];
    compare_table train, generate, time;
    chart_kernel *kernels;
    size_t kernel_count;
} comparison;

static void arrange(comparison *c)
{
    for (size_t i = 0; i < c->data.device_count; i++) {
        c->labels[i] = c->data.devices[i].label;
        c->roofs[i] = c->data.devices[i].roof;
    }
    c->train = compare_speed(&c->data, "train");
    c->generate = compare_speed(&c->data, "generate");
    c->time = compare_time(&c->data, KERNELS);
    c->kernels = compare_kernels(&c->data, &c->kernel_count);
}

static void dispose(comparison *c)
{
    compare_table_free(&c->train);
    compare_table_free(&c->generate);
    compare_table_free(&c->time);
    free(c->kernels);
    compare_free(&c->data);
}

// ---- charts

typedef enum chart { CHART_TRAIN, CHART_GENERATE, CHART_TIME, CHART_ROOFLINE, CHART_COUNT } chart;

static const struct {
    const char *title, *note;
} headings[CHART_COUNT] = {
    {"Training", "Tokens a second, mean and deviation. Each group has its own scale; longer is "
                 "better."},
    {"Generating", "Tokens a second, mean and deviation. Each group has its own scale; longer is "
                   "better."},
    {"Time by kernel", "Milliseconds of one training step on the device; shorter is better."},
    {"Roofline", "Speed of each kernel over the work it does for a byte, under the device's own "
                 "measured peaks."},
};

static chart_bars bars_of(const comparison *c, const compare_table *t)
{
    return (chart_bars){.groups = t->groups, .group_count = t->group_count,
                        .series = c->labels, .series_count = c->data.device_count,
                        .values = t->values, .deviations = t->deviations, .unit = "tok/s"};
}

// Draws nothing with `p` NULL; returns the height, 0 where there is nothing to show.
static double show(const comparison *c, chart which, pen *p, double width, double top)
{
    if (which == CHART_TRAIN || which == CHART_GENERATE) {
        chart_bars b = bars_of(c, which == CHART_TRAIN ? &c->train : &c->generate);
        if (p && b.group_count > 0)
            chart_bars_draw(&b, p, width, top);
        return b.group_count > 0 ? chart_bars_height(&b, width) : 0.0;
    }
    if (which == CHART_TIME) {
        const compare_table *t = &c->time;
        chart_stacks s = {.groups = t->groups, .group_count = t->group_count,
                          .bars = c->labels, .bar_count = c->data.device_count,
                          .parts = t->parts, .part_count = t->part_count,
                          .values = t->values, .unit = "ms"};
        if (p && s.group_count > 0)
            chart_stacks_draw(&s, p, width, top);
        return s.group_count > 0 ? chart_stacks_height(&s, width) : 0.0;
    }
    chart_roofline r = {.series = c->labels, .roofs = c->roofs,
                        .series_count = c->data.device_count,
                        .kernels = c->kernels, .kernel_count = c->kernel_count};
    if (p && r.kernel_count > 0)
        chart_roofline_draw(&r, p, width, top);
    return r.kernel_count > 0 ? chart_roofline_height(&r, width) : 0.0;
}

// ---- the page

static void write_colours(FILE *out, const uint32_t *series, uint32_t text, uint32_t soft,
                          uint32_t grid)
{
    fprintf(out, "--k0:#%06x;--k1:#%06x;--k2:#%06x;", text, soft, grid);
    for (int i = 0; i < PEN_SERIES_COLOURS; i++)
        fprintf(out, "--k%d:#%06x;", PEN_SERIES + i, series[i]);
}

static void write_style(FILE *out)
{
    fputs("<style>\n:root{color-scheme:light dark;--paper:#fff;--card:#f6f7f9;", out);
    write_colours(out, pen_series_light, 0x1b1f26, 0x59606b, 0xdfe2e6);
    fputs("}\n@media(prefers-color-scheme:dark){:root{--paper:#14171c;--card:#1d2128;", out);
    write_colours(out, pen_series_dark, 0xe8eaee, 0xa3abb7, 0x363c46);
    fputs("}}\n", out);
    for (int i = 0; i < PEN_SERIES + PEN_SERIES_COLOURS; i++)
        fprintf(out, ".f%d{fill:var(--k%d)}.s%d{stroke:var(--k%d)}", i, i, i, i);
    fputs("\n*{box-sizing:border-box}\n"
          "body{margin:0;background:var(--paper);color:var(--k0);"
          "font:16px/1.5 system-ui,sans-serif}\n"
          "main{max-width:920px;margin:0 auto;padding:24px 20px 64px}\n"
          "h1{font-size:1.6rem;line-height:1.25;margin:0 0 4px}\n"
          "h2{font-size:1.2rem;margin:40px 0 2px}\n"
          "p{margin:0 0 12px;color:var(--k1)}\n"
          "svg{display:block;width:100%;height:auto;font-family:system-ui,sans-serif}\n"
          "svg.narrow{display:none}\n"
          ".scroll{overflow-x:auto;border:1px solid var(--k2);border-radius:8px}\n"
          "table{border-collapse:collapse;width:100%;font-size:.875rem}\n"
          "th,td{text-align:left;padding:6px 12px;border-bottom:1px solid var(--k2);"
          "vertical-align:top}\n"
          "tr:last-child>*{border-bottom:0}\n"
          "th{font-weight:600}thead th{background:var(--card)}\n"
          "td.n{text-align:right;white-space:nowrap;font-variant-numeric:tabular-nums}\n"
          "thead th.n{text-align:right}\n"
          ".key{display:inline-block;width:.7em;height:.7em;border-radius:2px;margin-right:.45em}\n"
          "small{color:var(--k1)}td.n small{white-space:normal}\n"
          ".bad{color:#c62828;font-weight:600}\n"
          "@media(prefers-color-scheme:dark){.bad{color:#ff8a80}}\n"
          "@media(max-width:640px){main{padding:16px 14px 48px}svg.wide{display:none}"
          "svg.narrow{display:block}}\n</style>\n",
          out);
}

static void write_chart(const comparison *c, chart which, FILE *out)
{
    static const struct {
        const char *class;
        double width;
    } sizes[] = {{"wide", WIDE}, {"narrow", NARROW}};
    if (show(c, which, NULL, WIDE, 0.0) <= 0.0)
        return;
    fprintf(out, "<h2>%s</h2>\n<p>%s</p>\n", headings[which].title, headings[which].note);
    for (size_t i = 0; i < COUNT(sizes); i++) {
        pen p = {.svg = out, .scale = 1.0};
        fprintf(out,
                "<svg class=\"%s\" viewBox=\"0 0 %.0f %.0f\" role=\"img\" aria-label=\"%s\">\n",
                sizes[i].class, sizes[i].width, show(c, which, NULL, sizes[i].width, 0.0),
                headings[which].title);
        show(c, which, &p, sizes[i].width, 0.0);
        fputs("</svg>\n", out);
    }
}

static void write_heads(const comparison *c, FILE *out, const char *first, const char *class)
{
    fprintf(out, "<div class=\"scroll\"><table>\n<thead><tr><th>%s</th>", first);
    for (size_t i = 0; i < c->data.device_count; i++) {
        fprintf(out, "<th%s><span class=\"key\" style=\"background:var(--k%zu)\"></span>", class,
                PEN_SERIES + i % PEN_SERIES_COLOURS);
        html_text(out, c->labels[i]);
        fputs("</th>", out);
    }
    fputs("</tr></thead>\n<tbody>\n", out);
}

static void write_devices(const comparison *c, FILE *out)
{
    static const struct {
        const char *title, *field;
    } rows[] = {{"driver", "driver_name"}, {"", "driver_info"}, {"vendor", "vendor"},
                {"path", "path"},          {"system", "os"},    {"kernel", "kernel_release"},
                {"processor", "cpu"},      {"inlay", "version"}, {"commit", "commit"},
                {"date", "date"}};
    fputs("<h2>Devices</h2>\n<p>What was measured, with what.</p>\n", out);
    write_heads(c, out, "", "");
    for (size_t r = 0; r < COUNT(rows); r++) {
        fprintf(out, "<tr><th>%s</th>", rows[r].title);
        for (size_t i = 0; i < c->data.device_count; i++) {
            const char *word = compare_word(c->data.devices[i].record, rows[r].field);
            fputs("<td>", out);
            html_text(out, word ? word : "");
            fputs("</td>", out);
        }
        fputs("</tr>\n", out);
    }
    fputs("<tr><th>peak</th>", out);
    for (size_t i = 0; i < c->data.device_count; i++) {
        const chart_roof *roof = &c->roofs[i];
        fputs("<td>", out);
        if (roof->flops > 0.0)
            fprintf(out, "%.3g TFLOP/s<br>", roof->flops);
        if (roof->bytes > 0.0)
            fprintf(out, "%.3g GB/s", roof->bytes);
        fputs("</td>", out);
    }
    fputs("</tr>\n</tbody></table></div>\n", out);
}

// Never speed without correctness: what the record says of its loss.
static void write_loss(const json_t *record, FILE *out)
{
    double loss = compare_number(record, "loss"), wanted = compare_number(record, "loss_reference");
    if (isnan(loss) || isnan(wanted))
        return;
    bool near = fabs(loss - wanted) <= 1e-2 * fmax(fabs(wanted), 1.0);
    fprintf(out, "<br><small%s>loss %.4f%s %.4f</small>", near ? "" : " class=\"bad\"", loss,
            near ? ", reference" : ", not the reference's", wanted);
}

static void write_cell(double value, double deviation, double first, const json_t *record,
                       FILE *out)
{
    if (isnan(value)) {
        fputs("<td class=\"n\"><small>not measured</small></td>", out);
        return;
    }
    fprintf(out, "<td class=\"n\">%.*f", value < 99.95 ? 1 : 0, value);
    if (deviation > 0.0)
        fprintf(out, " \xc2\xb1 %.*f", deviation < 9.95 ? 1 : 0, deviation);
    if (first > 0.0 && first != value)
        fprintf(out, "<br><b>%.2f\xc3\x97</b>", value / first);
    double share = compare_number(record, "peak_share");
    if (share > 0.0)
        fprintf(out, "<br><small>%.1f %% of peak</small>", 100.0 * share);
    write_loss(record, out);
    fputs("</td>", out);
}

static void write_numbers(const comparison *c, const compare_table *t, const char *title, FILE *out)
{
    size_t devices = c->data.device_count;
    if (t->group_count == 0)
        return;
    fprintf(out, "<h2>%s in numbers</h2>\n<p>Tokens a second, and how many times the first "
                 "device's.</p>\n", title);
    write_heads(c, out, "test", " class=\"n\"");
    for (size_t g = 0; g < t->group_count; g++) {
        fputs("<tr><td>", out);
        html_text(out, t->groups[g]);
        fputs("</td>", out);
        for (size_t i = 0; i < devices; i++)
            write_cell(t->values[g * devices + i], t->deviations[g * devices + i],
                       t->values[g * devices], t->records[g * devices + i], out);
        fputs("</tr>\n", out);
    }
    fputs("</tbody></table></div>\n", out);
}

static void write_title(const comparison *c, FILE *out, bool markup)
{
    for (size_t i = 0; i < c->data.device_count; i++) {
        if (i > 0)
            fputs(markup ? " <small>and</small> " : " and ", out);
        html_text(out, c->labels[i]);
    }
}

static void write_page(const comparison *c, FILE *out)
{
    fputs("<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n"
          "<meta name=\"viewport\" content=\"width=device-width,initial-scale=1\">\n"
          "<title>inlay bench: ",
          out);
    write_title(c, out, false);
    fputs("</title>\n", out);
    write_style(out);
    fputs("</head>\n<body>\n<main>\n<h1>", out);
    write_title(c, out, true);
    fputs("</h1>\n<p>Fine-tuning measured by <code>inlay bench</code>.</p>\n", out);
    for (chart i = 0; i < CHART_COUNT; i++)
        write_chart(c, i, out);
    write_numbers(c, &c->train, headings[CHART_TRAIN].title, out);
    write_numbers(c, &c->generate, headings[CHART_GENERATE].title, out);
    write_devices(c, out);
    fputs("</main>\n</body>\n</html>\n", out);
}

static int save_page(const comparison *c, const char *path)
{
    char *text = NULL;
    size_t size = 0;
    FILE *out = open_memstream(&text, &size);
    if (out)
        write_page(c, out);
    if (!out || fclose(out) != 0) {
        cli_error("out of memory");
        return EXIT_FAILED;
    }
    bool done = file_write(path, text, size);
    free(text);
    return done ? EXIT_OK : EXIT_FAILED;
}

// ---- the picture

static double draw_picture(const comparison *c, pen *p)
{
    double y = PICTURE_MARGIN;
    for (chart i = 0; i < CHART_COUNT; i++) {
        double height = show(c, i, NULL, WIDE, 0.0);
        if (height <= 0.0)
            continue;
        if (p) {
            pen_text(p, (point){0.0, y + 16.0}, 19.0, 0.0, PEN_TEXT, headings[i].title);
            pen_text(p, (point){0.0, y + 37.0}, 12.0, 0.0, PEN_SOFT, headings[i].note);
            show(c, i, p, WIDE, y + 52.0);
        }
        y += 52.0 + height + PICTURE_MARGIN;
    }
    return y;
}

static int save_picture(const comparison *c, const char *path)
{
    int code = EXIT_FAILED;
    size_t size = 0;
    double scale = PICTURE_SCALE, height = draw_picture(c, NULL) * scale;
    canvas pixels;
    uint8_t *png = NULL;
    if (height > PICTURE_MOST) {
        cli_error("so many results do not fit a picture: use a .html file for --output");
        return EXIT_BAD_INPUT;
    }
    if (canvas_open(&pixels, (int)((WIDE + 2.0 * PICTURE_MARGIN) * scale), (int)height)) {
        pen p = {.pixels = &pixels, .scale = scale, .left = PICTURE_MARGIN};
        draw_picture(c, &p);
        png = canvas_png(&pixels, &size);
    }
    canvas_close(&pixels);
    if (!png)
        cli_error("out of memory");
    else if (file_write(path, png, size))
        code = EXIT_OK;
    free(png);
    return code;
}

int compare_run(const char *const *files, size_t count, const char *output)
{
    comparison c = {0};
    bool page = path_ends_in(output, ".html"), picture = path_ends_in(output, ".png");
    if (!page && !picture) {
        cli_error("--output of --compare is a .html or a .png file, \"%s\" is neither", output);
        return EXIT_BAD_INPUT;
    }
    for (size_t i = 0; i < count; i++) {
        if (!path_is_same(files[i], output))
            continue;
        cli_error("--output would replace the results in %s", files[i]);
        return EXIT_BAD_INPUT;
    }
    if (!compare_read(&c.data, files, count)) {
        compare_free(&c.data);
        return EXIT_BAD_INPUT;
    }
    arrange(&c);
    int code = page ? save_page(&c, output) : save_picture(&c, output);
    dispose(&c);
    return code;
}
