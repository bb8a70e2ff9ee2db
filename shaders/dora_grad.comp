// SPDX-License-Identifier: MIT
// The gradient of DoRA's magnitudes, summed over tokens and added to what is there:
//   dm[n] += sum_t dY[t, n] U[t, n] / norm[n]          without DIVIDE: as if the norm were 1
// Where dY is zero U may be anything: rows that were not computed, as they had no loss. A thread
// makes four columns of every SLICES'th row; the parts are added in order.
#version 450
#extension GL_GOOGLE_include_directive : require
#include "lib/params.h"

layout(local_size_x_id = 0, local_size_y_id = 1) in;
layout(constant_id = 0) const uint LANES = 32;
layout(constant_id = 1) const uint SLICES = 1;
layout(constant_id = 2) const bool DIVIDE = false;
layout(push_constant) uniform Push { push_dora p; };
layout(binding = 0) readonly buffer Dy { vec4 dy[]; };
layout(binding = 1) readonly buffer U { vec4 u[]; };
layout(binding = 2) buffer Gradient { vec4 g[]; };
layout(binding = 3) readonly buffer Norm { vec4 norm[]; };

shared vec4 parts[LANES * SLICES];

void main()
{
    uint column = gl_GlobalInvocationID.x, lane = gl_LocalInvocationID.x;
    uint slice = gl_LocalInvocationID.y;
    bool live = column < p.ld4;
    column = min(column, p.ld4 - 1);
    vec4 sum = vec4(0.0);
    for (uint t = slice; t < p.rows; t += SLICES) {
        vec4 d = dy[t * p.ld4 + column];
        sum += mix(d * u[t * p.ld4 + column], vec4(0.0), equal(d, vec4(0.0)));
    }
    if (SLICES > 1) {
        parts[slice * LANES + lane] = sum;
        barrier();
        if (slice > 0)
            return;
        for (uint i = 1; i < SLICES; i++)
            sum += parts[i * LANES + lane];
    }
    if (!live)
        return;
    if (DIVIDE) {
        vec4 n = norm[column];
        sum = mix(sum / n, vec4(0.0), equal(n, vec4(0.0)));
    }
    g[column] += sum;
}
