// SPDX-License-Identifier: MIT
// Products of one row, of a token that is generated.
#include "op/matmul.h"
#include "op/node.h"

#define GEMV_LANES 64

static struct push_gemv push_of(const inl_gemv_args *args, const inl_weight_part *part)
{
    const inl_weight *w = args->w;
    const inl_lora_slot *slot = args->tail.slot;
    struct push_gemv push = {.n_tiles = inl_div_up(part->rows, 8),
                             .k_tiles = inl_div_up(w->cols, 8),
                             .cols = w->cols,
                             .row0 = part->row0,
                             .y4 = (args->y_column + part->row0) / 4,
                             .ldx4 = inl_ld4(args->x),
                             .ldy4 = inl_ld4(args->y),
                             .segment1 = args->segments[0] ? args->segments[0] : UINT32_MAX,
                             .segment2 = args->segments[1] ? args->segments[1] : UINT32_MAX,
                             .expert0 = part->expert0,
                             .experts = part->experts,
                             .eps = args->norm ? args->norm->eps : 0.0f};
    if (slot) {
        push.ldh4 = inl_ld4(args->tail.h);
        push.h4 = args->tail.column4;
        push.rank4 = slot->rank4;
        push.scale = slot->scale;
    }
    return push;
}

static uint32_t gemv_lanes(const inl_plan *plan)
{
    const inl_gpu_caps *caps = inl_plan_caps(plan);
    return inl_node_lanes(plan, caps ? caps->tiles.gemv_lanes : GEMV_LANES);
}

// The weight's own work is of one row, or of a row for each of a token's experts.
static void gemv_part(inl_plan *plan, const inl_gemv_args *args, const inl_weight_part *part)
{
    const inl_weight *w = args->w;
    const inl_lora_slot *slot = args->tail.slot;
    const inl_routing *routing = args->routing;
    struct push_gemv push = push_of(args, part);
    inl_planes read = inl_planes_of(plan, w, part);
    uint32_t lanes = gemv_lanes(plan), tiles = push.n_tiles / (args->glu ? 2 : 1);
    uint64_t rows = routing ? (uint64_t)routing->tokens * routing->used : 1;
    inl_buf bias = routing ? routing->table : args->bias;
    bool whole = args->y_column == 0 && w->part_count == 1 &&
                 args->y.cols == w->rows / (args->glu ? 2 : 1);
    bool in_place = args->residual == args->y.buf;
    inl_range b = {0};
    if (slot)
        b = inl_floats_of(args->tail.arena->weights, slot->b, inl_lora_b_floats(slot));
    inl_node node = {
        .kernel = inl_kernels_by_tiling[INL_KERNELS_GEMV]
                                       [read.decoded ? INL_TILING_F32 : w->format->tiling],
        .tag = args->tag,
        .uses = {{read.quants, INL_READ},
                 {read.scales, INL_READ},
                 {args->x.buf, INL_READ},
                 {args->y.buf, whole && !in_place ? INL_WRITE : INL_READ_WRITE},
                 inl_node_optional(args->residual, INL_READ),
                 inl_node_optional(bias, INL_READ),
                 inl_node_optional(slot ? args->tail.h.buf : INL_BUF_NONE, INL_READ),
                 inl_node_optional(slot ? inl_op_external(plan, b) : INL_BUF_NONE, INL_READ),
                 inl_node_optional(args->norm ? inl_op_external(plan, args->norm->weight)
                                              : INL_BUF_NONE,
                                   INL_READ)},
        .spec = {lanes, !routing && bias != INL_BUF_NONE, args->residual != INL_BUF_NONE,
                 slot != NULL, routing ? routing->align : 0, args->norm != NULL, args->glu},
        .spec_count = 7,
        .groups = {tiles, args->x.rows, 1},
        .rounds = push.k_tiles * (args->glu ? 2 : 1) + push.rank4,
        .flops = 2ull * rows * part->rows * w->cols};
    if (routing)
        node.flops = node.flops * part->experts / w->experts;
    if (!read.decoded)
        inl_node_packing(&node, w->format);
    inl_node_push(&node, &push, sizeof(push));
    inl_plan_add(plan, &node);
}

static bool follows(inl_range a, inl_range b)
{
    return a.buffer == b.buffer && a.offset + a.size == b.offset;
}

// Those that products read: NF4's stored ones are a list over the whole matrix.
static inl_range *scales_of(const inl_weight *w, inl_weight_part *part)
{
    return inl_is_nf4(w->format) ? &part->expanded : &part->scales;
}

bool inl_op_join_weights(const inl_weight *const *weights, uint32_t count, uint64_t max_range,
                         inl_weight_part *part, inl_weight *out)
{
    const inl_weight *first = weights[0];
    *out = *first;
    out->parts = part;
    *part = first->parts[0];
    for (uint32_t i = 0; i < count; i++) {
        const inl_weight *w = weights[i];
        if (w->format != first->format || w->cols != first->cols || w->part_count != 1 ||
            w->experts > 0 || w->rows % 8 != 0 ||
            (inl_is_nf4(w->format) && w->parts[0].expanded.size == 0))
            return false;
        if (i == 0)
            continue;
        inl_range *scales = scales_of(w, part), *next = scales_of(w, &w->parts[0]);
        if (!follows(part->quants, w->parts[0].quants) ||
            (scales->size > 0 && !follows(*scales, *next)))
            return false;
        part->quants.size += w->parts[0].quants.size;
        scales->size += next->size;
        out->rows += w->rows;
    }
    part->rows = out->rows;
    return part->quants.size <= max_range;
}

void inl_op_gemv(inl_plan *plan, const inl_gemv_args *args)
{
    for (uint32_t i = 0; i < args->w->part_count; i++)
        gemv_part(plan, args, &args->w->parts[i]);
}
