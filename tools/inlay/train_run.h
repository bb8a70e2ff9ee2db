// SPDX-License-Identifier: MIT
// One run of inlay train: what is open, and the loop over steps.
#ifndef TRAIN_RUN_H
#define TRAIN_RUN_H

#include "train_log.h"
#include "train_options.h"

typedef struct train_run {
    const train_options *options;
    inlay_model *model;
    inlay_adapter *adapter;
    inlay_dataset *data, *eval_data; // eval_data NULL: no evaluation
    inlay_device *device;
    inlay_trainer *trainer;
    inlay_train_plan plan;
    train_log log;
    inlay_step_stats last;  // of the newest step
    inlay_eval_result eval; // the newest one; tokens 0: none yet
    uint32_t first_step;    // done before this process
    uint32_t saved_step;    // of the newest checkpoint of this process; 0: none
    uint64_t tokens;        // of this process's steps
    double seconds;         // of those steps
} train_run;

// Trains to the end with reports, evaluations and checkpoints. An exit code; not 0 after a failure
// or a signal, and then a checkpoint of the last good step is there where one could be written.
int train_run_steps(train_run *run);
// Adapter files and picture into the output folder.
int train_run_save(train_run *run);

#endif
