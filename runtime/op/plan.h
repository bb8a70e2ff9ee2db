// SPDX-License-Identifier: MIT
// The plan: a list of kernel launches decided once and replayed each step.
//
// Walking a model emits nodes. inl_plan_finish then gives every scratch buffer a place in one arena
// from its first and last use, puts barriers where tracked accesses need them, cuts the list into
// submits no longer than the device's budget, and records them. A dry plan (gpu NULL) stops before
// anything is allocated: it knows the memory and the work.
//
// Errors are sticky: emission goes on after one and inl_plan_finish returns it.
#ifndef INL_OP_PLAN_H
#define INL_OP_PLAN_H

#include "op_kernels.h"

typedef struct inl_plan inl_plan;
typedef uint32_t inl_buf; // a buffer of the plan
#define INL_BUF_NONE UINT32_MAX

// f32 [rows, cols], row-major. Rows are padded to a multiple of 8, columns to ld, a multiple of 8.
// Padding columns are zero whenever the tensor has been written.
typedef struct inl_tensor {
    inl_buf buf;
    uint32_t rows, cols, ld;
} inl_tensor;

typedef enum inl_access {
    INL_READ = 1,
    INL_WRITE = 2,
    INL_READ_WRITE = 3,
    INL_UNUSED = 0
} inl_access;

// What scratch memory is for, in the account of inl_plan_memory.
typedef enum inl_purpose { INL_ACTIVATION, INL_SCRATCH, INL_PURPOSE_COUNT } inl_purpose;

inlay_result inl_plan_create(const inl_env *env, inl_gpu *gpu, inl_plan **out);
// A dry plan for a device with these limits; NULL: none.
inlay_result inl_plan_create_dry(const inl_env *env, const inl_gpu_caps *caps, inl_plan **out);
void inl_plan_destroy(inl_plan **plan);

// What a binding's offset is a multiple of: Vulkan lets no device ask for more.
#define INL_BINDING_ALIGNMENT 256

// A range that lives outside the plan. `buffer` may be NULL in a dry plan.
inl_buf inl_plan_external(inl_plan *plan, inl_buffer *buffer, uint64_t offset, uint64_t size);
// Scratch memory, alive from its first to its last use.
inl_buf inl_plan_scratch(inl_plan *plan, inl_purpose purpose, uint64_t bytes);
// What was said to be made of a buffer that has not been written since, by the row length then;
// NONE: nothing.
inl_buf inl_plan_derived(const inl_plan *plan, inl_buf from, uint32_t ld);
void inl_plan_set_derived(inl_plan *plan, inl_buf from, uint32_t ld, inl_buf derived);
inl_tensor inl_plan_tensor(inl_plan *plan, uint32_t rows, uint32_t cols);
// The bytes a tensor of this shape takes.
uint64_t inl_tensor_bytes(uint32_t rows, uint32_t cols);
// The range a buffer is bound by, in bytes.
uint64_t inl_plan_buf_bytes(const inl_plan *plan, inl_buf buf);

#define INL_NODE_BINDINGS INL_MAX_BINDINGS
#define INL_NODE_SPECS 17
#define INL_NODE_PUSH 80

typedef struct inl_node_use {
    inl_buf buf;
    inl_access access;
} inl_node_use;

typedef struct inl_node {
    inl_kernel kernel;
    const char *tag; // static; time is summed by it
    inl_node_use uses[INL_NODE_BINDINGS];
    uint32_t spec[INL_NODE_SPECS];
    uint32_t spec_count;
    uint32_t subgroup; // size that the kernel requires; 0: none
    uint8_t push[INL_NODE_PUSH];
    uint32_t groups[3];
    uint64_t flops;
    uint64_t rounds; // most of a thread's loops, where they may be tens of thousands
} inl_node;

// Copies the node. Uses fill bindings in order; unused bindings get the first use's buffer.
void inl_plan_add(inl_plan *plan, const inl_node *node);
void inl_plan_copy(inl_plan *plan, inl_buf from, inl_buf to, uint64_t bytes);
void inl_plan_zero(inl_plan *plan, inl_buf buf);
// Nodes added from here on are the backward pass's, or the forward pass's: for accounts of time.
void inl_plan_set_backward(inl_plan *plan, bool backward);
// Keeps the first error; later ones are dropped.
void inl_plan_fail(inl_plan *plan, inlay_result error);

// Before inl_plan_finish: scratch memory is `owner`'s where that is large enough. `owner` is
// finished and outlives the plan; what one leaves in scratch memory is lost when the other runs.
void inl_plan_share(inl_plan *plan, const inl_plan *owner);
inlay_result inl_plan_finish(inl_plan *plan);
// Submits the whole list; *ticket is the last one's (inl_gpu_wait).
inlay_result inl_plan_run(inl_plan *plan, uint64_t *ticket);
// Of work that is done once: finishes the plan, runs it, waits for it and destroys it in any case.
inlay_result inl_plan_once(inl_plan *plan);
// After a wait: uses the measured times to cut anew where a submit ran over the budget.
inlay_result inl_plan_adjust(inl_plan *plan);

// A debugging aid: from the next run on a timestamp follows each node, and nothing is cut anew.
inlay_result inl_plan_profile(inl_plan *plan, bool on);
// After a wait: the seconds each of the node_count nodes took, from the end of the one before it.
// False: not profiling, or the device has no timestamps.
bool inl_plan_node_seconds(const inl_plan *plan, double *seconds);

// After a wait, where nothing is profiled: seconds of the longest submit, and of all together.
// False: the device has no timestamps.
bool inl_plan_submit_seconds(const inl_plan *plan, double *longest, double *total);

uint64_t inl_plan_memory(const inl_plan *plan, inl_purpose purpose); // bytes of the arena
uint64_t inl_plan_flops(const inl_plan *plan);
uint32_t inl_plan_node_count(const inl_plan *plan);
// NULL where node `index` is a copy or a zero.
const inl_node *inl_plan_node(const inl_plan *plan, uint32_t index);
bool inl_plan_node_is_backward(const inl_plan *plan, uint32_t index);
// Of the ranges it is bound to, each once for a read and once for a write.
uint64_t inl_plan_node_bytes(const inl_plan *plan, uint32_t index);
uint32_t inl_plan_submit_count(const inl_plan *plan);
const inl_env *inl_plan_env(const inl_plan *plan);
const inl_gpu_caps *inl_plan_caps(const inl_plan *plan); // NULL in a dry plan without a device
// Whether this build has the kernel and the device gets all that it needs; NULL: f32 alone.
bool inl_kernel_usable(const inl_gpu_caps *caps, inl_kernel kernel);

#endif
