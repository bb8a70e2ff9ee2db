// SPDX-License-Identifier: MIT
#define _POSIX_C_SOURCE 199309L
#include "bench/kernels.h"
#include "base/rng.h"
#include "bench/rows.h"
#include "model/weights.h"
#include "train/inputs.h"

#include <math.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>
#include <time.h>

#define REPEATS 5
#define LONG_ENOUGH 0.01 // seconds of a repeat: short kernels stand in it several times
#define MOST_COPIES 64u
#define ARRAYS 12
#define SAMPLED 8 // rows, and columns, of a result that are looked at

// f32 [rows, cols] on the device, padded as the plan's tensors are, and what it was filled with.
typedef struct array {
    inl_buffer *buffer;
    float *host;
    uint32_t rows, cols, ld;
} array;

typedef struct bench {
    const inl_env *env;
    inl_gpu *gpu;
    const inl_model *model;
    inl_weights *weights;
    inl_input_buffers inputs;
    uint32_t tokens;
    array arrays[ARRAYS];
    inl_kernel_sink *sink;
    void *user;
} bench;

// What a case adds to a plan, and what its result should be.
typedef struct kernel_case {
    char name[64];
    const inl_weight *w; // of a product
    const inl_source *source;
    bool dx;
    void (*emit)(const struct kernel_case *c, const bench *b, inl_plan *plan,
                 const inl_inputs *in);
    inlay_result (*check)(const struct kernel_case *c, bench *b, double *error);
} kernel_case;

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

// ---- arrays

enum { X, Y, Q, K, V, O, LSE, DO, DQ, DK, DV, RSTD };

static uint64_t array_floats(const array *a)
{
    return inl_round_up(a->rows, 8) * a->ld;
}

// Random in [-1, 1), padding zero.
static inlay_result make_array(bench *b, uint32_t index, uint32_t rows, uint32_t cols)
{
    array *a = &b->arrays[index];
    *a = (array){.rows = rows, .cols = cols, .ld = (uint32_t)inl_round_up(cols, 8)};
    a->host = inl_alloc(b->env, array_floats(a), sizeof(float));
    if (!a->host)
        return INLAY_ERROR_OUT_OF_MEMORY;
    for (uint32_t r = 0; r < rows; r++)
        for (uint32_t c = 0; c < cols; c++)
            a->host[(uint64_t)r * a->ld + c] = 2.0f * inl_rng_f32(index + 1, r, c) - 1.0f;
    INL_TRY(inl_buffer_create(b->gpu, "what kernels are measured on", 4 * array_floats(a),
                              INL_MEMORY_DEVICE, &a->buffer));
    return inl_gpu_upload(b->gpu, a->buffer, 0, a->host, 4 * array_floats(a));
}

static inlay_result read_array(bench *b, uint32_t index)
{
    array *a = &b->arrays[index];
    return inl_gpu_download(b->gpu, a->buffer, 0, a->host, 4 * array_floats(a));
}

static void free_arrays(bench *b)
{
    for (uint32_t i = 0; i < ARRAYS; i++) {
        inl_buffer_destroy(b->gpu, &b->arrays[i].buffer);
        inl_free(b->env, b->arrays[i].host);
        b->arrays[i] = (array){0};
    }
}

static inl_tensor tensor(inl_plan *plan, const bench *b, uint32_t index)
{
    const array *a = &b->arrays[index];
    return (inl_tensor){inl_plan_external(plan, a->buffer, 0, 4 * array_floats(a)), a->rows,
                        a->cols, a->ld};
}

static const float *row_of(const bench *b, uint32_t index, uint32_t row)
{
    return b->arrays[index].host + (uint64_t)row * b->arrays[index].ld;
}

// A sample of `count` numbers below `size`, the last among them.
static uint32_t sample(uint32_t i, uint32_t size)
{
    return i == 0 ? size - 1 : inl_rng_u32(11, size, i) % size;
}

typedef struct error_sums {
    double wrong, all;
} error_sums;

static void compare(error_sums *s, double got, double want)
{
    s->wrong += (got - want) * (got - want);
    s->all += want * want;
}

static double nmse(const error_sums *s)
{
    double error = s->wrong / (s->all > 0.0 ? s->all : 1.0);
    return isfinite(error) ? error : INFINITY;
}

// ---- products

static void emit_gemm(const kernel_case *c, const bench *b, inl_plan *plan, const inl_inputs *in)
{
    inl_gemm_args args = {.w = c->w,
                          .x = tensor(plan, b, X),
                          .y = tensor(plan, b, Y),
                          .bias = INL_BUF_NONE,
                          .residual = INL_BUF_NONE,
                          .tag = "bench"};
    if (c->dx)
        inl_op_gemm_dx(plan, in, &args);
    else
        inl_op_gemm(plan, in, &args);
}

// Of a product with W^T one row of W is a column of the result; of one with W it is a term of all.
static inlay_result check_gemm(const kernel_case *c, bench *b, double *error)
{
    uint32_t rows = c->source->rows, cols = c->source->cols, terms = c->dx ? rows : cols;
    error_sums sums = {0};
    inl_rows w;
    double *x = inl_alloc(b->env, terms, sizeof(*x));
    double want[SAMPLED][SAMPLED] = {{0}};
    inlay_result result = x ? inl_rows_open(b->env, c->source, &w) : INLAY_ERROR_OUT_OF_MEMORY;
    if (result != INLAY_OK) {
        inl_free(b->env, x);
        return result;
    }
    for (uint32_t n = 0; c->dx && n < rows; n++) {
        const float *row = inl_rows_get(&w, n);
        for (uint32_t i = 0; i < SAMPLED; i++)
            for (uint32_t j = 0; j < SAMPLED; j++)
                want[i][j] += (double)row_of(b, X, sample(i, b->tokens))[n] *
                              (double)row[sample(j, cols)];
    }
    for (uint32_t i = 0; i < SAMPLED; i++) {
        const float *in = row_of(b, X, sample(i, b->tokens));
        const float *out = row_of(b, Y, sample(i, b->tokens));
        for (uint32_t k = 0; k < terms; k++)
            x[k] = (double)in[k];
        for (uint32_t j = 0; j < SAMPLED; j++) {
            uint32_t column = sample(j, c->dx ? cols : rows);
            if (!c->dx)
                want[i][j] = inl_rows_dot(inl_rows_get(&w, column), x, cols);
            compare(&sums, (double)out[column], want[i][j]);
        }
    }
    inl_rows_close(b->env, &w);
    inl_free(b->env, x);
    *error = nmse(&sums);
    return INLAY_OK;
}

// ---- attention

static inl_attention attention_of(const bench *b)
{
    const inl_config *c = &b->model->config;
    return (inl_attention){.heads = c->heads,
                           .kv_heads = c->kv_heads,
                           .head_dim = c->head_dim,
                           .window = UINT32_MAX,
                           .scale = c->attention_scale};
}

static void emit_attention(const kernel_case *c, const bench *b, inl_plan *plan,
                           const inl_inputs *in)
{
    inl_attention a = attention_of(b);
    inl_tensor q = tensor(plan, b, Q), k = tensor(plan, b, K), v = tensor(plan, b, V);
    inl_tensor o = tensor(plan, b, O);
    inl_buf lse = tensor(plan, b, LSE).buf;
    if (c->dx)
        inl_op_attention_bwd(plan, in, &a, q, k, v, o, lse, tensor(plan, b, DO),
                             tensor(plan, b, DQ), tensor(plan, b, DK), tensor(plan, b, DV));
    else
        inl_op_attention(plan, in, &a, q, k, v, o, lse, false);
}

static double dot_floats(const float *a, const float *b, uint32_t count)
{
    double sum = 0.0;
    for (uint32_t i = 0; i < count; i++)
        sum += (double)a[i] * (double)b[i];
    return sum;
}

// The probabilities of a query's keys, 0 to `query`.
static void probabilities(const bench *b, uint32_t query, uint32_t head, double *p)
{
    inl_attention a = attention_of(b);
    uint32_t kv = head / (a.heads / a.kv_heads) * a.head_dim;
    double most = -INFINITY, sum = 0.0;
    for (uint32_t t = 0; t <= query; t++) {
        p[t] = (double)a.scale * dot_floats(row_of(b, Q, query) + head * a.head_dim,
                                            row_of(b, K, t) + kv, a.head_dim);
        most = fmax(most, p[t]);
    }
    for (uint32_t t = 0; t <= query; t++)
        sum += p[t] = exp(p[t] - most);
    for (uint32_t t = 0; t <= query; t++)
        p[t] /= sum;
}

// o = sum p v, or dq = scale sum p (do v - do o) k: of dk and dv `inlay verify` knows.
static void attend(const bench *b, bool backward, uint32_t query, uint32_t head, const double *p,
                   double *out)
{
    inl_attention a = attention_of(b);
    uint32_t kv = head / (a.heads / a.kv_heads) * a.head_dim, at = head * a.head_dim;
    const float *d_o = row_of(b, DO, query) + at;
    double mean = backward ? dot_floats(d_o, row_of(b, O, query) + at, a.head_dim) : 0.0;
    memset(out, 0, a.head_dim * sizeof(*out));
    for (uint32_t t = 0; t <= query; t++) {
        const float *v = row_of(b, V, t) + kv, *row = backward ? row_of(b, K, t) + kv : v;
        double factor = p[t];
        if (backward)
            factor *= (double)a.scale * (dot_floats(d_o, v, a.head_dim) - mean);
        for (uint32_t i = 0; i < a.head_dim; i++)
            out[i] += factor * (double)row[i];
    }
}

static inlay_result check_attention(const kernel_case *c, bench *b, double *error)
{
    inl_attention a = attention_of(b);
    error_sums sums = {0};
    double *p = inl_alloc(b->env, b->tokens + a.head_dim, sizeof(*p)), *want = p + b->tokens;
    if (!p)
        return INLAY_ERROR_OUT_OF_MEMORY;
    INL_TRY(read_array(b, c->dx ? DQ : O));
    for (uint32_t i = 0; i < SAMPLED; i++) {
        uint32_t query = sample(i, b->tokens), head = sample(i, a.heads);
        const float *got = row_of(b, c->dx ? DQ : O, query) + head * a.head_dim;
        probabilities(b, query, head, p);
        attend(b, c->dx, query, head, p, want);
        for (uint32_t j = 0; j < a.head_dim; j++)
            compare(&sums, (double)got[j], want[j]);
    }
    inl_free(b->env, p);
    *error = nmse(&sums);
    return INLAY_OK;
}

// ---- norm and activation

static void emit_norm(const kernel_case *c, const bench *b, inl_plan *plan, const inl_inputs *in)
{
    (void)c;
    inl_op_rmsnorm(plan, in, &b->weights->layers[0].norm[INL_NORM_FFN], tensor(plan, b, X),
                   INL_BUF_NONE, tensor(plan, b, Y), tensor(plan, b, RSTD).buf, false, 0);
}

static inlay_result check_norm(const kernel_case *c, bench *b, double *error)
{
    const inl_source *s = &b->model->layers[0].norm[INL_NORM_FFN];
    error_sums sums = {0};
    float *weight = inl_alloc(b->env, s->cols, sizeof(*weight));
    (void)c;
    if (!weight)
        return INLAY_ERROR_OUT_OF_MEMORY;
    s->stored->decode(s->tensor->data, weight, s->cols);
    for (uint32_t i = 0; i < SAMPLED; i++) {
        uint32_t row = sample(i, b->tokens);
        const float *x = row_of(b, X, row), *y = row_of(b, Y, row);
        double mean = dot_floats(x, x, s->cols) / s->cols;
        double rstd = 1.0 / sqrt(mean + (double)b->model->config.norm_eps);
        for (uint32_t k = 0; k < s->cols; k++)
            compare(&sums, (double)y[k], (double)x[k] * rstd * (double)weight[k]);
    }
    inl_free(b->env, weight);
    *error = nmse(&sums);
    return INLAY_OK;
}

static void emit_glu(const kernel_case *c, const bench *b, inl_plan *plan, const inl_inputs *in)
{
    (void)c;
    (void)in;
    inl_op_glu(plan, INL_SILU, tensor(plan, b, Q), tensor(plan, b, X), tensor(plan, b, Y));
}

static inlay_result check_glu(const kernel_case *c, bench *b, double *error)
{
    error_sums sums = {0};
    (void)c;
    for (uint32_t i = 0; i < SAMPLED; i++) {
        uint32_t row = sample(i, b->tokens);
        for (uint32_t k = 0; k < b->arrays[X].cols; k++) {
            double g = (double)row_of(b, Q, row)[k], u = (double)row_of(b, X, row)[k];
            compare(&sums, (double)row_of(b, Y, row)[k], g / (1.0 + exp(-g)) * u);
        }
    }
    *error = nmse(&sums);
    return INLAY_OK;
}

// ---- measuring

static void describe_plan(const inl_plan *plan, uint32_t copies, inl_kernel_result *r)
{
    uint64_t most = 0;
    for (uint32_t i = 0; i < inl_plan_node_count(plan); i++) {
        const inl_node *node = inl_plan_node(plan, i);
        if (!node)
            continue;
        r->bytes += inl_plan_node_bytes(plan, i);
        if (node->flops >= most)
            r->kernel = inl_kernels[node->kernel].name;
        most = INL_MAX(most, node->flops);
    }
    r->bytes /= copies;
    r->flops = inl_plan_flops(plan) / copies;
}

static inlay_result make_plan(const kernel_case *c, const bench *b, uint32_t copies, inl_plan **out)
{
    INL_TRY(inl_plan_create(b->env, b->gpu, out));
    inl_inputs in = inl_inputs_bind(*out, &b->inputs);
    for (uint32_t i = 0; i < copies; i++)
        c->emit(c, b, *out, &in);
    return inl_plan_finish(*out);
}

static inlay_result run_once(const bench *b, inl_plan *plan, double *seconds)
{
    uint64_t ticket;
    double start = now(), longest, total;
    INL_TRY(inl_plan_run(plan, &ticket));
    INL_TRY(inl_gpu_wait(b->gpu, ticket));
    *seconds = now() - start;
    if (inl_plan_submit_seconds(plan, &longest, &total) && total > 0.0)
        *seconds = total;
    return INLAY_OK;
}

static inlay_result repeat(const kernel_case *c, const bench *b, uint32_t copies, uint32_t repeats,
                           inl_kernel_result *r)
{
    inl_plan *plan = NULL;
    double seconds[REPEATS] = {0}, spread = 0.0;
    inlay_result result = make_plan(c, b, copies, &plan);
    *r = (inl_kernel_result){.kernel = "", .repeats = repeats};
    for (uint32_t i = 0; i <= repeats && result == INLAY_OK; i++) // the first one compiles
        result = run_once(b, plan, &seconds[i ? i - 1 : 0]);
    for (uint32_t i = 0; i < repeats; i++)
        r->seconds += seconds[i] / copies / repeats;
    for (uint32_t i = 0; i < repeats; i++)
        spread += (seconds[i] / copies - r->seconds) * (seconds[i] / copies - r->seconds);
    r->deviation = repeats > 1 ? sqrt(spread / (repeats - 1)) : 0.0;
    if (result == INLAY_OK)
        describe_plan(plan, copies, r);
    inl_plan_destroy(&plan);
    return result;
}

static inlay_result measure(const kernel_case *c, bench *b)
{
    inl_kernel_result r;
    INL_TRY(repeat(c, b, 1, 1, &r));
    double wanted = LONG_ENOUGH / fmax(r.seconds, 1e-9) + 1.0;
    uint32_t copies = wanted < MOST_COPIES ? (uint32_t)wanted : MOST_COPIES;
    INL_TRY(repeat(c, b, copies, REPEATS, &r));
    if (c->check != check_attention)
        INL_TRY(read_array(b, Y));
    INL_TRY(c->check(c, b, &r.error));
    snprintf(r.name, sizeof(r.name), "%s", c->name);
    return b->sink(b->user, &r);
}

static inlay_result measure_product(bench *b, const inl_source *s, const inl_weight *w)
{
    inlay_result result = INLAY_OK;
    for (int dx = 0; dx < 2 && result == INLAY_OK; dx++) {
        kernel_case c = {
            .w = w, .source = s, .dx = dx != 0, .emit = emit_gemm, .check = check_gemm};
        snprintf(c.name, sizeof(c.name), "%s %s %ux%ux%u", dx ? "gemm_dx" : "gemm",
                 s->format->name, s->rows, s->cols, b->tokens);
        result = make_array(b, X, b->tokens, dx ? s->rows : s->cols);
        if (result == INLAY_OK)
            result = make_array(b, Y, b->tokens, dx ? s->cols : s->rows);
        if (result == INLAY_OK)
            result = measure(&c, b);
        free_arrays(b);
    }
    return result;
}

// Each shape once: k's is v's, gate's is up's, and o's may be q's.
static inlay_result measure_products(bench *b)
{
    static const inl_role roles[] = {INL_ROLE_Q, INL_ROLE_K, INL_ROLE_GATE, INL_ROLE_DOWN};
    for (size_t i = 0; i < INL_COUNT(roles); i++) {
        const inl_source *s = &b->model->layers[0].linear[roles[i]];
        if (s->tensor)
            INL_TRY(measure_product(b, s, &b->weights->layers[0].linear[roles[i]]));
    }
    return measure_product(b, &b->model->head, &b->weights->head);
}

static inlay_result make_attention(bench *b)
{
    inl_attention a = attention_of(b);
    uint32_t q = a.heads * a.head_dim, kv = a.kv_heads * a.head_dim, t = b->tokens;
    const uint32_t cols[ARRAYS] = {[Q] = q,   [K] = kv,  [V] = kv,  [O] = q,  [LSE] = a.heads,
                                   [DO] = q,  [DQ] = q,  [DK] = kv, [DV] = kv};
    for (uint32_t i = Q; i <= DV; i++)
        INL_TRY(make_array(b, i, t, cols[i]));
    return INLAY_OK;
}

static inlay_result measure_attention(bench *b)
{
    const inl_config *c = &b->model->config;
    inlay_result result = make_attention(b);
    for (int dx = 0; dx < 2 && result == INLAY_OK; dx++) {
        kernel_case k = {.dx = dx != 0, .emit = emit_attention, .check = check_attention};
        snprintf(k.name, sizeof(k.name), "%s %u/%ux%ux%u", dx ? "attention_bwd" : "attention",
                 c->heads, c->kv_heads, c->head_dim, b->tokens);
        result = measure(&k, b);
    }
    free_arrays(b);
    return result;
}

static inlay_result measure_others(bench *b)
{
    const inl_config *c = &b->model->config;
    kernel_case norm = {.emit = emit_norm, .check = check_norm};
    kernel_case glu = {.emit = emit_glu, .check = check_glu};
    snprintf(norm.name, sizeof(norm.name), "rmsnorm %ux%u", c->dim, b->tokens);
    snprintf(glu.name, sizeof(glu.name), "glu %ux%u", c->ffn_dim, b->tokens);
    inlay_result result = make_array(b, X, b->tokens, c->dim);
    if (result == INLAY_OK)
        result = make_array(b, Y, b->tokens, c->dim);
    if (result == INLAY_OK)
        result = make_array(b, RSTD, b->tokens, 1);
    if (result == INLAY_OK)
        result = measure(&norm, b);
    free_arrays(b);
    const uint32_t of_glu[] = {X, Y, Q};
    for (uint32_t i = 0; i < INL_COUNT(of_glu) && result == INLAY_OK; i++)
        result = make_array(b, of_glu[i], b->tokens, c->ffn_dim);
    if (result == INLAY_OK)
        result = measure(&glu, b);
    free_arrays(b);
    return result;
}

static void fill_inputs(bench *b)
{
    b->inputs.longest = b->tokens;
    b->inputs.scalars->supervised = b->tokens;
    for (uint32_t t = 0; t < b->tokens; t++) {
        b->inputs.positions[t] = b->inputs.rows[t] = t;
        b->inputs.ends[t] = b->tokens;
    }
}

inlay_result inl_kernels_measure(const inl_env *env, inl_gpu *gpu, const inl_model *model,
                                 uint32_t tokens, inl_kernel_sink *sink, void *user)
{
    bench b = {.env = env, .gpu = gpu, .model = model, .tokens = tokens, .sink = sink,
               .user = user};
    if (model->config.experts > 0 || model->layers[0].linear[INL_ROLE_GATE].tensor == NULL)
        return inl_fail(env, INLAY_ERROR_UNSUPPORTED,
                        "kernels by themselves are measured in the shapes of dense models alone");
    inlay_result result = inl_weights_create(model, gpu, 0, tokens, tokens, &b.weights);
    if (result == INLAY_OK)
        result = inl_inputs_create(gpu, tokens, &b.inputs);
    if (result == INLAY_OK) {
        fill_inputs(&b);
        result = measure_products(&b);
    }
    if (result == INLAY_OK)
        result = measure_attention(&b);
    if (result == INLAY_OK)
        result = measure_others(&b);
    inl_inputs_destroy(&b.inputs);
    inl_weights_destroy(&b.weights);
    return result;
}
