// SPDX-License-Identifier: MIT
// Gradients of every A and B through whole models against central differences of the loss.
//
// For each tensor a random direction d: the slope (L(w + h d) - L(w - h d)) / 2h, taken for h and
// h / 2 so that its error of h^2 cancels, against g . d. The loss is f32 on the device (relative
// noise 1e-7): that and the error of h^4 are below the bound, of the largest slope of the model.
#define _GNU_SOURCE
#include "harness/toy_model.h"
#include "train/trainer.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define STEP 0.01
#define BOUND 5e-4

static void log_message(void *user, inlay_log_level level, const char *message)
{
    (void)user;
    if (level <= INLAY_LOG_WARN)
        print_message("[%d] %s\n", level, message);
}

typedef struct run {
    inl_env env;
    inl_gpu *gpu;
    inl_model *model;
    inl_lora *lora;
    inl_dataset *dataset;
    inl_trainer *trainer;
    float *values, *gradients; // arena images
    uint64_t floats;
} run;

static const char prompts[] = "{\"prompt\": \"\", \"completion\": \"first one, longer\"}\n"
                              "{\"prompt\": \"say it\", \"completion\": \"abcd efg\"}\n"
                              "{\"prompt\": \"q\", \"completion\": \"r\"}\n"
                              "{\"prompt\": \"u\", \"completion\": \"one more like it\"}\n";

static void open_run(run *r, const toy_model *shape, const inl_lora_params *lora,
                     int32_t checkpointed, const inl_format *quantize)
{
    char path[] = "/tmp/inlay-grad-XXXXXX", data[] = "/tmp/inlay-data-XXXXXX.jsonl";
    close(mkstemp(path));
    close(mkstemps(data, 6));
    FILE *f = fopen(data, "wb");
    fwrite(prompts, 1, sizeof(prompts) - 1, f);
    fclose(f);
    assert_int_equal(toy_model_write(path, shape), 0);
    *r = (run){.env = inl_env_resolve(&(inlay_env){.log = log_message})};
    inl_gpu_params device = {.validation = getenv("INLAY_TEST_VALIDATION") != NULL};
    assert_int_equal(inl_gpu_create(&r->env, &device, &r->gpu), INLAY_OK);
    inl_model_params model = {.quantize = quantize};
    assert_int_equal(inl_model_open(&r->env, path, &model, &r->model), INLAY_OK);
    inl_dataset_params rows = {.max_length = 29};
    assert_int_equal(inl_dataset_open(&r->env, r->model->tokenizer, data, &rows, &r->dataset),
                     INLAY_OK);
    assert_int_equal(inl_lora_create(&r->env, &r->model->modules.list, lora, &r->lora), INLAY_OK);
    inl_train_params params = {.batch_size = 2,
                               .accumulation = 1,
                               .max_steps = 10,
                               .epochs = 1,
                               .learning_rate = 1e-3f,
                               .beta1 = 0.9f,
                               .beta2 = 0.999f,
                               .epsilon = 1e-8f,
                               .checkpointing = checkpointed};
    for (uint32_t i = 0; i < r->lora->pair_count; i++) // B starts at zero, which would hide A
        for (uint32_t k = 0; k < r->lora->pairs[i].out * r->lora->pairs[i].r; k++)
            r->lora->pairs[i].b[k] = 0.5f * (inl_rng_f32(77, i, k) - 0.5f);
    assert_int_equal(inl_trainer_create(&r->env, r->gpu, r->model, r->lora, r->dataset, &params,
                                        &r->trainer),
                     INLAY_OK);
    r->floats = r->trainer->slots.floats;
    r->values = calloc(r->floats, sizeof(float));
    r->gradients = calloc(r->floats, sizeof(float));
    inl_slots_pack(&r->trainer->slots, r->values);
    unlink(path);
    unlink(data);
}

static void close_run(run *r)
{
    inl_trainer_destroy(&r->trainer);
    inl_lora_destroy(&r->lora);
    inl_dataset_close(&r->dataset);
    inl_model_close(&r->model);
    assert_int_equal(inl_gpu_validation_errors(r->gpu), 0);
    inl_gpu_destroy(&r->gpu);
    free(r->values);
    free(r->gradients);
}

// The loss with `values` in place of the adapter; `gradients` may be a scratch.
static double loss_of(run *r, const float *values, float *gradients)
{
    assert_int_equal(inl_gpu_upload(r->gpu, r->trainer->arenas[0], 0, values, 4 * r->floats),
                     INLAY_OK);
    assert_int_equal(inl_trainer_gradients(r->trainer, gradients), INLAY_OK);
    return inl_inputs_sum_losses(&r->trainer->inputs) /
           r->trainer->inputs.scalars->supervised;
}

typedef struct tensor {
    const char *path;
    const char *name;
    uint64_t first;
    uint32_t rows, cols, ld;
} tensor;

static double direction(const tensor *t, uint32_t row, uint32_t col)
{
    return 2.0 * (double)inl_rng_f32(5, (uint32_t)t->first, row * t->cols + col) - 1.0;
}

// The slope of the loss along d, from both sides.
static double slope(run *r, const tensor *t, double step, float *moved, float *scratch)
{
    double losses[2];
    for (int sign = 0; sign < 2; sign++) {
        memcpy(moved, r->values, 4 * r->floats);
        for (uint32_t row = 0; row < t->rows; row++)
            for (uint32_t col = 0; col < t->cols; col++)
                moved[t->first + (uint64_t)row * t->ld + col] +=
                    (float)((sign ? -step : step) * direction(t, row, col));
        losses[sign] = loss_of(r, moved, scratch);
    }
    return (losses[0] - losses[1]) / (2 * step);
}

static double directional(run *r, const tensor *t, float *moved, float *scratch, double *analytic)
{
    *analytic = 0.0;
    for (uint32_t row = 0; row < t->rows; row++)
        for (uint32_t col = 0; col < t->cols; col++)
            *analytic += direction(t, row, col) *
                         (double)r->gradients[t->first + (uint64_t)row * t->ld + col];
    double whole = slope(r, t, STEP, moved, scratch), half = slope(r, t, STEP / 2, moved, scratch);
    return (4.0 * half - whole) / 3.0;
}

static uint32_t list_tensors(const run *r, tensor *out)
{
    uint32_t count = 0;
    for (uint32_t i = 0; i < r->lora->pair_count; i++) {
        const inl_lora_pair *p = &r->lora->pairs[i];
        const inl_lora_slot s = inl_slots_of_pair(&r->trainer->slots, p);
        uint32_t ld = (uint32_t)inl_round_up(p->in, 8);
        out[count++] = (tensor){p->path, "lora_A", s.a, p->r, p->in, ld};
        out[count++] = (tensor){p->path, "lora_B", s.b, p->out, p->r, s.rank4 * 4};
        if (s.dora)
            out[count++] = (tensor){p->path, "magnitude", s.magnitude, 1, p->out, p->out};
    }
    return count;
}

static void check_all(run *r)
{
    tensor tensors[128];
    double numeric[128], analytic[128], largest = 0.0;
    float *moved = malloc(4 * r->floats), *scratch = malloc(4 * r->floats);
    assert_true(isfinite(loss_of(r, r->values, r->gradients)));
    uint32_t count = list_tensors(r, tensors);
    for (uint32_t i = 0; i < count; i++) {
        numeric[i] = directional(r, &tensors[i], moved, scratch, &analytic[i]);
        largest = fmax(largest, fabs(numeric[i]));
    }
    for (uint32_t i = 0; i < count; i++)
        if (!(fabs(numeric[i] - analytic[i]) <= BOUND * largest))
            fail_msg("%s %s: central difference %.8f, gradient %.8f (largest %.4f)",
                     tensors[i].path, tensors[i].name, numeric[i], analytic[i], largest);
    assert_true(largest > 1e-3);
    free(moved);
    free(scratch);
}

static const toy_model grouped = {.dim = 40, .ffn = 52, .layers = 2, .heads = 4, .kv_heads = 2,
                                  .head_dim = 12, .vocab = 261, .seed = 3, .biases = 1,
                                  .rope_factors = 1};

static void all_linear(void **state)
{
    (void)state;
    run r;
    open_run(&r, &grouped, &(inl_lora_params){.r = 3, .alpha = 6}, 0, NULL);
    check_all(&r);
    close_run(&r);
}

static void head_too_with_dropout_and_checkpointing(void **state)
{
    (void)state;
    run r;
    toy_model tied = grouped;
    tied.tied = 1;
    tied.biases = 0;
    open_run(&r, &tied,
             &(inl_lora_params){.r = 5, .alpha = 5, .dropout = 0.3f,
                                .target_modules = "q_proj,v_proj,o_proj,up_proj,lm_head"},
             INL_CHECKPOINT_ALL, NULL);
    check_all(&r);
    close_run(&r);
}

// 32 MiB of logits are 24 rows of this vocabulary: the supervised tokens are in two chunks. It is
// in two parts, too, and more than some drivers' loops have rounds for.
static void head_in_chunks(void **state)
{
    (void)state;
    run r;
    toy_model wide = {.dim = 16, .ffn = 20, .layers = 1, .heads = 1, .kv_heads = 1, .head_dim = 16,
                      .vocab = 300000, .seed = 4};
    open_run(&r, &wide,
             &(inl_lora_params){.r = 3, .alpha = 6, .dropout = 0.3f,
                                .target_modules = "v_proj,lm_head"},
             0, NULL);
    check_all(&r);
    assert_in_range(r.trainer->inputs.scalars->supervised, 25, 58);
    assert_int_equal(r.trainer->weights->head.part_count, 2);
    close_run(&r);
}

static void quantized(void **state)
{
    (void)state;
    static const inl_format_id formats[] = {INL_FORMAT_Q8_0, INL_FORMAT_Q4_0, INL_FORMAT_F16};
    toy_model shape = {.dim = 64, .ffn = 96, .layers = 1, .heads = 2, .kv_heads = 1, .head_dim = 32,
                       .vocab = 264, .seed = 9};
    for (size_t i = 0; i < INL_COUNT(formats); i++) {
        run r;
        shape.format = formats[i];
        open_run(&r, &shape, &(inl_lora_params){.r = 4, .alpha = 8}, 1, NULL);
        check_all(&r);
        close_run(&r);
    }
}

// The norms count as constants: they are not brought up to date between the two losses.
static void dora_with_the_head(void **state)
{
    (void)state;
    run r;
    open_run(&r, &grouped,
             &(inl_lora_params){.r = 3, .alpha = 6, .use_dora = true,
                                .target_modules =
                                    "q_proj,k_proj,o_proj,gate_proj,down_proj,lm_head"},
             1, NULL);
    check_all(&r);
    close_run(&r);
    open_run(&r, &grouped,
             &(inl_lora_params){.r = 3, .alpha = 6, .dropout = 0.3f, .use_dora = true,
                                .target_modules = "q_proj,v_proj,o_proj,up_proj,lm_head"},
             1, NULL);
    check_all(&r);
    close_run(&r);
}

static void nf4_with_straddling_blocks(void **state)
{
    (void)state;
    run r;
    open_run(&r, &grouped, &(inl_lora_params){.r = 2, .alpha = 4}, 0,
             inl_format_by_id(INL_FORMAT_NF4));
    check_all(&r);
    close_run(&r);
}

// All experts are used: the loss has no steps, where a token goes elsewhere.
static void experts_and_their_router(void **state)
{
    (void)state;
    run r;
    toy_model mixture = {.dim = 40, .ffn = 28, .layers = 1, .heads = 3, .kv_heads = 1,
                         .head_dim = 12, .vocab = 261, .experts = 3, .experts_used = 3, .seed = 3};
    open_run(&r, &mixture,
             &(inl_lora_params){.r = 3, .alpha = 6,
                                .target_modules = "v_proj,gate_proj,up_proj,down_proj,gate"},
             1, NULL);
    check_all(&r);
    close_run(&r);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(all_linear),
        cmocka_unit_test(head_too_with_dropout_and_checkpointing),
        cmocka_unit_test(head_in_chunks),
        cmocka_unit_test(quantized),
        cmocka_unit_test(dora_with_the_head),
        cmocka_unit_test(nf4_with_straddling_blocks),
        cmocka_unit_test(experts_and_their_router),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
