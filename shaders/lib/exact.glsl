// SPDX-License-Identifier: MIT
// Arithmetic that is to give a CPU's bits: Vulkan lets a division be off by 2.5 units of the last
// place and says nothing of how f16 is rounded to; both are done in integers here. Of subnormal f32
// nothing is kept, as devices may flush them: they count as 0.

// |a| / |b|, rounded to nearest. 0 where b is 0, infinity past the largest number.
float exact_divide(float a, float b)
{
    uint x = floatBitsToUint(a) & 0x7fffffffu, y = floatBitsToUint(b) & 0x7fffffffu;
    if (x < 0x00800000u || y < 0x00800000u)
        return 0.0;
    uint m = (x & 0x007fffffu) | 0x00800000u, n = (y & 0x007fffffu) | 0x00800000u;
    int exponent = int(x >> 23) - int(y >> 23) + 127;
    if (m < n) {
        m <<= 1;
        exponent--;
    }
    // 24 bits of the quotient, off by a few; the remainder is small and so survives the wrapping.
    uint q = uint(float(m) / float(n) * 8388608.0);
    int rest = int((m << 23) - q * n), divisor = int(n);
    for (; rest < 0; rest += divisor)
        q--;
    for (; rest >= divisor; rest -= divisor)
        q++;
    q += 2 * rest > divisor ? 1u : 0u; // 24 bits by 24 never leave half a bit
    uint bits = (uint(exponent) << 23) + (q - 0x00800000u);
    return exponent <= 0 ? 0.0 : uintBitsToFloat(exponent >= 255 ? 0x7f800000u : bits);
}

// f16's bits, to nearest, ties to even.
uint exact_half(float f)
{
    uint u = floatBitsToUint(f), sign = u >> 16 & 0x8000u, magnitude = u & 0x7fffffffu;
    if (magnitude >= 0x477ff000u) // rounds to 65536 or more
        return sign | 0x7c00u;
    if (magnitude >= 0x38800000u) {
        uint rounded = magnitude + 0xfffu + (magnitude >> 13 & 1u);
        return sign | (rounded - 0x38000000u) >> 13;
    }
    uint shift = 126u - (magnitude >> 23); // to units of 2^-24
    if (shift > 25u)
        return sign;
    uint mantissa = (magnitude & 0x007fffffu) | 0x00800000u, units = mantissa >> shift;
    uint rest = mantissa & (1u << shift) - 1u, tie = 1u << shift - 1u;
    units += rest > tie || (rest == tie && (units & 1u) != 0u) ? 1u : 0u;
    return sign | units;
}

// Of f16's bits, subnormal ones too.
vec4 exact_from_halves(uvec4 h)
{
    uvec4 sign = (h & 0x8000u) << 16, exponent = h >> 10 & 31u, mantissa = h & 0x3ffu;
    uvec4 normal = (exponent + 112u) << 23 | mantissa << 13;
    uvec4 subnormal = floatBitsToUint(vec4(mantissa) * (1.0 / 16777216.0));
    return uintBitsToFloat(mix(normal, subnormal, equal(exponent, uvec4(0))) | sign);
}
