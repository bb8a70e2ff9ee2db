// SPDX-License-Identifier: MIT
// The kernels' push constants, as C sees them.
#ifndef INL_OP_PARAMS_H
#define INL_OP_PARAMS_H

#include <stdint.h>

typedef uint32_t inl_glsl_uint;
#define uint inl_glsl_uint
#include "../../shaders/lib/params.h"
#undef uint

#endif
