// SPDX-License-Identifier: MIT
// Compute pipelines: SPIR-V and specialization constants, made once and kept by the gpu.
#include "gpu/vk.h"

#include <string.h>

static inl_pipeline *find(const inl_gpu *gpu, const inl_shader *shader, const uint32_t *spec,
                          uint32_t count, uint32_t subgroup)
{
    for (size_t i = 0; i < gpu->pipeline_count; i++) {
        inl_pipeline *p = gpu->pipelines[i];
        if (p->code == shader->code && p->spec_count == count && p->subgroup == subgroup &&
            (count == 0 || memcmp(p->spec, spec, count * sizeof(*spec)) == 0))
            return p;
    }
    return NULL;
}

VkDescriptorType inl_descriptor_type(const inl_pipeline *p, uint32_t binding)
{
    bool texels = ((p->float_texels | p->uint_texels) >> binding & 1u) != 0;
    return texels ? VK_DESCRIPTOR_TYPE_STORAGE_TEXEL_BUFFER : VK_DESCRIPTOR_TYPE_STORAGE_BUFFER;
}

static inlay_result create_layouts(inl_gpu *gpu, inl_pipeline *p)
{
    VkDescriptorSetLayoutBinding bindings[INL_MAX_BINDINGS];
    for (uint32_t i = 0; i < p->binding_count; i++)
        bindings[i] = (VkDescriptorSetLayoutBinding){
            .binding = i,
            .descriptorType = inl_descriptor_type(p, i),
            .descriptorCount = 1,
            .stageFlags = VK_SHADER_STAGE_COMPUTE_BIT,
        };
    VkDescriptorSetLayoutCreateInfo set = {
        .sType = VK_STRUCTURE_TYPE_DESCRIPTOR_SET_LAYOUT_CREATE_INFO,
        .bindingCount = p->binding_count,
        .pBindings = bindings};
    INL_VK(gpu, gpu->vk.vkCreateDescriptorSetLayout(gpu->device, &set, NULL, &p->set_layout),
           "create a descriptor set layout");
    VkPushConstantRange push = {.stageFlags = VK_SHADER_STAGE_COMPUTE_BIT, .size = p->push_bytes};
    VkPipelineLayoutCreateInfo layout = {.sType = VK_STRUCTURE_TYPE_PIPELINE_LAYOUT_CREATE_INFO,
                                         .setLayoutCount = 1,
                                         .pSetLayouts = &p->set_layout,
                                         .pushConstantRangeCount = p->push_bytes ? 1 : 0,
                                         .pPushConstantRanges = &push};
    INL_VK(gpu, gpu->vk.vkCreatePipelineLayout(gpu->device, &layout, NULL, &p->layout),
           "create a pipeline layout");
    return INLAY_OK;
}

static inlay_result create_pipeline(inl_gpu *gpu, const inl_shader *shader, inl_pipeline *p)
{
    VkShaderModuleCreateInfo module_info = {.sType = VK_STRUCTURE_TYPE_SHADER_MODULE_CREATE_INFO,
                                            .codeSize = shader->code_bytes,
                                            .pCode = shader->code};
    VkShaderModule module;
    INL_VK(gpu, gpu->vk.vkCreateShaderModule(gpu->device, &module_info, NULL, &module),
           "create a shader module");
    VkSpecializationMapEntry entries[INL_COUNT(p->spec)];
    for (uint32_t i = 0; i < p->spec_count; i++)
        entries[i] = (VkSpecializationMapEntry){.constantID = i, .offset = 4 * i, .size = 4};
    VkSpecializationInfo spec = {.mapEntryCount = p->spec_count,
                                 .pMapEntries = entries,
                                 .dataSize = 4 * p->spec_count,
                                 .pData = p->spec};
    VkPipelineShaderStageRequiredSubgroupSizeCreateInfo size = {
        .sType = VK_STRUCTURE_TYPE_PIPELINE_SHADER_STAGE_REQUIRED_SUBGROUP_SIZE_CREATE_INFO,
        .requiredSubgroupSize = p->subgroup};
    VkComputePipelineCreateInfo info = {
        .sType = VK_STRUCTURE_TYPE_COMPUTE_PIPELINE_CREATE_INFO,
        .flags = VK_PIPELINE_CREATE_DISPATCH_BASE_BIT | gpu->pipeline_flags, // it may be cut
        .stage = {.sType = VK_STRUCTURE_TYPE_PIPELINE_SHADER_STAGE_CREATE_INFO,
                  .pNext = p->subgroup ? &size : NULL,
                  .flags = p->subgroup && gpu->features.full_subgroups
                               ? VK_PIPELINE_SHADER_STAGE_CREATE_REQUIRE_FULL_SUBGROUPS_BIT
                               : 0,
                  .stage = VK_SHADER_STAGE_COMPUTE_BIT,
                  .module = module,
                  .pName = "main",
                  .pSpecializationInfo = &spec},
        .layout = p->layout};
    VkResult result = gpu->vk.vkCreateComputePipelines(gpu->device, gpu->pipeline_cache, 1, &info,
                                                       NULL, &p->pipeline);
    gpu->vk.vkDestroyShaderModule(gpu->device, module, NULL);
    if (result != VK_SUCCESS)
        return inl_vk_fail(gpu, result, shader->name);
    return INLAY_OK;
}

static void destroy(inl_gpu *gpu, inl_pipeline *p)
{
    if (p->pipeline)
        gpu->vk.vkDestroyPipeline(gpu->device, p->pipeline, NULL);
    if (p->layout)
        gpu->vk.vkDestroyPipelineLayout(gpu->device, p->layout, NULL);
    if (p->set_layout)
        gpu->vk.vkDestroyDescriptorSetLayout(gpu->device, p->set_layout, NULL);
    inl_free(&gpu->env, p);
}

inlay_result inl_pipeline_get(inl_gpu *gpu, const inl_shader *shader, const uint32_t *spec,
                              uint32_t spec_count, uint32_t subgroup, inl_pipeline **out)
{
    if (!gpu->features.subgroup_sizes)
        subgroup = 0;
    *out = find(gpu, shader, spec, spec_count, subgroup);
    if (*out)
        return INLAY_OK;
    if (!shader->code)
        return inl_fail(&gpu->env, INLAY_ERROR_INTERNAL,
                        "this build's shader compiler could not make the kernel %s", shader->name);
    if (spec_count > INL_COUNT((*out)->spec) || shader->binding_count > INL_MAX_BINDINGS)
        return inl_fail(&gpu->env, INLAY_ERROR_INTERNAL,
                        "kernel %s has too many constants or bindings", shader->name);
    INL_TRY(inl_grow(&gpu->env, (void **)&gpu->pipelines, &gpu->pipeline_cap,
                     gpu->pipeline_count + 1, sizeof(*gpu->pipelines)));
    inl_pipeline *p = inl_alloc(&gpu->env, 1, sizeof(*p));
    if (!p)
        return INLAY_ERROR_OUT_OF_MEMORY;
    p->code = shader->code;
    p->spec_count = spec_count;
    p->subgroup = subgroup;
    if (spec_count > 0)
        memcpy(p->spec, spec, spec_count * sizeof(*spec));
    p->binding_count = shader->binding_count;
    p->push_bytes = shader->push_bytes;
    p->float_texels = shader->float_texels;
    p->uint_texels = shader->uint_texels;
    inlay_result result = create_layouts(gpu, p);
    if (result == INLAY_OK)
        result = create_pipeline(gpu, shader, p);
    if (result != INLAY_OK) {
        destroy(gpu, p);
        return result;
    }
    gpu->pipelines[gpu->pipeline_count++] = p;
    *out = p;
    return INLAY_OK;
}

void inl_pipelines_destroy(inl_gpu *gpu)
{
    for (size_t i = 0; i < gpu->pipeline_count; i++)
        destroy(gpu, gpu->pipelines[i]);
    inl_free(&gpu->env, gpu->pipelines);
    gpu->pipelines = NULL;
    gpu->pipeline_count = 0;
}
