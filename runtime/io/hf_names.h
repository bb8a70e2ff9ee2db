// SPDX-License-Identifier: MIT
// What a Hugging Face model's tensors are called in GGUF files.
#ifndef INL_IO_HF_NAMES_H
#define INL_IO_HF_NAMES_H

#include "io/hf_config.h"

#define INL_HF_NAME_ROOM 128
// What the language model's names begin with, by itself and as a part of a multimodal model.
#define INL_HF_LANGUAGE "model."
#define INL_HF_NESTED "model.language_model."
#define INL_HF_NO_EXPERT UINT32_MAX

typedef enum inl_hf_fate {
    INL_HF_TAKE,    // the tensor has a name in GGUF
    INL_HF_IGNORE,  // it is computed anew, belongs to another sense, or is the tied head
    INL_HF_UNKNOWN, // nothing would read it
} inl_hf_fate;

typedef struct inl_hf_name {
    char gguf[INL_HF_NAME_ROOM]; // "blk.3.attn_q.weight"
    uint32_t layer; // UINT32_MAX: of none
    int module;     // of the table behind inl_hf_modules
    bool is_weight; // not a bias
} inl_hf_name;

// Whether it is one of the two tensors into which transformers 5 puts a layer's experts unless it
// saves them one by one: gate and up of each, [experts, 2 ffn, hidden], or down.
bool inl_hf_is_fused(const inl_hf_config *config, const char *name, uint32_t *layer, bool *gate_up);
// The name that a tensor or a module of the language model has where there is nothing else,
// whatever is before it in `name`: in `out`, or `name` itself.
const char *inl_hf_language_name(const char *name, char out[INL_HF_NAME_ROOM]);
// The same as a multimodal model has it, or not.
const char *inl_hf_model_name(const char *name, bool multimodal, char out[INL_HF_NAME_ROOM]);
// It belongs to what turns pictures into embeddings.
bool inl_hf_is_vision(const char *name);
inl_hf_fate inl_hf_translate(const inl_hf_config *config, const char *name, inl_hf_name *out);
// The name in a folder of what GGUF calls `gguf`; false: there is none. Not of experts.
bool inl_hf_untranslate(const inl_hf_architecture *arch, const char *gguf,
                        char out[INL_HF_NAME_ROOM]);
// "self_attn.q_proj": the modules of a layer that have a tensor of their own; NULL past the last.
// *needed: layer `layer` must have its weight.
const char *inl_hf_module(const inl_hf_config *config, uint32_t layer, int module, bool *needed);

#endif
