// SPDX-License-Identifier: MIT
// One function per file of this folder.
#ifndef INL_TEST_KERNELS_FAMILIES_H
#define INL_TEST_KERNELS_FAMILIES_H

#include "harness/kernel_test.h"

void check_matmul(kt_suite *suite);
void check_lora(kt_suite *suite);
void check_layer(kt_suite *suite);
void check_attention(kt_suite *suite);
void check_update(kt_suite *suite);
void check_reduce(kt_suite *suite);
void check_block(kt_suite *suite);
void check_plan(kt_suite *suite);
void check_large(kt_suite *suite);
void check_moe(kt_suite *suite);
void check_dora(kt_suite *suite);

#endif
