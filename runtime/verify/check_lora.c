// SPDX-License-Identifier: MIT
// The adapter's narrow products and its gradients.
#include "verify/families.h"
#include "verify/ref.h"

#include <stdio.h>
#include <string.h>

#define BOUND 1e-12

typedef struct group { // slots side by side
    uint32_t count, ranks[KT_MAX_SLOTS];
} group;

static const group groups[] = {
    {1, {1}},  {1, {3}},       {1, {4}},        {1, {8}},
    {1, {16}}, {1, {33}},      {2, {8, 8}},     {3, {16, 16, 16}},
    {2, {3, 33}}, {3, {1, 4, 3}}, {3, {33, 8, 1}},
};

static const char *name_of(const group *g, char name[32])
{
    int at = 0;
    for (uint32_t i = 0; i < g->count; i++)
        at += snprintf(name + at, 32 - (size_t)at, "%s%u", i ? "+" : "", g->ranks[i]);
    return name;
}

static double *mask_of(kt *k, const kt_inputs *inputs, const kt_lora *l, uint32_t slot, uint32_t t)
{
    if (l->arena.dropout <= 0.0f)
        return NULL;
    double *mask = kt_doubles(k, (uint64_t)t * l->slots[slot].in);
    ref_dropout_mask(inputs->scalars->seed, l->slots[slot].stream, t, l->slots[slot].in,
                     l->arena.dropout, mask);
    return mask;
}

static void make_lora(kt *k, const group *g, uint32_t in, uint32_t out, float dropout, kt_lora *l)
{
    kt_make_lora(k, g->count, g->ranks, (const uint32_t[]){in, in, in},
                 (const uint32_t[]){out, out + 3, 9}, dropout, l);
}

// A group's columns may be an odd number of vec4s. What then pads them to the tensor's leading
// dimension is the one padding that no kernel writes: every reader of h and g stops at its own
// slot's columns.
static kt_mat narrow_tensor(kt *k, kt_kind kind, const char *name, uint32_t t, const kt_lora *l)
{
    kt_mat h = kt_tensor(k, kind, name, t, 4 * l->columns4, 1.0f);
    h.any_padding = true;
    return h;
}

static void check_down(kt_suite *suite, const group *g, uint32_t t, uint32_t in, float dropout)
{
    char name[32];
    kt *k = kt_begin(suite, "lora_down T%u K%u ranks %s dropout %g", t, in, name_of(g, name),
                     (double)dropout);
    if (!k)
        return;
    kt_inputs inputs = kt_make_inputs(k, t);
    kt_lora l;
    make_lora(k, g, in, 9, dropout, &l);
    kt_mat x = kt_tensor(k, KT_IN, "x", t, in, 1.0f);
    kt_mat h = narrow_tensor(k, KT_OUT, "h", t, &l);
    for (uint32_t i = 0; i < l.count; i++) {
        double *narrow = kt_doubles(k, (uint64_t)t * l.slots[i].rank);
        ref_lora_down(x.v, mask_of(k, &inputs, &l, i, t), l.a[i], t, in, l.slots[i].rank, narrow);
        kt_lora_widen(&l, i, narrow, t, h.v);
    }
    inl_op_lora_down(kt_plan(k), &inputs.in, &l.arena, l.slots, l.count, x.t, h.t);
    if (kt_run(k))
        kt_expect(k, &h, BOUND);
    kt_end(k);
}

// g = scale dy B and dB += scale dy^T h, slot by slot as a layer's modules are; `from_last`: in the
// other order, which must not matter.
static void check_up_bwd(kt_suite *suite, const group *g, uint32_t t, uint32_t out, bool from_last)
{
    char name[32];
    kt *k = kt_begin(suite, "lora_up_bwd T%u N%u ranks %s%s", t, out, name_of(g, name),
                     from_last ? " from the last" : "");
    if (!k)
        return;
    kt_inputs inputs = kt_make_inputs(k, t);
    kt_lora l;
    make_lora(k, g, 12, out, 0.0f, &l);
    kt_mat h = narrow_tensor(k, KT_IN, "h", t, &l), grad = narrow_tensor(k, KT_OUT, "g", t, &l);
    // Columns that pad a rank are zero in h, because A's padding rows are.
    double *clean = kt_doubles(k, (uint64_t)t * 4 * l.columns4);
    for (uint32_t i = 0; i < l.count; i++)
        kt_lora_widen(&l, i, kt_lora_narrow(k, &l, i, h.v, t), t, clean);
    kt_set(k, &h, clean);
    // Errors are relative to the sums of the terms.
    double *terms = kt_doubles(k, (uint64_t)t * 4 * l.columns4);
    for (uint32_t n = 0; n < l.count; n++) {
        uint32_t i = from_last ? l.count - 1 - n : n;
        const inl_lora_slot *s = &l.slots[i];
        kt_mat dy = kt_tensor(k, KT_IN, "dy", t, s->out, 1.0f);
        double *narrow = kt_doubles(k, (uint64_t)t * s->rank);
        double *db = kt_doubles(k, (uint64_t)s->out * s->rank);
        ref_lora_up(dy.v, l.b[i], t, s->out, s->rank, (double)s->scale, narrow);
        kt_lora_widen(&l, i, narrow, t, grad.v);
        ref_lora_up(kt_absolute(k, dy.v, (uint64_t)t * s->out),
                    kt_absolute(k, l.b[i], (uint64_t)s->out * s->rank), t, s->out, s->rank,
                    (double)s->scale, narrow);
        kt_lora_widen(&l, i, narrow, t, terms);
        ref_lora_db(dy.v, kt_lora_narrow(k, &l, i, h.v, t), t, s->out, s->rank, (double)s->scale,
                    db);
        kt_lora_expect_add(&l, i, NULL, db);
        inl_tail tail = {.slot = s, .arena = &l.arena, .h = h.t, .column4 = l.column4[i]};
        inl_op_lora_up_bwd(kt_plan(k), &inputs.in, &tail, dy.t, grad.t);
    }
    grad.terms = terms;
    if (kt_run(k)) {
        kt_expect(k, &grad, BOUND);
        kt_lora_expect(k, &l, BOUND);
    }
    kt_end(k);
}

static void check_down_bwd(kt_suite *suite, const group *g, uint32_t t, uint32_t in, float dropout)
{
    char name[32];
    kt *k = kt_begin(suite, "lora_down_bwd T%u K%u ranks %s dropout %g", t, in, name_of(g, name),
                     (double)dropout);
    if (!k)
        return;
    kt_inputs inputs = kt_make_inputs(k, t);
    kt_lora l;
    make_lora(k, g, in, 9, dropout, &l);
    kt_mat x = kt_tensor(k, KT_IN, "x", t, in, 1.0f), grad = narrow_tensor(k, KT_IN, "g", t, &l);
    double *clean = kt_doubles(k, (uint64_t)t * 4 * l.columns4);
    for (uint32_t i = 0; i < l.count; i++) {
        const inl_lora_slot *s = &l.slots[i];
        double *narrow = kt_lora_narrow(k, &l, i, grad.v, t);
        double *da = kt_doubles(k, (uint64_t)s->rank * in);
        ref_lora_da(narrow, x.v, mask_of(k, &inputs, &l, i, t), t, in, s->rank, da);
        kt_lora_expect_add(&l, i, da, NULL);
        kt_lora_widen(&l, i, narrow, t, clean); // B's padding columns are zero, so g's are
    }
    kt_set(k, &grad, clean);
    inl_op_lora_down_bwd(kt_plan(k), &inputs.in, &l.arena, l.slots, l.count, x.t, grad.t);
    if (kt_run(k))
        kt_lora_expect(k, &l, BOUND);
    kt_end(k);
}

static void check_groups(kt_suite *suite)
{
    static const uint32_t rows[] = {1, 2, 7, 8, 9, 33, 64};
    static const uint32_t wide[] = {4, 20, 36, 37, 172, 260};
    for (uint32_t i = 0; i < INL_COUNT(rows); i++)
        for (uint32_t j = 0; j < INL_COUNT(groups); j++) {
            uint32_t w = wide[(i + j) % INL_COUNT(wide)];
            float dropout = (i + j) % 2 ? 0.25f : 0.0f;
            check_down(suite, &groups[j], rows[i], w, dropout);
            check_up_bwd(suite, &groups[j], rows[i], w, j % 2);
            check_down_bwd(suite, &groups[j], rows[i], w, dropout);
        }
}

// Where a device has threads to fill, several share a row's sum. The CPU that most of these tests
// run on would never take that path: it is told that it is a GPU.
static void check_slices(kt_suite *suite)
{
    inl_gpu_caps *caps = kt_caps(suite);
    uint32_t type = caps->type;
    caps->type = 2;
    for (uint32_t t = 1; t <= 9; t += 8) {
        check_down(suite, &groups[9], t, 172, 0.5f);
        check_down(suite, &groups[0], t, 20, 0.0f);
        check_up_bwd(suite, &groups[9], t, 260, false);
        check_up_bwd(suite, &groups[4], t, 4, false);
    }
    check_down_bwd(suite, &groups[9], 150, 172, 0.5f); // slices of tokens, the last not full
    check_down_bwd(suite, &groups[0], 64, 20, 0.0f);
    check_up_bwd(suite, &groups[9], 150, 260, false);
    caps->type = type;
}

// A = I and x = 1: h is the mask itself. What is dropped must be what base/rng.h says, bit for bit.
static void check_mask(kt_suite *suite, uint32_t seed, uint32_t in, float dropout)
{
    kt *k = kt_begin(suite, "dropout's mask, seed %u, K%u, %g", seed, in, (double)dropout);
    if (!k)
        return;
    const uint32_t t = 33;
    const group square = {1, {in}};
    kt_inputs inputs = kt_make_inputs(k, t);
    inputs.scalars->seed = seed;
    kt_lora l;
    make_lora(k, &square, in, 9, dropout, &l);
    double *a = kt_copy(k, l.weights.v, l.weights.cols), *ones = kt_doubles(k, t * in);
    for (uint32_t r = 0; r < in; r++)
        for (uint32_t c = 0; c < in; c++)
            a[l.slots[0].a + r * inl_round_up(in, 8) + c] = r == c;
    kt_set(k, &l.weights, a);
    for (uint32_t i = 0; i < t * in; i++)
        ones[i] = 1.0;
    kt_mat x = kt_tensor(k, KT_IN, "x", t, in, 1.0f), h = narrow_tensor(k, KT_OUT, "h", t, &l);
    kt_set(k, &x, ones);
    const double *mask = mask_of(k, &inputs, &l, 0, t);
    kt_lora_widen(&l, 0, mask, t, h.v);
    inl_op_lora_down(kt_plan(k), &inputs.in, &l.arena, l.slots, 1, x.t, h.t);
    if (kt_run(k)) {
        kt_expect(k, &h, BOUND); // 1 / (1 - p) may be rounded
        for (uint32_t i = 0; i < t * in; i++)
            if ((kt_get(k, &h, i / in, i % in) == 0.0f) != (mask[i] == 0.0))
                kt_fail(k, "row %u column %u is %s", i / in, i % in, mask[i] ? "dropped" : "kept");
    }
    kt_end(k);
}

static void check_briefly(kt_suite *suite)
{
    static const uint32_t rows[] = {1, 33, 130}, some[] = {4, 7, 10}, wide[] = {260, 172, 37};
    check_mask(suite, 0x80000001u, 37, 0.5f);
    for (uint32_t i = 0; i < INL_COUNT(rows); i++) {
        check_down(suite, &groups[some[i]], rows[i], wide[i], i % 2 ? 0.25f : 0.0f);
        check_up_bwd(suite, &groups[some[i]], rows[i], wide[i], false);
        check_down_bwd(suite, &groups[some[i]], rows[i], wide[i], i % 2 ? 0.25f : 0.0f);
    }
    check_up_bwd(suite, &groups[1], 2, 270000, false);
}

void check_lora(kt_suite *suite)
{
    if (kt_brief(suite)) {
        check_briefly(suite);
        return;
    }
    check_mask(suite, 0, 64, 0.05f);
    check_mask(suite, 0x80000001u, 37, 0.5f);
    check_mask(suite, UINT32_MAX, 20, 0.9f);
    check_groups(suite);
    check_slices(suite);
    // The head of a large vocabulary: more rounds of a loop than some drivers run.
    check_up_bwd(suite, &groups[1], 2, 270000, false);
}
