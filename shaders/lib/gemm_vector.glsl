// SPDX-License-Identifier: MIT
// The inner product of what gemm_stage.glsl has staged, on vector units: a thread makes TM rows by
// TN columns of the result.
vec4 acc[TM][TN / 4]; // the thread's part of it

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
            if (!UNIFORM)
                a[i] = xs[k * X_STRIDE + m[i]];
        [[unroll]] for (uint i = 0; i < TN / 4; i++)
            b[i] = ws[k * W_STRIDE + n[i]];
        [[unroll]] for (uint i = 0; i < TM; i++)
            [[unroll]] for (uint j = 0; j < TN / 4; j++)
                acc[i][j] +=
                    (UNIFORM ? subgroupShuffle(own[k / 4][k % 4], i) : a[i / 4][i % 4]) * b[j];
    }
}
