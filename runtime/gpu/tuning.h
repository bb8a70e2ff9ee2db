// SPDX-License-Identifier: MIT
// The file in which a tuner's choices are kept, beside the pipeline cache: text, a record for each
// device, driver and version of inlay.
#ifndef INL_GPU_TUNING_H
#define INL_GPU_TUNING_H

#include "gpu/gpu.h"

// Writes this device's record, with its tiles as they are, into the file that the device was opened
// with (inl_gpu_params.tuning_path). Other devices' records stay; a damaged file is replaced. No
// file is no error.
inlay_result inl_tuning_save(const inl_gpu *gpu);

#endif
