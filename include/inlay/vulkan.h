// SPDX-License-Identifier: MIT
// Running on a VkDevice that the host application made and keeps. The only public header that needs
// Vulkan's own.
#ifndef INLAY_VULKAN_H
#define INLAY_VULKAN_H

#include <inlay/device.h>
#include <vulkan/vulkan_core.h>

INLAY_BEGIN

typedef struct inlay_device_import_params {
    VkInstance instance; // Vulkan 1.2 or newer
    VkPhysicalDevice physical_device;
    VkDevice device; // created with inlay_required_features() enabled
    // NULL: the system's loader is opened. Must resolve core 1.2 names.
    PFN_vkGetInstanceProcAddr get_instance_proc_addr;

    VkQueue queue; // with compute; inlay submits to it and never waits for it to be idle
    uint32_t queue_family;
    // Called around every vkQueueSubmit when not NULL: the host's own lock for `queue`.
    void (*lock_queue)(void *user);
    void (*unlock_queue)(void *user);
    void *queue_user;

    const char *const *extensions; // device extensions the host enabled
    uint32_t extension_count;
    // What the host enabled; NULL: what is required. Faster kernels are used where there is also:
    // for "matrix" VK_KHR_cooperative_matrix with cooperativeMatrix, and shaderFloat16,
    // vulkanMemoryModel, vulkanMemoryModelDeviceScope, subgroupSizeControl, computeFullSubgroups;
    // for "f16" shaderFloat16 and storageBuffer16BitAccess; for "dot8" shaderIntegerDotProduct.
    const VkPhysicalDeviceFeatures2 *features;
    const char *paths; // as in inlay_device_params

    uint64_t memory_budget_bytes; // 0: what the driver says is free
    uint32_t max_submit_ms;       // 0: 100
    const char *pipeline_cache_path, *tuning_path; // as in inlay_device_params
    // As in inlay_device_params: they call vkCreateShaderModule and vkCreateComputePipelines on
    // `device`, with a pipeline cache of inlay's own, which needs no lock of the host.
    uint32_t compile_threads;
} inlay_device_import_params;

// Adopts the host's device: nothing is created on it but memory, buffers, pipelines, pools and
// semaphores, all gone after inlay_device_destroy; the host's handles are never destroyed.
// The params need to live during the call alone, the handles as long as *out.
INLAY_API inlay_result inlay_device_import(inlay_device **out, const inlay_env *env,
                                           const inlay_device_import_params *params);

// The features a host must enable: a static, constant chain to merge or to compare with.
// (timelineSemaphore of Vulkan 1.2.)
INLAY_API const VkPhysicalDeviceFeatures2 *inlay_required_features(void);

INLAY_END

#endif
