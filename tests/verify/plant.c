// SPDX-License-Identifier: MIT
// The inlay command on a driver that is wrong: linked in place of a few functions of the library
// (ld's --wrap), it changes a kernel's code, or what comes back, as PLANT says:
//   sums:KERNEL     every sum in it is a product, every fused multiply-add only multiplies
//   bounds:KERNEL   every comparison of unsigned integers is off by one
//   subgroups:KERNEL a sum over a subgroup is its minimum
//   barriers:KERNEL has none
//   unstable:NAME   downloads differ in a bit from one to the next, where NAME is the run's first
//                   kernel
//   lost:KERNEL     the device is lost when a plan that has it is submitted
#include "gpu/gpu.h"

#include <stdlib.h>
#include <string.h>

inlay_result __real_inl_pipelines_make(inl_gpu *gpu, const inl_pipeline_key *keys, uint32_t count);
inlay_result __wrap_inl_pipelines_make(inl_gpu *gpu, const inl_pipeline_key *keys, uint32_t count);
inlay_result __real_inl_pipeline_get(inl_gpu *gpu, const inl_shader *shader, const uint32_t *spec,
                                     uint32_t spec_count, uint32_t subgroup, inl_pipeline **out);
inlay_result __wrap_inl_pipeline_get(inl_gpu *gpu, const inl_shader *shader, const uint32_t *spec,
                                     uint32_t spec_count, uint32_t subgroup, inl_pipeline **out);
inlay_result __real_inl_gpu_wait(inl_gpu *gpu, uint64_t ticket);
inlay_result __wrap_inl_gpu_wait(inl_gpu *gpu, uint64_t ticket);
inlay_result __real_inl_gpu_download(inl_gpu *gpu, inl_buffer *buffer, uint64_t offset, void *data,
                                     uint64_t size);
inlay_result __wrap_inl_gpu_download(inl_gpu *gpu, inl_buffer *buffer, uint64_t offset, void *data,
                                     uint64_t size);

static bool unstable, lost;

// The kernel's name if PLANT is of this kind, else NULL.
static const char *planted(const char *kind)
{
    const char *plant = getenv("PLANT");
    size_t size = strlen(kind);
    return plant && strncmp(plant, kind, size) == 0 && plant[size] == ':' ? plant + size + 1 : NULL;
}

static bool is_planted(const char *kind, const inl_shader *shader)
{
    const char *name = planted(kind);
    return name && strcmp(name, shader->name) == 0;
}

typedef enum fault { NONE, SUMS, BOUNDS, SUBGROUPS, BARRIERS, FAULTS } fault;

enum {
    OP_NOP = 0, OP_EXT_INST = 12, OP_CONTROL_BARRIER = 224, OP_SUBGROUP_F_ADD = 350,
    OP_SUBGROUP_F_MIN = 355, OP_F_ADD = 129, OP_F_MUL = 133,
    OP_U_GREATER = 172, OP_U_GREATER_EQUAL = 174, OP_U_LESS = 176, OP_U_LESS_EQUAL = 178,
    GLSL_FMA = 50, FIRST_INSTRUCTION = 5,
};

static uint32_t changed(uint32_t op, fault f)
{
    static const uint32_t from_to[][3] = {{SUMS, OP_F_ADD, OP_F_MUL},
                                          {BOUNDS, OP_U_GREATER_EQUAL, OP_U_GREATER},
                                          {BOUNDS, OP_U_LESS, OP_U_LESS_EQUAL},
                                          {SUBGROUPS, OP_SUBGROUP_F_ADD, OP_SUBGROUP_F_MIN}};
    for (size_t i = 0; i < INL_COUNT(from_to); i++)
        if (from_to[i][0] == f && from_to[i][1] == op)
            return from_to[i][2];
    return op;
}

static void fill_with_nops(uint32_t *words, uint32_t count)
{
    for (uint32_t i = 0; i < count; i++)
        words[i] = 1u << 16 | OP_NOP;
}

static uint32_t *wrong_code(const inl_shader *shader, fault f)
{
    uint32_t words = shader->code_bytes / 4, *code = malloc(shader->code_bytes);
    if (!code)
        abort();
    memcpy(code, shader->code, shader->code_bytes);
    for (uint32_t at = FIRST_INSTRUCTION; at < words; at += code[at] >> 16) {
        uint32_t *i = &code[at], size = *i >> 16, op = *i & 0xffffu;
        if (f == SUMS && op == OP_EXT_INST && i[4] == GLSL_FMA) { // result, set, number, a, b, c
            uint32_t multiply[] = {5u << 16 | OP_F_MUL, i[1], i[2], i[5], i[6]};
            memcpy(i, multiply, sizeof(multiply));
            fill_with_nops(i + 5, size - 5);
        } else if (f == BARRIERS && op == OP_CONTROL_BARRIER) {
            fill_with_nops(i, size);
        } else {
            *i = size << 16 | changed(op, f);
        }
    }
    return code;
}

// The shader, or the one that is made of it: pipelines are told apart by its address.
static const inl_shader *plant(const inl_shader *shader)
{
    static const char *const names[FAULTS] = {"", "sums", "bounds", "subgroups", "barriers"};
    static inl_shader wrong;
    fault f = NONE;
    for (fault i = SUMS; i < FAULTS; i++)
        if (is_planted(names[i], shader))
            f = i;
    unstable |= is_planted("unstable", shader);
    lost |= is_planted("lost", shader);
    if (f == NONE)
        return shader;
    if (!wrong.code) {
        const uint32_t *code = wrong_code(shader, f);
        wrong = *shader;
        wrong.code = code;
    }
    return &wrong;
}

inlay_result __wrap_inl_pipelines_make(inl_gpu *gpu, const inl_pipeline_key *keys, uint32_t count)
{
    inl_pipeline_key *planted_keys = calloc(count + 1, sizeof(*planted_keys));
    if (!planted_keys)
        abort();
    for (uint32_t i = 0; i < count; i++) {
        planted_keys[i] = keys[i];
        planted_keys[i].shader = plant(keys[i].shader);
    }
    inlay_result result = __real_inl_pipelines_make(gpu, planted_keys, count);
    free(planted_keys);
    return result;
}

inlay_result __wrap_inl_pipeline_get(inl_gpu *gpu, const inl_shader *shader, const uint32_t *spec,
                                     uint32_t spec_count, uint32_t subgroup, inl_pipeline **out)
{
    return __real_inl_pipeline_get(gpu, plant(shader), spec, spec_count, subgroup, out);
}

inlay_result __wrap_inl_gpu_wait(inl_gpu *gpu, uint64_t ticket)
{
    inlay_result result = __real_inl_gpu_wait(gpu, ticket);
    return lost ? INLAY_ERROR_DEVICE_LOST : result;
}

inlay_result __wrap_inl_gpu_download(inl_gpu *gpu, inl_buffer *buffer, uint64_t offset, void *data,
                                     uint64_t size)
{
    static uint32_t downloads;
    inlay_result result = __real_inl_gpu_download(gpu, buffer, offset, data, size);
    float *floats = data;
    downloads++;
    for (uint64_t i = 0; unstable && i < size / 4; i++) // small changes, of numbers alone
        if (floats[i] > 0.01f && floats[i] < 100.0f && downloads % 2 == 0)
            ((uint32_t *)data)[i] ^= 1u;
    return result;
}
