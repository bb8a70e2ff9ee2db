// SPDX-License-Identifier: MIT
// Families of cases: one function per check_*.c of this folder.
#ifndef INL_VERIFY_FAMILIES_H
#define INL_VERIFY_FAMILIES_H

#include "verify/case.h"

// All formats are decoded through every kernel that reads weights. Those that one shader decodes
// differ in nothing else: one of them is taken through its other options, for all.
static inline bool stands_for_others(inl_format_id id)
{
    switch (inl_format_by_id(id)->tiling) {
    case INL_TILING_PACKED: return id == INL_FORMAT_Q5_K;
    case INL_TILING_NF4: return id == INL_FORMAT_NF4;
    default: return true;
    }
}

void check_driver(kt_suite *suite);
void check_matmul(kt_suite *suite);
void check_lora(kt_suite *suite);
void check_layer(kt_suite *suite);
void check_attention(kt_suite *suite);
void check_update(kt_suite *suite);
void check_reduce(kt_suite *suite);
void check_block(kt_suite *suite);
void check_moe(kt_suite *suite);
void check_dora(kt_suite *suite);
void check_encode(kt_suite *suite);
void check_token(kt_suite *suite);
void check_peak(kt_suite *suite);

#endif
