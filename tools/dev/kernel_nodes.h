// SPDX-License-Identifier: MIT
// Which kernels, in which specializations, a device would be given: those of dry plans.
#ifndef DEV_KERNEL_NODES_H
#define DEV_KERNEL_NODES_H

#include "op/plan.h"

// The first node that asked for a kernel and its constants.
typedef struct stats_node {
    inl_kernel kernel;
    uint32_t spec[INL_NODE_SPECS], spec_count;
    uint32_t subgroup; // lanes it must have; 0: the device's choice
    const char *tag;   // of the node
} stats_node;

typedef struct stats_nodes {
    stats_node *list;
    size_t count, cap;
} stats_nodes;

typedef enum stats_scope {
    STATS_REAL,  // matrices of an 8B and a 1.1B model, one format of each tiling
    STATS_EVERY, // all formats, on a small model
} stats_scope;

// Training with LoRA, DoRA and dropout, generation, and what encodes weights at load. Ends the
// program when it cannot. The list is free()'s.
void stats_collect(const inl_env *env, const inl_gpu_caps *caps, stats_scope scope,
                   stats_nodes *nodes);

#endif
