// SPDX-License-Identifier: MIT
// What a generated token takes alone: products of one row with a norm before or an activation
// behind, several matrices as one, and attention from q, k and v to its row.
#include "verify/families.h"
#include "verify/ref.h"

#include <math.h>
#include <string.h>

#define BOUND 1e-12

typedef struct gemv_case {
    inl_format_id format;
    uint32_t n, k; // of the result, of x
    bool norm, bias, residual, tail;
    uint32_t glu;
    uint32_t column; // where the result lies in y
} gemv_case;

#define SEGMENTS 3 // that a tail's rows fall into

// Rows of W: with an activation twice as many as the result has.
static uint32_t rows_of(const gemv_case *c)
{
    return c->glu ? 2 * c->n : c->n;
}

// The tail of rows cut in three, each of them a multiple of 8.
static void add_tail(kt *k, const gemv_case *c, inl_gemv_args *args, kt_lora *lora, double *y)
{
    uint32_t part = rows_of(c) / SEGMENTS / 8 * 8, rank = 8;
    uint32_t outs[SEGMENTS] = {part, part, rows_of(c) - 2 * part};
    kt_make_lora(k, SEGMENTS, (const uint32_t[]){rank, rank, rank},
                 (const uint32_t[]){c->k, c->k, c->k}, outs, 0.0f, lora);
    kt_mat h = kt_tensor(k, KT_IN, "h", 1, 4 * lora->columns4, 1.0f);
    uint32_t row = 0;
    for (uint32_t i = 0; i < SEGMENTS; row += outs[i++])
        ref_nt(kt_lora_narrow(k, lora, i, h.v, 1), lora->b[i], 1, rank, outs[i],
               (double)lora->slots[0].scale, y + row); // of one scale all
    for (uint32_t i = 1; i < SEGMENTS; i++) {
        args->segments[i - 1] = lora->slots[0].out;
        lora->slots[0].out += lora->slots[i].out;
    }
    args->tail = (inl_tail){.slot = &lora->slots[0], .arena = &lora->arena, .h = h.t};
}

static double activation(uint32_t glu, double x)
{
    double pi = 3.14159265358979323846, cubic = x + 0.044715 * x * x * x;
    return x / (1.0 + exp(-(glu == GLU_GELU ? 2.0 * sqrt(2.0 / pi) * cubic : x)));
}

static void check_gemv(kt_suite *suite, gemv_case c)
{
    static const char *const acts[] = {"", " silu", " gelu"};
    kt *k = kt_begin(suite, "gemv %s N%u K%u at %u%s%s%s%s%s", inl_format_by_id(c.format)->name,
                     c.n, c.k, c.column, c.norm ? " norm" : "", c.bias ? " bias" : "",
                     c.residual ? " residual" : "", c.tail ? " tail" : "", acts[c.glu]);
    if (!k)
        return;
    uint32_t rows = rows_of(&c), columns = c.column + c.n;
    kt_weight w;
    kt_make_weight(k, c.format, rows, c.k, 1, false, &w);
    kt_mat x = kt_tensor(k, KT_IN, "x", 1, c.k, 1.0f);
    kt_mat y = kt_tensor(k, c.column ? KT_ADD : KT_OUT, "y", 1, columns, 1.0f);
    inl_gemv_args args = {.w = &w.w, .x = x.t, .y = y.t, .y_column = c.column, .glu = c.glu,
                          .bias = INL_BUF_NONE, .residual = INL_BUF_NONE, .tag = "test"};
    double *in = x.v, *out = kt_doubles(k, rows), rstd;
    inl_norm norm = {.eps = 1e-5f};
    if (c.norm) {
        kt_mat g = kt_array(k, KT_IN, "weight", c.k, 8, 1.0f);
        norm.weight = kt_range(k, &g);
        args.norm = &norm;
        in = kt_doubles(k, c.k);
        ref_rmsnorm(x.v, g.v, NULL, 1, c.k, (double)norm.eps, in, &rstd);
    }
    ref_linear ref = {.rows = 1, .in = c.k, .out = rows, .w = w.v};
    if (c.bias) {
        kt_mat bias = kt_array(k, KT_IN, "bias", rows, 8, 1.0f);
        args.bias = bias.t.buf;
        ref.bias = bias.v;
    }
    ref_gemm(&ref, in, out);
    kt_lora lora;
    if (c.tail)
        add_tail(k, &c, &args, &lora, out);
    for (uint32_t n = 0; n < c.n; n++)
        y.v[c.column + n] = c.glu ? activation(c.glu, out[n]) * out[c.n + n] : out[n];
    if (c.residual) {
        kt_mat past = kt_tensor(k, KT_IN, "residual", 1, columns, 1.0f);
        args.residual = past.t.buf;
        for (uint32_t n = c.column; n < columns; n++)
            y.v[n] += past.v[n];
    }
    inl_op_gemv(kt_plan(k), &args);
    if (kt_run(k))
        kt_expect(k, &y, BOUND);
    kt_end(k);
}

static uint32_t block_of(inl_format_id format)
{
    const inl_format *f = inl_format_by_id(format);
    return inl_is_nf4(f) ? 64 : INL_MAX(f->block_elements, 4);
}

// Each format with what its decoding could disturb, and all options in the one that is quickest to
// compile; the rest of a product of one row is among those of check_matmul.c.
static void check_gemvs(kt_suite *suite)
{
    for (inl_format_id f = 0; f < INL_FORMAT_COUNT; f++) {
        if (!stands_for_others(f))
            continue;
        uint32_t block = block_of(f), wide = INL_MAX(block, 512 / block * block) + block;
        check_gemv(suite, (gemv_case){f, 13, wide, .norm = true, .column = 8});
        check_gemv(suite, (gemv_case){f, 40, block, .norm = true});
        check_gemv(suite, (gemv_case){f, 24, wide, .norm = true, .glu = GLU_SILU});
    }
    static const gemv_case cases[] = {
        {INL_FORMAT_F32, 48, 516, .norm = true, .bias = true, .column = 16},
        {INL_FORMAT_F32, 48, 516, .tail = true, .bias = true, .residual = true},
        {INL_FORMAT_F32, 24, 36, .tail = true, .bias = true, .glu = GLU_GELU},
        {INL_FORMAT_Q8_0, 48, 544, .tail = true, .column = 8, .residual = true},
    };
    for (uint32_t i = 0; i < INL_COUNT(cases); i++)
        check_gemv(suite, cases[i]);
}

// ---- attention

typedef struct token_case {
    uint32_t heads, kv_heads, head_dim, rope_dim; // rope_dim 0: nothing turns
    uint32_t first, cache, window;
    bool halves, norm;
    float softcap;
    uint32_t splits;
} token_case;

typedef struct token_data {
    kt_inputs inputs;
    inl_attention op;
    inl_rope rope;
    inl_norm q_norm, k_norm;
    kt_mat qkv, k, v, o, table, gains[2];
    inl_token_attention args;
} token_data;

static void make_token(kt *k, const token_case *c, token_data *d)
{
    uint32_t kv = c->kv_heads * c->head_dim, q = c->heads * c->head_dim;
    *d = (token_data){.inputs = kt_make_inputs(k, 1)};
    d->inputs.scalars->cache_row = c->first;
    d->op = (inl_attention){.heads = c->heads,
                            .kv_heads = c->kv_heads,
                            .head_dim = c->head_dim,
                            .window = c->window,
                            .scale = 1.0f / sqrtf((float)c->head_dim),
                            .softcap = c->softcap};
    d->qkv = kt_tensor(k, KT_IN, "qkv", 1, q + 2 * kv, 3.0f);
    d->k = kt_tensor(k, KT_ADD, "k", c->cache, kv, 2.0f);
    d->v = kt_tensor(k, KT_ADD, "v", c->cache, kv, 1.0f);
    d->o = kt_tensor(k, KT_OUT, "o", 1, q, 0.0f);
    d->args = (inl_token_attention){
        .attention = &d->op, .qkv = d->qkv.t, .k = d->k.t, .v = d->v.t, .o = d->o.t,
        .splits = c->splits};
    if (c->rope_dim > 0) {
        d->table = kt_array(k, KT_IN, "table", c->cache * c->rope_dim, 4, 1.0f);
        d->rope = (inl_rope){kt_range(k, &d->table), c->rope_dim, c->halves};
        d->args.rope = &d->rope;
    }
    for (uint32_t i = 0; c->norm && i < 2; i++) {
        d->gains[i] = kt_array(k, KT_IN, "gain", c->head_dim, 8, 1.0f);
        *(i ? &d->k_norm : &d->q_norm) = (inl_norm){.weight = kt_range(k, &d->gains[i]),
                                                    .eps = 1e-6f};
    }
    d->args.q_norm = c->norm ? &d->q_norm : NULL;
    d->args.k_norm = c->norm ? &d->k_norm : NULL;
}

// Heads as they come, normed and turned.
static double *prepared(kt *k, const token_case *c, const token_data *d, uint32_t column,
                        uint32_t heads, const double *gain)
{
    uint32_t cols = heads * c->head_dim;
    double *x = kt_copy(k, d->qkv.v + column, cols), *y = kt_doubles(k, cols);
    double *rstd = kt_doubles(k, heads);
    if (c->norm) {
        ref_rmsnorm(x, gain, NULL, heads, c->head_dim, (double)d->q_norm.eps, y, rstd);
        memcpy(x, y, cols * sizeof(double));
    }
    if (c->rope_dim > 0)
        ref_rope(x, d->table.v, &c->first, 1, heads, c->head_dim, c->rope_dim, c->halves, 1.0, 0,
                 y);
    return c->rope_dim > 0 ? y : x;
}

static void expect_token(kt *k, const token_case *c, token_data *d)
{
    uint32_t kv = c->kv_heads * c->head_dim, q = c->heads * c->head_dim, start = 0;
    double *queries = prepared(k, c, d, 0, c->heads, d->gains[0].v);
    memcpy(d->k.v + (size_t)c->first * kv, prepared(k, c, d, q, c->kv_heads, d->gains[1].v),
           kv * sizeof(double));
    memcpy(d->v.v + (size_t)c->first * kv, d->qkv.v + q + kv, kv * sizeof(double));
    ref_attention ref = {.rows = 1,
                         .heads = c->heads,
                         .kv_heads = c->kv_heads,
                         .head_dim = c->head_dim,
                         .window = c->window,
                         .first = c->first,
                         .starts = &start,
                         .scale = (double)d->op.scale,
                         .softcap = (double)c->softcap};
    ref_attention_fwd(&ref, queries, d->k.v, d->v.v, d->o.v, kt_doubles(k, c->heads));
}

static void check_token_attention(kt_suite *suite, token_case c)
{
    kt *k = kt_begin(suite, "attention of a token, heads %u/%u of %u, %u%s turned, key %u of %u, "
                     "window %u%s, cap %g, in %u", c.heads, c.kv_heads, c.head_dim, c.rope_dim,
                     c.halves ? " as halves" : "", c.first, c.cache, c.window,
                     c.norm ? ", normed" : "", (double)c.softcap, c.splits);
    if (!k)
        return;
    token_data d;
    make_token(k, &c, &d);
    expect_token(k, &c, &d);
    inl_op_attention_token(kt_plan(k), &d.inputs.in, &d.args);
    if (kt_run(k)) {
        kt_expect(k, &d.o, BOUND);
        kt_expect(k, &d.k, BOUND);
        kt_expect(k, &d.v, BOUND);
    }
    kt_end(k);
}

void check_token(kt_suite *suite)
{
    check_gemvs(suite);
    static const uint32_t all = UINT32_MAX;
    static const token_case cases[] = {
        {1, 1, 4, 4, 0, 3, all, .norm = false},
        {3, 1, 8, 4, 1, 9, all, .halves = true},
        {4, 2, 36, 36, 5, 9, all, .norm = true},
        {4, 2, 64, 64, 40, 65, 16, .halves = true, .norm = true},
        {2, 2, 64, 0, 39, 40, all, .softcap = 2.5f},
        {6, 2, 128, 64, 200, 300, all, .norm = true},
        {2, 1, 128, 128, 700, 1100, all, .halves = true},
        {3, 3, 36, 20, 600, 700, 300, .softcap = 3.0f},
        {2, 1, 64, 64, 2, 1100, all, .splits = 4},
        {4, 2, 36, 36, 70, 90, 50, .splits = 3},
        {2, 1, 256, 256, 20, 64, all, .halves = true},
    };
    for (uint32_t i = 0; i < INL_COUNT(cases); i++)
        check_token_attention(suite, cases[i]);
}
