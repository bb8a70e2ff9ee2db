// SPDX-License-Identifier: MIT
// What a driver's compiler makes of every kernel, in the specializations that training and
// generation ask for: registers, spills, and whatever else it reports. Nothing is run, so the lab's
// drivers of cards that are not there do.
//
// usage: kernel_stats [--check] [--all]
//   --check  exit 1 when a kernel spills registers
//   --all    every statistic, not only spills and sizes
#define _GNU_SOURCE
#include "harness/toy_model.h"
#include "model/dora.h"
#include "train/emit.h"

#include "common.h"

#include "gpu/vk.h"

#include <strings.h>
#include <unistd.h>

enum { TOKENS = 64, RANK = 8, CONTEXT = 64, MAX_SEEN = 512, MAX_STATISTICS = 64 };

typedef struct seen_node {
    inl_kernel kernel;
    uint32_t spec[INL_NODE_SPECS], spec_count, subgroup;
} seen_node;

typedef struct collection {
    seen_node nodes[MAX_SEEN];
    uint32_t count;
} collection;

// ---- which specializations there are: those of dry plans

static void collect(const inl_plan *plan, collection *c)
{
    for (uint32_t i = 0; i < inl_plan_node_count(plan); i++) {
        const inl_node *node = inl_plan_node(plan, i);
        if (!node)
            continue;
        uint32_t k = 0;
        while (k < c->count && (c->nodes[k].kernel != node->kernel ||
                                memcmp(c->nodes[k].spec, node->spec, sizeof(node->spec)) != 0))
            k++;
        if (k < c->count || k == MAX_SEEN)
            continue;
        c->nodes[k] = (seen_node){.kernel = node->kernel,
                                  .spec_count = node->spec_count,
                                  .subgroup = node->subgroup};
        memcpy(c->nodes[k].spec, node->spec, sizeof(node->spec));
        c->count++;
    }
}

// What finds DoRA's norms before the first step.
static void collect_start(const inl_env *env, const inl_gpu_caps *caps, const inl_weights *w,
                          const inl_slots *slots, const inl_lora_arena *arena, collection *c)
{
    inl_plan *plan;
    if (inl_dora_bytes(slots) == 0)
        return;
    dev_check(inl_plan_create_dry(env, caps, &plan), "make a plan");
    inl_inputs in = {.scalars = inl_op_external(plan, arena->norms)};
    inl_dora_emit_squares(plan, &in, w, slots, arena);
    dev_check(inl_plan_finish(plan), "emit the norms");
    collect(plan, c);
    inl_plan_destroy(&plan);
}

static void collect_training(const inl_env *env, const inl_gpu_caps *caps, const inl_weights *w,
                             const inl_slots *slots, float dropout, collection *c)
{
    inl_range size = {.size = 4 * slots->floats};
    inl_lora_arena arena = {.weights = size, .gradients = size, .dropout = dropout};
    inl_dora_bind(slots, NULL, &arena);
    inl_range norm = {.size = INL_NORM_BYTES};
    inl_input_buffers inputs;
    inl_plan *micro, *update;
    dev_check(inl_inputs_create(NULL, TOKENS, &inputs), "size the inputs");
    dev_check(inl_plan_create_dry(env, caps, &micro), "make a plan");
    dev_check(inl_plan_create_dry(env, caps, &update), "make a plan");
    dev_check(inl_emit_micro(micro, w, slots, &arena, &inputs, 0, 1), "emit a step");
    inl_adamw_args args = {.weights = size,
                           .gradients = size,
                           .m = size,
                           .v = size,
                           .norm = norm,
                           .floats = slots->floats};
    dev_check(inl_emit_update(update, &args, &arena, w, slots, &inputs), "emit an update");
    collect(micro, c);
    collect(update, c);
    collect_start(env, caps, w, slots, &arena, c);
    inl_plan_destroy(&micro);
    inl_plan_destroy(&update);
}

static void collect_generation(const inl_env *env, const inl_gpu_caps *caps, const inl_weights *w,
                               const inl_slots *slots, uint32_t tokens, collection *c)
{
    const inl_config *config = &w->model->config;
    uint32_t cols = config->kv_heads * config->head_dim;
    inl_range size = {.size = 4 * slots->floats};
    inl_lora_arena arena = {.weights = size, .gradients = size};
    inl_input_buffers inputs;
    inl_plan *plan;
    dev_check(inl_inputs_create(NULL, tokens, &inputs), "size the inputs");
    dev_check(inl_plan_create_dry(env, caps, &plan), "make a plan");
    inl_range rows = {.size = inl_tensor_bytes(CONTEXT, cols)};
    inl_tensor cache = {.buf = inl_op_external(plan, rows),
                        .rows = CONTEXT,
                        .cols = cols,
                        .ld = (uint32_t)inl_round_up(cols, 8)};
    inl_network net = {.plan = plan,
                       .weights = w,
                       .slots = slots,
                       .arena = &arena,
                       .in = inl_inputs_bind(plan, &inputs),
                       .tokens = tokens,
                       .cache_k = &cache,
                       .cache_v = &cache};
    inl_range logits = {.size = inl_tensor_bytes(8, config->vocab)};
    inl_network_emit(&net, &(inl_walk){.logits = logits, .head_rows = 1});
    dev_check(inl_plan_finish(plan), "emit a pass of generation");
    collect(plan, c);
    inl_plan_destroy(&plan);
}

// What encodes weights at load.
static void collect_encoding(const inl_env *env, const inl_gpu_caps *caps, collection *c)
{
    static const inl_format_id formats[] = {INL_FORMAT_Q8_0, INL_FORMAT_Q4_0, INL_FORMAT_NF4};
    enum { COLS = 64, BYTES = 1 << 16 };
    inl_plan *plan;
    dev_check(inl_plan_create_dry(env, caps, &plan), "make a plan");
    for (uint32_t i = 0; i < 4 * INL_COUNT(formats); i++) {
        inl_encode_args args = {.format = inl_format_by_id(formats[i / 4]),
                                .stored = inl_format_by_id(i % 4 == 3 ? INL_FORMAT_F32 : i % 4),
                                .rows = 8,
                                .cols = i % 4 == 3 ? COLS / 2 : COLS, // other blocks of NF4
                                .source = {.size = BYTES},
                                .quants = {.size = BYTES},
                                .scales = {.size = BYTES}};
        inl_op_encode(plan, &args);
    }
    dev_check(inl_plan_finish(plan), "emit the encoding");
    collect(plan, c);
    inl_plan_destroy(&plan);
}

static void collect_model(const inl_env *env, const inl_gpu_caps *caps, inl_format_id id,
                          uint32_t head_dim, collection *c)
{
    bool nf4 = inl_is_nf4(inl_format_by_id(id));
    toy_model shape = {.dim = 256,
                       .ffn = 512,
                       .layers = 1,
                       .heads = 256 / head_dim,
                       .kv_heads = 1,
                       .head_dim = head_dim,
                       .vocab = 512,
                       .seed = 1,
                       .biases = 1,
                       .format = nf4 ? INL_FORMAT_F32 : id};
    char path[] = "/tmp/inlay-stats-XXXXXX";
    int file = mkstemp(path);
    inl_model *model;
    inl_weights *weights;
    inl_lora *lora;
    inl_slots slots;
    if (file < 0 || close(file) != 0 || toy_model_write(path, &shape) != 0)
        dev_check(INLAY_ERROR_IO, "write a model under /tmp");
    inl_model_params params = {.quantize = nf4 ? inl_format_by_id(id) : NULL};
    dev_check(inl_model_open(env, path, &params, &model), "open the model");
    unlink(path);
    dev_check(inl_weights_create(model, NULL, UINT32_MAX, CONTEXT, CONTEXT, &weights),
              "size the weights");
    inl_lora_params adapter = {.r = RANK, .alpha = RANK};
    dev_check(inl_lora_create(env, &model->modules.list, &adapter, &lora), "make an adapter");
    dev_check(inl_slots_create(env, &model->config, lora, &slots), "size the adapter");
    collect_training(env, caps, weights, &slots, 0.0f, c);
    collect_training(env, caps, weights, &slots, 0.1f, c);
    collect_generation(env, caps, weights, &slots, 1, c);
    collect_generation(env, caps, weights, &slots, 16, c);
    inl_slots_free(env, &slots);
    inl_lora_destroy(&lora);
    adapter.use_dora = true;
    dev_check(inl_lora_create(env, &model->modules.list, &adapter, &lora), "make an adapter");
    dev_check(inl_slots_create(env, &model->config, lora, &slots), "size the adapter");
    collect_training(env, caps, weights, &slots, 0.1f, c);
    inl_slots_free(env, &slots);
    inl_lora_destroy(&lora);
    inl_weights_destroy(&weights);
    inl_model_close(&model);
}

// ---- what the compiler says

// A device that gives statistics takes the place of gpu's own.
static VkDevice open_device(inl_gpu *gpu)
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
    return device;
}

static double value_of(const VkPipelineExecutableStatisticKHR *s)
{
    switch (s->format) {
    case VK_PIPELINE_EXECUTABLE_STATISTIC_FORMAT_BOOL32_KHR: return s->value.b32;
    case VK_PIPELINE_EXECUTABLE_STATISTIC_FORMAT_INT64_KHR: return (double)s->value.i64;
    case VK_PIPELINE_EXECUTABLE_STATISTIC_FORMAT_UINT64_KHR: return (double)s->value.u64;
    default: return s->value.f64;
    }
}

// Registers that went to memory; those that went to registers of another kind do no harm.
static bool is_spill(const char *name)
{
    bool to_registers = strcasestr(name, "sgpr") || strcasestr(name, "to reg");
    return (strcasestr(name, "spill") && !to_registers) || strcasestr(name, "scratch");
}

static bool is_of_interest(const char *name)
{
    static const char *const words[] = {"vgpr",  "gpr",     "instruction count", "instructions",
                                        "cycle", "inverse", "subgroups per",     "warps"};
    if (is_spill(name))
        return true;
    for (size_t i = 0; i < INL_COUNT(words); i++)
        if (strcasestr(name, words[i]) && !strcasestr(name, "pre-sched"))
            return true;
    return false;
}

// Prints the statistics of one executable of a pipeline; true when it spills.
static bool print_executable(inl_gpu *gpu, VkPipeline pipeline, uint32_t index, bool all)
{
    VkPipelineExecutableStatisticKHR stats[MAX_STATISTICS];
    uint32_t count = MAX_STATISTICS;
    for (uint32_t i = 0; i < count; i++)
        stats[i] = (VkPipelineExecutableStatisticKHR){
            .sType = VK_STRUCTURE_TYPE_PIPELINE_EXECUTABLE_STATISTIC_KHR};
    VkPipelineExecutableInfoKHR info = {.sType = VK_STRUCTURE_TYPE_PIPELINE_EXECUTABLE_INFO_KHR,
                                        .pipeline = pipeline,
                                        .executableIndex = index};
    bool spills = false;
    if (gpu->vk.vkGetPipelineExecutableStatisticsKHR(gpu->device, &info, &count, stats) < 0)
        return false;
    for (uint32_t i = 0; i < count; i++) {
        double value = value_of(&stats[i]);
        spills |= is_spill(stats[i].name) && value > 0.0;
        if (all || (is_of_interest(stats[i].name) && (!is_spill(stats[i].name) || value > 0.0)))
            printf("  %s %.6g", stats[i].name, value);
    }
    return spills;
}

static bool print_node(inl_gpu *gpu, const seen_node *node, bool all)
{
    const inl_shader *shader = &inl_kernels[node->kernel];
    inl_pipeline *pipeline;
    dev_check(inl_pipeline_get(gpu, shader, node->spec, node->spec_count, node->subgroup,
                               &pipeline),
              shader->name);
    printf("%-18s [", shader->name);
    for (uint32_t i = 0; i < node->spec_count; i++)
        printf("%s%u", i ? " " : "", node->spec[i]);
    printf("]");
    VkPipelineInfoKHR info = {.sType = VK_STRUCTURE_TYPE_PIPELINE_INFO_KHR,
                              .pipeline = pipeline->pipeline};
    uint32_t count = 0;
    gpu->vk.vkGetPipelineExecutablePropertiesKHR(gpu->device, &info, &count, NULL);
    bool spills = false;
    for (uint32_t i = 0; i < count; i++)
        spills |= print_executable(gpu, pipeline->pipeline, i, all);
    printf("\n");
    return spills;
}

int main(int argc, char **argv)
{
    bool fail_on_spills = false, all = false;
    for (int i = 1; i < argc; i++) {
        fail_on_spills |= strcmp(argv[i], "--check") == 0;
        all |= strcmp(argv[i], "--all") == 0;
        if (strcmp(argv[i], "--check") != 0 && strcmp(argv[i], "--all") != 0) {
            fprintf(stderr, "usage: kernel_stats [--check] [--all]\n");
            return 2;
        }
    }
    inl_env env = inl_env_resolve(&(inlay_env){.log = dev_log});
    inl_gpu *gpu;
    dev_check(inl_gpu_create(&env, NULL, &gpu), "open the device");
    printf("%s, %s\n", gpu->caps.name, gpu->caps.driver_info);
    static collection c;
    for (int id = 0; id < INL_FORMAT_COUNT; id++)
        collect_model(&env, &gpu->caps, (inl_format_id)id, 64, &c);
    collect_model(&env, &gpu->caps, INL_FORMAT_F32, 128, &c);
    collect_encoding(&env, &gpu->caps, &c);

    VkDevice own = gpu->device;
    VkPipelineCache cache = gpu->pipeline_cache;
    gpu->device = open_device(gpu);
    gpu->pipeline_cache = VK_NULL_HANDLE;
    gpu->pipeline_flags = VK_PIPELINE_CREATE_CAPTURE_STATISTICS_BIT_KHR;
    inl_vk_load_device(gpu);
    uint32_t spilling = 0;
    for (uint32_t i = 0; i < c.count; i++)
        spilling += print_node(gpu, &c.nodes[i], all);
    inl_pipelines_destroy(gpu);
    gpu->vk.vkDestroyDevice(gpu->device, NULL);
    gpu->device = own;
    gpu->pipeline_cache = cache;
    inl_vk_load_device(gpu);
    printf("%s: %u pipelines, %u spill\n", gpu->caps.name, c.count, spilling);
    inl_gpu_destroy(&gpu);
    return fail_on_spills && spilling > 0;
}
