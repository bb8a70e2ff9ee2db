// SPDX-License-Identifier: MIT
#include "model/expand.h"
#include "op/matmul.h"
#include "quant/nf4.h"

#define SHARE_OF_AVAILABLE 4

static bool expands(const inl_weight *w)
{
    return w->rows > 0 && inl_is_nf4(w->format) && w->cols % INL_NF4_BLOCK == 0;
}

// Places the parts of a layer's matrices in one buffer, in the order in which products join them;
// returns its size.
static uint64_t place_layer(inl_layer_weights *l)
{
    uint64_t at = 0;
    for (inl_role role = 0; role < INL_ROLE_COUNT; role++)
        for (uint32_t i = 0; expands(&l->linear[role]) && i < l->linear[role].part_count; i++) {
            inl_weight_part *part = &l->linear[role].parts[i];
            uint64_t bytes = inl_nf4_scale_bytes(&l->linear[role], part);
            part->expanded = (inl_range){.offset = at, .size = bytes};
            at = inl_round_up(at + bytes, INL_BINDING_ALIGNMENT);
        }
    return at;
}

static void bind_layer(inl_layer_weights *l, inl_buffer *buffer)
{
    for (inl_role role = 0; role < INL_ROLE_COUNT; role++)
        for (uint32_t i = 0; expands(&l->linear[role]) && i < l->linear[role].part_count; i++) {
            l->linear[role].parts[i].expanded.buffer = buffer;
            l->linear[role].parts[i].expanded.size *= buffer != NULL; // NULL: they are not there
        }
}

static void emit_layer(inl_plan *plan, const inl_layer_weights *l)
{
    for (inl_role role = 0; role < INL_ROLE_COUNT; role++)
        for (uint32_t i = 0; expands(&l->linear[role]) && i < l->linear[role].part_count; i++)
            inl_op_nf4_scales(plan, &l->linear[role], &l->linear[role].parts[i]);
}

static inlay_result fill(inl_weights *w)
{
    inl_plan *plan;
    INL_TRY(inl_plan_create(&w->model->env, w->gpu, &plan));
    for (uint32_t i = 0; i < w->model->config.layers; i++)
        emit_layer(plan, &w->layers[i]);
    return inl_plan_once(plan);
}

inlay_result inl_weights_expand(inl_weights *w)
{
    uint32_t layers = w->model->config.layers;
    uint64_t total = 0;
    for (uint32_t i = 0; i < layers; i++)
        total += place_layer(&w->layers[i]);
    bool fits = total > 0 && total <= inl_gpu_available(w->gpu) / SHARE_OF_AVAILABLE;
    if (fits)
        w->expanded = inl_alloc(&w->model->env, layers, sizeof(*w->expanded));
    inlay_result result = fits && !w->expanded ? INLAY_ERROR_OUT_OF_MEMORY : INLAY_OK;
    for (uint32_t i = 0; i < layers; i++) {
        uint64_t bytes = fits && result == INLAY_OK ? place_layer(&w->layers[i]) : 0;
        if (bytes > 0)
            result = inl_buffer_create(w->gpu, "NF4's scales", bytes, INL_MEMORY_DEVICE,
                                       &w->expanded[i]);
        bind_layer(&w->layers[i], bytes > 0 && result == INLAY_OK ? w->expanded[i] : NULL);
    }
    return fits && result == INLAY_OK ? fill(w) : result;
}
