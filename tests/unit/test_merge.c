// SPDX-License-Identifier: MIT
// Merging below the API: each element of the sum, what is said of the progress, and that a merge
// that is stopped leaves nothing.
#define _XOPEN_SOURCE 700
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "adapter/merge.h"
#include "base/folder.h"
#include "harness/temp_folder.h"
#include "harness/toy_adapter.h"
#include "harness/toy_folder.h"
#include "harness/toy_model.h"
#include "io/hf_folder.h"

// A base of either kind and an adapter of all its linear layers.
typedef struct world {
    inl_env env;
    inl_gguf *gguf;
    inl_config config;
    inl_modules modules;
    inl_lora *lora;
} world;

static void open_world(world *w, inl_gguf *gguf)
{
    w->gguf = gguf;
    assert_int_equal(inl_config_read(&w->env, gguf, &w->config), INLAY_OK);
    assert_int_equal(inl_modules_create(&w->env, &w->config, &w->modules), INLAY_OK);
    w->lora = toy_lora(&w->modules, &(inl_lora_params){.r = 3, .alpha = 5.0f, .seed = 7});
}

static void close_world(world *w)
{
    inl_lora_destroy(&w->lora);
    inl_modules_free(&w->env, &w->modules);
    inl_config_free(&w->env, &w->config);
    inl_gguf_close(&w->gguf);
}

// Some more than one report's 4 MiB.
static void open_file(world *w, temp_folder *f)
{
    static const toy_model shape = {.dim = 32, .ffn = 48, .layers = 2, .heads = 4, .kv_heads = 2,
                                    .head_dim = 8, .vocab = 70000, .tied = 1, .seed = 3,
                                    .format = INL_FORMAT_F32};
    inl_gguf *gguf;
    *w = (world){.env = inl_env_resolve(NULL)};
    const char *path = temp_path(f, "base.gguf");
    assert_int_equal(toy_model_write(path, &shape), 0);
    assert_int_equal(inl_gguf_open(&w->env, path, &gguf), INLAY_OK);
    open_world(w, gguf);
}

static void write_file(const char *path, const void *data, size_t size)
{
    inl_env env = inl_env_resolve(NULL);
    assert_int_equal(inl_file_write(&env, path, data, size), INLAY_OK);
}

static void open_folder(world *w, temp_folder *f)
{
    char config[TOY_FOLDER_CONFIG], path[128];
    safetensors_bytes s = {0};
    inl_gguf *gguf;
    *w = (world){.env = inl_env_resolve(NULL)};
    assert_int_equal(inl_make_folder(&w->env, temp_path(f, "base")), INLAY_OK);
    toy_folder_tensors(&toy_folders[0], &s);
    size_t size = toy_folder_config(&toy_folders[0], config);
    write_file(temp_path(f, "base/config.json"), config, size);
    write_file(temp_path(f, "base/model.safetensors"), s.data, s.size);
    safetensors_bytes_free(&s);
    snprintf(path, sizeof(path), "%s", temp_path(f, "base"));
    assert_int_equal(inl_hf_folder_open(&w->env, path, &gguf), INLAY_OK);
    open_world(w, gguf);
}

// ---- progress

typedef struct progress {
    uint32_t calls, stop_at; // the call that says stop, from 1; 0: none
    uint64_t done, total;
    bool falls; // done went back, or past total
} progress;

static bool show(void *user, uint64_t done, uint64_t total)
{
    progress *p = user;
    p->falls |= done <= p->done || done > total || (p->calls > 0 && total != p->total);
    p->done = done;
    p->total = total;
    return ++p->calls != p->stop_at;
}

// ---- values

static const void *values_of(const inl_gguf *gguf, const char *name)
{
    const inl_gguf_tensor *t = inl_gguf_find_tensor(gguf, name);
    assert_non_null(t);
    assert_int_equal(t->type, inl_format_by_id(INL_FORMAT_F32)->ggml_type);
    return t->data;
}

static float value_at(const void *values, uint32_t i) // a file's may lie at any address
{
    float value;
    memcpy(&value, (const char *)values + (size_t)i * sizeof(value), sizeof(value));
    return value;
}

static void check_pair(const inl_gguf *base, const inl_gguf *merged, const inl_lora_pair *p,
                       const char *name)
{
    const void *before = values_of(base, name), *after = values_of(merged, name);
    for (uint32_t i = 0; i < p->in * p->out; i++) {
        double sum = 0.0;
        for (uint32_t k = 0; k < p->r; k++)
            sum += (double)p->b[i / p->in * p->r + k] * (double)p->a[k * p->in + i % p->in];
        float want = (float)((double)value_at(before, i) + (double)p->scale * sum);
        float got = value_at(after, i);
        if (got != want)
            fail_msg("%s: element %u is %.9g, not %.9g", name, i, (double)got, (double)want);
    }
}

static void test_file(void **state)
{
    world w;
    progress p = {0};
    inl_gguf *merged;
    uint64_t bytes = 0;
    open_file(&w, *state);
    const char *out = temp_path(*state, "out.gguf");
    const inl_merge_params params = {.progress = show, .user = &p};
    assert_int_equal(inl_merge_gguf(w.gguf, &w.modules.list, w.lora, &params, out), INLAY_OK);
    assert_int_equal(inl_gguf_open(&w.env, out, &merged), INLAY_OK);
    assert_int_equal(inl_gguf_tensor_count(merged), inl_gguf_tensor_count(w.gguf));
    for (uint32_t i = 0; i < inl_gguf_tensor_count(w.gguf); i++) {
        const inl_gguf_tensor *t = inl_gguf_tensor_at(w.gguf, i);
        bytes += t->bytes;
        if (t->dims == 1)
            assert_memory_equal(t->data, inl_gguf_find_tensor(merged, t->name)->data, t->bytes);
    }
    assert_int_equal(w.lora->pair_count, 14);
    for (uint32_t i = 0; i < w.lora->pair_count; i++)
        check_pair(w.gguf, merged, &w.lora->pairs[i],
                   w.modules.items[w.lora->pairs[i].module].gguf);
    assert_true(p.calls > 1 && !p.falls && p.done == bytes && p.total == bytes);
    inl_gguf_close(&merged);
    close_world(&w);
}

static void test_stopped_file(void **state)
{
    world w;
    open_file(&w, *state);
    for (uint32_t at = 1; at <= 3; at++) {
        progress p = {.stop_at = at};
        const inl_merge_params params = {.progress = show, .user = &p};
        inlay_result result = inl_merge_gguf(w.gguf, &w.modules.list, w.lora, &params,
                                             temp_path(*state, "out.gguf"));
        assert_int_equal(result, INLAY_ERROR_INTERRUPTED);
        assert_int_equal(p.calls, at);
        assert_int_equal(temp_folder_entries(((temp_folder *)*state)->path), 1);
    }
    close_world(&w);
}

// Also at the last byte; and what a killed process with our id has left is no part of the result.
static void test_folder(void **state)
{
    world w;
    temp_folder *f = *state;
    char stale[160];
    progress p = {.stop_at = 1};
    const inl_merge_params params = {.progress = show, .user = &p};
    open_folder(&w, f);
    snprintf(stale, sizeof(stale), "%s.tmp-%ld", temp_path(f, "out"), (long)getpid());
    assert_int_equal(inl_make_folder(&w.env, stale), INLAY_OK);
    strcat(stale, "/stale.json");
    write_file(stale, "{}", 2);
    const char *out = temp_path(f, "out");
    assert_int_equal(inl_merge_folder(w.gguf, &w.modules.list, w.lora, &params, out),
                     INLAY_ERROR_INTERRUPTED);
    assert_int_equal(temp_folder_entries(f->path), 1);
    snprintf(stale, sizeof(stale), "%s.tmp-%ld", out, (long)getpid());
    assert_int_equal(inl_make_folder(&w.env, stale), INLAY_OK);
    strcat(stale, "/stale.json");
    write_file(stale, "{}", 2);
    assert_int_equal(inl_merge_folder(w.gguf, &w.modules.list, w.lora, &params, out), INLAY_OK);
    assert_int_equal(temp_folder_entries(out), 2);
    assert_int_equal(temp_folder_entries(f->path), 2);
    assert_true(p.calls == 2 && p.done == p.total);
    inl_gguf *merged;
    assert_int_equal(inl_hf_folder_open(&w.env, out, &merged), INLAY_OK);
    for (uint32_t i = 0; i < w.lora->pair_count; i++)
        check_pair(w.gguf, merged, &w.lora->pairs[i],
                   w.modules.items[w.lora->pairs[i].module].gguf);
    inl_gguf_close(&merged);
    close_world(&w);
}

// ---- folders

static void test_folder_writer(void **state)
{
    inl_env env = inl_env_resolve(NULL);
    temp_folder *f = *state;
    inl_folder_writer w;
    char path[160];
    for (uint32_t round = 0; round < 2; round++) { // anew, and in the place of an older one
        snprintf(path, sizeof(path), "%s/", temp_path(f, "new"));
        assert_int_equal(inl_folder_begin(&env, path, &w), INLAY_OK);
        snprintf(path, sizeof(path), "%s/file-%u", w.made, round);
        write_file(path, "text", 4);
        assert_int_equal(inl_folder_commit(&w), INLAY_OK);
        assert_true(inl_exists(temp_path(f, round == 0 ? "new/file-0" : "new/file-1")));
        assert_int_equal(temp_folder_entries(temp_path(f, "new")), 1);
        assert_int_equal(temp_folder_entries(f->path), 1);
    }
    assert_int_equal(inl_folder_begin(&env, temp_path(f, "other"), &w), INLAY_OK);
    inl_folder_abandon(&w);
    assert_int_equal(temp_folder_entries(f->path), 1);
    write_file(temp_path(f, "file"), "text", 4);
    assert_int_equal(inl_folder_begin(&env, temp_path(f, "file/in"), &w), INLAY_ERROR_IO);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        temp_folder_test(test_file),
        temp_folder_test(test_stopped_file),
        temp_folder_test(test_folder),
        temp_folder_test(test_folder_writer),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
