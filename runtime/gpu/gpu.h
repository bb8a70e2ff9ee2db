// SPDX-License-Identifier: MIT
// The Vulkan device as the layers above see it: caps, buffers, pipelines, recorded command lists.
// No Vulkan type appears here; vk.h has what the files of this folder share.
#ifndef INL_GPU_GPU_H
#define INL_GPU_GPU_H

#include "base/env.h"

typedef struct inl_gpu inl_gpu;
typedef struct inl_buffer inl_buffer;
typedef struct inl_pipeline inl_pipeline;
typedef struct inl_commands inl_commands;

#define INL_MAX_BINDINGS 9 // storage buffers of a kernel; a device that binds fewer is refused

// Groups of kernels that need something of a device: the words of `needs` in shaders/kernels.txt.
typedef enum inl_path {
    INL_PATH_F32, // what every device runs
    INL_PATH_SIMD,
    INL_PATH_F16,
    INL_PATH_DOT8,
    INL_PATH_MATRIX,
    INL_PATH_COUNT,
} inl_path;

typedef struct inl_path_state {
    bool able, on; // the device can run them; it gets them
    char reason[128]; // why not
} inl_path_state;

// Of a product of matrix cores, f16 [m, k] by f16 [k, n] into f32, and the subgroup's size then.
// A workgroup makes `rows` by `columns` of a result in steps of `depth`, a subgroup of it
// subgroup_rows by subgroup_columns (shaders/gemm_matrix.comp): multiples of m, n and k.
typedef struct inl_matrix_shape {
    uint32_t m, n, k, subgroup;
    uint32_t rows, columns, depth, subgroup_rows, subgroup_columns;
    uint32_t min_rows; // of a product, from which on it is made so
} inl_matrix_shape;

// How a workgroup tiles a product of many rows (gemm_tiled.comp): `rows` of X by `columns` of
// the result in steps of `depth`, of which a thread makes thread_rows by thread_columns. Rows,
// columns and threads' are multiples of 8, 8 and 4, depth of 8.
typedef struct inl_gemm_tile {
    uint32_t rows, columns, depth;
    uint32_t thread_rows, thread_columns;
} inl_gemm_tile;

// Which instructions and how many registers a device has, as far as it decides how kernels divide
// their work.
typedef enum inl_generation {
    INL_GENERATION_UNKNOWN,
    INL_GENERATION_CPU,
    INL_GENERATION_GCN, // AMD; CDNA too
    INL_GENERATION_RDNA1,
    INL_GENERATION_RDNA2,
    INL_GENERATION_RDNA3,
    INL_GENERATION_RDNA4,
    INL_GENERATION_XE_LP, // Intel; older ones too
    INL_GENERATION_XE_HPG,
    INL_GENERATION_XE2, // and newer
    INL_GENERATION_TURING, // NVIDIA
    INL_GENERATION_AMPERE,
    INL_GENERATION_HOPPER,
    INL_GENERATION_ADA,
    INL_GENERATION_BLACKWELL,
    INL_GENERATION_COUNT,
} inl_generation;
const char *inl_generation_name(inl_generation generation);

#define INL_TILE_SIZES 3

// How kernels divide their work: of the table in tiles.c, or what a tuner found to be faster.
typedef struct inl_tiles {
    uint32_t gemm_lanes; // threads of a workgroup of gemm.comp
    uint32_t gemm_rows;  // that a thread of it makes: what the registers hold; divides 8
    uint32_t gemv_lanes; // threads that share the sums of gemv.comp, a power of two
    uint32_t tiled_rows; // of X, from which on a GPU takes gemm_tiled.comp
    inl_gemm_tile gemm[INL_TILE_SIZES]; // the smallest first
} inl_tiles;

// What a device can do and who made it; the one place kernels' needs are decided from (caps.c).
typedef struct inl_gpu_caps {
    char name[256], vendor[32], driver_name[256], driver_info[256];
    uint32_t vendor_id, device_id, driver_version, api_version;
    uint8_t cache_uuid[16]; // of the driver's pipeline cache
    uint32_t type; // as inlay_device_type
    uint64_t memory_bytes, budget_bytes;
    uint32_t subgroup_size, subgroup_size_min, subgroup_size_max;
    // A CPU driver that runs a subgroup in the lanes of one vector: how many; 0: any other device.
    uint32_t simd_lanes;
    inl_generation generation;
    inl_tiles tiles;
    uint32_t compute_units; // that take workgroups; 0: not known
    uint32_t attention_floats; // of rows of matrices that a thread of attention keeps in registers
    uint32_t max_loop_rounds; // of all loops of a thread together; UINT32_MAX: as many as it likes
    uint32_t shared_memory_bytes;
    uint64_t max_buffer_range_bytes, max_allocation_bytes;
    uint32_t max_workgroup_size, max_bindings;
    float timestamp_ns; // of one tick; 0: no timestamps
    bool subgroup_arithmetic, subgroup_shuffle, timeline;
    bool subgroup_required; // a kernel may ask for the subgroup's size
    bool dot8_fast, dot8_mixed; // packed integer dot products in hardware; of mixed signs too
    inl_path_state paths[INL_PATH_COUNT];
    inl_matrix_shape matrix; // m 0: none
    bool usable;
    char unusable_reason[128];
} inl_gpu_caps;

typedef struct inl_gpu_params {
    const char *select; // name part or index; NULL: the best
    uint64_t memory_budget_bytes;
    uint32_t max_submit_ms;
    bool validation;
    const char *pipeline_cache_path, *tuning_path;
    const char *paths; // as in inlay_device_params
    const char *const *absent; // by inl_path: why there are no such kernels; NULL: there are
    uint32_t compile_threads; // 0: one a processor, at most INL_COMPILE_THREADS
} inl_gpu_params;

#define INL_COMPILE_THREADS 8 // a driver's compiler takes a hundred megabytes for a large kernel

// Fills up to *count and sets it to the number there are; no loader gives 0.
inlay_result inl_gpu_list(const inl_env *env, inl_gpu_caps *caps, uint32_t *count);
inlay_result inl_gpu_create(const inl_env *env, const inl_gpu_params *params, inl_gpu **out);
void inl_gpu_destroy(inl_gpu **gpu);

const inl_gpu_caps *inl_gpu_get_caps(const inl_gpu *gpu);
// Whether kernels can divide their work so on the device.
bool inl_tiles_fit(const inl_gpu_caps *caps, const inl_tiles *tiles);
// The tile of caps->tiles for m rows by n columns on this device.
const inl_gemm_tile *inl_tile_for(const inl_gpu_caps *caps, uint32_t m, uint32_t n);
// Of plans made from now on. The tiles fit.
void inl_gpu_set_tiles(inl_gpu *gpu, const inl_tiles *tiles);
const char *inl_path_name(inl_path path);
// Takes a path away that turned out not to work, and warns.
void inl_gpu_drop_path(inl_gpu *gpu, inl_path path, const char *reason);
// For checks that tell a device for a while that it is another.
inl_gpu_caps *inl_gpu_change_caps(inl_gpu *gpu);
uint64_t inl_gpu_budget(const inl_gpu *gpu); // bytes this gpu object may hold in all
uint64_t inl_gpu_used(const inl_gpu *gpu);
uint64_t inl_gpu_available(const inl_gpu *gpu); // of the budget
// What the first copy between host and device takes for good; 0 when there has been one.
uint64_t inl_gpu_staging_bytes(const inl_gpu *gpu);
uint64_t inl_gpu_peak(const inl_gpu *gpu);
uint32_t inl_gpu_max_submit_ms(const inl_gpu *gpu);
// Errors the validation layer has reported so far.
uint32_t inl_gpu_validation_errors(const inl_gpu *gpu);

// ---- buffers

typedef enum inl_memory {
    INL_MEMORY_DEVICE, // fastest for the device
    INL_MEMORY_HOST,   // mapped and coherent: small things written and read each step
} inl_memory;

// Contents undefined. At most caps.max_allocation_bytes.
inlay_result inl_buffer_create(inl_gpu *gpu, const char *name, uint64_t size, inl_memory memory,
                               inl_buffer **out);
void inl_buffer_destroy(inl_gpu *gpu, inl_buffer **buffer);
uint64_t inl_buffer_size(const inl_buffer *buffer);
void *inl_buffer_map(const inl_buffer *buffer); // NULL unless INL_MEMORY_HOST

// Through a staging buffer, waiting for the device.
inlay_result inl_gpu_upload(inl_gpu *gpu, inl_buffer *buffer, uint64_t offset, const void *data,
                            uint64_t size);
inlay_result inl_gpu_download(inl_gpu *gpu, inl_buffer *buffer, uint64_t offset, void *data,
                              uint64_t size);
// `offset` and `size` multiples of 4.
inlay_result inl_gpu_zero(inl_gpu *gpu, inl_buffer *buffer, uint64_t offset, uint64_t size);

// ---- pipelines

typedef struct inl_shader {
    const char *name;
    const uint32_t *code; // SPIR-V
    uint32_t code_bytes;
    uint32_t binding_count; // 0 .. binding_count-1 of set 0: storage buffers, but for
    uint32_t push_bytes;
    uint32_t float_texels, uint_texels; // masks of bindings that are texel buffers of vec4, uvec4
    uint32_t needs; // mask of inl_path
} inl_shader;

// Specialization constants have ids 0 .. spec_count-1.
typedef struct inl_pipeline_key {
    const inl_shader *shader;
    const uint32_t *spec;
    uint32_t spec_count;
    uint32_t subgroup; // the size that is required, with workgroups of whole ones; 0: the driver's
} inl_pipeline_key;

// Makes those of the list that are not there yet, several at once. The shaders outlive the gpu. On
// failure the others are kept.
inlay_result inl_pipelines_make(inl_gpu *gpu, const inl_pipeline_key *keys, uint32_t count);
// Made on first use and kept by the gpu.
inlay_result inl_pipeline_get(inl_gpu *gpu, const inl_shader *shader, const uint32_t *spec,
                              uint32_t spec_count, uint32_t subgroup, inl_pipeline **out);

// ---- recorded commands

typedef struct inl_binding {
    inl_buffer *buffer;
    uint64_t offset, size;
} inl_binding;

// Room for descriptors is fixed at creation: dispatches, and bindings over all of them.
inlay_result inl_commands_create(inl_gpu *gpu, uint32_t max_dispatches, uint32_t max_bindings,
                                 uint32_t max_timestamps, inl_commands **out);
void inl_commands_destroy(inl_gpu *gpu, inl_commands **commands);
// Workgroups `first` to first + groups of a dispatch.
inlay_result inl_commands_dispatch(inl_commands *c, inl_pipeline *pipeline,
                                   const inl_binding *bindings, const void *push,
                                   const uint32_t first[3], const uint32_t groups[3]);
void inl_commands_copy(inl_commands *c, inl_binding from, inl_binding to);
void inl_commands_zero(inl_commands *c, inl_binding target);
// Everything before is done and visible to shaders and copies after.
void inl_commands_barrier(inl_commands *c);
void inl_commands_timestamp(inl_commands *c); // the next free one
inlay_result inl_commands_end(inl_commands *c);

// Ordered after everything submitted before. *ticket is what inl_gpu_wait takes.
inlay_result inl_gpu_submit(inl_gpu *gpu, inl_commands *c, uint64_t *ticket);
inlay_result inl_gpu_wait(inl_gpu *gpu, uint64_t ticket);
// Seconds from timestamp 0 to timestamp i, for the count recorded; after a wait. False: none.
bool inl_commands_seconds(inl_gpu *gpu, const inl_commands *c, double *seconds, uint32_t count);

#endif
