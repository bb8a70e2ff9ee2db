// SPDX-License-Identifier: MIT
// What a device can do at best, for others to be measured against. Each thread, or with MATRIX each
// subgroup, computes for itself, in CHAINS chains of 8 `rounds` steps whose sum it keeps:
// (none) x = x m + c in vec4s of f32. F16: the same in f16.
// DOT8: x = dot of x's and m's four signed bytes, + c, in integers.
// MATRIX: C = C +- A B, and C = C + A B at the end; A [M, K] and B [K, N] begin the input.
// COPY: out[i] = in[i], four vec4s a thread.
#version 450
#extension GL_GOOGLE_include_directive : require
#ifdef F16
#extension GL_EXT_shader_explicit_arithmetic_types_float16 : require
#endif
#ifdef DOT8
#extension GL_EXT_integer_dot_product : require
#endif
#ifdef MATRIX
#extension GL_EXT_shader_explicit_arithmetic_types_float16 : require
#extension GL_KHR_cooperative_matrix : require
#extension GL_KHR_memory_scope_semantics : require
#endif
#include "lib/params.h"

layout(local_size_x_id = 0) in;
layout(constant_id = 0) const uint LANES = 64;
layout(push_constant) uniform Push { push_peak p; };
#ifdef MATRIX
layout(constant_id = 1) const uint M = 16;
layout(constant_id = 2) const uint N = 16;
layout(constant_id = 3) const uint K = 16;
layout(binding = 0) readonly buffer In { float x[]; };
layout(binding = 1) writeonly buffer Out { float y[]; };
#else
layout(constant_id = 1) const uint CHAINS = 4; // 1 to 4
layout(binding = 0) readonly buffer In { vec4 x[]; };
layout(binding = 1) writeonly buffer Out { vec4 y[]; };
#endif

#if defined(COPY)
const uint EACH = 4;

void main()
{
    uint first = gl_WorkGroupID.x * LANES * EACH + gl_LocalInvocationID.x;
    for (uint i = 0; i < EACH; i++)
        if (first + i * LANES < p.count4)
            y[first + i * LANES] = x[first + i * LANES];
}
#elif defined(MATRIX)
shared float16_t sa[M * K], sb[K * N];
#define MATRIX_C coopmat<float, gl_ScopeSubgroup, M, N, gl_MatrixUseAccumulator>
#define ADD_TO(C) C = coopMatMulAdd(a, b, C);
#define TAKE_FROM(C) C = coopMatMulAdd(minus, b, C);
#define STEPS                                                                                      \
    ADD_TO(c0) ADD_TO(c1) ADD_TO(c2) ADD_TO(c3)                                                    \
    TAKE_FROM(c0) TAKE_FROM(c1) TAKE_FROM(c2) TAKE_FROM(c3)

void main()
{
    for (uint i = gl_LocalInvocationID.x; i < M * K; i += LANES)
        sa[i] = float16_t(x[i]);
    for (uint i = gl_LocalInvocationID.x; i < K * N; i += LANES)
        sb[i] = float16_t(x[M * K + i]);
    barrier();
    coopmat<float16_t, gl_ScopeSubgroup, M, K, gl_MatrixUseA> a;
    coopmat<float16_t, gl_ScopeSubgroup, K, N, gl_MatrixUseB> b;
    coopMatLoad(a, sa, 0, K, gl_CooperativeMatrixLayoutRowMajor);
    coopMatLoad(b, sb, 0, N, gl_CooperativeMatrixLayoutRowMajor);
    coopmat<float16_t, gl_ScopeSubgroup, M, K, gl_MatrixUseA> minus = -a;
    MATRIX_C c0 = MATRIX_C(p.addend), c1 = MATRIX_C(p.addend + 1.0);
    MATRIX_C c2 = MATRIX_C(p.addend + 2.0), c3 = MATRIX_C(p.addend + 3.0);
    for (uint i = 0; i < p.rounds; i++) {
        STEPS STEPS STEPS STEPS
    }
    c0 = coopMatMulAdd(a, b, c0 + c1 + c2 + c3);
    if ((gl_WorkGroupID.x + 1) * M * N <= 4 * p.count4)
        coopMatStore(c0, y, gl_WorkGroupID.x * M * N, N, gl_CooperativeMatrixLayoutRowMajor);
}
#else
// A chain's number, its step, and how it is kept.
#if defined(F16)
#define NUMBER f16vec4
#define FROM(v) f16vec4(v)
#define NEXT(v) fma(v, m, c)
#define KEPT(v) vec4(v)
#elif defined(DOT8)
#define NUMBER ivec4
#define FROM(v) floatBitsToInt(v)
#define NEXT(v)                                                                                    \
    (ivec4(dotPacked4x8EXT(v.x, m.x), dotPacked4x8EXT(v.y, m.y), dotPacked4x8EXT(v.z, m.z),        \
           dotPacked4x8EXT(v.w, m.w)) + c)
#define KEPT(v) vec4(v & 0xffff)
#else
#define NUMBER vec4
#define FROM(v) v
#define NEXT(v) fma(v, m, c)
#define KEPT(v) v
#endif

// Written out, for not every driver unrolls; longer, CPU drivers keep less of it in registers.
#define STEP                                                                                       \
    a = NEXT(a);                                                                                   \
    if (CHAINS > 1)                                                                                \
        a1 = NEXT(a1);                                                                             \
    if (CHAINS > 2)                                                                                \
        a2 = NEXT(a2);                                                                             \
    if (CHAINS > 3)                                                                                \
        a3 = NEXT(a3);

void main()
{
    uint thread = gl_WorkGroupID.x * LANES + gl_LocalInvocationID.x;
    vec4 from = x[thread % p.count4];
    NUMBER a = FROM(from), a1 = FROM((from + 1.0)), a2 = FROM((from + 2.0)),
           a3 = FROM((from + 3.0));
    NUMBER m = FROM(vec4(p.factor)), c = FROM(vec4(p.addend));
    for (uint i = 0; i < p.rounds; i++) {
        STEP STEP STEP STEP STEP STEP STEP STEP
    }
    vec4 sum = KEPT(a);
    if (CHAINS > 1)
        sum += KEPT(a1);
    if (CHAINS > 2)
        sum += KEPT(a2);
    if (CHAINS > 3)
        sum += KEPT(a3);
    if (thread < p.count4)
        y[thread] = sum;
}
#endif
