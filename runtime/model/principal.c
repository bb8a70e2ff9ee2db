// SPDX-License-Identifier: MIT
// PiSSA: block Krylov iteration. X spans what may be the leading right singular vectors. A round
// takes it to U = X W^T, made orthonormal to all U's before, and to B = U W, whose rows, made
// orthonormal, are the next X. After some rounds the singular vectors of all B's together, of a few
// hundred rows, are the next first X. It has converged when X W^T is what the singular values and
// left vectors say it is.
#include "model/principal.h"
#include "base/dense.h"
#include "base/rng.h"

#include <math.h>
#include <string.h>

#define EXTRA_ROWS 8       // of X, beyond the rank
#define WHOLE_UP_TO 96     // a matrix with a side no larger is taken as a whole
#define KRYLOV_ROWS 192    // of all B's: their small problem grows with the cube
#define KRYLOV_ROUNDS 8    // at most, before there is a new first X
#define KRYLOV_BYTES (256ull << 20) // on the host, of all U's and B's
#define ROUNDS_MOST 120
#define TOLERANCE 2e-6     // of the largest singular value: f32 products leave about as much
#define STREAM 0x50695353u // of the first X's random numbers

// A matrix on the device and the two products with it.
typedef struct matrix {
    const inl_env *env;
    inl_gpu *gpu;
    const inl_weight *w;
    uint32_t rows;                     // of X and Y, at most
    inl_buffer *x, *y;                 // [rows, cols], [rows, W's rows]
    inl_plan *forward, *backward;
    float *staged;                     // of the larger of the two
} matrix;

static inl_tensor tensor_of(inl_plan *plan, inl_buffer *buffer, uint32_t rows, uint32_t cols)
{
    uint64_t bytes = inl_tensor_bytes(rows, cols);
    return (inl_tensor){.buf = inl_plan_external(plan, buffer, 0, bytes),
                        .rows = rows,
                        .cols = cols,
                        .ld = (uint32_t)inl_round_up(cols, 8)};
}

// y = x W^T, or `backward` x = y W.
static void emit_product(inl_plan *plan, const matrix *m, bool backward)
{
    inl_tensor x = tensor_of(plan, m->x, m->rows, m->w->cols);
    inl_tensor y = tensor_of(plan, m->y, m->rows, m->w->rows);
    inl_inputs in = {.scalars = x.buf}; // of which no such product reads one
    inl_gemm_args args = {.w = m->w,
                          .x = backward ? y : x,
                          .y = backward ? x : y,
                          .bias = INL_BUF_NONE,
                          .residual = INL_BUF_NONE,
                          .tag = "principal"};
    if (backward) {
        in.scalars = y.buf;
        inl_op_gemm_dx(plan, &in, &args);
    } else {
        inl_op_gemm(plan, &in, &args);
    }
}

static void close_matrix(matrix *m)
{
    inl_plan_destroy(&m->forward);
    inl_plan_destroy(&m->backward);
    inl_buffer_destroy(m->gpu, &m->x);
    inl_buffer_destroy(m->gpu, &m->y);
    inl_free(m->env, m->staged);
}

static inlay_result open_matrix(const inl_env *env, inl_gpu *gpu, const inl_weight *w,
                                uint32_t rows, matrix *m)
{
    *m = (matrix){.env = env, .gpu = gpu, .w = w, .rows = rows};
    uint64_t x = inl_tensor_bytes(rows, w->cols), y = inl_tensor_bytes(rows, w->rows);
    INL_TRY(inl_buffer_create(gpu, "vectors", x, INL_MEMORY_DEVICE, &m->x));
    INL_TRY(inl_buffer_create(gpu, "vectors", y, INL_MEMORY_DEVICE, &m->y));
    m->staged = inl_alloc(env, INL_MAX(x, y), 1);
    if (!m->staged)
        return INLAY_ERROR_OUT_OF_MEMORY;
    INL_TRY(inl_plan_create(env, gpu, &m->forward));
    emit_product(m->forward, m, false);
    INL_TRY(inl_plan_finish(m->forward));
    INL_TRY(inl_plan_create(env, gpu, &m->backward));
    emit_product(m->backward, m, true);
    return inl_plan_finish(m->backward);
}

// `from` and `to` are dense, [rows, cols] and [rows, W's rows] or the other way.
static inlay_result multiply(matrix *m, bool backward, const double *from, double *to)
{
    uint32_t in = backward ? m->w->rows : m->w->cols, out = backward ? m->w->cols : m->w->rows;
    inl_buffer *source = backward ? m->y : m->x, *target = backward ? m->x : m->y;
    uint64_t ld_in = inl_round_up(in, 8), ld_out = inl_round_up(out, 8), ticket;
    memset(m->staged, 0, inl_tensor_bytes(m->rows, in));
    for (uint32_t r = 0; r < m->rows; r++)
        for (uint32_t c = 0; c < in; c++)
            m->staged[r * ld_in + c] = (float)from[(uint64_t)r * in + c];
    INL_TRY(inl_gpu_upload(m->gpu, source, 0, m->staged, inl_tensor_bytes(m->rows, in)));
    INL_TRY(inl_plan_run(backward ? m->backward : m->forward, &ticket));
    INL_TRY(inl_gpu_wait(m->gpu, ticket));
    INL_TRY(inl_gpu_download(m->gpu, target, 0, m->staged, inl_tensor_bytes(m->rows, out)));
    for (uint32_t r = 0; r < m->rows; r++)
        for (uint32_t c = 0; c < out; c++)
            to[(uint64_t)r * out + c] = (double)m->staged[r * ld_out + c];
    return INLAY_OK;
}

// ---- PiSSA

// W is near the sum of values[i] left[i] x[i]^T.
typedef struct svd {
    uint32_t n, rows, cols, rounds; // rows of X; of W: rows, cols; rounds before a new first X
    double *x, *y, *left;           // [n, cols], [n, rows], [n, rows]
    double *u, *b;                  // of all rounds: [rounds n, rows], [rounds n, cols]
    double *values, *gram, *turn;   // [rounds n], two of [rounds n, rounds n]
} svd;

static void free_svd(const inl_env *env, svd *s)
{
    double **all[] = {&s->x, &s->y, &s->left, &s->u, &s->b, &s->values, &s->gram, &s->turn};
    for (size_t i = 0; i < INL_COUNT(all); i++)
        inl_free(env, *all[i]);
}

static inlay_result make_svd(const inl_env *env, const inl_weight *w, uint32_t n, svd *s)
{
    bool whole = n == INL_MIN(w->rows, w->cols);
    uint64_t fit = KRYLOV_BYTES / (sizeof(double) * n * ((uint64_t)w->rows + w->cols));
    uint32_t few = (uint32_t)INL_MIN(INL_MIN(KRYLOV_ROUNDS, KRYLOV_ROWS / n), fit);
    uint32_t rounds = whole ? 1 : INL_MAX(1, few);
    uint64_t all = (uint64_t)rounds * n;
    *s = (svd){.n = n, .rows = w->rows, .cols = w->cols, .rounds = rounds};
    s->x = inl_alloc(env, (uint64_t)n * w->cols, sizeof(double));
    s->y = inl_alloc(env, (uint64_t)n * w->rows, sizeof(double));
    s->left = inl_alloc(env, (uint64_t)n * w->rows, sizeof(double));
    s->u = inl_alloc(env, all * w->rows, sizeof(double));
    s->b = inl_alloc(env, all * w->cols, sizeof(double));
    s->values = inl_alloc(env, all, sizeof(double));
    s->gram = inl_alloc(env, all * all, sizeof(double));
    s->turn = inl_alloc(env, all * all, sizeof(double));
    return s->x && s->y && s->left && s->u && s->b && s->values && s->gram && s->turn
               ? INLAY_OK : INLAY_ERROR_OUT_OF_MEMORY;
}

// The leading singular values and vectors of W restricted to the rows of u, from b = u W.
static void ritz(svd *s, uint32_t count)
{
    inl_dense_gram(s->b, count, s->cols, s->gram);
    inl_dense_eigen(s->gram, count, s->values, s->turn);
    inl_dense_multiply(s->turn, s->u, s->n, count, s->rows, s->left);
    inl_dense_multiply(s->turn, s->b, s->n, count, s->cols, s->x);
    for (uint32_t i = 0; i < s->n; i++) {
        s->values[i] = sqrt(fmax(s->values[i], 0.0));
        double factor = s->values[i] > 1e-9 * s->values[0] ? 1.0 / s->values[i] : 0.0;
        for (uint32_t c = 0; c < s->cols; c++)
            s->x[(uint64_t)i * s->cols + c] *= factor;
    }
}

// The furthest that W x[i], which is y, is from values[i] left[i], of the first `rank`.
static double residual(const svd *s, uint32_t rank)
{
    double worst = 0.0;
    for (uint32_t i = 0; i < rank; i++) {
        double sum = 0.0;
        for (uint32_t c = 0; c < s->rows; c++) {
            uint64_t at = (uint64_t)i * s->rows + c;
            double d = s->y[at] - s->values[i] * s->left[at];
            sum += d * d;
        }
        worst = fmax(worst, sqrt(sum));
    }
    return worst;
}

// Round `k` since x was a first X.
static inlay_result go_round(matrix *m, svd *s, uint32_t k)
{
    uint64_t y = (uint64_t)s->n * s->rows, x = (uint64_t)s->n * s->cols;
    memcpy(s->u + k * y, s->y, y * sizeof(double));
    inl_dense_orthonormalize(s->u, k * s->n, (k + 1) * s->n, s->rows);
    INL_TRY(multiply(m, true, s->u + k * y, s->b + k * x));
    memcpy(s->x, s->b + k * x, x * sizeof(double));
    return INLAY_OK;
}

// `rounds` 0: until it has converged.
static inlay_result iterate(matrix *m, svd *s, uint32_t rank, uint32_t rounds)
{
    uint32_t most = rounds ? rounds : ROUNDS_MOST;
    for (uint32_t i = 0, k = 0; i < most; i++) {
        INL_TRY(multiply(m, false, s->x, s->y));
        if (!rounds && i > 0 && k == 0 && residual(s, rank) <= TOLERANCE * s->values[0])
            return INLAY_OK;
        INL_TRY(go_round(m, s, k++));
        if (k == s->rounds || i + 1 == most) {
            ritz(s, k * s->n);
            k = 0;
        } else {
            inl_dense_orthonormalize(s->x, 0, s->n, s->cols);
        }
    }
    return INLAY_OK;
}

static uint32_t rows_for(const inl_weight *w, uint32_t rank, bool whole_rank)
{
    uint32_t side = INL_MIN(w->rows, w->cols);
    if (whole_rank)
        return rank;
    return side <= WHOLE_UP_TO ? side : INL_MIN(rank + EXTRA_ROWS, side);
}

static inlay_result pissa(matrix *m, const inl_lora *lora, inl_lora_pair *p)
{
    svd s;
    uint32_t rank = p->r - p->frozen;
    inlay_result result = make_svd(m->env, m->w, m->rows, &s);
    for (uint64_t i = 0; result == INLAY_OK && i < (uint64_t)s.n * s.cols; i++)
        s.x[i] = (double)inl_rng_f32(STREAM, p->module, (uint32_t)i) - 0.5;
    if (result == INLAY_OK) {
        inl_dense_orthonormalize(s.x, 0, s.n, s.cols);
        result = iterate(m, &s, rank, lora->init_rounds);
    }
    for (uint32_t i = 0; result == INLAY_OK && i < rank; i++) {
        double root = sqrt(s.values[i] / (double)p->scale);
        for (uint32_t c = 0; c < p->in; c++)
            p->a[(uint64_t)i * p->in + c] = (float)(root * s.x[(uint64_t)i * s.cols + c]);
        for (uint32_t n = 0; n < p->out; n++)
            p->b[(uint64_t)n * p->r + i] = (float)(root * s.left[(uint64_t)i * s.rows + n]);
    }
    free_svd(m->env, &s);
    return result;
}

// ---- OLoRA

// Q's rows are the first columns of W made orthonormal, and R = Q W.
static inlay_result olora(matrix *m, inl_lora_pair *p)
{
    uint32_t rank = p->r - p->frozen;
    double *x = inl_alloc(m->env, (uint64_t)rank * p->in, sizeof(*x));
    double *q = inl_alloc(m->env, (uint64_t)rank * p->out, sizeof(*q));
    inlay_result result = x && q ? INLAY_OK : INLAY_ERROR_OUT_OF_MEMORY;
    for (uint32_t i = 0; result == INLAY_OK && i < rank; i++)
        x[(uint64_t)i * p->in + i] = 1.0;
    if (result == INLAY_OK)
        result = multiply(m, false, x, q);
    if (result == INLAY_OK) {
        inl_dense_orthonormalize(q, 0, rank, p->out);
        result = multiply(m, true, q, x);
    }
    for (uint32_t i = 0; result == INLAY_OK && i < rank; i++) {
        for (uint32_t c = 0; c < p->in; c++)
            p->a[(uint64_t)i * p->in + c] = (float)x[(uint64_t)i * p->in + c];
        for (uint32_t n = 0; n < p->out; n++)
            p->b[(uint64_t)n * p->r + i] = (float)q[(uint64_t)i * p->out + n];
    }
    inl_free(m->env, x);
    inl_free(m->env, q);
    return result;
}

// ---- all pairs

// The half that does not learn: the same A, and B with the other sign.
static void take_away(inl_lora_pair *p)
{
    uint32_t rank = p->r - p->frozen;
    memcpy(p->a + (uint64_t)rank * p->in, p->a, (uint64_t)rank * p->in * sizeof(float));
    for (uint32_t n = 0; n < p->out; n++)
        for (uint32_t i = 0; i < rank; i++)
            p->b[(uint64_t)n * p->r + rank + i] = -p->b[(uint64_t)n * p->r + i];
}

static bool is_principal(const inl_lora *lora)
{
    return lora->init == INL_INIT_PISSA || lora->init == INL_INIT_OLORA;
}

static inlay_result find_weight(const inl_env *env, const inl_weights *weights,
                                const inl_lora_pair *p, const inl_weight **w)
{
    *w = inl_weights_of_module(weights, p->module);
    if (!*w || (*w)->experts > 0)
        return inl_fail(env, INLAY_ERROR_UNSUPPORTED,
                        "%s: no first values are made from experts' weights", p->path);
    return INLAY_OK;
}

inlay_result inl_principal_init(const inl_env *env, inl_gpu *gpu, const inl_weights *weights,
                                inl_lora *lora)
{
    for (uint32_t i = 0; is_principal(lora) && i < lora->pair_count; i++) {
        inl_lora_pair *p = &lora->pairs[i];
        const inl_weight *w;
        matrix m;
        INL_TRY(find_weight(env, weights, p, &w));
        bool by_columns = lora->init == INL_INIT_OLORA;
        inlay_result result =
            open_matrix(env, gpu, w, rows_for(w, p->r - p->frozen, by_columns), &m);
        if (result == INLAY_OK)
            result = by_columns ? olora(&m, p) : pissa(&m, lora, p);
        close_matrix(&m);
        INL_TRY(result);
        take_away(p);
    }
    return INLAY_OK;
}

// What open_matrix takes.
static inlay_result count_bytes(const inl_env *env, const inl_gpu_caps *caps, const inl_weight *w,
                                uint32_t rows, uint64_t *bytes)
{
    matrix m = {.env = env, .w = w, .rows = rows};
    *bytes = inl_tensor_bytes(rows, w->cols) + inl_tensor_bytes(rows, w->rows);
    for (uint32_t i = 0; i < 2; i++) {
        inl_plan *plan;
        INL_TRY(inl_plan_create_dry(env, caps, &plan));
        emit_product(plan, &m, i);
        inlay_result result = inl_plan_finish(plan);
        *bytes += inl_plan_memory(plan, INL_ACTIVATION) + inl_plan_memory(plan, INL_SCRATCH);
        inl_plan_destroy(&plan);
        INL_TRY(result);
    }
    return INLAY_OK;
}

inlay_result inl_principal_bytes(const inl_env *env, const inl_gpu_caps *caps,
                                 const inl_weights *weights, const inl_lora *lora,
                                 uint64_t *bytes)
{
    *bytes = 0;
    for (uint32_t i = 0; is_principal(lora) && i < lora->pair_count; i++) {
        const inl_lora_pair *p = &lora->pairs[i];
        const inl_weight *w;
        uint64_t need;
        INL_TRY(find_weight(env, weights, p, &w));
        uint32_t rows = rows_for(w, p->r - p->frozen, lora->init == INL_INIT_OLORA);
        INL_TRY(count_bytes(env, caps, w, rows, &need));
        *bytes = INL_MAX(*bytes, need);
    }
    return INLAY_OK;
}
