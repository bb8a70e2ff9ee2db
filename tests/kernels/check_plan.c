// SPDX-License-Identifier: MIT
// The plan itself: scratch that shares memory, barriers between nodes, copies, submits cut anew,
// what a dry plan knows, errors.
#include "kernels/more.h"
#include "verify/ref.h"

#include <string.h>

#include "gpu/vk.h" // the submit budget is changed below

#define BOUND 1e-12

enum { T = 33, D = 36, F = 172, RANK = 3 };

// x + down(silu(gate(n)) up(n)), n = norm(x), with adapters on gate and up: every buffer between is
// scratch.
typedef struct feed_forward {
    kt_inputs inputs;
    kt_weight gate, up, down;
    kt_lora lora;
    kt_mat x, norm, y;
    inl_norm op_norm;
} feed_forward;

static void make_feed_forward(kt *k, feed_forward *f)
{
    f->inputs = kt_make_inputs(k, T);
    kt_make_weight(k, INL_FORMAT_F32, F, D, 2, false, &f->gate);
    kt_make_weight(k, INL_FORMAT_NF4, F, D, 1, false, &f->up);
    kt_make_weight(k, INL_FORMAT_F16, D, F, 1, false, &f->down);
    kt_make_lora(k, 2, (const uint32_t[]){RANK, RANK}, (const uint32_t[]){D, D},
                 (const uint32_t[]){F, F}, 0.0f, &f->lora);
    f->x = kt_tensor(k, KT_IN, "x", T, D, 1.0f);
    f->norm = kt_array(k, KT_IN, "norm", D, 8, 0.2f);
    f->y = kt_tensor(k, KT_OUT, "y", T, D, 0.0f);
    f->op_norm = (inl_norm){.weight = kt_range(k, &f->norm), .eps = 1e-5f};
}

static inl_tensor half(inl_plan *plan, const feed_forward *f, const kt_weight *w, uint32_t slot,
                       inl_tensor n, inl_tensor h)
{
    inl_tensor y = inl_plan_tensor(plan, T, F);
    inl_gemm_args args = {.w = &w->w,
                          .x = n,
                          .y = y,
                          .bias = INL_BUF_NONE,
                          .residual = INL_BUF_NONE,
                          .tail = {.slot = &f->lora.slots[slot],
                                   .arena = &f->lora.arena,
                                   .h = h,
                                   .column4 = f->lora.column4[slot]},
                          .tag = "test"};
    inl_op_gemm(plan, &f->inputs.in, &args);
    return y;
}

// Into f->y, by way of scratch that is zeroed and copied.
static void emit_feed_forward(inl_plan *plan, const feed_forward *f)
{
    inl_tensor n = inl_plan_tensor(plan, T, D), h = inl_plan_tensor(plan, T, 4 * f->lora.columns4);
    inl_buf rstd = inl_plan_scratch(plan, INL_SCRATCH, 4ull * T);
    inl_op_rmsnorm(plan, &f->inputs.in, &f->op_norm, f->x.t, INL_BUF_NONE, n, rstd, false, 0);
    inl_op_lora_down(plan, &f->inputs.in, &f->lora.arena, f->lora.slots, 2, n, h);
    inl_tensor gate = half(plan, f, &f->gate, 0, n, h), up = half(plan, f, &f->up, 1, n, h);
    inl_tensor act = inl_plan_tensor(plan, T, F), sum = inl_plan_tensor(plan, T, D);
    inl_op_glu(plan, INL_SILU, gate, up, act);
    inl_plan_zero(plan, sum.buf);
    inl_gemm_args args = {.w = &f->down.w,
                          .x = act,
                          .y = sum,
                          .bias = INL_BUF_NONE,
                          .residual = f->x.t.buf,
                          .tag = "test"};
    inl_op_gemm(plan, &f->inputs.in, &args);
    inl_plan_copy(plan, sum.buf, f->y.t.buf, inl_tensor_bytes(T, D));
}

static double *ref_half(kt *k, const feed_forward *f, const kt_weight *w, uint32_t slot,
                        const double *n)
{
    double *y = kt_doubles(k, T * F), *h = kt_doubles(k, T * RANK);
    ref_lora_down(n, NULL, f->lora.a[slot], T, D, RANK, h);
    ref_linear l = {.rows = T,
                    .in = D,
                    .out = F,
                    .w = w->v,
                    .narrow = h,
                    .matrix = f->lora.b[slot],
                    .rank = RANK,
                    .scale = (double)f->lora.slots[slot].scale};
    ref_gemm(&l, n, y);
    return y;
}

static void ref_feed_forward(kt *k, const feed_forward *f)
{
    double *n = kt_doubles(k, T * D), *rstd = kt_doubles(k, T), *act = kt_doubles(k, T * F);
    ref_rmsnorm(f->x.v, f->norm.v, NULL, T, D, (double)f->op_norm.eps, n, rstd);
    double *gate = ref_half(k, f, &f->gate, 0, n), *up = ref_half(k, f, &f->up, 1, n);
    ref_glu(false, gate, up, T * F, act);
    ref_linear l = {.rows = T, .in = F, .out = D, .w = f->down.v, .residual = f->x.v};
    ref_gemm(&l, act, f->y.v);
}

static void check_chain(kt_suite *suite)
{
    kt *k = kt_begin(suite, "a feed-forward through scratch");
    if (!k)
        return;
    feed_forward f;
    make_feed_forward(k, &f);
    ref_feed_forward(k, &f);
    emit_feed_forward(kt_plan(k), &f);
    // The arena is shared: less than every scratch tensor by itself.
    if (kt_run(k)) {
        kt_expect(k, &f.y, BOUND);
        uint64_t apart = 3 * inl_tensor_bytes(T, F) + 2 * inl_tensor_bytes(T, D);
        if (inl_plan_memory(kt_plan(k), INL_ACTIVATION) >= apart)
            kt_fail(k, "the arena has %llu bytes, the tensors apart have %llu",
                    (unsigned long long)inl_plan_memory(kt_plan(k), INL_ACTIVATION),
                    (unsigned long long)apart);
    }
    kt_end(k);
}

static void expect_submits(kt *k, uint32_t least, uint32_t most)
{
    if (inl_plan_adjust(kt_plan(k)) != INLAY_OK)
        kt_fail(k, "could not be cut anew");
    uint32_t count = inl_plan_submit_count(kt_plan(k));
    if (count < least || count > most)
        kt_fail(k, "%u submits instead of %u to %u", count, least, most);
}

// No budget at all cuts every node, down to its workgroups, an endless one none; the bits stay the
// same.
static void check_cuts(kt_suite *suite)
{
    kt *k = kt_begin(suite, "submits cut anew");
    if (!k)
        return;
    inl_gpu *gpu = kt_gpu(suite);
    uint32_t budget = gpu->max_submit_ms;
    feed_forward f;
    make_feed_forward(k, &f);
    ref_feed_forward(k, &f);
    emit_feed_forward(kt_plan(k), &f);
    bool measured = gpu->caps.timestamp_ns > 0.0f;
    if (kt_run(k) && measured) {
        gpu->max_submit_ms = 0;
        expect_submits(k, 2 * inl_plan_node_count(kt_plan(k)), 4096);
        kt_run_again(k);
        gpu->max_submit_ms = 1000000;
        expect_submits(k, 1, 1);
        if (kt_run_again(k))
            kt_expect(k, &f.y, BOUND);
    }
    gpu->max_submit_ms = budget;
    kt_end(k);
}

static void check_dry(kt_suite *suite)
{
    kt *k = kt_begin(suite, "a dry plan knows the memory and the work");
    if (!k)
        return;
    feed_forward f;
    inl_env env = inl_env_resolve(NULL);
    inl_plan *dry, *real = kt_plan(k);
    make_feed_forward(k, &f);
    ref_feed_forward(k, &f);
    emit_feed_forward(real, &f);
    if (inl_plan_create(&env, NULL, &dry) != INLAY_OK) {
        kt_end(k);
        return;
    }
    // The buffers of f belong to the real plan: the dry one gets as many of its own.
    for (uint32_t i = 0; i < 64; i++)
        (void)inl_plan_external(dry, NULL, 0, 256);
    uint64_t used = inl_gpu_used(kt_gpu(suite));
    emit_feed_forward(dry, &f);
    if (inl_plan_finish(dry) != INLAY_OK || inl_gpu_used(kt_gpu(suite)) != used)
        kt_fail(k, "the dry plan failed or allocated");
    if (kt_run(k)) {
        kt_expect(k, &f.y, BOUND);
        for (inl_purpose p = 0; p < INL_PURPOSE_COUNT; p++)
            if (inl_plan_memory(dry, p) != inl_plan_memory(real, p))
                kt_fail(k, "purpose %d: %llu bytes dry, %llu real", (int)p,
                        (unsigned long long)inl_plan_memory(dry, p),
                        (unsigned long long)inl_plan_memory(real, p));
        if (inl_plan_flops(dry) != inl_plan_flops(real) || inl_plan_flops(dry) == 0)
            kt_fail(k, "the dry plan's work is another");
    }
    inl_plan_destroy(&dry);
    kt_end(k);
}

typedef struct messages {
    char last[256];
    uint32_t count;
} messages;

static void keep_message(void *user, inlay_log_level level, const char *message)
{
    messages *m = user;
    (void)level;
    strncpy(m->last, message, sizeof(m->last) - 1);
    m->count++;
}

// One sentence, however many nodes are refused.
static void expect_error(kt *k, inl_plan *plan, inlay_result expected, const char *part,
                         messages *said)
{
    inlay_result result = inl_plan_finish(plan);
    if (result != expected)
        kt_fail(k, "result %d instead of %d", (int)result, (int)expected);
    else if (!strstr(said->last, part) || said->count != 1)
        kt_fail(k, "no sentence with '%s', but %u, '%s'", part, said->count, said->last);
    *said = (messages){0};
}

// A binding no device has, an arena over the budget, too many workgroups: an error, a sentence, and
// nothing left behind.
static void check_errors(kt_suite *suite)
{
    kt *k = kt_begin(suite, "what does not fit is refused");
    if (!k)
        return;
    inl_gpu *gpu = kt_gpu(suite);
    messages said = {0};
    inlay_env quiet = {.log = keep_message, .log_user = &said};
    inl_env env = inl_env_resolve(&quiet), gpu_env = gpu->env;
    uint64_t used = inl_gpu_used(gpu), range = gpu->caps.max_buffer_range_bytes,
             budget = gpu->budget;
    gpu->env = env;
    for (uint32_t i = 0; i < 3; i++) {
        inl_plan *plan;
        if (inl_plan_create(&env, gpu, &plan) != INLAY_OK)
            break;
        inl_tensor a = inl_plan_tensor(plan, 64, 1024), b = inl_plan_tensor(plan, 64, 1024);
        gpu->caps.max_buffer_range_bytes = i == 0 ? 4096 : range;
        gpu->budget = i == 1 ? used + 1000 : budget;
        inl_node wide = {.tag = "test", .uses = {{a.buf, INL_READ}}, .groups = {1, 65536, 1}};
        for (uint32_t n = 0; n < 3; n++)
            inl_op_glu(plan, INL_SILU, a, a, b);
        if (i == 2)
            inl_plan_add(plan, &wide);
        expect_error(k, plan, i == 1 ? INLAY_ERROR_OUT_OF_DEVICE_MEMORY : INLAY_ERROR_UNSUPPORTED,
                     (const char *const[]){"in one binding", "MiB", "1 x 65536 x 1"}[i], &said);
        inl_plan_destroy(&plan);
        if (inl_gpu_used(gpu) != used)
            kt_fail(k, "memory was left behind");
    }
    gpu->caps.max_buffer_range_bytes = range;
    gpu->budget = budget;
    gpu->env = gpu_env;
    kt_end(k);
}

// A driver that ends loops early would give wrong results without a word: long sums are shared by
// threads, and what still takes too many rounds is refused.
static void check_rounds(kt_suite *suite)
{
    kt *k = kt_begin(suite, "loops of no more rounds than the driver runs");
    if (!k)
        return;
    inl_gpu *gpu = kt_gpu(suite);
    uint32_t rounds = gpu->caps.max_loop_rounds;
    messages said = {0};
    inlay_env quiet = {.log = keep_message, .log_user = &said};
    inl_env env = inl_env_resolve(&quiet);
    gpu->caps.max_loop_rounds = 300;
    for (uint32_t i = 0; i < 2; i++) {
        inl_plan *plan;
        if (inl_plan_create_dry(&env, &gpu->caps, &plan) != INLAY_OK)
            break;
        inl_inputs in = {.longest = i == 0 ? 64 : 128};
        in.starts = in.ends = in.scalars = inl_plan_external(plan, NULL, 0, 4096);
        inl_tensor q = inl_plan_tensor(plan, 512, 32), kv = inl_plan_tensor(plan, 512, 16);
        inl_tensor wide = inl_plan_tensor(plan, 8, 8000), h = inl_plan_tensor(plan, 8, 4);
        inl_attention a = {2, 1, 16, UINT32_MAX, 1.0f, 0.0f};
        inl_lora_slot slot = {.in = 8000, .out = 8, .rank = 4, .rank4 = 1};
        inl_lora_arena arena = {.dropout = 0.0f};
        inl_op_lora_down(plan, &in, &arena, &slot, 1, wide, h);
        inl_op_attention_bwd(plan, &in, &a, q, kv, kv, q, h.buf, q, q, kv, kv);
        if (i == 1)
            expect_error(k, plan, INLAY_ERROR_UNSUPPORTED, "rounds", &said);
        else if (inl_plan_finish(plan) != INLAY_OK)
            kt_fail(k, "refused: %s", said.last);
        inl_plan_destroy(&plan);
    }
    gpu->caps.max_loop_rounds = rounds;
    kt_end(k);
}

// What a node can carry and every device takes: nine storage buffers, 64 bytes of push constants.
static void check_kernels(kt_suite *suite)
{
    kt *k = kt_begin(suite, "every kernel fits a node");
    if (!k)
        return;
    for (uint32_t i = 0; i < INL_KERNEL_COUNT; i++)
        if (inl_kernels[i].binding_count > INL_NODE_BINDINGS ||
            inl_kernels[i].push_bytes > INL_NODE_PUSH)
            kt_fail(k, "%s has %u bindings and %u bytes of push constants", inl_kernels[i].name,
                    inl_kernels[i].binding_count, inl_kernels[i].push_bytes);
    kt_end(k);
}

void check_plan(kt_suite *suite)
{
    check_kernels(suite);
    check_chain(suite);
    check_cuts(suite);
    check_dry(suite);
    check_errors(suite);
    check_rounds(suite);
}
