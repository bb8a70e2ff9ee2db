// SPDX-License-Identifier: MIT
// inlay/device.h and inlay/vulkan.h.
#include "gpu/import.h"

#include "api/handles.h"

#include <inlay/vulkan.h>
#include <stdio.h>
#include <string.h>

static void add_path(inlay_device_info *info, const char *name, bool available, const char *reason)
{
    if (info->path_count == INLAY_DEVICE_MAX_PATHS)
        return;
    inlay_kernel_path *path = &info->paths[info->path_count++];
    snprintf(path->name, sizeof(path->name), "%s", name);
    path->available = available;
    snprintf(path->reason, sizeof(path->reason), "%s", available ? "" : reason);
}

static void fill_paths(const inl_gpu_caps *caps, inlay_device_info *info)
{
    add_path(info, "f32", caps->usable, caps->unusable_reason);
    add_path(info, "simd", caps->usable && caps->simd_lanes > 0,
             "for drivers that run subgroups in a CPU's vectors");
    add_path(info, "f16", false,
             caps->float16 && caps->storage16 ? "this build has no f16 arithmetic kernels"
                                              : "the driver has no f16 arithmetic or storage");
    add_path(info, "cooperative-matrix", false, "this build has no matrix-core kernels");
}

static void translate(const inl_gpu_caps *caps, inlay_device_info *info)
{
    *info = (inlay_device_info){.vendor_id = caps->vendor_id,
                                .device_id = caps->device_id,
                                .type = (inlay_device_type)caps->type,
                                .driver_version = caps->driver_version,
                                .api_version = caps->api_version,
                                .memory_bytes = caps->memory_bytes,
                                .budget_bytes = caps->budget_bytes,
                                .subgroup_size = caps->subgroup_size,
                                .subgroup_size_min = caps->subgroup_size_min,
                                .subgroup_size_max = caps->subgroup_size_max,
                                .shared_memory_bytes = caps->shared_memory_bytes,
                                .max_buffer_range_bytes = caps->max_buffer_range_bytes,
                                .max_allocation_bytes = caps->max_allocation_bytes,
                                .usable = caps->usable};
    memcpy(info->name, caps->name, sizeof(info->name));
    memcpy(info->vendor, caps->vendor, sizeof(info->vendor));
    memcpy(info->driver_name, caps->driver_name, sizeof(info->driver_name));
    memcpy(info->driver_info, caps->driver_info, sizeof(info->driver_info));
    memcpy(info->unusable_reason, caps->unusable_reason, sizeof(info->unusable_reason));
    fill_paths(caps, info);
}

inlay_result inlay_device_list(const inlay_env *public_env, inlay_device_info *infos,
                               uint32_t *count)
{
    inl_env env = inl_env_resolve(public_env);
    INL_REQUIRE(&env, count != NULL);
    uint32_t room = infos ? *count : 0;
    inl_gpu_caps *caps = inl_alloc(&env, room + 1, sizeof(*caps));
    if (!caps)
        return INLAY_ERROR_OUT_OF_MEMORY;
    *count = room;
    inlay_result result = inl_gpu_list(&env, infos ? caps : NULL, count);
    for (uint32_t i = 0; result == INLAY_OK && i < INL_MIN(room, *count); i++) {
        translate(&caps[i], &infos[i]);
        infos[i].index = i;
    }
    inl_free(&env, caps);
    return result;
}

static inlay_result wrap(const inl_env *env, inl_gpu *gpu, inlay_device **out)
{
    inlay_device *device = inl_alloc(env, 1, sizeof(*device));
    if (!device) {
        inl_gpu_destroy(&gpu);
        return INLAY_ERROR_OUT_OF_MEMORY;
    }
    *device = (inlay_device){.env = *env, .gpu = gpu};
    *out = device;
    return INLAY_OK;
}

inlay_result inlay_device_create(inlay_device **out, const inlay_env *public_env,
                                 const inlay_device_params *params)
{
    inl_env env = inl_env_resolve(public_env);
    INL_REQUIRE(&env, out != NULL);
    *out = NULL;
    inl_gpu_params p = {0};
    if (params)
        p = (inl_gpu_params){.select = params->select,
                             .memory_budget_bytes = params->memory_budget_bytes,
                             .max_submit_ms = params->max_submit_ms,
                             .validation = params->validation,
                             .pipeline_cache_path = params->pipeline_cache_path};
    inl_gpu *gpu;
    INL_TRY(inl_gpu_create(&env, &p, &gpu));
    return wrap(&env, gpu, out);
}

void inlay_device_destroy(inlay_device **handle)
{
    inlay_device *device = handle ? *handle : NULL;
    if (!device)
        return;
    *handle = NULL;
    inl_gpu_destroy(&device->gpu);
    inl_env env = device->env;
    inl_free(&env, device);
}

void inlay_device_get_info(const inlay_device *device, inlay_device_info *info)
{
    translate(inl_gpu_get_caps(device->gpu), info);
}

void inlay_device_get_memory(const inlay_device *device, uint64_t *used, uint64_t *peak)
{
    *used = inl_gpu_used(device->gpu);
    *peak = inl_gpu_peak(device->gpu);
}

static bool has_timeline(const VkPhysicalDeviceFeatures2 *features)
{
    const VkBaseInStructure *s = (const VkBaseInStructure *)features;
    for (; s; s = s->pNext) {
        if (s->sType == VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_VULKAN_1_2_FEATURES)
            return ((const VkPhysicalDeviceVulkan12Features *)s)->timelineSemaphore;
        if (s->sType == VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_TIMELINE_SEMAPHORE_FEATURES)
            return ((const VkPhysicalDeviceTimelineSemaphoreFeatures *)s)->timelineSemaphore;
    }
    return false;
}

inlay_result inlay_device_import(inlay_device **out, const inlay_env *public_env,
                                 const inlay_device_import_params *params)
{
    inl_env env = inl_env_resolve(public_env);
    INL_REQUIRE(&env, out != NULL);
    *out = NULL;
    INL_REQUIRE(&env, params != NULL);
    if (params->features && !has_timeline(params->features))
        return inl_fail(&env, INLAY_ERROR_UNSUPPORTED,
                        "the imported device was created without the feature timelineSemaphore");
    inl_gpu_import_params p = {.instance = params->instance,
                               .physical = params->physical_device,
                               .device = params->device,
                               .get_proc = params->get_instance_proc_addr,
                               .queue = params->queue,
                               .queue_family = params->queue_family,
                               .lock_queue = params->lock_queue,
                               .unlock_queue = params->unlock_queue,
                               .queue_user = params->queue_user,
                               .memory_budget_bytes = params->memory_budget_bytes,
                               .max_submit_ms = params->max_submit_ms};
    inl_gpu *gpu;
    INL_TRY(inl_gpu_import(&env, &p, &gpu));
    return wrap(&env, gpu, out);
}

const VkPhysicalDeviceFeatures2 *inlay_required_features(void)
{
    static const VkPhysicalDeviceVulkan12Features v12 = {
        .sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_VULKAN_1_2_FEATURES,
        .timelineSemaphore = VK_TRUE};
    static const VkPhysicalDeviceFeatures2 features = {
        .sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_FEATURES_2, .pNext = (void *)(uintptr_t)&v12};
    return &features;
}
