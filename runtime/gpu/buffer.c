// SPDX-License-Identifier: MIT
// Buffers, their memory, and copies to and from the host through one staging buffer.
#include "gpu/vk.h"

#include <string.h>

#define STAGING_BYTES (8u << 20)
#define MIB (1.0 / (1 << 20))

uint32_t inl_memory_type(const VkPhysicalDeviceMemoryProperties *memory, uint32_t allowed,
                         VkMemoryPropertyFlags wanted)
{
    // Uncached memory of AMD's may be used only where a feature is on that we do not turn on.
    const VkMemoryPropertyFlags never =
        VK_MEMORY_PROPERTY_PROTECTED_BIT | VK_MEMORY_PROPERTY_DEVICE_COHERENT_BIT_AMD;
    for (uint32_t i = 0; i < memory->memoryTypeCount; i++) {
        VkMemoryPropertyFlags flags = memory->memoryTypes[i].propertyFlags;
        if ((allowed >> i & 1u) && (flags & wanted) == wanted && !(flags & never))
            return i;
    }
    return UINT32_MAX;
}

static uint32_t find_type(const inl_gpu *gpu, uint32_t allowed, VkMemoryPropertyFlags wanted)
{
    return inl_memory_type(&gpu->memory, allowed, wanted);
}

static uint32_t choose_type(const inl_gpu *gpu, uint32_t allowed, inl_memory memory)
{
    const VkMemoryPropertyFlags mapped =
        VK_MEMORY_PROPERTY_HOST_VISIBLE_BIT | VK_MEMORY_PROPERTY_HOST_COHERENT_BIT;
    if (memory == INL_MEMORY_HOST) {
        uint32_t cached = find_type(gpu, allowed, mapped | VK_MEMORY_PROPERTY_HOST_CACHED_BIT);
        return cached != UINT32_MAX ? cached : find_type(gpu, allowed, mapped);
    }
    uint32_t local = find_type(gpu, allowed, VK_MEMORY_PROPERTY_DEVICE_LOCAL_BIT);
    return local != UINT32_MAX ? local : find_type(gpu, allowed, 0);
}

static inlay_result allocate(inl_gpu *gpu, const char *name, inl_memory memory, inl_buffer *b)
{
    VkMemoryRequirements need;
    gpu->vk.vkGetBufferMemoryRequirements(gpu->device, b->buffer, &need);
    if (need.size > inl_gpu_available(gpu))
        return inl_fail(&gpu->env, INLAY_ERROR_OUT_OF_DEVICE_MEMORY,
                        "%s needs %.1f MiB of device memory, and %.1f of %.1f MiB are taken", name,
                        (double)need.size * MIB, (double)gpu->used * MIB,
                        (double)gpu->budget * MIB);
    VkMemoryAllocateInfo info = {.sType = VK_STRUCTURE_TYPE_MEMORY_ALLOCATE_INFO,
                                 .allocationSize = need.size,
                                 .memoryTypeIndex = choose_type(gpu, need.memoryTypeBits, memory)};
    VkResult result = info.memoryTypeIndex == UINT32_MAX
                          ? VK_ERROR_OUT_OF_DEVICE_MEMORY
                          : gpu->vk.vkAllocateMemory(gpu->device, &info, NULL, &b->memory);
    if (result != VK_SUCCESS)
        return inl_fail(&gpu->env, INLAY_ERROR_OUT_OF_DEVICE_MEMORY,
                        "the driver refused %.1f MiB of device memory for %s (%.1f MiB are taken)",
                        (double)need.size * MIB, name, (double)gpu->used * MIB);
    b->allocated = need.size;
    gpu->used += need.size;
    gpu->peak = INL_MAX(gpu->peak, gpu->used);
    INL_VK(gpu, gpu->vk.vkBindBufferMemory(gpu->device, b->buffer, b->memory, 0), "bind memory");
    if (memory == INL_MEMORY_HOST)
        INL_VK(gpu, gpu->vk.vkMapMemory(gpu->device, b->memory, 0, VK_WHOLE_SIZE, 0, &b->map),
               "map memory");
    return INLAY_OK;
}

inlay_result inl_buffer_create(inl_gpu *gpu, const char *name, uint64_t size, inl_memory memory,
                               inl_buffer **out)
{
    *out = NULL;
    size = inl_round_up(INL_MAX(size, 16), 16);
    if (size > gpu->caps.max_allocation_bytes)
        return inl_fail(&gpu->env, INLAY_ERROR_OUT_OF_DEVICE_MEMORY,
                        "%s needs one block of %.1f MiB, the driver gives at most %.1f MiB", name,
                        (double)size * MIB, (double)gpu->caps.max_allocation_bytes * MIB);
    inl_buffer *b = inl_alloc(&gpu->env, 1, sizeof(*b));
    if (!b)
        return INLAY_ERROR_OUT_OF_MEMORY;
    b->size = size;
    VkBufferCreateInfo info = {
        .sType = VK_STRUCTURE_TYPE_BUFFER_CREATE_INFO,
        .size = size,
        .usage = VK_BUFFER_USAGE_STORAGE_BUFFER_BIT | VK_BUFFER_USAGE_TRANSFER_SRC_BIT |
                 VK_BUFFER_USAGE_TRANSFER_DST_BIT |
                 (gpu->caps.simd_lanes ? VK_BUFFER_USAGE_STORAGE_TEXEL_BUFFER_BIT : 0)};
    VkResult created = gpu->vk.vkCreateBuffer(gpu->device, &info, NULL, &b->buffer);
    inlay_result result = created == VK_SUCCESS ? allocate(gpu, name, memory, b)
                                                : inl_vk_fail(gpu, created, "create a buffer");
    if (result != INLAY_OK) {
        inl_buffer_destroy(gpu, &b);
        return result;
    }
    *out = b;
    return INLAY_OK;
}

void inl_buffer_destroy(inl_gpu *gpu, inl_buffer **handle)
{
    inl_buffer *b = *handle;
    if (!b)
        return;
    *handle = NULL;
    if (b->buffer)
        gpu->vk.vkDestroyBuffer(gpu->device, b->buffer, NULL);
    if (b->memory)
        gpu->vk.vkFreeMemory(gpu->device, b->memory, NULL);
    gpu->used -= b->allocated;
    inl_free(&gpu->env, b);
}

uint64_t inl_buffer_size(const inl_buffer *buffer)
{
    return buffer->size;
}

void *inl_buffer_map(const inl_buffer *buffer)
{
    return buffer->map;
}

uint64_t inl_gpu_staging_bytes(const inl_gpu *gpu)
{
    return gpu->staging ? 0 : STAGING_BYTES;
}

static inlay_result begin_transfer(inl_gpu *gpu)
{
    if (!gpu->staging)
        INL_TRY(inl_buffer_create(gpu, "staging", STAGING_BYTES, INL_MEMORY_HOST, &gpu->staging));
    VkCommandBufferBeginInfo begin = {.sType = VK_STRUCTURE_TYPE_COMMAND_BUFFER_BEGIN_INFO,
                                      .flags = VK_COMMAND_BUFFER_USAGE_ONE_TIME_SUBMIT_BIT};
    INL_VK(gpu, gpu->vk.vkBeginCommandBuffer(gpu->transfer, &begin), "record a copy");
    inl_commands c = {.gpu = gpu, .buffer = gpu->transfer};
    inl_commands_barrier(&c);
    return INLAY_OK;
}

static inlay_result finish_transfer(inl_gpu *gpu)
{
    inl_commands c = {.gpu = gpu, .buffer = gpu->transfer};
    INL_TRY(inl_commands_end(&c));
    uint64_t ticket;
    INL_TRY(inl_gpu_submit(gpu, &c, &ticket));
    return inl_gpu_wait(gpu, ticket);
}

inlay_result inl_gpu_upload(inl_gpu *gpu, inl_buffer *buffer, uint64_t offset, const void *data,
                            uint64_t size)
{
    for (uint64_t done = 0; done < size;) {
        uint64_t part = INL_MIN(size - done, STAGING_BYTES);
        INL_TRY(begin_transfer(gpu));
        memcpy(gpu->staging->map, (const uint8_t *)data + done, part);
        VkBufferCopy copy = {.dstOffset = offset + done, .size = part};
        gpu->vk.vkCmdCopyBuffer(gpu->transfer, gpu->staging->buffer, buffer->buffer, 1, &copy);
        INL_TRY(finish_transfer(gpu));
        done += part;
    }
    return INLAY_OK;
}

inlay_result inl_gpu_download(inl_gpu *gpu, inl_buffer *buffer, uint64_t offset, void *data,
                              uint64_t size)
{
    for (uint64_t done = 0; done < size;) {
        uint64_t part = INL_MIN(size - done, STAGING_BYTES);
        INL_TRY(begin_transfer(gpu));
        VkBufferCopy copy = {.srcOffset = offset + done, .size = part};
        gpu->vk.vkCmdCopyBuffer(gpu->transfer, buffer->buffer, gpu->staging->buffer, 1, &copy);
        INL_TRY(finish_transfer(gpu));
        memcpy((uint8_t *)data + done, gpu->staging->map, part);
        done += part;
    }
    return INLAY_OK;
}

inlay_result inl_gpu_zero(inl_gpu *gpu, inl_buffer *buffer, uint64_t offset, uint64_t size)
{
    if (size == 0)
        return INLAY_OK;
    INL_TRY(begin_transfer(gpu));
    gpu->vk.vkCmdFillBuffer(gpu->transfer, buffer->buffer, offset, size, 0);
    return finish_transfer(gpu);
}
