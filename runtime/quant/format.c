// SPDX-License-Identifier: MIT
#include "quant/format.h"

#include "quant/codec.h"
#include "quant/nf4.h"
#include "quant/packed.h"

#include <stdio.h>

#define CODEC(name)                                                                                \
    inl_##name##_decode, inl_##name##_encode, inl_##name##_find_not_finite, inl_##name##_pack_row

// How codes lie on the device and become numbers, and the bytes of 8 rows of a block's scales.
#define PACKED(bits, zero, table, group, flags, scale_bytes)                                       \
    INL_TILING_PACKED, bits, scale_bytes, PACKING(bits, zero, table, group, flags)
#define OFFSETS PACKING_OFFSETS
#define INTEGERS PACKING_INTEGERS

// id, name, ggml's type and file type, block in elements and bytes; tiling, tile_bits,
// tile_scale_bytes, packing; codec
static const inl_format formats[INL_FORMAT_COUNT] = {
    {INL_FORMAT_F32, "F32", 0, 0, 1, 4, INL_TILING_F32, 32, 0, 0, CODEC(f32)},
    {INL_FORMAT_F16, "F16", 1, 1, 1, 2, INL_TILING_F16, 16, 0, 0, CODEC(f16)},
    {INL_FORMAT_BF16, "BF16", 30, 32, 1, 2, INL_TILING_BF16, 16, 0, 0, CODEC(bf16)},
    {INL_FORMAT_Q8_0, "Q8_0", 8, 7, 32, 34, INL_TILING_Q8_0, 8, 16, 0, CODEC(q8_0)},
    {INL_FORMAT_Q4_0, "Q4_0", 2, 2, 32, 18, INL_TILING_Q4_0, 4, 16, 0, CODEC(q4_0)},
    {INL_FORMAT_Q4_1, "Q4_1", 3, 3, 32, 20, PACKED(4, 0, 0, 4, OFFSETS, 32), CODEC(q4_1)},
    {INL_FORMAT_Q5_0, "Q5_0", 6, 8, 32, 22, PACKED(5, 16, 0, 4, 0, 16), CODEC(q5_0)},
    {INL_FORMAT_Q5_1, "Q5_1", 7, 9, 32, 24, PACKED(5, 0, 0, 4, OFFSETS, 32), CODEC(q5_1)},
    {INL_FORMAT_Q2_K, "Q2_K", 10, 10, 256, 84, PACKED(2, 0, 0, 2, OFFSETS | INTEGERS, 288),
     CODEC(q2_k)},
    {INL_FORMAT_Q3_K, "Q3_K", 11, 12, 256, 110, PACKED(3, 4, 0, 2, INTEGERS, 144), CODEC(q3_k)},
    {INL_FORMAT_Q4_K, "Q4_K", 12, 14, 256, 144, PACKED(4, 0, 0, 4, OFFSETS | INTEGERS, 160),
     CODEC(q4_k)},
    {INL_FORMAT_Q5_K, "Q5_K", 13, 16, 256, 176, PACKED(5, 0, 0, 4, OFFSETS | INTEGERS, 160),
     CODEC(q5_k)},
    {INL_FORMAT_Q6_K, "Q6_K", 14, 18, 256, 210, PACKED(6, 32, 0, 2, INTEGERS, 144), CODEC(q6_k)},
    {INL_FORMAT_IQ4_NL, "IQ4_NL", 20, 25, 32, 18, PACKED(4, 0, TABLE_IQ4, 4, 0, 16),
     CODEC(iq4_nl)},
    {INL_FORMAT_IQ4_XS, "IQ4_XS", 23, 30, 256, 136, PACKED(4, 0, TABLE_IQ4, 4, INTEGERS, 80),
     CODEC(iq4_xs)},
    {INL_FORMAT_MXFP4, "MXFP4", 39, 38, 32, 17, PACKED(4, 0, TABLE_MXFP4, 4, PACKING_BF16, 16),
     CODEC(mxfp4)},
    // tile_scale_bytes: 8 f32, or 0 where they are double-quantized.
    {INL_FORMAT_NF4, "NF4", INL_GGML_TYPE_NONE, 0, INL_NF4_BLOCK, 0, INL_TILING_NF4, 4, 0, 0, NULL,
     NULL, NULL, NULL},
    {INL_FORMAT_NF4_PLAIN, "NF4_PLAIN", INL_GGML_TYPE_NONE, 0, INL_NF4_BLOCK, 0, INL_TILING_NF4, 4,
     32, 0, NULL, NULL, NULL, NULL},
    {INL_FORMAT_FP4, "FP4", INL_GGML_TYPE_NONE, 0, INL_NF4_BLOCK, 0, INL_TILING_NF4, 4, 32,
     PACKING(4, 0, TABLE_FP4, 0, 0), NULL, NULL, NULL, NULL},
};

// ggml's types by id that have no row above; ids without a name were removed from ggml.
static const struct {
    const char *name;
    uint32_t block_elements, block_bytes;
} ggml_types[] = {
    [9] = {"Q8_1", 32, 36},
    [15] = {"Q8_K", 256, 292},
    [16] = {"IQ2_XXS", 256, 66},
    [17] = {"IQ2_XS", 256, 74},
    [18] = {"IQ3_XXS", 256, 98},
    [19] = {"IQ1_S", 256, 50},
    [21] = {"IQ3_S", 256, 110},
    [22] = {"IQ2_S", 256, 82},
    [24] = {"I8", 1, 1},
    [25] = {"I16", 1, 2},
    [26] = {"I32", 1, 4},
    [27] = {"I64", 1, 8},
    [28] = {"F64", 1, 8},
    [29] = {"IQ1_M", 256, 56},
    [34] = {"TQ1_0", 256, 54},
    [35] = {"TQ2_0", 256, 66},
    [40] = {"NVFP4", 64, 36},
    [41] = {"Q1_0", 128, 18},
    [42] = {"Q2_0", 64, 18},
};

const inl_format *inl_format_by_id(inl_format_id id)
{
    return (unsigned)id < INL_FORMAT_COUNT ? &formats[id] : NULL;
}

const inl_format *inl_format_by_ggml(uint32_t ggml_type)
{
    for (size_t i = 0; i < INL_COUNT(formats); i++)
        if (formats[i].ggml_type == ggml_type && ggml_type != INL_GGML_TYPE_NONE)
            return &formats[i];
    return NULL;
}

static char lower(char c)
{
    return c >= 'A' && c <= 'Z' ? (char)(c - 'A' + 'a') : c;
}

static bool same_word(const char *a, const char *b)
{
    for (; *a && lower(*a) == lower(*b); a++, b++)
        ;
    return lower(*a) == lower(*b);
}

const inl_format *inl_format_by_name(const char *name)
{
    for (size_t i = 0; i < INL_COUNT(formats); i++)
        if (same_word(formats[i].name, name))
            return &formats[i];
    return NULL;
}

const char *inl_format_names(char *text, size_t size)
{
    size_t at = 0, left = 0;
    text[0] = '\0';
    for (size_t i = 0; i < INL_COUNT(formats); i++)
        left += formats[i].ggml_type != INL_GGML_TYPE_NONE;
    for (size_t i = 0; i < INL_COUNT(formats) && at < size; i++)
        if (formats[i].ggml_type != INL_GGML_TYPE_NONE) {
            left--;
            at += (size_t)snprintf(text + at, size - at, "%s%s", formats[i].name,
                                   left > 1 ? ", " : left == 1 ? " and " : "");
        }
    return text;
}

const char *inl_ggml_type_info(uint32_t type, uint32_t *block_elements, uint32_t *block_bytes)
{
    const inl_format *format = inl_format_by_ggml(type);
    if (!format && (type >= INL_COUNT(ggml_types) || !ggml_types[type].name))
        return NULL;
    if (block_elements)
        *block_elements = format ? format->block_elements : ggml_types[type].block_elements;
    if (block_bytes)
        *block_bytes = format ? format->block_bytes : ggml_types[type].block_bytes;
    return format ? format->name : ggml_types[type].name;
}
