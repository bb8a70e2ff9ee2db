// SPDX-License-Identifier: MIT
// A LoRA adapter (arXiv 2106.09685): y = W x + scale * B A x for each target W. A is [r, in], B
// [out, r].
#ifndef INLAY_ADAPTER_H
#define INLAY_ADAPTER_H

#include <inlay/model.h>

INLAY_BEGIN

// The adapter's values live in host memory; a trainer copies them to its device and back.
// One thread at a time.
typedef struct inlay_adapter inlay_adapter;

// The first values, as PEFT's init_lora_weights names them. B starts at zero but for the last two,
// which a trainer makes from the weights as they are on its device. Those take B A away from W at
// first; here W stays, and the adapter has twice the rank: B A and, frozen, what it was at first.
// That is what PEFT saves when it converts such an adapter to a plain one.
typedef enum inlay_init {
    INLAY_INIT_DEFAULT = 0,  // A uniform in +-1/sqrt(in)
    INLAY_INIT_GAUSSIAN = 1, // A normal with a deviation of 1/r
    INLAY_INIT_PISSA = 2,    // scale B A is W's largest singular values (arXiv 2404.02948)
    INLAY_INIT_OLORA = 3,    // B A is the beginning of W = Q R (arXiv 2406.01775)
} inlay_init;

typedef struct inlay_adapter_params {
    uint32_t r;       // rank; 0: 16
    float alpha;      // 0: 2 r
    float dropout;    // on the input of A, training alone; 0 to below 1
    bool use_rslora;  // scale = alpha / sqrt(r) instead of alpha / r
    // DoRA (arXiv 2402.09353): y = m / |W + scale B A| (W + scale B A) x, with a norm and a trained
    // magnitude m a row of W. The magnitudes begin as the norms, when a trainer is made.
    bool use_dora;
    // "all-linear" (q, k, v, o, gate, up, down, of every expert where there are some), a
    // comma-separated list of module suffixes ("q_proj,v_proj", also "lm_head", and "gate" for the
    // router of experts), or a regular expression on the whole module path
    // ("model.layers.3.self_attn.q_proj", "model.layers.3.mlp.experts.7.up_proj"; of a multimodal
    // folder "model.language_model.layers.3..."). NULL: all-linear.
    const char *target_modules;
    inlay_init init_lora_weights;
    uint32_t pissa_niter; // rounds of finding singular vectors; 0: until they have converged
    uint32_t seed; // of A's first values
} inlay_adapter_params;

typedef struct inlay_adapter_info {
    char format[16]; // "new", "peft", "gguf"
    uint32_t r;
    float alpha, scale, dropout;
    bool use_rslora, use_dora;
    bool on_tied_head; // it changes an output layer that shares the embedding's matrix
    uint64_t parameters;
    uint32_t pair_count; // targets, each an A and a B, and with DoRA a magnitude
    char architecture[32]; // of the base, may be empty
} inlay_adapter_info;

typedef struct inlay_adapter_pair {
    const char *module; // "model.layers.0.self_attn.q_proj", lives as long as the adapter
    uint32_t r, in, out;
    float scale;
} inlay_adapter_pair;

// A fresh adapter for `model`, drawn as PEFT draws it: the distribution is its, the bits are not.
// `params` NULL: defaults. Errors: NOT_FOUND, no module matches the targets (says which there are);
// INVALID_ARGUMENT, a wrong expression, or a rank that is too large; UNSUPPORTED, PiSSA or OLoRA
// with dropout. DoRA of experts is refused by the trainer.
INLAY_API inlay_result inlay_adapter_create(inlay_adapter **out, const inlay_env *env,
                                            const inlay_model *model,
                                            const inlay_adapter_params *params);
// `path`: an output folder of `inlay train`, a PEFT folder, or a .gguf. `model` NULL reads it
// without checking it against a base (for its info alone). Errors: MISMATCH names the tensor and
// both shapes.
INLAY_API inlay_result inlay_adapter_load(inlay_adapter **out, const inlay_env *env,
                                          const inlay_model *model, const char *path);
// Whether `path` looks like an adapter: a folder, or a GGUF file whose metadata say so. Logs
// nothing.
INLAY_API bool inlay_adapter_detect(const char *path);
INLAY_API void inlay_adapter_destroy(inlay_adapter **adapter);

INLAY_API void inlay_adapter_get_info(const inlay_adapter *adapter, inlay_adapter_info *info);
INLAY_API inlay_result inlay_adapter_get_pair(const inlay_adapter *adapter, uint32_t index,
                                              inlay_adapter_pair *pair);

// The sum of `count` adapters of `model`, each times its scale (`scales` NULL: 1), as one adapter:
// where several have a module their ranks add. The parts are copied. Errors: UNSUPPORTED, several,
// and one is DoRA's, or ranks add up to too much; INVALID_ARGUMENT, one is another model's;
// NOT_FINITE, a scale is too large.
INLAY_API inlay_result inlay_adapter_combine(inlay_adapter **out, const inlay_env *env,
                                             const inlay_model *model,
                                             const inlay_adapter *const *adapters,
                                             const float *scales, uint32_t count);

// adapter_model.safetensors and adapter_config.json into the folder, which is created. Errors of
// both: INVALID_ARGUMENT, it was loaded without a model, or is fresh and has values that a trainer
// makes of the base's weights (DoRA, PiSSA, OLoRA); NOT_FINITE names the tensor; IO.
INLAY_API inlay_result inlay_adapter_save_peft(const inlay_adapter *adapter, const char *folder);
// A file that llama.cpp's --lora loads. UNSUPPORTED: what the format cannot hold, DoRA and a head
// that shares the embedding's matrix.
INLAY_API inlay_result inlay_adapter_save_gguf(const inlay_adapter *adapter, const char *path);

typedef struct inlay_merge_params {
    // Type of the matrices: "F32", "F16", "BF16", "Q8_0", ... case ignored. NULL or "keep": each
    // keeps its own, but for bitsandbytes' 4 bits, which become F16. Norms and biases always do,
    // but that of a folder they become F32 in a GGUF file.
    const char *type;
    // Bytes written of all there are to write, on the caller's thread; false stops with
    // INTERRUPTED. May be NULL.
    bool (*progress)(void *user, uint64_t done, uint64_t total);
    void *user;
} inlay_merge_params;

// Writes `model` with the adapter (NULL: none) added to its weights, tensor by tensor: a GGUF
// file if `path` ends in .gguf, else a Hugging Face folder in F32, F16 or BF16, that is not
// there yet. Of a GGUF file another one has the metadata and the tokenizer of the base, a folder
// what transformers and tokenizers call the same (dense models alone; quantized matrices become
// F16); of a folder a folder has the same files, a GGUF file is as llama.cpp's converter makes
// it. It appears whole or not at all. `params` NULL: defaults. Errors: INVALID_ARGUMENT, no such
// type; UNSUPPORTED names what cannot be encoded, or what the other kind has no words for;
// NOT_FINITE names a tensor whose sum does not fit its type.
INLAY_API inlay_result inlay_adapter_merge(const inlay_adapter *adapter, const inlay_model *model,
                                           const char *path, const inlay_merge_params *params);

INLAY_END

#endif
