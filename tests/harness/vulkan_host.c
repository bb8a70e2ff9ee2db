// SPDX-License-Identifier: MIT
#define _GNU_SOURCE
#include "harness/vulkan_host.h"

#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define CHECK(call)                                                                                \
    do {                                                                                           \
        VkResult result_ = (call);                                                                 \
        if (result_ != VK_SUCCESS) {                                                               \
            fprintf(stderr, "%s:%d: %s gave %d\n", __FILE__, __LINE__, #call, result_);            \
            exit(1);                                                                               \
        }                                                                                          \
    } while (0)

static VKAPI_ATTR VkBool32 VKAPI_CALL on_message(VkDebugUtilsMessageSeverityFlagBitsEXT severity,
                                                 VkDebugUtilsMessageTypeFlagsEXT types,
                                                 const VkDebugUtilsMessengerCallbackDataEXT *data,
                                                 void *user)
{
    (void)types;
    (void)severity;
    ++*(int *)user;
    printf("validation: %s\n", data->pMessage);
    return VK_FALSE;
}

static bool create_instance(vulkan_host *h, bool validation)
{
    static const char *const layer = "VK_LAYER_KHRONOS_validation";
    static const char *const extensions[] = {VK_EXT_DEBUG_UTILS_EXTENSION_NAME,
                                             VK_EXT_VALIDATION_FEATURES_EXTENSION_NAME};
    static const VkValidationFeatureEnableEXT synchronization =
        VK_VALIDATION_FEATURE_ENABLE_SYNCHRONIZATION_VALIDATION_EXT;
    VkDebugUtilsMessengerCreateInfoEXT messenger = {
        .sType = VK_STRUCTURE_TYPE_DEBUG_UTILS_MESSENGER_CREATE_INFO_EXT,
        .messageSeverity = VK_DEBUG_UTILS_MESSAGE_SEVERITY_ERROR_BIT_EXT,
        .messageType = VK_DEBUG_UTILS_MESSAGE_TYPE_VALIDATION_BIT_EXT,
        .pfnUserCallback = on_message,
        .pUserData = &h->validation_errors};
    // Chained, the messenger hears of what is still there when the instance goes.
    VkValidationFeaturesEXT features = {.sType = VK_STRUCTURE_TYPE_VALIDATION_FEATURES_EXT,
                                        .pNext = &messenger,
                                        .enabledValidationFeatureCount = 1,
                                        .pEnabledValidationFeatures = &synchronization};
    VkApplicationInfo app = {.sType = VK_STRUCTURE_TYPE_APPLICATION_INFO,
                             .pApplicationName = "host",
                             .apiVersion = VK_API_VERSION_1_2};
    VkInstanceCreateInfo info = {.sType = VK_STRUCTURE_TYPE_INSTANCE_CREATE_INFO,
                                 .pNext = validation ? &features : NULL,
                                 .pApplicationInfo = &app,
                                 .enabledLayerCount = validation ? 1 : 0,
                                 .ppEnabledLayerNames = &layer,
                                 .enabledExtensionCount = validation ? 2 : 0,
                                 .ppEnabledExtensionNames = extensions};
    PFN_vkCreateInstance create = (PFN_vkCreateInstance)h->get(NULL, "vkCreateInstance");
    if (!create || create(&info, NULL, &h->instance) != VK_SUCCESS)
        return false;
#define LOAD(name) h->name = (PFN_##name)h->get(h->instance, #name);
    VULKAN_HOST_FUNCTIONS(LOAD)
    if (validation) {
        PFN_vkCreateDebugUtilsMessengerEXT add = (PFN_vkCreateDebugUtilsMessengerEXT)h->get(
            h->instance, "vkCreateDebugUtilsMessengerEXT");
        CHECK(add(h->instance, &messenger, NULL, &h->messenger));
    }
    return true;
}

static bool choose(vulkan_host *h, const char *name)
{
    VkPhysicalDevice devices[16];
    uint32_t count = 16;
    VkResult result = h->vkEnumeratePhysicalDevices(h->instance, &count, devices);
    if (result != VK_SUCCESS && result != VK_INCOMPLETE)
        return false;
    for (uint32_t i = 0; i < count && !h->physical; i++) {
        VkPhysicalDeviceProperties properties;
        h->vkGetPhysicalDeviceProperties(devices[i], &properties);
        if (!name || strcmp(properties.deviceName, name) == 0)
            h->physical = devices[i];
    }
    if (!h->physical)
        return false;
    VkQueueFamilyProperties families[16];
    count = 16;
    h->vkGetPhysicalDeviceQueueFamilyProperties(h->physical, &count, families);
    while (h->family < count && !(families[h->family].queueFlags & VK_QUEUE_COMPUTE_BIT))
        h->family++;
    return h->family < count;
}

static void create_device(vulkan_host *h)
{
    float priority = 1.0f;
    VkDeviceQueueCreateInfo queue = {.sType = VK_STRUCTURE_TYPE_DEVICE_QUEUE_CREATE_INFO,
                                     .queueFamilyIndex = h->family,
                                     .queueCount = 1,
                                     .pQueuePriorities = &priority};
    VkPhysicalDeviceVulkan12Features v12 = {
        .sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_VULKAN_1_2_FEATURES,
        .timelineSemaphore = VK_TRUE};
    VkDeviceCreateInfo info = {.sType = VK_STRUCTURE_TYPE_DEVICE_CREATE_INFO,
                               .pNext = &v12,
                               .queueCreateInfoCount = 1,
                               .pQueueCreateInfos = &queue};
    CHECK(h->vkCreateDevice(h->physical, &info, NULL, &h->device));
    h->vkGetDeviceQueue(h->device, h->family, 0, &h->queue);
}

static uint32_t coherent_type(const vulkan_host *h, uint32_t allowed)
{
    const VkMemoryPropertyFlags wanted =
        VK_MEMORY_PROPERTY_HOST_VISIBLE_BIT | VK_MEMORY_PROPERTY_HOST_COHERENT_BIT;
    VkPhysicalDeviceMemoryProperties memory;
    h->vkGetPhysicalDeviceMemoryProperties(h->physical, &memory);
    for (uint32_t i = 0; i < memory.memoryTypeCount; i++)
        if ((allowed >> i & 1u) && (memory.memoryTypes[i].propertyFlags & wanted) == wanted)
            return i;
    return 0;
}

static void create_buffer(vulkan_host *h)
{
    VkBufferCreateInfo info = {.sType = VK_STRUCTURE_TYPE_BUFFER_CREATE_INFO,
                               .size = 4 * VULKAN_HOST_WORDS,
                               .usage = VK_BUFFER_USAGE_STORAGE_BUFFER_BIT};
    VkMemoryRequirements need;
    CHECK(h->vkCreateBuffer(h->device, &info, NULL, &h->buffer));
    h->vkGetBufferMemoryRequirements(h->device, h->buffer, &need);
    VkMemoryAllocateInfo memory = {.sType = VK_STRUCTURE_TYPE_MEMORY_ALLOCATE_INFO,
                                   .allocationSize = need.size,
                                   .memoryTypeIndex = coherent_type(h, need.memoryTypeBits)};
    CHECK(h->vkAllocateMemory(h->device, &memory, NULL, &h->memory));
    CHECK(h->vkBindBufferMemory(h->device, h->buffer, h->memory, 0));
    CHECK(h->vkMapMemory(h->device, h->memory, 0, VK_WHOLE_SIZE, 0, (void **)&h->words));
}

static void create_set(vulkan_host *h)
{
    VkDescriptorSetLayoutBinding binding = {.descriptorType = VK_DESCRIPTOR_TYPE_STORAGE_BUFFER,
                                            .descriptorCount = 1,
                                            .stageFlags = VK_SHADER_STAGE_COMPUTE_BIT};
    VkDescriptorSetLayoutCreateInfo layout = {
        .sType = VK_STRUCTURE_TYPE_DESCRIPTOR_SET_LAYOUT_CREATE_INFO,
        .bindingCount = 1,
        .pBindings = &binding};
    CHECK(h->vkCreateDescriptorSetLayout(h->device, &layout, NULL, &h->set_layout));
    VkDescriptorPoolSize size = {VK_DESCRIPTOR_TYPE_STORAGE_BUFFER, 1};
    VkDescriptorPoolCreateInfo pool = {.sType = VK_STRUCTURE_TYPE_DESCRIPTOR_POOL_CREATE_INFO,
                                       .maxSets = 1,
                                       .poolSizeCount = 1,
                                       .pPoolSizes = &size};
    CHECK(h->vkCreateDescriptorPool(h->device, &pool, NULL, &h->descriptors));
    VkDescriptorSetAllocateInfo set = {.sType = VK_STRUCTURE_TYPE_DESCRIPTOR_SET_ALLOCATE_INFO,
                                       .descriptorPool = h->descriptors,
                                       .descriptorSetCount = 1,
                                       .pSetLayouts = &h->set_layout};
    CHECK(h->vkAllocateDescriptorSets(h->device, &set, &h->set));
    VkDescriptorBufferInfo buffer = {h->buffer, 0, VK_WHOLE_SIZE};
    VkWriteDescriptorSet write = {.sType = VK_STRUCTURE_TYPE_WRITE_DESCRIPTOR_SET,
                                  .dstSet = h->set,
                                  .descriptorCount = 1,
                                  .descriptorType = VK_DESCRIPTOR_TYPE_STORAGE_BUFFER,
                                  .pBufferInfo = &buffer};
    h->vkUpdateDescriptorSets(h->device, 1, &write, 0, NULL);
}

static size_t read_code(uint32_t *code, size_t room)
{
    FILE *f = fopen(VULKAN_HOST_SPIRV, "rb");
    size_t bytes = f ? fread(code, 1, room, f) : 0;
    if (!f || fclose(f) != 0 || bytes == 0 || bytes % 4 != 0) {
        fprintf(stderr, "%s cannot be read\n", VULKAN_HOST_SPIRV);
        exit(1);
    }
    return bytes;
}

static void create_pipeline(vulkan_host *h)
{
    static uint32_t code[4096];
    VkShaderModuleCreateInfo module_info = {.sType = VK_STRUCTURE_TYPE_SHADER_MODULE_CREATE_INFO,
                                            .codeSize = read_code(code, sizeof(code)),
                                            .pCode = code};
    VkShaderModule module;
    CHECK(h->vkCreateShaderModule(h->device, &module_info, NULL, &module));
    VkPushConstantRange push = {VK_SHADER_STAGE_COMPUTE_BIT, 0, 8};
    VkPipelineLayoutCreateInfo layout = {.sType = VK_STRUCTURE_TYPE_PIPELINE_LAYOUT_CREATE_INFO,
                                         .setLayoutCount = 1,
                                         .pSetLayouts = &h->set_layout,
                                         .pushConstantRangeCount = 1,
                                         .pPushConstantRanges = &push};
    CHECK(h->vkCreatePipelineLayout(h->device, &layout, NULL, &h->layout));
    VkComputePipelineCreateInfo info = {
        .sType = VK_STRUCTURE_TYPE_COMPUTE_PIPELINE_CREATE_INFO,
        .stage = {.sType = VK_STRUCTURE_TYPE_PIPELINE_SHADER_STAGE_CREATE_INFO,
                  .stage = VK_SHADER_STAGE_COMPUTE_BIT,
                  .module = module,
                  .pName = "main"},
        .layout = h->layout};
    CHECK(h->vkCreateComputePipelines(h->device, VK_NULL_HANDLE, 1, &info, NULL, &h->pipeline));
    h->vkDestroyShaderModule(h->device, module, NULL);
    VkCommandPoolCreateInfo pool = {.sType = VK_STRUCTURE_TYPE_COMMAND_POOL_CREATE_INFO,
                                    .queueFamilyIndex = h->family};
    CHECK(h->vkCreateCommandPool(h->device, &pool, NULL, &h->pool));
}

bool vulkan_host_open(vulkan_host *h, const vulkan_host_params *p)
{
    *h = (vulkan_host){0};
    h->library = dlopen(p->library ? p->library : "libvulkan.so.1", RTLD_NOW | RTLD_LOCAL);
    if (!h->library)
        return false;
    h->get = (PFN_vkGetInstanceProcAddr)dlsym(h->library,
                                              p->entry ? p->entry : "vkGetInstanceProcAddr");
    if (!h->get || !create_instance(h, p->validation) || !choose(h, p->device)) {
        vulkan_host_close(h);
        return false;
    }
    create_device(h);
    create_buffer(h);
    create_set(h);
    create_pipeline(h);
    return true;
}

static void record(vulkan_host *h, VkCommandBuffer commands, uint32_t factor)
{
    const uint32_t push[2] = {VULKAN_HOST_WORDS, factor};
    VkMemoryBarrier barrier = {.sType = VK_STRUCTURE_TYPE_MEMORY_BARRIER,
                               .srcAccessMask = VK_ACCESS_SHADER_WRITE_BIT,
                               .dstAccessMask = VK_ACCESS_SHADER_READ_BIT |
                                                VK_ACCESS_SHADER_WRITE_BIT |
                                                VK_ACCESS_HOST_READ_BIT};
    VkCommandBufferBeginInfo begin = {.sType = VK_STRUCTURE_TYPE_COMMAND_BUFFER_BEGIN_INFO};
    CHECK(h->vkBeginCommandBuffer(commands, &begin));
    h->vkCmdBindPipeline(commands, VK_PIPELINE_BIND_POINT_COMPUTE, h->pipeline);
    h->vkCmdBindDescriptorSets(commands, VK_PIPELINE_BIND_POINT_COMPUTE, h->layout, 0, 1, &h->set,
                               0, NULL);
    h->vkCmdPushConstants(commands, h->layout, VK_SHADER_STAGE_COMPUTE_BIT, 0, sizeof(push), push);
    h->vkCmdDispatch(commands, (VULKAN_HOST_WORDS + 63) / 64, 1, 1);
    h->vkCmdPipelineBarrier(commands, VK_PIPELINE_STAGE_COMPUTE_SHADER_BIT,
                            VK_PIPELINE_STAGE_COMPUTE_SHADER_BIT | VK_PIPELINE_STAGE_HOST_BIT, 0, 1,
                            &barrier, 0, NULL, 0, NULL);
    CHECK(h->vkEndCommandBuffer(commands));
}

// The command buffer goes with the pool.
void vulkan_host_dispatch(vulkan_host *h, uint32_t factor)
{
    VkCommandBufferAllocateInfo info = {.sType = VK_STRUCTURE_TYPE_COMMAND_BUFFER_ALLOCATE_INFO,
                                        .commandPool = h->pool,
                                        .level = VK_COMMAND_BUFFER_LEVEL_PRIMARY,
                                        .commandBufferCount = 1};
    VkCommandBuffer commands;
    CHECK(h->vkAllocateCommandBuffers(h->device, &info, &commands));
    record(h, commands, factor);
    VkSubmitInfo submit = {.sType = VK_STRUCTURE_TYPE_SUBMIT_INFO,
                           .commandBufferCount = 1,
                           .pCommandBuffers = &commands};
    CHECK(h->vkQueueSubmit(h->queue, 1, &submit, VK_NULL_HANDLE));
}

void vulkan_host_wait(vulkan_host *h)
{
    CHECK(h->vkQueueWaitIdle(h->queue));
}

void vulkan_host_close(vulkan_host *h)
{
    if (h->device) {
        h->vkDestroyCommandPool(h->device, h->pool, NULL);
        h->vkDestroyPipeline(h->device, h->pipeline, NULL);
        h->vkDestroyPipelineLayout(h->device, h->layout, NULL);
        h->vkDestroyDescriptorPool(h->device, h->descriptors, NULL);
        h->vkDestroyDescriptorSetLayout(h->device, h->set_layout, NULL);
        h->vkDestroyBuffer(h->device, h->buffer, NULL);
        h->vkFreeMemory(h->device, h->memory, NULL);
        h->vkDestroyDevice(h->device, NULL);
    }
    if (h->messenger) {
        PFN_vkDestroyDebugUtilsMessengerEXT drop = (PFN_vkDestroyDebugUtilsMessengerEXT)h->get(
            h->instance, "vkDestroyDebugUtilsMessengerEXT");
        drop(h->instance, h->messenger, NULL);
    }
    if (h->instance)
        h->vkDestroyInstance(h->instance, NULL);
    if (h->library)
        dlclose(h->library);
    h->library = NULL;
    h->instance = VK_NULL_HANDLE;
    h->device = VK_NULL_HANDLE;
}
