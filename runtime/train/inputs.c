// SPDX-License-Identifier: MIT
#include "train/inputs.h"

#include <string.h>

#define SECTION_ALIGNMENT INL_BINDING_ALIGNMENT
#define SECTIONS 7

static uint64_t section_bytes(uint32_t tokens)
{
    return inl_round_up(4ull * tokens, SECTION_ALIGNMENT);
}

static uint64_t section_offset(uint32_t index, uint32_t tokens)
{
    return index == 0 ? 0 : SECTION_ALIGNMENT + (index - 1) * section_bytes(tokens);
}

static uint64_t block_bytes(uint32_t tokens)
{
    return section_offset(SECTIONS, tokens);
}

uint64_t inl_inputs_bytes(uint32_t tokens)
{
    return 2 * block_bytes(tokens) + inl_round_up(4ull * tokens, 16);
}

inlay_result inl_inputs_create(inl_gpu *gpu, uint32_t tokens, inl_input_buffers *out)
{
    *out = (inl_input_buffers){.gpu = gpu, .tokens_max = tokens};
    if (!gpu)
        return INLAY_OK;
    inlay_result result =
        inl_buffer_create(gpu, "inputs", block_bytes(tokens), INL_MEMORY_HOST, &out->host);
    if (result == INLAY_OK)
        result =
            inl_buffer_create(gpu, "inputs", block_bytes(tokens), INL_MEMORY_DEVICE, &out->device);
    if (result == INLAY_OK)
        result = inl_buffer_create(gpu, "losses", 4ull * tokens, INL_MEMORY_HOST, &out->losses);
    if (result != INLAY_OK) {
        inl_inputs_destroy(out);
        return result;
    }
    uint8_t *base = inl_buffer_map(out->host);
    memset(base, 0, block_bytes(tokens));
    out->scalars = (struct step_scalars *)base;
    uint32_t **views[] = {&out->tokens, &out->positions, &out->starts,
                          &out->ends,   &out->rows,      &out->labels};
    for (uint32_t i = 0; i < INL_COUNT(views); i++)
        *views[i] = (uint32_t *)(base + section_offset(i + 1, tokens));
    out->loss_values = inl_buffer_map(out->losses);
    return INLAY_OK;
}

void inl_inputs_destroy(inl_input_buffers *inputs)
{
    if (inputs->gpu) {
        inl_buffer_destroy(inputs->gpu, &inputs->host);
        inl_buffer_destroy(inputs->gpu, &inputs->device);
        inl_buffer_destroy(inputs->gpu, &inputs->losses);
    }
    *inputs = (inl_input_buffers){0};
}

static inl_buf section(inl_plan *plan, const inl_input_buffers *inputs, uint32_t index)
{
    uint64_t bytes = index == 0 ? sizeof(struct step_scalars) : 4ull * inputs->tokens_max;
    return inl_plan_external(plan, inputs->device, section_offset(index, inputs->tokens_max),
                             inl_round_up(bytes, 16));
}

inl_inputs inl_inputs_bind(inl_plan *plan, const inl_input_buffers *inputs)
{
    uint64_t bytes = block_bytes(inputs->tokens_max);
    inl_plan_copy(plan, inl_plan_external(plan, inputs->host, 0, bytes),
                  inl_plan_external(plan, inputs->device, 0, bytes), bytes);
    return (inl_inputs){.scalars = section(plan, inputs, 0),
                        .tokens = section(plan, inputs, 1),
                        .positions = section(plan, inputs, 2),
                        .starts = section(plan, inputs, 3),
                        .ends = section(plan, inputs, 4),
                        .rows = section(plan, inputs, 5),
                        .labels = section(plan, inputs, 6),
                        .longest = inputs->longest};
}

inl_range inl_inputs_losses(const inl_input_buffers *inputs)
{
    return (inl_range){.buffer = inputs->losses,
                       .size = inl_round_up(4ull * inputs->tokens_max, 16)};
}

static void fill_row(inl_input_buffers *inputs, const inl_row *row, uint32_t base,
                     uint32_t *supervised)
{
    for (uint32_t i = 0; i < row->count; i++) {
        uint32_t at = base + i;
        inputs->tokens[at] = (uint32_t)row->tokens[i];
        inputs->starts[at] = base + (uint32_t)row->starts[i];
        inputs->positions[at] = i - (uint32_t)row->starts[i];
        if (row->labels[i] >= 0) {
            inputs->rows[*supervised] = at;
            inputs->labels[(*supervised)++] = (uint32_t)row->labels[i];
        }
    }
    for (uint32_t i = row->count; i-- > 0;) {
        bool last = i + 1 == row->count || row->starts[i + 1] != row->starts[i];
        inputs->ends[base + i] = last ? base + i + 1 : inputs->ends[base + i + 1];
    }
}

static void fill_padding(inl_input_buffers *inputs, uint32_t from, uint32_t to)
{
    for (uint32_t at = from; at < to; at++) {
        inputs->tokens[at] = 0;
        inputs->positions[at] = 0;
        inputs->starts[at] = at;
        inputs->ends[at] = at + 1;
    }
}

uint32_t inl_inputs_fill(inl_input_buffers *inputs, const inl_row *rows, uint32_t count,
                         uint32_t max_length)
{
    uint32_t supervised = 0, used = 0;
    for (uint32_t r = 0; r < count; r++) {
        fill_row(inputs, &rows[r], r * max_length, &supervised);
        fill_padding(inputs, r * max_length + rows[r].count, (r + 1) * max_length);
        used += rows[r].count;
    }
    fill_padding(inputs, count * max_length, inputs->tokens_max);
    // Rows past the list are read by gathers whose results are thrown away: they must exist.
    memset(inputs->rows + supervised, 0, 4ull * (inputs->tokens_max - supervised));
    inputs->scalars->supervised = supervised;
    return used;
}

double inl_inputs_sum_losses(const inl_input_buffers *inputs)
{
    double sum = 0.0;
    for (uint32_t i = 0; i < inputs->scalars->supervised; i++)
        sum += (double)inputs->loss_values[i];
    return sum;
}
