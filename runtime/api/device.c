// SPDX-License-Identifier: MIT
// inlay/device.h and inlay/vulkan.h.
#include "gpu/import.h"

#include "api/handles.h"
#include "op/matrix.h"

#include <inlay/vulkan.h>
#include <stdio.h>
#include <string.h>

// Why this build has no kernel of a path, or NULL: it has one.
static const char *absent(inl_path path)
{
    static const char *const compilers[INL_PATH_COUNT] = {
        [INL_PATH_F16] = "built with a shader compiler without explicit f16 arithmetic",
        [INL_PATH_DOT8] = "built with a shader compiler without GL_EXT_integer_dot_product",
        [INL_PATH_MATRIX] = "built with a shader compiler without GL_KHR_cooperative_matrix",
    };
    bool listed = path == INL_PATH_F32;
    for (uint32_t i = 0; i < INL_KERNEL_COUNT; i++) {
        if (!(inl_kernels[i].needs >> path & 1u))
            continue;
        if (inl_kernels[i].code)
            return NULL;
        listed = true;
    }
    return path == INL_PATH_F32 ? NULL : listed ? compilers[path] : "no kernel needs it yet";
}

static void fill_paths(const inl_gpu_caps *caps, inlay_device_info *info)
{
    for (inl_path p = 0; p < INL_PATH_COUNT; p++) {
        const inl_path_state *state = &caps->paths[p];
        const char *why = !caps->usable ? caps->unusable_reason : state->able ? absent(p) : NULL;
        inlay_kernel_path *path = &info->paths[info->path_count++];
        path->available = caps->usable && !why && state->on;
        snprintf(path->name, sizeof(path->name), "%s", inl_path_name(p));
        snprintf(path->reason, sizeof(path->reason), "%s", why ? why : state->reason);
    }
}

static void fill_absent(const char *reasons[INL_PATH_COUNT])
{
    for (inl_path p = 0; p < INL_PATH_COUNT; p++)
        reasons[p] = absent(p);
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
    inlay_result tested = device ? inl_matrix_self_test(env, gpu) : INLAY_ERROR_OUT_OF_MEMORY;
    if (tested != INLAY_OK) {
        inl_free(env, device);
        inl_gpu_destroy(&gpu);
        return tested;
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
    const char *reasons[INL_PATH_COUNT];
    fill_absent(reasons);
    inl_gpu_params p = {.absent = reasons};
    if (params)
        p = (inl_gpu_params){.select = params->select,
                             .memory_budget_bytes = params->memory_budget_bytes,
                             .max_submit_ms = params->max_submit_ms,
                             .validation = params->validation,
                             .pipeline_cache_path = params->pipeline_cache_path,
                             .tuning_path = params->tuning_path,
                             .paths = params->paths,
                             .absent = reasons,
                             .compile_threads = params->compile_threads};
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

inlay_result inlay_device_import(inlay_device **out, const inlay_env *public_env,
                                 const inlay_device_import_params *params)
{
    inl_env env = inl_env_resolve(public_env);
    INL_REQUIRE(&env, out != NULL);
    *out = NULL;
    INL_REQUIRE(&env, params != NULL);
    const char *reasons[INL_PATH_COUNT];
    fill_absent(reasons);
    inl_gpu_import_params p = {.instance = params->instance,
                               .physical = params->physical_device,
                               .device = params->device,
                               .get_proc = params->get_instance_proc_addr,
                               .queue = params->queue,
                               .queue_family = params->queue_family,
                               .lock_queue = params->lock_queue,
                               .unlock_queue = params->unlock_queue,
                               .queue_user = params->queue_user,
                               .extensions = params->extensions,
                               .extension_count = params->extension_count,
                               .features = params->features,
                               .paths = params->paths,
                               .absent = reasons,
                               .memory_budget_bytes = params->memory_budget_bytes,
                               .max_submit_ms = params->max_submit_ms,
                               .pipeline_cache_path = params->pipeline_cache_path,
                               .tuning_path = params->tuning_path,
                               .compile_threads = params->compile_threads};
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
