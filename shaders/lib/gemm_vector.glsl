// SPDX-License-Identifier: MIT
// The inner product of what gemm_stage.glsl has staged, on vector units: a thread makes TM rows by
// TN columns of the result, four by four side by side and those THREADS_M or THREADS_N fours apart,
// so that threads side by side read vec4s side by side.
const uint THREADS_M = BM / TM, THREADS_N = BN / TN;
vec4 acc[TM][TN / 4]; // the thread's part of the result

// The thread's place, in fours.
uint thread_m()
{
    return gl_LocalInvocationID.x / THREADS_N;
}

uint thread_n()
{
    return gl_LocalInvocationID.x % THREADS_N;
}

// Not fma(): where that is slower than two instructions, the driver is to take those.
void multiply()
{
    uint m = thread_m(), n = thread_n();
    [[unroll]] for (uint k = 0; k < BK; k++) {
        vec4 a[TM / 4], b[TN / 4];
        [[unroll]] for (uint i = 0; i < TM / 4; i++)
            a[i] = xs[k * X_STRIDE + m + i * THREADS_M];
        [[unroll]] for (uint i = 0; i < TN / 4; i++)
            b[i] = ws[k * W_STRIDE + n + i * THREADS_N];
        [[unroll]] for (uint i = 0; i < TM; i++)
            [[unroll]] for (uint j = 0; j < TN / 4; j++)
                acc[i][j] += a[i / 4][i % 4] * b[j];
    }
}
