// SPDX-License-Identifier: MIT
// A mixture of experts: the router, rows by expert, products with experts' matrices and adapters.
#include "verify/families.h"
#include "verify/ref.h"

#include <math.h>
#include <string.h>

#include "base/half.h"

#define BOUND 1e-13
#define LORA_BOUND 1e-12

typedef enum pattern {
    RANDOM, // multiples of 1/16: some are equal
    SAME,   // all equal: the first experts
    ONE,    // the last expert before all others
    SOME,   // the second half has none, where `used` allows that
    FAR,    // differences of 1000: all probabilities but the largest are 0, and equal
} pattern;

static const char *const pattern_names[] = {"random", "all equal", "one", "half", "far"};

typedef struct shape {
    uint32_t tokens, experts, used;
    bool normalize;
    pattern pattern;
} shape;

// Routing in the heap, so that its lists can be looked at, and what they must be.
typedef struct routed {
    ref_router ref;
    inl_routing r;
    kt_mat logits, ids, weights, position, table, segments, tokens, row_weights;
    double *probs, *w;                                     // of the reference
    uint32_t *id, *row_of, *assignment_of, *first, *count; // [T, K] twice, [rows], [E] twice
    uint32_t rows;                                         // of tiles with an expert
} routed;

static uint32_t *words(kt *k, uint64_t count)
{
    return (uint32_t *)kt_doubles(k, count / 2 + 1);
}

static double logit(kt *k, const shape *s, uint32_t e)
{
    double random = (double)kt_below(k, 64) / 16.0;
    switch (s->pattern) {
    case SAME: return 1.5;
    case ONE: return e == s->experts - 1 ? 9.0 : random;
    case SOME: return random - (e >= s->experts / 2 ? 8.0 : 0.0);
    case FAR: return 16000.0 * (random - 2.0);
    default: return random;
    }
}

static kt_mat list(kt *k, const char *name, uint32_t count, inl_buf *buf)
{
    kt_mat m = kt_array(k, KT_OUT, name, count, 1, 0.0f);
    *buf = m.t.buf;
    return m;
}

static void make_routed(kt *k, const shape *s, routed *out)
{
    *out = (routed){.ref = {s->tokens, s->experts, s->used, s->normalize}};
    out->r = inl_routing_shape(s->tokens, s->experts, s->used, s->normalize);
    uint32_t assignments = s->tokens * s->used;
    out->logits = kt_tensor(k, KT_ADD, "logits", s->tokens, s->experts, 1.0f);
    out->r.probs = out->logits.t;
    double *z = kt_doubles(k, (uint64_t)s->tokens * s->experts);
    for (uint32_t i = 0; i < s->tokens * s->experts; i++)
        z[i] = logit(k, s, i % s->experts);
    kt_set(k, &out->logits, z);
    uint32_t tiles = out->r.rows / out->r.align;
    out->ids = list(k, "ids", assignments, &out->r.ids);
    out->weights = list(k, "weights", assignments, &out->r.weights);
    out->position = list(k, "position", assignments, &out->r.position);
    out->table = list(k, "table", (uint32_t)inl_round_up(tiles, 4), &out->r.table);
    out->segments = list(k, "segments", 2 * s->experts, &out->r.segments);
    out->tokens = list(k, "row_token", out->r.rows, &out->r.row_token);
    out->row_weights = list(k, "row_weight", out->r.rows, &out->r.row_weight);
    out->probs = kt_doubles(k, (uint64_t)s->tokens * s->experts);
    out->w = kt_doubles(k, assignments);
    out->id = words(k, assignments);
    out->row_of = words(k, assignments);
    out->assignment_of = words(k, out->r.rows);
    out->first = words(k, s->experts);
    out->count = words(k, s->experts);
    ref_route(&out->ref, z, out->probs, out->id, out->w);
    out->rows = ref_moe_sort(&out->ref, out->id, out->r.align, out->row_of, out->assignment_of,
                             out->first, out->count);
    inl_op_route(kt_plan(k), &out->r);
}

static uint32_t expert_of(const routed *m, uint32_t row)
{
    uint32_t e = 0;
    while (row >= m->first[e] + inl_round_up(m->count[e], m->r.align))
        e++;
    return e;
}

static void expect_word(kt *k, const kt_mat *m, uint32_t at, uint32_t want)
{
    uint32_t got = inl_f32_bits(kt_get(k, m, 0, at));
    if (got != want)
        kt_fail(k, "entry %u of a list is %u, not %u", at, got, want);
}

static void expect_lists(kt *k, routed *m)
{
    for (uint32_t i = 0; i < m->ref.rows * m->ref.used; i++) {
        expect_word(k, &m->ids, i, m->id[i]);
        expect_word(k, &m->position, i, m->row_of[i]);
    }
    for (uint32_t e = 0; e < m->ref.experts; e++) {
        expect_word(k, &m->segments, 2 * e, m->first[e]);
        expect_word(k, &m->segments, 2 * e + 1, m->count[e]);
    }
    for (uint32_t tile = 0; tile < m->table.cols; tile++) {
        uint32_t row = tile * m->r.align;
        expect_word(k, &m->table, tile,
                    inl_f32_bits(row < m->rows ? (float)expert_of(m, row) : -1.0f));
    }
    for (uint32_t row = 0; row < m->rows; row++) {
        uint32_t i = m->assignment_of[row];
        bool pads = i == UINT32_MAX;
        expect_word(k, &m->tokens, row, pads ? i : i / m->ref.used);
        float weight = pads ? 0.0f : kt_get(k, &m->weights, 0, i);
        expect_word(k, &m->row_weights, row, inl_f32_bits(weight));
    }
}

static kt *begin(kt_suite *suite, const char *what, const shape *s)
{
    return kt_begin(suite, "%s T%u E%u K%u%s %s", what, s->tokens, s->experts, s->used,
                    s->normalize ? " normalized" : "", pattern_names[s->pattern]);
}

static void check_route(kt_suite *suite, shape s)
{
    kt *k = begin(suite, "route", &s);
    if (!k)
        return;
    routed m;
    make_routed(k, &s, &m);
    memcpy(m.logits.v, m.probs, (size_t)s.tokens * s.experts * sizeof(*m.probs));
    memcpy(m.weights.v, m.w, (size_t)s.tokens * s.used * sizeof(*m.w));
    if (kt_run(k)) {
        kt_expect(k, &m.logits, BOUND);
        kt_expect(k, &m.weights, BOUND);
        expect_lists(k, &m);
    }
    kt_end(k);
}

static void check_route_bwd(kt_suite *suite, shape s)
{
    kt *k = begin(suite, "route_bwd", &s);
    if (!k)
        return;
    routed m;
    make_routed(k, &s, &m);
    kt_mat dweights = kt_array(k, KT_IN, "dweights", m.r.rows, 4, 1.0f);
    kt_mat dlogits = kt_tensor(k, KT_OUT, "dlogits", s.tokens, s.experts, 1.0f);
    double *dw = kt_doubles(k, (uint64_t)s.tokens * s.used);
    for (uint32_t i = 0; i < s.tokens * s.used; i++)
        dw[i] = dweights.v[m.row_of[i]];
    ref_route_bwd(&m.ref, m.probs, m.id, dw, dlogits.v);
    // Differences of the gradients of a token's weights: errors are relative to the weights.
    double *terms = kt_doubles(k, (uint64_t)s.tokens * s.experts);
    for (uint32_t i = 0; i < s.tokens * s.experts; i++)
        terms[i] = m.probs[i];
    dlogits.terms = terms;
    inl_op_route_bwd(kt_plan(k), &m.r, dweights.t.buf, dlogits.t);
    if (kt_run(k))
        kt_expect(k, &dlogits, BOUND);
    kt_end(k);
}

// Through the lists and back: gathered rows, and their sums for each token.
static void check_rows(kt_suite *suite, shape s, uint32_t cols, bool residual)
{
    kt *k = begin(suite, residual ? "rows and residual" : "rows", &s);
    if (!k)
        return;
    routed m;
    make_routed(k, &s, &m);
    kt_mat x = kt_tensor(k, KT_IN, "x", s.tokens, cols, 1.0f);
    kt_mat y = kt_tensor(k, KT_OUT, "y", m.r.rows, cols, 1.0f);
    kt_mat z = kt_tensor(k, KT_IN, "z", m.r.rows, cols, 1.0f);
    kt_mat r = kt_tensor(k, KT_IN, "residual", s.tokens, cols, 1.0f);
    kt_mat sum = kt_tensor(k, KT_OUT, "sum", s.tokens, cols, 1.0f);
    for (uint32_t row = 0; row < m.rows; row++)
        for (uint32_t c = 0; c < cols && m.assignment_of[row] != UINT32_MAX; c++)
            y.v[(size_t)row * cols + c] = x.v[(size_t)(m.assignment_of[row] / s.used) * cols + c];
    for (uint32_t t = 0; t < s.tokens; t++)
        for (uint32_t c = 0; c < cols; c++) {
            double *to = &sum.v[(size_t)t * cols + c];
            *to = residual ? r.v[(size_t)t * cols + c] : 0.0;
            for (uint32_t i = 0; i < s.used; i++)
                *to += z.v[(size_t)m.row_of[t * s.used + i] * cols + c];
        }
    inl_op_moe_gather(kt_plan(k), &m.r, x.t, y.t);
    inl_op_moe_combine(kt_plan(k), &m.r, z.t, residual ? r.t.buf : INL_BUF_NONE, sum.t);
    if (kt_run(k)) {
        kt_expect_rows(k, &y, m.rows, 0.0);
        kt_expect(k, &sum, BOUND);
    }
    kt_end(k);
}

static void check_swiglu(kt_suite *suite, shape s, uint32_t cols)
{
    kt *k = begin(suite, "swiglu", &s);
    if (!k)
        return;
    routed m;
    make_routed(k, &s, &m);
    kt_mat gate = kt_tensor(k, KT_IN, "gate", m.r.rows, cols, 4.0f);
    kt_mat up = kt_tensor(k, KT_IN, "up", m.r.rows, cols, 2.0f);
    kt_mat dy = kt_tensor(k, KT_IN, "dy", m.r.rows, cols, 1.0f);
    kt_mat y = kt_tensor(k, KT_OUT, "y", m.r.rows, cols, 1.0f);
    kt_mat dgate = kt_tensor(k, KT_OUT, "dgate", m.r.rows, cols, 1.0f);
    kt_mat dup = kt_tensor(k, KT_OUT, "dup", m.r.rows, cols, 1.0f);
    kt_mat dw = kt_array(k, KT_OUT, "dweights", m.r.rows, 4, 1.0f);
    double *act = kt_doubles(k, (uint64_t)m.r.rows * cols);
    ref_glu(false, gate.v, up.v, (uint64_t)m.r.rows * cols, act);
    ref_glu_bwd(false, gate.v, up.v, dy.v, (uint64_t)m.r.rows * cols, dgate.v, dup.v);
    double wrong = 0.0, scale = 0.0;
    for (uint32_t row = 0; row < m.rows; row++) {
        uint32_t i = m.assignment_of[row];
        double w = i == UINT32_MAX ? 0.0 : m.w[i];
        for (size_t at = (size_t)row * cols; at < (size_t)(row + 1) * cols; at++) {
            y.v[at] = w * act[at];
            dgate.v[at] *= w;
            dup.v[at] *= w;
            dw.v[row] += dy.v[at] * act[at];
        }
    }
    inl_op_moe_swiglu(kt_plan(k), &m.r, gate.t, up.t, y.t);
    inl_op_moe_swiglu_bwd(kt_plan(k), &m.r, gate.t, up.t, dy.t, dgate.t, dup.t, dw.t.buf);
    if (kt_run(k)) {
        kt_expect_rows(k, &y, m.rows, BOUND);
        kt_expect_rows(k, &dgate, m.rows, BOUND);
        kt_expect_rows(k, &dup, m.rows, BOUND);
        for (uint32_t row = 0; row < m.rows; row++) {
            wrong += pow((double)kt_get(k, &dw, 0, row) - dw.v[row], 2.0);
            scale += dw.v[row] * dw.v[row];
        }
        if (!(wrong <= LORA_BOUND * scale))
            kt_fail(k, "dweights: NMSE %.3g", wrong / scale);
    }
    kt_end(k);
}

// ---- products

typedef struct product {
    routed m;
    kt_inputs inputs;
    kt_weight w;
    kt_lora lora;
    kt_mat x, y, h;
    inl_gemm_args args;
} product;

typedef struct options {
    uint32_t parts;
    bool dx, tail;
    float dropout;
} options;

static void make_tail(kt *k, const shape *s, const options *o, uint32_t out, uint32_t in,
                      product *p)
{
    static const uint32_t ranks[] = {1, 3, 4, 8, 17};
    uint32_t rank = ranks[(s->tokens + s->used + in) % INL_COUNT(ranks)];
    kt_make_expert_lora(k, s->experts, 2, (const uint32_t[]){5, rank}, (const uint32_t[]){in, in},
                        (const uint32_t[]){out, out}, o->dropout, &p->lora);
    p->lora.arena.routing = &p->m.r;
    p->h = kt_tensor(k, KT_IN, "h", p->m.r.rows, 4 * p->lora.columns4, 1.0f);
    p->args.tail = (inl_tail){.slot = &p->lora.slots[1],
                              .arena = &p->lora.arena,
                              .h = p->h.t,
                              .column4 = p->lora.column4[1]};
}

// Tile by tile, each with its expert's matrices.
static void expect_product(kt *k, const options *o, const product *p, bool terms, double *y)
{
    const inl_lora_slot *slot = p->args.tail.slot;
    uint32_t rows = p->m.r.align, n = p->w.w.rows, in = p->w.w.cols, rank = slot ? slot->rank : 0;
    uint64_t count = (uint64_t)n * in;
    uint32_t x_cols = o->dx ? n : in, y_cols = o->dx ? in : n;
    double *mask = NULL,
           *narrow = slot ? kt_lora_narrow(k, &p->lora, 1, p->h.v, p->m.r.rows) : NULL;
    if (slot && o->dx && o->dropout > 0.0f) {
        mask = kt_doubles(k, (uint64_t)p->m.r.rows * in);
        ref_dropout_mask(p->inputs.scalars->seed, slot->stream, p->m.r.rows, in, o->dropout, mask);
    }
    const double *x = p->x.v, *w = p->w.v,
                 *matrix = slot ? (o->dx ? p->lora.a : p->lora.b)[1] : NULL;
    uint64_t half = (uint64_t)rank * (o->dx ? in : n);
    if (terms) {
        x = kt_absolute(k, x, (uint64_t)p->m.r.rows * x_cols);
        w = kt_absolute(k, w, count * p->w.w.experts);
        narrow = kt_absolute(k, narrow, (uint64_t)p->m.r.rows * rank);
        matrix = kt_absolute(k, matrix, half * p->w.w.experts);
    }
    for (uint32_t row = 0; row < p->m.rows; row += rows) {
        uint32_t e = expert_of(&p->m, row);
        ref_linear l = {.rows = rows, .in = in, .out = n, .w = w + e * count};
        if (slot) {
            l.narrow = narrow + (size_t)row * rank;
            l.matrix = matrix + e * half;
            l.rank = rank;
            l.scale = (double)slot->scale;
            l.mask = mask ? mask + (size_t)row * in : NULL;
        }
        (o->dx ? ref_gemm_dx : ref_gemm)(&l, x + (size_t)row * x_cols, y + (size_t)row * y_cols);
    }
}

static void check_product(kt_suite *suite, inl_format_id format, shape s, uint32_t n, uint32_t in,
                          options o)
{
    kt *k = kt_begin(suite, "%s %s T%u E%u K%u %s, %u x %u in %u%s", o.dx ? "gemm_dx" : "gemm",
                     inl_format_by_id(format)->name, s.tokens, s.experts, s.used,
                     pattern_names[s.pattern], n, in, o.parts, o.tail ? " tail" : "");
    if (!k)
        return;
    product p = {0};
    make_routed(k, &s, &p.m);
    p.inputs = kt_make_inputs(k, s.tokens);
    kt_make_expert_weight(k, format, s.experts, n, in, o.parts, &p.w);
    p.x = kt_tensor(k, KT_IN, "x", p.m.r.rows, o.dx ? n : in, 1.0f);
    p.y = kt_tensor(k, KT_OUT, "y", p.m.r.rows, o.dx ? in : n, 1.0f);
    p.args = (inl_gemm_args){.w = &p.w.w,
                             .x = p.x.t,
                             .y = p.y.t,
                             .bias = INL_BUF_NONE,
                             .residual = INL_BUF_NONE,
                             .routing = &p.m.r,
                             .tag = "test"};
    if (o.tail)
        make_tail(k, &s, &o, n, in, &p);
    double *terms = kt_doubles(k, (uint64_t)p.y.rows * p.y.cols);
    expect_product(k, &o, &p, false, p.y.v);
    expect_product(k, &o, &p, true, terms);
    p.y.terms = terms;
    (o.dx ? inl_op_gemm_dx : inl_op_gemm)(kt_plan(k), &p.inputs.in, &p.args);
    if (kt_run(k))
        kt_expect_rows(k, &p.y, p.m.rows, BOUND);
    kt_end(k);
}

// ---- adapters

// h = mask(x) A^T, g = s dy B, dB += s dy^T h, dA += g^T mask(x), each expert's over its own rows.
static void check_lora_of(kt_suite *suite, shape s, uint32_t n, uint32_t in, uint32_t rank,
                          float dropout)
{
    kt *k = kt_begin(suite, "lora T%u E%u K%u %s, %u x %u rank %u dropout %g", s.tokens, s.experts,
                     s.used, pattern_names[s.pattern], n, in, rank, (double)dropout);
    if (!k)
        return;
    routed m;
    make_routed(k, &s, &m);
    kt_inputs inputs = kt_make_inputs(k, s.tokens);
    kt_lora l;
    kt_make_expert_lora(k, s.experts, 1, &rank, &in, &n, dropout, &l);
    l.arena.routing = &m.r;
    const inl_lora_slot *slot = &l.slots[0];
    kt_mat x = kt_tensor(k, KT_IN, "x", m.r.rows, in, 1.0f);
    kt_mat dy = kt_tensor(k, KT_IN, "dy", m.r.rows, n, 1.0f);
    kt_mat h = kt_tensor(k, KT_OUT, "h", m.r.rows, 4 * l.columns4, 1.0f);
    kt_mat g = kt_tensor(k, KT_OUT, "g", m.r.rows, 4 * l.columns4, 1.0f);
    h.any_padding = g.any_padding = true;
    double *mask = kt_doubles(k, (uint64_t)m.r.rows * in);
    for (uint64_t i = 0; i < (uint64_t)m.r.rows * in; i++)
        mask[i] = 1.0;
    if (dropout > 0.0f)
        ref_dropout_mask(inputs.scalars->seed, slot->stream, m.r.rows, in, dropout, mask);
    double *narrow = kt_doubles(k, (uint64_t)m.r.rows * rank);
    double *gn = kt_doubles(k, (uint64_t)m.r.rows * rank);
    double *da = kt_doubles(k, (uint64_t)s.experts * rank * in);
    double *db = kt_doubles(k, (uint64_t)s.experts * rank * n);
    for (uint32_t e = 0; e < s.experts; e++) {
        const double *a = l.a[0] + (size_t)e * rank * in, *b = l.b[0] + (size_t)e * rank * n;
        uint32_t rows = (uint32_t)inl_round_up(m.count[e], m.r.align), own = m.count[e];
        size_t at = m.first[e];
        ref_lora_down(x.v + at * in, mask + at * in, a, rows, in, rank, narrow + at * rank);
        ref_lora_up(dy.v + at * n, b, rows, n, rank, (double)slot->scale, gn + at * rank);
        ref_lora_db(dy.v + at * n, narrow + at * rank, own, n, rank, (double)slot->scale,
                    db + (size_t)e * rank * n);
        ref_lora_da(gn + at * rank, x.v + at * in, mask + at * in, own, in, rank,
                    da + (size_t)e * rank * in);
    }
    kt_lora_widen(&l, 0, narrow, m.r.rows, h.v);
    kt_lora_widen(&l, 0, gn, m.r.rows, g.v);
    kt_lora_expect_add(&l, 0, da, db);
    inl_tail tail = {.slot = slot, .arena = &l.arena, .h = h.t};
    inl_op_lora_down(kt_plan(k), &inputs.in, &l.arena, slot, 1, x.t, h.t);
    inl_op_lora_up_bwd(kt_plan(k), &inputs.in, &tail, dy.t, g.t);
    inl_op_lora_down_bwd(kt_plan(k), &inputs.in, &l.arena, slot, 1, x.t, g.t);
    if (kt_run(k)) {
        kt_expect_rows(k, &h, m.rows, LORA_BOUND);
        kt_expect_rows(k, &g, m.rows, LORA_BOUND);
        kt_lora_expect(k, &l, LORA_BOUND);
    }
    kt_end(k);
}

static const shape shapes[] = {
    {1, 4, 2, true, RANDOM},     {1, 128, 8, true, RANDOM}, {1, 5, 5, false, SAME},
    {3, 2, 1, true, ONE},        {33, 7, 1, false, RANDOM}, {33, 7, 7, true, RANDOM},
    {17, 60, 4, false, RANDOM},  {64, 16, 2, true, SAME},   {65, 16, 3, true, SOME},
    {70, 128, 8, true, RANDOM},  {200, 8, 2, false, FAR},   {9, 1, 1, true, RANDOM},
    {40, 300, 10, true, RANDOM}, {130, 12, 1, true, ONE},
};

static void check_formats(kt_suite *suite, inl_format_id format)
{
    const inl_format *f = inl_format_by_id(format);
    uint32_t ins[2] = {64, 100};
    if (!inl_is_nf4(f) && f->block_elements > 1)
        ins[0] = ins[1] = INL_MAX(96, f->block_elements);
    for (uint32_t i = 0; i < 4; i++) {
        options o = {.dx = i % 2, .tail = i < 2, .parts = i < 2 ? 1 : 3, .dropout = 0.2f};
        check_product(suite, format, shapes[i < 2 ? 8 : 4], i < 2 ? 44 : 72, ins[i / 2], o);
    }
    check_product(suite, format, shapes[0], 24, ins[0], (options){.tail = true, .parts = 2});
    check_product(suite, format, shapes[0], 24, ins[1], (options){.dx = true, .parts = 1});
}

static void check_briefly(kt_suite *suite)
{
    static const uint32_t some[] = {1, 8};
    static const inl_format_id formats[] = {INL_FORMAT_Q8_0, INL_FORMAT_NF4};
    for (uint32_t i = 0; i < INL_COUNT(some); i++) {
        check_route(suite, shapes[some[i]]);
        check_route_bwd(suite, shapes[some[i]]);
        check_rows(suite, shapes[some[i]], i ? 37 : 64, i);
        check_swiglu(suite, shapes[some[i]], i ? 131 : 20);
        check_lora_of(suite, shapes[some[i]], 44, i ? 45 : 12, 5, i ? 0.3f : 0.0f);
    }
    for (uint32_t i = 0; i < INL_COUNT(formats); i++)
        for (uint32_t dx = 0; dx < 2; dx++)
            check_product(suite, formats[i], shapes[8], 44, 96,
                          (options){.dx = dx, .tail = true, .parts = 1 + i, .dropout = 0.2f});
}

void check_moe(kt_suite *suite)
{
    if (kt_brief(suite)) {
        check_briefly(suite);
        return;
    }
    for (uint32_t i = 0; i < INL_COUNT(shapes); i++) {
        check_route(suite, shapes[i]);
        check_route_bwd(suite, shapes[i]);
        check_rows(suite, shapes[i], i % 2 ? 37 : 64, i % 3 == 0);
        check_swiglu(suite, shapes[i], i % 2 ? 20 : 131);
        if (shapes[i].experts <= 128)
            check_lora_of(suite, shapes[i], 20 + i, i % 2 ? 12 : 45, 1 + i, i % 3 ? 0.0f : 0.3f);
    }
    if (!kt_quick(suite))
        check_route(suite, (shape){8192, 128, 8, true, RANDOM});
    check_route(suite, (shape){8192, 3, 1, true, ONE}); // one expert's rows are all
    for (uint32_t i = 0; i < INL_COUNT(shapes); i += 3)
        for (uint32_t dx = 0; dx < 2; dx++)
            check_product(suite, INL_FORMAT_F32, shapes[i], 24 + i, 12 + i,
                          (options){.dx = dx, .tail = i % 2 == 0, .parts = 1});
    for (inl_format_id f = 0; f < INL_FORMAT_COUNT; f++)
        if (stands_for_others(f) && (!kt_quick(suite) || f == INL_FORMAT_Q8_0))
            check_formats(suite, f);
}
