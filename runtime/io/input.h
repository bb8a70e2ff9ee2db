// SPDX-License-Identifier: MIT
// The bytes of a data file as a window that moves forward: a mapped file is seen whole, a zstd
// stream is unpacked piece by piece and what was consumed is dropped.
#ifndef INL_IO_INPUT_H
#define INL_IO_INPUT_H

#include "base/env.h"

typedef struct inl_input {
    const inl_env *env;
    const char *name; // for messages
    const char *data; // the window: what has been read and not consumed
    uint64_t size;
    bool ended; // nothing comes behind the window
    // zstd alone.
    void *stream;
    const uint8_t *packed;
    uint64_t packed_size, packed_at;
    uint64_t wanted; // 0: a frame ended
    char *buffer;
    size_t start, end, cap; // the window in `buffer`
} inl_input;

// `data` must outlive the input. A build without libzstd refuses `packed` as UNSUPPORTED.
inlay_result inl_input_open(const inl_env *env, const char *name, const char *data, uint64_t size,
                            bool packed, inl_input *out);
void inl_input_close(inl_input *in);
// Drops the first `count` bytes of the window.
void inl_input_skip(inl_input *in, uint64_t count);
// Makes the window longer, or says that it `ended`. Pointers into the window are then invalid.
inlay_result inl_input_more(inl_input *in);

#endif
