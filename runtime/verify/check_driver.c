// SPDX-License-Identifier: MIT
// What a driver claims, apart from the kernels that build on it: subgroups, shared memory, loops,
// ranges as large as it says it binds, workgroups in pieces, timestamps, memory of the host, f16.
#include "base/half.h"
#include "op/node.h"
#include "verify/families.h"
#include "verify/suite.h"

#include <math.h>
#include <string.h>
#include <time.h>

enum { LANES = 64 };

static void add(kt *k, inl_kernel kernel, uint32_t lanes, uint32_t words, uint32_t groups,
                struct push_driver push, inl_buf a, inl_buf b, inl_buf c)
{
    inl_node node = {.kernel = kernel,
                     .tag = "driver",
                     .uses = {{a, INL_READ_WRITE},
                              inl_node_optional(b, INL_READ_WRITE),
                              inl_node_optional(c, INL_READ_WRITE)},
                     .spec = {lanes, words},
                     .spec_count = words ? 2 : 1,
                     .groups = {groups, 1, 1}};
    if (inl_kernels[kernel].push_bytes > 0)
        inl_node_push(&node, &push, sizeof(push));
    inl_plan_add(kt_plan(k), &node);
}

static inl_buf buf_of(kt *k, const kt_words *w)
{
    return inl_op_external(kt_plan(k), w->range);
}

// ---- subgroups

typedef struct lane { // what a thread wrote
    uint32_t size, subgroup, lane, sum, most, other, next, elected;
} lane;

// The number of the thread of `lanes` that is lane `at` of the same subgroup; NaN: there is none.
static double value_at(const lane *y, const double *x, uint32_t lanes, uint32_t subgroup,
                       uint32_t at)
{
    for (uint32_t i = 0; i < lanes; i++)
        if (y[i].subgroup == subgroup && y[i].lane == at)
            return x[i];
    return (double)NAN;
}

static bool is_value(uint32_t bits, double expected)
{
    return isnan(expected) || (double)inl_f32_from_bits(bits) == expected;
}

static void check_lane(kt *k, const lane *y, const double *x, uint32_t lanes, uint32_t i)
{
    const inl_gpu_caps *caps = kt_caps(kt_suite_of(k));
    const lane *own = &y[i];
    double sum = 0.0, most = -INFINITY;
    uint32_t same = 0, elected = 0;
    for (uint32_t j = 0; j < lanes; j++) {
        if (y[j].subgroup != own->subgroup)
            continue;
        sum += x[j];
        most = fmax(most, x[j]);
        same += y[j].lane == own->lane;
        elected += y[j].elected;
    }
    double other = value_at(y, x, lanes, own->subgroup, own->lane ^ 1u);
    double next = value_at(y, x, lanes, own->subgroup, (own->lane & ~3u) | ((own->lane + 1) & 3u));
    if (own->size < caps->subgroup_size_min || own->size > caps->subgroup_size_max)
        kt_fail(k, "thread %u is in a subgroup of %u, the driver said %u to %u", i, own->size,
                caps->subgroup_size_min, caps->subgroup_size_max);
    else if (same != 1 || own->lane >= own->size)
        kt_fail(k, "thread %u is lane %u of %u, and so are %u others", i, own->lane, own->size,
                same - 1);
    else if (!is_value(own->sum, sum))
        kt_fail(k, "thread %u: the sum over its subgroup is %g, not %g", i,
                (double)inl_f32_from_bits(own->sum), sum);
    else if (!is_value(own->most, most))
        kt_fail(k, "thread %u: the maximum over its subgroup is %g, not %g", i,
                (double)inl_f32_from_bits(own->most), most);
    else if (!is_value(own->other, other) || !is_value(own->next, next))
        kt_fail(k, "thread %u: shuffles gave %g and %g, not %g and %g", i,
                (double)inl_f32_from_bits(own->other), (double)inl_f32_from_bits(own->next), other,
                next);
    else if (elected != 1)
        kt_fail(k, "%u threads of subgroup %u were elected", elected, own->subgroup);
}

static void check_subgroups(kt_suite *suite, uint32_t lanes)
{
    enum { GROUPS = 5 };
    if (lanes > kt_caps(suite)->max_workgroup_size)
        return;
    kt *k = kt_begin(suite, "subgroups in workgroups of %u", lanes);
    if (!k)
        return;
    kt_mat x = kt_array(k, KT_IN, "x", lanes * GROUPS, 4, 1.0f);
    double *whole = kt_doubles(k, x.cols);
    for (uint32_t i = 0; i < x.cols; i++)
        whole[i] = (double)kt_below(k, 4001) - 2000.0; // their sums are exact
    kt_set(k, &x, whole);
    kt_words y = kt_make_words(k, "y", 8 * x.cols, NULL);
    add(k, INL_KERNEL_DRIVER_SUBGROUP, lanes, 0, GROUPS, (struct push_driver){0}, x.t.buf,
        buf_of(k, &y), INL_BUF_NONE);
    if (kt_run(k)) {
        const lane *got = (const lane *)(const void *)kt_get_words(k, &y);
        for (uint32_t i = 0; i < x.cols; i++)
            check_lane(k, got + i / lanes * lanes, x.v + i / lanes * lanes, lanes, i % lanes);
    }
    kt_end(k);
}

// ---- shared memory

static void expect_shared(uint32_t lanes, uint32_t words, uint32_t rounds, uint32_t *shared,
                          uint32_t *y)
{
    for (uint32_t t = 0; t < lanes; t++)
        y[t] = t;
    for (uint32_t round = 0; round < rounds; round++) {
        for (uint32_t i = 0; i < words; i++)
            shared[i] = (i + 1) * 2654435761u ^ (y[i % lanes] + round);
        for (uint32_t i = 0; i < words; i++)
            y[i % lanes] = y[i % lanes] * 31 + shared[(i * 7 + round * 13 + 1) % words];
    }
}

static void check_shared(kt_suite *suite, uint32_t lanes, uint32_t words)
{
    enum { GROUPS = 4, ROUNDS = 5 };
    if (lanes > kt_caps(suite)->max_workgroup_size)
        return;
    kt *k = kt_begin(suite, "%u bytes of shared memory, workgroups of %u", 4 * words, lanes);
    if (!k)
        return;
    kt_words y = kt_make_words(k, "y", lanes * GROUPS, NULL);
    uint32_t *expected = kt_alloc(k, 4ull * lanes * GROUPS);
    expect_shared(lanes, words, ROUNDS, kt_alloc(k, 4ull * words), expected);
    for (uint32_t g = 1; g < GROUPS; g++)
        memcpy(expected + g * lanes, expected, 4ull * lanes);
    add(k, INL_KERNEL_DRIVER_SHARED, lanes, words, GROUPS, (struct push_driver){.count = ROUNDS},
        buf_of(k, &y), INL_BUF_NONE, INL_BUF_NONE);
    if (kt_run(k))
        kt_expect_words(k, &y, expected);
    kt_end(k);
}

// ---- loops, and workgroups

static void expect_loop(const uint32_t *n, uint32_t count, uint32_t *y)
{
    for (uint32_t i = 0; i < count; i++) {
        uint32_t state = i;
        for (uint32_t r = 0; r < n[i]; r++)
            state = state * 1664525u + 1013904223u;
        y[2 * i] = state;
        y[2 * i + 1] = n[i];
    }
}

static kt_words emit_loop(kt *k, uint32_t *n, uint32_t count, uint32_t inner, uint64_t flops,
                          uint32_t *expected)
{
    kt_words in = kt_make_words(k, "rounds", count, n);
    kt_words y = kt_make_words(k, "y", 2 * count, NULL);
    expect_loop(n, count, expected);
    inl_node node = {.kernel = INL_KERNEL_DRIVER_LOOP,
                     .tag = "driver",
                     .uses = {{buf_of(k, &in), INL_READ}, {buf_of(k, &y), INL_WRITE}},
                     .spec = {LANES},
                     .spec_count = 1,
                     .flops = flops};
    struct push_driver push = {.count = count, .inner = inner};
    inl_node_push(&node, &push, sizeof(push));
    inl_node_linear(&node, count, LANES);
    inl_plan_add(kt_plan(k), &node);
    return y;
}

// As many rounds as the table of gpu/caps.c says that this driver runs: some end loops early,
// without a word. They count the pass that leaves a loop, too.
static void check_loop(kt_suite *suite, uint32_t inner)
{
    enum { COUNT = 70 };
    uint64_t passes = INL_MIN(kt_caps(suite)->max_loop_rounds, 600000) - 4;
    uint32_t most = (uint32_t)(passes * inner / (inner + 2)) - 1;
    kt *k = kt_begin(suite, "loops of %u rounds, %u at a time", most, inner);
    if (!k)
        return;
    uint32_t n[COUNT], expected[2 * COUNT];
    for (uint32_t i = 0; i < COUNT; i++)
        n[i] = i % 7 == 0 ? most : i % 7 == 1 ? 0 : kt_below(k, most);
    kt_words y = emit_loop(k, n, COUNT, inner, 0, expected);
    if (kt_run(k))
        kt_expect_words(k, &y, expected);
    kt_end(k);
}

// So much work, as the plan is told, that it cuts the node into pieces, each a part of the
// workgroups.
static void check_pieces(kt_suite *suite)
{
    const uint32_t count = 200003;
    kt *k = kt_begin(suite, "%u workgroups in pieces", inl_div_up(count, LANES));
    if (!k)
        return;
    uint32_t *n = kt_alloc(k, 4ull * count), *expected = kt_alloc(k, 8ull * count);
    for (uint32_t i = 0; i < count; i++)
        n[i] = kt_below(k, 4);
    kt_words y = emit_loop(k, n, count, 2, 64ull << 31, expected);
    if (kt_run(k))
        kt_expect_words(k, &y, expected);
    if (!kt_suite_of(k)->compile && inl_plan_submit_count(kt_plan(k)) < 2)
        kt_fail(k, "the plan was not cut");
    kt_end(k);
}

// ---- timestamps

static double now(void)
{
    struct timespec t;
    timespec_get(&t, TIME_UTC);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

// Runs the plan; false: the device's seconds and the host's do not go together. What else the
// machine does only adds to the host's.
static bool time_once(kt *k, double *device, double *host)
{
    uint64_t ticket;
    double from = now();
    kt_must(k, inl_plan_run(kt_plan(k), &ticket));
    kt_must(k, inl_gpu_wait(kt_gpu(kt_suite_of(k)), ticket));
    *host = now() - from;
    return inl_plan_node_seconds(kt_plan(k), device) && *device > 0.0 &&
           *device < 1.1 * *host + 1e-3 && *device > 0.02 * *host - 2e-3;
}

static void check_timestamps(kt_suite *suite)
{
    enum { COUNT = 256, TRIES = 5 };
    kt *k = kt_begin(suite, "timestamps and the host's clock");
    if (!k)
        return;
    uint32_t n[COUNT], expected[2 * COUNT];
    for (uint32_t i = 0; i < COUNT; i++)
        n[i] = INL_MIN(kt_caps(suite)->max_loop_rounds / 2, 300000);
    kt_words y = emit_loop(k, n, COUNT, 1000, 0, expected);
    double device = 0.0, host = 0.0;
    bool plausible = false;
    if (kt_caps(suite)->timestamp_ns <= 0.0f) {
        kt_skip(k, "the device has no timestamps");
    } else if (kt_run(k)) {
        kt_expect_words(k, &y, expected);
        kt_must(k, inl_plan_profile(kt_plan(k), true));
        for (uint32_t i = 0; i < TRIES && !plausible; i++)
            plausible = time_once(k, &device, &host);
        if (!plausible)
            kt_fail(k, "a kernel took %.6f s by its timestamps, of %.6f s by the host's clock",
                    device, host);
    }
    kt_end(k);
}

// ---- memory

// Words near the beginning, the end, and what 31 and 32 bits of a byte's address reach, and others.
static void choose_words(kt *k, uint32_t words, uint32_t *at, uint32_t count)
{
    uint32_t step = words / count;
    for (uint32_t i = 0; i < count; i++)
        at[i] = step * i + (i > 0 ? kt_below(k, INL_MAX(step, 1)) : 0);
    at[count - 1] = words - 1;
    static const uint64_t borders[] = {1u << 29, 1u << 30};
    for (uint32_t i = 0; i < INL_COUNT(borders); i++)
        if (words > borders[i] + 1 && borders[i] / step < count - 1)
            at[borders[i] / step] = (uint32_t)borders[i];
}

static void check_range(kt_suite *suite, bool large)
{
    enum { COUNT = 4096 };
    const inl_gpu_caps *caps = kt_caps(suite);
    uint64_t bytes = INL_MIN(caps->max_buffer_range_bytes, caps->max_allocation_bytes);
    bytes = large ? INL_MIN(bytes, inl_gpu_available(kt_gpu(suite)) / 4) & ~15ull : 1 << 20;
    kt *k = kt_begin(suite, "a range of %llu MiB", (unsigned long long)(bytes >> 20));
    if (!k)
        return;
    uint32_t words = (uint32_t)(bytes / 4), at[COUNT], expected[COUNT];
    choose_words(k, words, at, COUNT);
    for (uint32_t i = 0; i < COUNT; i++)
        expected[i] = at[i] * 2654435761u;
    kt_words in = kt_make_words(k, "at", COUNT, at), y = kt_make_words(k, "y", COUNT, NULL);
    inl_range range = {.size = bytes};
    if (inl_buffer_create(kt_gpu(suite), "range", bytes, INL_MEMORY_DEVICE, &range.buffer) ==
        INLAY_OK) {
        k->buffers[k->buffer_count++] = range.buffer;
        inl_buf whole = inl_op_external(kt_plan(k), range), places = buf_of(k, &in);
        struct push_driver push = {.count = COUNT, .write = 1};
        add(k, INL_KERNEL_DRIVER_RANGE, LANES, 0, COUNT / LANES, push, whole, places,
            buf_of(k, &y));
        push.write = 0;
        add(k, INL_KERNEL_DRIVER_RANGE, LANES, 0, COUNT / LANES, push, whole, places,
            buf_of(k, &y));
        if (kt_run(k))
            kt_expect_words(k, &y, expected);
    } else {
        kt_skip(k, "so much memory is not to be had");
    }
    kt_end(k);
}

// A kernel reads what the host wrote into memory of both, and the host what the kernel did.
static void check_host_memory(kt_suite *suite)
{
    enum { COUNT = 1024, RUNS = 3 };
    kt *k = kt_begin(suite, "memory that the host sees");
    if (!k)
        return;
    inl_range in = {.size = 4 * COUNT}, out = in;
    kt_must(k, inl_buffer_create(kt_gpu(suite), "in", in.size, INL_MEMORY_HOST, &in.buffer));
    k->buffers[k->buffer_count++] = in.buffer;
    kt_must(k, inl_buffer_create(kt_gpu(suite), "out", in.size, INL_MEMORY_HOST, &out.buffer));
    k->buffers[k->buffer_count++] = out.buffer;
    uint32_t at[COUNT], *from = inl_buffer_map(in.buffer);
    const uint32_t *to = inl_buffer_map(out.buffer);
    for (uint32_t i = 0; i < COUNT; i++)
        at[i] = COUNT - 1 - i;
    memset(from, 0, in.size);
    kt_words places = kt_make_words(k, "at", COUNT, at);
    add(k, INL_KERNEL_DRIVER_RANGE, LANES, 0, COUNT / LANES, (struct push_driver){.count = COUNT},
        inl_op_external(kt_plan(k), in), buf_of(k, &places), inl_op_external(kt_plan(k), out));
    for (uint32_t run = 0; run < RUNS && (run > 0 || kt_run(k)); run++) {
        uint64_t ticket;
        for (uint32_t i = 0; i < COUNT; i++)
            from[i] = kt_u32(k);
        kt_must(k, inl_plan_run(kt_plan(k), &ticket));
        kt_must(k, inl_gpu_wait(kt_gpu(suite), ticket));
        for (uint32_t i = 0; i < COUNT; i++)
            if (to[i] != from[COUNT - 1 - i])
                kt_fail(k, "run %u: word %u is 0x%08x, not 0x%08x", run, i, to[i],
                        from[COUNT - 1 - i]);
    }
    kt_end(k);
}

// ---- f16

// Whether the bits are those of a number next to x: of the nearest, or of the next one to zero.
// What is subnormal in f16 may become zero.
static bool is_rounded(uint32_t bits, float x)
{
    float got = inl_f16_to_f32((uint16_t)bits), below = x, unit;
    int exponent;
    frexpf(x, &exponent);
    unit = ldexpf(1.0f, INL_MAX(exponent - 11, -24));
    if (fabsf(x) < 0x1p-14f && got == 0.0f)
        return true;
    if (fabsf(x) >= 65504.0f)
        return isinf(got) || fabsf(got) == 65504.0f;
    return fabsf(got - below) < unit && (got == 0.0f || signbit(got) == signbit(x));
}

static void check_half(kt_suite *suite)
{
    enum { COUNT = 65536 };
    kt *k = kt_begin(suite, "f16, all numbers and roundings");
    if (!k)
        return;
    kt_mat x = kt_array(k, KT_IN, "x", COUNT, 4, 1.0f), y = kt_array(k, KT_OUT, "y", COUNT, 4, 0);
    kt_words z = kt_make_words(k, "z", COUNT, NULL);
    double *values = kt_doubles(k, COUNT);
    for (uint32_t i = 0; i < COUNT; i++) // all sizes, on both sides of every number's middle
        values[i] = ldexp((double)kt_f32(k, 2.0f), (int)kt_below(k, 44) - 27);
    kt_set(k, &x, values);
    add(k, INL_KERNEL_DRIVER_HALF, LANES, 0, COUNT / LANES, (struct push_driver){.count = COUNT},
        x.t.buf, y.t.buf, buf_of(k, &z));
    if (kt_run(k)) {
        const uint32_t *bits = kt_get_words(k, &z);
        for (uint32_t i = 0; i < COUNT; i++) {
            float got = kt_get(k, &y, 0, i), expected = inl_f16_to_f32((uint16_t)i);
            if (isnan(expected) ? !isnan(got) : got != expected)
                kt_fail(k, "the bits 0x%04x are read as %.9g, not %.9g", i, (double)got,
                        (double)expected);
            if (!is_rounded(bits[i], (float)x.v[i]))
                kt_fail(k, "%.9g is rounded to the bits 0x%04x, %.9g", x.v[i], bits[i],
                        (double)inl_f16_to_f32((uint16_t)bits[i]));
        }
    }
    kt_end(k);
}

void check_driver(kt_suite *suite)
{
    static const uint32_t lanes[] = {64, 128, 256};
    for (uint32_t i = 0; i < INL_COUNT(lanes); i++)
        check_subgroups(suite, lanes[i]);
    check_shared(suite, 128, 1000);
    check_shared(suite, 256, kt_caps(suite)->shared_memory_bytes / 4);
    check_loop(suite, 1);
    check_loop(suite, 1000);
    check_pieces(suite);
    check_timestamps(suite);
    check_range(suite, false);
    check_range(suite, true);
    check_host_memory(suite);
    check_half(suite);
}
