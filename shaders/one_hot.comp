// SPDX-License-Identifier: MIT
// X[t, k] = 1 where k = first + t, else 0: a product with it gives columns of W as they are. A
// thread makes four columns of a row.
#version 450
#extension GL_GOOGLE_include_directive : require
#include "lib/params.h"

layout(local_size_x_id = 0) in;
layout(constant_id = 0) const uint LANES = 64;
layout(push_constant) uniform Push { push_one_hot p; };
layout(binding = 0) writeonly buffer X { vec4 x[]; };

#include "lib/linear.glsl"

void main()
{
    uint i = linear_index();
    if (i >= p.count4)
        return;
    uint row = i / p.ld4, column = 4 * (i % p.ld4);
    x[i] = vec4(equal(uvec4(column) + uvec4(0, 1, 2, 3), uvec4(p.first + row)));
}
