// SPDX-License-Identifier: MIT
#include "adapter/pairs.h"
#include "adapter/targets.h"
#include "base/file.h"
#include "base/rng.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#define DEFAULT_RANK 16

float inl_lora_scale(float alpha, uint32_t r, bool rslora)
{
    return rslora ? alpha / sqrtf((float)r) : alpha / (float)r;
}

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
    p->path = inl_strdup(&lora->env, path);
    p->a = inl_alloc(&lora->env, (size_t)r * in, sizeof(float));
    p->b = inl_alloc(&lora->env, (size_t)out * r, sizeof(float));
    *pair = p;
    return p->path && p->a && p->b ? INLAY_OK : INLAY_ERROR_OUT_OF_MEMORY;
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
    }
    inl_free(&env, lora->pairs);
    for (uint32_t i = 0; i < lora->target_count; i++)
        inl_free(&env, lora->targets[i]);
    inl_free(&env, lora->targets);
    inl_free(&env, lora);
}

static const char *last_part(const char *path)
{
    const char *dot = strrchr(path, '.');
    return dot ? dot + 1 : path;
}

// A suffix names all modules that end in it: enough when each of those has a pair; else whole paths.
static bool suffixes_suffice(const inl_lora *lora, const inl_module_list *modules)
{
    for (uint32_t i = 0; i < modules->count; i++) {
        bool named = false, paired = false;
        for (uint32_t p = 0; p < lora->pair_count; p++) {
            named |= strcmp(last_part(lora->pairs[p].path), last_part(modules->items[i].path)) == 0;
            paired |= lora->pairs[p].module == i;
        }
        if (named != paired)
            return false;
    }
    return true;
}

inlay_result inl_lora_name_targets(inl_lora *lora, const inl_module_list *modules)
{
    bool suffixes = !modules || suffixes_suffice(lora, modules);
    lora->targets = inl_alloc(&lora->env, (size_t)lora->pair_count + 1, sizeof(*lora->targets));
    if (!lora->targets)
        return INLAY_ERROR_OUT_OF_MEMORY;
    for (uint32_t i = 0; i < lora->pair_count; i++) {
        const char *name = suffixes ? last_part(lora->pairs[i].path) : lora->pairs[i].path;
        bool known = false;
        for (uint32_t t = 0; t < lora->target_count; t++)
            known |= strcmp(lora->targets[t], name) == 0;
        if (known)
            continue;
        lora->targets[lora->target_count] = inl_strdup(&lora->env, name);
        if (!lora->targets[lora->target_count++])
            return INLAY_ERROR_OUT_OF_MEMORY;
    }
    return INLAY_OK;
}

// U(-1/sqrt(in), 1/sqrt(in)): PEFT's kaiming_uniform with a = sqrt(5).
static void draw(inl_lora_pair *p, uint32_t seed)
{
    float bound = 1.0f / sqrtf((float)p->in);
    for (uint32_t i = 0; i < p->r * p->in; i++)
        p->a[i] = (2.0f * inl_rng_f32(seed, p->module, i) - 1.0f) * bound;
}

static inlay_result fill(inl_lora *lora, const inl_module_list *modules,
                         const inl_lora_params *params, const bool *selected)
{
    lora->r = params->r ? params->r : DEFAULT_RANK;
    lora->alpha = params->alpha > 0.0f ? params->alpha : 2.0f * (float)lora->r;
    lora->dropout = params->dropout;
    lora->use_rslora = params->use_rslora;
    snprintf(lora->architecture, sizeof(lora->architecture), "%s", modules->architecture);
    for (uint32_t i = 0; i < modules->count; i++) {
        const inl_module *m = &modules->items[i];
        if (!selected[i])
            continue;
        if (lora->r > m->in || lora->r > m->out)
            return inl_fail(&lora->env, INLAY_ERROR_INVALID_ARGUMENT,
                            "a rank of %u is more than %s's %u x %u has", lora->r, m->path, m->out,
                            m->in);
        inl_lora_pair *p;
        INL_TRY(inl_lora_add_pair(lora, i, m->path, lora->r, m->in, m->out, &p));
        p->scale = inl_lora_scale(lora->alpha, lora->r, lora->use_rslora);
        draw(p, params->seed);
        lora->has_head |= m->is_head;
    }
    return inl_lora_name_targets(lora, modules);
}

inlay_result inl_lora_create(const inl_env *env, const inl_module_list *modules,
                             const inl_lora_params *params, inl_lora **out)
{
    bool *selected = inl_alloc(env, modules->count, sizeof(*selected));
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

inlay_result inl_lora_check_finite(const inl_lora *lora, const char *file)
{
    for (uint32_t i = 0; i < lora->pair_count; i++) {
        const inl_lora_pair *p = &lora->pairs[i];
        for (uint64_t k = 0; k < (uint64_t)p->r * ((uint64_t)p->in + p->out); k++) {
            bool in_a = k < (uint64_t)p->r * p->in;
            float v = in_a ? p->a[k] : p->b[k - (uint64_t)p->r * p->in];
            if (!isfinite(v))
                return inl_fail(&lora->env, INLAY_ERROR_NOT_FINITE,
                                "%s: tensor lora_%c of %s has NaN or infinity", file,
                                in_a ? 'A' : 'B', p->path);
        }
    }
    return INLAY_OK;
}

static inlay_result load_folder(const inl_env *env, const inl_module_list *modules, const char *path,
                                inl_lora **out)
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

inlay_result inl_lora_load(const inl_env *env, const inl_module_list *modules, const char *path,
                           inl_lora **out)
{
    *out = NULL;
    if (inl_is_folder(path))
        return load_folder(env, modules, path, out);
    return inl_lora_load_gguf(env, modules, path, out);
}
