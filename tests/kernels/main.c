// SPDX-License-Identifier: MIT
// Every kernel against float64: all cases of runtime/verify, and some more. See verify/case.h for
// what a case is.
//
// Options: --list, --filter PART_OF_NAME, --seed N, --verbose, --quick (without what takes the
// CPU driver or its compiler long), --brief (what `inlay verify` takes), --gpu (not the variants
// for a CPU's vectors), --compile (records and submits, looks at no result: for a driver without a
// card behind it). Environment: INLAY_TEST_VALIDATION=1, INLAY_TEST_DEVICE, INLAY_TEST_PATHS (as
// --paths of the command). Fails when a case failed, when nothing ran, when the validation layer
// said something, and, without a filter, when a kernel of shaders/kernels.txt that the device
// should get was never run.
#include "kernels/more.h"
#include "verify/suite.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "gpu/vk.h" // the number of pipelines

typedef struct options {
    bool verbose, list, gpu_kernels;
    double worst; // NMSE, of the family
} options;

static double now(void)
{
    struct timespec t;
    timespec_get(&t, TIME_UTC);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static void on_log(void *user, inlay_log_level level, const char *message)
{
    (void)user;
    printf("%s: %s\n", level == INLAY_LOG_ERROR ? "error" : "log", message);
}

static void parse(int argc, char **argv, kt_suite *s, options *o)
{
    for (int i = 1; i < argc; i++) {
        if (strcmp(argv[i], "--verbose") == 0) {
            o->verbose = true;
        } else if (strcmp(argv[i], "--list") == 0) {
            o->list = true;
        } else if (strcmp(argv[i], "--quick") == 0) {
            s->extent = KT_QUICK;
        } else if (strcmp(argv[i], "--brief") == 0) {
            s->extent = KT_BRIEF;
        } else if (strcmp(argv[i], "--gpu") == 0) {
            o->gpu_kernels = true;
        } else if (strcmp(argv[i], "--compile") == 0) {
            s->compile = true;
        } else if (strcmp(argv[i], "--filter") == 0 && i + 1 < argc) {
            s->filter = argv[++i];
        } else if (strcmp(argv[i], "--seed") == 0 && i + 1 < argc) {
            s->seed = (uint32_t)strtoul(argv[++i], NULL, 0);
        } else {
            printf("usage: %s [--list] [--filter PART_OF_NAME] [--seed N] [--verbose] [--quick] "
                   "[--brief] [--gpu] [--compile]\n",
                   argv[0]);
            exit(2);
        }
    }
}

static bool on_begin(void *user, const char *name)
{
    const options *o = user;
    if (o->list)
        printf("%s\n", name);
    return !o->list;
}

static bool on_report(void *user, const kt_report *r)
{
    options *o = user;
    if (r->failed)
        printf("FAIL %s: %s\n     replay: --seed %u --filter '%s'\n", r->name, r->message, r->seed,
               r->name);
    if (r->skipped)
        printf("skipped %s: %s\n", r->name, r->skipped);
    if (o->verbose)
        printf("%s %s: nmse %.2g, %.0f ms\n", r->failed ? "FAIL" : "ok", r->name, r->nmse,
               1e3 * r->seconds);
    fflush(stdout);
    o->worst = fmax(o->worst, r->nmse);
    return true;
}

static bool open_suite(kt_suite *s, options *o)
{
    const char *validation = getenv("INLAY_TEST_VALIDATION");
    inl_gpu_params params = {.select = getenv("INLAY_TEST_DEVICE"),
                             .validation = validation && strcmp(validation, "1") == 0,
                             .paths = getenv("INLAY_TEST_PATHS")};
    inlay_env env = {.log = on_log, .log_level = INLAY_LOG_WARN};
    s->env = inl_env_resolve(&env);
    s->begin = on_begin;
    s->report = on_report;
    s->user = o;
    if (inl_gpu_create(&s->env, &params, &s->gpu) != INLAY_OK || kt_open(s) != INLAY_OK)
        return false;
    const inl_gpu_caps *caps = inl_gpu_get_caps(s->gpu);
    if (o->list)
        return true;
    if (o->gpu_kernels)
        kt_caps(s)->simd_lanes = 0, kt_caps(s)->tiles.gemm_lanes = 32;
    printf("device: %s (%s), subgroups of %u, kernels for %s, validation %s, seed %u\n", caps->name,
           caps->driver_info, caps->subgroup_size, caps->simd_lanes ? "a CPU's vectors" : "a GPU",
           params.validation ? "on" : "off", s->seed);
    return true;
}

static uint32_t count_unused(const kt_suite *s)
{
    uint32_t unused = 0;
    for (uint32_t i = 0; i < INL_KERNEL_COUNT; i++) {
        if (s->ran[i] || !kt_kernel_is_expected(inl_gpu_get_caps(s->gpu), i))
            continue;
        printf("FAIL kernel %s was never run\n", inl_kernels[i].name);
        unused++;
    }
    return unused;
}

static inlay_result run_family(kt_suite *s, options *o, const kt_family *family)
{
    uint32_t before = s->cases;
    size_t pipelines = s->gpu->pipeline_count;
    double from = now();
    o->worst = 0.0;
    inlay_result result = kt_run_family(s, family);
    if (o->list)
        return result;
    printf("%-10s %5u cases, %3zu pipelines, worst NMSE %.2g, %.1f s\n", family->name,
           s->cases - before, s->gpu->pipeline_count - pipelines, o->worst, now() - from);
    fflush(stdout);
    return result;
}

int main(int argc, char **argv)
{
    static const kt_family more[] = {{"plan", check_plan}, {"large", check_large}};
    kt_suite s = {.seed = 1};
    options o = {0};
    inlay_result result = INLAY_OK;
    parse(argc, argv, &s, &o);
    if (!open_suite(&s, &o)) {
        printf("FAIL no device\n");
        return 1;
    }
    for (uint32_t i = 0; i < inl_family_count && result == INLAY_OK; i++)
        result = run_family(&s, &o, &inl_families[i]);
    for (uint32_t i = 0; i < INL_COUNT(more) && result == INLAY_OK; i++)
        result = run_family(&s, &o, &more[i]);
    uint32_t unused = s.filter || o.list ? 0 : count_unused(&s);
    uint32_t errors = inl_gpu_validation_errors(s.gpu);
    kt_close(&s);
    inl_gpu_destroy(&s.gpu);
    if (result != INLAY_OK)
        printf("FAIL the suite ended early: %s\n", inlay_result_string(result));
    if (o.list || result != INLAY_OK)
        return result != INLAY_OK;
    printf("%u cases, %u failed, %u kernels never run, %u validation errors\n", s.cases, s.failures,
           unused, errors);
    if (s.cases == 0)
        printf("FAIL no case has '%s' in its name\n", s.filter);
    return s.cases == 0 || s.failures > 0 || unused > 0 || errors > 0;
}
