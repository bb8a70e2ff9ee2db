// SPDX-License-Identifier: MIT
// One transformer block, forward and backward side by side.
//
//   xn = norm(x)        q, k, v = linear(xn)    q, k = rope(q), rope(k)    o = attention(q, k, v)
//   x2 = x + linear(o)  xn2 = norm(x2)          act = silu(gate(xn2)) up(xn2)
//   y  = x2 + down(act)
//
// and, where the architecture has them (model/arch.h): a norm of each head of q and k before rope,
// a norm around linear(o) and around down(act), gelu for silu, q, k and v or gate and up as rows of
// one matrix, layers with a sliding window, layers without rope. With experts, act and down are
// those of the rows that the router sends to each:
//
//   p = softmax(router(xn2))    y = x2 + sum_k p_k down_k(silu(gate_k(xn2)) up_k(xn2))
//
// Every linear layer is base + adapter: y = x W^T + bias + scale (x A^T) B^T, or DoRA's form of it
// (op/dora.h).
#include "model/network.h"
#include "op/dora.h"

static const inl_lora_slot *slot_of(const inl_network *net, uint32_t layer, inl_role role)
{
    if (!net->arena)
        return NULL;
    uint32_t module = inl_config_module(&net->weights->model->config, layer, role);
    if (module == UINT32_MAX)
        return NULL;
    const inl_lora_slot *s = &net->slots->of_module[module];
    return s->rank > 0 ? s : NULL;
}

// The group's adapters, side by side in the arena; slots without rank are skipped.
static uint32_t group_slots(const inl_network *net, uint32_t layer, inl_group g,
                            inl_lora_slot out[3], uint32_t *ranks)
{
    uint32_t count = 0;
    *ranks = 0;
    for (uint32_t i = 0; i < inl_groups[g].count; i++) {
        const inl_lora_slot *s = slot_of(net, layer, inl_groups[g].first + i);
        if (!s)
            continue;
        out[count++] = *s;
        *ranks += s->rank4 * 4;
    }
    return count;
}

// H = mask(x) A^T of a group, [T, ranks]; a tensor without a buffer when it has no adapter.
static inl_tensor group_down(const inl_network *net, uint32_t layer, inl_group g, inl_tensor x)
{
    inl_lora_slot slots[3];
    uint32_t ranks, count = group_slots(net, layer, g, slots, &ranks);
    if (count == 0)
        return (inl_tensor){.buf = INL_BUF_NONE};
    inl_tensor h = inl_plan_tensor(net->plan, net->tokens, ranks);
    inl_op_lora_down(net->plan, &net->in, net->arena, slots, count, x, h);
    return h;
}

static inl_tail tail_of(const inl_network *net, uint32_t layer, inl_group g, inl_role role,
                        inl_tensor h)
{
    inl_tail tail = {.slot = slot_of(net, layer, role), .arena = net->arena, .h = h};
    for (inl_role r = inl_groups[g].first; r < role; r++) {
        const inl_lora_slot *s = slot_of(net, layer, r);
        tail.column4 += s ? s->rank4 : 0;
    }
    return tail;
}

static const char *const role_tags[INL_ROLE_COUNT] = {"q",  "k",    "v",     "o", "gate",
                                                        "up", "down", "router"};

static inl_tensor linear(const inl_network *net, uint32_t layer, inl_group g, inl_role role,
                         inl_tensor x, inl_tensor h, inl_buf residual, inl_block *b)
{
    const inl_layer_weights *l = &net->weights->layers[layer];
    inl_tensor y = inl_plan_tensor(net->plan, net->tokens, l->linear[role].rows);
    inl_buf bias = l->bias[role].size ? inl_op_external(net->plan, l->bias[role]) : INL_BUF_NONE;
    inl_tail tail = tail_of(net, layer, g, role, h);
    bool dora = tail.slot && tail.slot->dora;
    b->u[role] = dora ? inl_plan_tensor(net->plan, y.rows, y.cols) : y;
    inl_gemm_args args = {.w = &l->linear[role],
                          .x = x,
                          .y = y,
                          .bias = bias,
                          .residual = residual,
                          .tail = tail,
                          .routing = net->routing,
                          .tag = role_tags[role]};
    if (dora)
        inl_op_dora_linear(net->plan, &net->in, &args, b->u[role]);
    else
        inl_op_gemm(net->plan, &net->in, &args);
    return y;
}

static inl_tensor like(const inl_network *net, inl_tensor t)
{
    return inl_plan_tensor(net->plan, t.rows, t.cols);
}

static inl_attention attention_of(const inl_network *net, uint32_t layer)
{
    const inl_config *c = &net->weights->model->config;
    return (inl_attention){.heads = c->heads,
                           .kv_heads = c->kv_heads,
                           .head_dim = c->head_dim,
                           .window = inl_config_window(c, layer),
                           .scale = c->attention_scale,
                           .softcap = c->attention_softcap};
}

// NULL: the layer's q and k stay as they are.
static const inl_rope *rope_of(const inl_network *net, uint32_t layer)
{
    inl_rope_kind kind = inl_config_rope(&net->weights->model->config, layer);
    return kind == INL_ROPE_NONE ? NULL : &net->weights->ropes[kind];
}

// Heads of x from a column on, turned by the layer's rope or back, or, with rope NULL, copied.
typedef struct turn {
    const inl_rope *rope;
    uint32_t heads, column;
    float sign;
} turn;

static void turn_into(const inl_network *net, turn t, inl_tensor x, inl_tensor y, bool store)
{
    inl_op_rope(net->plan, &net->in,
                &(inl_rope_args){.rope = t.rope,
                                 .heads = t.heads,
                                 .head_dim = net->weights->model->config.head_dim,
                                 .sign = t.sign,
                                 .x = x,
                                 .y = y,
                                 .x_column = t.sign > 0.0f ? t.column : 0,
                                 .y_column = t.sign > 0.0f ? 0 : t.column,
                                 .store = store});
}

// In place where x is these heads alone and that can be.
static inl_tensor turned(const inl_network *net, turn t, inl_tensor x)
{
    uint32_t cols = t.heads * net->weights->model->config.head_dim;
    if (x.cols == cols && !t.rope)
        return x;
    inl_tensor y = x.cols == cols && !t.rope->halves ? x : inl_plan_tensor(net->plan, x.rows, cols);
    turn_into(net, t, x, y, false);
    return y;
}

static inl_tensor normed(const inl_network *net, const inl_norm *norm, inl_tensor x,
                         inl_buf residual, inl_buf *rstd)
{
    inl_tensor y = like(net, x);
    *rstd = inl_plan_scratch(net->plan, INL_ACTIVATION, 4ull * x.rows * INL_MAX(1, norm->heads));
    inl_op_rmsnorm(net->plan, &net->in, norm, x, residual, y, *rstd, false, 0);
    return y;
}

// q, k and v before rope; fused, all three are the one tensor of their columns.
static void project(const inl_network *net, uint32_t layer, inl_block *b)
{
    const inl_config *c = &net->weights->model->config;
    const inl_layer_weights *l = &net->weights->layers[layer];
    inl_tensor h = b->h[INL_GROUP_QKV] = group_down(net, layer, INL_GROUP_QKV, b->xn);
    b->q = b->k = b->v = linear(net, layer, INL_GROUP_QKV, INL_ROLE_Q, b->xn, h, INL_BUF_NONE, b);
    if (c->arch.fused_qkv)
        return;
    b->k = linear(net, layer, INL_GROUP_QKV, INL_ROLE_K, b->xn, h, INL_BUF_NONE, b);
    b->v = linear(net, layer, INL_GROUP_QKV, INL_ROLE_V, b->xn, h, INL_BUF_NONE, b);
    if (!c->arch.qk_norm)
        return;
    b->q_raw = b->q;
    b->k_raw = b->k;
    b->q = normed(net, &l->norm[INL_NORM_Q], b->q_raw, INL_BUF_NONE, &b->rstd_q);
    b->k = normed(net, &l->norm[INL_NORM_K], b->k_raw, INL_BUF_NONE, &b->rstd_k);
}

// Where q, k and v are: side by side in one tensor, or each in its own.
static void qkv_turns(const inl_network *net, uint32_t layer, float sign, turn turns[3])
{
    const inl_config *c = &net->weights->model->config;
    uint32_t q = c->arch.fused_qkv ? c->heads * c->head_dim : 0;
    uint32_t kv = c->arch.fused_qkv ? c->kv_heads * c->head_dim : 0;
    const inl_rope *rope = rope_of(net, layer);
    turns[0] = (turn){rope, c->heads, 0, sign};
    turns[1] = (turn){rope, c->kv_heads, q, sign};
    turns[2] = (turn){NULL, c->kv_heads, q + kv, sign};
}

static void attend(const inl_network *net, uint32_t layer, inl_block *b)
{
    const inl_config *c = &net->weights->model->config;
    inl_attention a = attention_of(net, layer);
    turn turns[3];
    qkv_turns(net, layer, 1.0f, turns);
    b->o = inl_plan_tensor(net->plan, net->tokens, c->heads * c->head_dim);
    b->lse = inl_plan_scratch(net->plan, INL_ACTIVATION, 4ull * net->tokens * c->heads);
    b->q = turned(net, turns[0], b->q);
    bool cached = net->cache_k != NULL;
    if (cached) {
        turn_into(net, turns[1], b->k, net->cache_k[layer], true);
        turn_into(net, turns[2], b->v, net->cache_v[layer], true);
    } else {
        b->k = turned(net, turns[1], b->k);
        b->v = turned(net, turns[2], b->v);
    }
    inl_op_attention(net->plan, &net->in, &a, b->q, cached ? net->cache_k[layer] : b->k,
                     cached ? net->cache_v[layer] : b->v, b->o, b->lse, cached);
}

// Whether the backward pass reads what down's product makes.
static bool keeps_down(const inl_network *net, uint32_t layer)
{
    const inl_lora_slot *slot = slot_of(net, layer, INL_ROLE_DOWN);
    return net->weights->model->config.arch.post_norms || (slot && slot->dora);
}

// x + linear(y), or x + norm(linear(y)).
static inl_tensor added(const inl_network *net, uint32_t layer, inl_group g, inl_role role,
                        inl_norm_role post, inl_tensor x, inl_tensor y, inl_block *b,
                        inl_tensor *before, inl_buf *rstd)
{
    const inl_norm *norm = &net->weights->layers[layer].norm[post];
    inl_tensor h = b->h[g] = group_down(net, layer, g, y);
    if (b->again && role == INL_ROLE_DOWN && !keeps_down(net, layer))
        return (inl_tensor){.buf = INL_BUF_NONE};
    if (!net->weights->model->config.arch.post_norms)
        return linear(net, layer, g, role, y, h, x.buf, b);
    *before = linear(net, layer, g, role, y, h, INL_BUF_NONE, b);
    return normed(net, norm, *before, x.buf, rstd);
}

static inl_activation activation_of(const inl_network *net)
{
    return net->weights->model->config.arch.gelu ? INL_GELU_TANH : INL_SILU;
}

// The network as experts' layers see it: T are their rows.
typedef struct expert_view {
    inl_network net;
    inl_lora_arena arena;
} expert_view;

static const inl_network *see_rows(const inl_network *net, const inl_routing *r, expert_view *view)
{
    view->net = *net;
    view->net.tokens = r->rows;
    view->net.routing = r;
    if (net->arena) {
        view->arena = *net->arena;
        view->arena.routing = r;
        view->net.arena = &view->arena;
    }
    return &view->net;
}

static inl_tensor experts_forward(const inl_network *net, uint32_t layer, inl_block *b)
{
    const inl_config *c = &net->weights->model->config;
    inl_tensor h = b->h[INL_GROUP_ROUTER] = group_down(net, layer, INL_GROUP_ROUTER, b->xn2);
    inl_tensor logits =
        linear(net, layer, INL_GROUP_ROUTER, INL_ROLE_ROUTER, b->xn2, h, INL_BUF_NONE, b);
    b->routing =
        inl_routing_create(net->plan, logits, c->experts_used, c->normalized_experts);
    inl_op_route(net->plan, &b->routing);
    expert_view view;
    const inl_network *all = see_rows(net, &b->routing, &view);
    b->rows = inl_plan_tensor(net->plan, all->tokens, c->dim);
    inl_op_moe_gather(net->plan, &b->routing, b->xn2, b->rows);
    h = b->h[INL_GROUP_GATE_UP] = group_down(all, layer, INL_GROUP_GATE_UP, b->rows);
    b->gate = linear(all, layer, INL_GROUP_GATE_UP, INL_ROLE_GATE, b->rows, h, INL_BUF_NONE, b);
    b->up = linear(all, layer, INL_GROUP_GATE_UP, INL_ROLE_UP, b->rows, h, INL_BUF_NONE, b);
    b->act = like(net, b->gate);
    inl_op_moe_swiglu(net->plan, &b->routing, b->gate, b->up, b->act);
    h = b->h[INL_GROUP_DOWN] = group_down(all, layer, INL_GROUP_DOWN, b->act);
    if (b->again)
        return (inl_tensor){.buf = INL_BUF_NONE};
    inl_tensor down = linear(all, layer, INL_GROUP_DOWN, INL_ROLE_DOWN, b->act, h, INL_BUF_NONE, b);
    inl_tensor y = like(net, b->x2);
    inl_op_moe_combine(net->plan, &b->routing, down, b->x2.buf, y);
    return y;
}

// ---- one token over a cache: fewer and wider nodes

static bool token_alone(const inl_network *net, uint32_t layer)
{
    const inl_config *c = &net->weights->model->config;
    if (!net->cache_k || net->tokens > 1 || c->heads * c->head_dim % 8 != 0 ||
        c->kv_heads * c->head_dim % 8 != 0)
        return false;
    for (inl_role role = 0; role < INL_ROLE_COUNT; role++) {
        const inl_lora_slot *s = slot_of(net, layer, role);
        if (s && s->dora)
            return false;
    }
    return true;
}

// A group's matrices as one, with their biases and adapters.
typedef struct joined {
    inl_weight w;
    inl_weight_part part;
    inl_range bias;
    inl_lora_slot slot;
    inl_tail tail;
    uint32_t segments[2];
} joined;

static bool join_biases(const inl_layer_weights *l, inl_group g, uint32_t count, inl_range *out)
{
    *out = l->bias[inl_groups[g].first];
    for (uint32_t i = 1; i < count; i++) {
        const inl_range *next = &l->bias[inl_groups[g].first + i];
        bool behind = next->buffer == out->buffer && next->offset == out->offset + out->size;
        if ((next->size > 0) != (out->size > 0) || (out->size > 0 && !behind))
            return false;
        out->size += next->size;
    }
    return true;
}

// None has an adapter, or all have one of the same shape, B behind B.
static bool join_adapters(const inl_network *net, uint32_t layer, inl_group g, uint32_t count,
                          inl_tensor h, joined *j)
{
    j->tail = tail_of(net, layer, g, inl_groups[g].first, h);
    if (h.buf == INL_BUF_NONE)
        return true;
    if (!j->tail.slot)
        return false;
    j->slot = *j->tail.slot;
    j->tail.slot = &j->slot;
    for (uint32_t i = 1; i < count; i++) {
        const inl_lora_slot *s = slot_of(net, layer, inl_groups[g].first + i);
        if (!s || s->rank4 != j->slot.rank4 || s->scale != j->slot.scale ||
            s->b != j->slot.b + inl_lora_b_floats(&j->slot))
            return false;
        j->segments[i - 1] = j->slot.out;
        j->slot.out += s->out;
    }
    return true;
}

static bool join_group(const inl_network *net, uint32_t layer, inl_group g, inl_tensor h, joined *j)
{
    const inl_gpu_caps *caps = inl_plan_caps(net->plan);
    const inl_layer_weights *l = &net->weights->layers[layer];
    const inl_weight *weights[3];
    uint32_t count = 0;
    for (uint32_t i = 0; i < inl_groups[g].count; i++)
        if (l->linear[inl_groups[g].first + i].rows > 0)
            weights[count++] = &l->linear[inl_groups[g].first + i];
    *j = (joined){0};
    return inl_op_join_weights(weights, count, caps ? caps->max_buffer_range_bytes : UINT64_MAX,
                               &j->part, &j->w) &&
           join_biases(l, g, count, &j->bias) && join_adapters(net, layer, g, count, h, j);
}

static inl_buf bias_of(const inl_network *net, inl_range bias)
{
    return bias.size ? inl_op_external(net->plan, bias) : INL_BUF_NONE;
}

// One of a group, where they are no one matrix: into columns of y.
static void token_linear(const inl_network *net, uint32_t layer, inl_group g, inl_role role,
                         inl_tensor x, const inl_norm *norm, inl_tensor h, inl_buf residual,
                         inl_tensor y, uint32_t column)
{
    const inl_layer_weights *l = &net->weights->layers[layer];
    inl_op_gemv(net->plan, &(inl_gemv_args){.w = &l->linear[role],
                                            .x = x,
                                            .y = y,
                                            .y_column = column,
                                            .bias = bias_of(net, l->bias[role]),
                                            .residual = residual,
                                            .tail = tail_of(net, layer, g, role, h),
                                            .norm = norm,
                                            .tag = role_tags[role]});
}

static void token_joined(const inl_network *net, const joined *j, inl_tensor x,
                         const inl_norm *norm, uint32_t glu, inl_tensor y, const char *tag)
{
    inl_op_gemv(net->plan, &(inl_gemv_args){.w = &j->w,
                                            .x = x,
                                            .y = y,
                                            .bias = bias_of(net, j->bias),
                                            .residual = INL_BUF_NONE,
                                            .tail = j->tail,
                                            .segments = {j->segments[0], j->segments[1]},
                                            .norm = norm,
                                            .glu = glu,
                                            .tag = tag});
}

// What a group takes: x, normed by its product; with an adapter, which reads it too, before it.
static inl_tensor token_input(const inl_network *net, uint32_t layer, inl_group g, inl_tensor x,
                              const inl_norm **norm, inl_tensor *h)
{
    inl_lora_slot slots[3];
    uint32_t ranks;
    inl_buf rstd;
    *h = (inl_tensor){.buf = INL_BUF_NONE};
    if (group_slots(net, layer, g, slots, &ranks) == 0)
        return x;
    inl_tensor xn = normed(net, *norm, x, INL_BUF_NONE, &rstd);
    *h = group_down(net, layer, g, xn);
    *norm = NULL;
    return xn;
}

static void token_attend(const inl_network *net, uint32_t layer, inl_block *b)
{
    const inl_config *c = &net->weights->model->config;
    const inl_layer_weights *l = &net->weights->layers[layer];
    const inl_norm *norm = &l->norm[INL_NORM_ATTENTION];
    inl_tensor h, x = token_input(net, layer, INL_GROUP_QKV, b->x, &norm, &h);
    uint32_t cols = (c->heads + 2 * c->kv_heads) * c->head_dim, column = 0;
    inl_tensor qkv = inl_plan_tensor(net->plan, 1, cols);
    joined j;
    if (join_group(net, layer, INL_GROUP_QKV, h, &j))
        token_joined(net, &j, x, norm, GLU_NONE, qkv, "qkv");
    else
        for (inl_role role = INL_ROLE_Q; role <= INL_ROLE_V; role++) {
            if (l->linear[role].rows == 0)
                continue;
            token_linear(net, layer, INL_GROUP_QKV, role, x, norm, h, INL_BUF_NONE, qkv, column);
            column += l->linear[role].rows;
        }
    inl_attention a = attention_of(net, layer);
    b->o = inl_plan_tensor(net->plan, 1, c->heads * c->head_dim);
    inl_op_attention_token(net->plan, &net->in,
                           &(inl_token_attention){
                               .attention = &a,
                               .rope = rope_of(net, layer),
                               .q_norm = c->arch.qk_norm ? &l->norm[INL_NORM_Q] : NULL,
                               .k_norm = c->arch.qk_norm ? &l->norm[INL_NORM_K] : NULL,
                               .qkv = qkv,
                               .k = net->cache_k[layer],
                               .v = net->cache_v[layer],
                               .o = b->o});
}

static inl_tensor token_feed(const inl_network *net, uint32_t layer, inl_block *b)
{
    const inl_config *c = &net->weights->model->config;
    const inl_layer_weights *l = &net->weights->layers[layer];
    const inl_norm *norm = &l->norm[INL_NORM_FFN];
    inl_tensor h, x = token_input(net, layer, INL_GROUP_GATE_UP, b->x2, &norm, &h);
    b->act = inl_plan_tensor(net->plan, 1, c->ffn_dim);
    joined j;
    if (c->ffn_dim % 8 == 0 && join_group(net, layer, INL_GROUP_GATE_UP, h, &j)) {
        token_joined(net, &j, x, norm, c->arch.gelu ? GLU_GELU : GLU_SILU, b->act, "gate up");
        return b->act;
    }
    inl_tensor *both[2] = {&b->gate, &b->up};
    b->up = (inl_tensor){.buf = INL_BUF_NONE};
    for (uint32_t i = 0; i < 2; i++) {
        inl_role role = INL_ROLE_GATE + i;
        if (l->linear[role].rows == 0)
            continue;
        *both[i] = inl_plan_tensor(net->plan, 1, l->linear[role].rows);
        token_linear(net, layer, INL_GROUP_GATE_UP, role, x, norm, h, INL_BUF_NONE, *both[i], 0);
    }
    inl_op_glu(net->plan, activation_of(net), b->gate, b->up, b->act);
    return b->act;
}

static inl_tensor token_forward(const inl_network *net, uint32_t layer, inl_tensor x, inl_block *b)
{
    b->x = x;
    token_attend(net, layer, b);
    b->x2 = added(net, layer, INL_GROUP_O, INL_ROLE_O, INL_NORM_POST_ATTENTION, x, b->o, b,
                  &b->attended, &b->rstd_attended);
    if (inl_config_has_experts(&net->weights->model->config, layer)) {
        b->xn2 = normed(net, &net->weights->layers[layer].norm[INL_NORM_FFN], b->x2, INL_BUF_NONE,
                        &b->rstd2);
        return experts_forward(net, layer, b);
    }
    inl_tensor act = token_feed(net, layer, b);
    return added(net, layer, INL_GROUP_DOWN, INL_ROLE_DOWN, INL_NORM_POST_FFN, b->x2, act, b,
                 &b->fed, &b->rstd_fed);
}

static inl_tensor forward(const inl_network *net, uint32_t layer, inl_tensor x, inl_block *b)
{
    const inl_layer_weights *l = &net->weights->layers[layer];
    const inl_config *c = &net->weights->model->config;
    b->x = x;
    b->xn = normed(net, &l->norm[INL_NORM_ATTENTION], x, INL_BUF_NONE, &b->rstd1);
    project(net, layer, b);
    attend(net, layer, b);
    b->x2 = added(net, layer, INL_GROUP_O, INL_ROLE_O, INL_NORM_POST_ATTENTION, x, b->o, b,
                  &b->attended, &b->rstd_attended);

    b->xn2 = normed(net, &l->norm[INL_NORM_FFN], b->x2, INL_BUF_NONE, &b->rstd2);
    if (inl_config_has_experts(c, layer))
        return experts_forward(net, layer, b);
    inl_tensor h = b->h[INL_GROUP_GATE_UP] = group_down(net, layer, INL_GROUP_GATE_UP, b->xn2);
    b->gate = linear(net, layer, INL_GROUP_GATE_UP, INL_ROLE_GATE, b->xn2, h, INL_BUF_NONE, b);
    b->up = (inl_tensor){.buf = INL_BUF_NONE};
    if (!c->arch.fused_gate_up)
        b->up = linear(net, layer, INL_GROUP_GATE_UP, INL_ROLE_UP, b->xn2, h, INL_BUF_NONE, b);
    b->act = inl_plan_tensor(net->plan, net->tokens, c->ffn_dim);
    inl_op_glu(net->plan, activation_of(net), b->gate, b->up, b->act);
    return added(net, layer, INL_GROUP_DOWN, INL_ROLE_DOWN, INL_NORM_POST_FFN, b->x2, b->act, b,
                 &b->fed, &b->rstd_fed);
}

inl_tensor inl_block_forward(const inl_network *net, uint32_t layer, inl_tensor x, inl_block *b)
{
    *b = (inl_block){.again = false};
    return token_alone(net, layer) ? token_forward(net, layer, x, b) : forward(net, layer, x, b);
}

void inl_block_forward_again(const inl_network *net, uint32_t layer, inl_tensor x, inl_block *b)
{
    *b = (inl_block){.again = true};
    forward(net, layer, x, b);
}

// ---- backward

// One linear layer of a group on its way back.
typedef struct linear_back {
    const inl_network *net;
    const inl_block *b;
    uint32_t layer;
    inl_role role;
    inl_tail tail;
    inl_tensor dy, du; // du: of W x + s B A x, dy itself but for DoRA
} linear_back;

static linear_back begin_linear_back(const inl_network *net, uint32_t layer, inl_group g,
                                     inl_role role, const inl_block *b, inl_tensor dy)
{
    linear_back l = {.net = net, .b = b, .layer = layer, .role = role, .dy = dy, .du = dy};
    l.tail = tail_of(net, layer, g, role, b->h[g]);
    return l;
}

// dB, DoRA's dm, and this layer's columns of `grad`, the gradient of the group's H.
static void adapter_back(linear_back *l, inl_tensor grad)
{
    const inl_network *net = l->net;
    if (!l->tail.slot)
        return;
    if (l->tail.slot->dora) {
        l->du = like(net, l->dy);
        inl_op_dora_bwd(net->plan, net->arena, l->tail.slot, l->b->u[l->role], l->dy, l->du);
    }
    inl_op_lora_up_bwd(net->plan, &net->in, &l->tail, l->du, grad);
    l->tail.h = grad;
}

static void base_back(const linear_back *l, inl_buf residual, inl_tensor dx)
{
    const inl_network *net = l->net;
    inl_gemm_args args = {.w = &net->weights->layers[l->layer].linear[l->role],
                          .x = l->du,
                          .y = dx,
                          .bias = INL_BUF_NONE,
                          .residual = residual,
                          .tail = l->tail,
                          .routing = net->routing,
                          .tag = role_tags[l->role]};
    if (l->tail.slot && l->tail.slot->dora)
        inl_op_dora_linear_dx(net->plan, &net->in, &args, l->dy);
    else
        inl_op_gemm_dx(net->plan, &net->in, &args);
}

// Gradients of a group of linear layers on x: of their adapters always, of x when `dx` has a
// buffer. dy[i] belongs to inl_groups[g].first + i. The adapters come first, so that x, which is
// large where it is what the MLP made, is no longer needed when dx is there.
static void group_backward(const inl_network *net, uint32_t layer, inl_group g, const inl_block *b,
                           inl_tensor x, const inl_tensor *dy, inl_tensor dx)
{
    inl_lora_slot slots[3];
    linear_back layers[3];
    uint32_t ranks, count = group_slots(net, layer, g, slots, &ranks), linears = 0;
    inl_tensor grad = {.buf = INL_BUF_NONE};
    if (count > 0)
        grad = inl_plan_tensor(net->plan, net->tokens, ranks);
    for (uint32_t i = 0; i < inl_groups[g].count; i++) {
        inl_role role = inl_groups[g].first + i;
        if (!inl_config_has_role(&net->weights->model->config, layer, role))
            continue;
        layers[linears] = begin_linear_back(net, layer, g, role, b, dy[i]);
        adapter_back(&layers[linears++], grad);
    }
    if (count > 0)
        inl_op_lora_down_bwd(net->plan, &net->in, net->arena, slots, count, x, grad);
    for (uint32_t i = 0; i < linears && dx.buf != INL_BUF_NONE; i++)
        base_back(&layers[i], i == 0 ? INL_BUF_NONE : dx.buf, dx);
}

// The gradient through a norm from that of its result; `past` is the gradient of what went past it.
static inl_tensor norm_backward(const inl_network *net, const inl_norm *norm, inl_tensor x,
                                inl_buf rstd, inl_tensor dy, inl_buf past)
{
    inl_tensor dx = like(net, x);
    inl_op_rmsnorm_bwd(net->plan, &net->in, norm, x, rstd, dy, past, dx, false, 0);
    return dx;
}

// What the experts' layers read is made once more, where their adapters' gradients need it: a token
// has as many rows as experts, and to keep them would be most of what is kept.
static inl_tensor rows_again(const inl_network *net, const inl_block *b)
{
    inl_tensor rows = like(net, b->rows);
    if (b->h[INL_GROUP_GATE_UP].buf != INL_BUF_NONE)
        inl_op_moe_gather(net->plan, &b->routing, b->xn2, rows);
    return rows;
}

static inl_tensor act_again(const inl_network *net, const inl_block *b)
{
    inl_tensor act = like(net, b->act);
    if (b->h[INL_GROUP_DOWN].buf != INL_BUF_NONE)
        inl_op_moe_swiglu(net->plan, &b->routing, b->gate, b->up, act);
    return act;
}

// The gradient of xn2: through the experts' layers, and through the weights that the router gave
// them.
static inl_tensor experts_backward(const inl_network *net, uint32_t layer, const inl_block *b,
                                   inl_tensor dy)
{
    expert_view view;
    const inl_network *all = see_rows(net, &b->routing, &view);
    inl_tensor ddown = like(net, b->rows), dact = like(net, b->act);
    inl_tensor halves[2] = {like(net, b->gate), like(net, b->up)};
    inl_tensor drows = like(net, b->rows);
    inl_tensor dlogits = like(net, b->routing.probs), dxn2 = like(net, b->xn2);
    inl_buf dweights = inl_plan_scratch(net->plan, INL_ACTIVATION, 4ull * b->routing.rows);
    inl_op_moe_gather(net->plan, &b->routing, dy, ddown);
    group_backward(all, layer, INL_GROUP_DOWN, b, act_again(net, b), &ddown, dact);
    inl_op_moe_swiglu_bwd(net->plan, &b->routing, b->gate, b->up, dact, halves[0], halves[1],
                          dweights);
    group_backward(all, layer, INL_GROUP_GATE_UP, b, rows_again(net, b), halves, drows);
    inl_op_route_bwd(net->plan, &b->routing, dweights, dlogits);
    group_backward(net, layer, INL_GROUP_ROUTER, b, b->xn2, &dlogits, dxn2);
    inl_op_moe_combine(net->plan, &b->routing, drows, dxn2.buf, dxn2);
    return dxn2;
}

// The gradient of x2 from that of the block's output.
static inl_tensor feed_forward_backward(const inl_network *net, uint32_t layer, const inl_block *b,
                                        inl_tensor dy)
{
    const inl_layer_weights *l = &net->weights->layers[layer];
    const inl_arch *arch = &net->weights->model->config.arch;
    if (inl_config_has_experts(&net->weights->model->config, layer))
        return norm_backward(net, &l->norm[INL_NORM_FFN], b->x2, b->rstd2,
                             experts_backward(net, layer, b, dy), dy.buf);
    inl_tensor dfed = dy, dact = like(net, b->act);
    if (arch->post_norms)
        dfed = norm_backward(net, &l->norm[INL_NORM_POST_FFN], b->fed, b->rstd_fed, dy,
                             INL_BUF_NONE);
    group_backward(net, layer, INL_GROUP_DOWN, b, b->act, &dfed, dact);
    inl_tensor halves[2] = {b->gate, b->up}; // their gradients take their place
    inl_op_glu_bwd(net->plan, activation_of(net), b->gate, b->up, dact, halves[0], halves[1]);
    inl_tensor dxn2 = like(net, b->xn2);
    group_backward(net, layer, INL_GROUP_GATE_UP, b, b->xn2, halves, dxn2);
    return norm_backward(net, &l->norm[INL_NORM_FFN], b->x2, b->rstd2, dxn2, dy.buf);
}

// The gradients of q, k and v as project() made them, from those after rope.
static void project_backward(const inl_network *net, uint32_t layer, const inl_block *b,
                             inl_tensor d[3])
{
    const inl_config *c = &net->weights->model->config;
    const inl_layer_weights *l = &net->weights->layers[layer];
    turn turns[3];
    qkv_turns(net, layer, -1.0f, turns);
    if (c->arch.fused_qkv) {
        inl_tensor all = inl_plan_tensor(net->plan, net->tokens, l->linear[INL_ROLE_Q].rows);
        for (uint32_t i = 0; i < 3; i++)
            turn_into(net, turns[i], d[i], all, false);
        d[0] = all;
        return;
    }
    for (uint32_t i = 0; i < 2; i++)
        d[i] = turned(net, turns[i], d[i]);
    if (!c->arch.qk_norm)
        return;
    d[0] = norm_backward(net, &l->norm[INL_NORM_Q], b->q_raw, b->rstd_q, d[0], INL_BUF_NONE);
    d[1] = norm_backward(net, &l->norm[INL_NORM_K], b->k_raw, b->rstd_k, d[1], INL_BUF_NONE);
}

inl_tensor inl_block_backward(const inl_network *net, uint32_t layer, const inl_block *b,
                              inl_tensor dy, bool need_dx)
{
    const inl_layer_weights *l = &net->weights->layers[layer];
    inl_tensor dx2 = feed_forward_backward(net, layer, b, dy), dattended = dx2;
    if (net->weights->model->config.arch.post_norms)
        dattended = norm_backward(net, &l->norm[INL_NORM_POST_ATTENTION], b->attended,
                                  b->rstd_attended, dx2, INL_BUF_NONE);
    inl_tensor d_o = like(net, b->o);
    group_backward(net, layer, INL_GROUP_O, b, b->o, &dattended, d_o);
    inl_tensor d[3] = {like(net, b->q), like(net, b->k), like(net, b->v)};
    inl_attention a = attention_of(net, layer);
    inl_op_attention_bwd(net->plan, &net->in, &a, b->q, b->k, b->v, b->o, b->lse, d_o, d[0], d[1],
                         d[2]);
    project_backward(net, layer, b, d);

    inl_tensor none = {.buf = INL_BUF_NONE}, dxn = need_dx ? like(net, b->xn) : none;
    group_backward(net, layer, INL_GROUP_QKV, b, b->xn, d, dxn);
    if (!need_dx)
        return none;
    return norm_backward(net, &l->norm[INL_NORM_ATTENTION], b->x, b->rstd1, dxn, dx2.buf);
}
