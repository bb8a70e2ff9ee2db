// SPDX-License-Identifier: MIT
// Which generation a device is of, and the one table of how kernels divide their work on each.
// Figures are of the compilers' models (tools/dev/tile_sweep in the driver lab, shaders/SPEED.md)
// where no card was measured; the tuner (bench/tune.c) refines them on a device.
#include "gpu/vk.h"

#include <string.h>

#define AMD 0x1002u
#define INTEL 0x8086u
#define NVIDIA 0x10deu

static const char *const generation_names[INL_GENERATION_COUNT] = {
    [INL_GENERATION_UNKNOWN] = "unknown", [INL_GENERATION_CPU] = "cpu",
    [INL_GENERATION_GCN] = "gcn",         [INL_GENERATION_RDNA1] = "rdna1",
    [INL_GENERATION_RDNA2] = "rdna2",     [INL_GENERATION_RDNA3] = "rdna3",
    [INL_GENERATION_RDNA4] = "rdna4",     [INL_GENERATION_XE_LP] = "xe-lp",
    [INL_GENERATION_XE_HPG] = "xe-hpg",   [INL_GENERATION_XE2] = "xe2",
    [INL_GENERATION_TURING] = "turing",   [INL_GENERATION_AMPERE] = "ampere",
    [INL_GENERATION_HOPPER] = "hopper",   [INL_GENERATION_ADA] = "ada",
    [INL_GENERATION_BLACKWELL] = "blackwell",
};

const char *inl_generation_name(inl_generation generation)
{
    return generation_names[generation];
}

// ---- generations

// Subgroups are of 64 alone up to GCN (and CDNA), of 32 too from RDNA on. RDNA3 is the first that
// multiplies signed by unsigned bytes (as in gpu/paths.c). The rest is in PCI ids.
static inl_generation of_amd(const inl_gpu_caps *caps)
{
    uint32_t id = caps->device_id;
    if (caps->subgroup_size_min == 64)
        return INL_GENERATION_GCN;
    if (id >= 0x7550 && id <= 0x75ff) // Navi 44 and 48
        return INL_GENERATION_RDNA4;
    if (caps->dot8_mixed)
        return INL_GENERATION_RDNA3;
    if (!caps->dot8_fast || (id >= 0x7310 && id <= 0x737f)) // Navi 10; 12 and 14
        return INL_GENERATION_RDNA1;
    return INL_GENERATION_RDNA2;
}

// Xe2 is the first without subgroups of 8. Arc A has the ids of DG2, Meteor and Arrow Lake's
// graphics are its kin.
static inl_generation of_intel(const inl_gpu_caps *caps)
{
    uint32_t id = caps->device_id;
    if (caps->subgroup_size_min == 16)
        return INL_GENERATION_XE2;
    bool dg2 = (id >= 0x4f80 && id <= 0x4f8f) || (id >= 0x5690 && id <= 0x56cf);
    bool tiles = id >= 0x7d40 && id <= 0x7dff;
    return dg2 || tiles ? INL_GENERATION_XE_HPG : INL_GENERATION_XE_LP;
}

// By the first of PCI ids that a generation has (pci-ids.ucw.cz). Older ones, and NVK's in the
// driver lab, which are made up, are taken for Turing.
static const struct {
    uint32_t first;
    inl_generation generation;
} nvidia_ids[] = {
    {0x1e00, INL_GENERATION_TURING}, {0x2080, INL_GENERATION_AMPERE}, // A100
    {0x2100, INL_GENERATION_TURING}, {0x2200, INL_GENERATION_AMPERE},
    {0x2300, INL_GENERATION_HOPPER}, {0x2400, INL_GENERATION_AMPERE},
    {0x2600, INL_GENERATION_ADA},    {0x2900, INL_GENERATION_BLACKWELL},
};

static inl_generation of_nvidia(const inl_gpu_caps *caps)
{
    inl_generation found = INL_GENERATION_TURING;
    for (size_t i = 0; i < INL_COUNT(nvidia_ids); i++)
        if (caps->device_id >= nvidia_ids[i].first)
            found = nvidia_ids[i].generation;
    return found;
}

static inl_generation generation_of(const inl_gpu_caps *caps)
{
    if (caps->simd_lanes)
        return INL_GENERATION_CPU;
    switch (caps->vendor_id) {
    case AMD: return of_amd(caps);
    case INTEL: return of_intel(caps);
    case NVIDIA: return of_nvidia(caps);
    default: return INL_GENERATION_UNKNOWN;
    }
}

// ---- the table

#define TILE(rows, columns, depth, thread_rows, thread_columns)                                    \
    {rows, columns, depth, thread_rows, thread_columns}

#define RDNA12                                                                                     \
    {32, 8, 64, 32, {TILE(32, 32, 32, 4, 4), TILE(64, 64, 16, 8, 8), TILE(128, 128, 32, 8, 8)}}
#define RDNA34                                                                                     \
    {32, 8, 64, 32, {TILE(32, 64, 32, 4, 8), TILE(64, 64, 16, 8, 8), TILE(128, 128, 32, 8, 8)}}
// 128 registers of 8 to 16 lanes: with 8 rows gemm.comp spills, and in steps of 32
// gemm_tiled.comp does with packed formats. With 32 threads along the columns X stays in registers,
// which memory of a workgroup, 8 bytes a cycle and engine, is too slow for.
#define XE                                                                                         \
    {32, 4, 64, 32, {TILE(32, 128, 16, 8, 4), TILE(64, 128, 16, 8, 4), TILE(64, 128, 16, 8, 4)}}
#define GEFORCE                                                                                    \
    {32, 8, 64, 32, {TILE(32, 64, 32, 8, 4), TILE(64, 64, 32, 8, 8), TILE(128, 128, 32, 8, 8)}}

static const struct {
    inl_generation generation;
    inl_tiles tiles;
} rows[] = {
    {INL_GENERATION_UNKNOWN,
     {32, 8, 64, 32, {TILE(32, 32, 16, 4, 4), TILE(64, 64, 16, 8, 8), TILE(128, 64, 16, 8, 8)}}},
    // It runs the kernels of GPUs in tests alone, and takes seconds to compile a large tile's.
    {INL_GENERATION_CPU,
     {32, 8, 64, 32, {TILE(32, 16, 8, 8, 4), TILE(32, 16, 8, 8, 4), TILE(32, 16, 8, 8, 4)}}},
    // Subgroups of 64: with 32 threads half of each would be empty. Larger tiles take more than
    // 128 registers and leave one subgroup a SIMD, which then waits for memory.
    {INL_GENERATION_GCN,
     {64, 8, 64, 32, {TILE(32, 32, 32, 4, 4), TILE(64, 64, 16, 8, 8), TILE(64, 64, 16, 8, 8)}}},
    {INL_GENERATION_RDNA1, RDNA12},
    {INL_GENERATION_RDNA2, RDNA12},
    {INL_GENERATION_RDNA3, RDNA34},
    {INL_GENERATION_RDNA4, RDNA34},
    {INL_GENERATION_XE_LP, XE},
    {INL_GENERATION_XE_HPG, XE},
    {INL_GENERATION_XE2, XE},
    {INL_GENERATION_TURING, GEFORCE},
    {INL_GENERATION_AMPERE, GEFORCE},
    {INL_GENERATION_HOPPER, GEFORCE},
    {INL_GENERATION_ADA, GEFORCE},
    {INL_GENERATION_BLACKWELL, GEFORCE},
};

// Of a driver that says: AMD's and NVIDIA's. Intel's are asked by nobody.
static uint32_t read_compute_units(const inl_instance *vk, VkPhysicalDevice physical)
{
    VkPhysicalDeviceShaderCorePropertiesAMD amd = {
        .sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_SHADER_CORE_PROPERTIES_AMD};
    VkPhysicalDeviceShaderSMBuiltinsPropertiesNV nvidia = {
        .sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_SHADER_SM_BUILTINS_PROPERTIES_NV};
    VkPhysicalDeviceProperties2 p = {.sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_PROPERTIES_2};
    if (inl_vk_has_extension(vk, physical, VK_AMD_SHADER_CORE_PROPERTIES_EXTENSION_NAME))
        p.pNext = &amd;
    else if (inl_vk_has_extension(vk, physical, VK_NV_SHADER_SM_BUILTINS_EXTENSION_NAME))
        p.pNext = &nvidia;
    else
        return 0;
    vk->vkGetPhysicalDeviceProperties2(physical, &p);
    return nvidia.shaderSMCount + amd.shaderEngineCount * amd.shaderArraysPerEngineCount *
                                      amd.computeUnitsPerShaderArray;
}

void inl_tiles_read(const inl_instance *vk, VkPhysicalDevice physical, inl_gpu_caps *caps)
{
    caps->generation = generation_of(caps);
    for (size_t i = 0; i < INL_COUNT(rows); i++)
        if (i == 0 || rows[i].generation == caps->generation)
            caps->tiles = rows[i].tiles;
    bool few_registers = caps->subgroup_size_min >= 64 || caps->vendor_id == INTEL; // GCN: 256
    caps->attention_floats = few_registers ? 64 : 128;
    if (caps->simd_lanes) // a subgroup's: whole ones share what they read
        caps->tiles.gemm_lanes = caps->simd_lanes;
    if (caps->api_version >= VK_API_VERSION_1_2)
        caps->compute_units = read_compute_units(vk, physical);
}

// ---- choosing

// A workgroup for each unit at least, and no tile that is half empty; with fewer, the smallest.
const inl_gemm_tile *inl_tile_for(const inl_gpu_caps *caps, uint32_t m, uint32_t n)
{
    static const uint32_t by_type[] = {16, 8, 32, 16, 1}; // units of a device that does not say
    uint32_t units = caps->compute_units ? caps->compute_units : by_type[caps->type];
    for (uint32_t i = INL_TILE_SIZES - 1; i > 0; i--) {
        const inl_gemm_tile *t = &caps->tiles.gemm[i];
        uint64_t groups = (uint64_t)inl_div_up(m, t->rows) * inl_div_up(n, t->columns);
        if (groups >= units && 2 * m > t->rows && 2 * n > t->columns)
            return t;
    }
    return &caps->tiles.gemm[0];
}

// ---- what a file may ask for

static bool is_power_of_two(uint32_t value)
{
    return value > 0 && (value & (value - 1)) == 0;
}

// What gemm_tiled.comp keeps in shared memory: both sides of a step, a vec4 more for each k.
static uint64_t shared_bytes(const inl_gemm_tile *t)
{
    return 16ull * t->depth * (t->rows / 4 + 1 + t->columns / 4 + 1);
}

static bool tile_fits(const inl_gpu_caps *caps, const inl_gemm_tile *t)
{
    if (t->rows < 8 || t->rows > 512 || t->columns < 8 || t->columns > 512 || t->depth < 8 ||
        t->depth > 64 || t->thread_rows < 4 || t->thread_rows > 16 || t->thread_columns < 4 ||
        t->thread_columns > 16)
        return false;
    if (t->rows % 8 || t->columns % 8 || t->depth % 8 || t->thread_rows % 4 ||
        t->thread_columns % 4 || t->rows % t->thread_rows || t->columns % t->thread_columns)
        return false;
    uint32_t threads = t->rows / t->thread_rows * (t->columns / t->thread_columns);
    return threads <= caps->max_workgroup_size && shared_bytes(t) <= caps->shared_memory_bytes;
}

bool inl_tiles_fit(const inl_gpu_caps *caps, const inl_tiles *tiles)
{
    if (!is_power_of_two(tiles->gemm_rows) || tiles->gemm_rows > 8 ||
        !is_power_of_two(tiles->gemm_lanes) || tiles->gemm_lanes > caps->max_workgroup_size ||
        (caps->simd_lanes && tiles->gemm_lanes != caps->simd_lanes) ||
        !is_power_of_two(tiles->gemv_lanes) || tiles->gemv_lanes > caps->max_workgroup_size ||
        tiles->tiled_rows == 0)
        return false;
    for (uint32_t i = 0; i < INL_TILE_SIZES; i++)
        if (!tile_fits(caps, &tiles->gemm[i]))
            return false;
    return true;
}

void inl_gpu_set_tiles(inl_gpu *gpu, const inl_tiles *tiles)
{
    gpu->caps.tiles = *tiles;
}
