// SPDX-License-Identifier: MIT
#include "op/peak.h"
#include "op/node.h"

#define LANES 64
#define COPIED 4 // vec4s a thread copies

static void add(inl_plan *plan, inl_node *node, const inl_peak_args *a)
{
    struct push_peak push = {.count4 = (uint32_t)(a->in.size / 16),
                             .rounds = a->rounds,
                             .factor = a->factor,
                             .addend = a->addend};
    node->tag = "peak";
    node->uses[0] = (inl_node_use){inl_op_external(plan, a->in), INL_READ};
    node->uses[1] = (inl_node_use){inl_op_external(plan, a->out), INL_WRITE};
    node->spec[0] = LANES;
    node->spec_count = INL_MAX(node->spec_count, 1);
    inl_node_push(node, &push, sizeof(push));
    inl_plan_add(plan, node);
}

void inl_op_peak_fp32(inl_plan *plan, const inl_peak_args *a)
{
    inl_node node = {.kernel = INL_KERNEL_PEAK_FP32,
                     .spec = {LANES, a->chains},
                     .spec_count = 2,
                     .groups = {a->threads / LANES, 1, 1},
                     .flops = 8ull * INL_PEAK_UNROLLED * a->rounds * a->chains * a->threads,
                     .rounds = a->rounds};
    add(plan, &node, a);
}

void inl_op_peak_copy(inl_plan *plan, const inl_peak_args *a)
{
    uint32_t threads = inl_div_up((uint32_t)(a->in.size / 16), COPIED);
    inl_node node = {.kernel = INL_KERNEL_PEAK_COPY, .groups = {inl_div_up(threads, LANES), 1, 1}};
    add(plan, &node, a);
}
