// SPDX-License-Identifier: MIT
// inlay verify: whether a card and its driver compute what they should, one line a check, and a
// report for whoever is to hear of it.
#define _POSIX_C_SOURCE 200809L
#include "cli.h"
#include "device_text.h"
#include "files.h"

#include <inlay/inlay.h>

#include <stdlib.h>
#include <string.h>
#include <sys/utsname.h>
#include <time.h>
#include <unistd.h>

#define NAME_COLUMNS 62

typedef struct options {
    common_options common;
    const char *only, *output;
    uint32_t seed;
    bool thorough;
} options;

static const arg table[] = {
    {.name = "only", .type = ARG_STRING, .offset = offsetof(options, only), .value = "NAME",
     .help = "the checks that have this in their names"},
    {.name = "seed", .type = ARG_UINT, .offset = offsetof(options, seed), .value = "N",
     .help = "of the random inputs (default 1)", .min = 1, .max = 4294967295.0},
    {.name = "thorough", .type = ARG_FLAG, .offset = offsetof(options, thorough),
     .help = "all checks there are, not a few for each kernel: takes minutes"},
    {.name = "output", .letter = 'o', .type = ARG_STRING, .offset = offsetof(options, output),
     .value = "FILE", .help = "a report as well, as text or, into a .json, as JSON"},
    DEVICE_ARGS(options),
    COMMON_ARGS(options),
};

typedef struct session {
    const options *o;
    bool colours, watched; // stdout and stderr are terminals
    inlay_device_info device;
    json_t *checks;
    char *text; // the report's lines
    size_t text_size;
    FILE *lines; // into it
    inlay_verify_result result;
    inlay_result outcome;
} session;

// ---- one check

static const char *outcome_name(inlay_verify_outcome outcome)
{
    static const char *const names[] = {"ok", "FAILED", "skipped"};
    return names[outcome];
}

static const char *error_text(text_buffer *out, const inlay_verify_check *c)
{
    if (c->outcome == INLAY_VERIFY_SKIPPED)
        snprintf(out->text, sizeof(out->text), "%s", "");
    else if (c->bound > 0.0)
        snprintf(out->text, sizeof(out->text), "%.1e of %.0e", c->error, c->bound);
    else
        snprintf(out->text, sizeof(out->text), "%s",
                 c->outcome == INLAY_VERIFY_OK ? "exact" : "");
    return out->text;
}

static void print_line(FILE *out, const inlay_verify_check *c, bool colours)
{
    static const char *const colour[] = {"\033[32m", "\033[1;31m", "\033[33m"};
    text_buffer error;
    fprintf(out, "%-*s %16s  %s%-7s%s %7.1f ms", NAME_COLUMNS, c->name, error_text(&error, c),
            colours ? colour[c->outcome] : "", outcome_name(c->outcome), colours ? "\033[0m" : "",
            1e3 * c->seconds);
    if (c->outcome != INLAY_VERIFY_FAILED && *c->message)
        fprintf(out, "  (%s)", c->message);
    fputc('\n', out);
}

// " --name 'value'", or nothing.
static char *option_text(const char *name, const char *value)
{
    return value ? xprintf(" --%s '%s'", name, value) : xstrdup("");
}

static char *rerun_text(const options *o, const inlay_verify_check *c)
{
    char *device = option_text("device", o->common.device);
    char *paths = option_text("paths", o->common.paths);
    char *text = xprintf("inlay verify --only '%s' --seed %u%s%s%s", c->name, c->seed,
                         o->thorough ? " --thorough" : "", device, paths);
    free(device);
    free(paths);
    return text;
}

static void print_failure(FILE *out, const options *o, const inlay_verify_check *c)
{
    char *rerun = rerun_text(o, c);
    fprintf(out, "    %s\n    kernels: %s\n", c->message, c->kernels);
    for (uint32_t i = 0; i < c->wrong_count; i++)
        fprintf(out, "    %s[%u, %u] is %.10g, expected %.10g\n", c->wrong[i].tensor,
                c->wrong[i].row, c->wrong[i].column, c->wrong[i].got, c->wrong[i].expected);
    fprintf(out, "    again: %s\n", rerun);
    free(rerun);
}

static json_t *wrong_json(const inlay_verify_check *c)
{
    json_t *all = json_array();
    for (uint32_t i = 0; i < c->wrong_count; i++) {
        const inlay_verify_wrong *w = &c->wrong[i];
        json_t *one = json_object();
        json_put(one, "tensor", json_words(w->tensor));
        json_put(one, "row", json_count(w->row));
        json_put(one, "column", json_count(w->column));
        json_put(one, "got", json_number(w->got, 10));
        json_put(one, "expected", json_number(w->expected, 10));
        json_array_append_new(all, one);
    }
    return all;
}

static json_t *check_json(const options *o, const inlay_verify_check *c)
{
    char *rerun = rerun_text(o, c);
    json_t *one = json_object();
    json_put(one, "name", json_words(c->name));
    json_put(one, "family", json_words(c->family));
    json_put(one, "kernels", json_words(c->kernels));
    json_put(one, "outcome", json_words(outcome_name(c->outcome)));
    json_put(one, "error", json_number(c->error, 3));
    json_put(one, "bound", json_number(c->bound, 3));
    json_put(one, "seconds", json_number(c->seconds, 4));
    json_put(one, "message", json_words(c->message));
    json_put(one, "wrong", wrong_json(c));
    json_put(one, "rerun", json_words(rerun));
    free(rerun);
    return one;
}

// ---- the run

static void erase_name(const session *s)
{
    if (s->watched)
        fputs("\r\033[K", stderr);
}

static void on_begin(void *user, const char *name)
{
    const session *s = user;
    if (s->watched)
        fprintf(stderr, "\r\033[K%.*s", NAME_COLUMNS, name);
}

static bool on_check(void *user, const inlay_verify_check *c)
{
    session *s = user;
    erase_name(s);
    print_line(stdout, c, s->colours);
    print_line(s->lines, c, false);
    if (c->outcome == INLAY_VERIFY_FAILED) {
        print_failure(stdout, s->o, c);
        print_failure(s->lines, s->o, c);
    }
    fflush(stdout);
    json_array_append_new(s->checks, check_json(s->o, c));
    return true;
}

static char *summary_text(const session *s)
{
    const inlay_verify_result *r = &s->result;
    char *kernels = xprintf("%u of %u kernels", r->kernels_run, r->kernels);
    char *text = xprintf("%u checks of %s on %s: %u ok, %u failed, %u skipped, %.1f s%s%s",
                         r->ok + r->failed + r->skipped, s->o->only ? "some kernels" : kernels,
                         s->device.name, r->ok, r->failed, r->skipped, r->seconds,
                         s->outcome == INLAY_OK ? "" : "; ended early: ",
                         s->outcome == INLAY_OK ? "" : inlay_result_string(s->outcome));
    free(kernels);
    return text;
}

// ---- the report

static void date_text(char out[32])
{
    time_t now = time(NULL);
    struct tm utc;
    gmtime_r(&now, &utc);
    strftime(out, 32, "%Y-%m-%dT%H:%M:%SZ", &utc);
}

static char *system_text(void)
{
    struct utsname u;
    if (uname(&u) != 0)
        return xstrdup("unknown");
    return xprintf("%s %s %s", u.sysname, u.release, u.machine);
}

static char *json_report(const session *s, const char *date, const char *host)
{
    const inlay_verify_result *r = &s->result;
    json_t *all = json_object(), *sum = json_object();
    json_put(all, "inlay", json_words(inlay_version()));
    json_put(all, "api", json_count(inlay_api_version()));
    json_put(all, "date", json_words(date));
    json_put(all, "system", json_words(host));
    json_put(all, "device", device_json(&s->device));
    json_put(all, "seed", json_count(s->o->seed ? s->o->seed : 1));
    json_put(all, "thorough", json_boolean(s->o->thorough));
    json_put(all, "checks", json_incref(s->checks));
    json_put(sum, "ok", json_count(r->ok));
    json_put(sum, "failed", json_count(r->failed));
    json_put(sum, "skipped", json_count(r->skipped));
    json_put(sum, "kernels", json_count(r->kernels));
    json_put(sum, "kernels_run", json_count(r->kernels_run));
    json_put(sum, "seconds", json_number(r->seconds, 4));
    json_put(sum, "outcome", json_words(inlay_result_string(s->outcome)));
    json_put(all, "summary", sum);
    char *text = json_line(all);
    json_decref(all);
    return text;
}

static char *text_report(session *s, const char *date, const char *host)
{
    char *head = NULL, *summary = summary_text(s);
    size_t size;
    FILE *out = open_memstream(&head, &size);
    if (!out)
        return NULL;
    fprintf(out, "inlay verify, inlay %s (API %u), %s, %s, seed %u%s\n\n", inlay_version(),
            inlay_api_version(), date, host, s->o->seed ? s->o->seed : 1,
            s->o->thorough ? ", thorough" : "");
    device_print(out, &s->device);
    fprintf(out, "   %-10s vendor 0x%04x, device 0x%04x, driver version 0x%08x\n\n", "ids",
            s->device.vendor_id, s->device.device_id, s->device.driver_version);
    fflush(s->lines);
    fwrite(s->text, 1, s->text_size, out);
    fprintf(out, "\n%s\n", summary);
    free(summary);
    if (fclose(out) != 0) {
        free(head);
        return NULL;
    }
    return head;
}

static bool write_report(session *s)
{
    const char *dot = strrchr(s->o->output, '.');
    char date[32], *host = system_text();
    date_text(date);
    bool json = dot && strcmp(dot, ".json") == 0;
    char *text = json ? json_report(s, date, host) : text_report(s, date, host);
    bool written = text && file_write(s->o->output, text, strlen(text));
    if (written)
        cli_note("wrote %s", s->o->output);
    free(text);
    free(host);
    return written;
}

static int verify(session *s, inlay_device *device)
{
    inlay_verify_params params = {.only = s->o->only,
                                  .seed = s->o->seed,
                                  .thorough = s->o->thorough,
                                  .begin = on_begin,
                                  .check = on_check,
                                  .user = s};
    s->outcome = inlay_verify(&s->result, cli_env(), device, &params);
    erase_name(s);
    if (s->outcome == INLAY_ERROR_NOT_FOUND)
        return EXIT_BAD_INPUT;
    char *summary = summary_text(s);
    puts(summary);
    free(summary);
    bool passed = s->outcome == INLAY_OK && s->result.failed == 0 && s->result.ok > 0;
    if (s->o->output && !write_report(s))
        passed = false;
    return passed ? EXIT_OK : EXIT_FAILED;
}

static int run(const command *self, int argc, char **argv)
{
    options o = {0};
    args a = {.table = table, .count = COUNT(table), .options = &o};
    int code;
    if (!setup_args(&a, self, argc, argv, &code))
        return code;
    setup_log(&o.common);
    session s = {.o = &o,
                 .colours = isatty(STDOUT_FILENO) && !getenv("NO_COLOR"),
                 .watched = isatty(STDERR_FILENO) && cli_get_level() >= INLAY_LOG_INFO,
                 .checks = json_array()};
    s.lines = open_memstream(&s.text, &s.text_size);
    if (!s.lines) {
        cli_error("out of memory");
        return EXIT_FAILED;
    }
    inlay_device *device = NULL;
    inlay_result result = setup_device(&device, cli_env(), &o.common);
    code = cli_exit_run(result);
    if (result == INLAY_OK) {
        inlay_device_get_info(device, &s.device);
        code = verify(&s, device);
    }
    inlay_device_destroy(&device);
    fclose(s.lines);
    free(s.text);
    json_decref(s.checks);
    return code;
}

const command command_verify = {.name = "verify",
                                .usage = "verify [--device NAME] [-o REPORT] [options]",
                                .summary = "checks a card and its driver against the CPU",
                                .run = run};
