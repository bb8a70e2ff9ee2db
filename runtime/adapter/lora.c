// SPDX-License-Identifier: MIT
#include "adapter/pairs.h"
#include "adapter/targets.h"
#include "base/file.h"
#include "base/rng.h"
#include "io/hf_names.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define DEFAULT_RANK 16
#define PI 3.14159265358979323846

// In double, so that alpha and scale lead to each other and back without losing a bit.
float inl_lora_scale(double alpha, uint32_t r, bool rslora)
{
    return (float)(alpha / (rslora ? sqrt((double)r) : (double)r));
}

double inl_lora_alpha(float scale, uint32_t r, bool rslora)
{
    return (double)scale * (rslora ? sqrt((double)r) : (double)r);
}

double inl_lora_decimal(float value)
{
    char text[32];
    for (int digits = 6; digits < 9; digits++) {
        snprintf(text, sizeof(text), "%.*g", digits, (double)value);
        if (strtof(text, NULL) == value)
            return strtod(text, NULL);
    }
    return (double)value;
}

// Row h*d + 2i + j of GGUF is row h*d + j*(d/2) + i of Hugging Face.
void inl_lora_permute_b(const inl_module *module, uint32_t r, const float *from, float *to,
                        bool to_hf)
{
    uint32_t heads = INL_MAX(module->permuted_heads, module->folder_heads); // one of them is 0
    uint32_t d = heads ? module->out / heads : 0;
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

// ---- building

inlay_result inl_lora_begin(const inl_env *env, uint32_t pairs, const char *format, inl_lora **out)
{
    *out = NULL;
    inl_lora *lora = inl_alloc(env, 1, sizeof(*lora));
    if (!lora)
        return INLAY_ERROR_OUT_OF_MEMORY;
    lora->env = *env;
    snprintf(lora->format, sizeof(lora->format), "%s", format);
    lora->pairs = inl_alloc(env, (size_t)pairs + 1, sizeof(*lora->pairs));
    if (!lora->pairs) {
        inl_free(env, lora);
        return INLAY_ERROR_OUT_OF_MEMORY;
    }
    *out = lora;
    return INLAY_OK;
}

inlay_result inl_lora_add_pair(inl_lora *lora, uint32_t module, const char *path, uint32_t r,
                               uint32_t in, uint32_t out, inl_lora_pair **pair)
{
    inl_lora_pair *p = &lora->pairs[lora->pair_count++];
    *p = (inl_lora_pair){.module = module, .r = r, .in = in, .out = out};
    *pair = p;
    p->path = inl_strdup(&lora->env, path);
    if (!p->path)
        return INLAY_ERROR_OUT_OF_MEMORY;
    p->a = inl_alloc(&lora->env, (size_t)r * in, sizeof(float));
    if (!p->a)
        return INLAY_ERROR_OUT_OF_MEMORY;
    p->b = inl_alloc(&lora->env, (size_t)out * r, sizeof(float));
    return p->b ? INLAY_OK : INLAY_ERROR_OUT_OF_MEMORY;
}

inlay_result inl_lora_add_magnitude(inl_lora *lora, inl_lora_pair *pair)
{
    pair->magnitude = inl_alloc(&lora->env, pair->out, sizeof(float));
    return pair->magnitude ? INLAY_OK : INLAY_ERROR_OUT_OF_MEMORY;
}

// Paths are sorted where a model made the list; the tensor's name leads to its first module.
static const inl_module *find_module(const inl_module_list *modules, const char *base, bool gguf,
                                     uint32_t *index)
{
    uint32_t low = 0, high = modules->count;
    char room[INL_HF_NAME_ROOM];
    if (!gguf)
        base = inl_hf_model_name(base, modules->multimodal, room);
    while (!gguf && modules->by_path && low < high) {
        uint32_t middle = low + (high - low) / 2;
        int order = strcmp(modules->items[modules->by_path[middle]].path, base);
        if (order == 0)
            return &modules->items[*index = modules->by_path[middle]];
        if (order < 0)
            low = middle + 1;
        else
            high = middle;
    }
    for (uint32_t i = 0; (gguf || !modules->by_path) && i < modules->count; i++)
        if (strcmp(gguf ? modules->items[i].gguf : modules->items[i].path, base) == 0)
            return &modules->items[*index = i];
    return NULL;
}

const inl_module *inl_lora_find_module(const inl_module_list *modules, const char *path)
{
    uint32_t index;
    return find_module(modules, path, false, &index);
}

static inlay_result check_shapes(const inl_env *env, const inl_lora_halves *h, const inl_module *m)
{
    if (h->a_rank != h->b_rank || h->a_rank == 0 || h->a_rank > INL_LORA_MAX_RANK || h->in == 0 ||
        h->in > INL_LORA_MAX_DIM || h->out == 0 || h->out > INL_LORA_MAX_DIM)
        return inl_fail(env, INLAY_ERROR_BAD_FILE,
                        "%s: tensors %.200s (%llu x %llu) and %.200s (%llu x %llu) are no pair",
                        h->file, h->a, (unsigned long long)h->a_rank, (unsigned long long)h->in,
                        h->b, (unsigned long long)h->out, (unsigned long long)h->b_rank);
    if (m && (h->in != m->in || h->out != m->out))
        return inl_fail(env, INLAY_ERROR_MISMATCH,
                        "%s: tensor %.200s is for a matrix of %llu x %llu, the model's is %u x %u",
                        h->file, h->in != m->in ? h->a : h->b, (unsigned long long)h->out,
                        (unsigned long long)h->in, m->out, m->in);
    return INLAY_OK;
}

inlay_result inl_lora_add_halves(inl_lora *lora, const inl_module_list *modules,
                                 const inl_lora_halves *h, inl_lora_pair **pair,
                                 const inl_module **module)
{
    uint32_t index = 0;
    *module = NULL;
    if (modules) {
        *module = find_module(modules, h->base, strcmp(lora->format, "gguf") == 0, &index);
        if (!*module)
            return inl_fail(&lora->env, INLAY_ERROR_MISMATCH,
                            "%s: tensor %.200s is for %.200s, which the model does not have",
                            h->file, h->a, h->base);
        if (strcmp(lora->format, "gguf") == 0 &&
            INL_MAX(1, (*module)->experts) != INL_MAX(1, h->experts))
            return inl_fail(&lora->env, INLAY_ERROR_MISMATCH,
                            "%s: tensor %.200s is for %u experts, the model has %u", h->file, h->a,
                            INL_MAX(1, h->experts), INL_MAX(1, (*module)->experts));
        index += h->expert;
        *module += h->expert;
        lora->has_head |= (*module)->is_head;
    }
    INL_TRY(check_shapes(&lora->env, h, *module));
    return inl_lora_add_pair(lora, index, *module ? (*module)->path : h->base, (uint32_t)h->a_rank,
                             (uint32_t)h->in, (uint32_t)h->out, pair);
}

bool inl_lora_cut_suffix(const char *name, const char *suffix, char *base, size_t room)
{
    size_t length = strlen(name), part = strlen(suffix);
    if (length < part || strcmp(name + length - part, suffix) != 0 || length - part >= room)
        return false;
    memcpy(base, name, length - part);
    base[length - part] = '\0';
    return true;
}

inlay_result inl_lora_fail_alone(const inl_env *env, const char *file, const char *tensor,
                                 const char *missing)
{
    return inl_fail(env, INLAY_ERROR_MISMATCH, "%s: there is a tensor %.200s but no %.200s", file,
                    tensor, missing);
}

uint64_t inl_lora_pair_parameters(const inl_lora_pair *p)
{
    return (uint64_t)p->r * ((uint64_t)p->in + p->out) + (p->magnitude ? p->out : 0);
}

uint64_t inl_lora_pair_trainable(const inl_lora_pair *p)
{
    return inl_lora_pair_parameters(p) - (uint64_t)p->frozen * ((uint64_t)p->in + p->out);
}

void inl_lora_destroy(inl_lora **handle)
{
    inl_lora *lora = *handle;
    if (!lora)
        return;
    *handle = NULL;
    const inl_env env = lora->env;
    for (uint32_t i = 0; i < lora->pair_count; i++) {
        inl_free(&env, lora->pairs[i].path);
        inl_free(&env, lora->pairs[i].a);
        inl_free(&env, lora->pairs[i].b);
        inl_free(&env, lora->pairs[i].magnitude);
    }
    inl_free(&env, lora->pairs);
    for (uint32_t i = 0; i < lora->target_count; i++)
        inl_free(&env, lora->targets[i]);
    inl_free(&env, lora->targets);
    inl_free(&env, lora->base);
    inl_free(&env, lora);
}

static bool is_target(const inl_lora *lora, const char *name)
{
    for (uint32_t t = 0; t < lora->target_count; t++)
        if (strcmp(lora->targets[t], name) == 0)
            return true;
    return false;
}

static inlay_result add_target(inl_lora *lora, const char *name)
{
    lora->targets[lora->target_count] = inl_strdup(&lora->env, name);
    return lora->targets[lora->target_count++] ? INLAY_OK : INLAY_ERROR_OUT_OF_MEMORY;
}

// A suffix names all modules that end in it: enough when each of those has a pair; else whole
// paths. The pairs are in the order of the modules. A multimodal model has modules that are not
// in the list.
static bool targets_suffice(const inl_lora *lora, const inl_module_list *modules)
{
    uint32_t pair = 0;
    for (uint32_t i = 0; i < modules->count; i++) {
        bool paired = pair < lora->pair_count && lora->pairs[pair].module == i;
        pair += paired;
        if (paired != is_target(lora, inl_targets_suffix(modules->items[i].path)))
            return false;
    }
    return !modules->multimodal;
}

static inlay_result set_targets(inl_lora *lora, const inl_module_list *modules)
{
    for (uint32_t i = 0; i < lora->pair_count; i++) {
        const char *suffix = inl_targets_suffix(lora->pairs[i].path);
        if (!is_target(lora, suffix))
            INL_TRY(add_target(lora, suffix));
    }
    if (targets_suffice(lora, modules))
        return INLAY_OK;
    for (uint32_t t = 0; t < lora->target_count; t++)
        inl_free(&lora->env, lora->targets[t]);
    lora->target_count = 0;
    for (uint32_t i = 0; i < lora->pair_count; i++)
        INL_TRY(add_target(lora, lora->pairs[i].path));
    return INLAY_OK;
}

static int by_module(const void *x, const void *y)
{
    const inl_lora_pair *a = x, *b = y;
    return a->module < b->module ? -1 : a->module > b->module;
}

inlay_result inl_lora_finish(inl_lora *lora, const inl_module_list *modules)
{
    if (!modules)
        return INLAY_OK;
    qsort(lora->pairs, lora->pair_count, sizeof(*lora->pairs), by_module);
    for (uint32_t i = 1; i < lora->pair_count; i++)
        if (lora->pairs[i].module == lora->pairs[i - 1].module)
            return inl_fail(&lora->env, INLAY_ERROR_BAD_FILE,
                            "the adapter has two pairs for %.200s", lora->pairs[i].path);
    lora->targets = inl_alloc(&lora->env, (size_t)lora->pair_count + 1, sizeof(*lora->targets));
    return lora->targets ? set_targets(lora, modules) : INLAY_ERROR_OUT_OF_MEMORY;
}

inlay_result inl_lora_check_finite(const inl_env *env, const char *file, const char *tensor,
                                   const float *values, uint64_t count)
{
    for (uint64_t i = 0; i < count; i++)
        if (!isfinite(values[i]))
            return inl_fail(env, INLAY_ERROR_NOT_FINITE, "%s: tensor %s has %s at element %llu",
                            file, tensor, isnan(values[i]) ? "NaN" : "infinity",
                            (unsigned long long)i);
    return INLAY_OK;
}

inlay_result inl_lora_check_writable(const inl_lora *lora, const inl_module_list *modules)
{
    for (uint32_t i = 0; i < lora->pair_count; i++) {
        const inl_lora_pair *p = &lora->pairs[i];
        const inl_module *m =
            modules && p->module < modules->count ? &modules->items[p->module] : NULL;
        if (!m || strcmp(m->path, p->path) != 0 || m->in != p->in || m->out != p->out)
            return inl_fail(&lora->env, INLAY_ERROR_INVALID_ARGUMENT,
                            "an adapter that was loaded without its base model cannot be saved");
    }
    if (lora->magnitudes_unset || lora->init != INL_INIT_UNIFORM)
        return inl_fail(&lora->env, INLAY_ERROR_INVALID_ARGUMENT,
                        "a fresh adapter whose values come from the base's weights has none to "
                        "save: a trainer sets them");
    return INLAY_OK;
}

// ---- a fresh adapter

// U(-1/sqrt(in), 1/sqrt(in)): PEFT's kaiming_uniform with a = sqrt(5).
static void draw_uniform(inl_lora_pair *p, uint32_t seed)
{
    float bound = 1.0f / sqrtf((float)p->in);
    for (uint64_t i = 0; i < (uint64_t)p->r * p->in; i++)
        p->a[i] = (2.0f * inl_rng_f32(seed, p->module, (uint32_t)i) - 1.0f) * bound;
}

// Box and Muller's: two uniform numbers an element.
static void draw_gaussian(inl_lora_pair *p, uint32_t seed)
{
    for (uint64_t i = 0; i < (uint64_t)p->r * p->in; i++) {
        double u = 1.0 - (double)inl_rng_f32(seed, p->module, (uint32_t)(2 * i)); // not 0
        double turn = (double)inl_rng_f32(seed, p->module, (uint32_t)(2 * i + 1));
        p->a[i] = (float)(sqrt(-2.0 * log(u)) * cos(2.0 * PI * turn) / (double)p->r);
    }
}

static void draw(inl_lora_pair *p, const inl_lora_params *params)
{
    if (params->init == INL_INIT_GAUSSIAN)
        draw_gaussian(p, params->seed);
    else if (params->init == INL_INIT_UNIFORM)
        draw_uniform(p, params->seed);
}

static inlay_result fill(inl_lora *lora, const inl_module_list *modules,
                         const inl_lora_params *params, const bool *selected)
{
    lora->r = params->r ? params->r : DEFAULT_RANK;
    lora->alpha = params->alpha > 0.0f ? inl_lora_decimal(params->alpha) : 2.0 * (double)lora->r;
    lora->dropout = params->dropout;
    lora->use_rslora = params->use_rslora;
    lora->use_dora = lora->magnitudes_unset = params->use_dora;
    snprintf(lora->architecture, sizeof(lora->architecture), "%s", modules->architecture);
    bool double_rank = params->init == INL_INIT_PISSA || params->init == INL_INIT_OLORA;
    lora->init = double_rank ? params->init : INL_INIT_UNIFORM;
    lora->init_rounds = params->init_rounds;
    if (double_rank && lora->dropout > 0.0f)
        return inl_fail(&lora->env, INLAY_ERROR_UNSUPPORTED,
                        "PiSSA and OLoRA are not supported together with dropout");
    uint32_t most = INL_LORA_MAX_RANK / (double_rank ? 2 : 1);
    if (lora->r > most)
        return inl_fail(&lora->env, INLAY_ERROR_INVALID_ARGUMENT, "a rank of %u is more than %u",
                        lora->r, most);
    for (uint32_t i = 0; i < modules->count; i++) {
        const inl_module *m = &modules->items[i];
        if (!selected[i])
            continue;
        inl_lora_pair *p;
        uint32_t rank = double_rank ? 2 * lora->r : lora->r;
        if (double_rank && lora->r > INL_MIN(m->in, m->out))
            return inl_fail(&lora->env, INLAY_ERROR_INVALID_ARGUMENT,
                            "%s is %u x %u: there are no %u first values in it", m->path, m->out,
                            m->in, lora->r);
        INL_TRY(inl_lora_add_pair(lora, i, m->path, rank, m->in, m->out, &p));
        p->frozen = rank - lora->r;
        p->scale = inl_lora_scale(lora->alpha, lora->r, lora->use_rslora);
        draw(p, params);
        if (lora->use_dora)
            INL_TRY(inl_lora_add_magnitude(lora, p));
        lora->has_head |= m->is_head;
    }
    if (double_rank) { // the scale stays as it is
        lora->alpha = lora->use_rslora ? lora->alpha * sqrt(2.0) : 2.0 * lora->alpha;
        lora->r *= 2;
    }
    return inl_lora_finish(lora, modules);
}

inlay_result inl_lora_create(const inl_env *env, const inl_module_list *modules,
                             const inl_lora_params *params, inl_lora **out)
{
    *out = NULL;
    bool *selected = inl_alloc(env, (size_t)modules->count + 1, sizeof(*selected));
    if (!selected)
        return INLAY_ERROR_OUT_OF_MEMORY;
    inlay_result result = inl_targets_match(env, modules, params->target_modules, selected);
    if (result == INLAY_OK)
        result = inl_lora_begin(env, modules->count, "new", out);
    if (result == INLAY_OK)
        result = fill(*out, modules, params, selected);
    inl_free(env, selected);
    if (result != INLAY_OK)
        inl_lora_destroy(out);
    return result;
}

// ---- loading

static inlay_result load_folder(const inl_env *env, const inl_module_list *modules,
                                const char *path, inl_lora **out)
{
    char *config = inl_path_join(env, path, "adapter_config.json");
    if (!config)
        return INLAY_ERROR_OUT_OF_MEMORY;
    bool there = inl_exists(config);
    inl_free(env, config);
    if (there)
        return inl_lora_load_peft(env, modules, path, out);
    return inl_fail(env, INLAY_ERROR_NOT_FOUND, "%s holds no adapter_config.json", path);
}

static inlay_result check_magic(const inl_env *env, const char *path)
{
    inl_map map;
    INL_TRY(inl_map_open(env, path, &map));
    bool gguf = map.size >= 4 && memcmp(map.data, "GGUF", 4) == 0;
    inl_map_close(&map);
    if (gguf)
        return INLAY_OK;
    return inl_fail(env, INLAY_ERROR_BAD_FILE,
                    "%s is no adapter: neither a GGUF file nor a folder with adapter_config.json",
                    path);
}

inlay_result inl_lora_load(const inl_env *env, const inl_module_list *modules, const char *path,
                           inl_lora **out)
{
    *out = NULL;
    if (inl_is_folder(path))
        return load_folder(env, modules, path, out);
    size_t length = strlen(path);
    if (length < 5 || strcmp(path + length - 5, ".gguf") != 0)
        INL_TRY(check_magic(env, path));
    return inl_lora_load_gguf(env, modules, path, out);
}

uint32_t inl_lora_count_together(const inl_lora *lora, const inl_module_list *modules,
                                 uint32_t first)
{
    const inl_module *m = &modules->items[lora->pairs[first].module];
    uint32_t count = 1;
    while (m->experts > 0 && first + count < lora->pair_count &&
           strcmp(modules->items[lora->pairs[first + count].module].gguf, m->gguf) == 0)
        count++;
    return count;
}
