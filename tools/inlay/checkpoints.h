// SPDX-License-Identifier: MIT
// The checkpoint-N folders of an output folder.
#ifndef CHECKPOINTS_H
#define CHECKPOINTS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

// Steps of the complete checkpoints, ascending, allocated (NULL when there is none).
uint32_t *checkpoints_list(const char *folder, size_t *count);
// Whether anything in `folder` is called checkpoint-N, complete or not.
bool checkpoints_any(const char *folder);
char *checkpoints_path(const char *folder, uint32_t step); // allocated
// The newest complete one's path, allocated; NULL when there is none.
char *checkpoints_newest(const char *folder);
// N of a path that ends in checkpoint-N.
bool checkpoints_step(const char *path, uint32_t *step);
// Removes the oldest up to `step` until `limit` are left; 0: keeps all.
bool checkpoints_prune(const char *folder, uint32_t step, uint32_t limit);
bool checkpoints_remove_all(const char *folder);

// Removes what a process that was killed left: half a checkpoint, or the rest of a removed one.
void checkpoints_sweep(const char *folder);

#endif
