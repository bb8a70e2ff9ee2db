// SPDX-License-Identifier: MIT
// Where each pair of an adapter lies in the arenas on the device, and moving values in and out.
// Within a layer the A's of linear layers that share an input lie side by side.
#ifndef INL_MODEL_SLOTS_H
#define INL_MODEL_SLOTS_H

#include "model/config.h"
#include "op/op.h"

// Linear layers of a block that share an input.
typedef enum inl_group {
    INL_GROUP_QKV,
    INL_GROUP_O,
    INL_GROUP_GATE_UP,
    INL_GROUP_DOWN,
    INL_GROUP_ROUTER,
    INL_GROUP_COUNT,
} inl_group;

// Their roles: `count` of them from `first` on.
typedef struct inl_group_roles {
    inl_role first;
    uint32_t count;
} inl_group_roles;
extern const inl_group_roles inl_groups[INL_GROUP_COUNT];

typedef struct inl_slots {
    const inl_lora *lora;
    uint32_t module_count;
    uint32_t first_layer; // with an adapter; the layer count with one on the head alone or none
    // [module_count], the last is the head; rank 0: no adapter there. That of experts is the first
    // one's.
    inl_lora_slot *of_module;
    uint32_t *first_of_module; // [module_count]: of an expert's module the first expert's
    const inl_lora_pair **pair_of_module;
    uint64_t floats; // of one arena
    uint64_t norm_floats; // of the norms that DoRA's pairs need; 0: there are none
} inl_slots;

inlay_result inl_slots_create(const inl_env *env, const inl_config *config, const inl_lora *lora,
                              inl_slots *out);
void inl_slots_free(const inl_env *env, inl_slots *slots);
// Where a pair lies: its module's slot, or its expert's part of it. What pads an expert's is zero,
// and so is all of an expert without a pair.
inl_lora_slot inl_slots_of_pair(const inl_slots *slots, const inl_lora_pair *pair);
// The adapter's values into an arena image of `floats` (zeroed by the caller), and back.
void inl_slots_pack(const inl_slots *slots, float *arena);
void inl_slots_unpack(const inl_slots *slots, float *arena, inl_lora *lora);
// One factor on the learning rate a vec4 of the arena, floats / 4 of them: `ratio` for the B's and
// the magnitudes, 1 for the A's (LoRA+, arXiv 2402.12354), 0 for what is frozen.
void inl_slots_rates(const inl_slots *slots, float ratio, float *rates);
// The tensor of an arena image with NaN or infinity that the backward pass reaches first, and so
// the nearest to the cause: what is below it has it from there; PEFT's name of it, "lora_A". False:
// all are finite.
bool inl_slots_find_not_finite(const inl_slots *slots, const float *arena, const char **module,
                               const char **tensor);

#endif
