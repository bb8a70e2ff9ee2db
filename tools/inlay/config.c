// SPDX-License-Identifier: MIT
#define _POSIX_C_SOURCE 200809L
#include "config.h"

#include "cli.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <yaml.h>

#define SAME(alias_name, option) {.alias = alias_name, .name = option}
#define YES_NO(alias_name, option, yes, no)                                                        \
    {.alias = alias_name, .name = option, .yes_no = true, .when_true = yes, .when_false = no}

const arg_alias config_aliases[] = {
    SAME("model-name-or-path", "model"),
    SAME("base-model", "model"),
    SAME("dataset", "data"),
    SAME("train-data", "data"),
    SAME("output-dir", "output"),
    SAME("eval-dataset", "eval-data"),
    SAME("val-data", "eval-data"),
    SAME("val-set-size", "eval-split"),
    SAME("val-size", "eval-split"),
    SAME("lora-rank", "lora-r"),
    SAME("rank", "lora-r"),
    SAME("peft-use-rslora", "use-rslora"),
    SAME("peft-use-dora", "use-dora"),
    SAME("lora-target", "lora-target-modules"),
    SAME("target-modules", "lora-target-modules"),
    YES_NO("lora-target-linear", "lora-target-modules", "all-linear", NULL),
    SAME("lr", "learning-rate"),
    SAME("loraplus-ratio", "loraplus-lr-ratio"),
    SAME("lr-scheduler", "lr-scheduler-type"),
    SAME("num-epochs", "num-train-epochs"),
    SAME("epochs", "num-train-epochs"),
    SAME("iters", "max-steps"),
    SAME("cutoff-len", "max-length"),
    SAME("sequence-len", "max-length"),
    SAME("max-seq-length", "max-length"),
    SAME("per-device-train-batch-size", "batch-size"),
    SAME("micro-batch-size", "batch-size"),
    SAME("grad-accumulation-steps", "gradient-accumulation-steps"),
    SAME("grad-checkpoint", "gradient-checkpointing"),
    SAME("steps-per-eval", "eval-steps"),
    SAME("save-every", "save-steps"),
    SAME("steps-per-report", "logging-steps"),
    SAME("adapter-name-or-path", "adapter"),
    SAME("template", "chat-template"),
    YES_NO("load-in-4bit", "quantize", "nf4", NULL),
    YES_NO("auto-resume-from-checkpoints", "resume-from-checkpoint", "auto", NULL),
    YES_NO("packing", "no-packing", "false", "true"),
    YES_NO("sample-packing", "no-packing", "false", "true"),
    YES_NO("shuffle", "no-shuffle", "false", "true"),
};
const size_t config_alias_count = COUNT(config_aliases);

// One reading of a file.
typedef struct reader {
    config *config;
    args *args;
    const char *path;
    yaml_parser_t parser;
    yaml_event_t event;
    bool has_event;
    bool seen[ARGS_MAX];
} reader;

static bool next_event(reader *r)
{
    if (r->has_event)
        yaml_event_delete(&r->event);
    r->has_event = yaml_parser_parse(&r->parser, &r->event);
    if (!r->has_event)
        cli_error("%s:%zu: %s", r->path, r->parser.problem_mark.line + 1,
                  r->parser.problem ? r->parser.problem : "not YAML");
    return r->has_event;
}

static size_t line_of(const reader *r)
{
    return r->event.start_mark.line + 1;
}

static bool refuse(const reader *r, const char *what)
{
    cli_error("%s:%zu: %s", r->path, line_of(r), what);
    return false;
}

static char *keep(reader *r, char *text)
{
    config *c = r->config;
    c->strings = xrealloc(c->strings, c->count + 1, sizeof(*c->strings));
    c->strings[c->count++] = text;
    return text;
}

static bool scalar_text(const reader *r, const char **out)
{
    *out = (const char *)r->event.data.scalar.value;
    if (strlen(*out) == r->event.data.scalar.length)
        return true;
    return refuse(r, "a NUL byte in the text");
}

// ["q_proj", "v_proj"] becomes "q_proj,v_proj".
static bool read_list(reader *r, char **out)
{
    char *list = xstrdup("");
    for (;;) {
        const char *text;
        bool good = next_event(r);
        if (good && r->event.type == YAML_SEQUENCE_END_EVENT) {
            *out = list;
            return true;
        }
        good = good && (r->event.type == YAML_SCALAR_EVENT ||
                        refuse(r, "only plain values may stand in a list"));
        if (!good || !scalar_text(r, &text)) {
            free(list);
            return false;
        }
        char *longer = xprintf("%s%s%s", list, *list ? "," : "", text);
        free(list);
        list = longer;
    }
}

static bool is_null(const reader *r, const char *text)
{
    if (r->event.data.scalar.style != YAML_PLAIN_SCALAR_STYLE)
        return false;
    return !*text || strcmp(text, "~") == 0 || strcmp(text, "null") == 0;
}

// *out NULL: the key stands there without a value, which says nothing.
static bool read_value(reader *r, const char *key, char **out)
{
    const char *text;
    *out = NULL;
    if (!next_event(r))
        return false;
    if (r->event.type == YAML_SEQUENCE_START_EVENT) {
        size_t line = line_of(r);
        int row = args_find(r->args, key);
        const arg_alias *alias = args_find_alias(r->args, key);
        row = row < 0 && alias ? args_find(r->args, alias->name) : row;
        if (strcmp(r->args->table[row].name, "lora-target-modules") == 0)
            return read_list(r, out);
        cli_error("%s:%zu: %s takes one value, not a list", r->path, line, key);
        return false;
    }
    if (r->event.type != YAML_SCALAR_EVENT) {
        cli_error("%s:%zu: %s takes a plain value", r->path, line_of(r), key);
        return false;
    }
    if (!scalar_text(r, &text))
        return false;
    if (!is_null(r, text))
        *out = xstrdup(text);
    return true;
}

static bool unknown_key(const reader *r, const char *key, size_t line)
{
    const char *near = args_nearest(r->args, key);
    if (!near) {
        cli_error("%s:%zu: unknown key %s", r->path, line, key);
        return false;
    }
    char *shown = xstrdup(near); // in the spelling of such files
    for (char *c = shown; *c; c++)
        *c = *c == '-' ? '_' : *c;
    cli_error("%s:%zu: unknown key %s; did you mean %s?", r->path, line, key, shown);
    free(shown);
    return false;
}

// Axolotl's `adapter` names the method, ours a folder to go on from.
static bool is_method(const char *key, const char *value, int *row, const char **text,
                      const args *a)
{
    if (strcmp(key, "adapter") != 0 || (strcmp(value, "lora") && strcmp(value, "qlora")))
        return false;
    *row = args_find(a, "quantize");
    *text = strcmp(value, "qlora") == 0 ? "nf4" : NULL;
    return *row >= 0;
}

static bool translate(reader *r, const char *key, const char *value, const char *shown, int *row,
                      const char **text)
{
    const arg_alias *alias = args_find_alias(r->args, key);
    *row = args_find(r->args, key);
    *text = value;
    if (is_method(key, value, row, text, r->args) || *row >= 0)
        return true;
    *row = args_find(r->args, alias->name);
    if (!alias->yes_no)
        return true;
    bool yes;
    if (!args_is_yes_no(value, &yes)) {
        cli_error("%s must be true or false, not \"%s\"", shown, value);
        return false;
    }
    *text = yes ? alias->when_true : alias->when_false;
    return true;
}

static bool take_pair(reader *r, const char *key, size_t line)
{
    const arg_alias *alias = args_find_alias(r->args, key);
    int row = args_find(r->args, key);
    if (row < 0 && alias)
        row = args_find(r->args, alias->name);
    if (row < 0 || strcmp(r->args->table[row].name, "config") == 0)
        return unknown_key(r, key, line);
    char *value;
    if (!read_value(r, key, &value))
        return false;
    if (!value)
        return true;
    keep(r, value);
    char shown[512];
    snprintf(shown, sizeof(shown), "%s:%zu: %s", r->path, line, key);
    const char *text;
    if (!translate(r, key, value, shown, &row, &text))
        return false;
    if (!text)
        return true;
    if (r->seen[row]) {
        cli_error("%s: --%s has already been set in this file", shown, r->args->table[row].name);
        return false;
    }
    r->seen[row] = true;
    return r->args->given[row] || args_set(r->args, row, text, shown);
}

static bool read_mapping(reader *r)
{
    for (;;) {
        if (!next_event(r))
            return false;
        if (r->event.type == YAML_MAPPING_END_EVENT)
            return true;
        const char *text;
        if (r->event.type != YAML_SCALAR_EVENT)
            return refuse(r, "a key must be a plain word");
        if (!scalar_text(r, &text))
            return false;
        char *key = xstrdup(text);
        bool good = take_pair(r, key, line_of(r));
        free(key);
        if (!good)
            return false;
    }
}

static bool read_document(reader *r)
{
    do {
        if (!next_event(r))
            return false;
    } while (r->event.type == YAML_STREAM_START_EVENT ||
             r->event.type == YAML_DOCUMENT_START_EVENT);
    if (r->event.type == YAML_STREAM_END_EVENT) // an empty file
        return true;
    if (r->event.type != YAML_MAPPING_START_EVENT)
        return refuse(r, "expected lines of \"key: value\"");
    if (!read_mapping(r))
        return false;
    do {
        if (!next_event(r))
            return false;
    } while (r->event.type == YAML_DOCUMENT_END_EVENT);
    return r->event.type == YAML_STREAM_END_EVENT || refuse(r, "one document is enough");
}

bool config_apply(config *c, args *a, const char *path)
{
    reader r = {.config = c, .args = a, .path = path};
    FILE *stream = fopen(path, "rb");
    if (!stream) {
        cli_error("cannot open %s: %s", path, strerror(errno));
        return false;
    }
    bool good = yaml_parser_initialize(&r.parser);
    if (good) {
        yaml_parser_set_input_file(&r.parser, stream);
        good = read_document(&r);
        if (r.has_event)
            yaml_event_delete(&r.event);
        yaml_parser_delete(&r.parser);
    } else {
        cli_error("out of memory");
    }
    fclose(stream);
    return good;
}

void config_free(config *c)
{
    for (size_t i = 0; i < c->count; i++)
        free(c->strings[i]);
    free(c->strings);
    *c = (config){0};
}
