// SPDX-License-Identifier: MIT
#include "verify/case.h"
#include "verify/suite.h"

#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "base/rng.h"

#define REPEAT_EVERY 8 // cases of which one is run twice, for the same bits

static double now(void)
{
    struct timespec t;
    timespec_get(&t, TIME_UTC);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

// ---- the suite

_Noreturn void kt_stop(kt_suite *suite, inlay_result result)
{
    suite->stopped = result;
    longjmp(*suite->stop, 1);
}

static void *checked(kt_suite *suite, void *memory)
{
    if (!memory)
        kt_stop(suite, INLAY_ERROR_OUT_OF_MEMORY);
    return memory;
}

inlay_result kt_open(kt_suite *s)
{
    s->image = inl_alloc(&s->env, 1, KT_HEAP_BYTES);
    s->after = inl_alloc(&s->env, 1, KT_HEAP_BYTES);
    inlay_result result = s->image && s->after ? INLAY_OK : INLAY_ERROR_OUT_OF_MEMORY;
    if (result == INLAY_OK)
        result = inl_buffer_create(s->gpu, "cases", KT_HEAP_BYTES, INL_MEMORY_DEVICE, &s->heap);
    if (result != INLAY_OK)
        kt_close(s);
    return result;
}

void kt_close(kt_suite *s)
{
    inl_buffer_destroy(s->gpu, &s->heap);
    inl_free(&s->env, s->image);
    inl_free(&s->env, s->after);
    s->image = s->after = NULL;
}

static void free_case(kt *k)
{
    kt_suite *s = k->suite;
    inl_plan_destroy(&k->plan);
    for (uint32_t i = 0; i < k->buffer_count; i++)
        inl_buffer_destroy(s->gpu, &k->buffers[i]);
    for (kt_block *b = k->blocks, *next; b; b = next) {
        next = b->next;
        inl_free(&s->env, b);
    }
    s->current = NULL;
    inl_free(&s->env, k);
}

inlay_result kt_run_family(kt_suite *s, const kt_family *family)
{
    jmp_buf stop;
    s->family = family->name;
    s->stop = &stop;
    s->stopped = INLAY_OK;
    if (setjmp(stop) == 0)
        family->check(s);
    else if (s->current)
        free_case(s->current);
    s->stop = NULL;
    return s->stopped;
}

// Products in tiles through shared memory.
static bool is_for_gpus(inl_kernel kernel)
{
    for (uint32_t tiling = 0; tiling < INL_TILING_COUNT; tiling++)
        if (inl_kernels_by_tiling[INL_KERNELS_GEMM_TILED][tiling] == kernel ||
            inl_kernels_by_tiling[INL_KERNELS_GEMM_DX_TILED][tiling] == kernel)
            return true;
    return false;
}

bool kt_kernel_is_expected(const inl_gpu_caps *caps, inl_kernel kernel)
{
    if (!inl_kernels[kernel].code)
        return false; // this build's compiler could not make it
    if ((inl_kernels[kernel].needs & ~(1u << INL_PATH_SIMD)) != 0)
        return inl_kernel_usable(caps, kernel);
    if (caps->simd_lanes)
        return inl_simd_kernels[kernel] == kernel && !is_for_gpus(kernel);
    for (uint32_t i = 0; i < INL_KERNEL_COUNT; i++)
        if (i != kernel && inl_simd_kernels[i] == kernel)
            return false;
    return true;
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
    if (s->begin && !s->begin(s->user, name))
        return NULL;
    kt *k = checked(s, inl_alloc(&s->env, 1, sizeof(*k)));
    s->current = k;
    k->suite = s;
    memcpy(k->name, name, sizeof(name));
    k->seed = hash_name(s->seed, name);
    k->began = now();
    s->cases++;
    kt_must(k, inl_plan_create(&s->env, s->gpu, &k->plan));
    return k;
}

void kt_fail(kt *k, const char *format, ...)
{
    if (k->failed)
        return;
    k->failed = true;
    va_list args;
    va_start(args, format);
    vsnprintf(k->message, sizeof(k->message), format, args);
    va_end(args);
}

void kt_skip(kt *k, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    vsnprintf(k->skipped, sizeof(k->skipped), format, args);
    va_end(args);
}

void kt_must(kt *k, inlay_result result)
{
    if (result != INLAY_OK)
        kt_stop(k->suite, result);
}

void kt_note_error(kt *k, double nmse, double bound)
{
    bool nearer = bound > 0.0 ? !(nmse / bound <= k->nmse / k->bound) : nmse > 0.0;
    if (nearer || k->bound == 0.0) {
        k->nmse = nmse;
        k->bound = bound;
    }
}

void kt_note_wrong(kt *k, const char *name, uint32_t row, uint32_t col, double got,
                   double expected)
{
    if (!k->failed && k->wrong_count < KT_MAX_WRONG)
        k->wrong[k->wrong_count++] = (kt_wrong){name, row, col, got, expected};
}

static void tell(kt *k)
{
    kt_suite *s = k->suite;
    kt_report r = {.family = s->family,
                   .name = k->name,
                   .seed = s->seed,
                   .failed = k->failed,
                   .skipped = k->skipped[0] && !k->failed ? k->skipped : NULL,
                   .message = k->message,
                   .nmse = k->nmse,
                   .bound = k->bound,
                   .seconds = now() - k->began,
                   .kernels = k->kernels,
                   .wrong_count = k->wrong_count};
    memcpy(r.wrong, k->wrong, sizeof(r.wrong));
    bool go_on = s->report(s->user, &r);
    free_case(k);
    if (!go_on)
        kt_stop(s, INLAY_ERROR_INTERRUPTED);
}

void kt_end(kt *k)
{
    kt_suite *s = k->suite;
    uint32_t errors = inl_gpu_validation_errors(s->gpu);
    if (errors != s->validation_errors)
        kt_fail(k, "the validation layer reported %u errors", errors - s->validation_errors);
    s->validation_errors = errors;
    s->failures += k->failed;
    s->skipped += k->skipped[0] && !k->failed;
    tell(k);
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

inl_gpu_caps *kt_caps(kt_suite *suite)
{
    return inl_gpu_change_caps(suite->gpu);
}

bool kt_quick(const kt_suite *suite)
{
    return suite->extent != KT_ALL;
}

bool kt_brief(const kt_suite *suite)
{
    return suite->extent == KT_BRIEF;
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

#define SLACK_BYTES 64 // that vector code of encoders may read, and so that nothing is of size 0

void *kt_alloc(kt *k, uint64_t bytes)
{
    kt_block *block = checked(k->suite, inl_alloc(&k->suite->env, 1,
                                                  sizeof(*block) + bytes + SLACK_BYTES));
    block->next = k->blocks;
    k->blocks = block;
    return block + 1;
}

double *kt_doubles(kt *k, uint64_t count)
{
    return kt_alloc(k, count * sizeof(double));
}

inl_buffer *kt_buffer(kt *k, uint64_t bytes)
{
    inl_buffer **b = &k->buffers[k->buffer_count];
    if (k->buffer_count == KT_MAX_BUFFERS)
        kt_stop(k->suite, INLAY_ERROR_INTERNAL);
    kt_must(k, inl_buffer_create(k->suite->gpu, "case", bytes, INL_MEMORY_DEVICE, b));
    k->buffer_count++;
    kt_must(k, inl_gpu_zero(k->suite->gpu, *b, 0, inl_round_up(bytes, 4)));
    return *b;
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

// What the device is not to blame for ends the suite, or the case alone; a lost device ends it,
// too, but is told of first.
static bool check_result(kt *k, inlay_result result, const char *what)
{
    switch (result) {
    case INLAY_OK: return true;
    case INLAY_ERROR_OUT_OF_MEMORY: kt_stop(k->suite, result);
    case INLAY_ERROR_OUT_OF_DEVICE_MEMORY:
        kt_skip(k, "%s: %s", what, inlay_result_string(result));
        return false;
    default: break;
    }
    kt_fail(k, "%s: %s", what, inlay_result_string(result));
    if (result != INLAY_ERROR_DEVICE_LOST)
        return false;
    kt_suite *s = k->suite;
    s->failures++;
    tell(k);
    kt_stop(s, result);
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
    uint8_t *first = memcpy(kt_alloc(k, k->heap_used), s->after, k->heap_used);
    if (run_once(k, s->after) && !same_results(k, first, s->after))
        kt_fail(k, "a second run gave other bits");
    return !k->failed;
}

static void note(kt *k, inl_kernel kernel)
{
    k->kernels[kernel] = k->suite->ran[kernel] = 1;
}

void kt_note_plan(kt *k)
{
    for (uint32_t i = 0; i < inl_plan_node_count(k->plan); i++) {
        const inl_node *node = inl_plan_node(k->plan, i);
        if (node)
            note(k, node->kernel);
    }
}

void kt_note_kernel(kt *k, inl_kernel kernel)
{
    note(k, kt_caps(k->suite)->simd_lanes ? inl_simd_kernels[kernel] : kernel);
}

bool kt_run(kt *k)
{
    if (k->failed || !check_result(k, inl_plan_finish(k->plan), "plan"))
        return false;
    kt_note_plan(k);
    if (!run_once(k, k->suite->after) || k->suite->compile)
        return false;
    check_untouched(k);
    if (!k->failed && (k->suite->repeat || k->suite->cases % REPEAT_EVERY == 0))
        kt_run_again(k);
    return !k->failed;
}
