// SPDX-License-Identifier: MIT
// Suite generate: a prompt's tokens a second, and those of a greedy answer, each drawn on the host.
// Suite memory: what a run would need, by purpose.
#include "bench_run.h"
#include "progress.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#define MOST_REPEATS 100

typedef struct answer_clock {
    double first, last; // when the tokens came
    uint32_t tokens;
} answer_clock;

static bool note_token(void *user, int32_t id)
{
    answer_clock *c = user;
    (void)id;
    c->last = clock_seconds();
    if (c->tokens++ == 0)
        c->first = c->last;
    return !bench_stopped();
}

typedef struct answer_rates {
    double prompt[MOST_REPEATS], decode[MOST_REPEATS];
    size_t prompts, decodes;
} answer_rates;

// Token ids that differ from run to run: an answer that ends at once is tried with another prompt.
static void make_prompt(int32_t *ids, uint32_t count, uint32_t vocab, uint32_t round)
{
    uint32_t state = 12345u + 977u * round;
    for (uint32_t i = 0; i < count; i++) {
        state = state * 1664525u + 1013904223u;
        ids[i] = (int32_t)(vocab / 2 + (state >> 8) % (vocab / 2));
    }
}

static inlay_result answer(inlay_generator *generator, const bench_run *run, int32_t *ids,
                           uint32_t count, answer_rates *rates)
{
    answer_clock c = {0};
    double start = clock_seconds();
    BENCH_TRY(inlay_generate(generator, ids, count, run->options->tokens, NULL, note_token, &c));
    if (c.tokens > 0)
        rates->prompt[rates->prompts++] = count / (c.first - start);
    if (c.tokens > 4)
        rates->decode[rates->decodes++] = (c.tokens - 1) / (c.last - c.first);
    return INLAY_OK;
}

static void add_rate(bench_run *run, bench_record r, const char *test, uint32_t tokens,
                     const double *rates, size_t count)
{
    if (count == 0)
        return;
    bench_put(r.test, "%s%u", test, tokens);
    r.repeats = (double)count;
    r.tokens_per_s = bench_mean(rates, count);
    r.tokens_per_s_stddev = bench_deviation(rates, count);
    r.step_ms = 1e3 * tokens / r.tokens_per_s;
    bench_add(run, &r);
}

static inlay_result repeat_answers(bench_run *run, inlay_generator *generator, uint32_t vocab,
                                   uint32_t count, answer_rates *rates)
{
    const bench_options *o = run->options;
    int32_t *ids = xalloc(count, sizeof(*ids));
    inlay_result result = INLAY_OK;
    for (uint32_t i = 0; i < o->warmup + o->repeats && result == INLAY_OK && !bench_stopped();
         i++) {
        if (i == o->warmup)
            rates->prompts = rates->decodes = 0;
        make_prompt(ids, count, vocab, i);
        result = answer(generator, run, ids, count, rates);
    }
    free(ids);
    return result;
}

static inlay_result generate_row(bench_run *run, const char *name, const char *type,
                                 uint32_t prompt)
{
    inlay_model *model = NULL;
    inlay_generator *generator = NULL;
    inlay_model_info info;
    bench_record r = bench_begin(run, "generate");
    answer_rates rates = {.prompts = 0};
    uint64_t before, after, peak, bytes = 0;
    inlay_device_get_memory(run->device, &before, &peak);
    inlay_generator_params params = {.context_length = prompt + run->options->tokens};
    inlay_result result = bench_open_model(name, type, 0, &model, &r);
    if (result == INLAY_OK)
        result = inlay_model_get_token_bytes(model, &bytes);
    if (result == INLAY_OK)
        result = inlay_generator_create(&generator, cli_env(), run->device, model, NULL, &params);
    if (result == INLAY_OK) {
        inlay_model_get_info(model, &info);
        result = repeat_answers(run, generator, info.vocab, prompt, &rates);
        inlay_device_get_memory(run->device, &after, &peak);
        r.peak_bytes = (double)(after - before);
        r.rss_bytes = (double)bench_rss();
        r.batch = 1;
        r.warmup = run->options->warmup;
    }
    if (result == INLAY_OK) {
        add_rate(run, r, "pp", prompt, rates.prompt, rates.prompts);
        r.bytes = (double)bytes;
        bench_rate(run, &r, rates.decodes ? 1.0 / bench_mean(rates.decode, rates.decodes) : 0.0);
        add_rate(run, r, "tg", run->options->tokens, rates.decode, rates.decodes);
    }
    inlay_generator_destroy(&generator);
    inlay_model_close(&model);
    return result;
}

bool bench_suite_generate(bench_run *run)
{
    const bench_options *o = run->options;
    for (size_t m = 0; m < o->models.count; m++)
        for (size_t t = 0; t < o->types.count; t++) {
            char row[BENCH_TEXT];
            bench_put(row, "%.100s %.100s", o->models.texts[m], o->types.texts[t]);
            cli_note("generate: %s", row);
            inlay_result result = generate_row(run, o->models.texts[m], bench_type(run, t), 128);
            if (bench_stopped() ||
                (result != INLAY_OK && !bench_skip(run, "generate", row, result)))
                return false;
        }
    return true;
}

// ---- memory

static void add_part(bench_run *run, bench_record r, const char *part, uint64_t bytes)
{
    bench_put(r.kernel, "%s", part);
    r.peak_bytes = (double)bytes;
    bench_add(run, &r);
}

// Every layer computed again, every `segment`th keeps its input.
static inlay_result memory_row(bench_run *run, const char *name, const char *type, uint32_t length,
                               uint32_t rank, uint32_t segment)
{
    inlay_model *model = NULL;
    inlay_adapter *adapter = NULL;
    inlay_dataset *data = NULL;
    inlay_adapter_params lora = {.r = rank};
    inlay_train_params params = {.max_steps = 1, .gradient_checkpointing = INLAY_CHECKPOINT_ALL,
                                 .checkpoint_segment = segment};
    inlay_train_plan plan;
    bench_record r = bench_begin(run, "memory");
    inlay_result result = bench_open_model(name, type, 0, &model, &r);
    if (result == INLAY_OK)
        result = inlay_adapter_create(&adapter, cli_env(), model, &lora);
    if (result == INLAY_OK)
        result = inlay_dataset_create_random(&data, cli_env(), model, 1, length, 1);
    if (result == INLAY_OK)
        result = inlay_train_plan_run(&plan, cli_env(), run->device, model, adapter, data, &params);
    if (result == INLAY_OK) {
        const char *method = type ? "qlora" : "lora";
        bench_put(r.method, "%s", method);
        bench_put(r.test, "plan %s%u sft%u segment%u", method, rank, length, segment);
        bench_put(r.targets, "all-linear");
        r.rank = rank;
        r.alpha = 2.0 * rank;
        r.trainable_parameters = (double)plan.trainable_parameters;
        r.row_tokens = length;
        r.batch = r.accumulation = 1;
        r.checkpointing = plan.checkpointed_layers;
        add_part(run, r, "weights", plan.weights_bytes);
        add_part(run, r, "adapter", plan.adapter_bytes);
        add_part(run, r, "optimizer", plan.optimizer_bytes);
        add_part(run, r, "activations", plan.activations_bytes);
        add_part(run, r, "scratch", plan.scratch_bytes);
        r.flops = (double)plan.flops_per_step;
        add_part(run, r, "", plan.total_bytes);
    }
    inlay_dataset_close(&data);
    inlay_adapter_destroy(&adapter);
    inlay_model_close(&model);
    return result;
}

bool bench_suite_memory(bench_run *run)
{
    static const char *const shapes[] = {"1.1b", "3b", "8b"};
    static const struct {
        uint32_t length, segment;
    } rows[] = {{512, 1}, {2048, 1}, {2048, 2}};
    for (size_t m = 0; m < COUNT(shapes); m++)
        for (size_t l = 0; l < COUNT(rows); l++) {
            char row[BENCH_TEXT];
            bench_put(row, "%s q4_k, %u tokens", shapes[m], rows[l].length);
            cli_note("memory: %s", row);
            inlay_result result = memory_row(run, shapes[m], "q4_k", rows[l].length, 16,
                                             rows[l].segment);
            if (bench_stopped() || (result != INLAY_OK && !bench_skip(run, "memory", row, result)))
                return false;
        }
    return true;
}
