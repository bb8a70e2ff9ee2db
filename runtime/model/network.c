// SPDX-License-Identifier: MIT
// The whole model: embedding, blocks, head and loss, and back.
#include "model/network.h"
#include "op/dora.h"

#define LOGITS_BYTES (32ull << 20) // of one chunk of the head: never a logits tensor for all tokens

static uint32_t chunk_rows(const inl_network *net)
{
    uint64_t row = inl_tensor_bytes(1, net->weights->head.rows) / 8;
    uint64_t rows = INL_MAX(1, LOGITS_BYTES / row / 8) * 8;
    return (uint32_t)INL_MIN(rows, inl_round_up(net->tokens, 8));
}

static const inl_lora_slot *head_slot(const inl_network *net)
{
    if (!net->arena)
        return NULL;
    const inl_lora_slot *s = &net->slots->of_module[net->slots->module_count - 1];
    return s->rank > 0 ? s : NULL;
}

typedef struct head_chunk {
    uint32_t first, rows;
    inl_tensor xn, logits, h, u; // u: DoRA's, before the norm and the magnitude
    inl_buf rstd;
    inl_lora_slot slot; // with random numbers of the chunk's own: its rows are counted from 0
    inl_tail tail;
} head_chunk;

static void head_forward(const inl_network *net, inl_tensor x, head_chunk *c)
{
    inl_plan *plan = net->plan;
    const inl_lora_slot *slot = head_slot(net);
    c->xn = inl_plan_tensor(plan, c->rows, x.cols);
    c->rstd = inl_plan_scratch(plan, INL_SCRATCH, 4ull * c->rows);
    inl_op_rmsnorm(plan, &net->in, &net->weights->norm, x, INL_BUF_NONE, c->xn, c->rstd,
                   true, c->first);
    if (slot) {
        c->slot = *slot;
        c->slot.stream += c->first; // the head is the last module: later streams are free
        c->h = inl_plan_tensor(plan, c->rows, slot->rank4 * 4);
        inl_op_lora_down(plan, &net->in, net->arena, &c->slot, 1, c->xn, c->h);
        c->tail = (inl_tail){.slot = &c->slot, .arena = net->arena, .h = c->h};
    }
    c->logits = (inl_tensor){.rows = c->rows, .cols = net->weights->head.rows};
    c->logits.ld = (uint32_t)inl_round_up(c->logits.cols, 8);
    c->logits.buf =
        inl_plan_scratch(plan, INL_SCRATCH, inl_tensor_bytes(c->rows, c->logits.cols));
    inl_gemm_args args = {.w = &net->weights->head,
                          .x = c->xn,
                          .y = c->logits,
                          .bias = INL_BUF_NONE,
                          .residual = INL_BUF_NONE,
                          .tail = c->tail,
                          .limit = true,
                          .first = c->first,
                          .tag = "head"};
    c->u = c->logits;
    if (slot && slot->dora) {
        c->u.buf = inl_plan_scratch(plan, INL_SCRATCH, inl_tensor_bytes(c->rows, c->logits.cols));
        inl_op_dora_linear(plan, &net->in, &args, c->u);
    } else {
        inl_op_gemm(plan, &net->in, &args);
    }
    if (net->weights->model->config.final_softcap > 0.0f)
        inl_op_softcap(plan, c->logits, net->weights->model->config.final_softcap);
}

// The logits hold their gradient by now. dx gets the rows of this chunk.
static void head_backward(const inl_network *net, inl_tensor x, const head_chunk *c, inl_tensor dx)
{
    inl_plan *plan = net->plan;
    inl_tensor dxn = inl_plan_tensor(plan, c->rows, x.cols), grad = {.buf = INL_BUF_NONE};
    inl_tensor du = c->logits;
    inl_tail tail = c->tail;
    bool dora = tail.slot && tail.slot->dora;
    if (dora) {
        du.buf = inl_plan_scratch(plan, INL_SCRATCH, inl_tensor_bytes(c->rows, c->logits.cols));
        inl_op_dora_bwd(plan, net->arena, tail.slot, c->u, c->logits, du);
    }
    if (tail.slot) {
        grad = inl_plan_tensor(plan, c->rows, tail.slot->rank4 * 4);
        inl_op_lora_up_bwd(plan, &net->in, &tail, du, grad);
        inl_op_lora_down_bwd(plan, &net->in, net->arena, tail.slot, 1, c->xn, grad);
        tail.h = grad;
    }
    if (dx.buf == INL_BUF_NONE)
        return;
    inl_gemm_args args = {.w = &net->weights->head,
                          .x = du,
                          .y = dxn,
                          .bias = INL_BUF_NONE,
                          .residual = INL_BUF_NONE,
                          .tail = tail,
                          .limit = true,
                          .first = c->first,
                          .tag = "head"};
    if (dora)
        inl_op_dora_linear_dx(plan, &net->in, &args, c->logits);
    else
        inl_op_gemm_dx(plan, &net->in, &args);
    inl_op_rmsnorm_bwd(plan, &net->in, &net->weights->norm, x, c->rstd, dxn, INL_BUF_NONE, dx, true,
                       c->first);
}

static void keep_logits(const inl_network *net, const inl_walk *walk, const head_chunk *c)
{
    uint64_t row = 4ull * c->logits.ld;
    inl_range target = {walk->logits.buffer, walk->logits.offset + c->first * row, c->rows * row};
    inl_plan_copy(net->plan, c->logits.buf, inl_op_external(net->plan, target), target.size);
}

// Of one token over a cache: the norm is the product's, and where host and device share memory the
// logits go to where they are kept.
static void emit_token_head(const inl_network *net, const inl_walk *walk, inl_tensor x)
{
    const inl_gpu_caps *caps = inl_plan_caps(net->plan);
    float softcap = net->weights->model->config.final_softcap;
    inl_tensor logits = {.rows = 1, .cols = net->weights->head.rows};
    logits.ld = (uint32_t)inl_round_up(logits.cols, 8);
    bool direct = caps && (caps->type == 4 || caps->type == 1); // a CPU, an integrated GPU
    inl_buf kept = inl_op_external(net->plan, walk->logits);
    logits.buf = kept;
    if (!direct)
        logits.buf =
            inl_plan_scratch(net->plan, INL_SCRATCH, inl_tensor_bytes(1, logits.cols));
    inl_op_gemv(net->plan, &(inl_gemv_args){.w = &net->weights->head,
                                            .x = x,
                                            .y = logits,
                                            .bias = INL_BUF_NONE,
                                            .residual = INL_BUF_NONE,
                                            .norm = &net->weights->norm,
                                            .tag = "head"});
    if (softcap > 0.0f)
        inl_op_softcap(net->plan, logits, softcap);
    if (!direct)
        inl_plan_copy(net->plan, logits.buf, kept, walk->logits.size);
}

static inl_tensor emit_head(const inl_network *net, const inl_walk *walk, inl_tensor x,
                            bool need_dx)
{
    inl_tensor dx = {.buf = INL_BUF_NONE};
    if (net->cache_k && net->tokens == 1 && walk->logits.size > 0 && !head_slot(net)) {
        emit_token_head(net, walk, x);
        return dx;
    }
    if (need_dx) {
        dx = inl_plan_tensor(net->plan, x.rows, x.cols);
        inl_plan_zero(net->plan, dx.buf);
    }
    uint32_t rows = chunk_rows(net), all = walk->head_rows ? walk->head_rows : net->tokens;
    for (uint32_t first = 0; first < all; first += rows) {
        head_chunk c = {.first = first, .rows = INL_MIN(rows, all - first)};
        head_forward(net, x, &c);
        if (walk->logits.size > 0)
            keep_logits(net, walk, &c);
        else
            inl_op_loss(net->plan, &net->in, c.logits, net->weights->model->config.final_softcap,
                        walk->losses, first, walk->backward);
        inl_plan_set_backward(net->plan, true);
        if (walk->backward)
            head_backward(net, x, &c, dx);
        inl_plan_set_backward(net->plan, false);
    }
    return dx;
}

// The inputs of a segment's layers after its first, from that one's, which was kept.
static void emit_inputs(const inl_network *net, inl_block *blocks, uint32_t first, uint32_t last)
{
    for (uint32_t i = first; i < last; i++) {
        inl_tensor x = blocks[i].x;
        inl_tensor y = inl_block_forward(net, i, x, &blocks[i]);
        blocks[i + 1].x = y;
    }
}

// A checkpointed layer's forward pass is emitted once more before its backward, from its input; a
// segment's inputs are made when its last layer's turn comes.
static void emit_backward(const inl_network *net, const inl_walk *walk, inl_block *blocks,
                          inl_tensor dx, uint32_t lowest)
{
    uint32_t segment = INL_MAX(walk->segment, 1), end = walk->checkpointed_layers;
    for (uint32_t i = net->weights->model->config.layers; i-- > lowest;) {
        if (i < end && (i + 1 == end || (i + 1) % segment == 0))
            emit_inputs(net, blocks, INL_MAX(i - i % segment, lowest), i);
        if (i < end)
            inl_block_forward_again(net, i, blocks[i].x, &blocks[i]);
        dx = inl_block_backward(net, i, &blocks[i], dx, i > lowest);
    }
}

void inl_network_emit(const inl_network *net, const inl_walk *walk)
{
    const inl_config *c = &net->weights->model->config;
    const inl_env *env = inl_plan_env(net->plan);
    inl_block *blocks = inl_alloc(env, c->layers, sizeof(*blocks));
    if (!blocks) {
        inl_plan_fail(net->plan, INLAY_ERROR_OUT_OF_MEMORY);
        return;
    }
    inl_tensor x = inl_plan_tensor(net->plan, net->tokens, c->dim);
    inl_op_embed(net->plan, &net->in, &net->weights->embedding, c->embedding_scale, x);
    for (uint32_t i = 0; i < c->layers; i++)
        x = inl_block_forward(net, i, x, &blocks[i]);
    uint32_t lowest = walk->backward ? net->slots->first_layer : c->layers;
    inl_tensor dx = emit_head(net, walk, x, lowest < c->layers);
    inl_plan_set_backward(net->plan, true);
    if (walk->backward)
        emit_backward(net, walk, blocks, dx, lowest);
    inl_plan_set_backward(net->plan, false);
    inl_free(env, blocks);
}
