// SPDX-License-Identifier: MIT
// An opened model file: config, checked tensors, modules, tokenizer. No device.
#ifndef INL_MODEL_MODEL_H
#define INL_MODEL_MODEL_H

#include "io/tokenizer.h"
#include "model/config.h"
#include "quant/format.h"

// A matrix or vector of the file and the format it will have on the device.
typedef struct inl_source {
    const inl_gguf_tensor *tensor; // NULL: the model does not have it
    // Of experts, `experts` matrices of [rows, cols] each: all in `tensor`, or each its own, of
    // which `tensor` is the first.
    const inl_gguf_tensor **each;
    uint32_t experts;
    const inl_format *stored;      // in the file
    const inl_format *format;      // on the device
    uint32_t rows, cols;
} inl_source;

// Where row `row` of a matrix lies, or of an expert's.
const uint8_t *inl_source_row(const inl_source *source, uint32_t expert, uint32_t row);

typedef struct inl_layer_sources {
    inl_source linear[INL_ROLE_COUNT], bias[INL_ROLE_COUNT], norm[INL_NORM_COUNT];
} inl_layer_sources;

typedef struct inl_model {
    inl_env env;
    inl_gguf *gguf;
    inl_config config;
    inl_modules modules;
    inl_tokenizer *tokenizer;
    inl_source embedding, norm, head; // a tied head is the embedding's source
    inl_layer_sources *layers;
    bool *read; // of each tensor, whether a source above is it
    const inl_format *quantize; // of the layers' matrices, NULL: as stored
    // How many matrices stay as they are in spite of it, and the first: bitsandbytes', undivided.
    uint32_t kept_count[2];
    const inl_source *kept[2];
} inl_model;

typedef struct inl_model_params {
    const inl_format *quantize;
    bool skip_finite_check;
} inl_model_params;

inlay_result inl_model_open(const inl_env *env, const char *path, const inl_model_params *params,
                            inl_model **out);
// Of a file that is in memory; takes `gguf` in every case.
inlay_result inl_model_open_gguf(const inl_env *env, inl_gguf *gguf, const inl_model_params *params,
                                 inl_model **out);
void inl_model_close(inl_model **model);
// Weights of the file, all tensors.
uint64_t inl_model_parameters(const inl_model *model);
// XXH3-64 of the tensors' names, types, shapes and first bytes: tells models apart without reading
// them.
uint64_t inl_model_hash(const inl_model *model);

#endif
