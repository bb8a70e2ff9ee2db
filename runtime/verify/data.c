// SPDX-License-Identifier: MIT
// The data of a case: regions of the heap, tensors, weights in their formats, adapters; comparison.
#include "verify/suite.h"

#include <math.h>
#include <string.h>

#include "base/half.h"
#include "quant/tile.h"

// A NaN, at each place another one: what is computed of one and stored over another shows.
static uint32_t guard_at(uint64_t offset)
{
    return 0x7fc00000u | ((uint32_t)(offset / 4) * 2654435761u >> 11 & 0x1fffffu) << 1;
}

// A new region; its bytes are guard words until they are written. Alignment is what any device
// takes.
static uint32_t add_region(kt *k, const char *name, uint64_t bytes, bool output)
{
    uint64_t from = k->heap_used;
    uint64_t offset = inl_round_up(from + KT_GUARD_BYTES, 256);
    uint64_t end = offset + inl_round_up(bytes, 16) + 2 * KT_GUARD_BYTES;
    if (end > KT_HEAP_BYTES || k->region_count == KT_MAX_REGIONS)
        kt_stop(k->suite, inl_fail(&k->suite->env, INLAY_ERROR_INTERNAL,
                                   "%s: %s does not fit the heap", k->name, name));
    for (uint64_t at = from; at < end; at += 4) {
        uint32_t guard = guard_at(at);
        memcpy(k->suite->image + at, &guard, 4);
    }
    k->regions[k->region_count] = (kt_region){name, offset, bytes, bytes, output};
    k->heap_used = end;
    return k->region_count++;
}

static inl_range range_of(const kt *k, uint32_t region)
{
    const kt_region *r = &k->regions[region];
    return (inl_range){k->suite->heap, r->offset, inl_round_up(r->bytes, 16) + KT_GUARD_BYTES};
}

static void *image_of(const kt *k, uint32_t region)
{
    return k->suite->image + k->regions[region].offset;
}

static const float *result_of(const kt *k, uint32_t region)
{
    return (const float *)(k->suite->after + k->regions[region].offset);
}

// ---- inputs

static uint32_t *input_words(kt *k, const char *name, uint32_t count, inl_buf *buf)
{
    uint32_t region = add_region(k, name, 4ull * count, false);
    *buf = inl_op_external(k->plan, range_of(k, region));
    return memset(image_of(k, region), 0, 4ull * count);
}

kt_inputs kt_make_inputs(kt *k, uint32_t tokens)
{
    kt_inputs i = {.tokens_count = tokens};
    i.scalars = (struct step_scalars *)input_words(k, "scalars", sizeof(*i.scalars) / 4,
                                                   &i.in.scalars);
    i.tokens = input_words(k, "tokens", tokens, &i.in.tokens);
    i.positions = input_words(k, "positions", tokens, &i.in.positions);
    i.starts = input_words(k, "starts", tokens, &i.in.starts);
    i.ends = input_words(k, "ends", tokens, &i.in.ends);
    i.rows = input_words(k, "rows", tokens, &i.in.rows);
    i.labels = input_words(k, "labels", tokens, &i.in.labels);
    i.scalars->seed = kt_u32(k);
    kt_pack(&i, (const uint32_t[]){0});
    return i;
}

void kt_pack(kt_inputs *inputs, const uint32_t *lengths)
{
    for (uint32_t at = 0; at < inputs->tokens_count;) {
        uint32_t left = inputs->tokens_count - at;
        uint32_t length = *lengths ? INL_MIN(*lengths, left) : left;
        lengths += *lengths != 0;
        for (uint32_t t = at; t < at + length; t++) {
            inputs->starts[t] = at;
            inputs->ends[t] = at + length;
            inputs->positions[t] = t - at;
        }
        at += length;
    }
}

// ---- tensors

static kt_mat make(kt *k, kt_kind kind, const char *name, uint32_t rows, uint32_t cols,
                   uint32_t rows_padded, uint32_t ld, float scale)
{
    kt_mat m = {.rows = rows, .cols = cols, .ld = ld};
    m.region = add_region(k, name, 4ull * rows_padded * ld, kind != KT_IN);
    k->regions[m.region].live = 4ull * rows * ld;
    m.v = kt_doubles(k, (uint64_t)rows * cols);
    m.t = (inl_tensor){.buf = inl_op_external(k->plan, range_of(k, m.region)),
                       .rows = rows,
                       .cols = cols,
                       .ld = ld};
    float *image = image_of(k, m.region);
    for (uint32_t r = 0; r < rows_padded && kind != KT_OUT; r++)
        for (uint32_t c = 0; c < ld; c++) {
            float value = c < cols ? kt_f32(k, r < rows ? scale : 1000.0f) : 0.0f;
            image[(size_t)r * ld + c] = value;
            if (r < rows && c < cols)
                m.v[(size_t)r * cols + c] = (double)value;
        }
    return m;
}

kt_mat kt_tensor(kt *k, kt_kind kind, const char *name, uint32_t rows, uint32_t cols, float scale)
{
    return make(k, kind, name, rows, cols, (uint32_t)inl_round_up(rows, 8),
                (uint32_t)inl_round_up(cols, 8), scale);
}

kt_mat kt_array(kt *k, kt_kind kind, const char *name, uint32_t count, uint32_t pad, float scale)
{
    return make(k, kind, name, 1, count, 1, (uint32_t)inl_round_up(count, pad), scale);
}

void kt_set(kt *k, kt_mat *m, const double *values)
{
    float *image = image_of(k, m->region);
    for (uint32_t r = 0; r < m->rows; r++)
        for (uint32_t c = 0; c < m->cols; c++) {
            size_t at = (size_t)r * m->cols + c;
            float value = (float)values[at];
            image[(size_t)r * m->ld + c] = value;
            m->v[at] = (double)value;
        }
}

inl_range kt_range(kt *k, const kt_mat *m)
{
    return range_of(k, m->region);
}

float kt_get(kt *k, const kt_mat *m, uint32_t row, uint32_t col)
{
    return result_of(k, m->region)[(size_t)row * m->ld + col];
}

// ---- comparison

static void check_padding(kt *k, const kt_mat *m, uint32_t rows)
{
    for (uint32_t r = 0; r < rows && !m->any_padding; r++)
        for (uint32_t c = m->cols; c < m->ld; c++)
            if (kt_get(k, m, r, c) != 0.0f) {
                kt_fail(k, "%s: padding column %u of row %u is %g", k->regions[m->region].name, c,
                        r, (double)kt_get(k, m, r, c));
                return;
            }
}

// The worst element, and the first ones that are off by as much as that is allowed.
static void note_wrong(kt *k, const kt_mat *m, uint32_t rows, double limit, uint32_t worst_row,
                       uint32_t worst_col)
{
    const char *name = k->regions[m->region].name;
    kt_note_wrong(k, name, worst_row, worst_col, (double)kt_get(k, m, worst_row, worst_col),
                  m->v[(size_t)worst_row * m->cols + worst_col]);
    for (uint32_t r = 0; r < rows; r++)
        for (uint32_t c = 0; c < m->cols; c++) {
            double got = (double)kt_get(k, m, r, c), expected = m->v[(size_t)r * m->cols + c];
            if (!(fabs(got - expected) < limit) && (r != worst_row || c != worst_col))
                kt_note_wrong(k, name, r, c, got, expected);
        }
}

// Whether a kernel that multiplies f16 was run.
static bool in_halves(const kt *k)
{
    for (uint32_t i = 0; i < INL_KERNEL_COUNT; i++)
        if (k->kernels[i] && (inl_kernels[i].needs & INL_PATHS_OF_HALVES) != 0)
            return true;
    return false;
}

void kt_expect_rows(kt *k, const kt_mat *m, uint32_t rows, double bound)
{
    bound = in_halves(k) ? fmax(bound, KT_HALVES_BOUND) : bound;
    const char *name = k->regions[m->region].name;
    const double *scale = m->terms ? m->terms : m->v;
    double wrong = 0.0, energy = 0.0, most = 0.0;
    uint32_t worst_row = 0, worst_col = 0;
    for (uint32_t r = 0; r < rows; r++)
        for (uint32_t c = 0; c < m->cols; c++) {
            double expected = m->v[(size_t)r * m->cols + c];
            double d = fabs((double)kt_get(k, m, r, c) - expected);
            wrong += d * d;
            energy += scale[(size_t)r * m->cols + c] * scale[(size_t)r * m->cols + c];
            if (!(d <= most)) { // NaN comes in here and stays
                most = d;
                worst_row = r;
                worst_col = c;
                if (isnan(d))
                    goto report;
            }
        }
report:;
    double nmse = wrong / (energy > 0.0 ? energy : 1.0);
    double rms = sqrt((energy > 0.0 ? energy : 1.0) / ((double)rows * m->cols));
    double limit = 1000.0 * sqrt(bound) * rms;
    kt_note_error(k, isnan(most) ? (double)INFINITY : nmse, bound);
    if (isnan(most) || nmse > bound || most > limit) {
        note_wrong(k, m, rows, INL_MIN(limit, most), worst_row, worst_col);
        kt_fail(k, "%s: NMSE %.3g (bound %.3g), worst at row %u column %u: %.9g instead of %.9g",
                name, nmse, bound, worst_row, worst_col, (double)kt_get(k, m, worst_row, worst_col),
                m->v[(size_t)worst_row * m->cols + worst_col]);
    }
    check_padding(k, m, rows);
}

void kt_expect(kt *k, const kt_mat *m, double bound)
{
    kt_expect_rows(k, m, m->rows, bound);
}

void kt_expect_exact(kt *k, const kt_mat *m)
{
    if (in_halves(k)) {
        kt_expect(k, m, KT_HALVES_BOUND);
        return;
    }
    for (uint32_t r = 0; r < m->rows; r++)
        for (uint32_t c = 0; c < m->cols; c++) {
            float expected = (float)m->v[(size_t)r * m->cols + c], got = kt_get(k, m, r, c);
            if (got == expected)
                continue;
            const char *name = k->regions[m->region].name;
            kt_note_wrong(k, name, r, c, (double)got, (double)expected);
            kt_fail(k, "%s: row %u column %u is 0x%08x (%.9g), not 0x%08x (%.9g)", name, r, c,
                    inl_f32_bits(got), (double)got, inl_f32_bits(expected), (double)expected);
            return;
        }
    check_padding(k, m, m->rows);
}

// ---- words

kt_words kt_make_words(kt *k, const char *name, uint32_t count, const uint32_t *words)
{
    uint32_t region = add_region(k, name, 4ull * count, words == NULL);
    if (words)
        memcpy(image_of(k, region), words, 4ull * count);
    return (kt_words){range_of(k, region), region, count};
}

const uint32_t *kt_words_before(kt *k, const kt_words *w)
{
    return image_of(k, w->region);
}

const uint32_t *kt_get_words(kt *k, const kt_words *w)
{
    return (const uint32_t *)(const void *)result_of(k, w->region);
}

void kt_expect_words(kt *k, const kt_words *w, const uint32_t *expected)
{
    const uint32_t *got = kt_get_words(k, w);
    for (uint32_t i = 0; i < w->count; i++)
        if (got[i] != expected[i]) {
            kt_note_wrong(k, k->regions[w->region].name, 0, i, got[i], expected[i]);
            kt_fail(k, "%s: word %u is 0x%08x, not 0x%08x", k->regions[w->region].name, i, got[i],
                    expected[i]);
            return;
        }
}

// ---- weights

// Where a block has f16 scales; -1: nowhere.
static void scales_at(inl_format_id id, int at[2])
{
    at[0] = 0, at[1] = -1;
    switch (id) {
    case INL_FORMAT_Q4_1:
    case INL_FORMAT_Q5_1:
    case INL_FORMAT_Q4_K:
    case INL_FORMAT_Q5_K: at[1] = 2; break;
    case INL_FORMAT_Q2_K: at[0] = 80, at[1] = 82; break;
    case INL_FORMAT_Q3_K: at[0] = 108; break;
    case INL_FORMAT_Q6_K: at[0] = 208; break;
    case INL_FORMAT_MXFP4: at[0] = -1; break;
    default: break;
    }
}

// Any sign. `raw`: subnormals too, nothing near overflow after a product with 127; else around 1/8.
static uint16_t random_half(kt *k, bool raw)
{
    uint32_t exponent = raw ? kt_below(k, 24) : 11 + kt_below(k, 2);
    return (uint16_t)((kt_u32(k) & 0x8000u) | exponent << 10 | (kt_u32(k) & 0x3ffu));
}

// A block of the format with any bits that decode to normal, finite f32.
static void random_block(kt *k, const inl_format *f, bool raw, uint8_t *block)
{
    uint16_t half = random_half(k, raw);
    uint32_t exponent = 1 + kt_below(k, 253), word = kt_u32(k);
    word = (word & 0x807fffffu) | exponent << 23;
    switch (f->id) {
    case INL_FORMAT_F32: memcpy(block, &word, 4); return;
    case INL_FORMAT_F16: memcpy(block, &half, 2); return;
    case INL_FORMAT_BF16: memcpy(block, (uint8_t *)&word + 2, 2); return;
    default: break;
    }
    for (uint32_t i = 0; i < f->block_bytes; i++)
        block[i] = (uint8_t)kt_u32(k);
    int at[2];
    scales_at(f->id, at);
    for (int i = 0; i < 2; i++)
        if (at[i] >= 0) {
            memcpy(block + at[i], &half, 2);
            half = random_half(k, raw);
        }
    if (f->id == INL_FORMAT_MXFP4) // above subnormal numbers, below overflow
        block[0] = (uint8_t)(raw ? 2 + kt_below(k, 251) : 124 + kt_below(k, 3));
}

// Blocks of other numbers than their neighbours'; any at all where the format is only read.
static void fill_blocks(kt *k, const inl_format *f, float *values, uint64_t count, bool raw,
                        uint8_t *data)
{
    if (f->encode && !raw)
        f->encode(values, data, count);
    else
        for (uint64_t i = 0; i < count / f->block_elements; i++)
            random_block(k, f, raw, data + i * f->block_bytes);
    f->decode(data, values, count);
}

static void set_values(kt *k, kt_weight *out, const float *decoded)
{
    uint64_t count = (uint64_t)out->w.rows * out->w.cols * INL_MAX(out->w.experts, 1);
    out->v = kt_doubles(k, count);
    for (uint64_t i = 0; i < count; i++)
        out->v[i] = (double)decoded[i];
}

static inl_weight_part make_part(kt *k, const kt_weight *out, uint32_t index, uint32_t parts,
                                 uint32_t *quants)
{
    uint32_t tiles = inl_div_up(out->w.rows, 8);
    uint32_t row0 = tiles * index / parts * 8, end = tiles * (index + 1) / parts * 8;
    inl_weight_part part = {.row0 = row0, .rows = INL_MIN(end, out->w.rows) - row0};
    uint64_t bytes = inl_tile_quant_bytes(out->w.format, part.rows, out->w.cols);
    *quants = add_region(k, "quants", bytes, false);
    memset(image_of(k, *quants), 0, bytes);
    part.quants = range_of(k, *quants);
    return part;
}

static void make_blocks(kt *k, kt_weight *out, uint32_t parts, bool raw)
{
    const inl_format *f = out->w.format;
    uint32_t cols = out->w.cols;
    uint64_t count = (uint64_t)out->w.rows * cols, blocks = count / f->block_elements;
    float *values = kt_alloc(k, count * sizeof(*values));
    uint8_t *data = kt_alloc(k, blocks * f->block_bytes);
    for (uint64_t i = 0; i < count; i++)
        values[i] = kt_f32(k, 0.25f + (float)(i / 32 % 7)); // blocks of different scales
    fill_blocks(k, f, values, count, raw, data);
    set_values(k, out, values);
    for (uint32_t i = 0; i < parts; i++) {
        uint32_t quants, scales = UINT32_MAX;
        inl_weight_part part = make_part(k, out, i, parts, &quants);
        uint64_t bytes = inl_tile_scale_bytes(f, part.rows, cols);
        if (bytes > 0) {
            scales = add_region(k, "scales", bytes, false);
            memset(image_of(k, scales), 0, bytes);
            part.scales = range_of(k, scales);
        }
        inl_tile_pack(f, data + (uint64_t)part.row0 * cols / f->block_elements * f->block_bytes,
                      part.rows, cols, image_of(k, quants), bytes ? image_of(k, scales) : NULL);
        out->parts[i] = part;
    }
}

// The codes and the blocks' absmax as those of the format.
static const inl_nf4 *as_format(kt *k, const inl_format *f, inl_nf4 *nf4)
{
    nf4->fp4 = f->id == INL_FORMAT_FP4;
    if (f->tile_scale_bytes > 0) {
        nf4->plain = inl_alloc(&k->suite->env, nf4->count / INL_NF4_BLOCK + 1, sizeof(float));
        if (!nf4->plain)
            kt_stop(k->suite, INLAY_ERROR_OUT_OF_MEMORY);
        inl_nf4_block_absmax(nf4, nf4->plain);
    }
    return nf4;
}

static void make_nf4(kt *k, kt_weight *out, uint32_t parts)
{
    const inl_format *f = out->w.format;
    uint32_t rows = out->w.rows, cols = out->w.cols;
    uint64_t count = (uint64_t)rows * cols;
    float *values = kt_alloc(k, count * sizeof(*values));
    inl_nf4 nf4;
    for (uint64_t i = 0; i < count; i++)
        values[i] = kt_f32(k, 0.25f + (float)(i / 64 % 7));
    kt_must(k, inl_nf4_encode(&k->suite->env, values, count, &nf4));
    inl_nf4_decode(as_format(k, f, &nf4), values);
    set_values(k, out, values);
    uint64_t bytes = inl_tile_scale_bytes(f, rows, cols);
    uint32_t scales = add_region(k, "scales", bytes, false);
    inl_tile_pack_nf4_scales(&nf4, rows, cols, memset(image_of(k, scales), 0, bytes));
    for (uint32_t i = 0; i < parts; i++) {
        uint32_t quants;
        out->parts[i] = make_part(k, out, i, parts, &quants);
        out->parts[i].scales = range_of(k, scales);
        inl_tile_pack_nf4_quants(&nf4, out->parts[i].row0, out->parts[i].rows, cols,
                                 image_of(k, quants));
    }
    inl_nf4_free(&k->suite->env, &nf4);
}

void kt_make_weight(kt *k, inl_format_id format, uint32_t rows, uint32_t cols, uint32_t parts,
                    bool raw, kt_weight *out)
{
    parts = INL_MIN(INL_MIN(parts, KT_MAX_PARTS), inl_div_up(rows, 8));
    *out = (kt_weight){.w = {.format = inl_format_by_id(format),
                             .rows = rows,
                             .cols = cols,
                             .part_count = parts,
                             .parts = out->parts}};
    if (inl_is_nf4(out->w.format))
        make_nf4(k, out, parts);
    else
        make_blocks(k, out, parts, raw);
}

// An expert's planes behind those of the experts before it, and its values into v.
static void pack_expert(kt *k, kt_weight *out, uint32_t expert, void *quants, void *scales)
{
    const inl_format *f = out->w.format;
    uint32_t rows = out->w.rows, cols = out->w.cols;
    uint64_t count = (uint64_t)rows * cols;
    float *values = kt_alloc(k, count * sizeof(*values));
    uint8_t *data = kt_alloc(k, count / f->block_elements * f->block_bytes);
    for (uint64_t i = 0; i < count; i++)
        values[i] = kt_f32(k, 0.25f + (float)((i / 64 + expert) % 7));
    if (inl_is_nf4(f)) {
        inl_nf4 nf4;
        kt_must(k, inl_nf4_encode(&k->suite->env, values, count, &nf4));
        inl_nf4_decode(as_format(k, f, &nf4), values);
        inl_tile_pack_nf4_quants(&nf4, 0, rows, cols, quants);
        inl_tile_pack_nf4_scales(&nf4, rows, cols, scales);
        inl_nf4_free(&k->suite->env, &nf4);
    } else {
        fill_blocks(k, f, values, count, false, data);
        inl_tile_pack(f, data, rows, cols, quants, scales);
    }
    for (uint64_t i = 0; i < count; i++)
        out->v[expert * count + i] = (double)values[i];
}

void kt_make_expert_weight(kt *k, inl_format_id format, uint32_t experts, uint32_t rows,
                           uint32_t cols, uint32_t parts, kt_weight *out)
{
    const inl_format *f = inl_format_by_id(format);
    uint64_t quants = inl_tile_quant_bytes(f, rows, cols);
    uint64_t scales = inl_tile_scale_bytes(f, rows, cols);
    *out = (kt_weight){.w = {.format = f,
                             .rows = rows,
                             .cols = cols,
                             .experts = experts,
                             .part_count = parts,
                             .parts = out->parts}};
    out->v = kt_doubles(k, (uint64_t)experts * rows * cols);
    for (uint32_t i = 0; i < parts; i++) {
        uint32_t first = experts * i / parts, count = experts * (i + 1) / parts - first;
        inl_weight_part part = {.rows = rows, .expert0 = first, .experts = count};
        uint32_t q = add_region(k, "quants", count * quants, false), s = UINT32_MAX;
        memset(image_of(k, q), 0, count * quants);
        part.quants = range_of(k, q);
        if (scales > 0) {
            s = add_region(k, "scales", count * scales, false);
            memset(image_of(k, s), 0, count * scales);
            part.scales = range_of(k, s);
        }
        for (uint32_t e = 0; e < count; e++)
            pack_expert(k, out, first + e, (uint8_t *)image_of(k, q) + e * quants,
                        scales ? (uint8_t *)image_of(k, s) + e * scales : NULL);
        out->parts[i] = part;
    }
}

// ---- adapters

static uint32_t matrices_of(const inl_lora_slot *s)
{
    return INL_MAX(s->experts, 1);
}

// Where element (row, col) of a slot's A or B lies in the arenas; experts' are one below the other.
static uint64_t at_a(const inl_lora_slot *s, uint32_t expert, uint32_t row, uint32_t col)
{
    return s->a + (4ull * s->rank4 * expert + row) * inl_round_up(s->in, 8) + col;
}

static uint64_t at_b(const inl_lora_slot *s, uint32_t expert, uint32_t row, uint32_t col)
{
    return s->b + (inl_round_up(s->out, 8) * expert + row) * 4ull * s->rank4 + col;
}

// Adds dense A [experts, rank, in] and B [experts, out, rank], or either, to an arena's image.
static void add_dense(const inl_lora_slot *s, const double *a, const double *b, double *image)
{
    for (uint32_t e = 0; e < matrices_of(s); e++) {
        for (uint32_t r = 0; r < s->rank && a; r++)
            for (uint32_t c = 0; c < s->in; c++)
                image[at_a(s, e, r, c)] += *a++;
        for (uint32_t n = 0; n < s->out && b; n++)
            for (uint32_t r = 0; r < s->rank; r++)
                image[at_b(s, e, n, r)] += *b++;
    }
}

static double *random_dense(kt *k, uint64_t count, float scale)
{
    double *v = kt_doubles(k, count);
    for (uint64_t i = 0; i < count; i++)
        v[i] = (double)kt_f32(k, scale);
    return v;
}

static void add_magnitude(const inl_lora_slot *s, const double *m, double *image)
{
    for (uint32_t n = 0; n < s->out && s->dora; n++)
        image[s->magnitude + n] += m[n];
}

// The whole arena is one array, zero but for the dense matrices in it.
static kt_mat make_arena(kt *k, kt_kind kind, const char *name, const kt_lora *l, uint64_t floats,
                         double *const *a, double *const *b, double *const *magnitude)
{
    kt_mat m = kt_array(k, kind, name, (uint32_t)floats, 4, 0.0f);
    float *image = image_of(k, m.region);
    memset(m.v, 0, floats * sizeof(*m.v));
    for (uint32_t i = 0; i < l->count; i++) {
        add_dense(&l->slots[i], a[i], b[i], m.v);
        add_magnitude(&l->slots[i], magnitude[i], m.v);
    }
    for (uint64_t i = 0; i < floats; i++)
        image[i] = (float)m.v[i];
    return m;
}

// Dense values of a slot: random, with room for experts.
static void draw_slot(kt *k, const inl_lora_slot *s, double **a, double **b, double **magnitude)
{
    *a = random_dense(k, (uint64_t)s->rank * s->in * matrices_of(s), 1.0f);
    *b = random_dense(k, (uint64_t)s->rank * s->out * matrices_of(s), 1.0f);
    *magnitude = s->dora ? random_dense(k, s->out, 1.0f) : NULL;
}

static void make_lora(kt *k, uint32_t experts, bool dora, uint32_t count, const uint32_t *ranks,
                      const uint32_t *ins, const uint32_t *outs, float dropout, kt_lora *l)
{
    *l = (kt_lora){.count = count};
    double *ga[KT_MAX_SLOTS], *gb[KT_MAX_SLOTS], *gm[KT_MAX_SLOTS];
    uint64_t norms = 0;
    for (uint32_t i = 0; i < count; i++) {
        l->slots[i] = (inl_lora_slot){.in = ins[i],
                                      .out = outs[i],
                                      .rank = ranks[i],
                                      .rank4 = inl_div_up(ranks[i], 4),
                                      .experts = experts,
                                      .dora = dora && ranks[i] > 0,
                                      .norm = norms,
                                      .scale = 0.5f + (float)i,
                                      .stream = 7 + 3 * i};
        l->column4[i] = l->columns4;
        l->columns4 += l->slots[i].rank4;
        norms += inl_round_up(outs[i], 64);
        draw_slot(k, &l->slots[i], &l->a[i], &l->b[i], &l->magnitude[i]);
        draw_slot(k, &l->slots[i], &ga[i], &gb[i], &gm[i]);
    }
    uint64_t floats = inl_lora_place(l->slots, l->count, 0);
    l->weights = make_arena(k, KT_IN, "adapter", l, floats, l->a, l->b, l->magnitude);
    l->gradients = make_arena(k, KT_ADD, "adapter gradient", l, floats, ga, gb, gm);
    l->arena = (inl_lora_arena){.weights = range_of(k, l->weights.region),
                                .gradients = range_of(k, l->gradients.region),
                                .dropout = dropout};
}

void kt_make_lora(kt *k, uint32_t count, const uint32_t *ranks, const uint32_t *ins,
                  const uint32_t *outs, float dropout, kt_lora *l)
{
    make_lora(k, 0, false, count, ranks, ins, outs, dropout, l);
}

void kt_make_expert_lora(kt *k, uint32_t experts, uint32_t count, const uint32_t *ranks,
                         const uint32_t *ins, const uint32_t *outs, float dropout, kt_lora *l)
{
    make_lora(k, experts, false, count, ranks, ins, outs, dropout, l);
}

void kt_make_dora(kt *k, kt_kind kind, uint32_t count, const uint32_t *ranks, const uint32_t *ins,
                  const uint32_t *outs, float dropout, kt_lora *l)
{
    make_lora(k, 0, true, count, ranks, ins, outs, dropout, l);
    const inl_lora_slot *last = &l->slots[count - 1];
    uint32_t floats = (uint32_t)(last->norm + inl_round_up(last->out, 64));
    double *norms = kt_doubles(k, floats);
    for (uint32_t i = 0; i < count; i++) {
        l->norm[i] = norms + l->slots[i].norm;
        for (uint32_t n = 0; n < outs[i]; n++)
            l->norm[i][n] = (double)(kt_f32(k, 0.5f) + 1.0f);
    }
    l->norms = kt_array(k, kind, "norms", floats, 4, 1.0f);
    l->squares = kt_array(k, kind, "squares", floats, 4, 1.0f);
    if (kind == KT_IN)
        kt_set(k, &l->norms, norms);
    l->arena.norms = range_of(k, l->norms.region);
    l->arena.squares = range_of(k, l->squares.region);
}

void kt_lora_expect_magnitude(kt_lora *l, uint32_t slot, const double *dm)
{
    add_magnitude(&l->slots[slot], dm, l->gradients.v);
}

void kt_lora_expect_add(kt_lora *l, uint32_t slot, const double *da, const double *db)
{
    add_dense(&l->slots[slot], da, db, l->gradients.v);
}

// Marks what is not padding with more than 0.
static double *arena_mask(kt *k, const kt_lora *l)
{
    double *mask = kt_doubles(k, l->gradients.cols);
    for (uint32_t i = 0; i < l->count; i++) {
        const inl_lora_slot *s = &l->slots[i];
        uint64_t most = (uint64_t)matrices_of(s) * INL_MAX(s->rank, 1) * INL_MAX(s->in, s->out);
        double *ones = kt_doubles(k, most);
        for (uint64_t j = 0; j < most; j++)
            ones[j] = 1.0;
        add_dense(s, ones, ones, mask);
        add_magnitude(s, ones, mask);
    }
    return mask;
}

void kt_lora_expect(kt *k, const kt_lora *l, double bound)
{
    kt_expect(k, &l->gradients, bound);
    const double *mask = arena_mask(k, l);
    for (uint32_t i = 0; i < l->gradients.cols; i++)
        if (mask[i] == 0.0 && kt_get(k, &l->gradients, 0, i) != 0.0f) {
            kt_fail(k, "adapter gradient: float %u is padding and came out as %g", i,
                    (double)kt_get(k, &l->gradients, 0, i));
            return;
        }
}

double *kt_lora_narrow(kt *k, const kt_lora *l, uint32_t slot, const double *h, uint32_t rows)
{
    uint32_t rank = l->slots[slot].rank, cols = 4 * l->columns4;
    double *narrow = kt_doubles(k, (uint64_t)rows * rank);
    for (uint32_t t = 0; t < rows; t++)
        memcpy(narrow + (size_t)t * rank, h + (size_t)t * cols + 4 * l->column4[slot],
               rank * sizeof(*narrow));
    return narrow;
}

void kt_lora_widen(const kt_lora *l, uint32_t slot, const double *narrow, uint32_t rows, double *h)
{
    uint32_t rank = l->slots[slot].rank, cols = 4 * l->columns4;
    for (uint32_t t = 0; t < rows; t++)
        memcpy(h + (size_t)t * cols + 4 * l->column4[slot], narrow + (size_t)t * rank,
               rank * sizeof(*narrow));
}
