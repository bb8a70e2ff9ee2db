// SPDX-License-Identifier: MIT
// TensorBoard's event files: records of length, checksum, an Event in protocol-buffer encoding,
// checksum.
#ifndef TENSORBOARD_H
#define TENSORBOARD_H

#include "files.h"

typedef struct tensorboard {
    append_file file;
} tensorboard;

typedef struct tensorboard_value {
    const char *tag; // "train/loss"
    double value;
} tensorboard_value;

// A new file in `folder`. What earlier files there say of `first_step` and later no longer counts.
bool tensorboard_open(tensorboard *tb, const char *folder, uint32_t first_step);
bool tensorboard_add(tensorboard *tb, uint32_t step, const tensorboard_value *values, size_t count);
void tensorboard_close(tensorboard *tb);

// For tests: CRC-32C (Castagnoli), its masked form, and one record of at most `room` bytes.
uint32_t tensorboard_crc32c(const void *data, size_t size);
uint32_t tensorboard_mask(uint32_t crc);
size_t tensorboard_record(uint8_t *out, size_t room, double time, uint32_t step,
                          const tensorboard_value *values, size_t count);

#endif
