// SPDX-License-Identifier: MIT
#include "verify/ref.h"

#include <math.h>
#include <string.h>

#include "base/rng.h"

// ---- products

void ref_nt(const double *a, const double *b, uint32_t rows, uint32_t inner, uint32_t cols,
            double scale, double *out)
{
    for (uint32_t r = 0; r < rows; r++)
        for (uint32_t m = 0; m < cols; m++) {
            double sum = 0.0;
            for (uint32_t k = 0; k < inner; k++)
                sum += a[(size_t)r * inner + k] * b[(size_t)m * inner + k];
            out[(size_t)r * cols + m] += scale * sum;
        }
}

void ref_nn(const double *a, const double *b, uint32_t rows, uint32_t inner, uint32_t cols,
            double scale, double *out)
{
    for (uint32_t r = 0; r < rows; r++)
        for (uint32_t k = 0; k < inner; k++)
            for (uint32_t m = 0; m < cols; m++)
                out[(size_t)r * cols + m] +=
                    scale * a[(size_t)r * inner + k] * b[(size_t)k * cols + m];
}

void ref_tn(const double *a, const double *b, uint32_t rows, uint32_t inner, uint32_t cols,
            double scale, double *out)
{
    for (uint32_t k = 0; k < inner; k++)
        for (uint32_t r = 0; r < rows; r++)
            for (uint32_t m = 0; m < cols; m++)
                out[(size_t)r * cols + m] +=
                    scale * a[(size_t)k * rows + r] * b[(size_t)k * cols + m];
}

void ref_gemm(const ref_linear *l, const double *x, double *y)
{
    for (uint32_t t = 0; t < l->rows; t++)
        for (uint32_t n = 0; n < l->out; n++) {
            size_t at = (size_t)t * l->out + n;
            y[at] = (l->bias ? l->bias[n] : 0.0) + (l->residual ? l->residual[at] : 0.0);
        }
    ref_nt(x, l->w, l->rows, l->in, l->out, 1.0, y);
    if (l->narrow)
        ref_nt(l->narrow, l->matrix, l->rows, l->rank, l->out, l->scale, y);
}

void ref_gemm_dx(const ref_linear *l, const double *dy, double *dx)
{
    size_t count = (size_t)l->rows * l->in;
    memset(dx, 0, count * sizeof(*dx));
    if (l->narrow)
        ref_nn(l->narrow, l->matrix, l->rows, l->rank, l->in, 1.0, dx);
    for (size_t i = 0; i < count; i++)
        dx[i] = dx[i] * (l->mask ? l->mask[i] : 1.0) + (l->residual ? l->residual[i] : 0.0);
    ref_nn(dy, l->w, l->rows, l->out, l->in, 1.0, dx);
}

void ref_dropout_mask(uint32_t seed, uint32_t stream, uint32_t rows, uint32_t cols, float p,
                      double *mask)
{
    for (uint32_t i = 0; i < rows * cols; i++)
        mask[i] = inl_rng_f32(seed, stream, i) < p ? 0.0 : 1.0 / (1.0 - (double)p);
}

// What dropout leaves of x[i].
static double kept(const double *x, const double *mask, size_t i)
{
    return x[i] * (mask ? mask[i] : 1.0);
}

void ref_lora_down(const double *x, const double *mask, const double *a, uint32_t rows, uint32_t in,
                   uint32_t rank, double *h)
{
    for (uint32_t t = 0; t < rows; t++)
        for (uint32_t r = 0; r < rank; r++) {
            double sum = 0.0;
            for (uint32_t k = 0; k < in; k++)
                sum += kept(x, mask, (size_t)t * in + k) * a[(size_t)r * in + k];
            h[(size_t)t * rank + r] = sum;
        }
}

void ref_lora_up(const double *dy, const double *b, uint32_t rows, uint32_t out, uint32_t rank,
                 double scale, double *g)
{
    memset(g, 0, (size_t)rows * rank * sizeof(*g));
    ref_nn(dy, b, rows, out, rank, scale, g);
}

void ref_lora_db(const double *dy, const double *h, uint32_t rows, uint32_t out, uint32_t rank,
                 double scale, double *db)
{
    ref_tn(dy, h, out, rows, rank, scale, db);
}

void ref_lora_da(const double *g, const double *x, const double *mask, uint32_t rows, uint32_t in,
                 uint32_t rank, double *da)
{
    for (uint32_t t = 0; t < rows; t++)
        for (uint32_t r = 0; r < rank; r++)
            for (uint32_t k = 0; k < in; k++)
                da[(size_t)r * in + k] +=
                    g[(size_t)t * rank + r] * kept(x, mask, (size_t)t * in + k);
}

void ref_embed(const double *table, const uint32_t *tokens, uint32_t rows, uint32_t cols, double *y)
{
    for (uint32_t t = 0; t < rows; t++)
        memcpy(y + (size_t)t * cols, table + (size_t)tokens[t] * cols, cols * sizeof(*y));
}

// ---- layers

static double row_rstd(const double *x, uint32_t cols, double eps)
{
    double sum = 0.0;
    for (uint32_t c = 0; c < cols; c++)
        sum += x[c] * x[c];
    return 1.0 / sqrt(sum / cols + eps);
}

void ref_rmsnorm(const double *x, const double *weight, const uint32_t *index, uint32_t rows,
                 uint32_t cols, double eps, double *y, double *rstd)
{
    for (uint32_t r = 0; r < rows; r++) {
        const double *from = x + (size_t)(index ? index[r] : r) * cols;
        rstd[r] = row_rstd(from, cols, eps);
        for (uint32_t c = 0; c < cols; c++)
            y[(size_t)r * cols + c] = from[c] * rstd[r] * weight[c];
    }
}

void ref_rmsnorm_bwd(const double *x, const double *weight, const double *dy, const uint32_t *index,
                     const double *residual, uint32_t rows, uint32_t cols, double eps, double *dx)
{
    for (uint32_t r = 0; r < rows; r++) {
        size_t at = (size_t)(index ? index[r] : r) * cols;
        double s = row_rstd(x + at, cols, eps);
        for (uint32_t c = 0; c < cols; c++) {
            // d y[j] / d x[c] = weight[j] (s [j = c] - s^3 x[j] x[c] / cols)
            double sum = residual ? residual[at + c] : 0.0;
            for (uint32_t j = 0; j < cols; j++) {
                double turn = (j == c ? s : 0.0) - s * s * s * x[at + j] * x[at + c] / cols;
                sum += dy[(size_t)r * cols + j] * weight[j] * turn;
            }
            dx[at + c] = sum;
        }
    }
}

void ref_rope(const double *x, const double *table, const uint32_t *positions, uint32_t rows,
              uint32_t heads, uint32_t head_dim, uint32_t rope_dim, bool halves, double sign,
              uint32_t first, double *y)
{
    uint32_t cols = heads * head_dim;
    memmove(y + (size_t)first * cols, x, (size_t)rows * cols * sizeof(*y));
    for (uint32_t t = 0; table && t < rows; t++)
        for (uint32_t h = 0; h < heads; h++)
            for (uint32_t i = 0; i < rope_dim / 2; i++) {
                double *head = y + (size_t)(first + t) * cols + h * head_dim;
                double *a = head + (halves ? i : 2 * i), *b = a + (halves ? rope_dim / 2 : 1);
                const double *pair = table + (size_t)positions[t] * rope_dim + 2 * i;
                double c = pair[0], s = sign * pair[1], x0 = *a, x1 = *b;
                *a = x0 * c - x1 * s;
                *b = x0 * s + x1 * c;
            }
}

static double sigmoid(double x)
{
    return 1.0 / (1.0 + exp(-x));
}

static double activation(bool gelu, double x)
{
    if (!gelu)
        return x * sigmoid(x);
    return 0.5 * x * (1.0 + tanh(sqrt(2.0 / acos(-1.0)) * (x + 0.044715 * x * x * x)));
}

static double activation_slope(bool gelu, double x)
{
    if (!gelu)
        return sigmoid(x) + x * sigmoid(x) * sigmoid(-x);
    double root = sqrt(2.0 / acos(-1.0)), u = root * (x + 0.044715 * x * x * x);
    double sech = 1.0 / cosh(u);
    return 0.5 * (1.0 + tanh(u)) + 0.5 * x * sech * sech * root * (1.0 + 3.0 * 0.044715 * x * x);
}

void ref_glu(bool gelu, const double *gate, const double *up, uint64_t count, double *y)
{
    for (uint64_t i = 0; i < count; i++)
        y[i] = activation(gelu, gate[i]) * up[i];
}

void ref_glu_bwd(bool gelu, const double *gate, const double *up, const double *dy, uint64_t count,
                 double *dgate, double *dup)
{
    for (uint64_t i = 0; i < count; i++) {
        dgate[i] = dy[i] * up[i] * activation_slope(gelu, gate[i]);
        dup[i] = dy[i] * activation(gelu, gate[i]);
    }
}

static bool sees(const ref_attention *a, uint32_t t, uint32_t key)
{
    uint32_t own = a->first + t;
    return key >= a->starts[t] && key <= own && own - key < a->window;
}

// Query t of head h: its row of q, the keys that it may see, and its log-sum-exp over them.
typedef struct query {
    const ref_attention *a;
    const double *q, *k;
    uint32_t t, kv_head, own;
    double lse;
} query;

static size_t key_at(const query *r, uint32_t key)
{
    return ((size_t)key * r->a->kv_heads + r->kv_head) * r->a->head_dim;
}

// The score of a key before the mask; *slope is that of the score in scale q.k.
static double score(const query *r, uint32_t key, double *slope)
{
    const ref_attention *a = r->a;
    const double *k = r->k + key_at(r, key);
    double dot = 0.0;
    for (uint32_t i = 0; i < a->head_dim; i++)
        dot += r->q[i] * k[i];
    double t = a->softcap > 0.0 ? tanh(a->scale * dot / a->softcap) : 0.0;
    *slope = 1.0 - t * t;
    return a->softcap > 0.0 ? a->softcap * t : a->scale * dot;
}

// Nothing is kept of a row of probabilities: each is made again where it is needed.
static double probability(const query *r, uint32_t key, double *slope)
{
    return sees(r->a, r->t, key) ? exp(score(r, key, slope) - r->lse) : 0.0;
}

static query query_of(const ref_attention *a, const double *q, const double *k, uint32_t t,
                      uint32_t h)
{
    query r = {.a = a,
               .q = q + ((size_t)t * a->heads + h) * a->head_dim,
               .k = k,
               .t = t,
               .kv_head = h / (a->heads / a->kv_heads),
               .own = a->first + t};
    double most = -INFINITY, sum = 0.0, slope;
    for (uint32_t j = 0; j <= r.own; j++) {
        if (!sees(a, t, j))
            continue;
        double s = score(&r, j, &slope);
        if (s > most) {
            sum = sum * exp(most - s) + 1.0;
            most = s;
        } else {
            sum += exp(s - most);
        }
    }
    r.lse = most + log(sum);
    return r;
}

void ref_attention_fwd(const ref_attention *a, const double *q, const double *k, const double *v,
                       double *o, double *lse)
{
    uint32_t d = a->head_dim;
    for (uint32_t t = 0; t < a->rows; t++)
        for (uint32_t h = 0; h < a->heads; h++) {
            query r = query_of(a, q, k, t, h);
            double *row = o + ((size_t)t * a->heads + h) * d, slope;
            lse[(size_t)t * a->heads + h] = r.lse;
            memset(row, 0, d * sizeof(*row));
            for (uint32_t j = 0; j <= r.own; j++) {
                double p = probability(&r, j, &slope);
                for (uint32_t i = 0; i < d; i++)
                    row[i] += p * v[key_at(&r, j) + i];
            }
        }
}

void ref_attention_fwd_terms(const ref_attention *a, const double *q, const double *k, double *lse)
{
    for (uint32_t t = 0; t < a->rows; t++)
        for (uint32_t h = 0; h < a->heads; h++) {
            query r = query_of(a, q, k, t, h);
            double sum = 0.0, slope;
            for (uint32_t j = 0; j <= r.own; j++) {
                double p = probability(&r, j, &slope);
                for (uint32_t i = 0; i < a->head_dim; i++)
                    sum += p * a->scale * fabs(r.q[i] * k[key_at(&r, j) + i]);
            }
            lse[(size_t)t * a->heads + h] = sum;
        }
}

static double product_sum(double (*value)(double), const double *a, const double *b, uint32_t count)
{
    double sum = 0.0;
    for (uint32_t i = 0; i < count; i++)
        sum += value(a[i] * b[i]);
    return sum;
}

// One query of one head. `minus` is -1 and `value` the identity, or, for the terms' absolute
// values, 1 and fabs.
static void attention_row_bwd(const query *r, double minus, double (*value)(double),
                              const double *v, const double *do_row, double *dq_row, double *dk,
                              double *dv)
{
    uint32_t d = r->a->head_dim;
    double mean = 0.0, slope; // sum_j p_j dp_j
    for (uint32_t j = 0; j <= r->own; j++) {
        double p = probability(r, j, &slope);
        mean += p * product_sum(value, do_row, v + key_at(r, j), d);
        for (uint32_t i = 0; i < d; i++)
            dv[key_at(r, j) + i] += value(p * do_row[i]);
    }
    for (uint32_t j = 0; j <= r->own; j++) {
        size_t at = key_at(r, j);
        double p = probability(r, j, &slope), dp = product_sum(value, do_row, v + at, d);
        double ds = p > 0.0 ? r->a->scale * slope * p * (dp + minus * mean) : 0.0;
        for (uint32_t i = 0; i < d; i++) {
            dq_row[i] += value(ds * r->k[at + i]);
            dk[at + i] += value(ds * r->q[i]);
        }
    }
}

static double identity(double x)
{
    return x;
}

static void attention_bwd(const ref_attention *a, double minus, double (*value)(double),
                          const double *q, const double *k, const double *v, const double *d_o,
                          double *dq, double *dk, double *dv)
{
    size_t d = a->head_dim, keys = (size_t)a->first + a->rows;
    memset(dq, 0, a->rows * a->heads * d * sizeof(*dq));
    memset(dk, 0, keys * a->kv_heads * d * sizeof(*dk));
    memset(dv, 0, keys * a->kv_heads * d * sizeof(*dv));
    for (uint32_t t = 0; t < a->rows; t++)
        for (uint32_t h = 0; h < a->heads; h++) {
            query r = query_of(a, q, k, t, h);
            size_t at = ((size_t)t * a->heads + h) * d;
            attention_row_bwd(&r, minus, value, v, d_o + at, dq + at, dk, dv);
        }
}

void ref_attention_bwd(const ref_attention *a, const double *q, const double *k, const double *v,
                       const double *d_o, double *dq, double *dk, double *dv)
{
    attention_bwd(a, -1.0, identity, q, k, v, d_o, dq, dk, dv);
}

void ref_attention_bwd_terms(const ref_attention *a, const double *q, const double *k,
                             const double *v, const double *d_o, double *dq, double *dk, double *dv)
{
    attention_bwd(a, 1.0, fabs, q, k, v, d_o, dq, dk, dv);
}

// ---- loss and update

double ref_loss(const double *logits, uint32_t cols, uint32_t label, double factor, double softcap,
                double *dlogits)
{
    double most = -INFINITY, sum = 0.0;
    for (uint32_t c = 0; c < cols; c++)
        most = fmax(most, logits[c]);
    for (uint32_t c = 0; c < cols; c++)
        sum += exp(logits[c] - most);
    double loss = most + log(sum) - logits[label];
    for (uint32_t c = 0; c < cols && dlogits; c++) {
        double t = softcap > 0.0 ? logits[c] / softcap : 0.0;
        dlogits[c] =
            factor * (exp(logits[c] - most) / sum - (c == label ? 1.0 : 0.0)) * (1.0 - t * t);
    }
    return loss;
}

double ref_norm(const double *gradient, uint64_t count)
{
    double sum = 0.0;
    for (uint64_t i = 0; i < count; i++)
        sum += gradient[i] * gradient[i];
    return sqrt(sum);
}

void ref_adamw(const ref_adamw_params *p, uint64_t count, double *w, double *g, double *m,
               double *v)
{
    double clip = 1.0;
    if (p->max_grad_norm > 0.0)
        clip = fmin(1.0, p->max_grad_norm / (p->norm + 1e-6));
    for (uint64_t i = 0; i < count; i++) {
        double grad = g[i] * clip;
        m[i] = p->beta1 * m[i] + (1.0 - p->beta1) * grad;
        v[i] = p->beta2 * v[i] + (1.0 - p->beta2) * grad * grad;
        double m_hat = m[i] / p->correction1, v_hat = v[i] / p->correction2;
        w[i] -= p->learning_rate * p->weight_decay * w[i];
        w[i] -= p->learning_rate * m_hat / (sqrt(v_hat) + p->epsilon);
        g[i] = 0.0;
    }
}
