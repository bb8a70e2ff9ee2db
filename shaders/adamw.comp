// SPDX-License-Identifier: MIT
// AdamW (arXiv 1711.05101) over the whole adapter arena, after clipping by the global norm; the
// gradient is zeroed for the next step. A norm that is NaN or infinite leaves everything as it is.
// With RATED each vec4 has its own factor on the learning rate; 0 leaves it as it is.
#version 450
#extension GL_GOOGLE_include_directive : require
#include "lib/params.h"

layout(local_size_x_id = 0) in;
layout(constant_id = 0) const uint LANES = 64;
layout(constant_id = 1) const bool RATED = false;
layout(push_constant) uniform Push { push_adamw p; };
layout(binding = 0) buffer W { vec4 w[]; };
layout(binding = 1) buffer G { vec4 g[]; };
layout(binding = 2) buffer M { vec4 m[]; };
layout(binding = 3) buffer V { vec4 v[]; };
layout(binding = 4) readonly buffer Norm { float norm[]; };
layout(binding = 5) readonly buffer Step { step_scalars s; };
layout(binding = 6) readonly buffer Rates { float rates[]; };

#include "lib/finite.glsl"
#include "lib/linear.glsl"

void main()
{
    uint i = linear_index();
    float n = norm[0];
    if (i >= p.count4 || !is_finite(n))
        return;
    float clip = s.max_grad_norm > 0.0 ? min(1.0, s.max_grad_norm / (n + 1e-6)) : 1.0;
    vec4 grad = g[i] * clip;
    vec4 m1 = s.beta1 * m[i] + (1.0 - s.beta1) * grad;
    vec4 v1 = s.beta2 * v[i] + (1.0 - s.beta2) * grad * grad;
    // The quotient first: it is about 1, or 0 where no gradient was, while rate / epsilon alone can
    // be infinite.
    vec4 change = m1 / (sqrt(v1 / s.correction2) + s.epsilon);
    float rate = RATED ? s.learning_rate * rates[i] : s.learning_rate;
    w[i] = w[i] * (1.0 - rate * s.weight_decay) - rate / s.correction1 * change;
    m[i] = m1;
    v[i] = v1;
    g[i] = vec4(0.0);
}
