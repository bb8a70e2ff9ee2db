// SPDX-License-Identifier: MIT
// Loss, gradient norm, optimizer.
#include "op/node.h"

#define LANES 64
#define NORM_PART4 1024 // vec4s that one workgroup of the norm's first pass sums

void inl_op_softcap(inl_plan *plan, inl_tensor z, float cap)
{
    inl_node node = {.kernel = INL_KERNEL_SOFTCAP,
                     .tag = "loss",
                     .uses = {{z.buf, INL_READ_WRITE}},
                     .spec = {LANES},
                     .spec_count = 1,
                     .flops = 8ull * z.rows * z.cols};
    struct push_softcap push = {.count4 = z.rows * inl_ld4(z), .cap = cap};
    inl_node_linear(&node, push.count4, LANES);
    inl_node_push(&node, &push, sizeof(push));
    inl_plan_add(plan, &node);
}

void inl_op_loss(inl_plan *plan, const inl_inputs *in, inl_tensor logits, float softcap,
                 inl_range losses, uint32_t first, bool gradient)
{
    inl_node node = {.kernel = INL_KERNEL_LOSS,
                     .tag = "loss",
                     .uses = {{logits.buf, INL_READ_WRITE},
                              {in->labels, INL_READ},
                              {inl_op_external(plan, losses), INL_WRITE},
                              {in->scalars, INL_READ}},
                     .spec = {LANES},
                     .spec_count = 1,
                     .groups = {logits.rows, 1, 1},
                     .flops = 8ull * logits.rows * logits.cols};
    struct push_loss push = {.cols = logits.cols,
                             .ld4 = inl_ld4(logits),
                             .first = first,
                             .gradient = gradient,
                             .softcap = softcap};
    inl_node_push(&node, &push, sizeof(push));
    inl_plan_add(plan, &node);
}

// Floats of an arena that one dispatch takes: whole parts of the norm, no more than one binding
// holds, and no more parts than one dimension of a dispatch.
static uint64_t piece_floats(const inl_plan *plan, uint64_t floats)
{
    const inl_gpu_caps *caps = inl_plan_caps(plan);
    const uint64_t unit = 4ull * NORM_PART4;
    uint64_t most = caps ? caps->max_buffer_range_bytes / 4 / unit * unit : floats;
    return INL_MIN(floats, INL_MIN(most, unit * LINEAR_GROUPS_X));
}

static inl_buf piece(inl_plan *plan, inl_range arena, uint64_t first, uint64_t floats)
{
    inl_range range = {arena.buffer, arena.offset + 4 * first, 4 * floats};
    return inl_op_external(plan, range);
}

void inl_op_grad_norm(inl_plan *plan, inl_range gradients, uint64_t floats, inl_range norm)
{
    uint64_t step = piece_floats(plan, floats);
    uint32_t parts = 0;
    inl_buf sums =
        inl_plan_scratch(plan, INL_SCRATCH, floats / NORM_PART4 + 4 * (floats / step + 2));
    for (uint64_t at = 0; at < floats; at += step) {
        uint32_t count4 = (uint32_t)(INL_MIN(step, floats - at) / 4);
        uint32_t groups = inl_div_up(count4, NORM_PART4);
        inl_node node = {.kernel = INL_KERNEL_SUMSQ,
                         .tag = "update",
                         .uses = {{piece(plan, gradients, at, 4ull * count4), INL_READ},
                                  {sums, INL_WRITE}},
                         .spec = {LANES},
                         .spec_count = 1,
                         .groups = {groups, 1, 1},
                         .flops = 8ull * count4};
        struct push_reduce push = {.count4 = count4, .chunk4 = NORM_PART4, .first = parts};
        inl_node_push(&node, &push, sizeof(push));
        inl_plan_add(plan, &node);
        parts += groups;
    }
    inl_node last = {.kernel = INL_KERNEL_SUMSQ_LAST,
                     .tag = "update",
                     .uses = {{sums, INL_READ}, {inl_op_external(plan, norm), INL_WRITE}},
                     .spec = {LANES},
                     .spec_count = 1,
                     .groups = {1, 1, 1}};
    inl_node_push(&last, &(struct push_reduce){.count4 = parts}, sizeof(struct push_reduce));
    inl_plan_add(plan, &last);
}

void inl_op_adamw(inl_plan *plan, const inl_inputs *in, const inl_adamw_args *a)
{
    uint64_t step = piece_floats(plan, a->floats);
    bool rated = a->rates.size > 0;
    for (uint64_t at = 0; at < a->floats; at += step) {
        uint32_t count4 = (uint32_t)(INL_MIN(step, a->floats - at) / 4);
        uint64_t count = 4ull * count4;
        inl_node node = {.kernel = INL_KERNEL_ADAMW,
                         .tag = "update",
                         .uses = {{piece(plan, a->weights, at, count), INL_READ_WRITE},
                                  {piece(plan, a->gradients, at, count), INL_READ_WRITE},
                                  {piece(plan, a->m, at, count), INL_READ_WRITE},
                                  {piece(plan, a->v, at, count), INL_READ_WRITE},
                                  {inl_op_external(plan, a->norm), INL_READ},
                                  {in->scalars, INL_READ}},
                         .spec = {LANES, rated},
                         .spec_count = 2,
                         .flops = 16 * count};
        if (rated)
            node.uses[6] = (inl_node_use){piece(plan, a->rates, at / 4, count4), INL_READ};
        inl_node_linear(&node, count4, LANES);
        inl_node_push(&node, &(struct push_adamw){.count4 = count4}, sizeof(struct push_adamw));
        inl_plan_add(plan, &node);
    }
}
