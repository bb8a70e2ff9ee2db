// SPDX-License-Identifier: MIT
// Hugging Face models of one layer, of width 8, two heads of 4, a feed-forward part of 12 and 9
// tokens: config.json and the tensors' file, in memory. Header only.
#ifndef HARNESS_TOY_FOLDER_H
#define HARNESS_TOY_FOLDER_H

#include "harness/safetensors_bytes.h"
#include "quant/nf4.h"

#define TOY_FOLDER_CONFIG 768 // bytes of the largest config.json

#define TOY_LLAMA 1u
#define TOY_QWEN2 2u
#define TOY_GEMMA2 4u
#define TOY_PHI3 8u
#define TOY_MIXTURE 16u
#define TOY_SPLIT (TOY_LLAMA | TOY_QWEN2 | TOY_GEMMA2 | TOY_MIXTURE)
#define TOY_ALL (TOY_SPLIT | TOY_PHI3)

static const struct {
    unsigned models;
    const char *name;
    uint64_t rows, cols; // cols 0: a vector
} toy_folder_list[] = {
    {TOY_ALL, "model.embed_tokens.weight", 9, 8},
    {TOY_ALL, "model.norm.weight", 8, 0},
    {TOY_LLAMA | TOY_PHI3, "lm_head.weight", 9, 8},
    {TOY_ALL, "model.layers.0.input_layernorm.weight", 8, 0},
    {TOY_ALL, "model.layers.0.post_attention_layernorm.weight", 8, 0},
    {TOY_GEMMA2, "model.layers.0.pre_feedforward_layernorm.weight", 8, 0},
    {TOY_GEMMA2, "model.layers.0.post_feedforward_layernorm.weight", 8, 0},
    {TOY_SPLIT, "model.layers.0.self_attn.q_proj.weight", 8, 8},
    {TOY_SPLIT, "model.layers.0.self_attn.k_proj.weight", 4, 8},
    {TOY_SPLIT, "model.layers.0.self_attn.v_proj.weight", 4, 8},
    {TOY_QWEN2, "model.layers.0.self_attn.q_proj.bias", 8, 0},
    {TOY_QWEN2, "model.layers.0.self_attn.k_proj.bias", 4, 0},
    {TOY_QWEN2, "model.layers.0.self_attn.v_proj.bias", 4, 0},
    {TOY_MIXTURE, "model.layers.0.self_attn.q_norm.weight", 4, 0},
    {TOY_MIXTURE, "model.layers.0.self_attn.k_norm.weight", 4, 0},
    {TOY_PHI3, "model.layers.0.self_attn.qkv_proj.weight", 16, 8},
    {TOY_ALL, "model.layers.0.self_attn.o_proj.weight", 8, 8},
    {TOY_LLAMA | TOY_QWEN2 | TOY_GEMMA2, "model.layers.0.mlp.gate_proj.weight", 12, 8},
    {TOY_LLAMA | TOY_QWEN2 | TOY_GEMMA2, "model.layers.0.mlp.up_proj.weight", 12, 8},
    {TOY_PHI3, "model.layers.0.mlp.gate_up_proj.weight", 24, 8},
    {TOY_ALL & ~TOY_MIXTURE, "model.layers.0.mlp.down_proj.weight", 8, 12},
    {TOY_MIXTURE, "model.layers.0.mlp.gate.weight", 2, 8},
    {TOY_MIXTURE, "model.layers.0.mlp.experts.0.gate_proj.weight", 12, 8},
    {TOY_MIXTURE, "model.layers.0.mlp.experts.0.up_proj.weight", 12, 8},
    {TOY_MIXTURE, "model.layers.0.mlp.experts.0.down_proj.weight", 8, 12},
    {TOY_MIXTURE, "model.layers.0.mlp.experts.1.gate_proj.weight", 12, 8},
    {TOY_MIXTURE, "model.layers.0.mlp.experts.1.up_proj.weight", 12, 8},
    {TOY_MIXTURE, "model.layers.0.mlp.experts.1.down_proj.weight", 8, 12},
};

#define TOY_BNB4 \
    ",\"quantization_config\":{\"quant_method\":\"bitsandbytes\",\"load_in_4bit\":true}"

typedef struct toy_folder {
    unsigned model;
    const char *class, *dtype; // class: without ForCausalLM
    const char *options;       // more of the config
} toy_folder;

static const toy_folder toy_folders[] = {
    {TOY_LLAMA, "Llama", "F32",
     ",\"rope_scaling\":{\"rope_type\":\"llama3\",\"factor\":8,\"low_freq_factor\":1,"
     "\"high_freq_factor\":4,\"original_max_position_embeddings\":16}"},
    {TOY_QWEN2, "Qwen2", "BF16", ",\"tie_word_embeddings\":true"},
    {TOY_GEMMA2, "Gemma2", "F16", ",\"query_pre_attn_scalar\":4"},
    {TOY_PHI3, "Phi3", "F32",
     ",\"rope_scaling\":{\"type\":\"longrope\",\"short_factor\":[1,1.5],"
     "\"long_factor\":[2,3]},\"original_max_position_embeddings\":32"},
    {TOY_MIXTURE, "Qwen3Moe", "BF16",
     ",\"num_experts\":2,\"num_experts_per_tok\":1,\"moe_intermediate_size\":12,"
     "\"tie_word_embeddings\":true"},
    {TOY_LLAMA, "Llama", "F16", TOY_BNB4}, // double-quantized NF4
    {TOY_QWEN2, "Qwen2", "F32", ",\"tie_word_embeddings\":true" TOY_BNB4}, // FP4
};

// The text's length; a zero byte follows it.
static inline size_t toy_folder_config(const toy_folder *m, char out[TOY_FOLDER_CONFIG])
{
    int length = snprintf(out, TOY_FOLDER_CONFIG,
                          "{\"architectures\":[\"%sForCausalLM\"],\"hidden_size\":8,"
                          "\"intermediate_size\":12,\"num_hidden_layers\":1,"
                          "\"num_attention_heads\":2,\"num_key_value_heads\":1,\"head_dim\":4,"
                          "\"vocab_size\":9,\"max_position_embeddings\":64%s}",
                          m->class, m->options);
    if (length < 0 || length >= TOY_FOLDER_CONFIG)
        abort();
    return (size_t)length;
}

// One matrix of such a model is in 4 bits.
static inline void toy_folder_bnb4(safetensors_bytes *s, bool nested)
{
    static const char name[] = "model.layers.0.mlp.down_proj.weight";
    static const uint8_t codes[48] = {0x12, 0x34};
    static const float scales[256] = {0.5f, 0.25f};
    char state[256], part[128];
    int length = snprintf(state, sizeof(state), "{\"blocksize\":64,\"shape\":[8,12]%s}",
                          nested ? ",\"nested_blocksize\":256,\"nested_offset\":0.1" : "");
    safetensors_bytes_tensor(s, name, "U8", 2, (uint64_t[]){48, 1}, codes, 48);
    snprintf(part, sizeof(part), "%s.quant_map", name);
    safetensors_bytes_tensor(s, part, "F32", 1, (uint64_t[]){16},
                             nested ? inl_nf4_codes : inl_fp4_codes, 64);
    snprintf(part, sizeof(part), "%s.absmax", name);
    safetensors_bytes_tensor(s, part, nested ? "U8" : "F32", 1, (uint64_t[]){2}, scales,
                             nested ? 2 : 8);
    snprintf(part, sizeof(part), "%s.quant_state.bitsandbytes__%s", name, nested ? "nf4" : "fp4");
    safetensors_bytes_tensor(s, part, "U8", 1, (uint64_t[]){(uint64_t)length}, state,
                             (size_t)length);
    if (!nested)
        return;
    snprintf(part, sizeof(part), "%s.nested_absmax", name);
    safetensors_bytes_tensor(s, part, "F32", 1, (uint64_t[]){1}, scales, 4);
    snprintf(part, sizeof(part), "%s.nested_quant_map", name);
    safetensors_bytes_tensor(s, part, "F32", 1, (uint64_t[]){256}, scales, 1024);
}

static inline void toy_folder_tensors(const toy_folder *m, safetensors_bytes *s)
{
    static const uint8_t values[4 * 24 * 8] = {0, 0x3c, 0, 0x3c};
    uint64_t width = strcmp(m->dtype, "F32") == 0 ? 4 : 2;
    bool bnb4 = strstr(m->options, "bitsandbytes") != NULL;
    if (bnb4)
        toy_folder_bnb4(s, m->model == TOY_LLAMA);
    for (size_t i = 0; i < sizeof(toy_folder_list) / sizeof(toy_folder_list[0]); i++) {
        if (bnb4 && strstr(toy_folder_list[i].name, "down_proj"))
            continue;
        uint64_t rows = toy_folder_list[i].rows, cols = toy_folder_list[i].cols;
        if (toy_folder_list[i].models & m->model)
            safetensors_bytes_tensor(s, toy_folder_list[i].name, m->dtype, cols ? 2 : 1,
                                     (uint64_t[]){rows, cols}, values,
                                     width * rows * (cols ? cols : 1));
    }
    safetensors_bytes_end(s);
}

#endif
