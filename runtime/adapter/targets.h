// SPDX-License-Identifier: MIT
// Which modules `target_modules` names, with PEFT's meaning of a list and of a regular expression.
#ifndef INL_ADAPTER_TARGETS_H
#define INL_ADAPTER_TARGETS_H

#include "adapter/lora.h"

// Sets selected[i] for each module of the list. NOT_FOUND when nothing matches, naming what could.
inlay_result inl_targets_match(const inl_env *env, const inl_module_list *modules,
                               const char *targets, bool *selected);
// PEFT's rule for rank_pattern and alpha_pattern keys: (.*\.)?(KEY)$ on the path.
bool inl_targets_pattern(const char *key, const char *path);

#endif
