// SPDX-License-Identifier: MIT
// Command lists recorded once and replayed, submission on the timeline, timestamps.
#include "gpu/vk.h"

static inlay_result create_descriptors(inl_commands *c, uint32_t sets, uint32_t bindings)
{
    inl_gpu *gpu = c->gpu;
    VkDescriptorPoolSize sizes[2] = {{.type = VK_DESCRIPTOR_TYPE_STORAGE_BUFFER,
                                      .descriptorCount = INL_MAX(bindings, 1)},
                                     {.type = VK_DESCRIPTOR_TYPE_STORAGE_TEXEL_BUFFER,
                                      .descriptorCount = INL_MAX(bindings, 1)}};
    VkDescriptorPoolCreateInfo info = {.sType = VK_STRUCTURE_TYPE_DESCRIPTOR_POOL_CREATE_INFO,
                                       .maxSets = INL_MAX(sets, 1),
                                       .poolSizeCount = gpu->caps.simd_lanes ? 2 : 1,
                                       .pPoolSizes = sizes};
    INL_VK(gpu, gpu->vk.vkCreateDescriptorPool(gpu->device, &info, NULL, &c->descriptors),
           "create a descriptor pool");
    return INLAY_OK;
}

static inlay_result begin(inl_commands *c)
{
    inl_gpu *gpu = c->gpu;
    VkCommandBufferAllocateInfo info = {.sType = VK_STRUCTURE_TYPE_COMMAND_BUFFER_ALLOCATE_INFO,
                                        .commandPool = gpu->pool,
                                        .level = VK_COMMAND_BUFFER_LEVEL_PRIMARY,
                                        .commandBufferCount = 1};
    INL_VK(gpu, gpu->vk.vkAllocateCommandBuffers(gpu->device, &info, &c->buffer),
           "allocate a command buffer");
    VkCommandBufferBeginInfo begin_info = {.sType = VK_STRUCTURE_TYPE_COMMAND_BUFFER_BEGIN_INFO};
    INL_VK(gpu, gpu->vk.vkBeginCommandBuffer(c->buffer, &begin_info), "record commands");
    if (c->max_timestamps > 0) {
        VkQueryPoolCreateInfo queries = {.sType = VK_STRUCTURE_TYPE_QUERY_POOL_CREATE_INFO,
                                         .queryType = VK_QUERY_TYPE_TIMESTAMP,
                                         .queryCount = c->max_timestamps};
        INL_VK(gpu, gpu->vk.vkCreateQueryPool(gpu->device, &queries, NULL, &c->queries),
               "create a query pool");
        gpu->vk.vkCmdResetQueryPool(c->buffer, c->queries, 0, c->max_timestamps);
    }
    inl_commands_barrier(c); // what was submitted before may have written what we read
    return INLAY_OK;
}

inlay_result inl_commands_create(inl_gpu *gpu, uint32_t max_dispatches, uint32_t max_bindings,
                                 uint32_t max_timestamps, inl_commands **out)
{
    *out = NULL;
    inl_commands *c = inl_alloc(&gpu->env, 1, sizeof(*c));
    if (!c)
        return INLAY_ERROR_OUT_OF_MEMORY;
    c->gpu = gpu;
    c->max_timestamps = gpu->caps.timestamp_ns > 0.0f ? max_timestamps : 0;
    inlay_result result = create_descriptors(c, max_dispatches, max_bindings);
    if (result == INLAY_OK)
        result = begin(c);
    if (result != INLAY_OK) {
        inl_commands_destroy(gpu, &c);
        return result;
    }
    *out = c;
    return INLAY_OK;
}

void inl_commands_destroy(inl_gpu *gpu, inl_commands **handle)
{
    inl_commands *c = *handle;
    if (!c)
        return;
    *handle = NULL;
    if (c->buffer)
        gpu->vk.vkFreeCommandBuffers(gpu->device, gpu->pool, 1, &c->buffer);
    if (c->queries)
        gpu->vk.vkDestroyQueryPool(gpu->device, c->queries, NULL);
    if (c->descriptors)
        gpu->vk.vkDestroyDescriptorPool(gpu->device, c->descriptors, NULL);
    for (size_t i = 0; i < c->view_count; i++)
        gpu->vk.vkDestroyBufferView(gpu->device, c->views[i], NULL);
    inl_free(&gpu->env, c->views);
    inl_free(&gpu->env, c);
}

// A texel buffer's view of the binding, which lives as long as the commands.
static inlay_result add_view(inl_commands *c, const inl_pipeline *p, uint32_t slot,
                             const inl_binding *b, VkBufferView *out)
{
    inl_gpu *gpu = c->gpu;
    bool floats = (p->float_texels >> slot & 1u) != 0;
    VkBufferViewCreateInfo info = {
        .sType = VK_STRUCTURE_TYPE_BUFFER_VIEW_CREATE_INFO,
        .buffer = b->buffer->buffer,
        .format = floats ? VK_FORMAT_R32G32B32A32_SFLOAT : VK_FORMAT_R32G32B32A32_UINT,
        .offset = b->offset,
        .range = inl_round_up(b->size, 16)}; // whole texels; a buffer's size is rounded up likewise
    INL_TRY(inl_grow(&gpu->env, (void **)&c->views, &c->view_cap, c->view_count + 1,
                     sizeof(*c->views)));
    INL_VK(gpu, gpu->vk.vkCreateBufferView(gpu->device, &info, NULL, out), "view a buffer");
    c->views[c->view_count++] = *out;
    return INLAY_OK;
}

static inlay_result write_descriptor(inl_commands *c, const inl_pipeline *p, VkDescriptorSet set,
                                     uint32_t slot, const inl_binding *binding)
{
    VkDescriptorBufferInfo buffer = {.buffer = binding->buffer->buffer,
                                     .offset = binding->offset,
                                     .range = binding->size};
    VkBufferView view = VK_NULL_HANDLE;
    VkDescriptorType type = inl_descriptor_type(p, slot);
    if (type == VK_DESCRIPTOR_TYPE_STORAGE_TEXEL_BUFFER)
        INL_TRY(add_view(c, p, slot, binding, &view));
    VkWriteDescriptorSet write = {.sType = VK_STRUCTURE_TYPE_WRITE_DESCRIPTOR_SET,
                                  .dstSet = set,
                                  .dstBinding = slot,
                                  .descriptorCount = 1,
                                  .descriptorType = type,
                                  .pBufferInfo = &buffer,
                                  .pTexelBufferView = &view};
    c->gpu->vk.vkUpdateDescriptorSets(c->gpu->device, 1, &write, 0, NULL);
    return INLAY_OK;
}

static inlay_result bind(inl_commands *c, const inl_pipeline *p, const inl_binding *bindings,
                         const void *push)
{
    inl_gpu *gpu = c->gpu;
    VkDescriptorSet set;
    VkDescriptorSetAllocateInfo info = {.sType = VK_STRUCTURE_TYPE_DESCRIPTOR_SET_ALLOCATE_INFO,
                                        .descriptorPool = c->descriptors,
                                        .descriptorSetCount = 1,
                                        .pSetLayouts = &p->set_layout};
    INL_VK(gpu, gpu->vk.vkAllocateDescriptorSets(gpu->device, &info, &set),
           "allocate a descriptor set");
    for (uint32_t i = 0; i < p->binding_count; i++)
        INL_TRY(write_descriptor(c, p, set, i, &bindings[i]));
    if (c->bound != p->pipeline)
        gpu->vk.vkCmdBindPipeline(c->buffer, VK_PIPELINE_BIND_POINT_COMPUTE, p->pipeline);
    c->bound = p->pipeline;
    gpu->vk.vkCmdBindDescriptorSets(c->buffer, VK_PIPELINE_BIND_POINT_COMPUTE, p->layout, 0, 1,
                                    &set, 0, NULL);
    if (p->push_bytes > 0)
        gpu->vk.vkCmdPushConstants(c->buffer, p->layout, VK_SHADER_STAGE_COMPUTE_BIT, 0,
                                   p->push_bytes, push);
    return INLAY_OK;
}

inlay_result inl_commands_dispatch(inl_commands *c, inl_pipeline *pipeline,
                                   const inl_binding *bindings, const void *push,
                                   const uint32_t first[3], const uint32_t groups[3])
{
    INL_TRY(bind(c, pipeline, bindings, push));
    c->gpu->vk.vkCmdDispatchBase(c->buffer, first[0], first[1], first[2], groups[0], groups[1],
                                 groups[2]);
    return INLAY_OK;
}

void inl_commands_copy(inl_commands *c, inl_binding from, inl_binding to)
{
    VkBufferCopy copy = {.srcOffset = from.offset, .dstOffset = to.offset, .size = from.size};
    c->gpu->vk.vkCmdCopyBuffer(c->buffer, from.buffer->buffer, to.buffer->buffer, 1, &copy);
}

void inl_commands_zero(inl_commands *c, inl_binding target)
{
    c->gpu->vk.vkCmdFillBuffer(c->buffer, target.buffer->buffer, target.offset, target.size, 0);
}

void inl_commands_barrier(inl_commands *c)
{
    VkMemoryBarrier barrier = {
        .sType = VK_STRUCTURE_TYPE_MEMORY_BARRIER,
        .srcAccessMask = VK_ACCESS_SHADER_WRITE_BIT | VK_ACCESS_TRANSFER_WRITE_BIT,
        .dstAccessMask = VK_ACCESS_SHADER_READ_BIT | VK_ACCESS_SHADER_WRITE_BIT |
                         VK_ACCESS_TRANSFER_READ_BIT | VK_ACCESS_TRANSFER_WRITE_BIT};
    VkPipelineStageFlags work =
        VK_PIPELINE_STAGE_COMPUTE_SHADER_BIT | VK_PIPELINE_STAGE_TRANSFER_BIT;
    c->gpu->vk.vkCmdPipelineBarrier(c->buffer, work, work, 0, 1, &barrier, 0, NULL, 0, NULL);
}

void inl_commands_timestamp(inl_commands *c)
{
    if (c->timestamp_count < c->max_timestamps)
        c->gpu->vk.vkCmdWriteTimestamp(c->buffer, VK_PIPELINE_STAGE_BOTTOM_OF_PIPE_BIT, c->queries,
                                       c->timestamp_count++);
}

// The closing barrier makes everything visible to the host's reads of mapped memory.
inlay_result inl_commands_end(inl_commands *c)
{
    VkMemoryBarrier barrier = {
        .sType = VK_STRUCTURE_TYPE_MEMORY_BARRIER,
        .srcAccessMask = VK_ACCESS_SHADER_WRITE_BIT | VK_ACCESS_TRANSFER_WRITE_BIT,
        .dstAccessMask = VK_ACCESS_HOST_READ_BIT};
    c->gpu->vk.vkCmdPipelineBarrier(
        c->buffer, VK_PIPELINE_STAGE_COMPUTE_SHADER_BIT | VK_PIPELINE_STAGE_TRANSFER_BIT,
        VK_PIPELINE_STAGE_HOST_BIT, 0, 1, &barrier, 0, NULL, 0, NULL);
    INL_VK(c->gpu, c->gpu->vk.vkEndCommandBuffer(c->buffer), "record commands");
    return INLAY_OK;
}

inlay_result inl_gpu_submit(inl_gpu *gpu, inl_commands *c, uint64_t *ticket)
{
    if (gpu->lost)
        return inl_fail(&gpu->env, INLAY_ERROR_DEVICE_LOST, "the device was lost");
    *ticket = gpu->submitted + 1;
    VkTimelineSemaphoreSubmitInfo values = {
        .sType = VK_STRUCTURE_TYPE_TIMELINE_SEMAPHORE_SUBMIT_INFO,
        .signalSemaphoreValueCount = 1,
        .pSignalSemaphoreValues = ticket};
    VkSubmitInfo info = {.sType = VK_STRUCTURE_TYPE_SUBMIT_INFO,
                         .pNext = &values,
                         .commandBufferCount = 1,
                         .pCommandBuffers = &c->buffer,
                         .signalSemaphoreCount = 1,
                         .pSignalSemaphores = &gpu->timeline};
    if (gpu->lock_queue)
        gpu->lock_queue(gpu->queue_user);
    VkResult result = gpu->vk.vkQueueSubmit(gpu->queue, 1, &info, VK_NULL_HANDLE);
    if (gpu->unlock_queue)
        gpu->unlock_queue(gpu->queue_user);
    if (result != VK_SUCCESS)
        return inl_vk_fail(gpu, result, "submit");
    gpu->submitted = *ticket;
    return INLAY_OK;
}

inlay_result inl_gpu_wait(inl_gpu *gpu, uint64_t ticket)
{
    VkSemaphoreWaitInfo info = {.sType = VK_STRUCTURE_TYPE_SEMAPHORE_WAIT_INFO,
                                .semaphoreCount = 1,
                                .pSemaphores = &gpu->timeline,
                                .pValues = &ticket};
    INL_VK(gpu, gpu->vk.vkWaitSemaphores(gpu->device, &info, UINT64_MAX), "wait");
    return INLAY_OK;
}

bool inl_commands_seconds(inl_gpu *gpu, const inl_commands *c, double *seconds, uint32_t count)
{
    uint64_t ticks[256], start = 0;
    if (count == 0 || count > c->timestamp_count)
        return false;
    for (uint32_t done = 0; done < count;) {
        uint32_t part = INL_MIN(count - done, (uint32_t)INL_COUNT(ticks));
        VkResult result = gpu->vk.vkGetQueryPoolResults(gpu->device, c->queries, done, part,
                                                        part * sizeof(*ticks), ticks,
                                                        sizeof(*ticks), VK_QUERY_RESULT_64_BIT);
        if (result != VK_SUCCESS)
            return false;
        start = done == 0 ? ticks[0] : start;
        for (uint32_t i = 0; i < part; i++)
            seconds[done + i] = (double)((ticks[i] - start) & gpu->timestamp_mask) *
                                (double)gpu->caps.timestamp_ns * 1e-9;
        done += part;
    }
    return true;
}
