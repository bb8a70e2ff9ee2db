// SPDX-License-Identifier: MIT
// What a run leaves about itself in its folder: log.jsonl, TensorBoard events, loss.png.
#ifndef TRAIN_LOG_H
#define TRAIN_LOG_H

#include "cli.h"
#include "tensorboard.h"

// Points of a curve.
typedef struct train_curve {
    double *steps, *losses;
    size_t count;
} train_curve;

typedef struct train_log {
    char *folder;
    append_file lines;
    tensorboard tensorboard;
    train_curve train; // a point a step of this process, a report of earlier ones
    train_curve eval;
    double loss; // of the newest report; NaN: none yet
    uint64_t tokens; // since the run's first step, without padding
    // Since the last report.
    uint32_t window_steps;
    double window_loss, window_seconds;
    uint64_t window_tokens;
} train_log;

// `step`: how many steps the run has done already; lines of later ones are dropped. 0: a new log.
bool train_log_open(train_log *log, const char *folder, uint32_t step);
void train_log_step(train_log *log, const inlay_step_stats *stats);
// Writes a report of the steps since the last one: its loss is their mean.
bool train_log_report(train_log *log, const inlay_step_stats *stats);
bool train_log_eval(train_log *log, uint32_t step, double epoch, const inlay_eval_result *eval);
bool train_log_picture(const train_log *log); // loss.png
void train_log_close(train_log *log);

#endif
