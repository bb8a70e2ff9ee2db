// SPDX-License-Identifier: MIT
// The first steps of every command.
#define _DEFAULT_SOURCE // timegm
#define _POSIX_C_SOURCE 200809L
#include "cli.h"
#include "files.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

bool setup_parse_size(const char *text, void *bytes)
{
    static const char units[] = "KMGT";
    char *end;
    if (*text < '0' || *text > '9')
        return false;
    double value = strtod(text, &end);
    const char *unit = *end ? strchr(units, *end & ~0x20) : NULL;
    if (*end && (!unit || strcmp(end + 1, "iB") * strcmp(end + 1, "B") * strcmp(end + 1, "") != 0))
        return false;
    for (long i = unit ? unit - units : -1; i >= 0; i--)
        value *= 1024.0;
    if (!(value >= 1.0 && value < 1e18))
        return false;
    *(uint64_t *)bytes = (uint64_t)value;
    return true;
}

bool setup_args(args *a, const command *c, int argc, char **argv, int *code)
{
    switch (args_parse(a, argc, argv)) {
    case ARGS_DONE: return true;
    case ARGS_HELP:
        printf("usage: inlay %s\n\n%s.\n", c->usage, c->summary);
        args_print_help(a);
        if (c->notes)
            printf("\n%s", c->notes);
        *code = EXIT_OK;
        return false;
    default: *code = EXIT_BAD_INPUT; return false;
    }
}

void setup_log(const common_options *common)
{
    if (common->verbose)
        cli_set_level(INLAY_LOG_DEBUG);
    else if (common->quiet)
        cli_set_level(INLAY_LOG_WARN);
}

bool setup_require(const args *a, const char *const *names, int *code)
{
    for (size_t i = 0; names[i]; i++) {
        int row = args_find(a, names[i]);
        if (a->set[row])
            continue;
        if (a->table[row].letter)
            cli_error("-%c, --%s %s is missing", a->table[row].letter, names[i],
                      a->table[row].value);
        else
            cli_error("--%s %s is missing", names[i], a->table[row].value);
        *code = EXIT_BAD_INPUT;
        return false;
    }
    return true;
}

const arg_alias setup_aliases[] = {{.alias = "template", .name = "chat-template"}};
const size_t setup_alias_count = COUNT(setup_aliases);

// Noon of a day, which is the same day wherever one looks from.
bool setup_parse_date(const char *text, void *seconds)
{
    int year, month, day;
    char rest;
    if (sscanf(text, "%4d-%2d-%2d%c", &year, &month, &day, &rest) != 3 || year < 1971 ||
        month < 1 || month > 12 || day < 1 || day > 31)
        return false;
    struct tm t = {.tm_year = year - 1900, .tm_mon = month - 1, .tm_mday = day, .tm_hour = 12};
    time_t time = timegm(&t);
    *(int64_t *)seconds = (int64_t)time;
    return t.tm_mday == day; // not the 31st of June
}

bool setup_chat(chat_options *chat)
{
    const char *name = chat->chat_template;
    size_t size = name ? strlen(name) : 0;
    if (chat->local_time == 0) {
        time_t now = time(NULL);
        struct tm here;
        localtime_r(&now, &here);
        chat->local_time = (int64_t)timegm(&here);
    }
    if (size < 6 || strcmp(name + size - 6, ".jinja") != 0)
        return true;
    chat->text = file_read(name, &size);
    if (!chat->text)
        cli_error("%s: there is no such file", name);
    else if (!strstr(chat->text, "{%") && !strstr(chat->text, "{{"))
        cli_error("%s: this is no Jinja template", name);
    else
        chat->chat_template = chat->text;
    return chat->chat_template == chat->text;
}

void setup_chat_free(chat_options *chat)
{
    free(chat->text);
    chat->text = NULL;
}

// Where compiled pipelines and the choice of tiles are kept; NULL when there is no such place.
// Allocated.
static char *cache_folder(void)
{
    const char *base = getenv("XDG_CACHE_HOME");
    const char *home = getenv("HOME");
    char *folder = NULL;
    if (base && base[0] == '/') // a relative one is to be ignored, says the XDG specification
        folder = path_join(base, "inlay");
    else if (home && home[0] == '/')
        folder = path_join(home, ".cache/inlay");
    if (!folder)
        return NULL;
    if (folder_make(folder, true) && access(folder, W_OK | X_OK) == 0)
        return folder;
    free(folder);
    return NULL;
}

// ---- models and adapters

bool setup_parse_adapter(const char *text, void *list)
{
    adapter_list *l = list;
    if (!*text || l->count == ADAPTERS_MAX)
        return false;
    l->texts[l->count++] = text;
    return true;
}

// The path of PATH:SCALE, allocated.
static char *split_adapter(const char *text, float *scale)
{
    const char *colon = strrchr(text, ':');
    char *end = NULL;
    *scale = 1.0f;
    if (!colon || colon == text || path_exists(text))
        return xstrdup(text);
    float value = strtof(colon + 1, &end);
    if (end == colon + 1 || *end || !isfinite(value))
        return xstrdup(text);
    *scale = value;
    return xprintf("%.*s", (int)(colon - text), text);
}

bool setup_is_input(const model_options *base, const char *path)
{
    bool same = path_is_same(path, base->model);
    for (size_t i = 0; i < base->adapters.count; i++) {
        float scale;
        char *adapter = split_adapter(base->adapters.texts[i], &scale);
        same |= path_is_same(path, adapter);
        free(adapter);
    }
    if (same)
        cli_error("%s is what is read: give another name to be written", path);
    return same;
}

static inlay_result load_adapters(const adapter_list *list, const inlay_model *model,
                                  inlay_adapter **out)
{
    inlay_adapter *parts[ADAPTERS_MAX] = {NULL};
    float scales[ADAPTERS_MAX];
    inlay_result result = INLAY_OK;
    for (size_t i = 0; result == INLAY_OK && i < list->count; i++) {
        char *path = split_adapter(list->texts[i], &scales[i]);
        result = inlay_adapter_load(&parts[i], cli_env(), model, path);
        free(path);
    }
    if (result == INLAY_OK && list->count == 1 && scales[0] == 1.0f) {
        *out = parts[0];
        return INLAY_OK;
    }
    if (result == INLAY_OK)
        result = inlay_adapter_combine(out, cli_env(), model, (const inlay_adapter *const *)parts,
                                       scales, (uint32_t)list->count);
    for (size_t i = 0; i < list->count; i++)
        inlay_adapter_destroy(&parts[i]);
    return result;
}

inlay_result setup_model(const model_options *base, inlay_model **model, inlay_adapter **adapter)
{
    inlay_model_params params = {.quantize = base->quantize};
    inlay_result result = inlay_model_open(model, cli_env(), base->model, &params);
    if (result == INLAY_OK && base->adapters.count > 0)
        result = load_adapters(&base->adapters, *model, adapter);
    return result;
}

static int rewrite(const rewrite_options *o, rewrite_fn *write)
{
    inlay_model *model = NULL;
    inlay_adapter *adapter = NULL;
    int code = cli_exit_input(setup_model(&o->base, &model, &adapter));
    if (code == EXIT_OK)
        code = write(o, model, adapter);
    inlay_adapter_destroy(&adapter);
    inlay_model_close(&model);
    if (code == EXIT_OK)
        cli_note("wrote %s", o->output);
    return code;
}

int setup_rewrite(args *a, const command *c, int argc, char **argv, const char *const *required,
                  rewrite_fn *write)
{
    const rewrite_options *o = a->options;
    int code;
    if (!setup_args(a, c, argc, argv, &code) || !setup_require(a, required, &code))
        return code;
    setup_log(&o->common);
    return setup_is_input(&o->base, o->output) ? EXIT_BAD_INPUT : rewrite(o, write);
}

inlay_result setup_device(inlay_device **out, const inlay_env *env, const common_options *common)
{
    char *folder = cache_folder();
    char *pipelines = folder ? path_join(folder, "pipelines.bin") : NULL;
    char *tuning = folder ? path_join(folder, "tuning.txt") : NULL;
    inlay_device_params params = {.select = common->device,
                                  .paths = common->paths,
                                  .memory_budget_bytes = common->memory_budget,
                                  .max_submit_ms = common->max_submit_ms,
                                  .validation = common->validation,
                                  .pipeline_cache_path = pipelines,
                                  .tuning_path = tuning};
    inlay_result result = inlay_device_create(out, env, &params);
    free(pipelines);
    free(tuning);
    free(folder);
    return result;
}
