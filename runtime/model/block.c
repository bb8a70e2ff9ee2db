// SPDX-License-Identifier: MIT
// One transformer block, forward and backward side by side.
//
//   xn = norm(x)        q, k, v = linear(xn)    q, k = rope(q), rope(k)    o = attention(q, k, v)
//   x2 = x + linear(o)  xn2 = norm(x2)          act = silu(gate(xn2)) up(xn2)
//   y  = x2 + down(act)
//
// Every linear layer is base + adapter: y = x W^T + bias + scale (x A^T) B^T.
#include "model/network.h"

typedef enum group { GROUP_QKV, GROUP_O, GROUP_GATE_UP, GROUP_DOWN } group;

static const struct {
    inl_role first;
    uint32_t count;
} members[] = {{INL_ROLE_Q, 3}, {INL_ROLE_O, 1}, {INL_ROLE_GATE, 2}, {INL_ROLE_DOWN, 1}};

static const inl_lora_slot *slot_of(const inl_network *net, uint32_t layer, inl_role role)
{
    if (!net->arena)
        return NULL;
    const inl_lora_slot *s = &net->slots->of_module[layer * INL_ROLE_COUNT + role];
    return s->rank > 0 ? s : NULL;
}

// The group's adapters, side by side in the arena; slots without rank are skipped.
static uint32_t group_slots(const inl_network *net, uint32_t layer, group g, inl_lora_slot out[3],
                            uint32_t *ranks)
{
    uint32_t count = 0;
    *ranks = 0;
    for (uint32_t i = 0; i < members[g].count; i++) {
        const inl_lora_slot *s = slot_of(net, layer, members[g].first + i);
        if (!s)
            continue;
        out[count++] = *s;
        *ranks += s->rank4 * 4;
    }
    return count;
}

// H = mask(x) A^T of a group, [T, ranks]; a tensor without a buffer when it has no adapter.
static inl_tensor group_down(const inl_network *net, uint32_t layer, group g, inl_tensor x)
{
    inl_lora_slot slots[3];
    uint32_t ranks, count = group_slots(net, layer, g, slots, &ranks);
    if (count == 0)
        return (inl_tensor){.buf = INL_BUF_NONE};
    inl_tensor h = inl_plan_tensor(net->plan, net->tokens, ranks);
    inl_op_lora_down(net->plan, &net->in, net->arena, slots, count, x, h);
    return h;
}

static inl_tail tail_of(const inl_network *net, uint32_t layer, group g, inl_role role,
                        inl_tensor h)
{
    inl_tail tail = {.slot = slot_of(net, layer, role), .arena = net->arena, .h = h};
    for (inl_role r = members[g].first; r < role; r++) {
        const inl_lora_slot *s = slot_of(net, layer, r);
        tail.column4 += s ? s->rank4 : 0;
    }
    return tail;
}

static const char *const role_tags[INL_ROLE_COUNT] = {"q", "k", "v", "o", "gate", "up", "down"};

static inl_tensor linear(const inl_network *net, uint32_t layer, group g, inl_role role,
                         inl_tensor x, inl_tensor h, inl_buf residual)
{
    const inl_layer_weights *l = &net->weights->layers[layer];
    inl_tensor y = inl_plan_tensor(net->plan, net->tokens, l->linear[role].rows);
    inl_buf bias = l->bias[role].size ? inl_op_external(net->plan, l->bias[role]) : INL_BUF_NONE;
    inl_op_gemm(net->plan, &net->in,
                &(inl_gemm_args){.w = &l->linear[role],
                                 .x = x,
                                 .y = y,
                                 .bias = bias,
                                 .residual = residual,
                                 .tail = tail_of(net, layer, g, role, h),
                                 .tag = role_tags[role]});
    return y;
}

static inl_attention attention_of(const inl_network *net)
{
    const inl_config *c = &net->weights->model->config;
    return (inl_attention){.heads = c->heads,
                           .kv_heads = c->kv_heads,
                           .head_dim = c->head_dim,
                           .window = UINT32_MAX,
                           .scale = 1.0f / __builtin_sqrtf((float)c->head_dim)};
}

static void rope(const inl_network *net, inl_tensor x, inl_tensor y, uint32_t heads, float sign,
                 bool store)
{
    const inl_config *c = &net->weights->model->config;
    inl_op_rope(net->plan, &net->in, &net->weights->rope, heads, c->head_dim, sign, x, y, store);
}

static void attend(const inl_network *net, uint32_t layer, inl_block *b)
{
    const inl_config *c = &net->weights->model->config;
    inl_attention a = attention_of(net);
    b->o = inl_plan_tensor(net->plan, net->tokens, c->heads * c->head_dim);
    b->lse = inl_plan_scratch(net->plan, INL_ACTIVATION, 4ull * net->tokens * c->heads);
    rope(net, b->q, b->q, c->heads, 1.0f, false);
    bool cached = net->cache_k != NULL;
    inl_tensor k = cached ? net->cache_k[layer] : b->k, v = cached ? net->cache_v[layer] : b->v;
    rope(net, b->k, k, c->kv_heads, 1.0f, cached);
    if (cached)
        inl_op_rope(net->plan, &net->in, NULL, c->kv_heads, c->head_dim, 1.0f, b->v, v, true);
    inl_op_attention(net->plan, &net->in, &a, b->q, k, v, b->o, b->lse, cached);
}

inl_tensor inl_block_forward(const inl_network *net, uint32_t layer, inl_tensor x, inl_block *b)
{
    const inl_layer_weights *l = &net->weights->layers[layer];
    uint32_t dim = net->weights->model->config.dim, t = net->tokens;
    inl_plan *plan = net->plan;
    b->x = x;
    b->xn = inl_plan_tensor(plan, t, dim);
    b->rstd1 = inl_plan_scratch(plan, INL_ACTIVATION, 4ull * t);
    inl_op_rmsnorm(plan, &net->in, &l->attention_norm, x, b->xn, b->rstd1, false, 0);
    b->h[GROUP_QKV] = group_down(net, layer, GROUP_QKV, b->xn);
    b->q = linear(net, layer, GROUP_QKV, INL_ROLE_Q, b->xn, b->h[GROUP_QKV], INL_BUF_NONE);
    b->k = linear(net, layer, GROUP_QKV, INL_ROLE_K, b->xn, b->h[GROUP_QKV], INL_BUF_NONE);
    b->v = linear(net, layer, GROUP_QKV, INL_ROLE_V, b->xn, b->h[GROUP_QKV], INL_BUF_NONE);
    attend(net, layer, b);
    b->h[GROUP_O] = group_down(net, layer, GROUP_O, b->o);
    b->x2 = linear(net, layer, GROUP_O, INL_ROLE_O, b->o, b->h[GROUP_O], x.buf);

    b->xn2 = inl_plan_tensor(plan, t, dim);
    b->rstd2 = inl_plan_scratch(plan, INL_ACTIVATION, 4ull * t);
    inl_op_rmsnorm(plan, &net->in, &l->ffn_norm, b->x2, b->xn2, b->rstd2, false, 0);
    b->h[GROUP_GATE_UP] = group_down(net, layer, GROUP_GATE_UP, b->xn2);
    inl_tensor h = b->h[GROUP_GATE_UP];
    b->gate = linear(net, layer, GROUP_GATE_UP, INL_ROLE_GATE, b->xn2, h, INL_BUF_NONE);
    b->up = linear(net, layer, GROUP_GATE_UP, INL_ROLE_UP, b->xn2, h, INL_BUF_NONE);
    b->act = inl_plan_tensor(plan, t, net->weights->model->config.ffn_dim);
    inl_op_swiglu(plan, b->gate, b->up, b->act);
    b->h[GROUP_DOWN] = group_down(net, layer, GROUP_DOWN, b->act);
    return linear(net, layer, GROUP_DOWN, INL_ROLE_DOWN, b->act, b->h[GROUP_DOWN], b->x2.buf);
}

// ---- backward

// Gradients of a group of linear layers on x: of their adapters always, of x when `dx` has a
// buffer. dy[i] belongs to members[g].first + i.
static void group_backward(const inl_network *net, uint32_t layer, group g, inl_tensor x,
                           inl_tensor h, const inl_tensor *dy, inl_tensor dx)
{
    inl_lora_slot slots[3];
    uint32_t ranks, count = group_slots(net, layer, g, slots, &ranks);
    inl_tensor grad = {.buf = INL_BUF_NONE};
    if (count > 0)
        grad = inl_plan_tensor(net->plan, net->tokens, ranks);
    for (uint32_t i = 0; i < members[g].count; i++) {
        inl_role role = members[g].first + i;
        inl_tail tail = tail_of(net, layer, g, role, h);
        if (tail.slot)
            inl_op_lora_up_bwd(net->plan, &net->in, &tail, dy[i], grad);
        tail.h = grad;
        if (dx.buf != INL_BUF_NONE)
            inl_op_gemm_dx(net->plan, &net->in,
                           &(inl_gemm_args){.w = &net->weights->layers[layer].linear[role],
                                            .x = dy[i],
                                            .y = dx,
                                            .bias = INL_BUF_NONE,
                                            .residual = i == 0 ? INL_BUF_NONE : dx.buf,
                                            .tail = tail,
                                            .tag = role_tags[role]});
    }
    if (count > 0)
        inl_op_lora_down_bwd(net->plan, &net->in, net->arena, slots, count, x, grad);
}

static inl_tensor like(const inl_network *net, inl_tensor t)
{
    return inl_plan_tensor(net->plan, t.rows, t.cols);
}

// The gradient of x2 from that of the block's output.
static inl_tensor feed_forward_backward(const inl_network *net, uint32_t layer, const inl_block *b,
                                        inl_tensor dy)
{
    const inl_layer_weights *l = &net->weights->layers[layer];
    inl_tensor dact = like(net, b->act), halves[2] = {like(net, b->gate), like(net, b->up)};
    group_backward(net, layer, GROUP_DOWN, b->act, b->h[GROUP_DOWN], &dy, dact);
    inl_op_swiglu_bwd(net->plan, b->gate, b->up, dact, halves[0], halves[1]);
    inl_tensor dxn2 = like(net, b->xn2), dx2 = like(net, b->x2);
    group_backward(net, layer, GROUP_GATE_UP, b->xn2, b->h[GROUP_GATE_UP], halves, dxn2);
    inl_op_rmsnorm_bwd(net->plan, &net->in, &l->ffn_norm, b->x2, b->rstd2, dxn2, dy.buf, dx2, false,
                       0);
    return dx2;
}

inl_tensor inl_block_backward(const inl_network *net, uint32_t layer, const inl_block *b,
                              inl_tensor dy, bool need_dx)
{
    const inl_config *c = &net->weights->model->config;
    const inl_layer_weights *l = &net->weights->layers[layer];
    inl_tensor dx2 = feed_forward_backward(net, layer, b, dy);

    inl_tensor d_o = like(net, b->o);
    group_backward(net, layer, GROUP_O, b->o, b->h[GROUP_O], &dx2, d_o);
    inl_tensor d[3] = {like(net, b->q), like(net, b->k), like(net, b->v)};
    inl_attention a = attention_of(net);
    inl_op_attention_bwd(net->plan, &net->in, &a, b->q, b->k, b->v, b->o, b->lse, d_o, d[0], d[1],
                         d[2]);
    rope(net, d[0], d[0], c->heads, -1.0f, false);
    rope(net, d[1], d[1], c->kv_heads, -1.0f, false);

    inl_tensor none = {.buf = INL_BUF_NONE};
    inl_tensor dxn = need_dx ? like(net, b->xn) : none, dx = need_dx ? like(net, b->x) : none;
    group_backward(net, layer, GROUP_QKV, b->xn, b->h[GROUP_QKV], d, dxn);
    if (need_dx)
        inl_op_rmsnorm_bwd(net->plan, &net->in, &l->attention_norm, b->x, b->rstd1, dxn, dx2.buf,
                           dx, false, 0);
    return dx;
}
