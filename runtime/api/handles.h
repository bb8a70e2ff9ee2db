// SPDX-License-Identifier: MIT
// What is behind the public handles, and checks that several of the files here need.
#ifndef INL_API_HANDLES_H
#define INL_API_HANDLES_H

#include "model/model.h"
#include "train/generator.h"
#include "train/trainer.h"

#include <inlay/inlay.h>

struct inlay_device {
    inl_env env;
    inl_gpu *gpu;
};

struct inlay_model {
    inl_env env;
    inl_model *model;
};

struct inlay_dataset {
    inl_env env;
    inl_dataset *dataset;
};

struct inlay_adapter {
    inl_env env;
    inl_lora *lora;
    const inl_module_list *modules; // of the model it was made for, or NULL
};

struct inlay_trainer {
    inl_env env;
    inl_trainer *trainer;
    inlay_device *device;
};

// The adapter's values on a device, for running alone.
typedef struct inl_resident_adapter {
    inl_gpu *gpu;
    inl_slots slots;
    inl_buffer *buffer, *norms; // norms: DoRA's, or NULL
    inl_lora_arena arena;
} inl_resident_adapter;

// `adapter` NULL gives slots without pairs and an arena that must not be used.
inlay_result inl_resident_create(const inl_env *env, inl_gpu *gpu, const inl_model *model,
                                 const inlay_adapter *adapter, inl_resident_adapter *out);
// Before the first run, when the weights are there.
inlay_result inl_resident_start(const inl_env *env, const inl_weights *weights,
                                inl_resident_adapter *resident);
void inl_resident_destroy(const inl_env *env, inl_resident_adapter *resident);

// INVALID_ARGUMENT when `adapter` was made for another model.
inlay_result inl_check_adapter(const inl_env *env, const inlay_model *model,
                               const inlay_adapter *adapter);

// Validation: fails the calling function with a sentence that names the argument.
#define INL_REQUIRE(env, condition)                                                                \
    do {                                                                                           \
        if (!(condition))                                                                          \
            return inl_fail(env, INLAY_ERROR_INVALID_ARGUMENT, "%s: " #condition " does not hold", \
                            __func__);                                                             \
    } while (0)

#endif
