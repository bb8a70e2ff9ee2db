// SPDX-License-Identifier: MIT
// A Hugging Face model's folder as if it were a GGUF file: config.json becomes metadata, the
// safetensors' tensors get GGUF's names and lie where they are mapped. Rows of q and k stay in
// Hugging Face's order, and each expert's matrix is a tensor, "blk.N.ffn_gate_exps.E.weight".
#ifndef INL_IO_HF_FOLDER_H
#define INL_IO_HF_FOLDER_H

#include "io/gguf.h"

// NOT_FOUND: a file is missing. UNSUPPORTED: an architecture, option, tensor or type that is known
// not to work. BAD_FILE: what is there contradicts itself.
inlay_result inl_hf_folder_open(const inl_env *env, const char *folder, inl_gguf **out);

#endif
