// SPDX-License-Identifier: MIT
// inlay_verify on a device that is right: by the public header, and with a host that has no memory
// or no patience. That it finds what is wrong is for tests/cli/test_verify.py.
#include <inlay/inlay.h>

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

#include "harness/failing_env.h"

#include <stdlib.h>
#include <string.h>

#define MOST 1024

typedef struct seen {
    uint32_t count, begun, stop_after; // 0: never
    double errors[MOST];
    char names[MOST][96];
} seen;

static inlay_device *device;

static void log_message(void *user, inlay_log_level level, const char *message)
{
    uint32_t *errors = user;
    if (level == INLAY_LOG_ERROR && errors)
        ++*errors;
    else if (level <= INLAY_LOG_WARN)
        print_message("[%d] %s\n", (int)level, message);
}

static int open_device(void **state)
{
    (void)state;
    inlay_env env = {.log = log_message};
    inlay_device_params params = {.validation = getenv("INLAY_TEST_VALIDATION") != NULL,
                                  .paths = getenv("INLAY_TEST_PATHS")};
    return inlay_device_create(&device, &env, &params) != INLAY_OK;
}

static int close_device(void **state)
{
    (void)state;
    inlay_device_destroy(&device);
    return 0;
}

static void on_begin(void *user, const char *name)
{
    seen *s = user;
    assert_true(s->begun == s->count && s->count < MOST);
    snprintf(s->names[s->begun++], sizeof(s->names[0]), "%s", name);
}

static bool on_check(void *user, const inlay_verify_check *c)
{
    seen *s = user;
    if (strcmp(c->family, "coverage") == 0)
        fail_msg("%s: %s", c->name, c->message);
    assert_int_equal(strncmp(c->name, s->names[s->count], sizeof(s->names[0]) - 1), 0);
    assert_int_equal(strncmp(c->name, c->family, strlen(c->family)), 0);
    if (c->outcome == INLAY_VERIFY_FAILED)
        fail_msg("%s: %s", c->name, c->message);
    assert_true(c->outcome == INLAY_VERIFY_SKIPPED || c->error <= c->bound);
    assert_int_equal(c->wrong_count, 0);
    s->errors[s->count++] = c->error;
    return s->count != s->stop_after;
}

static seen *run(const char *only, uint32_t seed, uint32_t stop_after, inlay_result expected,
                 inlay_verify_result *result)
{
    uint32_t errors = 0;
    inlay_env env = {.log = log_message, .log_user = expected == INLAY_OK ? NULL : &errors};
    seen *s = calloc(1, sizeof(*s));
    assert_non_null(s);
    s->stop_after = stop_after;
    inlay_verify_params params = {
        .only = only, .seed = seed, .begin = on_begin, .check = on_check, .user = s};
    assert_int_equal(inlay_verify(result, &env, device, &params), expected);
    assert_int_equal(result->failed, 0);
    assert_int_equal(result->ok + result->skipped, s->count);
    return s;
}

static void everything(void **state)
{
    (void)state;
    inlay_verify_result result;
    seen *s = run(NULL, 0, 0, INLAY_OK, &result);
    assert_true(result.ok > 150);
    assert_int_equal(result.kernels_run, result.kernels);
    assert_true(result.kernels > 40);
    assert_true(result.seconds > 0.0);
    free(s);
}

static void seeds(void **state)
{
    (void)state;
    inlay_verify_result result;
    seen *runs[4];
    for (uint32_t i = 0; i < 4; i++)
        runs[i] = run("layer ", i < 2 ? i : i - 1, 0, INLAY_OK, &result); // 0, 1, 1, 2
    assert_memory_equal(runs[0], runs[1], sizeof(seen));
    assert_memory_equal(runs[1], runs[2], sizeof(seen));
    assert_memory_not_equal(runs[2]->errors, runs[3]->errors, sizeof(runs[2]->errors));
    for (uint32_t i = 0; i < 4; i++)
        free(runs[i]);
}

static void ends_early(void **state)
{
    (void)state;
    inlay_verify_result result;
    uint64_t before, after, peak;
    inlay_device_get_memory(device, &before, &peak);
    seen *s = run("layer ", 1, 3, INLAY_ERROR_INTERRUPTED, &result);
    assert_int_equal(s->count, 3);
    free(s);
    free(run("no such check", 1, 0, INLAY_ERROR_NOT_FOUND, &result));
    inlay_device_get_memory(device, &after, &peak);
    assert_int_equal(before, after);
}

static bool no_failure(void *user, const inlay_verify_check *c)
{
    (void)user;
    if (c->outcome == INLAY_VERIFY_FAILED)
        fail_msg("%s: %s", c->name, c->message);
    return true;
}

static inlay_result some(const inl_env *env, void *only)
{
    inlay_verify_params params = {.only = only, .check = no_failure};
    inlay_verify_result result;
    uint64_t before, after, peak;
    inlay_device_get_memory(device, &before, &peak);
    inlay_result outcome = inlay_verify(&result, env, device, &params);
    inlay_device_get_memory(device, &after, &peak);
    assert_int_equal(before, after);
    return outcome;
}

// An error, nothing left behind, and nothing said against the device.
static void no_memory(void **state)
{
    (void)state;
    check_each_failure("encode", some, "encode encode NF4", 12);
    check_each_failure("moe", some, "moe lora T65", 12);
    check_each_failure("attention", some, "attention attention_bwd T33", 12);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(everything),
        cmocka_unit_test(seeds),
        cmocka_unit_test(ends_early),
        cmocka_unit_test(no_memory),
    };
    return cmocka_run_group_tests(tests, open_device, close_device);
}
