// SPDX-License-Identifier: MIT
#include "gpu/import.h"
#include "gpu/vk.h"

static inlay_result check_queue(inl_gpu *gpu, uint32_t family)
{
    VkQueueFamilyProperties properties;
    if (!inl_caps_queue_family(&gpu->instance, gpu->physical, family, &properties) ||
        !(properties.queueFlags & VK_QUEUE_COMPUTE_BIT))
        return inl_fail(&gpu->env, INLAY_ERROR_UNSUPPORTED,
                        "the imported queue's family %u is none that computes", family);
    return INLAY_OK;
}

static inlay_result adopt(inl_gpu *gpu, const inl_gpu_import_params *p)
{
    PFN_vkGetInstanceProcAddr get_proc = p->get_proc ? p->get_proc : inl_vk_loader();
    if (!get_proc)
        return inl_fail(&gpu->env, INLAY_ERROR_NO_DEVICE,
                        "there is no Vulkan loader to import with");
    if (!inl_vk_load_instance(get_proc, p->instance, &gpu->instance))
        return inl_fail(&gpu->env, INLAY_ERROR_UNSUPPORTED,
                        "the imported instance does not have Vulkan 1.1's functions");
    gpu->physical = p->physical;
    inl_features_enabled(p->features, p->extensions, p->extension_count, &gpu->features);
    inl_caps_read(&gpu->instance, p->physical, &gpu->features, &gpu->caps);
    if (!gpu->caps.usable)
        return inl_fail(&gpu->env, INLAY_ERROR_UNSUPPORTED, "cannot use %s: %s", gpu->caps.name,
                        gpu->caps.unusable_reason);
    if (!gpu->features.timeline)
        return inl_fail(&gpu->env, INLAY_ERROR_UNSUPPORTED,
                        "the imported device was created without the feature timelineSemaphore");
    INL_TRY(inl_paths_select(&gpu->env, p->paths, p->absent, &gpu->caps));
    inl_paths_restrict(&gpu->caps, &gpu->features);
    INL_TRY(check_queue(gpu, p->queue_family));
    gpu->device = p->device;
    inl_vk_load_device(gpu);
    if (!gpu->vk.vkQueueSubmit || !gpu->vk.vkWaitSemaphores)
        return inl_fail(&gpu->env, INLAY_ERROR_UNSUPPORTED,
                        "the imported device does not have Vulkan 1.2's functions");
    gpu->queue = p->queue;
    gpu->queue_family = p->queue_family;
    gpu->lock_queue = p->lock_queue;
    gpu->unlock_queue = p->unlock_queue;
    gpu->queue_user = p->queue_user;
    INL_TRY(inl_gpu_finish(gpu, p->memory_budget_bytes, p->max_submit_ms, p->compile_threads));
    INL_TRY(inl_tuning_open(gpu, p->tuning_path));
    return inl_pipecache_open(gpu, p->pipeline_cache_path);
}

inlay_result inl_gpu_import(const inl_env *env, const inl_gpu_import_params *params, inl_gpu **out)
{
    *out = NULL;
    if (!params->instance || !params->physical || !params->device || !params->queue)
        return inl_fail(env, INLAY_ERROR_INVALID_ARGUMENT,
                        "an import needs instance, physical device, device and queue");
    inl_gpu *gpu = inl_alloc(env, 1, sizeof(*gpu));
    if (!gpu)
        return INLAY_ERROR_OUT_OF_MEMORY;
    gpu->env = *env;
    gpu->imported = true;
    inlay_result result = adopt(gpu, params);
    if (result != INLAY_OK) {
        inl_gpu_destroy(&gpu);
        return result;
    }
    *out = gpu;
    return INLAY_OK;
}
