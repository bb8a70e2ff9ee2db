// SPDX-License-Identifier: MIT
// The optional features: which of them a device has, and asking for them when one is made.
#include "gpu/vk.h"

#include <string.h>

// The structs that the features lie in, chained where the device knows them.
typedef struct feature_chain {
    VkPhysicalDeviceFeatures2 core;
    VkPhysicalDeviceVulkan11Features v11;
    VkPhysicalDeviceVulkan12Features v12;
    VkPhysicalDeviceSubgroupSizeControlFeatures sizes;
    VkPhysicalDeviceShaderIntegerDotProductFeatures dots;
    VkPhysicalDeviceCooperativeMatrixFeaturesKHR matrix;
    const char *extensions[INL_FEATURE_EXTENSIONS];
    uint32_t extension_count;
} feature_chain;

bool inl_vk_has_extension(const inl_instance *vk, VkPhysicalDevice physical, const char *name)
{
    static const uint32_t most = 512;
    VkExtensionProperties extensions[512];
    uint32_t count = most;
    VkResult result = vk->vkEnumerateDeviceExtensionProperties(physical, NULL, &count, extensions);
    if (result != VK_SUCCESS && result != VK_INCOMPLETE)
        return false;
    for (uint32_t i = 0; i < count; i++)
        if (strcmp(extensions[i].extensionName, name) == 0)
            return true;
    return false;
}

// `next` of a struct where the device has what it belongs to: an extension, core since `version`
// (0: in none).
static void **append(const inl_instance *vk, VkPhysicalDevice physical, uint32_t api_version,
                     feature_chain *c, void **end, void *s, void **next, const char *extension,
                     uint32_t version)
{
    if (version == 0 || api_version < version) {
        if (!inl_vk_has_extension(vk, physical, extension))
            return end;
        c->extensions[c->extension_count++] = extension;
    }
    *end = s;
    return next;
}

static void make_chain(const inl_instance *vk, VkPhysicalDevice physical, uint32_t api_version,
                       feature_chain *c)
{
    *c = (feature_chain){
        .core = {.sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_FEATURES_2, .pNext = &c->v11},
        .v11 = {.sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_VULKAN_1_1_FEATURES, .pNext = &c->v12},
        .v12 = {.sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_VULKAN_1_2_FEATURES},
        .sizes = {.sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_SUBGROUP_SIZE_CONTROL_FEATURES},
        .dots = {.sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_SHADER_INTEGER_DOT_PRODUCT_FEATURES},
        .matrix = {.sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_COOPERATIVE_MATRIX_FEATURES_KHR}};
    void **end = &c->v12.pNext;
    end = append(vk, physical, api_version, c, end, &c->sizes, &c->sizes.pNext,
                 VK_EXT_SUBGROUP_SIZE_CONTROL_EXTENSION_NAME, VK_API_VERSION_1_3);
    end = append(vk, physical, api_version, c, end, &c->dots, &c->dots.pNext,
                 VK_KHR_SHADER_INTEGER_DOT_PRODUCT_EXTENSION_NAME, VK_API_VERSION_1_3);
    (void)append(vk, physical, api_version, c, end, &c->matrix, &c->matrix.pNext,
                 VK_KHR_COOPERATIVE_MATRIX_EXTENSION_NAME, 0);
}

void inl_features_read(const inl_instance *vk, VkPhysicalDevice physical, uint32_t api_version,
                       inl_features *out)
{
    feature_chain c;
    make_chain(vk, physical, api_version, &c);
    vk->vkGetPhysicalDeviceFeatures2(physical, &c.core);
    *out = (inl_features){.timeline = c.v12.timelineSemaphore,
                          .storage16 = c.v11.storageBuffer16BitAccess,
                          .float16 = c.v12.shaderFloat16,
                          .memory_model = c.v12.vulkanMemoryModel &&
                                          c.v12.vulkanMemoryModelDeviceScope,
                          .subgroup_sizes = c.sizes.subgroupSizeControl,
                          .full_subgroups = c.sizes.computeFullSubgroups,
                          .dot8 = c.dots.shaderIntegerDotProduct,
                          .matrix = c.matrix.cooperativeMatrix};
}

static bool has(const char *const *extensions, uint32_t count, const char *name)
{
    for (uint32_t i = 0; i < count; i++)
        if (extensions[i] && strcmp(extensions[i], name) == 0)
            return true;
    return false;
}

// Features may be asked for in the struct of their own extension or in that of a version.
#define TAKE(tag, type, ...)                                                                       \
    case VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_##tag: {                                                \
        const type *f = (const void *)s;                                                           \
        __VA_ARGS__                                                                                \
        break;                                                                                     \
    }

void inl_features_enabled(const VkPhysicalDeviceFeatures2 *features, const char *const *extensions,
                          uint32_t count, inl_features *out)
{
    *out = (inl_features){.timeline = features == NULL}; // that much is required
    const VkBaseInStructure *s = (const VkBaseInStructure *)features;
    for (; s; s = s->pNext) {
        if (s->sType == VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_COOPERATIVE_MATRIX_FEATURES_KHR) {
            out->matrix |= ((const VkPhysicalDeviceCooperativeMatrixFeaturesKHR *)(const void *)s)
                               ->cooperativeMatrix;
            continue;
        }
        switch (s->sType) {
        TAKE(VULKAN_1_1_FEATURES, VkPhysicalDeviceVulkan11Features,
             out->storage16 |= f->storageBuffer16BitAccess;)
        TAKE(16BIT_STORAGE_FEATURES, VkPhysicalDevice16BitStorageFeatures,
             out->storage16 |= f->storageBuffer16BitAccess;)
        TAKE(VULKAN_1_2_FEATURES, VkPhysicalDeviceVulkan12Features,
             out->timeline |= f->timelineSemaphore; out->float16 |= f->shaderFloat16;
             out->memory_model |= f->vulkanMemoryModel && f->vulkanMemoryModelDeviceScope;)
        TAKE(TIMELINE_SEMAPHORE_FEATURES, VkPhysicalDeviceTimelineSemaphoreFeatures,
             out->timeline |= f->timelineSemaphore;)
        TAKE(SHADER_FLOAT16_INT8_FEATURES, VkPhysicalDeviceShaderFloat16Int8Features,
             out->float16 |= f->shaderFloat16;)
        TAKE(VULKAN_MEMORY_MODEL_FEATURES, VkPhysicalDeviceVulkanMemoryModelFeatures,
             out->memory_model |= f->vulkanMemoryModel && f->vulkanMemoryModelDeviceScope;)
        TAKE(VULKAN_1_3_FEATURES, VkPhysicalDeviceVulkan13Features,
             out->subgroup_sizes |= f->subgroupSizeControl;
             out->full_subgroups |= f->computeFullSubgroups;
             out->dot8 |= f->shaderIntegerDotProduct;)
        TAKE(SUBGROUP_SIZE_CONTROL_FEATURES, VkPhysicalDeviceSubgroupSizeControlFeatures,
             out->subgroup_sizes |= f->subgroupSizeControl;
             out->full_subgroups |= f->computeFullSubgroups;)
        TAKE(SHADER_INTEGER_DOT_PRODUCT_FEATURES, VkPhysicalDeviceShaderIntegerDotProductFeatures,
             out->dot8 |= f->shaderIntegerDotProduct;)
        default: break;
        }
    }
    out->matrix &= has(extensions, count, VK_KHR_COOPERATIVE_MATRIX_EXTENSION_NAME);
}

inlay_result inl_vk_create_device(inl_gpu *gpu, const void *next, const char *extension,
                                  VkDevice *out)
{
    const inl_features *f = &gpu->features;
    feature_chain c;
    make_chain(&gpu->instance, gpu->physical, gpu->caps.api_version, &c);
    c.v11.storageBuffer16BitAccess = f->storage16;
    c.v12.timelineSemaphore = f->timeline;
    c.v12.shaderFloat16 = f->float16;
    c.v12.vulkanMemoryModel = c.v12.vulkanMemoryModelDeviceScope = f->memory_model;
    c.sizes.subgroupSizeControl = f->subgroup_sizes;
    c.sizes.computeFullSubgroups = f->full_subgroups;
    c.dots.shaderIntegerDotProduct = f->dot8;
    c.matrix.cooperativeMatrix = f->matrix;
    VkBaseOutStructure *last = (VkBaseOutStructure *)&c.core;
    while (last->pNext)
        last = last->pNext;
    last->pNext = (void *)(uintptr_t)next;
    if (extension)
        c.extensions[c.extension_count++] = extension;
    float priority = 0.5f;
    VkDeviceQueueCreateInfo queue = {.sType = VK_STRUCTURE_TYPE_DEVICE_QUEUE_CREATE_INFO,
                                     .queueFamilyIndex = gpu->queue_family,
                                     .queueCount = 1,
                                     .pQueuePriorities = &priority};
    VkDeviceCreateInfo info = {.sType = VK_STRUCTURE_TYPE_DEVICE_CREATE_INFO,
                               .pNext = &c.core,
                               .queueCreateInfoCount = 1,
                               .pQueueCreateInfos = &queue,
                               .enabledExtensionCount = c.extension_count,
                               .ppEnabledExtensionNames = c.extensions};
    INL_VK(gpu, gpu->instance.vkCreateDevice(gpu->physical, &info, NULL, out),
           "create the device");
    return INLAY_OK;
}
