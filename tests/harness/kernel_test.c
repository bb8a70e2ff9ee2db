// SPDX-License-Identifier: MIT
#include "harness/kernel_test.h"
#include "harness/kernel_case.h"

#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/rng.h"
#include "gpu/vk.h" // the pipelines a gpu has made, to know which kernels ran

#define REPEAT_EVERY 8 // cases of which one is run twice, for the same bits

static double now(void)
{
    struct timespec t;
    timespec_get(&t, TIME_UTC);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static void *checked(void *memory)
{
    if (!memory) {
        fprintf(stderr, "out of memory\n");
        exit(1);
    }
    return memory;
}

// ---- a case

static uint32_t hash_name(uint32_t seed, const char *name)
{
    for (; *name; name++)
        seed = inl_rng_mix(seed ^ (uint8_t)*name);
    return seed;
}

kt *kt_begin(kt_suite *s, const char *format, ...)
{
    char name[256];
    int used = snprintf(name, sizeof(name), "%s ", s->family);
    va_list args;
    va_start(args, format);
    vsnprintf(name + used, sizeof(name) - (size_t)used, format, args);
    va_end(args);
    if (s->filter && !strstr(name, s->filter))
        return NULL;
    if (s->list) {
        printf("%s\n", name);
        return NULL;
    }
    kt *k = checked(calloc(1, sizeof(*k)));
    k->suite = s;
    memcpy(k->name, name, sizeof(name));
    k->seed = hash_name(s->seed, name);
    k->began = now();
    s->cases++;
    if (inl_plan_create(&s->env, s->gpu, &k->plan) != INLAY_OK)
        checked(NULL);
    return k;
}

void kt_fail(kt *k, const char *format, ...)
{
    if (k->failed)
        return;
    k->failed = true;
    char what[512];
    va_list args;
    va_start(args, format);
    vsnprintf(what, sizeof(what), format, args);
    va_end(args);
    printf("FAIL %s: %s\n     replay: --seed %u --filter '%s'\n", k->name, what, k->suite->seed,
           k->name);
    fflush(stdout);
}

void kt_end(kt *k)
{
    kt_suite *s = k->suite;
    uint32_t errors = inl_gpu_validation_errors(s->gpu);
    if (errors != s->validation_errors)
        kt_fail(k, "the validation layer reported %u errors", errors - s->validation_errors);
    s->validation_errors = errors;
    s->failures += k->failed;
    if (s->verbose)
        printf("%s %s: nmse %.2g, %.0f ms\n", k->failed ? "FAIL" : "ok", k->name, k->worst,
               1e3 * (now() - k->began));
    s->worst = fmax(s->worst, k->worst);
    inl_plan_destroy(&k->plan);
    for (uint32_t i = 0; i < k->block_count; i++)
        free(k->blocks[i]);
    free(k);
}

kt_suite *kt_suite_of(kt *k)
{
    return k->suite;
}

inl_plan *kt_plan(kt *k)
{
    return k->plan;
}

inl_gpu *kt_gpu(kt_suite *suite)
{
    return suite->gpu;
}

bool kt_quick(const kt_suite *suite)
{
    return suite->quick;
}

uint32_t kt_u32(kt *k)
{
    return inl_rng_u32(k->seed, 0, k->counter++);
}

uint32_t kt_below(kt *k, uint32_t n)
{
    return (uint32_t)((uint64_t)kt_u32(k) * n >> 32);
}

float kt_f32(kt *k, float scale)
{
    return scale * (2.0f * inl_rng_f32(k->seed, 0, k->counter++) - 1.0f);
}

double *kt_doubles(kt *k, uint64_t count)
{
    if (k->block_count == KT_MAX_BLOCKS)
        checked(NULL);
    double *block = checked(calloc(count + 1, sizeof(*block)));
    k->blocks[k->block_count++] = block;
    return block;
}

double *kt_copy(kt *k, const double *values, uint64_t count)
{
    return memcpy(kt_doubles(k, count), values, count * sizeof(*values));
}

double *kt_absolute(kt *k, const double *values, uint64_t count)
{
    double *copy = values ? kt_copy(k, values, count) : NULL;
    for (uint64_t i = 0; copy && i < count; i++)
        copy[i] = fabs(copy[i]);
    return copy;
}

// ---- running

static bool check_result(kt *k, inlay_result result, const char *what)
{
    if (result != INLAY_OK)
        kt_fail(k, "%s: result %d", what, (int)result);
    return result == INLAY_OK;
}

static bool run_once(kt *k, uint8_t *after)
{
    kt_suite *s = k->suite;
    uint64_t ticket;
    return check_result(k, inl_gpu_upload(s->gpu, s->heap, 0, s->image, k->heap_used), "upload") &&
           check_result(k, inl_plan_run(k->plan, &ticket), "run") &&
           check_result(k, inl_gpu_wait(s->gpu, ticket), "wait") &&
           check_result(k, inl_gpu_download(s->gpu, s->heap, 0, after, k->heap_used), "download");
}

static void report_change(kt *k, uint64_t at)
{
    const kt_region *nearest = NULL;
    for (uint32_t i = 0; i < k->region_count; i++)
        if (k->regions[i].offset <= at + KT_GUARD_BYTES)
            nearest = &k->regions[i];
    uint32_t was, is;
    memcpy(&was, k->suite->image + at, 4);
    memcpy(&is, k->suite->after + at, 4);
    kt_fail(k, "the word at byte %lld of %s (%llu bytes, %s) was changed from 0x%08x to 0x%08x",
            nearest ? (long long)at - (long long)nearest->offset : (long long)at,
            nearest ? nearest->name : "the heap", nearest ? (unsigned long long)nearest->bytes : 0,
            nearest && at >= nearest->offset && at < nearest->offset + nearest->bytes
                ? "an input"
                : "guarded",
            was, is);
}

// Everything between outputs must be as it was; regions lie in the order of their offsets.
static void check_untouched(kt *k)
{
    const uint8_t *image = k->suite->image, *after = k->suite->after;
    uint64_t at = 0;
    for (uint32_t i = 0; i <= k->region_count; i++) {
        bool last = i == k->region_count;
        if (!last && !k->regions[i].output)
            continue;
        uint64_t end = last ? k->heap_used : k->regions[i].offset;
        if (memcmp(image + at, after + at, end - at) != 0)
            for (; at < end; at += 4)
                if (memcmp(image + at, after + at, 4) != 0) {
                    report_change(k, at);
                    return;
                }
        if (!last)
            at = k->regions[i].offset + k->regions[i].bytes;
    }
}

static bool same_results(const kt *k, const uint8_t *a, const uint8_t *b)
{
    for (uint32_t i = 0; i < k->region_count; i++) {
        const kt_region *r = &k->regions[i];
        if (memcmp(a + r->offset, b + r->offset, r->live) != 0)
            return false;
    }
    return true;
}

bool kt_run_again(kt *k)
{
    kt_suite *s = k->suite;
    uint8_t *first = checked(malloc(k->heap_used));
    memcpy(first, s->after, k->heap_used);
    if (run_once(k, s->after) && !same_results(k, first, s->after))
        kt_fail(k, "a second run gave other bits");
    free(first);
    return !k->failed;
}

bool kt_run(kt *k)
{
    if (k->failed || !check_result(k, inl_plan_finish(k->plan), "plan"))
        return false;
    if (!run_once(k, k->suite->after) || k->suite->compile)
        return false;
    check_untouched(k);
    if (!k->failed && k->suite->cases % REPEAT_EVERY == 0)
        kt_run_again(k);
    return !k->failed;
}

// ---- the suite

static void on_log(void *user, inlay_log_level level, const char *message)
{
    (void)user;
    printf("%s: %s\n", level == INLAY_LOG_ERROR ? "error" : "log", message);
}

static void parse(int argc, char **argv, kt_suite *s)
{
    for (int i = 1; i < argc; i++) {
        if (strcmp(argv[i], "--verbose") == 0) {
            s->verbose = true;
        } else if (strcmp(argv[i], "--list") == 0) {
            s->list = true;
        } else if (strcmp(argv[i], "--quick") == 0) {
            s->quick = true;
        } else if (strcmp(argv[i], "--gpu") == 0) {
            s->gpu_kernels = true;
        } else if (strcmp(argv[i], "--compile") == 0) {
            s->compile = true;
        } else if (strcmp(argv[i], "--filter") == 0 && i + 1 < argc) {
            s->filter = argv[++i];
        } else if (strcmp(argv[i], "--seed") == 0 && i + 1 < argc) {
            s->seed = (uint32_t)strtoul(argv[++i], NULL, 0);
        } else {
            printf("usage: %s [--list] [--filter PART_OF_NAME] [--seed N] [--verbose] [--quick] "
                   "[--gpu] [--compile]\n",
                   argv[0]);
            exit(2);
        }
    }
}

static bool open_suite(kt_suite *s)
{
    const char *validation = getenv("INLAY_TEST_VALIDATION");
    inl_gpu_params params = {.select = getenv("INLAY_TEST_DEVICE"),
                             .validation = validation && strcmp(validation, "1") == 0};
    inlay_env env = {.log = on_log, .log_level = INLAY_LOG_WARN};
    s->env = inl_env_resolve(&env);
    if (inl_gpu_create(&s->env, &params, &s->gpu) != INLAY_OK ||
        inl_buffer_create(s->gpu, "test heap", KT_HEAP_BYTES, INL_MEMORY_DEVICE, &s->heap) !=
            INLAY_OK)
        return false;
    s->image = checked(malloc(KT_HEAP_BYTES));
    s->after = checked(malloc(KT_HEAP_BYTES));
    const inl_gpu_caps *caps = inl_gpu_get_caps(s->gpu);
    if (s->list)
        return true;
    if (s->gpu_kernels)
        s->gpu->caps.simd_lanes = 0;
    printf("device: %s (%s), subgroups of %u, kernels for %s, validation %s, seed %u\n", caps->name,
           caps->driver_info, caps->subgroup_size, caps->simd_lanes ? "a CPU's vectors" : "a GPU",
           params.validation ? "on" : "off", s->seed);
    return true;
}

// Of a kernel and its variant for a CPU's vectors the device gets one.
static bool is_expected(const inl_gpu *gpu, uint32_t kernel)
{
    if (gpu->caps.simd_lanes)
        return inl_simd_kernels[kernel] == kernel;
    for (uint32_t i = 0; i < INL_KERNEL_COUNT; i++)
        if (i != kernel && inl_simd_kernels[i] == kernel)
            return false;
    return true;
}

// A kernel counts as run when a pipeline was made of it: every plan that made one was run.
static uint32_t count_unused(const inl_gpu *gpu)
{
    uint32_t unused = 0;
    for (uint32_t i = 0; i < INL_KERNEL_COUNT; i++) {
        bool used = !is_expected(gpu, i);
        for (size_t p = 0; p < gpu->pipeline_count && !used; p++)
            used = gpu->pipelines[p]->code == inl_kernels[i].code;
        if (!used)
            printf("FAIL kernel %s was never run\n", inl_kernels[i].name);
        unused += !used;
    }
    return unused;
}

static void run_family(kt_suite *s, const kt_family *family)
{
    uint32_t before = s->cases;
    size_t pipelines = s->gpu->pipeline_count;
    double from = now();
    s->family = family->name;
    s->worst = 0.0;
    family->check(s);
    if (s->list)
        return;
    printf("%-10s %5u cases, %3zu pipelines, worst NMSE %.2g, %.1f s\n", family->name,
           s->cases - before, s->gpu->pipeline_count - pipelines, s->worst, now() - from);
    fflush(stdout);
}

int kt_main(int argc, char **argv, const kt_family *families, uint32_t count)
{
    kt_suite s = {.seed = 1};
    parse(argc, argv, &s);
    if (!open_suite(&s)) {
        printf("FAIL no device\n");
        return 1;
    }
    for (uint32_t i = 0; i < count; i++)
        run_family(&s, &families[i]);
    uint32_t unused = s.filter || s.list ? 0 : count_unused(s.gpu);
    uint32_t errors = inl_gpu_validation_errors(s.gpu);
    inl_buffer_destroy(s.gpu, &s.heap);
    inl_gpu_destroy(&s.gpu);
    free(s.image);
    free(s.after);
    if (s.list)
        return 0;
    printf("%u cases, %u failed, %u kernels never run, %u validation errors\n", s.cases, s.failures,
           unused, errors);
    if (s.cases == 0)
        printf("FAIL no case has '%s' in its name\n", s.filter);
    return s.cases == 0 || s.failures > 0 || unused > 0 || errors > 0;
}
