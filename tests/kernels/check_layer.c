// SPDX-License-Identifier: MIT
// Norms, positions and the activation.
#include "kernels/families.h"
#include "ref/ref.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define BOUND 1e-12 // exp, 1 / sqrt and division are within a few ulp: 1e-13

static const uint32_t some_rows[] = {1, 2, 7, 8, 9, 33, 64};
static const uint32_t some_cols[] = {4, 20, 36, 37, 172, 260, 1030};

// ---- norms

// The list of supervised tokens for rows first, first + 1, ...: any tokens, each once, in order.
static const uint32_t *supervise(kt *k, kt_inputs *in, uint32_t supervised)
{
    uint32_t skip = in->tokens_count - supervised, at = 0;
    for (uint32_t i = 0; i < supervised; i++) {
        uint32_t jump = skip ? kt_below(k, skip + 1) : 0;
        skip -= jump;
        in->rows[i] = at + jump;
        at += jump + 1;
    }
    in->scalars->supervised = supervised;
    return in->rows;
}

static void check_rmsnorm(kt_suite *suite, uint32_t t, uint32_t cols, bool gather)
{
    kt *k = kt_begin(suite, "rmsnorm T%u D%u%s", t, cols, gather ? " gather" : "");
    if (!k)
        return;
    kt_inputs inputs = kt_make_inputs(k, t);
    uint32_t first = gather ? t / 3 : 0, rows = t - first;
    const uint32_t *index = gather ? supervise(k, &inputs, t) + first : NULL;
    for (uint32_t i = 0; gather && i < t; i++) // any order must do
        inputs.rows[i] = t - 1 - inputs.rows[i];
    kt_mat x = kt_tensor(k, KT_IN, "x", t, cols, 3.0f);
    kt_mat g = kt_array(k, KT_IN, "weight", cols, 8, 2.0f);
    kt_mat y = kt_tensor(k, KT_OUT, "y", rows, cols, 0.0f);
    kt_mat rstd = kt_array(k, KT_OUT, "rstd", rows, 1, 0.0f);
    inl_norm norm = {.weight = kt_range(k, &g), .eps = 1e-5f};
    ref_rmsnorm(x.v, g.v, index, rows, cols, (double)norm.eps, y.v, rstd.v);
    inl_op_rmsnorm(kt_plan(k), &inputs.in, &norm, x.t, y.t, rstd.t.buf, gather, first);
    if (kt_run(k)) {
        kt_expect(k, &y, BOUND);
        kt_expect(k, &rstd, BOUND);
    }
    kt_end(k);
}

typedef enum residual_kind { NO_RESIDUAL, OTHER, IN_PLACE } residual_kind;

static void check_rmsnorm_bwd(kt_suite *suite, uint32_t t, uint32_t cols, residual_kind residual,
                              bool scatter)
{
    static const char *const names[] = {"", " residual", " residual in place"};
    kt *k = kt_begin(suite, "rmsnorm_bwd T%u D%u%s%s", t, cols, names[residual],
                     scatter ? " scatter" : "");
    if (!k)
        return;
    kt_inputs inputs = kt_make_inputs(k, t);
    // A chunk of the list that ends past the supervised tokens.
    uint32_t supervised = scatter ? t - t / 4 : t, first = scatter ? supervised / 3 : 0;
    uint32_t rows = scatter ? INL_MIN(t - first, supervised - first + 2) : t;
    const uint32_t *index = scatter ? supervise(k, &inputs, supervised) + first : NULL;
    kt_mat x = kt_tensor(k, KT_IN, "x", t, cols, 3.0f);
    kt_mat g = kt_array(k, KT_IN, "weight", cols, 8, 2.0f);
    kt_mat dy = kt_tensor(k, KT_IN, "dy", rows, cols, 1.0f);
    kt_mat rstd = kt_array(k, KT_IN, "rstd", rows, 1, 1.0f);
    kt_mat other = kt_tensor(k, KT_IN, "residual", t, cols, 1.0f);
    kt_mat dx =
        kt_tensor(k, scatter || residual == IN_PLACE ? KT_ADD : KT_OUT, "dx", t, cols, 1.0f);
    inl_norm norm = {.weight = kt_range(k, &g), .eps = 1e-6f};
    double *y = kt_doubles(k, (uint64_t)rows * cols), *s = kt_doubles(k, rows);
    ref_rmsnorm(x.v, g.v, index, rows, cols, (double)norm.eps, y, s);
    kt_set(k, &rstd, s);
    uint32_t live = scatter ? INL_MIN(rows, supervised - first) : t;
    const double *past = residual == OTHER ? other.v : residual == IN_PLACE ? dx.v : NULL;
    ref_rmsnorm_bwd(x.v, g.v, dy.v, index, past, live, cols, (double)norm.eps, dx.v);
    inl_buf buf = residual == OTHER      ? other.t.buf
                  : residual == IN_PLACE ? dx.t.buf
                                         : INL_BUF_NONE;
    inl_op_rmsnorm_bwd(kt_plan(k), &inputs.in, &norm, x.t, rstd.t.buf, dy.t, buf, dx.t, scatter,
                       first);
    if (kt_run(k))
        kt_expect(k, &dx, BOUND);
    kt_end(k);
}

static void check_norms(kt_suite *suite)
{
    for (uint32_t i = 0; i < INL_COUNT(some_rows); i++)
        for (uint32_t j = 0; j < INL_COUNT(some_cols); j++) {
            uint32_t t = some_rows[i], cols = some_cols[j];
            check_rmsnorm(suite, t, cols, (i + j) % 2);
            check_rmsnorm_bwd(suite, t, cols, (i + j) % 3, j % 2);
        }
}

// ---- positions

typedef struct rope_case {
    uint32_t t, heads, head_dim, rope_dim;
    float sign;
    bool in_place, store, copy;
} rope_case;

static void check_rope(kt_suite *suite, rope_case c)
{
    kt *k = kt_begin(suite, "rope T%u heads %u of %u, %u turned, sign %g%s%s%s", c.t, c.heads,
                     c.head_dim, c.rope_dim, (double)c.sign, c.in_place ? " in place" : "",
                     c.store ? " store" : "", c.copy ? " copy" : "");
    if (!k)
        return;
    const uint32_t positions = 50, cols = c.heads * c.head_dim;
    uint32_t first = c.store ? 5 : 0;
    kt_inputs inputs = kt_make_inputs(k, c.t);
    inputs.scalars->cache_row = 5; // read with `store` alone
    for (uint32_t i = 0; i < c.t; i++)
        inputs.positions[i] = i == 0 ? positions - 1 : kt_below(k, positions);
    kt_mat table = kt_array(k, KT_IN, "table", positions * c.rope_dim, 4, 1.0f);
    kt_mat x = kt_tensor(k, c.in_place ? KT_ADD : KT_IN, "x", c.t, cols, 2.0f);
    kt_mat y =
        c.in_place ? x : kt_tensor(k, c.store ? KT_ADD : KT_OUT, "y", c.t + first, cols, 1.0f);
    inl_rope rope = {.table = kt_range(k, &table), .rope_dim = c.rope_dim};
    double *from = kt_copy(k, x.v, (uint64_t)c.t * cols);
    ref_rope(from, c.copy ? NULL : table.v, inputs.positions, c.t, c.heads, c.head_dim, c.rope_dim,
             (double)c.sign, first, y.v);
    inl_op_rope(kt_plan(k), &inputs.in, c.copy ? NULL : &rope, c.heads, c.head_dim, c.sign, x.t,
                y.t, c.store);
    if (kt_run(k))
        kt_expect(k, &y, BOUND);
    kt_end(k);
}

static void check_ropes(kt_suite *suite)
{
    static const uint32_t head_dims[] = {4, 8, 36, 64, 128};
    for (uint32_t i = 0; i < INL_COUNT(some_rows); i++)
        for (uint32_t j = 0; j < INL_COUNT(head_dims); j++) {
            uint32_t t = some_rows[i], d = head_dims[j], turned = (i + j) % 3 ? d : d / 8 * 4 + 4;
            turned = INL_MIN(turned, d);
            check_rope(suite, (rope_case){t, 3, d, turned, 1.0f, (i + j) % 2, false, false});
            check_rope(suite, (rope_case){t, 1, d, turned, -1.0f, (i + j) % 2, false, false});
            check_rope(suite, (rope_case){t, 2, d, turned, 1.0f, false, true, false});
            check_rope(suite, (rope_case){t, 1, d, d, 1.0f, false, true, true});
        }
}

// A turn and the turn back are the identity.
static void check_rope_inverse(kt_suite *suite)
{
    kt *k = kt_begin(suite, "rope forth and back");
    if (!k)
        return;
    kt_inputs inputs = kt_make_inputs(k, 33);
    kt_mat table = kt_array(k, KT_IN, "table", 33 * 36, 4, 1.0f);
    double *turns = kt_doubles(k, 33 * 36);
    for (uint32_t p = 0; p < 33; p++)
        for (uint32_t i = 0; i < 18; i++) {
            double angle = p * pow(10000.0, -2.0 * i / 36.0);
            turns[p * 36 + 2 * i] = cos(angle);
            turns[p * 36 + 2 * i + 1] = sin(angle);
        }
    kt_set(k, &table, turns);
    inl_rope rope = {.table = kt_range(k, &table), .rope_dim = 36};
    kt_mat x = kt_tensor(k, KT_ADD, "x", 33, 72, 1.0f);
    inl_op_rope(kt_plan(k), &inputs.in, &rope, 2, 36, 1.0f, x.t, x.t, false);
    inl_op_rope(kt_plan(k), &inputs.in, &rope, 2, 36, -1.0f, x.t, x.t, false);
    if (kt_run(k))
        kt_expect(k, &x, BOUND);
    kt_end(k);
}

// ---- activation

static void check_swiglu(kt_suite *suite, uint32_t t, uint32_t cols, float scale)
{
    kt *k = kt_begin(suite, "swiglu T%u F%u within %g", t, cols, (double)scale);
    if (!k)
        return;
    kt_mat gate = kt_tensor(k, KT_IN, "gate", t, cols, scale);
    kt_mat up = kt_tensor(k, KT_IN, "up", t, cols, 1.0f);
    kt_mat dy = kt_tensor(k, KT_IN, "dy", t, cols, 1.0f);
    kt_mat y = kt_tensor(k, KT_OUT, "y", t, cols, 0.0f);
    kt_mat dgate = kt_tensor(k, KT_OUT, "dgate", t, cols, 0.0f);
    kt_mat dup = kt_tensor(k, KT_OUT, "dup", t, cols, 0.0f);
    ref_swiglu(gate.v, up.v, (uint64_t)t * cols, y.v);
    ref_swiglu_bwd(gate.v, up.v, dy.v, (uint64_t)t * cols, dgate.v, dup.v);
    inl_op_swiglu(kt_plan(k), gate.t, up.t, y.t);
    inl_op_swiglu_bwd(kt_plan(k), gate.t, up.t, dy.t, dgate.t, dup.t);
    if (kt_run(k)) {
        kt_expect(k, &y, BOUND);
        kt_expect(k, &dgate, BOUND);
        kt_expect(k, &dup, BOUND);
    }
    kt_end(k);
}

void check_layer(kt_suite *suite)
{
    check_norms(suite);
    check_ropes(suite);
    check_rope_inverse(suite);
    for (uint32_t i = 0; i < INL_COUNT(some_rows); i++)
        for (uint32_t j = 0; j < INL_COUNT(some_cols); j++)
            // A gate of 200 would overflow a careless exp.
            check_swiglu(suite, some_rows[i], some_cols[j], j % 3 ? 4.0f : 200.0f);
}
