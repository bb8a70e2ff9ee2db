// SPDX-License-Identifier: MIT
// Several adapters as one: the A's of a module below each other, the B's side by side, what each is
// scaled by in its B.
#include "adapter/pairs.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

static const inl_lora_pair *find_pair(const inl_lora *lora, uint32_t module)
{
    uint32_t low = 0, high = lora->pair_count;
    while (low < high) {
        uint32_t middle = low + (high - low) / 2;
        if (lora->pairs[middle].module < module)
            low = middle + 1;
        else
            high = middle;
    }
    return low < lora->pair_count && lora->pairs[low].module == module ? &lora->pairs[low] : NULL;
}

static inlay_result copy_alone(inl_lora *sum, const inl_lora_pair *from, float scale,
                               inl_lora_pair *to)
{
    to->scale = from->scale * scale;
    if (!isfinite(to->scale))
        return inl_fail(&sum->env, INLAY_ERROR_NOT_FINITE, "%s: the scale %g is too large",
                        to->path, (double)scale);
    memcpy(to->a, from->a, (size_t)from->r * from->in * sizeof(float));
    memcpy(to->b, from->b, (size_t)from->r * from->out * sizeof(float));
    if (!from->magnitude)
        return INLAY_OK;
    INL_TRY(inl_lora_add_magnitude(sum, to));
    memcpy(to->magnitude, from->magnitude, from->out * sizeof(float));
    return INLAY_OK;
}

// Ranks [first, first + from->r) of `to`.
static void stack(const inl_lora_pair *from, float scale, uint32_t first, inl_lora_pair *to)
{
    double factor = (double)from->scale * (double)scale;
    memcpy(to->a + (size_t)first * to->in, from->a, (size_t)from->r * to->in * sizeof(float));
    for (uint32_t n = 0; n < to->out; n++)
        for (uint32_t k = 0; k < from->r; k++)
            to->b[(size_t)n * to->r + first + k] =
                (float)(factor * (double)from->b[(size_t)n * from->r + k]);
}

static inlay_result add_module(inl_lora *sum, const inl_module *module, uint32_t index,
                               const inl_lora *const *parts, const float *scales, uint32_t count)
{
    uint64_t rank = 0;
    for (uint32_t i = 0; i < count; i++) {
        const inl_lora_pair *p = find_pair(parts[i], index);
        rank += p ? p->r : 0;
    }
    if (rank == 0)
        return INLAY_OK;
    if (rank > INL_LORA_MAX_RANK)
        return inl_fail(&sum->env, INLAY_ERROR_UNSUPPORTED,
                        "the adapters' ranks on %.200s add up to %llu, more than %u", module->path,
                        (unsigned long long)rank, INL_LORA_MAX_RANK);
    inl_lora_pair *to;
    uint32_t first = 0;
    INL_TRY(inl_lora_add_pair(sum, index, module->path, (uint32_t)rank, module->in, module->out,
                              &to));
    to->scale = 1.0f;
    sum->r = INL_MAX(sum->r, to->r);
    sum->has_head |= module->is_head;
    for (uint32_t i = 0; i < count; i++) {
        const inl_lora_pair *p = find_pair(parts[i], index);
        float scale = scales ? scales[i] : 1.0f;
        if (p && count == 1)
            return copy_alone(sum, p, scale, to);
        if (p)
            stack(p, scale, first, to);
        first += p ? p->r : 0;
    }
    return inl_lora_check_finite(&sum->env, "the sum of the adapters", module->path, to->b,
                                 (uint64_t)to->out * to->r);
}

static inlay_result check_parts(const inl_env *env, const inl_module_list *modules,
                                const inl_lora *const *parts, uint32_t count)
{
    for (uint32_t i = 0; i < count; i++) {
        INL_TRY(inl_lora_check_writable(parts[i], modules));
        if (parts[i]->use_dora && count > 1)
            return inl_fail(env, INLAY_ERROR_UNSUPPORTED,
                            "an adapter with DoRA's magnitudes cannot be added to another one");
    }
    return INLAY_OK;
}

static inlay_result fill(inl_lora *sum, const inl_module_list *modules,
                         const inl_lora *const *parts, const float *scales, uint32_t count)
{
    snprintf(sum->architecture, sizeof(sum->architecture), "%s", modules->architecture);
    for (uint32_t i = 0; i < modules->count; i++)
        INL_TRY(add_module(sum, &modules->items[i], i, parts, scales, count));
    sum->alpha = (double)sum->r;
    if (count == 1) {
        const inl_lora *part = parts[0];
        sum->r = part->r;
        sum->alpha = scales ? part->alpha * (double)scales[0] : part->alpha;
        sum->dropout = part->dropout;
        sum->use_rslora = part->use_rslora;
        sum->use_dora = part->use_dora;
        sum->base = part->base ? inl_strdup(&sum->env, part->base) : NULL;
        if (part->base && !sum->base)
            return INLAY_ERROR_OUT_OF_MEMORY;
    }
    return inl_lora_finish(sum, modules);
}

inlay_result inl_lora_combine(const inl_env *env, const inl_module_list *modules,
                              const inl_lora *const *parts, const float *scales, uint32_t count,
                              inl_lora **out)
{
    *out = NULL;
    INL_TRY(check_parts(env, modules, parts, count));
    INL_TRY(inl_lora_begin(env, modules->count, count == 1 ? parts[0]->format : "sum", out));
    inlay_result result = fill(*out, modules, parts, scales, count);
    if (result != INLAY_OK)
        inl_lora_destroy(out);
    return result;
}
