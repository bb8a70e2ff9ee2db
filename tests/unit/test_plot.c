// SPDX-License-Identifier: MIT
// The loss picture: ticks, smoothing, and the decoded PNG: where each series' ink is, what extreme
// values and long texts do.
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define STB_IMAGE_IMPLEMENTATION
#define STBI_ONLY_PNG
#define STBI_NO_STDIO
#include <stb/stb_image.h>

#include "base/rng.h"
#include "plot.h"
#include "plot_font.h"

#define WIDTH 1280
#define HEIGHT 720
#define BLUE 0x0072b2
#define VERMILLION 0xd55e00
#define GRID 0xe7e9ec
#define AXIS 0x8a9099
#define MANY 100000
#define SEED 20260

// A decoded picture, [HEIGHT, WIDTH, 3], and the box of its values as its lines show it.
typedef struct picture {
    uint8_t *rgb;
    int left, right, bottom;
    int rows[32]; // of the horizontal grid lines, from the lowest
    size_t row_count;
} picture;

static double many_x[MANY], many_y[MANY], many_smooth[MANY];

static plot_series line(const char *name, const double *x, const double *y, size_t count)
{
    return (plot_series){.name = name, .x = x, .y = y, .count = count};
}

static plot_series marked(const char *name, const double *x, const double *y, size_t count)
{
    return (plot_series){.name = name, .x = x, .y = y, .count = count, .markers = true};
}

static uint32_t pixel(const picture *p, int x, int y)
{
    const uint8_t *c = p->rgb + 3 * ((size_t)y * WIDTH + (size_t)x);
    return (uint32_t)c[0] << 16 | (uint32_t)c[1] << 8 | c[2];
}

// The axis is the lowest row with a run of its colour: before the first value nothing covers it.
// The grid lines are looked for there as well.
static void find_box(picture *p)
{
    for (int y = HEIGHT - 1, run = 0; y >= 0 && run < 8; y--)
        for (int x = run = 0; x < WIDTH && run < 8; x++) {
            run = pixel(p, x, y) == AXIS ? run + 1 : 0;
            p->left = x - 7;
            p->bottom = y;
        }
    assert_true(p->bottom > HEIGHT / 2 && p->left < WIDTH / 4);
    for (p->right = WIDTH - 1; pixel(p, p->right, p->bottom) != AXIS;)
        p->right--;
    for (int y = p->bottom - 1; y > 0 && p->row_count < 32; y--)
        if (pixel(p, p->left + 2, y) == GRID && pixel(p, p->left + 3, y) == GRID)
            p->rows[p->row_count++] = y;
}

static picture draw_labelled(const plot_labels *labels, const plot_series *series, size_t count)
{
    size_t size;
    int width, height, channels;
    picture p = {0};
    uint8_t *png = plot_png(labels, series, count, &size);
    assert_non_null(png);
    p.rgb = stbi_load_from_memory(png, (int)size, &width, &height, &channels, 3);
    free(png);
    assert_non_null(p.rgb);
    assert_int_equal(width, WIDTH);
    assert_int_equal(height, HEIGHT);
    assert_int_equal(channels, 3);
    for (int x = 0; x < WIDTH; x++) // nothing runs out of the picture
        for (int y = 0; y < HEIGHT; y++)
            if (x < 8 || x >= WIDTH - 8 || y < 8 || y >= HEIGHT - 8)
                assert_int_equal(pixel(&p, x, y), 0xffffff);
    find_box(&p);
    return p;
}

static picture draw(const plot_series *series, size_t count)
{
    return draw_labelled(&(plot_labels){"title", "step", "loss"}, series, count);
}

static void picture_free(picture *p)
{
    stbi_image_free(p->rgb);
}

// Pixels of exactly this colour in a part of the picture.
static size_t count_colour(const picture *p, uint32_t colour, int x0, int y0, int x1, int y1)
{
    size_t count = 0;
    for (int y = y0; y < y1; y++)
        for (int x = x0; x < x1; x++)
            count += pixel(p, x, y) == colour;
    return count;
}

static void assert_ink(const picture *p, uint32_t colour, int x, int y)
{
    if (!count_colour(p, colour, x - 3, y - 3, x + 4, y + 4))
        fail_msg("no %06x near %d, %d", colour, x, y);
}

static void assert_no_ink(const picture *p, uint32_t colour, int x, int y)
{
    if (count_colour(p, colour, x - 3, y - 3, x + 4, y + 4))
        fail_msg("%06x near %d, %d", colour, x, y);
}

static size_t box_ink(const picture *p, uint32_t colour)
{
    return count_colour(p, colour, p->left, 100, p->right, p->bottom);
}

static void test_tick_texts(void **state)
{
    static const struct {
        double low, high;
        size_t most;
        bool whole;
        const char *texts;
    } cases[] = {
        {0.0, 1.0, 6, false, "0.0 0.2 0.4 0.6 0.8 1.0 "},
        {0.95, 4.05, 8, false, "1.0 1.5 2.0 2.5 3.0 3.5 4.0 "},
        {-12.3, -0.6, 8, false, "-12 -10 -8 -6 -4 -2 "},
        {-0.11, 0.11, 5, false, "-0.10 -0.05 0.00 0.05 0.10 "},
        {0.9, 2.1, 8, true, "1 2 "},
        {0.5, 1.5, 8, true, "1 "},
        {0.0, 100000.0, 6, true, "0 20000 40000 60000 80000 100000 "},
        {0.0, 2.1e8, 5, false, "0 5e7 1.0e8 1.5e8 2.0e8 "},
        {1e-8, 3.1e-8, 5, false, "1.0e-8 1.5e-8 2.0e-8 2.5e-8 3.0e-8 "},
        {1000.001, 1000.0035, 4, false, "1000.001 1000.002 1000.003 "},
    };
    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
        char all[256] = "", text[64];
        plot_ticks t = plot_ticks_find(cases[i].low, cases[i].high, cases[i].most, cases[i].whole);
        for (size_t k = 0; k < t.count; k++) {
            plot_tick_text(&t, k, text, sizeof(text) - 1);
            strcat(strcat(all, text), " ");
        }
        assert_string_equal(all, cases[i].texts);
    }
}

static void test_ticks_are_round(void **state)
{
    (void)state;
    print_message("seed %d\n", SEED);
    for (uint32_t i = 0; i < 20000; i++) {
        double scale = pow(10.0, 580.0 * inl_rng_f32(SEED, 0, i) - 281.0);
        double low = scale * (2.0 * inl_rng_f32(SEED, 1, i) - 1.0);
        double high = low + scale * (0.01 + inl_rng_f32(SEED, 2, i));
        size_t most = 2 + inl_rng_u32(SEED, 3, i) % 12;
        plot_ticks t = plot_ticks_find(low, high, most, false);
        assert_true(t.count <= most && (t.unit == 1 || t.unit == 2 || t.unit == 5));
        assert_true(t.count + 1 >= most / 3); // steps grow by 2.5 at most
        for (size_t k = 0; k < t.count; k++) {
            double slack = 1e-8 * (high - low) + 1e-12 * scale, tick = plot_tick(&t, k);
            if (tick < low - slack || tick > high + slack)
                fail_msg("case %u: %.17g is not in [%.17g, %.17g]", i, tick, low, high);
        }
    }
}

static void test_smoothing(void **state)
{
    double y[400], out[400];
    (void)state;
    for (size_t i = 0; i < 400; i++)
        y[i] = 2.5;
    y[7] = NAN;
    y[100] = INFINITY;
    plot_smooth(y, 400, out);
    for (size_t i = 0; i < 400; i++)
        assert_true(i == 7 ? isnan(out[i]) : i == 100 ? isinf(out[i]) : fabs(out[i] - 2.5) < 1e-12);
    for (size_t i = 0; i < 400; i++)
        y[i] = i % 2 ? 1.0 : 3.0;
    plot_smooth(y, 400, out);
    assert_true(out[0] == 3.0 && out[1] > 1.5 && out[1] < 2.0); // not drawn to zero at the start
    for (size_t i = 100; i < 400; i++)
        assert_true(fabs(out[i] - 2.0) < 0.2);
    plot_smooth(y, 1, out);
    assert_true(out[0] == 3.0);
}

// What the header of plot_font.h says of a glyph.
static void test_font(void **state)
{
    (void)state;
    for (size_t i = 0; i < 95; i++) {
        const char *code = plot_font[i];
        int width = *code++ - '0';
        bool begun = false;
        for (; *code; code += *code == ' ' ? 1 : 2) {
            if (*code == ' ') {
                begun = false;
                continue;
            }
            int x = code[0] - (code[0] >= 'a' ? 'a' : '0');
            bool good = x >= 0 && x <= width && code[1] >= '`' && code[1] <= 's';
            if (!good || (!begun && code[0] >= 'a'))
                fail_msg("glyph '%c' is wrong at \"%s\"", (char)(i + 32), code);
            begun = true;
        }
    }
}

// Values from 1 to 3 at steps 0 to 10: five or more ticks, the middle one is 2.
static void test_places(void **state)
{
    const double x[] = {0, 5, 10}, raw[] = {3, 2, 1}, flat[] = {2, 2, 2}, ends[] = {1, 2, 3};
    plot_series series[] = {line("raw", x, raw, 3), line("smooth", x, flat, 3),
                            marked("evaluation", x, ends, 3)};
    series[0].faint = true;
    (void)state;
    picture p = draw(series, 3);
    assert_true(p.row_count >= 5 && p.row_count % 2 == 1);
    int top = p.rows[p.row_count - 1], middle = p.rows[p.row_count / 2], low = p.rows[0];
    int centre = (p.left + p.right) / 2, span = (p.right - p.left) * 98 / 100;
    assert_ink(&p, BLUE, centre - span / 4, middle);
    assert_ink(&p, BLUE, centre + span / 4, middle);
    assert_ink(&p, VERMILLION, centre, middle);
    assert_ink(&p, VERMILLION, centre - span / 2, low);
    assert_ink(&p, VERMILLION, centre + span / 2, top);
    assert_ink(&p, VERMILLION, centre + span / 4, (middle + top) / 2);
    assert_no_ink(&p, VERMILLION, centre - span / 2, top);
    assert_no_ink(&p, BLUE, centre, top);
    uint32_t faint = pixel(&p, centre - span / 4, (middle + top) / 2); // between blue and white
    assert_true((faint & 0xff) > 0xc0 && (faint >> 16) < 0xe0 && faint >> 16 < (faint & 0xff));
    assert_true(count_colour(&p, BLUE, 0, 60, WIDTH, 100) > 10); // the legend's
    assert_true(count_colour(&p, VERMILLION, 0, 60, WIDTH, 100) > 10);
    picture_free(&p);
}

static void test_one_point(void **state)
{
    const double x[] = {1}, y[] = {2.5};
    (void)state;
    picture p = draw((plot_series[]){line("loss", x, y, 1)}, 1);
    size_t all = box_ink(&p, BLUE);
    assert_true(all > 20 && all < 100); // one dot
    assert_ink(&p, BLUE, (p.left + p.right) / 2, p.rows[p.row_count / 2]);
    picture_free(&p);
    p = draw((plot_series[]){line("loss", x, y, 0)}, 1);
    assert_int_equal(box_ink(&p, BLUE), 0);
    picture_free(&p);
}

// One value of 100000 must still be seen, in its place; a mark for each would hide the line.
static void test_many_points(void **state)
{
    (void)state;
    print_message("seed %d\n", SEED);
    for (uint32_t i = 0; i < MANY; i++) {
        many_x[i] = i;
        many_y[i] = 1.0 + inl_rng_f32(SEED, 4, i);
    }
    many_y[MANY / 4] = 6.0;
    plot_smooth(many_y, MANY, many_smooth);
    const plot_series series[] = {marked("raw", many_x, many_y, MANY),
                                  line("smooth", many_x, many_smooth, MANY)};
    picture p = draw(series, 2);
    int spike = (p.left + p.right) / 2 - (p.right - p.left) * 98 / 400;
    int five = p.rows[p.row_count - 2]; // the ticks are 1, 2, ..., 6
    assert_int_equal(p.row_count, 6);
    assert_true(count_colour(&p, BLUE, spike - 2, five - 20, spike + 3, five + 20) >= 40);
    assert_int_equal(count_colour(&p, BLUE, spike + 4, 100, p.right, p.rows[2]), 0);
    assert_true(box_ink(&p, VERMILLION) > 1000);
    picture_free(&p);
}

// A first loss far above: the rest still fills the picture, which says what it leaves out.
static void test_outlier(void **state)
{
    double x[200], y[200], smooth[200];
    (void)state;
    for (int i = 0; i < 200; i++) {
        x[i] = i;
        y[i] = i ? 3.0 - i / 100.0 : 500.0;
    }
    plot_smooth(y, 200, smooth);
    plot_series series[] = {line("raw", x, y, 200), line("smooth", x, smooth, 200)};
    for (size_t count = 1; count <= 2; count++) {
        series[0].faint = count == 2; // only then is the other one known to be its smoothed line
        picture p = draw(series, count);
        int lowest = 0, highest = HEIGHT;
        for (int row = 100; row < p.bottom; row++)
            if (count_colour(&p, BLUE, p.left + 30, row, p.right, row + 1)) {
                highest = row < highest ? row : highest;
                lowest = row;
            }
        assert_true(lowest - highest > 200);
        size_t white = count_colour(&p, 0xffffff, WIDTH - 300, 60, WIDTH, 100);
        assert_true(white < 300 * 40 - 100); // the words
        picture_free(&p);
    }
}

static void test_extreme_values(void **state)
{
    static const double values[] = {
        0.0, 1.0, -1.0, 5e-324, 1e-30, 1e15, 1e15 + 0.125, 1.7976931348623157e308,
        -1.7976931348623157e308, -INFINITY, NAN,
    };
    const size_t count = sizeof(values) / sizeof(*values);
    (void)state;
    for (size_t i = 0; i < count; i++)
        for (size_t k = i; k < count; k++) {
            const double a[] = {values[i], values[k]}, steps[] = {1.0, 2.0};
            const bool any = isfinite(a[0]) || isfinite(a[1]), up = (i + k) % 2;
            plot_series s = line("loss", up ? steps : a, up ? a : steps, 2);
            picture p = draw(&s, 1);
            if ((box_ink(&p, BLUE) > 10) != any)
                fail_msg("%g and %g: %zu pixels", a[0], a[1], box_ink(&p, BLUE));
            picture_free(&p);
        }
}

static void test_texts(void **state)
{
    const double x[] = {1, 2, 3}, y[] = {3, 2, 1};
    char text[1001];
    plot_series series[12];
    (void)state;
    memset(text, 'W', 1000);
    text[1000] = '\0';
    for (size_t i = 0; i < 12; i++)
        series[i] = line(text, x, y, 3);
    picture p = draw_labelled(&(plot_labels){text, text, text}, series, 12); // checks the edges
    picture_free(&p);
    p = draw_labelled(&(plot_labels){0}, NULL, 0);
    assert_int_equal(count_colour(&p, 0xffffff, 0, 0, WIDTH, 90), WIDTH * 90);
    picture_free(&p);
    series[0].name = "\xc3\xa9\xff\x80\x01\n%s";
    p = draw_labelled(&(plot_labels){"\xe2\x82\xac", "\xe2\x82", "\xe2"}, series, 1);
    assert_true(count_colour(&p, 0xffffff, 0, 0, WIDTH, 60) < WIDTH * 60);
    picture_free(&p);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_tick_texts),
        cmocka_unit_test(test_ticks_are_round),
        cmocka_unit_test(test_smoothing),
        cmocka_unit_test(test_font),
        cmocka_unit_test(test_places),
        cmocka_unit_test(test_one_point),
        cmocka_unit_test(test_many_points),
        cmocka_unit_test(test_outlier),
        cmocka_unit_test(test_extreme_values),
        cmocka_unit_test(test_texts),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
