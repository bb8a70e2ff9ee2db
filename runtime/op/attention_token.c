// SPDX-License-Identifier: MIT
// Attention of a token that is generated, from its q, k and v to its row of o.
#include "op/node.h"

#define LANES 128
#define JOIN_LANES 64
#define PARTS_MAX 8
#define PART 16         // numbers of a head in a thread
#define SPLIT_KEYS 256  // of a cache that holds so many for each workgroup of a head
#define SPLITS_MAX 16

// Lanes that share a head, each with a part of it in its registers.
static uint32_t parts_of(const inl_gpu_caps *caps, uint32_t head_dim)
{
    uint32_t most = caps ? INL_MIN(caps->subgroup_size_min, PARTS_MAX) : 1, parts = 1;
    while (2 * parts <= most && head_dim / 4 % (2 * parts) == 0 && head_dim / parts > PART)
        parts *= 2;
    return parts;
}

// Threads of a workgroup: as many as have room for what each subgroup leaves of a head.
static uint32_t lanes_of(const inl_plan *plan, uint32_t dim4, uint32_t *subgroups)
{
    const inl_gpu_caps *caps = inl_plan_caps(plan);
    uint32_t lanes = inl_node_lanes(plan, LANES), size = caps ? caps->subgroup_size_min : 32;
    uint32_t room = caps ? caps->shared_memory_bytes : 32768;
    while (lanes > size && lanes / size * (16 * dim4 + 8) > room)
        lanes /= 2;
    *subgroups = INL_MAX(lanes / size, 1);
    return lanes;
}

static uint32_t splits_of(const inl_gpu_caps *caps, inl_tensor cache)
{
    if (!caps || caps->simd_lanes)
        return 1;
    return INL_MAX(1, INL_MIN(cache.rows / SPLIT_KEYS, SPLITS_MAX));
}

static void join(inl_plan *plan, const struct push_attention_token *push, uint32_t head_dim4,
                 uint32_t splits, inl_buf sums, inl_buf o)
{
    inl_node node = {.kernel = INL_KERNEL_ATTENTION_JOIN,
                     .tag = "attention",
                     .uses = {{sums, INL_READ}, {o, INL_WRITE}},
                     .spec = {JOIN_LANES, head_dim4, splits},
                     .spec_count = 3,
                     .groups = {inl_div_up(push->ldo4, JOIN_LANES), 1, 1}};
    inl_node_push(&node, push, sizeof(*push));
    inl_plan_add(plan, &node);
}

void inl_op_attention_token(inl_plan *plan, const inl_inputs *in, const inl_token_attention *t)
{
    const inl_gpu_caps *caps = inl_plan_caps(plan);
    const inl_attention *a = t->attention;
    const inl_rope *rope = t->rope;
    const inl_norm *norm = t->q_norm;
    uint32_t dim4 = a->head_dim / 4, splits = t->splits ? t->splits : splits_of(caps, t->k);
    uint32_t parts = parts_of(caps, a->head_dim), subgroups;
    uint32_t lanes = lanes_of(plan, dim4, &subgroups);
    struct push_attention_token push = {.heads = a->heads,
                                        .kv_heads = a->kv_heads,
                                        .group = a->heads / a->kv_heads,
                                        .k4 = a->heads * dim4,
                                        .v4 = (a->heads + a->kv_heads) * dim4,
                                        .ldkv4 = inl_ld4(t->k),
                                        .ldo4 = inl_ld4(t->o),
                                        .window = a->window,
                                        .rope_dim = rope ? rope->rope_dim : 0,
                                        .scale = a->scale,
                                        .softcap = a->softcap,
                                        .eps = norm ? norm->eps : 0.0f};
    inl_buf sums = t->o.buf;
    if (splits > 1)
        sums = inl_plan_scratch(plan, INL_SCRATCH, 16ull * splits * a->heads * (dim4 + 1));
    inl_node node = {
        .kernel = INL_KERNEL_ATTENTION_TOKEN,
        .tag = "attention",
        .uses = {{t->qkv.buf, INL_READ},
                 {t->k.buf, INL_READ_WRITE},
                 {t->v.buf, INL_READ_WRITE},
                 {rope ? inl_op_external(plan, rope->table) : t->qkv.buf, INL_READ},
                 {norm ? inl_op_external(plan, norm->weight) : t->qkv.buf, INL_READ},
                 {norm ? inl_op_external(plan, t->k_norm->weight) : t->qkv.buf, INL_READ},
                 {sums, INL_WRITE},
                 {in->scalars, INL_READ}},
        .spec = {lanes, dim4, parts,
                 !rope ? ROPE_NONE : rope->halves ? ROPE_HALVES : ROPE_PAIRS, norm != NULL,
                 a->softcap > 0.0f, splits, subgroups},
        .spec_count = 8,
        .groups = {a->heads, splits, 1},
        .rounds = t->k.rows / lanes,
        .flops = 4ull * t->k.rows * a->heads * a->head_dim};
    inl_node_push(&node, &push, sizeof(push));
    inl_plan_add(plan, &node);
    if (splits > 1)
        join(plan, &push, dim4, splits, sums, t->o.buf);
}
