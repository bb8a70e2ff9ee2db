// SPDX-License-Identifier: MIT
#define _POSIX_C_SOURCE 199309L
#include "bench/tune.h"
#include "base/rng.h"
#include "quant/tile.h"
#include "train/inputs.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define DEFAULT_SECONDS 60.0
#define REPEATS 7
#define MOST_CANDIDATES 24
#define MOST_PRODUCTS 8
#define LONG_ENOUGH 0.002 // seconds of a run
#define MOST_AT_ONCE 16   // products in a run
#define HOPELESS 2.0      // times the first one's seconds: not repeated
#define WORTH_IT 0.97     // of the seconds there were: less of a gain is noise
// Sums of the same products in another order: far above what rounding does, far below what a
// missing or doubled product does.
#define NMSE_BOUND 1e-9

// ---- what is tried

typedef enum knob { KNOB_GEMM, KNOB_GEMV, KNOB_TILE } knob;

// A group of products that one choice is made for.
typedef struct group {
    const char *what;
    knob knob;
    uint32_t size; // KNOB_TILE: index of the tile
    uint32_t m, n, k;
} group;

static const group groups_gpu[] = {
    {"one row", KNOB_GEMV, 0, 1, 4096, 4096},
    {"few rows", KNOB_GEMM, 0, 16, 4096, 2048},
    {"small tile", KNOB_TILE, 0, 128, 512, 2048},
    {"middle tile", KNOB_TILE, 1, 512, 1024, 2048},
    {"large tile", KNOB_TILE, 2, 2048, 4096, 2048},
};
static const group groups_cpu[] = {{"rows", KNOB_GEMM, 0, 128, 512, 512}};

// Formats of different work in the loop, each in both directions.
static const inl_format_id formats[] = {INL_FORMAT_Q4_0, INL_FORMAT_Q8_0, INL_FORMAT_Q4_K,
                                        INL_FORMAT_F16};

static const uint32_t gemm_candidates[][2] = {{32, 2}, {32, 4}, {32, 8}, {64, 4}, {64, 8}};

static const uint32_t gemv_candidates[] = {32, 64, 128, 256};

static const inl_gemm_tile tile_candidates[] = {
    {32, 32, 16, 4, 4},   {32, 64, 16, 4, 4},  {32, 64, 32, 8, 4},   {64, 32, 16, 4, 4},
    {64, 64, 16, 4, 4},   {64, 64, 32, 4, 4},  {64, 64, 16, 8, 4},   {64, 64, 16, 4, 8},
    {64, 64, 16, 8, 8},   {64, 64, 32, 8, 8},  {64, 128, 16, 8, 8},  {64, 128, 32, 8, 8},
    {128, 64, 16, 8, 8},  {128, 64, 32, 8, 8}, {128, 128, 16, 8, 8}, {128, 128, 32, 8, 8},
};

typedef struct candidate {
    inl_tiles tiles;
    double logs; // sum of the logarithms of the ratios
    uint32_t count;
    double error;
    bool wrong;
    // Of the product under way.
    inl_plan *plan;
    double seconds[REPEATS];
    uint32_t repeats;
    bool hopeless;
} candidate;

typedef struct tuner {
    const inl_env *env;
    inl_gpu *gpu;
    const inl_tune_params *params;
    double start, seconds; // of the whole
    inl_tiles first;       // those there were, but for what has been chosen since
    const group *group;
    uint32_t m, n, k; // of its products on this device
    candidate candidates[MOST_CANDIDATES];
    uint32_t count;
    inl_input_buffers inputs;
    // Of the product under way.
    const inl_format *format;
    bool dx;
    uint32_t at_once;
    inl_weight weight;
    inl_weight_part part;
    inl_buffer *quants, *scales, *x, *y;
    float *expected, *got;
} tuner;

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static void add_candidate(tuner *t, const inl_tiles *tiles)
{
    bool there = t->count == MOST_CANDIDATES || !inl_tiles_fit(inl_gpu_get_caps(t->gpu), tiles);
    for (uint32_t i = 0; i < t->count && !there; i++)
        there = memcmp(&t->candidates[i].tiles, tiles, sizeof(*tiles)) == 0;
    if (!there)
        t->candidates[t->count++] = (candidate){.tiles = *tiles};
}

// The tiles there are come first.
static void list_candidates(tuner *t)
{
    const inl_gpu_caps *caps = inl_gpu_get_caps(t->gpu);
    t->count = 0;
    add_candidate(t, &t->first);
    for (size_t i = 0; i < INL_COUNT(gemm_candidates) && t->group->knob == KNOB_GEMM; i++) {
        inl_tiles tiles = t->first;
        tiles.gemm_lanes = caps->simd_lanes ? caps->simd_lanes : gemm_candidates[i][0];
        tiles.gemm_rows = gemm_candidates[i][1];
        add_candidate(t, &tiles);
    }
    for (size_t i = 0; i < INL_COUNT(gemv_candidates) && t->group->knob == KNOB_GEMV; i++) {
        inl_tiles tiles = t->first;
        tiles.gemv_lanes = gemv_candidates[i];
        add_candidate(t, &tiles);
    }
    for (size_t i = 0; i < INL_COUNT(tile_candidates) && t->group->knob == KNOB_TILE; i++) {
        inl_tiles tiles = t->first;
        tiles.gemm[t->group->size] = tile_candidates[i];
        add_candidate(t, &tiles);
    }
}

// ---- a product's data

static float number(uint32_t stream, uint64_t i)
{
    return (float)inl_rng_u32(stream, (uint32_t)(i >> 32), (uint32_t)i) * 0x1p-31f - 1.0f;
}

// Eight rows of random numbers, again and again: planes lie in tiles of eight rows.
static inlay_result fill_planes(const tuner *t, uint32_t rows, uint32_t cols, uint8_t *quants,
                                uint64_t quant_bytes, uint8_t *scales, uint64_t scale_bytes)
{
    float *values = inl_alloc(t->env, 8ull * cols, sizeof(*values));
    uint8_t *blocks = inl_alloc(t->env, inl_format_bytes(t->format, 8ull * cols) + 1, 1);
    inlay_result result = values && blocks ? INLAY_OK : INLAY_ERROR_OUT_OF_MEMORY;
    if (result == INLAY_OK) {
        for (uint64_t i = 0; i < 8ull * cols; i++)
            values[i] = number(1, i);
        t->format->encode(values, blocks, 8ull * cols);
        inl_tile_pack(t->format, blocks, 8, cols, (uint32_t *)(void *)quants,
                      (uint32_t *)(void *)scales);
        uint64_t q = quant_bytes / (rows / 8), s = scale_bytes / (rows / 8);
        for (uint32_t r = 1; r < rows / 8; r++) {
            memcpy(quants + r * q, quants, q);
            memcpy(scales + r * s, scales, s);
        }
    }
    inl_free(t->env, values);
    inl_free(t->env, blocks);
    return result;
}

static inlay_result upload(const tuner *t, const char *name, const void *data, uint64_t bytes,
                           inl_buffer **out)
{
    INL_TRY(inl_buffer_create(t->gpu, name, INL_MAX(bytes, 16), INL_MEMORY_DEVICE, out));
    return bytes ? inl_gpu_upload(t->gpu, *out, 0, data, bytes) : INLAY_OK;
}

static inlay_result make_weight(tuner *t)
{
    uint64_t quants = inl_tile_quant_bytes(t->format, t->n, t->k);
    uint64_t scales = inl_tile_scale_bytes(t->format, t->n, t->k);
    uint8_t *q = inl_alloc(t->env, quants + 16, 1), *s = inl_alloc(t->env, scales + 16, 1);
    inlay_result result = q && s ? INLAY_OK : INLAY_ERROR_OUT_OF_MEMORY;
    if (result == INLAY_OK)
        result = fill_planes(t, t->n, t->k, q, quants, s, scales);
    if (result == INLAY_OK)
        result = upload(t, "quants", q, quants, &t->quants);
    if (result == INLAY_OK && scales)
        result = upload(t, "scales", s, scales, &t->scales);
    inl_free(t->env, q);
    inl_free(t->env, s);
    t->part = (inl_weight_part){.rows = t->n,
                                .quants = {t->quants, 0, quants},
                                .scales = {t->scales, 0, scales}};
    t->weight = (inl_weight){t->format, t->n, t->k, 0, 1, &t->part};
    return result;
}

static uint64_t result_floats(const tuner *t)
{
    return (uint64_t)t->m * (t->dx ? t->k : t->n);
}

static inlay_result make_data(tuner *t)
{
    uint64_t x_floats = inl_tensor_bytes(t->m, t->dx ? t->n : t->k) / 4;
    uint64_t y_floats = result_floats(t);
    INL_TRY(make_weight(t));
    float *x = inl_alloc(t->env, x_floats, sizeof(*x));
    t->expected = inl_alloc(t->env, y_floats, sizeof(float));
    t->got = inl_alloc(t->env, y_floats, sizeof(float));
    if (!x || !t->expected || !t->got) {
        inl_free(t->env, x);
        return INLAY_ERROR_OUT_OF_MEMORY;
    }
    for (uint64_t i = 0; i < x_floats; i++)
        x[i] = number(2, i);
    inlay_result result = upload(t, "x", x, 4 * x_floats, &t->x);
    inl_free(t->env, x);
    INL_TRY(result);
    return inl_buffer_create(t->gpu, "y", inl_tensor_bytes(t->m, t->dx ? t->k : t->n),
                             INL_MEMORY_DEVICE, &t->y);
}

static void free_data(tuner *t)
{
    for (uint32_t i = 0; i < t->count; i++)
        inl_plan_destroy(&t->candidates[i].plan);
    inl_buffer_destroy(t->gpu, &t->quants);
    inl_buffer_destroy(t->gpu, &t->scales);
    inl_buffer_destroy(t->gpu, &t->x);
    inl_buffer_destroy(t->gpu, &t->y);
    inl_free(t->env, t->expected);
    inl_free(t->env, t->got);
    t->expected = t->got = NULL;
}

// ---- a run

static inl_tensor external(inl_plan *plan, inl_buffer *buffer, uint32_t rows, uint32_t cols)
{
    return (inl_tensor){.buf = inl_plan_external(plan, buffer, 0, inl_tensor_bytes(rows, cols)),
                        .rows = rows,
                        .cols = cols,
                        .ld = cols};
}

static inlay_result make_plan(tuner *t, candidate *c)
{
    const group *g = t->group;
    inl_gpu_set_tiles(t->gpu, &c->tiles);
    INL_TRY(inl_plan_create(t->env, t->gpu, &c->plan));
    inl_inputs in = inl_inputs_bind(c->plan, &t->inputs);
    inl_gemm_args args = {.w = &t->weight,
                          .x = external(c->plan, t->x, t->m, t->dx ? t->n : t->k),
                          .y = external(c->plan, t->y, t->m, t->dx ? t->k : t->n),
                          .bias = INL_BUF_NONE,
                          .residual = INL_BUF_NONE,
                          .tag = "tune"};
    inl_gemv_args one = {.w = &t->weight,
                         .x = args.x,
                         .y = args.y,
                         .bias = INL_BUF_NONE,
                         .residual = INL_BUF_NONE,
                         .tag = "tune"};
    for (uint32_t i = 0; i < t->at_once && g->knob == KNOB_GEMV; i++)
        inl_op_gemv(c->plan, &one);
    for (uint32_t i = 0; i < t->at_once && g->knob != KNOB_GEMV; i++)
        (t->dx ? inl_op_gemm_dx : inl_op_gemm)(c->plan, &in, &args);
    INL_TRY(inl_plan_finish(c->plan));
    return inl_plan_profile(c->plan, true);
}

// Seconds of the products alone, by the device's clock where it has one.
static inlay_result run(const tuner *t, inl_plan *plan, double *seconds)
{
    uint64_t ticket;
    uint32_t count = inl_plan_node_count(plan);
    double *nodes = inl_alloc(t->env, count + 1, sizeof(*nodes)), before = now();
    if (!nodes)
        return INLAY_ERROR_OUT_OF_MEMORY;
    inlay_result result = inl_plan_run(plan, &ticket);
    if (result == INLAY_OK)
        result = inl_gpu_wait(t->gpu, ticket);
    *seconds = now() - before;
    if (result == INLAY_OK && inl_plan_node_seconds(plan, nodes)) {
        double sum = 0.0;
        for (uint32_t i = 0; i < count; i++)
            sum += inl_plan_node(plan, i) ? nodes[i] : 0.0;
        *seconds = sum > 0.0 ? sum : *seconds;
    }
    inl_free(t->env, nodes);
    return result;
}

static double nmse(const float *got, const float *expected, uint64_t count)
{
    double error = 0.0, sum = 0.0;
    for (uint64_t i = 0; i < count; i++) {
        double d = (double)got[i] - (double)expected[i];
        error += d * d;
        sum += (double)expected[i] * (double)expected[i];
    }
    return sum > 0.0 ? error / sum : INFINITY;
}

// The first run compiles; what it leaves is compared with what the first candidate left.
static inlay_result try_out(tuner *t, candidate *c)
{
    bool first = c == t->candidates;
    uint64_t count = result_floats(t);
    double seconds;
    INL_TRY(make_plan(t, c));
    INL_TRY(inl_gpu_zero(t->gpu, t->y, 0, 4 * count));
    INL_TRY(run(t, c->plan, &seconds));
    INL_TRY(inl_gpu_download(t->gpu, t->y, 0, first ? t->expected : t->got, 4 * count));
    double error = first ? 0.0 : nmse(t->got, t->expected, count);
    c->error = isnan(error) ? INFINITY : INL_MAX(c->error, error);
    c->wrong |= !(error <= NMSE_BOUND);
    INL_TRY(run(t, c->plan, &c->seconds[0]));
    c->repeats = 1;
    c->hopeless = c->wrong || c->seconds[0] > HOPELESS * t->candidates[0].seconds[0];
    return INLAY_OK;
}

static int by_value(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static double median(candidate *c)
{
    qsort(c->seconds, c->repeats, sizeof(c->seconds[0]), by_value);
    return c->seconds[c->repeats / 2];
}

// So many products in a run that the clock's steps do not matter.
static inlay_result size_runs(tuner *t)
{
    candidate *c = &t->candidates[0];
    t->at_once = 1;
    INL_TRY(try_out(t, c));
    double wanted = LONG_ENOUGH / INL_MAX(c->seconds[0], 1e-9);
    t->at_once = (uint32_t)INL_MAX(1.0, INL_MIN(wanted, MOST_AT_ONCE));
    inl_plan_destroy(&c->plan);
    return INLAY_OK;
}

// All candidates in turn, again and again until `deadline`.
static inlay_result measure(tuner *t, double deadline)
{
    INL_TRY(make_data(t));
    INL_TRY(size_runs(t));
    for (uint32_t i = 0; i < t->count; i++) {
        candidate *c = &t->candidates[i];
        c->repeats = 0;
        c->hopeless = true;
        if (!c->wrong && (i == 0 || now() < deadline))
            INL_TRY(try_out(t, c));
    }
    for (uint32_t repeat = 1; repeat < REPEATS && now() < deadline; repeat++)
        for (uint32_t i = 0; i < t->count; i++) {
            candidate *c = &t->candidates[i];
            if (!c->hopeless)
                INL_TRY(run(t, c->plan, &c->seconds[c->repeats++]));
        }
    double first = median(&t->candidates[0]);
    for (uint32_t i = 0; i < t->count; i++) {
        candidate *c = &t->candidates[i];
        if (c->wrong || c->repeats == 0)
            continue;
        c->logs += log(median(c) / first);
        c->count++;
    }
    return INLAY_OK;
}

// ---- choosing

static void describe(const tuner *t, const candidate *c, inl_tune_candidate *out)
{
    const inl_gemm_tile *tile = &c->tiles.gemm[t->group->size];
    *out = (inl_tune_candidate){.what = t->group->what,
                                .ratio = c->wrong || !c->count ? 0.0 : exp(c->logs / c->count),
                                .error = c->error};
    if (t->group->knob == KNOB_GEMM)
        snprintf(out->tiles, sizeof(out->tiles), "%u threads, %u rows each", c->tiles.gemm_lanes,
                 c->tiles.gemm_rows);
    else if (t->group->knob == KNOB_GEMV)
        snprintf(out->tiles, sizeof(out->tiles), "%u threads a tile", c->tiles.gemv_lanes);
    else
        snprintf(out->tiles, sizeof(out->tiles), "%u x %u x %u, %u x %u a thread", tile->rows,
                 tile->columns, tile->depth, tile->thread_rows, tile->thread_columns);
}

// The fastest, where it is worth a change; tells of all.
static inlay_result choose(tuner *t)
{
    uint32_t best = 0;
    for (uint32_t i = 1; i < t->count; i++) {
        const candidate *c = &t->candidates[i], *b = &t->candidates[best];
        if (!c->wrong && c->count == t->candidates[0].count && c->logs < b->logs &&
            c->logs < log(WORTH_IT) * c->count)
            best = i;
    }
    t->first = t->candidates[best].tiles;
    for (uint32_t i = 0; i < t->count; i++) {
        inl_tune_candidate told;
        describe(t, &t->candidates[i], &told);
        told.chosen = i == best;
        if (told.ratio == 0.0 && t->candidates[i].wrong)
            inl_logf(t->env, INLAY_LOG_WARN, "%s: %s gives wrong results here (NMSE %.1e)",
                     told.what, told.tiles, told.error);
        if (t->params->progress && !t->params->progress(t->params->user, &told))
            return INLAY_ERROR_INTERRUPTED;
    }
    return INLAY_OK;
}

// Tiles of a size are tried on products for which that size is chosen, whichever they are.
static void use_everywhere(tuner *t)
{
    for (uint32_t i = 0; i < t->count && t->group->knob == KNOB_TILE; i++)
        for (uint32_t k = 0; k < INL_TILE_SIZES; k++)
            t->candidates[i].tiles.gemm[k] = t->candidates[i].tiles.gemm[t->group->size];
}

static inlay_result tune_group(tuner *t, const group *g, uint32_t groups_left)
{
    inlay_result result = INLAY_OK;
    inl_tiles kept = t->first;
    t->group = g;
    // The kernels of GPUs on a CPU are a test's.
    uint32_t divisor = inl_gpu_get_caps(t->gpu)->type == 4 && g != groups_cpu ? 8 : 1;
    t->m = INL_MAX(g->m / divisor, INL_MIN(g->m, 64));
    t->n = g->n / divisor;
    t->k = INL_MAX(g->k / divisor, 256);
    list_candidates(t);
    use_everywhere(t);
    uint32_t products = 2 * INL_COUNT(formats);
    double share = (t->start + t->seconds - now()) / groups_left / products;
    for (uint32_t i = 0; i < products && result == INLAY_OK; i++) {
        double from = now();
        t->format = inl_format_by_id(formats[i / 2]);
        t->dx = i % 2;
        if (t->dx && g->knob == KNOB_GEMV)
            continue;
        result = measure(t, from + share);
        free_data(t);
        if (now() > t->start + t->seconds)
            break;
    }
    if (result == INLAY_OK)
        result = choose(t);
    inl_gemm_tile chosen = t->first.gemm[g->size];
    if (g->knob == KNOB_TILE) {
        t->first = kept;
        t->first.gemm[g->size] = chosen;
    }
    return result;
}

static inlay_result tune(tuner *t)
{
    bool cpu = inl_gpu_get_caps(t->gpu)->simd_lanes > 0;
    const group *groups = cpu ? groups_cpu : groups_gpu;
    uint32_t count = cpu ? INL_COUNT(groups_cpu) : INL_COUNT(groups_gpu);
    for (uint32_t i = 0; i < count; i++)
        INL_TRY(tune_group(t, &groups[i], count - i));
    return INLAY_OK;
}

inlay_result inl_tune(const inl_env *env, inl_gpu *gpu, const inl_tune_params *params)
{
    tuner *t = inl_alloc(env, 1, sizeof(*t));
    if (!t)
        return INLAY_ERROR_OUT_OF_MEMORY;
    inl_tiles before = inl_gpu_get_caps(gpu)->tiles;
    *t = (tuner){.env = env, .gpu = gpu, .params = params, .first = before, .start = now()};
    t->seconds = params->seconds > 0.0 ? params->seconds : DEFAULT_SECONDS;
    inlay_result result = inl_inputs_create(gpu, 8, &t->inputs);
    if (result == INLAY_OK)
        result = tune(t);
    inl_gpu_set_tiles(gpu, result == INLAY_OK ? &t->first : &before);
    inl_inputs_destroy(&t->inputs);
    inl_free(env, t);
    return result;
}
