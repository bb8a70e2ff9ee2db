// SPDX-License-Identifier: MIT
#include "bench/rows.h"

static void read_flat(const void *user, uint64_t at, uint64_t count, float *out)
{
    const inl_source *s = user;
    s->stored->decode(inl_source_row(s, 0, 0) + inl_format_bytes(s->stored, at), out, count);
}

static inlay_result decode_nf4(const inl_env *env, inl_rows *r)
{
    inl_nf4 nf4;
    uint64_t count = (uint64_t)r->source->rows * r->source->cols;
    INL_TRY(inl_nf4_encode_from(env, read_flat, r->source, count, &nf4));
    r->all = inl_alloc(env, count, sizeof(*r->all));
    if (r->all)
        inl_nf4_decode(&nf4, r->all);
    inl_nf4_free(env, &nf4);
    return r->all ? INLAY_OK : INLAY_ERROR_OUT_OF_MEMORY;
}

inlay_result inl_rows_open(const inl_env *env, const inl_source *source, inl_rows *out)
{
    *out = (inl_rows){.source = source};
    if (inl_is_nf4(source->format))
        return decode_nf4(env, out);
    out->values = inl_alloc(env, source->cols, sizeof(*out->values));
    out->blocks = inl_alloc(env, source->cols, sizeof(float));
    if (out->values && out->blocks)
        return INLAY_OK;
    inl_rows_close(env, out);
    return INLAY_ERROR_OUT_OF_MEMORY;
}

void inl_rows_close(const inl_env *env, inl_rows *r)
{
    inl_free(env, r->all);
    inl_free(env, r->values);
    inl_free(env, r->blocks);
    *r = (inl_rows){0};
}

const float *inl_rows_get(const inl_rows *r, uint32_t row)
{
    const inl_source *s = r->source;
    if (r->all)
        return r->all + (uint64_t)row * s->cols;
    s->stored->decode(inl_source_row(s, 0, row), r->values, s->cols);
    if (s->format != s->stored) {
        s->format->encode(r->values, r->blocks, s->cols);
        s->format->decode(r->blocks, r->values, s->cols);
    }
    return r->values;
}

// In eight sums, for the compiler to take several at once.
double inl_rows_dot(const float *w, const double *x, uint32_t count)
{
    double sums[8] = {0};
    uint32_t whole = count / 8 * 8;
    for (uint32_t i = 0; i < whole; i += 8)
        for (uint32_t j = 0; j < 8; j++)
            sums[j] += (double)w[i + j] * x[i + j];
    for (uint32_t i = whole; i < count; i++)
        sums[0] += (double)w[i] * x[i];
    return sums[0] + sums[1] + sums[2] + sums[3] + sums[4] + sums[5] + sums[6] + sums[7];
}
