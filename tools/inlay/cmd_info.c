// SPDX-License-Identifier: MIT
// inlay info: what a model or an adapter file holds.
#include "cli.h"
#include "json_out.h"

#include <stdlib.h>
#include <string.h>

typedef struct options {
    common_options common;
    const char *model, *adapter; // FILE by the names it has in other commands
    bool json, tensors;
} options;

static const arg table[] = {
    {.name = "model", .letter = 'm', .type = ARG_STRING, .offset = offsetof(options, model),
     .value = "MODEL", .help = "the same as FILE"},
    {.name = "adapter", .letter = 'a', .type = ARG_STRING, .offset = offsetof(options, adapter),
     .value = "ADAPTER", .help = "the same as FILE"},
    {.name = "json", .type = ARG_FLAG, .offset = offsetof(options, json), .help = "as JSON"},
    {.name = "tensors", .type = ARG_FLAG, .offset = offsetof(options, tensors),
     .help = "list each tensor too (--json always does)"},
    COMMON_ARGS(options),
};

// ---- a model

// Tensors of one type, summed.
typedef struct type_sum {
    const char *type;
    uint64_t tensors, bytes;
} type_sum;

#define MOST_TYPES 48

static size_t sum_types(const inlay_model *model, uint32_t tensors, type_sum sums[MOST_TYPES])
{
    size_t count = 0;
    for (uint32_t i = 0; i < tensors; i++) {
        inlay_tensor_info t;
        if (inlay_model_get_tensor(model, i, &t) != INLAY_OK)
            continue;
        size_t at = 0;
        while (at < count && strcmp(sums[at].type, t.type) != 0)
            at++;
        if (at == MOST_TYPES)
            continue;
        if (at == count)
            sums[count++] = (type_sum){.type = t.type};
        sums[at].tensors++;
        sums[at].bytes += t.bytes;
    }
    return count;
}

static json_t *tensors_json(const inlay_model *model, uint32_t count)
{
    json_t *list = json_array();
    for (uint32_t i = 0; i < count; i++) {
        inlay_tensor_info t;
        if (inlay_model_get_tensor(model, i, &t) != INLAY_OK)
            continue;
        json_t *o = json_object(), *shape = json_array();
        json_put(o, "name", json_words(t.name));
        json_put(o, "type", json_words(t.type));
        for (uint32_t d = 0; d < t.dims; d++)
            json_array_append_new(shape, json_count(t.shape[d]));
        json_put(o, "shape", shape);
        json_put(o, "bytes", json_count(t.bytes));
        json_array_append_new(list, o);
    }
    return list;
}

static json_t *tokenizer_json(const inlay_model_info *m)
{
    json_t *o = json_object();
    json_put(o, "model", json_words(m->tokenizer));
    json_put(o, "pre", *m->pre_tokenizer ? json_words(m->pre_tokenizer) : json_null());
    json_put(o, "bos", m->bos >= 0 ? json_integer(m->bos) : json_null());
    json_put(o, "eos", m->eos >= 0 ? json_integer(m->eos) : json_null());
    json_put(o, "add_bos", json_boolean(m->add_bos));
    return o;
}

static json_t *types_json(const type_sum *sums, size_t count)
{
    json_t *o = json_object();
    for (size_t i = 0; i < count; i++) {
        json_t *type = json_object();
        json_put(type, "tensors", json_count(sums[i].tensors));
        json_put(type, "bytes", json_count(sums[i].bytes));
        json_put(o, sums[i].type, type);
    }
    return o;
}

static json_t *model_json(const inlay_model *model, const inlay_model_info *m)
{
    type_sum sums[MOST_TYPES];
    size_t types = sum_types(model, m->tensor_count, sums);
    json_t *o = json_object();
    json_put(o, "kind", json_words("model"));
    json_put(o, "architecture", json_words(m->architecture));
    json_put(o, "name", *m->name ? json_words(m->name) : json_null());
    json_put(o, "parameters", json_count(m->parameters));
    json_put(o, "file_bytes", json_count(m->file_bytes));
    json_put(o, "layers", json_count(m->layers));
    json_put(o, "dim", json_count(m->dim));
    json_put(o, "ffn_dim", json_count(m->ffn_dim));
    if (m->experts > 0) {
        json_put(o, "experts", json_count(m->experts));
        json_put(o, "experts_used", json_count(m->experts_used));
        json_put(o, "expert_dim", json_count(m->expert_dim));
        json_put(o, "expert_layers", json_count(m->expert_layers));
    }
    json_put(o, "heads", json_count(m->heads));
    json_put(o, "kv_heads", json_count(m->kv_heads));
    json_put(o, "head_dim", json_count(m->head_dim));
    json_put(o, "vocab", json_count(m->vocab));
    json_put(o, "context_length", json_count(m->context_length));
    json_put(o, "rope_base", json_number((double)m->rope_base, 8));
    json_put(o, "norm_eps", json_number((double)m->norm_eps, 8));
    json_put(o, "tied_head", json_boolean(m->tied_head));
    json_put(o, "tokenizer", tokenizer_json(m));
    json_put(o, "types", types_json(sums, types));
    json_put(o, "tensors", tensors_json(model, m->tensor_count));
    return o;
}

static void print_tensors(const inlay_model *model, uint32_t count)
{
    for (uint32_t i = 0; i < count; i++) {
        inlay_tensor_info t;
        if (inlay_model_get_tensor(model, i, &t) != INLAY_OK)
            continue;
        char shape[96] = "";
        size_t used = 0;
        for (uint32_t d = 0; d < t.dims && used < sizeof(shape); d++)
            used += (size_t)snprintf(shape + used, sizeof(shape) - used, "%s%llu", d ? " x " : "",
                                     (unsigned long long)t.shape[d]);
        printf("  %-40s %-6s %s\n", t.name, t.type, shape);
    }
}

static void print_tokenizer(const inlay_model_info *m)
{
    printf("tokenizer      %s%s%s, %u tokens", m->tokenizer, *m->pre_tokenizer ? ", " : "",
           m->pre_tokenizer, m->vocab);
    if (m->bos >= 0)
        printf(", bos %d%s", m->bos, m->add_bos ? " (put in front)" : "");
    if (m->eos >= 0)
        printf(", eos %d", m->eos);
    puts("");
}

static void print_model(const inlay_model *model, const inlay_model_info *m, bool tensors)
{
    type_sum sums[MOST_TYPES];
    size_t types = sum_types(model, m->tensor_count, sums);
    text_buffer count, bytes;
    printf("architecture   %s%s%s\n", m->architecture, *m->name ? ", " : "", m->name);
    printf("parameters     %s in %u tensors, %s\n", text_count(&count, (double)m->parameters),
           m->tensor_count, text_bytes(&bytes, m->file_bytes));
    printf("shapes         %u layers, dim %u, ffn %u, %u heads over %u key-value heads of %u\n",
           m->layers, m->dim, m->ffn_dim, m->heads, m->kv_heads, m->head_dim);
    if (m->experts > 0)
        printf("experts        %u of ffn %u in %u layers, %u for a token\n", m->experts,
               m->expert_dim, m->expert_layers, m->experts_used);
    printf("context        %u tokens, rope base %g, norm eps %g, %s head\n", m->context_length,
           (double)m->rope_base, (double)m->norm_eps, m->tied_head ? "tied" : "separate");
    print_tokenizer(m);
    for (size_t i = 0; i < types; i++)
        printf("%-14s %-6s %llu tensors, %s\n", i == 0 ? "types" : "", sums[i].type,
               (unsigned long long)sums[i].tensors, text_bytes(&bytes, sums[i].bytes));
    if (tensors)
        print_tensors(model, m->tensor_count);
}

static int show_model(const char *path, const options *o)
{
    inlay_model *model;
    inlay_result result = inlay_model_open(&model, cli_env(), path, NULL);
    if (result != INLAY_OK)
        return cli_exit_input(result);
    inlay_model_info info;
    inlay_model_get_info(model, &info);
    if (o->json)
        json_print(model_json(model, &info));
    else
        print_model(model, &info, o->tensors);
    inlay_model_close(&model);
    return EXIT_OK;
}

// ---- an adapter

static json_t *adapter_json(const inlay_adapter *adapter, const inlay_adapter_info *a)
{
    json_t *o = json_object(), *targets = json_array();
    json_put(o, "kind", json_words("adapter"));
    json_put(o, "format", json_words(a->format));
    json_put(o, "architecture", *a->architecture ? json_words(a->architecture) : json_null());
    json_put(o, "r", json_count(a->r));
    json_put(o, "alpha", json_number((double)a->alpha, 8));
    json_put(o, "scale", json_number((double)a->scale, 8));
    json_put(o, "dropout", json_number((double)a->dropout, 8));
    json_put(o, "use_rslora", json_boolean(a->use_rslora));
    json_put(o, "use_dora", json_boolean(a->use_dora));
    json_put(o, "parameters", json_count(a->parameters));
    for (uint32_t i = 0; i < a->pair_count; i++) {
        inlay_adapter_pair p;
        if (inlay_adapter_get_pair(adapter, i, &p) != INLAY_OK)
            continue;
        json_t *pair = json_object();
        json_put(pair, "module", json_words(p.module));
        json_put(pair, "r", json_count(p.r));
        json_put(pair, "in", json_count(p.in));
        json_put(pair, "out", json_count(p.out));
        json_put(pair, "scale", json_number((double)p.scale, 8));
        json_array_append_new(targets, pair);
    }
    json_put(o, "targets", targets);
    return o;
}

// "q_proj" of "model.layers.0.self_attn.q_proj", "attn_q" of "blk.0.attn_q.weight".
static const char *short_name(const char *module, int *size)
{
    size_t end = strlen(module);
    const char *weight = strstr(module, ".weight");
    if (weight)
        end = (size_t)(weight - module);
    size_t start = end;
    while (start > 0 && module[start - 1] != '.')
        start--;
    *size = (int)(end - start);
    return module + start;
}

static bool named_before(const inlay_adapter *adapter, uint32_t index, const char *name, int size)
{
    for (uint32_t i = 0; i < index; i++) {
        inlay_adapter_pair p;
        int other_size;
        if (inlay_adapter_get_pair(adapter, i, &p) != INLAY_OK)
            continue;
        const char *other = short_name(p.module, &other_size);
        if (other_size == size && memcmp(other, name, (size_t)size) == 0)
            return true;
    }
    return false;
}

static void print_adapter(const inlay_adapter *adapter, const inlay_adapter_info *a, bool tensors)
{
    text_buffer count;
    printf("adapter        %s, %s%s%s\n", a->use_dora ? "DoRA" : "LoRA", a->format,
           *a->architecture ? ", for " : "", a->architecture);
    printf("rank           %u, alpha %g, scale %g%s, dropout %g\n", a->r, (double)a->alpha,
           (double)a->scale, a->use_rslora ? " (rslora)" : "", (double)a->dropout);
    printf("parameters     %s in %u pairs\n", text_count(&count, (double)a->parameters),
           a->pair_count);
    printf("targets       ");
    for (uint32_t i = 0; i < a->pair_count; i++) {
        inlay_adapter_pair p;
        int size;
        if (inlay_adapter_get_pair(adapter, i, &p) != INLAY_OK)
            continue;
        const char *name = short_name(p.module, &size);
        if (!named_before(adapter, i, name, size))
            printf(" %.*s", size, name);
    }
    puts("");
    for (uint32_t i = 0; tensors && i < a->pair_count; i++) {
        inlay_adapter_pair p;
        if (inlay_adapter_get_pair(adapter, i, &p) == INLAY_OK)
            printf("  %-44s r %u, %u x %u, scale %g\n", p.module, p.r, p.out, p.in,
                   (double)p.scale);
    }
}

static int show_adapter(const char *path, const options *o)
{
    inlay_adapter *adapter;
    inlay_result result = inlay_adapter_load(&adapter, cli_env(), NULL, path);
    if (result != INLAY_OK)
        return cli_exit_input(result);
    inlay_adapter_info info;
    inlay_adapter_get_info(adapter, &info);
    if (o->json)
        json_print(adapter_json(adapter, &info));
    else
        print_adapter(adapter, &info, o->tensors);
    inlay_adapter_destroy(&adapter);
    return EXIT_OK;
}

static int run(const command *self, int argc, char **argv)
{
    options o = {0};
    args a = {.table = table, .count = COUNT(table), .options = &o, .rest_name = "FILE"};
    int code;
    if (!setup_args(&a, self, argc, argv, &code))
        return code;
    const char *file = a.rest ? a.rest : o.model ? o.model : o.adapter;
    bool one = (a.rest != NULL) + (o.model != NULL) + (o.adapter != NULL) == 1;
    if (!file || !*file || !one) {
        cli_error(file && *file ? "one FILE at a time: a model or an adapter"
                                : "a FILE is missing: a model or an adapter, either a .gguf or a "
                                  "folder");
        return EXIT_BAD_INPUT;
    }
    setup_log(&o.common);
    return inlay_adapter_detect(file) ? show_adapter(file, &o) : show_model(file, &o);
}

const command command_info = {.name = "info",
                              .usage = "info FILE [--json]",
                              .summary = "shows what a model or an adapter holds",
                              .run = run};
