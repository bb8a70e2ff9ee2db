// SPDX-License-Identifier: MIT
// What the files of gpu/ share: Vulkan through volk, and the structs behind gpu.h's handles.
#ifndef INL_GPU_VK_H
#define INL_GPU_VK_H

#include "gpu/gpu.h"

#include <volk.h>

struct inl_gpu {
    inl_env env;
    inl_gpu_caps caps;
    bool imported; // instance and device are the host's
    VkInstance instance;
    VkDebugUtilsMessengerEXT messenger;
    uint32_t validation_errors;
    VkPhysicalDevice physical;
    VkDevice device;
    struct VolkDeviceTable vk;
    VkPhysicalDeviceMemoryProperties memory;
    VkQueue queue;
    uint32_t queue_family;
    void (*lock_queue)(void *);
    void (*unlock_queue)(void *);
    void *queue_user;
    uint32_t max_submit_ms;

    VkSemaphore timeline;
    uint64_t submitted; // last timeline value handed out
    VkCommandPool pool;
    bool lost;

    uint64_t budget, used, peak; // bytes
    inl_buffer *staging;         // INL_MEMORY_HOST, made on first use
    VkCommandBuffer transfer;

    VkPipelineCache pipeline_cache;
    char *cache_path;
    inl_pipeline **pipelines;
    size_t pipeline_count, pipeline_cap;
};

struct inl_buffer {
    VkBuffer buffer;
    VkDeviceMemory memory;
    uint64_t size, allocated; // bytes asked for, bytes taken
    void *map;
};

struct inl_pipeline {
    const uint32_t *code; // with spec, the key
    uint32_t spec[24];
    uint32_t spec_count;
    uint32_t binding_count, push_bytes;
    VkDescriptorSetLayout set_layout;
    VkPipelineLayout layout;
    VkPipeline pipeline;
};

struct inl_commands {
    inl_gpu *gpu;
    VkCommandBuffer buffer;
    VkDescriptorPool descriptors;
    VkQueryPool queries;
    uint32_t timestamp_count, max_timestamps;
    VkPipeline bound;
};

// Logs `what` with Vulkan's result and translates it; remembers a lost device.
inlay_result inl_vk_fail(inl_gpu *gpu, VkResult result, const char *what);
#define INL_VK(gpu, call, what)                                                                    \
    do {                                                                                           \
        VkResult inl_vk_ = (call);                                                                 \
        if (inl_vk_ != VK_SUCCESS)                                                                 \
            return inl_vk_fail(gpu, inl_vk_, what);                                                \
    } while (0)

// instance.c: opens the loader once per process; false when there is none.
bool inl_vk_load(PFN_vkGetInstanceProcAddr get_proc);
inlay_result inl_vk_create_instance(inl_gpu *gpu, bool validation);
void inl_vk_destroy_instance(inl_gpu *gpu);
// caps.c
void inl_caps_read(VkPhysicalDevice physical, inl_gpu_caps *caps);
bool inl_caps_has_extension(VkPhysicalDevice physical, const char *name);
uint32_t inl_caps_compute_family(VkPhysicalDevice physical); // UINT32_MAX: none
// device.c: what create and import have in common, after device and queue are set.
inlay_result inl_gpu_finish(inl_gpu *gpu, uint64_t memory_budget_bytes, uint32_t max_submit_ms);
// pipecache.c
inlay_result inl_pipecache_open(inl_gpu *gpu, const char *path);
void inl_pipecache_close(inl_gpu *gpu);
void inl_pipelines_destroy(inl_gpu *gpu);

#endif
