// SPDX-License-Identifier: MIT
// Norms, positions, activation and attention.
#include "op/node.h"

#define NORM_LANES 64
#define ROW_LANES 64
#define ATTENTION_LANES 32
#define ATTENTION_PARTS_MAX 8
#define ATTENTION_PART 16

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

// Lanes that share a head, each with a part of it in its registers, of which there are few: at most
// 16 numbers of a query where the head size divides so.
static uint32_t attention_parts(const inl_plan *plan, uint32_t head_dim)
{
    const inl_gpu_caps *caps = inl_plan_caps(plan);
    if (!caps || caps->simd_lanes)
        return 1;
    uint32_t most = INL_MIN(caps->subgroup_size_min, ATTENTION_PARTS_MAX), parts = 1;
    while (2 * parts <= most && head_dim / 4 % (2 * parts) == 0 &&
           head_dim / parts > ATTENTION_PART)
        parts *= 2;
    return parts;
}

static void attention(inl_plan *plan, const inl_attention *a, inl_tensor q, inl_tensor k,
                      uint32_t heads, bool cached, uint32_t products, inl_node *node)
{
    node->tag = "attention";
    uint32_t lanes = inl_node_lanes(plan, ATTENTION_LANES);
    uint32_t parts = attention_parts(plan, a->head_dim);
    node->spec[0] = lanes;
    node->spec[1] = a->head_dim / 4;
    node->spec[2] = cached;
    node->spec[3] = parts;
    node->spec[4] = a->softcap > 0.0f;
    node->spec_count = 5;
    node->groups[0] = inl_div_up(q.rows, lanes / parts);
    node->groups[1] = heads;
    node->groups[2] = 1;
    node->flops = (uint64_t)products * q.rows * k.rows * a->heads * a->head_dim; // half is masked
    struct push_attention push = {.heads = a->heads,
                                  .group = a->heads / a->kv_heads,
                                  .ldq4 = inl_ld4(q),
                                  .ldkv4 = inl_ld4(k),
                                  .rows = q.rows,
                                  .window = a->window,
                                  .scale = a->scale,
                                  .softcap = a->softcap};
    inl_node_push(node, &push, sizeof(push));
    inl_plan_add(plan, node);
}

void inl_op_attention(inl_plan *plan, const inl_inputs *in, const inl_attention *a, inl_tensor q,
                      inl_tensor k, inl_tensor v, inl_tensor o, inl_buf lse, bool cached)
{
    inl_node node = {.kernel = INL_KERNEL_ATTENTION,
                     .uses = {{q.buf, INL_READ},
                              {k.buf, INL_READ},
                              {v.buf, INL_READ},
                              {in->starts, INL_READ},
                              {o.buf, INL_WRITE},
                              {lse, INL_WRITE},
                              {in->scalars, INL_READ}},
                     .rounds = cached ? k.rows / 4 : in->longest};
    attention(plan, a, q, k, a->heads, cached, 2, &node);
}

void inl_op_attention_bwd(inl_plan *plan, const inl_inputs *in, const inl_attention *a,
                          inl_tensor q, inl_tensor k, inl_tensor v, inl_tensor o, inl_buf lse,
                          inl_tensor d_o, inl_tensor dq, inl_tensor dk, inl_tensor dv)
{
    inl_buf delta = inl_plan_scratch(plan, INL_SCRATCH, 4ull * q.rows * a->heads);
    inl_node by_query = {.kernel = INL_KERNEL_ATTENTION_BWD_Q,
                         .uses = {{q.buf, INL_READ},
                                  {k.buf, INL_READ},
                                  {v.buf, INL_READ},
                                  {in->starts, INL_READ},
                                  {o.buf, INL_READ},
                                  {lse, INL_READ},
                                  {d_o.buf, INL_READ},
                                  {dq.buf, INL_WRITE},
                                  {delta, INL_WRITE}},
                         .rounds = in->longest};
    attention(plan, a, q, k, a->heads, false, 3, &by_query);
    inl_node by_key = {.kernel = INL_KERNEL_ATTENTION_BWD_KV,
                       .uses = {{q.buf, INL_READ},
                                {k.buf, INL_READ},
                                {v.buf, INL_READ},
                                {in->ends, INL_READ},
                                {lse, INL_READ},
                                {delta, INL_READ},
                                {d_o.buf, INL_READ},
                                {dk.buf, INL_WRITE},
                                {dv.buf, INL_WRITE}},
                       // a workgroup's keys may lie in several sequences
                       .rounds = (uint64_t)(a->heads / a->kv_heads) *
                                 (in->longest ? in->longest + ATTENTION_LANES : 0)};
    attention(plan, a, q, k, a->kv_heads, false, 4, &by_key);
}
