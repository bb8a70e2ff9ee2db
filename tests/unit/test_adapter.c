// SPDX-License-Identifier: MIT
// A fresh adapter: which modules it targets, how A is drawn, what its scale is; patterns of module
// names as PEFT reads them; the order of B's rows. Adapter files: test_adapter_peft.c, _gguf.c.
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
#include "adapter/targets.h"
#include "base/half.h"
#include "harness/failing_env.h"
#include "harness/toy_adapter.h"

#define SEED 4711u
#define MODULES 15 // of toy_odd: two layers of 7, and the head

static inl_modules modules;

// ---- numbers

static void test_scales(void **state)
{
    (void)state;
    assert_true(inl_lora_scale(16.0, 8, false) == 2.0f);
    assert_true(inl_lora_scale(16.0, 16, true) == 4.0f);
    assert_true(inl_lora_scale(16.0, 3, false) == 16.0f / 3.0f);
    assert_true(inl_lora_scale(8.0, 2, true) == (float)(8.0 / 1.4142135623730951));
    // Any scale comes back from its alpha, from what 15 digits say of it too.
    for (uint32_t i = 0; i < 200000; i++) {
        uint32_t r = inl_rng_u32(SEED, 0, i) % (i % 2 ? 65536 : 64) + 1;
        float scale = inl_f32_from_bits(inl_rng_u32(SEED, 1, i));
        char text[32];
        if (!isfinite(scale) || fabsf(scale) < 1e-30f)
            continue;
        double alpha = inl_lora_alpha(scale, r, i % 3);
        snprintf(text, sizeof(text), "%.15g", alpha);
        if (inl_lora_scale(alpha, r, i % 3) != scale ||
            inl_lora_scale(strtod(text, NULL), r, i % 3) != scale)
            fail_msg("rank %u: a scale of %a does not come back", r, (double)scale);
    }
}

static void test_decimals(void **state)
{
    (void)state;
    static const double decimals[] = {0.0,  0.05, 0.1,      0.3,  1.0,
                                      16.0, 1e-7, 0.123456, 33.3, 12345.6};
    for (size_t i = 0; i < INL_COUNT(decimals); i++)
        assert_true(inl_lora_decimal((float)decimals[i]) == decimals[i]);
    for (uint32_t i = 0; i < 100000; i++) {
        float value = inl_f32_from_bits(inl_rng_u32(SEED, 2, i));
        if (isfinite(value) && (float)inl_lora_decimal(value) != value)
            fail_msg("%a becomes %a", (double)value, inl_lora_decimal(value));
    }
}

// ---- rows of B

static void check_permutation(uint32_t heads, uint32_t d, uint32_t r)
{
    uint32_t count = heads * d * r;
    const inl_module m = {.in = 1, .out = heads * d, .permuted_heads = heads};
    float *gguf = malloc(count * sizeof(float)), *hf = malloc(count * sizeof(float));
    float *back = malloc(count * sizeof(float));
    assert_true(gguf && hf && back);
    for (uint32_t i = 0; i < count; i++)
        gguf[i] = (float)i;
    inl_lora_permute_b(&m, r, gguf, hf, true);
    for (uint32_t h = 0; h < heads; h++)
        for (uint32_t i = 0; i < d / 2; i++)
            for (uint32_t j = 0; j < 2; j++)
                assert_memory_equal(&gguf[(h * d + 2 * i + j) * r],
                                    &hf[(h * d + j * d / 2 + i) * r], r * sizeof(float));
    inl_lora_permute_b(&m, r, hf, back, false);
    assert_memory_equal(gguf, back, count * sizeof(float));
    free(gguf);
    free(hf);
    free(back);
}

static void test_permutation(void **state)
{
    (void)state;
    static const uint32_t cases[][3] = {{1, 2, 1}, {1, 6, 3}, {3, 6, 2}, {4, 64, 5}, {2, 2, 4}};
    for (size_t i = 0; i < INL_COUNT(cases); i++)
        check_permutation(cases[i][0], cases[i][1], cases[i][2]);
    const float b[6] = {1, 2, 3, 4, 5, 6};
    float copy[6] = {0};
    inl_lora_permute_b(&(inl_module){.out = 3}, 2, b, copy, true); // no heads: as it is
    assert_memory_equal(b, copy, sizeof(b));
}

// ---- targets

// 'x' for each module that is selected, '.' for each other one.
static inlay_result match(const char *targets, char picture[MODULES + 1], failing_env *e)
{
    inl_env env = failing_env_start(e, 0, false);
    bool selected[MODULES];
    memset(selected, 1, sizeof(selected));
    inlay_result result = inl_targets_match(&env, &modules.list, targets, selected);
    for (uint32_t i = 0; i < MODULES; i++)
        picture[i] = selected[i] ? 'x' : '.';
    picture[MODULES] = '\0';
    assert_int_equal(e->live, 0);
    assert_int_equal(e->errors, result != INLAY_OK);
    return result;
}

static void test_targets(void **state)
{
    (void)state;
    static const char *const cases[][2] = {
        {NULL, "xxxxxxxxxxxxxx."},
        {"all-linear", "xxxxxxxxxxxxxx."},
        {"q_proj", "x......x......."},
        {"q_proj,v_proj", "x.x....x.x....."},
        {" q_proj , v_proj,,lm_head\t", "x.x....x.x....x"},
        {"self_attn.o_proj", "...x......x...."},
        {"model.layers.1.mlp.up_proj", "............x.."},
        {"lm_head", "..............x"},
        {"q_proj,nothing_like_it", "x......x......."},
        // Expressions are about the whole path.
        {".*", "xxxxxxxxxxxxxxx"},
        {"model\\.layers\\.0\\..*", "xxxxxxx........"},
        {".*\\.1\\.self_attn\\.(q|k)_proj", ".......xx......"},
        {".*(q_proj|down_proj)", "x.....xx.....x."},
        {".*(?<!down)_proj", "xxxxxx.xxxxxx.."},
        {"(lm_head|.*k_proj)", ".x......x.....x"},
        {"^lm_head$", "..............x"},
    };
    for (size_t i = 0; i < INL_COUNT(cases); i++) {
        failing_env e;
        char picture[MODULES + 1];
        assert_int_equal(match(cases[i][0], picture, &e), INLAY_OK);
        if (strcmp(picture, cases[i][1]) != 0)
            fail_msg("%s: wanted %s, got %s", cases[i][0], cases[i][1], picture);
        bool partly = cases[i][0] && strstr(cases[i][0], "nothing_like_it");
        assert_true(!partly == (e.warning[0] == '\0'));
        if (partly)
            assert_string_equal(e.warning, "no module matches \"nothing_like_it\"");
    }
}

static void test_targets_none(void **state)
{
    (void)state;
    static const char *const none[] = {"",
                                       " ,",
                                       "proj",
                                       "_proj",
                                       "q_pro",
                                       "Q_proj",
                                       "layers.0",
                                       "q_proj|v_proj",
                                       "q_proj$",
                                       "all_linear",
                                       "attn.q_proj",
                                       "[qk]_proj",
                                       "model\\.layers\\.\\d"};
    for (size_t i = 0; i < INL_COUNT(none); i++) {
        failing_env e;
        char picture[MODULES + 1], want[300];
        if (match(none[i], picture, &e) != INLAY_ERROR_NOT_FOUND)
            fail_msg("\"%s\" matches %s", none[i], picture);
        snprintf(
            want, sizeof(want),
            "no module matches \"%s\"; the model has q_proj, k_proj, v_proj, o_proj, gate_proj, "
            "up_proj, down_proj, lm_head, with paths like model.layers.0.self_attn.q_proj",
            none[i]);
        assert_string_equal(e.text, want);
    }
    char *nested = malloc(3001);
    assert_non_null(nested);
    memset(nested, '(', 3000);
    nested[3000] = '\0';
    const char *const bad[][2] = {
        {"(q_proj", "is wrong at character 7: missing closing parenthesis"},
        {"*", "is wrong at character 0: quantifier does not follow"},
        {"[z-a]", "range out of order"},
        {"(?P<n>q", "missing closing parenthesis"},
        {"((x{1000}){1000}){1000}", "is too large"},
        {nested, "parentheses are too deeply nested"},
        {"(([a-z0-9._]+)*)*[!?]", "takes too long to match"}};
    for (size_t i = 0; i < INL_COUNT(bad); i++) {
        failing_env e;
        char picture[MODULES + 1];
        assert_int_equal(match(bad[i][0], picture, &e), INLAY_ERROR_INVALID_ARGUMENT);
        if (!strstr(e.text, bad[i][1]) || strncmp(e.text, "target_modules: ", 16) != 0)
            fail_msg("wanted \"%s\", got \"%s\"", bad[i][1], e.text);
    }
    free(nested);
}

static void test_patterns(void **state)
{
    (void)state;
    static const char path[] = "model.layers.1.self_attn.q_proj";
    static const struct {
        const char *key;
        bool found;
    } cases[] = {
        {"q_proj", true},
        {"self_attn.q_proj", true},
        {"model.layers.1.self_attn.q_proj", true},
        {"layers.1.self_attn.q_proj", true},
        {"self_attn-q_proj", false},
        {"layers.1.self.attn.q_proj", true}, // a dot is any character
        {"layers.11.self_attn.q_proj", false},
        {"proj", false},
        {"_proj", false},
        {"q_pro", false},
        {"layers.1", false},
        {"", false},
        {"x.model.layers.1.self_attn.q_proj", false},
        {"^model.layers.1.self_attn.q_proj", true},
        {"^layers.1.self_attn.q_proj", false},
        {".*q_proj", true},
        {"layers\\.\\d\\..*", true},
        {"layers\\.[02]\\..*", false},
        {"k_proj|q_proj", true}, // the alternatives stand in a group
        {"q_proj$", true},
        {"self_attn.[qk]_proj", true},
        {"attn.[qk]_proj", false},
        {"self_attn\\.[qk]", false},
    };
    for (size_t i = 0; i < INL_COUNT(cases); i++) {
        failing_env e;
        inl_env env = failing_env_start(&e, 0, false);
        bool found = !cases[i].found;
        assert_int_equal(inl_targets_pattern(&env, "here", cases[i].key, path, &found), INLAY_OK);
        if (found != cases[i].found)
            fail_msg("the key \"%s\" is %s", cases[i].key, found ? "found" : "not found");
        assert_true(e.live == 0 && e.errors == 0);
    }
    failing_env e;
    inl_env env = failing_env_start(&e, 0, false);
    bool found;
    assert_int_equal(inl_targets_pattern(&env, "here", "q_(proj", path, &found),
                     INLAY_ERROR_INVALID_ARGUMENT);
    assert_non_null(strstr(e.text, "here: the regular expression"));
}

// ---- a fresh adapter

static inl_lora *fresh(const inl_lora_params *params)
{
    inl_env env = inl_env_resolve(NULL);
    inl_lora *lora = NULL;
    assert_int_equal(inl_lora_create(&env, &modules.list, params, &lora), INLAY_OK);
    return lora;
}

static void check_drawn(const inl_lora_pair *p, uint32_t seed)
{
    float bound = 1.0f / sqrtf((float)p->in), largest = 0.0f;
    double sum = 0.0;
    uint32_t count = p->r * p->in;
    for (uint32_t i = 0; i < count; i++) {
        assert_true(fabsf(p->a[i]) <= bound);
        assert_true(p->a[i] == (2.0f * inl_rng_f32(seed, p->module, i) - 1.0f) * bound);
        largest = fmaxf(largest, fabsf(p->a[i]));
        sum += (double)p->a[i];
    }
    assert_true(largest > 0.9f * bound);
    assert_true(fabs(sum / count) < 4.0 * (double)bound / sqrt(3.0 * count)); // 4 sigma
    for (uint32_t i = 0; i < p->r * p->out; i++)
        assert_true(p->b[i] == 0.0f && !signbit(p->b[i]));
}

static void test_fresh(void **state)
{
    (void)state;
    inl_lora *lora = fresh(&(inl_lora_params){.seed = 9});
    assert_string_equal(lora->format, "new");
    assert_string_equal(lora->architecture, "llama");
    assert_true(lora->r == 16 && lora->alpha == 32.0 && lora->dropout == 0.0f);
    assert_true(!lora->use_rslora && !lora->has_head && lora->pair_count == 14);
    for (uint32_t i = 0; i < lora->pair_count; i++) {
        const inl_lora_pair *p = &lora->pairs[i];
        const inl_module *m = &modules.items[i];
        assert_true(p->module == i && p->r == 16 && p->in == m->in && p->out == m->out);
        assert_string_equal(p->path, m->path);
        assert_true(p->scale == 2.0f);
        check_drawn(p, 9);
    }
    assert_int_equal(lora->target_count, 7);
    assert_string_equal(lora->targets[0], "q_proj");
    assert_string_equal(lora->targets[6], "down_proj");
    inl_lora_destroy(&lora);
    assert_null(lora);
    inl_lora_destroy(&lora); // of nothing
}

// Moments up to the fourth, within four deviations of what as many normal numbers have.
static void test_gaussian(void **state)
{
    (void)state;
    inl_lora *lora = fresh(&(inl_lora_params){.r = 64, .init = INL_INIT_GAUSSIAN, .seed = 3});
    double sums[4] = {0}, count = 0.0;
    for (uint32_t i = 0; i < lora->pair_count; i++) {
        const inl_lora_pair *p = &lora->pairs[i];
        for (uint32_t k = 0; k < p->r * p->in; k++) {
            double x = (double)p->a[k] * p->r, power = 1.0;
            for (uint32_t n = 0; n < 4; n++)
                sums[n] += power *= x;
        }
        count += p->r * p->in;
        for (uint32_t k = 0; k < p->r * p->out; k++)
            assert_true(p->b[k] == 0.0f);
    }
    static const double moments[4] = {0.0, 1.0, 0.0, 3.0}, variances[4] = {1.0, 2.0, 15.0, 96.0};
    for (uint32_t n = 0; n < 4; n++)
        assert_true(fabs(sums[n] / count - moments[n]) < 4.0 * sqrt(variances[n] / count));
    inl_lora_destroy(&lora);
}

static void test_fresh_options(void **state)
{
    (void)state;
    inl_lora *lora = fresh(&(inl_lora_params){.r = 25,
                                              .alpha = 0.3f,
                                              .use_rslora = true,
                                              .dropout = 0.05f,
                                              .target_modules = "lm_head,v_proj"});
    assert_true(lora->has_head && lora->use_rslora && lora->dropout == 0.05f && lora->alpha == 0.3);
    assert_int_equal(lora->pair_count, 3);
    assert_int_equal(lora->target_count, 2);
    assert_true(lora->pairs[0].scale == (float)(0.3 / 5.0));
    assert_true(lora->pairs[0].r == 25 && lora->pairs[0].out == 6); // a rank above the matrix's own
    inl_lora_destroy(&lora);
    // Where suffixes would name too much, target_modules has whole paths.
    lora = fresh(&(inl_lora_params){.r = 1, .target_modules = ".*\\.1\\.self_attn\\.[qk]_proj"});
    assert_int_equal(lora->target_count, 2);
    assert_string_equal(lora->targets[1], "model.layers.1.self_attn.k_proj");
    assert_true(lora->alpha == 2.0 && lora->pairs[0].scale == 2.0f);
    inl_lora_destroy(&lora);
}

static void test_seeds(void **state)
{
    (void)state;
    inl_lora *one = fresh(&(inl_lora_params){.seed = 1}),
             *same = fresh(&(inl_lora_params){.seed = 1});
    inl_lora *two = fresh(&(inl_lora_params){.seed = 2});
    check_same_lora(one, same);
    for (uint32_t i = 0; i < one->pair_count; i++) {
        uint32_t equal = 0, count = one->pairs[i].r * one->pairs[i].in;
        for (uint32_t k = 0; k < count; k++)
            equal += one->pairs[i].a[k] == two->pairs[i].a[k];
        assert_true(equal < count / 100 + 1);
    }
    // q and k have the same shape and other values.
    assert_memory_not_equal(one->pairs[0].a, one->pairs[1].a, sizeof(float) * 16 * 20);
    inl_lora_destroy(&one);
    inl_lora_destroy(&same);
    inl_lora_destroy(&two);
}

static void test_fresh_refused(void **state)
{
    (void)state;
    failing_env e;
    inl_env env = failing_env_start(&e, 0, false);
    inl_lora *lora = (inl_lora *)&e;
    assert_int_equal(inl_lora_create(&env, &modules.list, &(inl_lora_params){.r = 65537}, &lora),
                     INLAY_ERROR_INVALID_ARGUMENT);
    assert_string_equal(e.text, "a rank of 65537 is more than 65536");
    assert_null(lora);
    lora = (inl_lora *)&e;
    const inl_lora_params none = {.target_modules = "wq"};
    assert_int_equal(inl_lora_create(&env, &modules.list, &none, &lora), INLAY_ERROR_NOT_FOUND);
    assert_null(lora);
    inl_module_list empty = {.architecture = "llama"};
    assert_int_equal(inl_lora_create(&env, &empty, &none, &lora),
                     INLAY_ERROR_NOT_FOUND);
    assert_true(e.errors == 3 && e.live == 0);
}

static inlay_result create_and_destroy(const inl_env *env, void *user)
{
    inl_lora *lora;
    inlay_result result =
        inl_lora_create(env, &modules.list, &(inl_lora_params){.target_modules = user}, &lora);
    inl_lora_destroy(&lora);
    return result;
}

static void test_out_of_memory(void **state)
{
    (void)state;
    assert_true(check_each_failure("a list", create_and_destroy, "q_proj,lm_head", 200) > 12);
    assert_true(check_each_failure("a regex", create_and_destroy, ".*[qk]_proj", 200) > 12);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_scales),        cmocka_unit_test(test_decimals),
        cmocka_unit_test(test_permutation),   cmocka_unit_test(test_targets),
        cmocka_unit_test(test_targets_none),  cmocka_unit_test(test_patterns),
        cmocka_unit_test(test_fresh),         cmocka_unit_test(test_gaussian),
        cmocka_unit_test(test_fresh_options),
        cmocka_unit_test(test_seeds),         cmocka_unit_test(test_fresh_refused),
        cmocka_unit_test(test_out_of_memory),
    };
    print_message("seed %u\n", SEED);
    modules = toy_modules(&toy_odd);
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    toy_modules_free(&modules);
    return failed;
}
