// SPDX-License-Identifier: MIT
// A run is a function of its inputs: twice the same bits, and the same bits again when it is cut in
// two by a checkpoint, on either side of an epoch's end, or by SIGKILL at any moment.
#include "harness/train_run.h"

#include <dirent.h>
#include <signal.h>
#include <spawn.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>

#define STEPS 20

extern char **environ;

// 8 sentences in rows of 24 tokens are 5 rows: an epoch of 3 steps of 2 rows, the last one short.
#define EPOCH 3

static const train_setup plain = {.params = {.batch_size = 2, .max_steps = STEPS}};
static const train_setup rich = {
    .adapter = {.dropout = 0.1f, .target_modules = "all-linear"},
    .params = {.batch_size = 2, .gradient_accumulation_steps = 2, .max_steps = STEPS,
               .lr_scheduler = INLAY_SCHEDULE_COSINE, .warmup_ratio = 0.1, .weight_decay = 0.01f,
               .loraplus_lr_ratio = 4.0f,
               .max_grad_norm = 0.5f, .gradient_checkpointing = 2, .seed = 7}};

// Experts have slots of their own in the checkpoint, and rows in an order that the device makes.
static const train_setup mixture = {
    .model = TRAIN_MIXTURE,
    .adapter = {.dropout = 0.1f, .target_modules = "q_proj,gate_proj,up_proj,down_proj,gate"},
    .params = {.batch_size = 2, .gradient_accumulation_steps = 2, .max_steps = STEPS,
               .gradient_checkpointing = 1, .seed = 5}};

static const train_setup dora = {
    .adapter = {.use_dora = true, .dropout = 0.1f, .target_modules = "all-linear"},
    .params = {.batch_size = 2, .max_steps = STEPS, .loraplus_lr_ratio = 4.0f,
               .gradient_checkpointing = 1, .seed = 7}};

// Half of such a pair is frozen, also where the other half decays.
static const train_setup principal = {
    .adapter = {.r = 5, .init_lora_weights = INLAY_INIT_PISSA, .use_dora = true,
                .target_modules = "all-linear"},
    .params = {.batch_size = 2, .max_steps = STEPS, .weight_decay = 0.1f}};

static train_bytes unbroken(const train_setup *setup)
{
    train_run r;
    inlay_train_plan plan;
    train_open(&r, setup);
    inlay_trainer_get_plan(r.trainer, &plan);
    assert_int_equal(plan.steps_per_epoch, setup->params.gradient_accumulation_steps ? 2 : EPOCH);
    train_steps(&r, STEPS);
    train_bytes bytes = train_adapter(&r);
    train_close(&r);
    return bytes;
}

static void two_runs_are_the_same(void **state)
{
    (void)state;
    train_assert_same(unbroken(&plain), unbroken(&plain), "twice");
    train_assert_same(unbroken(&rich), unbroken(&rich), "twice, with dropout");
    train_assert_same(unbroken(&mixture), unbroken(&mixture), "twice, with experts");
}

static void another_seed_or_no_shuffle_is_another_run(void **state)
{
    (void)state;
    train_setup other = plain, ordered = plain;
    other.params.seed = 1;
    ordered.params.no_shuffle = true;
    train_bytes a = unbroken(&plain), b = unbroken(&other), c = unbroken(&ordered);
    assert_false(train_same(a, b));
    assert_false(train_same(a, c));
    free(a.data);
    free(b.data);
    free(c.data);
}

// Another adapter, trainer and device go on from the folder.
static train_bytes resumed(const train_setup *setup, const char *folder, uint32_t done)
{
    train_run r;
    train_setup s = *setup;
    s.adapter.seed = 99; // the checkpoint's values must replace these
    inlay_device *first = train_device;
    train_device = train_open_device(0);
    train_open(&r, &s);
    TRAIN_OK(inlay_trainer_resume(r.trainer, folder));
    inlay_step_stats stats = train_steps(&r, STEPS - done);
    assert_int_equal(stats.step, STEPS);
    train_bytes bytes = train_adapter(&r);
    train_close(&r);
    train_close_device(&train_device);
    train_device = first;
    return bytes;
}

static void broken_at(const train_setup *setup, uint32_t done)
{
    train_run r;
    train_open(&r, setup);
    train_steps(&r, done);
    TRAIN_OK(inlay_trainer_save_checkpoint(r.trainer, train_path("checkpoint")));
    train_steps(&r, STEPS - done); // saving changes nothing for the run that goes on
    train_assert_same(unbroken(setup), train_adapter(&r), "saved in between");
    train_close(&r);
    train_assert_same(unbroken(setup), resumed(setup, train_path("checkpoint"), done), "resumed");
    train_remove(train_path("checkpoint"));
}

static void resumed_run_is_the_run(void **state)
{
    (void)state;
    broken_at(&plain, 10);
    broken_at(&rich, 10);
    broken_at(&mixture, 10);
    broken_at(&dora, 10);
    broken_at(&principal, 10);
}

static void resumed_at_an_epochs_end(void **state)
{
    (void)state;
    broken_at(&plain, EPOCH);     // the next step begins the second epoch
    broken_at(&plain, EPOCH - 1); // the next step is the short one
    broken_at(&rich, 0);
}

static void resume_checks_the_options(void **state)
{
    (void)state;
    train_run r;
    train_open(&r, &plain);
    train_steps(&r, 1);
    TRAIN_OK(inlay_trainer_save_checkpoint(r.trainer, train_path("checkpoint")));
    train_close(&r);
    toy_model other_weights = train_toy;
    other_weights.seed++;
    train_setup rate = plain, data = plain, rank = plain, weights = plain,
                nf4 = plain, magnitudes = plain, frozen = plain;
    rate.params.learning_rate = 2e-2f;
    data.text = "{\"text\": \"another\"}\n";
    rank.adapter.r = 4;
    weights.model = other_weights;
    nf4.open.quantize = "nf4";
    magnitudes.adapter.use_dora = true;
    frozen.adapter.init_lora_weights = INLAY_INIT_OLORA;
    const struct {
        const train_setup *setup;
        const char *word;
    } cases[] = {{&rate, "learning_rate"}, {&data, "dataset"},
                 {&rank, "rank"},          {&weights, "model"},   {&nf4, "quantize"},
                 {&magnitudes, "use_dora"},
                 {&frozen, "frozen_rank"}};
    for (size_t i = 0; i < INL_COUNT(cases); i++) {
        train_open(&r, cases[i].setup);
        train_bytes before = train_adapter(&r);
        train_refused(inlay_trainer_resume(r.trainer, train_path("checkpoint")),
                      INLAY_ERROR_MISMATCH, cases[i].word, NULL);
        train_assert_same(before, train_adapter(&r), "a refused checkpoint");
        train_close(&r);
    }
    train_remove(train_path("checkpoint"));
}

// The rate of these schedules does not depend on the number of steps: a longer run may go on.
static void constant_rate_may_go_further(void **state)
{
    (void)state;
    train_run r;
    train_setup s = plain;
    s.params.lr_scheduler = INLAY_SCHEDULE_CONSTANT_WITH_WARMUP;
    s.params.warmup_steps = 4;
    s.params.max_steps = 10;
    train_open(&r, &s);
    train_steps(&r, 10);
    TRAIN_OK(inlay_trainer_save_checkpoint(r.trainer, train_path("checkpoint")));
    train_close(&r);
    s.params.max_steps = STEPS;
    train_assert_same(unbroken(&s), resumed(&s, train_path("checkpoint"), 10), "longer");
    s.params.warmup_steps = 5;
    train_open(&r, &s);
    train_refused(inlay_trainer_resume(r.trainer, train_path("checkpoint")), INLAY_ERROR_MISMATCH,
                  "warmup_steps", NULL);
    train_close(&r);
    train_remove(train_path("checkpoint"));
}

// With any other schedule it may, too; a share of warm-up is one of the new number.
static void another_number_of_steps_is_allowed(void **state)
{
    (void)state;
    train_run r;
    train_setup s = rich;
    s.params.max_steps = 10;
    train_open(&r, &s);
    train_steps(&r, 5);
    TRAIN_OK(inlay_trainer_save_checkpoint(r.trainer, train_path("checkpoint")));
    train_close(&r);
    s.params.max_steps = STEPS;
    train_open(&r, &s);
    train_warnings = 0;
    TRAIN_OK(inlay_trainer_resume(r.trainer, train_path("checkpoint")));
    assert_int_equal(train_warnings, 1);
    inlay_step_stats stats = train_steps(&r, 1);
    assert_int_equal(stats.step, 6);
    double factor = inl_schedule_factor(INL_SCHEDULE_COSINE, 5, 2, STEPS);
    assert_true(fabs(stats.learning_rate - 1e-2 * factor) < 1e-9);
    train_close(&r);
    train_remove(train_path("checkpoint"));
}

// The newest steps' numbers are in the checkpoint; an interrupted run's last one has the bytes of
// an unbroken run's.
static void history_goes_on(void **state)
{
    (void)state;
    const uint32_t steps = INL_HISTORY_STEPS + 7, cut = 200;
    train_setup s = {.params = {.max_steps = steps}, .adapter = {.target_modules = "v_proj"}};
    inlay_step_stats kept[INL_HISTORY_STEPS + 1];
    train_run r;
    train_open(&r, &s);
    assert_int_equal(inlay_trainer_get_history(r.trainer, kept, 1), 0);
    train_steps(&r, cut);
    TRAIN_OK(inlay_trainer_save_checkpoint(r.trainer, train_path("checkpoint")));
    inlay_step_stats last = train_steps(&r, steps - cut);
    TRAIN_OK(inlay_trainer_save_checkpoint(r.trainer, train_path("unbroken")));
    train_close(&r);
    train_open(&r, &s);
    TRAIN_OK(inlay_trainer_resume(r.trainer, train_path("checkpoint")));
    assert_int_equal(inlay_trainer_get_history(r.trainer, kept, 2), 2);
    assert_true(kept[0].step == cut - 1 && kept[1].step == cut && kept[1].loss > 0.0);
    train_steps(&r, steps - cut);
    assert_int_equal(inlay_trainer_get_history(r.trainer, kept, INL_HISTORY_STEPS + 1),
                     INL_HISTORY_STEPS);
    for (uint32_t i = 0; i < INL_HISTORY_STEPS; i++)
        assert_int_equal(kept[i].step, 8 + i);
    assert_true(kept[INL_HISTORY_STEPS - 1].loss == last.loss);
    TRAIN_OK(inlay_trainer_save_checkpoint(r.trainer, train_path("resumed")));
    train_close(&r);
    train_bytes a = train_read(train_path("unbroken/trainer_state.json"));
    train_bytes b = train_read(train_path("resumed/trainer_state.json"));
    train_assert_same(a, b, "the states");
    train_remove(train_path("checkpoint"));
    train_remove(train_path("unbroken"));
    train_remove(train_path("resumed"));
}

// ---- the folder

static void damaged_checkpoints_change_nothing(void **state)
{
    (void)state;
    static const char *const files[] = {"adapter_config.json", "adapter_model.safetensors",
                                        "optimizer.safetensors", "trainer_state.json"};
    train_run r;
    train_open(&r, &plain);
    for (size_t i = 0; i < INL_COUNT(files); i++) {
        TRAIN_OK(inlay_trainer_save_checkpoint(r.trainer, train_path("checkpoint")));
        train_steps(&r, 1);
        train_bytes before = train_adapter(&r);
        char path[300];
        snprintf(path, sizeof(path), "%s/%s", train_path("checkpoint"), files[i]);
        struct stat st;
        assert_int_equal(stat(path, &st), 0);
        assert_int_equal(truncate(path, st.st_size / 2), 0);
        inlay_result result = inlay_trainer_resume(r.trainer, train_path("checkpoint"));
        train_refused(result, INLAY_ERROR_BAD_FILE, files[i], NULL);
        assert_int_equal(remove(path), 0);
        result = inlay_trainer_resume(r.trainer, train_path("checkpoint"));
        assert_int_equal(result, INLAY_ERROR_NOT_FOUND);
        train_assert_same(before, train_adapter(&r), "a damaged checkpoint");
        train_remove(train_path("checkpoint"));
    }
    train_close(&r);
}

// Whatever stands for the newest steps, it is no list of them, or that of a run that goes further.
static void damaged_histories_change_nothing(void **state)
{
    (void)state;
    static const char *const lists[] = {
        "7", "[7]", "[{}]", "[{\"step\": 1}]",
        "[{\"step\": 3, \"epoch\": 1.0, \"loss\": 1.0, \"grad_norm\": 1.0, \"learning_rate\": 1.0, "
        "\"tokens\": 1, \"supervised_tokens\": 1}]",
        "[{\"step\": 1, \"epoch\": 1.0, \"loss\": 1.0, \"grad_norm\": 1.0, \"learning_rate\": 1.0, "
        "\"tokens\": -1, \"supervised_tokens\": 1}]"};
    train_run r;
    train_open(&r, &plain);
    train_steps(&r, 2);
    TRAIN_OK(inlay_trainer_save_checkpoint(r.trainer, train_path("checkpoint")));
    train_bytes whole = train_read(train_path("checkpoint/trainer_state.json"));
    char *list = strstr(whole.data, "\"log_history\": [");
    char *end = list ? strstr(list, "]") : NULL;
    assert_non_null(end);
    for (size_t i = 0; i < INL_COUNT(lists); i++) {
        char text[4096];
        snprintf(text, sizeof(text), "%.*s\"log_history\": %s%s", (int)(list - whole.data),
                 whole.data, lists[i], end + 1);
        train_write(train_path("checkpoint/trainer_state.json"), text);
        train_refused(inlay_trainer_resume(r.trainer, train_path("checkpoint")),
                      INLAY_ERROR_BAD_FILE, "trainer_state.json", "log_history", NULL);
        inlay_step_stats kept[3];
        assert_int_equal(inlay_trainer_get_history(r.trainer, kept, 3), 2);
    }
    free(whole.data);
    train_close(&r);
    train_remove(train_path("checkpoint"));
}

static void only_checkpoints_are_replaced(void **state)
{
    (void)state;
    train_run r;
    train_open(&r, &plain);
    char folder[256];
    snprintf(folder, sizeof(folder), "%s", train_path("mine"));
    assert_int_equal(mkdir(folder, 0777), 0);
    TRAIN_OK(inlay_trainer_save_checkpoint(r.trainer, folder)); // an empty one is as good as none
    TRAIN_OK(inlay_trainer_save_checkpoint(r.trainer, folder));
    train_steps(&r, 1);
    TRAIN_OK(inlay_trainer_save_checkpoint(r.trainer, train_path("mine/")));
    train_bytes state_file = train_read(train_path("mine/trainer_state.json"));
    assert_non_null(strstr(state_file.data, "\"global_step\": 1"));
    free(state_file.data);
    train_remove(folder);
    assert_int_equal(mkdir(folder, 0777), 0);
    train_write(train_path("mine/diary.txt"), "dear diary");
    train_refused(inlay_trainer_save_checkpoint(r.trainer, folder), INLAY_ERROR_IO,
                  "is no checkpoint", NULL);
    free(train_read(train_path("mine/diary.txt")).data);
    train_close(&r);
    train_remove(folder);
}

// ---- SIGKILL, in processes of their own

// Checkpoint N of the folder with the highest N, 0: none.
static uint32_t newest(const char *folder)
{
    uint32_t most = 0;
    DIR *dir = opendir(folder);
    for (struct dirent *e; dir && (e = readdir(dir));) {
        char *end = "";
        unsigned long n =
            strncmp(e->d_name, "checkpoint-", 11) == 0 ? strtoul(e->d_name + 11, &end, 10) : 0;
        if (n > most && *end == '\0')
            most = (uint32_t)n;
    }
    if (dir)
        closedir(dir);
    return most;
}

// The child: goes on from the newest checkpoint, saving one a step. At step `halt` it saves the
// same one over and over: it is killed while it does, wherever it is.
static int run_child(const char *folder, uint32_t halt)
{
    train_run r;
    char path[300];
    train_begin_in(folder); // which is removed by whoever kills us
    train_open(&r, &rich);
    uint32_t done = newest(folder);
    snprintf(path, sizeof(path), "%s/checkpoint-%u", folder, done);
    if (done > 0)
        TRAIN_OK(inlay_trainer_resume(r.trainer, path));
    while (done < STEPS) {
        if (done < halt || halt == 0)
            done = train_steps(&r, 1).step;
        snprintf(path, sizeof(path), "%s/checkpoint-%u", folder, done);
        TRAIN_OK(inlay_trainer_save_checkpoint(r.trainer, path));
    }
    train_close(&r);
    train_end(NULL);
    return 0;
}

// The words this program was started by, those of a loader before it too, and then the given ones.
static char **started_by(char *text, size_t size, char *const *then)
{
    static char *words[64];
    size_t count = 0, read = 0;
    FILE *f = fopen("/proc/self/cmdline", "rb");
    assert_non_null(f);
    read = fread(text, 1, size - 1, f);
    fclose(f);
    text[read] = '\0';
    for (size_t at = 0; at < read && count < 48; at += strlen(text + at) + 1)
        words[count++] = text + at;
    for (; *then; then++)
        words[count++] = *then;
    words[count] = NULL;
    return words;
}

// Runs the child to its end, or kills it `after_ms` after it came to step `halt`; its exit status.
static int child_status(const char *folder, uint32_t halt, uint32_t after_ms)
{
    char number[16];
    snprintf(number, sizeof(number), "%u", halt);
    char text[4096], *then[] = {"child", (char *)folder, number, NULL};
    char **arguments = started_by(text, sizeof(text), then);
    pid_t child;
    int status;
    assert_int_equal(posix_spawn(&child, "/proc/self/exe", NULL, NULL, arguments, environ), 0);
    if (halt > 0) {
        while (newest(folder) < halt) {
            assert_int_equal(waitpid(child, &status, WNOHANG), 0); // it does not end by itself
            nanosleep(&(struct timespec){.tv_nsec = 1000000}, NULL);
        }
        nanosleep(&(struct timespec){.tv_nsec = after_ms * 1000000}, NULL);
        kill(child, SIGKILL);
    }
    assert_int_equal(waitpid(child, &status, 0), child);
    return status;
}

static void killed_again_and_again(void **state)
{
    (void)state;
    const char *folder = train_path("killed");
    assert_int_equal(mkdir(folder, 0777), 0);
    uint32_t seed = (uint32_t)time(NULL);
    print_message("seed %u\n", seed);
    static const uint32_t halts[] = {1, 5, 6, 13};
    for (uint32_t i = 0; i < INL_COUNT(halts); i++) {
        int status = child_status(folder, halts[i], inl_rng_u32(seed, 0, i) % 30);
        assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
    }
    int status = child_status(folder, 0, 0);
    assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 0);
    assert_int_equal(newest(folder), STEPS);
    train_assert_same(unbroken(&rich),
                      train_read(train_path("killed/checkpoint-20/adapter_model.safetensors")),
                      "killed and resumed");
    train_remove(folder);
}

int main(int argc, char **argv)
{
    if (argc == 4 && strcmp(argv[1], "child") == 0)
        return run_child(argv[2], (uint32_t)strtoul(argv[3], NULL, 10));
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(two_runs_are_the_same),
        cmocka_unit_test(another_seed_or_no_shuffle_is_another_run),
        cmocka_unit_test(resumed_run_is_the_run),
        cmocka_unit_test(resumed_at_an_epochs_end),
        cmocka_unit_test(resume_checks_the_options),
        cmocka_unit_test(constant_rate_may_go_further),
        cmocka_unit_test(another_number_of_steps_is_allowed),
        cmocka_unit_test(history_goes_on),
        cmocka_unit_test(damaged_checkpoints_change_nothing),
        cmocka_unit_test(damaged_histories_change_nothing),
        cmocka_unit_test(only_checkpoints_are_replaced),
        cmocka_unit_test(killed_again_and_again),
    };
    return cmocka_run_group_tests(tests, train_begin, train_end);
}
