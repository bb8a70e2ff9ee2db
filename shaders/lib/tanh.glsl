// SPDX-License-Identifier: MIT
// tanh with a relative error of a few ulp everywhere: GLSL's own need not have one near zero.
float tanh_exact(float x)
{
    float a = abs(x);
    if (a < 0.5) { // Lambert's continued fraction x / (1 + x^2 / (3 + x^2 / (5 + ...)))
        float z = x * x;
        return x / (1.0 + z / (3.0 + z / (5.0 + z / (7.0 + z / 9.0))));
    }
    float t = 1.0 - 2.0 / (exp(2.0 * a) + 1.0);
    return x < 0.0 ? -t : t;
}

// What keeps a score within +-cap, and its slope from the capped score.
float soft_capped(float s, float cap)
{
    return cap * tanh_exact(s / cap);
}

float soft_cap_slope(float capped, float cap)
{
    float t = capped / cap;
    return 1.0 - t * t;
}
