// SPDX-License-Identifier: MIT
// A Hugging Face model's config.json: what architecture it is, its sizes and options, checked, and
// the metadata that llama.cpp's converter would make of them.
#ifndef INL_IO_HF_CONFIG_H
#define INL_IO_HF_CONFIG_H

#include "io/gguf.h"
#include "io/settings.h"

// What an architecture's tensors and options have that a llama's have not.
enum {
    INL_HF_GEMMA = 1 << 0,        // norms count from 1, the feed-forward part is a GELU's
    INL_HF_SANDWICH = 1 << 1,     // norms behind attention and feed-forward too
    INL_HF_QK_NORM = 1 << 2,      // norms of each head's q and k
    INL_HF_QKV_BIAS = 1 << 3,     // always
    INL_HF_FUSED = 1 << 4,        // q, k, v in one matrix, gate and up in another
    INL_HF_EXPERTS = 1 << 5,      // instead of one feed-forward part
    INL_HF_WINDOW_SWITCH = 1 << 6, // a window only where use_sliding_window says so
    INL_HF_NOPE = 1 << 7,         // layers without RoPE
    INL_HF_TWO_ROPES = 1 << 8,    // local layers have their own
    INL_HF_QUERY_SCALE = 1 << 9,  // attention's scale is an option
};

// Which layers sliding_window is for. From EACH on layer_types says it where it is there; the first
// two pass it over.
typedef enum inl_hf_window {
    INL_HF_WINDOW_NONE, // the class does not know the key, which files made from others' have
    INL_HF_WINDOW_ALL,
    INL_HF_WINDOW_EACH,
    INL_HF_WINDOW_LATE,   // from max_window_layers on
    INL_HF_WINDOW_PERIOD, // all but the last of so many (inl_hf_architecture.window_period)
    INL_HF_WINDOW_NOPE,   // those without RoPE
} inl_hf_window;

typedef struct inl_hf_architecture {
    const char *name; // "LlamaForCausalLM"
    const char *gguf; // "llama"
    uint32_t traits;
    bool tied;                                // where the file does not say
    uint32_t hidden, ffn, layers, heads;      // the same; 0: the file must
    uint32_t kv_heads, head_dim;              // the same; 0: heads, hidden / heads
    uint32_t vocab, context;
    double eps, theta;
    inl_hf_window window_layers;
    uint32_t window, window_period; // where the file does not say; 0: none
} inl_hf_architecture;

typedef struct inl_hf_config {
    inl_settings file;
    const json_t *text; // the part that describes the language model: the root, or text_config
    const inl_hf_architecture *arch;
    uint32_t hidden, ffn, layers, heads, kv_heads, head_dim, vocab, context;
    uint32_t experts, experts_used, expert_ffn;
    bool *dense; // [layers], or NULL: experts are in all layers or in none
    uint32_t rope_dim;
    bool tied;
    bool quantized; // by bitsandbytes, 4 bits
    // Divisors of RoPE's angles, [rope_dim / 2] or NULL, by tensor name.
    float *rope_freqs, *rope_long, *rope_short;
} inl_hf_config;

// The class that a GGUF file's architecture has, with a sliding window or without; NULL: none.
const inl_hf_architecture *inl_hf_architecture_of(const char *gguf, bool window);
// "llama" of "LlamaForCausalLM".
const char *inl_hf_type_of_class(const char *name);
inlay_result inl_hf_config_open(const inl_env *env, const char *path, inl_hf_config *out);
void inl_hf_config_close(inl_hf_config *config);
// Those of the architecture that layer `layer` has.
uint32_t inl_hf_layer_traits(const inl_hf_config *config, uint32_t layer);
// `general.*` but the name, and the architecture's own keys.
inlay_result inl_hf_config_write(inl_hf_config *config, inl_gguf_view *view);
// hf_rope.c: RoPE's keys, and the divisors into the config.
inlay_result inl_hf_rope_write(inl_hf_config *config, inl_gguf_view *view);
// Adds "<architecture>.<key>".
inlay_result inl_hf_put_u32(const inl_hf_config *c, inl_gguf_view *v, const char *key,
                            uint32_t value);
inlay_result inl_hf_put_f32(const inl_hf_config *c, inl_gguf_view *v, const char *key,
                            double value);

#endif
