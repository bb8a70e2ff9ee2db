// SPDX-License-Identifier: MIT
// LoRA adapters in host memory: which modules, their A and B, how they are drawn and scaled.
#ifndef INL_ADAPTER_LORA_H
#define INL_ADAPTER_LORA_H

#include "base/env.h"

// A linear layer of the base that an adapter may target. The model fills a list of them.
typedef struct inl_module {
    const char *path; // Hugging Face's: "model.layers.0.self_attn.q_proj", "lm_head"
    const char *gguf; // "blk.0.attn_q.weight"
    uint32_t in, out;
    // Heads whose rows of W (so of B) GGUF stores in interleaved-pair order and Hugging Face in
    // half-split order: head count for q and k of llama, 0 for no permutation.
    uint32_t permuted_heads;
    uint32_t folder_heads; // the same where the base is a folder, so in Hugging Face's order itself
    uint32_t expert, experts; // which of a layer's experts it is; they share a tensor. 0, 0: none
    bool is_head;             // the output layer
    bool tied;                // its matrix is the embedding's
    bool only_by_name;        // not in "all-linear": the output layer, a router
} inl_module;

typedef struct inl_module_list {
    const char *architecture; // general.architecture of the base
    const char *folder;       // of the base, as it was named; NULL: it is a file
    const inl_module *items;
    uint32_t count;
    const uint32_t *by_path; // [count] indices in the order of paths; NULL: not sorted
    bool multimodal; // paths begin with "model.language_model."; other parts have modules too
} inl_module_list;

// How A is drawn, as PEFT's init_lora_weights has it; B starts at zero.
typedef enum inl_lora_init {
    INL_INIT_UNIFORM,  // true: in +-1/sqrt(in)
    INL_INIT_GAUSSIAN, // normal, deviation 1/r
    // From the base's weights, by a trainer; B is not zero. Pairs have twice the rank, half of it
    // frozen.
    INL_INIT_PISSA,
    INL_INIT_OLORA,
} inl_lora_init;

typedef struct inl_lora_pair {
    uint32_t module; // index into the module list
    char *path;      // copy of the module's
    uint32_t r, in, out;
    uint32_t frozen; // of r, the last so many: they do not learn (model/principal.h)
    float scale;
    float *a; // [r, in]
    float *b; // [out, r], rows in the base's order: GGUF's, or Hugging Face's
    // DoRA (arXiv 2402.09353): y = m / |W + scale B A| (W + scale B A) x, a norm a row. [out], in
    // the order of B's rows; NULL: plain LoRA.
    float *magnitude;
} inl_lora_pair;

typedef struct inl_lora {
    inl_env env;
    char format[16];
    char architecture[32];
    char *base; // adapter_config.json's base_model_name_or_path, or NULL
    uint32_t r;
    double alpha; // as a config file has it; what counts is each pair's scale
    float dropout;
    bool use_rslora;
    bool use_dora; // the pairs have magnitudes
    // Of a fresh adapter they are the norms of the weights on the device: not known before that.
    bool magnitudes_unset;
    // Of a fresh adapter whose values come from those weights: how, until it has been done.
    inl_lora_init init;
    uint32_t init_rounds;
    bool has_head;
    uint32_t pair_count;
    inl_lora_pair *pairs; // in module order
    // What adapter_config.json's target_modules gets: suffixes, owned.
    char **targets;
    uint32_t target_count;
} inl_lora;

typedef struct inl_lora_params {
    uint32_t r;
    float alpha, dropout;
    bool use_rslora, use_dora;
    const char *target_modules; // see inlay/adapter.h; NULL: all-linear
    inl_lora_init init;
    uint32_t init_rounds; // of PiSSA; 0: until it has converged
    uint32_t seed;
} inl_lora_params;

// Defaults are resolved here (r 16, alpha 2r). A is drawn from inl_rng_f32(seed, module index,
// counter), the element's number, or two from its double where it is normal.
inlay_result inl_lora_create(const inl_env *env, const inl_module_list *modules,
                             const inl_lora_params *params, inl_lora **out);
void inl_lora_destroy(inl_lora **lora);
// Numbers of A, B and the magnitude.
uint64_t inl_lora_pair_parameters(const inl_lora_pair *pair);
uint64_t inl_lora_pair_trainable(const inl_lora_pair *pair);

// `path`: a folder with adapter_config.json and adapter_model.safetensors (PEFT), or a .gguf.
// `modules` NULL: read without a base; pairs then carry the file's own names, unchecked, B as
// stored.
inlay_result inl_lora_load(const inl_env *env, const inl_module_list *modules, const char *path,
                           inl_lora **out);
// The sum of `scales[i]` times each part: ranks add where several have a module, their scales go
// into B. With one part alone it is that one with another scale; several with DoRA have no sum.
inlay_result inl_lora_combine(const inl_env *env, const inl_module_list *modules,
                              const inl_lora *const *parts, const float *scales, uint32_t count,
                              inl_lora **out);
inlay_result inl_lora_save_peft(const inl_lora *lora, const inl_module_list *modules,
                                const char *folder);
inlay_result inl_lora_save_gguf(const inl_lora *lora, const inl_module_list *modules,
                                const char *path);

#endif
