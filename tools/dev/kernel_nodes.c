// SPDX-License-Identifier: MIT
#define _GNU_SOURCE
#include "kernel_nodes.h"

#include "harness/toy_model.h"
#include "model/dora.h"
#include "train/emit.h"

#include "common.h"

#include <unistd.h>

enum { RANK = 16, CONTEXT = 2048, PROMPT = 512 };

static void collect(const inl_plan *plan, stats_nodes *nodes)
{
    const inl_env *env = inl_plan_env(plan);
    for (uint32_t i = 0; i < inl_plan_node_count(plan); i++) {
        const inl_node *node = inl_plan_node(plan, i);
        if (!node)
            continue;
        size_t k = 0;
        while (k < nodes->count &&
               (nodes->list[k].kernel != node->kernel ||
                nodes->list[k].subgroup != node->subgroup ||
                memcmp(nodes->list[k].spec, node->spec, sizeof(node->spec)) != 0))
            k++;
        if (k < nodes->count)
            continue;
        dev_check(inl_grow(env, (void **)&nodes->list, &nodes->cap, k + 1, sizeof(*nodes->list)),
                  "list a kernel");
        nodes->list[k] = (stats_node){.kernel = node->kernel,
                                      .spec_count = node->spec_count,
                                      .subgroup = node->subgroup,
                                      .tag = node->tag};
        memcpy(nodes->list[k].spec, node->spec, sizeof(node->spec));
        nodes->count++;
    }
}

// What finds DoRA's norms before the first step.
static void collect_start(const inl_env *env, const inl_gpu_caps *caps, const inl_weights *w,
                          const inl_slots *slots, const inl_lora_arena *arena, stats_nodes *nodes)
{
    inl_plan *plan;
    if (inl_dora_bytes(slots) == 0)
        return;
    dev_check(inl_plan_create_dry(env, caps, &plan), "make a plan");
    inl_inputs in = {.scalars = inl_op_external(plan, arena->norms)};
    inl_dora_emit_squares(plan, &in, w, slots, arena);
    dev_check(inl_plan_finish(plan), "emit the norms");
    collect(plan, nodes);
    inl_plan_destroy(&plan);
}

static void collect_training(const inl_env *env, const inl_gpu_caps *caps, const inl_weights *w,
                             const inl_slots *slots, uint32_t tokens, float dropout,
                             stats_nodes *nodes)
{
    inl_range size = {.size = 4 * slots->floats};
    inl_lora_arena arena = {.weights = size, .gradients = size, .dropout = dropout};
    inl_dora_bind(slots, NULL, &arena);
    inl_range norm = {.size = INL_NORM_BYTES};
    inl_input_buffers inputs;
    inl_plan *micro, *update;
    dev_check(inl_inputs_create(NULL, tokens, &inputs), "size the inputs");
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
    collect(micro, nodes);
    collect(update, nodes);
    collect_start(env, caps, w, slots, &arena, nodes);
    inl_plan_destroy(&micro);
    inl_plan_destroy(&update);
}

static void collect_generation(const inl_env *env, const inl_gpu_caps *caps, const inl_weights *w,
                               const inl_slots *slots, uint32_t tokens, stats_nodes *nodes)
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
    collect(plan, nodes);
    inl_plan_destroy(&plan);
}

// What encodes weights at load.
static void collect_encoding(const inl_env *env, const inl_gpu_caps *caps, stats_nodes *nodes)
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
    collect(plan, nodes);
    inl_plan_destroy(&plan);
}

// Every plan of a model of this shape. `quantized`: NF4, which no file has, or NULL.
static void collect_model(const inl_env *env, const inl_gpu_caps *caps, const toy_model *shape,
                          const inl_format *quantized, uint32_t tokens, stats_nodes *nodes)
{
    char path[] = "/tmp/inlay-stats-XXXXXX";
    int file = mkstemp(path);
    inl_model *model;
    inl_weights *weights;
    inl_lora *lora;
    inl_slots slots;
    if (file < 0 || close(file) != 0 || toy_model_write(path, shape) != 0)
        dev_check(INLAY_ERROR_IO, "write a model under /tmp");
    inl_model_params params = {.quantize = quantized};
    inlay_result opened = inl_model_open(env, path, &params, &model);
    unlink(path);
    dev_check(opened, "open the model");
    dev_check(inl_weights_create(model, NULL, UINT32_MAX, CONTEXT, CONTEXT, &weights),
              "size the weights");
    inl_lora_params adapter = {.r = RANK, .alpha = RANK};
    dev_check(inl_lora_create(env, &model->modules.list, &adapter, &lora), "make an adapter");
    dev_check(inl_slots_create(env, &model->config, lora, &slots), "size the adapter");
    collect_training(env, caps, weights, &slots, tokens, 0.0f, nodes);
    collect_training(env, caps, weights, &slots, tokens, 0.1f, nodes);
    collect_generation(env, caps, weights, &slots, 1, nodes);
    collect_generation(env, caps, weights, &slots, 16, nodes);
    inl_slots_free(env, &slots);
    inl_lora_destroy(&lora);
    adapter.use_dora = true;
    dev_check(inl_lora_create(env, &model->modules.list, &adapter, &lora), "make an adapter");
    dev_check(inl_slots_create(env, &model->config, lora, &slots), "size the adapter");
    collect_training(env, caps, weights, &slots, tokens, 0.1f, nodes);
    inl_slots_free(env, &slots);
    inl_lora_destroy(&lora);
    inl_weights_destroy(&weights);
    inl_model_close(&model);
}

static void collect_format(const inl_env *env, const inl_gpu_caps *caps, const toy_model *like,
                           inl_format_id id, uint32_t tokens, stats_nodes *nodes)
{
    toy_model shape = *like;
    bool nf4 = inl_is_nf4(inl_format_by_id(id));
    shape.format = nf4 ? INL_FORMAT_F32 : id;
    shape.hollow = 1;
    collect_model(env, caps, &shape, nf4 ? inl_format_by_id(id) : NULL, tokens, nodes);
}

// A layer each of Llama 3.1 8B and of TinyLlama 1.1B, whose heads are smaller.
static const toy_model big = {.dim = 4096,
                              .ffn = 14336,
                              .layers = 1,
                              .heads = 32,
                              .kv_heads = 8,
                              .head_dim = 128,
                              .vocab = 32000,
                              .tokens = TOY_VOCAB,
                              .seed = 1};
static const toy_model middle = {.dim = 2048,
                                 .ffn = 5632,
                                 .layers = 1,
                                 .heads = 32,
                                 .kv_heads = 4,
                                 .head_dim = 64,
                                 .vocab = 32000,
                                 .tokens = TOY_VOCAB,
                                 .seed = 1};
static const toy_model small = {.dim = 256,
                                .ffn = 512,
                                .layers = 1,
                                .heads = 4,
                                .kv_heads = 1,
                                .head_dim = 64,
                                .vocab = 512,
                                .seed = 1,
                                .biases = 1};

void stats_collect(const inl_env *env, const inl_gpu_caps *caps, stats_scope scope,
                   stats_nodes *nodes)
{
    static const inl_format_id kinds[] = {INL_FORMAT_F32,  INL_FORMAT_F16,  INL_FORMAT_BF16,
                                          INL_FORMAT_Q8_0, INL_FORMAT_Q4_0, INL_FORMAT_Q4_K,
                                          INL_FORMAT_NF4};
    if (scope == STATS_REAL)
        for (size_t i = 0; i < INL_COUNT(kinds); i++)
            collect_format(env, caps, &big, kinds[i], PROMPT, nodes);
    else
        for (int id = 0; id < INL_FORMAT_COUNT; id++)
            collect_format(env, caps, &small, (inl_format_id)id, 64, nodes);
    collect_format(env, caps, &middle, INL_FORMAT_F16, PROMPT, nodes);
    collect_encoding(env, caps, nodes);
}
