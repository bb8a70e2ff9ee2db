// SPDX-License-Identifier: MIT
#include "adapter/merge.h"
#include "api/handles.h"

#include <string.h>

static inlay_result find_type(const inl_env *env, const char *name, const inl_format **out)
{
    char names[160];
    *out = NULL;
    if (!name || strcmp(name, "keep") == 0)
        return INLAY_OK;
    *out = inl_format_by_name(name);
    if (*out && (*out)->encode)
        return INLAY_OK;
    return inl_fail(env, INLAY_ERROR_INVALID_ARGUMENT,
                    "a model cannot be written in the type %.40s (%s can)", name,
                    inl_format_names(names, sizeof(names)));
}

static bool ends_in_gguf(const char *path)
{
    size_t size = strlen(path);
    return size > 5 && strcmp(path + size - 5, ".gguf") == 0;
}

inlay_result inlay_adapter_merge(const inlay_adapter *adapter, const inlay_model *model,
                                 const char *path, const inlay_merge_params *params)
{
    const inl_env *env = &adapter->env;
    INL_REQUIRE(env, model != NULL);
    INL_REQUIRE(env, path != NULL);
    INL_TRY(inl_check_adapter(env, model, adapter));
    inl_merge_params p = {0};
    INL_TRY(find_type(env, params ? params->type : NULL, &p.format));
    if (params) {
        p.progress = params->progress;
        p.user = params->user;
    }
    if (!ends_in_gguf(path))
        return inl_fail(env, INLAY_ERROR_UNSUPPORTED,
                        "%s: a merged model's name must end in .gguf", path);
    return inl_merge_gguf(model->model->gguf, &model->model->modules.list, adapter->lora, &p, path);
}
