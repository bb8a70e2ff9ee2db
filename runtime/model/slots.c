// SPDX-License-Identifier: MIT
#include "model/slots.h"
#include "base/finite.h"

#include <string.h>

const inl_group_roles inl_groups[INL_GROUP_COUNT] = {
    [INL_GROUP_QKV] = {INL_ROLE_Q, 3},       [INL_GROUP_O] = {INL_ROLE_O, 1},
    [INL_GROUP_GATE_UP] = {INL_ROLE_GATE, 2}, [INL_GROUP_DOWN] = {INL_ROLE_DOWN, 1},
    [INL_GROUP_ROUTER] = {INL_ROLE_ROUTER, 1},
};

static void place(inl_slots *slots, uint32_t first, uint32_t count)
{
    slots->floats = inl_lora_place(&slots->of_module[first], count, slots->floats);
}

// Those of a group that the architecture has lie side by side, from the group's first on; experts'
// are for rows of their own, and lie one after the other.
static void place_group(inl_slots *slots, const inl_config *config, uint32_t layer, size_t group)
{
    inl_role first = inl_groups[group].first;
    uint32_t count = 0;
    for (uint32_t i = 0; i < inl_groups[group].count; i++) {
        if (inl_config_experts(config, layer, first + i) > 0)
            place(slots, inl_config_module(config, layer, first + i), 1);
        else
            count += inl_config_has_role(config, layer, first + i);
    }
    if (count > 0)
        place(slots, inl_config_module(config, layer, first), count);
}

static void find_firsts(inl_slots *slots, const inl_config *config)
{
    for (uint32_t i = 0; i < slots->module_count; i++)
        slots->first_of_module[i] = i;
    for (uint32_t layer = 0; layer < config->layers; layer++)
        for (inl_role role = 0; role < INL_ROLE_COUNT; role++) {
            uint32_t first = inl_config_module(config, layer, role);
            for (uint32_t e = 1; e < inl_config_experts(config, layer, role); e++)
                slots->first_of_module[first + e] = first;
        }
}

// The slot of experts is as wide as the largest of their ranks.
static inlay_result add_pair(inl_slots *slots, const inl_env *env, const inl_lora_pair *p,
                             uint32_t experts)
{
    uint32_t first = slots->first_of_module[p->module];
    inl_lora_slot *s = &slots->of_module[first];
    if (s->rank > 0 && s->scale != p->scale)
        return inl_fail(env, INLAY_ERROR_UNSUPPORTED,
                        "%s is scaled by %g, other experts' by %g: that is not supported", p->path,
                        (double)p->scale, (double)s->scale);
    if (p->magnitude && experts > 0)
        return inl_fail(env, INLAY_ERROR_UNSUPPORTED,
                        "%s: DoRA of experts is not supported: name targets without them", p->path);
    uint32_t rank = INL_MAX(s->rank, p->r);
    slots->pair_of_module[p->module] = p;
    *s = (inl_lora_slot){.in = p->in,
                         .out = p->out,
                         .rank = rank,
                         .rank4 = inl_div_up(rank - p->frozen, 4) + inl_div_up(p->frozen, 4),
                         .frozen4 = inl_div_up(p->frozen, 4),
                         .experts = experts,
                         .dora = p->magnitude != NULL,
                         .norm = slots->norm_floats,
                         .scale = p->scale,
                         .stream = first};
    if (s->dora)
        slots->norm_floats += inl_round_up(p->out, INL_BINDING_ALIGNMENT / sizeof(float));
    return INLAY_OK;
}

static inlay_result add_pairs(inl_slots *slots, const inl_env *env, const inl_config *config)
{
    const inl_lora *lora = slots->lora;
    for (uint32_t i = 0; lora && i < lora->pair_count; i++) {
        uint32_t layer, experts = 0;
        inl_role role;
        if (inl_config_find_module(config, lora->pairs[i].module, &layer, &role)) {
            experts = inl_config_experts(config, layer, role);
            slots->first_layer = INL_MIN(slots->first_layer, layer);
        }
        INL_TRY(add_pair(slots, env, &lora->pairs[i], experts));
    }
    return INLAY_OK;
}

inlay_result inl_slots_create(const inl_env *env, const inl_config *config, const inl_lora *lora,
                              inl_slots *out)
{
    uint32_t count = inl_config_module_count(config);
    *out = (inl_slots){.lora = lora, .first_layer = config->layers, .module_count = count};
    out->of_module = inl_alloc(env, count, sizeof(*out->of_module));
    out->first_of_module = inl_alloc(env, count, sizeof(*out->first_of_module));
    out->pair_of_module = inl_alloc(env, count, sizeof(*out->pair_of_module));
    inlay_result result = INLAY_ERROR_OUT_OF_MEMORY;
    if (out->of_module && out->first_of_module && out->pair_of_module) {
        find_firsts(out, config);
        result = add_pairs(out, env, config);
    }
    if (result != INLAY_OK) {
        inl_slots_free(env, out);
        return result;
    }
    for (uint32_t layer = 0; layer < config->layers; layer++)
        for (size_t g = 0; g < INL_COUNT(inl_groups); g++)
            place_group(out, config, layer, g);
    place(out, count - 1, 1);
    return INLAY_OK;
}

void inl_slots_free(const inl_env *env, inl_slots *slots)
{
    inl_free(env, slots->of_module);
    inl_free(env, slots->first_of_module);
    inl_free(env, slots->pair_of_module);
    *slots = (inl_slots){0};
}

inl_lora_slot inl_slots_of_pair(const inl_slots *slots, const inl_lora_pair *p)
{
    uint32_t first = slots->first_of_module[p->module];
    inl_lora_slot s = slots->of_module[first];
    if (s.experts > 0) {
        s.a += inl_lora_a_floats(&s) / s.experts * (p->module - first);
        s.b += inl_lora_b_floats(&s) / s.experts * (p->module - first);
        s.experts = 0;
    }
    return s;
}

// Rank `r` of a pair lies there in the arena: what is frozen begins a vec4 of its own.
static uint32_t place_of_rank(const inl_lora_pair *p, uint32_t r)
{
    uint32_t live = p->r - p->frozen;
    return r < live ? r : (uint32_t)inl_round_up(live, 4) + r - live;
}

typedef void (*mover)(float *arena, float *values, uint32_t count);

static void into_arena(float *arena, float *values, uint32_t count)
{
    memcpy(arena, values, count * sizeof(float));
}

static void out_of_arena(float *arena, float *values, uint32_t count)
{
    memcpy(values, arena, count * sizeof(float));
}

static void move_pair(const inl_slots *slots, const inl_lora_pair *p, float *arena, mover move)
{
    const inl_lora_slot s = inl_slots_of_pair(slots, p);
    uint32_t live = p->r - p->frozen;
    for (uint32_t r = 0; r < p->r; r++)
        move(arena + s.a + place_of_rank(p, r) * inl_round_up(p->in, 8), p->a + (size_t)r * p->in,
             p->in);
    for (uint32_t n = 0; n < p->out; n++) {
        float *row = arena + s.b + (uint64_t)n * s.rank4 * 4, *values = p->b + (size_t)n * p->r;
        move(row, values, live);
        move(row + place_of_rank(p, live), values + live, p->frozen);
    }
    if (s.dora)
        move(arena + s.magnitude, p->magnitude, p->out);
}

void inl_slots_pack(const inl_slots *slots, float *arena)
{
    for (uint32_t i = 0; i < slots->lora->pair_count; i++)
        move_pair(slots, &slots->lora->pairs[i], arena, into_arena);
}

void inl_slots_unpack(const inl_slots *slots, float *arena, inl_lora *lora)
{
    for (uint32_t i = 0; i < lora->pair_count; i++)
        move_pair(slots, &lora->pairs[i], arena, out_of_arena);
}

void inl_slots_rates(const inl_slots *slots, float ratio, float *rates)
{
    for (uint64_t i = 0; i < slots->floats / 4; i++)
        rates[i] = 1.0f;
    for (uint32_t i = 0; i < slots->module_count; i++) {
        const inl_lora_slot *s = &slots->of_module[i];
        uint64_t frozen = s->frozen4 * inl_round_up(s->in, 8), a = inl_lora_a_floats(s) / 4;
        for (uint64_t k = 0; k < frozen; k++)
            rates[s->a / 4 + a - frozen + k] = 0.0f;
        for (uint64_t k = 0; k < inl_lora_b_floats(s) / 4; k++)
            rates[s->b / 4 + k] = k % s->rank4 < s->rank4 - s->frozen4 ? ratio : 0.0f;
        for (uint64_t k = 0; s->dora && k < inl_round_up(s->out, 8) / 4; k++)
            rates[s->magnitude / 4 + k] = ratio;
    }
}

bool inl_slots_find_not_finite(const inl_slots *slots, const float *arena, const char **module,
                               const char **tensor)
{
    for (uint32_t i = slots->lora->pair_count; i-- > 0;) {
        const inl_lora_pair *p = &slots->lora->pairs[i];
        const inl_lora_slot s = inl_slots_of_pair(slots, p);
        if (s.dora && !inl_all_finite(arena + s.magnitude, s.out))
            *tensor = "lora_magnitude_vector";
        else if (!inl_all_finite(arena + s.b, inl_lora_b_floats(&s)))
            *tensor = "lora_B";
        else if (!inl_all_finite(arena + s.a, inl_lora_a_floats(&s)))
            *tensor = "lora_A";
        else
            continue;
        *module = p->path;
        return true;
    }
    return false;
}
