// SPDX-License-Identifier: MIT
#include "op/dora.h"
#include "op/node.h"

#define LANES 64
#define COLUMN_LANES 32
#define SLICES_GPU 8    // threads a column's rows are shared by where there are thousands of them
#define SQUARES_ROWS 64 // unit vectors taken at once, where W has not so many rows that
#define SQUARES_BYTES (32ull << 20) // so many of their products are more than this

static inl_buf floats_at(inl_plan *plan, inl_range arena, uint64_t first, uint64_t count)
{
    return inl_op_external(plan, (inl_range){arena.buffer, arena.offset + 4 * first, 4 * count});
}

static inl_buf magnitude_of(inl_plan *plan, inl_range arena, const inl_lora_slot *s)
{
    return floats_at(plan, arena, s->magnitude, inl_round_up(s->out, 8));
}

static inl_buf row_of(inl_plan *plan, inl_range rows, const inl_lora_slot *s)
{
    return floats_at(plan, rows, s->norm, inl_round_up(s->out, 8));
}

void inl_op_dora(inl_plan *plan, const inl_lora_arena *arena, const inl_lora_slot *slot,
                 inl_tensor u, inl_buf bias, inl_buf residual, inl_tensor y)
{
    bool in_place = u.buf == y.buf;
    inl_node node = {.kernel = INL_KERNEL_DORA_SCALE,
                     .tag = "dora",
                     .uses = {{u.buf, in_place ? INL_READ_WRITE : INL_READ},
                              {magnitude_of(plan, arena->weights, slot), INL_READ},
                              {row_of(plan, arena->norms, slot), INL_READ},
                              {y.buf, in_place ? INL_READ_WRITE : INL_WRITE},
                              inl_node_optional(residual, INL_READ),
                              inl_node_optional(bias, INL_READ)},
                     .spec = {LANES, bias != INL_BUF_NONE, residual != INL_BUF_NONE},
                     .spec_count = 3,
                     .flops = 4ull * u.rows * u.cols};
    struct push_dora push = {.count4 = (uint32_t)inl_round_up(u.rows, 8) * inl_ld4(u),
                             .ld4 = inl_ld4(u)};
    inl_node_linear(&node, push.count4, LANES);
    inl_node_push(&node, &push, sizeof(push));
    inl_plan_add(plan, &node);
}

// g [columns] += sums over rows of dy u, divided by the norm where there is one.
static void add_products(inl_plan *plan, inl_tensor dy, inl_tensor u, inl_buf g, inl_buf norm)
{
    const inl_gpu_caps *caps = inl_plan_caps(plan);
    uint32_t slices = caps && caps->type == 4 ? 1 : SLICES_GPU;
    inl_node node = {.kernel = INL_KERNEL_DORA_GRAD,
                     .tag = "dora",
                     .uses = {{dy.buf, INL_READ},
                              {u.buf, INL_READ},
                              {g, INL_READ_WRITE},
                              inl_node_optional(norm, INL_READ)},
                     .spec = {COLUMN_LANES, slices, norm != INL_BUF_NONE},
                     .spec_count = 3,
                     .groups = {inl_div_up(inl_ld4(dy), COLUMN_LANES), 1, 1},
                     .rounds = dy.rows / slices,
                     .flops = 2ull * dy.rows * dy.cols};
    struct push_dora push = {.rows = dy.rows, .ld4 = inl_ld4(dy)};
    inl_node_push(&node, &push, sizeof(push));
    inl_plan_add(plan, &node);
}

void inl_op_dora_bwd(inl_plan *plan, const inl_lora_arena *arena, const inl_lora_slot *slot,
                     inl_tensor u, inl_tensor dy, inl_tensor du)
{
    add_products(plan, dy, u, magnitude_of(plan, arena->gradients, slot),
                 row_of(plan, arena->norms, slot));
    inl_op_dora(plan, arena, slot, dy, INL_BUF_NONE, INL_BUF_NONE, du);
}

static inl_tensor like(inl_plan *plan, inl_tensor t)
{
    return inl_plan_tensor(plan, t.rows, t.cols);
}

static void drop(inl_plan *plan, const inl_inputs *in, const inl_tail *tail, inl_kernel kernel,
                 inl_tensor shape, inl_node *node)
{
    struct push_dora_drop push = {.count4 = (uint32_t)inl_round_up(shape.rows, 8) * inl_ld4(shape),
                                  .ld4 = inl_ld4(shape),
                                  .cols = shape.cols,
                                  .stream = tail->slot->stream,
                                  .dropout = tail->arena->dropout};
    node->kernel = kernel;
    node->tag = "dora";
    node->uses[3] = (inl_node_use){in->scalars, INL_READ};
    node->spec[0] = LANES;
    node->flops = 10ull * shape.rows * shape.cols;
    inl_node_linear(node, push.count4, LANES);
    inl_node_push(node, &push, sizeof(push));
    inl_plan_add(plan, node);
}

void inl_op_dora_linear(inl_plan *plan, const inl_inputs *in, const inl_gemm_args *args,
                        inl_tensor u)
{
    const inl_tail *tail = &args->tail;
    bool dropout = tail->arena->dropout > 0.0f;
    inl_tensor left = dropout ? like(plan, args->x) : args->x, rest = left;
    if (dropout) {
        rest = like(plan, args->x);
        inl_node node = {.uses = {{args->x.buf, INL_READ}, {left.buf, INL_WRITE},
                                  {rest.buf, INL_WRITE}},
                         .spec_count = 1};
        drop(plan, in, tail, INL_KERNEL_DORA_DROP, args->x, &node);
    }
    inl_gemm_args own = *args;
    own.x = left;
    own.y = u;
    own.bias = own.residual = INL_BUF_NONE;
    inl_op_gemm(plan, in, &own);
    inl_op_dora(plan, tail->arena, tail->slot, u, args->bias, args->residual, args->y);
    if (!dropout)
        return;
    own.x = rest;
    own.y = args->y;
    own.residual = args->y.buf;
    own.tail = (inl_tail){0};
    inl_op_gemm(plan, in, &own);
}

void inl_op_dora_linear_dx(inl_plan *plan, const inl_inputs *in, const inl_gemm_args *args,
                           inl_tensor dy)
{
    if (args->tail.arena->dropout == 0.0f) {
        inl_op_gemm_dx(plan, in, args);
        return;
    }
    inl_tensor left = like(plan, args->y), whole = like(plan, args->y);
    inl_lora_arena still = *args->tail.arena; // the mask comes over the sum
    still.dropout = 0.0f;
    inl_gemm_args own = *args;
    own.y = left;
    own.residual = INL_BUF_NONE;
    own.tail.arena = &still;
    inl_op_gemm_dx(plan, in, &own);
    own.x = dy;
    own.y = whole;
    own.tail = (inl_tail){0};
    inl_op_gemm_dx(plan, in, &own);
    bool residual = args->residual != INL_BUF_NONE, in_place = args->residual == args->y.buf;
    inl_node node = {.uses = {{left.buf, INL_READ},
                              {whole.buf, INL_READ},
                              {args->y.buf, in_place ? INL_READ_WRITE : INL_WRITE}},
                     .spec = {0, residual},
                     .spec_count = 2};
    node.uses[4] = inl_node_optional(args->residual, INL_READ);
    drop(plan, in, &args->tail, INL_KERNEL_DORA_DROP_MIX, args->y, &node);
}

static void one_hot(inl_plan *plan, uint32_t first, inl_tensor x)
{
    inl_node node = {.kernel = INL_KERNEL_ONE_HOT,
                     .tag = "dora",
                     .uses = {{x.buf, INL_WRITE}},
                     .spec = {LANES},
                     .spec_count = 1};
    struct push_one_hot push = {.count4 = (uint32_t)inl_round_up(x.rows, 8) * inl_ld4(x),
                                .ld4 = inl_ld4(x),
                                .first = first};
    inl_node_linear(&node, push.count4, LANES);
    inl_node_push(&node, &push, sizeof(push));
    inl_plan_add(plan, &node);
}

// x [T, K] W^T, with what rides on it.
static inl_tensor product(inl_plan *plan, const inl_inputs *in, const inl_weight *w, inl_tensor x,
                          const inl_tail *tail)
{
    inl_tensor y = inl_plan_tensor(plan, x.rows, w->rows);
    inl_gemm_args args = {.w = w,
                          .x = x,
                          .y = y,
                          .bias = INL_BUF_NONE,
                          .residual = INL_BUF_NONE,
                          .tag = "dora"};
    if (tail)
        args.tail = *tail;
    inl_op_gemm(plan, in, &args);
    return y;
}

void inl_op_dora_squares(inl_plan *plan, const inl_inputs *in, const inl_lora_arena *arena,
                         const inl_lora_slot *slot, const inl_weight *w)
{
    inl_buf squares = row_of(plan, arena->squares, slot);
    uint64_t tiles = SQUARES_BYTES / inl_tensor_bytes(8, w->rows);
    uint32_t rows = (uint32_t)INL_MIN(SQUARES_ROWS, 8 * INL_MAX(1, tiles));
    inl_plan_zero(plan, squares);
    for (uint32_t first = 0; first < w->cols; first += rows) {
        inl_tensor x = inl_plan_tensor(plan, INL_MIN(rows, w->cols - first), w->cols);
        one_hot(plan, first, x);
        inl_tensor columns = product(plan, in, w, x, NULL);
        add_products(plan, columns, columns, squares, INL_BUF_NONE);
    }
}

void inl_op_dora_norms(inl_plan *plan, const inl_inputs *in, const inl_lora_arena *arena,
                       const inl_lora_slot *slot, const inl_weight *w)
{
    inl_lora_arena still = {.weights = arena->weights}; // no dropout
    inl_lora_slot half = *slot;
    half.scale *= 0.5f;
    // A's rows as the input, in memory that may be read as far as whole tiles go.
    uint64_t floats = inl_lora_a_floats(slot);
    inl_tensor a = inl_plan_tensor(plan, 4 * slot->rank4, slot->in);
    inl_plan_copy(plan, floats_at(plan, arena->weights, slot->a, floats), a.buf, 4 * floats);
    inl_tail tail = {.slot = &half, .arena = &still, .h = inl_plan_tensor(plan, a.rows, a.rows)};
    inl_op_lora_down(plan, in, &still, &half, 1, a, tail.h);
    inl_tensor v = product(plan, in, w, a, &tail);
    inl_node node = {.kernel = INL_KERNEL_DORA_NORM,
                     .tag = "dora",
                     .uses = {{v.buf, INL_READ},
                              {floats_at(plan, arena->weights, slot->b, inl_lora_b_floats(slot)),
                               INL_READ},
                              {row_of(plan, arena->squares, slot), INL_READ},
                              {row_of(plan, arena->norms, slot), INL_WRITE}},
                     .spec = {COLUMN_LANES},
                     .spec_count = 1,
                     .groups = {inl_div_up(inl_ld4(v), COLUMN_LANES), 1, 1},
                     .flops = 8ull * slot->rank4 * v.cols};
    struct push_dora push = {.ld4 = inl_ld4(v), .rank4 = slot->rank4, .scale = slot->scale};
    inl_node_push(&node, &push, sizeof(push));
    inl_plan_add(plan, &node);
}
