// SPDX-License-Identifier: MIT
// The scales of NF4's blocks as they are stored, double-quantized. Words of the scales' plane:
// 0-255 the map as f32, 256 its offset, 257 the count c of nested absmax, from 260 those c as f32,
// from 260 + c the blocks' 8-bit indices into the map, four a word. With c = 0 the blocks' absmax
// start at 260, as f32. A block is 64 elements of the
// flattened matrix. Of experts each has such a list, nf4_first words from the plane's start.
uint nf4_first = 0;

#define NF4_NESTED 260u

uint nf4_word(uint i)
{
    i += nf4_first;
    return scales(i >> 2)[i & 3u];
}

float nf4_absmax(uint block)
{
    uint nested_count = nf4_word(257u);
    if (nested_count == 0u)
        return uintBitsToFloat(nf4_word(NF4_NESTED + block));
    uint code = (nf4_word(NF4_NESTED + nested_count + (block >> 2)) >> (8u * (block & 3u))) & 255u;
    precise float scaled = // rounded before the sum, as the format's reference does
        uintBitsToFloat(nf4_word(code)) * uintBitsToFloat(nf4_word(NF4_NESTED + (block >> 8)));
    precise float absmax = scaled + uintBitsToFloat(nf4_word(256u));
    return absmax;
}
