// SPDX-License-Identifier: MIT
// Compiles where the compiler knows what kernels with the word f16 in `needs` use.
#version 450
#extension GL_EXT_shader_16bit_storage : require
#extension GL_EXT_shader_explicit_arithmetic_types_float16 : require
layout(local_size_x = 1) in;
layout(binding = 0) buffer Y { f16vec4 y[]; };

void main()
{
    y[0] = y[0] * y[1] + y[2];
}
