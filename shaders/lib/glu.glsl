// SPDX-License-Identifier: MIT
// act(gate) up with act(x) = x s(w(x)), s(w) = 1 / (1 + exp(-w)): silu with w = x, and with `gelu`
// the tanh form of gelu (arXiv 1606.08415), w = 2 sqrt(2 / pi) (x + 0.044715 x^3).
const float GELU_LINEAR = 1.5957691216057308, GELU_CUBIC = 0.044715; // 2 sqrt(2 / pi)

// s(w(gate))
vec4 glu_sigmoid(vec4 gate, bool gelu)
{
    vec4 w = gelu ? GELU_LINEAR * (gate + GELU_CUBIC * gate * gate * gate) : gate;
    return 1.0 / (1.0 + exp(-w));
}

vec4 glu(vec4 gate, vec4 up, bool gelu)
{
    return gate * glu_sigmoid(gate, gelu) * up;
}
