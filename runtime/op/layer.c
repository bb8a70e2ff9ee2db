// SPDX-License-Identifier: MIT
// Norms, positions, activation and attention.
#include "op/node.h"

#define NORM_LANES 64
#define ROW_LANES 64
#define ATTENTION_LANES 32
#define ATTENTION_PARTS_MAX 8
#define ATTENTION_PART 16

void inl_op_rmsnorm(inl_plan *plan, const inl_inputs *in, const inl_norm *norm, inl_tensor x,
                    inl_tensor y, inl_buf rstd, bool gather, uint32_t first)
{
    inl_node node = {.kernel = INL_KERNEL_RMSNORM,
                     .tag = "norm",
                     .uses = {{x.buf, INL_READ},
                              {inl_op_external(plan, norm->weight), INL_READ},
                              {y.buf, INL_WRITE},
                              {rstd, INL_WRITE},
                              {in->rows, INL_READ}},
                     .spec = {inl_node_lanes(plan, NORM_LANES), gather},
                     .spec_count = 2,
                     .groups = {y.rows, 1, 1},
                     .flops = 4ull * y.rows * x.cols};
    struct push_rmsnorm push = {
        .cols = x.cols, .ld4 = inl_ld4(x), .eps = norm->eps, .first = first};
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
                     .groups = {dy.rows, 1, 1},
                     .flops = 8ull * dy.rows * x.cols};
    struct push_rmsnorm push = {
        .cols = x.cols, .ld4 = inl_ld4(x), .eps = norm->eps, .first = first};
    inl_node_push(&node, &push, sizeof(push));
    inl_plan_add(plan, &node);
}

void inl_op_rope(inl_plan *plan, const inl_inputs *in, const inl_rope *rope, uint32_t heads,
                 uint32_t head_dim, float sign, inl_tensor x, inl_tensor y, bool store)
{
    bool in_place = x.buf == y.buf;
    inl_buf table = rope ? inl_op_external(plan, rope->table) : in->scalars;
    inl_node node = {.kernel = INL_KERNEL_ROPE,
                     .tag = "rope",
                     .uses = {{x.buf, in_place ? INL_READ_WRITE : INL_READ},
                              {y.buf, in_place || store ? INL_READ_WRITE : INL_WRITE},
                              {table, INL_READ},
                              {in->positions, INL_READ},
                              {in->scalars, INL_READ}},
                     .spec = {ROW_LANES, rope != NULL, store},
                     .spec_count = 3,
                     .groups = {inl_div_up(inl_ld4(x), ROW_LANES), x.rows, 1},
                     .flops = 3ull * x.rows * x.cols};
    struct push_rope push = {.heads = heads,
                             .head_dim = head_dim,
                             .rope_dim = rope ? rope->rope_dim : 0,
                             .ld_in4 = inl_ld4(x),
                             .ld_out4 = inl_ld4(y),
                             .sign = sign};
    inl_node_push(&node, &push, sizeof(push));
    inl_plan_add(plan, &node);
}

static void swiglu(inl_plan *plan, inl_kernel kernel, inl_tensor shape, inl_node *node)
{
    uint32_t count4 = (uint32_t)inl_round_up(shape.rows, 8) * inl_ld4(shape);
    node->kernel = kernel;
    node->tag = "activation";
    node->spec[0] = ROW_LANES;
    node->spec_count = 1;
    inl_node_linear(node, count4, ROW_LANES);
    node->flops = 10ull * shape.rows * shape.cols;
    inl_node_push(node, &(struct push_swiglu){.count4 = count4}, sizeof(struct push_swiglu));
    inl_plan_add(plan, node);
}

void inl_op_swiglu(inl_plan *plan, inl_tensor gate, inl_tensor up, inl_tensor y)
{
    swiglu(plan, INL_KERNEL_SWIGLU, y,
           &(inl_node){.uses = {{gate.buf, INL_READ}, {up.buf, INL_READ}, {y.buf, INL_WRITE}}});
}

void inl_op_swiglu_bwd(inl_plan *plan, inl_tensor gate, inl_tensor up, inl_tensor dy,
                       inl_tensor dgate, inl_tensor dup)
{
    swiglu(plan, INL_KERNEL_SWIGLU_BWD, dy,
           &(inl_node){.uses = {{gate.buf, INL_READ},
                                {up.buf, INL_READ},
                                {dy.buf, INL_READ},
                                {dgate.buf, INL_WRITE},
                                {dup.buf, INL_WRITE}}});
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
    node->spec_count = 4;
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
                                  .scale = a->scale};
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
