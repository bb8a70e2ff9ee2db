// SPDX-License-Identifier: MIT
// Measuring: models of random weights, where a step's time goes, what a device can do at best.
#ifndef INLAY_BENCH_H
#define INLAY_BENCH_H

#include <inlay/train.h>

INLAY_BEGIN

// ---- models and data without files

typedef struct inlay_shape {
    char name[16];  // what inlay_random_model_params.shape takes: "1.1b"
    char title[64]; // "TinyLlama-1.1B"
    uint32_t layers, dim, ffn_dim, heads, kv_heads, head_dim, vocab;
} inlay_shape;

// Fills *out with the shape of that index; false: there are no more. Thread-safe.
INLAY_API bool inlay_shape_get(uint32_t index, inlay_shape *out);

typedef struct inlay_random_model_params {
    const char *shape; // of the list, case ignored; NULL: "25m"
    // Of the layers' matrices: a GGUF file's ("Q8_0", "Q4_K", "F16", ...), "Q4_K_M" as llama.cpp
    // mixes it, or "NF4", made of BF16 at load; case ignored. NULL: Q8_0. Below 6 bits the head is
    // Q6_K; rows that no block divides get the type that llama.cpp falls back to.
    const char *type;
    uint32_t seed;
    uint32_t layers; // 0: the shape's
} inlay_random_model_params;

// A llama of random weights, as good as a file for everything but text: its tokens are bytes and
// words that no text has. Tensors share a pool of memory as large as the largest one, so that 8
// billion parameters cost the host a few hundred megabytes. The same on every machine. `params`
// NULL: defaults. Close it with inlay_model_close. Errors: INVALID_ARGUMENT, no such shape or type.
INLAY_API inlay_result inlay_model_create_random(inlay_model **out, const inlay_env *env,
                                                 const inlay_random_model_params *params);
// Of the model's weights on a device, those that are read for each token: all but an embedding
// that is not the head too, and of experts as if all were.
INLAY_API inlay_result inlay_model_get_token_bytes(const inlay_model *model, uint64_t *bytes);
// `rows` rows of `length` tokens each, all but each first one learned, of 61 tokens of the
// vocabulary in an order that has something to learn. Close it with inlay_dataset_close. Errors:
// INVALID_ARGUMENT, rows or length out of range.
INLAY_API inlay_result inlay_dataset_create_random(inlay_dataset **out, const inlay_env *env,
                                                   const inlay_model *model, uint32_t rows,
                                                   uint32_t length, uint32_t seed);

// ---- where a step's time goes

// Of the last step's last micro-batch and its update, by the device's clock; zeros where the device
// has none.
typedef struct inlay_step_times {
    double forward_seconds, backward_seconds, update_seconds; // while it is profiled, else 0
    double longest_submit_seconds;                            // while it is not, else 0
} inlay_step_times;

typedef struct inlay_kernel_time {
    char kernel[48]; // its row of shaders/kernels.txt; "copy": copies and zeroing
    char tag[24];    // what it was used for: "attn_q", "norm", "loss", ...
    uint32_t dispatches;
    double seconds;
    uint64_t flops;
    uint64_t bytes; // of all buffers it was bound to, once for a read and once for a write
} inlay_kernel_time;

// Whether the steps to come are measured kernel by kernel. They are slower then by what a few
// timestamps cost, and not cut anew into submits. The trainer's thread alone, as all below.
INLAY_API inlay_result inlay_trainer_profile(inlay_trainer *trainer, bool on);
INLAY_API inlay_result inlay_trainer_get_times(const inlay_trainer *trainer,
                                               inlay_step_times *times);
// The kernels of the last step, the slowest first. *count holds the room in `kernels` (NULL: 0) and
// becomes how many there are; none where nothing is profiled.
INLAY_API inlay_result inlay_trainer_get_kernels(const inlay_trainer *trainer,
                                                 inlay_kernel_time *kernels, uint32_t *count);

typedef struct inlay_loss_check {
    double loss;      // the device's, mean over the tokens looked at, in nats
    double reference; // the CPU's, in double precision
    uint32_t tokens;  // fewer than asked for where fewer are learned
    uint32_t step;    // the one that was trained
} inlay_loss_check;

// Trains one step and holds the loss of its first `tokens` learned tokens, for the adapter as it
// was before it, against plain loops on the CPU, which take 2 tokens flop a weight: a check of
// everything up to there, and of the adapter that the steps before have made. Errors: those of
// inlay_trainer_step; UNSUPPORTED, without a message: the loops know plain llamas alone.
INLAY_API inlay_result inlay_trainer_check_loss(inlay_trainer *trainer, uint32_t tokens,
                                                inlay_loss_check *check);

// ---- kernels by themselves

typedef struct inlay_kernel_result {
    char name[64];   // what was measured, with its sizes: "gemm Q8_0 512x512x128"
    char kernel[48]; // the row of shaders/kernels.txt that does most of it
    double seconds, deviation; // mean of the repeats
    uint32_t repeats;
    uint64_t flops, bytes;
    double error; // of a sample of the result, against double precision: NMSE
    bool correct; // the error is what it may be, 1e-6
} inlay_kernel_result;

// Called with each result; false ends it, with INTERRUPTED.
typedef bool (*inlay_kernel_callback)(void *user, const inlay_kernel_result *result);

// Products with the matrices of the model's first layer and with its head, forward and backward,
// attention, norm and activation, for rows of `tokens` tokens. Holds the model's weights meanwhile:
// one layer is enough (inlay_random_model_params). Errors: UNSUPPORTED, a mixture of experts or
// fused matrices; OUT_OF_DEVICE_MEMORY; DEVICE_LOST; INTERRUPTED.
INLAY_API inlay_result inlay_device_measure_kernels(inlay_device *device, const inlay_model *model,
                                                    uint32_t tokens, inlay_kernel_callback callback,
                                                    void *user);

// ---- what the device can do at best

typedef enum inlay_peak_kind {
    INLAY_PEAK_FP32 = 0, // flop/s of f32 vectors, a fused multiply-add counts as two
    INLAY_PEAK_F16 = 1,  // the same of f16
    INLAY_PEAK_DOT8 = 2, // operations/s of dot products of four signed bytes, 8 each
    INLAY_PEAK_MATRIX = 3, // flop/s of matrix cores, f16 by f16 into f32
    INLAY_PEAK_COPY = 4,   // bytes/s read and written, from device memory to device memory
    INLAY_PEAK_COUNT = 5,
} inlay_peak_kind;

typedef struct inlay_peak_result {
    char name[16];           // "fp32", "f16", "dot8", "matrix", "copy"
    double per_second;       // flop or bytes, the best repeat
    double mean, deviation;  // of the repeats
    uint32_t repeats;
    uint64_t flops, bytes;   // of a repeat
    double seconds;          // of the best one
    double largest_error;    // of the results looked at, relative
} inlay_peak_result;

// Takes up to 128 MiB of the device's memory and about a second. Errors: UNSUPPORTED, without a
// message, the device does not get such kernels (inlay_device_info.paths); INTERNAL, the kernel's
// results are wrong, so its speed is none; OUT_OF_DEVICE_MEMORY; DEVICE_LOST.
INLAY_API inlay_result inlay_device_measure_peak(inlay_device *device, inlay_peak_kind kind,
                                                 inlay_peak_result *result);

// ---- which way of dividing the work is fastest

// A way to divide a kind of products, and how it did on the products it was tried on.
typedef struct inlay_tune_candidate {
    char what[32];  // "gemm", "small tile", ...
    char tiles[64]; // "128 x 64 x 16, 8 x 8 a thread"
    // Seconds by those of what the device had, a geometric mean: below 1 is faster. 0: its results
    // are wrong, or there was no time for it.
    double ratio;
    double largest_error; // NMSE against what the device had
    bool chosen;
} inlay_tune_candidate;

typedef struct inlay_tune_params {
    double seconds; // it takes about so long at most; 0: 60
    // Of each candidate, when its kind is done; on the calling thread. False stops. NULL: none.
    bool (*progress)(void *user, const inlay_tune_candidate *candidate);
    void *user;
} inlay_tune_params;

// Tries how products of the device are best divided among its threads, in products of random
// numbers: those made from now on are divided so. A candidate whose results differ by more than
// rounding is left out and logged. With inlay_device_params.tuning_path the choice is written
// there, for later runs. Takes up to 128 MiB of device memory. `params` NULL: defaults. Errors:
// INTERRUPTED (by progress), OUT_OF_DEVICE_MEMORY, DEVICE_LOST; the device is then as it was. IO:
// the file cannot be written.
INLAY_API inlay_result inlay_device_tune(inlay_device *device, const inlay_tune_params *params);

INLAY_END

#endif
