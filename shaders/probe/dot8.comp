// SPDX-License-Identifier: MIT
// Compiles where the compiler knows what kernels with the word dot8 in `needs` use.
#version 450
#extension GL_EXT_integer_dot_product : require
layout(local_size_x = 1) in;
layout(binding = 0) buffer Y { int y[]; };

void main()
{
    y[0] = dotPacked4x8EXT(y[1], y[2]);
}
