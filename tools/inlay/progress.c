// SPDX-License-Identifier: MIT
#define _POSIX_C_SOURCE 200809L
#define _DEFAULT_SOURCE // TIOCGWINSZ
#include "progress.h"

#include "cli.h"

#include <math.h>
#include <stdarg.h>
#include <string.h>
#include <sys/ioctl.h>
#include <time.h>
#include <unistd.h>

#define REDRAW_SECONDS 0.1
#define WIDEST 400

static bool on_terminal, line_drawn;
static double last_drawn;

double clock_seconds(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

static void erase_line(void)
{
    if (line_drawn)
        fputs("\r\033[K", stderr);
    line_drawn = false;
}

void progress_begin(void)
{
    on_terminal = isatty(STDERR_FILENO) && cli_get_level() >= INLAY_LOG_INFO;
    last_drawn = 0.0;
    cli_before_message(erase_line);
}

void progress_end(void)
{
    erase_line();
    fflush(stderr);
    cli_before_message(NULL);
}

static double seconds_left(const progress_state *s)
{
    if (s->done <= s->start || s->seconds <= 0.0)
        return NAN;
    return s->seconds / (s->done - s->start) * (s->total - s->done);
}

static void append(char *out, size_t room, const char *fmt, ...) CLI_PRINTF(3, 4);

static void append(char *out, size_t room, const char *fmt, ...)
{
    size_t used = strlen(out);
    va_list list;
    va_start(list, fmt);
    vsnprintf(out + used, room - used, fmt, list);
    va_end(list);
}

static void describe(const progress_state *s, char *out, size_t room)
{
    text_buffer b;
    out[0] = '\0';
    if (!isnan(s->loss))
        append(out, room, "  loss %.4f", s->loss);
    if (s->per_second > 0.0)
        append(out, room, "  %s tokens/s", text_count(&b, s->per_second));
    if (s->memory_bytes > 0)
        append(out, room, "  %s", text_bytes(&b, s->memory_bytes));
    append(out, room, "  %s left", text_duration(&b, seconds_left(s)));
}

// "step 12/100 [====>     ]  loss 1.2345  1.2 K tokens/s  123.4 MiB  1:02 left"
void progress_format(const progress_state *s, unsigned width, char *out, unsigned room)
{
    char tail[160];
    char bar[64] = "";
    describe(s, tail, sizeof(tail));
    snprintf(out, room, "%s %u/%u", s->unit, s->done, s->total);
    size_t fixed = strlen(out) + strlen(tail) + 3;
    size_t cells = width > fixed ? width - fixed : 0;
    if (cells > 40)
        cells = 40;
    if (cells >= 8) {
        size_t filled = s->total ? (size_t)((double)cells * s->done / s->total) : cells;
        memset(bar, ' ', cells);
        memset(bar, '=', filled);
        if (filled < cells)
            bar[filled] = '>';
        append(out, room, " [%s]", bar);
    }
    append(out, room, "%s", tail);
    if (strlen(out) > width && width < room)
        out[width] = '\0';
}

static unsigned terminal_width(void)
{
    struct winsize size;
    if (ioctl(STDERR_FILENO, TIOCGWINSZ, &size) != 0 || size.ws_col < 20)
        return 79;
    return size.ws_col < WIDEST ? size.ws_col - 1u : WIDEST - 1u;
}

void progress_draw(const progress_state *s)
{
    double now = clock_seconds();
    if (!on_terminal || (now - last_drawn < REDRAW_SECONDS && s->done < s->total))
        return;
    char line[WIDEST];
    progress_format(s, terminal_width(), line, sizeof(line));
    fprintf(stderr, "\r%s\033[K", line);
    fflush(stderr);
    line_drawn = true;
    last_drawn = now;
}

void progress_report(const progress_state *s)
{
    char line[256], tail[160];
    if (on_terminal)
        return;
    describe(s, tail, sizeof(tail));
    snprintf(line, sizeof(line), "%s %u/%u", s->unit, s->done, s->total);
    if (!isnan(s->learning_rate))
        append(line, sizeof(line), "  lr %.3g", s->learning_rate);
    if (!isnan(s->grad_norm))
        append(line, sizeof(line), "  grad_norm %.3g", s->grad_norm);
    append(line, sizeof(line), "%s", tail);
    cli_note("%s", line);
}
