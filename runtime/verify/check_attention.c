// SPDX-License-Identifier: MIT
// Attention forward, backward and over a cache: grouped heads, packed sequences, windows.
#include "verify/families.h"
#include "verify/ref.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#define BOUND 1e-12

typedef struct packing {
    const char *name;
    uint32_t lengths[16];
} packing;

static const packing packings[] = {
    {"one sequence", {0}},
    {"packed", {3, 1, 1, 5, 30, 0}},
    {"single tokens", {1, 1, 1, 1, 1, 1, 1, 33, 0}},
};

typedef struct attention_case {
    uint32_t t, heads, kv_heads, head_dim, window, first, packing;
    float softcap;
} attention_case;

// Tensors of one case; k and v have `first` rows more, and in a cache some that are not filled yet.
typedef struct attention_data {
    kt_inputs inputs;
    inl_attention op;
    ref_attention ref;
    kt_mat q, k, v, o, lse;
} attention_data;

static void make_data(kt *k, const attention_case *c, bool backward, uint32_t keys,
                      attention_data *d)
{
    kt_kind kind = backward ? KT_IN : KT_OUT;
    *d = (attention_data){.inputs = kt_make_inputs(k, c->t)};
    kt_pack(&d->inputs, packings[c->packing].lengths);
    float scale = 1.0f / sqrtf((float)c->head_dim);
    d->op = (inl_attention){.heads = c->heads,
                            .kv_heads = c->kv_heads,
                            .head_dim = c->head_dim,
                            .window = c->window,
                            .scale = scale,
                            .softcap = c->softcap};
    d->ref = (ref_attention){.rows = c->t,
                             .heads = c->heads,
                             .kv_heads = c->kv_heads,
                             .head_dim = c->head_dim,
                             .window = c->window,
                             .first = c->first,
                             .starts = d->inputs.starts,
                             .scale = (double)scale,
                             .softcap = (double)c->softcap};
    d->q = kt_tensor(k, KT_IN, "q", c->t, c->heads * c->head_dim, 4.0f);
    d->k = kt_tensor(k, KT_IN, "k", keys, c->kv_heads * c->head_dim, 2.0f);
    d->v = kt_tensor(k, KT_IN, "v", keys, c->kv_heads * c->head_dim, 1.0f);
    d->o = kt_tensor(k, kind, "o", c->t, c->heads * c->head_dim, 0.0f);
    d->lse = kt_array(k, kind, "lse", c->t * c->heads, 1, 0.0f);
}

static void expect_forward(kt *k, attention_data *d)
{
    double *terms = kt_doubles(k, d->lse.cols);
    ref_attention_fwd(&d->ref, d->q.v, d->k.v, d->v.v, d->o.v, d->lse.v);
    ref_attention_fwd_terms(&d->ref, d->q.v, d->k.v, terms);
    d->lse.terms = terms;
    if (kt_run(k)) {
        kt_expect(k, &d->o, BOUND);
        kt_expect(k, &d->lse, BOUND);
    }
}

static kt *begin(kt_suite *suite, const char *what, const attention_case *c)
{
    char window[64] = "";
    if (c->window != UINT32_MAX)
        snprintf(window, sizeof(window), " window %u", c->window);
    if (c->softcap > 0.0f)
        snprintf(window + strlen(window), 32, " cap %g", (double)c->softcap);
    return kt_begin(suite, "%s T%u heads %u/%u of %u, %s%s", what, c->t, c->heads, c->kv_heads,
                    c->head_dim, packings[c->packing].name, window);
}

static void check_forward(kt_suite *suite, attention_case c)
{
    kt *k = begin(suite, "attention", &c);
    if (!k)
        return;
    attention_data d;
    make_data(k, &c, false, c.t, &d);
    d.inputs.scalars->cache_row = 3; // not read
    inl_op_attention(kt_plan(k), &d.inputs.in, &d.op, d.q.t, d.k.t, d.v.t, d.o.t, d.lse.t.buf,
                     false);
    expect_forward(k, &d);
    kt_end(k);
}

// Queries are keys first .. first + T - 1 of a cache with more rows than are filled.
static void check_cached(kt_suite *suite, attention_case c)
{
    kt *k = begin(suite, "attention over a cache", &c);
    if (!k)
        return;
    attention_data d;
    make_data(k, &c, false, c.first + c.t + 9, &d);
    d.inputs.scalars->cache_row = c.first;
    for (uint32_t t = 0; t < c.t; t++) // sequences that began before the cached rows end
        d.inputs.starts[t] = c.packing ? c.first / 2 + d.inputs.starts[t] / 2 : 0;
    inl_op_attention(kt_plan(k), &d.inputs.in, &d.op, d.q.t, d.k.t, d.v.t, d.o.t, d.lse.t.buf,
                     true);
    expect_forward(k, &d);
    kt_end(k);
}

static void check_backward(kt_suite *suite, attention_case c)
{
    kt *k = begin(suite, "attention_bwd", &c);
    if (!k)
        return;
    attention_data d;
    make_data(k, &c, true, c.t, &d);
    uint32_t q_cols = c.heads * c.head_dim, kv_cols = c.kv_heads * c.head_dim;
    double *o = kt_doubles(k, (uint64_t)c.t * q_cols), *lse = kt_doubles(k, c.t * c.heads);
    ref_attention_fwd(&d.ref, d.q.v, d.k.v, d.v.v, o, lse);
    kt_set(k, &d.o, o);
    kt_set(k, &d.lse, lse);
    kt_mat d_o = kt_tensor(k, KT_IN, "do", c.t, q_cols, 1.0f);
    kt_mat dq = kt_tensor(k, KT_OUT, "dq", c.t, q_cols, 0.0f);
    kt_mat dk = kt_tensor(k, KT_OUT, "dk", c.t, kv_cols, 0.0f);
    kt_mat dv = kt_tensor(k, KT_OUT, "dv", c.t, kv_cols, 0.0f);
    ref_attention_bwd(&d.ref, d.q.v, d.k.v, d.v.v, d_o.v, dq.v, dk.v, dv.v);
    double *terms[3] = {kt_doubles(k, (uint64_t)c.t * q_cols),
                        kt_doubles(k, (uint64_t)c.t * kv_cols),
                        kt_doubles(k, (uint64_t)c.t * kv_cols)};
    ref_attention_bwd_terms(&d.ref, d.q.v, d.k.v, d.v.v, d_o.v, terms[0], terms[1], terms[2]);
    dq.terms = terms[0];
    dk.terms = terms[1];
    dv.terms = terms[2];
    inl_op_attention_bwd(kt_plan(k), &d.inputs.in, &d.op, d.q.t, d.k.t, d.v.t, d.o.t, d.lse.t.buf,
                         d_o.t, dq.t, dk.t, dv.t);
    if (kt_run(k)) {
        kt_expect(k, &dq, BOUND);
        kt_expect(k, &dk, BOUND);
        kt_expect(k, &dv, BOUND);
    }
    kt_end(k);
}

// Over a cache the queries come after `first` keys.
static void check_all(kt_suite *suite, attention_case c, uint32_t first)
{
    check_forward(suite, c);
    check_backward(suite, c);
    c.first = first;
    check_cached(suite, c);
}

// Loops over a head's elements are unrolled: the larger the head, the longer the compiler takes.
static void check_large_heads(kt_suite *suite)
{
    static const attention_case cases[] = {
        {.t = 35, .heads = 3, .kv_heads = 1, .head_dim = 128, .window = 16, .packing = 1,
         .softcap = 3.0f},
        {.t = 9, .heads = 4, .kv_heads = 2, .head_dim = 128, .window = UINT32_MAX},
        {.t = 1, .heads = 1, .kv_heads = 1, .head_dim = 128, .window = UINT32_MAX},
        {.t = 35, .heads = 2, .kv_heads = 1, .head_dim = 256, .window = UINT32_MAX, .packing = 1},
        {.t = 70, .heads = 2, .kv_heads = 1, .head_dim = 80, .window = 20, .packing = 2},
        {.t = 150, .heads = 1, .kv_heads = 1, .head_dim = 96, .window = UINT32_MAX, .packing = 1},
        {.t = 131, .heads = 4, .kv_heads = 2, .head_dim = 32, .window = 65, .softcap = 4.0f},
    };
    for (uint32_t i = 0; i < INL_COUNT(cases); i++)
        check_all(suite, cases[i], 5 * i);
}

// The sizes of heads that models have, packed and not; one token over a cache.
static void check_briefly(kt_suite *suite)
{
    static const attention_case cases[] = {
        {.t = 65, .heads = 4, .kv_heads = 2, .head_dim = 64, .window = UINT32_MAX, .packing = 1},
        {.t = 65, .heads = 3, .kv_heads = 1, .head_dim = 64, .window = 16, .softcap = 2.5f},
        {.t = 33, .heads = 3, .kv_heads = 1, .head_dim = 36, .window = UINT32_MAX, .packing = 2},
        {.t = 35, .heads = 4, .kv_heads = 2, .head_dim = 128, .window = UINT32_MAX, .packing = 1},
    };
    static const uint32_t sizes[] = {64, 128};
    for (uint32_t i = 0; i < INL_COUNT(cases); i++) {
        check_forward(suite, cases[i]);
        check_backward(suite, cases[i]);
    }
    for (uint32_t i = 0; i < INL_COUNT(sizes); i++)
        check_cached(suite, (attention_case){.t = 1, .heads = 4, .kv_heads = 2, .first = 70,
                                             .head_dim = sizes[i], .window = UINT32_MAX});
}

void check_attention(kt_suite *suite)
{
    if (kt_brief(suite)) {
        check_briefly(suite);
        return;
    }
    static const uint32_t rows[] = {1, 2, 7, 8, 9, 33, 64};
    static const uint32_t head_dims[] = {4, 8, 36, 64};
    static const uint32_t heads[][2] = {{1, 1}, {3, 1}, {4, 2}};
    static const uint32_t windows[] = {UINT32_MAX, UINT32_MAX, 1, 3, 16, 40, 64};
    static const uint32_t firsts[] = {0, 1, 5, 30};
    uint32_t turn = 0;
    if (!kt_quick(suite))
        check_large_heads(suite);
    for (uint32_t i = 0; i < INL_COUNT(rows); i++)
        for (uint32_t j = 0; j < INL_COUNT(head_dims); j++)
            for (uint32_t h = 0; h < INL_COUNT(heads); h++, turn++) {
                attention_case c = {.t = rows[i],
                                    .heads = heads[h][0],
                                    .kv_heads = heads[h][1],
                                    .head_dim = head_dims[j],
                                    .window = windows[turn % INL_COUNT(windows)],
                                    .packing = (turn + i) % INL_COUNT(packings),
                                    .softcap = turn % 3 == 1 ? 2.5f : 0.0f};
                check_forward(suite, c);
                check_backward(suite, c);
                c.first = firsts[(i + j + h) % INL_COUNT(firsts)];
                if ((i + j + h) % 2 == 0)
                    check_cached(suite, c);
            }
}
