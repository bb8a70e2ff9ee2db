// SPDX-License-Identifier: MIT
#include "adapter/merge.h"
#include "api/handles.h"
#include "model/to_folder.h"

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

static inlay_result check_type(const inl_env *env, const inl_merge_params *p, const char *path)
{
    if (!ends_in_gguf(path) && p->format && p->format->block_elements > 1)
        return inl_fail(env, INLAY_ERROR_UNSUPPORTED,
                        "%s: a folder's tensors can be F32, F16 or BF16, not %s: a name that ends "
                        "in .gguf makes a file, which can have that",
                        path, p->format->name);
    return INLAY_OK;
}

inlay_result inlay_adapter_merge(const inlay_adapter *adapter, const inlay_model *model,
                                 const char *path, const inlay_merge_params *params)
{
    if (!adapter && !model)
        return INLAY_ERROR_INVALID_ARGUMENT;
    const inl_env *env = adapter ? &adapter->env : &model->model->env;
    const inl_lora none = {.env = *env}, *lora = adapter ? adapter->lora : &none;
    INL_REQUIRE(env, model != NULL);
    INL_REQUIRE(env, path != NULL);
    INL_TRY(inl_check_adapter(env, model, adapter));
    inl_merge_params p = {0};
    INL_TRY(find_type(env, params ? params->type : NULL, &p.format));
    if (params) {
        p.progress = params->progress;
        p.user = params->user;
    }
    const inl_gguf *base = model->model->gguf;
    const inl_module_list *modules = &model->model->modules.list;
    if (inl_gguf_has_file(base, path))
        return inl_fail(env, INLAY_ERROR_INVALID_ARGUMENT,
                        "%s is a file of the model: choose another name", path);
    INL_TRY(check_type(env, &p, path));
    p.tokenizer = model->model->tokenizer;
    if (ends_in_gguf(path))
        return inl_merge_gguf(base, modules, lora, &p, path);
    return inl_gguf_is_folder(base) ? inl_merge_folder(base, modules, lora, &p, path)
                                    : inl_model_write_folder(model->model, lora, &p, path);
}
