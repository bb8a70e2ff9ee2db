// SPDX-License-Identifier: MIT
// The products of gemm.comp on matrix cores: f16 by f16, summed up in f32. A workgroup makes BM
// rows by BN columns of the result in steps of BK along K, a subgroup of it WM by WN in fragments
// of FM by FN by FK, the device's own. X comes in f16 from halve.comp, with a power of two a row
// that is taken out again at the end; W is decoded to f16 in shared memory, both K-minor, so that a
// tile of W lies there as it is decoded, for gemm (a column of B) and gemm_dx (a row of B) alike.
// The LoRA tail comes first, as steps of its own with factors of its own; dropout's mask is on it
// alone. Rows of X and Y are padded to a multiple of 8, p.rows of them; result columns to 8.
// EXPERTS: as in gemm.comp; a workgroup's rows are of one expert.
#version 450
#extension GL_GOOGLE_include_directive : require
#extension GL_EXT_control_flow_attributes : require
#extension GL_EXT_shader_explicit_arithmetic_types_float16 : require
#extension GL_KHR_cooperative_matrix : require
#extension GL_KHR_memory_scope_semantics : require
#extension GL_KHR_shader_subgroup_basic : require
#include "lib/inputs.glsl"
#include "lib/params.h"

layout(local_size_x_id = 0) in;
layout(constant_id = 0) const uint LANES = 128; // of all subgroups, BM / WM by BN / WN of them
layout(constant_id = 1) const uint BM = 64;
layout(constant_id = 2) const bool BIAS = false;
layout(constant_id = 3) const bool RESIDUAL = false;
layout(constant_id = 4) const bool TAIL = false;
layout(constant_id = 5) const bool DROPOUT = false;
layout(constant_id = 6) const bool LIMIT = false; // skip rows past the supervised tokens
layout(constant_id = 7) const uint EXPERTS = 0;
layout(constant_id = 10) const uint BN = 64;
layout(constant_id = 11) const uint BK = 32; // a multiple of FK
layout(constant_id = 12) const uint WM = 32;
layout(constant_id = 13) const uint WN = 32;
layout(constant_id = 14) const uint FM = 16; // of FM, FN and FK all are multiples of 8
layout(constant_id = 15) const uint FN = 16;
layout(constant_id = 16) const uint FK = 16;

layout(push_constant) uniform Push { push_gemm p; };
INPUT_UVEC4(2, x)
layout(binding = 3) buffer Y { vec4 y[]; };
INPUT_VEC4(4, residual)
INPUT_VEC4(5, bias)
INPUT_VEC4(6, h)
INPUT_VEC4(7, tail)
layout(binding = 8) readonly buffer Step { step_scalars step_; };

#include "lib/tile_common.glsl"
#include "lib/dequant.glsl"
#include "lib/halves.glsl"
#include "lib/matrix_stage.glsl"
#include "lib/rng.glsl"

const uint CM = WM / FM, CN = WN / FN; // fragments of a subgroup
coopmat<float, gl_ScopeSubgroup, FM, FN, gl_MatrixUseAccumulator> acc[CM * CN];

// The subgroup's place in the workgroup's part of the result.
uint subgroup_m()
{
    return gl_SubgroupID / (BN / WN) * WM;
}

uint subgroup_n()
{
    return gl_SubgroupID % (BN / WN) * WN;
}

void multiply()
{
    uint m = subgroup_m(), n = subgroup_n();
    [[unroll]] for (uint k = 0; k < BK; k += FK) {
        coopmat<float16_t, gl_ScopeSubgroup, FM, FK, gl_MatrixUseA> a[CM];
        coopmat<float16_t, gl_ScopeSubgroup, FK, FN, gl_MatrixUseB> b;
        [[unroll]] for (uint i = 0; i < CM; i++)
            coopMatLoad(a[i], staged, (m + i * FM) * X_STRIDE + k / 8, X_STRIDE,
                        gl_CooperativeMatrixLayoutRowMajor);
        [[unroll]] for (uint j = 0; j < CN; j++) {
#ifdef DX
            coopMatLoad(b, staged, X_SIZE + k * W_STRIDE + (n + j * FN) / 8, W_STRIDE,
                        gl_CooperativeMatrixLayoutRowMajor);
#else
            coopMatLoad(b, staged, X_SIZE + (n + j * FN) * W_STRIDE + k / 8, W_STRIDE,
                        gl_CooperativeMatrixLayoutColumnMajor);
#endif
            [[unroll]] for (uint i = 0; i < CM; i++)
                acc[i * CN + j] = coopMatMulAdd(a[i], b, acc[i * CN + j]);
        }
    }
}

// FM rows of the subgroup's fragments lie in shared memory meanwhile, as f32.
#define STRIP_AT (gl_SubgroupID * STRIP_SIZE)
void put_strip(uint i)
{
    barrier();
    [[unroll]] for (uint j = 0; j < CN; j++)
        coopMatStore(acc[i * CN + j], staged, STRIP_AT + j * (FN / 4), STRIP_STRIDE,
                     gl_CooperativeMatrixLayoutRowMajor);
    barrier();
}

// What the tail's steps have summed, under dropout's mask and the factor of the rows of X instead
// of those of H.
void finish_tail(uint row, uint end, uint first4)
{
    [[unroll]] for (uint i = 0; i < CM; i++) {
        put_strip(i);
        for (uint e = gl_SubgroupInvocationID; e < FM * (WN / 4); e += gl_SubgroupSize) {
            uint m = subgroup_m() + i * FM + e / (WN / 4), t = min(row + m, end - 1);
            uint c = first4 + subgroup_n() / 4 + e % (WN / 4);
            uint at = STRIP_AT + e / (WN / 4) * STRIP_STRIDE + e % (WN / 4);
            vec4 v = uintBitsToFloat(staged[at]) * (inverse_h[m] / inverse_x(t));
            if (DROPOUT)
                v *= dropout_mask(step_.seed, p.stream, t * p.cols + 4 * c, p.dropout);
            staged[at] = floatBitsToUint(v);
        }
        barrier();
        [[unroll]] for (uint j = 0; j < CN; j++)
            coopMatLoad(acc[i * CN + j], staged, STRIP_AT + j * (FN / 4), STRIP_STRIDE,
                        gl_CooperativeMatrixLayoutRowMajor);
    }
}

void store(uint row, uint end, uint first4, uint columns4, uint y4)
{
    [[unroll]] for (uint i = 0; i < CM; i++) {
        put_strip(i);
        for (uint e = gl_SubgroupInvocationID; e < FM * (WN / 4); e += gl_SubgroupSize) {
            uint t = row + subgroup_m() + i * FM + e / (WN / 4);
            uint c = first4 + subgroup_n() / 4 + e % (WN / 4);
            if (t >= end || c >= columns4)
                continue;
            vec4 v = uintBitsToFloat(
                         staged[STRIP_AT + e / (WN / 4) * STRIP_STRIDE + e % (WN / 4)]) *
                     inverse_x(t);
            if (BIAS)
                v += bias(y4 + c);
            if (RESIDUAL)
                v += residual(t * p.ldy4 + y4 + c);
            y[t * p.ldy4 + y4 + c] = v;
        }
    }
}

void main()
{
#ifdef DX
    uint tiles = p.k_tiles, steps = p.n_tiles, x8 = p.row0 / 8, y4 = 0;
#else
    uint tiles = p.n_tiles, steps = p.k_tiles, x8 = 0, y4 = p.row0 / 4;
#endif
    uint row = gl_WorkGroupID.y * BM, end = p.rows, expert = 0, above = 0;
    if (EXPERTS > 0) {
        const uint groups = (EXPERTS + BM - 1) / BM;
        uint tile = gl_WorkGroupID.y / groups;
        float named = bias(tile / 4)[tile % 4] - float(p.expert0);
        if (named < 0.0 || named >= float(p.experts))
            return;
        expert = p.expert0 + uint(named);
        above = uint(named) * p.n_tiles;
        row = tile * EXPERTS + gl_WorkGroupID.y % groups * BM;
        end = min(end, (tile + 1) * EXPERTS);
    }
    if (LIMIT && p.first + row >= step_.supervised)
        return;
    uint first = gl_WorkGroupID.x * (BN / 8); // tile of the result's columns
    [[unroll]] for (uint i = 0; i < CM * CN; i++)
        acc[i] = coopmat<float, gl_ScopeSubgroup, FM, FN, gl_MatrixUseAccumulator>(0.0);
    begin_tiles();
    if (TAIL) {
        scale_h(row, end);
        for (uint r8 = 0; 2 * r8 < p.rank4; r8 += BK / 8) {
            barrier(); // the step before has been read
            stage_h(row, end, r8);
            stage_tail(first, tiles, r8, expert);
            barrier();
            multiply();
        }
        finish_tail(row, end, 2 * first);
    }
    for (uint k8 = 0; k8 < steps; k8 += BK / 8) {
        barrier();
        stage_x(row, end, x8, k8, steps);
        stage_w(first, tiles, k8, steps, above);
        barrier();
        multiply();
    }
    store(row, end, 2 * first, 2 * tiles, y4);
}
