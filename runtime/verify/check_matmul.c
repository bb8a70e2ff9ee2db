// SPDX-License-Identifier: MIT
// Products with frozen weights in every format and both directions, and the embedding.
#include "verify/families.h"
#include "verify/ref.h"

#include <stdio.h>
#include <string.h>

#define BOUND 1e-13 // f32 sums of up to 260 products come to 1e-14

static const uint32_t some_rows[] = {1, 2, 7, 8, 9, 33, 64};
static const uint32_t some_outs[] = {1, 3, 8, 9, 65, 172};
// Multiples of 64 but for NF4 would make another pipeline of the same code.
static const uint32_t dense_ins[] = {4, 20, 36, 37, 172, 260};
static const uint32_t block_ins[] = {32, 96, 160};
static const uint32_t large_ins[] = {256, 512};
static const uint32_t nf4_ins[] = {36, 64, 100, 128, 172};

typedef enum residual_kind { NO_RESIDUAL, OTHER, IN_PLACE } residual_kind;

typedef struct options {
    const char *name;
    bool bias, tail;
    residual_kind residual;
    float dropout; // of the backward tail
    uint32_t parts;
    bool limit;
    uint32_t first, supervised; // of the list of supervised tokens, with `limit`
} options;

typedef struct shape {
    inl_format_id format;
    uint32_t t, n, k;
} shape;

// Everything of one product, forward (in = K, out = N) or backward (in = N, out = K).
typedef struct product {
    kt_inputs inputs;
    kt_weight w;
    kt_lora lora;
    kt_mat x, y, residual, bias, h;
    inl_gemm_args args;
    ref_linear ref;
} product;

static uint32_t ins_of(inl_format_id format, const uint32_t **ins)
{
    if (inl_is_nf4(inl_format_by_id(format)))
        return *ins = nf4_ins, INL_COUNT(nf4_ins);
    switch (inl_format_by_id(format)->block_elements) {
    case 32: return *ins = block_ins, INL_COUNT(block_ins);
    case 256: return *ins = large_ins, INL_COUNT(large_ins);
    default: break;
    }
    return *ins = dense_ins, INL_COUNT(dense_ins);
}

// The tail is the second of two slots, so that it starts in the middle of h and of the arena.
static void add_tail(kt *k, const shape *s, const options *o, bool dx, product *p)
{
    static const uint32_t ranks[] = {1, 3, 4, 8, 16, 33};
    uint32_t rank = ranks[(s->t + s->n + s->k) % INL_COUNT(ranks)];
    kt_make_lora(k, 2, (const uint32_t[]){5, rank}, (const uint32_t[]){s->k, s->k},
                 (const uint32_t[]){s->n, s->n}, o->dropout, &p->lora);
    p->h = kt_tensor(k, KT_IN, "h", s->t, 4 * p->lora.columns4, 1.0f);
    p->args.tail = (inl_tail){.slot = &p->lora.slots[1],
                              .arena = &p->lora.arena,
                              .h = p->h.t,
                              .column4 = p->lora.column4[1]};
    p->ref.narrow = kt_lora_narrow(k, &p->lora, 1, p->h.v, s->t);
    p->ref.matrix = dx ? p->lora.a[1] : p->lora.b[1];
    p->ref.rank = rank;
    p->ref.scale = (double)p->lora.slots[1].scale;
    if (dx && o->dropout > 0.0f) {
        double *mask = kt_doubles(k, (uint64_t)s->t * s->k);
        ref_dropout_mask(p->inputs.scalars->seed, p->lora.slots[1].stream, s->t, s->k, o->dropout,
                         mask);
        p->ref.mask = mask;
    }
}

static void make_product(kt *k, const shape *s, const options *o, bool dx, bool raw, product *p)
{
    *p = (product){0};
    p->inputs = kt_make_inputs(k, s->t);
    p->inputs.scalars->supervised = o->supervised;
    kt_make_weight(k, s->format, s->n, s->k, INL_MAX(o->parts, 1), raw, &p->w);
    uint32_t in = dx ? s->n : s->k, out = dx ? s->k : s->n;
    p->x = kt_tensor(k, KT_IN, "x", s->t, in, 1.0f);
    p->y = kt_tensor(k, o->residual == IN_PLACE ? KT_ADD : KT_OUT, "y", s->t, out, 1.0f);
    p->ref = (ref_linear){.rows = s->t, .in = s->k, .out = s->n, .w = p->w.v};
    p->args = (inl_gemm_args){.w = &p->w.w,
                              .x = p->x.t,
                              .y = p->y.t,
                              .bias = INL_BUF_NONE,
                              .residual = INL_BUF_NONE,
                              .limit = o->limit,
                              .first = o->first,
                              .tag = "test"};
    if (o->bias && !dx) {
        p->bias = kt_array(k, KT_IN, "bias", out, 8, 1.0f);
        p->args.bias = p->bias.t.buf;
        p->ref.bias = p->bias.v;
    }
    if (o->residual == OTHER) {
        p->residual = kt_tensor(k, KT_IN, "residual", s->t, out, 1.0f);
        p->args.residual = p->residual.t.buf;
        p->ref.residual = p->residual.v;
    } else if (o->residual == IN_PLACE) {
        p->args.residual = p->y.t.buf;
        p->ref.residual = kt_copy(k, p->y.v, (uint64_t)s->t * out);
    }
    if (o->tail)
        add_tail(k, s, o, dx, p);
}

static void emit(kt *k, const product *p, bool dx)
{
    if (dx)
        inl_op_gemm_dx(kt_plan(k), &p->inputs.in, &p->args);
    else
        inl_op_gemm(kt_plan(k), &p->inputs.in, &p->args);
}

static const char *direction(bool dx)
{
    return dx ? "gemm_dx" : "gemm";
}

// What is expected, and the sums of the terms' absolute values, which errors are relative to.
static void expect_product(kt *k, const shape *s, bool dx, product *p)
{
    uint64_t in = (uint64_t)s->t * (dx ? s->n : s->k), out = (uint64_t)s->t * (dx ? s->k : s->n);
    ref_linear terms = p->ref;
    terms.w = kt_absolute(k, p->ref.w, (uint64_t)s->n * s->k);
    terms.bias = kt_absolute(k, p->ref.bias, s->n);
    terms.residual = kt_absolute(k, p->ref.residual, out);
    terms.narrow = kt_absolute(k, p->ref.narrow, (uint64_t)s->t * p->ref.rank);
    terms.matrix = kt_absolute(k, p->ref.matrix, (uint64_t)p->ref.rank * (dx ? s->k : s->n));
    double *sums = kt_doubles(k, out);
    void (*ref)(const ref_linear *, const double *, double *) = dx ? ref_gemm_dx : ref_gemm;
    ref(&p->ref, p->x.v, p->y.v);
    ref(&terms, kt_absolute(k, p->x.v, in), sums);
    p->y.terms = sums;
}

static void check_product(kt_suite *suite, shape s, options o, bool dx)
{
    kt *k = kt_begin(suite, "%s %s T%u N%u K%u %s", direction(dx), inl_format_by_id(s.format)->name,
                     s.t, s.n, s.k, o.name);
    if (!k)
        return;
    product p;
    make_product(k, &s, &o, dx, false, &p);
    expect_product(k, &s, dx, &p);
    emit(k, &p, dx);
    if (kt_run(k))
        kt_expect_rows(k, &p.y, o.limit ? INL_MIN(o.supervised - o.first, s.t) : s.t, BOUND);
    kt_end(k);
}

// Rows of x that pick one column (or row) of W each: the result is W itself, bit for bit.
static void check_decode(kt_suite *suite, shape s, bool dx, uint32_t parts)
{
    kt *k = kt_begin(suite, "decode through %s %s T%u N%u K%u in %u", direction(dx),
                     inl_format_by_id(s.format)->name, s.t, s.n, s.k, parts);
    if (!k)
        return;
    product p;
    bool wide = !kt_caps(suite)->paths[INL_PATH_MATRIX].on; // any bits, so numbers past f16's too
    make_product(k, &s, &(options){.parts = parts}, dx, wide, &p);
    uint32_t in = dx ? s.n : s.k, out = dx ? s.k : s.n;
    double *one_hot = kt_doubles(k, (uint64_t)s.t * in);
    for (uint32_t t = 0; t < s.t; t++) {
        uint32_t pick = s.t >= in ? t % in : kt_below(k, in);
        one_hot[(size_t)t * in + pick] = 1.0;
        for (uint32_t c = 0; c < out; c++)
            p.y.v[(size_t)t * out + c] =
                p.w.v[dx ? (size_t)pick * s.k + c : (size_t)c * s.k + pick];
    }
    kt_set(k, &p.x, one_hot);
    emit(k, &p, dx);
    if (kt_run(k))
        kt_expect_exact(k, &p.y);
    kt_end(k);
}

static void check_embed(kt_suite *suite, inl_format_id format, uint32_t t, uint32_t vocab,
                        uint32_t dim, uint32_t parts)
{
    kt *k = kt_begin(suite, "embed %s T%u V%u D%u in %u", inl_format_by_id(format)->name, t, vocab,
                     dim, parts);
    if (!k)
        return;
    kt_inputs inputs = kt_make_inputs(k, t);
    kt_weight w;
    kt_make_weight(k, format, vocab, dim, parts, true, &w);
    for (uint32_t i = 0; i < t; i++)
        inputs.tokens[i] = i == 0 ? vocab - 1 : i == 1 ? 0 : kt_below(k, vocab);
    kt_mat y = kt_tensor(k, KT_OUT, "y", t, dim, 0.0f);
    float scale = t % 2 ? 1.0f : 4.0f; // exact
    ref_embed(w.v, inputs.tokens, t, dim, y.v);
    for (uint64_t i = 0; i < (uint64_t)t * dim; i++)
        y.v[i] *= (double)scale;
    inl_op_embed(kt_plan(k), &inputs.in, &w.w, scale, y.t);
    if (kt_run(k))
        kt_expect_exact(k, &y);
    kt_end(k);
}

static const options nothing_rides = {.name = "plain"};
static const options all_rides = {.name = "bias+residual+tail",
                                 .bias = true,
                                 .tail = true,
                                 .residual = OTHER,
                                 .dropout = 0.3f};

static void check_shapes(kt_suite *suite, inl_format_id format)
{
    const uint32_t *ins;
    uint32_t in_count = ins_of(format, &ins), turn = 0;
    for (uint32_t i = 0; i < INL_COUNT(some_rows); i++)
        for (uint32_t j = 0; j < INL_COUNT(some_outs); j++, turn++) {
            shape s = {format, some_rows[i], some_outs[j], ins[(turn + i) % in_count]};
            check_product(suite, s, turn % 2 ? all_rides : nothing_rides, false);
            check_product(suite, s, turn % 2 ? nothing_rides : all_rides, true);
        }
}

// Weights in parts: backward's parts add up, each on what the one before left.
static void check_parts(kt_suite *suite, inl_format_id format)
{
    static const options parts[] = {
        {.name = "in 2", .parts = 2},
        {.name = "bias+residual+tail in 3",
         .parts = 3,
         .bias = true,
         .tail = true,
         .residual = OTHER,
         .dropout = 0.3f},
    };
    const uint32_t *ins;
    uint32_t in_count = ins_of(format, &ins);
    for (uint32_t i = 0; i < INL_COUNT(parts); i++) {
        shape s = {format, i ? 33 : 7, i ? 65 : 172, ins[(i + 1) % in_count]};
        check_product(suite, s, parts[i], false);
        check_product(suite, s, parts[i], true);
    }
}

static void check_exact(kt_suite *suite, inl_format_id format)
{
    const uint32_t *ins;
    uint32_t in_count = ins_of(format, &ins);
    for (uint32_t i = 0; i < in_count; i++) {
        check_decode(suite, (shape){format, ins[i], 37, ins[i]}, false, 1 + i % 3);
        check_decode(suite, (shape){format, 37, 37, ins[i]}, true, 1);
    }
    check_decode(suite, (shape){format, 7, 65, ins[in_count - 1]}, false, 1);
    check_decode(suite, (shape){format, 7, 65, ins[in_count - 1]}, true, 1);
    if (inl_is_nf4(inl_format_by_id(format)))
        return; // no embedding is kept in it
    check_embed(suite, format, 1, 1, ins[0], 1);
    check_embed(suite, format, 9, 65, ins[1], 1);
    check_embed(suite, format, 64, 172, ins[in_count - 1], 3);
}

// The options one by one, in the format that is quickest to compile.
static void check_options(kt_suite *suite)
{
    static const options each[] = {
        {.name = "bias", .bias = true},
        {.name = "residual", .residual = OTHER},
        {.name = "residual in place", .residual = IN_PLACE},
        {.name = "tail", .tail = true},
        {.name = "limit 0 of 20", .limit = true, .supervised = 20},
        {.name = "limit 16 of 33", .limit = true, .first = 16, .supervised = 33},
        {.name = "limit 16 of 200", .limit = true, .first = 16, .supervised = 200},
    };
    for (uint32_t i = 0; i < INL_COUNT(each); i++) {
        shape s = {INL_FORMAT_F32, 33, 65, 36};
        check_product(suite, s, each[i], false);
        if (!each[i].bias)
            check_product(suite, s, each[i], true);
    }
}

// Other sizes of gemm_tiled.comp's tile than the device's own, where it is used.
static void check_tiles(kt_suite *suite)
{
    static const inl_gemm_tile tiles[] = {
        {.rows = 16, .columns = 64, .depth = 16, .thread_rows = 8, .thread_columns = 4},
        {.rows = 32, .columns = 128, .depth = 8, .thread_rows = 4, .thread_columns = 4},
    };
    static const options full = {.name = "in a tile of its own",
                                 .bias = true,
                                 .tail = true,
                                 .residual = OTHER,
                                 .dropout = 0.3f,
                                 .parts = 2};
    inl_gpu_caps *caps = kt_caps(suite);
    inl_tiles own = caps->tiles;
    for (uint32_t i = 0; i < INL_COUNT(tiles) && !caps->simd_lanes; i++) {
        for (uint32_t size = 0; size < INL_TILE_SIZES; size++)
            caps->tiles.gemm[size] = tiles[i];
        check_product(suite, (shape){INL_FORMAT_Q8_0, 40, 200, 96}, full, false);
        check_product(suite, (shape){INL_FORMAT_Q8_0, 40, 200, 96}, full, true);
    }
    caps->tiles = own;
}

// Whose bits, offsets, integers and table other formats have too.
static bool has_nothing_of_its_own(inl_format_id id)
{
    switch (id) {
    case INL_FORMAT_Q4_1:
    case INL_FORMAT_Q5_0:
    case INL_FORMAT_Q5_1:
    case INL_FORMAT_Q4_K:
    case INL_FORMAT_IQ4_NL: return true;
    default: return false;
    }
}

// Each format both ways, bit for bit; the ways to decode with all that rides on a product, and with
// as many rows as fill a tile or one alone.
static void check_briefly(kt_suite *suite, inl_format_id format)
{
    const uint32_t *ins;
    uint32_t in = ins_of(format, &ins) - 1;
    if (inl_is_nf4(inl_format_by_id(format)))
        in = 3; // whole blocks in a row, which ins[0] has not
    check_decode(suite, (shape){format, 7, 65, ins[in]}, false, 1);
    check_decode(suite, (shape){format, 37, 37, ins[0]}, true, 1);
    if (!inl_is_nf4(inl_format_by_id(format)))
        check_embed(suite, format, 9, 65, ins[0], 1);
    for (uint32_t dx = 0; dx < 2 && stands_for_others(format); dx++) {
        check_product(suite, (shape){format, 1, 172, ins[in]}, nothing_rides, dx);
        check_product(suite, (shape){format, 33, 65, ins[1]}, all_rides, dx);
        check_product(suite, (shape){format, 130, 264, ins[in]}, nothing_rides, dx);
    }
}

void check_matmul(kt_suite *suite)
{
    for (inl_format_id f = 0; f < INL_FORMAT_COUNT && kt_brief(suite); f++)
        check_briefly(suite, f);
    if (kt_brief(suite)) {
        check_options(suite);
        return;
    }
    for (inl_format_id f = 0; f < INL_FORMAT_COUNT; f++) {
        if (kt_quick(suite) && has_nothing_of_its_own(f))
            continue;
        check_exact(suite, f);
        if (!stands_for_others(f))
            continue;
        check_shapes(suite, f);
        check_parts(suite, f);
    }
    check_options(suite);
    check_tiles(suite);
}
