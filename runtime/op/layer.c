// SPDX-License-Identifier: MIT
// Norms, positions and activation.
#include "op/node.h"

#define NORM_LANES 64
#define ROW_LANES 64

static struct push_rmsnorm push_norm(const inl_norm *norm, inl_tensor x, uint32_t first)
{
    uint32_t heads = INL_MAX(1, norm->heads);
    return (struct push_rmsnorm){.cols = x.cols / heads,
                                 .width4 = heads > 1 ? x.cols / heads / 4 : inl_ld4(x),
                                 .heads = heads,
                                 .ld4 = inl_ld4(x),
                                 .eps = norm->eps,
                                 .first = first};
}

void inl_op_rmsnorm(inl_plan *plan, const inl_inputs *in, const inl_norm *norm, inl_tensor x,
                    inl_buf residual, inl_tensor y, inl_buf rstd, bool gather, uint32_t first)
{
    inl_node node = {.kernel = INL_KERNEL_RMSNORM,
                     .tag = "norm",
                     .uses = {{x.buf, INL_READ},
                              {inl_op_external(plan, norm->weight), INL_READ},
                              {y.buf, INL_WRITE},
                              {rstd, INL_WRITE},
                              {in->rows, INL_READ},
                              inl_node_optional(residual, INL_READ)},
                     .spec = {inl_node_lanes(plan, NORM_LANES), gather, residual != INL_BUF_NONE},
                     .spec_count = 3,
                     .groups = {y.rows, INL_MAX(1, norm->heads), 1},
                     .flops = 4ull * y.rows * x.cols};
    struct push_rmsnorm push = push_norm(norm, x, first);
    inl_node_push(&node, &push, sizeof(push));
    inl_plan_add(plan, &node);
}

void inl_op_rmsnorm_bwd(inl_plan *plan, const inl_inputs *in, const inl_norm *norm, inl_tensor x,
                        inl_buf rstd, inl_tensor dy, inl_buf residual, inl_tensor dx, bool scatter,
                        uint32_t first)
{
    inl_node node = {.kernel = INL_KERNEL_RMSNORM_BWD,
                     .tag = "norm",
                     .uses = {{x.buf, INL_READ},
                              {inl_op_external(plan, norm->weight), INL_READ},
                              {rstd, INL_READ},
                              {dy.buf, INL_READ},
                              inl_node_optional(residual, INL_READ),
                              {dx.buf, scatter || residual == dx.buf ? INL_READ_WRITE : INL_WRITE},
                              {in->rows, INL_READ},
                              {in->scalars, INL_READ}},
                     .spec = {inl_node_lanes(plan, NORM_LANES), scatter, residual != INL_BUF_NONE},
                     .spec_count = 3,
                     .groups = {dy.rows, INL_MAX(1, norm->heads), 1},
                     .flops = 8ull * dy.rows * x.cols};
    struct push_rmsnorm push = push_norm(norm, x, first);
    inl_node_push(&node, &push, sizeof(push));
    inl_plan_add(plan, &node);
}

// Columns of y that are written: the heads', and what pads the row where they are its last.
static uint32_t rope_count4(const inl_rope_args *a)
{
    uint32_t end = a->y_column + a->heads * a->head_dim;
    return (end == a->y.cols ? a->y.ld - a->y_column : a->heads * a->head_dim) / 4;
}

void inl_op_rope(inl_plan *plan, const inl_inputs *in, const inl_rope_args *a)
{
    const inl_rope *rope = a->rope;
    struct push_rope push = {.heads = a->heads,
                             .head_dim = a->head_dim,
                             .rope_dim = rope ? rope->rope_dim : 0,
                             .ld_in4 = inl_ld4(a->x),
                             .ld_out4 = inl_ld4(a->y),
                             .in4 = a->x_column / 4,
                             .out4 = a->y_column / 4,
                             .count4 = rope_count4(a),
                             .sign = a->sign};
    bool in_place = a->x.buf == a->y.buf, whole = push.count4 == push.ld_out4 && !a->store;
    inl_node node = {.kernel = INL_KERNEL_ROPE,
                     .tag = "rope",
                     .uses = {{a->x.buf, in_place ? INL_READ_WRITE : INL_READ},
                              {a->y.buf, whole && !in_place ? INL_WRITE : INL_READ_WRITE},
                              {rope ? inl_op_external(plan, rope->table) : in->scalars, INL_READ},
                              {in->positions, INL_READ},
                              {in->scalars, INL_READ}},
                     .spec = {ROW_LANES, rope != NULL, a->store, rope && rope->halves},
                     .spec_count = 4,
                     .groups = {inl_div_up(push.count4, ROW_LANES), a->x.rows, 1},
                     .flops = 3ull * a->x.rows * a->heads * a->head_dim};
    inl_node_push(&node, &push, sizeof(push));
    inl_plan_add(plan, &node);
}

static void glu(inl_plan *plan, inl_kernel kernel, inl_activation act, inl_tensor gate,
                bool fused, inl_tensor shape, inl_node *node)
{
    struct push_glu push = {.count4 = (uint32_t)inl_round_up(shape.rows, 8) * inl_ld4(shape),
                            .ld4 = inl_ld4(shape),
                            .ld_fused4 = inl_ld4(gate),
                            .cols4 = shape.cols / 4};
    node->kernel = kernel;
    node->tag = "activation";
    node->spec[0] = ROW_LANES;
    node->spec[1] = act == INL_GELU_TANH;
    node->spec[2] = fused;
    node->spec_count = 3;
    inl_node_linear(node, push.count4, ROW_LANES);
    node->flops = 10ull * shape.rows * shape.cols;
    inl_node_push(node, &push, sizeof(push));
    inl_plan_add(plan, node);
}

void inl_op_glu(inl_plan *plan, inl_activation act, inl_tensor gate, inl_tensor up, inl_tensor y)
{
    bool fused = up.buf == INL_BUF_NONE;
    inl_node node = {.uses = {{gate.buf, INL_READ},
                              {fused ? gate.buf : up.buf, INL_READ},
                              {y.buf, INL_WRITE}}};
    glu(plan, INL_KERNEL_GLU, act, gate, fused, y, &node);
}

void inl_op_glu_bwd(inl_plan *plan, inl_activation act, inl_tensor gate, inl_tensor up,
                    inl_tensor dy, inl_tensor dgate, inl_tensor dup)
{
    bool fused = up.buf == INL_BUF_NONE;
    inl_node node = {.uses = {{gate.buf, INL_READ},
                              {fused ? gate.buf : up.buf, INL_READ},
                              {dy.buf, INL_READ},
                              {dgate.buf, INL_WRITE},
                              {fused ? dgate.buf : dup.buf, INL_WRITE}}};
    glu(plan, INL_KERNEL_GLU_BWD, act, gate, fused, dy, &node);
}
