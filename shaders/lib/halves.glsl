// SPDX-License-Identifier: MIT
// f32 into f16's range and into f16. Needs GL_EXT_shader_explicit_arithmetic_types_float16.

// The power of two that brings `most` to between 2^14 and 2^15; of zero, subnormals, infinity and
// NaN something finite. At most 2^60, so that what is scaled by several of them stays finite.
float factor_of(float most)
{
    uint exponent = floatBitsToUint(most) >> 23; // with 127 added, the sign being zero
    return uintBitsToFloat(clamp(268u - exponent, 127u - 114u, 127u + 60u) << 23);
}

uint two_halves(float a, float b)
{
    return packFloat2x16(f16vec2(a, b)); // to nearest; packHalf2x16 may cut bits off
}

uvec4 eight_halves(vec4 a, vec4 b)
{
    return uvec4(two_halves(a.x, a.y), two_halves(a.z, a.w), two_halves(b.x, b.y),
                 two_halves(b.z, b.w));
}
