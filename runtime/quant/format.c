// SPDX-License-Identifier: MIT
#include "quant/format.h"

#include "quant/codec.h"
#include "quant/nf4.h"

static const inl_format formats[INL_FORMAT_COUNT] = {
    [INL_FORMAT_F32] = {INL_FORMAT_F32, "F32", "f32", 0, 1, 4, inl_f32_decode, inl_f32_encode,
                        inl_f32_find_not_finite},
    [INL_FORMAT_F16] = {INL_FORMAT_F16, "F16", "f16", 1, 1, 2, inl_f16_decode, inl_f16_encode,
                        inl_f16_find_not_finite},
    [INL_FORMAT_BF16] = {INL_FORMAT_BF16, "BF16", "bf16", 30, 1, 2, inl_bf16_decode,
                         inl_bf16_encode, inl_bf16_find_not_finite},
    [INL_FORMAT_Q8_0] = {INL_FORMAT_Q8_0, "Q8_0", "q8_0", 8, 32, 34, inl_q8_0_decode,
                         inl_q8_0_encode, inl_q8_0_find_not_finite},
    [INL_FORMAT_Q4_0] = {INL_FORMAT_Q4_0, "Q4_0", "q4_0", 2, 32, 18, inl_q4_0_decode,
                         inl_q4_0_encode, inl_q4_0_find_not_finite},
    [INL_FORMAT_NF4] = {INL_FORMAT_NF4, "NF4", "nf4", INL_GGML_TYPE_NONE, INL_NF4_BLOCK, 0, NULL,
                        NULL, NULL},
};

// ggml's types by id; ids without a name were removed from ggml.
static const struct {
    const char *name;
    uint32_t block_elements, block_bytes;
} ggml_types[] = {
    [0] = {"F32", 1, 4},
    [1] = {"F16", 1, 2},
    [2] = {"Q4_0", 32, 18},
    [3] = {"Q4_1", 32, 20},
    [6] = {"Q5_0", 32, 22},
    [7] = {"Q5_1", 32, 24},
    [8] = {"Q8_0", 32, 34},
    [9] = {"Q8_1", 32, 36},
    [10] = {"Q2_K", 256, 84},
    [11] = {"Q3_K", 256, 110},
    [12] = {"Q4_K", 256, 144},
    [13] = {"Q5_K", 256, 176},
    [14] = {"Q6_K", 256, 210},
    [15] = {"Q8_K", 256, 292},
    [16] = {"IQ2_XXS", 256, 66},
    [17] = {"IQ2_XS", 256, 74},
    [18] = {"IQ3_XXS", 256, 98},
    [19] = {"IQ1_S", 256, 50},
    [20] = {"IQ4_NL", 32, 18},
    [21] = {"IQ3_S", 256, 110},
    [22] = {"IQ2_S", 256, 82},
    [23] = {"IQ4_XS", 256, 136},
    [24] = {"I8", 1, 1},
    [25] = {"I16", 1, 2},
    [26] = {"I32", 1, 4},
    [27] = {"I64", 1, 8},
    [28] = {"F64", 1, 8},
    [29] = {"IQ1_M", 256, 56},
    [30] = {"BF16", 1, 2},
    [34] = {"TQ1_0", 256, 54},
    [35] = {"TQ2_0", 256, 66},
    [39] = {"MXFP4", 32, 17},
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

const char *inl_ggml_type_info(uint32_t type, uint32_t *block_elements, uint32_t *block_bytes)
{
    if (type >= INL_COUNT(ggml_types) || !ggml_types[type].name)
        return NULL;
    if (block_elements)
        *block_elements = ggml_types[type].block_elements;
    if (block_bytes)
        *block_bytes = ggml_types[type].block_bytes;
    return ggml_types[type].name;
}
