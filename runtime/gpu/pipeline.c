// SPDX-License-Identifier: MIT
// Compute pipelines: SPIR-V and specialization constants, made once and kept by the gpu. Drivers
// take tens of milliseconds to seconds for each and have no lock around it, so those of a list are
// made on several threads at once. These call the driver alone, with no callbacks of the host: the
// structs are allocated before, and what went wrong is said after, by the calling thread.
#include "base/parallel.h"
#include "gpu/vk.h"

#include <stdio.h>
#include <string.h>

static uint32_t required_subgroup(const inl_gpu *gpu, const inl_pipeline_key *key)
{
    return gpu->features.subgroup_sizes ? key->subgroup : 0;
}

static const inl_shader *shader_of(const inl_gpu *gpu, const inl_pipeline_key *key)
{
    return gpu->replace ? gpu->replace(gpu->replace_user, key->shader) : key->shader;
}

static inl_pipeline *find(const inl_gpu *gpu, const inl_pipeline_key *key)
{
    const inl_shader *shader = shader_of(gpu, key);
    for (size_t i = 0; i < gpu->pipeline_count; i++) {
        inl_pipeline *p = gpu->pipelines[i];
        if (p->shader->code == shader->code && p->spec_count == key->spec_count &&
            p->subgroup == required_subgroup(gpu, key) &&
            (key->spec_count == 0 ||
             memcmp(p->spec, key->spec, key->spec_count * sizeof(*key->spec)) == 0))
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

// Called from several threads at once: touches *p alone, and neither allocator nor log.
static VkResult compile(const inl_gpu *gpu, inl_pipeline *p)
{
    VkShaderModuleCreateInfo module_info = {.sType = VK_STRUCTURE_TYPE_SHADER_MODULE_CREATE_INFO,
                                            .codeSize = p->shader->code_bytes,
                                            .pCode = p->shader->code};
    VkShaderModule module;
    VkResult result = gpu->vk.vkCreateShaderModule(gpu->device, &module_info, NULL, &module);
    if (result != VK_SUCCESS)
        return result;
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
    result = gpu->vk.vkCreateComputePipelines(gpu->device, gpu->pipeline_cache, 1, &info, NULL,
                                              &p->pipeline);
    gpu->vk.vkDestroyShaderModule(gpu->device, module, NULL);
    return result;
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

// Everything of a pipeline but its code's translation.
static inlay_result add(inl_gpu *gpu, const inl_pipeline_key *key)
{
    inl_pipeline *p;
    const inl_shader *shader = shader_of(gpu, key);
    if (!shader->code)
        return inl_fail(&gpu->env, INLAY_ERROR_INTERNAL,
                        "this build's shader compiler could not make the kernel %s", shader->name);
    if (key->spec_count > INL_COUNT(p->spec) || shader->binding_count > INL_MAX_BINDINGS)
        return inl_fail(&gpu->env, INLAY_ERROR_INTERNAL,
                        "kernel %s has too many constants or bindings", shader->name);
    INL_TRY(inl_grow(&gpu->env, (void **)&gpu->pipelines, &gpu->pipeline_cap,
                     gpu->pipeline_count + 1, sizeof(*gpu->pipelines)));
    p = inl_alloc(&gpu->env, 1, sizeof(*p));
    if (!p)
        return INLAY_ERROR_OUT_OF_MEMORY;
    p->shader = shader;
    p->spec_count = key->spec_count;
    p->subgroup = required_subgroup(gpu, key);
    if (key->spec_count > 0)
        memcpy(p->spec, key->spec, key->spec_count * sizeof(*key->spec));
    p->binding_count = shader->binding_count;
    p->push_bytes = shader->push_bytes;
    p->float_texels = shader->float_texels;
    p->uint_texels = shader->uint_texels;
    inlay_result result = create_layouts(gpu, p);
    if (result != INLAY_OK) {
        destroy(gpu, p);
        return result;
    }
    gpu->pipelines[gpu->pipeline_count++] = p;
    return INLAY_OK;
}

typedef struct batch {
    const inl_gpu *gpu;
    inl_pipeline **pipelines;
} batch;

static void compile_one(void *user, uint32_t index)
{
    batch *b = user;
    inl_pipeline *p = b->pipelines[index];
    p->result = compile(b->gpu, p);
}

// Keeps those that were made; the first that was not is the error, said once.
static inlay_result sort_out(inl_gpu *gpu, size_t first)
{
    inlay_result error = INLAY_OK;
    size_t kept = first;
    for (size_t i = first; i < gpu->pipeline_count; i++) {
        inl_pipeline *p = gpu->pipelines[i];
        if (p->pipeline) {
            gpu->pipelines[kept++] = p;
            continue;
        }
        char what[128];
        snprintf(what, sizeof(what), "compile the kernel %s", p->shader->name);
        if (error == INLAY_OK && p->result != VK_SUCCESS)
            error = inl_vk_fail(gpu, p->result, what);
        destroy(gpu, p);
    }
    gpu->pipeline_count = kept;
    return error;
}

inlay_result inl_pipelines_make(inl_gpu *gpu, const inl_pipeline_key *keys, uint32_t count)
{
    size_t first = gpu->pipeline_count;
    inlay_result added = INLAY_OK;
    for (uint32_t i = 0; i < count && added == INLAY_OK; i++)
        if (!find(gpu, &keys[i]))
            added = add(gpu, &keys[i]);
    if (added == INLAY_OK && gpu->pipeline_count > first) {
        batch b = {.gpu = gpu, .pipelines = gpu->pipelines + first};
        inl_parallel(gpu->compile_threads, (uint32_t)(gpu->pipeline_count - first), compile_one,
                     &b);
    }
    inlay_result made = sort_out(gpu, first);
    return added != INLAY_OK ? added : made;
}

inlay_result inl_pipeline_get(inl_gpu *gpu, const inl_shader *shader, const uint32_t *spec,
                              uint32_t spec_count, uint32_t subgroup, inl_pipeline **out)
{
    inl_pipeline_key key = {shader, spec, spec_count, subgroup};
    *out = find(gpu, &key);
    if (*out)
        return INLAY_OK;
    INL_TRY(inl_pipelines_make(gpu, &key, 1));
    *out = find(gpu, &key);
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
