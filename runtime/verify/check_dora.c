// SPDX-License-Identifier: MIT
// DoRA's kernels: the norms of rows through every tiling, the scaled result, the magnitudes'
// gradient.
#include "verify/families.h"
#include "op/dora.h"
#include "verify/ref.h"

#include <math.h>
#include <string.h>

#define BOUND 1e-12

static void one_slot(kt *k, kt_kind kind, uint32_t rank, uint32_t in, uint32_t out, kt_lora *l)
{
    // The slot is the second, so that it starts in the middle of everything.
    kt_make_dora(k, kind, 2, (const uint32_t[]){2, rank}, (const uint32_t[]){in, in},
                 (const uint32_t[]){7, out}, 0.0f, l);
}

static void check_scale(kt_suite *suite, uint32_t t, uint32_t n, bool bias, bool residual)
{
    kt *k = kt_begin(suite, "dora T%u N%u%s%s", t, n, bias ? " bias" : "",
                     residual ? " residual" : "");
    if (!k)
        return;
    kt_lora l;
    one_slot(k, KT_IN, 3, 12, n, &l);
    kt_mat u = kt_tensor(k, KT_IN, "u", t, n, 1.0f), y = kt_tensor(k, KT_OUT, "y", t, n, 1.0f);
    kt_mat b = {.t.buf = INL_BUF_NONE}, r = {.t.buf = INL_BUF_NONE};
    if (bias)
        b = kt_array(k, KT_IN, "bias", n, 8, 1.0f);
    if (residual)
        r = kt_tensor(k, KT_IN, "residual", t, n, 1.0f);
    ref_dora(u.v, l.magnitude[1], l.norm[1], b.v, r.v, t, n, y.v);
    inl_op_dora(kt_plan(k), &l.arena, &l.slots[1], u.t, b.t.buf, r.t.buf, y.t);
    if (kt_run(k))
        kt_expect(k, &y, BOUND);
    kt_end(k);
}

// Every third row has no gradient, and in its place u has what a kernel that was skipped leaves.
static void check_bwd(kt_suite *suite, uint32_t t, uint32_t n, bool in_place)
{
    kt *k = kt_begin(suite, "dora_bwd T%u N%u%s", t, n, in_place ? " in place" : "");
    if (!k)
        return;
    kt_lora l;
    one_slot(k, KT_IN, 3, 12, n, &l);
    kt_mat u = kt_tensor(k, KT_IN, "u", t, n, 1.0f);
    kt_mat dy = kt_tensor(k, in_place ? KT_ADD : KT_IN, "dy", t, n, 1.0f);
    kt_mat du = in_place ? dy : kt_tensor(k, KT_OUT, "du", t, n, 1.0f);
    double *dead = kt_copy(k, u.v, (uint64_t)t * n), *dm = kt_doubles(k, n);
    for (uint32_t i = 0; i < t; i += 3)
        for (uint32_t c = 0; c < n; c++) {
            dy.v[(size_t)i * n + c] = 0.0;
            dead[(size_t)i * n + c] = c % 2 ? (double)NAN : (double)INFINITY;
        }
    kt_set(k, &dy, dy.v);
    ref_dora_dm(dy.v, u.v, l.norm[1], t, n, dm);
    kt_set(k, &u, dead);
    ref_dora(dy.v, l.magnitude[1], l.norm[1], NULL, NULL, t, n, du.v);
    kt_lora_expect_magnitude(&l, 1, dm);
    inl_op_dora_bwd(kt_plan(k), &l.arena, &l.slots[1], u.t, dy.t, du.t);
    if (kt_run(k)) {
        kt_expect(k, &du, BOUND);
        kt_lora_expect(k, &l, BOUND);
        kt_run_again(k);
    }
    kt_end(k);
}

// The gradient of a layer's input where dropout is between it and all but the base.
static void check_drop(kt_suite *suite, uint32_t t, uint32_t in, bool residual, float dropout)
{
    kt *k = kt_begin(suite, "dora dropout T%u K%u%s %g", t, in, residual ? " residual" : "",
                     (double)dropout);
    if (!k)
        return;
    const uint32_t out = 9;
    kt_inputs inputs = kt_make_inputs(k, t);
    kt_weight w;
    kt_lora l;
    kt_make_dora(k, KT_IN, 1, (const uint32_t[]){3}, &in, &out, dropout, &l);
    kt_make_weight(k, INL_FORMAT_F32, out, in, 1, false, &w);
    const inl_lora_slot *s = &l.slots[0];
    kt_mat g = kt_tensor(k, KT_IN, "g", t, 4, 1.0f);
    kt_mat dy = kt_tensor(k, KT_IN, "dy", t, out, 1.0f);
    kt_mat du = kt_tensor(k, KT_IN, "du", t, out, 1.0f);
    kt_mat dx = kt_tensor(k, residual ? KT_ADD : KT_OUT, "dx", t, in, 1.0f);
    double *mask = kt_doubles(k, (uint64_t)t * in), *whole = kt_doubles(k, (uint64_t)t * in);
    double *left = kt_doubles(k, (uint64_t)t * in), *narrow = kt_lora_narrow(k, &l, 0, g.v, t);
    ref_dropout_mask(inputs.scalars->seed, s->stream, t, in, dropout, mask);
    ref_linear ref = {.rows = t, .in = in, .out = out, .w = w.v};
    ref_gemm_dx(&ref, dy.v, whole);
    ref.narrow = narrow;
    ref.matrix = l.a[0];
    ref.rank = s->rank;
    ref_gemm_dx(&ref, du.v, left);
    for (uint64_t i = 0; i < (uint64_t)t * in; i++)
        dx.v[i] = (residual ? dx.v[i] : 0.0) + whole[i] + mask[i] * (left[i] - whole[i]);
    inl_gemm_args args = {.w = &w.w,
                          .x = du.t,
                          .y = dx.t,
                          .bias = INL_BUF_NONE,
                          .residual = residual ? dx.t.buf : INL_BUF_NONE,
                          .tail = {.slot = s, .arena = &l.arena, .h = g.t},
                          .tag = "test"};
    inl_op_dora_linear_dx(kt_plan(k), &inputs.in, &args, dy.t);
    if (kt_run(k)) {
        kt_expect(k, &dx, BOUND);
        kt_run_again(k);
    }
    kt_end(k);
}

// Squares and norms of one matrix; those of the other slot stay as they are.
static void check_norms(kt_suite *suite, inl_format_id format, uint32_t n, uint32_t in,
                        uint32_t rank, uint32_t parts)
{
    kt *k = kt_begin(suite, "dora_norms %s N%u K%u rank %u in %u", inl_format_by_id(format)->name,
                     n, in, rank, parts);
    if (!k)
        return;
    kt_inputs inputs = kt_make_inputs(k, 1);
    kt_weight w;
    kt_lora l;
    one_slot(k, KT_ADD, rank, in, n, &l);
    kt_make_weight(k, format, n, in, parts, false, &w);
    const inl_lora_slot *s = &l.slots[1];
    double *norm = l.norms.v + s->norm, *squares = l.squares.v + s->norm;
    memset(norm, 0, inl_round_up(n, 8) * sizeof(*norm));
    memset(squares, 0, inl_round_up(n, 8) * sizeof(*squares));
    ref_dora_norms(w.v, l.a[1], l.b[1], n, in, rank, 0.0, squares);
    ref_dora_norms(w.v, l.a[1], l.b[1], n, in, rank, (double)s->scale, norm);
    for (uint32_t i = 0; i < n; i++)
        squares[i] *= squares[i];
    inl_op_dora_squares(kt_plan(k), &inputs.in, &l.arena, s, &w.w);
    inl_op_dora_norms(kt_plan(k), &inputs.in, &l.arena, s, &w.w);
    if (kt_run(k)) {
        kt_expect(k, &l.squares, BOUND);
        kt_expect(k, &l.norms, BOUND);
        kt_run_again(k);
    }
    kt_end(k);
}

static void check_rows(kt_suite *suite)
{
    static const uint32_t rows[] = {1, 2, 7, 8, 9, 33, 64}, cols[] = {1, 4, 20, 37, 172, 260};
    for (uint32_t i = 0; i < INL_COUNT(rows); i++)
        for (uint32_t j = 0; j < INL_COUNT(cols); j++) {
            check_scale(suite, rows[i], cols[j], (i + j) % 2, (i + j / 2) % 2);
            check_bwd(suite, rows[i], cols[j], j % 2);
        }
}

// Where a device has threads to fill, several share a column's rows: the CPU that most of these
// tests run on is told that it is a GPU.
static void check_slices(kt_suite *suite)
{
    inl_gpu_caps *caps = kt_caps(suite);
    uint32_t type = caps->type;
    caps->type = 2;
    check_bwd(suite, 1, 20, false);
    check_bwd(suite, 33, 172, true);
    caps->type = type;
}

static void check_briefly(kt_suite *suite)
{
    check_scale(suite, 33, 172, true, true);
    check_bwd(suite, 33, 260, false);
    check_drop(suite, 9, 37, true, 0.3f);
    check_norms(suite, INL_FORMAT_Q8_0, 65, 96, 16, 1);
    check_norms(suite, INL_FORMAT_NF4, 37, 100, 3, 2);
}

void check_dora(kt_suite *suite)
{
    if (kt_brief(suite)) {
        check_briefly(suite);
        return;
    }
    check_rows(suite);
    for (uint32_t i = 0; i < 6; i++)
        check_drop(suite, 1 + 8 * i, 20 + 17 * i, i % 2, 0.15f * (float)(i + 1));
    check_slices(suite);
    for (inl_format_id f = 0; f < INL_FORMAT_COUNT; f++) {
        if (!stands_for_others(f))
            continue;
        uint32_t block = INL_MAX(inl_format_by_id(f)->block_elements, 4);
        check_norms(suite, f, 37, block * 3, 5, 1);
        check_norms(suite, f, 65, block * 2, 16, 3);
    }
    check_norms(suite, INL_FORMAT_F32, 9, 1, 1, 1);
    check_norms(suite, INL_FORMAT_F32, 1, 37, 33, 1);
    check_norms(suite, INL_FORMAT_F32, 172, 200, 8, 2);
    check_norms(suite, INL_FORMAT_NF4, 37, 100, 3, 2); // blocks across rows
}
