// SPDX-License-Identifier: MIT
// What tells one architecture from another: a row of a table each, of flags and numbers that
// config.c and block.c act on. Sizes are the file's (model/config.h).
#ifndef INL_MODEL_ARCH_H
#define INL_MODEL_ARCH_H

#include "base/env.h"

typedef struct inl_arch {
    const char *name; // general.architecture
    // GGUF has q's and k's rows in the order in which pairs (2i, 2i + 1) turn; else pairs are
    // (i, i + half), as in Hugging Face's files.
    bool interleaved_rope;
    bool qkv_bias;         // q, k and v must have biases; others may
    bool qk_norm;          // RMSNorm of each head of q and k, before RoPE
    bool fused_qkv;        // q, k and v are rows of one matrix, in this order
    bool fused_gate_up;    // gate and up are
    bool post_norms;       // RMSNorm of what attention and feed-forward give, before they are added
    bool gelu;             // the gate goes through the tanh form of GELU, not through SiLU
    bool scaled_embedding; // times sqrt(dim)
    bool experts;          // the feed-forward of every layer is a mixture of experts
    uint32_t window; // where the file gives no sliding window; 0: none
    // Where the file gives no pattern for its sliding window: of so many layers the last sees
    // everything; 0: every layer has the window.
    uint32_t window_period;
    float window_rope_base; // of layers with a window, unscaled, unless the file says; 0: as others
    uint32_t nope_period;   // of so many layers the last has no RoPE; 0: all have
    // A model with so many layers scales scores by 1/sqrt(dim/heads), not by 1/sqrt(head size).
    uint32_t wide_query_layers;
    float attention_softcap, final_softcap; // where the file does not say; 0: none
} inl_arch;

// NULL: not in the table.
const inl_arch *inl_arch_find(const char *name);
// "llama, qwen2 and qwen3": all of them, into `out`.
void inl_arch_names(char *out, size_t size);

#endif
