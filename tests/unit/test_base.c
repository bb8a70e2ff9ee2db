// SPDX-License-Identifier: MIT
// The base layer: half floats against a double reference, files that appear whole or not at all,
// memory whose sizes overflow, random numbers, what reaches the log.
#define _XOPEN_SOURCE 700
#include <math.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/mount.h>
#include <sys/resource.h>

#include <cmocka.h>

#include "base/file.h"
#include "base/half.h"
#include "base/rng.h"
#include "harness/failing_env.h"
#include "harness/temp_folder.h"

#define SEED 20261124u
#define RANDOM_FLOATS 4000000u

// ---- half floats

// What makes a 16-bit float: its value and the nearest one to a double, without bit tricks.
typedef struct half_kind {
    const char *name;
    int mantissa_bits, min_exponent, max_exponent; // of normal numbers: 2^e * 1.m
    float (*decode)(uint16_t);
    uint16_t (*encode)(float);
} half_kind;

static float decode_f16(uint16_t h)
{
    return inl_f16_to_f32(h);
}

static uint16_t encode_f16(float f)
{
    return inl_f32_to_f16(f);
}

static float decode_bf16(uint16_t h)
{
    return inl_bf16_to_f32(h);
}

static uint16_t encode_bf16(float f)
{
    return inl_f32_to_bf16(f);
}

static const half_kind half_kinds[] = {{"f16", 10, -14, 15, decode_f16, encode_f16},
                                       {"bf16", 7, -126, 127, decode_bf16, encode_bf16}};

static bool is_same(double x, double y)
{
    return isnan(x) ? isnan(y) : x == y && !signbit(x) == !signbit(y);
}

static double half_value(const half_kind *k, uint16_t h)
{
    int mantissa = h & ((1 << k->mantissa_bits) - 1);
    int exponent = (h & 0x7fff) >> k->mantissa_bits;
    double sign = h & 0x8000 ? -1.0 : 1.0;
    if (exponent > k->max_exponent - k->min_exponent + 1)
        return mantissa ? (double)NAN : sign * (double)INFINITY;
    if (exponent == 0)
        return sign * ldexp(mantissa, k->min_exponent - k->mantissa_bits);
    return sign * ldexp(mantissa + (1 << k->mantissa_bits),
                        exponent - 1 + k->min_exponent - k->mantissa_bits);
}

// rint is round half to even, and all before and after it is exact.
static double half_nearest(const half_kind *k, double value)
{
    int exponent;
    if (value == 0.0 || !isfinite(value))
        return value;
    frexp(value, &exponent);
    double unit = ldexp(1.0, INL_MAX(exponent - 1, k->min_exponent) - k->mantissa_bits);
    double rounded = rint(value / unit) * unit;
    return fabs(rounded) < ldexp(1.0, k->max_exponent + 1) ? rounded : copysign(INFINITY, value);
}

static void check_all_halves(const half_kind *k)
{
    for (uint32_t h = 0; h < 65536; h++) {
        double want = half_value(k, (uint16_t)h);
        float got = k->decode((uint16_t)h);
        uint16_t back = k->encode(got);
        bool kept =
            isnan(want) ? isnan(k->decode(back)) && (back & 0x8000) == (h & 0x8000) : back == h;
        if (!is_same(want, (double)got) || !kept)
            fail_msg("%s %04x is %g, got %g and back %04x", k->name, h, want, (double)got, back);
    }
}

static void check_rounding(const half_kind *k, float value)
{
    double want = half_nearest(k, (double)value), got = (double)k->decode(k->encode(value));
    if (!is_same(want, got))
        fail_msg("%s of %a: wanted %a, got %a", k->name, (double)value, want, got);
}

// Halfway between two neighbours, and the floats on either side of it.
static void check_halfway(const half_kind *k)
{
    uint16_t largest =
        k->encode((float)ldexp(2.0 - ldexp(1.0, -k->mantissa_bits), k->max_exponent));
    for (uint32_t h = 0; h <= largest; h++) {
        double next =
            h == largest ? ldexp(1.0, k->max_exponent + 1) : half_value(k, (uint16_t)(h + 1));
        float middle = (float)((half_value(k, (uint16_t)h) + next) / 2.0);
        check_rounding(k, middle);
        check_rounding(k, -middle);
        check_rounding(k, nextafterf(middle, 0.0f));
        check_rounding(k, nextafterf(middle, INFINITY));
    }
}

static void test_halves(void **state)
{
    (void)state;
    print_message("seed %u\n", SEED);
    for (size_t i = 0; i < INL_COUNT(half_kinds); i++) {
        check_all_halves(&half_kinds[i]);
        check_halfway(&half_kinds[i]);
        for (uint32_t n = 0; n < RANDOM_FLOATS; n++)
            check_rounding(&half_kinds[i], inl_f32_from_bits(inl_rng_u32(SEED, (uint32_t)i, n)));
    }
    assert_int_equal(inl_f32_to_f16(65519.996f), 0x7bff); // the last that does not become infinite
    assert_int_equal(inl_f32_to_f16(65520.0f), 0x7c00);
    assert_int_equal(inl_f32_to_f16(0x1p-25f), 0); // half of the least: to even
    assert_int_equal(inl_f32_to_f16(0x1.000002p-25f), 1);
    assert_int_equal(inl_f32_to_bf16(0x1.fffffep127f), 0x7f80);
    assert_int_equal(inl_f32_to_bf16(inl_f32_from_bits(0x7f800001u)), 0x7fc0); // not to infinity
}

// ---- writing files

static void check_content(const char *path, const void *want, uint64_t size)
{
    inl_env env = inl_env_resolve(NULL);
    inl_map map;
    assert_int_equal(inl_map_open(&env, path, &map), INLAY_OK);
    assert_int_equal(map.size, size);
    if (size > 0)
        assert_memory_equal(map.data, want, size);
    inl_map_close(&map);
    assert_null(map.data);
}

static void test_writer(void **state)
{
    temp_folder *f = *state;
    failing_env e;
    inl_env env = failing_env_start(&e, 0, false);
    const char *path = temp_path(f, "file");
    inl_writer w;
    assert_int_equal(inl_file_write(&env, path, "old", 3), INLAY_OK);
    assert_int_equal(inl_writer_open(&env, path, &w), INLAY_OK);
    inl_writer_put(&w, "new", 3);
    inl_writer_put(&w, NULL, 0);
    inl_writer_pad(&w, 8, '.');
    inl_writer_pad(&w, 8, '.');
    assert_int_equal(w.written, 8);
    check_content(path, "old", 3);
    assert_int_equal(inl_writer_flush(&w), INLAY_OK);
    check_content(path, "old", 3);
    assert_int_equal(inl_writer_commit(&w), INLAY_OK);
    check_content(path, "new.....", 8);
    assert_int_equal(inl_writer_open(&env, path, &w), INLAY_OK);
    inl_writer_put(&w, "never", 5);
    inl_writer_abandon(&w);
    check_content(path, "new.....", 8);
    assert_int_equal(inl_file_write(&env, path, "", 0), INLAY_OK);
    check_content(path, "", 0);
    assert_int_equal(temp_folder_entries(f->path), 1);
    assert_true(e.live == 0 && e.errors == 0);
}

// Every function may be called after the failure, and the commit tells of it.
static void check_no_writer(const char *path, const char *what)
{
    failing_env e;
    inl_env env = failing_env_start(&e, 0, false);
    inl_writer w;
    assert_int_equal(inl_writer_open(&env, path, &w), INLAY_ERROR_IO);
    inl_writer_put(&w, "x", 1);
    inl_writer_pad(&w, 8, 0);
    assert_int_equal(inl_writer_flush(&w), INLAY_ERROR_IO);
    assert_int_equal(inl_writer_commit(&w), INLAY_ERROR_IO);
    inl_writer_abandon(&w);
    assert_true(e.live == 0 && e.errors == 1);
    if (!strstr(e.text, path) || !strstr(e.text, what))
        fail_msg("\"%s\" lacks \"%s\"", e.text, what);
}

static void test_writer_refuses(void **state)
{
    temp_folder *f = *state;
    struct stat st;
    check_no_writer("/no/such/folder/file", "No such file or directory");
    check_no_writer("/dev/full", "no file");
    assert_true(stat("/dev/full", &st) == 0 && S_ISCHR(st.st_mode));
    check_no_writer(f->path, "no file");
    assert_int_equal(mkfifo(temp_path(f, "pipe"), 0600), 0);
    check_no_writer(f->file, "no file");
    assert_int_equal(temp_folder_entries(f->path), 1);
}

// Writes `size` bytes over "old", in pieces of 1000, where there is no room for them.
static void check_no_room(temp_folder *f, const char *name, size_t size, const char *what)
{
    failing_env e;
    inl_env env = failing_env_start(&e, 0, false);
    const char *path = temp_path(f, name);
    static const uint8_t piece[1000];
    inl_writer w;
    assert_int_equal(inl_file_write(&env, path, "old", 3), INLAY_OK);
    uint32_t entries = temp_folder_entries(f->path);
    assert_int_equal(inl_writer_open(&env, path, &w), INLAY_OK);
    for (size_t at = 0; at < size; at += sizeof(piece))
        inl_writer_put(&w, piece, INL_MIN(size - at, sizeof(piece)));
    assert_int_equal(inl_writer_commit(&w), INLAY_ERROR_IO);
    assert_int_equal(e.errors, 1);
    assert_int_equal(e.live, 0);
    if (!strstr(e.text, path) || !strstr(e.text, what))
        fail_msg("\"%s\" lacks \"%s\"", e.text, what);
    check_content(path, "old", 3);
    assert_int_equal(temp_folder_entries(f->path), entries);
}

static void test_file_too_large(void **state)
{
    temp_folder *f = *state;
    struct rlimit before, limit;
    assert_int_equal(getrlimit(RLIMIT_FSIZE, &before), 0);
    void (*handler)(int) = signal(SIGXFSZ, SIG_IGN);
    limit = before;
    limit.rlim_cur = 2000;
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &limit), 0);
    static const size_t sizes[] = {2001, 4000, 100000}; // seen at the flush, then while writing
    for (size_t i = 0; i < INL_COUNT(sizes); i++)
        check_no_room(f, "large", sizes[i], "File too large");
    inl_env env = inl_env_resolve(NULL);
    static const uint8_t exact[2000];
    assert_int_equal(inl_file_write(&env, f->file, exact, sizeof(exact)), INLAY_OK);
    setrlimit(RLIMIT_FSIZE, &before);
    signal(SIGXFSZ, handler);
}

static void test_full_disk(void **state)
{
    temp_folder *f = *state;
    if (mount("tmpfs", f->path, "tmpfs", 0, "size=64k") != 0) {
        print_message("skipped: a full disk: cannot mount a small one\n");
        skip();
    }
    check_no_room(f, "small", 70000, "No space left");
    check_no_room(f, "large", 1000000, "No space left");
    inl_env env = inl_env_resolve(NULL);
    assert_int_equal(inl_file_write(&env, temp_path(f, "small"), "fits", 4), INLAY_OK);
}

// Also after a failure: nothing stays mounted.
static int tear_down_disk(void **state)
{
    umount(((temp_folder *)*state)->path); // which is no mount where the test was skipped
    return temp_folder_tear_down(state);
}

// ---- reading files, folders

static void check_no_map(const char *path, inlay_result want, const char *what)
{
    failing_env e;
    inl_env env = failing_env_start(&e, 0, false);
    inl_map map = {(const uint8_t *)"", 1};
    assert_int_equal(inl_map_open(&env, path, &map), want);
    assert_true(map.data == NULL && map.size == 0 && e.errors == 1);
    assert_true(strstr(e.text, path) && strstr(e.text, what));
    inl_map_close(&map);
}

static void test_map(void **state)
{
    temp_folder *f = *state;
    check_no_map("/no/such/file", INLAY_ERROR_NOT_FOUND, "No such file");
    check_no_map(f->path, INLAY_ERROR_IO, "not a regular file");
    check_no_map("/dev/zero", INLAY_ERROR_IO, "not a regular file");
    assert_int_equal(mkfifo(temp_path(f, "pipe"), 0600), 0);
    alarm(20); // a pipe that nobody writes must not keep us waiting
    check_no_map(f->file, INLAY_ERROR_IO, "not a regular file");
    alarm(0);
}

static void test_folders(void **state)
{
    temp_folder *f = *state;
    failing_env e;
    inl_env env = failing_env_start(&e, 0, false);
    char *deep = inl_path_join(&env, f->path, "a/b//c/");
    assert_int_equal(inl_make_folder(&env, deep), INLAY_OK);
    assert_int_equal(inl_make_folder(&env, deep), INLAY_OK);
    assert_true(inl_is_folder(deep) && inl_exists(deep));
    inl_free(&env, deep);
    assert_int_equal(inl_make_folder(&env, "/"), INLAY_OK);
    assert_int_equal(e.errors, 0);
    const char *file = temp_path(f, "file");
    assert_int_equal(inl_file_write(&env, file, "x", 1), INLAY_OK);
    assert_true(inl_exists(file) && !inl_is_folder(file));
    assert_int_equal(inl_make_folder(&env, file), INLAY_ERROR_IO);
    assert_true(strstr(e.text, file) && strstr(e.text, "File exists"));
    assert_int_equal(inl_make_folder(&env, temp_path(f, "file/below")), INLAY_ERROR_IO);
    assert_non_null(strstr(e.text, "Not a directory"));
    assert_int_equal(inl_make_folder(&env, ""), INLAY_ERROR_IO);
    assert_true(e.errors == 3 && e.live == 0);
    assert_false(inl_exists("") || inl_is_folder("/no/such/folder"));
}

// ---- memory

static void test_overflow(void **state)
{
    (void)state;
    uint64_t n = 7;
    assert_true(inl_mul_u64(0, UINT64_MAX, &n) && n == 0);
    assert_true(inl_mul_u64(UINT64_MAX, 1, &n) && n == UINT64_MAX);
    assert_true(inl_mul_u64(1ull << 32, (1ull << 32) - 1, &n) && n == 0xffffffff00000000u);
    assert_false(inl_mul_u64(1ull << 32, 1ull << 32, &n) || inl_mul_u64(UINT64_MAX, 2, &n));
    assert_true(inl_add_u64(UINT64_MAX - 1, 1, &n) && n == UINT64_MAX);
    assert_false(inl_add_u64(UINT64_MAX, 1, &n) || inl_add_u64(1ull << 63, 1ull << 63, &n));
    assert_int_equal(n, UINT64_MAX);
    assert_true(inl_round_up(0, 8) == 0 && inl_round_up(1, 8) == 8 && inl_round_up(8, 8) == 8);
    assert_true(inl_div_up(0, 3) == 0 && inl_div_up(3, 3) == 1 && inl_div_up(4, 3) == 2);
}

static void test_alloc(void **state)
{
    (void)state;
    failing_env e;
    inl_env env = failing_env_start(&e, 0, false);
    static const size_t sizes[][2] = {{SIZE_MAX, 2},
                                      {2, SIZE_MAX},
                                      {SIZE_MAX, 1},
                                      {SIZE_MAX / 8 + 1, 8},
                                      {1ull << 32, 1ull << 32}};
    for (size_t i = 0; i < INL_COUNT(sizes); i++) {
        assert_null(inl_alloc(&env, sizes[i][0], sizes[i][1]));
        assert_non_null(strstr(e.text, "overflows"));
    }
    assert_true(e.errors == INL_COUNT(sizes) && e.calls == 0);
    uint8_t *block = inl_alloc(&env, 100, 7), *none = inl_alloc(&env, 0, 8);
    assert_true(block && none);
    for (size_t i = 0; i < 700; i++)
        assert_int_equal(block[i], 0);
    memset(block, 5, 700);
    block = inl_realloc(&env, block, 2, 700);
    assert_true(block && block[0] == 5 && block[699] == 5);
    assert_null(inl_realloc(&env, block, SIZE_MAX, 3)); // and the block is still there
    assert_int_equal(block[699], 5);
    inl_free(&env, block);
    inl_free(&env, none);
    inl_free(&env, NULL);
    assert_int_equal(e.live, 0);
}

static void test_grow(void **state)
{
    (void)state;
    failing_env e;
    inl_env env = failing_env_start(&e, 0, false);
    void *array = NULL;
    size_t cap = 0;
    for (uint32_t i = 0; i < 1000; i++) {
        assert_int_equal(inl_grow(&env, &array, &cap, i + 1, sizeof(i)), INLAY_OK);
        ((uint32_t *)array)[i] = i;
    }
    assert_int_equal(cap, 1024);
    assert_int_equal(e.calls, 7); // it doubles
    assert_int_equal(inl_grow(&env, &array, &cap, 5000, 4), INLAY_OK);
    assert_int_equal(cap, 5000);
    void *before = array;
    assert_int_equal(inl_grow(&env, &array, &cap, SIZE_MAX / 2, 4), INLAY_ERROR_OUT_OF_MEMORY);
    e.fail_at = 1;
    assert_int_equal(inl_grow(&env, &array, &cap, 5001, 4), INLAY_ERROR_OUT_OF_MEMORY);
    assert_int_equal(e.errors, 2);
    assert_true(array == before && cap == 5000);
    for (uint32_t i = 0; i < 1000; i++)
        assert_int_equal(((uint32_t *)array)[i], i);
    inl_free(&env, array);
    assert_int_equal(e.live, 0);
}

static inlay_result use_files(const inl_env *env, void *user)
{
    temp_folder *f = user;
    INL_TRY(inl_make_folder(env, f->path));
    char *path = inl_path_join(env, f->path, "memory");
    if (!path)
        return INLAY_ERROR_OUT_OF_MEMORY;
    inlay_result result = inl_file_write(env, path, "x", 1);
    inl_free(env, path);
    return result;
}

static void test_out_of_memory(void **state)
{
    temp_folder *f = *state;
    assert_int_equal(check_each_failure("a file", use_files, f, 100), 4);
    assert_int_equal(temp_folder_entries(f->path), 1);
}

static void test_text(void **state)
{
    (void)state;
    failing_env e;
    inl_env env = failing_env_start(&e, 0, false);
    char *copy = inl_strndup(&env, "abcdef", 3), *empty = inl_strdup(&env, "");
    char *wide = inl_sprintf(&env, "%05000d|%s", 7, "end");
    assert_string_equal(copy, "abc");
    assert_string_equal(empty, "");
    assert_int_equal(strlen(wide), 5004);
    assert_string_equal(wide + 4999, "7|end");
    inl_free(&env, copy);
    inl_free(&env, empty);
    inl_free(&env, wide);
    assert_int_equal(e.live, 0);
}

// ---- the log

typedef struct lines {
    uint32_t count;
    char last[2048];
} lines;

static void keep_line(void *user, inlay_log_level level, const char *message)
{
    lines *l = user;
    (void)level;
    l->count++;
    snprintf(l->last, sizeof(l->last), "%s", message);
}

static void test_log(void **state)
{
    (void)state;
    lines l = {0};
    inl_env env = inl_env_resolve(&(inlay_env){.log = keep_line, .log_user = &l});
    inl_logf(&env, INLAY_LOG_DEBUG, "not by default");
    assert_int_equal(l.count, 0);
    inl_logf(&env, INLAY_LOG_INFO, "%s", "by default");
    assert_string_equal(l.last, "by default");
    env.log_level = INLAY_LOG_ERROR;
    inl_logf(&env, INLAY_LOG_WARN, "no");
    assert_int_equal(inl_fail(&env, INLAY_ERROR_MISMATCH, "%d", 5), INLAY_ERROR_MISMATCH);
    assert_true(l.count == 2 && strcmp(l.last, "5") == 0);
    inl_fail(&env, INLAY_ERROR_IO, "a\033[2Jb\nc\td\x7f, \xe2\x96\x81");
    assert_string_equal(l.last, "a?[2Jb?c?d?, \xe2\x96\x81");
    inl_fail(&env, INLAY_ERROR_IO, "%3000d", 1);
    assert_int_equal(strlen(l.last), 1023);
    env.log = NULL;
    assert_int_equal(inl_fail(&env, INLAY_ERROR_IO, "to nobody"), INLAY_ERROR_IO);
    assert_int_equal(l.count, 4);
}

// ---- random numbers

static void test_rng(void **state)
{
    (void)state;
    // From the definition, computed with Python's integers.
    static const uint32_t known[][4] = {{0u, 0u, 0u, 0x944fb554u},
                                        {1u, 0u, 0u, 0xb98a617eu},
                                        {0u, 1u, 0u, 0xc67c684du},
                                        {0u, 0u, 1u, 0x1ece84a6u},
                                        {4294967295u, 4294967295u, 4294967295u, 0xc50becedu},
                                        {20261124u, 7u, 123456789u, 0xa2b45951u}};
    for (size_t i = 0; i < INL_COUNT(known); i++)
        assert_int_equal(inl_rng_u32(known[i][0], known[i][1], known[i][2]), known[i][3]);
    double sum = 0.0, squares = 0.0;
    uint32_t buckets[64] = {0}, count = 64000;
    for (uint32_t i = 0; i < count; i++) {
        float f = inl_rng_f32(SEED, 3, i);
        assert_true(f >= 0.0f && f < 1.0f && f * 0x1p24f == floorf(f * 0x1p24f));
        sum += (double)f;
        squares += (double)f * (double)f;
        buckets[(int)(f * 64.0f)]++;
    }
    double chi = 0.0;
    for (int i = 0; i < 64; i++)
        chi += (buckets[i] - 1000.0) * (buckets[i] - 1000.0) / 1000.0;
    print_message("seed %u: mean %.5f, mean square %.5f, chi squared %.1f of 63\n", SEED,
                  sum / count, squares / count, chi);
    assert_true(fabs(sum / count - 0.5) < 0.005 && fabs(squares / count - 1.0 / 3.0) < 0.005);
    assert_true(chi > 31.0 && chi < 114.0); // all but one in 10,000 on either side
}

// Each of the three words changes about half of the bits.
static void test_rng_inputs(void **state)
{
    (void)state;
    for (uint32_t bit = 0; bit < 32; bit++) {
        uint32_t changed[3] = {0};
        for (uint32_t i = 0; i < 1000; i++) {
            uint32_t x = inl_rng_u32(SEED, i, 7), flip = 1u << bit;
            changed[0] += (uint32_t)__builtin_popcount(x ^ inl_rng_u32(SEED ^ flip, i, 7));
            changed[1] += (uint32_t)__builtin_popcount(x ^ inl_rng_u32(SEED, i ^ flip, 7));
            changed[2] += (uint32_t)__builtin_popcount(x ^ inl_rng_u32(SEED, i, 7 ^ flip));
        }
        for (int i = 0; i < 3; i++)
            assert_in_range(changed[i], 15000, 17000);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_halves),
        temp_folder_test(test_writer),
        temp_folder_test(test_writer_refuses),
        temp_folder_test(test_file_too_large),
        cmocka_unit_test_setup_teardown(test_full_disk, temp_folder_set_up, tear_down_disk),
        temp_folder_test(test_map),
        temp_folder_test(test_folders),
        cmocka_unit_test(test_overflow),
        cmocka_unit_test(test_alloc),
        cmocka_unit_test(test_grow),
        temp_folder_test(test_out_of_memory),
        cmocka_unit_test(test_text),
        cmocka_unit_test(test_log),
        cmocka_unit_test(test_rng),
        cmocka_unit_test(test_rng_inputs),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
