// SPDX-License-Identifier: MIT
// A transformer block as the model emits it, forward and backward, against the same block put
// together from the float64 references: that the layers meet in the right places, adapters, biases,
// residuals.
#include "verify/families.h"
#include "model/network.h"
#include "verify/ref.h"

#include <string.h>

#define BOUND 1e-11 // errors of a dozen kernels in a row

typedef struct block_case {
    const char *name;
    uint32_t t, dim, ffn, heads, kv_heads, head_dim, rope_dim;
    inl_format_id format;
    uint32_t ranks[INL_ROLE_COUNT]; // 0: no adapter there
    float dropout;
    bool dora;
    bool biases, again, lowest; // again: forward once more before backward; lowest: no dX
    uint32_t lengths[8];
    inl_arch arch;
    bool halves;
    uint32_t window;
    float softcap;
    bool brief; // also where only a few cases are run
} block_case;

typedef struct block_data {
    const block_case *c;
    inl_config config;
    inl_model model;
    kt_inputs inputs;
    kt_weight w[INL_ROLE_COUNT];
    kt_mat bias[INL_ROLE_COUNT], norm[INL_NORM_COUNT], table, x, y, dy, dx;
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
    uint32_t ins[INL_ROLE_COUNT], outs[INL_ROLE_COUNT], ranks[INL_ROLE_COUNT], count = 0;
    for (inl_role r = 0; r < INL_ROLE_COUNT; r++) {
        if (!inl_config_has_role(&d->config, 0, r))
            continue;
        inl_config_shape(&d->config, 0, r, &outs[count], &ins[count]);
        ranks[count] = c->ranks[r];
        uint32_t out = outs[count];
        kt_make_weight(k, c->format, out, ins[count++], 1, false, &d->w[r]);
        d->layer.linear[r] = d->w[r].w;
        d->layer.linear[r].parts = d->w[r].parts;
        if (c->biases) {
            d->bias[r] = kt_array(k, KT_IN, "bias", out, 8, 0.3f);
            d->layer.bias[r] = kt_range(k, &d->bias[r]);
        }
    }
    for (inl_norm_role n = 0; n < INL_NORM_COUNT; n++) {
        if (inl_config_norm(&d->config, n) == 0)
            continue;
        d->norm[n] = kt_array(k, KT_IN, "norm", inl_config_norm(&d->config, n), 8,
                              n < INL_NORM_Q ? 0.05f : 1.0f);
        d->layer.norm[n] = (inl_norm){kt_range(k, &d->norm[n]), d->config.norm_eps, 0};
    }
    d->layer.norm[INL_NORM_Q].heads = c->heads;
    d->layer.norm[INL_NORM_K].heads = c->kv_heads;
    if (c->dora)
        kt_make_dora(k, KT_IN, count, ranks, ins, outs, c->dropout, &d->lora);
    else
        kt_make_lora(k, count, ranks, ins, outs, c->dropout, &d->lora);
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
                             .arch = c->arch,
                             .window = c->window,
                             .attention_scale = 1.0f / __builtin_sqrtf((float)c->head_dim),
                             .attention_softcap = c->softcap,
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
                               .ropes = {{kt_range(k, &d->table), c->rope_dim, c->halves}},
                               .layers = &d->layer};
    d->slots = (inl_slots){
        .module_count = d->lora.count + 1, .of_module = d->lora.slots};
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
    double *u; // DoRA's, before the norm and the magnitude
} ref_layer;

// DoRA on what dropout leaves of x; the base sees the rest of it.
static void ref_dora_forward(kt *k, block_data *d, inl_role r, const double *residual,
                             ref_layer *f)
{
    uint32_t t = d->c->t, module = inl_config_module(&d->config, 0, r);
    const inl_lora_slot *s = &d->lora.slots[module];
    uint64_t count = (uint64_t)t * s->in;
    double *left = kt_copy(k, f->x, count), *rest = kt_doubles(k, count);
    for (uint64_t i = 0; f->mask && i < count; i++) {
        left[i] *= f->mask[i];
        rest[i] = f->x[i] - left[i];
    }
    f->u = kt_doubles(k, (uint64_t)t * s->out);
    f->l.bias = f->l.residual = NULL;
    ref_gemm(&f->l, left, f->u);
    double *scaled = kt_doubles(k, (uint64_t)t * s->out);
    ref_dora(f->u, d->lora.magnitude[module], d->lora.norm[module], d->bias[r].v, residual, t,
             s->out, scaled);
    ref_gemm(&(ref_linear){.rows = t, .in = s->in, .out = s->out, .w = f->l.w, .residual = scaled},
             rest, f->y);
}

static ref_layer ref_forward(kt *k, block_data *d, inl_role r, double *x, const double *residual)
{
    uint32_t t = d->c->t, module = inl_config_module(&d->config, 0, r);
    const inl_lora_slot *s = &d->lora.slots[module];
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
        ref_lora_down(x, f.mask, d->lora.a[module], t, s->in, s->rank, f.h);
        f.l.narrow = f.h;
        f.l.matrix = d->lora.b[module];
        f.l.rank = s->rank;
        f.l.scale = (double)s->scale;
    }
    if (s->dora) {
        ref_dora_forward(k, d, r, residual, &f);
    } else {
        ref_gemm(&f.l, x, f.y);
    }
    return f;
}

// The gradients of A and B, and dx += that of the input.
static void ref_backward(kt *k, block_data *d, inl_role r, const ref_layer *f, const double *dy,
                         double *dx)
{
    uint32_t t = d->c->t, module = inl_config_module(&d->config, 0, r);
    const inl_lora_slot *s = &d->lora.slots[module];
    ref_linear l = {.rows = t, .in = s->in, .out = s->out, .w = f->l.w};
    l.residual = kt_copy(k, dx, (uint64_t)t * s->in);
    if (s->dora) {
        double *dm = kt_doubles(k, s->out), *du = kt_doubles(k, (uint64_t)t * s->out);
        ref_dora_dm(dy, f->u, d->lora.norm[module], t, s->out, dm);
        ref_dora(dy, d->lora.magnitude[module], d->lora.norm[module], NULL, NULL, t, s->out, du);
        kt_lora_expect_magnitude(&d->lora, module, dm);
        if (f->mask) { // what the base has of dy goes past the mask: (1 - mask) (dy W)
            double *whole = kt_doubles(k, (uint64_t)t * s->in);
            ref_linear base = {.rows = t, .in = s->in, .out = s->out, .w = f->l.w};
            double *left = kt_doubles(k, (uint64_t)t * s->in);
            ref_gemm_dx(&base, dy, whole);
            ref_gemm_dx(&base, du, left);
            for (uint64_t i = 0; i < (uint64_t)t * s->in; i++)
                dx[i] += (1.0 - f->mask[i]) * whole[i] + f->mask[i] * left[i];
            l.w = kt_doubles(k, (uint64_t)s->in * s->out); // the adapter's part is left to add
            l.residual = kt_copy(k, dx, (uint64_t)t * s->in);
        }
        dy = du;
    }
    if (s->rank > 0) {
        double *g = kt_doubles(k, (uint64_t)t * s->rank);
        double *da = kt_doubles(k, (uint64_t)s->rank * s->in);
        double *db = kt_doubles(k, (uint64_t)s->out * s->rank);
        ref_lora_up(dy, d->lora.b[module], t, s->out, s->rank, (double)s->scale, g);
        ref_lora_db(dy, f->h, t, s->out, s->rank, (double)s->scale, db);
        ref_lora_da(g, f->x, f->mask, t, s->in, s->rank, da);
        kt_lora_expect_add(&d->lora, module, da, db);
        l.narrow = g;
        l.matrix = d->lora.a[module];
        l.rank = s->rank;
        l.mask = f->mask;
    }
    ref_gemm_dx(&l, dy, dx);
}

static void ref_turn(const block_data *d, double *x, uint32_t heads, double sign)
{
    const block_case *c = d->c;
    ref_rope(x, d->table.v, d->inputs.positions, c->t, heads, c->head_dim, c->rope_dim, c->halves,
             sign, 0, x);
}

typedef struct ref_block {
    ref_layer of[INL_ROLE_COUNT];
    ref_attention attention;
    double *xn, *xn2, *x2, *o, *act;
    double *q_raw, *k_raw, *q, *k, *v, *gate, *up; // raw: before the norms of heads
} ref_block;

// Columns [first, first + cols) of `wide`, and back.
static double *cut(kt *k, const double *wide, uint32_t rows, uint32_t width, uint32_t first,
                   uint32_t cols)
{
    double *part = kt_doubles(k, (uint64_t)rows * cols);
    for (uint32_t t = 0; t < rows; t++)
        memcpy(part + (size_t)t * cols, wide + (size_t)t * width + first, cols * sizeof(double));
    return part;
}

static void paste(const double *part, uint32_t rows, uint32_t width, uint32_t first, uint32_t cols,
                  double *wide)
{
    for (uint32_t t = 0; t < rows; t++)
        memcpy(wide + (size_t)t * width + first, part + (size_t)t * cols, cols * sizeof(double));
}

// The norm's result; `past` is added to it.
static double *ref_normed(kt *k, const block_data *d, inl_norm_role n, const double *x,
                          uint32_t rows, const double *past)
{
    uint32_t cols = inl_config_norm(&d->config, n);
    double *y = kt_doubles(k, (uint64_t)rows * cols);
    ref_rmsnorm(x, d->norm[n].v, NULL, rows, cols, (double)d->config.norm_eps, y,
                kt_doubles(k, rows));
    for (uint64_t i = 0; past && i < (uint64_t)rows * cols; i++)
        y[i] += past[i];
    return y;
}

static double *ref_norm_backward(kt *k, const block_data *d, inl_norm_role n, const double *x,
                                 const double *dy, uint32_t rows, const double *past)
{
    uint32_t cols = inl_config_norm(&d->config, n);
    double *dx = kt_doubles(k, (uint64_t)rows * cols);
    ref_rmsnorm_bwd(x, d->norm[n].v, dy, NULL, past, rows, cols, (double)d->config.norm_eps, dx);
    return dx;
}

static void ref_project(kt *k, block_data *d, ref_block *b)
{
    const block_case *c = d->c;
    uint32_t t = c->t, q = c->heads * c->head_dim, kv = c->kv_heads * c->head_dim;
    double *wide = (b->of[INL_ROLE_Q] = ref_forward(k, d, INL_ROLE_Q, b->xn, NULL)).y;
    if (c->arch.fused_qkv) {
        b->q = cut(k, wide, t, q + 2 * kv, 0, q);
        b->k = cut(k, wide, t, q + 2 * kv, q, kv);
        b->v = cut(k, wide, t, q + 2 * kv, q + kv, kv);
    } else {
        b->q = wide;
        b->k = (b->of[INL_ROLE_K] = ref_forward(k, d, INL_ROLE_K, b->xn, NULL)).y;
        b->v = (b->of[INL_ROLE_V] = ref_forward(k, d, INL_ROLE_V, b->xn, NULL)).y;
    }
    b->q_raw = b->q;
    b->k_raw = b->k;
    if (c->arch.qk_norm) {
        b->q = ref_normed(k, d, INL_NORM_Q, b->q_raw, t * c->heads, NULL);
        b->k = ref_normed(k, d, INL_NORM_K, b->k_raw, t * c->kv_heads, NULL);
    }
    ref_turn(d, b->q, c->heads, 1.0);
    ref_turn(d, b->k, c->kv_heads, 1.0);
}

static void ref_attend(kt *k, block_data *d, ref_block *b)
{
    const block_case *c = d->c;
    b->o = kt_doubles(k, (uint64_t)c->t * c->heads * c->head_dim);
    b->attention = (ref_attention){.rows = c->t,
                                   .heads = c->heads,
                                   .kv_heads = c->kv_heads,
                                   .head_dim = c->head_dim,
                                   .window = c->window ? c->window : UINT32_MAX,
                                   .starts = d->inputs.starts,
                                   .softcap = (double)c->softcap,
                                   .scale = (double)d->config.attention_scale};
    ref_attention_fwd(&b->attention, b->q, b->k, b->v, b->o,
                      kt_doubles(k, (uint64_t)c->t * c->heads));
}

// x + linear(y), with a norm between them where the architecture has one.
static double *ref_added(kt *k, block_data *d, ref_block *b, inl_role r, inl_norm_role n,
                         double *x, double *y)
{
    bool post = d->c->arch.post_norms;
    b->of[r] = ref_forward(k, d, r, y, post ? NULL : x);
    return post ? ref_normed(k, d, n, b->of[r].y, d->c->t, x) : b->of[r].y;
}

static void ref_block_forward(kt *k, block_data *d, ref_block *b)
{
    const block_case *c = d->c;
    uint32_t t = c->t;
    b->act = kt_doubles(k, (uint64_t)t * c->ffn);
    b->xn = ref_normed(k, d, INL_NORM_ATTENTION, d->x.v, t, NULL);
    ref_project(k, d, b);
    ref_attend(k, d, b);
    b->x2 = ref_added(k, d, b, INL_ROLE_O, INL_NORM_POST_ATTENTION, d->x.v, b->o);
    b->xn2 = ref_normed(k, d, INL_NORM_FFN, b->x2, t, NULL);
    b->gate = (b->of[INL_ROLE_GATE] = ref_forward(k, d, INL_ROLE_GATE, b->xn2, NULL)).y;
    if (c->arch.fused_gate_up) {
        b->up = cut(k, b->gate, t, 2 * c->ffn, c->ffn, c->ffn);
        b->gate = cut(k, b->gate, t, 2 * c->ffn, 0, c->ffn);
    } else {
        b->up = (b->of[INL_ROLE_UP] = ref_forward(k, d, INL_ROLE_UP, b->xn2, NULL)).y;
    }
    ref_glu(c->arch.gelu, b->gate, b->up, (uint64_t)t * c->ffn, b->act);
    double *y = ref_added(k, d, b, INL_ROLE_DOWN, INL_NORM_POST_FFN, b->x2, b->act);
    memcpy(d->y.v, y, (size_t)t * c->dim * sizeof(double));
}

// The gradient of x2.
static double *ref_feed_forward_backward(kt *k, block_data *d, ref_block *b)
{
    const block_case *c = d->c;
    uint32_t t = c->t;
    uint64_t inner = (uint64_t)t * c->ffn;
    double *dact = kt_doubles(k, inner), *dgate = kt_doubles(k, inner), *dup = kt_doubles(k, inner);
    double *dxn = kt_doubles(k, (uint64_t)t * c->dim), *dfed = d->dy.v;
    if (c->arch.post_norms)
        dfed = ref_norm_backward(k, d, INL_NORM_POST_FFN, b->of[INL_ROLE_DOWN].y, dfed, t, NULL);
    ref_backward(k, d, INL_ROLE_DOWN, &b->of[INL_ROLE_DOWN], dfed, dact);
    ref_glu_bwd(c->arch.gelu, b->gate, b->up, dact, inner, dgate, dup);
    if (c->arch.fused_gate_up) {
        double *both = kt_doubles(k, 2 * inner);
        paste(dgate, t, 2 * c->ffn, 0, c->ffn, both);
        paste(dup, t, 2 * c->ffn, c->ffn, c->ffn, both);
        ref_backward(k, d, INL_ROLE_GATE, &b->of[INL_ROLE_GATE], both, dxn);
    } else {
        ref_backward(k, d, INL_ROLE_GATE, &b->of[INL_ROLE_GATE], dgate, dxn);
        ref_backward(k, d, INL_ROLE_UP, &b->of[INL_ROLE_UP], dup, dxn);
    }
    return ref_norm_backward(k, d, INL_NORM_FFN, b->x2, dxn, t, d->dy.v);
}

// The gradient of xn.
static double *ref_project_backward(kt *k, block_data *d, ref_block *b, double *dq, double *dk,
                                    double *dv)
{
    const block_case *c = d->c;
    uint32_t t = c->t, q = c->heads * c->head_dim, kv = c->kv_heads * c->head_dim;
    double *dxn = kt_doubles(k, (uint64_t)t * c->dim);
    ref_turn(d, dq, c->heads, -1.0);
    ref_turn(d, dk, c->kv_heads, -1.0);
    if (c->arch.qk_norm) {
        dq = ref_norm_backward(k, d, INL_NORM_Q, b->q_raw, dq, t * c->heads, NULL);
        dk = ref_norm_backward(k, d, INL_NORM_K, b->k_raw, dk, t * c->kv_heads, NULL);
    }
    if (c->arch.fused_qkv) {
        double *all = kt_doubles(k, (uint64_t)t * (q + 2 * kv));
        paste(dq, t, q + 2 * kv, 0, q, all);
        paste(dk, t, q + 2 * kv, q, kv, all);
        paste(dv, t, q + 2 * kv, q + kv, kv, all);
        ref_backward(k, d, INL_ROLE_Q, &b->of[INL_ROLE_Q], all, dxn);
        return dxn;
    }
    ref_backward(k, d, INL_ROLE_Q, &b->of[INL_ROLE_Q], dq, dxn);
    ref_backward(k, d, INL_ROLE_K, &b->of[INL_ROLE_K], dk, dxn);
    ref_backward(k, d, INL_ROLE_V, &b->of[INL_ROLE_V], dv, dxn);
    return dxn;
}

static void ref_block_backward(kt *k, block_data *d, ref_block *b)
{
    const block_case *c = d->c;
    uint32_t t = c->t, q = c->heads * c->head_dim, kv = c->kv_heads * c->head_dim;
    double *dx2 = ref_feed_forward_backward(k, d, b), *dattended = dx2;
    if (c->arch.post_norms)
        dattended = ref_norm_backward(k, d, INL_NORM_POST_ATTENTION, b->of[INL_ROLE_O].y, dx2, t,
                                      NULL);
    double *d_o = kt_doubles(k, (uint64_t)t * q), *dq = kt_doubles(k, (uint64_t)t * q);
    double *dk = kt_doubles(k, (uint64_t)t * kv), *dv = kt_doubles(k, (uint64_t)t * kv);
    ref_backward(k, d, INL_ROLE_O, &b->of[INL_ROLE_O], dattended, d_o);
    ref_attention_bwd(&b->attention, b->q, b->k, b->v, d_o, dq, dk, dv);
    double *dxn = ref_project_backward(k, d, b, dq, dk, dv);
    if (!c->lowest)
        memcpy(d->dx.v, ref_norm_backward(k, d, INL_NORM_ATTENTION, d->x.v, dxn, t, dx2),
               (size_t)t * c->dim * sizeof(double));
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
        {.name = "all", .t = 33, .dim = 40, .ffn = 52, .heads = 4, .kv_heads = 2, .head_dim = 12,
         .rope_dim = 8, .format = INL_FORMAT_F32, .ranks = {3, 3, 3, 3, 3, 3, 3}, .biases = true,
         .lengths = {5, 1, 1, 9}, .brief = true},
        {.name = "dropout, some roles, recomputed", .t = 9, .dim = 64, .ffn = 96, .heads = 2,
         .kv_heads = 1, .head_dim = 32, .rope_dim = 32, .format = INL_FORMAT_Q8_0,
         .ranks = {5, 0, 8, 4, 0, 33, 1}, .dropout = 0.25f, .again = true, .lengths = {1, 1}},
        {.name = "decoded once, the lowest layer", .t = 35, .dim = 36, .ffn = 44, .heads = 3,
         .kv_heads = 3, .head_dim = 12, .rope_dim = 12, .format = INL_FORMAT_NF4,
         .ranks = {0, 4, 4, 0, 8, 8, 0}, .lowest = true},
        {.name = "one token", .t = 1, .dim = 20, .ffn = 28, .heads = 5, .kv_heads = 1,
         .head_dim = 4, .rope_dim = 4, .format = INL_FORMAT_F16, .ranks = {1, 1, 1, 1, 1, 1, 1},
         .dropout = 0.5f, .biases = true},
        {.name = "norms around everything, gelu, capped, a window", .t = 33, .dim = 40, .ffn = 52,
         .heads = 3, .kv_heads = 1, .head_dim = 12, .rope_dim = 12, .format = INL_FORMAT_F32,
         .ranks = {2, 1, 3, 4, 2, 1, 2}, .lengths = {20}, .halves = true, .window = 5,
         .softcap = 2.0f, .brief = true,
         .arch = {.qk_norm = true, .post_norms = true, .gelu = true}},
        {.name = "dora, all", .t = 33, .dim = 40, .ffn = 52, .heads = 4, .kv_heads = 2,
         .head_dim = 12, .rope_dim = 8, .format = INL_FORMAT_F32, .ranks = {3, 3, 3, 3, 3, 3, 3},
         .dora = true, .biases = true, .lengths = {5, 1, 1, 9}},
        {.name = "dora with dropout", .t = 9, .dim = 64, .ffn = 96, .heads = 2, .kv_heads = 1,
         .head_dim = 32, .rope_dim = 32, .format = INL_FORMAT_Q8_0, .dora = true, .biases = true,
         .ranks = {5, 0, 8, 4, 2, 33, 1}, .dropout = 0.25f, .again = true, .lengths = {1, 1},
         .brief = true},
        {.name = "dora, fused, some roles, recomputed", .t = 17, .dim = 36, .ffn = 28, .heads = 3,
         .kv_heads = 1, .head_dim = 20, .rope_dim = 12, .format = INL_FORMAT_F16, .dora = true,
         .ranks = {[INL_ROLE_Q] = 3, [INL_ROLE_GATE] = 5, [INL_ROLE_DOWN] = 2}, .again = true,
         .lengths = {3, 9}, .halves = true,
         .arch = {.fused_qkv = true, .fused_gate_up = true, .post_norms = true}},
        {.name = "fused, part of a head turns", .t = 17, .dim = 36, .ffn = 28, .heads = 3,
         .kv_heads = 1, .head_dim = 20, .rope_dim = 12, .format = INL_FORMAT_F16,
         .ranks = {[INL_ROLE_Q] = 3, [INL_ROLE_O] = 1, [INL_ROLE_GATE] = 5, [INL_ROLE_DOWN] = 2},
         .dropout = 0.25f, .again = true, .lengths = {3, 9}, .halves = true, .brief = true,
         .arch = {.fused_qkv = true, .fused_gate_up = true}},
    };
    for (uint32_t i = 0; i < INL_COUNT(cases); i++)
        if (!kt_brief(suite) || cases[i].brief)
            check(suite, &cases[i]);
}
