// SPDX-License-Identifier: MIT
// Weights encoded on the device: the planes are, to the bit, what the CPU's encoders and packers
// make of the same numbers.
#include "base/half.h"
#include "verify/suite.h"
#include "verify/families.h"
#include "model/encoder.h"
#include "quant/tile.h"

#include <math.h>
#include <string.h>

typedef struct shape {
    inl_format_id format, stored;
    uint32_t rows, cols;
    uint32_t before; // rows of the planes before those that are encoded, a multiple of 8
} shape;

// ---- numbers

// Those around which a rounding turns, over what their block has as its largest.
static float border(kt *k, inl_format_id format)
{
    static const float halves[] = {0.5f, 1.5f, 2.5f, 63.5f, 126.5f};
    uint32_t i = kt_below(k, 15);
    float x = format == INL_FORMAT_NF4    ? (inl_nf4_codes[i] + inl_nf4_codes[i + 1]) / 2.0f
              : format == INL_FORMAT_Q8_0 ? halves[i % 5] / 127.0f
                                          : ((float)i - 7.5f) / 8.0f;
    int32_t off = (int32_t)kt_below(k, 5) - 2;
    return inl_f32_from_bits(inl_f32_bits(x) + (uint32_t)off);
}

// Of one kind a block of 32: any bits of usual size; borders under a largest of 1, -8 or 127 times
// a power of two, or of any; zeros; equals of both signs; sizes that pass f16's ends; scales half
// way between two of f16, subnormal or not.
static float number(kt *k, inl_format_id format, uint32_t kind, uint32_t at)
{
    static const float largest[] = {1.0f, -8.0f, 127.0f, -0.03125f};
    float any = 0.5f + (float)(kind >> 12) * 0x1p-13f;
    float units = (float)(kind >> 8 & 63) + 0.5f;
    float levels = format == INL_FORMAT_Q8_0 ? 127.0f : 8.0f;
    switch (kind % 10) {
    case 0: return 0.0f;
    case 1: return at % 3 ? 0.75f : -0.75f;
    case 2: return kt_f32(k, 1.0f) * 3e7f;
    case 3: return kt_f32(k, 1.0f) * 1e-6f;
    case 4: return kt_f32(k, 1e-7f);
    case 5: return at % 4 ? kt_f32(k, 1e-7f) : levels * units * 0x1p-24f;
    case 6: return at % 4 ? kt_f32(k, 1e-1f) : levels * (1.0f + units * 0x1p-10f);
    case 7: return at == 0 ? largest[kind / 16 % 4] : largest[kind / 16 % 4] * border(k, format);
    case 8: return at == 0 ? any : any * border(k, format);
    default: return kt_f32(k, 0.5f);
    }
}

static void fill(kt *k, const shape *s, uint8_t *data, float *values)
{
    const inl_format *stored = inl_format_by_id(s->stored);
    uint32_t count = s->rows * s->cols, kind = 0;
    for (uint32_t i = 0; i < count; i++) {
        if (i % 32 == 0)
            kind = kt_u32(k) >> 8;
        values[i] = number(k, s->format, kind, i % 32);
        if (s->stored == INL_FORMAT_F16)
            values[i] = fminf(fmaxf(values[i], -65504.0f), 65504.0f);
    }
    stored->encode(values, data, count);
    stored->decode(data, values, count);
}

// ---- cases

typedef struct expected {
    uint32_t *quants, *scales;
    uint32_t quant_words, scale_words, skipped_quants, skipped_scales;
} expected;

static expected expect_blocks(kt *k, const shape *s, const float *values)
{
    const inl_format *f = inl_format_by_id(s->format);
    uint64_t count = (uint64_t)s->rows * s->cols;
    expected e = {.quant_words = (uint32_t)inl_tile_quant_bytes(f, s->rows, s->cols) / 4,
                  .scale_words = (uint32_t)inl_tile_scale_bytes(f, s->rows, s->cols) / 4,
                  .skipped_quants = (uint32_t)inl_tile_quant_bytes(f, s->before, s->cols) / 4,
                  .skipped_scales = (uint32_t)inl_tile_scale_bytes(f, s->before, s->cols) / 4};
    uint8_t *data = kt_alloc(k, count / f->block_elements * f->block_bytes);
    e.quants = kt_alloc(k, 4ull * e.quant_words);
    e.scales = kt_alloc(k, 4ull * e.scale_words);
    f->encode(values, data, count);
    inl_tile_pack(f, data, s->rows, s->cols, e.quants, e.scales);
    return e;
}

// Absmax and inverses in place of stored scales.
static expected expect_nf4(kt *k, const shape *s, const float *values)
{
    const inl_format *f = inl_format_by_id(s->format);
    uint32_t count = s->rows * s->cols, blocks = inl_div_up(count, INL_NF4_BLOCK);
    expected e = {.quant_words = (uint32_t)inl_tile_quant_bytes(f, s->rows, s->cols) / 4,
                  .scale_words = 2 * blocks,
                  .skipped_quants = (uint32_t)inl_tile_quant_bytes(f, s->before, s->cols) / 4};
    inl_nf4 nf4;
    e.quants = kt_alloc(k, 4ull * e.quant_words);
    e.scales = kt_alloc(k, 4ull * e.scale_words);
    kt_must(k, inl_nf4_encode(&kt_suite_of(k)->env, values, count, &nf4));
    inl_tile_pack_nf4_quants(&nf4, 0, s->rows, s->cols, e.quants);
    inl_nf4_free(&kt_suite_of(k)->env, &nf4);
    for (uint32_t b = 0; b < blocks; b++) {
        float absmax = 0.0f;
        for (uint32_t i = 64 * b; i < 64 * (b + 1) && i < count; i++)
            absmax = fmaxf(absmax, fabsf(values[i]));
        e.scales[2 * b] = inl_f32_bits(absmax);
        e.scales[2 * b + 1] = inl_f32_bits(absmax > 0.0f ? 1.0f / absmax : 0.0f);
    }
    return e;
}

static void check(kt_suite *suite, const shape *s)
{
    const inl_format *f = inl_format_by_id(s->format), *stored = inl_format_by_id(s->stored);
    kt *k = kt_begin(suite, "encode %s from %s, %u x %u, %u before", f->name, stored->name, s->rows,
                     s->cols, s->before);
    if (!k)
        return;
    uint32_t count = s->rows * s->cols, bytes = count * stored->block_bytes;
    float *values = kt_alloc(k, 4ull * count);
    uint32_t *data = kt_alloc(k, bytes);
    fill(k, s, (uint8_t *)data, values);
    expected e = inl_is_nf4(f) ? expect_nf4(k, s, values) : expect_blocks(k, s, values);
    kt_words source = kt_make_words(k, "source", (bytes + 3) / 4, data);
    // What lies before is the plane's and stays.
    uint32_t *quants = kt_alloc(k, 4ull * (e.skipped_quants + e.quant_words));
    uint32_t *scales = kt_alloc(k, 4ull * (e.skipped_scales + e.scale_words));
    memcpy(quants + e.skipped_quants, e.quants, 4ull * e.quant_words);
    memcpy(scales + e.skipped_scales, e.scales, 4ull * e.scale_words);
    kt_words q = kt_make_words(k, "quants", e.skipped_quants + e.quant_words, NULL);
    kt_words c = kt_make_words(k, "scales", e.skipped_scales + e.scale_words, NULL);
    memcpy(quants, kt_words_before(k, &q), 4ull * e.skipped_quants);
    memcpy(scales, kt_words_before(k, &c), 4ull * e.skipped_scales);
    inl_op_encode(kt_plan(k), &(inl_encode_args){.format = f,
                                                 .stored = stored,
                                                 .rows = s->rows,
                                                 .cols = s->cols,
                                                 .source = source.range,
                                                 .quants = q.range,
                                                 .quants_at = 4ull * e.skipped_quants,
                                                 .scales = c.range,
                                                 .scales_at = 4ull * e.skipped_scales});
    if (kt_run(k)) {
        kt_expect_words(k, &c, scales);
        kt_expect_words(k, &q, quants);
    }
    kt_end(k);
}

// ---- whole matrices, in pieces, parts and experts

typedef struct whole {
    inl_format_id format, stored;
    uint32_t rows, cols, experts, parts;
} whole;

// Planes of the parts one behind the other in a buffer, and what the CPU makes of each.
static void lay_out(const whole *m, inl_weight *w, inl_weight_part *parts, uint64_t *bytes)
{
    const inl_format *f = w->format;
    uint32_t tiles = inl_div_up(m->rows, 8);
    *bytes = 0;
    for (uint32_t i = 0; i < m->parts; i++) {
        inl_weight_part *p = &parts[i];
        *p = (inl_weight_part){.rows = m->rows};
        if (m->experts > 0) {
            p->expert0 = m->experts * i / m->parts;
            p->experts = m->experts * (i + 1) / m->parts - p->expert0;
        } else {
            p->row0 = tiles * i / m->parts * 8;
            p->rows = INL_MIN(m->rows, tiles * (i + 1) / m->parts * 8) - p->row0;
        }
        uint32_t count = INL_MAX(p->experts, 1);
        uint32_t scaled = inl_is_nf4(f) ? m->rows : p->rows;
        p->quants = (inl_range){.offset = *bytes,
                                .size = count * inl_tile_quant_bytes(f, p->rows, m->cols)};
        *bytes = inl_round_up(*bytes + p->quants.size, 256);
        p->scales = (inl_range){.offset = *bytes,
                                .size = count * inl_tile_scale_bytes(f, scaled, m->cols)};
        *bytes = inl_round_up(*bytes + p->scales.size, 256);
    }
    w->parts = parts;
    w->part_count = m->parts;
}

static void pack_expected(kt *k, const whole *m, const inl_weight_part *p,
                          uint32_t expert, const float *values, uint8_t *planes)
{
    const inl_format *f = inl_format_by_id(m->format);
    uint64_t count = (uint64_t)m->rows * m->cols, at = expert - p->expert0;
    uint32_t scaled = inl_is_nf4(f) ? m->rows : p->rows;
    uint32_t *quants = (uint32_t *)(void *)(planes + p->quants.offset +
                                            at * inl_tile_quant_bytes(f, p->rows, m->cols));
    uint32_t *scales = (uint32_t *)(void *)(planes + p->scales.offset +
                                            at * inl_tile_scale_bytes(f, scaled, m->cols));
    if (inl_is_nf4(f)) {
        inl_nf4 nf4;
        kt_must(k, inl_nf4_encode(&kt_suite_of(k)->env, values, count, &nf4));
        inl_tile_pack_nf4_quants(&nf4, p->row0, p->rows, m->cols, quants);
        inl_tile_pack_nf4_scales(&nf4, m->rows, m->cols, scales);
        inl_nf4_free(&kt_suite_of(k)->env, &nf4);
        return;
    }
    uint8_t *data = kt_alloc(k, (uint64_t)p->rows * m->cols / f->block_elements * f->block_bytes);
    f->encode(values + (uint64_t)p->row0 * m->cols, data, (uint64_t)p->rows * m->cols);
    inl_tile_pack(f, data, p->rows, m->cols, quants, scales);
}

static void check_whole(kt_suite *suite, const whole *m)
{
    const inl_format *f = inl_format_by_id(m->format), *stored = inl_format_by_id(m->stored);
    kt *k = kt_begin(suite, "encode %s from %s, %u of %u x %u in %u parts", f->name, stored->name,
                     m->experts, m->rows, m->cols, m->parts);
    if (!k)
        return;
    const inl_env *env = &suite->env;
    uint32_t experts = INL_MAX(m->experts, 1);
    uint64_t count = (uint64_t)m->rows * m->cols, bytes;
    float *values = kt_alloc(k, 4 * count * experts);
    uint8_t *data = kt_alloc(k, count * experts / stored->block_elements * stored->block_bytes);
    for (uint64_t i = 0; i < count * experts; i++)
        values[i] = kt_f32(k, 0.25f + (float)(i / 32 % 7));
    stored->encode(values, data, count * experts);
    stored->decode(data, values, count * experts);
    inl_gguf_tensor tensor = {.data = data};
    inl_source source = {.tensor = &tensor, .experts = m->experts, .stored = stored, .format = f,
                         .rows = m->rows, .cols = m->cols};
    inl_weight w = {.format = f, .rows = m->rows, .cols = m->cols, .experts = m->experts};
    inl_weight_part parts[KT_MAX_PARTS];
    lay_out(m, &w, parts, &bytes);
    uint8_t *wanted = kt_alloc(k, bytes), *got = kt_alloc(k, bytes);
    inl_buffer *planes = kt_buffer(k, bytes);
    inl_encoder encoder;
    for (uint32_t i = 0; i < m->parts; i++) {
        parts[i].quants.buffer = parts[i].scales.buffer = planes;
        uint32_t first = parts[i].expert0, end = first + INL_MAX(parts[i].experts, 1);
        for (uint32_t e = first; e < end; e++)
            pack_expected(k, m, &parts[i], e, values + e * count, wanted);
    }
    uint64_t range = inl_gpu_get_caps(suite->gpu)->max_buffer_range_bytes;
    kt_must(k, inl_encoder_open(env, suite->gpu, inl_encoder_bytes(&source, &w, range), &encoder));
    inlay_result put = inl_encoder_put(&encoder, &source, &w);
    inl_encoder_close(&encoder);
    kt_must(k, put);
    kt_note_kernel(k, INL_KERNEL_ENCODE);
    if (inl_is_nf4(f))
        kt_note_kernel(k, INL_KERNEL_NF4_SCALES);
    kt_must(k, inl_gpu_download(suite->gpu, planes, 0, got, bytes));
    for (uint64_t i = 0; i < bytes; i++)
        if (got[i] != wanted[i]) {
            kt_fail(k, "byte %llu is 0x%02x, not 0x%02x", (unsigned long long)i, got[i], wanted[i]);
            break;
        }
    kt_end(k);
}

static void check_wholes(kt_suite *suite)
{
    static const whole all[] = {
        {INL_FORMAT_Q8_0, INL_FORMAT_F32, 4133, 544, 0, 1}, // two pieces
        {INL_FORMAT_Q4_0, INL_FORMAT_BF16, 8200, 544, 0, 3},
        {INL_FORMAT_NF4, INL_FORMAT_F32, 4133, 544, 0, 3},
        {INL_FORMAT_NF4, INL_FORMAT_F32, 4133, 545, 0, 1}, // whose blocks begin anywhere
        {INL_FORMAT_Q8_0, INL_FORMAT_Q5_K, 33, 512, 0, 2},
        {INL_FORMAT_NF4, INL_FORMAT_Q8_0, 33, 96, 0, 2},
        {INL_FORMAT_Q4_0, INL_FORMAT_F16, 20, 96, 5, 2},
        {INL_FORMAT_NF4, INL_FORMAT_F16, 20, 100, 5, 2},
    };
    for (uint32_t i = 0; i < INL_COUNT(all); i++)
        check_whole(suite, &all[i]);
}

static void check_briefly(kt_suite *suite)
{
    static const whole nf4 = {INL_FORMAT_NF4, INL_FORMAT_F16, 20, 100, 5, 2};
    check(suite, &(shape){INL_FORMAT_Q8_0, INL_FORMAT_F32, 131, 96, 16});
    check(suite, &(shape){INL_FORMAT_Q4_0, INL_FORMAT_BF16, 64, 256, 0});
    check(suite, &(shape){INL_FORMAT_NF4, INL_FORMAT_F16, 64, 100, 0});
    check_whole(suite, &nf4);
}

void check_encode(kt_suite *suite)
{
    if (kt_brief(suite)) {
        check_briefly(suite);
        return;
    }
    check_wholes(suite);
    static const inl_format_id formats[] = {INL_FORMAT_Q8_0, INL_FORMAT_Q4_0, INL_FORMAT_NF4};
    static const inl_format_id stored[] = {INL_FORMAT_F32, INL_FORMAT_F16, INL_FORMAT_BF16};
    static const uint32_t rows[] = {1, 2, 7, 8, 9, 64, 131}, cols[] = {32, 96, 256};
    static const uint32_t odd_cols[] = {1, 5, 36, 63, 65, 100, 172};
    for (uint32_t f = 0; f < INL_COUNT(formats); f++)
        for (uint32_t t = 0; t < INL_COUNT(stored); t++) {
            for (uint32_t r = 0; r < INL_COUNT(rows); r++)
                for (uint32_t c = 0; c < INL_COUNT(cols); c++)
                    check(suite, &(shape){formats[f], stored[t], rows[r], cols[c], r % 2 * 16});
            for (uint32_t r = 0; r < INL_COUNT(rows) && formats[f] == INL_FORMAT_NF4; r++)
                for (uint32_t c = 0; c < INL_COUNT(odd_cols); c++)
                    check(suite, &(shape){formats[f], stored[t], rows[r], odd_cols[c], 0});
        }
}
