// SPDX-License-Identifier: MIT
// Attention, forward and backward.
#include "op/node.h"

#define TEAM_MAX 32       // lanes that share a row
#define TEAM_VEC4S 3      // of a head that a lane then has, at most, where teams can be so large
#define ROWS_MAX 8        // that a team has in its registers
#define STEP_MAX 2        // rows of a tile whose scores are summed up together
#define TILE_MAX 16       // rows of the other side in shared memory
#define TILE_BYTES 16384  // of both matrices of a tile
#define THREADS 128
#define WORKGROUP_ROWS 64 // of larger workgroups half the threads do
#define FEW_ROWS 16       // so few queries: a team has one

// How the kernels for GPUs share out their work (lib/attention_tile.glsl).
typedef struct attention_tile {
    uint32_t threads, parts, rows, step, tile;
} attention_tile;

static uint32_t floor_power_of_2(uint32_t n)
{
    uint32_t power = 1;
    while (2 * power <= n)
        power *= 2;
    return power;
}

// `matrices`: rows of so many are kept in registers, caps->attention_floats numbers of a thread.
static attention_tile choose_tile(const inl_gpu_caps *caps, uint32_t head_dim, uint32_t rows,
                                  uint32_t matrices)
{
    uint32_t d4 = head_dim / 4, most = INL_MIN(caps->subgroup_size_min, TEAM_MAX);
    attention_tile t = {.threads = THREADS, .parts = INL_MIN(4, most)};
    while (2 * t.parts <= most && inl_div_up(d4, t.parts) > TEAM_VEC4S)
        t.parts *= 2;
    uint32_t n4 = inl_div_up(d4, t.parts);
    uint32_t fit = INL_MAX(1, caps->attention_floats / (4 * n4 * matrices));
    t.rows = rows < FEW_ROWS ? 1 : floor_power_of_2(INL_MIN(fit, INL_MIN(t.parts, ROWS_MAX)));
    uint32_t bytes = INL_MIN(TILE_BYTES, caps->shared_memory_bytes / 2);
    t.tile = INL_MIN(floor_power_of_2(bytes / (2 * 16 * n4 * t.parts)), TILE_MAX);
    t.step = INL_MIN(t.parts / t.rows, INL_MIN(t.tile, STEP_MAX));
    while (t.threads > 32 && t.threads / t.parts * t.rows > INL_MIN(WORKGROUP_ROWS, 2 * rows))
        t.threads /= 2;
    return t;
}

// The node's constants and grid.
static void share_out(const inl_plan *plan, const inl_attention *a, uint32_t rows,
                      uint32_t matrices, inl_node *node)
{
    const inl_gpu_caps *caps = inl_plan_caps(plan);
    uint32_t in_group = caps ? caps->simd_lanes : 1;
    node->spec[0] = in_group;
    if (caps && in_group == 0) {
        attention_tile t = choose_tile(caps, a->head_dim, rows, matrices);
        in_group = t.threads / t.parts * t.rows;
        node->spec[0] = t.threads;
        node->spec[4] = t.parts;
        node->spec[5] = t.rows;
        node->spec[6] = t.step;
        node->spec[7] = t.tile;
    }
    node->spec_count = 8;
    node->groups[0] = inl_div_up(rows, in_group);
}

static void attention(inl_plan *plan, const inl_attention *a, inl_tensor q, inl_tensor k,
                      uint32_t heads, bool cached, uint32_t products, uint32_t matrices,
                      inl_node *node)
{
    node->tag = "attention";
    share_out(plan, a, q.rows, matrices, node);
    node->spec[1] = a->head_dim / 4;
    node->spec[2] = cached;
    node->spec[3] = a->softcap > 0.0f;
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
    attention(plan, a, q, k, a->heads, cached, 2, 2, &node);
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
    attention(plan, a, q, k, a->heads, false, 3, 3, &by_query);
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
                                 (in->longest ? in->longest + WORKGROUP_ROWS : 0)};
    attention(plan, a, q, k, a->kv_heads, false, 4, 4, &by_key);
}
