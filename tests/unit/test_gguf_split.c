// SPDX-License-Identifier: MIT
// Split GGUF files: any part opens the whole, and each way in which parts may not belong together
// gives one sentence that names the file.
#define _XOPEN_SOURCE 700
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "harness/failing_env.h"
#include "harness/gguf_bytes.h"
#include "harness/temp_folder.h"
#include "io/gguf.h"

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#define PARTS 3

typedef struct part {
    uint32_t number, count, tensors; // as its metadata say; count 0: they say nothing
    const char *extra;               // a tensor besides its own
} part;

static void part_path(const char *folder, const char *stem, uint32_t number, char out[128])
{
    snprintf(out, 128, "%s/%s-%05u-of-%05u.gguf", folder, stem, number + 1, PARTS);
}

static void put_tensor(gguf_bytes *g, const char *name, float value)
{
    uint64_t four = 4;
    float values[4] = {value, value, value, value};
    gguf_bytes_tensor(g, name, 0, 1, &four, values, sizeof(values));
}

// Part `number` holds the tensor "tNUMBER", filled with that number; the first has the metadata.
static void write_part(const char *path, uint32_t number, const part *p)
{
    gguf_bytes g;
    char name[8];
    gguf_bytes_begin(&g);
    if (number == 0)
        gguf_bytes_string(&g, "general.architecture", "llama");
    if (p->count > 0) {
        gguf_bytes_u32(&g, "split.no", p->number);
        gguf_bytes_u32(&g, "split.count", p->count);
        gguf_bytes_u32(&g, "split.tensors.count", p->tensors);
    }
    snprintf(name, sizeof(name), "t%u", number);
    put_tensor(&g, name, (float)number);
    if (p->extra)
        put_tensor(&g, p->extra, -1.0f);
    gguf_bytes_end(&g);
    FILE *f = fopen(path, "wb");
    assert_non_null(f);
    assert_int_equal(fwrite(g.data, 1, g.size, f), g.size);
    assert_int_equal(fclose(f), 0);
    gguf_bytes_free(&g);
}

static void write_all(const char *folder, const part parts[PARTS])
{
    char path[128];
    for (uint32_t i = 0; i < PARTS; i++) {
        part_path(folder, "m", i, path);
        write_part(path, i, &parts[i]);
    }
}

static const part good[PARTS] = {{0, 3, 3, NULL}, {1, 3, 3, NULL}, {2, 3, 3, NULL}};

static void check_whole(const inl_env *env, const char *path)
{
    inl_gguf *gguf = NULL;
    inl_slice name;
    assert_int_equal(inl_gguf_open(env, path, &gguf), INLAY_OK);
    assert_int_equal(inl_gguf_tensor_count(gguf), PARTS);
    assert_true(inl_gguf_get_string(gguf, "general.architecture", &name));
    for (uint32_t i = 0; i < PARTS; i++) {
        char wanted[8];
        float value;
        snprintf(wanted, sizeof(wanted), "t%u", i);
        const inl_gguf_tensor *t = inl_gguf_find_tensor(gguf, wanted);
        assert_non_null(t);
        memcpy(&value, t->data, sizeof(value));
        assert_true(value == (float)i);
    }
    assert_false(inl_gguf_is_folder(gguf));
    inl_gguf_close(&gguf);
}

static void test_any_part_opens_all(void **state)
{
    inl_env env = inl_env_resolve(NULL);
    char path[128];
    write_all(*state, good);
    for (uint32_t i = 0; i < PARTS; i++) {
        part_path(*state, "m", i, path);
        check_whole(&env, path);
    }
}

static void test_parts_are_its_files(void **state)
{
    inl_env env = inl_env_resolve(NULL);
    char path[128];
    inl_gguf *gguf;
    write_all(*state, good);
    part_path(*state, "m", 1, path);
    assert_int_equal(inl_gguf_open(&env, path, &gguf), INLAY_OK);
    for (uint32_t i = 0; i < PARTS; i++) {
        part_path(*state, "m", i, path);
        assert_true(inl_gguf_has_file(gguf, path));
    }
    part_path(*state, "other", 0, path);
    assert_false(inl_gguf_has_file(gguf, path));
    assert_false(inl_gguf_has_file(gguf, *state));
    inl_gguf_close(&gguf);
}

// Opening part `from` must fail with a sentence that has `what` and names `file`.
static void check_refused(const char *folder, uint32_t from, inlay_result want, const char *file,
                          const char *what)
{
    failing_env w;
    inl_env env = failing_env_start(&w, 0, false);
    inl_gguf *gguf = NULL;
    char path[128];
    part_path(folder, "m", from, path);
    inlay_result result = inl_gguf_open(&env, path, &gguf);
    if (result != want || !strstr(w.text, what) || !strstr(w.text, file))
        fail_msg("wanted %d, \"%s\"; got %d, \"%s\"", want, what, result, w.text);
    assert_null(gguf);
    assert_int_equal(w.errors, 1);
    assert_int_equal(w.live, 0);
}

static void check_parts(const char *folder, const part *first, const part *second,
                        const char *what)
{
    part parts[PARTS] = {first ? *first : good[0], second ? *second : good[1], good[2]};
    write_all(folder, parts);
    check_refused(folder, 0, INLAY_ERROR_BAD_FILE, first ? "m-00001" : "m-00002", what);
}

static void test_missing_part(void **state)
{
    char path[128];
    for (uint32_t missing = 0; missing < PARTS; missing++) {
        write_all(*state, good);
        part_path(*state, "m", missing, path);
        assert_int_equal(unlink(path), 0);
        char file[16], what[32];
        snprintf(file, sizeof(file), "m-0000%u-of", missing + 1);
        snprintf(what, sizeof(what), "part %u of the 3", missing + 1);
        check_refused(*state, missing == 0 ? 1 : 0, INLAY_ERROR_NOT_FOUND, file, what);
    }
}

static void test_parts_that_lie(void **state)
{
    check_parts(*state, NULL, &(part){2, 3, 3, NULL}, "part 3 of 3 by its metadata, 2 of 3");
    check_parts(*state, NULL, &(part){1, 4, 3, NULL}, "part 2 of 4 by its metadata, 2 of 3");
    check_parts(*state, NULL, &(part){0}, "split.no is missing");
    check_parts(*state, &(part){0, 3, 7, NULL}, NULL, "not the 3 tensors that the files have");
    check_parts(*state, &(part){0, 3, 4, "t2"}, NULL, "tensor t2 is in two of the files");
}

static void test_damaged_part(void **state)
{
    char path[128];
    write_all(*state, good);
    part_path(*state, "m", 1, path);
    assert_int_equal(truncate(path, 70), 0);
    check_refused(*state, 0, INLAY_ERROR_BAD_FILE, "m-00002-of", "byte offset");
}

static void test_renamed_part(void **state)
{
    inl_gguf *gguf = NULL;
    char path[128];
    failing_env w;
    inl_env env = failing_env_start(&w, 0, false);
    snprintf(path, sizeof(path), "%s/model.gguf", (const char *)*state);
    write_part(path, 0, &good[0]);
    assert_int_equal(inl_gguf_open(&env, path, &gguf), INLAY_ERROR_BAD_FILE);
    assert_non_null(strstr(w.text, "must keep its name"));
    assert_int_equal(w.live, 0);
}

static void test_out_of_memory(void **state)
{
    char path[128];
    write_all(*state, good);
    part_path(*state, "m", 2, path);
    for (uint32_t n = 1;; n++) {
        failing_env w;
        inl_env env = failing_env_start(&w, n, false);
        inl_gguf *gguf = NULL;
        inlay_result result = inl_gguf_open(&env, path, &gguf);
        inl_gguf_close(&gguf);
        assert_int_equal(w.live, 0);
        if (result == INLAY_OK)
            break;
        assert_int_equal(result, INLAY_ERROR_OUT_OF_MEMORY);
        assert_true(n < 200);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        temp_folder_test(test_any_part_opens_all), temp_folder_test(test_missing_part),
        temp_folder_test(test_parts_that_lie),     temp_folder_test(test_damaged_part),
        temp_folder_test(test_renamed_part),       temp_folder_test(test_out_of_memory),
        temp_folder_test(test_parts_are_its_files),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
