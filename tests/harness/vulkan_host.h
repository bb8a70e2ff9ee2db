// SPDX-License-Identifier: MIT
// A host application in small: its own instance, device, queue, and a compute pipeline that changes
// a buffer. It has its functions from its own loader handle, not from the library's.
#ifndef HARNESS_VULKAN_HOST_H
#define HARNESS_VULKAN_HOST_H

#ifndef VK_NO_PROTOTYPES
#define VK_NO_PROTOTYPES
#endif
#include <stdbool.h>
#include <vulkan/vulkan_core.h>

#define VULKAN_HOST_WORDS 1000

// X(function)
#define VULKAN_HOST_FUNCTIONS(X)                                                                   \
    X(vkAllocateCommandBuffers)                                                                    \
    X(vkAllocateDescriptorSets)                                                                    \
    X(vkAllocateMemory)                                                                            \
    X(vkBeginCommandBuffer)                                                                        \
    X(vkBindBufferMemory)                                                                          \
    X(vkCmdBindDescriptorSets)                                                                     \
    X(vkCmdBindPipeline)                                                                           \
    X(vkCmdDispatch)                                                                               \
    X(vkCmdPipelineBarrier)                                                                        \
    X(vkCmdPushConstants)                                                                          \
    X(vkCreateBuffer)                                                                              \
    X(vkCreateCommandPool)                                                                         \
    X(vkCreateComputePipelines)                                                                    \
    X(vkCreateDescriptorPool)                                                                      \
    X(vkCreateDescriptorSetLayout)                                                                 \
    X(vkCreateDevice)                                                                              \
    X(vkCreatePipelineLayout)                                                                      \
    X(vkCreateShaderModule)                                                                        \
    X(vkDestroyBuffer)                                                                             \
    X(vkDestroyCommandPool)                                                                        \
    X(vkDestroyDescriptorPool)                                                                     \
    X(vkDestroyDescriptorSetLayout)                                                                \
    X(vkDestroyDevice)                                                                             \
    X(vkDestroyInstance)                                                                           \
    X(vkDestroyPipeline)                                                                           \
    X(vkDestroyPipelineLayout)                                                                     \
    X(vkDestroyShaderModule)                                                                       \
    X(vkEndCommandBuffer)                                                                          \
    X(vkEnumeratePhysicalDevices)                                                                  \
    X(vkFreeMemory)                                                                                \
    X(vkGetBufferMemoryRequirements)                                                               \
    X(vkGetDeviceQueue)                                                                            \
    X(vkGetPhysicalDeviceMemoryProperties)                                                         \
    X(vkGetPhysicalDeviceProperties)                                                               \
    X(vkGetPhysicalDeviceQueueFamilyProperties)                                                    \
    X(vkMapMemory)                                                                                 \
    X(vkQueueSubmit)                                                                               \
    X(vkQueueWaitIdle)                                                                             \
    X(vkUpdateDescriptorSets)

typedef struct vulkan_host_params {
    // A library and the name of its vkGetInstanceProcAddr: a driver without the loader. NULL: the
    // loader.
    const char *library, *entry;
    const char *device; // name; NULL: the first device
    bool validation;
} vulkan_host_params;

typedef struct vulkan_host {
    void *library;
    PFN_vkGetInstanceProcAddr get;
    VkInstance instance;
    VkDebugUtilsMessengerEXT messenger;
    int validation_errors;
    VkPhysicalDevice physical;
    VkDevice device;
    VkQueue queue;
    uint32_t family;
    VkBuffer buffer; // VULKAN_HOST_WORDS, coherent
    VkDeviceMemory memory;
    uint32_t *words;
    VkDescriptorSetLayout set_layout;
    VkDescriptorPool descriptors;
    VkDescriptorSet set;
    VkPipelineLayout layout;
    VkPipeline pipeline;
    VkCommandPool pool;
#define VULKAN_HOST_MEMBER(name) PFN_##name name;
    VULKAN_HOST_FUNCTIONS(VULKAN_HOST_MEMBER)
} vulkan_host;

// False when there is no such library or device; anything else that goes wrong ends the program.
bool vulkan_host_open(vulkan_host *h, const vulkan_host_params *params);
// Submits one dispatch and does not wait.
void vulkan_host_dispatch(vulkan_host *h, uint32_t factor);
void vulkan_host_wait(vulkan_host *h);
void vulkan_host_close(vulkan_host *h);

#endif
