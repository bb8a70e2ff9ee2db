// SPDX-License-Identifier: MIT
// Matrices that are another format on the device than in the file: their rows go there as they are,
// a few MiB at a time, and are encoded there. The host holds none of them.
#ifndef INL_MODEL_ENCODER_H
#define INL_MODEL_ENCODER_H

#include "model/model.h"
#include "op/op.h"

typedef struct inl_encoder {
    const inl_env *env;
    inl_gpu *gpu;
    uint64_t max_range; // bytes of a binding
    inl_buffer *scratch; // rows of the source, and behind them NF4's absmax
} inl_encoder;

// Device memory that encoding the matrix takes, besides its planes; 0: it is for the host to
// encode, or not to be encoded at all.
uint64_t inl_encoder_bytes(const inl_source *source, const inl_weight *weight, uint64_t max_range);
// `bytes`: the most of the matrices'. The caller closes it, also after a failure.
inlay_result inl_encoder_open(const inl_env *env, inl_gpu *gpu, uint64_t bytes, inl_encoder *out);
void inl_encoder_close(inl_encoder *encoder);
// Fills the planes of the matrix, or of each expert's, for which inl_encoder_bytes is not 0. Waits
// for the device.
inlay_result inl_encoder_put(const inl_encoder *encoder, const inl_source *source,
                             const inl_weight *weight);

#endif
