// SPDX-License-Identifier: MIT
// By its bits: a driver may assume that no float is NaN and answer isnan without looking.
bool is_finite(float x)
{
    return (floatBitsToUint(x) & 0x7f800000u) != 0x7f800000u;
}
