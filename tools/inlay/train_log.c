// SPDX-License-Identifier: MIT
#include "train_log.h"

#include "json_out.h"
#include "plot.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#define LOG_FILE "log.jsonl"
#define PICTURE_FILE "loss.png"
#define DIGITS 9
#define SMOOTHED_FROM 50 // values in the picture

static void add_point(train_curve *curve, double step, double loss)
{
    size_t n = curve->count;
    if ((n & (n - 1)) == 0) { // a power of two: the arrays are full
        curve->steps = xrealloc(curve->steps, n ? 2 * n : 1, sizeof(double));
        curve->losses = xrealloc(curve->losses, n ? 2 * n : 1, sizeof(double));
    }
    curve->steps[n] = step;
    curve->losses[n] = loss;
    curve->count++;
}

// ---- opening

// Takes one line of an earlier part of the run; false: it is not of the first `step` steps.
static bool take_line(train_log *log, const char *line, size_t size, uint32_t step)
{
    json_t *o = json_loadb(line, size, 0, NULL);
    const json_t *number = json_object_get(o, "step");
    bool keep = json_is_integer(number) && json_integer_value(number) <= (json_int_t)step;
    const json_t *loss = json_object_get(o, "loss"), *eval = json_object_get(o, "eval_loss");
    if (keep && json_is_number(loss)) {
        add_point(&log->train, json_number_value(number), json_number_value(loss));
        log->loss = json_number_value(loss);
        log->tokens = (uint64_t)json_integer_value(json_object_get(o, "tokens"));
    }
    if (keep && json_is_number(eval))
        add_point(&log->eval, json_number_value(number), json_number_value(eval));
    json_decref(o);
    return keep;
}

static bool keep_earlier(train_log *log, const char *path, uint32_t step)
{
    size_t size;
    char *text = file_read(path, &size);
    if (!text)
        return true;
    size_t kept = 0;
    for (size_t at = 0; at < size;) {
        const char *end = memchr(text + at, '\n', size - at);
        size_t length = end ? (size_t)(end - text) + 1 - at : size - at;
        if (end && take_line(log, text + at, length, step)) {
            memmove(text + kept, text + at, length);
            kept += length;
        }
        at += length;
    }
    bool done = kept == size || file_write(path, text, kept);
    free(text);
    return done;
}

bool train_log_open(train_log *log, const char *folder, uint32_t step)
{
    *log = (train_log){
        .folder = xstrdup(folder), .lines.fd = -1, .tensorboard.file.fd = -1, .loss = NAN};
    char *path = path_join(folder, LOG_FILE);
    bool done = step == 0 || keep_earlier(log, path, step);
    done = done && append_open(&log->lines, path, step == 0);
    free(path);
    return done && tensorboard_open(&log->tensorboard, folder, step + 1);
}

void train_log_close(train_log *log)
{
    append_close(&log->lines);
    tensorboard_close(&log->tensorboard);
    free(log->folder);
    free(log->train.steps);
    free(log->train.losses);
    free(log->eval.steps);
    free(log->eval.losses);
    *log = (train_log){.lines.fd = -1, .tensorboard.file.fd = -1};
}

// ---- writing

static bool write_line(train_log *log, json_t *object)
{
    char *line = json_line(object);
    size_t size = strlen(line);
    line = xrealloc(line, size + 1, 1);
    line[size] = '\n';
    bool done = append_write(&log->lines, line, size + 1);
    free(line);
    json_decref(object);
    return done;
}

void train_log_step(train_log *log, const inlay_step_stats *s)
{
    add_point(&log->train, s->step, s->loss);
    log->window_steps++;
    log->window_loss += s->loss;
    log->window_seconds += s->seconds;
    log->window_tokens += s->tokens;
    log->tokens += s->tokens;
}

bool train_log_report(train_log *log, const inlay_step_stats *s)
{
    if (log->window_steps == 0)
        return true;
    log->loss = log->window_loss / log->window_steps;
    double rate = (double)log->window_tokens / log->window_seconds;
    log->window_steps = 0;
    log->window_loss = log->window_seconds = 0.0;
    log->window_tokens = 0;
    json_t *o = json_object();
    json_put(o, "step", json_count(s->step));
    json_put(o, "epoch", json_number(s->epoch, DIGITS));
    json_put(o, "loss", json_number(log->loss, DIGITS));
    json_put(o, "grad_norm", json_number(s->grad_norm, DIGITS));
    json_put(o, "learning_rate", json_number(s->learning_rate, DIGITS));
    json_put(o, "tokens", json_count(log->tokens));
    json_put(o, "tokens_per_second", json_number(rate, 6));
    json_put(o, "host_seconds", json_number(s->host_seconds, 4));
    json_put(o, "peak_memory_bytes", json_count(s->peak_device_bytes));
    const tensorboard_value values[] = {{"train/loss", log->loss},
                                        {"train/grad_norm", s->grad_norm},
                                        {"train/learning_rate", s->learning_rate},
                                        {"train/epoch", s->epoch},
                                        {"train/tokens_per_second", rate}};
    return write_line(log, o) &&
           tensorboard_add(&log->tensorboard, s->step, values, COUNT(values));
}

bool train_log_eval(train_log *log, uint32_t step, double epoch, const inlay_eval_result *e)
{
    add_point(&log->eval, step, e->loss);
    json_t *o = json_object();
    json_put(o, "step", json_count(step));
    json_put(o, "epoch", json_number(epoch, DIGITS));
    json_put(o, "eval_loss", json_number(e->loss, DIGITS));
    json_put(o, "eval_perplexity", json_number(e->perplexity, DIGITS));
    json_put(o, "eval_tokens", json_count(e->tokens));
    const tensorboard_value values[] = {{"eval/loss", e->loss}};
    return write_line(log, o) && tensorboard_add(&log->tensorboard, step, values, COUNT(values));
}

// Few values are shown as they are, many also smoothed.
static size_t choose_series(const train_log *log, double *smooth, plot_series out[3])
{
    const train_curve *train = &log->train, *eval = &log->eval;
    bool many = train->count >= SMOOTHED_FROM;
    size_t count = 0;
    out[count++] = (plot_series){.name = "training", .x = train->steps, .y = train->losses,
                                 .count = train->count, .faint = many};
    if (many) {
        plot_smooth(train->losses, train->count, smooth);
        out[count++] = (plot_series){.name = "training, smoothed", .x = train->steps, .y = smooth,
                                     .count = train->count};
    }
    if (eval->count > 0)
        out[count++] = (plot_series){.name = "evaluation", .x = eval->steps, .y = eval->losses,
                                     .count = eval->count, .markers = true};
    return count;
}

bool train_log_picture(const train_log *log)
{
    if (log->train.count + log->eval.count == 0)
        return true;
    double *smooth = xalloc(log->train.count, sizeof(*smooth));
    plot_series series[3];
    size_t size, count = choose_series(log, smooth, series);
    const plot_labels labels = {.title = "loss", .x = "step", .y = "nats per token"};
    uint8_t *png = plot_png(&labels, series, count, &size);
    char *path = path_join(log->folder, PICTURE_FILE);
    if (!png)
        cli_error("cannot draw %s", path);
    bool done = png && file_write(path, png, size);
    free(path);
    free(png);
    free(smooth);
    return done;
}
