// SPDX-License-Identifier: MIT
// The sum of a row, in double, and its way into a file: one row at a time, however large the model.
#include "adapter/merge.h"
#include "base/finite.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#define MAX_NAME 128 // bytes of a tensor's name

// ---- one row

typedef struct row_buffers {
    float *values;   // [cols]
    double *sum;     // [cols]
    uint8_t *stored; // a row of the wanted format
    uint64_t stored_bytes;
} row_buffers;

static inlay_result make_buffers(const inl_env *env, const inl_merge_matrix *m, row_buffers *b)
{
    b->stored_bytes = inl_format_bytes(m->wanted, m->cols);
    b->values = inl_alloc(env, m->cols, sizeof(*b->values));
    b->sum = inl_alloc(env, m->cols, sizeof(*b->sum));
    b->stored = inl_alloc(env, b->stored_bytes, 1);
    return b->values && b->sum && b->stored ? INLAY_OK : INLAY_ERROR_OUT_OF_MEMORY;
}

static void free_buffers(const inl_env *env, row_buffers *b)
{
    inl_free(env, b->values);
    inl_free(env, b->sum);
    inl_free(env, b->stored);
}

// Row `n` of W + scale B A, DoRA's magnitude on it.
static void add_pair(const inl_lora_pair *p, uint64_t n, row_buffers *b)
{
    const float *weights = p->b + n * p->r;
    double squares = 0.0, factor = 1.0;
    for (uint32_t c = 0; c < p->in; c++)
        b->sum[c] = 0.0;
    for (uint32_t k = 0; k < p->r; k++) {
        const float *a = p->a + (uint64_t)k * p->in;
        double weight = (double)weights[k];
        for (uint32_t c = 0; c < p->in; c++)
            b->sum[c] += weight * (double)a[c];
    }
    for (uint32_t c = 0; c < p->in; c++) {
        b->sum[c] = (double)b->values[c] + (double)p->scale * b->sum[c];
        squares += b->sum[c] * b->sum[c];
    }
    if (p->magnitude && squares > 0.0)
        factor = (double)p->magnitude[n] / sqrt(squares);
    for (uint32_t c = 0; c < p->in; c++)
        b->values[c] = (float)(factor * b->sum[c]);
}

// Row h*d + 2i + j of GGUF is row h*d + j*(d/2) + i of Hugging Face.
static uint64_t source_row(const inl_merge_matrix *m, uint64_t row)
{
    uint32_t heads = m->folder_heads ? m->folder_heads : m->file_heads;
    if (heads == 0)
        return row;
    uint64_t d = m->rows / heads, within = row % d;
    return row / d * d + (m->folder_heads ? within % 2 * (d / 2) + within / 2
                                          : within % (d / 2) * 2 + within / (d / 2));
}

static inlay_result put_row(const inl_env *env, const inl_merge_matrix *m, uint64_t row,
                            row_buffers *b, inl_writer *file)
{
    const uint8_t *source = m->data + row * inl_format_bytes(m->stored, m->cols);
    const inl_lora_pair *pair = m->pairs ? m->pairs[row / m->pair_rows] : NULL;
    m->stored->decode(source, b->values, m->cols);
    if (pair)
        add_pair(pair, row % m->pair_rows, b);
    bool fits = inl_all_finite(b->values, m->cols);
    if (fits) {
        m->wanted->encode(b->values, b->stored, m->cols);
        fits = m->wanted->find_not_finite(b->stored, m->cols) == UINT64_MAX;
    }
    if (!fits)
        return inl_fail(env, INLAY_ERROR_NOT_FINITE,
                        "%s: row %llu of the merged tensor %s does not fit %s", file->path,
                        (unsigned long long)row, m->name, m->wanted->name);
    inl_writer_put(file, b->stored, b->stored_bytes);
    return file->error;
}

// ---- progress

#define REPORT_BYTES (1u << 22) // written between two calls

static inlay_result advance(inl_merge_run *run, uint64_t size)
{
    uint64_t before = run->done / REPORT_BYTES;
    run->done += size;
    bool due = run->done / REPORT_BYTES != before || run->done == run->total;
    if (!due || !run->params->progress ||
        run->params->progress(run->params->user, run->done, run->total))
        return INLAY_OK;
    return inl_fail(&run->env, INLAY_ERROR_INTERRUPTED, "the merge was stopped");
}

const inl_module *inl_merge_find_module(const inl_module_list *list, const char *name)
{
    for (uint32_t i = 0; i < list->count; i++)
        if (strcmp(list->items[i].gguf, name) == 0)
            return &list->items[i];
    return NULL;
}

const inl_module *inl_merge_find_rows(const inl_module_list *list, const char *name)
{
    char weight[MAX_NAME];
    size_t size = strlen(name), cut = sizeof(".bias") - 1;
    if (size < cut || size >= sizeof(weight) - 2 || strcmp(name + size - cut, ".bias") != 0)
        return inl_merge_find_module(list, name);
    snprintf(weight, sizeof(weight), "%.*s.weight", (int)(size - cut), name);
    return inl_merge_find_module(list, weight);
}

inlay_result inl_merge_put_matrix(inl_merge_run *run, const inl_merge_matrix *m, inl_writer *file)
{
    row_buffers b = {0};
    inlay_result result = make_buffers(&run->env, m, &b);
    for (uint64_t row = 0; result == INLAY_OK && row < m->rows; row++) {
        result = put_row(&run->env, m, source_row(m, row), &b, file);
        if (result == INLAY_OK)
            result = advance(run, b.stored_bytes);
    }
    free_buffers(&run->env, &b);
    return result;
}

inlay_result inl_merge_put_bnb4(inl_merge_run *run, const inl_merge_matrix *m,
                                const inl_bnb4 *values, inl_writer *file)
{
    inl_nf4 codes;
    float *floats = inl_alloc(&run->env, m->rows * m->cols, sizeof(*floats));
    inlay_result result =
        floats ? inl_nf4_read(&run->env, values, &codes) : INLAY_ERROR_OUT_OF_MEMORY;
    if (result == INLAY_OK) {
        inl_merge_matrix plain = *m;
        inl_nf4_decode(&codes, floats);
        inl_nf4_free(&run->env, &codes);
        plain.stored = inl_format_by_id(INL_FORMAT_F32);
        plain.data = (const uint8_t *)floats;
        result = inl_merge_put_matrix(run, &plain, file);
    }
    inl_free(&run->env, floats);
    return result;
}

inlay_result inl_merge_put_bytes(inl_merge_run *run, const uint8_t *data, uint64_t size,
                                 inl_writer *file)
{
    for (uint64_t at = 0; at < size && file->error == INLAY_OK;) {
        uint64_t part = INL_MIN(size - at, REPORT_BYTES);
        inl_writer_put(file, data + at, part);
        INL_TRY(advance(run, part));
        at += part;
    }
    return file->error;
}
