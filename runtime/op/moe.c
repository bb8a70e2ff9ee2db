// SPDX-License-Identifier: MIT
#include "op/node.h"

#define ROUTE_LANES 64
#define SORT_LANES 64 // and the assignments of a chunk
#define ROW_LANES 64
#define TILE_ROWS 8 // what every product's rows divide; one token's rows are tiles of one

static uint32_t assignments(const inl_routing *r)
{
    return r->tokens * r->used;
}

static uint32_t tiles_of(const inl_routing *r)
{
    return inl_div_up(r->rows, r->align);
}

static void add(inl_plan *plan, inl_node *node, inl_kernel kernel, uint32_t lanes)
{
    node->kernel = kernel;
    node->tag = "experts";
    node->spec[0] = lanes;
    node->spec_count = INL_MAX(node->spec_count, 1);
    inl_plan_add(plan, node);
}

// ---- routing

static void add_route(inl_plan *plan, const inl_routing *r, inl_kernel kernel, inl_node *node)
{
    struct push_moe_route push = {.experts = r->experts,
                                  .ld = r->probs.ld,
                                  .used = r->used,
                                  .normalize = r->normalize};
    uint32_t lanes = inl_node_lanes(plan, ROUTE_LANES);
    node->groups[0] = r->tokens;
    node->groups[1] = node->groups[2] = 1;
    node->rounds = (uint64_t)inl_div_up(r->experts, lanes) * (r->used + 4);
    inl_node_push(node, &push, sizeof(push));
    add(plan, node, kernel, lanes);
}

static void add_sort(inl_plan *plan, const inl_routing *r, inl_kernel kernel, uint32_t groups,
                     inl_node *node)
{
    struct push_moe_sort push = {.experts = r->experts,
                                 .used = r->used,
                                 .assignments = assignments(r),
                                 .chunks = inl_div_up(assignments(r), SORT_LANES),
                                 .align = r->align,
                                 .tiles = (uint32_t)inl_round_up(tiles_of(r), 4)};
    node->groups[0] = groups;
    node->groups[1] = node->groups[2] = 1;
    inl_node_push(node, &push, sizeof(push));
    add(plan, node, kernel, SORT_LANES);
}

static void sort(inl_plan *plan, const inl_routing *r)
{
    uint32_t chunks = inl_div_up(assignments(r), SORT_LANES);
    inl_buf counts = inl_plan_scratch(plan, INL_SCRATCH, 4ull * chunks * r->experts);
    add_sort(plan, r, INL_KERNEL_MOE_COUNT, chunks,
             &(inl_node){.uses = {{r->ids, INL_READ}, {counts, INL_WRITE}}});
    add_sort(plan, r, INL_KERNEL_MOE_SCAN, 1,
             &(inl_node){.uses = {{r->ids, INL_READ},
                                  {counts, INL_READ_WRITE},
                                  {r->segments, INL_WRITE},
                                  {r->row_token, INL_WRITE},
                                  {r->row_weight, INL_WRITE},
                                  {r->table, INL_WRITE}},
                         .rounds = (uint64_t)inl_div_up(r->experts, SORT_LANES) * chunks +
                                   r->experts + 2ull * tiles_of(r)});
    add_sort(plan, r, INL_KERNEL_MOE_PLACE, chunks,
             &(inl_node){.uses = {{r->ids, INL_READ},
                                  {counts, INL_READ},
                                  {r->segments, INL_READ},
                                  {r->row_token, INL_READ_WRITE},
                                  {r->row_weight, INL_READ_WRITE},
                                  {r->position, INL_WRITE},
                                  {r->weights, INL_READ}}});
}

inl_routing inl_routing_shape(uint32_t tokens, uint32_t experts, uint32_t used, bool normalize)
{
    inl_routing r = {.tokens = tokens,
                     .experts = experts,
                     .used = used,
                     .normalize = normalize,
                     .align = tokens == 1 ? 1 : TILE_ROWS};
    uint32_t padded = (r.align - 1) * INL_MIN(experts, assignments(&r));
    r.rows = (uint32_t)inl_round_up(assignments(&r) + padded, r.align);
    return r;
}

inl_routing inl_routing_create(inl_plan *plan, inl_tensor logits, uint32_t used, bool normalize)
{
    inl_routing r = inl_routing_shape(logits.rows, logits.cols, used, normalize);
    r.probs = logits;
    inl_buf *lists[] = {&r.ids, &r.weights, &r.position};
    for (size_t i = 0; i < INL_COUNT(lists); i++)
        *lists[i] = inl_plan_scratch(plan, INL_ACTIVATION, 4ull * assignments(&r));
    r.table = inl_plan_scratch(plan, INL_ACTIVATION, 4 * inl_round_up(tiles_of(&r), 4));
    r.segments = inl_plan_scratch(plan, INL_ACTIVATION, 8ull * r.experts);
    r.row_token = inl_plan_scratch(plan, INL_ACTIVATION, 4ull * r.rows);
    r.row_weight = inl_plan_scratch(plan, INL_ACTIVATION, 4ull * r.rows);
    return r;
}

void inl_op_route(inl_plan *plan, const inl_routing *r)
{
    add_route(plan, r, INL_KERNEL_MOE_ROUTE,
              &(inl_node){.uses = {{r->probs.buf, INL_READ_WRITE},
                                   {r->ids, INL_WRITE},
                                   {r->weights, INL_WRITE}}});
    sort(plan, r);
}

void inl_op_route_bwd(inl_plan *plan, const inl_routing *r, inl_buf dweights, inl_tensor dlogits)
{
    add_route(plan, r, INL_KERNEL_MOE_ROUTE_BWD,
              &(inl_node){.uses = {{r->probs.buf, INL_READ},
                                   {r->ids, INL_READ},
                                   {r->weights, INL_READ},
                                   {dweights, INL_READ},
                                   {r->position, INL_READ},
                                   {dlogits.buf, INL_WRITE}}});
}

// ---- rows

static struct push_moe_rows push_rows(const inl_routing *r, inl_tensor x, uint32_t rows)
{
    return (struct push_moe_rows){
        .ld4 = inl_ld4(x), .align = r->align, .rows = rows, .used = r->used};
}

void inl_op_moe_gather(inl_plan *plan, const inl_routing *r, inl_tensor x, inl_tensor y)
{
    struct push_moe_rows push = push_rows(r, x, r->rows);
    inl_node node = {.uses = {{x.buf, INL_READ},
                              {y.buf, INL_WRITE},
                              {r->row_token, INL_READ},
                              {r->table, INL_READ}}};
    inl_node_linear(&node, r->rows, 1);
    inl_node_push(&node, &push, sizeof(push));
    add(plan, &node, INL_KERNEL_MOE_GATHER, inl_node_lanes(plan, ROW_LANES));
}

void inl_op_moe_combine(inl_plan *plan, const inl_routing *r, inl_tensor x, inl_buf residual,
                        inl_tensor y)
{
    struct push_moe_rows push = push_rows(r, x, r->tokens);
    inl_node node = {.uses = {{x.buf, INL_READ},
                              {y.buf, residual == y.buf ? INL_READ_WRITE : INL_WRITE},
                              {r->position, INL_READ},
                              inl_node_optional(residual, INL_READ)},
                     .spec = {0, residual != INL_BUF_NONE},
                     .spec_count = 2,
                     .flops = (uint64_t)assignments(r) * x.cols};
    inl_node_linear(&node, r->tokens, 1);
    inl_node_push(&node, &push, sizeof(push));
    add(plan, &node, INL_KERNEL_MOE_COMBINE, inl_node_lanes(plan, ROW_LANES));
}

static void add_swiglu(inl_plan *plan, const inl_routing *r, inl_tensor x, inl_kernel kernel,
                       inl_node *node)
{
    struct push_moe_rows push = push_rows(r, x, r->rows);
    inl_node_linear(node, r->rows, 1);
    node->flops = 10ull * assignments(r) * x.cols;
    inl_node_push(node, &push, sizeof(push));
    add(plan, node, kernel, inl_node_lanes(plan, ROW_LANES));
}

void inl_op_moe_swiglu(inl_plan *plan, const inl_routing *r, inl_tensor gate, inl_tensor up,
                       inl_tensor y)
{
    add_swiglu(plan, r, y, INL_KERNEL_MOE_SWIGLU,
               &(inl_node){.uses = {{gate.buf, INL_READ},
                                    {up.buf, INL_READ},
                                    {r->table, INL_READ},
                                    {r->row_weight, INL_READ},
                                    {y.buf, INL_WRITE}}});
}

void inl_op_moe_swiglu_bwd(inl_plan *plan, const inl_routing *r, inl_tensor gate, inl_tensor up,
                           inl_tensor dy, inl_tensor dgate, inl_tensor dup, inl_buf dweights)
{
    add_swiglu(plan, r, dy, INL_KERNEL_MOE_SWIGLU_BWD,
               &(inl_node){.uses = {{gate.buf, INL_READ},
                                    {up.buf, INL_READ},
                                    {r->table, INL_READ},
                                    {r->row_weight, INL_READ},
                                    {dy.buf, INL_READ},
                                    {dgate.buf, INL_WRITE},
                                    {dup.buf, INL_WRITE},
                                    {dweights, INL_WRITE}}});
}
