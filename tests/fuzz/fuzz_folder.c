// SPDX-License-Identifier: MIT
// libFuzzer target: any bytes as a Hugging Face folder. The input is config.json up to a zero byte,
// then model.safetensors; the tokenizer is always the same. What opens is a model whose parts
// agree.
#define _GNU_SOURCE // memfd_create
#include "fuzz/check_model.h"
#include "fuzz/memory_folder.h"
#include "harness/toy_folder.h"
#include "harness/toy_tokenizer_json.h"

enum { CONFIG, TENSORS, TOKENIZER, FILES };

static memory_folder folder;

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const char *const names[FILES] = {"config.json", "model.safetensors", "tokenizer.json"};
    int errors;
    size_t config_size;
    inl_env env = fuzz_env(&errors);
    inl_model *model;
    memory_folder_make(&folder, names, FILES);
    const uint8_t *config = fuzz_part(&data, &size, &config_size);
    memory_folder_fill(&folder, CONFIG, config, config_size);
    memory_folder_fill(&folder, TENSORS, data, size);
    memory_folder_fill(&folder, TOKENIZER, toy_byte_level_json, sizeof(toy_byte_level_json) - 1);
    inl_model_params params = {.skip_finite_check = size & 4};
    inlay_result result = inl_model_open(&env, folder.path, &params, &model);
    fuzz_require((result == INLAY_OK) == (model != NULL) && errors == (result != INLAY_OK));
    if (model)
        check_model(model);
    inl_model_close(&model);
    return 0;
}

// ---- seeds

static void put_model(fuzz_put *put, void *user, const char *name, const toy_folder *model)
{
    safetensors_bytes s = {0};
    char config[TOY_FOLDER_CONFIG];
    size_t length = toy_folder_config(model, config);
    toy_folder_tensors(model, &s);
    fuzz_put_with(put, user, name, config, length + 1, s.data, s.size);
    safetensors_bytes_free(&s);
}

void fuzz_seeds(fuzz_put *put, void *user)
{
    for (size_t i = 0; i < INL_COUNT(toy_folders); i++)
        put_model(put, user, (char[]){(char)('a' + i), 0}, &toy_folders[i]);
}
