// SPDX-License-Identifier: MIT
// Where a step's time goes: its phases, its kernels, its longest submit.
#ifndef INL_TRAIN_PROFILE_H
#define INL_TRAIN_PROFILE_H

#include "train/trainer.h"

// Of the last step's last micro-batch and its update, in seconds; a device without timestamps gives
// zeros.
typedef struct inl_step_times {
    double forward, backward, update; // while it is profiled, else 0
    double longest_submit;            // while it is not, else 0
} inl_step_times;

typedef struct inl_kernel_time {
    const char *kernel, *tag; // static; "copy" and "" of what is no kernel
    uint32_t dispatches;
    double seconds;
    uint64_t flops, bytes;
} inl_kernel_time;

// From the next step on a timestamp follows each kernel, and nothing is cut anew.
inlay_result inl_trainer_profile(inl_trainer *trainer, bool on);
inlay_result inl_trainer_times(const inl_trainer *trainer, inl_step_times *out);
// The slowest first, by kernel and tag; *count holds the room and becomes how many there are. None
// where nothing is profiled.
inlay_result inl_trainer_kernels(const inl_trainer *trainer, inl_kernel_time *out,
                                 uint32_t *count);

#endif
