// SPDX-License-Identifier: MIT
// What a driver's compiler makes of gemm_tiled.comp in many tile sizes, for the table of
// runtime/gpu/tiles.c: registers, spills, shared memory, occupancy, the modelled share of peak
// (isa.h), and flop for each byte that a workgroup reads. Nothing is run.
//
// A tile's figures are the worst of the kernels looked at: products and their transposes of some
// formats. Those that spill are left out. The best share comes first; shares within 2 % of each
// other go by flop for each byte.
//
// usage: tile_sweep [--chip NAME] [--most N] [--shaders FOLDER] [FORMAT...]
//   FORMAT  q4_0 q8_0 f16 ... (q4_0 q8_0 f16)
#define _GNU_SOURCE
#include "isa.h"
#include "kernel_report.h"

#include "common.h"
#include "shaders.h"

#include "op/op.h"

#include <math.h>
#include <string.h>

enum { ROWS = 1024, COLUMNS = 4096, DEPTH = 4096, MAX_TILES = 512, MAX_FORMATS = 8 };

typedef struct swept {
    inl_gemm_tile tile;
    uint32_t threads;
    double registers, shared, occupancy, cycles, share;
    const char *limit;
    bool spills;
} swept;

typedef struct options {
    const char *chip, *shaders;
    uint32_t most;
    const inl_format *formats[MAX_FORMATS];
    uint32_t format_count;
} options;

static options read_options(int argc, char **argv)
{
    static const char *const defaults[] = {"q4_0", "q8_0", "f16"};
    options o = {.most = 16};
    int i = 1;
    for (; i + 1 < argc && strncmp(argv[i], "--", 2) == 0; i += 2) {
        if (strcmp(argv[i], "--chip") == 0)
            o.chip = argv[i + 1];
        else if (strcmp(argv[i], "--shaders") == 0)
            o.shaders = argv[i + 1];
        else if (strcmp(argv[i], "--most") == 0)
            o.most = (uint32_t)atoi(argv[i + 1]);
        else
            break;
    }
    int named = argc - i;
    for (int k = 0; k < (named ? named : (int)INL_COUNT(defaults)) && k < MAX_FORMATS; k++)
        o.formats[o.format_count++] = inl_format_by_name(named ? argv[i + k] : defaults[k]);
    for (uint32_t k = 0; k < o.format_count; k++)
        if (!o.formats[k]) {
            fprintf(stderr, "usage: tile_sweep [--chip NAME] [--most N] [--shaders FOLDER]"
                            " [FORMAT...]\n");
            exit(2);
        }
    return o;
}

// ---- a tile's kernels

// The node that a plan of a device with this tile alone has for the product.
static stats_node node_of(const inl_env *env, const inl_gpu_caps *caps, const inl_gemm_tile *tile,
                          const inl_format *format, bool dx)
{
    inl_gpu_caps with = *caps;
    inl_plan *plan;
    for (uint32_t i = 0; i < INL_TILE_SIZES; i++)
        with.tiles.gemm[i] = *tile;
    dev_check(inl_plan_create_dry(env, &with, &plan), "make a plan");
    inl_weight_part part = {.rows = COLUMNS, .quants = {.size = 16}, .scales = {.size = 16}};
    inl_weight weight = {format, COLUMNS, DEPTH, 0, 1, &part};
    inl_inputs in = {.scalars = inl_plan_scratch(plan, INL_SCRATCH, 256)};
    inl_gemm_args args = {.w = &weight,
                          .x = inl_plan_tensor(plan, ROWS, dx ? COLUMNS : DEPTH),
                          .y = inl_plan_tensor(plan, ROWS, dx ? DEPTH : COLUMNS),
                          .bias = INL_BUF_NONE,
                          .residual = INL_BUF_NONE,
                          .tag = "product"};
    if (dx)
        inl_op_gemm_dx(plan, &in, &args);
    else
        inl_op_gemm(plan, &in, &args);
    dev_check(inl_plan_finish(plan), "emit a product");
    const inl_node *last = inl_plan_node(plan, inl_plan_node_count(plan) - 1);
    stats_node node = {.kernel = last->kernel,
                       .spec_count = last->spec_count,
                       .subgroup = last->subgroup,
                       .tag = "product"};
    memcpy(node.spec, last->spec, sizeof(last->spec));
    inl_plan_destroy(&plan);
    return node;
}

static void add_report(swept *s, const isa_chip *chip, const stats_report *r)
{
    const double *v = r->values;
    double width = isnan(v[STATS_WIDTH]) ? 0.0 : v[STATS_WIDTH];
    double subgroups = isnan(v[STATS_OCCUPANCY]) ? 8.0 : v[STATS_OCCUPANCY]; // Intel's threads
    if (chip && chip->family == ISA_NVIDIA)
        subgroups /= 4.0; // of an SM
    isa_model model =
        isa_model_of(chip, (uint32_t)width, r->invocations, subgroups, r->code);
    s->spills |= v[STATS_SPILLS] > 0.0 || v[STATS_SCRATCH] > 0.0;
    s->registers = fmax(s->registers, v[STATS_REGISTERS]);
    s->shared = fmax(s->shared, v[STATS_SHARED]);
    s->occupancy = fmin(s->occupancy, v[STATS_OCCUPANCY]);
    s->cycles += v[STATS_CYCLES];
    if (!model.known || model.share < s->share) {
        s->share = model.known ? model.share : 0.0;
        s->limit = model.known ? isa_pipe_name(model.limit) : "?";
    }
}

static swept sweep_tile(const inl_env *env, inl_gpu *gpu, const options *o, const isa_chip *chip,
                        const inl_gemm_tile *tile)
{
    swept s = {.tile = *tile, .share = INFINITY, .occupancy = INFINITY};
    s.threads = tile->rows / tile->thread_rows * (tile->columns / tile->thread_columns);
    for (uint32_t i = 0; i < 2 * o->format_count && !s.spills; i++) {
        stats_node node = node_of(env, &gpu->caps, tile, o->formats[i / 2], i % 2);
        stats_report report;
        stats_compile(gpu, &inl_kernels[node.kernel], &node, &report);
        add_report(&s, chip, &report);
        stats_report_free(&report);
    }
    return s;
}

// ---- all of them

static uint32_t list_tiles(const inl_gpu_caps *caps, inl_gemm_tile *tiles)
{
    static const uint32_t sides[] = {32, 64, 128, 256}, depths[] = {8, 16, 32}, own[] = {4, 8};
    uint32_t count = 0, lanes = INL_MAX(caps->subgroup_size_min, 32);
    for (uint32_t i = 0; i < 4 * 4 * 3 * 2 * 2; i++) {
        inl_gemm_tile t = {sides[i % 4], sides[i / 4 % 4], depths[i / 16 % 3], own[i / 48 % 2],
                           own[i / 96]};
        uint32_t threads = t.rows / t.thread_rows * (t.columns / t.thread_columns);
        inl_tiles all = caps->tiles;
        for (uint32_t k = 0; k < INL_TILE_SIZES; k++)
            all.gemm[k] = t;
        if (inl_tiles_fit(caps, &all) && threads % lanes == 0 && threads >= lanes &&
            threads <= 256 && t.rows + t.columns <= 256)
            tiles[count++] = t;
    }
    return count;
}

static double flop_per_byte(const inl_gemm_tile *t)
{
    return 2.0 * t->rows * t->columns / (4.0 * (t->rows + t->columns));
}

static int better_first(const void *a, const void *b)
{
    const swept *x = a, *y = b;
    double sx = floor(50.0 * x->share), sy = floor(50.0 * y->share);
    if (sx != sy)
        return sx < sy ? 1 : -1;
    double fx = flop_per_byte(&x->tile), fy = flop_per_byte(&y->tile);
    return fx != fy ? (fx < fy ? 1 : -1) : (x->cycles > y->cycles) - (x->cycles < y->cycles);
}

static void print_row(const swept *s)
{
    const inl_gemm_tile *t = &s->tile;
    printf("%4u x %3u x %2u  %2u x %u %8u %6.0f %7.0f %6.0f %9.0f %6.1f  %5.1f %% %s\n", t->rows,
           t->columns, t->depth, t->thread_rows, t->thread_columns, s->threads, s->registers,
           s->shared, isinf(s->occupancy) ? 0.0 : s->occupancy, s->cycles, flop_per_byte(t),
           100.0 * s->share, s->limit);
}

int main(int argc, char **argv)
{
    options o = read_options(argc, argv);
    inl_env env = inl_env_resolve(&(inlay_env){.log = dev_log});
    inl_gpu *gpu;
    dev_check(inl_gpu_create(&env, NULL, &gpu), "open the device");
    dev_use_shaders(gpu, o.shaders);
    gpu->caps.tiles.tiled_rows = 1;
    gpu->caps.simd_lanes = 0;
    const isa_chip *chip = isa_find_chip(o.chip, gpu->caps.name);
    printf("%s, %s: %s, %u compute units\n", gpu->caps.name, gpu->caps.driver_info,
           inl_generation_name(gpu->caps.generation), gpu->caps.compute_units);
    static inl_gemm_tile tiles[MAX_TILES];
    static swept all[MAX_TILES];
    uint32_t count = list_tiles(&gpu->caps, tiles), kept = 0;
    stats_device saved;
    stats_open(gpu, &saved);
    for (uint32_t i = 0; i < count; i++) {
        swept s = sweep_tile(&env, gpu, &o, chip, &tiles[i]);
        if (!s.spills)
            all[kept++] = s;
    }
    stats_close(gpu, &saved);
    qsort(all, kept, sizeof(*all), better_first);
    printf("%u tiles, %u of them spill\n%-16s %-6s %8s %6s %7s %6s %9s %6s  %s\n", count,
           count - kept, "tile", "thread", "threads", "regs", "shared", "occup", "cycles", "flop/B",
           "of peak (modelled), limited by");
    for (uint32_t i = 0; i < INL_MIN(kept, o.most); i++)
        print_row(&all[i]);
    dev_free_shaders(gpu);
    inl_gpu_destroy(&gpu);
    return 0;
}
