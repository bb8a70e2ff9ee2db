// SPDX-License-Identifier: MIT
// Vulkan devices: what there is, and opening one. To run on a device the host application made
// itself, see vulkan.h.
#ifndef INLAY_DEVICE_H
#define INLAY_DEVICE_H

#include <inlay/log.h>
#include <stdbool.h>
#include <stdint.h>

INLAY_BEGIN

// An opened device. All calls that take one, or anything made on it, must come from one thread at a
// time. Destroy everything made on it first.
typedef struct inlay_device inlay_device;

typedef enum inlay_device_type {
    INLAY_DEVICE_OTHER = 0,
    INLAY_DEVICE_INTEGRATED = 1,
    INLAY_DEVICE_DISCRETE = 2,
    INLAY_DEVICE_VIRTUAL = 3,
    INLAY_DEVICE_CPU = 4,
} inlay_device_type;

#define INLAY_DEVICE_MAX_PATHS 16

// A group of kernels that needs something of the device, and whether this device gets it.
typedef struct inlay_kernel_path {
    char name[32];    // "f32", "simd", "f16", "dot8", "matrix"
    bool available;
    char reason[128]; // why not; empty when available
} inlay_kernel_path;

typedef struct inlay_device_info {
    uint32_t index; // what inlay_device_params.index takes
    char name[256];
    char vendor[32];
    uint32_t vendor_id, device_id; // PCI ids
    inlay_device_type type;
    char driver_name[256], driver_info[256];
    uint32_t driver_version; // the driver's own encoding
    uint32_t api_version;    // Vulkan's encoding
    uint64_t memory_bytes;   // device-local heaps
    uint64_t budget_bytes;   // usable by this process now; memory_bytes if unknown
    uint32_t subgroup_size, subgroup_size_min, subgroup_size_max;
    uint32_t shared_memory_bytes;
    uint64_t max_buffer_range_bytes; // of one storage-buffer binding
    uint64_t max_allocation_bytes;
    bool usable;          // false: inlay_device_create would refuse it
    char unusable_reason[128];
    uint32_t path_count;
    inlay_kernel_path paths[INLAY_DEVICE_MAX_PATHS];
} inlay_device_info;

// Fills up to *count entries and sets *count to the number there are. `infos` NULL only counts.
// No Vulkan loader or no device is INLAY_OK with *count 0. Thread-safe.
INLAY_API inlay_result inlay_device_list(const inlay_env *env, inlay_device_info *infos,
                                         uint32_t *count);

typedef struct inlay_device_params {
    // Which device: its name or a part of it (case ignored), or its index as digits. NULL: the best
    // one: discrete, then integrated, then virtual, then CPU.
    const char *select;
    uint64_t memory_budget_bytes; // refuse to use more; 0: what the driver says is free
    uint32_t max_submit_ms;       // no submit is planned to run longer; 0: 100
    bool validation;              // turn on VK_LAYER_KHRONOS_validation, its messages go to the log
    // Pipeline cache file, read if it is there, written whole when the device is destroyed and
    // anything is new. It holds several devices' and drivers'; what is damaged or of no use is
    // replaced without a word. NULL: none.
    const char *pipeline_cache_path;
    // File of inlay_device_tune's choices for this and other devices, read if it is there. One that
    // is damaged, of another version of inlay or of another driver is not used. NULL: none.
    const char *tuning_path;
    // Kernel paths by name with commas between, to switch off ("-matrix") or to ask for where they
    // are not chosen anyway ("+matrix"). NULL: those known to be fast on the device. Numbers differ
    // between paths: "matrix" and "f16" multiply numbers of 11 bits, summed up in f32.
    const char *paths;
    // Threads that compile pipelines at once while a call waits, the calling one among them. They
    // call the driver alone, never the env's functions, and are gone when the call returns; all
    // signals are blocked on them. 0: one a processor, at most 8; 1: none is started.
    uint32_t compile_threads;
} inlay_device_params;

// On success *out is the caller's to destroy. Errors: NO_DEVICE, NOT_FOUND (select), UNSUPPORTED
// (also of a path asked for), INVALID_ARGUMENT (paths).
INLAY_API inlay_result inlay_device_create(inlay_device **out, const inlay_env *env,
                                           const inlay_device_params *params);
// Waits for its work, frees it and sets *device to NULL. *device may be NULL.
INLAY_API void inlay_device_destroy(inlay_device **device);

INLAY_API void inlay_device_get_info(const inlay_device *device, inlay_device_info *info);
// Device memory held now and at most so far, in bytes, of everything made on `device`.
INLAY_API void inlay_device_get_memory(const inlay_device *device, uint64_t *used, uint64_t *peak);

INLAY_END

#endif
