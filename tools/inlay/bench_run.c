// SPDX-License-Identifier: MIT
// What the suites share.
#define _DEFAULT_SOURCE
#define _POSIX_C_SOURCE 200809L
#include "bench_run.h"

#include "files.h"
#include "interrupt.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/utsname.h>
#include <time.h>

bench_record bench_begin(const bench_run *run, const char *suite)
{
    bench_record r = run->system;
    bench_put(r.suite, "%s", suite);
    return r;
}

void bench_add(bench_run *run, const bench_record *record)
{
    if (run->count == run->cap) {
        run->cap = run->cap ? 2 * run->cap : 16;
        run->records = xrealloc(run->records, run->cap, sizeof(*run->records));
    }
    run->records[run->count++] = *record;
}

bool bench_stopped(void)
{
    return interrupt_name() != NULL;
}

bool bench_skip(bench_run *run, const char *suite, const char *row, inlay_result result)
{
    run->skipped++;
    cli_warn("suite %s, %s: left out (%s)", suite, row, inlay_result_string(result));
    return result != INLAY_ERROR_DEVICE_LOST && !bench_stopped();
}

// ---- the system

// The value of the first line that begins with `key`, without quotes.
static void find_line(const char *path, const char *key, char *out, size_t room)
{
    size_t size;
    char *text = file_read(path, &size);
    for (char *line = text; line && *line;) {
        char *end = strchr(line, '\n');
        if (strncmp(line, key, strlen(key)) == 0) {
            char *value = line + strlen(key);
            value += strspn(value, " \t:=\"");
            int length = (int)strcspn(value, "\"\n");
            snprintf(out, room, "%.*s", length, value);
            break;
        }
        line = end ? end + 1 : NULL;
    }
    free(text);
}

void bench_fill_system(bench_record *r)
{
    struct utsname name;
    time_t now = time(NULL);
    struct tm utc;
    if (uname(&name) == 0) {
        bench_put(r->os, "%s", name.sysname);
        bench_put(r->kernel_release, "%s", name.release);
        bench_put(r->cpu, "%s", name.machine);
    }
    find_line("/etc/os-release", "PRETTY_NAME", r->os, sizeof(r->os));
    find_line("/proc/cpuinfo", "model name", r->cpu, sizeof(r->cpu));
    if (gmtime_r(&now, &utc))
        strftime(r->date, sizeof(r->date), "%Y-%m-%dT%H:%M:%SZ", &utc);
    bench_put(r->version, "%s", inlay_version());
    bench_put(r->commit, "%s", bench_commit);
}

uint64_t bench_rss(void)
{
    struct rusage usage;
    return getrusage(RUSAGE_SELF, &usage) == 0 ? 1024ull * (uint64_t)usage.ru_maxrss : 0;
}

// ---- models

static bool is_shape(const char *name)
{
    inlay_shape shape;
    for (uint32_t i = 0; inlay_shape_get(i, &shape); i++)
        if (strcmp(shape.name, name) == 0)
            return true;
    return false;
}

inlay_result bench_open_model(const char *name, const char *type, uint32_t layers,
                              inlay_model **out, bench_record *r)
{
    inlay_model_info info;
    inlay_result result;
    if (is_shape(name)) {
        inlay_random_model_params params = {.shape = name, .type = type, .seed = 1,
                                            .layers = layers};
        result = inlay_model_create_random(out, cli_env(), &params);
    } else {
        inlay_model_params params = {.quantize = type};
        result = inlay_model_open(out, cli_env(), name, &params);
    }
    if (result != INLAY_OK)
        return result;
    const char *slash = strrchr(name, '/');
    inlay_model_get_info(*out, &info);
    bench_put(r->model, "%s", slash && slash[1] ? slash + 1 : name);
    bench_put(r->architecture, "%s", info.architecture);
    bench_put(r->quantization, "%s", type ? type : "as stored");
    r->parameters = (double)info.parameters;
    r->model_bytes = (double)info.file_bytes;
    return INLAY_OK;
}

const char *bench_type(const bench_run *run, size_t index)
{
    const char *type = run->options->types.texts[index];
    return strcmp(type, "none") == 0 ? NULL : type;
}

uint32_t bench_number(const bench_list *list, size_t index)
{
    return (uint32_t)strtoul(list->texts[index], NULL, 10);
}

// ---- numbers

double bench_mean(const double *values, size_t count)
{
    double sum = 0.0;
    for (size_t i = 0; i < count; i++)
        sum += values[i];
    return count ? sum / (double)count : NAN;
}

double bench_deviation(const double *values, size_t count)
{
    double mean = bench_mean(values, count), sum = 0.0;
    for (size_t i = 0; i < count; i++)
        sum += (values[i] - mean) * (values[i] - mean);
    return count > 1 ? sqrt(sum / (double)(count - 1)) : NAN;
}

// The roofline: nothing is faster than its arithmetic at the best rate, or its traffic.
void bench_rate(const bench_run *run, bench_record *r, double seconds)
{
    double least = 0.0;
    if (!(seconds > 0.0))
        return;
    if (r->flops > 0.0)
        r->tflops = 1e-12 * r->flops / seconds;
    if (r->bytes > 0.0)
        r->gb_per_s = 1e-9 * r->bytes / seconds;
    if (run->peak_flops > 0.0 && r->flops > 0.0)
        least = r->flops / run->peak_flops;
    if (run->peak_bytes > 0.0 && r->bytes > 0.0)
        least = fmax(least, r->bytes / run->peak_bytes);
    if (least > 0.0)
        r->peak_share = least / seconds;
}

// ---- peaks

bool bench_suite_peak(bench_run *run)
{
    for (inlay_peak_kind kind = 0; kind < INLAY_PEAK_COUNT; kind++) {
        inlay_peak_result peak;
        bench_record r = bench_begin(run, "peak");
        inlay_result result = inlay_device_measure_peak(run->device, kind, &peak);
        bench_put(r.test, "%s", peak.name);
        if (result == INLAY_ERROR_UNSUPPORTED)
            continue;
        if (result != INLAY_OK) {
            if (!bench_skip(run, "peak", peak.name, result))
                return false;
            continue;
        }
        bool copies = peak.flops == 0;
        const char *path = copies ? "" : kind == INLAY_PEAK_FP32 ? "f32" : peak.name;
        if (copies)
            run->peak_bytes = peak.per_second;
        else if (run->peak_flops <= 0.0 || strcmp(run->system.path, path) == 0)
            run->peak_flops = peak.per_second;
        bench_put(r.path, "%s", path);
        r.warmup = 1;
        r.repeats = peak.repeats;
        r.kernel_ms = 1e3 * peak.seconds;
        if (copies)
            r.bytes = (double)peak.bytes;
        else
            r.flops = (double)peak.flops;
        bench_put(r.kernel, "peak_%s", peak.name);
        bench_rate(run, &r, peak.seconds);
        r.peak_share = NAN; // of itself
        bench_add(run, &r);
    }
    return !bench_stopped();
}

// ---- kernels

typedef struct kernel_rows {
    bench_run *run;
    bench_record record;
    uint32_t wrong;
} kernel_rows;

// Never speed without correctness: a wrong kernel is left out.
static bool add_kernel(void *user, const inlay_kernel_result *k)
{
    kernel_rows *rows = user;
    bench_record r = rows->record;
    if (!k->correct) {
        cli_error("%s, kernel %s: the sample's error against double precision is %.3g", k->name,
                  k->kernel, k->error);
        rows->wrong++;
        return !bench_stopped();
    }
    bench_put(r.test, "%s", k->name);
    bench_put(r.kernel, "%s", k->kernel);
    r.warmup = 1;
    r.repeats = k->repeats;
    r.kernel_ms = 1e3 * k->seconds;
    r.flops = k->flops ? (double)k->flops : NAN;
    r.bytes = (double)k->bytes;
    bench_rate(rows->run, &r, k->seconds);
    bench_add(rows->run, &r);
    return !bench_stopped();
}

static inlay_result kernels_of(bench_run *run, const char *name, const char *type, uint32_t tokens)
{
    inlay_model *model = NULL;
    kernel_rows rows = {.run = run, .record = bench_begin(run, "kernels")};
    inlay_result result = bench_open_model(name, type, 1, &model, &rows.record);
    rows.record.row_tokens = tokens;
    rows.record.parameters = rows.record.model_bytes = NAN; // one layer's
    if (result == INLAY_OK)
        result = inlay_device_measure_kernels(run->device, model, tokens, add_kernel, &rows);
    inlay_model_close(&model);
    return result == INLAY_OK && rows.wrong > 0 ? INLAY_ERROR_INTERNAL : result;
}

bool bench_suite_kernels(bench_run *run)
{
    const bench_options *o = run->options;
    for (size_t m = 0; m < o->models.count; m++)
        for (size_t l = 0; l < o->lengths.count; l++)
            for (size_t t = 0; t < o->types.count; t++) {
                char row[BENCH_TEXT];
                uint32_t tokens = bench_number(&o->lengths, l);
                bench_put(row, "%.100s %.100s, %u tokens", o->models.texts[m], o->types.texts[t],
                          tokens);
                cli_note("kernels: %s", row);
                inlay_result result =
                    kernels_of(run, o->models.texts[m], bench_type(run, t), tokens);
                if (bench_stopped() ||
                    (result != INLAY_OK && !bench_skip(run, "kernels", row, result)))
                    return false;
            }
    return true;
}
