// SPDX-License-Identifier: MIT
// Two passes over the same list of planes: the first gives each its block and offset, so that
// memory is known before any is taken; the second allocates, packs and uploads.
#include "model/weights.h"
#include "model/encoder.h"
#include "model/slots.h"
#include "quant/tile.h"

#include <math.h>
#include <string.h>

#define BLOCK_BYTES (512ull << 20)   // of one allocation
#define DECODED_BYTES (128ull << 20) // of a part in NF4, decoded to f32 before a product
#define PIECE_ELEMENTS (1u << 20) // of a matrix that are in host memory at once
#define PART_TILE_ROWS 32768u        // rounds of a product's loop, workgroups of decoding

// Where a plane lies; `range` is completed when the blocks exist.
typedef struct placement {
    inl_range *range;
    uint32_t block;
} placement;

typedef struct builder {
    inl_weights *w;
    const inl_env *env;
    uint64_t max_block, max_range;
    inl_encoder encoder;
    placement *placements;
    size_t count, cap;
    uint64_t *sizes; // of blocks
    size_t block_count, size_cap;
} builder;

// ---- layout

static inlay_result place(builder *b, uint64_t bytes, inl_range *range)
{
    bytes = inl_round_up(bytes, 16);
    INL_TRY(inl_grow(b->env, (void **)&b->placements, &b->cap, b->count + 1, sizeof(placement)));
    INL_TRY(
        inl_grow(b->env, (void **)&b->sizes, &b->size_cap, b->block_count + 1, sizeof(uint64_t)));
    uint64_t at = b->block_count ? b->sizes[b->block_count - 1] : 0;
    at = inl_round_up(at, INL_BINDING_ALIGNMENT);
    if (b->block_count == 0 || at + bytes > b->max_block) {
        b->block_count++;
        at = 0;
    }
    *range = (inl_range){.offset = at, .size = bytes};
    b->sizes[b->block_count - 1] = at + bytes;
    b->placements[b->count++] = (placement){range, (uint32_t)b->block_count - 1};
    return INLAY_OK;
}

// The most rows, a multiple of 8, whose quants one binding holds; of NF4, whose decoded copy it
// holds.
static uint32_t rows_per_part(const builder *b, const inl_source *s)
{
    bool nf4 = inl_is_nf4(s->format);
    const inl_format *bound = nf4 ? inl_format_by_id(INL_FORMAT_F32) : s->format;
    uint64_t most = INL_MIN(b->max_range, nf4 ? DECODED_BYTES : b->max_block);
    uint64_t tile_rows = INL_MAX(1, most / inl_tile_quant_bytes(bound, 8, s->cols));
    tile_rows = INL_MIN(tile_rows, PART_TILE_ROWS);
    return (uint32_t)INL_MIN((uint64_t)s->rows, tile_rows * 8);
}

// Whole experts, as many as one binding holds.
static uint32_t experts_per_part(const builder *b, const inl_source *s)
{
    bool nf4 = inl_is_nf4(s->format);
    const inl_format *bound = nf4 ? inl_format_by_id(INL_FORMAT_F32) : s->format;
    uint64_t most = INL_MIN(b->max_range, nf4 ? DECODED_BYTES : b->max_block);
    most = INL_MAX(1, most / inl_tile_quant_bytes(bound, s->rows, s->cols));
    return (uint32_t)INL_MIN(most, s->experts);
}

static inlay_result layout_experts(builder *b, const inl_source *s, inl_weight *w)
{
    uint32_t most = experts_per_part(b, s);
    *w = (inl_weight){
        .format = s->format, .rows = s->rows, .cols = s->cols, .experts = s->experts};
    w->part_count = inl_div_up(s->experts, most);
    w->parts = inl_alloc(b->env, w->part_count, sizeof(*w->parts));
    if (!w->parts)
        return INLAY_ERROR_OUT_OF_MEMORY;
    uint64_t quants = inl_tile_quant_bytes(s->format, s->rows, s->cols);
    uint64_t scales = inl_tile_scale_bytes(s->format, s->rows, s->cols);
    for (uint32_t i = 0; i < w->part_count; i++) {
        inl_weight_part *part = &w->parts[i];
        part->rows = s->rows;
        part->expert0 = i * most;
        part->experts = INL_MIN(most, s->experts - part->expert0);
        INL_TRY(place(b, part->experts * quants, &part->quants));
        if (scales > 0)
            INL_TRY(place(b, part->experts * scales, &part->scales));
    }
    return INLAY_OK;
}

static inlay_result cut_rows(builder *b, const inl_source *s, inl_weight *w)
{
    uint32_t most = rows_per_part(b, s);
    *w = (inl_weight){.format = s->format, .rows = s->rows, .cols = s->cols};
    w->part_count = inl_div_up(s->rows, most);
    w->parts = inl_alloc(b->env, w->part_count, sizeof(*w->parts));
    if (!w->parts)
        return INLAY_ERROR_OUT_OF_MEMORY;
    for (uint32_t i = 0; i < w->part_count; i++) {
        w->parts[i].row0 = i * most;
        w->parts[i].rows = INL_MIN(most, s->rows - w->parts[i].row0);
    }
    return INLAY_OK;
}

static inlay_result layout_quants(builder *b, inl_weight *w)
{
    for (uint32_t i = 0; i < w->part_count; i++)
        INL_TRY(place(b, inl_tile_quant_bytes(w->format, w->parts[i].rows, w->cols),
                      &w->parts[i].quants));
    return INLAY_OK;
}

// NF4's blocks run over the whole matrix: every part needs all scales.
static inlay_result layout_scales(builder *b, inl_weight *w)
{
    for (uint32_t i = 0; i < w->part_count; i++) {
        uint32_t rows = inl_is_nf4(w->format) ? w->rows : w->parts[i].rows;
        uint64_t scales = inl_tile_scale_bytes(w->format, rows, w->cols);
        if (scales > 0)
            INL_TRY(place(b, scales, &w->parts[i].scales));
    }
    return INLAY_OK;
}

static inlay_result layout_rows(builder *b, const inl_source *s, inl_weight *w)
{
    INL_TRY(cut_rows(b, s, w));
    INL_TRY(layout_quants(b, w));
    return layout_scales(b, w);
}

static inlay_result layout_vector(builder *b, const inl_source *s, inl_range *range)
{
    *range = (inl_range){0};
    return s->tensor ? place(b, 4 * inl_round_up(s->cols, 8), range) : INLAY_OK;
}

static void count_encoder(builder *b, const inl_source *s, const inl_weight *w)
{
    b->w->encode_bytes = INL_MAX(b->w->encode_bytes, inl_encoder_bytes(s, w, b->max_range));
}

static inlay_result layout_matrix(builder *b, const inl_source *s, inl_weight *w)
{
    INL_TRY(s->experts > 0 ? layout_experts(b, s, w) : layout_rows(b, s, w));
    count_encoder(b, s, w);
    return INLAY_OK;
}

// Matrices that share an input: their quants side by side, then their scales, then their biases, so
// that one product can take them together (inl_op_join_weights).
static inlay_result layout_group(builder *b, const inl_layer_sources *s, inl_layer_weights *l,
                                 inl_role first, uint32_t count)
{
    for (inl_role r = first; r < first + count; r++)
        if (s->linear[r].tensor && s->linear[r].experts > 0)
            INL_TRY(layout_experts(b, &s->linear[r], &l->linear[r]));
        else if (s->linear[r].tensor)
            INL_TRY(cut_rows(b, &s->linear[r], &l->linear[r]));
    for (inl_role r = first; r < first + count; r++)
        if (s->linear[r].experts == 0)
            INL_TRY(layout_quants(b, &l->linear[r]));
    for (inl_role r = first; r < first + count; r++)
        if (s->linear[r].experts == 0)
            INL_TRY(layout_scales(b, &l->linear[r]));
    for (inl_role r = first; r < first + count; r++) {
        if (!s->linear[r].tensor)
            continue;
        count_encoder(b, &s->linear[r], &l->linear[r]);
        INL_TRY(layout_vector(b, &s->bias[r], &l->bias[r]));
    }
    return INLAY_OK;
}

static inlay_result layout_layer(builder *b, const inl_layer_sources *s, inl_layer_weights *l)
{
    const inl_config *c = &b->w->model->config;
    for (inl_norm_role norm = 0; norm < INL_NORM_COUNT; norm++) {
        l->norm[norm].eps = c->norm_eps;
        INL_TRY(layout_vector(b, &s->norm[norm], &l->norm[norm].weight));
    }
    l->norm[INL_NORM_Q].heads = c->heads;
    l->norm[INL_NORM_K].heads = c->kv_heads;
    for (size_t g = 0; g < INL_GROUP_COUNT; g++)
        INL_TRY(layout_group(b, s, l, inl_groups[g].first, inl_groups[g].count));
    return INLAY_OK;
}

static inlay_result layout_ropes(builder *b)
{
    const inl_config *c = &b->w->model->config;
    for (inl_rope_kind kind = 0; kind < INL_ROPE_COUNT; kind++) {
        inl_rope *rope = &b->w->ropes[kind];
        *rope = (inl_rope){.rope_dim = inl_config_rope_of(c, kind).dim, .halves = c->rope_halves};
        if (rope->rope_dim > 0)
            INL_TRY(place(b, 4ull * b->w->positions * rope->rope_dim, &rope->table));
    }
    return INLAY_OK;
}

static inlay_result layout(builder *b)
{
    inl_weights *w = b->w;
    const inl_model *m = w->model;
    INL_TRY(layout_matrix(b, &m->embedding, &w->embedding));
    if (m->config.tied_head)
        w->head = w->embedding;
    else
        INL_TRY(layout_matrix(b, &m->head, &w->head));
    w->norm.eps = m->config.norm_eps;
    INL_TRY(layout_vector(b, &m->norm, &w->norm.weight));
    INL_TRY(layout_ropes(b));
    w->layers = inl_alloc(b->env, m->config.layers, sizeof(*w->layers));
    if (!w->layers)
        return INLAY_ERROR_OUT_OF_MEMORY;
    for (uint32_t i = 0; i < m->config.layers; i++)
        INL_TRY(layout_layer(b, &m->layers[i], &w->layers[i]));
    for (size_t i = 0; i < b->block_count; i++)
        w->bytes += b->sizes[i];
    return INLAY_OK;
}

static inlay_result allocate(builder *b)
{
    inl_weights *w = b->w;
    w->blocks = inl_alloc(b->env, b->block_count, sizeof(*w->blocks));
    if (!w->blocks)
        return INLAY_ERROR_OUT_OF_MEMORY;
    for (size_t i = 0; i < b->block_count; i++) {
        INL_TRY(inl_buffer_create(w->gpu, "the weights", b->sizes[i], INL_MEMORY_DEVICE,
                                  &w->blocks[i]));
        w->block_count++;
    }
    for (size_t i = 0; i < b->count; i++)
        b->placements[i].range->buffer = w->blocks[b->placements[i].block];
    return INLAY_OK;
}

// ---- upload

static inlay_result put(inl_gpu *gpu, const inl_range *range, const void *data)
{
    return inl_gpu_upload(gpu, range->buffer, range->offset, data, range->size);
}

static inlay_result upload_vector(const builder *b, const inl_source *s, const inl_range *range)
{
    if (!s->tensor)
        return INLAY_OK;
    float *values = inl_alloc(b->env, range->size, 1);
    if (!values)
        return INLAY_ERROR_OUT_OF_MEMORY;
    s->stored->decode(s->tensor->data, values, s->cols);
    inlay_result result = put(b->w->gpu, range, values);
    inl_free(b->env, values);
    return result;
}

// What a piece of a matrix goes through on its way from the file's map to the device: a whole model
// is never in memory twice, and no matrix is beside its copy.
typedef struct piece {
    uint32_t rows; // at most, a multiple of 8
    float *floats; // NULL: the device has the file's format
    void *converted;
    uint32_t *quants, *scales;
} piece;

static void free_piece(const builder *b, piece *p)
{
    inl_free(b->env, p->floats);
    inl_free(b->env, p->converted);
    inl_free(b->env, p->quants);
    inl_free(b->env, p->scales);
}

static inlay_result make_piece(const builder *b, const inl_source *s, uint32_t rows, piece *p)
{
    uint64_t most = INL_MAX(8, PIECE_ELEMENTS / s->cols / 8 * 8);
    *p = (piece){.rows = (uint32_t)INL_MIN(most, inl_round_up(rows, 8))};
    p->quants = inl_alloc(b->env, inl_tile_quant_bytes(s->format, p->rows, s->cols) + 16, 1);
    p->scales = inl_alloc(b->env, inl_tile_scale_bytes(s->format, p->rows, s->cols) + 16, 1);
    bool memory = p->quants && p->scales;
    if (s->stored != s->format) {
        p->floats = inl_alloc(b->env, (uint64_t)p->rows * s->cols, sizeof(float));
        p->converted = inl_alloc(b->env, p->rows, inl_format_bytes(s->format, s->cols));
        memory = memory && p->floats && p->converted;
    }
    if (memory)
        return INLAY_OK;
    free_piece(b, p);
    return INLAY_ERROR_OUT_OF_MEMORY;
}

// `rows` rows from `row0` of the part to where they lie in its planes, 8 behind 8.
static inlay_result upload_piece(const builder *b, const inl_source *s, const uint8_t *stored,
                                 const piece *p, uint32_t row0, uint32_t rows,
                                 const inl_weight_part *part)
{
    uint64_t quants = inl_tile_quant_bytes(s->format, 8, s->cols);
    uint64_t scales = (uint64_t)s->format->tile_scale_bytes * (s->cols / s->format->block_elements);
    uint32_t tiles = inl_div_up(rows, 8);
    inl_range q = {part->quants.buffer, part->quants.offset + row0 / 8 * quants, tiles * quants};
    inl_range c = {part->scales.buffer, part->scales.offset + row0 / 8 * scales, tiles * scales};
    if (row0 + rows == part->rows) { // and the padding, less than 16 bytes, behind the last
        q.size = part->quants.size - row0 / 8 * quants;
        c.size = part->scales.size - row0 / 8 * scales;
    }
    const void *data = stored;
    if (p->converted) {
        s->stored->decode(stored, p->floats, (uint64_t)rows * s->cols);
        s->format->encode(p->floats, p->converted, (uint64_t)rows * s->cols);
        if (s->format->find_not_finite(p->converted, (uint64_t)rows * s->cols) != UINT64_MAX)
            return inl_fail(b->env, INLAY_ERROR_NOT_FINITE, "%s has numbers that do not fit %s",
                            inl_gguf_stored_name(s->tensor), s->format->name);
        data = p->converted;
    }
    memset(p->quants, 0, q.size);
    memset(p->scales, 0, c.size);
    inl_tile_pack(s->format, data, rows, s->cols, p->quants, p->scales);
    INL_TRY(put(b->w->gpu, &q, p->quants));
    return c.size > 0 ? put(b->w->gpu, &c, p->scales) : INLAY_OK;
}

// Rows of a matrix, or of an expert's, to where their planes lie.
static inlay_result upload_rows(const builder *b, const inl_source *s, uint32_t expert,
                                const inl_weight_part *part)
{
    piece p;
    INL_TRY(make_piece(b, s, part->rows, &p));
    inlay_result result = INLAY_OK;
    for (uint32_t row = 0; row < part->rows && result == INLAY_OK; row += p.rows)
        result = upload_piece(b, s, inl_source_row(s, expert, part->row0 + row), &p, row,
                              INL_MIN(p.rows, part->rows - row), part);
    free_piece(b, &p);
    return result;
}

static inlay_result upload_nf4_parts(const builder *b, const inl_nf4 *nf4, const inl_weight *w)
{
    for (uint32_t i = 0; i < w->part_count; i++) {
        const inl_weight_part *part = &w->parts[i];
        uint32_t *quants = inl_alloc(b->env, part->quants.size, 1);
        uint32_t *scales = inl_alloc(b->env, part->scales.size, 1);
        inlay_result result = INLAY_ERROR_OUT_OF_MEMORY;
        if (quants && scales) {
            inl_tile_pack_nf4_quants(nf4, part->row0, part->rows, w->cols, quants);
            inl_tile_pack_nf4_scales(nf4, w->rows, w->cols, scales);
            result = put(b->w->gpu, &part->quants, quants);
            if (result == INLAY_OK)
                result = put(b->w->gpu, &part->scales, scales);
        }
        inl_free(b->env, quants);
        inl_free(b->env, scales);
        INL_TRY(result);
    }
    return INLAY_OK;
}

// Elements of the matrix that begins at `first`: its rows lie one behind the other.
typedef struct flat_matrix {
    const inl_format *stored;
    const uint8_t *first;
} flat_matrix;

static void read_flat(const void *user, uint64_t at, uint64_t count, float *out)
{
    const flat_matrix *m = user;
    m->stored->decode(m->first + inl_format_bytes(m->stored, at), out, count);
}

static inlay_result read_nf4(const builder *b, const inl_source *s, uint32_t expert, inl_nf4 *out)
{
    const inl_gguf_tensor *t = s->each ? s->each[expert] : s->tensor;
    if (t->bnb4)
        return inl_nf4_read(b->env, t->bnb4, out);
    flat_matrix m = {s->stored, inl_source_row(s, expert, 0)};
    return inl_nf4_encode_from(b->env, read_flat, &m, (uint64_t)s->rows * s->cols, out);
}

static inlay_result upload_nf4(const builder *b, const inl_source *s, uint32_t expert,
                               const inl_weight *w)
{
    inl_nf4 nf4;
    INL_TRY(read_nf4(b, s, expert, &nf4));
    inlay_result result = upload_nf4_parts(b, &nf4, w);
    inl_nf4_free(b->env, &nf4);
    return result;
}

// One by one: each is encoded and packed for itself.
static inlay_result upload_experts(const builder *b, const inl_source *s, const inl_weight *w)
{
    uint64_t quants = inl_tile_quant_bytes(s->format, s->rows, s->cols);
    uint64_t scales = inl_tile_scale_bytes(s->format, s->rows, s->cols);
    for (uint32_t i = 0; i < w->part_count; i++)
        for (uint32_t e = 0; e < w->parts[i].experts; e++) {
            inl_weight_part one = w->parts[i];
            one.quants.offset += e * quants;
            one.quants.size = quants;
            one.scales.offset += e * scales;
            one.scales.size = scales;
            inl_weight alone = {.format = w->format,
                                .rows = w->rows,
                                .cols = w->cols,
                                .part_count = 1,
                                .parts = &one};
            uint32_t expert = one.expert0 + e;
            INL_TRY(inl_is_nf4(s->format) ? upload_nf4(b, s, expert, &alone)
                                                    : upload_rows(b, s, expert, &one));
        }
    return INLAY_OK;
}

static inlay_result upload_matrix(const builder *b, const inl_source *s, const inl_weight *w)
{
    if (inl_encoder_bytes(s, w, b->max_range) > 0)
        return inl_encoder_put(&b->encoder, s, w);
    if (s->experts > 0)
        return upload_experts(b, s, w);
    if (inl_is_nf4(s->format))
        return upload_nf4(b, s, 0, w);
    for (uint32_t i = 0; i < w->part_count; i++)
        INL_TRY(upload_rows(b, s, 0, &w->parts[i]));
    return INLAY_OK;
}

// cos and sin of position * frequency; the angle is rounded to f32 as the frameworks that trained
// the models do.
static inlay_result upload_rope(const builder *b, inl_rope_kind kind)
{
    const inl_rope *rope = &b->w->ropes[kind];
    inl_rope_config config = inl_config_rope_of(&b->w->model->config, kind);
    uint32_t half = config.dim / 2, positions = b->w->positions;
    float *table = inl_alloc(b->env, rope->table.size, 1);
    float *frequencies = inl_alloc(b->env, half, sizeof(float));
    inlay_result result = INLAY_ERROR_OUT_OF_MEMORY;
    if (table && frequencies) {
        double magnitude = (double)inl_rope_frequencies(&config, b->w->context, frequencies);
        for (uint64_t i = 0; i < (uint64_t)positions * half; i++) {
            float angle = (float)(i / half) * frequencies[i % half];
            table[2 * i] = (float)(magnitude * cos((double)angle));
            table[2 * i + 1] = (float)(magnitude * sin((double)angle));
        }
        result = put(b->w->gpu, &rope->table, table);
    }
    inl_free(b->env, table);
    inl_free(b->env, frequencies);
    return result;
}

static inlay_result upload_layer(const builder *b, const inl_layer_sources *s,
                                 const inl_layer_weights *l)
{
    for (inl_norm_role norm = 0; norm < INL_NORM_COUNT; norm++)
        INL_TRY(upload_vector(b, &s->norm[norm], &l->norm[norm].weight));
    for (inl_role role = 0; role < INL_ROLE_COUNT; role++) {
        if (!s->linear[role].tensor)
            continue;
        INL_TRY(upload_matrix(b, &s->linear[role], &l->linear[role]));
        INL_TRY(upload_vector(b, &s->bias[role], &l->bias[role]));
    }
    return INLAY_OK;
}

static inlay_result upload(const builder *b)
{
    const inl_weights *w = b->w;
    const inl_model *m = w->model;
    INL_TRY(upload_matrix(b, &m->embedding, &w->embedding));
    if (!m->config.tied_head)
        INL_TRY(upload_matrix(b, &m->head, &w->head));
    INL_TRY(upload_vector(b, &m->norm, &w->norm.weight));
    for (inl_rope_kind kind = 0; kind < INL_ROPE_COUNT; kind++)
        if (w->ropes[kind].rope_dim > 0)
            INL_TRY(upload_rope(b, kind));
    for (uint32_t i = 0; i < m->config.layers; i++)
        INL_TRY(upload_layer(b, &m->layers[i], &w->layers[i]));
    return INLAY_OK;
}

// ---- the handle

static inlay_result build(builder *b)
{
    INL_TRY(layout(b));
    if (!b->w->gpu)
        return INLAY_OK;
    INL_TRY(allocate(b));
    INL_TRY(inl_encoder_open(b->env, b->w->gpu, b->w->encode_bytes, &b->encoder));
    // A tied head shares the parts array, whose ranges have their buffers only now.
    inlay_result result = upload(b);
    inl_encoder_close(&b->encoder);
    return result;
}

inlay_result inl_weights_create(const inl_model *model, inl_gpu *gpu, uint64_t max_range,
                                uint32_t context, uint32_t positions, inl_weights **out)
{
    *out = NULL;
    inl_weights *w = inl_alloc(&model->env, 1, sizeof(*w));
    if (!w)
        return INLAY_ERROR_OUT_OF_MEMORY;
    w->model = model;
    w->gpu = gpu;
    w->context = context;
    w->positions = positions;
    const inl_gpu_caps *caps = gpu ? inl_gpu_get_caps(gpu) : NULL;
    builder b = {.w = w,
                 .env = &model->env,
                 .max_range = caps ? caps->max_buffer_range_bytes : max_range,
                 .max_block =
                     caps ? INL_MIN(BLOCK_BYTES, caps->max_allocation_bytes) : BLOCK_BYTES};
    inlay_result result = build(&b);
    inl_free(b.env, b.placements);
    inl_free(b.env, b.sizes);
    if (result != INLAY_OK) {
        inl_weights_destroy(&w);
        return result;
    }
    *out = w;
    return INLAY_OK;
}

const inl_weight *inl_weights_of_module(const inl_weights *w, uint32_t module)
{
    const inl_config *c = &w->model->config;
    uint32_t layer;
    inl_role role;
    return inl_config_find_module(c, module, &layer, &role) ? &w->layers[layer].linear[role]
                                                            : &w->head;
}

void inl_weights_destroy(inl_weights **handle)
{
    inl_weights *w = *handle;
    if (!w)
        return;
    *handle = NULL;
    const inl_env *env = &w->model->env;
    for (uint32_t i = 0; w->layers && i < w->model->config.layers; i++)
        for (inl_role role = 0; role < INL_ROLE_COUNT; role++)
            inl_free(env, w->layers[i].linear[role].parts);
    for (uint32_t i = 0; w->expanded && i < w->model->config.layers; i++)
        inl_buffer_destroy(w->gpu, &w->expanded[i]);
    inl_free(env, w->expanded);
    inl_free(env, w->layers);
    if (w->head.parts != w->embedding.parts)
        inl_free(env, w->head.parts);
    inl_free(env, w->embedding.parts);
    for (uint32_t i = 0; i < w->block_count; i++)
        inl_buffer_destroy(w->gpu, &w->blocks[i]);
    inl_free(env, w->blocks);
    inl_free(env, w);
}
