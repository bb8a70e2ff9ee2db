// SPDX-License-Identifier: MIT
#include "op/matrix.h"
#include "op/node.h"

#define HALVE_LANES 64
#define SPEC_MATRIX 10  // first of gemm_matrix.comp's constants that gemm.comp has not
#define STAGE_ROUNDS 16 // most loops of a thread in a step of it

bool inl_matrix_wanted(const inl_gpu_caps *caps, inl_kernel kernel, uint32_t rows)
{
    return caps && rows >= caps->matrix.min_rows && inl_kernel_usable(caps, kernel);
}

// x in f16 with a power of two a row: [rows, ld + 8].
static inl_buf halve(inl_plan *plan, inl_tensor x, uint32_t ld8)
{
    inl_buf halves = inl_plan_derived(plan, x.buf, x.ld);
    if (halves != INL_BUF_NONE)
        return halves;
    uint32_t rows = (uint32_t)inl_round_up(x.rows, 8);
    struct push_halve push = {.ldx4 = inl_ld4(x), .ldy8 = ld8, .rows = rows};
    halves = inl_plan_scratch(plan, INL_SCRATCH, 16ull * rows * ld8);
    inl_node node = {.kernel = INL_KERNEL_HALVE,
                     .tag = "halve",
                     .uses = {{x.buf, INL_READ}, {halves, INL_WRITE}},
                     .spec = {HALVE_LANES},
                     .spec_count = 1,
                     .rounds = 2ull * inl_div_up(push.ldx4, HALVE_LANES)};
    inl_node_linear(&node, rows, 1);
    inl_node_push(&node, &push, sizeof(push));
    inl_plan_add(plan, &node);
    inl_plan_set_derived(plan, x.buf, x.ld, halves);
    return halves;
}

void inl_matrix_take(inl_plan *plan, inl_node *node, struct push_gemm *push, inl_kernel kernel,
                     inl_tensor x, uint32_t tiles, uint32_t align)
{
    const inl_matrix_shape *s = &inl_plan_caps(plan)->matrix;
    const uint32_t constants[] = {s->columns, s->depth, s->subgroup_rows, s->subgroup_columns,
                                  s->m, s->n, s->k};
    push->ldx4 = x.ld / 8 + 1; // of uvec4s
    node->kernel = kernel;
    node->uses[2].buf = halve(plan, x, push->ldx4);
    node->subgroup = s->subgroup;
    node->spec[0] = s->rows / s->subgroup_rows * (s->columns / s->subgroup_columns) * s->subgroup;
    node->spec[1] = s->rows;
    memcpy(&node->spec[SPEC_MATRIX], constants, sizeof(constants));
    node->spec_count = SPEC_MATRIX + INL_COUNT(constants);
    node->groups[0] = inl_div_up(8 * tiles, s->columns);
    node->groups[1] = align ? inl_div_up(x.rows, align) * inl_div_up(align, s->rows)
                            : inl_div_up(x.rows, s->rows);
    node->rounds = inl_div_up(node->rounds * 8, s->depth) * STAGE_ROUNDS;
}
