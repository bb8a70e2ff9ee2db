// SPDX-License-Identifier: MIT
// Choosing a physical device, making the logical one, and what own and imported devices share.
#include "base/parallel.h"
#include "gpu/vk.h"

#include <ctype.h>
#include <stdlib.h>
#include <string.h>

#define DEFAULT_SUBMIT_MS 100

static bool contains_ignoring_case(const char *text, const char *part)
{
    size_t len = strlen(part);
    for (; *text; text++) {
        size_t i = 0;
        while (i < len && tolower((unsigned char)text[i]) == tolower((unsigned char)part[i]))
            i++;
        if (i == len)
            return true;
    }
    return false;
}

static int rank_of(const inl_gpu_caps *caps)
{
    static const int by_type[] = {1, 4, 5, 3, 2}; // other, integrated, discrete, virtual, CPU
    return by_type[caps->type];
}

// Digits are an index where there is a device of that index, else a part of a name: "4090".
static bool selected(const char *select, uint32_t index, uint32_t count, const inl_gpu_caps *caps)
{
    if (!select || !*select)
        return true;
    char *end;
    unsigned long number = strtoul(select, &end, 10);
    if (*end == '\0' && number < count)
        return number == index;
    return contains_ignoring_case(caps->name, select) ||
           contains_ignoring_case(caps->vendor, select);
}

static inlay_result choose(inl_gpu *gpu, const char *select)
{
    VkPhysicalDevice devices[32];
    uint32_t count = INL_COUNT(devices);
    const inl_instance *instance = &gpu->instance;
    VkResult result = instance->vkEnumeratePhysicalDevices(instance->handle, &count, devices);
    if ((result != VK_SUCCESS && result != VK_INCOMPLETE) || count == 0)
        return inl_fail(&gpu->env, INLAY_ERROR_NO_DEVICE, "there is no Vulkan device");
    int best = 0;
    inl_gpu_caps refused = {0};
    for (uint32_t i = 0; i < count; i++) {
        inl_gpu_caps caps;
        inl_caps_read(instance, devices[i], NULL, &caps);
        if (!selected(select, i, count, &caps))
            continue;
        if (!caps.usable)
            refused = caps;
        else if (rank_of(&caps) > best) {
            best = rank_of(&caps);
            gpu->physical = devices[i];
            gpu->caps = caps;
        }
    }
    if (best > 0)
        return INLAY_OK;
    if (refused.name[0])
        return inl_fail(&gpu->env, INLAY_ERROR_UNSUPPORTED, "cannot use %s: %s", refused.name,
                        refused.unusable_reason);
    return inl_fail(&gpu->env, INLAY_ERROR_NOT_FOUND, "no Vulkan device matches \"%s\"", select);
}

static inlay_result create_device(inl_gpu *gpu)
{
    gpu->queue_family = inl_caps_compute_family(&gpu->instance, gpu->physical);
    inl_features_read(&gpu->instance, gpu->physical, gpu->caps.api_version, &gpu->features);
    inl_paths_restrict(&gpu->caps, &gpu->features);
    INL_TRY(inl_vk_create_device(gpu, NULL, NULL, &gpu->device));
    inl_vk_load_device(gpu);
    gpu->vk.vkGetDeviceQueue(gpu->device, gpu->queue_family, 0, &gpu->queue);
    return INLAY_OK;
}

static void read_timestamps(inl_gpu *gpu)
{
    VkQueueFamilyProperties family = {0};
    (void)inl_caps_queue_family(&gpu->instance, gpu->physical, gpu->queue_family, &family);
    uint32_t bits = family.timestampValidBits;
    gpu->timestamp_mask = bits < 64 ? (1ull << bits) - 1 : UINT64_MAX;
    if (bits == 0)
        gpu->caps.timestamp_ns = 0.0f;
}

inlay_result inl_gpu_finish(inl_gpu *gpu, uint64_t memory_budget_bytes, uint32_t max_submit_ms,
                            uint32_t compile_threads)
{
    VkPhysicalDeviceMemoryProperties2 memory = {
        .sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_MEMORY_PROPERTIES_2};
    gpu->instance.vkGetPhysicalDeviceMemoryProperties2(gpu->physical, &memory);
    gpu->memory = memory.memoryProperties;
    read_timestamps(gpu);
    gpu->budget = memory_budget_bytes ? memory_budget_bytes : gpu->caps.budget_bytes;
    gpu->max_submit_ms = max_submit_ms ? max_submit_ms : DEFAULT_SUBMIT_MS;
    gpu->compile_threads =
        compile_threads ? compile_threads : INL_MIN(inl_processors(), INL_COMPILE_THREADS);
    VkSemaphoreTypeCreateInfo type = {.sType = VK_STRUCTURE_TYPE_SEMAPHORE_TYPE_CREATE_INFO,
                                      .semaphoreType = VK_SEMAPHORE_TYPE_TIMELINE};
    VkSemaphoreCreateInfo semaphore = {.sType = VK_STRUCTURE_TYPE_SEMAPHORE_CREATE_INFO,
                                       .pNext = &type};
    INL_VK(gpu, gpu->vk.vkCreateSemaphore(gpu->device, &semaphore, NULL, &gpu->timeline),
           "create a timeline semaphore");
    VkCommandPoolCreateInfo pool = {.sType = VK_STRUCTURE_TYPE_COMMAND_POOL_CREATE_INFO,
                                    .flags = VK_COMMAND_POOL_CREATE_RESET_COMMAND_BUFFER_BIT,
                                    .queueFamilyIndex = gpu->queue_family};
    INL_VK(gpu, gpu->vk.vkCreateCommandPool(gpu->device, &pool, NULL, &gpu->pool),
           "create a command pool");
    VkCommandBufferAllocateInfo buffers = {.sType = VK_STRUCTURE_TYPE_COMMAND_BUFFER_ALLOCATE_INFO,
                                           .commandPool = gpu->pool,
                                           .level = VK_COMMAND_BUFFER_LEVEL_PRIMARY,
                                           .commandBufferCount = 1};
    INL_VK(gpu, gpu->vk.vkAllocateCommandBuffers(gpu->device, &buffers, &gpu->transfer),
           "allocate a command buffer");
    return INLAY_OK;
}

static inlay_result create(inl_gpu *gpu, const inl_gpu_params *params)
{
    if (!inl_vk_loader())
        return inl_fail(&gpu->env, INLAY_ERROR_NO_DEVICE,
                        "there is no Vulkan loader (libvulkan.so.1) on this machine");
    INL_TRY(inl_vk_create_instance(gpu, params->validation));
    INL_TRY(choose(gpu, params->select));
    INL_TRY(inl_paths_select(&gpu->env, params->paths, params->absent, &gpu->caps));
    INL_TRY(create_device(gpu));
    INL_TRY(inl_gpu_finish(gpu, params->memory_budget_bytes, params->max_submit_ms,
                           params->compile_threads));
    INL_TRY(inl_tuning_open(gpu, params->tuning_path));
    return inl_pipecache_open(gpu, params->pipeline_cache_path);
}

inlay_result inl_gpu_create(const inl_env *env, const inl_gpu_params *params, inl_gpu **out)
{
    *out = NULL;
    inl_gpu *gpu = inl_alloc(env, 1, sizeof(*gpu));
    if (!gpu)
        return INLAY_ERROR_OUT_OF_MEMORY;
    gpu->env = *env;
    inlay_result result = create(gpu, params ? params : &(inl_gpu_params){0});
    if (result != INLAY_OK) {
        inl_gpu_destroy(&gpu);
        return result;
    }
    *out = gpu;
    return INLAY_OK;
}

void inl_gpu_destroy(inl_gpu **handle)
{
    inl_gpu *gpu = *handle;
    if (!gpu)
        return;
    *handle = NULL;
    if (gpu->device) {
        if (!gpu->lost && gpu->timeline)
            (void)inl_gpu_wait(gpu, gpu->submitted);
        inl_buffer_destroy(gpu, &gpu->staging);
        inl_pipelines_destroy(gpu);
        inl_pipecache_close(gpu);
        if (gpu->pool)
            gpu->vk.vkDestroyCommandPool(gpu->device, gpu->pool, NULL);
        if (gpu->timeline)
            gpu->vk.vkDestroySemaphore(gpu->device, gpu->timeline, NULL);
        if (!gpu->imported)
            gpu->vk.vkDestroyDevice(gpu->device, NULL);
    }
    if (!gpu->imported)
        inl_vk_destroy_instance(gpu);
    inl_env env = gpu->env;
    inl_free(&env, gpu->tuning_path);
    inl_free(&env, gpu);
}

const inl_gpu_caps *inl_gpu_get_caps(const inl_gpu *gpu)
{
    return &gpu->caps;
}

inl_gpu_caps *inl_gpu_change_caps(inl_gpu *gpu)
{
    return &gpu->caps;
}

uint64_t inl_gpu_budget(const inl_gpu *gpu)
{
    return gpu->budget;
}

uint64_t inl_gpu_used(const inl_gpu *gpu)
{
    return gpu->used;
}

uint64_t inl_gpu_available(const inl_gpu *gpu)
{
    return gpu->budget - INL_MIN(gpu->budget, gpu->used);
}

uint64_t inl_gpu_peak(const inl_gpu *gpu)
{
    return gpu->peak;
}

uint32_t inl_gpu_max_submit_ms(const inl_gpu *gpu)
{
    return gpu->max_submit_ms;
}

uint32_t inl_gpu_validation_errors(const inl_gpu *gpu)
{
    return gpu->validation_errors;
}

inlay_result inl_vk_fail(inl_gpu *gpu, VkResult result, const char *what)
{
    switch (result) {
    case VK_ERROR_DEVICE_LOST:
        gpu->lost = true;
        return inl_fail(&gpu->env, INLAY_ERROR_DEVICE_LOST, "the device was lost (%s)", what);
    case VK_ERROR_OUT_OF_HOST_MEMORY:
        return inl_fail(&gpu->env, INLAY_ERROR_OUT_OF_MEMORY, "out of host memory (%s)", what);
    case VK_ERROR_OUT_OF_DEVICE_MEMORY:
    case VK_ERROR_OUT_OF_POOL_MEMORY:
        return inl_fail(&gpu->env, INLAY_ERROR_OUT_OF_DEVICE_MEMORY, "out of device memory (%s)",
                        what);
    default:
        return inl_fail(&gpu->env, INLAY_ERROR_INTERNAL, "the driver could not %s (VkResult %d)",
                        what, result);
    }
}
