// SPDX-License-Identifier: MIT
// The table of weight formats: one row each, and the functions behind it (codec.h).
//
// On the device a format lies in tiles (tile.h), which a dequant_<tiling>.glsl reads. One of those,
// packed, reads any format of codes of 2 to 6 bits under scales: such a format is a row, a function
// that takes a block apart (packed.h), and no shader.
//
// NF4 and FP4 have no blocks of bytes: codes and the blocks' absmax are arrays of their own, over
// the flattened matrix (nf4.h). A 4-bit tensor of a bitsandbytes checkpoint becomes one of them by
// inl_nf4_read: NF4 where it is double-quantized as inlay does it (blocks of 64, 256 of their
// absmax a block), else NF4_PLAIN or FP4, whose absmax are f32, one for 64 elements however large
// the checkpoint's blocks are. The values are its own to the bit.
#ifndef INL_QUANT_FORMAT_H
#define INL_QUANT_FORMAT_H

#include "base/env.h"

typedef enum inl_format_id {
    INL_FORMAT_F32,
    INL_FORMAT_F16,
    INL_FORMAT_BF16,
    INL_FORMAT_Q8_0,
    INL_FORMAT_Q4_0,
    INL_FORMAT_Q4_1,
    INL_FORMAT_Q5_0,
    INL_FORMAT_Q5_1,
    INL_FORMAT_Q2_K,
    INL_FORMAT_Q3_K,
    INL_FORMAT_Q4_K,
    INL_FORMAT_Q5_K,
    INL_FORMAT_Q6_K,
    INL_FORMAT_IQ4_NL,
    INL_FORMAT_IQ4_XS,
    INL_FORMAT_MXFP4,
    INL_FORMAT_NF4,       // made at load, in no GGUF file; or bitsandbytes', double-quantized
    INL_FORMAT_NF4_PLAIN, // bitsandbytes' with an f32 a block
    INL_FORMAT_FP4,       // the same with other 16 values
    INL_FORMAT_COUNT,
} inl_format_id;

// The words of the lists in shaders/kernels.txt.
typedef enum inl_tiling {
    INL_TILING_F32,
    INL_TILING_F16,
    INL_TILING_BF16,
    INL_TILING_Q8_0,
    INL_TILING_Q4_0,
    INL_TILING_PACKED,
    INL_TILING_NF4,
    INL_TILING_COUNT,
} inl_tiling;

#define INL_GGML_TYPE_NONE UINT32_MAX
#define INL_MAX_BLOCK 256 // elements

typedef struct inl_format {
    inl_format_id id;
    const char *name;         // "Q8_0"
    uint32_t ggml_type;       // id in GGUF files, or INL_GGML_TYPE_NONE
    uint32_t file_type;       // general.file_type of a file most of whose matrices have it
    uint32_t block_elements;  // 1, 32, 64, 256
    uint32_t block_bytes;     // as in files; 0: inl_is_nf4
    // On the device: bits of an element, bytes of the scales of 8 rows of a block.
    inl_tiling tiling;
    uint32_t tile_bits, tile_scale_bytes;
    uint32_t packing; // shaders/lib/packing.h; 0: the kernels ask for none
    // `count` is a multiple of block_elements. Bit-exact to ggml's reference; the device's numbers
    // are the same, but that it may flush subnormal ones to zero. NULL: inl_is_nf4.
    void (*decode)(const void *blocks, float *out, uint64_t count);
    // Numbers that are not finite become any others. NULL: inl_is_nf4.
    void (*encode)(const float *in, void *blocks, uint64_t count);
    // Index of the first block that has something NaN or infinite, or UINT64_MAX.
    uint64_t (*find_not_finite)(const void *blocks, uint64_t count);
    // Packs row `i` of 8 into their tiles; `quants` and `scales` are where those of the 8 start.
    void (*pack_row)(const void *row, uint32_t i, uint32_t cols, uint32_t *quants,
                     uint32_t *scales);
} inl_format;

// It has no blocks of its own: nf4.h.
static inline bool inl_is_nf4(const inl_format *format)
{
    return format->tiling == INL_TILING_NF4;
}

// What `elements`, whole blocks of them, take in a file.
static inline uint64_t inl_format_bytes(const inl_format *format, uint64_t elements)
{
    return elements / format->block_elements * format->block_bytes;
}

const inl_format *inl_format_by_id(inl_format_id id);
const inl_format *inl_format_by_ggml(uint32_t ggml_type);  // NULL: not supported
const inl_format *inl_format_by_name(const char *name);    // case ignored; NULL: unknown
// "F32, F16 and Q8_0": the formats that files have, for messages. Returns `text`.
const char *inl_format_names(char *text, size_t size);
// ggml's own name of a type id for messages, also of types inlay cannot read; NULL: no such type.
// *block_elements and *block_bytes may be NULL.
const char *inl_ggml_type_info(uint32_t type, uint32_t *block_elements, uint32_t *block_bytes);

#endif
