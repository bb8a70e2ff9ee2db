// SPDX-License-Identifier: MIT
// inlay bench: how fast a device is at what inlay does, in numbers that can be compared.
#include "bench_run.h"
#include "compare.h"
#include "files.h"
#include "interrupt.h"

#include <stdlib.h>
#include <string.h>

typedef bool suite_fn(bench_run *run);
static const struct {
    const char *name;
    suite_fn *run;
} suites[] = {{"peak", bench_suite_peak},
              {"kernels", bench_suite_kernels},
              {"train", bench_suite_train},
              {"generate", bench_suite_generate},
              {"memory", bench_suite_memory}};

// ---- options

static bool parse_list(const char *text, void *list)
{
    bench_list *l = list;
    while (*text) {
        size_t size = strcspn(text, ",");
        if (size == 0 || size >= BENCH_TEXT || l->count == BENCH_LIST)
            return false;
        snprintf(l->texts[l->count++], BENCH_TEXT, "%.*s", (int)size, text);
        text += size + (text[size] == ',');
    }
    return l->count > 0;
}

static bool parse_suites(const char *text, void *list)
{
    bench_list *l = list;
    size_t before = l->count;
    if (!parse_list(text, list))
        return false;
    for (size_t i = before; i < l->count; i++) {
        bool known = false;
        for (size_t s = 0; s < COUNT(suites); s++)
            known |= strcmp(suites[s].name, l->texts[i]) == 0;
        if (!known)
            return false;
    }
    return true;
}

static bool parse_numbers(const char *text, void *list, unsigned long least, unsigned long most)
{
    bench_list *l = list;
    size_t before = l->count;
    if (!parse_list(text, list))
        return false;
    for (size_t i = before; i < l->count; i++) {
        const char *digits = l->texts[i];
        unsigned long value = strtoul(digits, NULL, 10);
        if (strspn(digits, "0123456789") != strlen(digits) || strlen(digits) > 9 ||
            value < least || value > most)
            return false;
    }
    return true;
}

static bool parse_lengths(const char *text, void *list)
{
    return parse_numbers(text, list, 2, 1 << 20);
}

static bool parse_ranks(const char *text, void *list)
{
    return parse_numbers(text, list, 1, 4096);
}

static bool parse_checkpointing(const char *text, void *out)
{
    int32_t *layers = out;
    char *end;
    if (strcmp(text, "none") == 0 || strcmp(text, "all") == 0 || strcmp(text, "auto") == 0) {
        *layers = *text == 'n' ? INLAY_CHECKPOINT_NONE
                               : text[1] == 'l' ? INLAY_CHECKPOINT_ALL : INLAY_CHECKPOINT_AUTO;
        return true;
    }
    unsigned long value = strtoul(text, &end, 10);
    *layers = (int32_t)value;
    return *text >= '0' && *text <= '9' && !*end && value <= 10000;
}

static bool parse_compared(const char *text, void *out)
{
    bench_files *c = out;
    if (!*text || c->count == BENCH_LIST)
        return false;
    c->files[c->count++] = text;
    return true;
}

static const arg table[] = {
    {.name = "suite", .type = ARG_CUSTOM, .offset = offsetof(bench_options, suites),
     .value = "SUITE,...", .help = "peak, kernels, train, generate, memory (default: all)",
     .parse = parse_suites, .expected = "one or more of peak, kernels, train, generate, memory"},
    {.name = "model", .letter = 'm', .type = ARG_CUSTOM, .offset = offsetof(bench_options, models),
     .value = "MODEL,...", .help = "toy, 25m, 135m, 1.1b, 3b, 8b: random weights; or " MODEL_HELP,
     .parse = parse_list, .expected = "at most 16 names, files or folders"},
    {.name = "quantize", .type = ARG_CUSTOM, .offset = offsetof(bench_options, types),
     .value = "TYPE,...",
     .help = "weights' types: q8_0, q4_k, q4_k_m, nf4, ...; none: a file's own",
     .parse = parse_list, .expected = "at most 16 types"},
    {.name = "max-length", .type = ARG_CUSTOM, .offset = offsetof(bench_options, lengths),
     .value = "N,...", .help = "tokens in a row that is trained on", .parse = parse_lengths,
     .expected = "numbers from 2 to 1048576"},
    {.name = "lora-r", .type = ARG_CUSTOM, .offset = offsetof(bench_options, ranks),
     .value = "R,...", .help = "ranks of the adapters, on all linear layers",
     .parse = parse_ranks, .expected = "numbers from 1 to 4096"},
    {.name = "gradient-checkpointing", .type = ARG_CUSTOM,
     .offset = offsetof(bench_options, checkpointing), .value = "N",
     .help = "none, all, auto (default) or a number of layers", .parse = parse_checkpointing,
     .expected = "none, all, auto or a number of layers"},
    {.name = "max-new-tokens", .letter = 'n', .type = ARG_UINT,
     .offset = offsetof(bench_options, tokens), .value = "N",
     .help = "tokens of an answer (default 32)", .min = 8, .max = 65536},
    {.name = "output", .letter = 'o', .type = ARG_STRING, .offset = offsetof(bench_options, output),
     .value = "FILE", .help = ".jsonl, .csv or .sql: all fields of all rows", .heading = "Output"},
    {.name = "format", .type = ARG_CHOICE, .offset = offsetof(bench_options, format),
     .help = "of FILE, or of what goes to stdout", .choices = bench_format_names},
    {.name = "compare", .type = ARG_CUSTOM, .offset = offsetof(bench_options, compared),
     .value = "FILE...", .help = "measures nothing: FILEs of JSON lines as a page or picture, -o",
     .parse = parse_compared, .expected = "at most 16 files"},
    {.name = "warmup", .type = ARG_UINT, .offset = offsetof(bench_options, warmup), .value = "N",
     .help = "steps before any is measured (default 4)", .min = 1, .max = 1000,
     .heading = "Measuring"},
    {.name = "repeats", .type = ARG_UINT, .offset = offsetof(bench_options, repeats), .value = "N",
     .help = "that mean and deviation are of (default 5)", .min = 1, .max = 100},
    {.name = "seconds", .type = ARG_REAL, .offset = offsetof(bench_options, seconds), .value = "S",
     .help = "that a repeat lasts at least, in whole steps (default 0.5)", .max = 3600},
    {.name = "no-check", .type = ARG_FLAG, .offset = offsetof(bench_options, no_check),
     .help = "do not hold losses against the CPU's"},
    {.name = "tune", .type = ARG_FLAG, .offset = offsetof(bench_options, tune),
     .help = "only find the fastest tiles for products (a minute), for this and later runs",
     .heading = "Tuning"},
    DEVICE_ARGS(bench_options),
    COMMON_ARGS(bench_options),
};

// What nobody asked for: a set that takes about two minutes, on a CPU's driver a small model.
static void fill_defaults(bench_options *o, const inlay_device_info *info)
{
    bool small = info->type == INLAY_DEVICE_CPU || info->budget_bytes < 3ull << 30;
    if (o->suites.count == 0)
        for (size_t i = 0; i < COUNT(suites); i++)
            parse_list(suites[i].name, &o->suites);
    if (o->models.count == 0)
        parse_list(small ? "25m" : "1.1b", &o->models);
    if (o->types.count == 0)
        parse_list(small ? "q8_0,q4_0,q4_k,nf4" : "q4_k,q8_0,nf4", &o->types);
    if (o->lengths.count == 0)
        parse_list("128,512", &o->lengths);
    if (o->ranks.count == 0)
        parse_list(small ? "8" : "16", &o->ranks);
}

// ---- the run

static const char *best_path(const inlay_device_info *info)
{
    const char *best = "f32";
    for (uint32_t i = 0; i < info->path_count; i++)
        if (info->paths[i].available && strcmp(info->paths[i].name, "dot8") != 0)
            best = info->paths[i].name;
    return best;
}

static void describe_device(bench_run *run)
{
    static const char *const types[] = {"other", "integrated", "discrete", "virtual", "cpu"};
    const inlay_device_info *d = &run->info;
    bench_record *r = &run->system;
    *r = bench_record_empty();
    bench_fill_system(r);
    bench_put(r->device, "%.*s", BENCH_TEXT - 1, d->name);
    bench_put(r->vendor, "%s", d->vendor);
    bench_put(r->driver_name, "%.*s", BENCH_TEXT - 1, d->driver_name);
    bench_put(r->driver_info, "%.*s", BENCH_TEXT - 1, d->driver_info);
    bench_put(r->device_type, "%s", types[(unsigned)d->type < COUNT(types) ? d->type : 0]);
    bench_put(r->api_version, "%u.%u.%u", d->api_version >> 22 & 0x7f, d->api_version >> 12 & 0x3ff,
              d->api_version & 0xfff);
    bench_put(r->path, "%s", best_path(d));
    r->vendor_id = d->vendor_id;
    r->device_id = d->device_id;
    r->driver_version = d->driver_version;
    r->subgroup_size = d->subgroup_size;
}

static bool wants(const bench_options *o, const char *suite)
{
    for (size_t i = 0; i < o->suites.count; i++)
        if (strcmp(o->suites.texts[i], suite) == 0)
            return true;
    return false;
}

// Shares of the peak need the peak: it is measured first in any case, but only kept when asked for.
static void run_suites(bench_run *run)
{
    const bench_options *o = run->options;
    bool go_on = true;
    cli_note("peak: what the device can do at best");
    go_on = bench_suite_peak(run);
    if (!wants(o, "peak"))
        run->count = 0;
    for (size_t i = 1; i < COUNT(suites) && go_on; i++)
        if (wants(o, suites[i].name))
            go_on = suites[i].run(run);
    if (!go_on && bench_stopped())
        cli_error("stopped by %s; what was measured until then follows", interrupt_name());
}

static bench_format choose_format(const bench_options *o)
{
    const char *dot = o->output ? strrchr(o->output, '.') : NULL;
    if (o->format >= 0)
        return (bench_format)o->format;
    for (int i = 0; dot && bench_format_names[i]; i++)
        if (strcmp(dot + 1, bench_format_names[i]) == 0)
            return (bench_format)i;
    return o->output ? BENCH_JSONL : BENCH_TABLE;
}

static int write_results(const bench_run *run)
{
    const bench_options *o = run->options;
    bench_format format = choose_format(o);
    char *text = format == BENCH_TABLE ? NULL : bench_write(format, run->records, run->count);
    bool written = true;
    if (o->output && text)
        written = file_write(o->output, text, strlen(text));
    if (o->output && text && written)
        cli_note("wrote %s: %zu records", o->output, run->count);
    if (o->output || !text)
        bench_print_tables(run);
    else
        fputs(text, stdout);
    free(text);
    return written ? EXIT_OK : EXIT_FAILED;
}

// `--compare A B` is `--compare A --compare B`: the option of each file, allocated as the list is.
static char **spread_compared(int argc, char **argv, int *count)
{
    char **out = xalloc(2 * (size_t)argc + 1, sizeof(*out));
    bool compared = false;
    *count = 0;
    for (int i = 0; i < argc; i++) {
        bool option = argv[i][0] == '-';
        if (compared && !option)
            out[(*count)++] = "--compare";
        out[(*count)++] = argv[i];
        compared = strcmp(argv[i], "--compare") == 0 ||
                   strncmp(argv[i], "--compare=", strlen("--compare=")) == 0 ||
                   (compared && !option);
        if (strcmp(argv[i], "--compare") == 0 && i + 1 < argc) // its own value
            out[(*count)++] = argv[++i];
    }
    return out;
}

static int compare(const bench_options *o)
{
    if (!o->output) {
        cli_error("--compare needs -o REPORT.html or -o REPORT.png");
        return EXIT_BAD_INPUT;
    }
    return compare_run(o->compared.files, o->compared.count, o->output);
}

static int run(const command *self, int argc, char **argv)
{
    static bench_options o;
    o = (bench_options){.format = -1, .warmup = 4, .repeats = 5, .seconds = 0.5, .tokens = 32,
                        .checkpointing = INLAY_CHECKPOINT_AUTO};
    args a = {.table = table, .count = COUNT(table), .options = &o};
    bench_run b = {.options = &o};
    int code;
    char **words = spread_compared(argc, argv, &argc);
    bool parsed = setup_args(&a, self, argc, words, &code);
    free(words);
    if (!parsed)
        return code;
    setup_log(&o.common);
    if (o.compared.count > 0)
        return compare(&o);
    if (o.output && o.format == BENCH_TABLE) {
        cli_error("--format table goes to stdout: a file is jsonl, csv or sql");
        return EXIT_BAD_INPUT;
    }
    inlay_result result = setup_device(&b.device, cli_env(), &o.common);
    if (result != INLAY_OK)
        return cli_exit_run(result);
    inlay_device_get_info(b.device, &b.info);
    interrupt_remember();
    if (o.tune) {
        code = bench_tune(&b);
        inlay_device_destroy(&b.device);
        return code;
    }
    fill_defaults(&o, &b.info);
    describe_device(&b);
    run_suites(&b);
    code = write_results(&b);
    inlay_device_destroy(&b.device);
    if (b.skipped > 0)
        cli_error("%u rows were left out", b.skipped);
    free(b.records);
    return b.skipped > 0 || bench_stopped() ? EXIT_FAILED : code;
}

const command command_bench = {
    .name = "bench",
    .usage = "bench [--suite SUITE,...] [-m MODEL,...] [--quantize TYPE,...] [-o FILE] [options]\n"
             "       inlay bench --compare FILE... -o REPORT.html",
    .summary = "measures the device: kernels, training, generation, memory",
    .notes =
        "Models are made on the fly with random weights of real shapes: nothing is downloaded.\n"
        "Without options: a set that takes about two minutes, on any device.\n\n"
        "  inlay bench -o results.jsonl\n"
        "  inlay bench --suite train -m 1.1b,8b --quantize q4_k,nf4 --max-length 512,2048\n"
        "  inlay bench --compare radeon.jsonl arc.jsonl -o report.html\n"
        "  inlay bench --suite train,generate -m base.gguf --quantize none --device radeon\n\n"
        "Tokens/s are means of repeats after warm-up, +- their standard deviation. Forward,\n"
        "backward and update milliseconds are the device's timestamps, of steps of their own;\n"
        "FLOPs are those of the kernels, with what is computed again. % peak: the time that the\n"
        "FLOPs or bytes would take at the peaks measured before, of the time taken.\n"
        "loss and reference are of a row's first tokens (16, of large models 2) at the step after\n"
        "the warm-up: the device's, and that of plain loops in double precision on the CPU, for\n"
        "the adapter that the warm-up trained. Where they differ by more than 0.01 the row is\n"
        "left out. For llamas alone; \"inlay verify\" checks every kernel and its gradient.\n\n"
        "--tune tries ways to divide products among the device's threads, checks that each gives\n"
        "the same results, and keeps the fastest beside the compiled kernels: training and\n"
        "generation take it from there, until driver or inlay are others.\n",
    .run = run};
