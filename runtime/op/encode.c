// SPDX-License-Identifier: MIT
// Encoding weights on the device (shaders/encode.comp).
#include "op/node.h"
#include "quant/nf4.h"

#define LANES 64
#define UNKNOWN UINT32_MAX

static uint32_t target_of(const inl_format *format)
{
    switch (format->id) {
    case INL_FORMAT_Q8_0: return ENCODE_Q8_0;
    case INL_FORMAT_Q4_0: return ENCODE_Q4_0;
    case INL_FORMAT_NF4: return ENCODE_NF4_ROWS;
    default: return UNKNOWN;
    }
}

static uint32_t source_of(const inl_format *stored)
{
    switch (stored->id) {
    case INL_FORMAT_F32: return ENCODE_F32;
    case INL_FORMAT_F16: return ENCODE_F16;
    case INL_FORMAT_BF16: return ENCODE_BF16;
    default: return UNKNOWN;
    }
}

bool inl_op_encodes(const inl_format *format)
{
    return target_of(format) != UNKNOWN && inl_kernels[INL_KERNEL_ENCODE].code;
}

bool inl_op_encodes_from(const inl_format *stored)
{
    return source_of(stored) != UNKNOWN;
}

static void add(inl_plan *plan, const inl_encode_args *a, uint32_t target, uint32_t count,
                inl_node_use quants, inl_node_use scales)
{
    struct push_encode push = {.count = count,
                               .rows = a->rows,
                               .cols = a->cols,
                               .k_tiles = inl_div_up(a->cols, 8),
                               .quants_at = (uint32_t)(a->quants_at / 4),
                               .scales_at = (uint32_t)(a->scales_at / 4)};
    uint32_t lanes = inl_node_lanes(plan, LANES);
    inl_node node = {.kernel = INL_KERNEL_ENCODE,
                     .tag = "encode",
                     .uses = {{inl_op_external(plan, a->source), INL_READ}, quants, scales},
                     .spec = {lanes, target, source_of(a->stored)},
                     .spec_count = 3};
    inl_node_linear(&node, count, lanes);
    inl_node_push(&node, &push, sizeof(push));
    inl_plan_add(plan, &node);
}

void inl_op_encode(inl_plan *plan, const inl_encode_args *a)
{
    inl_buf quants = inl_op_external(plan, a->quants), scales = inl_op_external(plan, a->scales);
    uint32_t rows = (uint32_t)inl_round_up(a->rows, 8), tiles = inl_div_up(a->cols, 8);
    uint32_t target = target_of(a->format), block = INL_NF4_BLOCK;
    // Other rows' words are left alone.
    inl_node_use written = {quants, INL_READ_WRITE}, scaled = {scales, INL_READ_WRITE};
    if (target != ENCODE_NF4_ROWS) {
        add(plan, a, target, rows / 2 * (tiles / 4), written, scaled);
    } else if (a->cols % block == 0) {
        add(plan, a, target, rows * (a->cols / block), written, scaled);
    } else {
        add(plan, a, ENCODE_NF4_ABSMAX, inl_div_up(a->rows * a->cols, block), (inl_node_use){0},
            scaled);
        add(plan, a, ENCODE_NF4_ANY, rows * tiles, written, (inl_node_use){scales, INL_READ});
    }
}
