// SPDX-License-Identifier: MIT
// The norms of the rows of W + s B A. With V = A W^T + s / 2 (A A^T) B^T, the adapted layer at half
// its scale run on A's rows,
//   |W + s B A|^2 = |W|^2 + 2 s sum_r B[n, r] V[r, n]
// so that no format needs a kernel of its own. A thread makes four rows of W.
#version 450
#extension GL_GOOGLE_include_directive : require
#include "lib/params.h"

layout(local_size_x_id = 0) in;
layout(constant_id = 0) const uint LANES = 32;
layout(push_constant) uniform Push { push_dora p; };
layout(binding = 0) readonly buffer V { vec4 v[]; };      // [4 rank4, N]
layout(binding = 1) readonly buffer B { vec4 b[]; };      // [N, 4 rank4]
layout(binding = 2) readonly buffer Squares { vec4 squares[]; };
layout(binding = 3) writeonly buffer Norm { vec4 norm[]; };

void main()
{
    uint column = gl_GlobalInvocationID.x;
    if (column >= p.ld4)
        return;
    vec4 sum = vec4(0.0);
    for (uint r4 = 0; r4 < p.rank4; r4++) {
        mat4 rows = mat4(b[4 * column * p.rank4 + r4], b[(4 * column + 1) * p.rank4 + r4],
                         b[(4 * column + 2) * p.rank4 + r4], b[(4 * column + 3) * p.rank4 + r4]);
        mat4 ranks = transpose(rows);
        for (uint i = 0; i < 4; i++)
            sum += ranks[i] * v[(4 * r4 + i) * p.ld4 + column];
    }
    norm[column] = sqrt(max(squares[column] + 2.0 * p.scale * sum, vec4(0.0)));
}
