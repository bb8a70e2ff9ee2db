// SPDX-License-Identifier: MIT
// How the codes of a packed format (dequant_packed.glsl) become numbers, in one word, for GLSL
// and C. A value is (table[code] or code - ZERO) * scale [+ offset]. Scales and offsets are f16 or
// BF16, one for a row of GROUP column tiles; or, of INTEGERS, one for 32 column tiles, times an i8
// a group.

#define PACKING_BITS(word) ((word) & 7u) // of a code: 2 to 6
#define PACKING_ZERO(word) ((word) >> 3 & 63u)
#define PACKING_TABLE(word) ((word) >> 9 & 3u)  // 0: none
#define PACKING_GROUP(word) ((word) >> 11 & 7u) // 2 or 4
#define PACKING_OFFSETS (1u << 14)
#define PACKING_INTEGERS (1u << 15)
#define PACKING_BF16 (1u << 16)
#define PACKING(bits, zero, table, group, flags)                                                   \
    ((bits) | (zero) << 3 | (table) << 9 | (group) << 11 | (flags))

#define TABLE_IQ4 1u
#define TABLE_MXFP4 2u
#define TABLE_FP4 1u // in NF4's place (nf4_codes.glsl)
#define TABLE_IQ4_VALUES -127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113
#define TABLE_MXFP4_VALUES 0, 1, 2, 3, 4, 6, 8, 12, 0, -1, -2, -3, -4, -6, -8, -12
