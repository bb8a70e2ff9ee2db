// SPDX-License-Identifier: MIT
// Families of cases besides those of runtime/verify: one function per check_*.c of this folder.
#ifndef INL_TEST_KERNELS_MORE_H
#define INL_TEST_KERNELS_MORE_H

#include "verify/families.h"

void check_plan(kt_suite *suite);
void check_large(kt_suite *suite);

#endif
