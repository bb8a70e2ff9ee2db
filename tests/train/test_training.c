// SPDX-License-Identifier: MIT
// What training computes: the same whatever the layout of the work, less loss with every step, and
// the loss that evaluation and the generator's logits give for the same tokens.
#include "harness/train_run.h"

static inlay_train_plan plan_of(const train_run *r)
{
    inlay_train_plan plan;
    inlay_trainer_get_plan(r->trainer, &plan);
    return plan;
}

static inlay_eval_result evaluate(const train_run *r, const inlay_dataset *dataset)
{
    inlay_eval_result result;
    TRAIN_OK(inlay_trainer_evaluate(r->trainer, dataset, &result));
    return result;
}

static bool near(double a, double b, double relative)
{
    return fabs(a - b) <= relative * fmax(fabs(a), fabs(b));
}

// ---- the same, whatever the layout of the work

static void check_checkpointing(train_setup s)
{
    static const int32_t ways[] = {1, INLAY_CHECKPOINT_ALL, INLAY_CHECKPOINT_AUTO, 100};
    static const uint32_t layers[] = {1, 2, 0, 2};
    train_run r;
    train_open(&r, &s);
    assert_int_equal(plan_of(&r).checkpointed_layers, 0);
    train_steps(&r, 4);
    train_bytes none = train_adapter(&r);
    train_close(&r);
    for (size_t i = 0; i < INL_COUNT(ways); i++) {
        s.params.gradient_checkpointing = ways[i];
        train_open(&r, &s);
        assert_int_equal(plan_of(&r).checkpointed_layers, layers[i]);
        train_steps(&r, 4);
        train_bytes bytes = train_adapter(&r);
        assert_true(train_same(none, bytes));
        free(bytes.data);
        train_close(&r);
    }
    free(none.data);
}

// Segments that end with the layers that are checkpointed, before them, and across their end.
static void segments_change_no_bit(void **state)
{
    (void)state;
    train_setup s = {.model = {.layers = 5}, .adapter = {.dropout = 0.2f},
                     .params = {.max_steps = 2}};
    train_bytes plain = {0};
    for (int32_t layers = 0; layers <= 5; layers++) {
        for (uint32_t segment = 2; segment <= (layers ? 6u : 2u); segment++) {
            s.params.gradient_checkpointing = layers;
            s.params.checkpoint_segment = segment;
            train_run r;
            train_open(&r, &s);
            assert_int_equal(plan_of(&r).checkpoint_segment, segment);
            train_steps(&r, 2);
            train_bytes bytes = train_adapter(&r);
            train_close(&r);
            if (layers == 0) {
                plain = bytes;
                continue;
            }
            assert_true(train_same(plain, bytes));
            free(bytes.data);
        }
    }
    free(plain.data);
}

static void checkpointing_changes_no_bit(void **state)
{
    (void)state;
    train_setup s = {.adapter = {.dropout = 0.2f}, .params = {.batch_size = 2, .max_steps = 4}};
    check_checkpointing(s);
    s.model = (toy_model)TRAIN_MIXTURE;
    check_checkpointing(s);
}

static void a_batch_is_rows_accumulated(void **state)
{
    (void)state;
    train_setup two = {.params = {.batch_size = 2, .max_steps = 9, .max_grad_norm = 1.0f}};
    train_setup one = two;
    one.params.batch_size = 1;
    one.params.gradient_accumulation_steps = 2;
    train_run a, b;
    train_open(&a, &two);
    train_open(&b, &one);
    assert_int_equal(plan_of(&a).tokens_per_step, plan_of(&b).tokens_per_step);
    for (int i = 0; i < 9; i++) { // three epochs, each with a short last step
        inlay_step_stats x = train_steps(&a, 1), y = train_steps(&b, 1);
        assert_int_equal(x.tokens, y.tokens);
        assert_int_equal(x.supervised_tokens, y.supervised_tokens);
        if (!near(x.loss, y.loss, 1e-6) || !near(x.grad_norm, y.grad_norm, 1e-5))
            fail_msg("step %u: loss %.9f and %.9f, norm %.9f and %.9f", x.step, x.loss, y.loss,
                     x.grad_norm, y.grad_norm);
    }
    train_close(&a);
    train_close(&b);
}

// The loss and the gradient of all rows at once; the floats are the caller's.
static float *gradient_of(const train_setup *setup, uint64_t *floats, double *loss)
{
    train_run r;
    inl_trainer *t;
    train_prepare(&r, setup);
    // B starts at zero, which would hide A.
    train_draw_b(&r);
    inl_train_params params = {.batch_size =
                                   (uint32_t)inl_dataset_get_info(r.dataset->dataset)->rows,
                               .accumulation = 1,
                               .max_steps = 1,
                               .learning_rate = 1e-3f};
    TRAIN_OK(inl_trainer_create(&r.model->env, train_device->gpu, r.model->model, r.adapter->lora,
                                r.dataset->dataset, &params, &t));
    *floats = t->slots.floats;
    float *gradient = calloc(*floats, sizeof(*gradient));
    TRAIN_OK(inl_trainer_gradients(t, gradient));
    *loss = inl_inputs_sum_losses(&t->inputs) / t->inputs.scalars->supervised;
    inl_trainer_destroy(&t);
    train_close(&r);
    return gradient;
}

static void check_packing(toy_model model)
{
    train_setup packed = {.model = model,
                          .rows = {.max_length = 40},
                          .adapter = {.target_modules = "all-linear"}};
    train_setup alone = packed;
    alone.rows.no_packing = true;
    uint64_t count, other;
    double loss, loss_alone, largest = 0.0, worst = 0.0;
    float *a = gradient_of(&packed, &count, &loss), *b = gradient_of(&alone, &other, &loss_alone);
    assert_int_equal(count, other);
    for (uint64_t i = 0; i < count; i++) {
        largest = fmax(largest, fabs((double)a[i]));
        worst = fmax(worst, fabs((double)a[i] - (double)b[i]));
    }
    if (!near(loss, loss_alone, 1e-6) || !(worst <= 1e-5 * largest))
        fail_msg("loss %.9f and %.9f, gradients differ by %g of %g", loss, loss_alone, worst,
                 largest);
    assert_true(largest > 1e-3);
    free(a);
    free(b);
}

// Two equal rows, and a rate that moves nothing: what is left to differ is what dropout draws.
static void packing_is_no_attention_across(void **state)
{
    (void)state;
    check_packing(train_toy);
    check_packing((toy_model)TRAIN_MIXTURE); // other rows pad the experts' tiles
}

static void dropout_draws_anew_each_micro_batch(void **state)
{
    (void)state;
    train_setup s = {.text = "{\"text\": \"the same\"}\n{\"text\": \"the same\"}\n",
                     .rows = {.no_packing = true},
                     .params = {.learning_rate = 1e-30f, .max_steps = 9}};
    for (int dropped = 0; dropped < 2; dropped++) {
        s.adapter.dropout = dropped ? 0.3f : 0.0f;
        train_run r;
        train_open(&r, &s);
        double first = train_steps(&r, 1).grad_norm, second = train_steps(&r, 1).grad_norm;
        double third = train_steps(&r, 1).grad_norm; // of another epoch
        train_close(&r);
        s.params.gradient_accumulation_steps = 2;
        train_open(&r, &s);
        double both = train_steps(&r, 1).grad_norm; // the mean of two gradients
        train_close(&r);
        s.params.gradient_accumulation_steps = 1;
        assert_int_equal(near(first, second, 1e-5), !dropped);
        assert_int_equal(near(first, third, 1e-5), !dropped);
        assert_int_equal(near(first, both, 1e-5), !dropped);
    }
}

// ---- steps and epochs

static void every_row_once_an_epoch(void **state)
{
    (void)state;
    static const struct {
        uint32_t batch, accumulation, steps;
    } cases[] = {{1, 1, 5}, {2, 1, 3}, {2, 2, 2}, {1, 3, 2}, {64, 1, 1}, {3, 50, 1}};
    for (size_t i = 0; i < INL_COUNT(cases); i++) {
        train_setup s = {.params = {.batch_size = cases[i].batch, .num_train_epochs = 2.5,
                                    .gradient_accumulation_steps = cases[i].accumulation}};
        train_run r;
        train_open(&r, &s);
        inlay_train_plan plan = plan_of(&r);
        assert_int_equal(plan.steps_per_epoch, cases[i].steps);
        assert_int_equal(plan.total_steps, (5 * cases[i].steps + 1) / 2);
        inlay_dataset_info info;
        inlay_dataset_get_info(r.dataset, &info);
        for (uint32_t epoch = 1; epoch <= 2; epoch++) {
            uint64_t tokens = 0, supervised = 0;
            for (uint32_t k = 0; k < cases[i].steps; k++) {
                inlay_step_stats stats = train_steps(&r, 1);
                tokens += stats.tokens;
                supervised += stats.supervised_tokens;
                assert_true(near(stats.epoch, epoch - 1 + (k + 1.0) / cases[i].steps, 1e-12));
            }
            assert_int_equal(tokens, info.tokens);
            assert_int_equal(supervised, info.supervised_tokens);
        }
        train_close(&r);
    }
}

static void epochs_are_shuffled_anew(void **state)
{
    (void)state;
    for (int ordered = 0; ordered < 2; ordered++) {
        uint64_t tokens[2][5];
        train_run r;
        train_open(&r, &(train_setup){.params = {.num_train_epochs = 2, .no_shuffle = ordered}});
        for (uint32_t i = 0; i < 10; i++)
            tokens[i / 5][i % 5] = train_steps(&r, 1).tokens;
        assert_int_equal(memcmp(tokens[0], tokens[1], sizeof(tokens[0])) == 0, ordered);
        train_close(&r);
    }
}

static void a_tiny_epoch_is_a_step(void **state)
{
    (void)state;
    train_setup s = {.params = {.num_train_epochs = 1e-9}};
    train_run r;
    train_open(&r, &s);
    assert_int_equal(plan_of(&r).total_steps, 1);
    train_close(&r);
}

// Hugging Face's numbers: get_linear_schedule_with_warmup and its like, as of transformers 4.46.
static void rates_are_the_usual_ones(void **state)
{
    (void)state;
    static const struct {
        inlay_schedule schedule;
        double ratio;
        uint32_t warmup, total;
        double rates[4]; // of steps 1, 2, 6 and 10, relative
    } cases[] = {
        {INLAY_SCHEDULE_LINEAR, 0.0, 0, 10, {1.0, 0.9, 0.5, 0.1}},
        {INLAY_SCHEDULE_LINEAR, 0.2, 0, 10, {0.0, 0.5, 0.625, 0.125}},
        {INLAY_SCHEDULE_LINEAR, 0.9, 4, 10, {0.0, 0.25, 5.0 / 6.0, 1.0 / 6.0}},
        {INLAY_SCHEDULE_COSINE, 0.0, 4, 10, {0.0, 0.25, 0.93301270189, 0.06698729811}},
        {INLAY_SCHEDULE_CONSTANT, 0.5, 4, 10, {1.0, 1.0, 1.0, 1.0}},
        {INLAY_SCHEDULE_CONSTANT_WITH_WARMUP, 0.0, 4, 10, {0.0, 0.25, 1.0, 1.0}},
        {INLAY_SCHEDULE_LINEAR, 0.1, 0, 100, {0.0, 0.1, 0.5, 0.9}},
    };
    static const uint32_t steps[] = {1, 2, 6, 10};
    for (size_t i = 0; i < INL_COUNT(cases); i++) {
        train_setup s = {.params = {.lr_scheduler = cases[i].schedule,
                                    .warmup_ratio = cases[i].ratio,
                                    .warmup_steps = cases[i].warmup,
                                    .max_steps = cases[i].total}};
        train_run r;
        train_open(&r, &s);
        inlay_step_stats stats = {0};
        for (size_t k = 0; k < INL_COUNT(steps); k++) {
            stats = train_steps(&r, steps[k] - stats.step);
            if (fabs(stats.learning_rate / (double)1e-2f - cases[i].rates[k]) > 1e-9)
                fail_msg("case %zu, step %u: rate %.9g", i, stats.step, stats.learning_rate);
        }
        train_close(&r);
    }
}

static void what_is_out_of_range_is_refused(void **state)
{
    (void)state;
    static const inlay_train_params cases[] = {
        {.batch_size = 5000},
        {.batch_size = 4096, .gradient_accumulation_steps = 1u << 20},
        {.max_steps = UINT32_MAX},
        {.num_train_epochs = 999999.0 * 1e9},
        {.learning_rate = -1.0f},
        {.warmup_ratio = 1.5},
        {.gradient_checkpointing = -3},
        {.adam_beta1 = 1.0f},
    };
    train_run r;
    train_prepare(&r, &(train_setup){0});
    for (size_t i = 0; i < INL_COUNT(cases); i++) {
        inlay_train_plan plan;
        assert_int_equal(inlay_train_plan_run(&plan, &train_env, train_device, r.model, r.adapter,
                                              r.dataset, &cases[i]),
                         INLAY_ERROR_INVALID_ARGUMENT);
        assert_int_equal(inlay_trainer_create(&r.trainer, &train_env, train_device, r.model,
                                              r.adapter, r.dataset, &cases[i]),
                         INLAY_ERROR_INVALID_ARGUMENT);
        assert_null(r.trainer);
    }
    train_close(&r);
}

// ---- the loss falls

static void four_sentences_are_learned(void **state)
{
    (void)state;
    train_setup s = {.text = "{\"prompt\": \"1\", \"completion\": \"the fox ran home\"}\n"
                             "{\"prompt\": \"2\", \"completion\": \"snow fell on it\"}\n"
                             "{\"prompt\": \"3\", \"completion\": \"a bell rang\"}\n"
                             "{\"prompt\": \"4\", \"completion\": \"who was there?\"}\n",
                     .rows = {.max_length = 48},
                     .adapter = {.r = 16, .target_modules = "q_proj,k_proj,v_proj,o_proj,gate_proj,"
                                                            "up_proj,down_proj,lm_head"},
                     .params = {.batch_size = 2, .max_steps = 150, .learning_rate = 3e-2f,
                                .max_grad_norm = 1.0f}};
    train_run r;
    train_open(&r, &s);
    inlay_eval_result before = evaluate(&r, r.dataset);
    train_steps(&r, 150);
    inlay_eval_result after = evaluate(&r, r.dataset);
    if (!(before.loss > 4.0) || !(after.loss < 0.05))
        fail_msg("the loss went from %.3f to %.3f", before.loss, after.loss);
    train_close(&r);
}

static void every_kind_of_model_and_adapter_learns(void **state)
{
    (void)state;
    toy_model tied = train_toy, f16 = train_toy, wide = train_toy, q8 = train_toy;
    toy_model mixture = TRAIN_MIXTURE;
    tied.tied = 1;
    f16.format = INL_FORMAT_F16;
    wide.vocab = 300; // rows of the embedding that no token has
    wide.tokens = TOY_VOCAB;
    q8.format = INL_FORMAT_Q8_0;
    q8.dim = q8.ffn = 32;
    q8.head_dim = 16;
    const struct {
        toy_model model;
        const char *quantize;
        const char *targets;
    } cases[] = {
        {tied, NULL, "lm_head"},
        {train_toy, NULL, "lm_head"},
        {tied, NULL, "q_proj,lm_head"},
        {train_toy, NULL, "model\\.layers\\.1\\.mlp\\..*"},
        {train_toy, NULL, "model\\.layers\\.0\\.self_attn\\.v_proj"},
        {f16, NULL, NULL},
        {wide, NULL, NULL},
        {q8, NULL, NULL},
        {q8, "q4_0", NULL},
        {q8, "nf4", NULL},
        {f16, "nf4", NULL},
        {mixture, NULL, NULL},
        {mixture, "nf4", "gate"}, // the router alone
        {mixture, "q4_0", "model\\.layers\\.\\d+\\.mlp\\.experts\\.[13]\\..*"},
        {train_toy, "q8_0", NULL}, // rows of 24 and 36 keep F32
    };
    for (size_t i = 0; i < INL_COUNT(cases); i++) {
        train_setup s = {.model = cases[i].model, .open = {.quantize = cases[i].quantize},
                         .adapter = {.target_modules = cases[i].targets},
                         .params = {.batch_size = 5, .max_steps = 8,
                                    .lr_scheduler = INLAY_SCHEDULE_CONSTANT}};
        train_run r;
        train_open(&r, &s);
        double first = train_steps(&r, 1).loss, last = train_steps(&r, 7).loss;
        if (!(last < first))
            fail_msg("case %zu: the loss went from %.4f to %.4f", i, first, last);
        train_close(&r);
    }
}

// ---- evaluation

// A step's loss is that of the adapter before its update.
static void evaluation_is_the_training_loss(void **state)
{
    (void)state;
    train_setup s = {.params = {.batch_size = 5, .max_steps = 10}};
    train_run r;
    train_open(&r, &s);
    for (int i = 0; i < 3; i++) {
        inlay_eval_result e = evaluate(&r, r.dataset), fresh;
        TRAIN_OK(inlay_trainer_sync(r.trainer));
        TRAIN_OK(inlay_evaluate(&train_env, train_device, r.model, r.adapter, r.dataset, &fresh));
        inlay_step_stats stats = train_steps(&r, 1);
        assert_int_equal(e.tokens, stats.supervised_tokens);
        assert_true(near(e.loss, stats.loss, 1e-6));
        assert_true(near(e.loss, fresh.loss, 1e-6));
        assert_true(near(e.perplexity, exp(e.loss), 1e-12));
    }
    train_close(&r);
}

static void evaluation_of_shorter_and_longer_rows(void **state)
{
    (void)state;
    train_setup s = {.params = {.batch_size = 1, .max_steps = 10}};
    train_run r;
    train_open(&r, &s);
    train_steps(&r, 2);
    TRAIN_OK(inlay_trainer_sync(r.trainer));
    static const uint32_t lengths[] = {24, 13, 9, 2};
    for (size_t i = 0; i < INL_COUNT(lengths); i++) {
        inlay_dataset *data = train_open_text(r.model, "once upon a time there was", true,
                                              &(inlay_dataset_params){.max_length = lengths[i]});
        inlay_eval_result inside = evaluate(&r, data), outside;
        TRAIN_OK(inlay_evaluate(&train_env, train_device, r.model, r.adapter, data, &outside));
        assert_int_equal(inside.tokens, outside.tokens);
        assert_true(near(inside.loss, outside.loss, 1e-6));
        inlay_dataset_close(&data);
    }
    inlay_eval_result result;
    inlay_dataset *data = train_open_text(r.model, "once upon a time there was", true,
                                          &(inlay_dataset_params){.max_length = 25});
    train_refused(inlay_trainer_evaluate(r.trainer, data, &result), INLAY_ERROR_MISMATCH, "25",
                  "24", NULL);
    inlay_dataset_close(&data);
    train_close(&r);
}

static double log_likelihood(const float *logits, uint32_t vocab, int32_t id)
{
    double most = -1e30, sum = 0.0;
    for (uint32_t i = 0; i < vocab; i++)
        most = fmax(most, (double)logits[i]);
    for (uint32_t i = 0; i < vocab; i++)
        sum += exp((double)logits[i] - most);
    return (double)logits[id] - most - log(sum);
}

// Rows of a text, each on its own, with the logits a generator gives.
static void text_is_scored_from_each_rows_second_token(void **state)
{
    (void)state;
    static const char text[] = "a text of some length, cut into rows, the last one short";
    enum { LENGTH = 11, ROOM = 256 };
    static float logits[LENGTH * 261];
    train_run r;
    train_prepare(&r, &(train_setup){.text = text, .is_txt = true, .rows = {.max_length = LENGTH}});
    int32_t ids[ROOM];
    size_t count = ROOM;
    TRAIN_OK(inlay_tokenize(r.model, text, sizeof(text) - 1,
                            &(inlay_tokenize_params){.add_special = true}, ids, &count));
    assert_true(count % LENGTH >= 2);
    inlay_generator *g;
    TRAIN_OK(inlay_generator_create(&g, &train_env, train_device, r.model, NULL, NULL));
    double sum = 0.0;
    uint64_t scored = 0;
    for (size_t at = 0; at < count; at += LENGTH) {
        size_t row = INL_MIN(LENGTH, count - at);
        TRAIN_OK(inlay_generator_logits(g, ids + at, row, logits));
        for (size_t i = 0; i + 1 < row; i++, scored++)
            sum -= log_likelihood(logits + i * 261, 261, ids[at + i + 1]);
    }
    inlay_generator_destroy(&g);
    inlay_eval_result e;
    TRAIN_OK(inlay_evaluate(&train_env, train_device, r.model, NULL, r.dataset, &e));
    assert_int_equal(e.tokens, scored);
    assert_int_equal(scored, count - (count + LENGTH - 1) / LENGTH);
    if (!near(e.loss, sum / (double)scored, 1e-6))
        fail_msg("evaluation says %.9f, the logits %.9f", e.loss, sum / (double)scored);
    train_close(&r);
}

// ---- an evaluation that is watched

typedef struct watcher {
    uint64_t calls, stop_at, done, rows;
} watcher;

static inlay_result watch(void *user, uint64_t rows_done, uint64_t rows)
{
    watcher *w = user;
    assert_true(rows_done > w->done && rows_done <= rows);
    w->done = rows_done;
    w->rows = rows;
    return ++w->calls == w->stop_at ? INLAY_ERROR_INTERRUPTED : INLAY_OK;
}

static void an_evaluation_may_be_ended(void **state)
{
    (void)state;
    train_run r;
    inlay_eval_result result;
    train_setup s = {.params = {.max_steps = 4}};
    train_open(&r, &s);
    train_steps(&r, 1);
    watcher all = {0}, some = {.stop_at = 2};
    inlay_trainer_watch_evaluation(r.trainer, watch, &all);
    inlay_eval_result whole = evaluate(&r, r.dataset);
    assert_true(all.calls > 2 && all.done == all.rows);
    train_bytes before = train_adapter(&r);
    inlay_trainer_watch_evaluation(r.trainer, watch, &some);
    assert_int_equal(inlay_trainer_evaluate(r.trainer, r.dataset, &result),
                     INLAY_ERROR_INTERRUPTED);
    assert_int_equal(some.calls, 2);
    train_assert_same(before, train_adapter(&r), "an evaluation that was ended");
    inlay_trainer_watch_evaluation(r.trainer, NULL, NULL);
    result = evaluate(&r, r.dataset);
    assert_true(result.loss == whole.loss);
    train_steps(&r, 3);
    train_close(&r);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(checkpointing_changes_no_bit),
        cmocka_unit_test(segments_change_no_bit),
        cmocka_unit_test(a_batch_is_rows_accumulated),
        cmocka_unit_test(packing_is_no_attention_across),
        cmocka_unit_test(dropout_draws_anew_each_micro_batch),
        cmocka_unit_test(every_row_once_an_epoch),
        cmocka_unit_test(epochs_are_shuffled_anew),
        cmocka_unit_test(a_tiny_epoch_is_a_step),
        cmocka_unit_test(rates_are_the_usual_ones),
        cmocka_unit_test(what_is_out_of_range_is_refused),
        cmocka_unit_test(four_sentences_are_learned),
        cmocka_unit_test(every_kind_of_model_and_adapter_learns),
        cmocka_unit_test(evaluation_is_the_training_loss),
        cmocka_unit_test(evaluation_of_shorter_and_longer_rows),
        cmocka_unit_test(text_is_scored_from_each_rows_second_token),
        cmocka_unit_test(an_evaluation_may_be_ended),
    };
    return cmocka_run_group_tests(tests, train_begin, train_end);
}
