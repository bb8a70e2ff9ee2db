// SPDX-License-Identifier: MIT
// Weight formats on the CPU: half floats over their whole range, codecs against vectors of other
// implementations (quant_vectors.h), NF4 against its definition in float64.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "base/half.h"
#include "harness/failing_env.h"
#include "quant/format.h"
#include "quant/nf4.h"
#include "quant_vectors.h"

#include <float.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#define SEED 20241u

static uint32_t crc32_of(const void *data, size_t size)
{
    const uint8_t *bytes = data;
    uint32_t crc = ~0u;
    for (size_t i = 0; i < size; i++) {
        crc ^= bytes[i];
        for (int bit = 0; bit < 8; bit++)
            crc = crc >> 1 ^ (0xedb88320u & (0u - (crc & 1u)));
    }
    return ~crc;
}

static uint32_t next(uint32_t *state)
{
    *state = *state * 1664525u + 1013904223u;
    return *state;
}

// The same numbers as test_input of tools/gen/quant_vectors.py.
static float *test_input(uint32_t seed, size_t count)
{
    float *out = malloc(count * sizeof(*out));
    assert_non_null(out);
    for (size_t i = 0; i < count; i++) {
        float x = (float)((int32_t)(next(&seed) >> 8) - (1 << 23)) * (1.0f / 8388608.0f);
        float squared = x * fabsf(x);
        out[i] = squared * 0.0625f;
    }
    return out;
}

static double half_value(uint32_t h)
{
    int exponent = (int)(h >> 10 & 31);
    double mantissa = h & 1023;
    double magnitude = exponent ? ldexp(1024 + mantissa, exponent - 25) : ldexp(mantissa, -24);
    return h & 0x8000 ? -magnitude : magnitude;
}

static void test_half_all(void **state)
{
    (void)state;
    for (uint32_t h = 0; h < 65536; h++) {
        float f = inl_f16_to_f32((uint16_t)h);
        uint16_t back = inl_f32_to_f16(f);
        if ((h & 0x7c00) != 0x7c00) {
            assert_true((double)f == half_value(h) && !signbit(f) == !(h >> 15));
            assert_int_equal(back, h);
        } else if (h & 0x3ff) {
            assert_true(isnan(f));
            assert_int_equal(back, h | 0x200); // NaN stays NaN, made quiet
        } else {
            assert_true(isinf(f));
            assert_int_equal(back, h);
        }
    }
}

// Nearest multiple of the half's unit in the last place, ties to even, in double.
static double rounded_to_half(double x)
{
    int exponent;
    frexp(x, &exponent); // |x| in [2^(exponent - 1), 2^exponent)
    int ulp = (exponent - 1 < -14 ? -14 : exponent - 1) - 10;
    double rounded = ldexp(nearbyint(ldexp(x, -ulp)), ulp);
    return fabs(rounded) >= 65536 ? copysign(INFINITY, x) : rounded;
}

static void check_half_rounding(float f)
{
    assert_true((double)inl_f16_to_f32(inl_f32_to_f16(f)) == rounded_to_half(f));
}

static void test_half_rounding(void **state)
{
    (void)state;
    for (uint32_t h = 0; h < 0x7c00; h++) { // on, just below and just above each midpoint
        double above = h == 0x7bff ? 65536 : half_value(h + 1); // where infinity would be next
        float middle = (float)((half_value(h) + above) / 2);
        float around[] = {middle, nextafterf(middle, 0), nextafterf(middle, INFINITY)};
        for (int i = 0; i < 3; i++) {
            check_half_rounding(around[i]);
            check_half_rounding(-around[i]);
        }
    }
    print_message("seed %u\n", SEED);
    uint32_t seed = SEED;
    for (int i = 0; i < 1000000; i++) {
        float f = inl_f32_from_bits(next(&seed) & 0xfffffff7u);
        if (isfinite(f))
            check_half_rounding(f);
    }
}

static void test_bf16(void **state)
{
    (void)state;
    for (uint32_t h = 0; h < 65536; h++) {
        float f = inl_bf16_to_f32((uint16_t)h);
        bool nan = (h & 0x7f80) == 0x7f80 && (h & 0x7f) != 0;
        assert_int_equal(inl_f32_bits(f), h << 16);
        assert_int_equal(inl_f32_to_bf16(f), nan ? h | 64 : h);
    }
    assert_int_equal(inl_f32_to_bf16(inl_f32_from_bits(0x3f808000)), 0x3f80); // tie to even
    assert_int_equal(inl_f32_to_bf16(inl_f32_from_bits(0x3f818000)), 0x3f82);
    assert_int_equal(inl_f32_to_bf16(inl_f32_from_bits(0x3f808001)), 0x3f81);
    assert_int_equal(inl_f32_to_bf16(inl_f32_from_bits(0x7f7fffff)), 0x7f80); // up to infinity
    assert_int_equal(inl_f32_to_bf16(inl_f32_from_bits(0xff800001)), 0xffc0); // no NaN is lost
}

static void test_table(void **state)
{
    (void)state;
    for (int id = 0; id < INL_FORMAT_COUNT; id++) {
        const inl_format *format = inl_format_by_id((inl_format_id)id);
        assert_int_equal(format->id, id);
        assert_ptr_equal(inl_format_by_name(format->name), format);
        if (inl_is_nf4(format)) {
            assert_null(format->decode);
            continue;
        }
        uint32_t elements = 0, bytes = 0;
        assert_ptr_equal(inl_format_by_ggml(format->ggml_type), format);
        assert_string_equal(inl_ggml_type_info(format->ggml_type, &elements, &bytes), format->name);
        assert_int_equal(elements, format->block_elements);
        assert_int_equal(bytes, format->block_bytes);
    }
    assert_null(inl_format_by_name("q8"));
    assert_null(inl_format_by_name("q8_00"));
    assert_null(inl_format_by_name(""));
    assert_ptr_equal(inl_format_by_name("q4_k"), inl_format_by_ggml(12));
    assert_null(inl_format_by_ggml(16));
    assert_null(inl_format_by_ggml(INL_GGML_TYPE_NONE));
    assert_null(inl_format_by_id(INL_FORMAT_COUNT));
}

static void test_type_names(void **state)
{
    (void)state;
    uint32_t elements, bytes;
    assert_string_equal(inl_ggml_type_info(12, &elements, &bytes), "Q4_K");
    assert_int_equal(elements, 256);
    assert_int_equal(bytes, 144);
    assert_string_equal(inl_ggml_type_info(39, NULL, NULL), "MXFP4");
    uint32_t removed[] = {4, 5, 31, 32, 33, 36, 37, 38, 43, 1000, UINT32_MAX};
    for (size_t i = 0; i < INL_COUNT(removed); i++)
        assert_null(inl_ggml_type_info(removed[i], &elements, &bytes));
}

// Encodes the common input and compares all bytes, then all decoded values, by checksum.
static uint8_t *check_codec(inl_format_id id, uint32_t encoded_crc, uint32_t decoded_crc)
{
    const inl_format *format = inl_format_by_id(id);
    size_t bytes = (size_t)LEGACY_COUNT / format->block_elements * format->block_bytes;
    float *in = test_input(1, LEGACY_COUNT), *out = malloc(LEGACY_COUNT * sizeof(*out));
    uint8_t *blocks = malloc(bytes + 1);
    assert_true(out && blocks);
    blocks[bytes] = 0xa5;
    format->encode(in, blocks, LEGACY_COUNT);
    assert_int_equal(blocks[bytes], 0xa5);
    assert_int_equal(crc32_of(blocks, bytes), encoded_crc);
    assert_true(format->find_not_finite(blocks, LEGACY_COUNT) == UINT64_MAX);
    format->decode(blocks, out, LEGACY_COUNT);
    assert_int_equal(crc32_of(out, LEGACY_COUNT * sizeof(*out)), decoded_crc);
    free(in);
    free(out);
    return blocks;
}

static void test_q8_0(void **state)
{
    (void)state;
    uint8_t *blocks = check_codec(INL_FORMAT_Q8_0, Q8_0_ENCODED_CRC, Q8_0_DECODED_CRC);
    assert_memory_equal(blocks, q8_0_blocks, sizeof(q8_0_blocks));
    free(blocks);
}

static void test_q4_0(void **state)
{
    (void)state;
    uint8_t *blocks = check_codec(INL_FORMAT_Q4_0, Q4_0_ENCODED_CRC, Q4_0_DECODED_CRC);
    assert_memory_equal(blocks, q4_0_blocks, sizeof(q4_0_blocks));
    free(blocks);
}

static void test_float_codecs(void **state)
{
    (void)state;
    free(check_codec(INL_FORMAT_BF16, BF16_ENCODED_CRC, BF16_DECODED_CRC));
    const inl_format *f16 = inl_format_by_id(INL_FORMAT_F16);
    const inl_format *f32 = inl_format_by_id(INL_FORMAT_F32);
    float *in = test_input(1, LEGACY_COUNT), *out = malloc(LEGACY_COUNT * sizeof(*out));
    uint8_t *blocks = malloc(4 * LEGACY_COUNT + 1);
    assert_true(out && blocks);
    f16->encode(in, blocks + 1, LEGACY_COUNT); // unaligned, as it may lie in a file
    assert_int_equal(crc32_of(blocks + 1, 2 * LEGACY_COUNT), F16_ENCODED_CRC);
    f16->decode(blocks + 1, out, LEGACY_COUNT);
    for (int i = 0; i < LEGACY_COUNT; i++)
        assert_true(fabsf(out[i] - in[i]) <= fabsf(in[i]) / 2048 + 0x1p-25f);
    f32->encode(in, blocks + 1, LEGACY_COUNT);
    f32->decode(blocks + 1, out, LEGACY_COUNT);
    assert_memory_equal(in, out, 4 * LEGACY_COUNT);
    free(in);
    free(out);
    free(blocks);
}

// The bytes of random_blocks of tools/gen/quant_vectors.py, decoded as the gguf package does.
static void test_blocks(void **state)
{
    (void)state;
    for (uint32_t i = 0; i < INL_COUNT(block_vectors); i++) {
        const inl_format *f = inl_format_by_name(block_vectors[i].name);
        size_t size = (size_t)BLOCKS * f->block_bytes;
        uint8_t *data = malloc(size + 1), *blocks = data + 1; // unaligned, as it may lie in a file
        float *out = malloc(sizeof(float) * BLOCKS * f->block_elements);
        uint32_t seed = 100 + i;
        for (size_t k = 0; k < size; k++)
            blocks[k] = (uint8_t)(next(&seed) >> 24);
        for (uint32_t b = 0; b < BLOCKS; b++) {
            uint8_t *block = blocks + (size_t)b * f->block_bytes;
            if (block_vectors[i].scale_at >= 0)
                block[block_vectors[i].scale_at + 1] &= 0xbf;
            else
                block[0] = INL_MIN(block[0], 240);
            if (block_vectors[i].offset_at >= 0)
                block[block_vectors[i].offset_at + 1] &= 0xbf;
        }
        uint64_t count = (uint64_t)BLOCKS * f->block_elements;
        f->decode(blocks, out, count);
        if (crc32_of(out, 4 * count) != block_vectors[i].decoded_crc)
            fail_msg("%s: not the numbers of the gguf package", f->name);
        assert_true(f->find_not_finite(blocks, count) == UINT64_MAX);
        int at = block_vectors[i].offset_at; // the last block's exponent, all ones
        at = at >= 0 ? at : block_vectors[i].scale_at;
        uint8_t *last = blocks + (BLOCKS - 1) * (size_t)f->block_bytes;
        memset(last + INL_MAX(at, 0), 0xff, at >= 0 ? 2 : f->block_bytes);
        assert_true(f->find_not_finite(blocks, count) == BLOCKS - 1);
        free(data);
        free(out);
    }
}

// What no format is made for must not be undefined behaviour, and what it holds exactly stays.
static void test_encode_edges(void **state)
{
    (void)state;
    float in[INL_MAX_BLOCK], out[INL_MAX_BLOCK];
    uint8_t block[INL_MAX_BLOCK * 4];
    static const float odd[] = {NAN, INFINITY, -INFINITY, FLT_MAX, -FLT_MAX, FLT_MIN, 1e-42f, 0.0f};
    for (int id = 0; id < INL_FORMAT_NF4; id++) {
        const inl_format *f = inl_format_by_id((inl_format_id)id);
        for (uint32_t pattern = 0; pattern < 64; pattern++) {
            uint32_t seed = pattern;
            for (int j = 0; j < INL_MAX_BLOCK; j++)
                in[j] = next(&seed) >> 28 < pattern % 16 ? 0.01f : odd[(pattern + j) % 8];
            f->encode(in, block, INL_MAX_BLOCK);
            f->decode(block, out, INL_MAX_BLOCK);
        }
        memset(in, 0, sizeof(in));
        f->encode(in, block, INL_MAX_BLOCK);
        f->decode(block, out, INL_MAX_BLOCK);
        for (int j = 0; j < INL_MAX_BLOCK; j++)
            assert_true(out[j] == 0.0f);
        assert_true(f->find_not_finite(block, INL_MAX_BLOCK) == UINT64_MAX);
    }
}

// Encoded and decoded twice it is what it was after the first time, or near: an encoder's codes are
// those nearest to the values that the decoder makes of them.
static void test_encode_again(void **state)
{
    (void)state;
    enum { COUNT = 64 * INL_MAX_BLOCK };
    for (int id = 0; id < INL_FORMAT_NF4; id++) {
        const inl_format *f = inl_format_by_id((inl_format_id)id);
        float *in = test_input(5, COUNT), once[COUNT], twice[COUNT];
        uint8_t *blocks = malloc(4 * COUNT);
        f->encode(in, blocks, COUNT);
        f->decode(blocks, once, COUNT);
        f->encode(once, blocks, COUNT);
        f->decode(blocks, twice, COUNT);
        double first = 0.0, second = 0.0, size = 0.0;
        for (int i = 0; i < COUNT; i++) {
            first += pow((double)once[i] - (double)in[i], 2);
            second += pow((double)twice[i] - (double)once[i], 2);
            size += pow((double)in[i], 2);
        }
        double error = sqrt(first / size), bits = (double)f->block_bytes * 8 / f->block_elements;
        if (!(error < 1.6 * pow(2.0, 1.0 - bits)) && !(error < 2e-3))
            fail_msg("%s: error %g at %g bits", f->name, error, bits);
        if (!(second <= 0.25 * first))
            fail_msg("%s: %g comes on top of an error of %g", f->name, sqrt(second / size), error);
        free(in);
        free(blocks);
    }
}

static void test_legacy_edges(void **state)
{
    (void)state;
    const inl_format *q8 = inl_format_by_id(INL_FORMAT_Q8_0);
    const inl_format *q4 = inl_format_by_id(INL_FORMAT_Q4_0);
    float in[32] = {0}, out[32];
    uint8_t block[34];
    q4->encode(in, block, 32);
    assert_int_equal(block[0] | block[1] << 8, 0x8000); // 0 / -8, as ggml stores it
    for (int j = 0; j < 16; j++)
        assert_int_equal(block[2 + j], 0x88);
    q8->encode(in, block, 32);
    q8->decode(block, out, 32);
    for (int j = 0; j < 32; j++)
        assert_true(out[j] == 0.0f);
    // The first of two equal extremes decides the sign of the scale, and so which one clips.
    in[3] = 4.0f, in[20] = -4.0f;
    q4->encode(in, block, 32);
    q4->decode(block, out, 32);
    assert_true(out[3] == 4.0f && out[20] == -3.5f);
    // What is no number, or too small to invert, must not be undefined behaviour.
    in[0] = NAN, in[1] = INFINITY, in[2] = -INFINITY;
    q8->encode(in, block, 32);
    assert_true(q8->find_not_finite(block, 32) == 0);
    q4->encode(in, block, 32);
    assert_true(q4->find_not_finite(block, 32) == 0);
    for (int j = 0; j < 32; j++)
        in[j] = j % 2 ? 1e-44f : -1e-44f;
    q8->encode(in, block, 32);
    q4->encode(in, block, 32);
    assert_true(q4->find_not_finite(block, 32) == UINT64_MAX);
}

static void check_found(inl_format_id id, size_t at, uint16_t half, uint64_t want)
{
    const inl_format *format = inl_format_by_id(id);
    uint64_t count = 4 * format->block_elements;
    uint8_t data[4 * 34] = {0};
    memcpy(data + at, &half, 2);
    assert_true(format->find_not_finite(data, count) == want);
}

static void test_not_finite(void **state)
{
    (void)state;
    check_found(INL_FORMAT_F32, 4 * 2 + 2, 0x7f80, 2);
    check_found(INL_FORMAT_F32, 4 * 3 + 2, 0xffc1, 3);
    check_found(INL_FORMAT_F32, 4 * 3 + 2, 0x7f7f, UINT64_MAX);
    check_found(INL_FORMAT_F16, 2 * 1, 0xfc00, 1);
    check_found(INL_FORMAT_F16, 2 * 1, 0x7bff, UINT64_MAX);
    check_found(INL_FORMAT_BF16, 2 * 3, 0x7fc0, 3);
    check_found(INL_FORMAT_Q8_0, 34 * 2, 0x7e00, 2);
    check_found(INL_FORMAT_Q8_0, 34 * 2 + 2, 0x7e00, UINT64_MAX); // quants are no scale
    check_found(INL_FORMAT_Q4_0, 18 * 3, 0x7c00, 3);
}

static void test_dynamic_map(void **state)
{
    (void)state;
    float map[256];
    inl_nf4_dynamic_map(map);
    assert_true(map[127] == 0.0f && map[255] == 1.0f);
    for (int i = 0; i < 127; i++) {
        assert_int_equal(inl_f32_bits(map[128 + i]), dynamic_map_bits[i]);
        assert_true(map[126 - i] == -map[128 + i]);
    }
    for (int i = 1; i < 256; i++)
        assert_true(map[i - 1] < map[i]);
}

static void test_nf4_vectors(void **state)
{
    (void)state;
    inl_env env = inl_env_resolve(NULL);
    float *in = test_input(7, NF4_COUNT), *out = malloc(NF4_COUNT * sizeof(*out));
    inl_nf4 nf4;
    assert_int_equal(inl_nf4_encode(&env, in, NF4_COUNT, &nf4), INLAY_OK);
    assert_memory_equal(nf4.codes, nf4_first_codes, sizeof(nf4_first_codes));
    assert_memory_equal(nf4.absmax, nf4_first_indices, sizeof(nf4_first_indices));
    assert_int_equal(crc32_of(nf4.codes, NF4_COUNT), NF4_CODES_CRC);
    assert_int_equal(crc32_of(nf4.absmax, (NF4_COUNT + 63) / 64), NF4_INDICES_CRC);
    assert_true(fabs(nf4.nested_offset - NF4_OFFSET) < 1e-8);
    for (size_t i = 0; i < INL_COUNT(nf4_nested); i++)
        assert_true(fabs(nf4.nested_absmax[i] - nf4_nested[i]) < 1e-8);
    inl_nf4_decode(&nf4, out);
    for (size_t i = 0; i < INL_COUNT(nf4_first_decoded); i++)
        assert_true(fabs(out[i] - nf4_first_decoded[i]) < 1e-8);
    inl_nf4_free(&env, &nf4);
    assert_null(nf4.codes);
    free(in);
    free(out);
}

// No value moves further than half the widest gap between codes, times its block's absmax, plus
// what the second quantization does to that absmax.
static void test_nf4_error(void **state)
{
    (void)state;
    inl_env env = inl_env_resolve(NULL);
    print_message("seed %u\n", SEED);
    float *in = test_input(SEED, 10000), *out = malloc(10000 * sizeof(*out)), absmax[157];
    inl_nf4 nf4;
    assert_int_equal(inl_nf4_encode(&env, in, 10000, &nf4), INLAY_OK);
    inl_nf4_decode(&nf4, out);
    inl_nf4_block_absmax(&nf4, absmax);
    for (int b = 0; b < 157; b++) {
        int end = b * 64 + 64 < 10000 ? b * 64 + 64 : 10000;
        float exact = 0, slack = nf4.nested_absmax[0] * 0.0072f; // half the map's widest gap
        for (int i = b * 64; i < end; i++)
            exact = fmaxf(exact, fabsf(in[i]));
        assert_true(fabsf(absmax[b] - exact) <= slack);
        for (int i = b * 64; i < end; i++) {
            assert_true(out[i] == inl_nf4_codes[nf4.codes[i]] * absmax[b]);
            assert_true(fabsf(out[i] - in[i]) <= 0.152f * exact + slack);
        }
    }
    inl_nf4_free(&env, &nf4);
    free(in);
    free(out);
}

static void test_nf4_edges(void **state)
{
    (void)state;
    inl_env env = inl_env_resolve(NULL);
    float in[130] = {0}, out[130];
    inl_nf4 nf4;
    assert_int_equal(inl_nf4_encode(&env, in, 130, &nf4), INLAY_OK);
    inl_nf4_decode(&nf4, out);
    for (int i = 0; i < 130; i++)
        assert_true(out[i] == 0.0f);
    inl_nf4_free(&env, &nf4);
    in[0] = -2.0f; // one block: its absmax is the mean, and survives exactly
    assert_int_equal(inl_nf4_encode(&env, in, 1, &nf4), INLAY_OK);
    inl_nf4_decode(&nf4, out);
    assert_true(out[0] == -2.0f && nf4.codes[0] == 0);
    inl_nf4_free(&env, &nf4);
    in[0] = INFINITY, in[1] = NAN; // nonsense in, but defined
    assert_int_equal(inl_nf4_encode(&env, in, 130, &nf4), INLAY_OK);
    for (int i = 0; i < 130; i++)
        assert_true(nf4.codes[i] < 16);
    inl_nf4_free(&env, &nf4);
    assert_int_equal(inl_nf4_encode(&env, in, 0, &nf4), INLAY_OK);
    inl_nf4_decode(&nf4, out);
    inl_nf4_free(&env, &nf4);
}

static inlay_result encode_nf4(const inl_env *env, void *user)
{
    inl_nf4 nf4;
    inlay_result result = inl_nf4_encode(env, user, 100, &nf4);
    inl_nf4_free(env, &nf4);
    return result;
}

static void test_nf4_out_of_memory(void **state)
{
    (void)state;
    float in[100] = {1.0f};
    assert_int_equal(check_each_failure("nf4", encode_nf4, in, UINT32_MAX), 5);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_half_all),
        cmocka_unit_test(test_half_rounding),
        cmocka_unit_test(test_bf16),
        cmocka_unit_test(test_table),
        cmocka_unit_test(test_type_names),
        cmocka_unit_test(test_q8_0),
        cmocka_unit_test(test_q4_0),
        cmocka_unit_test(test_float_codecs),
        cmocka_unit_test(test_blocks),
        cmocka_unit_test(test_encode_edges),
        cmocka_unit_test(test_encode_again),
        cmocka_unit_test(test_legacy_edges),
        cmocka_unit_test(test_not_finite),
        cmocka_unit_test(test_dynamic_map),
        cmocka_unit_test(test_nf4_vectors),
        cmocka_unit_test(test_nf4_error),
        cmocka_unit_test(test_nf4_edges),
        cmocka_unit_test(test_nf4_out_of_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
