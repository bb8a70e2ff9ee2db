// SPDX-License-Identifier: MIT
// Norms, positions and the activation.
#include "verify/families.h"
#include "verify/ref.h"

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

static void check_rmsnorm(kt_suite *suite, uint32_t t, uint32_t cols, bool gather, bool residual)
{
    kt *k = kt_begin(suite, "rmsnorm T%u D%u%s%s", t, cols, gather ? " gather" : "",
                     residual ? " residual" : "");
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
    kt_mat past = kt_tensor(k, KT_IN, "residual", rows, cols, 1.0f);
    ref_rmsnorm(x.v, g.v, index, rows, cols, (double)norm.eps, y.v, rstd.v);
    for (uint64_t i = 0; residual && i < (uint64_t)rows * cols; i++)
        y.v[i] += past.v[i];
    inl_op_rmsnorm(kt_plan(k), &inputs.in, &norm, x.t, residual ? past.t.buf : INL_BUF_NONE, y.t,
                   rstd.t.buf, gather, first);
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

// A row's heads are rows of the reference.
static void check_head_norms(kt_suite *suite, uint32_t t, uint32_t heads, uint32_t head_dim)
{
    kt *k = kt_begin(suite, "rmsnorm T%u heads %u of %u", t, heads, head_dim);
    if (!k)
        return;
    uint32_t cols = heads * head_dim;
    kt_inputs inputs = kt_make_inputs(k, t);
    kt_mat x = kt_tensor(k, KT_IN, "x", t, cols, 3.0f);
    kt_mat g = kt_array(k, KT_IN, "weight", head_dim, 8, 2.0f);
    kt_mat dy = kt_tensor(k, KT_IN, "dy", t, cols, 1.0f);
    kt_mat y = kt_tensor(k, KT_OUT, "y", t, cols, 0.0f);
    kt_mat dx = kt_tensor(k, KT_OUT, "dx", t, cols, 0.0f);
    kt_mat rstd = kt_array(k, KT_OUT, "rstd", t * heads, 1, 0.0f);
    inl_norm norm = {.weight = kt_range(k, &g), .eps = 1e-5f, .heads = heads};
    ref_rmsnorm(x.v, g.v, NULL, t * heads, head_dim, (double)norm.eps, y.v, rstd.v);
    ref_rmsnorm_bwd(x.v, g.v, dy.v, NULL, NULL, t * heads, head_dim, (double)norm.eps, dx.v);
    inl_op_rmsnorm(kt_plan(k), &inputs.in, &norm, x.t, INL_BUF_NONE, y.t, rstd.t.buf, false, 0);
    inl_op_rmsnorm_bwd(kt_plan(k), &inputs.in, &norm, x.t, rstd.t.buf, dy.t, INL_BUF_NONE, dx.t,
                       false, 0);
    if (kt_run(k)) {
        kt_expect(k, &y, BOUND);
        kt_expect(k, &rstd, BOUND);
        kt_expect(k, &dx, BOUND);
    }
    kt_end(k);
}

static void check_norms(kt_suite *suite)
{
    static const uint32_t heads[][2] = {{1, 4}, {3, 12}, {5, 36}, {2, 64}, {3, 128}, {2, 256}};
    for (uint32_t i = 0; i < INL_COUNT(heads); i++)
        check_head_norms(suite, some_rows[i], heads[i][0], heads[i][1]);
    for (uint32_t i = 0; i < INL_COUNT(some_rows); i++)
        for (uint32_t j = 0; j < INL_COUNT(some_cols); j++) {
            uint32_t t = some_rows[i], cols = some_cols[j];
            check_rmsnorm(suite, t, cols, (i + j) % 2, (i + j) % 3 == 0);
            check_rmsnorm_bwd(suite, t, cols, (i + j) % 3, j % 2);
        }
}

// ---- positions

typedef struct rope_case {
    uint32_t t, heads, head_dim, rope_dim;
    float sign;
    bool in_place, store, copy, halves;
    uint32_t before, after; // columns beside the heads, of x or, with sign -1, of y
} rope_case;

static void check_rope(kt_suite *suite, rope_case c)
{
    kt *k = kt_begin(suite, "rope T%u heads %u of %u, %u turned, sign %g%s%s%s%s, %u and %u beside",
                     c.t, c.heads, c.head_dim, c.rope_dim, (double)c.sign,
                     c.in_place ? " in place" : "", c.store ? " store" : "", c.copy ? " copy" : "",
                     c.halves ? " halves" : "", c.before, c.after);
    if (!k)
        return;
    const uint32_t positions = 50, cols = c.heads * c.head_dim;
    uint32_t first = c.store ? 5 : 0;
    kt_inputs inputs = kt_make_inputs(k, c.t);
    inputs.scalars->cache_row = 5; // read with `store` alone
    for (uint32_t i = 0; i < c.t; i++)
        inputs.positions[i] = i == 0 ? positions - 1 : kt_below(k, positions);
    kt_mat table = kt_array(k, KT_IN, "table", positions * c.rope_dim, 4, 1.0f);
    bool back = c.sign < 0.0f;
    uint32_t wide = c.before + cols + c.after, x_cols = back ? cols : wide;
    uint32_t y_cols = back ? wide : cols;
    kt_mat x = kt_tensor(k, c.in_place ? KT_ADD : KT_IN, "x", c.t, x_cols, 2.0f);
    bool partial = c.store || y_cols > cols;
    kt_mat y = c.in_place ? x
                          : kt_tensor(k, partial ? KT_ADD : KT_OUT, "y", c.t + first, y_cols, 1.0f);
    inl_rope rope = {.table = kt_range(k, &table), .rope_dim = c.rope_dim, .halves = c.halves};
    inl_rope_args args = {.rope = c.copy ? NULL : &rope,
                          .heads = c.heads,
                          .head_dim = c.head_dim,
                          .sign = c.sign,
                          .x = x.t,
                          .y = y.t,
                          .x_column = back ? 0 : c.before,
                          .y_column = back ? c.before : 0,
                          .store = c.store};
    double *from = kt_doubles(k, (uint64_t)c.t * cols), *to = kt_doubles(k, (uint64_t)c.t * cols);
    for (uint32_t t = 0; t < c.t; t++)
        memcpy(from + (size_t)t * cols, x.v + (size_t)t * x_cols + args.x_column,
               cols * sizeof(double));
    ref_rope(from, c.copy ? NULL : table.v, inputs.positions, c.t, c.heads, c.head_dim, c.rope_dim,
             c.halves, (double)c.sign, 0, to);
    for (uint32_t t = 0; t < c.t; t++)
        memcpy(y.v + (size_t)(first + t) * y_cols + args.y_column, to + (size_t)t * cols,
               cols * sizeof(double));
    inl_op_rope(kt_plan(k), &inputs.in, &args);
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
            bool odd = (i + j) % 2;
            check_rope(suite, (rope_case){t, 3, d, turned, 1.0f, .in_place = odd});
            check_rope(suite, (rope_case){t, 1, d, turned, -1.0f, .in_place = odd});
            check_rope(suite, (rope_case){t, 2, d, turned, 1.0f, .store = true});
            check_rope(suite, (rope_case){t, 1, d, d, 1.0f, .store = true, .copy = true});
            check_rope(suite, (rope_case){t, 3, d, turned, 1.0f, .halves = true, .store = odd,
                                          .before = 4 * (j % 3), .after = odd ? 12 : 0});
            check_rope(suite, (rope_case){t, 2, d, turned, -1.0f, .halves = !odd,
                                          .before = odd ? 8 : 0, .after = 4 * (i % 3)});
            check_rope(suite, (rope_case){t, 2, d, d, -1.0f, .copy = true, .before = 20});
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
    inl_rope_args args = {
        .rope = &rope, .heads = 2, .head_dim = 36, .sign = 1.0f, .x = x.t, .y = x.t};
    inl_op_rope(kt_plan(k), &inputs.in, &args);
    args.sign = -1.0f;
    inl_op_rope(kt_plan(k), &inputs.in, &args);
    if (kt_run(k))
        kt_expect(k, &x, BOUND);
    kt_end(k);
}

// ---- activation

// [rows, 2 cols]: each row `a`'s, then `b`'s.
static void side_by_side(const double *a, const double *b, uint32_t rows, uint32_t cols, double *to)
{
    for (uint32_t t = 0; t < rows; t++) {
        memcpy(to + (size_t)t * 2 * cols, a + (size_t)t * cols, cols * sizeof(*to));
        memcpy(to + ((size_t)t * 2 + 1) * cols, b + (size_t)t * cols, cols * sizeof(*to));
    }
}

static void check_glu(kt_suite *suite, inl_activation act, uint32_t t, uint32_t cols, float scale,
                      bool fused)
{
    bool gelu = act == INL_GELU_TANH;
    kt *k = kt_begin(suite, "%s T%u F%u within %g%s", gelu ? "geglu" : "swiglu", t, cols,
                     (double)scale, fused ? " fused" : "");
    if (!k)
        return;
    kt_mat gate = kt_tensor(k, KT_IN, "gate", t, cols, scale);
    kt_mat up = kt_tensor(k, KT_IN, "up", t, cols, 1.0f);
    kt_mat both = kt_tensor(k, KT_IN, "gate and up", t, 2 * cols, 1.0f);
    kt_mat dy = kt_tensor(k, KT_IN, "dy", t, cols, 1.0f);
    kt_mat y = kt_tensor(k, KT_OUT, "y", t, cols, 0.0f);
    kt_mat dgate = kt_tensor(k, KT_OUT, "dgate", t, fused ? 2 * cols : cols, 0.0f);
    kt_mat dup = kt_tensor(k, fused ? KT_ADD : KT_OUT, "dup", t, cols, 0.0f);
    uint64_t count = (uint64_t)t * cols;
    double *halves = kt_doubles(k, 2 * count), *d[2] = {kt_doubles(k, count), kt_doubles(k, count)};
    side_by_side(gate.v, up.v, t, cols, halves);
    kt_set(k, &both, halves);
    ref_glu(gelu, gate.v, up.v, count, y.v);
    ref_glu_bwd(gelu, gate.v, up.v, dy.v, count, d[0], d[1]);
    if (fused) {
        side_by_side(d[0], d[1], t, cols, dgate.v);
    } else {
        memcpy(dgate.v, d[0], count * sizeof(double));
        memcpy(dup.v, d[1], count * sizeof(double));
    }
    inl_tensor none = {.buf = INL_BUF_NONE}, first = fused ? both.t : gate.t;
    inl_tensor second = fused ? none : up.t;
    inl_op_glu(kt_plan(k), act, first, second, y.t);
    inl_op_glu_bwd(kt_plan(k), act, first, second, dy.t, dgate.t, dup.t);
    if (kt_run(k)) {
        kt_expect(k, &y, BOUND);
        kt_expect(k, &dgate, BOUND);
        kt_expect(k, &dup, BOUND);
    }
    kt_end(k);
}

static void check_briefly(kt_suite *suite)
{
    check_rmsnorm(suite, 1, 1030, false, true);
    check_rmsnorm(suite, 33, 260, true, false);
    check_rmsnorm_bwd(suite, 33, 1030, OTHER, false);
    check_rmsnorm_bwd(suite, 64, 37, NO_RESIDUAL, true);
    check_head_norms(suite, 33, 3, 128);
    check_rope(suite, (rope_case){33, 3, 64, 64, 1.0f, .in_place = true});
    check_rope(suite, (rope_case){33, 3, 64, 36, -1.0f, .in_place = false});
    check_rope(suite, (rope_case){9, 2, 128, 128, 1.0f, .halves = true, .store = true,
                                  .before = 8, .after = 12});
    check_rope_inverse(suite);
    check_glu(suite, INL_SILU, 33, 260, 200.0f, false);
    check_glu(suite, INL_SILU, 1, 1028, 4.0f, true);
    check_glu(suite, INL_GELU_TANH, 8, 37, 4.0f, false);
}

void check_layer(kt_suite *suite)
{
    if (kt_brief(suite)) {
        check_briefly(suite);
        return;
    }
    check_norms(suite);
    check_ropes(suite);
    check_rope_inverse(suite);
    for (uint32_t i = 0; i < INL_COUNT(some_rows); i++)
        for (uint32_t j = 0; j < INL_COUNT(some_cols); j++)
            // A gate of 200 would overflow a careless exp.
            check_glu(suite, (i + j) % 2 ? INL_GELU_TANH : INL_SILU, some_rows[i], some_cols[j],
                      j % 3 ? 4.0f : 200.0f, i % 2 && some_cols[j] % 4 == 0);
}
