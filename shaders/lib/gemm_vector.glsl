// SPDX-License-Identifier: MIT
// The inner product of what gemm_stage.glsl has staged, on vector units: a thread makes TM rows by
// TN columns of the result. Its columns are four by four side by side and those THREADS_N fours
// apart, so that threads side by side read vec4s side by side; its rows likewise, but where whole
// subgroups have the same ones (UNIFORM): then they are side by side, and read by a subgroup once.
const uint THREADS_M = BM / TM, THREADS_N = BN / TN;
vec4 acc[TM][TN / 4]; // the thread's part of the result

// Of four i of the thread's rows or columns, the place among the workgroup's.
uint fours_m(uint i)
{
    uint m = gl_LocalInvocationID.x / THREADS_N;
    return UNIFORM ? subgroupBroadcastFirst(m) * (TM / 4) + i : m + i * THREADS_M;
}

uint fours_n(uint i)
{
    return gl_LocalInvocationID.x % THREADS_N + i * THREADS_N;
}

// Not fma(): where that is slower than two instructions, the driver is to take those.
void multiply()
{
    uint m[TM / 4], n[TN / 4];
    [[unroll]] for (uint i = 0; i < TM / 4; i++)
        m[i] = fours_m(i);
    [[unroll]] for (uint i = 0; i < TN / 4; i++)
        n[i] = fours_n(i);
    [[unroll]] for (uint k = 0; k < BK; k++) {
        vec4 a[TM / 4], b[TN / 4];
        [[unroll]] for (uint i = 0; i < TM / 4; i++)
            a[i] = xs[k * X_STRIDE + m[i]];
        [[unroll]] for (uint i = 0; i < TN / 4; i++)
            b[i] = ws[k * W_STRIDE + n[i]];
        [[unroll]] for (uint i = 0; i < TM; i++)
            [[unroll]] for (uint j = 0; j < TN / 4; j++)
                acc[i][j] += a[i / 4][i % 4] * b[j];
    }
}
