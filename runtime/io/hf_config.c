// SPDX-License-Identifier: MIT
// A key that is null counts as missing. What transformers assumes of a missing key is in the table:
// files on the hub leave out what is their class's default.
#include "io/hf_config.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#define MOST_LAYERS 10000u
#define MOST_SIZE (1u << 24)
#define KEY_ROOM 128
#define SEEING_GEMMA "Gemma3ForConditionalGeneration"

static const inl_hf_architecture architectures[] = {
    {.name = "LlamaForCausalLM", .gguf = "llama", .context = 2048, .eps = 1e-6, .theta = 1e4},
    {.name = "MistralForCausalLM", .gguf = "llama", .kv_heads = 8, .context = 131072, .eps = 1e-6,
     .theta = 1e4, .window_layers = INL_HF_WINDOW_EACH, .window = 4096},
    {.name = "Qwen2ForCausalLM", .gguf = "qwen2", .traits = INL_HF_QKV_BIAS | INL_HF_WINDOW_SWITCH,
     .context = 32768, .eps = 1e-6, .theta = 1e4, .window_layers = INL_HF_WINDOW_LATE,
     .window = 4096},
    {.name = "Qwen3ForCausalLM", .gguf = "qwen3", .traits = INL_HF_QK_NORM | INL_HF_WINDOW_SWITCH,
     .head_dim = 128, .context = 32768, .eps = 1e-6, .theta = 1e4,
     .window_layers = INL_HF_WINDOW_LATE, .window = 4096},
    {.name = "Qwen3MoeForCausalLM", .gguf = "qwen3moe",
     .traits = INL_HF_QK_NORM | INL_HF_EXPERTS | INL_HF_WINDOW_SWITCH, .kv_heads = 4,
     .context = 32768, .eps = 1e-6, .theta = 1e4, .window_layers = INL_HF_WINDOW_ALL,
     .window = 4096},
    {.name = "GemmaForCausalLM", .gguf = "gemma", .traits = INL_HF_GEMMA, .tied = true,
     .kv_heads = 16, .head_dim = 256, .context = 8192, .eps = 1e-6, .theta = 1e4},
    {.name = "Gemma2ForCausalLM", .gguf = "gemma2",
     .traits = INL_HF_GEMMA | INL_HF_SANDWICH | INL_HF_QUERY_SCALE, .tied = true, .kv_heads = 4,
     .head_dim = 256, .context = 8192, .eps = 1e-6, .theta = 1e4,
     .window_layers = INL_HF_WINDOW_PERIOD, .window = 4096, .window_period = 2},
    {.name = "Gemma3ForCausalLM", .gguf = "gemma3",
     .traits = INL_HF_GEMMA | INL_HF_SANDWICH | INL_HF_QK_NORM | INL_HF_TWO_ROPES |
               INL_HF_QUERY_SCALE,
     .tied = true, .hidden = 2304, .ffn = 9216, .layers = 26, .heads = 8, .kv_heads = 4,
     .head_dim = 256, .vocab = 262208, .context = 131072, .eps = 1e-6, .theta = 1e6,
     .window_layers = INL_HF_WINDOW_PERIOD, .window = 4096, .window_period = 6},
    {.name = "Phi3ForCausalLM", .gguf = "phi3", .traits = INL_HF_FUSED, .context = 4096,
     .eps = 1e-5, .theta = 1e4, .window_layers = INL_HF_WINDOW_ALL},
    {.name = "SmolLM3ForCausalLM", .gguf = "smollm3", .traits = INL_HF_NOPE | INL_HF_WINDOW_SWITCH,
     .tied = true, .kv_heads = 4, .context = 32768, .eps = 1e-6, .theta = 2e6,
     .window_layers = INL_HF_WINDOW_NOPE},
};

// ---- the architecture

static inlay_result refuse_architecture(const inl_hf_config *c, const char *name)
{
    char known[400] = "";
    for (size_t i = 0, at = 0; i < INL_COUNT(architectures) && at < sizeof(known); i++)
        at += (size_t)snprintf(known + at, sizeof(known) - at, "%s%s", i ? ", " : "",
                               architectures[i].name);
    return inl_fail(&c->file.env, INLAY_ERROR_UNSUPPORTED,
                    "%s: the architecture \"%.80s\" is not supported (%s are)", c->file.path, name,
                    known);
}

// transformers' names for families, and their classes.
static const char *const type_names[][2] = {
    {"llama", "LlamaForCausalLM"},       {"mistral", "MistralForCausalLM"},
    {"qwen2", "Qwen2ForCausalLM"},       {"qwen3", "Qwen3ForCausalLM"},
    {"qwen3_moe", "Qwen3MoeForCausalLM"}, {"gemma", "GemmaForCausalLM"},
    {"gemma2", "Gemma2ForCausalLM"},     {"gemma3_text", "Gemma3ForCausalLM"},
    {"gemma3", SEEING_GEMMA},            {"phi3", "Phi3ForCausalLM"},
    {"smollm3", "SmolLM3ForCausalLM"},
};

// For files that name no class.
static const char *class_of_type(const char *type)
{
    for (size_t i = 0; i < INL_COUNT(type_names); i++)
        if (strcmp(type_names[i][0], type) == 0)
            return type_names[i][1];
    return type;
}

const char *inl_hf_type_of_class(const char *name)
{
    for (size_t i = 0; i < INL_COUNT(type_names); i++)
        if (strcmp(type_names[i][1], name) == 0)
            return type_names[i][0];
    return "";
}

const inl_hf_architecture *inl_hf_architecture_of(const char *gguf, bool window)
{
    const inl_hf_architecture *found = NULL;
    for (size_t i = 0; i < INL_COUNT(architectures); i++) {
        const inl_hf_architecture *a = &architectures[i];
        bool better = window && a->window_layers != INL_HF_WINDOW_NONE;
        if (strcmp(a->gguf, gguf) == 0 && (!found || better))
            found = a;
    }
    return found;
}

// "Qwen3Model": AutoModel's, the model without its head; not "GPT2LMHeadModel".
static bool is_headless(const char *name)
{
    const char *end = name ? strstr(name, "Model") : NULL;
    return end && strcmp(end, "Model") == 0 && !strstr(name, "HeadModel");
}

static inlay_result read_class(const inl_hf_config *c, const char **out)
{
    json_t *names;
    const char *type;
    INL_TRY(inl_settings_array(&c->file, NULL, "architectures", &names));
    INL_TRY(inl_settings_string(&c->file, NULL, "model_type", "", &type));
    *out = names ? json_string_value(json_array_get(names, 0)) : NULL;
    if (!names || is_headless(*out))
        *out = class_of_type(type);
    if (*out && **out)
        return INLAY_OK;
    return inl_settings_bad(&c->file, "architectures", "does not name the model's class");
}

// A model that sees has its language model's options in an object of their own.
static inlay_result find_architecture(inl_hf_config *c)
{
    json_t *text;
    const char *name;
    INL_TRY(read_class(c, &name));
    c->text = c->file.root;
    if (strcmp(name, SEEING_GEMMA) == 0) {
        name = "Gemma3ForCausalLM";
        INL_TRY(inl_settings_object(&c->file, NULL, "text_config", &text));
        if (!text)
            return inl_settings_bad(&c->file, "text_config", "is missing");
        c->text = text;
    }
    for (size_t i = 0; i < INL_COUNT(architectures); i++)
        if (strcmp(architectures[i].name, name) == 0)
            c->arch = &architectures[i];
    return c->arch ? INLAY_OK : refuse_architecture(c, name);
}

// ---- sizes

static inlay_result read_size(const inl_hf_config *c, const char *key, uint32_t fallback,
                              uint32_t most, uint32_t *out)
{
    INL_TRY(inl_settings_u32(&c->file, c->text, key, fallback, out));
    if (*out >= 1 && *out <= most)
        return INLAY_OK;
    const json_t *value = json_object_get(c->text, key);
    if (!value || json_is_null(value))
        return inl_settings_bad(&c->file, key, "is missing");
    char what[64];
    snprintf(what, sizeof(what), "is not a whole number from 1 to %u", most);
    return inl_settings_bad(&c->file, key, what);
}

static inlay_result read_sizes(inl_hf_config *c)
{
    const inl_hf_architecture *a = c->arch;
    INL_TRY(read_size(c, "num_hidden_layers", a->layers, MOST_LAYERS, &c->layers));
    INL_TRY(read_size(c, "hidden_size", a->hidden, MOST_SIZE, &c->hidden));
    INL_TRY(read_size(c, "intermediate_size", a->ffn, MOST_SIZE, &c->ffn));
    INL_TRY(read_size(c, "num_attention_heads", a->heads, MOST_SIZE, &c->heads));
    uint32_t kv = a->kv_heads && a->kv_heads < c->heads ? a->kv_heads : c->heads;
    INL_TRY(read_size(c, "num_key_value_heads", kv, MOST_SIZE, &c->kv_heads));
    uint32_t head_dim = a->head_dim ? a->head_dim : c->hidden / c->heads;
    INL_TRY(read_size(c, "head_dim", head_dim, MOST_SIZE, &c->head_dim));
    INL_TRY(read_size(c, "vocab_size", a->vocab, MOST_SIZE, &c->vocab));
    return read_size(c, "max_position_embeddings", a->context, MOST_SIZE, &c->context);
}

// Layers that are named have one feed-forward part; of the others all but the last of each `step`.
static inlay_result read_dense(inl_hf_config *c)
{
    static const char key[] = "mlp_only_layers";
    json_t *list;
    uint32_t step;
    INL_TRY(read_size(c, "decoder_sparse_step", 1, UINT32_MAX, &step));
    INL_TRY(inl_settings_array(&c->file, c->text, key, &list));
    c->dense = inl_alloc(&c->file.env, c->layers, sizeof(*c->dense));
    if (!c->dense)
        return INLAY_ERROR_OUT_OF_MEMORY;
    for (uint32_t i = 0; i < c->layers; i++)
        c->dense[i] = (i + 1) % step != 0;
    for (size_t i = 0; i < json_array_size(list); i++) {
        const json_t *layer = json_array_get(list, i);
        if (!json_is_integer(layer))
            return inl_settings_bad(&c->file, key, "is not a list of layers");
        if (json_integer_value(layer) >= 0 && json_integer_value(layer) < c->layers)
            c->dense[json_integer_value(layer)] = true;
    }
    return INLAY_OK;
}

uint32_t inl_hf_layer_traits(const inl_hf_config *c, uint32_t layer)
{
    bool dense = c->dense && c->dense[layer];
    return c->arch->traits & ~(dense ? (uint32_t)INL_HF_EXPERTS : 0);
}

static inlay_result read_experts(inl_hf_config *c)
{
    if (!(c->arch->traits & INL_HF_EXPERTS))
        return INLAY_OK;
    const char *key = json_object_get(c->text, "num_experts") ? "num_experts" : "num_local_experts";
    INL_TRY(read_size(c, key, 128, 1u << 16, &c->experts));
    INL_TRY(read_size(c, "num_experts_per_tok", 8, c->experts, &c->experts_used));
    INL_TRY(read_size(c, "moe_intermediate_size", 768, MOST_SIZE, &c->expert_ffn));
    return read_dense(c);
}

// ---- options

// The feed-forward part's function. Old files of the first gemma say "gelu" and mean its tanh form.
static inlay_result check_activation(const inl_hf_config *c)
{
    static const char *const keys[] = {"hidden_activation", "hidden_act"};
    bool gemma = c->arch->traits & INL_HF_GEMMA;
    for (size_t i = gemma ? 0 : 1; i < INL_COUNT(keys); i++) {
        const char *name;
        INL_TRY(inl_settings_string(&c->file, c->text, keys[i], NULL, &name));
        if (!name)
            continue;
        bool good = gemma ? strcmp(name, "gelu_pytorch_tanh") == 0 || strcmp(name, "gelu") == 0
                          : strcmp(name, "silu") == 0;
        return good ? INLAY_OK
                    : inl_settings_refuse(&c->file, keys[i], json_object_get(c->text, keys[i]));
    }
    return INLAY_OK;
}

static inlay_result check_quantization(inl_hf_config *c)
{
    json_t *q;
    const char *method;
    bool four, eight;
    INL_TRY(inl_settings_object(&c->file, NULL, "quantization_config", &q));
    if (!q && c->text != c->file.root)
        INL_TRY(inl_settings_object(&c->file, c->text, "quantization_config", &q));
    if (!q)
        return INLAY_OK;
    INL_TRY(inl_settings_bool(&c->file, q, "load_in_4bit", false, &four));
    INL_TRY(inl_settings_bool(&c->file, q, "load_in_8bit", false, &eight));
    // transformers before 4.34 knew one method, and did not name it.
    const char *unnamed = four || eight ? "bitsandbytes" : NULL;
    INL_TRY(inl_settings_string(&c->file, q, "quant_method", unnamed, &method));
    if (!method)
        return inl_settings_bad(&c->file, "quantization_config", "names no quant_method");
    if (strcmp(method, "bitsandbytes") != 0)
        return inl_settings_refuse(&c->file, "quant_method", json_object_get(q, "quant_method"));
    if (!four)
        return inl_settings_bad(&c->file, "quantization_config",
                                "of bitsandbytes does not have load_in_4bit, which alone is read");
    c->quantized = true;
    return INLAY_OK;
}

static inlay_result check_options(inl_hf_config *c)
{
    static const char *const wrong[] = {"use_bidirectional_attention", "is_encoder_decoder",
                                        "add_cross_attention"};
    for (size_t i = 0; i < INL_COUNT(wrong); i++) {
        bool set;
        INL_TRY(inl_settings_bool(&c->file, c->text, wrong[i], false, &set));
        if (set)
            return inl_settings_refuse(&c->file, wrong[i], json_object_get(c->text, wrong[i]));
    }
    const char *tie = "tie_word_embeddings";
    const json_t *place = json_object_get(c->text, tie) ? c->text : c->file.root;
    INL_TRY(inl_settings_bool(&c->file, place, tie, c->arch->tied, &c->tied));
    INL_TRY(check_activation(c));
    return check_quantization(c);
}

static inlay_result read_all(inl_hf_config *c)
{
    INL_TRY(find_architecture(c));
    INL_TRY(read_sizes(c));
    INL_TRY(read_experts(c));
    return check_options(c);
}

inlay_result inl_hf_config_open(const inl_env *env, const char *path, inl_hf_config *out)
{
    *out = (inl_hf_config){0};
    INL_TRY(inl_settings_open(env, path, &out->file));
    inlay_result result = read_all(out);
    if (result != INLAY_OK)
        inl_hf_config_close(out);
    return result;
}

void inl_hf_config_close(inl_hf_config *c)
{
    inl_free(&c->file.env, c->dense);
    inl_free(&c->file.env, c->rope_freqs);
    inl_free(&c->file.env, c->rope_long);
    inl_free(&c->file.env, c->rope_short);
    inl_settings_close(&c->file);
    *c = (inl_hf_config){.file = c->file};
}

// ---- metadata

static void full_key(const inl_hf_config *c, const char *key, char out[KEY_ROOM])
{
    snprintf(out, KEY_ROOM, "%s.%s", c->arch->gguf, key);
}

inlay_result inl_hf_put_u32(const inl_hf_config *c, inl_gguf_view *v, const char *key,
                            uint32_t value)
{
    char name[KEY_ROOM];
    full_key(c, key, name);
    return inl_gguf_view_u32(v, name, value);
}

inlay_result inl_hf_put_f32(const inl_hf_config *c, inl_gguf_view *v, const char *key, double value)
{
    char name[KEY_ROOM];
    full_key(c, key, name);
    return inl_gguf_view_f32(v, name, (float)value);
}

static inlay_result put_sizes(const inl_hf_config *c, inl_gguf_view *v)
{
    double eps;
    INL_TRY(inl_hf_put_u32(c, v, "context_length", c->context));
    INL_TRY(inl_hf_put_u32(c, v, "embedding_length", c->hidden));
    INL_TRY(inl_hf_put_u32(c, v, "block_count", c->layers));
    INL_TRY(inl_hf_put_u32(c, v, "feed_forward_length", c->ffn));
    INL_TRY(inl_hf_put_u32(c, v, "attention.head_count", c->heads));
    INL_TRY(inl_hf_put_u32(c, v, "attention.head_count_kv", c->kv_heads));
    INL_TRY(inl_hf_put_u32(c, v, "attention.key_length", c->head_dim));
    INL_TRY(inl_hf_put_u32(c, v, "attention.value_length", c->head_dim));
    INL_TRY(inl_hf_put_u32(c, v, "vocab_size", c->vocab));
    INL_TRY(inl_settings_number(&c->file, c->text, "rms_norm_eps", c->arch->eps, &eps));
    return inl_hf_put_f32(c, v, "attention.layer_norm_rms_epsilon", eps);
}

static inlay_result put_experts(const inl_hf_config *c, inl_gguf_view *v)
{
    char name[KEY_ROOM];
    bool normed;
    if (c->experts == 0)
        return INLAY_OK;
    INL_TRY(inl_hf_put_u32(c, v, "expert_count", c->experts));
    INL_TRY(inl_hf_put_u32(c, v, "expert_used_count", c->experts_used));
    INL_TRY(inl_hf_put_u32(c, v, "expert_feed_forward_length", c->expert_ffn));
    INL_TRY(inl_settings_bool(&c->file, c->text, "norm_topk_prob", false, &normed));
    full_key(c, "expert_weights_norm", name);
    return inl_gguf_view_bool(v, name, normed);
}

// Soft caps and attention's scale, of gemma.
static inlay_result put_caps(const inl_hf_config *c, inl_gguf_view *v)
{
    double attention, last, scalar;
    bool second = strcmp(c->arch->gguf, "gemma2") == 0;
    if (!(c->arch->traits & INL_HF_QUERY_SCALE))
        return INLAY_OK;
    // A key that is null switches a cap off; one that is missing has the class's default.
    double caps[2] = {json_object_get(c->text, "attn_logit_softcapping") || !second ? 0.0 : 50.0,
                      json_object_get(c->text, "final_logit_softcapping") || !second ? 0.0 : 30.0};
    INL_TRY(inl_settings_number(&c->file, c->text, "attn_logit_softcapping", caps[0], &attention));
    INL_TRY(inl_settings_number(&c->file, c->text, "final_logit_softcapping", caps[1], &last));
    INL_TRY(inl_settings_number(&c->file, c->text, "query_pre_attn_scalar", 256.0, &scalar));
    if (!(scalar > 0.0))
        return inl_settings_bad(&c->file, "query_pre_attn_scalar", "is not positive");
    if (attention < 0.0 || last < 0.0)
        return inl_settings_bad(&c->file, attention < 0.0 ? "attn_logit_softcapping"
                                                      : "final_logit_softcapping", "is negative");
    INL_TRY(inl_hf_put_f32(c, v, "attn_logit_softcapping", attention)); // 0: none
    INL_TRY(inl_hf_put_f32(c, v, "final_logit_softcapping", last));
    return inl_hf_put_f32(c, v, "attention.scale", 1.0 / sqrt(scalar));
}

// ---- sliding windows

static inlay_result read_layer_types(const inl_hf_config *c, const json_t *types, bool *local)
{
    if (json_array_size(types) < c->layers)
        return inl_settings_bad(&c->file, "layer_types", "does not name every layer's kind");
    for (uint32_t i = 0; i < c->layers; i++) {
        const char *type = json_string_value(json_array_get(types, i));
        local[i] = type && strcmp(type, "sliding_attention") == 0;
        if (!local[i] && (!type || strcmp(type, "full_attention") != 0))
            return inl_settings_refuse(&c->file, "layer_types", json_array_get(types, i));
    }
    return INLAY_OK;
}

// Whether each layer has RoPE: a list says so, or all have but the last of each so many.
static inlay_result read_ropes(const inl_hf_config *c, bool *ropes)
{
    static const char key[] = "no_rope_layers";
    uint32_t period = 0;
    json_t *list = NULL;
    if (c->arch->traits & INL_HF_NOPE) {
        INL_TRY(inl_settings_array(&c->file, c->text, key, &list));
        INL_TRY(read_size(c, "no_rope_layer_interval", 4, UINT32_MAX, &period));
    }
    if (list && json_array_size(list) < c->layers)
        return inl_settings_bad(&c->file, key, "does not name every layer");
    for (uint32_t i = 0; i < c->layers; i++) {
        const json_t *flag = json_array_get(list, i);
        if (list && !json_is_integer(flag) && !json_is_boolean(flag))
            return inl_settings_bad(&c->file, key, "is not a list of 0 and 1");
        ropes[i] = list ? json_is_true(flag) || json_integer_value(flag) != 0
                        : period == 0 || (i + 1) % period != 0;
    }
    return INLAY_OK;
}

// Which layers are local where the file has no layer_types.
static inlay_result guess_layer_types(const inl_hf_config *c, bool *local)
{
    inl_hf_window kind = c->arch->window_layers;
    uint32_t period = c->arch->window_period, first = 0;
    if (c->arch->traits & INL_HF_TWO_ROPES)
        INL_TRY(read_size(c, "sliding_window_pattern", period, MOST_LAYERS, &period));
    if (kind == INL_HF_WINDOW_LATE)
        INL_TRY(inl_settings_u32(&c->file, c->text, "max_window_layers", 28, &first));
    INL_TRY(read_ropes(c, local));
    for (uint32_t i = 0; i < c->layers; i++)
        local[i] = kind == INL_HF_WINDOW_PERIOD ? (i + 1) % period != 0
                   : kind == INL_HF_WINDOW_NOPE ? !local[i]
                                                : i >= first;
    return INLAY_OK;
}

static inlay_result put_pattern(const inl_hf_config *c, inl_gguf_view *v, const bool *local)
{
    char name[KEY_ROOM];
    uint32_t count = 0;
    for (uint32_t i = 0; i < c->layers; i++)
        count += local[i];
    if (count == c->layers && c->arch->window_period == 0)
        return INLAY_OK; // the window alone says so
    full_key(c, "attention.sliding_window_pattern", name);
    return inl_gguf_view_array(v, name, INL_GGUF_BOOL, local, c->layers);
}

static inlay_result read_window(const inl_hf_config *c, const json_t *types, uint32_t *window)
{
    // null is none; missing is the class's default
    uint32_t fallback = json_object_get(c->text, "sliding_window") ? 0 : c->arch->window;
    bool on = true;
    INL_TRY(inl_settings_u32(&c->file, c->text, "sliding_window", fallback, window));
    if (c->arch->traits & INL_HF_WINDOW_SWITCH)
        INL_TRY(inl_settings_bool(&c->file, c->text, "use_sliding_window", false, &on));
    // SmolLM3's layer_types make its mask whatever the switch says.
    if (!on && !(types && c->arch->window_layers == INL_HF_WINDOW_NOPE))
        *window = 0;
    return INLAY_OK;
}

static inlay_result put_window(const inl_hf_config *c, inl_gguf_view *v)
{
    uint32_t window;
    json_t *types = NULL;
    if (c->arch->window_layers == INL_HF_WINDOW_NONE)
        return INLAY_OK;
    if (c->arch->window_layers > INL_HF_WINDOW_ALL)
        INL_TRY(inl_settings_array(&c->file, c->text, "layer_types", &types));
    INL_TRY(read_window(c, types, &window));
    if (window == 0)
        return inl_hf_put_u32(c, v, "attention.sliding_window", 0);
    bool *local = inl_alloc(&c->file.env, c->layers, sizeof(*local));
    if (!local)
        return INLAY_ERROR_OUT_OF_MEMORY;
    inlay_result result = types ? read_layer_types(c, types, local) : guess_layer_types(c, local);
    bool any = false;
    for (uint32_t i = 0; i < c->layers; i++)
        any |= local[i];
    if (result == INLAY_OK)
        result = inl_hf_put_u32(c, v, "attention.sliding_window", any ? window : 0);
    if (result == INLAY_OK && any)
        result = put_pattern(c, v, local);
    inl_free(&c->file.env, local);
    return result;
}

// ---- layers without RoPE

static inlay_result put_ropes(const inl_hf_config *c, inl_gguf_view *v)
{
    char name[KEY_ROOM];
    if (!(c->arch->traits & INL_HF_NOPE))
        return INLAY_OK;
    bool *ropes = inl_alloc(&c->file.env, c->layers, sizeof(*ropes));
    if (!ropes)
        return INLAY_ERROR_OUT_OF_MEMORY;
    full_key(c, "rope.layers", name);
    inlay_result result = read_ropes(c, ropes);
    if (result == INLAY_OK)
        result = inl_gguf_view_array(v, name, INL_GGUF_BOOL, ropes, c->layers);
    inl_free(&c->file.env, ropes);
    return result;
}

inlay_result inl_hf_config_write(inl_hf_config *c, inl_gguf_view *v)
{
    INL_TRY(inl_gguf_view_string(v, "general.architecture", c->arch->gguf));
    INL_TRY(inl_gguf_view_string(v, "general.type", "model"));
    INL_TRY(put_sizes(c, v));
    INL_TRY(put_experts(c, v));
    INL_TRY(put_caps(c, v));
    INL_TRY(put_window(c, v));
    INL_TRY(put_ropes(c, v));
    return inl_hf_rope_write(c, v);
}
