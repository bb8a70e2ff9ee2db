// SPDX-License-Identifier: MIT
// inlay: LoRA and QLoRA fine-tuning on any Vulkan device. This header includes all the others
// except vulkan.h (running on a host application's own device).
//
// Rules that hold for every function:
// - Handles are opaque. `inlay_x_create(&x, ...)` gives one to the caller on success and sets it to
//   NULL on failure; `inlay_x_destroy(&x)` frees it, sets it to NULL, and takes NULL.
// - Params structs: zero means default, a NULL struct is all defaults; they and the strings in them
//   need to live during the call alone.
// - Sizes are in bytes, times in seconds, losses in nats, unless the name says otherwise.
// - A failure returns a negative inlay_result and logs one sentence through the inlay_env.
// - The library never exits, prints, reads the environment or a file nobody named.
//
//     inlay_device *device = NULL; inlay_model *model = NULL;
//     inlay_adapter *adapter = NULL; inlay_dataset *data = NULL; inlay_trainer *trainer = NULL;
//     if (inlay_device_create(&device, &env, NULL) == INLAY_OK &&
//         inlay_model_open(&model, &env, "base.gguf", NULL) == INLAY_OK &&
//         inlay_adapter_create(&adapter, &env, model, NULL) == INLAY_OK &&
//         inlay_dataset_open(&data, &env, model, "train.jsonl", NULL) == INLAY_OK &&
//         inlay_trainer_create(&trainer, &env, device, model, adapter, data, NULL) == INLAY_OK) {
//         inlay_step_stats stats;
//         for (int i = 0; i < 100 && inlay_trainer_step(trainer, &stats) == INLAY_OK; i++)
//             printf("%u %f\n", stats.step, stats.loss);
//         inlay_trainer_sync(trainer);
//         inlay_adapter_save_gguf(adapter, "adapter.gguf");
//     }
//     inlay_trainer_destroy(&trainer); ... in the opposite order of creation
#ifndef INLAY_H
#define INLAY_H

#include <inlay/adapter.h>
#include <inlay/bench.h>
#include <inlay/chat.h>
#include <inlay/config.h>
#include <inlay/dataset.h>
#include <inlay/device.h>
#include <inlay/error.h>
#include <inlay/generate.h>
#include <inlay/log.h>
#include <inlay/model.h>
#include <inlay/train.h>
#include <inlay/verify.h>

INLAY_BEGIN
// INLAY_VERSION and INLAY_API_VERSION of the library that runs.
INLAY_API const char *inlay_version(void);
INLAY_API uint32_t inlay_api_version(void);
INLAY_END

#endif
