// SPDX-License-Identifier: MIT
// GGUF: what the writer writes the reader reads; files made by hand with one lie each, and the
// sentence each must give; truncation and damage at every byte, every allocation failing.
#define _POSIX_C_SOURCE 200809L
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "base/file.h"
#include "gguf_by_hand.h"
#include "harness/failing_env.h"
#include "io/gguf.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

// Opens a copy of exactly these bytes, so that a sanitizer sees a read past them.
static inlay_result open_copy(const inl_env *env, const uint8_t *data, size_t size, inl_gguf **out,
                              uint8_t **copy)
{
    *copy = malloc(size ? size : 1);
    assert_non_null(*copy);
    memcpy(*copy, data, size);
    return inl_gguf_open_memory(env, "test.gguf", *copy, size, out);
}

static inl_gguf *open_good(const bytes *b, uint8_t **copy)
{
    inl_env env = inl_env_resolve(NULL);
    inl_gguf *gguf = NULL;
    assert_int_equal(open_copy(&env, b->data, b->size, &gguf, copy), INLAY_OK);
    return gguf;
}

static void close_good(inl_gguf *gguf, uint8_t *copy)
{
    inl_gguf_close(&gguf);
    assert_null(gguf);
    free(copy);
}

static void check_good(const bytes *b)
{
    uint8_t *copy;
    inl_gguf *gguf = open_good(b, &copy);
    close_good(gguf, copy);
}

// One sentence that names the file, what is wrong and where; no handle, no memory left.
static void check_refused(const bytes *b, inlay_result want, uint64_t at, const char *what)
{
    failing_env w;
    inl_env env = failing_env_start(&w, 0, false);
    inl_gguf *gguf = (inl_gguf *)&w;
    uint8_t *copy;
    char place[64];
    inlay_result result = open_copy(&env, b->data, b->size, &gguf, &copy);
    free(copy);
    snprintf(place, sizeof(place), "byte offset %llu)", (unsigned long long)at);
    if (result != want || !strstr(w.text, what) || !strstr(w.text, place))
        fail_msg("wanted %d, \"%s\" at %llu; got %d, \"%s\"", want, what, (unsigned long long)at,
                 result, w.text);
    assert_null(gguf);
    assert_int_equal(w.errors, 1);
    assert_int_equal(strncmp(w.text, "test.gguf: ", 11), 0);
    assert_int_equal(w.live, 0);
}

#define BAD INLAY_ERROR_BAD_FILE

// ---- write, then read

static const uint64_t matrix_shape[2] = {64, 3};
static const float norm[5] = {1.0f, -2.0f, 0.5f, 3.0f, 4.0f};

typedef struct fixture {
    char folder[64], path[96];
    uint8_t matrix[204];   // Q8_0
    uint8_t last[32];      // I8; a full unit of alignment, so that no padding ends the file
} fixture;

static void fill_writer(inl_gguf_writer *w, const fixture *f)
{
    uint64_t five = 5, thirty_two = 32;
    assert_int_equal(inl_gguf_writer_string(w, "general.architecture", "llama"), INLAY_OK);
    assert_int_equal(inl_gguf_writer_string(w, "empty", ""), INLAY_OK);
    assert_int_equal(inl_gguf_writer_u32(w, "llama.block_count", 22), INLAY_OK);
    assert_int_equal(inl_gguf_writer_f32(w, "eps", 1e-5f), INLAY_OK);
    assert_int_equal(inl_gguf_writer_bool(w, "yes", true), INLAY_OK);
    assert_int_equal(inl_gguf_writer_bool(w, "no", false), INLAY_OK);
    assert_int_equal(inl_gguf_writer_tensor(w, "matrix", 8, 2, matrix_shape, f->matrix, 204),
                     INLAY_OK);
    assert_int_equal(inl_gguf_writer_tensor(w, "norm", 0, 1, &five, norm, 20), INLAY_OK);
    assert_int_equal(inl_gguf_writer_tensor(w, "last", 24, 1, &thirty_two, f->last, 32), INLAY_OK);
}

static void write_fixture(const inl_env *env, const fixture *f)
{
    inl_gguf_writer *w = NULL;
    assert_int_equal(inl_gguf_writer_create(env, &w), INLAY_OK);
    fill_writer(w, f);
    assert_int_equal(inl_gguf_writer_write(w, f->path), INLAY_OK);
    inl_gguf_writer_destroy(&w);
    assert_null(w);
}

static int set_up(void **state)
{
    fixture *f = calloc(1, sizeof(*f));
    snprintf(f->folder, sizeof(f->folder), "/tmp/inlay-test-gguf-XXXXXX");
    if (!f || !mkdtemp(f->folder))
        return -1;
    snprintf(f->path, sizeof(f->path), "%s/round.gguf", f->folder);
    for (size_t i = 0; i < sizeof(f->matrix); i++)
        f->matrix[i] = (uint8_t)(i * 7);
    for (size_t i = 0; i < sizeof(f->last); i++)
        f->last[i] = (uint8_t)(255 - i);
    inl_env env = inl_env_resolve(NULL);
    write_fixture(&env, f);
    *state = f;
    return 0;
}

static int tear_down(void **state)
{
    fixture *f = *state;
    remove(f->path);
    int result = rmdir(f->folder); // fails where a temporary file was left behind
    free(f);
    return result;
}

static void check_text(const inl_gguf *gguf, const char *key, const char *want)
{
    inl_slice text;
    assert_true(inl_gguf_get_string(gguf, key, &text));
    assert_int_equal(text.size, strlen(want));
    assert_memory_equal(text.data, want, text.size);
}

static void check_tensor(const inl_gguf *gguf, const char *name, uint32_t type, uint64_t ne0,
                         uint64_t ne1, const void *data, uint64_t size)
{
    const inl_gguf_tensor *t = inl_gguf_find_tensor(gguf, name);
    assert_non_null(t);
    assert_string_equal(t->name, name);
    assert_int_equal(t->type, type);
    assert_int_equal(t->dims, ne1 > 1 ? 2 : 1);
    assert_true(t->shape[0] == ne0 && t->shape[1] == ne1 && t->shape[2] == 1 && t->shape[3] == 1);
    assert_int_equal(t->bytes, size);
    assert_memory_equal(t->data, data, size);
}

static void test_round_trip(void **state)
{
    const fixture *f = *state;
    inl_env env = inl_env_resolve(NULL);
    inl_gguf *gguf = NULL;
    uint32_t number;
    float real;
    bool flag;
    assert_int_equal(inl_gguf_open(&env, f->path, &gguf), INLAY_OK);
    assert_string_equal(inl_gguf_path(gguf), f->path);
    assert_int_equal(inl_gguf_tensor_count(gguf), 3);
    check_text(gguf, "general.architecture", "llama");
    check_text(gguf, "empty", "");
    assert_true(inl_gguf_get_u32(gguf, "llama.block_count", &number) && number == 22);
    assert_true(inl_gguf_get_f32(gguf, "eps", &real) && real == 1e-5f);
    assert_true(inl_gguf_get_bool(gguf, "yes", &flag) && flag);
    assert_true(inl_gguf_get_bool(gguf, "no", &flag) && !flag);
    check_tensor(gguf, "matrix", 8, 64, 3, f->matrix, 204);
    check_tensor(gguf, "norm", 0, 5, 1, norm, 20);
    check_tensor(gguf, "last", 24, 32, 1, f->last, 32);
    assert_string_equal(inl_gguf_tensor_at(gguf, 1)->name, "norm");
    assert_null(inl_gguf_tensor_at(gguf, 3));
    const char *absent[] = {"matri", "matrix2", "", "zzz", "Norm"};
    for (size_t i = 0; i < INL_COUNT(absent); i++) {
        assert_null(inl_gguf_find_tensor(gguf, absent[i]));
        assert_false(inl_gguf_has(gguf, absent[i]));
    }
    inl_gguf_close(&gguf);
    inl_gguf_close(&gguf); // of nothing
}

static void test_missing_file(void **state)
{
    const fixture *f = *state;
    failing_env w;
    inl_env env = failing_env_start(&w, 0, false);
    inl_gguf *gguf = NULL;
    assert_int_equal(inl_gguf_open(&env, "/no/such/file.gguf", &gguf), INLAY_ERROR_NOT_FOUND);
    assert_int_equal(inl_gguf_open(&env, f->folder, &gguf), INLAY_ERROR_IO);
    assert_null(gguf);
    assert_int_equal(w.errors, 2);
    assert_int_equal(w.live, 0);
}

static void test_writer_refuses(void **state)
{
    const fixture *f = *state;
    failing_env w;
    inl_env env = failing_env_start(&w, 0, false);
    inl_gguf_writer *out = NULL;
    uint64_t shape[4] = {32, 0, 1, 1}, huge[2] = {UINT64_MAX - 31, 3};
    char name[65];
    const inlay_result bad = INLAY_ERROR_INVALID_ARGUMENT;
    memset(name, 'n', 64);
    name[64] = '\0';
    assert_int_equal(inl_gguf_writer_create(&env, &out), INLAY_OK);
    fill_writer(out, f);
    assert_int_equal(inl_gguf_writer_u32(out, "yes", 1), bad);
    assert_int_equal(inl_gguf_writer_string(out, "no", ""), bad);
    assert_int_equal(inl_gguf_writer_u32(out, "general.alignment", 64), bad);
    assert_int_equal(inl_gguf_writer_tensor(out, "norm", 0, 1, shape, norm, 128), bad);
    assert_int_equal(inl_gguf_writer_tensor(out, name, 0, 1, shape, norm, 128), bad);
    assert_int_equal(inl_gguf_writer_tensor(out, "a", 0, 2, shape, norm, 0), bad);
    assert_int_equal(inl_gguf_writer_tensor(out, "a", 0, 5, shape, norm, 128), bad);
    assert_int_equal(inl_gguf_writer_tensor(out, "a", 0, 0, shape, norm, 4), bad);
    assert_int_equal(inl_gguf_writer_tensor(out, "a", 4, 1, shape, norm, 128), bad);
    assert_int_equal(inl_gguf_writer_tensor(out, "a", 0, 1, shape, norm, 127), bad);
    assert_int_equal(inl_gguf_writer_tensor(out, "a", 12, 1, shape, norm, 18), bad);
    assert_int_equal(inl_gguf_writer_tensor(out, "a", 0, 2, huge, norm, 128), bad);
    assert_int_equal(w.errors, 12);
    assert_int_equal(inl_gguf_writer_write(out, "/no/such/folder/x.gguf"), INLAY_ERROR_IO);
    name[63] = '\0';
    assert_int_equal(inl_gguf_writer_tensor(out, name, 0, 1, shape, f->matrix, 128), INLAY_OK);
    inl_gguf_writer_destroy(&out);
    assert_int_equal(w.live, 0);
}

// ---- metadata

static void test_numbers(void **state)
{
    (void)state;
    bytes b = header(0, 10);
    put_key(&b, "u8", INL_GGUF_U8), put_u8(&b, 200);
    put_key(&b, "i8", INL_GGUF_I8), put_u8(&b, 0xff);
    put_key(&b, "i16", INL_GGUF_I16), put(&b, &(int16_t){300}, 2);
    put_key(&b, "u16", INL_GGUF_U16), put(&b, &(uint16_t){65535}, 2);
    put_key(&b, "i32", INL_GGUF_I32), put_u32(&b, 0x80000000u);
    put_key(&b, "i64", INL_GGUF_I64), put_u64(&b, 4294967295u);
    put_key(&b, "u64", INL_GGUF_U64), put_u64(&b, 4294967296u);
    put_key(&b, "f64", INL_GGUF_F64), put(&b, &(double){0.1}, 8);
    put_key(&b, "wide", INL_GGUF_F64), put(&b, &(double){1e300}, 8);
    put_key(&b, "bool", INL_GGUF_BOOL), put_u8(&b, 1);
    uint8_t *copy;
    inl_gguf *gguf = open_good(&b, &copy);
    uint32_t n = 7;
    float real = 7.0f;
    bool flag = false;
    inl_slice text;
    assert_true(inl_gguf_get_u32(gguf, "u8", &n) && n == 200);
    assert_true(inl_gguf_get_u32(gguf, "i16", &n) && n == 300);
    assert_true(inl_gguf_get_u32(gguf, "u16", &n) && n == 65535);
    assert_true(inl_gguf_get_u32(gguf, "i64", &n) && n == UINT32_MAX);
    const char *no_u32[] = {"i8", "i32", "u64", "f64", "bool", "absent"};
    for (size_t i = 0; i < INL_COUNT(no_u32); i++)
        assert_false(inl_gguf_get_u32(gguf, no_u32[i], &n));
    assert_int_equal(n, UINT32_MAX); // untouched
    assert_true(inl_gguf_get_f32(gguf, "f64", &real) && real == 0.1f);
    assert_false(inl_gguf_get_f32(gguf, "wide", &real) || inl_gguf_get_f32(gguf, "u8", &real));
    assert_true(real == 0.1f);
    assert_true(inl_gguf_get_bool(gguf, "bool", &flag) && flag);
    assert_false(inl_gguf_get_bool(gguf, "u8", &flag) || inl_gguf_get_string(gguf, "u8", &text));
    close_good(gguf, copy);
}

static bytes with_arrays(void)
{
    bytes b = header(0, 5);
    put_array(&b, "texts", INL_GGUF_STRING, 3);
    put_text(&b, "a"), put_text(&b, ""), put_text(&b, "\xe2\x96\x81the");
    put_array(&b, "scores", INL_GGUF_F32, 2);
    put(&b, (float[]){-1.5f, 2.0f}, 8);
    put_array(&b, "kinds", INL_GGUF_I8, 3);
    put(&b, (int8_t[]){1, -6, 3}, 3);
    put_array(&b, "wide", INL_GGUF_I64, 2);
    put(&b, (int64_t[]){5, 1ll << 40}, 16);
    put_array(&b, "none", INL_GGUF_STRING, 0);
    return b;
}

static void test_arrays(void **state)
{
    (void)state;
    bytes b = with_arrays();
    uint8_t *copy;
    inl_gguf *gguf = open_good(&b, &copy);
    inl_gguf_kind kind;
    uint64_t count;
    inl_slice texts[4];
    float scores[3];
    int32_t kinds[4];
    assert_true(inl_gguf_get_array(gguf, "texts", &kind, &count));
    assert_true(kind == INL_GGUF_STRING && count == 3);
    assert_true(inl_gguf_read_strings(gguf, "texts", texts, 3));
    assert_true(texts[0].size == 1 && texts[1].size == 0 && texts[2].size == 6);
    assert_memory_equal(texts[2].data, "\xe2\x96\x81the", 6);
    assert_true(inl_gguf_read_f32s(gguf, "scores", scores, 2));
    assert_true(scores[0] == -1.5f && scores[1] == 2.0f);
    assert_true(inl_gguf_read_i32s(gguf, "kinds", kinds, 3));
    assert_true(kinds[0] == 1 && kinds[1] == -6 && kinds[2] == 3);
    assert_true(inl_gguf_read_i32s(gguf, "wide", kinds, 1) && kinds[0] == 5);
    assert_false(inl_gguf_read_i32s(gguf, "wide", kinds, 2)); // does not fit
    assert_true(inl_gguf_get_array(gguf, "none", &kind, &count) && count == 0);
    assert_true(inl_gguf_read_strings(gguf, "none", texts, 0));
    // More than there are, and the wrong kind.
    assert_false(inl_gguf_read_strings(gguf, "texts", texts, 4));
    assert_false(inl_gguf_read_f32s(gguf, "scores", scores, 3));
    assert_false(inl_gguf_read_i32s(gguf, "kinds", kinds, 4));
    assert_false(inl_gguf_read_strings(gguf, "kinds", texts, 3));
    assert_false(inl_gguf_read_f32s(gguf, "texts", scores, 1));
    assert_false(inl_gguf_read_i32s(gguf, "scores", kinds, 1));
    assert_false(inl_gguf_get_string(gguf, "texts", &texts[0])); // arrays are no scalars
    assert_false(inl_gguf_get_array(gguf, "absent", &kind, &count));
    close_good(gguf, copy);
}

// ---- lies

static void test_header_lies(void **state)
{
    (void)state;
    bytes b = {.size = 0};
    check_refused(&b, BAD, 0, "the file ends within the magic");
    b = header(0, 0);
    b.data[3] = 'f';
    check_refused(&b, BAD, 0, "this is no GGUF file: it starts with the bytes 47 47 55 66");
    b = header(0, 0);
    b.data[4] = 1;
    check_refused(&b, INLAY_ERROR_UNSUPPORTED, 4, "GGUF version 1 is not supported");
    b.data[4] = 4;
    check_refused(&b, INLAY_ERROR_UNSUPPORTED, 4, "GGUF version 4 is not supported");
    b.data[4] = 0, b.data[7] = 3;
    check_refused(&b, INLAY_ERROR_UNSUPPORTED, 4, "big-endian");
    b = header(1, 0);
    check_refused(&b, BAD, 8, "the number of tensors is 1, more than fit in the 8 bytes");
    b = header(0, UINT64_MAX);
    check_refused(&b, BAD, 16, "the number of metadata entries is 18446744073709551615");
    b = header(0, 0); // version 2 has the same layout, and a file may be empty
    b.data[4] = 2;
    uint8_t *copy;
    inl_gguf *gguf = open_good(&b, &copy);
    assert_int_equal(inl_gguf_tensor_count(gguf), 0);
    assert_null(inl_gguf_find_tensor(gguf, "a"));
    close_good(gguf, copy);
}

static void test_string_lies(void **state)
{
    (void)state;
    uint64_t lengths[] = {6, 1000, 1ull << 32, 1ull << 63, UINT64_MAX, UINT64_MAX - 44};
    for (size_t i = 0; i < INL_COUNT(lengths); i++) {
        bytes b = header(0, 1);
        put_key(&b, "name", INL_GGUF_STRING);
        put_u64(&b, lengths[i]);
        put(&b, "12345", 5);
        check_refused(&b, BAD, 40, "the string claims");
        check_refused(&b, BAD, 40, "\"name\"");
        b = header(0, 1);
        put_u64(&b, lengths[i] + 100);
        put(&b, "1234567890", 10);
        check_refused(&b, BAD, 24, "the key claims");
    }
    bytes b = header(0, 1); // a key that would steer the terminal, and is long
    put_u64(&b, 100);
    for (int i = 0; i < 100; i++)
        put_u8(&b, i == 0 ? '\033' : 'k');
    put_u32(&b, 13);
    check_refused(&b, BAD, 132, "\"?kkkkk");
    check_refused(&b, BAD, 132, "kkk...\"");
}

static void test_kind_lies(void **state)
{
    (void)state;
    bytes b = header(0, 1);
    put_key(&b, "k", 13);
    put_u64(&b, 0);
    check_refused(&b, BAD, 33, "the kind 13 does not exist");
    b = header(0, 1);
    put_key(&b, "b", INL_GGUF_BOOL);
    put_u8(&b, 2);
    check_refused(&b, BAD, 37, "a boolean is 2");
    b = header(0, 1);
    put_array(&b, "b", INL_GGUF_BOOL, 3);
    put(&b, "\1\0\3", 3);
    check_refused(&b, BAD, 51, "a boolean is 3");
    b = header(0, 1);
    put_array(&b, "n", INL_GGUF_ARRAY, 1);
    put_u32(&b, 0), put_u64(&b, 0);
    check_refused(&b, INLAY_ERROR_UNSUPPORTED, 37, "arrays of arrays are not supported");
    b = header(0, 1);
    put_array(&b, "n", 99, 1);
    check_refused(&b, BAD, 37, "the element kind 99 does not exist");
}

static void test_array_lies(void **state)
{
    (void)state;
    uint64_t counts[] = {3, 1ull << 61, 1ull << 62, UINT64_MAX};
    uint32_t kinds[] = {INL_GGUF_U64, INL_GGUF_F32, INL_GGUF_STRING};
    for (size_t i = 0; i < INL_COUNT(counts) * INL_COUNT(kinds); i++) {
        bytes b = header(0, 1);
        put_array(&b, "n", kinds[i % 3], counts[i / 3]);
        put_u32(&b, 0), put_u32(&b, 0);
        check_refused(&b, BAD, 41, "the array claims");
    }
    bytes b = header(0, 1);
    put_array(&b, "n", INL_GGUF_STRING, 2);
    put_u64(&b, 0), put_u64(&b, 1); // the second string is not there
    check_refused(&b, BAD, 57, "the string claims 1 bytes, but 0 are left");
}

static void test_duplicates(void **state)
{
    (void)state;
    bytes b = header(0, 4);
    put_key(&b, "b", INL_GGUF_U8), put_u8(&b, 0);
    put_key(&b, "a", INL_GGUF_U8), put_u8(&b, 0);
    put_key(&b, "ab", INL_GGUF_U8), put_u8(&b, 0);
    size_t at = b.size;
    put_key(&b, "a", INL_GGUF_U32), put_u32(&b, 0);
    check_refused(&b, BAD, at, "the name was there before (metadata entry 3, \"a\"");
    b = header(3, 0);
    put_tensor(&b, "x", 0, 8, 0);
    put_tensor(&b, "y", 0, 8, 32);
    at = b.size;
    put_tensor(&b, "x", 0, 8, 64);
    put_data(&b, 96);
    check_refused(&b, BAD, at, "the name was there before (tensor 2, \"x\"");
}

static void check_alignment(uint32_t kind, uint32_t value, bool good)
{
    bytes b = header(0, 1);
    put_key(&b, "general.alignment", kind);
    put_u32(&b, value);
    if (!good) {
        check_refused(&b, BAD, 24, "the alignment is not a power of two of kind u32");
        return;
    }
    check_good(&b);
}

static void test_alignment(void **state)
{
    (void)state;
    check_alignment(INL_GGUF_U32, 1, true);
    check_alignment(INL_GGUF_U32, 4096, true);
    check_alignment(INL_GGUF_U32, 1u << 31, true);
    check_alignment(INL_GGUF_U32, 0, false);
    check_alignment(INL_GGUF_U32, 48, false);
    check_alignment(INL_GGUF_U32, UINT32_MAX, false);
    check_alignment(INL_GGUF_I32, 32, false);
    bytes b = header(2, 1); // an alignment of 8 moves the data
    put_key(&b, "general.alignment", INL_GGUF_U32), put_u32(&b, 8);
    put_tensor(&b, "x", 24, 3, 0);
    put_tensor(&b, "y", 24, 3, 8);
    while (b.size % 8 != 0)
        put_u8(&b, 0);
    put(&b, "abc.....def", 11);
    uint8_t *copy;
    inl_gguf *gguf = open_good(&b, &copy);
    check_tensor(gguf, "y", 24, 3, 1, "def", 3);
    close_good(gguf, copy);
}

static bytes one_tensor(uint32_t dims, const uint64_t *shape, uint32_t type, uint64_t offset)
{
    bytes b = header(1, 0);
    put_text(&b, "t"); // ends at 33
    put_u32(&b, dims);
    for (uint32_t d = 0; d < dims && d < 6; d++)
        put_u64(&b, shape[d]);
    put_u32(&b, type);
    put_u64(&b, offset);
    put_data(&b, 256);
    return b;
}

static void test_shape_lies(void **state)
{
    (void)state;
    uint64_t ones[6] = {1, 1, 1, 1, 1, 1};
    bytes b = one_tensor(0, ones, 0, 0);
    check_refused(&b, BAD, 33, "0 dimensions, where 1 to 4 are allowed");
    b = one_tensor(5, ones, 0, 0);
    check_refused(&b, BAD, 33, "5 dimensions");
    b = one_tensor(4, ones, 0, 0);
    check_good(&b);
    b = one_tensor(2, (uint64_t[]){4, 0}, 0, 0);
    check_refused(&b, BAD, 45, "dimension 1 is zero");
    b = one_tensor(2, (uint64_t[]){1ull << 33, 1ull << 31}, 0, 0);
    check_refused(&b, BAD, 45, "more than 2^64 elements");
    b = one_tensor(1, (uint64_t[]){1ull << 62}, 0, 0);
    check_refused(&b, BAD, 45, "more than 2^64 bytes");
    b = one_tensor(1, (uint64_t[]){1ull << 60}, 0, 0);
    check_refused(&b, BAD, 64, "pass the end of the file, which has 320 bytes");
    b = one_tensor(2, (uint64_t[]){33, 32}, 2, 0);
    check_refused(&b, BAD, 53, "rows of 33 elements are no multiple of Q4_0's blocks of 32");
    b = one_tensor(1, (uint64_t[]){128}, 12, 0);
    check_refused(&b, BAD, 45, "rows of 128 elements are no multiple of Q4_K's blocks of 256");
    uint32_t unknown[] = {4, 31, 43, 1000, UINT32_MAX};
    for (size_t i = 0; i < INL_COUNT(unknown); i++) {
        char text[64];
        snprintf(text, sizeof(text), "the tensor type %u is unknown (tensor 0, \"t\"", unknown[i]);
        b = one_tensor(1, ones, unknown[i], 0);
        check_refused(&b, INLAY_ERROR_UNSUPPORTED, 45, text);
    }
}

static void test_offset_lies(void **state)
{
    (void)state;
    uint64_t eight[1] = {8};
    bytes b = one_tensor(1, eight, 0, 4);
    check_refused(&b, BAD, 49, "the data offset 4 is no multiple of the alignment 32");
    b = one_tensor(1, eight, 0, 224); // the last place there is
    check_good(&b);
    b = one_tensor(1, eight, 0, 256);
    check_refused(&b, BAD, 320, "the tensor's 32 bytes pass the end of the file");
    b = one_tensor(1, eight, 0, 1ull << 63);
    check_refused(&b, BAD, (1ull << 63) + 64, "pass the end of the file");
    b = one_tensor(1, eight, 0, UINT64_MAX - 31);
    check_refused(&b, BAD, 0, "pass the end of the file");
    b = header(3, 0);
    put_tensor(&b, "a", 0, 8, 64);
    put_tensor(&b, "b", 0, 9, 32); // 36 bytes
    put_tensor(&b, "c", 0, 8, 0);
    put_data(&b, 256);
    check_refused(&b, BAD, 192, "the tensor's data overlap those of \"b\" (tensor 0, \"a\"");
    b = header(2, 0);
    put_tensor(&b, "a", 0, 8, 0);
    put_tensor(&b, "b", 0, 8, 0);
    put_data(&b, 256);
    check_refused(&b, BAD, 96, "overlap");
}

static void test_name_lies(void **state)
{
    (void)state;
    char name[65];
    memset(name, 'n', 64);
    name[64] = '\0';
    bytes b = header(1, 0);
    put_tensor(&b, name, 0, 8, 0);
    put_data(&b, 32);
    check_refused(&b, BAD, 24, "the name has 64 bytes, 63 are allowed");
    b = header(1, 0);
    put_tensor(&b, name + 1, 0, 8, 0);
    put_data(&b, 32);
    uint8_t *copy;
    inl_gguf *gguf = open_good(&b, &copy);
    assert_non_null(inl_gguf_find_tensor(gguf, name + 1));
    close_good(gguf, copy);
    b = header(1, 0);
    put_tensor(&b, "ab", 0, 8, 0);
    b.data[33] = '\0';
    put_data(&b, 32);
    check_refused(&b, BAD, 24, "the name holds a NUL byte");
}

// ---- damage

static inl_map map_file(const char *path)
{
    inl_env env = inl_env_resolve(NULL);
    inl_map map;
    assert_int_equal(inl_map_open(&env, path, &map), INLAY_OK);
    return map;
}

static void check_truncations(const uint8_t *data, size_t size)
{
    for (size_t cut = 0; cut < size; cut++) {
        failing_env w;
        inl_env env = failing_env_start(&w, 0, false);
        inl_gguf *gguf;
        uint8_t *copy;
        assert_int_equal(open_copy(&env, data, cut, &gguf, &copy), BAD);
        assert_null(gguf);
        assert_int_equal(w.errors, 1);
        assert_int_equal(w.live, 0);
        free(copy);
    }
}

static void test_truncation(void **state)
{
    const fixture *f = *state;
    inl_map map = map_file(f->path);
    assert_true(map.size > 500);
    check_truncations(map.data, map.size);
    inl_map_close(&map);
    bytes b = with_arrays();
    check_truncations(b.data, b.size);
}

// Any byte may be anything: an error or a good file, but nothing worse, and no memory left.
static void check_damage(uint8_t *data, size_t size)
{
    static const uint8_t values[] = {0, 1, 2, 8, 9, 0x20, 0x7f, 0x80, 0xff};
    for (size_t i = 0; i < size * INL_COUNT(values); i++) {
        uint8_t *at = &data[i / INL_COUNT(values)], before = *at, *copy;
        failing_env w;
        inl_env env = failing_env_start(&w, 0, false);
        inl_gguf *gguf;
        *at = values[i % INL_COUNT(values)];
        inlay_result result = open_copy(&env, data, size, &gguf, &copy);
        assert_int_equal(w.errors, result != INLAY_OK);
        assert_true((gguf != NULL) == (result == INLAY_OK));
        inl_gguf_close(&gguf);
        assert_int_equal(w.live, 0);
        *at = before;
        free(copy);
    }
}

static void test_damage(void **state)
{
    const fixture *f = *state;
    inl_map map = map_file(f->path);
    uint8_t *data = malloc(map.size);
    assert_non_null(data);
    memcpy(data, map.data, map.size);
    check_damage(data, map.size);
    free(data);
    inl_map_close(&map);
    bytes b = with_arrays();
    check_damage(b.data, b.size);
}

static inlay_result read_with(const inl_env *env, void *user)
{
    const fixture *f = user;
    inl_gguf *gguf;
    inlay_result result = inl_gguf_open(env, f->path, &gguf);
    inl_gguf_close(&gguf);
    return result;
}

static inlay_result write_with(const inl_env *env, void *user)
{
    const fixture *f = user;
    inl_gguf_writer *w;
    uint64_t five = 5;
    inlay_result result = inl_gguf_writer_create(env, &w);
    if (result == INLAY_OK)
        result = inl_gguf_writer_u32(w, "number", 1);
    if (result == INLAY_OK)
        result = inl_gguf_writer_tensor(w, "norm", 0, 1, &five, norm, 20);
    if (result == INLAY_OK)
        result = inl_gguf_writer_write(w, f->path);
    inl_gguf_writer_destroy(&w);
    return result;
}

static void test_out_of_memory(void **state)
{
    fixture *f = *state;
    assert_true(check_each_failure("read", read_with, f, UINT32_MAX) >= 5);
    assert_true(check_each_failure("write", write_with, f, UINT32_MAX) >= 5);
    inl_env env = inl_env_resolve(NULL);
    write_fixture(&env, f); // as the other tests expect it
}

// Many names, out of order: all must be found.
static void test_many(void **state)
{
    const fixture *f = *state;
    enum { COUNT = 1000 };
    inl_env env = inl_env_resolve(NULL);
    inl_gguf_writer *w = NULL;
    inl_gguf *gguf = NULL;
    static uint32_t values[COUNT];
    uint64_t one = 1;
    char name[32];
    assert_int_equal(inl_gguf_writer_create(&env, &w), INLAY_OK);
    for (uint32_t i = 0; i < COUNT; i++) {
        uint32_t n = i * 617 % COUNT; // 617 and 1000 share no factor: each number comes once
        values[n] = n * 3;
        snprintf(name, sizeof(name), "blk.%u.w", n);
        assert_int_equal(inl_gguf_writer_u32(w, name, n), INLAY_OK);
        assert_int_equal(inl_gguf_writer_tensor(w, name, 26, 1, &one, &values[n], 4), INLAY_OK);
    }
    assert_int_equal(inl_gguf_writer_write(w, f->path), INLAY_OK);
    inl_gguf_writer_destroy(&w);
    assert_int_equal(inl_gguf_open(&env, f->path, &gguf), INLAY_OK);
    for (uint32_t n = 0; n < COUNT; n++) {
        uint32_t found = 0;
        snprintf(name, sizeof(name), "blk.%u.w", n);
        assert_true(inl_gguf_get_u32(gguf, name, &found) && found == n);
        check_tensor(gguf, name, 26, 1, 1, &values[n], 4);
    }
    inl_gguf_close(&gguf);
    write_fixture(&env, f);
}

// ---- files that other programs wrote

// NULL where the environment names no such folder: the caller skips.
static inl_gguf *open_data(const char *name)
{
    const char *folder = getenv("INLAY_TEST_DATA");
    if (!folder) {
        print_message("skipped %s: INLAY_TEST_DATA is not set\n", name);
        return NULL;
    }
    inl_env env = inl_env_resolve(NULL);
    char *path = inl_path_join(&env, folder, name);
    inl_gguf *gguf = NULL;
    assert_non_null(path);
    assert_int_equal(inl_gguf_open(&env, path, &gguf), INLAY_OK);
    inl_free(&env, path);
    return gguf;
}

static double sum_of_tensors(const inl_gguf *gguf, uint64_t *elements)
{
    double sum = 0.0;
    *elements = 0;
    for (uint32_t i = 0; i < inl_gguf_tensor_count(gguf); i++) {
        const inl_gguf_tensor *t = inl_gguf_tensor_at(gguf, i);
        for (uint64_t j = 0; j < t->bytes / 4; j++) {
            float value;
            memcpy(&value, t->data + 4 * j, 4);
            sum += value;
        }
        *elements += t->shape[0] * t->shape[1];
    }
    return sum;
}

static void test_real_model(void **state)
{
    (void)state;
    inl_gguf *gguf = open_data("model/stories260K.gguf");
    if (!gguf)
        skip();
    uint32_t n;
    float eps;
    uint64_t elements;
    assert_int_equal(inl_gguf_tensor_count(gguf), 48);
    assert_int_equal(inl_gguf_file_bytes(gguf), 1185376);
    check_text(gguf, "general.architecture", "llama");
    assert_true(inl_gguf_get_u32(gguf, "llama.feed_forward_length", &n) && n == 172);
    assert_true(inl_gguf_get_f32(gguf, "llama.attention.layer_norm_rms_epsilon", &eps));
    assert_true(eps == 1e-5f);
    const inl_gguf_tensor *t = inl_gguf_find_tensor(gguf, "blk.4.ffn_down.weight");
    assert_non_null(t);
    assert_true(t->type == 0 && t->dims == 2 && t->shape[0] == 172 && t->shape[1] == 64);
    inl_slice texts[512];
    float scores[512];
    assert_true(inl_gguf_read_strings(gguf, "tokenizer.ggml.tokens", texts, 512));
    assert_true(texts[259].size == 4 && memcmp(texts[259].data, "\xe2\x96\x81t", 4) == 0);
    assert_true(inl_gguf_read_f32s(gguf, "tokenizer.ggml.scores", scores, 512));
    assert_true(scores[263] == -4.0f);
    // As the PyPI package `gguf` reads it: GGUFReader(path).tensors, summed in float64.
    assert_true(fabs(sum_of_tensors(gguf, &elements) - -767.0591876059575) < 1e-6);
    assert_int_equal(elements, 292800);
    inl_gguf_close(&gguf);
}

static void test_real_vocabulary(void **state)
{
    (void)state;
    inl_gguf *gguf = open_data("tokenizer/ggml-vocab-gpt-2.gguf");
    if (!gguf)
        skip();
    inl_gguf_kind kind;
    uint64_t count;
    assert_int_equal(inl_gguf_tensor_count(gguf), 0);
    assert_true(inl_gguf_get_array(gguf, "tokenizer.ggml.tokens", &kind, &count));
    assert_true(kind == INL_GGUF_STRING && count == 50257);
    inl_slice *texts = malloc(count * sizeof(*texts));
    assert_non_null(texts);
    assert_true(inl_gguf_read_strings(gguf, "tokenizer.ggml.tokens", texts, count));
    assert_true(texts[50256].size == 13 && memcmp(texts[50256].data, "<|endoftext|>", 13) == 0);
    free(texts);
    inl_gguf_close(&gguf);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_round_trip),
        cmocka_unit_test(test_missing_file),
        cmocka_unit_test(test_writer_refuses),
        cmocka_unit_test(test_numbers),
        cmocka_unit_test(test_arrays),
        cmocka_unit_test(test_header_lies),
        cmocka_unit_test(test_string_lies),
        cmocka_unit_test(test_kind_lies),
        cmocka_unit_test(test_array_lies),
        cmocka_unit_test(test_duplicates),
        cmocka_unit_test(test_alignment),
        cmocka_unit_test(test_shape_lies),
        cmocka_unit_test(test_offset_lies),
        cmocka_unit_test(test_name_lies),
        cmocka_unit_test(test_truncation),
        cmocka_unit_test(test_damage),
        cmocka_unit_test(test_out_of_memory),
        cmocka_unit_test(test_many),
        cmocka_unit_test(test_real_model),
        cmocka_unit_test(test_real_vocabulary),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
