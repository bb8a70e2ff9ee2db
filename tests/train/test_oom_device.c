// SPDX-License-Identifier: MIT
// Out of host memory at a random choice of the allocations of everything that runs on a device: an
// error code, a sentence, no block and no device memory left, and the device still works.
#include "harness/train_run.h" // first: it asks for GNU's functions

#include "gpu/vk.h"
#include "harness/failing_env.h"

#include <dirent.h>

#include "harness/failing_env.h"

#include <dirent.h>

// Allocations of one act that are made to fail: of most acts, of one that waits for the disk, and
// of one that compiles all its kernels.
#define MOST 60
#define MOST_ON_DISK 30
#define MOST_COMPILING 5

static const train_setup setup = {.params = {.batch_size = 2, .max_steps = 4,
                                             .gradient_checkpointing = INLAY_CHECKPOINT_ALL}};

typedef inlay_result device_act(const inl_env *env, train_run *r);

typedef struct act_case {
    device_act *act;
    train_run *run;
} act_case;

// The device's own allocations fail with the act's: it has the act's environment meanwhile. What it
// keeps, pipelines and the staging buffer, it has from the first run, in which nothing failed.
static inlay_result on_device(const inl_env *env, void *user)
{
    act_case *c = user;
    inl_gpu *gpu = train_device->gpu;
    inl_env own = gpu->env;
    uint64_t used = inl_gpu_used(gpu);
    gpu->env = *env;
    inlay_result result = c->act(env, c->run);
    gpu->env = own;
    assert_int_equal(inl_gpu_used(gpu), used);
    return result;
}

static void check_act_of(const train_setup *run, const char *name, device_act *act, uint32_t most)
{
    train_run r;
    train_prepare(&r, run);
    act_case c = {act, &r};
    TRAIN_OK(act(&train_env, &r));
    assert_true(check_each_failure(name, on_device, &c, most) > 20);
    TRAIN_OK(act(&train_env, &r));
    train_close(&r);
}

static inlay_result open_trainer(const inl_env *env, inlay_device *device, train_run *r,
                                 inlay_trainer **out)
{
    inlay_train_params params = train_params_of(&setup);
    inlay_result result =
        inlay_trainer_create(out, env, device, r->model, r->adapter, r->dataset, &params);
    assert_true((*out != NULL) == (result == INLAY_OK));
    return result;
}

static void check_act(const char *name, device_act *act, uint32_t most)
{
    check_act_of(&setup, name, act, most);
}

// ---- acts

static inlay_result train(const inl_env *env, train_run *r)
{
    inlay_trainer *trainer;
    inlay_step_stats stats;
    inlay_eval_result evaluation;
    INL_TRY(open_trainer(env, train_device, r, &trainer));
    inlay_result result = inlay_trainer_step(trainer, &stats);
    if (result == INLAY_OK)
        result = inlay_trainer_evaluate(trainer, r->dataset, &evaluation);
    if (result == INLAY_OK)
        result = inlay_trainer_sync(trainer);
    inlay_trainer_destroy(&trainer);
    return result;
}

static int count_checkpoints(void)
{
    int count = 0;
    DIR *dir = opendir(train_folder);
    assert_non_null(dir);
    for (struct dirent *entry; (entry = readdir(dir));)
        count += strncmp(entry->d_name, "checkpoint-1", 12) == 0;
    closedir(dir);
    return count;
}

// A checkpoint is there whole or not at all, and nothing like it lies beside it.
static void check_folder(const char *folder, inlay_result saved)
{
    char path[320];
    snprintf(path, sizeof(path), "%s/adapter_config.json", folder);
    bool whole = access(path, F_OK) == 0;
    assert_true(whole == (access(folder, F_OK) == 0));
    assert_true(whole || saved != INLAY_OK);
    assert_int_equal(count_checkpoints(), whole);
}

static inlay_result checkpoint(const inl_env *env, train_run *r)
{
    inlay_trainer *trainer;
    inlay_step_stats stats;
    const char *folder = train_path("checkpoint-1");
    INL_TRY(open_trainer(env, train_device, r, &trainer));
    inlay_result result = inlay_trainer_step(trainer, &stats);
    if (result == INLAY_OK) {
        result = inlay_trainer_save_checkpoint(trainer, folder);
        check_folder(folder, result);
    }
    if (result == INLAY_OK)
        result = inlay_trainer_resume(trainer, folder);
    inlay_trainer_destroy(&trainer);
    train_remove(folder);
    return result;
}

static bool take_token(void *user, int32_t id)
{
    (void)id;
    ++*(uint32_t *)user;
    return true;
}

static inlay_result generate(const inl_env *env, train_run *r)
{
    static const int32_t prompt[] = {1, 70, 80, 90};
    inlay_generator *generator;
    inlay_sample_params sample = {.temperature = 1.0f, .top_k = 5, .top_p = 0.9f, .seed = 1};
    uint32_t taken = 0;
    inlay_eval_result evaluation;
    INL_TRY(inlay_generator_create(&generator, env, train_device, r->model, r->adapter,
                                   &(inlay_generator_params){.context_length = 32}));
    inlay_result result = inlay_generate(generator, prompt, INL_COUNT(prompt), 3, &sample,
                                         take_token, &taken);
    inlay_generator_destroy(&generator);
    if (result == INLAY_OK)
        result = inlay_evaluate(env, train_device, r->model, NULL, r->dataset, &evaluation);
    return result;
}

static inlay_result create_device(const inl_env *env, void *user)
{
    (void)user;
    inlay_device *device;
    inlay_device_info infos[8];
    uint32_t count = INL_COUNT(infos);
    INL_TRY(inlay_device_list(env, infos, &count));
    inlay_result result = inlay_device_create(&device, env, NULL);
    assert_true((device != NULL) == (result == INLAY_OK));
    inlay_device_destroy(&device);
    return result;
}

// A device of its own, so that its pipelines, staging buffer and lists run out of memory too.
static inlay_result train_from_nothing(const inl_env *env, void *user)
{
    inlay_device *device;
    inlay_trainer *trainer = NULL;
    inlay_step_stats stats;
    INL_TRY(inlay_device_create(&device, env, NULL));
    inlay_result result = open_trainer(env, device, user, &trainer);
    if (result == INLAY_OK)
        result = inlay_trainer_step(trainer, &stats);
    inlay_trainer_destroy(&trainer);
    inlay_device_destroy(&device);
    return result;
}

// ---- tests

static void training(void **state)
{
    (void)state;
    check_act("train", train, MOST);
}

static void checkpoints(void **state)
{
    (void)state;
    check_act("checkpoint", checkpoint, MOST_ON_DISK);
}

static void generation(void **state)
{
    (void)state;
    check_act("generate and evaluate", generate, MOST);
}

static void devices(void **state)
{
    (void)state;
    assert_true(check_each_failure("device", create_device, NULL, MOST) >= 3);
    train_run r;
    train_prepare(&r, &setup);
    assert_true(check_each_failure("from nothing", train_from_nothing, &r, MOST_COMPILING) > 100);
    train_close(&r);
}

// An adapter's first values and magnitudes, out of the base's weights, as if it were fresh.
static inlay_result begin(const inl_env *env, train_run *r)
{
    inlay_trainer *trainer;
    r->adapter->lora->init = INL_INIT_PISSA;
    r->adapter->lora->magnitudes_unset = true;
    INL_TRY(open_trainer(env, train_device, r, &trainer));
    inlay_trainer_destroy(&trainer);
    return INLAY_OK;
}

static void beginning_from_the_weights(void **state)
{
    (void)state;
    static const train_setup fresh = {.params = {.batch_size = 2, .max_steps = 4},
                                      .adapter = {.r = 2, .use_dora = true,
                                                  .init_lora_weights = INLAY_INIT_PISSA,
                                                  .target_modules = "v_proj"}};
    check_act_of(&fresh, "first values", begin, MOST);
}

// Weights that are encoded on their way: into NF4, from a type that the host decodes.
static inlay_result load(const inl_env *env, train_run *r)
{
    inlay_trainer *trainer;
    INL_TRY(open_trainer(env, train_device, r, &trainer));
    inlay_trainer_destroy(&trainer);
    return INLAY_OK;
}

static void quantizing(void **state)
{
    (void)state;
    static const train_setup to_nf4 = {.model = {.dim = 64, .ffn = 96, .layers = 1, .heads = 2,
                                                 .kv_heads = 1, .head_dim = 32, .vocab = 320,
                                                 .seed = 1, .format = INL_FORMAT_Q8_0},
                                       .open = {.quantize = "nf4"},
                                       .params = {.batch_size = 2, .max_steps = 4}};
    check_act_of(&to_nf4, "quantizing", load, MOST);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(devices),
        cmocka_unit_test(training),
        cmocka_unit_test(checkpoints),
        cmocka_unit_test(generation),
        cmocka_unit_test(beginning_from_the_weights),
        cmocka_unit_test(quantizing),
    };
    return cmocka_run_group_tests_name("oom on a device", tests, train_begin, train_end);
}
