// SPDX-License-Identifier: MIT
// A transformer block as the model emits it, forward and backward, against the same block put
// together from the float64 references: that the layers meet in the right places, adapters, biases,
// residuals.
#include "kernels/families.h"
#include "model/network.h"
#include "ref/ref.h"

#include <string.h>

#define BOUND 1e-11 // errors of a dozen kernels in a row

typedef struct block_case {
    const char *name;
    uint32_t t, dim, ffn, heads, kv_heads, head_dim, rope_dim;
    inl_format_id format;
    uint32_t ranks[INL_ROLE_COUNT]; // 0: no adapter there
    float dropout;
    bool biases, again, lowest; // again: forward once more before backward; lowest: no dX
    uint32_t lengths[8];
} block_case;

typedef struct block_data {
    const block_case *c;
    inl_config config;
    inl_model model;
    kt_inputs inputs;
    kt_weight w[INL_ROLE_COUNT];
    kt_mat bias[INL_ROLE_COUNT], norm[2], table, x, y, dy, dx;
    kt_lora lora;
    inl_layer_weights layer;
    inl_weights weights;
    inl_slots slots;
} block_data;

// Weights are up to 6: norms are small, so that scores and gates are where softmax and silu bend
// and not where they are steps, whose results would be as uncertain as f32 makes a score of a
// thousand.
static void make_layer(kt *k, block_data *d)
{
    const block_case *c = d->c;
    uint32_t ins[INL_ROLE_COUNT], outs[INL_ROLE_COUNT];
    for (inl_role r = 0; r < INL_ROLE_COUNT; r++) {
        inl_config_shape(&d->config, r, &outs[r], &ins[r]);
        kt_make_weight(k, c->format, outs[r], ins[r], 1, false, &d->w[r]);
        d->layer.linear[r] = d->w[r].w;
        d->layer.linear[r].parts = d->w[r].parts;
        if (c->biases) {
            d->bias[r] = kt_array(k, KT_IN, "bias", outs[r], 8, 0.3f);
            d->layer.bias[r] = kt_range(k, &d->bias[r]);
        }
    }
    for (uint32_t i = 0; i < 2; i++)
        d->norm[i] = kt_array(k, KT_IN, "norm", c->dim, 8, 0.05f);
    d->layer.attention_norm = (inl_norm){kt_range(k, &d->norm[0]), d->config.norm_eps};
    d->layer.ffn_norm = (inl_norm){kt_range(k, &d->norm[1]), d->config.norm_eps};
    kt_make_lora(k, INL_ROLE_COUNT, c->ranks, ins, outs, c->dropout, &d->lora);
}

static void make_block(kt *k, const block_case *c, block_data *d)
{
    *d = (block_data){.c = c};
    d->config = (inl_config){.layers = 1,
                             .dim = c->dim,
                             .ffn_dim = c->ffn,
                             .heads = c->heads,
                             .kv_heads = c->kv_heads,
                             .head_dim = c->head_dim,
                             .rope_dim = c->rope_dim,
                             .norm_eps = 1e-5f};
    d->model.config = d->config;
    d->inputs = kt_make_inputs(k, c->t);
    kt_pack(&d->inputs, c->lengths);
    make_layer(k, d);
    d->table = kt_array(k, KT_IN, "table", c->t * c->rope_dim, 4, 1.0f);
    d->x = kt_tensor(k, KT_IN, "x", c->t, c->dim, 1.0f);
    d->dy = kt_tensor(k, KT_IN, "dy", c->t, c->dim, 1.0f);
    d->y = kt_tensor(k, KT_OUT, "y", c->t, c->dim, 0.0f);
    if (!c->lowest)
        d->dx = kt_tensor(k, KT_OUT, "dx", c->t, c->dim, 0.0f);
    d->weights = (inl_weights){.model = &d->model,
                               .rope = {kt_range(k, &d->table), c->rope_dim},
                               .layers = &d->layer};
    d->slots = (inl_slots){.layers = 1, .of_module = d->lora.slots};
}

static void emit(kt *k, block_data *d)
{
    inl_network net = {.plan = kt_plan(k),
                       .weights = &d->weights,
                       .slots = &d->slots,
                       .arena = &d->lora.arena,
                       .in = d->inputs.in,
                       .tokens = d->c->t};
    inl_block saved;
    inl_tensor y = inl_block_forward(&net, 0, d->x.t, &saved);
    inl_plan_copy(net.plan, y.buf, d->y.t.buf, inl_tensor_bytes(y.rows, y.cols));
    if (d->c->again)
        (void)inl_block_forward(&net, 0, d->x.t, &saved);
    inl_tensor dx = inl_block_backward(&net, 0, &saved, d->dy.t, !d->c->lowest);
    if (!d->c->lowest)
        inl_plan_copy(net.plan, dx.buf, d->dx.t.buf, inl_tensor_bytes(dx.rows, dx.cols));
}

// ---- the reference

// A linear layer's input, what its adapter made of it, and its result.
typedef struct ref_layer {
    ref_linear l;
    double *x, *h, *mask, *y;
} ref_layer;

static ref_layer ref_forward(kt *k, block_data *d, inl_role r, double *x, const double *residual)
{
    const inl_lora_slot *s = &d->lora.slots[r];
    uint32_t t = d->c->t;
    ref_layer f = {.x = x, .y = kt_doubles(k, (uint64_t)t * s->out)};
    f.l = (ref_linear){.rows = t,
                       .in = s->in,
                       .out = s->out,
                       .w = d->w[r].v,
                       .bias = d->bias[r].v,
                       .residual = residual};
    if (s->rank > 0) {
        f.h = kt_doubles(k, (uint64_t)t * s->rank);
        if (d->c->dropout > 0.0f) {
            f.mask = kt_doubles(k, (uint64_t)t * s->in);
            ref_dropout_mask(d->inputs.scalars->seed, s->stream, t, s->in, d->c->dropout, f.mask);
        }
        ref_lora_down(x, f.mask, d->lora.a[r], t, s->in, s->rank, f.h);
        f.l.narrow = f.h;
        f.l.matrix = d->lora.b[r];
        f.l.rank = s->rank;
        f.l.scale = (double)s->scale;
    }
    ref_gemm(&f.l, x, f.y);
    return f;
}

// The gradients of A and B, and dx += that of the input.
static void ref_backward(kt *k, block_data *d, inl_role r, const ref_layer *f, const double *dy,
                         double *dx)
{
    const inl_lora_slot *s = &d->lora.slots[r];
    uint32_t t = d->c->t;
    ref_linear l = {.rows = t, .in = s->in, .out = s->out, .w = f->l.w};
    l.residual = kt_copy(k, dx, (uint64_t)t * s->in);
    if (s->rank > 0) {
        double *g = kt_doubles(k, (uint64_t)t * s->rank);
        double *da = kt_doubles(k, (uint64_t)s->rank * s->in);
        double *db = kt_doubles(k, (uint64_t)s->out * s->rank);
        ref_lora_up(dy, d->lora.b[r], t, s->out, s->rank, (double)s->scale, g);
        ref_lora_db(dy, f->h, t, s->out, s->rank, (double)s->scale, db);
        ref_lora_da(g, f->x, f->mask, t, s->in, s->rank, da);
        kt_lora_expect_add(&d->lora, r, da, db);
        l.narrow = g;
        l.matrix = d->lora.a[r];
        l.rank = s->rank;
        l.mask = f->mask;
    }
    ref_gemm_dx(&l, dy, dx);
}

static void ref_turn(const block_data *d, double *x, uint32_t heads, double sign)
{
    const block_case *c = d->c;
    ref_rope(x, d->table.v, d->inputs.positions, c->t, heads, c->head_dim, c->rope_dim, sign, 0, x);
}

typedef struct ref_block {
    ref_layer of[INL_ROLE_COUNT];
    ref_attention attention;
    double *xn, *xn2, *o, *act;
} ref_block;

static void ref_block_forward(kt *k, block_data *d, ref_block *b)
{
    const block_case *c = d->c;
    uint32_t t = c->t;
    double eps = (double)d->config.norm_eps, *rstd = kt_doubles(k, t);
    b->xn = kt_doubles(k, (uint64_t)t * c->dim);
    b->xn2 = kt_doubles(k, (uint64_t)t * c->dim);
    b->o = kt_doubles(k, (uint64_t)t * c->heads * c->head_dim);
    b->act = kt_doubles(k, (uint64_t)t * c->ffn);
    ref_rmsnorm(d->x.v, d->norm[0].v, NULL, t, c->dim, eps, b->xn, rstd);
    for (inl_role r = INL_ROLE_Q; r <= INL_ROLE_V; r++)
        b->of[r] = ref_forward(k, d, r, b->xn, NULL);
    ref_turn(d, b->of[INL_ROLE_Q].y, c->heads, 1.0);
    ref_turn(d, b->of[INL_ROLE_K].y, c->kv_heads, 1.0);
    b->attention = (ref_attention){.rows = t,
                                   .heads = c->heads,
                                   .kv_heads = c->kv_heads,
                                   .head_dim = c->head_dim,
                                   .window = UINT32_MAX,
                                   .starts = d->inputs.starts,
                                   .scale = (double)(1.0f / __builtin_sqrtf((float)c->head_dim))};
    ref_attention_fwd(&b->attention, b->of[INL_ROLE_Q].y, b->of[INL_ROLE_K].y, b->of[INL_ROLE_V].y,
                      b->o, kt_doubles(k, (uint64_t)t * c->heads));
    b->of[INL_ROLE_O] = ref_forward(k, d, INL_ROLE_O, b->o, d->x.v);
    double *x2 = b->of[INL_ROLE_O].y;
    ref_rmsnorm(x2, d->norm[1].v, NULL, t, c->dim, eps, b->xn2, rstd);
    b->of[INL_ROLE_GATE] = ref_forward(k, d, INL_ROLE_GATE, b->xn2, NULL);
    b->of[INL_ROLE_UP] = ref_forward(k, d, INL_ROLE_UP, b->xn2, NULL);
    ref_swiglu(b->of[INL_ROLE_GATE].y, b->of[INL_ROLE_UP].y, (uint64_t)t * c->ffn, b->act);
    b->of[INL_ROLE_DOWN] = ref_forward(k, d, INL_ROLE_DOWN, b->act, x2);
    memcpy(d->y.v, b->of[INL_ROLE_DOWN].y, (size_t)t * c->dim * sizeof(double));
}

static void ref_block_backward(kt *k, block_data *d, ref_block *b)
{
    const block_case *c = d->c;
    uint32_t t = c->t, q_cols = c->heads * c->head_dim, kv_cols = c->kv_heads * c->head_dim;
    uint64_t wide = (uint64_t)t * c->dim, inner = (uint64_t)t * c->ffn;
    double eps = (double)d->config.norm_eps;
    double *dact = kt_doubles(k, inner), *dgate = kt_doubles(k, inner), *dup = kt_doubles(k, inner);
    double *dxn = kt_doubles(k, wide), *dx2 = kt_doubles(k, wide);
    ref_backward(k, d, INL_ROLE_DOWN, &b->of[INL_ROLE_DOWN], d->dy.v, dact);
    ref_swiglu_bwd(b->of[INL_ROLE_GATE].y, b->of[INL_ROLE_UP].y, dact, inner, dgate, dup);
    ref_backward(k, d, INL_ROLE_GATE, &b->of[INL_ROLE_GATE], dgate, dxn);
    ref_backward(k, d, INL_ROLE_UP, &b->of[INL_ROLE_UP], dup, dxn);
    ref_rmsnorm_bwd(b->of[INL_ROLE_O].y, d->norm[1].v, dxn, NULL, d->dy.v, t, c->dim, eps, dx2);
    double *d_o = kt_doubles(k, (uint64_t)t * q_cols), *dq = kt_doubles(k, (uint64_t)t * q_cols);
    double *dk = kt_doubles(k, (uint64_t)t * kv_cols), *dv = kt_doubles(k, (uint64_t)t * kv_cols);
    ref_backward(k, d, INL_ROLE_O, &b->of[INL_ROLE_O], dx2, d_o);
    ref_attention_bwd(&b->attention, b->of[INL_ROLE_Q].y, b->of[INL_ROLE_K].y, b->of[INL_ROLE_V].y,
                      d_o, dq, dk, dv);
    ref_turn(d, dq, c->heads, -1.0);
    ref_turn(d, dk, c->kv_heads, -1.0);
    double *dxn1 = kt_doubles(k, wide);
    ref_backward(k, d, INL_ROLE_Q, &b->of[INL_ROLE_Q], dq, dxn1);
    ref_backward(k, d, INL_ROLE_K, &b->of[INL_ROLE_K], dk, dxn1);
    ref_backward(k, d, INL_ROLE_V, &b->of[INL_ROLE_V], dv, dxn1);
    if (!c->lowest)
        ref_rmsnorm_bwd(d->x.v, d->norm[0].v, dxn1, NULL, dx2, t, c->dim, eps, d->dx.v);
}

static void check(kt_suite *suite, const block_case *c)
{
    kt *k = kt_begin(suite, "%s T%u D%u F%u heads %u/%u of %u %s", c->name, c->t, c->dim, c->ffn,
                     c->heads, c->kv_heads, c->head_dim, inl_format_by_id(c->format)->name);
    if (!k)
        return;
    block_data d;
    ref_block ref;
    make_block(k, c, &d);
    ref_block_forward(k, &d, &ref);
    ref_block_backward(k, &d, &ref);
    emit(k, &d);
    if (kt_run(k)) {
        kt_expect(k, &d.y, BOUND);
        if (!c->lowest)
            kt_expect(k, &d.dx, BOUND);
        kt_lora_expect(k, &d.lora, BOUND);
        kt_run_again(k);
    }
    kt_end(k);
}

void check_block(kt_suite *suite)
{
    static const block_case cases[] = {
        {"all", 33, 40, 52, 4, 2, 12, 8, INL_FORMAT_F32, {3, 3, 3, 3, 3, 3, 3}, 0.0f, true, false,
         false, {5, 1, 1, 9}},
        {"dropout, some roles, recomputed", 9, 64, 96, 2, 1, 32, 32, INL_FORMAT_Q8_0,
         {5, 0, 8, 4, 0, 33, 1}, 0.25f, false, true, false, {1, 1}},
        {"decoded once, the lowest layer", 35, 36, 44, 3, 3, 12, 12, INL_FORMAT_NF4,
         {0, 4, 4, 0, 8, 8, 0}, 0.0f, false, false, true, {0}},
        {"one token", 1, 20, 28, 5, 1, 4, 4, INL_FORMAT_F16, {1, 1, 1, 1, 1, 1, 1}, 0.5f, true,
         false, false, {0}},
    };
    for (uint32_t i = 0; i < INL_COUNT(cases); i++)
        check(suite, &cases[i]);
}
