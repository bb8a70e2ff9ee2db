// SPDX-License-Identifier: MIT
// What a device can do, and the one table of driver workarounds.
#include "gpu/vk.h"

#include <stdio.h>
#include <string.h>

// A driver bug proven by a minimal case: what to match, and what to do.
typedef struct quirk {
    uint32_t vendor_id;     // 0: any
    const char *driver;     // part of driver_name, NULL: any
    uint32_t broken_version; // first bad driver_version that was seen; 0: any
    uint32_t fixed_version;  // first good one; 0: none yet
    void (*apply)(inl_gpu_caps *caps);
    const char *why; // with a link
} quirk;

static void limit_loops(inl_gpu_caps *caps)
{
    caps->max_loop_rounds = 65000; // the pass that leaves a loop counts as well
}

// Made of texel buffers' reads; the plain kernels are slower and right.
static void drop_wide_texels(inl_gpu_caps *caps)
{
    if (caps->subgroup_size == 16)
        caps->simd_lanes = 0;
}

static const quirk quirks[] = {
    {0, "llvmpipe", 0, VK_MAKE_API_VERSION(0, 26, 1, 0), limit_loops,
     "all loops of a thread end after 65535 rounds together, without a word: Mesa 22.3,"
     " src/gallium/auxiliary/gallivm/lp_bld_limits.h; 26.1 is the first version seen without"},
    {0, "llvmpipe", VK_MAKE_API_VERSION(0, 26, 1, 0), 0, drop_wide_texels,
     "LP_NATIVE_VECTOR_WIDTH=512 on a processor without AVX-512: a read of a texel buffer takes a"
     " base of 0 and the process ends (Mesa 26.1.6, LLVM 19.1.7; 22.3.6 is free of it)"},
};

static void apply_quirks(inl_gpu_caps *caps)
{
    for (size_t i = 0; i < INL_COUNT(quirks); i++) {
        const quirk *q = &quirks[i];
        if ((q->vendor_id == 0 || q->vendor_id == caps->vendor_id) &&
            (!q->driver || strstr(caps->driver_name, q->driver)) &&
            caps->driver_version >= q->broken_version &&
            (q->fixed_version == 0 || caps->driver_version < q->fixed_version))
            q->apply(caps);
    }
}

static const char *vendor_name(uint32_t id)
{
    switch (id) {
    case 0x1002: return "AMD";
    case 0x10de: return "NVIDIA";
    case 0x8086: return "Intel";
    case 0x13b5: return "Arm";
    case 0x5143: return "Qualcomm";
    case 0x106b: return "Apple";
    case 0x10005: return "Mesa";
    default: return "unknown";
    }
}

static uint32_t type_of(VkPhysicalDeviceType type)
{
    switch (type) { // values of inlay_device_type
    case VK_PHYSICAL_DEVICE_TYPE_INTEGRATED_GPU: return 1;
    case VK_PHYSICAL_DEVICE_TYPE_DISCRETE_GPU: return 2;
    case VK_PHYSICAL_DEVICE_TYPE_VIRTUAL_GPU: return 3;
    case VK_PHYSICAL_DEVICE_TYPE_CPU: return 4;
    default: return 0;
    }
}

#define TEXEL_BYTES 16

#define MAX_FAMILIES 32

bool inl_caps_queue_family(const inl_instance *vk, VkPhysicalDevice physical, uint32_t index,
                           VkQueueFamilyProperties *out)
{
    VkQueueFamilyProperties families[MAX_FAMILIES];
    uint32_t count = MAX_FAMILIES;
    vk->vkGetPhysicalDeviceQueueFamilyProperties(physical, &count, families);
    if (index >= count)
        return false;
    *out = families[index];
    return true;
}

// A family for compute; one without graphics first, so that a desktop's own work is disturbed
// least.
uint32_t inl_caps_compute_family(const inl_instance *vk, VkPhysicalDevice physical)
{
    VkQueueFamilyProperties family;
    uint32_t best = UINT32_MAX;
    for (uint32_t i = 0; inl_caps_queue_family(vk, physical, i, &family); i++) {
        if (!(family.queueFlags & VK_QUEUE_COMPUTE_BIT))
            continue;
        if (!(family.queueFlags & VK_QUEUE_GRAPHICS_BIT))
            return i;
        if (best == UINT32_MAX)
            best = i;
    }
    return best;
}

// Kernels for the lanes of a CPU's vectors need whole subgroups of one size, shuffles, and texel
// buffers for all they read. Measured with this driver alone (shaders/SPEED.md).
static uint32_t simd_lanes(const VkPhysicalDeviceLimits *limits,
                           const VkPhysicalDeviceSubgroupProperties *subgroup,
                           const VkPhysicalDeviceDriverProperties *driver)
{
    bool known = strcmp(driver->driverName, "llvmpipe") == 0;
    bool able = limits->maxPerStageDescriptorStorageImages >= INL_MAX_BINDINGS &&
                limits->maxTexelBufferElements >= limits->maxStorageBufferRange / TEXEL_BYTES;
    return known && able ? subgroup->subgroupSize : 0;
}

static void read_properties(const inl_instance *vk, VkPhysicalDevice physical, inl_gpu_caps *caps)
{
    VkPhysicalDeviceSubgroupSizeControlProperties sizes = {
        .sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_SUBGROUP_SIZE_CONTROL_PROPERTIES};
    VkPhysicalDeviceMaintenance3Properties maintenance = {
        .sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_MAINTENANCE_3_PROPERTIES, .pNext = &sizes};
    VkPhysicalDeviceDriverProperties driver = {
        .sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_DRIVER_PROPERTIES, .pNext = &maintenance};
    VkPhysicalDeviceSubgroupProperties subgroup = {
        .sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_SUBGROUP_PROPERTIES, .pNext = &driver};
    VkPhysicalDeviceProperties2 p = {.sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_PROPERTIES_2,
                                     .pNext = &subgroup};
    vk->vkGetPhysicalDeviceProperties2(physical, &p);
    const VkPhysicalDeviceLimits *limits = &p.properties.limits;
    snprintf(caps->name, sizeof(caps->name), "%s", p.properties.deviceName);
    snprintf(caps->vendor, sizeof(caps->vendor), "%s", vendor_name(p.properties.vendorID));
    snprintf(caps->driver_name, sizeof(caps->driver_name), "%s", driver.driverName);
    snprintf(caps->driver_info, sizeof(caps->driver_info), "%s", driver.driverInfo);
    caps->vendor_id = p.properties.vendorID;
    caps->device_id = p.properties.deviceID;
    caps->driver_version = p.properties.driverVersion;
    caps->api_version = p.properties.apiVersion;
    memcpy(caps->cache_uuid, p.properties.pipelineCacheUUID, sizeof(caps->cache_uuid));
    caps->type = type_of(p.properties.deviceType);
    caps->subgroup_size = subgroup.subgroupSize;
    caps->subgroup_size_min = sizes.minSubgroupSize ? sizes.minSubgroupSize : subgroup.subgroupSize;
    caps->subgroup_size_max = sizes.maxSubgroupSize ? sizes.maxSubgroupSize : subgroup.subgroupSize;
    caps->subgroup_required = sizes.requiredSubgroupSizeStages & VK_SHADER_STAGE_COMPUTE_BIT;
    VkSubgroupFeatureFlags in_compute =
        subgroup.supportedStages & VK_SHADER_STAGE_COMPUTE_BIT ? subgroup.supportedOperations : 0;
    caps->subgroup_arithmetic = (in_compute & VK_SUBGROUP_FEATURE_ARITHMETIC_BIT) != 0;
    caps->subgroup_shuffle = (in_compute & VK_SUBGROUP_FEATURE_SHUFFLE_BIT) != 0;
    if (caps->subgroup_shuffle)
        caps->simd_lanes = simd_lanes(limits, &subgroup, &driver);
    caps->shared_memory_bytes = limits->maxComputeSharedMemorySize;
    caps->max_buffer_range_bytes = limits->maxStorageBufferRange;
    caps->max_allocation_bytes = maintenance.maxMemoryAllocationSize;
    caps->max_workgroup_size = limits->maxComputeWorkGroupInvocations;
    caps->max_bindings = INL_MIN(limits->maxPerStageDescriptorStorageBuffers,
                                 limits->maxDescriptorSetStorageBuffers);
    caps->timestamp_ns = limits->timestampComputeAndGraphics ? limits->timestampPeriod : 0.0f;
}

// How integer dot products are done, where there are any.
static void read_dots(const inl_instance *vk, VkPhysicalDevice physical, inl_gpu_caps *caps)
{
    VkPhysicalDeviceShaderIntegerDotProductProperties dots = {
        .sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_SHADER_INTEGER_DOT_PRODUCT_PROPERTIES};
    VkPhysicalDeviceProperties2 p = {.sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_PROPERTIES_2,
                                     .pNext = &dots};
    vk->vkGetPhysicalDeviceProperties2(physical, &p);
    caps->dot8_fast = dots.integerDotProduct4x8BitPackedSignedAccelerated;
    caps->dot8_mixed = dots.integerDotProduct4x8BitPackedMixedSignednessAccelerated;
}

// Sums up what there is; the budget is that of the one heap that memory for the device comes from
// (buffer.c), which on cards with a small window for the host is not all of it.
static void read_memory(const inl_instance *vk, VkPhysicalDevice physical, inl_gpu_caps *caps)
{
    bool has_budget = inl_vk_has_extension(vk, physical, VK_EXT_MEMORY_BUDGET_EXTENSION_NAME);
    VkPhysicalDeviceMemoryBudgetPropertiesEXT budget = {
        .sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_MEMORY_BUDGET_PROPERTIES_EXT};
    VkPhysicalDeviceMemoryProperties2 m = {
        .sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_MEMORY_PROPERTIES_2,
        .pNext = has_budget ? &budget : NULL};
    vk->vkGetPhysicalDeviceMemoryProperties2(physical, &m);
    const VkPhysicalDeviceMemoryProperties *p = &m.memoryProperties;
    for (uint32_t i = 0; i < p->memoryHeapCount; i++)
        if (p->memoryHeaps[i].flags & VK_MEMORY_HEAP_DEVICE_LOCAL_BIT)
            caps->memory_bytes += p->memoryHeaps[i].size;
    uint32_t type = inl_memory_type(p, UINT32_MAX, VK_MEMORY_PROPERTY_DEVICE_LOCAL_BIT);
    if (type == UINT32_MAX)
        return;
    uint32_t heap = p->memoryTypes[type].heapIndex;
    caps->budget_bytes = p->memoryHeaps[heap].size;
    if (has_budget)
        caps->budget_bytes =
            budget.heapBudget[heap] - INL_MIN(budget.heapBudget[heap], budget.heapUsage[heap]);
}

static void judge(const inl_instance *vk, VkPhysicalDevice physical, inl_gpu_caps *caps)
{
    const char *reason = NULL;
    if (caps->api_version < VK_API_VERSION_1_2)
        reason = "its driver has Vulkan older than 1.2";
    else if (!caps->timeline)
        reason = "its driver has no timeline semaphores";
    else if (!caps->subgroup_arithmetic)
        reason = "its driver has no subgroup arithmetic in compute shaders";
    else if (!caps->subgroup_shuffle)
        reason = "its driver has no subgroup shuffles in compute shaders";
    else if (caps->max_bindings < INL_MAX_BINDINGS)
        reason = "its driver binds fewer than 9 storage buffers to a kernel";
    else if (inl_caps_compute_family(vk, physical) == UINT32_MAX)
        reason = "it has no compute queue";
    caps->usable = reason == NULL;
    if (reason)
        snprintf(caps->unusable_reason, sizeof(caps->unusable_reason), "%s", reason);
}

void inl_caps_read(const inl_instance *vk, VkPhysicalDevice physical, const inl_features *enabled,
                   inl_gpu_caps *caps)
{
    *caps = (inl_gpu_caps){0};
    inl_features features = {0};
    VkPhysicalDeviceProperties p;
    vk->vkGetPhysicalDeviceProperties(physical, &p);
    caps->max_loop_rounds = UINT32_MAX;
    caps->api_version = p.apiVersion;
    if (p.apiVersion >= VK_API_VERSION_1_2) { // older drivers do not know the structs below
        read_properties(vk, physical, caps);
        inl_features_read(vk, physical, p.apiVersion, &features);
        caps->timeline = features.timeline;
        if (features.dot8)
            read_dots(vk, physical, caps);
        if (enabled)
            features = *enabled;
    } else {
        snprintf(caps->name, sizeof(caps->name), "%s", p.deviceName);
        snprintf(caps->vendor, sizeof(caps->vendor), "%s", vendor_name(p.vendorID));
        caps->type = type_of(p.deviceType);
    }
    read_memory(vk, physical, caps);
    inl_tiles_read(vk, physical, caps);
    apply_quirks(caps);
    judge(vk, physical, caps);
    inl_paths_read(vk, physical, &features, caps);
}
