// SPDX-License-Identifier: MIT
#include "api/handles.h"
#include "base/file.h"
#include "model/dora.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

inlay_result inl_check_adapter(const inl_env *env, const inlay_model *model,
                               const inlay_adapter *adapter)
{
    if (adapter && adapter->modules != &model->model->modules.list)
        return inl_fail(env, INLAY_ERROR_INVALID_ARGUMENT,
                        "the adapter was not made or loaded for this model handle");
    return INLAY_OK;
}

static inlay_result wrap(const inl_env *env, inl_lora *lora, const inlay_model *model,
                         inlay_adapter **out)
{
    inlay_adapter *handle = inl_alloc(env, 1, sizeof(*handle));
    if (!handle) {
        inl_lora_destroy(&lora);
        return INLAY_ERROR_OUT_OF_MEMORY;
    }
    *handle = (inlay_adapter){
        .env = *env, .lora = lora, .modules = model ? &model->model->modules.list : NULL};
    *out = handle;
    return INLAY_OK;
}

inlay_result inlay_adapter_create(inlay_adapter **out, const inlay_env *public_env,
                                  const inlay_model *model, const inlay_adapter_params *params)
{
    inl_env env = inl_env_resolve(public_env);
    INL_REQUIRE(&env, out != NULL);
    *out = NULL;
    INL_REQUIRE(&env, model != NULL);
    inl_lora_params p = {0};
    if (params)
        p = (inl_lora_params){.r = params->r,
                              .alpha = params->alpha,
                              .dropout = params->dropout,
                              .use_rslora = params->use_rslora,
                              .use_dora = params->use_dora,
                              .target_modules = params->target_modules,
                              .init = (inl_lora_init)params->init_lora_weights,
                              .init_rounds = params->pissa_niter,
                              .seed = params->seed};
    INL_REQUIRE(&env, p.dropout >= 0.0f && p.dropout < 1.0f);
    INL_REQUIRE(&env, p.alpha >= 0.0f && p.alpha < 1e6f);
    INL_REQUIRE(&env, p.r <= 4096 && (unsigned)p.init <= INL_INIT_OLORA);
    inl_lora *lora;
    INL_TRY(inl_lora_create(&env, &model->model->modules.list, &p, &lora));
    return wrap(&env, lora, model, out);
}

inlay_result inlay_adapter_load(inlay_adapter **out, const inlay_env *public_env,
                                const inlay_model *model, const char *path)
{
    inl_env env = inl_env_resolve(public_env);
    INL_REQUIRE(&env, out != NULL);
    *out = NULL;
    INL_REQUIRE(&env, path != NULL);
    inl_lora *lora;
    INL_TRY(inl_lora_load(&env, model ? &model->model->modules.list : NULL, path, &lora));
    return wrap(&env, lora, model, out);
}

inlay_result inlay_adapter_combine(inlay_adapter **out, const inlay_env *public_env,
                                   const inlay_model *model, const inlay_adapter *const *adapters,
                                   const float *scales, uint32_t count)
{
    inl_env env = inl_env_resolve(public_env);
    INL_REQUIRE(&env, out != NULL);
    *out = NULL;
    INL_REQUIRE(&env, model && adapters && count > 0);
    for (uint32_t i = 0; i < count; i++) {
        INL_REQUIRE(&env, adapters[i] != NULL);
        INL_REQUIRE(&env, !scales || isfinite(scales[i]));
        INL_TRY(inl_check_adapter(&env, model, adapters[i]));
    }
    const inl_lora **parts = inl_alloc(&env, count, sizeof(*parts));
    if (!parts)
        return INLAY_ERROR_OUT_OF_MEMORY;
    for (uint32_t i = 0; i < count; i++)
        parts[i] = adapters[i]->lora;
    inl_lora *sum;
    inlay_result result =
        inl_lora_combine(&env, &model->model->modules.list, parts, scales, count, &sum);
    inl_free(&env, (void *)parts);
    return result == INLAY_OK ? wrap(&env, sum, model, out) : result;
}

// A model's folder has a config.json of its own; PEFT's adapter_config.json says more.
static bool is_model_folder(const char *path)
{
    inl_env silent = inl_env_resolve(NULL);
    char *model = inl_path_join(&silent, path, "config.json");
    char *adapter = inl_path_join(&silent, path, "adapter_config.json");
    bool is_model = model && adapter && inl_exists(model) && !inl_exists(adapter);
    inl_free(&silent, model);
    inl_free(&silent, adapter);
    return is_model;
}

bool inlay_adapter_detect(const char *path)
{
    inl_env silent = inl_env_resolve(NULL);
    inl_gguf *file = NULL;
    inl_slice type;
    if (!path || inl_is_folder(path))
        return path && !is_model_folder(path);
    bool found = inl_gguf_open(&silent, path, &file) == INLAY_OK &&
                 inl_gguf_get_string(file, "general.type", &type) && type.size == 7 &&
                 memcmp(type.data, "adapter", 7) == 0;
    inl_gguf_close(&file);
    return found;
}

void inlay_adapter_destroy(inlay_adapter **handle)
{
    inlay_adapter *adapter = handle ? *handle : NULL;
    if (!adapter)
        return;
    *handle = NULL;
    inl_lora_destroy(&adapter->lora);
    inl_env env = adapter->env;
    inl_free(&env, adapter);
}

void inlay_adapter_get_info(const inlay_adapter *adapter, inlay_adapter_info *info)
{
    const inl_lora *lora = adapter->lora;
    *info = (inlay_adapter_info){.r = lora->r,
                                 .alpha = (float)lora->alpha,
                                 .dropout = lora->dropout,
                                 .use_rslora = lora->use_rslora,
                                 .use_dora = lora->use_dora,
                                 .pair_count = lora->pair_count};
    const inl_module_list *modules = adapter->modules;
    info->on_tied_head =
        lora->has_head && modules && modules->items[modules->count - 1].tied;
    if (lora->pair_count > 0)
        info->scale = lora->pairs[0].scale;
    for (uint32_t i = 0; i < lora->pair_count; i++) {
        const inl_lora_pair *p = &lora->pairs[i];
        info->parameters += inl_lora_pair_parameters(p);
    }
    snprintf(info->format, sizeof(info->format), "%s", lora->format);
    snprintf(info->architecture, sizeof(info->architecture), "%s", lora->architecture);
}

inlay_result inlay_adapter_get_pair(const inlay_adapter *adapter, uint32_t index,
                                    inlay_adapter_pair *pair)
{
    INL_REQUIRE(&adapter->env, index < adapter->lora->pair_count);
    const inl_lora_pair *p = &adapter->lora->pairs[index];
    *pair = (inlay_adapter_pair){
        .module = p->path, .r = p->r, .in = p->in, .out = p->out, .scale = p->scale};
    return INLAY_OK;
}

inlay_result inlay_adapter_save_peft(const inlay_adapter *adapter, const char *folder)
{
    INL_REQUIRE(&adapter->env, folder != NULL);
    INL_REQUIRE(&adapter->env, adapter->modules != NULL);
    return inl_lora_save_peft(adapter->lora, adapter->modules, folder);
}

inlay_result inlay_adapter_save_gguf(const inlay_adapter *adapter, const char *path)
{
    INL_REQUIRE(&adapter->env, path != NULL);
    INL_REQUIRE(&adapter->env, adapter->modules != NULL);
    return inl_lora_save_gguf(adapter->lora, adapter->modules, path);
}

// ---- on a device

static inlay_result upload(const inl_env *env, inl_resident_adapter *r)
{
    float *image = inl_alloc(env, r->slots.floats, sizeof(float));
    if (!image)
        return INLAY_ERROR_OUT_OF_MEMORY;
    inl_slots_pack(&r->slots, image);
    inlay_result result = inl_buffer_create(r->gpu, "the adapter", 4 * r->slots.floats,
                                            INL_MEMORY_DEVICE, &r->buffer);
    if (result == INLAY_OK)
        result = inl_gpu_upload(r->gpu, r->buffer, 0, image, 4 * r->slots.floats);
    inl_free(env, image);
    r->arena.weights = (inl_range){.buffer = r->buffer, .size = 4 * r->slots.floats};
    uint64_t norms = inl_dora_bytes(&r->slots);
    if (result == INLAY_OK && norms > 0)
        result = inl_buffer_create(r->gpu, "the norms", norms, INL_MEMORY_DEVICE, &r->norms);
    inl_dora_bind(&r->slots, r->norms, &r->arena);
    return result;
}

inlay_result inl_resident_start(const inl_env *env, const inl_weights *weights,
                                inl_resident_adapter *r)
{
    return inl_dora_start(env, r->gpu, weights, &r->slots, &r->arena, NULL);
}

inlay_result inl_resident_create(const inl_env *env, inl_gpu *gpu, const inl_model *model,
                                 const inlay_adapter *adapter, inl_resident_adapter *out)
{
    *out = (inl_resident_adapter){.gpu = gpu};
    inlay_result result =
        inl_slots_create(env, &model->config, adapter ? adapter->lora : NULL, &out->slots);
    if (result == INLAY_OK && adapter)
        result = upload(env, out);
    if (result != INLAY_OK)
        inl_resident_destroy(env, out);
    return result;
}

void inl_resident_destroy(const inl_env *env, inl_resident_adapter *resident)
{
    if (resident->buffer)
        inl_buffer_destroy(resident->gpu, &resident->buffer);
    if (resident->norms)
        inl_buffer_destroy(resident->gpu, &resident->norms);
    inl_slots_free(env, &resident->slots);
}
