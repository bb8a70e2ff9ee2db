// SPDX-License-Identifier: MIT
// A workgroup's part of a step along K in shared memory, in f16 for gemm_matrix.comp: BM rows of X
// by BK, and of W BN rows by BK (gemm) or BK rows by BN (gemm_dx), eight numbers a uvec4. A row has
// one uvec4 more than it needs, so that rows side by side lie in banks side by side. Past the end
// of K the X side is zero and the W side anything finite.
const uint X_STRIDE = BK / 8 + 1, X_SIZE = BM * X_STRIDE;
#ifdef DX
const uint W_STRIDE = BN / 8 + 1, W_SIZE = BK * W_STRIDE;
#else
const uint W_STRIDE = BK / 8 + 1, W_SIZE = BN * W_STRIDE;
#endif
// For each subgroup FM rows of its result, as f32.
const uint STRIP_STRIDE = WN / 4 + 1, STRIP_SIZE = FM * STRIP_STRIDE;
const uint STRIPS_SIZE = (BM / WM) * (BN / WN) * STRIP_SIZE;
shared uvec4 staged[X_SIZE + W_SIZE > STRIPS_SIZE ? X_SIZE + W_SIZE : STRIPS_SIZE];
shared float inverse_h[TAIL ? BM : 1]; // what makes the tail's sums of a row what they stand for

// The adapter's matrices hold small numbers; this far they may go up.
const float TAIL_FACTOR = 256.0;

// What a row of X was not multiplied by.
float inverse_x(uint t)
{
    return uintBitsToFloat(x((t + 1) * p.ldx4 - 1).x);
}

// p.ldx4 counts uvec4s of eight here.
void stage_x(uint row, uint end, uint x8, uint k8, uint steps)
{
    for (uint i = gl_LocalInvocationID.x; i < BM * (BK / 8); i += LANES) {
        uint k = i % (BK / 8), m = i / (BK / 8);
        staged[m * X_STRIDE + k] =
            k8 + k < steps ? x(min(row + m, end - 1) * p.ldx4 + x8 + k8 + k) : uvec4(0);
    }
}

// A thread decodes whole tiles of W: those of result columns from tile `first` of `tiles` on, by
// tiles from k8 of `steps` on along K; `above` row tiles of W lie above these.
void stage_w(uint first, uint tiles, uint k8, uint steps, uint above)
{
    for (uint i = gl_LocalInvocationID.x; i < BN / 8 * (BK / 8); i += LANES) {
#ifdef DX
        uint n = i % (BN / 8), k = i / (BN / 8), to = X_SIZE + 8 * k * W_STRIDE + n;
        uint rt = above + min(k8 + k, steps - 1), ct = min(first + n, tiles - 1);
#else
        uint k = i % (BK / 8), n = i / (BK / 8), to = X_SIZE + 8 * n * W_STRIDE + k;
        uint rt = above + min(first + n, tiles - 1), ct = min(k8 + k, steps - 1);
#endif
#ifdef W_F16
        [[unroll]] for (uint r = 0; r < 8; r++)
            staged[to + r * W_STRIDE] = quants((rt * p.k_tiles + ct) * 8 + r);
#else
        float s[TILE_SCALES];
        vec4 w[8][2];
        load_scales(rt, ct, s);
        load_tile(rt, ct, s, w);
        [[unroll]] for (uint r = 0; r < 8; r++)
            staged[to + r * W_STRIDE] = eight_halves(w[r][0], w[r][1]);
#endif
    }
}

// A row of H or G is narrow: its largest number is found by who stages it.
float factor_h(uint t)
{
    float most = 0.0;
    for (uint r4 = 0; r4 < p.rank4; r4++) {
        vec4 v = abs(h(t * p.ldh4 + p.h4 + r4));
        most = max(most, max(max(v.x, v.y), max(v.z, v.w)));
    }
    return factor_of(most);
}

void scale_h(uint row, uint end)
{
    for (uint m = gl_LocalInvocationID.x; m < BM; m += LANES) {
#ifdef DX
        const float scale = 1.0; // G has it already
#else
        float scale = p.scale;
#endif
        inverse_h[m] = scale / (TAIL_FACTOR * factor_h(min(row + m, end - 1)));
    }
}

vec4 h_or_zero(uint t, uint r4)
{
    return r4 < p.rank4 ? h(t * p.ldh4 + p.h4 + r4) : vec4(0.0);
}

void stage_h(uint row, uint end, uint r8)
{
    for (uint i = gl_LocalInvocationID.x; i < BM * (BK / 8); i += LANES) {
        uint k = i % (BK / 8), m = i / (BK / 8), t = min(row + m, end - 1), r4 = 2 * (r8 + k);
        float factor = factor_h(t);
        staged[m * X_STRIDE + k] =
            eight_halves(factor * h_or_zero(t, r4), factor * h_or_zero(t, r4 + 1));
    }
}

// The adapter's side: B [N, rank] of row length rank4, or A [rank, K] of row length ldy4.
void stage_tail(uint first, uint tiles, uint r8, uint expert)
{
#ifdef DX
    for (uint i = gl_LocalInvocationID.x; i < BN / 8 * BK; i += LANES) {
        uint n = i % (BN / 8), k = i / (BN / 8), r = min(8 * r8 + k, 4 * p.rank4 - 1);
        uint at = (4 * expert * p.rank4 + r) * p.ldy4 + 2 * min(first + n, tiles - 1);
        uint to = X_SIZE + k * W_STRIDE + n;
        vec4 a = tail(at), b = tail(at + 1);
#else
    for (uint i = gl_LocalInvocationID.x; i < BN * (BK / 8); i += LANES) {
        uint k = i % (BK / 8), n = i / (BK / 8), r4 = 2 * (r8 + k);
        uint column = min(8 * first + n, 8 * tiles - 1);
        uint at = (p.row0 + 8 * expert * p.n_tiles + column) * p.rank4;
        uint to = X_SIZE + n * W_STRIDE + k;
        vec4 a = tail(at + min(r4, p.rank4 - 1)), b = tail(at + min(r4 + 1, p.rank4 - 1));
#endif
        staged[to] = eight_halves(TAIL_FACTOR * a, TAIL_FACTOR * b);
    }
}
