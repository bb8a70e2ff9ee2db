// SPDX-License-Identifier: MIT
// Which modules `target_modules` names, with PEFT's meaning of a list and of a regular expression.
#ifndef INL_ADAPTER_TARGETS_H
#define INL_ADAPTER_TARGETS_H

#include "adapter/lora.h"

// Sets selected[i] for each module of the list. NOT_FOUND when nothing matches, naming what could;
// INVALID_ARGUMENT for a regular expression that does not compile.
inlay_result inl_targets_match(const inl_env *env, const inl_module_list *modules,
                               const char *targets, bool *selected);
// PEFT's rule for rank_pattern and alpha_pattern keys: (.*\.)?(KEY)$ on the path. `source` is where
// the key stands, for messages.
inlay_result inl_targets_pattern(const inl_env *env, const char *source, const char *key,
                                 const char *path, bool *found);
// A path's last part: "q_proj".
const char *inl_targets_suffix(const char *path);

#endif
