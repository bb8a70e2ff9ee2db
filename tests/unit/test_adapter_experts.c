// SPDX-License-Identifier: MIT
// Adapters of a mixture of experts: a pair for each expert, in PEFT's files by the experts' names
// or fused into parameters, in GGUF all of a layer in one tensor.
#define _XOPEN_SOURCE 700
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <cmocka.h>

#include "adapter/targets.h"
#include "base/file.h"
#include "harness/failing_env.h"
#include "harness/gguf_bytes.h"
#include "harness/safetensors_bytes.h"
#include "harness/temp_folder.h"
#include "harness/toy_adapter.h"
#include "model/slots.h"

#define EXPERTS 3
#define DIM 20
#define FFN 14
#define GATE "blk.0.ffn_gate_exps.weight"
#define PREFIX "base_model.model.model.layers.0.mlp.experts"

static inl_modules modules;

static const inl_lora_params params = {.r = 3, .alpha = 5.0f};

static uint32_t count_selected(const char *targets)
{
    inl_env env = inl_env_resolve(NULL);
    bool *selected = calloc(modules.list.count, sizeof(*selected));
    uint32_t count = 0;
    assert_int_equal(inl_targets_match(&env, &modules.list, targets, selected), INLAY_OK);
    for (uint32_t i = 0; i < modules.list.count; i++)
        count += selected[i];
    free(selected);
    return count;
}

static void test_targets(void **state)
{
    (void)state;
    assert_int_equal(modules.list.count, 2 * (4 + 3 * EXPERTS + 1) + 1);
    assert_int_equal(count_selected("all-linear"),
                     2 * (4 + 3 * EXPERTS)); // no router, no head
    assert_int_equal(count_selected("gate"), 2);
    assert_int_equal(count_selected("gate_proj,down_proj"), 2 * 2 * EXPERTS);
    assert_int_equal(count_selected("experts.2.up_proj"), 2);
    assert_int_equal(count_selected("model\\.layers\\.1\\.mlp\\.experts\\.[02]\\..*"), 6);
    assert_string_equal(modules.items[5].path, "model.layers.0.mlp.experts.1.gate_proj");
    assert_string_equal(modules.items[5].gguf, GATE);
    assert_int_equal(inl_config_module(&toy_mixture, 1, INL_ROLE_DOWN), 14 + 4 + 2 * EXPERTS);
}

// ---- there and back

static void check_back(temp_folder *f, const inl_lora *lora, bool gguf)
{
    const char *path = temp_path(f, gguf ? "adapter.gguf" : "adapter");
    assert_int_equal((gguf ? inl_lora_save_gguf : inl_lora_save_peft)(lora, &modules.list, path),
                     INLAY_OK);
    inl_lora *back = toy_load(path, &modules.list, gguf ? "gguf" : "peft");
    check_same_lora(lora, back);
    assert_true(gguf || back->dropout == lora->dropout);
    assert_int_equal(back->target_count, lora->target_count);
    inl_lora_destroy(&back);
}

static void test_back(void **state)
{
    temp_folder *f = *state;
    inl_lora_params named = params;
    for (int i = 0; i < 2; i++) {
        named.target_modules = i ? "q_proj,gate,up_proj" : NULL;
        named.dropout = i ? 0.25f : 0.0f;
        inl_lora *lora = toy_lora(&modules, &named);
        check_back(f, lora, true);
        check_back(f, lora, false);
        inl_lora_destroy(&lora);
    }
}

// Another rank and scale of all experts of a role is one pattern of the file.
static void test_patterns(void **state)
{
    temp_folder *f = *state;
    inl_lora_params up = {.r = 2, .alpha = 9.0f, .target_modules = "up_proj"};
    inl_lora *lora = toy_lora(&modules, &up);
    lora->r = 5;
    lora->alpha = 4.0;
    check_back(f, lora, false);
    inl_env env = inl_env_resolve(NULL);
    inl_map config;
    assert_int_equal(inl_map_open(&env, temp_path(f, "adapter/adapter_config.json"), &config),
                     INLAY_OK);
    char *text = calloc(1, config.size + 1);
    memcpy(text, config.data, config.size);
    inl_map_close(&config);
    assert_non_null(strstr(text, "\"model.layers.1.mlp.experts\\\\.\\\\d+\\\\.up_proj\": 2"));
    assert_non_null(strstr(text, "\"model.layers.1.mlp.experts.gate_up_proj\": 4"));
    assert_null(strstr(text, "experts.0"));
    free(text);
    inl_lora_destroy(&lora);
}

// Each expert may have a rank of its own, or no pair: zeros stand for what is not there.
static inl_lora *uneven(void)
{
    inl_lora_params some = {.r = 3,
                            .alpha = 3.0f,
                            .target_modules =
                                "model\\.layers\\.0\\.mlp\\.experts\\.[12]\\.up_proj"};
    inl_lora *lora = toy_lora(&modules, &some);
    assert_int_equal(lora->pair_count, 2);
    lora->pairs[1].r = 1; // of what it has room for
    return lora;
}

static void test_uneven_in_gguf(void **state)
{
    temp_folder *f = *state;
    inl_lora *lora = uneven();
    const char *path = temp_path(f, "adapter.gguf");
    assert_int_equal(inl_lora_save_gguf(lora, &modules.list, path), INLAY_OK);
    inl_lora *back = toy_load(path, &modules.list, "gguf");
    assert_int_equal(back->pair_count, EXPERTS);
    for (uint32_t i = 0; i < 3 * DIM; i++) {
        assert_true(back->pairs[0].a[i] == 0.0f && back->pairs[1].a[i] == lora->pairs[0].a[i]);
        assert_true(back->pairs[2].a[i] == (i < DIM ? lora->pairs[1].a[i] : 0.0f));
    }
    for (uint32_t n = 0; n < FFN; n++)
        for (uint32_t r = 0; r < 3; r++)
            assert_true(back->pairs[2].b[n * 3 + r] == (r ? 0.0f : lora->pairs[1].b[n]));
    inl_lora_destroy(&back);
    inl_lora_destroy(&lora);
}

// In the arenas experts are one slot, the absent one's part of it zero.
static void test_slots(void **state)
{
    (void)state;
    inl_env env = inl_env_resolve(NULL);
    inl_lora *lora = uneven();
    inl_slots slots;
    lora->pairs[1].scale = lora->pairs[0].scale;
    assert_int_equal(inl_slots_create(&env, &toy_mixture, lora, &slots), INLAY_OK);
    const inl_lora_slot *s = &slots.of_module[inl_config_module(&toy_mixture, 0, INL_ROLE_UP)];
    assert_true(s->experts == EXPERTS && s->rank == 3 && s->in == DIM && s->out == FFN);
    assert_int_equal(inl_lora_a_floats(s), EXPERTS * 4 * 24);
    assert_int_equal(inl_lora_b_floats(s), EXPERTS * 16 * 4);
    float *arena = calloc(slots.floats, sizeof(*arena));
    inl_slots_pack(&slots, arena);
    for (uint32_t i = 0; i < 4 * 24; i++)
        assert_true(arena[s->a + i] == 0.0f);
    assert_true(arena[s->a + 4 * 24 + 24 + 1] == lora->pairs[0].a[DIM + 1]);
    assert_true(arena[s->b + 2 * 16 * 4 + 5 * 4] == lora->pairs[1].b[5]);
    inl_lora *copy = uneven();
    memset(copy->pairs[0].a, 0, sizeof(float) * 3 * DIM);
    inl_slots_unpack(&slots, arena, copy);
    assert_memory_equal(copy->pairs[0].a, lora->pairs[0].a, sizeof(float) * 3 * DIM);
    free(arena);
    inl_slots_free(&env, &slots);
    failing_env e;
    env = failing_env_start(&e, 0, false);
    lora->pairs[1].scale *= 2.0f;
    assert_int_equal(inl_slots_create(&env, &toy_mixture, lora, &slots), INLAY_ERROR_UNSUPPORTED);
    assert_non_null(strstr(e.text, "model.layers.0.mlp.experts.2.up_proj is scaled by"));
    assert_true(e.live == 0);
    inl_lora_destroy(&copy);
    inl_lora_destroy(&lora);
    inl_lora_params dora = {.r = 2, .use_dora = true};
    lora = toy_lora(&modules, &dora);
    env = failing_env_start(&e, 0, false);
    assert_int_equal(inl_slots_create(&env, &toy_mixture, lora, &slots), INLAY_ERROR_UNSUPPORTED);
    assert_non_null(strstr(e.text, "experts.0.gate_proj: DoRA of experts is not supported"));
    assert_true(e.live == 0);
    inl_lora_destroy(&lora);
}

// ---- refused

static void refuse_gguf(temp_folder *f, const char *tensor, uint64_t a2, uint64_t b2,
                        inlay_result want, const char *what)
{
    static const float zeros[4 * 4 * DIM];
    char name[96];
    gguf_bytes g;
    inl_env env = inl_env_resolve(NULL);
    gguf_bytes_begin(&g);
    gguf_bytes_string(&g, "general.architecture", "qwen3moe");
    gguf_bytes_string(&g, "general.type", "adapter");
    gguf_bytes_string(&g, "adapter.type", "lora");
    snprintf(name, sizeof(name), "%s.lora_a", tensor);
    gguf_bytes_tensor(&g, name, 0, a2 > 1 ? 3 : 2, (uint64_t[]){DIM, 4, a2}, zeros, 16 * DIM * a2);
    snprintf(name, sizeof(name), "%s.lora_b", tensor);
    uint32_t out = strstr(tensor, "ffn") ? FFN : 18;
    gguf_bytes_tensor(&g, name, 0, b2 > 1 ? 3 : 2, (uint64_t[]){4, out, b2}, zeros, 16 * out * b2);
    gguf_bytes_end(&g);
    const char *path = temp_path(f, "adapter.gguf");
    assert_int_equal(inl_file_write(&env, path, g.data, g.size), INLAY_OK);
    gguf_bytes_free(&g);
    check_refused(path, &modules.list, want, path, what);
}

static void test_refused_in_gguf(void **state)
{
    temp_folder *f = *state;
    refuse_gguf(f, GATE, 1, 1, INLAY_ERROR_MISMATCH, "is for 1 experts, the model has 3");
    refuse_gguf(f, GATE, 4, 4, INLAY_ERROR_MISMATCH, "is for 4 experts, the model has 3");
    refuse_gguf(f, GATE, 3, 2, INLAY_ERROR_BAD_FILE, "they are of 3 and 2 experts");
    refuse_gguf(f, "blk.0.attn_q.weight", 2, 2, INLAY_ERROR_MISMATCH,
                "is for 2 experts, the model has 1");
}

static const char *put_peft(temp_folder *f, safetensors_bytes *s, const char *config)
{
    inl_env env = inl_env_resolve(NULL);
    static char folder[128];
    snprintf(folder, sizeof(folder), "%s", temp_path(f, "adapter"));
    assert_int_equal(inl_make_folder(&env, folder), INLAY_OK);
    safetensors_bytes_end(s);
    assert_int_equal(
        inl_file_write(&env, temp_path(f, "adapter/adapter_model.safetensors"), s->data, s->size),
        INLAY_OK);
    assert_int_equal(
        inl_file_write(&env, temp_path(f, "adapter/adapter_config.json"), config, strlen(config)),
        INLAY_OK);
    safetensors_bytes_free(s);
    return folder;
}

static void put_half(safetensors_bytes *s, const char *name, uint64_t rows, uint64_t cols)
{
    static const float zeros[4096];
    safetensors_bytes_tensor(s, name, "F32", 2, (uint64_t[]){rows, cols}, zeros, 4 * rows * cols);
}

#define CONFIG "{\"peft_type\": \"LORA\", \"r\": 2, \"target_parameters\": [\"x\"]}"

static void refuse_fused(temp_folder *f, uint64_t rank, uint64_t in, uint64_t out, uint64_t b_rank,
                         const char *what)
{
    safetensors_bytes s = {0};
    put_half(&s, PREFIX ".base_layer.lora_A.weight", rank, in);
    put_half(&s, PREFIX ".base_layer.lora_B.weight", out, b_rank);
    const char *folder = put_peft(f, &s, CONFIG);
    check_refused(folder, &modules.list, INLAY_ERROR_MISMATCH, "adapter_model.safetensors", what);
}

static void test_refused_fused(void **state)
{
    temp_folder *f = *state;
    refuse_fused(f, 6, DIM + 1, 2 * FFN, 6, "are for no matrices that the model's experts have");
    refuse_fused(f, 6, DIM, FFN, 6, "are for no matrices that the model's experts have");
    refuse_fused(f, 7, DIM, 2 * FFN, 7, "is not of rank 2 for each of 3 experts");
    refuse_fused(f, 9, DIM, 2 * FFN, 9, "is not of rank 2 for each of 3 experts");
    refuse_fused(f, 6, DIM, 2 * FFN, 3, "is not of rank 2 for each of 3 experts");
    safetensors_bytes s = {0};
    put_half(&s, "base_model.model.model.layers.7.mlp.experts.lora_A.weight", 6, DIM);
    put_half(&s, "base_model.model.model.layers.7.mlp.experts.lora_B.weight", 2 * FFN, 6);
    check_refused(put_peft(f, &s, CONFIG), &modules.list, INLAY_ERROR_MISMATCH,
                  "adapter_model.safetensors", "is for experts, which the model does not have");
}

// Both of a layer's parameters, and what one alone may be called; a module twice.
static void test_fused(void **state)
{
    temp_folder *f = *state;
    safetensors_bytes s = {0};
    put_half(&s, PREFIX ".lora_A.weight", 6, FFN);
    put_half(&s, PREFIX ".lora_B.weight", DIM, 6);
    put_half(&s, PREFIX ".base_layer.lora_A.weight", 6, DIM);
    put_half(&s, PREFIX ".base_layer.lora_B.weight", 2 * FFN, 6);
    const char *folder = put_peft(f, &s, CONFIG);
    inl_lora *lora = toy_load(folder, &modules.list, "peft");
    assert_int_equal(lora->pair_count, 3 * EXPERTS);
    assert_true(lora->pairs[0].scale == 4.0f && lora->pairs[0].r == 2); // alpha 8 is PEFT's own
    inl_lora_destroy(&lora);
    lora = toy_load(folder, NULL, "peft"); // as `info` shows it without a model
    assert_int_equal(lora->pair_count, 2);
    assert_true(lora->pairs[0].r == 6 && lora->pairs[0].scale == 4.0f);
    inl_lora_destroy(&lora);
    s = (safetensors_bytes){0};
    put_half(&s, PREFIX ".lora_A.weight", 6, DIM);
    put_half(&s, PREFIX ".lora_B.weight", 2 * FFN, 6);
    put_half(&s, PREFIX ".1.up_proj.lora_A.weight", 2, DIM);
    put_half(&s, PREFIX ".1.up_proj.lora_B.weight", FFN, 2);
    check_refused(put_peft(f, &s, CONFIG), &modules.list, INLAY_ERROR_BAD_FILE, "the adapter",
                  "two pairs for model.layers.0.mlp.experts.1.up_proj");
}

static inlay_result load_fused(const inl_env *env, void *user)
{
    inl_lora *lora = NULL;
    inlay_result result = inl_lora_load(env, &modules.list, user, &lora);
    inl_lora_destroy(&lora);
    return result;
}

static void test_out_of_memory(void **state)
{
    temp_folder *f = *state;
    inl_lora *lora = toy_lora(&modules, &params);
    toy_saving gguf = {inl_lora_save_gguf, lora, &modules.list, temp_path(f, "adapter.gguf")};
    check_each_failure("GGUF", toy_save_and_load, &gguf, 60);
    toy_saving peft = {inl_lora_save_peft, lora, &modules.list, temp_path(f, "saved")};
    check_each_failure("PEFT", toy_save_and_load, &peft, 60);
    safetensors_bytes s = {0};
    put_half(&s, PREFIX ".lora_A.weight", 6, DIM);
    put_half(&s, PREFIX ".lora_B.weight", 2 * FFN, 6);
    check_each_failure("fused", load_fused, (void *)put_peft(f, &s, CONFIG), 60);
    inl_lora_destroy(&lora);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_targets),       temp_folder_test(test_back),
        temp_folder_test(test_patterns),      temp_folder_test(test_uneven_in_gguf),
        cmocka_unit_test(test_slots),         temp_folder_test(test_refused_in_gguf),
        temp_folder_test(test_refused_fused), temp_folder_test(test_fused),
        temp_folder_test(test_out_of_memory),
    };
    modules = toy_modules(&toy_mixture);
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    toy_modules_free(&modules);
    return failed;
}
