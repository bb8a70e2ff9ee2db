// SPDX-License-Identifier: MIT
// libFuzzer target: any bytes as a Hugging Face folder. The input is config.json up to a zero byte,
// then model.safetensors; the tokenizer is always the same. What opens is a model whose parts
// agree.
#define _GNU_SOURCE // memfd_create
#include "fuzz/check_model.h"
#include "fuzz/memory_folder.h"
#include "fuzz/toy_tokenizer_json.h"
#include "harness/safetensors_bytes.h"

enum { CONFIG, TENSORS, TOKENIZER, FILES };

static memory_folder folder;

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const char *const names[FILES] = {"config.json", "model.safetensors", "tokenizer.json"};
    int errors;
    size_t config_size;
    inl_env env = fuzz_env(&errors);
    inl_model *model;
    memory_folder_make(&folder, names, FILES);
    const uint8_t *config = fuzz_part(&data, &size, &config_size);
    memory_folder_fill(&folder, CONFIG, config, config_size);
    memory_folder_fill(&folder, TENSORS, data, size);
    memory_folder_fill(&folder, TOKENIZER, toy_byte_level_json, sizeof(toy_byte_level_json) - 1);
    inl_model_params params = {.skip_finite_check = size & 4};
    inlay_result result = inl_model_open(&env, folder.path, &params, &model);
    fuzz_require((result == INLAY_OK) == (model != NULL) && errors == (result != INLAY_OK));
    if (model)
        check_model(model);
    inl_model_close(&model);
    return 0;
}

// ---- seeds: one layer of width 8, two heads of 4, a feed-forward part of 12

#define LLAMA 1u
#define QWEN2 2u
#define GEMMA2 4u
#define PHI3 8u
#define MIXTURE 16u
#define SPLIT (LLAMA | QWEN2 | GEMMA2 | MIXTURE)
#define ALL (SPLIT | PHI3)

static const struct {
    unsigned models;
    const char *name;
    uint64_t rows, cols; // cols 0: a vector
} tensors[] = {
    {ALL, "model.embed_tokens.weight", 9, 8},
    {ALL, "model.norm.weight", 8, 0},
    {LLAMA | PHI3, "lm_head.weight", 9, 8},
    {ALL, "model.layers.0.input_layernorm.weight", 8, 0},
    {ALL, "model.layers.0.post_attention_layernorm.weight", 8, 0},
    {GEMMA2, "model.layers.0.pre_feedforward_layernorm.weight", 8, 0},
    {GEMMA2, "model.layers.0.post_feedforward_layernorm.weight", 8, 0},
    {SPLIT, "model.layers.0.self_attn.q_proj.weight", 8, 8},
    {SPLIT, "model.layers.0.self_attn.k_proj.weight", 4, 8},
    {SPLIT, "model.layers.0.self_attn.v_proj.weight", 4, 8},
    {QWEN2, "model.layers.0.self_attn.q_proj.bias", 8, 0},
    {QWEN2, "model.layers.0.self_attn.k_proj.bias", 4, 0},
    {QWEN2, "model.layers.0.self_attn.v_proj.bias", 4, 0},
    {MIXTURE, "model.layers.0.self_attn.q_norm.weight", 4, 0},
    {MIXTURE, "model.layers.0.self_attn.k_norm.weight", 4, 0},
    {PHI3, "model.layers.0.self_attn.qkv_proj.weight", 16, 8},
    {ALL, "model.layers.0.self_attn.o_proj.weight", 8, 8},
    {LLAMA | QWEN2 | GEMMA2, "model.layers.0.mlp.gate_proj.weight", 12, 8},
    {LLAMA | QWEN2 | GEMMA2, "model.layers.0.mlp.up_proj.weight", 12, 8},
    {PHI3, "model.layers.0.mlp.gate_up_proj.weight", 24, 8},
    {ALL & ~MIXTURE, "model.layers.0.mlp.down_proj.weight", 8, 12},
    {MIXTURE, "model.layers.0.mlp.gate.weight", 2, 8},
    {MIXTURE, "model.layers.0.mlp.experts.0.gate_proj.weight", 12, 8},
    {MIXTURE, "model.layers.0.mlp.experts.0.up_proj.weight", 12, 8},
    {MIXTURE, "model.layers.0.mlp.experts.0.down_proj.weight", 8, 12},
    {MIXTURE, "model.layers.0.mlp.experts.1.gate_proj.weight", 12, 8},
    {MIXTURE, "model.layers.0.mlp.experts.1.up_proj.weight", 12, 8},
    {MIXTURE, "model.layers.0.mlp.experts.1.down_proj.weight", 8, 12},
};

static void put_model(fuzz_put *put, void *user, unsigned model, const char *class,
                      const char *dtype, const char *options)
{
    static const uint8_t values[4 * 24 * 8] = {0, 0x3c, 0, 0x3c};
    uint64_t width = strcmp(dtype, "F32") == 0 ? 4 : 2;
    safetensors_bytes s = {0};
    char config[768];
    int length = snprintf(config, sizeof(config),
                          "{\"architectures\":[\"%sForCausalLM\"],\"hidden_size\":8,"
                          "\"intermediate_size\":12,\"num_hidden_layers\":1,"
                          "\"num_attention_heads\":2,\"num_key_value_heads\":1,\"head_dim\":4,"
                          "\"vocab_size\":9,\"max_position_embeddings\":64%s}",
                          class, options);
    fuzz_require(length > 0 && (size_t)length < sizeof(config));
    for (size_t i = 0; i < INL_COUNT(tensors); i++) {
        uint64_t rows = tensors[i].rows, cols = tensors[i].cols;
        if (tensors[i].models & model)
            safetensors_bytes_tensor(&s, tensors[i].name, dtype, cols ? 2 : 1,
                                     (uint64_t[]){rows, cols}, values,
                                     width * rows * (cols ? cols : 1));
    }
    safetensors_bytes_end(&s);
    fuzz_put_with(put, user, class, config, (size_t)length + 1, s.data, s.size);
    safetensors_bytes_free(&s);
}

void fuzz_seeds(fuzz_put *put, void *user)
{
    put_model(put, user, LLAMA, "Llama", "F32",
              ",\"rope_scaling\":{\"rope_type\":\"llama3\",\"factor\":8,\"low_freq_factor\":1,"
              "\"high_freq_factor\":4,\"original_max_position_embeddings\":16}");
    put_model(put, user, QWEN2, "Qwen2", "BF16", ",\"tie_word_embeddings\":true");
    put_model(put, user, GEMMA2, "Gemma2", "F16", ",\"query_pre_attn_scalar\":4");
    put_model(put, user, PHI3, "Phi3", "F32",
              ",\"rope_scaling\":{\"type\":\"longrope\",\"short_factor\":[1,1.5],"
              "\"long_factor\":[2,3]},\"original_max_position_embeddings\":32");
    put_model(put, user, MIXTURE, "Qwen3Moe", "BF16",
              ",\"num_experts\":2,\"num_experts_per_tok\":1,\"moe_intermediate_size\":12,"
              "\"tie_word_embeddings\":true");
}
