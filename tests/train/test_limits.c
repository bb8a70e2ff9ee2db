// SPDX-License-Identifier: MIT
// Memory is what the plan says, to the byte on the CPU driver; too little of it is refused before
// any is taken, with advice that holds; NaN and infinity stop the run as it was; a step's host
// time.
#include "harness/train_run.h"

// Wide enough that activations and weights outweigh the staging buffer.
#define WIDE                                                                                       \
    {                                                                                              \
        .dim = 96, .ffn = 256, .layers = 4, .heads = 3, .kv_heads = 1, .head_dim = 32,             \
        .vocab = 600, .seed = 3                                                                    \
    }

static inlay_train_plan plan_run(const train_run *r, const inlay_train_params *params)
{
    inlay_train_plan plan;
    TRAIN_OK(inlay_train_plan_run(&plan, &train_env, train_device, r->model, r->adapter, r->dataset,
                                  params));
    return plan;
}

static inlay_result try_create(train_run *r, const inlay_train_params *params)
{
    return inlay_trainer_create(&r->trainer, &train_env, train_device, r->model, r->adapter,
                                r->dataset, params);
}

static uint64_t used(void)
{
    uint64_t now, peak;
    inlay_device_get_memory(train_device, &now, &peak);
    return now;
}

static uint64_t peak(void)
{
    uint64_t now, most;
    inlay_device_get_memory(train_device, &now, &most);
    return most;
}

// The tests below give the device in use a budget of their own, 0: the driver's.
static inlay_device *swap_device(uint64_t budget)
{
    inlay_device *before = train_device;
    train_device = train_open_device(budget);
    return before;
}

static void swap_back(inlay_device *before)
{
    train_close_device(&train_device);
    train_device = before;
}

// ---- memory

static void a_run_uses_what_was_planned(void **state)
{
    (void)state;
    static const struct {
        inl_format_id format;
        const char *quantize;
        uint32_t batch, length, accumulation;
        int32_t checkpointing;
        const char *targets;
    } cases[] = {
        {INL_FORMAT_F32, NULL, 1, 61, 1, 0, NULL},
        {INL_FORMAT_F32, NULL, 4, 64, 1, 0, NULL},
        {INL_FORMAT_F16, NULL, 3, 64, 2, INLAY_CHECKPOINT_ALL, NULL},
        {INL_FORMAT_Q8_0, NULL, 3, 50, 1, 2, "q_proj,v_proj"},
        {INL_FORMAT_F16, "nf4", 2, 149, 1, 0, NULL},
        {INL_FORMAT_Q8_0, "nf4", 5, 64, 1, INLAY_CHECKPOINT_ALL, "lm_head,q_proj"},
        {INL_FORMAT_Q4_0, NULL, 1, 256, 1, 0, "lm_head"},
        {INL_FORMAT_BF16, "q8_0", 1, 5, 1, 1, "model\\.layers\\.2\\..*"},
        {INL_FORMAT_BF16, "Q5_1", 1, 61, 1, 0, NULL},
        {INL_FORMAT_F16, "nf4", 2, 149, 1, 0, "gate,gate_proj,down_proj,q_proj"},
        {INL_FORMAT_Q8_0, NULL, 1, 61, 1, 2, NULL},
    };
    const size_t dense = INL_COUNT(cases) - 2; // the others have experts
    for (size_t i = 0; i < INL_COUNT(cases); i++) {
        train_setup s = {.model = WIDE,
                         .open = {.quantize = cases[i].quantize},
                         .rows = {.max_length = cases[i].length},
                         .adapter = {.r = 8, .use_dora = i < dense && i % 3 == 1,
                                     .init_lora_weights = i == 2 ? INLAY_INIT_PISSA : 0,
                                     .target_modules = cases[i].targets},
                         .params = {.batch_size = cases[i].batch, .max_steps = 1,
                                    .gradient_accumulation_steps = cases[i].accumulation,
                                    .loraplus_lr_ratio = i % 2 ? 8.0f : 0.0f,
                                    .gradient_checkpointing = cases[i].checkpointing}};
        s.model.format = cases[i].format;
        s.model.experts = i < dense ? 0 : 6;
        s.model.experts_used = i < dense ? 0 : 2;
        inlay_device *before = swap_device(0);
        train_run r;
        train_prepare(&r, &s);
        inlay_train_params params = train_params_of(&s);
        inlay_train_plan plan = plan_run(&r, &params);
        assert_int_equal(used(), 0);
        assert_int_equal(plan.total_bytes, plan.weights_bytes + plan.adapter_bytes +
                                               plan.optimizer_bytes + plan.activations_bytes +
                                               plan.scratch_bytes);
        TRAIN_OK(try_create(&r, &params));
        inlay_step_stats stats = train_steps(&r, 1);
        inlay_eval_result result;
        TRAIN_OK(inlay_trainer_evaluate(r.trainer, r.dataset, &result));
        assert_int_equal(stats.peak_device_bytes, peak());
        double ratio = (double)plan.total_bytes / (double)peak();
        if (!(ratio >= 1.0 && ratio <= 1.05))
            fail_msg("case %zu: planned %llu bytes, used %llu", i,
                     (unsigned long long)plan.total_bytes, (unsigned long long)peak());
        train_close(&r);
        swap_back(before);
    }
}

static void a_second_run_beside_it_is_planned_as_well(void **state)
{
    (void)state;
    inlay_device *before = swap_device(0);
    train_run a, b;
    train_setup s = {.params = {.batch_size = 2}};
    train_open(&a, &s);
    uint64_t taken = used();
    train_prepare(&b, &s);
    inlay_train_params params = train_params_of(&s);
    inlay_train_plan plan = plan_run(&b, &params);
    TRAIN_OK(try_create(&b, &params));
    train_steps(&b, 1);
    assert_in_range(peak() - taken, plan.total_bytes * 95 / 100, plan.total_bytes);
    train_close(&b);
    assert_int_equal(used(), taken);
    train_close(&a);
    swap_back(before);
}

static const train_setup long_rows = {.model = WIDE,
                                      .rows = {.max_length = 48},
                                      .adapter = {.r = 8},
                                      .params = {.batch_size = 2, .max_steps = 2}};

static train_bytes bytes_of_two_steps(train_run *r, const inlay_train_params *params)
{
    inlay_eval_result result;
    TRAIN_OK(try_create(r, params));
    train_steps(r, 2);
    TRAIN_OK(inlay_trainer_evaluate(r->trainer, r->dataset, &result));
    return train_adapter(r);
}

static void auto_checkpoints_as_few_layers_as_fit(void **state)
{
    (void)state;
    train_run r;
    train_prepare(&r, &long_rows);
    uint64_t totals[6];
    inlay_device *before = swap_device(0); // whose staging buffer does not exist yet
    for (int32_t layers = 0; layers <= 4; layers++) {
        inlay_train_params params = train_params_of(&long_rows);
        params.gradient_checkpointing = layers;
        totals[layers] = plan_run(&r, &params).total_bytes;
        assert_true(layers == 0 || totals[layers] < totals[layers - 1]);
    }
    inlay_train_params pairs = train_params_of(&long_rows);
    pairs.gradient_checkpointing = INLAY_CHECKPOINT_ALL;
    pairs.checkpoint_segment = 2;
    totals[5] = plan_run(&r, &pairs).total_bytes;
    assert_true(totals[5] < totals[4]);
    swap_back(before);
    inlay_train_params params = train_params_of(&long_rows);
    train_bytes plain = bytes_of_two_steps(&r, &params);
    train_close(&r);
    params.gradient_checkpointing = INLAY_CHECKPOINT_AUTO;
    for (uint32_t layers = 0; layers <= 5; layers += layers == 4 ? 1 : 2) {
        before = swap_device(totals[layers]); // to the byte
        train_prepare(&r, &long_rows);
        inlay_train_plan plan = plan_run(&r, &params);
        assert_true(plan.fits);
        assert_int_equal(plan.checkpointed_layers, INL_MIN(layers, 4));
        assert_int_equal(plan.checkpoint_segment, layers == 5 ? 2 : 1);
        assert_int_equal(plan.device_budget_bytes, totals[layers]);
        train_bytes bytes = bytes_of_two_steps(&r, &params);
        assert_true(train_same(plain, bytes));
        free(bytes.data);
        train_close(&r);
        swap_back(before);
    }
    free(plain.data);
}

// Refused under `budget`, with a sentence holding `advice`, before anything is taken.
static void refused_under(uint64_t budget, const inlay_train_params *params, const char *advice)
{
    train_run r;
    inlay_device *before = swap_device(budget);
    train_prepare(&r, &long_rows);
    inlay_train_plan plan = plan_run(&r, params);
    assert_false(plan.fits);
    assert_true(plan.total_bytes > budget);
    train_refused(try_create(&r, params), INLAY_ERROR_OUT_OF_DEVICE_MEMORY, "the run needs",
                  "MiB are free", advice, "--quantize nf4", NULL);
    assert_null(r.trainer);
    assert_int_equal(peak(), 0); // nothing was taken, not even for a moment
    train_close(&r);
    swap_back(before);
}

static void followed(uint64_t budget, uint32_t batch, uint32_t length)
{
    train_run r;
    train_setup s = long_rows;
    s.rows.max_length = length;
    inlay_device *before = swap_device(budget);
    train_prepare(&r, &s);
    inlay_train_params params = {.batch_size = batch, .max_steps = 1,
                                 .gradient_checkpointing = INLAY_CHECKPOINT_ALL};
    TRAIN_OK(try_create(&r, &params));
    train_steps(&r, 1);
    train_close(&r);
    swap_back(before);
}

static uint32_t number_after(const char *option)
{
    const char *at = strstr(train_error, option);
    assert_non_null(at);
    return (uint32_t)strtoul(at + strlen(option), NULL, 10);
}

static uint64_t total_of(uint32_t batch, uint32_t length)
{
    train_run r;
    train_setup s = long_rows;
    s.rows.max_length = length;
    inlay_device *before = swap_device(0);
    train_prepare(&r, &s);
    uint64_t total = plan_run(&r, &(inlay_train_params){
                                      .batch_size = batch,
                                      .gradient_checkpointing = INLAY_CHECKPOINT_ALL})
                         .total_bytes;
    train_close(&r);
    swap_back(before);
    return total;
}

static void too_little_memory_is_refused_with_advice(void **state)
{
    (void)state;
    inlay_train_params none = {.batch_size = 6}, automatic = none;
    automatic.gradient_checkpointing = INLAY_CHECKPOINT_AUTO;
    automatic.checkpoint_segment = 1; // longer ones fit more
    uint64_t budget = total_of(6, 48);
    refused_under(budget, &none, "--gradient-checkpointing all needs");
    followed(budget, 6, 48);

    budget = total_of(4, 48) + 1000;
    refused_under(budget, &automatic, "--batch-size 4 fits");
    assert_null(strstr(train_error, "--gradient-checkpointing"));
    refused_under(budget, &none, "--batch-size 4 fits with --gradient-checkpointing all");
    followed(budget, 4, 48);

    budget = total_of(1, 48) - 1000;
    refused_under(budget, &automatic, "--max-length ");
    assert_non_null(strstr(train_error, "with --batch-size 1"));
    uint32_t length = number_after("--max-length ");
    assert_in_range(length, 32, 47);
    followed(budget, 1, length);

    refused_under(9u << 20, &automatic, "no row length fits: even 16 tokens need");
}

static void what_no_binding_holds_is_refused_before(void **state)
{
    (void)state;
    train_run r;
    inlay_device *before = swap_device(0);
    train_prepare(&r, &(train_setup){.rows = {.max_length = 1024}});
    inlay_train_plan plan;
    inlay_train_params params = {.batch_size = 4096};
    assert_int_equal(inlay_train_plan_run(&plan, &train_env, train_device, r.model, r.adapter,
                                          r.dataset, &params),
                     INLAY_ERROR_UNSUPPORTED);
    train_refused(try_create(&r, &params), INLAY_ERROR_UNSUPPORTED, "--max-length", NULL);
    assert_int_equal(peak(), 0);
    train_close(&r);
    swap_back(before);
}

// ---- NaN and infinity

// Steps until one is refused; the adapter is what it was before that step.
static void stops_unchanged(train_run *r, const char *word)
{
    inlay_step_stats stats;
    char step[32];
    train_bytes before = {0};
    inlay_result result = INLAY_OK;
    for (uint32_t i = 1; i <= 10 && result == INLAY_OK; i++) {
        free(before.data);
        before = train_adapter(r);
        snprintf(step, sizeof(step), "step %u:", i);
        result = inlay_trainer_step(r->trainer, &stats);
    }
    train_refused(result, INLAY_ERROR_NOT_FINITE, step, word, NULL);
    train_assert_same(before, train_adapter(r), "a step that was refused");
    assert_int_equal(inlay_trainer_step(r->trainer, &stats), INLAY_ERROR_NOT_FINITE);
}

static void a_rate_that_explodes_is_stopped(void **state)
{
    (void)state;
    train_run r;
    train_open(&r, &(train_setup){.params = {.learning_rate = 9e8f, .batch_size = 2,
                                             .gradient_accumulation_steps = 2}});
    stops_unchanged(&r, "tensor lora_");
    train_close(&r);
}

static void weights_that_overflow_are_stopped(void **state)
{
    (void)state;
    train_setup s = {.model = train_toy};
    s.model.gain = 1e20f;
    train_run r;
    train_open(&r, &s);
    stops_unchanged(&r, "model.layers.");
    inlay_eval_result result;
    train_refused(inlay_trainer_evaluate(r.trainer, r.dataset, &result), INLAY_ERROR_NOT_FINITE,
                  "loss", NULL);
    train_close(&r);
}

// Logits further apart than f32 reaches: the loss is infinite, and softmax minus one-hot is not.
static void an_infinite_loss_with_finite_gradients_is_stopped(void **state)
{
    (void)state;
    train_setup s = {.model = train_toy, .adapter = {.target_modules = "lm_head"},
                     .params = {.batch_size = 5}};
    s.model.head_gain = 8e37f;
    train_run r;
    train_open(&r, &s);
    stops_unchanged(&r, "so is the loss");
    train_close(&r);
}

// After a refusal the run goes on from its checkpoint as if nothing had been.
static void the_last_checkpoint_goes_on(void **state)
{
    (void)state;
    train_setup s = {.adapter = {.dropout = 0.1f}, .params = {.batch_size = 2, .max_steps = 6}};
    train_run r, whole;
    train_open(&whole, &s);
    train_steps(&whole, 6);
    train_open(&r, &s);
    train_steps(&r, 3);
    TRAIN_OK(inlay_trainer_save_checkpoint(r.trainer, train_path("checkpoint")));
    inl_trainer *t = r.trainer->trainer;
    float nan = NAN;
    TRAIN_OK(inl_gpu_upload(train_device->gpu, t->arenas[0], 0, &nan, sizeof(nan)));
    inlay_step_stats stats;
    train_refused(inlay_trainer_step(r.trainer, &stats), INLAY_ERROR_NOT_FINITE, "step 4", NULL);
    TRAIN_OK(inlay_trainer_resume(r.trainer, train_path("checkpoint")));
    train_steps(&r, 3);
    train_assert_same(train_adapter(&whole), train_adapter(&r), "gone on");
    train_close(&r);
    train_close(&whole);
}

// ---- host time

static int by_value(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return x < y ? -1 : x > y;
}

static double median_host_seconds(const char *name, const train_setup *setup)
{
    enum { STEPS = 31 };
    double seconds[STEPS];
    train_run r;
    train_open(&r, setup);
    for (int i = 0; i < STEPS; i++)
        seconds[i] = train_steps(&r, 1).host_seconds;
    inl_trainer *t = r.trainer->trainer;
    uint32_t nodes = inl_plan_node_count(t->micro) + inl_plan_node_count(t->update);
    uint32_t submits = inl_plan_submit_count(t->micro) + inl_plan_submit_count(t->update);
    train_close(&r);
    qsort(seconds, STEPS, sizeof(seconds[0]), by_value);
    print_message("%s: %u kernels in %u submits, host time a step: median %.0f us, longest %.0f\n",
                  name, nodes, submits, seconds[STEPS / 2] * 1e6, seconds[STEPS - 1] * 1e6);
    return seconds[STEPS / 2];
}

// Of a small model and of one with more than a thousand kernels a step.
static void the_host_works_less_than_a_millisecond_a_step(void **state)
{
    (void)state;
    static const toy_model deep = {.dim = 64, .ffn = 96, .layers = 32, .heads = 2, .kv_heads = 1,
                                   .head_dim = 32, .vocab = 261, .seed = 3};
    const char *data = getenv("INLAY_TEST_DATA");
    char path[512];
    snprintf(path, sizeof(path), "%s/model/stories260K.gguf", data ? data : "");
    train_setup s = {.model_file = data ? path : NULL,
                     .rows = {.max_length = 128, .no_packing = true},
                     .adapter = {.r = 8}, .params = {.max_steps = 1000}};
    assert_true(median_host_seconds(data ? "stories260K" : "toy model", &s) < 1e-3);
    s.model_file = NULL;
    s.model = deep;
    s.rows.max_length = 32;
    assert_true(median_host_seconds("32 layers", &s) < 1e-3);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_run_uses_what_was_planned),
        cmocka_unit_test(a_second_run_beside_it_is_planned_as_well),
        cmocka_unit_test(auto_checkpoints_as_few_layers_as_fit),
        cmocka_unit_test(too_little_memory_is_refused_with_advice),
        cmocka_unit_test(what_no_binding_holds_is_refused_before),
        cmocka_unit_test(a_rate_that_explodes_is_stopped),
        cmocka_unit_test(weights_that_overflow_are_stopped),
        cmocka_unit_test(an_infinite_loss_with_finite_gradients_is_stopped),
        cmocka_unit_test(the_last_checkpoint_goes_on),
        cmocka_unit_test(the_host_works_less_than_a_millisecond_a_step),
    };
    return cmocka_run_group_tests(tests, train_begin, train_end);
}
