// SPDX-License-Identifier: MIT
// The Vulkan loader, the functions of instances and devices, and our own instance.
#include "gpu/vk.h"

#include <pthread.h>
#include <string.h>

static pthread_mutex_t load_lock = PTHREAD_MUTEX_INITIALIZER;
static bool loaded;
// Pipelines are made on several threads: the log gets one message of the layer at a time.
static pthread_mutex_t message_lock = PTHREAD_MUTEX_INITIALIZER;

PFN_vkGetInstanceProcAddr inl_vk_loader(void)
{
    pthread_mutex_lock(&load_lock);
    if (!loaded)
        loaded = volkInitialize() == VK_SUCCESS;
    PFN_vkGetInstanceProcAddr get_proc = loaded ? vkGetInstanceProcAddr : NULL;
    pthread_mutex_unlock(&load_lock);
    return get_proc;
}

bool inl_vk_load_instance(PFN_vkGetInstanceProcAddr get_proc, VkInstance handle, inl_instance *out)
{
    bool all = true;
    out->handle = handle;
    out->get_proc = get_proc;
#define LOAD(name)                                                                                 \
    out->name = (PFN_##name)get_proc(handle, #name);                                               \
    all &= out->name != NULL;
    INL_INSTANCE_FUNCTIONS(LOAD)
#undef LOAD
    return all;
}

// volk asks its global vkGetDeviceProcAddr for the table's functions: it is set for this call
// alone.
void inl_vk_load_device(inl_gpu *gpu)
{
    pthread_mutex_lock(&load_lock);
    vkGetDeviceProcAddr = gpu->instance.vkGetDeviceProcAddr;
    volkLoadDeviceTable(&gpu->vk, gpu->device);
    pthread_mutex_unlock(&load_lock);
}

static bool has_layer(const char *name)
{
    VkLayerProperties layers[64];
    uint32_t count = INL_COUNT(layers);
    VkResult result = vkEnumerateInstanceLayerProperties(&count, layers);
    if (result != VK_SUCCESS && result != VK_INCOMPLETE)
        return false;
    for (uint32_t i = 0; i < count; i++)
        if (strcmp(layers[i].layerName, name) == 0)
            return true;
    return false;
}

static VKAPI_ATTR VkBool32 VKAPI_CALL on_message(VkDebugUtilsMessageSeverityFlagBitsEXT severity,
                                                 VkDebugUtilsMessageTypeFlagsEXT types,
                                                 const VkDebugUtilsMessengerCallbackDataEXT *data,
                                                 void *user)
{
    (void)types;
    inl_gpu *gpu = user;
    bool error = severity >= VK_DEBUG_UTILS_MESSAGE_SEVERITY_ERROR_BIT_EXT;
    pthread_mutex_lock(&message_lock);
    gpu->validation_errors += error;
    inl_logf(&gpu->env, error ? INLAY_LOG_ERROR : INLAY_LOG_WARN, "validation: %s", data->pMessage);
    pthread_mutex_unlock(&message_lock);
    return VK_FALSE;
}

static void add_messenger(inl_gpu *gpu)
{
    PFN_vkCreateDebugUtilsMessengerEXT create =
        (PFN_vkCreateDebugUtilsMessengerEXT)gpu->instance.get_proc(
            gpu->instance.handle, "vkCreateDebugUtilsMessengerEXT");
    VkDebugUtilsMessengerCreateInfoEXT info = {
        .sType = VK_STRUCTURE_TYPE_DEBUG_UTILS_MESSENGER_CREATE_INFO_EXT,
        .messageSeverity = VK_DEBUG_UTILS_MESSAGE_SEVERITY_WARNING_BIT_EXT |
                           VK_DEBUG_UTILS_MESSAGE_SEVERITY_ERROR_BIT_EXT,
        .messageType = VK_DEBUG_UTILS_MESSAGE_TYPE_VALIDATION_BIT_EXT |
                       VK_DEBUG_UTILS_MESSAGE_TYPE_PERFORMANCE_BIT_EXT,
        .pfnUserCallback = on_message,
        .pUserData = gpu,
    };
    if (create)
        create(gpu->instance.handle, &info, NULL, &gpu->messenger);
}

inlay_result inl_vk_create_instance(inl_gpu *gpu, bool validation)
{
    static const char *const layer = "VK_LAYER_KHRONOS_validation";
    static const char *const extensions[] = {VK_EXT_DEBUG_UTILS_EXTENSION_NAME,
                                             VK_EXT_VALIDATION_FEATURES_EXTENSION_NAME};
    static const VkValidationFeatureEnableEXT synchronization =
        VK_VALIDATION_FEATURE_ENABLE_SYNCHRONIZATION_VALIDATION_EXT;
    if (validation && !has_layer(layer))
        return inl_fail(&gpu->env, INLAY_ERROR_NOT_FOUND, "%s is not installed", layer);

    VkApplicationInfo app = {.sType = VK_STRUCTURE_TYPE_APPLICATION_INFO,
                             .pApplicationName = "inlay",
                             .pEngineName = "inlay",
                             .apiVersion = VK_API_VERSION_1_3};
    VkValidationFeaturesEXT features = {.sType = VK_STRUCTURE_TYPE_VALIDATION_FEATURES_EXT,
                                        .enabledValidationFeatureCount = 1,
                                        .pEnabledValidationFeatures = &synchronization};
    VkInstanceCreateInfo info = {.sType = VK_STRUCTURE_TYPE_INSTANCE_CREATE_INFO,
                                 .pNext = validation ? &features : NULL,
                                 .pApplicationInfo = &app,
                                 .enabledLayerCount = validation ? 1 : 0,
                                 .ppEnabledLayerNames = &layer,
                                 .enabledExtensionCount = validation ? 2 : 0,
                                 .ppEnabledExtensionNames = extensions};
    VkInstance handle;
    VkResult result = vkCreateInstance(&info, NULL, &handle);
    if (result == VK_ERROR_INCOMPATIBLE_DRIVER)
        return inl_fail(&gpu->env, INLAY_ERROR_NO_DEVICE,
                        "there is no Vulkan driver on this machine");
    if (result != VK_SUCCESS)
        return inl_fail(&gpu->env, INLAY_ERROR_NO_DEVICE, "cannot create a Vulkan instance (%d)",
                        result);
    if (!inl_vk_load_instance(vkGetInstanceProcAddr, handle, &gpu->instance))
        return inl_fail(&gpu->env, INLAY_ERROR_UNSUPPORTED, "the Vulkan loader is older than 1.1");
    if (validation)
        add_messenger(gpu);
    return INLAY_OK;
}

void inl_vk_destroy_instance(inl_gpu *gpu)
{
    inl_instance *instance = &gpu->instance;
    if (gpu->messenger) {
        PFN_vkDestroyDebugUtilsMessengerEXT destroy =
            (PFN_vkDestroyDebugUtilsMessengerEXT)instance->get_proc(
                instance->handle, "vkDestroyDebugUtilsMessengerEXT");
        destroy(instance->handle, gpu->messenger, NULL);
    }
    if (instance->handle && instance->vkDestroyInstance)
        instance->vkDestroyInstance(instance->handle, NULL);
    *instance = (inl_instance){0};
}

inlay_result inl_gpu_list(const inl_env *env, inl_gpu_caps *caps, uint32_t *count)
{
    uint32_t room = caps ? *count : 0;
    *count = 0;
    if (!inl_vk_loader())
        return INLAY_OK;
    inl_gpu gpu = {.env = *env};
    gpu.env.log = NULL; // that there is no driver is an answer here
    if (inl_vk_create_instance(&gpu, false) != INLAY_OK) {
        inl_vk_destroy_instance(&gpu);
        return INLAY_OK;
    }
    VkPhysicalDevice devices[32];
    uint32_t found = INL_COUNT(devices);
    VkResult result =
        gpu.instance.vkEnumeratePhysicalDevices(gpu.instance.handle, &found, devices);
    if (result == VK_SUCCESS || result == VK_INCOMPLETE) {
        for (uint32_t i = 0; i < found && i < room; i++)
            inl_caps_read(&gpu.instance, devices[i], NULL, &caps[i]);
        *count = found;
    }
    inl_vk_destroy_instance(&gpu);
    return INLAY_OK;
}
