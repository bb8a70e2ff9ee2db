// SPDX-License-Identifier: MIT
// What a driver's compiler says of one pipeline: statistics and machine code.
#ifndef DEV_KERNEL_REPORT_H
#define DEV_KERNEL_REPORT_H

#include "kernel_nodes.h"

#include "gpu/vk.h"

typedef enum stats_field {
    STATS_REGISTERS, // of a lane or thread: VGPRs, GRF, GPRs
    STATS_SCALARS,   // SGPRs
    STATS_SPILLS,    // to memory: registers, or loads and stores
    STATS_SCRATCH,   // bytes
    STATS_SHARED,    // bytes a workgroup
    STATS_OCCUPANCY, // subgroups a SIMD, warps an SM
    STATS_WIDTH,     // lanes a subgroup
    STATS_INSTRUCTIONS,
    STATS_CYCLES, // the driver's own estimate; kernel_stats.c says of what
    STATS_LATENCY,
    STATS_FIELD_COUNT,
} stats_field;

// A value that the driver does not give is NAN.
typedef struct stats_report {
    double values[STATS_FIELD_COUNT];
    uint32_t invocations; // of a workgroup
    char *listing;        // statistics as the driver names them, one line
    char *code;           // text of the machine code; NULL: the driver gives none
} stats_report;

// A device that tells takes the place of gpu's own until stats_close. Ends the program with 77 when
// the driver has none.
typedef struct stats_device {
    VkDevice own;
    VkPipelineCache cache;
} stats_device;
void stats_open(inl_gpu *gpu, stats_device *saved);
void stats_close(inl_gpu *gpu, const stats_device *saved);

// Compiles a kernel and asks. The report is freed with stats_report_free.
void stats_compile(inl_gpu *gpu, const inl_shader *shader, const stats_node *node,
                   stats_report *report);
void stats_report_free(stats_report *report);

#endif
