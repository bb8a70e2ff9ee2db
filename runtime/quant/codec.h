// SPDX-License-Identifier: MIT
// The codecs behind the rows of format.c. `blocks` need no alignment: they lie in files.
#ifndef INL_QUANT_CODEC_H
#define INL_QUANT_CODEC_H

#include <stdint.h>

#define INL_CODEC(name)                                                                            \
    void inl_##name##_decode(const void *blocks, float *out, uint64_t count);                      \
    void inl_##name##_encode(const float *in, void *blocks, uint64_t count);                       \
    uint64_t inl_##name##_find_not_finite(const void *blocks, uint64_t count);                     \
    void inl_##name##_pack_row(const void *row, uint32_t i, uint32_t cols, uint32_t *quants,       \
                               uint32_t *scales)

// float.c
INL_CODEC(f32);
INL_CODEC(f16);
INL_CODEC(bf16);

// legacy.c
INL_CODEC(q8_0);
INL_CODEC(q4_0);
INL_CODEC(q4_1);
INL_CODEC(q5_0);
INL_CODEC(q5_1);
INL_CODEC(iq4_nl);
INL_CODEC(mxfp4);

// kquant.c
INL_CODEC(q2_k);
INL_CODEC(q3_k);
INL_CODEC(q4_k);
INL_CODEC(q5_k);
INL_CODEC(q6_k);
INL_CODEC(iq4_xs);

#endif
