// SPDX-License-Identifier: MIT
// Shapes that do not fit the heap of the other cases: more workgroups than one dimension of a
// dispatch has, a vocabulary of 151,936 in as many bindings as the device needs, and, in a plan
// without a device, what large models need.
#include "kernels/more.h"
#include "quant/tile.h"
#include "verify/ref.h"
#include "verify/suite.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

// ---- buffers of a case's own

#define MAX_BUFFERS 24

typedef struct own {
    kt *k;
    inl_gpu *gpu;
    inl_buffer *buffers[MAX_BUFFERS];
    uint32_t count;
} own;

static bool ok(own *o, inlay_result result)
{
    if (result != INLAY_OK)
        kt_fail(o->k, "result %d", (int)result);
    return result == INLAY_OK;
}

// A buffer with `data`, or zeros.
static inl_range make(own *o, uint64_t bytes, const void *data)
{
    inl_range range = {.size = inl_round_up(bytes, 16)};
    inl_buffer **b = &o->buffers[o->count++];
    if (ok(o, inl_buffer_create(o->gpu, "large", range.size, INL_MEMORY_DEVICE, b)))
        ok(o, data ? inl_gpu_upload(o->gpu, *b, 0, data, bytes)
                   : inl_gpu_zero(o->gpu, *b, 0, range.size));
    range.buffer = *b;
    return range;
}

static bool run(own *o)
{
    uint64_t ticket;
    inl_plan *plan = kt_plan(o->k);
    if (o->k->failed || !ok(o, inl_plan_finish(plan)))
        return false;
    kt_note_plan(o->k);
    return ok(o, inl_plan_run(plan, &ticket)) && ok(o, inl_gpu_wait(o->gpu, ticket)) &&
           !o->k->suite->compile;
}

static void finish(own *o)
{
    for (uint32_t i = 0; i < o->count; i++)
        inl_buffer_destroy(o->gpu, &o->buffers[i]);
    kt_end(o->k);
}

static inl_tensor tensor(own *o, inl_range range, uint32_t rows, uint32_t cols)
{
    return (inl_tensor){inl_op_external(kt_plan(o->k), range), rows, cols,
                        (uint32_t)inl_round_up(cols, 8)};
}

static void expect_near(kt *k, const char *what, uint64_t at, double got, double expected,
                        double bound)
{
    if (!(fabs(got - expected) <= bound))
        kt_fail(k, "%s %llu is %.9g instead of %.9g", what, (unsigned long long)at, got, expected);
}

// ---- more workgroups than one dimension has

static void check_activation(kt_suite *suite)
{
    const uint32_t rows = 2056, cols = 8168; // 2 x 64 MiB
    kt *k = kt_begin(suite, "glu T%u F%u", rows, cols);
    if (!k)
        return;
    own o = {.k = k, .gpu = kt_gpu(suite)};
    uint64_t bytes = inl_tensor_bytes(rows, cols), count = bytes / 4;
    float *host = malloc(bytes);
    for (uint64_t i = 0; host && i < count; i++)
        host[i] = (float)(i % 1021) / 100.0f - 5.0f;
    inl_range x = make(&o, bytes, host), y = make(&o, bytes, NULL);
    inl_tensor in = tensor(&o, x, rows, cols);
    inl_op_glu(kt_plan(k), INL_SILU, in, in, tensor(&o, y, rows, cols));
    if (run(&o) && ok(&o, inl_gpu_download(o.gpu, y.buffer, 0, host, bytes)))
        for (uint64_t i = 0; i < count; i += i + 4096 < count ? 61 : 1) {
            double v = (double)((float)(i % 1021) / 100.0f - 5.0f), expected;
            ref_glu(false, &v, &v, 1, &expected);
            expect_near(k, "element", i, (double)host[i], expected, 1e-5 * (1.0 + fabs(expected)));
        }
    free(host);
    finish(&o);
}

// ---- a large vocabulary

enum { VOCAB = 151936, DIM = 896, TOKENS = 3 };

typedef struct vocabulary {
    inl_weight w;
    inl_weight_part parts[10];
    uint8_t *rows; // Q8_0, as in a file
    uint64_t row_bytes;
} vocabulary;

// As many parts as the device's bindings need; at least two.
static void make_vocabulary(own *o, vocabulary *v)
{
    const inl_format *f = inl_format_by_id(INL_FORMAT_Q8_0);
    uint64_t range = inl_gpu_get_caps(o->gpu)->max_buffer_range_bytes;
    uint64_t tile_row = inl_tile_quant_bytes(f, 8, DIM);
    uint32_t most = (uint32_t)INL_MIN(range / tile_row, VOCAB / 16) * 8;
    v->row_bytes = DIM / 32 * f->block_bytes;
    v->rows = malloc(VOCAB * v->row_bytes);
    // Scales of 2^-11: logits about 1.
    v->w = (inl_weight){.format = f,
                        .rows = VOCAB,
                        .cols = DIM,
                        .part_count = inl_div_up(VOCAB, most),
                        .parts = v->parts};
    for (uint64_t i = 0; v->rows && i < VOCAB * v->row_bytes; i++)
        v->rows[i] = i % 34 == 0 ? 0 : i % 34 == 1 ? 0x10 : (uint8_t)(i * 2654435761u >> 24);
    for (uint32_t i = 0; i < v->w.part_count; i++) {
        inl_weight_part *part = &v->parts[i];
        part->row0 = i * most;
        part->rows = INL_MIN(most, VOCAB - part->row0);
        uint64_t quants = inl_tile_quant_bytes(f, part->rows, DIM);
        uint64_t scales = inl_tile_scale_bytes(f, part->rows, DIM);
        uint8_t *planes = calloc(1, quants + scales);
        if (planes && v->rows)
            inl_tile_pack(f, v->rows + part->row0 * v->row_bytes, part->rows, DIM,
                          (uint32_t *)planes, (uint32_t *)(planes + quants));
        part->quants = make(o, quants, planes);
        part->scales = make(o, scales, planes + quants);
        free(planes);
    }
}

// Row `row` of W, and x times it.
static double decode_row(const vocabulary *v, uint32_t row, const float *x, float w[DIM])
{
    double sum = 0.0;
    v->w.format->decode(v->rows + row * v->row_bytes, w, DIM);
    for (uint32_t i = 0; i < DIM && x; i++)
        sum += (double)w[i] * (double)x[i];
    return sum;
}

// Logits here and there, at the ends of the parts above all.
static void expect_logits(kt *k, const vocabulary *v, const float *x, const float *z)
{
    float w[DIM];
    for (uint32_t row = 0; row < VOCAB; row += row + 997 < VOCAB ? 997 : 1)
        for (uint32_t t = 0; t < TOKENS; t++)
            expect_near(k, "logit", row, (double)z[(size_t)t * VOCAB + row],
                        decode_row(v, row, x + t * DIM, w), 1e-5);
    for (uint32_t i = 1; i < v->w.part_count; i++)
        for (uint32_t row = v->parts[i].row0 - 1; row <= v->parts[i].row0; row++)
            expect_near(k, "logit", row, (double)z[row], decode_row(v, row, x, w), 1e-5);
}

// dlogits pick a row of W for each token.
static void expect_rows(kt *k, const vocabulary *v, const uint32_t picks[TOKENS], const float *dx)
{
    float w[DIM];
    for (uint32_t t = 0; t < TOKENS; t++) {
        (void)decode_row(v, picks[t], NULL, w);
        if (memcmp(w, dx + t * DIM, sizeof(w)) != 0)
            kt_fail(k, "dX of token %u is not row %u of W", t, picks[t]);
    }
}

// Forward and dX: the last row of the vocabulary is as right as the first.
static void check_vocabulary(kt_suite *suite)
{
    kt *k = kt_begin(suite, "head of %u x %u", VOCAB, DIM);
    if (!k)
        return;
    own o = {.k = k, .gpu = kt_gpu(suite)};
    vocabulary v = {0};
    make_vocabulary(&o, &v);
    uint32_t last = v.parts[v.w.part_count - 1].row0, picks[TOKENS] = {VOCAB - 1, last, last - 1};
    uint64_t x_bytes = inl_tensor_bytes(TOKENS, DIM), z_bytes = inl_tensor_bytes(TOKENS, VOCAB);
    float *x = calloc(1, x_bytes), *z = calloc(1, z_bytes);
    for (uint32_t i = 0; x && i < TOKENS * DIM; i++)
        x[i] = kt_f32(k, 1.0f);
    for (uint32_t t = 0; z && t < TOKENS; t++)
        z[(size_t)t * VOCAB + picks[t]] = 1.0f;
    inl_range ranges[] = {make(&o, x_bytes, x), make(&o, z_bytes, NULL), make(&o, z_bytes, z),
                          make(&o, x_bytes, NULL)};
    inl_inputs in = {.scalars = inl_op_external(kt_plan(k), ranges[0])}; // not read
    inl_gemm_args args = {.w = &v.w,
                          .x = tensor(&o, ranges[0], TOKENS, DIM),
                          .y = tensor(&o, ranges[1], TOKENS, VOCAB),
                          .bias = INL_BUF_NONE,
                          .residual = INL_BUF_NONE,
                          .tag = "test"};
    inl_op_gemm(kt_plan(k), &in, &args);
    args.x = tensor(&o, ranges[2], TOKENS, VOCAB);
    args.y = tensor(&o, ranges[3], TOKENS, DIM);
    inl_op_gemm_dx(kt_plan(k), &in, &args);
    if (run(&o) && ok(&o, inl_gpu_download(o.gpu, ranges[1].buffer, 0, z, z_bytes))) {
        expect_logits(k, &v, x, z);
        if (ok(&o, inl_gpu_download(o.gpu, ranges[3].buffer, 0, x, x_bytes)))
            expect_rows(k, &v, picks, x);
    }
    free(v.rows);
    free(x);
    free(z);
    finish(&o);
}

// ---- what large models need

// Everything of a wide model on 8192 tokens and a vocabulary of 262,144, emitted into a plan
// without a device: a plan refuses what not every device takes.
enum { T = 8192, D = 8192, F = 28672, V = 262144, CHUNK = 48, RANK = 64, HEADS = 64 };

static void emit_block(inl_plan *plan, const inl_inputs *in, inl_tensor x, inl_tensor y)
{
    inl_norm norm = {.eps = 1e-5f};
    inl_rope rope = {.rope_dim = D / HEADS};
    inl_attention attention = {HEADS, HEADS, D / HEADS, UINT32_MAX, 1.0f, 0.0f};
    inl_buf scratch = inl_plan_scratch(plan, INL_SCRATCH, 4ull * T * HEADS);
    inl_op_rmsnorm(plan, in, &norm, x, INL_BUF_NONE, x, scratch, false, 0);
    inl_op_rmsnorm_bwd(plan, in, &norm, x, scratch, x, INL_BUF_NONE, x, false, 0);
    inl_op_rope(plan, in,
                &(inl_rope_args){.rope = &rope,
                                 .heads = HEADS,
                                 .head_dim = D / HEADS,
                                 .sign = 1.0f,
                                 .x = x,
                                 .y = x});
    inl_op_attention(plan, in, &attention, x, x, x, x, scratch, false);
    inl_op_attention_bwd(plan, in, &attention, x, x, x, x, scratch, x, x, x, x);
    inl_op_glu(plan, INL_SILU, y, y, y);
    inl_op_glu_bwd(plan, INL_SILU, y, y, y, y, y);
}

// A linear layer in NF4, which is decoded first, with an adapter; and the update of a thousand
// such.
static void emit_linear(inl_plan *plan, const inl_inputs *in, inl_tensor x, inl_tensor y)
{
    inl_weight_part part = {.rows = F};
    inl_weight w = {.format = inl_format_by_id(INL_FORMAT_NF4),
                    .rows = F,
                    .cols = D,
                    .part_count = 1,
                    .parts = &part};
    inl_lora_slot slot = {.in = D, .out = F, .rank = RANK, .rank4 = RANK / 4};
    inl_lora_arena arena = {.dropout = 0.1f};
    uint64_t floats = 1000 * inl_lora_place(&slot, 1, 0);
    inl_tail tail = {.slot = &slot, .arena = &arena, .h = inl_plan_tensor(plan, T, RANK)};
    inl_gemm_args args = {.w = &w,
                          .x = x,
                          .y = y,
                          .bias = INL_BUF_NONE,
                          .residual = INL_BUF_NONE,
                          .tail = tail,
                          .tag = "up"};
    inl_range none = {0};
    inl_op_lora_down(plan, in, &arena, &slot, 1, x, tail.h);
    inl_op_gemm(plan, in, &args);
    inl_op_lora_up_bwd(plan, in, &tail, y, tail.h);
    args.x = y;
    args.y = x;
    inl_op_gemm_dx(plan, in, &args);
    inl_op_lora_down_bwd(plan, in, &arena, &slot, 1, x, tail.h);
    inl_op_grad_norm(plan, none, floats, none);
    inl_op_adamw(plan, in, &(inl_adamw_args){.floats = floats});
}

static void emit_head(inl_plan *plan, const inl_inputs *in, inl_tensor x)
{
    inl_weight_part part = {.rows = V};
    inl_weight w = {.format = inl_format_by_id(INL_FORMAT_Q8_0),
                    .rows = V,
                    .cols = D,
                    .part_count = 1,
                    .parts = &part};
    inl_gemm_args args = {.w = &w,
                          .x = inl_plan_tensor(plan, CHUNK, D),
                          .y = inl_plan_tensor(plan, CHUNK, V),
                          .bias = INL_BUF_NONE,
                          .residual = INL_BUF_NONE,
                          .limit = true,
                          .tag = "head"};
    inl_op_embed(plan, in, &w, 1.0f, x);
    inl_op_gemm(plan, in, &args);
    inl_op_loss(plan, in, args.y, 0.0f, (inl_range){0}, 0, true);
}

static void emit_wide_model(inl_plan *plan)
{
    inl_inputs in = {0};
    in.scalars = in.tokens = in.positions = in.starts = in.ends = in.rows = in.labels =
        inl_plan_external(plan, NULL, 0, 4 * T);
    inl_tensor x = inl_plan_tensor(plan, T, D), y = inl_plan_tensor(plan, T, F);
    emit_head(plan, &in, x);
    emit_block(plan, &in, x, y);
    emit_linear(plan, &in, x, y);
}

static void check_wide_model(kt_suite *suite)
{
    kt *k = kt_begin(suite, "a wide model in dispatches that every device takes");
    if (!k)
        return;
    inl_plan *plan;
    if (inl_plan_create(&suite->env, NULL, &plan) == INLAY_OK) {
        emit_wide_model(plan);
        if (inl_plan_finish(plan) != INLAY_OK || inl_plan_node_count(plan) < 20)
            kt_fail(k, "refused");
        inl_plan_destroy(&plan);
    }
    kt_end(k);
}

void check_large(kt_suite *suite)
{
    check_wide_model(suite);
    if (kt_quick(suite))
        return;
    check_activation(suite);
    check_vocabulary(suite);
}
