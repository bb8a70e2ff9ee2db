// SPDX-License-Identifier: MIT
#define _GNU_SOURCE
#include "kernel_report.h"

#include "common.h"

#include <math.h>
#include <string.h>
#include <strings.h>

enum { MAX_STATISTICS = 64, MAX_REPRESENTATIONS = 16 };

// ---- a device that tells

void stats_open(inl_gpu *gpu, stats_device *saved)
{
    static const char *const extension = VK_KHR_PIPELINE_EXECUTABLE_PROPERTIES_EXTENSION_NAME;
    VkPhysicalDevicePipelineExecutablePropertiesFeaturesKHR statistics = {
        .sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_PIPELINE_EXECUTABLE_PROPERTIES_FEATURES_KHR,
        .pipelineExecutableInfo = VK_TRUE};
    VkDevice device = VK_NULL_HANDLE;
    if (inl_vk_create_device(gpu, &statistics, extension, &device) != INLAY_OK) {
        printf("skipped: %s reports no statistics of pipelines\n", gpu->caps.name);
        exit(77);
    }
    *saved = (stats_device){.own = gpu->device, .cache = gpu->pipeline_cache};
    gpu->device = device;
    gpu->pipeline_cache = VK_NULL_HANDLE;
    gpu->pipeline_flags = VK_PIPELINE_CREATE_CAPTURE_STATISTICS_BIT_KHR |
                          VK_PIPELINE_CREATE_CAPTURE_INTERNAL_REPRESENTATIONS_BIT_KHR;
    inl_vk_load_device(gpu);
}

void stats_close(inl_gpu *gpu, const stats_device *saved)
{
    inl_pipelines_destroy(gpu);
    gpu->vk.vkDestroyDevice(gpu->device, NULL);
    gpu->device = saved->own;
    gpu->pipeline_cache = saved->cache;
    inl_vk_load_device(gpu);
}

// ---- statistics, under each driver's names

// RADV's, ANV's and NVK's names. What goes to registers of another kind is no spill: it does no
// harm, nor do a shader's own arrays, which NVK's "SLM size" is of. Several names for one field are
// added up.
static const struct {
    const char *name;
    stats_field field;
} names[] = {
    {"VGPRs", STATS_REGISTERS},
    {"SGPRs", STATS_SCALARS},
    {"Spilled VGPRs", STATS_SPILLS},
    {"LDS size", STATS_SHARED},
    {"Scratch size", STATS_SCRATCH},
    {"Subgroups per SIMD", STATS_OCCUPANCY},
    {"Instructions", STATS_INSTRUCTIONS},
    {"Inverse Throughput", STATS_CYCLES},
    {"Latency", STATS_LATENCY},
    {"Max live registers", STATS_REGISTERS},
    {"Spills", STATS_SPILLS},
    {"Fills", STATS_SPILLS},
    {"Scratch Memory Size", STATS_SCRATCH},
    {"Workgroup Memory Size", STATS_SHARED},
    {"Instruction Count", STATS_INSTRUCTIONS},
    {"Cycles", STATS_CYCLES},
    {"Number of GPRs", STATS_REGISTERS},
    {"Spills to memory", STATS_SPILLS},
    {"Fills from memory", STATS_SPILLS},
    {"Max warps/SM", STATS_OCCUPANCY},
    {"Static cycle count", STATS_CYCLES},
};

static double value_of(const VkPipelineExecutableStatisticKHR *s)
{
    switch (s->format) {
    case VK_PIPELINE_EXECUTABLE_STATISTIC_FORMAT_BOOL32_KHR: return s->value.b32;
    case VK_PIPELINE_EXECUTABLE_STATISTIC_FORMAT_INT64_KHR: return (double)s->value.i64;
    case VK_PIPELINE_EXECUTABLE_STATISTIC_FORMAT_UINT64_KHR: return (double)s->value.u64;
    default: return s->value.f64;
    }
}

static void take_statistic(const char *name, double value, stats_report *report)
{
    for (size_t i = 0; i < INL_COUNT(names); i++)
        if (strcasecmp(name, names[i].name) == 0) {
            double *field = &report->values[names[i].field];
            *field = (isnan(*field) ? 0.0 : *field) + value;
            return;
        }
}

static void read_statistics(inl_gpu *gpu, const VkPipelineExecutableInfoKHR *info,
                            stats_report *report)
{
    VkPipelineExecutableStatisticKHR stats[MAX_STATISTICS];
    uint32_t count = MAX_STATISTICS;
    for (uint32_t i = 0; i < count; i++)
        stats[i] = (VkPipelineExecutableStatisticKHR){
            .sType = VK_STRUCTURE_TYPE_PIPELINE_EXECUTABLE_STATISTIC_KHR};
    if (gpu->vk.vkGetPipelineExecutableStatisticsKHR(gpu->device, info, &count, stats) < 0)
        return;
    size_t size = 0, at = report->listing ? strlen(report->listing) : 0;
    for (uint32_t i = 0; i < count; i++)
        size += strlen(stats[i].name) + 32;
    char *listing = realloc(report->listing, at + size + 1);
    dev_check(listing ? INLAY_OK : INLAY_ERROR_OUT_OF_MEMORY, "list statistics");
    for (uint32_t i = 0; i < count; i++) {
        double value = value_of(&stats[i]);
        take_statistic(stats[i].name, value, report);
        at += (size_t)sprintf(listing + at, "  %s %.6g", stats[i].name, value);
    }
    report->listing = listing;
}

// ---- machine code

// Invocations of a workgroup: spec constants where its size is made of them.
static uint32_t workgroup_size(const inl_shader *shader, const stats_node *node)
{
    enum {
        EXECUTION_MODE = 16,
        LOCAL_SIZE = 17,
        CONSTANT = 43,
        SPEC_CONSTANT = 50,
        COMPOSITE = 51,
        DECORATE = 71,
        SPEC_ID = 1,
        BUILT_IN = 11,
        WORKGROUP_SIZE = 25,
        MOST = 8192
    };
    static uint32_t value[MOST];
    static int32_t spec_id[MOST];
    uint32_t sizes[3] = {1, 1, 1}, built_in = 0, at = 5, words = shader->code_bytes / 4;
    memset(value, 0, sizeof(value));
    memset(spec_id, 0xff, sizeof(spec_id));
    for (uint32_t count; at < words; at += count) {
        const uint32_t *i = shader->code + at;
        uint32_t op = i[0] & 0xffff;
        count = INL_MAX(i[0] >> 16, 1u);
        if (op == EXECUTION_MODE && i[2] == LOCAL_SIZE)
            memcpy(sizes, i + 3, sizeof(sizes));
        else if (op == DECORATE && i[2] == SPEC_ID && i[1] < MOST)
            spec_id[i[1]] = (int32_t)i[3];
        else if (op == DECORATE && i[2] == BUILT_IN && i[3] == WORKGROUP_SIZE)
            built_in = i[1];
        else if ((op == CONSTANT || op == SPEC_CONSTANT) && i[2] < MOST)
            value[i[2]] = spec_id[i[2]] >= 0 && (uint32_t)spec_id[i[2]] < node->spec_count
                              ? node->spec[spec_id[i[2]]]
                              : i[3];
        else if (op == COMPOSITE && i[2] == built_in)
            for (uint32_t d = 0; d < 3 && d + 3 < count; d++)
                sizes[d] = i[3 + d] < MOST ? value[i[3 + d]] : 1;
    }
    return sizes[0] * sizes[1] * sizes[2];
}

// The text that is nearest the machine: RADV's and ANV's "assembly", NVK's own.
static bool is_code(const VkPipelineExecutableInternalRepresentationKHR *r)
{
    return r->isText && (strcasestr(r->name, "assembly") || strcasestr(r->name, "nak"));
}

static void read_code(inl_gpu *gpu, const VkPipelineExecutableInfoKHR *info, stats_report *report)
{
    VkPipelineExecutableInternalRepresentationKHR texts[MAX_REPRESENTATIONS];
    uint32_t count = MAX_REPRESENTATIONS;
    for (uint32_t i = 0; i < count; i++)
        texts[i] = (VkPipelineExecutableInternalRepresentationKHR){
            .sType = VK_STRUCTURE_TYPE_PIPELINE_EXECUTABLE_INTERNAL_REPRESENTATION_KHR};
    PFN_vkGetPipelineExecutableInternalRepresentationsKHR get =
        gpu->vk.vkGetPipelineExecutableInternalRepresentationsKHR;
    if (get(gpu->device, info, &count, texts) < 0)
        return;
    for (uint32_t i = 0; i < count; i++)
        texts[i].pData = is_code(&texts[i]) ? calloc(1, texts[i].dataSize + 1) : NULL;
    get(gpu->device, info, &count, texts);
    for (uint32_t i = 0; i < count; i++) {
        if (!texts[i].pData)
            continue;
        free(report->code); // the last is the nearest
        report->code = texts[i].pData;
    }
}

void stats_compile(inl_gpu *gpu, const inl_shader *shader, const stats_node *node,
                   stats_report *report)
{
    inl_pipeline *pipeline;
    *report = (stats_report){0};
    for (int i = 0; i < STATS_FIELD_COUNT; i++)
        report->values[i] = NAN;
    dev_check(
        inl_pipeline_get(gpu, shader, node->spec, node->spec_count, node->subgroup, &pipeline),
        shader->name);
    VkPipelineInfoKHR info = {.sType = VK_STRUCTURE_TYPE_PIPELINE_INFO_KHR,
                              .pipeline = pipeline->pipeline};
    VkPipelineExecutablePropertiesKHR properties = {
        .sType = VK_STRUCTURE_TYPE_PIPELINE_EXECUTABLE_PROPERTIES_KHR};
    uint32_t count = 1; // a compute pipeline is one executable
    if (gpu->vk.vkGetPipelineExecutablePropertiesKHR(gpu->device, &info, &count, &properties) < 0 ||
        count == 0)
        return;
    if (properties.subgroupSize > 0)
        report->values[STATS_WIDTH] = properties.subgroupSize;
    report->invocations = workgroup_size(shader, node);
    VkPipelineExecutableInfoKHR executable = {
        .sType = VK_STRUCTURE_TYPE_PIPELINE_EXECUTABLE_INFO_KHR, .pipeline = pipeline->pipeline};
    read_statistics(gpu, &executable, report);
    read_code(gpu, &executable, report);
}

void stats_report_free(stats_report *report)
{
    free(report->listing);
    free(report->code);
    *report = (stats_report){0};
}
