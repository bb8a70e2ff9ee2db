// SPDX-License-Identifier: MIT
#include "model/encoder.h"
#include "quant/nf4.h"
#include "quant/tile.h"

#define PIECE_BYTES (8u << 20) // of the source, or of it in f32: what the staging buffer holds
#define SLACK 32               // bytes that a kernel may read behind its last
#define PAIR_BYTES 8           // an absmax and its inverse

// A matrix, or an expert's, and where its planes begin in those of their part.
typedef struct matrix {
    const inl_source *s;
    const inl_weight *w;
    uint32_t expert;
    uint32_t most;  // rows of a piece
    float *decoded; // a piece of a format that the device does not read, or NULL
    float *absmax;  // NF4: [blocks] of the matrix, or NULL
    float *pairs;   // NF4: a piece's
} matrix;

static const inl_format *source_format(const inl_source *s)
{
    return inl_op_encodes_from(s->stored) ? s->stored : inl_format_by_id(INL_FORMAT_F32);
}

static uint64_t source_bytes(const inl_source *s, uint64_t rows)
{
    return inl_format_bytes(source_format(s), rows * s->cols);
}

// Whole tiles, and whole blocks of NF4.
static uint32_t rows_of_piece(const inl_source *s, uint64_t max_range)
{
    uint32_t unit = inl_is_nf4(s->format) && s->cols % 8 != 0 ? 64 : 8;
    uint64_t most = max_range - INL_MIN(max_range, SLACK + INL_BINDING_ALIGNMENT);
    uint64_t rows = INL_MIN(PIECE_BYTES, most) / source_bytes(s, 1) / unit * unit;
    return (uint32_t)INL_MIN(INL_MAX(rows, unit), inl_round_up(s->rows, unit));
}

static uint64_t blocks_of(const inl_source *s, uint64_t rows)
{
    return inl_round_up(rows * s->cols, INL_NF4_BLOCK) / INL_NF4_BLOCK;
}

static uint64_t pairs_at(const inl_source *s, uint64_t max_range)
{
    return inl_round_up(source_bytes(s, rows_of_piece(s, max_range)) + SLACK,
                        INL_BINDING_ALIGNMENT);
}

uint64_t inl_encoder_bytes(const inl_source *s, const inl_weight *w, uint64_t max_range)
{
    if (!s->tensor || s->stored == s->format || !inl_op_encodes(s->format))
        return 0;
    bool nf4 = inl_is_nf4(s->format);
    if (nf4 && s->cols % 8 != 0 && s->experts == 0 && w->part_count > 1)
        return 0; // its blocks do not begin where its parts do
    uint64_t source = pairs_at(s, max_range);
    if (source > max_range)
        return 0; // not even its smallest piece
    return source + (nf4 ? PAIR_BYTES * blocks_of(s, rows_of_piece(s, max_range)) + SLACK : 0);
}

inlay_result inl_encoder_open(const inl_env *env, inl_gpu *gpu, uint64_t bytes, inl_encoder *out)
{
    *out = (inl_encoder){
        .env = env, .gpu = gpu, .max_range = inl_gpu_get_caps(gpu)->max_buffer_range_bytes};
    if (bytes == 0)
        return INLAY_OK;
    return inl_buffer_create(gpu, "encoding weights", bytes, INL_MEMORY_DEVICE, &out->scratch);
}

void inl_encoder_close(inl_encoder *encoder)
{
    inl_buffer_destroy(encoder->gpu, &encoder->scratch);
}

static inlay_result encode(const inl_encoder *e, const inl_encode_args *args)
{
    inl_plan *plan;
    INL_TRY(inl_plan_create(e->env, e->gpu, &plan));
    inl_op_encode(plan, args);
    return inl_plan_once(plan);
}

static inlay_result put_source(const inl_encoder *e, const matrix *m, uint32_t row, uint32_t rows)
{
    const void *data = inl_source_row(m->s, m->expert, row);
    if (m->decoded) {
        m->s->stored->decode(data, m->decoded, (uint64_t)rows * m->s->cols);
        data = m->decoded;
    }
    return inl_gpu_upload(e->gpu, e->scratch, 0, data, source_bytes(m->s, rows));
}

static inlay_result get_absmax(const inl_encoder *e, const matrix *m, uint32_t row, uint32_t rows)
{
    uint64_t blocks = blocks_of(m->s, rows), first = (uint64_t)row * m->s->cols / INL_NF4_BLOCK;
    INL_TRY(inl_gpu_download(e->gpu, e->scratch, pairs_at(m->s, e->max_range), m->pairs,
                             PAIR_BYTES * blocks));
    for (uint64_t i = 0; i < blocks; i++)
        m->absmax[first + i] = m->pairs[2 * i];
    return INLAY_OK;
}

// Rows from `row` of the part.
static inlay_result put_piece(const inl_encoder *e, const matrix *m, const inl_weight_part *part,
                              uint32_t row, uint32_t rows)
{
    const inl_source *s = m->s;
    bool nf4 = inl_is_nf4(s->format);
    uint32_t before = m->expert - part->expert0; // matrices of the part
    uint64_t pairs = pairs_at(s, e->max_range);
    inl_encode_args args = {
        .format = s->format,
        .stored = source_format(s),
        .rows = rows,
        .cols = s->cols,
        .source = {e->scratch, 0, pairs},
        .quants = part->quants,
        .quants_at = before * inl_tile_quant_bytes(s->format, s->rows, s->cols) +
                     inl_tile_quant_bytes(s->format, row, s->cols),
        .scales = part->scales,
    };
    if (nf4)
        args.scales = (inl_range){e->scratch, pairs,
                                  inl_encoder_bytes(s, m->w, e->max_range) - pairs};
    else
        args.scales_at = before * inl_tile_scale_bytes(s->format, s->rows, s->cols) +
                         inl_tile_scale_bytes(s->format, row, s->cols);
    INL_TRY(put_source(e, m, part->row0 + row, rows));
    INL_TRY(encode(e, &args));
    return nf4 ? get_absmax(e, m, part->row0 + row, rows) : INLAY_OK;
}

static inlay_result put_part(const inl_encoder *e, const matrix *m, const inl_weight_part *part)
{
    for (uint32_t row = 0; row < part->rows; row += m->most)
        INL_TRY(put_piece(e, m, part, row, INL_MIN(m->most, part->rows - row)));
    return INLAY_OK;
}

static inlay_result put_nf4_scales(const inl_encoder *e, const matrix *m, const inl_nf4 *nf4,
                                   const inl_weight_part *part)
{
    uint64_t bytes = inl_tile_scale_bytes(m->s->format, m->s->rows, m->s->cols);
    uint32_t *scales = inl_alloc(e->env, bytes, 1);
    if (!scales)
        return INLAY_ERROR_OUT_OF_MEMORY;
    inl_tile_pack_nf4_scales(nf4, m->s->rows, m->s->cols, scales);
    inlay_result result =
        inl_gpu_upload(e->gpu, part->scales.buffer,
                       part->scales.offset + (m->expert - part->expert0) * bytes, scales, bytes);
    inl_free(e->env, scales);
    return result;
}

// The parts that have rows of the matrix: an expert's has one.
static bool is_in(const matrix *m, const inl_weight_part *part)
{
    return m->s->experts == 0 ||
           (m->expert >= part->expert0 && m->expert < part->expert0 + part->experts);
}

static inlay_result put_parts(const inl_encoder *e, const matrix *m)
{
    for (uint32_t i = 0; i < m->w->part_count; i++)
        if (is_in(m, &m->w->parts[i]))
            INL_TRY(put_part(e, m, &m->w->parts[i]));
    if (!m->absmax)
        return INLAY_OK;
    inl_nf4 nf4;
    INL_TRY(inl_nf4_from_absmax(e->env, m->absmax, (uint64_t)m->s->rows * m->s->cols, &nf4));
    inlay_result result = INLAY_OK;
    for (uint32_t i = 0; i < m->w->part_count && result == INLAY_OK; i++)
        if (is_in(m, &m->w->parts[i]))
            result = put_nf4_scales(e, m, &nf4, &m->w->parts[i]);
    inl_nf4_free(e->env, &nf4);
    return result;
}

static void free_matrix(const inl_env *env, matrix *m)
{
    inl_free(env, m->decoded);
    inl_free(env, m->absmax);
    inl_free(env, m->pairs);
}

static inlay_result make_matrix(const inl_encoder *e, const inl_source *s, const inl_weight *w,
                                matrix *m)
{
    const inl_env *env = e->env;
    *m = (matrix){.s = s, .w = w, .most = rows_of_piece(s, e->max_range)};
    bool memory = true;
    if (!inl_op_encodes_from(s->stored)) {
        m->decoded = inl_alloc(env, (uint64_t)m->most * s->cols, sizeof(float));
        memory = m->decoded != NULL;
    }
    if (inl_is_nf4(s->format)) {
        m->absmax = inl_alloc(env, blocks_of(s, s->rows), sizeof(float));
        m->pairs = inl_alloc(env, blocks_of(s, m->most), PAIR_BYTES);
        memory = memory && m->absmax && m->pairs;
    }
    if (memory)
        return INLAY_OK;
    free_matrix(env, m);
    return INLAY_ERROR_OUT_OF_MEMORY;
}

inlay_result inl_encoder_put(const inl_encoder *e, const inl_source *s, const inl_weight *w)
{
    matrix m;
    INL_TRY(make_matrix(e, s, w, &m));
    inlay_result result = INLAY_OK;
    for (uint32_t i = 0; i < INL_MAX(s->experts, 1) && result == INLAY_OK; i++) {
        m.expert = i;
        result = put_parts(e, &m);
    }
    free_matrix(e->env, &m);
    return result;
}
