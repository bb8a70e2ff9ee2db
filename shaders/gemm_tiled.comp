// SPDX-License-Identifier: MIT
// The products of gemm.comp for many rows on a GPU: a workgroup makes BM rows by BN columns of the
// result, in steps of BK along K. Both operands go through shared memory (lib/gemm_stage.glsl), so
// that each number of X and W is read once a workgroup and W decoded once; a thread makes TM by TN
// (lib/gemm_vector.glsl). The LoRA tail comes first, as steps of its own, for dropout's mask is on
// it alone. Rows of X and Y are padded to a multiple of 8 and p.rows of them; result columns to 8.
// EXPERTS: as there; a workgroup's rows are of one expert, and those past its own are left alone.
#version 450
#extension GL_GOOGLE_include_directive : require
#extension GL_EXT_control_flow_attributes : require
#extension GL_KHR_shader_subgroup_shuffle : require
#include "lib/inputs.glsl"
#include "lib/params.h"

layout(local_size_x_id = 0) in;
layout(constant_id = 0) const uint LANES = 64; // BM / TM * BN / TN
layout(constant_id = 1) const uint BM = 64;
layout(constant_id = 2) const bool BIAS = false;
layout(constant_id = 3) const bool RESIDUAL = false;
layout(constant_id = 4) const bool TAIL = false;
layout(constant_id = 5) const bool DROPOUT = false;
layout(constant_id = 6) const bool LIMIT = false; // skip rows past the supervised tokens
layout(constant_id = 7) const uint EXPERTS = 0;
layout(constant_id = 10) const uint BN = 64;
layout(constant_id = 11) const uint BK = 16; // a multiple of 8
layout(constant_id = 12) const uint TM = 8;  // multiples of 4
layout(constant_id = 13) const uint TN = 8;
layout(constant_id = 14) const bool UNIFORM = false; // BN / TN is a multiple of any subgroup's size

layout(push_constant) uniform Push { push_gemm p; };
INPUT_VEC4(2, x)
layout(binding = 3) buffer Y { vec4 y[]; };
INPUT_VEC4(4, residual)
INPUT_VEC4(5, bias)
INPUT_VEC4(6, h)
INPUT_VEC4(7, tail)
layout(binding = 8) readonly buffer Step { step_scalars step_; };

#define TILE_BLOCKS
#include "lib/tile_common.glsl"
#include "lib/dequant.glsl"
#include "lib/gemm_stage.glsl"
#include "lib/gemm_vector.glsl"
#include "lib/rng.glsl"

// Row i of the thread's TM, of the workgroup's.
uint row_of(uint i)
{
    return 4 * fours_m(i / 4) + i % 4;
}

void drop(uint row, uint first4)
{
    [[unroll]] for (uint i = 0; i < TM; i++)
        [[unroll]] for (uint j = 0; j < TN / 4; j++)
            acc[i][j] *= dropout_mask(step_.seed, p.stream,
                                      (row + row_of(i)) * p.cols +
                                          4 * (first4 + fours_n(j)),
                                      p.dropout);
}

void store(uint row, uint end, uint first4, uint columns4, uint y4)
{
    [[unroll]] for (uint i = 0; i < TM; i++)
        [[unroll]] for (uint j = 0; j < TN / 4; j++) {
            uint t = row + row_of(i), c = first4 + fours_n(j);
            if (t >= end || c >= columns4)
                continue;
            vec4 v = acc[i][j];
            if (BIAS)
                v += bias(y4 + c);
            if (RESIDUAL)
                v += residual(t * p.ldy4 + y4 + c);
            y[t * p.ldy4 + y4 + c] = v;
        }
}

void main()
{
#ifdef DX
    uint tiles = p.k_tiles, steps = p.n_tiles, x4 = p.row0 / 4, y4 = 0;
#else
    uint tiles = p.n_tiles, steps = p.k_tiles, x4 = 0, y4 = p.row0 / 4;
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
    [[unroll]] for (uint i = 0; i < TM; i++)
        [[unroll]] for (uint j = 0; j < TN / 4; j++)
            acc[i][j] = vec4(0.0);
    begin_tiles();
    uint tail_steps = TAIL ? (4 * p.rank4 + BK - 1) / BK : 0;
    uint count = tail_steps + (8 * steps + BK - 1) / BK;
    for (uint i = 0; i < count; i++) {
        barrier(); // the step before has been read
        if (TAIL && i < tail_steps) {
            stage_h(row, end, i * (BK / 4));
            stage_tail(2 * first, 2 * tiles - 1, i * (BK / 4), expert);
        } else {
            uint at = i - tail_steps;
            if (DROPOUT && at == 0)
                drop(row, 2 * first);
            stage_x(row, end, x4 + at * (BK / 4), x4 + 2 * steps);
            stage_w(first, tiles, at * (BK / 8), steps, above);
        }
        barrier();
        multiply();
    }
    store(row, end, 2 * first, 2 * tiles, y4);
}
