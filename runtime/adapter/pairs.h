// SPDX-License-Identifier: MIT
// What the readers and writers of adapter files share: building an inl_lora pair by pair, the order
// of B's rows, scales.
#ifndef INL_ADAPTER_PAIRS_H
#define INL_ADAPTER_PAIRS_H

#include "adapter/lora.h"

#define INL_LORA_MAX_RANK (1u << 16)
#define INL_LORA_MAX_DIM (1u << 24)

// One pair as a file has it: A is [a_rank, in], B [out, b_rank].
typedef struct inl_lora_halves {
    const char *file, *a, *b; // names, for messages
    const char *base;         // what is adapted: a module's path, or its tensor's name in GGUF
    uint64_t a_rank, in, out, b_rank;
    uint32_t expert, experts; // of a tensor in GGUF that has them all: which, of how many; 0: none
} inl_lora_halves;

// An adapter with room for `pairs`, none yet.
inlay_result inl_lora_begin(const inl_env *env, uint32_t pairs, const char *format, inl_lora **out);
// Adds a zeroed pair; on failure the adapter is still to be destroyed.
inlay_result inl_lora_add_pair(inl_lora *lora, uint32_t module, const char *path, uint32_t r,
                               uint32_t in, uint32_t out, inl_lora_pair **pair);
// The same for what a file holds: MISMATCH when the base has no such module or one of another
// shape, BAD_FILE when A and B do not fit together. Without modules *module is NULL.
inlay_result inl_lora_add_halves(inl_lora *lora, const inl_module_list *modules,
                                 const inl_lora_halves *halves, inl_lora_pair **pair,
                                 const inl_module **module);
// Gives a pair a zeroed magnitude: it is DoRA's.
inlay_result inl_lora_add_magnitude(inl_lora *lora, inl_lora_pair *pair);
// Under any of the names that transformers has had for it (io/hf_names.h); NULL: there is none.
const inl_module *inl_lora_find_module(const inl_module_list *modules, const char *path);
// After the last pair: module order, and lora->targets from the pairs. Without modules the file's
// order is kept and there are no targets.
inlay_result inl_lora_finish(inl_lora *lora, const inl_module_list *modules);

// `name` without `suffix` into `base`; false when it does not end so or is too long.
bool inl_lora_cut_suffix(const char *name, const char *suffix, char *base, size_t room);
// MISMATCH: one half of a pair is there and the other is not.
inlay_result inl_lora_fail_alone(const inl_env *env, const char *file, const char *tensor,
                                 const char *missing);
// NOT_FINITE names the file and the tensor.
inlay_result inl_lora_check_finite(const inl_env *env, const char *file, const char *tensor,
                                   const float *values, uint64_t count);
// The modules must be those of the adapter's base: the files' names and row order are the base's.
inlay_result inl_lora_check_writable(const inl_lora *lora, const inl_module_list *modules);
// Pairs from `first` on whose modules share a tensor: of a layer's experts, else one.
uint32_t inl_lora_count_together(const inl_lora *lora, const inl_module_list *modules,
                                 uint32_t first);

// alpha / r, or alpha / sqrt(r).
float inl_lora_scale(double alpha, uint32_t r, bool rslora);
// The alpha for which inl_lora_scale gives `scale` again.
double inl_lora_alpha(float scale, uint32_t r, bool rslora);
// The shortest decimal that stands for `value`: 0.05, where the float is 0.0500000007.
double inl_lora_decimal(float value);
// Copies B [out, r] between the base file's row order and Hugging Face's.
void inl_lora_permute_b(const inl_module *module, uint32_t r, const float *from, float *to,
                        bool to_hf);

inlay_result inl_lora_load_peft(const inl_env *env, const inl_module_list *modules,
                                const char *folder, inl_lora **out);
inlay_result inl_lora_load_gguf(const inl_env *env, const inl_module_list *modules,
                                const char *path, inl_lora **out);

#endif
