// SPDX-License-Identifier: MIT
// A model that is a GGUF file, with an adapter in its weights, as a Hugging Face folder.
#ifndef INL_MODEL_TO_FOLDER_H
#define INL_MODEL_TO_FOLDER_H

#include "adapter/merge.h"
#include "model/model.h"

// config.json, the tensors in one file, and the tokenizer's files. Matrices in params->format (F32,
// F16, BF16), or NULL: in the type that they have, of which quantized ones become F16. UNSUPPORTED
// names what transformers has no word for.
inlay_result inl_model_write_folder(const inl_model *model, const inl_lora *lora,
                                    const inl_merge_params *params, const char *folder);
// to_config.c: config.json for tensors of that type, and generation_config.json, into `folder`.
// tied: the head has no tensor of its own.
inlay_result inl_model_write_config(const inl_model *model, const inl_format *format, bool tied,
                                    const char *folder);

#endif
