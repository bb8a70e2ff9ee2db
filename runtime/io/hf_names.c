// SPDX-License-Identifier: MIT
#include "io/hf_names.h"

#include <stdio.h>
#include <string.h>

typedef struct module {
    const char *hf, *gguf;
    uint32_t with, without; // traits that a model has and has not, to have this module
} module;

static const module modules[] = {
    {"input_layernorm", "attn_norm", 0, 0},
    {"self_attn.q_proj", "attn_q", 0, INL_HF_FUSED},
    {"self_attn.k_proj", "attn_k", 0, INL_HF_FUSED},
    {"self_attn.v_proj", "attn_v", 0, INL_HF_FUSED},
    {"self_attn.qkv_proj", "attn_qkv", INL_HF_FUSED, 0},
    {"self_attn.o_proj", "attn_output", 0, 0},
    {"self_attn.q_norm", "attn_q_norm", INL_HF_QK_NORM, 0},
    {"self_attn.k_norm", "attn_k_norm", INL_HF_QK_NORM, 0},
    {"post_attention_layernorm", "ffn_norm", 0, INL_HF_SANDWICH},
    {"post_attention_layernorm", "post_attention_norm", INL_HF_SANDWICH, 0},
    {"pre_feedforward_layernorm", "ffn_norm", INL_HF_SANDWICH, 0},
    {"post_feedforward_layernorm", "post_ffw_norm", INL_HF_SANDWICH, 0},
    {"mlp.gate_proj", "ffn_gate", 0, INL_HF_FUSED | INL_HF_EXPERTS},
    {"mlp.up_proj", "ffn_up", 0, INL_HF_FUSED | INL_HF_EXPERTS},
    {"mlp.gate_up_proj", "ffn_up", INL_HF_FUSED, 0},
    {"mlp.down_proj", "ffn_down", 0, INL_HF_EXPERTS},
    {"mlp.gate", "ffn_gate_inp", INL_HF_EXPERTS, 0},
};

_Static_assert(INL_COUNT(modules) <= 32, "hf_folder.c has a bit for each of a layer's modules");

static const char *const whole[][2] = {
    {INL_HF_LANGUAGE "embed_tokens.weight", "token_embd.weight"},
    {INL_HF_LANGUAGE "norm.weight", "output_norm.weight"},
    {"lm_head.weight", "output.weight"}};

static const char *const expert_parts[][2] = {
    {"gate_proj", "ffn_gate_exps"}, {"up_proj", "ffn_up_exps"}, {"down_proj", "ffn_down_exps"}};

static bool has(const inl_hf_config *c, uint32_t layer, const module *m)
{
    uint32_t traits = inl_hf_layer_traits(c, layer);
    return (traits & m->with) == m->with && (traits & m->without) == 0;
}

static bool has_experts(const inl_hf_config *c, uint32_t layer)
{
    return inl_hf_layer_traits(c, layer) & INL_HF_EXPERTS;
}

const char *inl_hf_module(const inl_hf_config *config, uint32_t layer, int index, bool *needed)
{
    if (index >= (int)INL_COUNT(modules))
        return NULL;
    *needed = has(config, layer, &modules[index]);
    return modules[index].hf;
}

// Past `prefix`, or NULL.
static const char *after(const char *name, const char *prefix)
{
    size_t size = strlen(prefix);
    return strncmp(name, prefix, size) == 0 ? name + size : NULL;
}

static bool ends_with(const char *name, const char *tail)
{
    size_t size = strlen(name), wanted = strlen(tail);
    return size >= wanted && strcmp(name + size - wanted, tail) == 0;
}

// A number without leading zeros and the point behind it.
static const char *take_number(const char *text, uint32_t *out)
{
    const char *at = text;
    *out = 0;
    for (; *at >= '0' && *at <= '9' && at - text < 6; at++)
        *out = *out * 10 + (uint32_t)(*at - '0');
    bool good = at > text && *at == '.' && (*text != '0' || at == text + 1);
    return good ? at + 1 : NULL;
}

// Past what stands before the language model's own parts: AutoModel saves it without its head and
// then without a prefix, a multimodal model has it at one of two places, by its age.
static const char *skip_places(const char *name)
{
    static const char *const places[] = {INL_HF_NESTED, "language_model.model.", "language_model.",
                                         INL_HF_LANGUAGE};
    for (size_t i = 0; i < INL_COUNT(places); i++)
        if (after(name, places[i]))
            return after(name, places[i]);
    return name;
}

const char *inl_hf_model_name(const char *name, bool multimodal, char out[INL_HF_NAME_ROOM])
{
    static const char *const parts[] = {"layers.", "embed_tokens.", "norm."};
    const char *rest = skip_places(name);
    for (size_t i = 0; i < INL_COUNT(parts); i++)
        if (after(rest, parts[i])) {
            snprintf(out, INL_HF_NAME_ROOM, "%s%s", multimodal ? INL_HF_NESTED : INL_HF_LANGUAGE,
                     rest);
            return out;
        }
    return after(rest, "lm_head") ? rest : name;
}

const char *inl_hf_language_name(const char *name, char out[INL_HF_NAME_ROOM])
{
    return inl_hf_model_name(name, false, out);
}

bool inl_hf_is_vision(const char *name)
{
    static const char *const parts[] = {"vision_tower.", "multi_modal_projector."};
    const char *rest = after(name, INL_HF_LANGUAGE);
    for (size_t i = 0; i < INL_COUNT(parts); i++)
        if (after(rest ? rest : name, parts[i]))
            return true;
    return false;
}

static inl_hf_fate translate_expert(const inl_hf_config *c, const char *rest, inl_hf_name *out)
{
    uint32_t expert;
    const char *part = take_number(rest, &expert);
    if (!part || expert >= c->experts || !has_experts(c, out->layer))
        return INL_HF_UNKNOWN;
    for (size_t i = 0; i < INL_COUNT(expert_parts); i++) {
        const char *tail = after(part, expert_parts[i][0]);
        if (tail && strcmp(tail, ".weight") == 0) {
            snprintf(out->gguf, sizeof(out->gguf), "blk.%u.%s.%u.weight", out->layer,
                     expert_parts[i][1], expert);
            return INL_HF_TAKE;
        }
    }
    return INL_HF_UNKNOWN;
}

static inl_hf_fate translate_layer(const inl_hf_config *c, const char *name, inl_hf_name *out)
{
    const char *rest = take_number(name, &out->layer);
    if (!rest || out->layer >= c->layers)
        return INL_HF_UNKNOWN;
    if (strcmp(rest, "self_attn.rotary_emb.inv_freq") == 0)
        return INL_HF_IGNORE;
    const char *expert = after(rest, "mlp.experts.");
    if (expert)
        return translate_expert(c, expert, out);
    for (int i = 0; i < (int)INL_COUNT(modules); i++) {
        const char *tail = after(rest, modules[i].hf);
        if (!tail || !has(c, out->layer, &modules[i]) ||
            (strcmp(tail, ".weight") != 0 && strcmp(tail, ".bias") != 0))
            continue;
        snprintf(out->gguf, sizeof(out->gguf), "blk.%u.%s%s", out->layer, modules[i].gguf, tail);
        out->module = i;
        out->is_weight = strcmp(tail, ".weight") == 0;
        return INL_HF_TAKE;
    }
    return INL_HF_UNKNOWN;
}

bool inl_hf_is_fused(const inl_hf_config *c, const char *full, uint32_t *layer, bool *gate_up)
{
    char room[INL_HF_NAME_ROOM];
    const char *rest = after(inl_hf_language_name(full, room), INL_HF_LANGUAGE "layers.");
    rest = rest ? take_number(rest, layer) : NULL;
    const char *part = rest ? after(rest, "mlp.experts.") : NULL;
    if (!part || *layer >= c->layers || !has_experts(c, *layer))
        return false;
    *gate_up = strcmp(part, "gate_up_proj") == 0;
    return *gate_up || strcmp(part, "down_proj") == 0;
}

inl_hf_fate inl_hf_translate(const inl_hf_config *c, const char *full, inl_hf_name *out)
{
    char room[INL_HF_NAME_ROOM];
    *out = (inl_hf_name){.layer = UINT32_MAX, .module = -1, .is_weight = true};
    if (inl_hf_is_vision(full) || ends_with(full, "rotary_emb.inv_freq"))
        return INL_HF_IGNORE;
    const char *name = inl_hf_language_name(full, room);
    if (c->tied && strcmp(name, "lm_head.weight") == 0)
        return INL_HF_IGNORE;
    for (size_t i = 0; i < INL_COUNT(whole); i++)
        if (strcmp(name, whole[i][0]) == 0) {
            snprintf(out->gguf, sizeof(out->gguf), "%s", whole[i][1]);
            return INL_HF_TAKE;
        }
    const char *layer = after(name, INL_HF_LANGUAGE "layers.");
    return layer ? translate_layer(c, layer, out) : INL_HF_UNKNOWN;
}

bool inl_hf_untranslate(const inl_hf_architecture *arch, const char *gguf,
                        char out[INL_HF_NAME_ROOM])
{
    uint32_t layer;
    for (size_t i = 0; i < INL_COUNT(whole); i++)
        if (strcmp(gguf, whole[i][1]) == 0) {
            snprintf(out, INL_HF_NAME_ROOM, "%s", whole[i][0]);
            return true;
        }
    const char *rest = after(gguf, "blk.");
    rest = rest ? take_number(rest, &layer) : NULL;
    for (size_t i = 0; rest && i < INL_COUNT(modules); i++) {
        const module *m = &modules[i];
        const char *tail = after(rest, m->gguf);
        bool there = (arch->traits & m->with) == m->with && (arch->traits & m->without) == 0;
        if (!tail || !there || (strcmp(tail, ".weight") != 0 && strcmp(tail, ".bias") != 0))
            continue;
        snprintf(out, INL_HF_NAME_ROOM, INL_HF_LANGUAGE "layers.%u.%s%s", layer, m->hf, tail);
        return true;
    }
    return false;
}
