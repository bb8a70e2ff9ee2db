// SPDX-License-Identifier: MIT
// What the readers of adapter files share: building an inl_lora pair by pair.
#ifndef INL_ADAPTER_PAIRS_H
#define INL_ADAPTER_PAIRS_H

#include "adapter/lora.h"

// An adapter with room for `pairs`, none yet.
inlay_result inl_lora_begin(const inl_env *env, uint32_t pairs, const char *format, inl_lora **out);
// Adds a zeroed pair; on failure the adapter is still to be destroyed.
inlay_result inl_lora_add_pair(inl_lora *lora, uint32_t module, const char *path, uint32_t r,
                               uint32_t in, uint32_t out, inl_lora_pair **pair);
// Fills lora->targets from the pairs.
inlay_result inl_lora_name_targets(inl_lora *lora, const inl_module_list *modules);
// NOT_FINITE names the tensor.
inlay_result inl_lora_check_finite(const inl_lora *lora, const char *file);
// alpha / r, or alpha / sqrt(r).
float inl_lora_scale(float alpha, uint32_t r, bool rslora);
// Copies B [out, r] between the base file's row order and Hugging Face's.
void inl_lora_permute_b(const inl_module *module, uint32_t r, const float *from, float *to,
                        bool to_hf);

inlay_result inl_lora_load_peft(const inl_env *env, const inl_module_list *modules,
                                const char *folder, inl_lora **out);
inlay_result inl_lora_load_gguf(const inl_env *env, const inl_module_list *modules, const char *path,
                                inl_lora **out);

#endif
