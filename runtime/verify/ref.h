// SPDX-License-Identifier: MIT
// Float64 references of every operation and its gradient: plain loops over dense row-major
// matrices, written from the formulas and not from the shaders. Shapes are [rows, cols]; "+=" adds
// to the output.
#ifndef INL_VERIFY_REF_H
#define INL_VERIFY_REF_H

#include <stdbool.h>
#include <stdint.h>

#include "verify/names.h"

// ---- products

// out[r, m] += scale sum_k a[r, k] b[m, k]
void ref_nt(const double *a, const double *b, uint32_t rows, uint32_t inner, uint32_t cols,
            double scale, double *out);
// out[r, m] += scale sum_k a[r, k] b[k, m]
void ref_nn(const double *a, const double *b, uint32_t rows, uint32_t inner, uint32_t cols,
            double scale, double *out);
// out[r, m] += scale sum_k a[k, r] b[k, m]
void ref_tn(const double *a, const double *b, uint32_t rows, uint32_t inner, uint32_t cols,
            double scale, double *out);

// A linear layer with everything that may ride on it; NULL: absent.
typedef struct ref_linear {
    uint32_t rows, in, out; // T, K, N
    const double *w;        // [out, in]
    const double *bias;     // [out]
    const double *residual; // of the result's shape
    // The adapter's other half: h [rows, rank] and b [out, rank] forward, g [rows, rank] and
    // a [rank, in] backward.
    const double *narrow, *matrix;
    uint32_t rank;
    double scale;       // forward alone: backward's is in g
    const double *mask; // backward alone: [rows, in]
} ref_linear;
// y [rows, out] = x W^T + bias + residual + scale h B^T
void ref_gemm(const ref_linear *l, const double *x, double *y);
// dx [rows, in] = dy W + residual + mask (g A)
void ref_gemm_dx(const ref_linear *l, const double *dy, double *dx);

// mask [rows, cols]: 1 / (1 - p) where kept, 0 where dropped; the counter is row * cols + column.
void ref_dropout_mask(uint32_t seed, uint32_t stream, uint32_t rows, uint32_t cols, float p,
                      double *mask);
// h [rows, rank] = mask(x) A^T; `mask` may be NULL.
void ref_lora_down(const double *x, const double *mask, const double *a, uint32_t rows, uint32_t in,
                   uint32_t rank, double *h);
// g [rows, rank] = scale dy B
void ref_lora_up(const double *dy, const double *b, uint32_t rows, uint32_t out, uint32_t rank,
                 double scale, double *g);
// db [out, rank] += scale dy^T h
void ref_lora_db(const double *dy, const double *h, uint32_t rows, uint32_t out, uint32_t rank,
                 double scale, double *db);
// da [rank, in] += g^T mask(x)
void ref_lora_da(const double *g, const double *x, const double *mask, uint32_t rows, uint32_t in,
                 uint32_t rank, double *da);

// ---- DoRA (ref_dora.c)

// norm [out]: of the rows of W + scale B A, W [out, in] and A and B as above.
void ref_dora_norms(const double *w, const double *a, const double *b, uint32_t out, uint32_t in,
                    uint32_t rank, double scale, double *norm);
// y [rows, cols] = m / norm u + bias + residual; the last two may be NULL.
void ref_dora(const double *u, const double *m, const double *norm, const double *bias,
              const double *residual, uint32_t rows, uint32_t cols, double *y);
// dm [cols] += sum over rows of dy u / norm
void ref_dora_dm(const double *dy, const double *u, const double *norm, uint32_t rows,
                 uint32_t cols, double *dm);

// y [rows, cols] = table[tokens[t], :]
void ref_embed(const double *table, const uint32_t *tokens, uint32_t rows, uint32_t cols,
               double *y);

// ---- layers; `index` NULL is the identity

// y[r] = x[index[r]] rstd[r] weight. A row of several heads, each with a mean of its own: so many
// rows.
void ref_rmsnorm(const double *x, const double *weight, const uint32_t *index, uint32_t rows,
                 uint32_t cols, double eps, double *y, double *rstd);
// dx[index[r]] = residual[index[r]] + J^T dy[r], through the norm's Jacobian; other rows keep what
// they have. `residual` may be NULL or dx.
void ref_rmsnorm_bwd(const double *x, const double *weight, const double *dy, const uint32_t *index,
                     const double *residual, uint32_t rows, uint32_t cols, double eps, double *dx);
// Pairs (2i, 2i + 1), or with `halves` (i, i + rope_dim / 2), of the first rope_dim columns of each
// head turn by sign * angle(position, i) with table [positions, rope_dim / 2, (cos, sin)]. Row t
// goes to row first + t of y, which may be x. Table NULL: copies.
void ref_rope(const double *x, const double *table, const uint32_t *positions, uint32_t rows,
              uint32_t heads, uint32_t head_dim, uint32_t rope_dim, bool halves, double sign,
              uint32_t first, double *y);
// y = act(gate) up, with silu or the tanh form of gelu.
void ref_glu(bool gelu, const double *gate, const double *up, uint64_t count, double *y);
void ref_glu_bwd(bool gelu, const double *gate, const double *up, const double *dy, uint64_t count,
                 double *dgate, double *dup);

typedef struct ref_attention {
    uint32_t rows, heads, kv_heads, head_dim;
    uint32_t window;        // UINT32_MAX: all
    uint32_t first;         // key index of query 0
    const uint32_t *starts; // [rows] key index of the sequence's first token
    double scale;
    double softcap; // a score is softcap tanh(score / softcap); 0: as it is
} ref_attention;
// o [rows, heads * head_dim], lse [rows, heads]
void ref_attention_fwd(const ref_attention *a, const double *q, const double *k, const double *v,
                       double *o, double *lse);
// Through the softmax's own Jacobian. Overwrites dq, dk, dv.
void ref_attention_bwd(const ref_attention *a, const double *q, const double *k, const double *v,
                       const double *d_o, double *dq, double *dk, double *dv);
// The same sums with every term's absolute value: what rounding errors are relative to. Where a
// query sees few keys the terms of a gradient, or of a log-sum-exp, nearly cancel.
void ref_attention_fwd_terms(const ref_attention *a, const double *q, const double *k, double *lse);
void ref_attention_bwd_terms(const ref_attention *a, const double *q, const double *k,
                             const double *v, const double *d_o, double *dq, double *dk,
                             double *dv);

// ---- a mixture of experts (ref_moe.c)

// A token's `used` experts of all, by falling probability, equal ones by rising index. Lists are
// [rows, used].
typedef struct ref_router {
    uint32_t rows, experts, used;
    bool normalize;
} ref_router;
void ref_route(const ref_router *r, const double *logits, double *probs, uint32_t *ids,
               double *weights);
// dlogits from the gradients of the weights, through both Jacobians.
void ref_route_bwd(const ref_router *r, const double *probs, const uint32_t *ids,
                   const double *dweights, double *dlogits);
// Rows by expert, each expert's padded to whole tiles of `align`: row_of[i] of assignment i,
// assignment_of[row] or UINT32_MAX, first[e] and count[e] of an expert's rows. Returns the rows.
uint32_t ref_moe_sort(const ref_router *r, const uint32_t *ids, uint32_t align, uint32_t *row_of,
                      uint32_t *assignment_of, uint32_t *first, uint32_t *count);

// ---- loss and update

// The row's cross-entropy; with `dlogits` also its gradient times `factor`. `softcap` not 0: the
// logits are softcap tanh(u / softcap), and the gradient is that of u.
double ref_loss(const double *logits, uint32_t cols, uint32_t label, double factor, double softcap,
                double *dlogits);
double ref_norm(const double *gradient, uint64_t count);

typedef struct ref_adamw_params {
    double learning_rate, beta1, beta2, epsilon, weight_decay, max_grad_norm;
    double correction1, correction2; // 1 - beta^step
    double norm;
} ref_adamw_params;
// One step in place; gradients become zero.
void ref_adamw(const ref_adamw_params *p, uint64_t count, double *w, double *g, double *m,
               double *v);

#endif
