// SPDX-License-Identifier: MIT
// inlay/verify.h.
#include "verify/suite.h"

#include "api/handles.h"

#include <inlay/verify.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

typedef struct session {
    const inlay_verify_params *params;
    inlay_verify_result *result;
} session;

static double now(void)
{
    struct timespec t;
    timespec_get(&t, TIME_UTC);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static bool on_begin(void *user, const char *name)
{
    const session *s = user;
    if (s->params->begin)
        s->params->begin(s->params->user, name);
    return true;
}

// As many names as there is room for.
static void list_kernels(const uint8_t *run, char *text, size_t room)
{
    size_t used = 0;
    *text = '\0';
    for (uint32_t i = 0; i < INL_KERNEL_COUNT; i++) {
        size_t size = strlen(inl_kernels[i].name);
        if (!run[i] || used + size + 2 > room)
            continue;
        used += (size_t)snprintf(text + used, room - used, "%s%s", used ? " " : "",
                                 inl_kernels[i].name);
    }
}

static bool on_report(void *user, const kt_report *r)
{
    const session *s = user;
    char kernels[2048];
    inlay_verify_check check = {.family = r->family,
                                .name = r->name,
                                .kernels = kernels,
                                .outcome = r->failed    ? INLAY_VERIFY_FAILED
                                           : r->skipped ? INLAY_VERIFY_SKIPPED
                                                        : INLAY_VERIFY_OK,
                                .message = r->skipped ? r->skipped : r->message,
                                .error = r->nmse,
                                .bound = r->bound,
                                .seconds = r->seconds,
                                .seed = r->seed,
                                .wrong_count = r->wrong_count};
    list_kernels(r->kernels, kernels, sizeof(kernels));
    for (uint32_t i = 0; i < r->wrong_count; i++)
        check.wrong[i] = (inlay_verify_wrong){r->wrong[i].name, r->wrong[i].row, r->wrong[i].col,
                                              r->wrong[i].got, r->wrong[i].expected};
    uint32_t *count[] = {&s->result->ok, &s->result->failed, &s->result->skipped};
    ++*count[check.outcome];
    return !s->params->check || s->params->check(s->params->user, &check);
}

static void count_kernels(const kt_suite *suite, inlay_verify_result *result)
{
    for (uint32_t i = 0; i < INL_KERNEL_COUNT; i++) {
        if (!kt_kernel_is_expected(inl_gpu_get_caps(suite->gpu), i))
            continue;
        result->kernels++;
        result->kernels_run += suite->ran[i];
    }
}

inlay_result inlay_verify(inlay_verify_result *result, const inlay_env *env, inlay_device *device,
                          const inlay_verify_params *params)
{
    static const inlay_verify_params defaults;
    session s = {params ? params : &defaults, result};
    double began = now();
    *result = (inlay_verify_result){0};
    kt_suite suite = {.env = inl_env_resolve(env),
                      .gpu = device->gpu,
                      .seed = s.params->seed ? s.params->seed : 1,
                      .filter = s.params->only,
                      .extent = s.params->thorough ? KT_ALL : KT_BRIEF,
                      .repeat = true,
                      .begin = on_begin,
                      .report = on_report,
                      .user = &s,
                      .validation_errors = inl_gpu_validation_errors(device->gpu)};
    INL_TRY(kt_open(&suite));
    inlay_result outcome = inl_verify(&suite);
    count_kernels(&suite, result);
    kt_close(&suite);
    result->seconds = now() - began;
    if (outcome == INLAY_OK && suite.cases == 0)
        return inl_fail(&suite.env, INLAY_ERROR_NOT_FOUND, "no check has \"%s\" in its name",
                        suite.filter);
    return outcome;
}
