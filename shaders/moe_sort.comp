// SPDX-License-Identifier: MIT
// Rows by expert: a counting sort of the assignments (token, k), stable, so that a token's rows and
// an expert's tokens are in an order that depends on nothing else. Each expert's rows are padded to
// whole tiles of `align`. In three steps over chunks of LANES assignments:
//   COUNT: counts[chunk, e] of each expert's assignments in the chunk
//   SCAN:  counts become those of the chunks before; segments[e] = (first row, rows);
//          experts[tile], -1 past the last one; rows that pad have no token and no weight
//   PLACE: row_token[row], row_weight[row], position[assignment] = row
#version 450
#extension GL_GOOGLE_include_directive : require
#include "lib/params.h"

layout(local_size_x_id = 0) in;
layout(constant_id = 0) const uint LANES = 64;

layout(push_constant) uniform Push { push_moe_sort p; };
layout(binding = 0) readonly buffer Ids { uint ids[]; };
layout(binding = 1) buffer Counts { uint counts[]; };
#ifndef COUNT
layout(binding = 2) buffer Segments { uvec2 segments[]; };
layout(binding = 3) writeonly buffer Tokens { uint row_token[]; };
layout(binding = 4) writeonly buffer RowWeights { float row_weight[]; };
#endif

#if defined(COUNT)

void main()
{
    uint first = gl_WorkGroupID.x * LANES, end = min(first + LANES, p.assignments);
    for (uint e = gl_LocalInvocationID.x; e < p.experts; e += LANES) {
        uint n = 0;
        for (uint i = first; i < end; i++)
            n += ids[i] == e ? 1 : 0;
        counts[gl_WorkGroupID.x * p.experts + e] = n;
    }
}

#elif defined(SCAN)

layout(binding = 5) writeonly buffer Experts { float experts[]; };
shared uint used_tiles;

uint tiles_of(uint rows)
{
    return (rows + p.align - 1) / p.align;
}

void main()
{
    for (uint e = gl_LocalInvocationID.x; e < p.experts; e += LANES) {
        uint rows = 0;
        for (uint chunk = 0; chunk < p.chunks; chunk++) {
            uint n = counts[chunk * p.experts + e];
            counts[chunk * p.experts + e] = rows;
            rows += n;
        }
        segments[e].y = rows;
    }
    memoryBarrierBuffer();
    barrier();
    if (gl_LocalInvocationID.x == 0) {
        uint tile = 0;
        for (uint e = 0; e < p.experts; e++) {
            segments[e].x = tile * p.align;
            tile += tiles_of(segments[e].y);
        }
        used_tiles = tile;
    }
    memoryBarrierBuffer();
    barrier();
    for (uint e = gl_LocalInvocationID.x; e < p.experts; e += LANES) {
        uvec2 s = segments[e];
        uint first = s.x / p.align, tiles = tiles_of(s.y);
        for (uint i = 0; i < tiles; i++)
            experts[first + i] = float(e);
        for (uint i = s.y; i < tiles * p.align; i++) {
            row_token[s.x + i] = 0xffffffffu;
            row_weight[s.x + i] = 0.0;
        }
    }
    for (uint i = used_tiles + gl_LocalInvocationID.x; i < p.tiles; i += LANES)
        experts[i] = -1.0;
}

#else

layout(binding = 5) writeonly buffer Position { uint position[]; };
layout(binding = 6) readonly buffer Weights { float weights[]; };

void main()
{
    uint first = gl_WorkGroupID.x * LANES, i = first + gl_LocalInvocationID.x;
    if (i >= p.assignments)
        return;
    uint e = ids[i], before = 0;
    for (uint j = first; j < i; j++)
        before += ids[j] == e ? 1 : 0;
    uint row = segments[e].x + counts[gl_WorkGroupID.x * p.experts + e] + before;
    row_token[row] = i / p.used;
    row_weight[row] = weights[i];
    position[i] = row;
}

#endif
