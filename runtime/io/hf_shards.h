// SPDX-License-Identifier: MIT
// The safetensors files of a Hugging Face folder: model.safetensors, or those that
// model.safetensors.index.json names, or without it model-00001-of-00003.safetensors and so on.
#ifndef INL_IO_HF_SHARDS_H
#define INL_IO_HF_SHARDS_H

#include "io/safetensors.h"

typedef struct inl_hf_shards {
    inl_env env;
    inl_safetensors **files;
    size_t count, cap;
} inl_hf_shards;

// All of them mapped and checked, no tensor in two, each that the index names where it says.
inlay_result inl_hf_shards_open(const inl_env *env, const char *folder, inl_hf_shards *out);
void inl_hf_shards_close(inl_hf_shards *shards);
// NULL: none has it.
const inl_safetensor *inl_hf_shards_find(const inl_hf_shards *shards, const char *name);

#endif
