// SPDX-License-Identifier: MIT
// Safetensors: what the writer writes the reader reads, laid out as the format wants it; headers
// with one lie each, and the sentence each must give; truncation and damage at every byte.
#define _XOPEN_SOURCE 700
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/file.h"
#include "harness/failing_env.h"
#include "harness/safetensors_bytes.h"
#include "harness/temp_folder.h"
#include "io/safetensors.h"

#define BAD INLAY_ERROR_BAD_FILE

// ---- opening

// A copy of exactly these bytes, so that a sanitizer sees a read past them.
static inlay_result open_copy(const inl_env *env, const uint8_t *data, size_t size,
                              inl_safetensors **out, uint8_t **copy)
{
    *copy = malloc(size ? size : 1);
    assert_non_null(*copy);
    if (size > 0)
        memcpy(*copy, data, size);
    return inl_safetensors_open_memory(env, "test.safetensors", *copy, size, out);
}

static inl_safetensors *open_good(const safetensors_bytes *s, uint8_t **copy)
{
    inl_env env = inl_env_resolve(NULL);
    inl_safetensors *file = NULL;
    assert_int_equal(open_copy(&env, s->data, s->size, &file, copy), INLAY_OK);
    return file;
}

static void close_good(inl_safetensors *file, uint8_t *copy)
{
    inl_safetensors_close(&file);
    assert_null(file);
    inl_safetensors_close(&file); // of nothing
    free(copy);
}

// One sentence that names the file and what is wrong; no handle, no memory left.
static void check_refused(const uint8_t *data, size_t size, const char *what)
{
    failing_env e;
    inl_env env = failing_env_start(&e, 0, false);
    inl_safetensors *file = (inl_safetensors *)&e;
    uint8_t *copy;
    inlay_result result = open_copy(&env, data, size, &file, &copy);
    free(copy);
    if (result != BAD || !strstr(e.text, what) || strncmp(e.text, "test.safetensors: ", 18) != 0)
        fail_msg("wanted \"%s\", got %d, \"%s\"", what, result, e.text);
    assert_null(file);
    assert_true(e.errors == 1 && e.live == 0);
}

// A header and 16 bytes behind it.
static void check_header(const char *header, const char *what)
{
    safetensors_bytes s = {0};
    safetensors_bytes_join(&s, header, strlen(header), "0123456789abcdef", 16);
    if (what) {
        check_refused(s.data, s.size, what);
    } else {
        uint8_t *copy;
        inl_safetensors *file = open_good(&s, &copy);
        close_good(file, copy);
    }
    safetensors_bytes_free(&s);
}

// ---- write, then read

static const float matrix[6] = {1.0f, -0.0f, 0x1p-149f, 3.25f, -65504.0f, 1e30f};
static const float row[3] = {7.0f, 8.0f, 9.0f};
static const inl_safetensor_out written[] = {{"z.weight", 2, {2, 3}, matrix},
                                             {"nothing", 2, {0, 3}, NULL},
                                             {"a \"quoted\" \xe2\x96\x81", 1, {3, 0}, row}};

static void check_written(const inl_safetensors *file)
{
    assert_int_equal(inl_safetensors_count(file), INL_COUNT(written));
    for (size_t i = 0; i < INL_COUNT(written); i++) {
        const inl_safetensor *t = inl_safetensors_find(file, written[i].name);
        assert_non_null(t);
        assert_string_equal(t->name, written[i].name);
        assert_string_equal(t->dtype, "F32");
        assert_int_equal(t->dims, written[i].dims);
        uint64_t elements = 1;
        for (uint32_t d = 0; d < t->dims; d++) {
            assert_int_equal(t->shape[d], written[i].shape[d]);
            elements *= t->shape[d];
        }
        assert_int_equal(t->bytes, 4 * elements);
        float values[6];
        assert_int_equal(inl_safetensors_read_f32(file, t, values, elements), INLAY_OK);
        if (elements > 0)
            assert_memory_equal(values, written[i].data, t->bytes);
    }
    static const char *const absent[] = {"", "z", "z.weight2", "A", "~"};
    for (size_t i = 0; i < INL_COUNT(absent); i++)
        assert_null(inl_safetensors_find(file, absent[i]));
}

static void test_round_trip(void **state)
{
    temp_folder *f = *state;
    inl_env env = inl_env_resolve(NULL);
    const char *path = temp_path(f, "x.safetensors");
    inl_safetensors *file;
    inl_map map;
    assert_int_equal(inl_safetensors_write(&env, path, written, INL_COUNT(written)), INLAY_OK);
    assert_int_equal(inl_safetensors_open(&env, path, &file), INLAY_OK);
    check_written(file);
    // In the file's order, which is that of writing.
    assert_string_equal(inl_safetensors_at(file, 0)->name, "z.weight");
    assert_string_equal(inl_safetensors_at(file, 2)->name, written[2].name);
    inl_safetensors_close(&file);
    assert_int_equal(inl_map_open(&env, path, &map), INLAY_OK);
    uint64_t header;
    memcpy(&header, map.data, 8);
    assert_int_equal(header % 8, 0); // so that what follows is aligned
    assert_int_equal(map.size, 8 + header + 36);
    assert_memory_equal(map.data + 8, "{\"__metadata__\":{\"format\":\"pt\"}", 31);
    assert_memory_equal(map.data + 8 + header, matrix, sizeof(matrix));
    inl_map_close(&map);
    assert_int_equal(temp_folder_entries(f->path), 1);
}

static void test_empty(void **state)
{
    temp_folder *f = *state;
    inl_env env = inl_env_resolve(NULL);
    inl_safetensors *file;
    assert_int_equal(inl_safetensors_write(&env, temp_path(f, "empty"), NULL, 0), INLAY_OK);
    assert_int_equal(inl_safetensors_open(&env, f->file, &file), INLAY_OK);
    assert_int_equal(inl_safetensors_count(file), 0);
    assert_null(inl_safetensors_find(file, "a"));
    inl_safetensors_close(&file);
}

// Names out of order, all found.
static void test_many(void **state)
{
    temp_folder *f = *state;
    enum { COUNT = 3000 };
    inl_env env = inl_env_resolve(NULL);
    static char names[COUNT][16];
    static float values[COUNT];
    static inl_safetensor_out tensors[COUNT];
    inl_safetensors *file;
    for (uint32_t i = 0; i < COUNT; i++) {
        uint32_t n = i * 1999 % COUNT; // they share no factor: each number comes once
        snprintf(names[i], sizeof(names[i]), "t.%u", n);
        values[i] = (float)n;
        tensors[i] = (inl_safetensor_out){names[i], 1, {1, 0}, &values[i]};
    }
    assert_int_equal(inl_safetensors_write(&env, temp_path(f, "many"), tensors, COUNT), INLAY_OK);
    assert_int_equal(inl_safetensors_open(&env, f->file, &file), INLAY_OK);
    for (uint32_t i = 0; i < COUNT; i++) {
        float value;
        const inl_safetensor *t = inl_safetensors_find(file, names[i]);
        assert_non_null(t);
        assert_int_equal(inl_safetensors_read_f32(file, t, &value, 1), INLAY_OK);
        assert_true(value == values[i]);
    }
    inl_safetensors_close(&file);
}

static void test_writer_refuses(void **state)
{
    temp_folder *f = *state;
    failing_env e;
    inl_env env = failing_env_start(&e, 0, false);
    const inl_safetensor_out twice[] = {{"a", 1, {3, 0}, row}, {"a", 1, {3, 0}, row}};
    const inl_safetensor_out latin[] = {{"caf\xe9", 1, {3, 0}, row}};
    const inl_safetensor_out reserved[] = {{"__metadata__", 1, {3, 0}, row}};
    const char *path = temp_path(f, "refused");
    assert_int_equal(inl_safetensors_write(&env, path, twice, 2), INLAY_ERROR_INVALID_ARGUMENT);
    assert_non_null(strstr(e.text, "name a was written before"));
    assert_int_equal(inl_safetensors_write(&env, path, latin, 1), INLAY_ERROR_INVALID_ARGUMENT);
    assert_non_null(strstr(e.text, "UTF-8"));
    assert_int_equal(inl_safetensors_write(&env, path, reserved, 1), INLAY_ERROR_INVALID_ARGUMENT);
    assert_int_equal(inl_safetensors_write(&env, "/no/such/folder/x", written, 1), INLAY_ERROR_IO);
    assert_true(e.errors == 4 && e.live == 0);
    assert_int_equal(temp_folder_entries(f->path), 0);
}

static void test_missing_file(void **state)
{
    temp_folder *f = *state;
    failing_env e;
    inl_env env = failing_env_start(&e, 0, false);
    inl_safetensors *file = (inl_safetensors *)&e;
    assert_int_equal(inl_safetensors_open(&env, "/no/such/file", &file), INLAY_ERROR_NOT_FOUND);
    assert_null(file);
    assert_int_equal(inl_safetensors_open(&env, f->path, &file), INLAY_ERROR_IO);
    assert_true(e.errors == 2 && e.live == 0);
}

// ---- types

static void test_types(void **state)
{
    (void)state;
    static const char *const names[] = {
        "F64",     "I64",     "U64",     "C64",         "F32",        "I32", "U32",
        "F16",     "I16",     "U16",     "BF16",        "I8",         "U8",  "BOOL",
        "F8_E4M3", "F8_E5M2", "F8_E8M0", "F8_E4M3FNUZ", "F8_E5M2FNUZ"};
    static const uint8_t zeros[16];
    for (size_t i = 0; i < INL_COUNT(names); i++) {
        size_t size = i < 4 ? 8 : i < 7 ? 4 : i < 11 ? 2 : 1;
        safetensors_bytes s = {0};
        uint8_t *copy;
        safetensors_bytes_tensor(&s, "t", names[i], 2, (uint64_t[]){1, 2}, zeros, 2 * size);
        safetensors_bytes_tensor(&s, "scalar", names[i], 0, NULL, zeros, size);
        safetensors_bytes_end(&s);
        inl_safetensors *file = open_good(&s, &copy);
        assert_string_equal(inl_safetensors_find(file, "t")->dtype, names[i]);
        assert_int_equal(inl_safetensors_find(file, "scalar")->dims, 0);
        assert_int_equal(inl_safetensors_find(file, "scalar")->bytes, size);
        close_good(file, copy);
        safetensors_bytes_free(&s);
    }
    // Elements of less than a byte fill whole bytes, or are refused.
    check_header("{\"a\":{\"dtype\":\"F4\",\"shape\":[32],\"data_offsets\":[0,16]}}", NULL);
    check_header("{\"a\":{\"dtype\":\"F4\",\"shape\":[33],\"data_offsets\":[0,16]}}",
                 "do not agree");
    check_header("{\"a\":{\"dtype\":\"F6_E2M3\",\"shape\":[4],\"data_offsets\":[0,3]},"
                 "\"b\":{\"dtype\":\"U8\",\"shape\":[13],\"data_offsets\":[3,16]}}",
                 NULL);
}

static void test_read_f32(void **state)
{
    (void)state;
    static const uint16_t f16[] = {0x3c00, 0x8001, 0x7bff}, bf16[] = {0x3f80, 0x8001, 0x7f7f};
    static const float from_f16[] = {1.0f, -0x1p-24f, 65504.0f};
    static const float from_bf16[] = {1.0f, -0x1p-133f, 0x1.fep127f};
    failing_env e;
    inl_env env = failing_env_start(&e, 0, false);
    safetensors_bytes s = {0};
    inl_safetensors *file;
    uint8_t *copy;
    float values[3];
    safetensors_bytes_tensor(&s, "odd", "U8", 1, (uint64_t[]){1}, "x",
                             1); // all behind is unaligned
    safetensors_bytes_tensor(&s, "f32", "F32", 1, (uint64_t[]){3}, matrix, 12);
    safetensors_bytes_tensor(&s, "f16", "F16", 1, (uint64_t[]){3}, f16, 6);
    safetensors_bytes_tensor(&s, "bf16", "BF16", 1, (uint64_t[]){3}, bf16, 6);
    safetensors_bytes_end(&s);
    assert_int_equal(open_copy(&env, s.data, s.size, &file, &copy), INLAY_OK);
    assert_int_equal(inl_safetensors_read_f32(file, inl_safetensors_find(file, "f32"), values, 3),
                     0);
    assert_memory_equal(values, matrix, 12);
    assert_int_equal(inl_safetensors_read_f32(file, inl_safetensors_find(file, "f16"), values, 3),
                     0);
    assert_memory_equal(values, from_f16, 12);
    assert_int_equal(inl_safetensors_read_f32(file, inl_safetensors_find(file, "bf16"), values, 3),
                     0);
    assert_memory_equal(values, from_bf16, 12);
    assert_int_equal(inl_safetensors_read_f32(file, inl_safetensors_find(file, "odd"), values, 1),
                     INLAY_ERROR_UNSUPPORTED);
    assert_string_equal(e.text, "test.safetensors: tensor odd has type U8 (F32, F16 and BF16 are "
                                "supported)");
    for (uint64_t count = 2; count <= 4; count += 2)
        assert_int_equal(
            inl_safetensors_read_f32(file, inl_safetensors_find(file, "f16"), values, count),
            INLAY_ERROR_MISMATCH);
    assert_non_null(strstr(e.text, "test.safetensors: tensor f16 does not have 4 elements"));
    inl_safetensors_close(&file);
    assert_int_equal(e.live, 0);
    free(copy);
    safetensors_bytes_free(&s);
}

// ---- lies

#define ENTRY(name, dtype, shape, offsets)                                                         \
    "\"" name "\":{\"dtype\":\"" dtype "\",\"shape\":" shape ",\"data_offsets\":" offsets "}"
#define ONE(dtype, shape, offsets) "{" ENTRY("a", dtype, shape, offsets) "}"

static void test_entry_lies(void **state)
{
    (void)state;
    static const char *const lies[][2] = {
        {"{\"a\":5}", "tensor a: \"dtype\" is missing"},
        {"{\"a\":null}", "tensor a: \"dtype\" is missing"},
        {"{\"a\":{\"shape\":[4],\"data_offsets\":[0,16]}}", "\"dtype\" is missing"},
        {"{\"a\":{\"dtype\":4,\"shape\":[4],\"data_offsets\":[0,16]}}", "\"dtype\" is missing"},
        {ONE("F33", "[4]", "[0,16]"), "\"dtype\" is missing or unknown"},
        {ONE("", "[4]", "[0,16]"), "\"dtype\" is missing or unknown"},
        {ONE("F32 of a name far longer than any type has", "[4]", "[0,16]"), "unknown"},
        {"{\"a\":{\"dtype\":\"F32\",\"data_offsets\":[0,16]}}", "\"shape\" is not a list"},
        {ONE("F32", "4", "[0,16]"), "\"shape\" is not a list"},
        {ONE("U8", "[1,1,1,1,1,1,1,1,16]", "[0,16]"), "\"shape\" is not a list of at most 8"},
        {ONE("F32", "[-4]", "[0,16]"), "something that is no size"},
        {ONE("F32", "[4.0]", "[0,16]"), "something that is no size"},
        {ONE("F32", "[\"4\"]", "[0,16]"), "something that is no size"},
        {ONE("F32", "[9223372036854775807,3]", "[0,16]"), "\"shape\" overflows"},
        {ONE("F32", "[4294967296,4294967296]", "[0,16]"), "\"shape\" overflows"},
        {ONE("F32", "[4611686018427387904]", "[0,0]"), "do not agree"}, // 2^62 * 32 bits
        {ONE("F32", "[18446744073709551616]", "[0,16]"), "the header is not a JSON object"},
        {ONE("F32", "[3]", "[0,16]"), "\"data_offsets\" and \"shape\" do not agree"},
        {ONE("F16", "[4]", "[0,16]"), "do not agree"},
        {ONE("F32", "[0,9]", "[0,16]"), "do not agree"},
        {ONE("F32", "[]", "[0,16]"), "do not agree"},
        {"{\"a\":{\"dtype\":\"F32\",\"shape\":[4]}}", "\"data_offsets\" is not a pair"},
        {ONE("F32", "[4]", "[16]"), "\"data_offsets\" is not a pair"},
        {ONE("F32", "[4]", "[0,16,32]"), "\"data_offsets\" is not a pair"},
        {ONE("F32", "[4]", "[0,\"16\"]"), "\"data_offsets\" is not a pair"},
        {ONE("F32", "[4]", "{\"0\":16}"), "\"data_offsets\" is not a pair"},
        {ONE("F32", "[4]", "[0,16.0]"), "\"data_offsets\" is not a pair"},
        {ONE("F32", "[4]", "[-16,0]"), "lie outside the file"},
        {ONE("F32", "[4]", "[16,0]"), "lie outside the file"},
        {ONE("F32", "[4]", "[4,20]"), "lie outside the file"},
        {ONE("U8", "[9223372036854775807]", "[0,9223372036854775807]"), "lie outside the file"},
    };
    check_header(ONE("F32", "[4]", "[0,16]"), NULL);
    check_header(ONE("U8", "[1,1,1,1,1,1,1,16]", "[0,16]"), NULL);
    for (size_t i = 0; i < INL_COUNT(lies); i++)
        check_header(lies[i][0], lies[i][1]);
}

static void test_cover_lies(void **state)
{
    (void)state;
    static const char *const lies[][2] = {
        {"{}", "16 bytes after the last tensor belong to none"},
        {ONE("F32", "[3]", "[0,12]"), "4 bytes after the last tensor belong to none"},
        {ONE("F32", "[3]", "[4,16]"),
         "tensor a: its bytes overlap another tensor's or leave a hole"},
        {"{" ENTRY("a", "F32", "[1]", "[0,4]") "," ENTRY("b", "F32", "[2]", "[8,16]") "}",
         "tensor b: its bytes overlap another tensor's or leave a hole"},
        {"{" ENTRY("a", "F32", "[3]", "[0,12]") "," ENTRY("b", "F32", "[2]", "[8,16]") "}",
         "tensor b: its bytes overlap another tensor's or leave a hole"},
        {"{" ENTRY("a", "F32", "[4]", "[0,16]") "," ENTRY("b", "F32", "[4]", "[0,16]") "}",
         "overlap"},
        {"{" ENTRY("a", "F32", "[4]", "[0,16]") "," ENTRY("b", "U8", "[0]", "[4,4]") "}",
         "overlap"},
        {"{" ENTRY("a", "F32", "[4]", "[0,16]") "," ENTRY("a", "F32", "[4]", "[0,16]") "}",
         "duplicate object key"},
        {"{\"a\":{\"dtype\":\"F32\",\"dtype\":\"F32\",\"shape\":[4],\"data_offsets\":[0,16]}}",
         "duplicate object key"},
    };
    for (size_t i = 0; i < INL_COUNT(lies); i++)
        check_header(lies[i][0], lies[i][1]);
    // Any order of the entries, and empty tensors wherever they fit.
    check_header(
        "{" ENTRY("b", "F32", "[2]", "[8,16]") "," ENTRY("a", "F32", "[2]", "[0,8]") "," ENTRY(
            "n", "F32", "[0]", "[8,8]") "," ENTRY("e", "U8", "[5,0]", "[16,16]") "}",
        NULL);
}

static void test_json_lies(void **state)
{
    (void)state;
    static const char *const lies[] = {"",
                                       " ",
                                       "[]",
                                       "1",
                                       "\"a\"",
                                       "null",
                                       "{",
                                       "{\"a\"}",
                                       "{} {}",
                                       "{\"a\\u0000b\":1}",
                                       "{\"\xff\":1}",
                                       "{'a':1}",
                                       "{\"a\":NaN}",
                                       "{\"a\":1e999}"};
    for (size_t i = 0; i < INL_COUNT(lies); i++)
        check_header(lies[i], "the header is not a JSON object");
    check_header(" \n{\"__metadata__\":{\"a\":\"b\"}," ENTRY("a", "F32", "[4]", "[0,16]") "}    \n",
                 NULL);
    enum { DEEP = 200000 };
    char *deep = malloc(DEEP + 1);
    assert_non_null(deep);
    memset(deep, '[', DEEP);
    memcpy(deep, "{\"a\":", 5);
    deep[DEEP] = '\0';
    check_header(deep, "the header is not a JSON object");
    free(deep);
    // A name that would steer a terminal, and is long.
    char header[400];
    snprintf(header, sizeof(header), "{\"\\u001b[2J%0200d\":5}", 7);
    check_header(header, "tensor ?[2J0000");
}

static void test_length_lies(void **state)
{
    (void)state;
    static const char good[] = ONE("F32", "[4]", "[0,16]");
    static const uint64_t lengths[] = {sizeof(good) + 16, 100000001,  1ull << 32,
                                       1ull << 63,        UINT64_MAX, UINT64_MAX - 7};
    safetensors_bytes s = {0};
    safetensors_bytes_join(&s, good, sizeof(good) - 1, matrix, 16);
    for (size_t i = 0; i < INL_COUNT(lengths); i++) {
        memcpy(s.data, &lengths[i], 8);
        check_refused(s.data, s.size, "does not fit a file of");
    }
    memset(s.data, 0, 8);
    check_refused(s.data, s.size, "the header is not a JSON object");
    safetensors_bytes_free(&s);
}

// ---- damage

static safetensors_bytes two_tensors(void)
{
    safetensors_bytes s = {0};
    safetensors_bytes_tensor(&s, "lora_A", "F32", 2, (uint64_t[]){2, 3}, matrix, 24);
    safetensors_bytes_tensor(&s, "lora_B", "BF16", 1, (uint64_t[]){3}, row, 6);
    safetensors_bytes_end(&s);
    return s;
}

static void test_truncation(void **state)
{
    (void)state;
    safetensors_bytes s = two_tensors();
    for (size_t cut = 0; cut < s.size; cut++)
        check_refused(s.data, cut, "");
    safetensors_bytes_free(&s);
}

// Any byte may be anything: an error or a good file, but nothing worse, and no memory left.
static void test_damage(void **state)
{
    (void)state;
    static const uint8_t values[] = {0,   '0', '9',  '"',  '{',  ']', ',',
                                     '-', 'e', '\\', 0x7f, 0x80, 0xff};
    safetensors_bytes s = two_tensors();
    for (size_t i = 0; i < s.size * INL_COUNT(values); i++) {
        failing_env e;
        inl_env env = failing_env_start(&e, 0, false);
        uint8_t *at = &s.data[i / INL_COUNT(values)], before = *at, *copy;
        inl_safetensors *file;
        *at = values[i % INL_COUNT(values)];
        inlay_result result = open_copy(&env, s.data, s.size, &file, &copy);
        assert_int_equal(e.errors, result != INLAY_OK);
        assert_true((file != NULL) == (result == INLAY_OK));
        inl_safetensors_close(&file);
        assert_int_equal(e.live, 0);
        *at = before;
        free(copy);
    }
    safetensors_bytes_free(&s);
}

static inlay_result write_and_read(const inl_env *env, void *user)
{
    inl_safetensors *file = NULL;
    INL_TRY(inl_safetensors_write(env, user, written, INL_COUNT(written)));
    inlay_result result = inl_safetensors_open(env, user, &file);
    inl_safetensors_close(&file);
    return result;
}

static void test_out_of_memory(void **state)
{
    temp_folder *f = *state;
    char *path = (char *)temp_path(f, "memory");
    assert_true(check_each_failure("safetensors", write_and_read, path, 100) >= 8);
    assert_int_equal(temp_folder_entries(f->path), 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        temp_folder_test(test_round_trip),   temp_folder_test(test_empty),
        temp_folder_test(test_many),         temp_folder_test(test_writer_refuses),
        temp_folder_test(test_missing_file), cmocka_unit_test(test_types),
        cmocka_unit_test(test_read_f32),     cmocka_unit_test(test_entry_lies),
        cmocka_unit_test(test_cover_lies),   cmocka_unit_test(test_json_lies),
        cmocka_unit_test(test_length_lies),  cmocka_unit_test(test_truncation),
        cmocka_unit_test(test_damage),       temp_folder_test(test_out_of_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
