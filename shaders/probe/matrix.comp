// SPDX-License-Identifier: MIT
// Compiles where the compiler knows what kernels with the word matrix in `needs` use.
#version 450
#extension GL_EXT_shader_explicit_arithmetic_types_float16 : require
#extension GL_KHR_cooperative_matrix : require
#extension GL_KHR_memory_scope_semantics : require
layout(local_size_x = 32) in;
layout(constant_id = 1) const uint M = 16;
layout(constant_id = 2) const uint N = 16;
layout(constant_id = 3) const uint K = 16;
layout(binding = 0) buffer Y { float y[]; };
shared f16vec4 staged[256];

void main()
{
    coopmat<float16_t, gl_ScopeSubgroup, M, K, gl_MatrixUseA> a;
    coopmat<float16_t, gl_ScopeSubgroup, K, N, gl_MatrixUseB> b;
    coopmat<float, gl_ScopeSubgroup, M, N, gl_MatrixUseAccumulator> c;
    staged[gl_LocalInvocationIndex] = f16vec4(0.0);
    barrier();
    coopMatLoad(a, staged, 0, K / 4, gl_CooperativeMatrixLayoutRowMajor);
    coopMatLoad(b, staged, 128, K / 4, gl_CooperativeMatrixLayoutColumnMajor);
    coopMatLoad(c, y, 0, N, gl_CooperativeMatrixLayoutRowMajor);
    coopMatStore(coopMatMulAdd(a, b, c), y, 0, N, gl_CooperativeMatrixLayoutRowMajor);
}
