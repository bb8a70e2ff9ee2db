// SPDX-License-Identifier: MIT
// A workgroup's part of a step along K in shared memory: BM rows of X and BN result columns of W by
// BK, K-major, so that the inner product (gemm_vector.glsl) reads vec4s along m and n in both
// directions of a product. W's tiles are decoded on the way; the adapter's tail is staged as more
// steps. Past the end of K the X side is zero and the W side anything finite.
// A thread's columns of the result are four by four side by side and those THREADS_N fours apart,
// so that threads side by side read vec4s side by side; its rows likewise. But where whole
// subgroups have the same rows (UNIFORM), these are side by side, and X stays in registers: lane i
// of a subgroup has row i of the TM.
const uint THREADS_M = BM / TM, THREADS_N = BN / TN;
const uint X_STRIDE = BM / 4 + 1, W_STRIDE = BN / 4 + 1; // of a k, in vec4s; odd against conflicts
shared vec4 xs[UNIFORM ? 1 : BK * X_STRIDE];             // [k][m]
shared vec4 ws[BK * W_STRIDE];                           // [k][n]
vec4 own[BK / 4];                                        // UNIFORM: [k]

// Of four i of the thread's rows or columns, the place among the workgroup's.
uint fours_m(uint i)
{
    uint m = gl_LocalInvocationID.x / THREADS_N;
    return UNIFORM ? m * (TM / 4) + i : m + i * THREADS_M;
}

uint fours_n(uint i)
{
    return gl_LocalInvocationID.x % THREADS_N + i * THREADS_N;
}

// Blocks of four rows by four columns of K: a vec4 of K of each row, turned.
#define TURNED(v, c) vec4(v[0][c], v[1][c], v[2][c], v[3][c])
#define STAGE_TURNED(to, stride, count, READ)                                                      \
    for (uint i = gl_LocalInvocationID.x; i < BK / 4 * (count); i += LANES) {                      \
        uint k = i % (BK / 4), m = i / (BK / 4);                                                   \
        vec4 v[4];                                                                                 \
        [[unroll]] for (uint j = 0; j < 4; j++)                                                    \
            v[j] = READ(k, m, j);                                                                  \
        [[unroll]] for (uint c = 0; c < 4; c++)                                                    \
            to[(4 * k + c) * (stride) + m] = TURNED(v, c);                                         \
    }

// Rows from `row` to `end`, a multiple of four of them, by columns from vec4 k4 to end4.
#define STAGE_X(READ)                                                                              \
    if (UNIFORM) {                                                                                 \
        uint lane = min(gl_SubgroupInvocationID, TM - 1);                                          \
        [[unroll]] for (uint k = 0; k < BK / 4; k++)                                               \
            own[k] = READ(k, fours_m(lane / 4), lane % 4);                                         \
    } else                                                                                         \
        STAGE_TURNED(xs, X_STRIDE, BM / 4, READ)

#define X_READ(k, m, j)                                                                            \
    (k4 + (k) < end4 ? x((min(row + 4 * (m), end - 4) + (j)) * p.ldx4 + k4 + (k)) : vec4(0.0))
void stage_x(uint row, uint end, uint k4, uint end4)
{
    STAGE_X(X_READ)
}

#define H_READ(k, m, j)                                                                            \
    (r4 + (k) < p.rank4 ? h((min(row + 4 * (m), end - 4) + (j)) * p.ldh4 + p.h4 + r4 + (k))        \
                        : vec4(0.0))
void stage_h(uint row, uint end, uint r4)
{
    STAGE_X(H_READ)
}

// Of W, result columns from tile `first` of `tiles` on, by tiles from k8 of `steps` on along K;
// `above` row tiles of W lie above these. A thread decodes blocks of four by four.
void stage_w(uint first, uint tiles, uint k8, uint steps, uint above)
{
    for (uint i = gl_LocalInvocationID.x; i < BN / 4 * (BK / 4); i += LANES) {
        vec4 w[4];
#ifdef DX
        uint n = i % (BN / 4), k = i / (BN / 4);
        load_block(above + min(k8 + k / 2, steps - 1), min(first + n / 2, tiles - 1), k & 1u,
                   n & 1u, w);
        [[unroll]] for (uint c = 0; c < 4; c++)
            ws[(4 * k + c) * W_STRIDE + n] = w[c];
#else
        uint k = i % (BK / 4), n = i / (BK / 4);
        load_block(above + min(first + n / 2, tiles - 1), min(k8 + k / 2, steps - 1), n & 1u,
                   k & 1u, w);
        [[unroll]] for (uint c = 0; c < 4; c++)
            ws[(4 * k + c) * W_STRIDE + n] = TURNED(w, c);
#endif
    }
}

// The adapter's side: s B [N, rank] of row length rank4, or A [rank, K] of row length ldy4; `first`
// and `last` are vec4s of result columns.
#ifdef DX
void stage_tail(uint first, uint last, uint r4, uint expert)
{
    for (uint i = gl_LocalInvocationID.x; i < BN / 4 * BK; i += LANES) {
        uint n = i % (BN / 4), k = i / (BN / 4);
        uint r = min(4 * r4 + k, 4 * p.rank4 - 1);
        ws[k * W_STRIDE + n] = tail((4 * expert * p.rank4 + r) * p.ldy4 + min(first + n, last));
    }
}
#else
#define B_READ(k, m, j)                                                                            \
    (p.scale * tail((p.row0 + 4 * (2 * expert * p.n_tiles + min(first + (m), last)) + (j)) *       \
                        p.rank4 + min(r4 + (k), p.rank4 - 1)))
void stage_tail(uint first, uint last, uint r4, uint expert)
{
    STAGE_TURNED(ws, W_STRIDE, BN / 4, B_READ)
}
#endif
