// SPDX-License-Identifier: MIT
// Which groups of kernels a device gets: what it is able to run, what it is known to gain by, and
// what the caller asked for.
#include "gpu/vk.h"

#include <stdio.h>
#include <string.h>

#define AMD 0x1002u
#define INTEL 0x8086u
#define NVIDIA 0x10deu

static const char *const path_names[INL_PATH_COUNT] = {
    [INL_PATH_F32] = "f32",   [INL_PATH_SIMD] = "simd",     [INL_PATH_F16] = "f16",
    [INL_PATH_DOT8] = "dot8", [INL_PATH_MATRIX] = "matrix",
};

const char *inl_path_name(inl_path path)
{
    return path_names[path];
}

// ---- matrix cores

// VK_KHR_cooperative_matrix says nothing of matrix units: drivers offer it where it is emulated or
// slower than vector code. So a device has to be named here; those that are not get it on request.
typedef struct matrix_rule {
    uint32_t vendor_id;
    bool (*matches)(const inl_gpu_caps *caps);
    const char *what;
    inl_matrix_shape shape; // but for the fragment's sizes, which the driver says
} matrix_rule;

// gfx11 and newer: the first that multiply signed by unsigned bytes. AMD's own driver has offered
// the extension on chips before that have no matrix units, and RADV emulates it on RX 6000.
static bool is_rdna3(const inl_gpu_caps *caps)
{
    return caps->dot8_mixed;
}

// Xe2: the first without subgroups of 8. Arc A has matrix units, but through this extension they
// come out slower than its vectors (1,600 times in the worst case known to llama.cpp's authors).
static bool is_xe2(const inl_gpu_caps *caps)
{
    return caps->subgroup_size_min == 16;
}

// Drivers offer the extension from Turing on.
static bool has_matrix_cores(const inl_gpu_caps *caps)
{
    (void)caps;
    return true;
}

static const matrix_rule matrix_rules[] = {
    {AMD, is_rdna3, "RDNA3 and newer",
     {.subgroup = 32, .rows = 128, .columns = 128, .depth = 32, .subgroup_rows = 64,
      .subgroup_columns = 32, .min_rows = 16}},
    {INTEL, is_xe2, "Xe2 and newer",
     {.subgroup = 16, .rows = 128, .columns = 128, .depth = 32, .subgroup_rows = 16,
      .subgroup_columns = 32, .min_rows = 16}},
    {NVIDIA, has_matrix_cores, "Turing and newer",
     {.subgroup = 32, .rows = 128, .columns = 128, .depth = 32, .subgroup_rows = 64,
      .subgroup_columns = 64, .min_rows = 16}},
};

static const matrix_rule *rule_of(const inl_gpu_caps *caps)
{
    for (size_t i = 0; i < INL_COUNT(matrix_rules); i++)
        if (matrix_rules[i].vendor_id == caps->vendor_id && matrix_rules[i].matches(caps))
            return &matrix_rules[i];
    return NULL;
}

static bool is_usable(const VkCooperativeMatrixPropertiesKHR *p)
{
    return p->AType == VK_COMPONENT_TYPE_FLOAT16_KHR && p->BType == VK_COMPONENT_TYPE_FLOAT16_KHR &&
           p->CType == VK_COMPONENT_TYPE_FLOAT32_KHR &&
           p->ResultType == VK_COMPONENT_TYPE_FLOAT32_KHR && p->scope == VK_SCOPE_SUBGROUP_KHR &&
           !p->saturatingAccumulation;
}

// The largest of f16 by f16 into f32; m 0: there is none.
static inl_matrix_shape largest_shape(const inl_instance *vk, VkPhysicalDevice physical)
{
    enum { MOST = 128 };
    VkCooperativeMatrixPropertiesKHR shapes[MOST];
    inl_matrix_shape best = {0};
    uint32_t count = MOST;
    PFN_vkGetPhysicalDeviceCooperativeMatrixPropertiesKHR read =
        (PFN_vkGetPhysicalDeviceCooperativeMatrixPropertiesKHR)vk->get_proc(
            vk->handle, "vkGetPhysicalDeviceCooperativeMatrixPropertiesKHR");
    for (uint32_t i = 0; i < MOST; i++)
        shapes[i] = (VkCooperativeMatrixPropertiesKHR){
            .sType = VK_STRUCTURE_TYPE_COOPERATIVE_MATRIX_PROPERTIES_KHR};
    if (!read || read(physical, &count, shapes) < 0)
        return best;
    for (uint32_t i = 0; i < count; i++) {
        const VkCooperativeMatrixPropertiesKHR *p = &shapes[i];
        if (is_usable(p) && p->MSize * p->NSize * p->KSize > best.m * best.n * best.k)
            best = (inl_matrix_shape){.m = p->MSize, .n = p->NSize, .k = p->KSize};
    }
    return best;
}

// Two by two subgroups of two by two fragments, for a device that is not in the table.
static inl_matrix_shape unknown_shape(const inl_gpu_caps *caps, const inl_matrix_shape *fragment)
{
    return (inl_matrix_shape){.subgroup = caps->subgroup_size,
                              .rows = 4 * fragment->m,
                              .columns = 4 * fragment->n,
                              .depth = 2 * fragment->k,
                              .subgroup_rows = 2 * fragment->m,
                              .subgroup_columns = 2 * fragment->n,
                              .min_rows = 2};
}

// What gemm_matrix.comp asks of the sizes.
static bool fits(const inl_gpu_caps *caps)
{
    const inl_matrix_shape *s = &caps->matrix;
    uint32_t subgroups = s->rows / s->subgroup_rows * (s->columns / s->subgroup_columns);
    uint32_t staged = 16 * INL_MAX(s->rows * (s->depth / 8 + 1) + s->columns * (s->depth / 8 + 1),
                                   subgroups * s->m * (s->subgroup_columns / 4 + 1));
    return s->m % 8 == 0 && s->n % 8 == 0 && s->k % 8 == 0 && s->subgroup_rows % s->m == 0 &&
           s->subgroup_columns % s->n == 0 && s->depth % s->k == 0 &&
           s->subgroup >= caps->subgroup_size_min && s->subgroup <= caps->subgroup_size_max &&
           subgroups * s->subgroup <= caps->max_workgroup_size &&
           staged + 4 * s->rows + 64 <= caps->shared_memory_bytes;
}

// Why a device cannot run such kernels, or NULL; sets caps->matrix.
static const char *read_matrix(const inl_instance *vk, VkPhysicalDevice physical,
                               const inl_features *f, inl_gpu_caps *caps)
{
    if (!f->matrix)
        return "VK_KHR_cooperative_matrix is missing or not enabled";
    bool one_size = caps->subgroup_size_min == caps->subgroup_size_max;
    if (!f->float16 || !f->memory_model)
        return "f16 or the memory model is missing or not enabled";
    if (!one_size && !(f->subgroup_sizes && caps->subgroup_required))
        return "its subgroups have several sizes, and choosing one is missing or not enabled";
    inl_matrix_shape shape = largest_shape(vk, physical);
    if (shape.m == 0)
        return "the driver multiplies no f16 matrices into f32";
    const matrix_rule *rule = rule_of(caps);
    caps->matrix = rule ? rule->shape : unknown_shape(caps, &shape);
    caps->matrix.m = shape.m;
    caps->matrix.n = shape.n;
    caps->matrix.k = shape.k;
    return fits(caps) ? NULL : "its fragments, subgroups or shared memory fit no tile";
}

// ---- all of them

static void set(inl_gpu_caps *caps, inl_path path, const char *unable, const char *unwanted)
{
    inl_path_state *state = &caps->paths[path];
    const char *reason = unable ? unable : unwanted ? unwanted : "";
    *state = (inl_path_state){.able = !unable, .on = !unable && !unwanted};
    snprintf(state->reason, sizeof(state->reason), "%s", reason);
}

void inl_paths_read(const inl_instance *vk, VkPhysicalDevice physical, const inl_features *f,
                    inl_gpu_caps *caps)
{
    bool cpu = caps->type == 4;
    set(caps, INL_PATH_F32, caps->usable ? NULL : caps->unusable_reason, NULL);
    set(caps, INL_PATH_SIMD,
        caps->simd_lanes ? NULL : "for drivers that run subgroups in a CPU's vectors", NULL);
    set(caps, INL_PATH_F16,
        f->float16 && f->storage16 ? NULL : "f16 arithmetic or storage is missing or not enabled",
        cpu ? "a CPU is no faster with it" : NULL);
    set(caps, INL_PATH_DOT8, f->dot8 ? NULL : "integer dot products are missing or not enabled",
        caps->dot8_fast ? NULL : "the device has no instruction for it");
    const char *unable = read_matrix(vk, physical, f, caps);
    set(caps, INL_PATH_MATRIX, unable,
        rule_of(caps) ? NULL : "not known to be faster here; asked for as +matrix it is used");
}

// True when `word` is a path's name behind an optional sign; *on: whether it is to be used.
static bool parse_word(const char *word, size_t length, inl_path *path, bool *on)
{
    *on = word[0] != '-';
    if (length > 0 && (word[0] == '-' || word[0] == '+'))
        word++, length--;
    for (inl_path p = 0; p < INL_PATH_COUNT; p++)
        if (strlen(path_names[p]) == length && strncmp(word, path_names[p], length) == 0)
            return *path = p, true;
    return false;
}

inlay_result inl_paths_select(const inl_env *env, const char *words, const char *const *absent,
                              inl_gpu_caps *caps)
{
    for (inl_path p = 0; p < INL_PATH_COUNT; p++)
        if (absent && absent[p] && caps->paths[p].able)
            set(caps, p, absent[p], NULL);
    while (words && *words) {
        size_t length = strcspn(words, ",");
        inl_path path;
        bool on;
        if (!parse_word(words, length, &path, &on))
            return inl_fail(env, INLAY_ERROR_INVALID_ARGUMENT,
                            "\"%.*s\" is no path of kernels: they are simd, f16, dot8 and matrix,"
                            " with + or - before them",
                            (int)length, words);
        inl_path_state *state = &caps->paths[path];
        if (path == INL_PATH_F32 && !on)
            return inl_fail(env, INLAY_ERROR_INVALID_ARGUMENT,
                            "the path f32 cannot be switched off: every other one needs it");
        if (on && !state->able)
            return inl_fail(env, INLAY_ERROR_UNSUPPORTED, "%s cannot have the path %s: %s",
                            caps->name, path_names[path], state->reason);
        state->on = on;
        snprintf(state->reason, sizeof(state->reason), "%s",
                 on ? "" : "switched off by the caller");
        words += length + (words[length] == ',');
    }
    if (!caps->paths[INL_PATH_SIMD].on)
        caps->simd_lanes = 0;
    return INLAY_OK;
}

// What is not going to be used is not asked of the driver either.
void inl_paths_restrict(const inl_gpu_caps *caps, inl_features *f)
{
    bool matrix = caps->paths[INL_PATH_MATRIX].on;
    f->subgroup_sizes &= caps->subgroup_required;
    f->matrix &= matrix;
    f->memory_model &= matrix;
    f->float16 &= matrix || caps->paths[INL_PATH_F16].on;
    f->storage16 &= caps->paths[INL_PATH_F16].on;
    f->dot8 &= caps->paths[INL_PATH_DOT8].on;
}

void inl_gpu_drop_path(inl_gpu *gpu, inl_path path, const char *reason)
{
    inl_path_state *state = &gpu->caps.paths[path];
    state->able = state->on = false;
    snprintf(state->reason, sizeof(state->reason), "%s", reason);
    inl_logf(&gpu->env, INLAY_LOG_WARN, "%s, driver %s %s: kernels of the path %s are not used: %s",
             gpu->caps.name, gpu->caps.driver_name, gpu->caps.driver_info, path_names[path],
             reason);
}
