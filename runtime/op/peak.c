// SPDX-License-Identifier: MIT
#include "op/peak.h"
#include "op/node.h"

#define LANES 64
#define COPIED 4 // vec4s a thread copies

inl_kernel inl_peak_kernel(inl_peak_kind kind)
{
    static const inl_kernel kernels[INL_PEAK_COUNT] = {
        [INL_PEAK_FP32] = INL_KERNEL_PEAK_FP32,     [INL_PEAK_F16] = INL_KERNEL_PEAK_F16,
        [INL_PEAK_DOT8] = INL_KERNEL_PEAK_DOT8,     [INL_PEAK_MATRIX] = INL_KERNEL_PEAK_MATRIX,
        [INL_PEAK_COPY] = INL_KERNEL_PEAK_COPY};
    return kernels[kind];
}

static void add_chains(const inl_peak_args *a, uint64_t flops_a_step, inl_node *node)
{
    node->spec[0] = LANES;
    node->spec[1] = a->chains;
    node->spec_count = 2;
    node->groups[0] = a->threads / LANES;
    node->flops = flops_a_step * INL_PEAK_UNROLLED * a->rounds * a->chains * a->threads;
}

// A subgroup a workgroup.
static void add_matrix(const inl_plan *plan, const inl_peak_args *a, inl_node *node)
{
    static const inl_matrix_shape none = {.m = 16, .n = 16, .k = 16, .subgroup = 32};
    const inl_gpu_caps *caps = inl_plan_caps(plan);
    const inl_matrix_shape *s = caps ? &caps->matrix : &none;
    const uint32_t spec[] = {s->subgroup, s->m, s->n, s->k};
    memcpy(node->spec, spec, sizeof(spec));
    node->spec_count = INL_COUNT(spec);
    node->subgroup = s->subgroup;
    node->groups[0] = a->threads / LANES;
    node->flops = 2ull * s->m * s->n * s->k * INL_PEAK_MOST_CHAINS *
                  (INL_PEAK_UNROLLED * (uint64_t)a->rounds) * node->groups[0];
}

void inl_op_peak(inl_plan *plan, inl_peak_kind kind, const inl_peak_args *a)
{
    inl_node node = {.kernel = inl_peak_kernel(kind),
                     .tag = "peak",
                     .uses = {{inl_op_external(plan, a->in), INL_READ},
                              {inl_op_external(plan, a->out), INL_WRITE}},
                     .groups = {1, 1, 1},
                     .rounds = a->rounds};
    struct push_peak push = {.count4 = a->floats / 4,
                             .rounds = a->rounds,
                             .factor = a->factor,
                             .addend = a->addend};
    switch (kind) {
    case INL_PEAK_COPY:
        node.spec[0] = LANES;
        node.spec_count = 1;
        node.groups[0] = inl_div_up(inl_div_up(push.count4, COPIED), LANES);
        break;
    case INL_PEAK_MATRIX: add_matrix(plan, a, &node); break;
    default: add_chains(a, kind == INL_PEAK_DOT8 ? 32 : 8, &node); break;
    }
    inl_node_push(&node, &push, sizeof(push));
    inl_plan_add(plan, &node);
}
