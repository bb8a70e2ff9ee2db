// SPDX-License-Identifier: MIT
// A product on matrix cores before any other: drivers have offered them where they do not work.
// All numbers are few eighths, so that f16 holds them and every order of summation gives the same
// bits: one wrong element is a wrong device.
#include "base/half.h"
#include "base/rng.h"
#include "op/matrix.h"

#include <string.h>

typedef struct product {
    uint32_t rows, n, k; // x [rows, k], w [n, k]
    float *w;
    uint8_t *map; // x, w in tiles, y and the scalars one behind the other
    inl_buffer *buffer;
    uint64_t w_at, y_at, scalars_at, bytes;
} product;

static float eighth(uint32_t stream, uint32_t i)
{
    return (float)((int)(inl_rng_u32(1, stream, i) % 17) - 8) / 8.0f;
}

static uint64_t place(uint64_t *bytes, uint64_t size)
{
    uint64_t at = *bytes;
    *bytes = at + inl_round_up(size, INL_BINDING_ALIGNMENT);
    return at;
}

// More than one workgroup and step, none of them full.
static inlay_result prepare(const inl_env *env, inl_gpu *gpu, product *p)
{
    const inl_matrix_shape *s = &inl_gpu_get_caps(gpu)->matrix;
    p->rows = s->rows + 8;
    p->n = s->columns + 8;
    p->k = s->depth + 8;
    uint32_t widest = INL_MAX(p->n, p->k);
    place(&p->bytes, inl_tensor_bytes(p->rows, widest));
    p->w_at = place(&p->bytes, 2ull * p->n * p->k);
    p->y_at = place(&p->bytes, inl_tensor_bytes(p->rows, widest));
    p->scalars_at = place(&p->bytes, sizeof(struct step_scalars));
    p->w = inl_alloc(env, (size_t)p->n * p->k, sizeof(*p->w));
    if (!p->w)
        return INLAY_ERROR_OUT_OF_MEMORY;
    INL_TRY(inl_buffer_create(gpu, "self-test", p->bytes, INL_MEMORY_HOST, &p->buffer));
    p->map = inl_buffer_map(p->buffer);
    memset(p->map, 0, p->bytes);
    uint16_t *tiles = (uint16_t *)(void *)(p->map + p->w_at);
    for (uint32_t i = 0; i < p->n; i++)
        for (uint32_t j = 0; j < p->k; j++) {
            uint32_t tile = i / 8 * (p->k / 8) + j / 8;
            p->w[i * p->k + j] = eighth(1, i * p->k + j);
            tiles[64 * tile + i % 8 * 8 + j % 8] = inl_f32_to_f16(p->w[i * p->k + j]);
        }
    return INLAY_OK;
}

static inlay_result multiply(const inl_env *env, inl_gpu *gpu, const product *p, bool dx)
{
    inl_plan *plan;
    inl_weight_part part = {.rows = p->n,
                            .quants = {p->buffer, p->w_at, 2ull * p->n * p->k}};
    inl_weight w = {.format = inl_format_by_id(INL_FORMAT_F16),
                    .rows = p->n,
                    .cols = p->k,
                    .part_count = 1,
                    .parts = &part};
    uint32_t in = dx ? p->n : p->k, out = dx ? p->k : p->n;
    INL_TRY(inl_plan_create(env, gpu, &plan));
    inl_inputs inputs = {.scalars = inl_plan_external(plan, p->buffer, p->scalars_at,
                                                      sizeof(struct step_scalars))};
    uint64_t x_bytes = inl_tensor_bytes(p->rows, in), y_bytes = inl_tensor_bytes(p->rows, out);
    inl_gemm_args args = {
        .w = &w,
        .x = {inl_plan_external(plan, p->buffer, 0, x_bytes), p->rows, in, in},
        .y = {inl_plan_external(plan, p->buffer, p->y_at, y_bytes), p->rows, out, out},
        .bias = INL_BUF_NONE,
        .residual = INL_BUF_NONE,
        .tag = "self-test"};
    if (dx)
        inl_op_gemm_dx(plan, &inputs, &args);
    else
        inl_op_gemm(plan, &inputs, &args);
    return inl_plan_once(plan);
}

static inlay_result check(const inl_env *env, inl_gpu *gpu, const product *p, bool dx, bool *right)
{
    uint32_t in = dx ? p->n : p->k, out = dx ? p->k : p->n;
    float *x = (float *)(void *)p->map;
    const float *y = (const float *)(const void *)(p->map + p->y_at);
    for (uint32_t i = 0; i < p->rows * in; i++)
        x[i] = eighth(2 + dx, i);
    memset(p->map + p->y_at, 0xff, 4ull * p->rows * out); // NaN
    INL_TRY(multiply(env, gpu, p, dx));
    for (uint32_t t = 0; t < p->rows; t++)
        for (uint32_t c = 0; c < out; c++) {
            float sum = 0.0f;
            for (uint32_t i = 0; i < in; i++)
                sum += x[t * in + i] * (dx ? p->w[i * p->k + c] : p->w[c * p->k + i]);
            *right &= y[t * out + c] == sum;
        }
    return INLAY_OK;
}

inlay_result inl_matrix_self_test(const inl_env *env, inl_gpu *gpu)
{
    if (!inl_kernel_usable(inl_gpu_get_caps(gpu), INL_KERNEL_GEMM_MATRIX_F16))
        return INLAY_OK;
    product p = {0};
    bool right = true;
    inlay_result result = prepare(env, gpu, &p);
    for (int dx = 0; dx < 2 && right && result == INLAY_OK; dx++)
        result = check(env, gpu, &p, dx, &right);
    if (p.buffer)
        inl_buffer_destroy(gpu, &p.buffer);
    inl_free(env, p.w);
    if (result == INLAY_OK && !right)
        inl_gpu_drop_path(gpu, INL_PATH_MATRIX, "a product of the self-test came out wrong");
    return result;
}
