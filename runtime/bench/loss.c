// SPDX-License-Identifier: MIT
#include "bench/loss.h"
#include "bench/rows.h"
#include "verify/ref.h"

#include <math.h>
#include <string.h>

// What a forward pass of the first `rows` tokens has in hand. Matrices are dense, row-major.
typedef struct pass {
    const inl_env *env;
    const inl_model *model;
    const inl_lora *lora;
    const inl_input_buffers *inputs;
    uint32_t rows;
    double *x, *normed, *rstd, *q, *k, *v, *o, *lse, *gate, *up; // [rows, ...]
    double *narrow;  // [rows, r] of an adapter
    double *wide;    // a norm's weight; the logits of one token
    double *table;   // RoPE's
    float *values;   // a norm's weight
} pass;

static inlay_result take(const pass *p, uint64_t count, double **out)
{
    *out = inl_alloc(p->env, count, sizeof(**out));
    return *out ? INLAY_OK : INLAY_ERROR_OUT_OF_MEMORY;
}

static bool is_known(const inl_model *m, const inl_lora *lora)
{
    const inl_config *c = &m->config;
    const inl_arch *a = &c->arch;
    bool plain = !a->qkv_bias && !a->qk_norm && !a->fused_qkv && !a->fused_gate_up &&
                 !a->post_norms && !a->gelu && !a->scaled_embedding && !a->experts &&
                 a->nope_period == 0 && c->window == 0 && c->attention_softcap == 0.0f &&
                 c->final_softcap == 0.0f && c->embedding_scale == 1.0f;
    if (!plain || lora->use_dora || lora->dropout > 0.0f || lora->has_head)
        return false;
    for (uint32_t i = 0; i < c->layers; i++)
        for (inl_role role = 0; role < INL_ROLE_COUNT; role++)
            if (m->layers[i].bias[role].tensor ||
                (m->layers[i].linear[role].tensor && m->layers[i].linear[role].tensor->bnb4))
                return false;
    return true;
}

// ---- products

static const inl_lora_pair *find_pair(const pass *p, uint32_t layer, inl_role role)
{
    uint32_t module = inl_config_module(&p->model->config, layer, role);
    for (uint32_t i = 0; i < p->lora->pair_count; i++)
        if (p->lora->pairs[i].module == module)
            return &p->lora->pairs[i];
    return NULL;
}

// y [rows, out] = x W^T + scale x A^T B^T, or is added to.
static inlay_result linear(const pass *p, uint32_t layer, inl_role role, const double *x, bool add,
                           double *y)
{
    const inl_source *s = &p->model->layers[layer].linear[role];
    const inl_lora_pair *pair = find_pair(p, layer, role);
    uint32_t r = pair ? pair->r : 0;
    inl_rows rows;
    INL_TRY(inl_rows_open(p->env, s, &rows));
    for (uint32_t t = 0; t < p->rows; t++)
        for (uint32_t i = 0; i < r; i++)
            p->narrow[t * r + i] =
                (double)pair->scale * inl_rows_dot(pair->a + (uint64_t)i * s->cols,
                                                   x + (uint64_t)t * s->cols, s->cols);
    for (uint32_t n = 0; n < s->rows; n++) {
        const float *w = inl_rows_get(&rows, n);
        for (uint32_t t = 0; t < p->rows; t++) {
            double sum = inl_rows_dot(w, x + (uint64_t)t * s->cols, s->cols);
            if (pair)
                sum += inl_rows_dot(pair->b + (uint64_t)n * r, p->narrow + (uint64_t)t * r, r);
            double *out = &y[(uint64_t)t * s->rows + n];
            *out = add ? *out + sum : sum;
        }
    }
    inl_rows_close(p->env, &rows);
    return INLAY_OK;
}

// ---- a layer

static void norm(const pass *p, const inl_source *s, double *out)
{
    const inl_config *c = &p->model->config;
    s->stored->decode(s->tensor->data, p->values, s->cols);
    for (uint32_t i = 0; i < s->cols; i++)
        p->wide[i] = (double)p->values[i];
    ref_rmsnorm(p->x, p->wide, NULL, p->rows, c->dim, (double)c->norm_eps, out, p->rstd);
}

static void turn(const pass *p, double *x, uint32_t heads)
{
    const inl_config *c = &p->model->config;
    ref_rope(x, p->table, p->inputs->positions, p->rows, heads, c->head_dim, c->rope.dim,
             c->rope_halves, 1.0, 0, x);
}

static inlay_result attend(const pass *p, uint32_t layer)
{
    const inl_config *c = &p->model->config;
    norm(p, &p->model->layers[layer].norm[INL_NORM_ATTENTION], p->normed);
    INL_TRY(linear(p, layer, INL_ROLE_Q, p->normed, false, p->q));
    INL_TRY(linear(p, layer, INL_ROLE_K, p->normed, false, p->k));
    INL_TRY(linear(p, layer, INL_ROLE_V, p->normed, false, p->v));
    turn(p, p->q, c->heads);
    turn(p, p->k, c->kv_heads);
    ref_attention a = {.rows = p->rows,
                       .heads = c->heads,
                       .kv_heads = c->kv_heads,
                       .head_dim = c->head_dim,
                       .window = UINT32_MAX,
                       .starts = p->inputs->starts,
                       .scale = (double)c->attention_scale};
    ref_attention_fwd(&a, p->q, p->k, p->v, p->o, p->lse);
    return linear(p, layer, INL_ROLE_O, p->o, true, p->x);
}

static inlay_result feed_forward(const pass *p, uint32_t layer)
{
    uint64_t count = (uint64_t)p->rows * p->model->config.ffn_dim;
    norm(p, &p->model->layers[layer].norm[INL_NORM_FFN], p->normed);
    INL_TRY(linear(p, layer, INL_ROLE_GATE, p->normed, false, p->gate));
    INL_TRY(linear(p, layer, INL_ROLE_UP, p->normed, false, p->up));
    ref_glu(false, p->gate, p->up, count, p->gate);
    return linear(p, layer, INL_ROLE_DOWN, p->gate, true, p->x);
}

// ---- beginning and end

static inlay_result embed(const pass *p)
{
    const inl_source *s = &p->model->embedding;
    inl_rows rows;
    INL_TRY(inl_rows_open(p->env, s, &rows));
    for (uint32_t t = 0; t < p->rows; t++) {
        const float *row = inl_rows_get(&rows, p->inputs->tokens[t]);
        for (uint32_t i = 0; i < s->cols; i++)
            p->x[(uint64_t)t * s->cols + i] = (double)row[i];
    }
    inl_rows_close(p->env, &rows);
    return INLAY_OK;
}

// The mean over the first `count` learned tokens. `logits` has room for all of theirs.
static inlay_result head_loss(const pass *p, uint32_t count, double *logits, double *out)
{
    const inl_source *s = &p->model->head;
    inl_rows rows;
    INL_TRY(inl_rows_open(p->env, s, &rows));
    norm(p, &p->model->norm, p->normed);
    for (uint32_t n = 0; n < s->rows; n++) {
        const float *w = inl_rows_get(&rows, n);
        for (uint32_t i = 0; i < count; i++)
            logits[(uint64_t)i * s->rows + n] =
                inl_rows_dot(w, p->normed + (uint64_t)p->inputs->rows[i] * s->cols, s->cols);
    }
    *out = 0.0;
    for (uint32_t i = 0; i < count; i++)
        *out += ref_loss(logits + (uint64_t)i * s->rows, s->rows, p->inputs->labels[i], 1.0, 0.0,
                         NULL) / count;
    inl_rows_close(p->env, &rows);
    return INLAY_OK;
}

static inlay_result make_table(pass *p)
{
    const inl_config *c = &p->model->config;
    uint32_t half = c->rope.dim / 2, last = 0;
    for (uint32_t t = 0; t < p->rows; t++)
        last = INL_MAX(last, p->inputs->positions[t]);
    float *frequencies = inl_alloc(p->env, half, sizeof(float));
    inlay_result result = take(p, 2ull * half * (last + 1), &p->table);
    if (frequencies && result == INLAY_OK) {
        double magnitude =
            (double)inl_rope_frequencies(&c->rope, p->inputs->tokens_max, frequencies);
        for (uint64_t i = 0; i < (uint64_t)half * (last + 1); i++) {
            double angle = (double)((float)(i / half) * frequencies[i % half]);
            p->table[2 * i] = magnitude * cos(angle);
            p->table[2 * i + 1] = magnitude * sin(angle);
        }
    }
    result = frequencies ? result : INLAY_ERROR_OUT_OF_MEMORY;
    inl_free(p->env, frequencies);
    return result;
}

static inlay_result make_room(pass *p)
{
    const inl_config *c = &p->model->config;
    uint64_t t = p->rows, q = (uint64_t)c->heads * c->head_dim;
    uint64_t longest = INL_MAX(q, INL_MAX(c->dim, c->ffn_dim));
    uint32_t r = 1;
    for (uint32_t i = 0; i < p->lora->pair_count; i++)
        r = INL_MAX(r, p->lora->pairs[i].r);
    INL_TRY(take(p, t * c->dim, &p->x));
    INL_TRY(take(p, t * c->dim, &p->normed));
    INL_TRY(take(p, t, &p->rstd));
    INL_TRY(take(p, t * q, &p->q));
    INL_TRY(take(p, t * c->kv_heads * c->head_dim, &p->k));
    INL_TRY(take(p, t * c->kv_heads * c->head_dim, &p->v));
    INL_TRY(take(p, t * q, &p->o));
    INL_TRY(take(p, t * c->heads, &p->lse));
    INL_TRY(take(p, t * c->ffn_dim, &p->gate));
    INL_TRY(take(p, t * c->ffn_dim, &p->up));
    INL_TRY(take(p, t * r, &p->narrow));
    INL_TRY(take(p, longest, &p->wide));
    p->values = inl_alloc(p->env, longest, sizeof(float));
    return p->values ? make_table(p) : INLAY_ERROR_OUT_OF_MEMORY;
}

static void free_pass(pass *p)
{
    void *all[] = {p->x,  p->normed, p->rstd,   p->q,    p->k,     p->v,      p->o,     p->lse,
                   p->gate, p->up,   p->narrow, p->wide, p->table, p->values};
    for (size_t i = 0; i < INL_COUNT(all); i++)
        inl_free(p->env, all[i]);
}

static inlay_result reference_loss(pass *p, uint32_t count, double *out)
{
    double *logits;
    INL_TRY(make_room(p));
    INL_TRY(embed(p));
    for (uint32_t i = 0; i < p->model->config.layers; i++) {
        INL_TRY(attend(p, i));
        INL_TRY(feed_forward(p, i));
    }
    INL_TRY(take(p, (uint64_t)count * p->model->config.vocab, &logits));
    inlay_result result = head_loss(p, count, logits, out);
    inl_free(p->env, logits);
    return result;
}

inlay_result inl_check_loss(inl_trainer *t, uint32_t tokens, inl_loss_check *out)
{
    *out = (inl_loss_check){0};
    if (!is_known(t->model, t->lora))
        return INLAY_ERROR_UNSUPPORTED;
    inl_step_stats stats;
    INL_TRY(inl_trainer_sync(t));
    INL_TRY(inl_trainer_step(t, &stats));
    uint32_t count = INL_MIN(tokens, t->inputs.scalars->supervised);
    if (count == 0)
        return INLAY_ERROR_UNSUPPORTED;
    pass p = {.env = &t->env,
              .model = t->model,
              .lora = t->lora,
              .inputs = &t->inputs,
              .rows = t->inputs.rows[count - 1] + 1};
    out->tokens = count;
    out->step = stats.step;
    for (uint32_t i = 0; i < count; i++)
        out->loss += (double)t->inputs.loss_values[i] / count;
    inlay_result result = reference_loss(&p, count, &out->reference);
    free_pass(&p);
    return result;
}
