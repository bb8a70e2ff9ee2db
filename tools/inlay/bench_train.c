// SPDX-License-Identifier: MIT
// Suite train: whole steps of LoRA training. Cases that fit the device together take turns in every
// repeat, so that other work on the machine meets all of them.
#include "bench_run.h"
#include "progress.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#define MOST_CASES 8      // at once
#define MOST_REPEATS 100
#define MOST_KERNELS 96
#define PROFILED_STEPS 3
#define ROWS 4            // of data
#define CHECK_FLOPS 4e9   // of the CPU's loops, about
#define CHECK_TOKENS 16u  // whose loss is compared, at most
#define CHECK_BOUND 0.01  // nats

typedef struct bench_case {
    char label[BENCH_TEXT]; // for messages
    inlay_model *model;
    inlay_adapter *adapter;
    inlay_dataset *data;
    inlay_trainer *trainer;
    inlay_train_plan plan;
    bench_record record;
    double rates[MOST_REPEATS], host_ms[MOST_REPEATS];
    double longest_submit;
    uint64_t bytes; // of the device
    inlay_result result;
} bench_case;

// What a row of the suite is.
typedef struct train_row {
    const char *model, *type;
    uint32_t length, rank;
} train_row;

static void close_case(bench_case *c)
{
    inlay_trainer_destroy(&c->trainer);
    inlay_dataset_close(&c->data);
    inlay_adapter_destroy(&c->adapter);
    inlay_model_close(&c->model);
}

// ---- opening

static void describe(const train_row *row, bench_case *c)
{
    bench_record *r = &c->record;
    inlay_adapter_info info;
    inlay_adapter_get_info(c->adapter, &info);
    bool floats = !row->type || strcmp(row->type, "F32") == 0 || strcmp(row->type, "F16") == 0 ||
                  strcmp(row->type, "BF16") == 0;
    const char *method = floats ? "lora" : "qlora";
    bench_put(r->method, "%s", method);
    bench_put(r->test, "%s%u sft%u", method, row->rank, row->length);
    bench_put(r->targets, "all-linear");
    r->rank = row->rank;
    r->alpha = (double)info.alpha;
    r->trainable_parameters = (double)info.parameters;
    r->row_tokens = row->length;
    r->batch = r->accumulation = 1;
}

static inlay_result open_case(bench_run *run, const train_row *row, bench_case *c)
{
    uint64_t before, after, peak;
    inlay_device_get_memory(run->device, &before, &peak);
    c->record = bench_begin(run, "train");
    BENCH_TRY(bench_open_model(row->model, row->type, 0, &c->model, &c->record));
    inlay_adapter_params adapter = {.r = row->rank};
    BENCH_TRY(inlay_adapter_create(&c->adapter, cli_env(), c->model, &adapter));
    BENCH_TRY(
        inlay_dataset_create_random(&c->data, cli_env(), c->model, ROWS, row->length, 1));
    inlay_train_params params = {.max_steps = 1000000,
                                 .learning_rate = 1e-3f,
                                 .lr_scheduler = INLAY_SCHEDULE_CONSTANT,
                                 .max_grad_norm = 1.0f,
                                 .gradient_checkpointing = run->options->checkpointing,
                                 .no_shuffle = true};
    BENCH_TRY(inlay_trainer_create(&c->trainer, cli_env(), run->device, c->model, c->adapter,
                                       c->data, &params));
    inlay_device_get_memory(run->device, &after, &peak);
    c->bytes = after - before;
    inlay_trainer_get_plan(c->trainer, &c->plan);
    describe(row, c);
    c->record.checkpointing = c->plan.checkpointed_layers;
    c->record.peak_bytes = (double)c->bytes;
    return INLAY_OK;
}

// Never speed without correctness: a case whose loss is not the CPU's is left out.
static inlay_result check_loss(bench_case *c)
{
    inlay_loss_check check;
    double tokens = fmin(fmax(CHECK_FLOPS / (2.0 * c->record.parameters), 2.0), CHECK_TOKENS);
    inlay_result result = inlay_trainer_check_loss(c->trainer, (uint32_t)tokens, &check);
    if (result == INLAY_ERROR_UNSUPPORTED)
        return INLAY_OK;
    BENCH_TRY(result);
    c->record.loss_step = check.step;
    c->record.loss = check.loss;
    c->record.loss_reference = check.reference;
    if (fabs(check.loss - check.reference) <= CHECK_BOUND)
        return INLAY_OK;
    cli_error("%s: the loss of %u tokens at step %u is %.6f, the CPU's is %.6f", c->label,
              check.tokens, check.step, check.loss, check.reference);
    return INLAY_ERROR_INTERNAL;
}

static inlay_result warm_up(const bench_run *run, bench_case *c)
{
    inlay_step_stats stats;
    for (uint32_t i = 0; i < run->options->warmup; i++)
        BENCH_TRY(inlay_trainer_step(c->trainer, &stats));
    return run->options->no_check ? INLAY_OK : check_loss(c);
}

// ---- measuring

static inlay_result measure(const bench_run *run, bench_case *c, uint32_t repeat)
{
    double start = clock_seconds(), host = 0.0, spent;
    uint64_t tokens = 0;
    uint32_t steps = 0;
    do {
        inlay_step_stats stats;
        inlay_step_times times;
        BENCH_TRY(inlay_trainer_step(c->trainer, &stats));
        BENCH_TRY(inlay_trainer_get_times(c->trainer, &times));
        c->longest_submit = fmax(c->longest_submit, times.longest_submit_seconds);
        tokens += stats.tokens;
        host += stats.host_seconds;
        steps++;
        spent = clock_seconds() - start;
    } while (spent < run->options->seconds);
    c->rates[repeat] = (double)tokens / spent;
    c->host_ms[repeat] = 1e3 * host / steps;
    return INLAY_OK;
}

static void add_kernel(bench_run *run, const bench_case *c, const inlay_kernel_time *k)
{
    bench_record r = c->record;
    r.tokens_per_s = r.tokens_per_s_stddev = r.step_ms = r.forward_ms = r.backward_ms = NAN;
    r.update_ms = r.host_ms = r.longest_submit_ms = r.peak_bytes = r.rss_bytes = NAN;
    r.loss = r.loss_reference = r.loss_step = r.tflops = r.peak_share = NAN;
    r.repeats = PROFILED_STEPS;
    bench_put(r.kernel, "%s%s%s", k->kernel, *k->tag ? " " : "", k->tag);
    r.kernel_ms = 1e3 * k->seconds / PROFILED_STEPS;
    r.flops = k->flops ? (double)k->flops / PROFILED_STEPS : NAN;
    r.bytes = k->bytes ? (double)k->bytes / PROFILED_STEPS : NAN;
    bench_rate(run, &r, k->seconds / PROFILED_STEPS);
    bench_add(run, &r);
}

typedef struct kernel_sums {
    inlay_kernel_time items[MOST_KERNELS];
    uint32_t count;
} kernel_sums;

static void add_up(kernel_sums *sums, const inlay_kernel_time *k)
{
    uint32_t i = 0;
    while (i < sums->count && (strcmp(sums->items[i].kernel, k->kernel) != 0 ||
                               strcmp(sums->items[i].tag, k->tag) != 0))
        i++;
    if (i == MOST_KERNELS)
        return;
    if (i == sums->count) {
        sums->items[sums->count++] = *k;
        return;
    }
    sums->items[i].seconds += k->seconds;
    sums->items[i].flops += k->flops;
    sums->items[i].bytes += k->bytes;
}

// Steps of their own, with a timestamp after each kernel.
static inlay_result profile(bench_case *c, kernel_sums *sums)
{
    inlay_kernel_time kernels[MOST_KERNELS];
    inlay_step_times sum = {0};
    BENCH_TRY(inlay_trainer_profile(c->trainer, true));
    for (uint32_t i = 0; i < PROFILED_STEPS; i++) {
        inlay_step_stats stats;
        inlay_step_times times;
        uint32_t count = MOST_KERNELS;
        BENCH_TRY(inlay_trainer_step(c->trainer, &stats));
        BENCH_TRY(inlay_trainer_get_times(c->trainer, &times));
        BENCH_TRY(inlay_trainer_get_kernels(c->trainer, kernels, &count));
        sum.forward_seconds += times.forward_seconds;
        sum.backward_seconds += times.backward_seconds;
        sum.update_seconds += times.update_seconds;
        for (uint32_t k = 0; k < count && k < MOST_KERNELS; k++)
            add_up(sums, &kernels[k]);
    }
    if (sum.forward_seconds > 0.0) {
        c->record.forward_ms = 1e3 * sum.forward_seconds / PROFILED_STEPS;
        c->record.backward_ms = 1e3 * sum.backward_seconds / PROFILED_STEPS;
        c->record.update_ms = 1e3 * sum.update_seconds / PROFILED_STEPS;
    }
    return inlay_trainer_profile(c->trainer, false);
}

static inlay_result finish(bench_run *run, bench_case *c)
{
    kernel_sums sums = {0};
    bench_record *r = &c->record;
    size_t repeats = run->options->repeats;
    r->warmup = run->options->warmup;
    r->repeats = (double)repeats;
    r->tokens_per_s = bench_mean(c->rates, repeats);
    r->tokens_per_s_stddev = bench_deviation(c->rates, repeats);
    r->step_ms = 1e3 * c->plan.tokens_per_step / r->tokens_per_s;
    r->host_ms = bench_mean(c->host_ms, repeats);
    if (c->longest_submit > 0.0)
        r->longest_submit_ms = 1e3 * c->longest_submit;
    r->flops = (double)c->plan.flops_per_step;
    bench_rate(run, r, 1e-3 * r->step_ms);
    r->rss_bytes = (double)bench_rss();
    BENCH_TRY(profile(c, &sums));
    bench_add(run, r);
    for (uint32_t i = 0; i < sums.count; i++)
        add_kernel(run, c, &sums.items[i]);
    return INLAY_OK;
}

// ---- groups of cases

typedef struct train_group {
    bench_case cases[MOST_CASES];
    uint32_t count;
} train_group;

static void run_group(bench_run *run, train_group *g)
{
    for (uint32_t i = 0; i < g->count; i++)
        g->cases[i].result = warm_up(run, &g->cases[i]);
    for (uint32_t repeat = 0; repeat < run->options->repeats && !bench_stopped(); repeat++) {
        cli_note("train: repeat %u of %u, of %u cases", repeat + 1, run->options->repeats,
                 g->count);
        for (uint32_t i = 0; i < g->count; i++)
            if (g->cases[i].result == INLAY_OK)
                g->cases[i].result = measure(run, &g->cases[i], repeat);
    }
    for (uint32_t i = 0; i < g->count && !bench_stopped(); i++)
        if (g->cases[i].result == INLAY_OK)
            g->cases[i].result = finish(run, &g->cases[i]);
}

// False: the run is to end.
static bool close_group(bench_run *run, train_group *g)
{
    bool go_on = !bench_stopped();
    for (uint32_t i = 0; i < g->count; i++) {
        bench_case *c = &g->cases[i];
        close_case(c);
        if (c->result != INLAY_OK && go_on)
            go_on = bench_skip(run, "train", c->label, c->result);
    }
    g->count = 0;
    return go_on;
}

// Whether a case as large as the last one would still fit beside those that are open.
static bool has_room(const bench_run *run, const train_group *g)
{
    uint64_t used, peak;
    if (g->count == 0)
        return true;
    inlay_device_get_memory(run->device, &used, &peak);
    uint64_t budget = run->info.budget_bytes;
    if (run->options->common.memory_budget && run->options->common.memory_budget < budget)
        budget = run->options->common.memory_budget;
    return g->count < MOST_CASES && used + 2 * g->cases[g->count - 1].bytes < budget / 2;
}

static bool add_case(bench_run *run, train_group *g, const train_row *row)
{
    if (!has_room(run, g)) {
        run_group(run, g);
        if (!close_group(run, g))
            return false;
    }
    bench_case *c = &g->cases[g->count];
    *c = (bench_case){.longest_submit = 0.0};
    bench_put(c->label, "%s %s, rank %u, %u tokens", row->model,
              row->type ? row->type : "as stored", row->rank, row->length);
    cli_note("train: %s", c->label);
    inlay_result result = open_case(run, row, c);
    if (result == INLAY_OK) {
        g->count++;
        return true;
    }
    close_case(c);
    return bench_skip(run, "train", c->label, result);
}

bool bench_suite_train(bench_run *run)
{
    const bench_options *o = run->options;
    train_group *g = xalloc(1, sizeof(*g));
    bool go_on = true;
    for (size_t m = 0; m < o->models.count; m++)
        for (size_t l = 0; l < o->lengths.count; l++)
            for (size_t k = 0; k < o->ranks.count; k++)
                for (size_t t = 0; t < o->types.count && go_on; t++) {
                    train_row row = {.model = o->models.texts[m],
                                     .type = bench_type(run, t),
                                     .length = bench_number(&o->lengths, l),
                                     .rank = bench_number(&o->ranks, k)};
                    go_on = add_case(run, g, &row);
                }
    if (go_on)
        run_group(run, g);
    go_on = close_group(run, g) && go_on;
    free(g);
    return go_on;
}
