// SPDX-License-Identifier: MIT
// Generation with the key-value cache: the tokens a full forward pass gives, whatever pieces the
// prompt is fed in; where it ends; how it draws. With INLAY_TEST_DATA, a published text word for
// word.
#include "harness/train_run.h"

#define VOCAB 261
#define CONTEXT 384

typedef struct output {
    int32_t ids[CONTEXT];
    uint32_t count, most; // stops at `most`, 0: never
} output;

static bool take(void *user, int32_t id)
{
    output *o = user;
    o->ids[o->count++] = id;
    return o->count != o->most;
}

static inlay_generator *open_generator(const train_run *r, uint32_t context)
{
    inlay_generator *g;
    TRAIN_OK(inlay_generator_create(&g, &train_env, train_device, r->model, r->adapter,
                                    &(inlay_generator_params){.context_length = context}));
    return g;
}

static output generate(inlay_generator *g, const int32_t *prompt, size_t count, uint32_t tokens,
                       const inlay_sample_params *sample)
{
    output o = {0};
    TRAIN_OK(inlay_generate(g, prompt, count, tokens, sample, take, &o));
    return o;
}

static void assert_same_output(const output *a, const output *b)
{
    assert_int_equal(a->count, b->count);
    assert_memory_equal(a->ids, b->ids, a->count * sizeof(a->ids[0]));
}

static void draw_prompt(int32_t *ids, uint32_t count)
{
    for (uint32_t i = 0; i < count; i++)
        ids[i] = (int32_t)(3 + inl_rng_u32(11, 0, i) % 256);
}

// An adapter whose B is not zero, on the head too.
static void prepare(train_run *r)
{
    train_prepare(r, &(train_setup){.adapter = {.target_modules = "q_proj,v_proj,up_proj,down_proj,"
                                                                  "lm_head"}});
    train_draw_b(r);
}

static int32_t likeliest(const float *logits)
{
    int32_t best = 0;
    for (int32_t i = 1; i < VOCAB; i++)
        if (logits[i] > logits[best])
            best = i;
    return best;
}

// ---- what it says

static void greedy_is_a_full_forward_pass_each_token(void **state)
{
    (void)state;
    static float logits[CONTEXT * VOCAB];
    static const uint32_t prompts[] = {1, 2, 60, 64, 65};
    train_run r;
    prepare(&r);
    inlay_generator *g = open_generator(&r, 0), *full = open_generator(&r, 0);
    for (size_t i = 0; i < INL_COUNT(prompts); i++) {
        int32_t ids[CONTEXT];
        draw_prompt(ids, prompts[i]);
        output o = generate(g, ids, prompts[i], 12, NULL);
        for (uint32_t k = 0; k < o.count; k++) {
            uint32_t have = prompts[i] + k;
            TRAIN_OK(inlay_generator_logits(full, ids, have, logits));
            assert_int_equal(o.ids[k], likeliest(logits + (have - 1) * VOCAB));
            ids[have] = o.ids[k];
        }
        assert_int_equal(o.count, 12);
    }
    inlay_generator_destroy(&g);
    inlay_generator_destroy(&full);
    train_close(&r);
}

typedef struct inner {
    inl_resident_adapter resident;
    inl_weights *weights;
    inl_generator *generator;
} inner;

static void open_inner(inner *in, const train_run *r)
{
    const inl_env *env = &r->model->env;
    inl_gpu *gpu = train_device->gpu;
    TRAIN_OK(inl_resident_create(env, gpu, r->model->model, r->adapter, &in->resident));
    TRAIN_OK(inl_weights_create(r->model->model, gpu, 0, CONTEXT, inl_generator_positions(CONTEXT),
                                &in->weights));
    TRAIN_OK(inl_generator_create(env, gpu, in->weights, &in->resident.slots, &in->resident.arena,
                                  CONTEXT, &in->generator));
}

static void close_inner(inner *in, const train_run *r)
{
    inl_generator_destroy(&in->generator);
    inl_weights_destroy(&in->weights);
    inl_resident_destroy(&r->model->env, &in->resident);
}

static void pieces_of_a_prompt_do_not_matter(void **state)
{
    (void)state;
    enum { LENGTH = 340 };
    static float all[LENGTH * VOCAB];
    static const uint32_t pieces[] = {1, 2, 15, 16, 17, 64, 65, 129, 256, LENGTH};
    int32_t ids[LENGTH];
    train_run r;
    inner in;
    prepare(&r);
    open_inner(&in, &r);
    draw_prompt(ids, LENGTH);
    TRAIN_OK(inl_generator_feed_all(in.generator, ids, LENGTH, all));
    for (size_t i = 0; i < INL_COUNT(pieces); i++) {
        const float *logits;
        inl_generator_reset(in.generator);
        for (uint32_t at = 0; at < LENGTH; at += pieces[i]) {
            uint32_t count = INL_MIN(pieces[i], LENGTH - at);
            TRAIN_OK(inl_generator_feed(in.generator, ids + at, count, &logits));
            const float *expected = all + (at + count - 1) * VOCAB;
            for (uint32_t v = 0; v < VOCAB; v++)
                if (!(fabsf(logits[v] - expected[v]) <= 1e-5f * (1.0f + fabsf(expected[v]))))
                    fail_msg("pieces of %u, token %u: logit %u is %.7f and %.7f", pieces[i],
                             at + count - 1, v, logits[v], expected[v]);
        }
        assert_int_equal(inl_generator_used(in.generator), LENGTH);
    }
    close_inner(&in, &r);
    train_close(&r);
}

// Learned by heart, and heard again up to the end of the sequence.
static void what_was_learned_is_said(void **state)
{
    (void)state;
    static const char *const said[] = {"the_fox_ran", "snow_fell", "a_bell"};
    train_setup s = {.text = "{\"prompt\": \"1\", \"completion\": \"the_fox_ran\"}\n"
                             "{\"prompt\": \"2\", \"completion\": \"snow_fell\"}\n"
                             "{\"prompt\": \"3\", \"completion\": \"a_bell\"}\n",
                     .rows = {.max_length = 48},
                     .adapter = {.r = 16, .target_modules = "q_proj,k_proj,v_proj,o_proj,gate_proj,"
                                                            "up_proj,down_proj,lm_head"},
                     .params = {.batch_size = 2, .max_steps = 120, .learning_rate = 3e-2f,
                                .max_grad_norm = 1.0f}};
    train_run r;
    train_open(&r, &s);
    double loss = train_steps(&r, 120).loss;
    if (!(loss < 0.1))
        fail_msg("the loss is %.3f", loss);
    TRAIN_OK(inlay_trainer_sync(r.trainer));
    inlay_generator *g = open_generator(&r, 0);
    for (size_t i = 0; i < INL_COUNT(said); i++) {
        int32_t ids[16];
        size_t count = INL_COUNT(ids);
        char prompt[2] = {(char)('1' + i), 0}, text[CONTEXT + 1] = "";
        TRAIN_OK(inlay_tokenize(r.model, prompt, 1, &(inlay_tokenize_params){.add_special = true},
                                ids, &count));
        output o = generate(g, ids, count, 100, NULL);
        for (uint32_t k = 0; k < o.count; k++) {
            size_t size = 8;
            char bytes[8];
            TRAIN_OK(inlay_detokenize(r.model, o.ids[k], false, bytes, &size));
            strncat(text, bytes, size);
        }
        assert_string_equal(text, said[i]);
    }
    inlay_generator_destroy(&g);
    train_close(&r);
}

// ---- where it ends

static void a_full_context_ends_it(void **state)
{
    (void)state;
    train_run r;
    prepare(&r);
    inlay_generator *g = open_generator(&r, 20);
    int32_t ids[32];
    draw_prompt(ids, 32);
    for (uint32_t prompt = 1; prompt <= 20; prompt += prompt < 17 ? 8 : 1)
        assert_int_equal(generate(g, ids, prompt, 100, NULL).count, 20 - prompt);
    output o = {0};
    train_refused(inlay_generate(g, ids, 21, 5, NULL, take, &o), INLAY_ERROR_INVALID_ARGUMENT, "21",
                  "20", NULL);
    assert_int_equal(o.count, 0);
    float logits[VOCAB];
    assert_int_equal(inlay_generator_logits(g, ids, 21, logits), INLAY_ERROR_INVALID_ARGUMENT);
    assert_int_equal(generate(g, ids, 19, 100, NULL).count, 1); // a refusal leaves it usable
    inlay_generator_destroy(&g);
    train_close(&r);
}

static void callers_end_it(void **state)
{
    (void)state;
    train_run r;
    prepare(&r);
    inlay_generator *g = open_generator(&r, 0);
    int32_t ids[3] = {40, 41, 42};
    assert_int_equal(generate(g, ids, 3, 0, NULL).count, 0);
    assert_int_equal(generate(g, ids, 3, 7, NULL).count, 7);
    output o = {.most = 3};
    TRAIN_OK(inlay_generate(g, ids, 3, 50, NULL, take, &o));
    assert_int_equal(o.count, 3);
    inlay_generator_destroy(&g);
    train_close(&r);
}

static void wrong_calls_are_refused(void **state)
{
    (void)state;
    train_run r;
    prepare(&r);
    inlay_generator *g = open_generator(&r, 0);
    static const int32_t wrong[] = {-1, VOCAB, INT32_MAX, INT32_MIN};
    output o = {0};
    for (size_t i = 0; i < INL_COUNT(wrong); i++) {
        int32_t ids[2] = {40, wrong[i]};
        train_refused(inlay_generate(g, ids, 2, 5, NULL, take, &o), INLAY_ERROR_INVALID_ARGUMENT,
                      "vocabulary", NULL);
    }
    static const inlay_sample_params samples[] = {
        {.temperature = -1.0f}, {.temperature = NAN}, {.top_p = 1.5f}, {.top_p = NAN}};
    for (size_t i = 0; i < INL_COUNT(samples); i++)
        assert_int_equal(inlay_generate(g, NULL, 0, 5, &samples[i], take, &o),
                         INLAY_ERROR_INVALID_ARGUMENT);
    assert_int_equal(o.count, 0);
    size_t size = 0; // a row of the embedding that no token has
    TRAIN_OK(inlay_detokenize(r.model, VOCAB, false, NULL, &size));
    assert_int_equal(size, 0);
    output bos = generate(g, &(int32_t){1}, 1, 5, NULL), empty = generate(g, NULL, 0, 5, NULL);
    assert_same_output(&bos, &empty);
    inlay_generator_destroy(&g);
    train_close(&r);
}

// ---- how it draws

static void seeds_and_cuts(void **state)
{
    (void)state;
    train_run r;
    prepare(&r);
    inlay_generator *g = open_generator(&r, 0);
    int32_t ids[4] = {50, 60, 70, 80};
    output best = generate(g, ids, 4, 30, NULL);
    output one = generate(g, ids, 4, 30, &(inlay_sample_params){.temperature = 1.0f, .top_k = 1});
    output least =
        generate(g, ids, 4, 30, &(inlay_sample_params){.temperature = 1.0f, .top_p = 1e-6f});
    assert_same_output(&best, &one);
    assert_same_output(&best, &least);
    inlay_sample_params warm = {.temperature = 1.2f, .seed = 5};
    output a = generate(g, ids, 4, 30, &warm), again = generate(g, ids, 4, 30, &warm);
    assert_same_output(&a, &again);
    warm.seed = 6;
    output b = generate(g, ids, 4, 30, &warm);
    assert_true(a.count != b.count || memcmp(a.ids, b.ids, sizeof(a.ids)) != 0);
    inlay_generator_destroy(&g);
    train_close(&r);
}

#define KINDS 8
#define DRAWS 20000

// Pearson's statistic of DRAWS draws; a token without probability must not come.
static double chi_square(const inl_sampling *s, const float *logits, const double *probability)
{
    uint32_t counts[KINDS] = {0};
    double sum = 0.0;
    inl_env env = inl_env_resolve(&train_env);
    for (uint32_t draw = 0; draw < DRAWS; draw++) {
        int32_t id;
        TRAIN_OK(inl_sample(&env, s, logits, KINDS, draw, &id));
        counts[id]++;
    }
    for (uint32_t i = 0; i < KINDS; i++) {
        double expected = DRAWS * probability[i], off = counts[i] - expected;
        if (probability[i] > 0.0)
            sum += off * off / expected;
        else
            assert_int_equal(counts[i], 0);
    }
    return sum;
}

static void draws_follow_the_distribution(void **state)
{
    (void)state;
    static const float logits[KINDS] = {0.0f, 1.0f, -1.0f, 2.0f, 0.5f, -3.0f, 1.5f, 0.25f};
    static const uint32_t order[KINDS] = {3, 6, 1, 4, 7, 0, 2, 5}; // likeliest first
    static const struct {
        inl_sampling sampling;
        uint32_t kept; // of `order`
    } cases[] = {{{.temperature = 1.0f, .seed = 1}, 8},
                 {{.temperature = 0.6f, .seed = 2}, 8},
                 {{.temperature = 2.5f, .seed = 3}, 8},
                 {{.temperature = 1.0f, .top_k = 5, .seed = 4}, 5},
                 {{.temperature = 1.0f, .top_k = 100, .seed = 4}, 8},
                 // shares at temperature 1: 0.402, 0.244, 0.148, ...: three hold 0.75
                 {{.temperature = 1.0f, .top_p = 0.75f, .seed = 5}, 3},
                 {{.temperature = 1.0f, .top_k = 2, .top_p = 0.99f, .seed = 6}, 2}};
    for (size_t i = 0; i < INL_COUNT(cases); i++) {
        double probability[KINDS] = {0}, total = 0.0;
        for (uint32_t k = 0; k < cases[i].kept; k++)
            total += exp(logits[order[k]] / (double)cases[i].sampling.temperature);
        for (uint32_t k = 0; k < cases[i].kept; k++)
            probability[order[k]] =
                exp(logits[order[k]] / (double)cases[i].sampling.temperature) / total;
        double sum = chi_square(&cases[i].sampling, logits, probability);
        if (!(sum < 24.3)) // 7 degrees of freedom: one in a thousand
            fail_msg("case %zu: chi-square %.1f", i, sum);
    }
}

static void logits_that_are_no_numbers_are_an_error(void **state)
{
    (void)state;
    inl_env env = inl_env_resolve(&train_env);
    static const float bad[][KINDS] = {{NAN, 1, 2}, {1, 2, NAN, 3}, {1, INFINITY}, {1, -INFINITY}};
    for (size_t i = 0; i < INL_COUNT(bad); i++)
        for (float temperature = 0.0f; temperature < 2.0f; temperature += 1.0f) {
            int32_t id;
            train_refused(inl_sample(&env, &(inl_sampling){.temperature = temperature}, bad[i],
                                     KINDS, 0, &id),
                          INLAY_ERROR_NOT_FINITE, "logits", NULL);
        }
}

// ---- a published text

static void stories260k_greedy_200(void **state)
{
    (void)state;
    const char *data = getenv("INLAY_TEST_DATA");
    char path[512];
    if (!data) {
        print_message("stories260K skipped: INLAY_TEST_DATA is not set\n");
        skip();
    }
    snprintf(path, sizeof(path), "%s/model/stories260K.gguf", data);
    inlay_model *model;
    inlay_generator *g;
    TRAIN_OK(inlay_model_open(&model, &train_env, path, NULL));
    TRAIN_OK(inlay_generator_create(&g, &train_env, train_device, model, NULL,
                                    &(inlay_generator_params){.context_length = CONTEXT}));
    output o = generate(g, NULL, 0, 200, NULL);
    assert_int_equal(o.count, 200);
    char text[8192];
    size_t size = 0;
    for (uint32_t i = 0; i < o.count; i++) {
        size_t room = sizeof(text) - size;
        TRAIN_OK(inlay_detokenize(model, o.ids[i], i == 0, text + size, &room));
        size += room;
    }
    snprintf(path, sizeof(path), "%s/model/stories260K.greedy200.txt", data);
    train_bytes expected = train_read(path);
    while (expected.size > 0 && expected.data[expected.size - 1] == '\n')
        expected.size--; // the printing program's own
    assert_int_equal(size, expected.size);
    assert_memory_equal(text, expected.data, size);
    free(expected.data);
    inlay_generator_destroy(&g);
    inlay_model_close(&model);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(greedy_is_a_full_forward_pass_each_token),
        cmocka_unit_test(pieces_of_a_prompt_do_not_matter),
        cmocka_unit_test(what_was_learned_is_said),
        cmocka_unit_test(a_full_context_ends_it),
        cmocka_unit_test(callers_end_it),
        cmocka_unit_test(wrong_calls_are_refused),
        cmocka_unit_test(seeds_and_cuts),
        cmocka_unit_test(draws_follow_the_distribution),
        cmocka_unit_test(logits_that_are_no_numbers_are_an_error),
        cmocka_unit_test(stories260k_greedy_200),
    };
    return cmocka_run_group_tests(tests, train_begin, train_end);
}
