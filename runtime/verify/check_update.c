// SPDX-License-Identifier: MIT
// Loss and its gradient, the norm of the gradients, the optimizer.
#include "verify/families.h"
#include "verify/ref.h"

#include <math.h>

#define BOUND 1e-12

// ---- loss

typedef struct loss_case {
    uint32_t rows, vocab, first, supervised;
    float scale;
    bool gradient, capped;
} loss_case;

static void check_loss(kt_suite *suite, loss_case c)
{
    kt *k = kt_begin(suite, "loss of rows %u to %u, %u supervised, V%u within %g%s%s", c.first,
                     c.first + c.rows, c.supervised, c.vocab, (double)c.scale,
                     c.gradient ? " gradient" : "", c.capped ? " capped" : "");
    if (!k)
        return;
    uint32_t tokens = c.first + c.rows;
    float softcap = c.capped ? 1.25f * c.scale : 0.0f; // the logits are within it
    kt_inputs inputs = kt_make_inputs(k, tokens);
    inputs.scalars->supervised = c.supervised;
    inputs.scalars->inv_tokens = 1.0f / 37.0f;
    kt_mat z = kt_tensor(k, KT_ADD, "logits", c.rows, c.vocab, c.scale);
    kt_mat losses = kt_array(k, KT_ADD, "losses", tokens, 1, 1.0f);
    for (uint32_t i = 0; i < tokens; i++)
        inputs.labels[i] = i < c.supervised ? kt_below(k, c.vocab) : 0xffffffffu;
    for (uint32_t r = 0; r < c.rows; r++) {
        double *row = z.v + (size_t)r * c.vocab;
        bool live = c.first + r < c.supervised;
        const double *logits = kt_copy(k, row, c.vocab);
        losses.v[c.first + r] = live ? ref_loss(logits, c.vocab, inputs.labels[c.first + r],
                                                (double)inputs.scalars->inv_tokens, (double)softcap,
                                                c.gradient ? row : NULL)
                                     : 0.0;
        for (uint32_t i = 0; i < c.vocab && !live && c.gradient; i++)
            row[i] = 0.0;
    }
    inl_op_loss(kt_plan(k), &inputs.in, z.t, softcap, kt_range(k, &losses), c.first, c.gradient);
    if (kt_run(k)) {
        if (c.gradient)
            kt_expect(k, &z, BOUND);
        else
            kt_expect_exact(k, &z);
        kt_expect(k, &losses, BOUND);
    }
    kt_end(k);
}

static void check_losses(kt_suite *suite)
{
    check_loss(suite, (loss_case){3, 151936, 0, 3, 20.0f, true, true});
    static const uint32_t rows[] = {1, 2, 7, 8, 9, 33};
    static const uint32_t vocabs[] = {1, 3, 37, 64, 172, 1000, 4099};
    static const float scales[] = {2.0f, 90.0f, 1e4f, 1e37f};
    for (uint32_t i = 0; i < INL_COUNT(rows); i++)
        for (uint32_t j = 0; j < INL_COUNT(vocabs); j++) {
            uint32_t first = (i + j) % 3 * 4, end = first + rows[i];
            uint32_t supervised = (i + j) % 4 == 0 ? end - INL_MIN(rows[i], 3) : end + j;
            check_loss(suite, (loss_case){rows[i], vocabs[j], first, supervised,
                                          scales[(i + j * 3) % 4], (i + j) % 5 != 0,
                                          (i + j) % 3 == 1});
        }
}

// Also values so small that tanh is the identity, and so large that it is 1.
static void check_softcap(kt_suite *suite, uint32_t rows, uint32_t cols, float scale, float cap)
{
    kt *k = kt_begin(suite, "softcap of %u rows, V%u within %g at %g", rows, cols, (double)scale,
                     (double)cap);
    if (!k)
        return;
    kt_mat z = kt_tensor(k, KT_ADD, "logits", rows, cols, scale);
    for (uint64_t i = 0; i < (uint64_t)rows * cols; i++)
        z.v[i] = (double)cap * tanh(z.v[i] / (double)cap);
    inl_op_softcap(kt_plan(k), z.t, cap);
    if (kt_run(k))
        kt_expect(k, &z, BOUND);
    kt_end(k);
}

static void check_softcaps(kt_suite *suite)
{
    static const float scales[] = {1e-4f, 0.3f, 20.0f, 60.0f, 1e4f};
    for (uint32_t i = 0; i < INL_COUNT(scales); i++) {
        check_softcap(suite, 1 + 7 * i, 37, scales[i], 30.0f);
        check_softcap(suite, 9, 260 + i, scales[i], 1.5f);
    }
}

// ---- gradient norm

static void check_grad_norm(kt_suite *suite, uint32_t floats, float scale)
{
    kt *k = kt_begin(suite, "grad_norm of %u floats within %g", floats, (double)scale);
    if (!k)
        return;
    kt_mat g = kt_array(k, KT_IN, "gradients", floats, 4, scale);
    kt_mat norm = kt_array(k, KT_OUT, "norm", 1, 1, 0.0f);
    norm.v[0] = ref_norm(g.v, floats);
    inl_op_grad_norm(kt_plan(k), kt_range(k, &g), floats, kt_range(k, &norm));
    if (kt_run(k))
        kt_expect(k, &norm, BOUND);
    kt_end(k);
}

// ---- AdamW

typedef struct adamw_case {
    uint32_t floats, step;
    float learning_rate, weight_decay, max_grad_norm, norm;
    bool rated;
} adamw_case;

static void fill_scalars(kt_inputs *in, const adamw_case *c, ref_adamw_params *ref)
{
    struct step_scalars *s = in->scalars;
    s->learning_rate = c->learning_rate;
    s->beta1 = 0.9f;
    s->beta2 = 0.999f;
    s->epsilon = 1e-8f;
    s->weight_decay = c->weight_decay;
    s->max_grad_norm = c->max_grad_norm;
    s->correction1 = (float)(1.0 - pow(0.9, c->step));
    s->correction2 = (float)(1.0 - pow(0.999, c->step));
    *ref = (ref_adamw_params){.learning_rate = (double)s->learning_rate,
                              .beta1 = (double)s->beta1,
                              .beta2 = (double)s->beta2,
                              .epsilon = (double)s->epsilon,
                              .weight_decay = (double)s->weight_decay,
                              .max_grad_norm = (double)s->max_grad_norm,
                              .correction1 = (double)s->correction1,
                              .correction2 = (double)s->correction2,
                              .norm = (double)c->norm};
}

// A factor a vec4, some of them 0; the reference's step is vec4 by vec4 then.
static inl_range make_rates(kt *k, const adamw_case *c, const ref_adamw_params *ref, double *w,
                            double *g, double *m, double *v)
{
    kt_mat rates = kt_array(k, KT_IN, "rates", c->floats / 4, 4, 16.0f);
    for (uint32_t i = 0; i < c->floats / 4; i++)
        rates.v[i] = i % 3 ? fabs(rates.v[i]) : 0.0;
    kt_set(k, &rates, rates.v);
    for (uint32_t i = 0; i < c->floats / 4; i++) {
        ref_adamw_params own = *ref;
        own.learning_rate *= rates.v[i];
        ref_adamw(&own, 4, w + 4 * i, g + 4 * i, m + 4 * i, v + 4 * i);
    }
    return kt_range(k, &rates);
}

static void check_adamw(kt_suite *suite, adamw_case c)
{
    kt *k = kt_begin(suite, "adamw of %u floats, step %u, rate%s %g, decay %g, norm %g of %g",
                     c.floats, c.step, c.rated ? "s about" : "", (double)c.learning_rate,
                     (double)c.weight_decay, (double)c.norm, (double)c.max_grad_norm);
    if (!k)
        return;
    kt_inputs inputs = kt_make_inputs(k, 1);
    ref_adamw_params ref;
    fill_scalars(&inputs, &c, &ref);
    kt_mat w = kt_array(k, KT_ADD, "weights", c.floats, 4, 0.5f);
    kt_mat g = kt_array(k, KT_ADD, "gradients", c.floats, 4, 1.0f);
    kt_mat m = kt_array(k, KT_ADD, "m", c.floats, 4, 0.3f);
    kt_mat v = kt_array(k, KT_ADD, "v", c.floats, 4, 0.3f);
    kt_mat norm = kt_array(k, KT_IN, "norm", 1, 1, 1.0f);
    double norm_value = (double)c.norm;
    kt_set(k, &norm, &norm_value);
    for (uint32_t i = 0; i < c.floats; i++)
        v.v[i] = fabs(v.v[i]) * (c.step > 1);
    for (uint32_t i = 0; i < 4 && c.step == 1; i++) // no gradient there, as an A's at first
        g.v[i] = m.v[i] = 0.0;
    kt_set(k, &v, v.v);
    kt_set(k, &g, g.v);
    kt_set(k, &m, m.v);
    bool finite = isfinite(c.norm);
    inl_adamw_args args = {.weights = kt_range(k, &w),
                           .gradients = kt_range(k, &g),
                           .m = kt_range(k, &m),
                           .v = kt_range(k, &v),
                           .norm = kt_range(k, &norm),
                           .floats = c.floats};
    if (c.rated)
        args.rates = make_rates(k, &c, &ref, w.v, g.v, m.v, v.v);
    else if (finite)
        ref_adamw(&ref, c.floats, w.v, g.v, m.v, v.v);
    inl_op_adamw(kt_plan(k), &inputs.in, &args);
    if (kt_run(k)) {
        const kt_mat *all[] = {&w, &m, &v};
        for (uint32_t i = 0; i < 3; i++)
            if (finite)
                kt_expect(k, all[i], BOUND);
            else
                kt_expect_exact(k, all[i]);
        kt_expect_exact(k, &g);
    }
    kt_end(k);
}

// An arena larger than one binding is taken in pieces.
static void check_pieces(kt_suite *suite)
{
    inl_gpu_caps *caps = kt_caps(suite);
    uint64_t range = caps->max_buffer_range_bytes;
    caps->max_buffer_range_bytes = 40000;
    check_grad_norm(suite, 8192, 1.5f);
    check_grad_norm(suite, 20004, 1.5f);
    check_adamw(suite, (adamw_case){20004, 3, 0.02f, 0.1f, 1.0f, 4.0f, false});
    check_adamw(suite, (adamw_case){20004, 3, 0.02f, 0.1f, 1.0f, 4.0f, true});
    caps->max_buffer_range_bytes = range;
}

static void check_briefly(kt_suite *suite)
{
    check_loss(suite, (loss_case){3, 151936, 0, 3, 20.0f, true, true});
    check_loss(suite, (loss_case){33, 1000, 4, 36, 90.0f, true, false});
    check_loss(suite, (loss_case){9, 4099, 0, 9, 2.0f, false, false});
    check_softcap(suite, 8, 37, 60.0f, 30.0f);
    check_grad_norm(suite, 4100, 30.0f);
    check_grad_norm(suite, 100000, 1e-6f);
    check_adamw(suite, (adamw_case){4100, 1, 0.1f, 0.0f, 0.0f, 5.0f, false});
    check_adamw(suite, (adamw_case){100000, 100, 0.01f, 0.1f, 1.0f, 5.0f, true});
    check_adamw(suite, (adamw_case){260, 3, 0.01f, 0.1f, 1.0f, NAN, false});
}

void check_update(kt_suite *suite)
{
    if (kt_brief(suite)) {
        check_briefly(suite);
        return;
    }
    check_losses(suite);
    check_softcaps(suite);
    static const uint32_t sizes[] = {4, 60, 256, 4096, 4100, 100000};
    for (uint32_t i = 0; i < INL_COUNT(sizes); i++) {
        check_grad_norm(suite, sizes[i], i % 2 ? 1e-6f : 30.0f);
        check_adamw(suite, (adamw_case){sizes[i], 1, 0.1f, 0.0f, 0.0f, 5.0f, false});
        check_adamw(suite, (adamw_case){sizes[i], 100, 0.01f, 0.1f, 1.0f, 5.0f, false});
        check_adamw(suite, (adamw_case){sizes[i], 100, 0.01f, 0.1f, 1.0f, 5.0f, true});
        check_adamw(suite, (adamw_case){sizes[i], 7, 0.01f, 0.1f, 1.0f, 0.5f, false});
    }
    check_adamw(suite, (adamw_case){260, 3, 0.01f, 0.1f, 1.0f, NAN, false});
    check_adamw(suite, (adamw_case){260, 3, 0.01f, 0.1f, 1.0f, INFINITY, false});
    // rate / epsilon is infinite
    check_adamw(suite, (adamw_case){260, 1, 1e30f, 0.0f, 1.0f, 1.0f, false});
    check_adamw(suite, (adamw_case){260, 3, 0.0f, 0.1f, 1.0f, 0.0f, false});
    check_pieces(suite);
}
