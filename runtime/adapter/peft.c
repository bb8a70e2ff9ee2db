// SPDX-License-Identifier: MIT
// Adapters as PEFT stores them: adapter_config.json and adapter_model.safetensors.
#include "adapter/pairs.h"
#include "adapter/targets.h"
#include "base/file.h"
#include "io/safetensors.h"

#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define PREFIX "base_model.model."
#define SUFFIX_A ".lora_A.weight"
#define SUFFIX_B ".lora_B.weight"

// Row h*d + 2i + j of GGUF is row h*d + j*(d/2) + i of Hugging Face.
void inl_lora_permute_b(const inl_module *module, uint32_t r, const float *from, float *to, bool to_hf)
{
    uint32_t heads = module->permuted_heads, d = heads ? module->out / heads : 0;
    for (uint32_t row = 0; row < module->out; row++) {
        uint32_t other = row;
        if (heads) {
            uint32_t within = row % d;
            other = row / d * d + within % 2 * (d / 2) + within / 2;
        }
        uint32_t source = to_hf ? row : other, target = to_hf ? other : row;
        memcpy(to + (size_t)target * r, from + (size_t)source * r, r * sizeof(float));
    }
}

// ---- reading

typedef struct peft_reader {
    const inl_env *env;
    const inl_module_list *modules; // or NULL
    const char *folder;
    json_t *config;
    inl_safetensors *file;
    inl_lora *lora;
} peft_reader;

static inlay_result refuse(const peft_reader *r, const char *what)
{
    return inl_fail(r->env, INLAY_ERROR_UNSUPPORTED, "%s: adapters with %s are not supported",
                    r->folder, what);
}

static inlay_result read_config(peft_reader *r)
{
    char *path = inl_path_join(r->env, r->folder, "adapter_config.json");
    if (!path)
        return INLAY_ERROR_OUT_OF_MEMORY;
    inl_map map;
    inlay_result result = inl_map_open(r->env, path, &map);
    if (result == INLAY_OK) {
        json_error_t error;
        r->config = json_loadb((const char *)map.data, map.size, JSON_REJECT_DUPLICATES, &error);
        if (!json_is_object(r->config))
            result = inl_fail(r->env, INLAY_ERROR_BAD_FILE, "%s:%d: %s", path,
                              r->config ? 1 : error.line,
                              r->config ? "not a JSON object" : error.text);
        inl_map_close(&map);
    }
    inl_free(r->env, path);
    return result;
}

static inlay_result check_config(peft_reader *r)
{
    const json_t *c = r->config;
    const char *type = json_string_value(json_object_get(c, "peft_type"));
    if (!type || strcmp(type, "LORA") != 0)
        return refuse(r, "a peft_type other than LORA");
    const char *bias = json_string_value(json_object_get(c, "bias"));
    if (json_is_true(json_object_get(c, "use_dora")))
        return refuse(r, "use_dora");
    if (json_array_size(json_object_get(c, "modules_to_save")) > 0)
        return refuse(r, "modules_to_save");
    if ((bias && strcmp(bias, "none") != 0) || json_is_true(json_object_get(c, "lora_bias")))
        return refuse(r, "biases");
    const json_t *rank = json_object_get(c, "r"), *alpha = json_object_get(c, "lora_alpha");
    json_int_t value = rank ? json_integer_value(rank) : 8;
    double a = alpha ? json_number_value(alpha) : 8.0;
    if (value < 1 || value > 65536 || !(a > 0.0 && a < 1e9))
        return inl_fail(r->env, INLAY_ERROR_BAD_FILE,
                        "%s/adapter_config.json: r or lora_alpha is not a positive number", r->folder);
    r->lora->r = (uint32_t)value;
    r->lora->alpha = (float)a;
    r->lora->use_rslora = json_is_true(json_object_get(c, "use_rslora"));
    double dropout = json_number_value(json_object_get(c, "lora_dropout"));
    r->lora->dropout = dropout >= 0.0 && dropout < 1.0 ? (float)dropout : 0.0f;
    return INLAY_OK;
}

static double pattern_value(const peft_reader *r, const char *name, const char *path, double fallback)
{
    const char *key;
    json_t *value;
    json_object_foreach(json_object_get(r->config, name), key, value)
        if (inl_targets_pattern(key, path) && json_is_number(value))
            return json_number_value(value);
    return fallback;
}

static const inl_module *find_module(const peft_reader *r, const char *path, uint32_t *index)
{
    for (uint32_t i = 0; r->modules && i < r->modules->count; i++)
        if (strcmp(r->modules->items[i].path, path) == 0) {
            *index = i;
            return &r->modules->items[i];
        }
    return NULL;
}

static inlay_result check_shapes(const peft_reader *r, const inl_safetensor *a,
                                 const inl_safetensor *b, const inl_module *m)
{
    if (a->dims != 2 || b->dims != 2 || a->shape[0] != b->shape[1] || a->shape[0] == 0 ||
        a->shape[1] > 1u << 24 || b->shape[0] > 1u << 24 || a->shape[0] > 1u << 16)
        return inl_fail(r->env, INLAY_ERROR_BAD_FILE, "%s: tensor %s and its lora_B do not fit together",
                        r->folder, a->name);
    if (m && (a->shape[1] != m->in || b->shape[0] != m->out))
        return inl_fail(r->env, INLAY_ERROR_MISMATCH,
                        "%s: tensor %s is for a matrix of %llu x %llu, the model's is %u x %u",
                        r->folder, a->name, (unsigned long long)b->shape[0],
                        (unsigned long long)a->shape[1], m->out, m->in);
    return INLAY_OK;
}

static inlay_result fill_pair(const peft_reader *r, const inl_safetensor *a, const inl_safetensor *b,
                              const inl_module *m, inl_lora_pair *p)
{
    double alpha = pattern_value(r, "alpha_pattern", p->path, (double)r->lora->alpha);
    p->scale = inl_lora_scale((float)alpha, p->r, r->lora->use_rslora);
    INL_TRY(inl_safetensors_read_f32(r->env, a, p->a, (uint64_t)p->r * p->in));
    if (!m || m->permuted_heads == 0)
        return inl_safetensors_read_f32(r->env, b, p->b, (uint64_t)p->r * p->out);
    float *hf = inl_alloc(r->env, (size_t)p->out * p->r, sizeof(float));
    if (!hf)
        return INLAY_ERROR_OUT_OF_MEMORY;
    inlay_result result = inl_safetensors_read_f32(r->env, b, hf, (uint64_t)p->r * p->out);
    if (result == INLAY_OK)
        inl_lora_permute_b(m, p->r, hf, p->b, false);
    inl_free(r->env, hf);
    return result;
}

// `a` is the tensor of A; its partner is looked up.
static inlay_result read_pair(const peft_reader *r, const inl_safetensor *a, const char *path)
{
    char name[600];
    snprintf(name, sizeof(name), PREFIX "%s" SUFFIX_B, path);
    const inl_safetensor *b = inl_safetensors_find(r->file, name);
    if (!b)
        return inl_fail(r->env, INLAY_ERROR_MISMATCH, "%s: there is %s but no %s", r->folder, a->name,
                        name);
    uint32_t index = 0;
    const inl_module *m = find_module(r, path, &index);
    if (r->modules && !m)
        return inl_fail(r->env, INLAY_ERROR_MISMATCH, "%s: the model has no module %s", r->folder,
                        path);
    INL_TRY(check_shapes(r, a, b, m));
    double rank = pattern_value(r, "rank_pattern", path, (double)r->lora->r);
    if ((double)a->shape[0] != rank)
        return inl_fail(r->env, INLAY_ERROR_MISMATCH, "%s: tensor %s has rank %llu, the config says %g",
                        r->folder, a->name, (unsigned long long)a->shape[0], rank);
    inl_lora_pair *p;
    INL_TRY(inl_lora_add_pair(r->lora, index, path, (uint32_t)a->shape[0], (uint32_t)a->shape[1],
                              (uint32_t)b->shape[0], &p));
    r->lora->has_head |= m && m->is_head;
    return fill_pair(r, a, b, m, p);
}

static bool ends_with(const char *text, const char *end)
{
    size_t length = strlen(text), part = strlen(end);
    return length >= part && strcmp(text + length - part, end) == 0;
}

static int by_module(const void *x, const void *y)
{
    const inl_lora_pair *a = x, *b = y;
    return a->module < b->module ? -1 : a->module > b->module;
}

static inlay_result read_tensors(const peft_reader *r)
{
    uint32_t halves = 0;
    for (uint32_t i = 0; i < inl_safetensors_count(r->file); i++) {
        const inl_safetensor *t = inl_safetensors_at(r->file, i);
        bool a = ends_with(t->name, SUFFIX_A), b = ends_with(t->name, SUFFIX_B);
        if ((!a && !b) || strncmp(t->name, PREFIX, strlen(PREFIX)) != 0 || strlen(t->name) > 500)
            return inl_fail(r->env, INLAY_ERROR_UNSUPPORTED, "%s: tensor %.200s is not supported",
                            r->folder, t->name);
        halves += b;
        if (!a)
            continue;
        char path[512];
        snprintf(path, sizeof(path), "%.*s",
                 (int)(strlen(t->name) - strlen(PREFIX) - strlen(SUFFIX_A)),
                 t->name + strlen(PREFIX));
        INL_TRY(read_pair(r, t, path));
    }
    if (halves != r->lora->pair_count)
        return inl_fail(r->env, INLAY_ERROR_MISMATCH, "%s: a lora_B has no lora_A", r->folder);
    if (r->lora->pair_count == 0)
        return inl_fail(r->env, INLAY_ERROR_BAD_FILE, "%s: the adapter holds no tensors", r->folder);
    if (r->modules)
        qsort(r->lora->pairs, r->lora->pair_count, sizeof(*r->lora->pairs), by_module);
    return INLAY_OK;
}

static inlay_result read_all(peft_reader *r)
{
    INL_TRY(read_config(r));
    char *path = inl_path_join(r->env, r->folder, "adapter_model.safetensors");
    if (!path)
        return INLAY_ERROR_OUT_OF_MEMORY;
    inlay_result result = inl_safetensors_open(r->env, path, &r->file);
    if (result == INLAY_OK)
        result = inl_lora_begin(r->env, inl_safetensors_count(r->file), "peft", &r->lora);
    if (result == INLAY_OK)
        result = check_config(r);
    if (result == INLAY_OK)
        result = read_tensors(r);
    if (result == INLAY_OK)
        result = inl_lora_check_finite(r->lora, path);
    inl_free(r->env, path);
    if (result == INLAY_OK && r->modules)
        snprintf(r->lora->architecture, sizeof(r->lora->architecture), "%s",
                 r->modules->architecture);
    return result == INLAY_OK ? inl_lora_name_targets(r->lora, r->modules) : result;
}

inlay_result inl_lora_load_peft(const inl_env *env, const inl_module_list *modules,
                                const char *folder, inl_lora **out)
{
    peft_reader r = {.env = env, .modules = modules, .folder = folder};
    inlay_result result = read_all(&r);
    inl_safetensors_close(&r.file);
    json_decref(r.config);
    if (result != INLAY_OK)
        inl_lora_destroy(&r.lora);
    *out = r.lora;
    return result;
}

// ---- writing

// Pairs whose rank or alpha differ from the adapter's own go into rank_pattern and alpha_pattern.
static void add_patterns(const inl_lora *lora, json_t *ranks, json_t *alphas)
{
    for (uint32_t i = 0; i < lora->pair_count; i++) {
        const inl_lora_pair *p = &lora->pairs[i];
        if (p->r != lora->r)
            json_object_set_new(ranks, p->path, json_integer(p->r));
        if (p->scale != inl_lora_scale(lora->alpha, p->r, lora->use_rslora)) {
            float unit = inl_lora_scale(1.0f, p->r, lora->use_rslora);
            json_object_set_new(alphas, p->path, json_real((double)(p->scale / unit)));
        }
    }
}

static json_t *number(float value)
{
    return value == (float)(int)value ? json_integer((int)value) : json_real((double)value);
}

static json_t *make_config(const inl_lora *lora)
{
    json_t *targets = json_array(), *ranks = json_object(), *alphas = json_object();
    for (uint32_t i = 0; i < lora->target_count; i++)
        json_array_append_new(targets, json_string(lora->targets[i]));
    add_patterns(lora, ranks, alphas);
    return json_pack("{s:o, s:n, s:s, s:b, s:b, s:b, s:n, s:n, s:o, s:f, s:n, s:s, s:i, s:o, s:o, s:s,"
                     " s:b, s:b}",
                     "alpha_pattern", alphas, "base_model_name_or_path", "bias", "none",
                     "fan_in_fan_out", 0, "inference_mode", 1, "init_lora_weights", 1,
                     "layers_pattern", "layers_to_transform", "lora_alpha", number(lora->alpha),
                     "lora_dropout", (double)lora->dropout, "modules_to_save", "peft_type", "LORA",
                     "r", (int)lora->r, "rank_pattern", ranks, "target_modules", targets, "task_type",
                     "CAUSAL_LM", "use_dora", 0, "use_rslora", (int)lora->use_rslora);
}

static inlay_result write_config(const inl_lora *lora, const char *folder)
{
    json_t *config = make_config(lora);
    char *text = config ? json_dumps(config, JSON_INDENT(2) | JSON_SORT_KEYS) : NULL;
    char *path = inl_path_join(&lora->env, folder, "adapter_config.json");
    inlay_result result = INLAY_ERROR_OUT_OF_MEMORY;
    if (text && path)
        result = inl_file_write(&lora->env, path, text, strlen(text));
    json_decref(config);
    free(text);
    inl_free(&lora->env, path);
    return result;
}

static int by_name(const void *x, const void *y)
{
    return strcmp(((const inl_safetensor_out *)x)->name, ((const inl_safetensor_out *)y)->name);
}

// Names and row-ordered copies of B for all pairs; freed by the caller also on failure.
static inlay_result make_tensors(const inl_lora *lora, const inl_module_list *modules,
                                 inl_safetensor_out *out, float **copies)
{
    for (uint32_t i = 0; i < lora->pair_count; i++) {
        const inl_lora_pair *p = &lora->pairs[i];
        copies[i] = inl_alloc(&lora->env, (size_t)p->out * p->r, sizeof(float));
        char *a = inl_sprintf(&lora->env, PREFIX "%s" SUFFIX_A, p->path);
        char *b = inl_sprintf(&lora->env, PREFIX "%s" SUFFIX_B, p->path);
        out[2 * i] = (inl_safetensor_out){a, 2, {p->r, p->in}, p->a};
        out[2 * i + 1] = (inl_safetensor_out){b, 2, {p->out, p->r}, copies[i]};
        if (!copies[i] || !a || !b)
            return INLAY_ERROR_OUT_OF_MEMORY;
        inl_lora_permute_b(&modules->items[p->module], p->r, p->b, copies[i], true);
    }
    return INLAY_OK;
}

static inlay_result write_tensors(const inl_lora *lora, const inl_module_list *modules,
                                  const char *path)
{
    const inl_env *env = &lora->env;
    uint32_t count = 2 * lora->pair_count;
    inl_safetensor_out *tensors = inl_alloc(env, count + 1, sizeof(*tensors));
    float **copies = inl_alloc(env, lora->pair_count + 1, sizeof(*copies));
    inlay_result result = INLAY_ERROR_OUT_OF_MEMORY;
    if (tensors && copies)
        result = make_tensors(lora, modules, tensors, copies);
    if (result == INLAY_OK) {
        qsort(tensors, count, sizeof(*tensors), by_name);
        result = inl_safetensors_write(env, path, tensors, count);
    }
    for (uint32_t i = 0; tensors && i < count; i++)
        inl_free(env, (char *)tensors[i].name);
    for (uint32_t i = 0; copies && i < lora->pair_count; i++)
        inl_free(env, copies[i]);
    inl_free(env, tensors);
    inl_free(env, copies);
    return result;
}

inlay_result inl_lora_save_peft(const inl_lora *lora, const inl_module_list *modules,
                                const char *folder)
{
    INL_TRY(inl_make_folder(&lora->env, folder));
    char *path = inl_path_join(&lora->env, folder, "adapter_model.safetensors");
    if (!path)
        return INLAY_ERROR_OUT_OF_MEMORY;
    inlay_result result = write_tensors(lora, modules, path);
    inl_free(&lora->env, path);
    return result == INLAY_OK ? write_config(lora, folder) : result;
}
