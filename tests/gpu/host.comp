// SPDX-License-Identifier: MIT
// The host application's own work in test_import.c: v[i] = v[i] * factor + i.
#version 450

layout(local_size_x = 64) in;
layout(push_constant) uniform Push { uint count, factor; };
layout(binding = 0) buffer V { uint v[]; };

void main()
{
    uint i = gl_GlobalInvocationID.x;
    if (i < count)
        v[i] = v[i] * factor + i;
}
