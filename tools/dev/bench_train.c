// SPDX-License-Identifier: MIT
// Measures whole training steps: rows of -t tokens, batch 1, rank -r on all seven projections.
//
// usage: bench_train [options] [CASE...]
//   CASE  a format (q8_0 q4_0 q4_k nf4 f32 ...) of a random llama with 25M parameters (dim 512,
//         ffn 1536, 8 layers, 8/4 heads, vocab 512), or a model file, FILE or FILE:FORMAT to
//         quantize it. Default: q8_0 q4_0 nf4 f32, and stories260K of the folder INLAY_TEST_DATA
//         names.
// Cases take turns in every repeat, so that other work on the machine meets all of them; the best
// repeat is what the code can do, mean and deviation say how quiet the machine was.
#define _GNU_SOURCE
#include "harness/toy_model.h"
#include "train/trainer.h"

#include "common.h"
#include "shaders.h"

#include <getopt.h>
#include <time.h>
#include <unistd.h>

#define MAX_CASES 16
#define MAX_REPEATS 64
#define TEXT_ROWS 150
#define MAX_TOKENS 8192
#define WARM_STEPS 4 // compilation, and the submits cut anew
#define MAX_TAGS 64

typedef struct options {
    const char *device, *json, *shaders;
    uint32_t tokens, rank, repeats;
    int checkpointed;
    double seconds; // of a repeat, at least
    int profile;
} options;

typedef struct bench_case {
    char name[64];
    inl_model *model;
    inl_lora *lora;
    inl_dataset *dataset;
    inl_trainer *trainer;
    uint64_t peak_bytes;
    double rates[MAX_REPEATS]; // tokens a second
    double host_ms;            // of a step, the least of the repeats' means
} bench_case;

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

// ---- cases

// NF4 is no file's format: such a model is stored in f32 and quantized at load.
static void open_random(const inl_env *env, const inl_format *format, uint32_t tokens,
                        bench_case *c)
{
    bool nf4 = inl_is_nf4(format);
    toy_model shape = {.dim = 512,
                       .ffn = 1536,
                       .layers = 8,
                       .heads = 8,
                       .kv_heads = 4,
                       .head_dim = 64,
                       .vocab = 512,
                       .context = INL_MAX(256, tokens),
                       .seed = 1,
                       .format = nf4 ? INL_FORMAT_F32 : format->id};
    char path[] = "/tmp/inlay-bench-XXXXXX";
    int file = mkstemp(path);
    if (file < 0 || close(file) != 0 || toy_model_write(path, &shape) != 0)
        dev_check(INLAY_ERROR_IO, "write a random model under /tmp");
    inlay_result opened =
        inl_model_open(env, path, &(inl_model_params){.quantize = nf4 ? format : NULL}, &c->model);
    unlink(path);
    dev_check(opened, "open a random model");
    snprintf(c->name, sizeof(c->name), "25M %s", format->name);
}

static void open_file(const inl_env *env, const char *text, bench_case *c)
{
    char path[4096];
    snprintf(path, sizeof(path), "%s", text);
    char *colon = strrchr(path, ':');
    const inl_format *quantize = colon ? inl_format_by_name(colon + 1) : NULL;
    if (quantize)
        *colon = '\0';
    dev_check(inl_model_open(env, path, &(inl_model_params){.quantize = quantize}, &c->model),
              "open the model");
    const char *slash = strrchr(text, '/');
    snprintf(c->name, sizeof(c->name), "%.60s", slash ? slash + 1 : text);
}

static void open_data(const inl_env *env, uint32_t tokens, bench_case *c)
{
    uint32_t bytes = TEXT_ROWS * INL_MAX(256, tokens);
    char *text = malloc(bytes);
    for (uint32_t i = 0; i < bytes; i++)
        text[i] = "etaoin shrdlu cmfwyp vbgkq xjz"[inl_rng_u32(1, 0, i) % 30];
    dev_check(inl_dataset_open_memory(env, c->model->tokenizer, "text", (uint8_t *)text, bytes,
                                      false, &(inl_dataset_params){.max_length = tokens},
                                      &c->dataset),
              "make rows of tokens");
    free(text);
}

static void open_case(const inl_env *env, inl_gpu *gpu, const options *o, const char *text,
                      bench_case *c)
{
    if (inl_format_by_name(text))
        open_random(env, inl_format_by_name(text), o->tokens, c);
    else
        open_file(env, text, c);
    open_data(env, o->tokens, c);
    inl_lora_params lora = {.r = o->rank, .alpha = 2.0f * (float)o->rank};
    dev_check(inl_lora_create(env, &c->model->modules.list, &lora, &c->lora), "make an adapter");
    inl_train_params params = {.batch_size = 1,
                               .accumulation = 1,
                               .max_steps = 1000000,
                               .epochs = 1,
                               .learning_rate = 1e-5f,
                               .beta1 = 0.9f,
                               .beta2 = 0.999f,
                               .epsilon = 1e-8f,
                               .max_grad_norm = 1.0f,
                               .checkpointing = o->checkpointed};
    uint64_t before = inl_gpu_used(gpu);
    dev_check(inl_trainer_create(env, gpu, c->model, c->lora, c->dataset, &params, &c->trainer),
              "set up the training");
    c->peak_bytes = inl_gpu_used(gpu) - before;
    inl_step_stats stats;
    for (uint32_t i = 0; i < WARM_STEPS; i++)
        dev_check(inl_trainer_step(c->trainer, &stats), "train a step");
}

static void close_case(bench_case *c)
{
    inl_trainer_destroy(&c->trainer);
    inl_lora_destroy(&c->lora);
    inl_dataset_close(&c->dataset);
    inl_model_close(&c->model);
}

// ---- measuring

static void measure(const options *o, bench_case *c, uint32_t repeat)
{
    double start = now(), host = 0.0, spent;
    uint64_t tokens = 0;
    uint32_t steps = 0;
    inl_step_stats stats;
    do {
        dev_check(inl_trainer_step(c->trainer, &stats), "train a step");
        tokens += stats.tokens;
        host += stats.host_seconds;
        steps++;
        spent = now() - start;
    } while (spent < o->seconds || steps < 3);
    c->rates[repeat] = (double)tokens / spent;
    double host_ms = 1e3 * host / steps;
    c->host_ms = repeat == 0 ? host_ms : INL_MIN(c->host_ms, host_ms);
}

typedef struct tag_time {
    const char *tag, *kernel;
    double seconds, flops;
    uint32_t nodes;
} tag_time;

static void add_time(tag_time *times, uint32_t *count, const inl_node *node, double seconds)
{
    const char *tag = node ? node->tag : "copy",
               *kernel = node ? inl_kernels[node->kernel].name : "";
    uint32_t i = 0;
    while (i < *count && (strcmp(times[i].tag, tag) != 0 || strcmp(times[i].kernel, kernel) != 0))
        i++;
    if (i == MAX_TAGS)
        return;
    if (i == *count)
        times[(*count)++] = (tag_time){.tag = tag, .kernel = kernel};
    times[i].seconds += seconds;
    times[i].flops += node ? (double)node->flops : 0.0;
    times[i].nodes++;
}

static void add_plan(const inl_plan *plan, tag_time *times, uint32_t *count)
{
    double *seconds = calloc(inl_plan_node_count(plan) + 1, sizeof(*seconds));
    if (inl_plan_node_seconds(plan, seconds))
        for (uint32_t i = 0; i < inl_plan_node_count(plan); i++)
            add_time(times, count, inl_plan_node(plan, i), seconds[i]);
    free(seconds);
}

static int slower_first(const void *a, const void *b)
{
    double x = ((const tag_time *)a)->seconds, y = ((const tag_time *)b)->seconds;
    return (x < y) - (x > y);
}

// Times by kernel and tag, means of some steps.
static void print_profile(bench_case *c)
{
    enum { STEPS = 5 };
    tag_time times[MAX_TAGS];
    uint32_t count = 0;
    inl_step_stats stats;
    dev_check(inl_plan_profile(c->trainer->micro, true), "profile");
    dev_check(inl_plan_profile(c->trainer->update, true), "profile");
    for (uint32_t i = 0; i < STEPS; i++) {
        dev_check(inl_trainer_step(c->trainer, &stats), "train a step");
        add_plan(c->trainer->micro, times, &count);
        add_plan(c->trainer->update, times, &count);
    }
    qsort(times, count, sizeof(*times), slower_first);
    double all = 0.0;
    for (uint32_t i = 0; i < count; i++)
        all += times[i].seconds;
    printf("\n%s: %.2f ms in %u nodes\n%8s %5s %6s %9s %8s  kernel, tag\n", c->name,
           1e3 * all / STEPS,
           inl_plan_node_count(c->trainer->micro) + inl_plan_node_count(c->trainer->update), "ms",
           "%", "nodes", "us/node", "GFLOP/s");
    for (uint32_t i = 0; i < count; i++)
        printf("%8.3f %5.1f %6u %9.1f %8.2f  %s %s\n", 1e3 * times[i].seconds / STEPS,
               100.0 * times[i].seconds / all, times[i].nodes / STEPS,
               1e6 * times[i].seconds / times[i].nodes, 1e-9 * times[i].flops / times[i].seconds,
               times[i].kernel, times[i].tag);
}

// ---- results

typedef struct summary {
    double best, mean, deviation;
} summary;

static summary summarize(const double *rates, uint32_t count)
{
    summary s = {0};
    for (uint32_t i = 0; i < count; i++) {
        s.best = INL_MAX(s.best, rates[i]);
        s.mean += rates[i] / count;
    }
    for (uint32_t i = 0; i < count; i++)
        s.deviation += (rates[i] - s.mean) * (rates[i] - s.mean) / count;
    s.deviation = sqrt(s.deviation);
    return s;
}

static void print_table(const options *o, const bench_case *cases, uint32_t count)
{
    printf("%-28s %9s %9s %7s %9s %8s %8s\n", "tokens/s", "best", "mean", "dev", "MiB", "host ms",
           "GFLOP/s");
    for (uint32_t i = 0; i < count; i++) {
        const bench_case *c = &cases[i];
        summary s = summarize(c->rates, o->repeats);
        double flops =
            (double)(inl_plan_flops(c->trainer->micro) + inl_plan_flops(c->trainer->update));
        printf("%-28s %9.1f %9.1f %7.1f %9.1f %8.3f %8.1f\n", c->name, s.best, s.mean, s.deviation,
               (double)c->peak_bytes / (1 << 20), c->host_ms, 1e-9 * flops * s.best / o->tokens);
    }
}

static void first_line(const char *command, char *out, size_t size)
{
    FILE *f = popen(command, "r");
    if (!f || !fgets(out, (int)size, f))
        snprintf(out, size, "unknown");
    out[strcspn(out, "\n")] = '\0';
    if (f)
        pclose(f);
}

static void append_json(const options *o, const inl_gpu_caps *caps, const bench_case *cases,
                        uint32_t count)
{
    char commit[128], date[32];
    first_line("git -C '" SOURCE_ROOT "' describe --always --dirty 2>/dev/null", commit,
               sizeof(commit));
    time_t t = time(NULL);
    strftime(date, sizeof(date), "%Y-%m-%dT%H:%M:%SZ", gmtime(&t));
    FILE *f = strcmp(o->json, "-") == 0 ? stdout : fopen(o->json, "a");
    if (!f)
        dev_check(INLAY_ERROR_IO, "open the file of results");
    for (uint32_t i = 0; i < count; i++) {
        summary s = summarize(cases[i].rates, o->repeats);
        fprintf(f,
                "{\"date\": \"%s\", \"commit\": \"%s\", \"device\": \"%s\", \"driver\": \"%s\", "
                "\"model\": \"%s\", \"tokens_per_step\": %u, \"rank\": %u, \"repeats\": %u, "
                "\"tokens_per_second\": %.1f, \"mean\": %.1f, \"deviation\": %.1f, "
                "\"device_bytes\": %llu, \"host_ms_per_step\": %.4f}\n",
                date, commit, caps->name, caps->driver_info, cases[i].name, o->tokens, o->rank,
                o->repeats, s.best, s.mean, s.deviation, (unsigned long long)cases[i].peak_bytes,
                cases[i].host_ms);
    }
    if (f != stdout)
        fclose(f);
}

static void usage(void)
{
    fprintf(stderr,
            "usage: bench_train [options] [CASE...]\n"
            "  CASE             q8_0 q4_0 q4_k nf4 f32 ... (a random llama of 25M parameters) or\n"
            "                   FILE.gguf[:FORMAT]\n"
            "  -d DEVICE        part of its name, or its number\n"
            "  -t TOKENS        of a row (128)      -r RANK     of the adapter (8)\n"
            "  -n REPEATS       (5)                 -s SECONDS  of a repeat, at least (2)\n"
            "  -c LAYERS        checkpointed (0)\n"
            "  -p               also times by kernel\n"
            "  -j FILE          appends a JSON line for each case; - is stdout\n"
            "  --shaders FOLDER kernels are compiled of this folder's sources\n");
    exit(2);
}

static int parse(int argc, char **argv, options *o)
{
    *o = (options){.tokens = 128, .rank = 8, .repeats = 5, .seconds = 2.0};
    static const struct option longs[] = {{"shaders", required_argument, NULL, 'S'}, {0}};
    for (int c; (c = getopt_long(argc, argv, "d:t:r:n:s:c:pj:", longs, NULL)) != -1;)
        switch (c) {
        case 'd': o->device = optarg; break;
        case 't': o->tokens = (uint32_t)atoi(optarg); break;
        case 'r': o->rank = (uint32_t)atoi(optarg); break;
        case 'n': o->repeats = (uint32_t)atoi(optarg); break;
        case 's': o->seconds = atof(optarg); break;
        case 'c': o->checkpointed = atoi(optarg); break;
        case 'p': o->profile = 1; break;
        case 'S': o->shaders = optarg; break;
        case 'j': o->json = optarg; break;
        default: usage();
        }
    if (o->tokens < 2 || o->tokens > MAX_TOKENS || o->rank < 1 || o->repeats < 1 ||
        o->repeats > MAX_REPEATS)
        usage();
    return optind;
}

static uint32_t list_cases(int argc, char **argv, int first, const char **texts, char *stories)
{
    static const char *const defaults[] = {"q8_0", "q4_0", "nf4", "f32"};
    uint32_t count = 0;
    for (int i = first; i < argc && count < MAX_CASES; i++)
        texts[count++] = argv[i];
    if (count > 0)
        return count;
    for (; count < INL_COUNT(defaults); count++)
        texts[count] = defaults[count];
    const char *data = getenv("INLAY_TEST_DATA");
    if (!data) {
        printf("skipped: stories260K, INLAY_TEST_DATA is not set\n");
        return count;
    }
    snprintf(stories, 4096, "%s/model/stories260K.gguf", data);
    texts[count++] = stories;
    return count;
}

int main(int argc, char **argv)
{
    static bench_case cases[MAX_CASES];
    static char stories[4096];
    const char *texts[MAX_CASES];
    options o;
    int first = parse(argc, argv, &o);
    uint32_t count = list_cases(argc, argv, first, texts, stories);
    inl_env env = inl_env_resolve(&(inlay_env){.log = dev_log});
    inl_gpu *gpu;
    dev_check(inl_gpu_create(&env, &(inl_gpu_params){.select = o.device}, &gpu), "open the device");
    dev_use_shaders(gpu, o.shaders);
    const inl_gpu_caps *caps = inl_gpu_get_caps(gpu);
    double load[3] = {0};
    (void)getloadavg(load, 3);
    printf("%s, %s; load %.1f\n", caps->name, caps->driver_info, load[0]);
    for (uint32_t i = 0; i < count; i++)
        open_case(&env, gpu, &o, texts[i], &cases[i]);
    for (uint32_t repeat = 0; repeat < o.repeats; repeat++)
        for (uint32_t i = 0; i < count; i++)
            measure(&o, &cases[i], repeat);
    print_table(&o, cases, count);
    if (o.json)
        append_json(&o, caps, cases, count);
    for (uint32_t i = 0; i < count; i++) {
        if (o.profile)
            print_profile(&cases[i]);
        close_case(&cases[i]);
    }
    dev_free_shaders(gpu);
    inl_gpu_destroy(&gpu);
    return 0;
}
