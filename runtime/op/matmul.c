// SPDX-License-Identifier: MIT
// Products with frozen weights and the adapter's narrow ones.
#include "op/matmul.h"
#include "op/matrix.h"
#include "op/node.h"
#include "quant/nf4.h"
#include "quant/tile.h"

#include <stdlib.h>

#define GEMM_LANES 32
#define GEMM_ROWS 8
#define SPEC_TILE 10    // first of gemm_tiled.comp's constants that gemm.comp has not
#define STAGE_ROUNDS 16 // most loops of a thread in a step of gemm_tiled.comp
#define LORA_LANES 8
#define GRAD_LANES_GPU 16 // of lora_grad, with GRAD_SLICES_GPU threads a sum: 128, what all allow
#define GRAD_SLICES_GPU 8
#define BINDING_FLOATS (INL_BINDING_ALIGNMENT / 4)
#define LORA_SLICES_GPU 8 // threads a row's sum is shared by where there are thousands of them

inl_buf inl_op_external(inl_plan *plan, inl_range range)
{
    return inl_plan_external(plan, range.buffer, range.offset, range.size);
}

inl_range inl_floats_of(inl_range arena, uint64_t first, uint64_t count)
{
    return (inl_range){arena.buffer, arena.offset + 4 * first, 4 * count};
}

uint64_t inl_lora_a_floats(const inl_lora_slot *s)
{
    return 4ull * s->rank4 * inl_round_up(s->in, 8) * INL_MAX(s->experts, 1);
}

uint64_t inl_lora_b_floats(const inl_lora_slot *s)
{
    return 4ull * s->rank4 * inl_round_up(s->out, 8) * INL_MAX(s->experts, 1);
}

uint64_t inl_lora_place(inl_lora_slot *slots, uint32_t count, uint64_t at)
{
    for (uint32_t i = 0; i < count; i++) {
        slots[i].a = at = inl_round_up(at, BINDING_FLOATS);
        at += inl_lora_a_floats(&slots[i]);
    }
    for (uint32_t i = 0; i < count; i++) {
        slots[i].b = at = inl_round_up(at, BINDING_FLOATS);
        at += inl_lora_b_floats(&slots[i]);
    }
    for (uint32_t i = 0; i < count; i++) {
        if (!slots[i].dora)
            continue;
        slots[i].magnitude = at = inl_round_up(at, BINDING_FLOATS);
        at += inl_round_up(slots[i].out, 8);
    }
    return inl_round_up(at, BINDING_FLOATS);
}

static struct push_gemm push_of(const inl_weight *w, const inl_weight_part *part)
{
    return (struct push_gemm){.n_tiles = inl_div_up(part->rows, 8),
                              .k_tiles = inl_div_up(w->cols, 8),
                              .cols = w->cols,
                              .row0 = part->row0,
                              .expert0 = part->expert0,
                              .experts = part->experts,
                              .expert_scales =
                                  (uint32_t)inl_tile_scale_bytes(w->format, part->rows, w->cols) /
                                  4};
}

uint64_t inl_nf4_scale_bytes(const inl_weight *w, const inl_weight_part *part)
{
    struct push_gemm push = push_of(w, part);
    return 32ull * INL_MAX(part->experts, 1) * push.n_tiles * (push.k_tiles / 8);
}

static void decode_scales(inl_plan *plan, const inl_weight *w, const inl_weight_part *part,
                          inl_buf scales)
{
    struct push_gemm push = push_of(w, part);
    uint32_t lanes = inl_node_lanes(plan, GEMM_LANES), groups = push.k_tiles / 8;
    inl_node node = {
        .kernel = INL_KERNEL_NF4_SCALES,
        .tag = "decode",
        .uses = {{inl_op_external(plan, part->scales), INL_READ}, {scales, INL_WRITE}},
        .spec = {lanes},
        .spec_count = 1,
        .groups = {inl_div_up(groups, lanes), push.n_tiles, INL_MAX(part->experts, 1)}};
    inl_node_push(&node, &push, sizeof(push));
    inl_plan_add(plan, &node);
}

void inl_op_nf4_scales(inl_plan *plan, const inl_weight *w, const inl_weight_part *part)
{
    decode_scales(plan, w, part, inl_op_external(plan, part->expanded));
}

// NF4 whose blocks lie in rows: the scales are decoded before the product, the rest in its loop.
static inl_planes expand_nf4_scales(inl_plan *plan, const inl_weight *w,
                                    const inl_weight_part *part, inl_planes stored)
{
    if (part->expanded.size > 0)
        return (inl_planes){stored.quants, inl_op_external(plan, part->expanded), false};
    inl_buf scales = inl_plan_scratch(plan, INL_SCRATCH, inl_nf4_scale_bytes(w, part));
    decode_scales(plan, w, part, scales);
    return (inl_planes){.quants = stored.quants, .scales = scales};
}

// NF4 whose blocks lie across rows: all of it.
static inl_planes decode_nf4(inl_plan *plan, const inl_weight *w, const inl_weight_part *part,
                             inl_planes stored)
{
    struct push_gemm push = push_of(w, part);
    uint32_t matrices = INL_MAX(part->experts, 1);
    inl_buf tiles =
        inl_plan_scratch(plan, INL_SCRATCH, 256ull * matrices * push.n_tiles * push.k_tiles);
    inl_node node = {.kernel = INL_KERNEL_DECODE_NF4,
                     .tag = "decode",
                     .uses = {{stored.quants, INL_READ}, {stored.scales, INL_READ},
                              {tiles, INL_WRITE}},
                     .spec = {GEMM_LANES},
                     .spec_count = 1,
                     .groups = {inl_div_up(push.k_tiles, GEMM_LANES), push.n_tiles, matrices}};
    inl_node_packing(&node, w->format);
    inl_node_push(&node, &push, sizeof(push));
    inl_plan_add(plan, &node);
    return (inl_planes){.quants = tiles, .scales = tiles, .decoded = true};
}

inl_planes inl_planes_of(inl_plan *plan, const inl_weight *w, const inl_weight_part *part)
{
    inl_planes stored = {.quants = inl_op_external(plan, part->quants)};
    stored.scales = part->scales.size ? inl_op_external(plan, part->scales) : stored.quants;
    if (!inl_is_nf4(w->format))
        return stored;
    return w->cols % INL_NF4_BLOCK == 0 ? expand_nf4_scales(plan, w, part, stored)
                                        : decode_nf4(plan, w, part, stored);
}

static uint32_t gemm_lanes(const inl_plan *plan)
{
    const inl_gpu_caps *caps = inl_plan_caps(plan);
    return caps ? caps->tiles.gemm_lanes : GEMM_LANES;
}

// Divides the rows of every tensor, which are padded to a multiple of 8.
static uint32_t gemm_rows(const inl_plan *plan, inl_tensor x, const inl_routing *routing)
{
    const inl_gpu_caps *caps = inl_plan_caps(plan);
    if (x.rows == 1 || (routing && routing->align == 1))
        return 1;
    return caps ? caps->tiles.gemm_rows : GEMM_ROWS;
}

// Rows that are worked on.
static uint32_t live_rows(inl_tensor x, const inl_routing *routing)
{
    return routing ? routing->tokens * routing->used : x.rows;
}

// The tile of a workgroup, where the product is one for gemm_tiled.comp; else NULL.
static const inl_gemm_tile *tile_of(const inl_plan *plan, inl_tensor x, uint32_t columns,
                                    const inl_routing *routing)
{
    const inl_gpu_caps *caps = inl_plan_caps(plan);
    if (!caps || caps->simd_lanes || routing || x.rows < caps->tiles.tiled_rows)
        return NULL;
    return inl_tile_for(caps, x.rows, columns);
}

// Of a node for gemm.comp, one for gemm_tiled.comp.
static void tile_gemm(inl_node *node, const inl_gpu_caps *caps, const inl_gemm_tile *tile,
                      inl_tiling tiling, bool dx, uint32_t tiles, uint32_t rows)
{
    uint32_t threads_m = tile->rows / tile->thread_rows;
    uint32_t threads_n = tile->columns / tile->thread_columns;
    // Whole subgroups have the same rows, which are no more than the lanes that hold them.
    bool uniform = threads_n % caps->subgroup_size_max == 0 &&
                   tile->thread_rows <= caps->subgroup_size_min;
    uint32_t constants[] = {tile->columns, tile->depth, tile->thread_rows, tile->thread_columns,
                            uniform};
    node->kernel =
        inl_kernels_by_tiling[dx ? INL_KERNELS_GEMM_DX_TILED : INL_KERNELS_GEMM_TILED][tiling];
    node->spec[0] = threads_m * threads_n;
    node->spec[1] = tile->rows;
    memcpy(&node->spec[SPEC_TILE], constants, sizeof(constants));
    node->spec_count = SPEC_TILE + INL_COUNT(constants);
    node->groups[0] = inl_div_up(8 * tiles, tile->columns);
    node->groups[1] = inl_div_up(rows, tile->rows);
    node->rounds = inl_div_up(node->rounds * 8, tile->depth) * STAGE_ROUNDS;
}

static void gemm_part(inl_plan *plan, const inl_inputs *in, const inl_gemm_args *args, bool dx,
                      const inl_weight_part *part, inl_buf residual, bool first_part)
{
    const inl_weight *w = args->w;
    const inl_lora_slot *slot = args->tail.slot;
    bool tail = slot && (first_part || !dx);
    bool dropout = tail && dx && args->tail.arena->dropout > 0.0f;
    const inl_routing *routing = args->routing;
    uint32_t rows = gemm_rows(plan, args->x, routing), lanes = gemm_lanes(plan);
    inl_buf bias = routing ? routing->table : dx ? INL_BUF_NONE : args->bias;
    uint64_t live = live_rows(args->x, routing);
    if (routing) // of all parts together
        live = live * part->experts / w->experts;
    struct push_gemm push = push_of(w, part);
    inl_planes read = inl_planes_of(plan, w, part);
    inl_tiling tiling = read.decoded ? INL_TILING_F32 : w->format->tiling;
    inl_kernel matrix =
        inl_kernels_by_tiling[dx ? INL_KERNELS_GEMM_DX_MATRIX : INL_KERNELS_GEMM_MATRIX][tiling];
    bool on_matrix = inl_matrix_wanted(inl_plan_caps(plan), matrix, args->x.rows) &&
                     !(routing && routing->align == 1);
    const inl_gemm_tile *tile =
        on_matrix ? NULL : tile_of(plan, args->x, dx ? w->cols : part->rows, routing);
    inl_range tail_range = {0};
    if (tail)
        tail_range = inl_floats_of(args->tail.arena->weights, dx ? slot->a : slot->b,
                                   dx ? inl_lora_a_floats(slot) : inl_lora_b_floats(slot));
    inl_node node = {
        .kernel = inl_kernels_by_tiling[dx ? INL_KERNELS_GEMM_DX : INL_KERNELS_GEMM][tiling],
        .tag = args->tag,
        .uses = {{read.quants, INL_READ},
                 {read.scales, INL_READ},
                 {args->x.buf, INL_READ},
                 {args->y.buf, residual == args->y.buf ? INL_READ_WRITE : INL_WRITE},
                 inl_node_optional(residual, INL_READ),
                 inl_node_optional(bias, INL_READ),
                 inl_node_optional(tail ? args->tail.h.buf : INL_BUF_NONE, INL_READ),
                 inl_node_optional(tail ? inl_op_external(plan, tail_range) : INL_BUF_NONE,
                                   INL_READ),
                 {in->scalars, INL_READ}},
        .spec = {lanes, rows, !routing && bias != INL_BUF_NONE, residual != INL_BUF_NONE, tail,
                 dropout, args->limit, routing ? routing->align : 0},
        .spec_count = 8,
        .groups = {inl_div_up(dx ? push.k_tiles : push.n_tiles, lanes),
                   inl_div_up(args->x.rows, rows), 1},
        .rounds = (dx ? push.n_tiles : push.k_tiles) + (tail ? slot->rank4 : 0),
        .flops = 2ull * live * part->rows * w->cols +
                 (tail ? 2ull * live * slot->rank * (dx ? slot->in : part->rows) : 0)};
    if (tile)
        tile_gemm(&node, inl_plan_caps(plan), tile, tiling, dx,
                  dx ? push.k_tiles : push.n_tiles, args->x.rows);
    if (!read.decoded)
        inl_node_packing(&node, w->format);
    push.ldx4 = inl_ld4(args->x);
    push.ldy4 = inl_ld4(args->y);
    push.ldh4 = tail ? inl_ld4(args->tail.h) : 0;
    push.h4 = args->tail.column4;
    push.rank4 = tail ? slot->rank4 : 0;
    push.scale = tail ? slot->scale : 0.0f;
    push.stream = tail ? slot->stream : 0;
    push.dropout = dropout ? args->tail.arena->dropout : 0.0f;
    push.first = args->first;
    push.rows = (uint32_t)inl_round_up(args->x.rows, 8);
    if (on_matrix)
        inl_matrix_take(plan, &node, &push, matrix, args->x, dx ? push.k_tiles : push.n_tiles,
                        routing ? routing->align : 0);
    inl_node_push(&node, &push, sizeof(push));
    inl_plan_add(plan, &node);
}

void inl_op_gemm(inl_plan *plan, const inl_inputs *in, const inl_gemm_args *args)
{
    if (gemm_rows(plan, args->x, args->routing) == 1) {
        inl_op_gemv(plan, &(inl_gemv_args){.w = args->w,
                                           .x = args->x,
                                           .y = args->y,
                                           .bias = args->bias,
                                           .residual = args->residual,
                                           .tail = args->tail,
                                           .routing = args->routing,
                                           .tag = args->tag});
        return;
    }
    for (uint32_t i = 0; i < args->w->part_count; i++)
        gemm_part(plan, in, args, false, &args->w->parts[i], args->residual, i == 0);
}

// Parts of W are parts of the sum: each adds to what the one before made. Experts' parts have rows
// of their own.
void inl_op_gemm_dx(inl_plan *plan, const inl_inputs *in, const inl_gemm_args *args)
{
    for (uint32_t i = 0; i < args->w->part_count; i++) {
        bool first = i == 0 || args->routing;
        gemm_part(plan, in, args, true, &args->w->parts[i], first ? args->residual : args->y.buf,
                  first);
    }
}

// It has no threads to fill.
static bool is_cpu(const inl_plan *plan)
{
    const inl_gpu_caps *caps = inl_plan_caps(plan);
    return caps && caps->type == 4;
}

static void lora_down(inl_plan *plan, const inl_inputs *in, inl_kernel kernel,
                      const inl_lora_arena *arena, inl_tensor x, inl_range weight, inl_tensor h,
                      const struct push_lora_down *push, bool dropout)
{
    const inl_routing *routing = arena->routing;
    const inl_gpu_caps *caps = inl_plan_caps(plan);
    // Long sums may have to be shared.
    bool one = is_cpu(plan) && push->cols4 <= caps->max_loop_rounds / 2;
    uint32_t slices = one ? 1 : LORA_SLICES_GPU;
    uint32_t lanes = inl_node_lanes(plan, LORA_LANES);
    uint32_t tile = routing ? routing->align : lanes; // rows of one matrix
    inl_node node = {.kernel = kernel,
                     .tag = "lora",
                     .uses = {{x.buf, INL_READ},
                              {inl_op_external(plan, weight), INL_READ},
                              {h.buf, INL_WRITE},
                              {in->scalars, INL_READ},
                              inl_node_optional(routing ? routing->table : INL_BUF_NONE, INL_READ)},
                     .spec = {lanes, slices, dropout, (uint32_t)inl_round_up(x.rows, 8),
                              routing ? tile : 0},
                     .spec_count = 5,
                     .groups = {inl_div_up(x.rows, tile) * inl_div_up(tile, lanes),
                                inl_div_up(push->rank4, 2), 1},
                     .flops = 8ull * live_rows(x, routing) * x.cols * push->rank4,
                     .rounds = inl_div_up(push->cols4, slices) + slices};
    inl_node_push(&node, push, sizeof(*push));
    inl_plan_add(plan, &node);
}

// Of `count` slots, the first so many are one matrix: those side by side, unless each needs
// dropout's own random numbers.
static uint32_t side_by_side(const inl_lora_arena *arena, const inl_lora_slot *slots,
                             uint32_t count)
{
    uint32_t n = 1;
    bool whole = arena->dropout == 0.0f && slots[0].frozen4 == 0;
    while (n < count && whole && slots[n].frozen4 == 0 && !arena->routing &&
           slots[n].a == slots[n - 1].a + inl_lora_a_floats(&slots[n - 1]))
        n++;
    return n;
}

static uint32_t ranks4(const inl_lora_slot *slots, uint32_t count)
{
    uint32_t sum = 0;
    for (uint32_t i = 0; i < count; i++)
        sum += slots[i].rank4;
    return sum;
}

static uint64_t floats_of_a(const inl_lora_slot *slots, uint32_t count)
{
    uint64_t sum = 0;
    for (uint32_t i = 0; i < count; i++)
        sum += inl_lora_a_floats(&slots[i]);
    return sum;
}

void inl_op_lora_down(inl_plan *plan, const inl_inputs *in, const inl_lora_arena *arena,
                      const inl_lora_slot *slots, uint32_t count, inl_tensor x, inl_tensor h)
{
    uint32_t column4 = 0;
    for (uint32_t i = 0, step; i < count; i += step) {
        step = side_by_side(arena, slots + i, count - i);
        uint32_t rank4 = ranks4(slots + i, step);
        struct push_lora_down push = {.cols4 = inl_ld4(x),
                                      .ldx4 = inl_ld4(x),
                                      .ldw4 = inl_ld4(x),
                                      .ldh4 = inl_ld4(h),
                                      .h4 = column4,
                                      .rank4 = rank4,
                                      .scale = 1.0f,
                                      .stream = slots[i].stream,
                                      .dropout = arena->dropout,
                                      .cols = slots[i].in,
                                      .expert4 = rank4 * x.ld};
        inl_range a = inl_floats_of(arena->weights, slots[i].a, floats_of_a(slots + i, step));
        lora_down(plan, in, INL_KERNEL_LORA_DOWN, arena, x, a, h, &push, arena->dropout > 0.0f);
        column4 += rank4;
    }
}

static void lora_grad(inl_plan *plan, const inl_inputs *in, inl_kernel kernel,
                      const inl_routing *routing, inl_tensor x, inl_tensor h, inl_range gradient,
                      const struct push_lora_grad *push, bool dropout)
{
    bool one = is_cpu(plan);
    uint32_t lanes = inl_node_lanes(plan, one ? LORA_LANES : GRAD_LANES_GPU);
    inl_node node = {.kernel = kernel,
                     .tag = "lora",
                     .uses = {{x.buf, INL_READ},
                              {h.buf, INL_READ},
                              {inl_op_external(plan, gradient), INL_READ_WRITE},
                              {in->scalars, INL_READ},
                              inl_node_optional(routing ? routing->segments : INL_BUF_NONE,
                                                INL_READ)},
                     .spec = {lanes, dropout, routing != NULL, one ? 1 : GRAD_SLICES_GPU},
                     .spec_count = 4,
                     .groups = {inl_div_up(push->cols8, lanes), push->rank4,
                                routing ? routing->experts : 1},
                     .rounds = routing ? routing->tokens : push->rows, // an expert has each once
                     .flops = 8ull * live_rows(x, routing) * x.cols * push->rank4};
    inl_node_push(&node, push, sizeof(*push));
    inl_plan_add(plan, &node);
}

void inl_op_lora_up_bwd(inl_plan *plan, const inl_inputs *in, const inl_tail *tail, inl_tensor dy,
                        inl_tensor g)
{
    const inl_lora_slot *s = tail->slot;
    struct push_lora_down down = {.cols4 = inl_ld4(dy),
                                  .ldx4 = inl_ld4(dy),
                                  .ldw4 = s->rank4,
                                  .ldh4 = inl_ld4(g),
                                  .h4 = tail->column4,
                                  .rank4 = s->rank4,
                                  .scale = s->scale,
                                  .expert4 = s->rank4 * dy.ld};
    inl_range b = inl_floats_of(tail->arena->weights, s->b, inl_lora_b_floats(s));
    lora_down(plan, in, INL_KERNEL_LORA_DOWN_UP, tail->arena, dy, b, g, &down, false);
    struct push_lora_grad grad = {.rows = dy.rows,
                                  .cols8 = dy.ld / 8,
                                  .ldx4 = inl_ld4(dy),
                                  .ldh4 = inl_ld4(tail->h),
                                  .h4 = tail->column4,
                                  .ldg4 = s->rank4,
                                  .rank4 = s->rank4 - s->frozen4,
                                  .scale = s->scale,
                                  .expert4 = s->rank4 * dy.ld};
    lora_grad(plan, in, INL_KERNEL_LORA_GRAD_UP, tail->arena->routing, dy, tail->h,
              inl_floats_of(tail->arena->gradients, s->b, inl_lora_b_floats(s)), &grad, false);
}

void inl_op_lora_down_bwd(inl_plan *plan, const inl_inputs *in, const inl_lora_arena *arena,
                          const inl_lora_slot *slots, uint32_t count, inl_tensor x, inl_tensor g)
{
    uint32_t column4 = 0;
    for (uint32_t i = 0, step; i < count; i += step) {
        step = side_by_side(arena, slots + i, count - i);
        uint32_t rank4 = ranks4(slots + i, step);
        struct push_lora_grad push = {.rows = x.rows,
                                      .cols8 = x.ld / 8,
                                      .ldx4 = inl_ld4(x),
                                      .ldh4 = inl_ld4(g),
                                      .h4 = column4,
                                      .ldg4 = inl_ld4(x),
                                      .rank4 = rank4 - slots[i].frozen4,
                                      .scale = 1.0f,
                                      .stream = slots[i].stream,
                                      .dropout = arena->dropout,
                                      .cols = slots[i].in,
                                      .expert4 = rank4 * x.ld};
        lora_grad(plan, in, INL_KERNEL_LORA_GRAD, arena->routing, x, g,
                  inl_floats_of(arena->gradients, slots[i].a, floats_of_a(slots + i, step)), &push,
                  arena->dropout > 0.0f);
        column4 += rank4;
    }
}

void inl_op_embed(inl_plan *plan, const inl_inputs *in, const inl_weight *table, float scale,
                  inl_tensor y)
{
    inl_kernel kernel = inl_kernels_by_tiling[INL_KERNELS_EMBED][table->format->tiling];
    for (uint32_t i = 0; i < table->part_count; i++) {
        const inl_weight_part *part = &table->parts[i];
        inl_buf quants = inl_op_external(plan, part->quants);
        inl_buf scales = part->scales.size ? inl_op_external(plan, part->scales) : quants;
        inl_node node = {.kernel = kernel,
                         .tag = "embed",
                         .uses = {{quants, INL_READ},
                                  {scales, INL_READ},
                                  {in->tokens, INL_READ},
                                  {y.buf, INL_WRITE}},
                         .spec = {GEMM_LANES},
                         .spec_count = 1,
                         .groups = {inl_div_up(y.ld / 8, GEMM_LANES), y.rows, 1}};
        struct push_embed push = {.k_tiles = inl_div_up(table->cols, 8),
                                  .cols = table->cols,
                                  .row0 = part->row0,
                                  .rows = part->rows,
                                  .ldy4 = inl_ld4(y),
                                  .scale = scale};
        inl_node_packing(&node, table->format);
        inl_node_push(&node, &push, sizeof(push));
        inl_plan_add(plan, &node);
    }
}
