// SPDX-License-Identifier: MIT
#define _POSIX_C_SOURCE 199309L
#include "bench/peak.h"
#include "base/rng.h"

#include <math.h>
#include <string.h>
#include <time.h>

#define REPEATS 5
#define LONG_ENOUGH 0.02        // seconds of a repeat
#define THREADS (128u * 1024u)
#define ARITHMETIC_BYTES (THREADS * 16ull)
#define COPY_BYTES (64ull << 20) // more than caches hold, where there is room for it
#define MOST_ROUNDS 8192u
// A step is x = 3 - x, and an even number of them x, without any rounding.
#define FACTOR -1.0f
#define ADDEND 3.0f
#define SAMPLES 64 // results that are looked at

typedef struct bench {
    const inl_env *env;
    inl_gpu *gpu;
    inl_peak_kind kind;
    inl_buffer *in, *out;
    float *values; // what is in `in`
    inl_peak_args args;
    bool transfer; // copies by the driver's own means
} bench;

const char *inl_peak_name(inl_peak_kind kind)
{
    static const char *const names[INL_PEAK_COUNT] = {"fp32", "f16", "dot8", "matrix", "copy"};
    return names[kind];
}

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

// ---- one way of doing it

static double seconds_of(const inl_plan *plan, double wall)
{
    double longest, total;
    return inl_plan_submit_seconds(plan, &longest, &total) && total > 0.0 ? total : wall;
}

static inlay_result run(bench *b, inl_plan *plan, double *seconds)
{
    uint64_t ticket;
    double start = now();
    INL_TRY(inl_plan_run(plan, &ticket));
    INL_TRY(inl_gpu_wait(b->gpu, ticket));
    *seconds = seconds_of(plan, now() - start);
    return INLAY_OK;
}

static inlay_result make_plan(const bench *b, inl_plan **out)
{
    INL_TRY(inl_plan_create(b->env, b->gpu, out));
    const inl_peak_args *a = &b->args;
    if (b->kind == INL_PEAK_COPY && b->transfer)
        inl_plan_copy(*out, inl_op_external(*out, a->in), inl_op_external(*out, a->out),
                      a->in.size);
    else
        inl_op_peak(*out, b->kind, a);
    return inl_plan_finish(*out);
}

static void add_repeat(inl_peak *p, double work, double seconds)
{
    double rate = work / seconds, before = p->mean;
    p->repeats++;
    p->mean += (rate - before) / p->repeats;
    p->deviation += (rate - before) * (rate - p->mean); // the sum of squares until the end
    if (rate > p->rate) {
        p->rate = rate;
        p->seconds = seconds;
    }
}

// The first run compiles, the second one's time counts.
static inlay_result time_once(bench *b, double *seconds)
{
    inl_plan *plan = NULL;
    inlay_result result = make_plan(b, &plan);
    for (uint32_t i = 0; i < 2 && result == INLAY_OK; i++)
        result = run(b, plan, seconds);
    inl_plan_destroy(&plan);
    return result;
}

static inlay_result repeat(bench *b, inl_peak *out)
{
    inl_plan *plan = NULL;
    inlay_result result = make_plan(b, &plan);
    *out = (inl_peak){0};
    if (result == INLAY_OK) {
        out->flops = inl_plan_flops(plan);
        out->bytes = b->kind == INL_PEAK_COPY ? b->args.in.size + b->args.out.size : 0;
    }
    for (uint32_t i = 0; i <= REPEATS && result == INLAY_OK; i++) {
        double seconds, work = (double)(b->kind == INL_PEAK_COPY ? out->bytes : out->flops);
        result = run(b, plan, &seconds);
        if (result == INLAY_OK && i > 0)
            add_repeat(out, work, seconds);
    }
    inl_plan_destroy(&plan);
    out->deviation = out->repeats > 1 ? sqrt(out->deviation / (out->repeats - 1)) : 0.0;
    return result;
}

// ---- what the results should be

static int32_t bits_of(float value)
{
    int32_t bits;
    memcpy(&bits, &value, sizeof(bits));
    return bits;
}

// A chain of dot products of four signed bytes.
static double expected_bytes(const inl_peak_args *a, float from)
{
    int32_t x = bits_of(from), m = bits_of(a->factor), c = bits_of(a->addend);
    for (uint32_t n = 0; n < a->rounds * INL_PEAK_UNROLLED; n++) {
        uint32_t sum = (uint32_t)c;
        for (int shift = 0; shift < 32; shift += 8)
            sum += (uint32_t)((int8_t)((uint32_t)x >> shift) * (int8_t)((uint32_t)m >> shift));
        x = (int32_t)sum;
    }
    return x & 0xffff;
}

// The sum of 4 chains, 3 to 6, and A B.
static double expected_product(const bench *b, uint64_t index)
{
    inl_matrix_shape s = inl_gpu_get_caps(b->gpu)->matrix;
    uint64_t row = index % (s.m * s.n) / s.n, column = index % s.n;
    double sum = 4.0 * (double)b->args.addend + 6.0;
    for (uint64_t k = 0; k < s.k; k++)
        sum += (double)b->values[row * s.k + k] * (double)b->values[s.m * s.k + k * s.n + column];
    return sum;
}

static double expected(const bench *b, uint64_t index)
{
    double x = (double)b->values[index], sum = 0.0;
    if (b->kind == INL_PEAK_COPY)
        return x;
    if (b->kind == INL_PEAK_MATRIX)
        return expected_product(b, index);
    for (uint32_t i = 0; i < b->args.chains; i++)
        sum += b->kind == INL_PEAK_DOT8 ? expected_bytes(&b->args, b->values[index] + (float)i)
                                        : x + i;
    return sum;
}

// Floats of the output that are written: those of whole workgroups.
static uint64_t written(const bench *b)
{
    inl_matrix_shape s = inl_gpu_get_caps(b->gpu)->matrix;
    uint64_t floats = b->args.out.size / 4, tile = (uint64_t)s.m * s.n;
    if (b->kind != INL_PEAK_MATRIX)
        return floats;
    return INL_MIN(floats / tile, b->args.threads / 64) * tile;
}

static inlay_result check(bench *b, inl_peak *p)
{
    uint64_t count = written(b);
    float *out = inl_alloc(b->env, count, sizeof(*out));
    if (!out)
        return INLAY_ERROR_OUT_OF_MEMORY;
    inlay_result result = inl_gpu_download(b->gpu, b->out, 0, out, 4 * count);
    for (uint32_t i = 0; i < SAMPLES && result == INLAY_OK; i++) {
        uint64_t at = i + 1 == SAMPLES ? count - 1 : inl_rng_u32(7, 7, i) % count;
        double want = expected(b, at), error = fabs((double)out[at] - want) / fmax(fabs(want), 1.0);
        p->error = INL_MAX(p->error, isfinite(error) ? error : INFINITY);
    }
    inl_free(b->env, out);
    INL_TRY(result);
    if (p->error == 0.0)
        return INLAY_OK;
    return inl_fail(b->env, INLAY_ERROR_INTERNAL,
                    "the kernel peak_%s gives wrong results on this device: one is off by %.3g of "
                    "its value", inl_peak_name(b->kind), p->error);
}

// ---- measuring

static inlay_result calibrate(bench *b)
{
    for (;; b->args.rounds *= 2) {
        double seconds;
        INL_TRY(time_once(b, &seconds));
        if (seconds >= LONG_ENOUGH || b->args.rounds >= MOST_ROUNDS)
            return INLAY_OK;
        while (seconds < LONG_ENOUGH / 2 && b->args.rounds < MOST_ROUNDS / 2) {
            b->args.rounds *= 2;
            seconds *= 2;
        }
    }
}

// By the driver's means, and by a kernel unless that is far slower.
static inlay_result measure_copies(bench *b, inl_peak *out)
{
    double seconds;
    b->transfer = true;
    INL_TRY(repeat(b, out));
    INL_TRY(check(b, out));
    b->transfer = false;
    INL_TRY(inl_gpu_zero(b->gpu, b->out, 0, b->args.out.size));
    INL_TRY(time_once(b, &seconds));
    if (seconds > 2.0 * out->seconds)
        return INLAY_OK;
    inl_peak trial;
    INL_TRY(repeat(b, &trial));
    INL_TRY(check(b, &trial));
    if (trial.rate > out->rate)
        *out = trial;
    return INLAY_OK;
}

// As many chains as pay: too few wait for each other, too many do not fit the registers.
static inlay_result measure(bench *b, inl_peak *out)
{
    if (b->kind == INL_PEAK_COPY)
        return measure_copies(b, out);
    uint32_t first = b->kind == INL_PEAK_MATRIX ? INL_PEAK_MOST_CHAINS : 1;
    for (uint32_t chains = first; chains <= INL_PEAK_MOST_CHAINS; chains++) {
        inl_peak trial;
        b->args.chains = chains;
        b->args.rounds = INL_MAX(1, b->args.rounds / 2);
        INL_TRY(calibrate(b));
        INL_TRY(repeat(b, &trial));
        INL_TRY(check(b, &trial));
        if (trial.rate > out->rate)
            *out = trial;
    }
    return INLAY_OK;
}

static uint64_t choose_bytes(const bench *b)
{
    const inl_gpu_caps *caps = inl_gpu_get_caps(b->gpu);
    uint64_t most = INL_MIN(caps->max_buffer_range_bytes, inl_gpu_available(b->gpu) / 4);
    uint64_t want = b->kind == INL_PEAK_COPY ? COPY_BYTES : ARITHMETIC_BYTES;
    return INL_MIN(want, most / 1024 * 1024);
}

static inlay_result fill(bench *b, uint64_t bytes)
{
    b->values = inl_alloc(b->env, bytes / 4, sizeof(float));
    if (!b->values)
        return INLAY_ERROR_OUT_OF_MEMORY;
    for (uint64_t i = 0; i < bytes / 4; i++)
        b->values[i] = 1.0f + (float)(inl_rng_u32(1, 2, (uint32_t)i) % 64) / 64.0f;
    INL_TRY(inl_buffer_create(b->gpu, "what a peak reads", bytes, INL_MEMORY_DEVICE, &b->in));
    INL_TRY(inl_buffer_create(b->gpu, "what a peak writes", bytes, INL_MEMORY_DEVICE, &b->out));
    INL_TRY(inl_gpu_zero(b->gpu, b->out, 0, bytes));
    return inl_gpu_upload(b->gpu, b->in, 0, b->values, bytes);
}

inlay_result inl_peak_measure(const inl_env *env, inl_gpu *gpu, inl_peak_kind kind, inl_peak *out)
{
    bench b = {.env = env, .gpu = gpu, .kind = kind};
    uint64_t bytes = choose_bytes(&b);
    *out = (inl_peak){0};
    if (!inl_kernel_usable(inl_gpu_get_caps(gpu), inl_peak_kernel(kind)))
        return INLAY_ERROR_UNSUPPORTED;
    inlay_result result = fill(&b, bytes);
    b.args = (inl_peak_args){.in = {b.in, 0, bytes},
                             .out = {b.out, 0, bytes},
                             .floats = (uint32_t)(bytes / 4),
                             .rounds = 2,
                             .factor = FACTOR,
                             .addend = ADDEND,
                             .threads = THREADS};
    if (result == INLAY_OK)
        result = measure(&b, out);
    inl_buffer_destroy(gpu, &b.in);
    inl_buffer_destroy(gpu, &b.out);
    inl_free(env, b.values);
    return result;
}
