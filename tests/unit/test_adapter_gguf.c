// SPDX-License-Identifier: MIT
// Adapters in GGUF files: as llama.cpp's converter writes them, of every type, with alpha or
// without; what is wrong is refused by name; what is saved gives the same product again.
#define _XOPEN_SOURCE 700
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <cmocka.h>

#include "adapter/pairs.h"
#include "base/file.h"
#include "harness/failing_env.h"
#include "harness/gguf_bytes.h"
#include "harness/temp_folder.h"
#include "harness/toy_adapter.h"
#include "io/gguf.h"
#include "quant/format.h"

#define V "blk.0.attn_v.weight"
#define A ".lora_a"
#define B ".lora_b"
#define CODEBOOK 16 // IQ2_XXS, which is not read

static inl_modules odd, even;

// ---- files by hand

static void put_metadata(gguf_bytes *g, const char *architecture)
{
    gguf_bytes_begin(g);
    gguf_bytes_string(g, "general.architecture", architecture);
    gguf_bytes_string(g, "general.type", "adapter");
    gguf_bytes_string(g, "adapter.type", "lora");
    gguf_bytes_string(g, "general.name", "a name");
}

// Values 0, 1, 2, ... of a stream, and what the format stores of them.
static void fill(const inl_format *format, uint32_t stream, uint32_t count, float **values,
                 uint8_t **blocks)
{
    *values = malloc(count * sizeof(float));
    *blocks = malloc(4 * (size_t)count);
    assert_true(*values && *blocks);
    for (uint32_t i = 0; i < count; i++)
        (*values)[i] = toy_value(stream, i);
    format->encode(*values, *blocks, count);
}

// The first dimension is the contiguous one.
static void put_tensor(gguf_bytes *g, const char *name, inl_format_id id, uint32_t ne0,
                       uint32_t ne1, uint32_t stream)
{
    const inl_format *format = inl_format_by_id(id);
    uint32_t count = ne0 * ne1;
    float *values;
    uint8_t *blocks;
    fill(format, stream, count, &values, &blocks);
    // As ggml writes it: dimensions of 1 at the end are left out.
    gguf_bytes_tensor(g, name, format->ggml_type, ne1 > 1 ? 2 : 1, (uint64_t[]){ne0, ne1}, blocks,
                      count / format->block_elements * format->block_bytes);
    free(values);
    free(blocks);
}

static void put_pair(gguf_bytes *g, const inl_module *m, uint32_t index, inl_format_id id,
                     uint32_t r)
{
    char name[128];
    snprintf(name, sizeof(name), "%s" A, m->gguf);
    put_tensor(g, name, id, m->in, r, 2 * index);
    snprintf(name, sizeof(name), "%s" B, m->gguf);
    put_tensor(g, name, id, r, m->out, 2 * index + 1);
}

static const char *write_file(temp_folder *f, gguf_bytes *g)
{
    inl_env env = inl_env_resolve(NULL);
    const char *path = temp_path(f, "adapter.gguf");
    gguf_bytes_end(g);
    assert_int_equal(inl_file_write(&env, path, g->data, g->size), INLAY_OK);
    gguf_bytes_free(g);
    return path;
}

static inl_lora *load(const char *path, const inl_module_list *list)
{
    inl_lora *lora = toy_load(path, list, "gguf");
    assert_string_equal(lora->architecture, "llama");
    return lora;
}

static void check_file(temp_folder *f, gguf_bytes *g, inlay_result want, const char *what)
{
    const char *path = write_file(f, g);
    check_refused(path, &odd.list, want, path, what);
}

// ---- reading

// What the format makes of a stream's values.
static void check_half(const float *got, inl_format_id id, uint32_t count, uint32_t stream)
{
    const inl_format *format = inl_format_by_id(id);
    float *want;
    uint8_t *blocks;
    fill(format, stream, count, &want, &blocks);
    format->decode(blocks, want, count);
    assert_memory_equal(got, want, count * sizeof(float));
    free(want);
    free(blocks);
}

static void test_types(void **state)
{
    temp_folder *f = *state;
    static const inl_format_id formats[] = {INL_FORMAT_F32, INL_FORMAT_F16, INL_FORMAT_BF16,
                                            INL_FORMAT_Q8_0, INL_FORMAT_Q4_0};
    for (size_t t = 0; t < INL_COUNT(formats); t++) {
        gguf_bytes g;
        put_metadata(&g, "llama");
        gguf_bytes_f32(&g, "adapter.lora.alpha", 48.0f);
        for (uint32_t i = even.list.count; i-- > 0;)
            put_pair(&g, &even.items[i], i, formats[t], 32);
        inl_lora *lora = load(write_file(f, &g), &even.list);
        assert_int_equal(lora->pair_count, even.list.count);
        assert_true(lora->r == 32 && lora->alpha == 48.0 && lora->has_head && !lora->use_rslora);
        assert_int_equal(lora->target_count, 8);
        for (uint32_t i = 0; i < lora->pair_count; i++) {
            const inl_lora_pair *p = &lora->pairs[i];
            assert_true(p->module == i && p->scale == 1.5f);
            assert_string_equal(p->path, even.items[i].path);
            check_half(p->a, formats[t], p->r * p->in, 2 * i);
            check_half(p->b, formats[t], p->r * p->out, 2 * i + 1); // rows as they are
        }
        inl_lora_destroy(&lora);
    }
}

// Scale = alpha / the pair's own rank; 1 where alpha is 0 or not there.
static void test_alpha(void **state)
{
    temp_folder *f = *state;
    static const float alphas[] = {7.0f, 0.0f, -0.0f, -3.0f, NAN}; // the last: none in the file
    static const uint32_t ranks[] = {1, 3, 16};
    for (size_t i = 0; i < INL_COUNT(alphas); i++) {
        gguf_bytes g;
        put_metadata(&g, "llama");
        if (!isnan(alphas[i]))
            gguf_bytes_f32(&g, "adapter.lora.alpha", alphas[i]);
        for (uint32_t m = 0; m < INL_COUNT(ranks); m++)
            put_pair(&g, &odd.items[m], m, INL_FORMAT_F32, ranks[m]);
        inl_lora *lora = load(write_file(f, &g), &odd.list);
        bool one = alphas[i] == 0.0f || isnan(alphas[i]);
        assert_true(lora->r == 16 && lora->alpha == (one ? 16.0 : (double)alphas[i]));
        for (uint32_t m = 0; m < INL_COUNT(ranks); m++) {
            assert_int_equal(lora->pairs[m].r, ranks[m]);
            assert_true(lora->pairs[m].scale == (one ? 1.0f : alphas[i] / (float)ranks[m]));
        }
        inl_lora_destroy(&lora);
    }
}

static void test_without_base(void **state)
{
    temp_folder *f = *state;
    gguf_bytes g;
    put_metadata(&g, "llama");
    put_tensor(&g, "blk.9.what.weight" A, INL_FORMAT_F16, 5, 2, 0);
    put_tensor(&g, "blk.9.what.weight" B, INL_FORMAT_F16, 2, 7, 1);
    put_pair(&g, &odd.items[1], 1, INL_FORMAT_F32, 4);
    inl_lora *lora = load(write_file(f, &g), NULL);
    assert_true(lora->pair_count == 2 && lora->target_count == 0 && lora->r == 4);
    assert_true(find_pair(lora, "blk.9.what.weight")->out == 7);
    assert_true(find_pair(lora, odd.items[1].gguf)->in == 20);
    inl_lora_destroy(&lora);
    // The name of the file may lack its ending.
    inl_env env = inl_env_resolve(NULL);
    char *other = inl_path_join(&env, f->path, "no-ending");
    assert_non_null(other);
    assert_int_equal(rename(f->file, other), 0);
    lora = load(other, NULL);
    inl_lora_destroy(&lora);
    inl_free(&env, other);
}

static void test_norms_are_ignored(void **state)
{
    temp_folder *f = *state;
    failing_env e;
    inl_env env = failing_env_start(&e, 0, false);
    inl_lora *lora;
    gguf_bytes g;
    put_metadata(&g, "llama");
    put_tensor(&g, "blk.0.attn_norm.weight", INL_FORMAT_F32, 20, 1, 9);
    put_pair(&g, &odd.items[2], 2, INL_FORMAT_F32, 4);
    assert_int_equal(inl_lora_load(&env, &odd.list, write_file(f, &g), &lora), INLAY_OK);
    assert_int_equal(lora->pair_count, 1);
    assert_non_null(strstr(e.warning, "tensor blk.0.attn_norm.weight is ignored"));
    inl_lora_destroy(&lora);
    assert_int_equal(e.live, 0);
}

// ---- what is refused

static void test_refused_metadata(void **state)
{
    temp_folder *f = *state;
    gguf_bytes g;
    gguf_bytes_begin(&g);
    gguf_bytes_string(&g, "general.architecture", "llama");
    check_file(f, &g, INLAY_ERROR_UNSUPPORTED, "is not a LoRA adapter");
    gguf_bytes_begin(&g);
    gguf_bytes_string(&g, "general.type", "adapter");
    gguf_bytes_string(&g, "adapter.type", "control_vector");
    check_file(f, &g, INLAY_ERROR_UNSUPPORTED, "is not a LoRA adapter");
    gguf_bytes_begin(&g);
    gguf_bytes_string(&g, "general.type", "adapter");
    gguf_bytes_string(&g, "adapter.type", "lora");
    check_file(f, &g, INLAY_ERROR_BAD_FILE, "the metadata lack general.architecture");
    put_metadata(&g, "gemma2");
    check_file(f, &g, INLAY_ERROR_MISMATCH, "is for a gemma2 model, this one is llama");
    put_metadata(&g, "llama whose name is longer than any that there is");
    check_file(f, &g, INLAY_ERROR_MISMATCH, "is for a llama whose name");
    put_metadata(&g, "llama");
    check_file(f, &g, INLAY_ERROR_BAD_FILE, "the adapter holds no tensors");
    put_metadata(&g, "llama");
    gguf_bytes_u32(&g, "adapter.lora.alpha", 16);
    check_file(f, &g, INLAY_ERROR_BAD_FILE, "adapter.lora.alpha is not an f32");
    put_metadata(&g, "llama");
    gguf_bytes_f32(&g, "adapter.lora.alpha", -INFINITY);
    check_file(f, &g, INLAY_ERROR_NOT_FINITE, "adapter.lora.alpha is not finite");
    put_metadata(&g, "llama");
    gguf_bytes_i32s(&g, "adapter.alora.invocation_tokens", (int32_t[]){1, 2}, 2);
    check_file(f, &g, INLAY_ERROR_UNSUPPORTED, "aLoRA");
}

// Two tensors of any names and shapes (contiguous dimension first).
typedef struct pair_case {
    const char *a_name, *b_name;
    uint32_t a[2], b[2];
    inlay_result result;
    const char *what;
} pair_case;

static void test_refused_pairs(void **state)
{
    temp_folder *f = *state;
    const inlay_result other = INLAY_ERROR_MISMATCH, no = INLAY_ERROR_UNSUPPORTED;
    const pair_case cases[] = {
        {V A,
         V B,
         {21, 4},
         {4, 6},
         other,
         "tensor " V A " is for a matrix of 6 x 21, the model's is 6 x 20"},
        {V A,
         V B,
         {20, 4},
         {4, 7},
         other,
         "tensor " V B " is for a matrix of 7 x 20, the model's is 6 x 20"},
        {"blk.2.attn_v.weight" A,
         "blk.2.attn_v.weight" B,
         {20, 4},
         {4, 6},
         other,
         "tensor blk.2.attn_v.weight" A
         " is for blk.2.attn_v.weight, which the model does not have"},
        {V A, V B, {20, 4}, {5, 6}, INLAY_ERROR_BAD_FILE, V B " (6 x 5) are no pair"},
        {V A, V B, {20, 65537}, {65537, 6}, INLAY_ERROR_BAD_FILE, "are no pair"},
        {V A, "blk.0.attn_k.weight" B, {20, 4}, {4, 6}, other, "but no blk.0.attn_"},
        {V A, V A "x", {20, 4}, {4, 6}, other, "there is a tensor " V A " but no " V B},
        {V B, V "_norm.weight", {4, 6}, {4, 6}, other, "there is a tensor " V B " but no " V A},
        {"token_embd.weight" A,
         "token_embd.weight" B,
         {4, 13},
         {4, 20},
         no,
         "adapters of the embedding are not supported"},
    };
    for (size_t i = 0; i < INL_COUNT(cases); i++) {
        const pair_case *c = &cases[i];
        gguf_bytes g;
        put_metadata(&g, "llama");
        put_tensor(&g, c->a_name, INL_FORMAT_F16, c->a[0], c->a[1], 0);
        put_tensor(&g, c->b_name, INL_FORMAT_F16, c->b[0], c->b[1], 1);
        check_file(f, &g, c->result, c->what);
    }
    static const char *const names[] = {V, V ".lora_c", "rope_freqs.weight", V ".bias",
                                        "norm.weight"};
    for (size_t i = 0; i < INL_COUNT(names); i++) {
        gguf_bytes g;
        put_metadata(&g, "llama");
        put_pair(&g, &odd.items[2], 2, INL_FORMAT_F32, 4);
        put_tensor(&g, names[i], INL_FORMAT_F32, 20, 4, 0);
        check_file(f, &g, no, names[i]);
    }
}

static void check_a(temp_folder *f, uint32_t type, uint32_t dims, const uint64_t *shape,
                    size_t bytes, inlay_result result, const char *what)
{
    static const uint8_t zeros[1024];
    gguf_bytes g;
    put_metadata(&g, "llama");
    gguf_bytes_tensor(&g, V A, type, dims, shape, zeros, bytes);
    put_tensor(&g, V B, INL_FORMAT_F32, 4, 6, 1);
    check_file(f, &g, result, what);
}

static void test_refused_shapes(void **state)
{
    temp_folder *f = *state;
    check_a(f, 0, 3, (uint64_t[]){20, 2, 2}, 320, INLAY_ERROR_BAD_FILE,
            "are no pair: they are of 2 and 1 experts");
    check_a(f, 0, 4, (uint64_t[]){20, 2, 1, 2}, 320, INLAY_ERROR_BAD_FILE,
            "tensor " V A " has 4 dimensions, not 2");
    check_a(f, 0, 1, (uint64_t[]){80}, 320, INLAY_ERROR_BAD_FILE, V A " (1 x 80)");
    check_a(f, CODEBOOK, 2, (uint64_t[]){256, 4}, 264, INLAY_ERROR_UNSUPPORTED,
            "tensor " V A " has the type IQ2_XXS, which is not supported");
    check_a(f, 24, 2, (uint64_t[]){20, 4}, 80, INLAY_ERROR_UNSUPPORTED, "has the type I8");
    check_a(f, 0, 2, (uint64_t[]){20, 1ull << 40}, 320, INLAY_ERROR_BAD_FILE, "pass the end");
    // More dimensions than two, all of them 1, are as good as none.
    static const float zeros[80];
    gguf_bytes g;
    put_metadata(&g, "llama");
    gguf_bytes_tensor(&g, V A, 0, 4, (uint64_t[]){20, 4, 1, 1}, zeros, 320);
    put_tensor(&g, V B, INL_FORMAT_F32, 4, 6, 1);
    inl_lora *lora = load(write_file(f, &g), &odd.list);
    assert_int_equal(lora->pairs[0].r, 4);
    inl_lora_destroy(&lora);
}

static void test_not_finite(void **state)
{
    temp_folder *f = *state;
    float a[80] = {0}, b[24] = {0};
    for (int in_b = 0; in_b < 2; in_b++)
        for (int nan = 0; nan < 2; nan++) {
            float *at = in_b ? &b[23] : &a[5], bad = nan ? NAN : -INFINITY;
            char want[128];
            gguf_bytes g;
            *at = bad;
            put_metadata(&g, "llama");
            gguf_bytes_tensor(&g, V A, 0, 2, (uint64_t[]){20, 4}, a, sizeof(a));
            gguf_bytes_tensor(&g, V B, 0, 2, (uint64_t[]){4, 6}, b, sizeof(b));
            snprintf(want, sizeof(want), "tensor %s has %s at element %d", in_b ? V B : V A,
                     nan ? "NaN" : "infinity", in_b ? 23 : 5);
            check_file(f, &g, INLAY_ERROR_NOT_FINITE, want);
            *at = 0.0f;
        }
}

static void test_no_file(void **state)
{
    temp_folder *f = *state;
    failing_env e;
    inl_env env = failing_env_start(&e, 0, false);
    inl_lora *lora;
    assert_int_equal(inl_lora_load(&env, &odd.list, "/no/such/x.gguf", &lora),
                     INLAY_ERROR_NOT_FOUND);
    const char *path = temp_path(f, "x.gguf");
    assert_int_equal(inl_file_write(&env, path, "GGUF\3", 5), INLAY_OK);
    assert_int_equal(inl_lora_load(&env, &odd.list, path, &lora), INLAY_ERROR_BAD_FILE);
    assert_non_null(strstr(e.text, "the file ends within the version"));
    assert_int_equal(inl_file_write(&env, path, "", 0), INLAY_OK);
    assert_int_equal(inl_lora_load(&env, &odd.list, path, &lora), INLAY_ERROR_BAD_FILE);
    assert_int_equal(inl_file_write(&env, temp_path(f, "x.bin"), "", 0), INLAY_OK);
    assert_int_equal(inl_lora_load(&env, &odd.list, f->file, &lora), INLAY_ERROR_BAD_FILE);
    assert_non_null(strstr(e.text, "neither a GGUF file nor a folder"));
    assert_true(e.errors == 4 && e.live == 0 && lora == NULL);
}

// Each byte of a file wrong in turn: an error of one sentence or an adapter, never more.
static void test_damage(void **state)
{
    temp_folder *f = *state;
    gguf_bytes g;
    put_metadata(&g, "llama");
    gguf_bytes_f32(&g, "adapter.lora.alpha", 8.0f);
    put_pair(&g, &odd.items[2], 2, INL_FORMAT_F16, 2);
    gguf_bytes_end(&g);
    const char *path = temp_path(f, "damaged.gguf");
    for (size_t i = 0; i < g.size; i++) {
        failing_env e;
        inl_env env = failing_env_start(&e, 0, false);
        inl_lora *lora;
        g.data[i] ^= (uint8_t)(1u << (i & 7));
        FILE *file = fopen(path, "wb");
        assert_true(file && fwrite(g.data, 1, g.size, file) == g.size && fclose(file) == 0);
        g.data[i] ^= (uint8_t)(1u << (i & 7));
        inlay_result result = inl_lora_load(&env, &odd.list, path, &lora);
        assert_true((result == INLAY_OK) == (lora != NULL) && e.errors == (result != INLAY_OK));
        inl_lora_destroy(&lora);
        assert_int_equal(e.live, 0);
    }
    gguf_bytes_free(&g);
}

// ---- saving

static inl_lora *save_and_load(temp_folder *f, const inl_lora *lora)
{
    const char *path = temp_path(f, "saved.gguf");
    assert_int_equal(inl_lora_save_gguf(lora, &odd.list, path), INLAY_OK);
    assert_int_equal(temp_folder_entries(f->path), 1);
    return load(path, &odd.list);
}

static void test_save(void **state)
{
    temp_folder *f = *state;
    static const inl_lora_params cases[] = {
        {.r = 4},
        {.r = 1, .alpha = 0.3f, .target_modules = "lm_head,q_proj"},
        {.r = 16, .alpha = 16},
        {.r = 7, .alpha = 12.5f, .seed = 3},
        {.r = 16, .alpha = 3.7f, .use_rslora = true},
        {.r = 64, .alpha = 33.3f, .target_modules = ".*\\.0\\.mlp.*"},
    };
    for (size_t i = 0; i < INL_COUNT(cases); i++) {
        inl_lora *lora = toy_lora(&odd, &cases[i]), *again = save_and_load(f, lora);
        check_same_lora(lora, again);
        inl_lora_destroy(&lora);
        inl_lora_destroy(&again);
    }
}

static void test_saved_metadata(void **state)
{
    temp_folder *f = *state;
    inl_env env = inl_env_resolve(NULL);
    inl_lora *lora = toy_lora(&odd, &(inl_lora_params){.r = 4, .alpha = 6});
    const char *path = temp_path(f, "saved.gguf");
    inl_gguf *file;
    inl_slice text;
    float alpha;
    assert_int_equal(inl_lora_save_gguf(lora, &odd.list, path), INLAY_OK);
    assert_int_equal(inl_gguf_open(&env, path, &file), INLAY_OK);
    static const char *const texts[][2] = {
        {"general.architecture", "llama"}, {"general.type", "adapter"}, {"adapter.type", "lora"}};
    for (size_t i = 0; i < INL_COUNT(texts); i++)
        assert_true(inl_gguf_get_string(file, texts[i][0], &text) &&
                    text.size == strlen(texts[i][1]) &&
                    memcmp(text.data, texts[i][1], text.size) == 0);
    assert_true(inl_gguf_get_f32(file, "adapter.lora.alpha", &alpha) && alpha == 6.0f);
    assert_int_equal(inl_gguf_tensor_count(file), 28);
    const inl_gguf_tensor *b = inl_gguf_find_tensor(file, "blk.1.ffn_gate.weight.lora_b");
    assert_true(b && b->type == 0 && b->dims == 2 && b->shape[0] == 4 && b->shape[1] == 14);
    assert_memory_equal(b->data, lora->pairs[7 + INL_ROLE_GATE].b, b->bytes);
    inl_gguf_close(&file);
    inl_lora_destroy(&lora);
}

// scale * B as the model sees it; the same up to rounding, of which there are three.
static void check_products(const inl_lora *want, const inl_lora *got)
{
    assert_int_equal(want->pair_count, got->pair_count);
    for (uint32_t i = 0; i < want->pair_count; i++) {
        const inl_lora_pair *w = &want->pairs[i], *g = &got->pairs[i];
        assert_true(w->module == g->module && w->r == g->r);
        assert_memory_equal(w->a, g->a, sizeof(float) * w->r * w->in);
        for (uint32_t k = 0; k < w->out * w->r; k++) {
            double x = (double)w->scale * (double)w->b[k], y = (double)g->scale * (double)g->b[k];
            if (fabs(x - y) > 3 * 0x1p-24 * fabs(x))
                fail_msg("%s: %.9g became %.9g", w->path, x, y);
        }
    }
}

// Where the scales differ, the one alpha of the file cannot hold them: B does.
static void test_fold(void **state)
{
    temp_folder *f = *state;
    for (uint32_t kind = 0; kind < 4; kind++) {
        inl_lora *lora = toy_lora(&odd, &(inl_lora_params){.r = 6, .use_rslora = kind == 1});
        if (kind >= 2)
            lora->alpha = kind == 2 ? 0.0 : 1e300; // a config may say so
        for (uint32_t i = 1; i < lora->pair_count; i++) {
            lora->pairs[i].r = 1 + i % 6; // of what there is, the first
            lora->pairs[i].scale *= i % 3 ? toy_value(80, i) : 1.0f;
        }
        lora->pairs[4].scale = 0.0f;
        inl_lora *again = save_and_load(f, lora);
        check_products(lora, again);
        for (uint32_t i = 0; i < again->pair_count; i++)
            assert_true(again->pairs[i].scale != 0.0f);
        // By now it is what one alpha can say.
        inl_lora *third = save_and_load(f, again);
        check_same_lora(again, third);
        inl_lora_destroy(&lora);
        inl_lora_destroy(&again);
        inl_lora_destroy(&third);
    }
}

// B is not touched where the file's alpha gives the pair's scale, or all but a rounding of it.
static void test_fold_spares(void **state)
{
    temp_folder *f = *state;
    inl_lora *lora = toy_lora(&odd, &(inl_lora_params){.r = 8, .alpha = 16});
    lora->pairs[1].scale = 7.0f;
    lora->pairs[2].r = 5;
    lora->pairs[2].scale = 16.0f / 5.0f;
    inl_lora *again = save_and_load(f, lora);
    for (uint32_t i = 0; i < lora->pair_count; i++) {
        const inl_lora_pair *w = &lora->pairs[i], *g = &again->pairs[i];
        bool same = memcmp(w->b, g->b, sizeof(float) * w->r * w->out) == 0;
        assert_true(same == (i != 1) && (i == 1 || w->scale == g->scale));
    }
    check_products(lora, again);
    inl_lora_destroy(&lora);
    inl_lora_destroy(&again);
    for (uint32_t r = 1; r <= 40; r++) { // rsLoRA: alpha * sqrt(r) need not be a float
        lora = toy_lora(&odd, &(inl_lora_params){.r = r, .alpha = 16, .use_rslora = true});
        again = save_and_load(f, lora);
        for (uint32_t i = 0; i < lora->pair_count; i++) {
            assert_memory_equal(lora->pairs[i].b, again->pairs[i].b,
                                sizeof(float) * r * lora->pairs[i].out);
            assert_true(fabsf(lora->pairs[i].scale / again->pairs[i].scale - 1.0f) < 0x1p-22f);
        }
        inl_lora_destroy(&lora);
        inl_lora_destroy(&again);
    }
}

// A scale of 1 with ranks that differ: what a file without alpha means comes back as such.
static void test_save_without_alpha(void **state)
{
    temp_folder *f = *state;
    gguf_bytes g;
    put_metadata(&g, "llama");
    for (uint32_t m = 0; m < 4; m++)
        put_pair(&g, &odd.items[m], m, INL_FORMAT_F32, 2 + m);
    inl_lora *lora = load(write_file(f, &g), &odd.list);
    assert_int_equal(remove(f->file), 0);
    inl_lora *again = save_and_load(f, lora);
    check_same_lora(lora, again);
    inl_lora_destroy(&again);
    // And by way of a PEFT folder.
    inl_env env = inl_env_resolve(NULL);
    assert_int_equal(inl_lora_save_peft(lora, &odd.list, temp_path(f, "peft")), INLAY_OK);
    assert_int_equal(inl_lora_load(&env, &odd.list, f->file, &again), INLAY_OK);
    check_same_lora(lora, again);
    inl_lora_destroy(&lora);
    inl_lora_destroy(&again);
}

static void test_save_refused(void **state)
{
    temp_folder *f = *state;
    failing_env e;
    inl_lora *lora =
        toy_lora(&odd, &(inl_lora_params){.r = 2, .alpha = 1, .target_modules = "q_proj"});
    inl_lora saved = *lora;
    saved.env = failing_env_start(&e, 0, false);
    assert_int_equal(inl_lora_save_gguf(&saved, &odd.list, "/no/such/folder/x.gguf"),
                     INLAY_ERROR_IO);
    assert_int_equal(inl_lora_save_gguf(&saved, &odd.list, f->path), INLAY_ERROR_IO);
    assert_int_equal(inl_lora_save_gguf(&saved, &even.list, temp_path(f, "x")),
                     INLAY_ERROR_INVALID_ARGUMENT);
    lora->pairs[1].scale = 1e30f; // which B cannot take in
    lora->pairs[1].b[3] = 3e38f;
    assert_int_equal(inl_lora_save_gguf(&saved, &odd.list, f->file), INLAY_ERROR_NOT_FINITE);
    assert_non_null(strstr(e.text, "model.layers.1.self_attn.q_proj has infinity at element 3"));
    assert_true(e.errors == 4 && e.live == 0 && temp_folder_entries(f->path) == 0);
    inl_lora_destroy(&lora);
}

// ---- memory

static void test_out_of_memory(void **state)
{
    temp_folder *f = *state;
    inl_lora *lora = toy_lora(&odd, &(inl_lora_params){.r = 2, .target_modules = "q_proj,v_proj"});
    lora->pairs[2].scale = 0.1f; // so that a B is copied
    toy_saving saving = {inl_lora_save_gguf, lora, &odd.list, temp_path(f, "x.gguf")};
    assert_true(check_each_failure("a GGUF adapter", toy_save_and_load, &saving, 500) > 30);
    assert_int_equal(temp_folder_entries(f->path), 1);
    inl_lora_destroy(&lora);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        temp_folder_test(test_types),
        temp_folder_test(test_alpha),
        temp_folder_test(test_without_base),
        temp_folder_test(test_norms_are_ignored),
        temp_folder_test(test_refused_metadata),
        temp_folder_test(test_refused_pairs),
        temp_folder_test(test_refused_shapes),
        temp_folder_test(test_not_finite),
        temp_folder_test(test_no_file),
        temp_folder_test(test_damage),
        temp_folder_test(test_save),
        temp_folder_test(test_saved_metadata),
        temp_folder_test(test_fold),
        temp_folder_test(test_fold_spares),
        temp_folder_test(test_save_without_alpha),
        temp_folder_test(test_save_refused),
        temp_folder_test(test_out_of_memory),
    };
    odd = toy_modules(&toy_odd);
    even = toy_modules(&toy_even);
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    toy_modules_free(&odd);
    toy_modules_free(&even);
    return failed;
}
