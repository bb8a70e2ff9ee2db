// SPDX-License-Identifier: MIT
#include "model/arch.h"

#include <stdio.h>
#include <string.h>

// CONTRIBUTING.md says what a new row needs besides. What the files hold: ggml's docs/gguf.md and
// what llama.cpp's converter writes; what the models do: transformers.
static const inl_arch architectures[] = {
    {.name = "llama", .interleaved_rope = true}, // 1 to 3.x, Mistral, and whoever is like them
    {.name = "qwen2", .qkv_bias = true},
    {.name = "qwen3", .qk_norm = true},
    {.name = "gemma", .gelu = true, .scaled_embedding = true},
    {.name = "gemma2",
     .gelu = true,
     .scaled_embedding = true,
     .post_norms = true,
     .window = 4096,
     .window_period = 2,
     .wide_query_layers = 46,
     .attention_softcap = 50.0f,
     .final_softcap = 30.0f},
    {.name = "gemma3",
     .gelu = true,
     .scaled_embedding = true,
     .post_norms = true,
     .qk_norm = true,
     .window_period = 6,
     .window_rope_base = 10000.0f,
     .wide_query_layers = 62},
    {.name = "phi3", .fused_qkv = true, .fused_gate_up = true},
    {.name = "smollm3", .interleaved_rope = true, .nope_period = 4},
    {.name = "qwen3moe", .qk_norm = true, .experts = true},
};

const inl_arch *inl_arch_find(const char *name)
{
    for (size_t i = 0; i < INL_COUNT(architectures); i++)
        if (strcmp(architectures[i].name, name) == 0)
            return &architectures[i];
    return NULL;
}

void inl_arch_names(char *out, size_t size)
{
    size_t length = 0;
    for (size_t i = 0; i < INL_COUNT(architectures) && length < size; i++) {
        const char *before = i == 0 ? "" : i + 1 < INL_COUNT(architectures) ? ", " : " and ";
        length += (size_t)snprintf(out + length, size - length, "%s%s", before,
                                   architectures[i].name);
    }
}
