// SPDX-License-Identifier: MIT
// What the files of gpu/ share: Vulkan through volk, and the structs behind gpu.h's handles.
#ifndef INL_GPU_VK_H
#define INL_GPU_VK_H

#include "gpu/gpu.h"

#include "gpu/vk_late.h"

#include <volk.h>

// The functions of one instance. volk's globals are those of whichever instance was loaded last:
// with a host's own vkGetInstanceProcAddr they must not meet another instance's handles.
#define INL_INSTANCE_FUNCTIONS(X)                                                                  \
    X(vkDestroyInstance)                                                                           \
    X(vkEnumeratePhysicalDevices)                                                                  \
    X(vkEnumerateDeviceExtensionProperties)                                                        \
    X(vkGetPhysicalDeviceProperties)                                                               \
    X(vkGetPhysicalDeviceProperties2)                                                              \
    X(vkGetPhysicalDeviceFeatures2)                                                                \
    X(vkGetPhysicalDeviceMemoryProperties2)                                                        \
    X(vkGetPhysicalDeviceQueueFamilyProperties)                                                    \
    X(vkCreateDevice)                                                                              \
    X(vkGetDeviceProcAddr)
#define INL_INSTANCE_MEMBER(name) PFN_##name name;
typedef struct inl_instance {
    VkInstance handle;
    PFN_vkGetInstanceProcAddr get_proc;
    INL_INSTANCE_FUNCTIONS(INL_INSTANCE_MEMBER)
} inl_instance;

// Optional features: what a device has, or what is enabled of it.
typedef struct inl_features {
    bool timeline, storage16, float16, memory_model, subgroup_sizes, full_subgroups, dot8, matrix;
} inl_features;
#define INL_FEATURE_EXTENSIONS 8

struct inl_gpu {
    inl_env env;
    inl_gpu_caps caps;
    inl_features features; // enabled
    bool imported; // instance and device are the host's
    inl_instance instance;
    VkDebugUtilsMessengerEXT messenger;
    uint32_t validation_errors;
    VkPhysicalDevice physical;
    VkDevice device;
    struct VolkDeviceTable vk;
    VkPhysicalDeviceMemoryProperties memory;
    VkQueue queue;
    uint32_t queue_family;
    uint64_t timestamp_mask; // of the bits the queue writes
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
    VkPipelineCreateFlags pipeline_flags; // more of them, for a development tool
    uint32_t compile_threads;             // at once, the calling one among them
    // What a development tool has in the place of a kernel; NULL: the kernel itself.
    const inl_shader *(*replace)(void *user, const inl_shader *shader);
    void *replace_user;
    char *cache_path;
    uint64_t cache_hash; // of what was read there
    char *tuning_path;
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
    const inl_shader *shader; // its code, with spec and subgroup, is the key
    uint32_t spec[24];
    uint32_t spec_count, subgroup;
    uint32_t binding_count, push_bytes, float_texels, uint_texels;
    VkDescriptorSetLayout set_layout;
    VkPipelineLayout layout;
    VkPipeline pipeline;
    VkResult result; // of its compilation
};

struct inl_commands {
    inl_gpu *gpu;
    VkCommandBuffer buffer;
    VkDescriptorPool descriptors;
    VkBufferView *views; // of the texel buffers bound
    size_t view_count, view_cap;
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

// instance.c: the system's loader, opened once per process; NULL when there is none.
PFN_vkGetInstanceProcAddr inl_vk_loader(void);
// False when the instance lacks one of the functions.
bool inl_vk_load_instance(PFN_vkGetInstanceProcAddr get_proc, VkInstance handle, inl_instance *out);
void inl_vk_load_device(inl_gpu *gpu); // gpu->vk from gpu->device
inlay_result inl_vk_create_instance(inl_gpu *gpu, bool validation);
void inl_vk_destroy_instance(inl_gpu *gpu);
// caps.c
// `enabled`: the features a host has enabled; NULL: all there are.
void inl_caps_read(const inl_instance *instance, VkPhysicalDevice physical,
                   const inl_features *enabled, inl_gpu_caps *caps);
uint32_t inl_caps_compute_family(const inl_instance *instance,
                                 VkPhysicalDevice physical); // UINT32_MAX: none
// False when there is no family of that index.
bool inl_caps_queue_family(const inl_instance *instance, VkPhysicalDevice physical, uint32_t index,
                           VkQueueFamilyProperties *out);
// features.c
bool inl_vk_has_extension(const inl_instance *instance, VkPhysicalDevice physical,
                          const char *name);
void inl_features_read(const inl_instance *instance, VkPhysicalDevice physical,
                       uint32_t api_version, inl_features *out);
// Of a chain that a host made its device with; NULL: what is required.
void inl_features_enabled(const VkPhysicalDeviceFeatures2 *features, const char *const *extensions,
                          uint32_t count, inl_features *out);
// With gpu->features. A development tool has a chain of features more, and an extension.
inlay_result inl_vk_create_device(inl_gpu *gpu, const void *next, const char *extension,
                                  VkDevice *out);
// tiles.c: generation and tiles of the caps read so far.
void inl_tiles_read(const inl_instance *instance, VkPhysicalDevice physical, inl_gpu_caps *caps);
// paths.c: what a device of these caps and features can and should run.
void inl_paths_read(const inl_instance *instance, VkPhysicalDevice physical,
                    const inl_features *features, inl_gpu_caps *caps);
inlay_result inl_paths_select(const inl_env *env, const char *words, const char *const *absent,
                              inl_gpu_caps *caps);
void inl_paths_restrict(const inl_gpu_caps *caps, inl_features *features);
// device.c: what create and import have in common, after device and queue are set.
inlay_result inl_gpu_finish(inl_gpu *gpu, uint64_t memory_budget_bytes, uint32_t max_submit_ms,
                            uint32_t compile_threads);
// buffer.c: the first memory type of `allowed` with all the properties wanted, or UINT32_MAX.
uint32_t inl_memory_type(const VkPhysicalDeviceMemoryProperties *memory, uint32_t allowed,
                         VkMemoryPropertyFlags wanted);
// pipecache.c
inlay_result inl_pipecache_open(inl_gpu *gpu, const char *path);
void inl_pipecache_close(inl_gpu *gpu);
// tuning.c: takes the tiles of this device's record where the file has one. A file that is not
// there is no error; one that is damaged, or asks for what does not fit, is logged in a line and
// ignored.
inlay_result inl_tuning_open(inl_gpu *gpu, const char *path);
// pipeline.c
VkDescriptorType inl_descriptor_type(const inl_pipeline *p, uint32_t binding);
void inl_pipelines_destroy(inl_gpu *gpu);

#endif
