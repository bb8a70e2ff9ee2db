// SPDX-License-Identifier: MIT
// DoRA (arXiv 2402.09353), with u = W x + s B A x:
//   y[t, n] = m[n] / |W + s B A|[n] u[t, n] + bias[n] + R[t, n]
// and the gradient of u from that of y, without bias and R. A row of zeros has norm 0: it stays 0.
// A thread makes four columns of a row.
#version 450
#extension GL_GOOGLE_include_directive : require
#include "lib/params.h"

layout(local_size_x_id = 0) in;
layout(constant_id = 0) const uint LANES = 64;
layout(constant_id = 1) const bool BIAS = false;
layout(constant_id = 2) const bool RESIDUAL = false;
layout(push_constant) uniform Push { push_dora p; };
layout(binding = 0) readonly buffer U { vec4 u[]; }; // may be y
layout(binding = 1) readonly buffer Magnitude { vec4 magnitude[]; };
layout(binding = 2) readonly buffer Norm { vec4 norm[]; };
layout(binding = 3) buffer Y { vec4 y[]; };
layout(binding = 4) readonly buffer Residual { vec4 residual[]; };
layout(binding = 5) readonly buffer Bias { vec4 bias[]; };

#include "lib/linear.glsl"

void main()
{
    uint i = linear_index();
    if (i >= p.count4)
        return;
    uint column = i % p.ld4;
    vec4 n = norm[column];
    vec4 factor = mix(magnitude[column] / n, vec4(0.0), equal(n, vec4(0.0)));
    vec4 v = factor * u[i];
    if (BIAS)
        v += bias[column];
    if (RESIDUAL)
        v += residual[i];
    y[i] = v;
}
