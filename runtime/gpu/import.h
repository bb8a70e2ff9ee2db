// SPDX-License-Identifier: MIT
// Adopting a host application's VkDevice. Only api/ includes this from outside gpu/.
#ifndef INL_GPU_IMPORT_H
#define INL_GPU_IMPORT_H

#include "gpu/gpu.h"

#include <volk.h>

typedef struct inl_gpu_import_params {
    VkInstance instance;
    VkPhysicalDevice physical;
    VkDevice device;
    PFN_vkGetInstanceProcAddr get_proc;
    VkQueue queue;
    uint32_t queue_family;
    void (*lock_queue)(void *);
    void (*unlock_queue)(void *);
    void *queue_user;
    const char *const *extensions; // enabled
    uint32_t extension_count;
    const VkPhysicalDeviceFeatures2 *features; // enabled; NULL: what is required
    const char *paths;
    const char *const *absent; // as in inl_gpu_params
    uint64_t memory_budget_bytes;
    uint32_t max_submit_ms;
    const char *pipeline_cache_path, *tuning_path;
    uint32_t compile_threads; // as inl_gpu_params
} inl_gpu_import_params;

inlay_result inl_gpu_import(const inl_env *env, const inl_gpu_import_params *params, inl_gpu **out);

#endif
