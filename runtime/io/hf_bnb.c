// SPDX-License-Identifier: MIT
// Every array is held to the length that the shape and the blocks ask for before it is used.
#include "io/hf_bnb.h"
#include "io/settings.h"
#include "quant/format.h"

#include <stdio.h>
#include <string.h>

#define STATE ".quant_state.bitsandbytes__"
#define MOST_STATE_BYTES 4096
#define MOST_BLOCK 4096u
#define MOST_SIDE (1u << 24)

typedef struct reader {
    const inl_hf_shards *shards;
    const inl_safetensors *file;
    const char *name; // the weight's
    inl_settings state;
    inl_hf_bnb *out;
} reader;

bool inl_hf_bnb_is_part(const char *name)
{
    static const char *const parts[] = {".absmax", ".quant_map", ".nested_absmax",
                                        ".nested_quant_map", STATE "nf4", STATE "fp4"};
    const char *weight = strstr(name, ".weight.");
    for (size_t i = 0; weight && i < INL_COUNT(parts); i++)
        if (strcmp(weight + strlen(".weight"), parts[i]) == 0)
            return true;
    return false;
}

static inlay_result bad(const reader *r, const char *part, const char *what)
{
    return inl_fail(&r->shards->env, INLAY_ERROR_BAD_FILE, "%s: tensor %.200s%s %s",
                    inl_safetensors_path(r->file), r->name, part, what);
}

static const inl_safetensor *find(const reader *r, const char *part)
{
    char name[512];
    int size = snprintf(name, sizeof(name), "%s%s", r->name, part);
    return size < (int)sizeof(name) ? inl_hf_shards_find(r->shards, name) : NULL;
}

// `count` f32s; copy `which` where they lie unaligned.
static inlay_result read_floats(const reader *r, const char *part, uint64_t count, int which,
                                const float **out)
{
    const inl_env *env = &r->shards->env;
    const inl_safetensor *t = find(r, part);
    if (!t || strcmp(t->dtype, "F32") != 0 || t->bytes / 4 != count)
        return bad(r, part, t ? "is not as many F32 as its weight asks for" : "is missing");
    if (inl_format_by_id(INL_FORMAT_F32)->find_not_finite(t->data, count) != UINT64_MAX)
        return inl_fail(env, INLAY_ERROR_NOT_FINITE, "%s: tensor %.200s%s has NaN or infinity",
                        inl_safetensors_path(r->file), r->name, part);
    *out = (const float *)(const void *)t->data;
    if ((uintptr_t)t->data % sizeof(float) == 0)
        return INLAY_OK;
    float *copy = inl_alloc(env, count, sizeof(float));
    if (!copy)
        return INLAY_ERROR_OUT_OF_MEMORY;
    memcpy(copy, t->data, count * sizeof(float));
    r->out->copies[which] = copy;
    *out = copy;
    return INLAY_OK;
}

// ---- settings

static inlay_result open_state(reader *r, const inl_safetensor *t)
{
    char name[512];
    if (strcmp(t->dtype, "U8") != 0 || t->bytes > MOST_STATE_BYTES)
        return bad(r, r->out->values.fp4 ? STATE "fp4" : STATE "nf4", "is no short text");
    snprintf(name, sizeof(name), "%s: tensor %.200s", inl_safetensors_path(r->file), t->name);
    return inl_settings_open_memory(&r->shards->env, name, (const char *)t->data, t->bytes,
                                    &r->state);
}

static inlay_result read_shape(reader *r)
{
    json_t *shape;
    INL_TRY(inl_settings_array(&r->state, NULL, "shape", &shape));
    r->out->values.count = 1;
    for (int d = 0; d < 2; d++) {
        json_int_t side = json_integer_value(json_array_get(shape, (size_t)d));
        if (json_array_size(shape) != 2 || side < 1 || side > (json_int_t)MOST_SIDE)
            return inl_settings_bad(&r->state, "shape", "is not that of a matrix");
        r->out->shape[d] = (uint64_t)side;
        r->out->values.count *= (uint64_t)side;
    }
    return INLAY_OK;
}

static inlay_result read_block(const reader *r, const char *key, uint32_t least, uint32_t *out)
{
    INL_TRY(inl_settings_u32(&r->state, NULL, key, 0, out));
    if (*out >= least && *out <= MOST_BLOCK && (*out & (*out - 1)) == 0)
        return INLAY_OK;
    char what[80];
    snprintf(what, sizeof(what), "is not a power of two from %u to %u", least, MOST_BLOCK);
    return inl_settings_bad(&r->state, key, what);
}

// ---- scales

static uint64_t parts_of(uint64_t count, uint64_t size)
{
    return count / size + (count % size != 0);
}

static inlay_result check_map(const reader *r)
{
    const float *map, *ours = r->out->values.fp4 ? inl_fp4_codes : inl_nf4_codes;
    INL_TRY(read_floats(r, ".quant_map", 16, 0, &map));
    for (int i = 0; i < 16; i++)
        if (map[i] != ours[i])
            return inl_fail(&r->shards->env, INLAY_ERROR_UNSUPPORTED,
                            "%s: tensor %.200s.quant_map is not that of %s",
                            inl_safetensors_path(r->file), r->name,
                            r->out->values.fp4 ? "FP4" : "NF4");
    return INLAY_OK;
}

static inlay_result read_scales(const reader *r)
{
    inl_bnb4 *v = &r->out->values;
    const inl_safetensor *absmax = find(r, ".absmax");
    uint64_t blocks = parts_of(v->count, v->block);
    double offset;
    if (absmax && strcmp(absmax->dtype, "U8") != 0)
        return read_floats(r, ".absmax", blocks, 1, &v->absmax);
    if (!absmax || absmax->bytes != blocks)
        return bad(r, ".absmax", absmax ? "has another length than its weight asks for"
                                        : "is missing");
    v->nested = absmax->data;
    INL_TRY(read_block(r, "nested_blocksize", 1, &v->nested_block));
    INL_TRY(inl_settings_number(&r->state, NULL, "nested_offset", 0.0, &offset));
    v->nested_offset = (float)offset;
    INL_TRY(read_floats(r, ".nested_absmax", parts_of(blocks, v->nested_block), 2,
                        &v->nested_absmax));
    return read_floats(r, ".nested_quant_map", 256, 3, &v->nested_map);
}

static inlay_result read_all(reader *r, const inl_safetensor *weight)
{
    inl_bnb4 *v = &r->out->values;
    INL_TRY(read_shape(r));
    INL_TRY(read_block(r, "blocksize", INL_NF4_BLOCK, &v->block));
    if (weight->bytes != parts_of(v->count, 2))
        return bad(r, "", "has another length than its quant_state says");
    v->packed = weight->data;
    INL_TRY(check_map(r));
    return read_scales(r);
}

inlay_result inl_hf_bnb_read(const inl_hf_shards *shards, const inl_safetensors *file,
                             const inl_safetensor *weight, inl_hf_bnb *out)
{
    reader r = {.shards = shards, .file = file, .name = weight->name, .out = out};
    *out = (inl_hf_bnb){0};
    const inl_safetensor *state = find(&r, STATE "nf4");
    if (!state) {
        state = find(&r, STATE "fp4");
        out->values.fp4 = state != NULL;
    }
    if (!state)
        return INLAY_OK;
    out->found = true;
    INL_TRY(open_state(&r, state));
    inlay_result result = read_all(&r, weight);
    inl_settings_close(&r.state);
    return result;
}
