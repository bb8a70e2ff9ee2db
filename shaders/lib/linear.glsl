// SPDX-License-Identifier: MIT
// The thread's place in a row of threads, which may be longer than one dimension of a dispatch is.
// Needs params.h and LANES, the local size.
uint linear_index()
{
    uint group = gl_WorkGroupID.y * LINEAR_GROUPS_X + gl_WorkGroupID.x;
    return group * LANES + gl_LocalInvocationID.x;
}
