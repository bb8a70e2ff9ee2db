// SPDX-License-Identifier: MIT
// Includes the format a kernel is built for: kernels.txt defines one of these.
#if defined(W_F32)
#include "dequant_f32.glsl"
#elif defined(W_F16)
#include "dequant_f16.glsl"
#elif defined(W_BF16)
#include "dequant_bf16.glsl"
#elif defined(W_Q8_0)
#include "dequant_q8_0.glsl"
#elif defined(W_Q4_0)
#include "dequant_q4_0.glsl"
#elif defined(W_PACKED)
#include "dequant_packed.glsl"
#elif defined(W_NF4)
#include "dequant_nf4.glsl"
#endif
