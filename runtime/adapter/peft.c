// SPDX-License-Identifier: MIT
// Adapters as PEFT stores them: adapter_config.json and adapter_model.safetensors. The tensors say
// which modules there are and of what rank; the config gives the scales, and must agree on the
// ranks.
#include "adapter/pairs.h"
#include "adapter/targets.h"
#include "base/file.h"
#include "io/hf_names.h"
#include "io/safetensors.h"
#include "io/settings.h"
#include "quant/format.h"

#include <jansson.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define CONFIG_FILE "adapter_config.json"
#define TENSOR_FILE "adapter_model.safetensors"
#define PICKLE_FILE "adapter_model.bin"
#define BASE_NAME "base_model_name_or_path"
#define PREFIX "base_model.model."
#define SUFFIX_A ".lora_A.weight"
#define SUFFIX_B ".lora_B.weight"
#define SUFFIX_MAGNITUDE ".lora_magnitude_vector"
// PEFT adds the base's own weights of a target that it takes for an embedding, as it does lm_head.
#define SUFFIX_BASE ".base_layer.weight"
#define PATH_ROOM 512
// PEFT, which has no dropout for experts, refuses a file that asks for some: theirs stands here.
#define EXPERT_DROPOUT "inlay_lora_dropout"
// Where PEFT puts what target_parameters names of a layer's experts: two parameters of one module,
// of which the second is wrapped around the first.
#define FUSED_OUTER ".mlp.experts"
#define FUSED_INNER ".mlp.experts.base_layer"
// What LoraConfig has when a file leaves it out.
#define PEFT_DEFAULT_RANK 8
#define DEFAULT_ALPHA 8.0
// Of the numbers written: enough for any scale to come back as it was, and 0.05 stays "0.05".
#define DIGITS 15

// ---- reading the config

typedef struct peft_reader {
    const inl_env *env;
    const inl_module_list *modules;  // or NULL
    char *config_path, *tensor_path; // of the two files
    inl_settings config;
    inl_safetensors *file;
    inl_lora *lora;
} peft_reader;

static inlay_result refuse(const peft_reader *r, const char *what)
{
    return inl_fail(r->env, INLAY_ERROR_UNSUPPORTED, "%s: adapters with %.100s are not supported",
                    r->config_path, what);
}

// Not null, false, empty.
static bool is_set(const json_t *value)
{
    return json_is_true(value) || json_is_number(value) || json_string_length(value) > 0 ||
           json_array_size(value) > 0 || json_object_size(value) > 0;
}

// Whatever makes y = W x + scale * B A x, or DoRA's form of it, untrue.
static inlay_result check_variant(const peft_reader *r)
{
    static const char *const keys[] = {
        "use_qalora",        "use_bdlora",        "lora_bias",         "modules_to_save",
        "kasa_config",       "arrow_config",      "alora_invocation_tokens",
        "monteclora_config", "layer_replication", "trainable_token_indices"};
    // Initializations that move a part of the base's weights into the adapter.
    static const char *const inits[] = {"pissa", "olora", "corda", "loftq", "lora_ga"};
    const char *type = json_string_value(json_object_get(r->config.root, "peft_type"));
    if (!type || strcmp(type, "LORA") != 0)
        return refuse(r, "a \"peft_type\" other than LORA");
    for (size_t i = 0; i < INL_COUNT(keys); i++)
        if (is_set(json_object_get(r->config.root, keys[i])))
            return refuse(r, keys[i]);
    const char *bias = json_string_value(json_object_get(r->config.root, "bias"));
    if (bias && strcmp(bias, "none") != 0)
        return refuse(r, "\"bias\" other than none");
    const char *init = json_string_value(json_object_get(r->config.root, "init_lora_weights"));
    for (size_t i = 0; init && i < INL_COUNT(inits); i++)
        if (strncmp(init, inits[i], strlen(inits[i])) == 0)
            return inl_fail(
                r->env, INLAY_ERROR_UNSUPPORTED,
                "%s: adapters with the init_lora_weights \"%.40s\" are not supported: they "
                "change the base's weights",
                r->config_path, init);
    return INLAY_OK;
}

static bool is_rank(double value)
{
    return value >= 1.0 && value <= INL_LORA_MAX_RANK && value == floor(value);
}

static inlay_result apply_config(peft_reader *r)
{
    double rank, dropout;
    INL_TRY(check_variant(r));
    INL_TRY(inl_settings_number(&r->config, NULL, "r", PEFT_DEFAULT_RANK, &rank));
    INL_TRY(inl_settings_number(&r->config, NULL, "lora_alpha", DEFAULT_ALPHA, &r->lora->alpha));
    INL_TRY(inl_settings_number(&r->config, NULL, "lora_dropout", 0.0, &dropout));
    INL_TRY(inl_settings_number(&r->config, NULL, EXPERT_DROPOUT, dropout, &dropout));
    if (!is_rank(rank))
        return inl_settings_bad(&r->config, "r", "is not a rank");
    if (!(dropout >= 0.0 && (float)dropout < 1.0f))
        return inl_settings_bad(&r->config, "lora_dropout", "is not in [0, 1)");
    r->lora->r = (uint32_t)rank;
    r->lora->dropout = (float)dropout;
    INL_TRY(inl_settings_bool(&r->config, NULL, "use_rslora", false, &r->lora->use_rslora));
    return inl_settings_bool(&r->config, NULL, "use_dora", false, &r->lora->use_dora);
}

// What rank_pattern or alpha_pattern has for a module: the first key that matches its path.
static inlay_result get_pattern(const peft_reader *r, const char *name, const char *path,
                                double fallback, double *out)
{
    const char *key;
    json_t *value, *patterns;
    *out = fallback;
    INL_TRY(inl_settings_object(&r->config, NULL, name, &patterns));
    json_object_foreach (patterns, key, value) {
        bool found;
        INL_TRY(inl_targets_pattern(r->env, r->config_path, key, path, &found));
        if (!found)
            continue;
        *out = json_number_value(value);
        return json_is_number(value)
                   ? INLAY_OK
                   : inl_settings_bad(&r->config, name, "has a value that is not a number");
    }
    return INLAY_OK;
}

// ---- the tensors' names

// What PEFT itself leaves out of a file's names, and older versions and other programs do not.
static const struct {
    const char *found, *canonical;
} endings[] = {
    {".lora_A.default.weight", SUFFIX_A},
    {".lora_B.default.weight", SUFFIX_B},
    {SUFFIX_MAGNITUDE ".default.weight", SUFFIX_MAGNITUDE},
    {SUFFIX_MAGNITUDE ".default", SUFFIX_MAGNITUDE},
    {SUFFIX_MAGNITUDE ".weight", SUFFIX_MAGNITUDE},
};

static char *canonical_name(const inl_env *env, const char *name)
{
    bool ours = strstr(name, ".lora_") || strstr(name, SUFFIX_BASE);
    const char *prefix = !ours || strncmp(name, PREFIX, strlen(PREFIX)) == 0 ? "" : PREFIX;
    char base[PATH_ROOM];
    for (size_t i = 0; i < INL_COUNT(endings); i++)
        if (inl_lora_cut_suffix(name, endings[i].found, base, sizeof(base)))
            return inl_sprintf(env, "%s%s%s", prefix, base, endings[i].canonical);
    return inl_sprintf(env, "%s%s", prefix, name);
}

// ---- reading the tensors

static bool is_fused(const char *path, char *base)
{
    return inl_lora_cut_suffix(path, FUSED_INNER, base, PATH_ROOM) ||
           inl_lora_cut_suffix(path, FUSED_OUTER, base, PATH_ROOM);
}

// `path`: as the file has it, for so have its patterns.
static inlay_result set_scale(const peft_reader *r, const inl_safetensor *a, const char *path,
                              inl_lora_pair *p)
{
    double rank, alpha;
    char base[PATH_ROOM];
    INL_TRY(get_pattern(r, "rank_pattern", path, (double)r->lora->r, &rank));
    bool fused = is_fused(path, base); // without a model: of how many experts is not known
    if (fused ? fmod((double)p->r, rank) != 0.0 : (double)p->r != rank)
        return inl_fail(r->env, INLAY_ERROR_MISMATCH, "%s: tensor %.200s has rank %u, %s says %g",
                        r->tensor_path, a->name, p->r, CONFIG_FILE, rank);
    INL_TRY(get_pattern(r, "alpha_pattern", path, r->lora->alpha, &alpha));
    p->scale = inl_lora_scale(alpha, fused ? (uint32_t)rank : p->r, r->lora->use_rslora);
    if (isfinite(p->scale))
        return INLAY_OK;
    return inl_fail(r->env, INLAY_ERROR_BAD_FILE, "%s: an alpha of %g is too large", r->config_path,
                    alpha);
}

static inlay_result read_values(const peft_reader *r, const inl_safetensor *t, uint64_t count,
                                float *out)
{
    INL_TRY(inl_safetensors_read_f32(r->file, t, out, count));
    return inl_lora_check_finite(r->env, r->tensor_path, t->name, out, count);
}

// [rows, cols] whose rows are the module's output, into the base file's order.
static inlay_result read_rows(const peft_reader *r, const inl_safetensor *t,
                              const inl_module *module, uint32_t rows, uint32_t cols, float *out)
{
    uint64_t count = (uint64_t)rows * cols;
    if (!module || module->permuted_heads == 0)
        return read_values(r, t, count, out);
    float *hf = inl_alloc(r->env, count, sizeof(float));
    if (!hf)
        return INLAY_ERROR_OUT_OF_MEMORY;
    inlay_result result = read_values(r, t, count, hf);
    if (result == INLAY_OK)
        inl_lora_permute_b(module, cols, hf, out, false);
    inl_free(r->env, hf);
    return result;
}

static inlay_result read_magnitude(const peft_reader *r, const inl_module *module, const char *base,
                                   inl_lora_pair *p)
{
    char name[PATH_ROOM + 32];
    snprintf(name, sizeof(name), "%s" SUFFIX_MAGNITUDE, base);
    const inl_safetensor *t = inl_safetensors_find(r->file, name);
    if (!t && r->lora->use_dora)
        return inl_fail(r->env, INLAY_ERROR_MISMATCH, "%s: use_dora is set but there is no %.250s",
                        r->tensor_path, name);
    if (!t)
        return INLAY_OK;
    if (!r->lora->use_dora)
        return inl_fail(r->env, INLAY_ERROR_MISMATCH,
                        "%s: there is a tensor %.250s but %s does not set use_dora", r->tensor_path,
                        name, CONFIG_FILE);
    if (t->dims != 1 || t->shape[0] != p->out)
        return inl_fail(r->env, INLAY_ERROR_MISMATCH,
                        "%s: tensor %.250s has not the %u elements of its module's rows",
                        r->tensor_path, name, p->out);
    INL_TRY(inl_lora_add_magnitude(r->lora, p));
    return read_rows(r, t, module, p->out, 1, p->magnitude);
}

static inlay_result read_pair(const peft_reader *r, const inl_safetensor *a,
                              const inl_safetensor *b, const char *path)
{
    if (a->dims != 2 || b->dims != 2)
        return inl_fail(r->env, INLAY_ERROR_BAD_FILE, "%s: tensor %.200s has %u dimensions, not 2",
                        r->tensor_path, a->dims != 2 ? a->name : b->name,
                        a->dims != 2 ? a->dims : b->dims);
    inl_lora_halves halves = {.file = r->tensor_path,
                              .a = a->name,
                              .b = b->name,
                              .base = path,
                              .a_rank = a->shape[0],
                              .in = a->shape[1],
                              .out = b->shape[0],
                              .b_rank = b->shape[1]};
    inl_lora_pair *p;
    const inl_module *module;
    INL_TRY(inl_lora_add_halves(r->lora, r->modules, &halves, &p, &module));
    INL_TRY(set_scale(r, a, path, p));
    INL_TRY(read_values(r, a, (uint64_t)p->r * p->in, p->a));
    INL_TRY(read_rows(r, b, module, p->out, p->r, p->b));
    char base[PATH_ROOM];
    inl_lora_cut_suffix(a->name, SUFFIX_A, base, sizeof(base));
    return read_magnitude(r, module, base, p);
}

// ---- reading experts that are fused into parameters

// What one tensor pair adapts: `parts` matrices of each of the experts, one below the other, with
// an A that they share.
typedef struct fused {
    const inl_safetensor *a, *b;
    const char *names[2]; // of the modules
    uint32_t parts, experts, r, in, out; // out: of a part
    float scale;
} fused;

// Which of a layer's parameters it is its shapes say.
static bool identify(const inl_module *gate, const inl_module *down, fused *f)
{
    uint64_t in = f->a->shape[1], out = f->b->shape[0];
    bool wide = in == gate->in && out == 2ull * gate->out;
    if (!wide && (in != down->in || out != down->out))
        return false;
    f->parts = wide ? 2 : 1;
    f->names[0] = wide ? "gate_proj" : "down_proj";
    f->names[1] = "up_proj";
    f->in = (uint32_t)in;
    f->out = (uint32_t)out / f->parts;
    return true;
}

static inlay_result set_fused_scale(const peft_reader *r, const char *base, fused *f)
{
    char path[PATH_ROOM + 32];
    double rank, alpha;
    snprintf(path, sizeof(path), "%s" FUSED_OUTER ".%s", base,
             f->parts == 2 ? "gate_up_proj" : "down_proj");
    INL_TRY(get_pattern(r, "rank_pattern", path, (double)r->lora->r, &rank));
    if ((double)f->r != rank || (uint64_t)f->r * f->experts != f->a->shape[0] ||
        f->a->shape[0] != f->b->shape[1])
        return inl_fail(r->env, INLAY_ERROR_MISMATCH,
                        "%s: tensor %.200s is not of rank %g for each of %u experts, as %s says",
                        r->tensor_path, f->a->name, rank, f->experts, CONFIG_FILE);
    INL_TRY(get_pattern(r, "alpha_pattern", path, r->lora->alpha, &alpha));
    f->scale = inl_lora_scale(alpha, f->r, r->lora->use_rslora);
    return isfinite(f->scale) ? INLAY_OK
                              : inl_fail(r->env, INLAY_ERROR_BAD_FILE,
                                         "%s: an alpha of %g is too large", r->config_path, alpha);
}

// A [experts, r, in], B [parts, out, r, experts].
static inlay_result split(const peft_reader *r, const char *base, const fused *f, const float *a,
                          const float *b)
{
    for (uint32_t i = 0; i < f->experts * f->parts; i++) {
        uint32_t e = i / f->parts, part = i % f->parts;
        char path[PATH_ROOM + 64];
        snprintf(path, sizeof(path), "%s" FUSED_OUTER ".%u.%s", base, e, f->names[part]);
        inl_lora_halves halves = {.file = r->tensor_path,
                                  .a = f->a->name,
                                  .b = f->b->name,
                                  .base = path,
                                  .a_rank = f->r,
                                  .in = f->in,
                                  .out = f->out,
                                  .b_rank = f->r};
        inl_lora_pair *p;
        const inl_module *module;
        INL_TRY(inl_lora_add_halves(r->lora, r->modules, &halves, &p, &module));
        p->scale = f->scale;
        memcpy(p->a, a + (size_t)e * f->r * f->in, (size_t)f->r * f->in * sizeof(float));
        const float *rows = b + (size_t)part * f->out * f->r * f->experts;
        for (size_t k = 0; k < (size_t)f->out * f->r; k++)
            p->b[k] = rows[k * f->experts + e];
    }
    return INLAY_OK;
}

static inlay_result read_fused_values(const peft_reader *r, const char *base, const fused *f)
{
    uint64_t a_count = (uint64_t)f->experts * f->r * f->in;
    uint64_t b_count = (uint64_t)f->experts * f->r * f->out * f->parts;
    float *a = inl_alloc(r->env, a_count, sizeof(float));
    float *b = inl_alloc(r->env, b_count, sizeof(float));
    inlay_result result = a && b ? INLAY_OK : INLAY_ERROR_OUT_OF_MEMORY;
    if (result == INLAY_OK)
        result = read_values(r, f->a, a_count, a);
    if (result == INLAY_OK)
        result = read_values(r, f->b, b_count, b);
    if (result == INLAY_OK)
        result = split(r, base, f, a, b);
    inl_free(r->env, a);
    inl_free(r->env, b);
    return result;
}

static inlay_result read_fused(const peft_reader *r, const inl_safetensor *a,
                               const inl_safetensor *b, const char *base)
{
    char path[PATH_ROOM + 32];
    fused f = {.a = a, .b = b};
    snprintf(path, sizeof(path), "%s" FUSED_OUTER ".0.gate_proj", base);
    const inl_module *gate = inl_lora_find_module(r->modules, path);
    snprintf(path, sizeof(path), "%s" FUSED_OUTER ".0.down_proj", base);
    const inl_module *down = inl_lora_find_module(r->modules, path);
    if (!gate || !down)
        return inl_fail(r->env, INLAY_ERROR_MISMATCH,
                        "%s: tensor %.200s is for experts, which the model does not have",
                        r->tensor_path, a->name);
    if (a->dims != 2 || b->dims != 2 || !identify(gate, down, &f))
        return inl_fail(r->env, INLAY_ERROR_MISMATCH,
                        "%s: tensors %.200s and %.200s are for no matrices that the model's "
                        "experts have",
                        r->tensor_path, a->name, b->name);
    f.experts = gate->experts;
    f.r = (uint32_t)INL_MIN(a->shape[0] / f.experts, INL_LORA_MAX_RANK);
    INL_TRY(set_fused_scale(r, base, &f));
    return read_fused_values(r, base, &f);
}

// NaN in a file is refused wherever it stands.
static inlay_result check_ignored(const peft_reader *r, const inl_safetensor *t)
{
    static const char *const names[] = {"F32", "F16", "BF16"};
    for (size_t i = 0; i < INL_COUNT(names); i++) {
        if (strcmp(t->dtype, names[i]) != 0)
            continue;
        const inl_format *format = inl_format_by_name(names[i]);
        uint64_t bad = format->find_not_finite(t->data, t->bytes / format->block_bytes);
        if (bad != UINT64_MAX)
            return inl_fail(r->env, INLAY_ERROR_NOT_FINITE,
                            "%s: tensor %.200s has NaN or infinity at element %llu",
                            r->tensor_path, t->name, (unsigned long long)bad);
    }
    return INLAY_OK;
}

static inlay_result read_other(const peft_reader *r, const inl_safetensor *t)
{
    char base[PATH_ROOM];
    if (!inl_lora_cut_suffix(t->name, SUFFIX_BASE, base, sizeof(base)))
        return inl_fail(r->env, INLAY_ERROR_UNSUPPORTED, "%s: tensor %.200s is not part of a LoRA",
                        r->tensor_path, t->name);
    INL_TRY(check_ignored(r, t));
    inl_logf(r->env, INLAY_LOG_WARN,
             "%s: tensor %.200s is ignored: the weights of the base model itself are used",
             r->tensor_path, t->name);
    return INLAY_OK;
}

// A pair is read where its A stands in the file; the others are only checked for having one.
static inlay_result read_tensor(const peft_reader *r, const inl_safetensor *t)
{
    char base[PATH_ROOM], partner[PATH_ROOM + 16], layer[PATH_ROOM];
    bool is_a = inl_lora_cut_suffix(t->name, SUFFIX_A, base, sizeof(base));
    if ((!is_a && !inl_lora_cut_suffix(t->name, SUFFIX_B, base, sizeof(base)) &&
         !inl_lora_cut_suffix(t->name, SUFFIX_MAGNITUDE, base, sizeof(base))) ||
        strncmp(base, PREFIX, strlen(PREFIX)) != 0)
        return read_other(r, t);
    snprintf(partner, sizeof(partner), "%s%s", base, is_a ? SUFFIX_B : SUFFIX_A);
    const inl_safetensor *other = inl_safetensors_find(r->file, partner);
    if (!other)
        return inl_lora_fail_alone(r->env, r->tensor_path, t->name, partner);
    if (!is_a)
        return INLAY_OK;
    const char *path = base + strlen(PREFIX);
    return r->modules && is_fused(path, layer) ? read_fused(r, t, other, layer)
                                               : read_pair(r, t, other, path);
}

// PEFT gives the vision part adapters too where a target's name is one of its modules'.
static bool is_vision(const inl_safetensor *t)
{
    size_t prefix = strlen(PREFIX);
    return strncmp(t->name, PREFIX, prefix) == 0 && inl_hf_is_vision(t->name + prefix);
}

static inlay_result read_tensors(const peft_reader *r)
{
    uint32_t vision = 0;
    for (uint32_t i = 0; i < inl_safetensors_count(r->file); i++) {
        const inl_safetensor *t = inl_safetensors_at(r->file, i);
        bool left_out = r->modules && is_vision(t);
        INL_TRY(left_out ? check_ignored(r, t) : read_tensor(r, t));
        vision += left_out;
    }
    if (r->lora->pair_count == 0)
        return inl_fail(r->env, INLAY_ERROR_BAD_FILE, "%s: the adapter holds no tensors%s",
                        r->tensor_path, vision ? " but those of a vision part" : "");
    if (vision > 0)
        inl_logf(r->env, INLAY_LOG_WARN,
                 "%s: %u tensors of a vision part are left out; the text model's are used",
                 r->tensor_path, vision);
    return INLAY_OK;
}

// PEFT wrote its tensors as a pickle until 2023; reading one can run what is in it.
static inlay_result open_tensors(peft_reader *r, const char *folder)
{
    char *pickle = inl_path_join(r->env, folder, PICKLE_FILE);
    if (!pickle)
        return INLAY_ERROR_OUT_OF_MEMORY;
    bool old = !inl_exists(r->tensor_path) && inl_exists(pickle);
    inl_free(r->env, pickle);
    if (!old)
        return inl_safetensors_open(r->env, r->tensor_path, &r->file);
    return inl_fail(r->env, INLAY_ERROR_UNSUPPORTED,
                    "%s: there is " PICKLE_FILE ", a pickle, which is not read: load the adapter "
                    "in PEFT and save it anew, which writes " TENSOR_FILE,
                    folder);
}

static inlay_result read_base(peft_reader *r)
{
    const char *name;
    INL_TRY(inl_settings_string(&r->config, NULL, BASE_NAME, NULL, &name));
    r->lora->base = name ? inl_strdup(r->env, name) : NULL;
    return name && !r->lora->base ? INLAY_ERROR_OUT_OF_MEMORY : INLAY_OK;
}

static inlay_result read_all(peft_reader *r, const char *folder)
{
    INL_TRY(inl_settings_open(r->env, r->config_path, &r->config));
    INL_TRY(open_tensors(r, folder));
    INL_TRY(inl_safetensors_rename(r->file, canonical_name));
    // Two tensors of a layer at most may each be fused of two matrices of its experts.
    uint64_t most = inl_safetensors_count(r->file) + (r->modules ? 2ull * r->modules->count : 0);
    INL_TRY(inl_lora_begin(r->env, (uint32_t)INL_MIN(most, UINT32_MAX - 1), "peft", &r->lora));
    INL_TRY(apply_config(r));
    INL_TRY(read_base(r));
    INL_TRY(read_tensors(r));
    if (r->modules)
        snprintf(r->lora->architecture, sizeof(r->lora->architecture), "%s",
                 r->modules->architecture);
    return inl_lora_finish(r->lora, r->modules);
}

inlay_result inl_lora_load_peft(const inl_env *env, const inl_module_list *modules,
                                const char *folder, inl_lora **out)
{
    peft_reader r = {.env = env, .modules = modules, .config.env = *env};
    r.config_path = inl_path_join(env, folder, CONFIG_FILE);
    r.tensor_path = inl_path_join(env, folder, TENSOR_FILE);
    inlay_result result =
        r.config_path && r.tensor_path ? read_all(&r, folder) : INLAY_ERROR_OUT_OF_MEMORY;
    inl_safetensors_close(&r.file);
    inl_settings_close(&r.config);
    inl_free(env, r.config_path);
    inl_free(env, r.tensor_path);
    if (result != INLAY_OK)
        inl_lora_destroy(&r.lora);
    *out = r.lora;
    return result;
}

// ---- writing the config

// As it will stand in the file.
static double rounded(double value)
{
    char text[32];
    snprintf(text, sizeof(text), "%.*g", DIGITS, value);
    return strtod(text, NULL);
}

static json_t *number(double value)
{
    return fabs(value) < 1e15 && value == floor(value) ? json_integer((json_int_t)value)
                                                       : json_real(value);
}

typedef struct patterns {
    const inl_lora *lora;
    double alpha; // of the file
    json_t *ranks, *alphas;
} patterns;

// What differs from the adapter's own.
static void add_pattern(const patterns *w, const char *key, uint32_t r, float scale)
{
    const inl_lora *lora = w->lora;
    if (r != lora->r)
        json_object_set_new(w->ranks, key, json_integer(r));
    if (scale != inl_lora_scale(w->alpha, r, lora->use_rslora))
        json_object_set_new(w->alphas, key, number(inl_lora_alpha(scale, r, lora->use_rslora)));
}

// Pairs from `first` on that are of the same experts; all of one rank and scale, or *same is false.
static uint32_t count_experts(const inl_lora *lora, const inl_module_list *modules, uint32_t first,
                              bool *same)
{
    const inl_lora_pair *p = &lora->pairs[first];
    uint32_t count = inl_lora_count_together(lora, modules, first);
    *same = modules->items[p->module].experts > 0;
    for (uint32_t i = 1; i < count; i++)
        *same &= p[i].r == p->r && p[i].scale == p->scale;
    return count;
}

// One key for all experts of a layer, and one for what PEFT makes of them with transformers 5,
// where gate and up become one pair of both ranks.
static void add_expert_patterns(const patterns *w, const inl_lora_pair *p)
{
    char key[PATH_ROOM];
    const char *name = inl_targets_suffix(p->path);
    int layer = (int)(strstr(p->path, FUSED_OUTER) - p->path);
    snprintf(key, sizeof(key), "%.*s" FUSED_OUTER "\\.\\d+\\.%s", layer, p->path, name);
    add_pattern(w, key, p->r, p->scale);
    bool down = strcmp(name, "down_proj") == 0;
    snprintf(key, sizeof(key), "%.*s" FUSED_OUTER ".%s", layer, p->path,
             down ? name : "gate_up_proj");
    bool usual = p->r == w->lora->r && !w->lora->use_rslora &&
                 p->scale == inl_lora_scale(w->alpha, p->r, false);
    if (!usual)
        add_pattern(w, key, down ? p->r : 2 * p->r, p->scale);
}

static void add_patterns(const inl_lora *lora, const inl_module_list *modules, json_t *ranks,
                         json_t *alphas)
{
    patterns w = {lora, rounded(lora->alpha), ranks, alphas};
    for (uint32_t i = 0, count; i < lora->pair_count; i += count) {
        bool same;
        count = count_experts(lora, modules, i, &same);
        if (same && strstr(lora->pairs[i].path, FUSED_OUTER)) {
            add_expert_patterns(&w, &lora->pairs[i]);
            continue;
        }
        for (uint32_t k = i; k < i + count; k++)
            add_pattern(&w, lora->pairs[k].path, lora->pairs[k].r, lora->pairs[k].scale);
    }
}

static bool has_experts(const inl_lora *lora, const inl_module_list *modules)
{
    for (uint32_t i = 0; i < lora->pair_count; i++)
        if (modules->items[lora->pairs[i].module].experts > 0)
            return true;
    return false;
}

static json_t *make_config(const inl_lora *lora, const inl_module_list *modules)
{
    json_t *targets = json_array(), *ranks = json_object(), *alphas = json_object();
    for (uint32_t i = 0; i < lora->target_count; i++)
        json_array_append_new(targets, json_string(lora->targets[i]));
    add_patterns(lora, modules, ranks, alphas);
    double dropout = inl_lora_decimal(lora->dropout);
    bool hidden = dropout > 0.0 && has_experts(lora, modules);
    json_t *config = json_pack(
        "{s:o, s:s?, s:s, s:b, s:b, s:b, s:n, s:n, s:o, s:f, s:n, s:s, s:i, s:o, s:o, s:s,"
        " s:b, s:b}",
        "alpha_pattern", alphas, BASE_NAME, lora->base ? lora->base : modules->folder, "bias",
        "none", "fan_in_fan_out", 0,
        "inference_mode", 1, "init_lora_weights", 1, "layers_pattern", "layers_to_transform",
        "lora_alpha", number(lora->alpha), "lora_dropout", hidden ? 0.0 : dropout,
        "modules_to_save", "peft_type", "LORA", "r", (int)lora->r, "rank_pattern", ranks,
        "target_modules", targets, "task_type", "CAUSAL_LM", "use_dora", (int)lora->use_dora,
        "use_rslora", (int)lora->use_rslora);
    if (config && hidden)
        json_object_set_new(config, EXPERT_DROPOUT, json_real(dropout));
    return config;
}

// Opened and on the disk, without its final name.
static inlay_result stage_config(const inl_lora *lora, const inl_module_list *modules,
                                 const char *path, inl_writer *w)
{
    json_t *config = make_config(lora, modules);
    char *text =
        config ? json_dumps(config, JSON_INDENT(2) | JSON_SORT_KEYS | JSON_REAL_PRECISION(DIGITS))
               : NULL;
    inlay_result result =
        text ? inl_writer_open(&lora->env, path, w)
             : inl_fail(&lora->env, INLAY_ERROR_OUT_OF_MEMORY, "out of memory writing %s", path);
    if (result == INLAY_OK) {
        inl_writer_put(w, text, strlen(text));
        inl_writer_put(w, "\n", 1);
        result = inl_writer_flush(w);
        if (result != INLAY_OK)
            inl_writer_abandon(w);
    }
    json_decref(config);
    free(text);
    return result;
}

// ---- writing the tensors

static int by_name(const void *x, const void *y)
{
    return strcmp(((const inl_safetensor_out *)x)->name, ((const inl_safetensor_out *)y)->name);
}

#define PAIR_TENSORS 3 // at most

typedef struct tensor_list {
    const inl_lora *lora;
    inl_safetensor_out *items;
    float **copies; // of those whose rows change order, or NULL
    uint32_t count;
} tensor_list;

// `module` NULL: the rows are not the module's output.
static inlay_result add_tensor(tensor_list *l, const inl_lora_pair *p, const char *suffix,
                               const inl_module *module, inl_safetensor_out tensor)
{
    const inl_env *env = &l->lora->env;
    uint32_t i = l->count++;
    tensor.name = inl_sprintf(env, PREFIX "%s%s", p->path, suffix);
    l->items[i] = tensor;
    if (!tensor.name)
        return INLAY_ERROR_OUT_OF_MEMORY;
    if (!module || module->permuted_heads == 0)
        return INLAY_OK;
    uint32_t cols = tensor.dims > 1 ? p->r : 1;
    l->copies[i] = inl_alloc(env, (size_t)p->out * cols, sizeof(float));
    if (!l->copies[i])
        return INLAY_ERROR_OUT_OF_MEMORY;
    inl_lora_permute_b(module, cols, tensor.data, l->copies[i], true);
    l->items[i].data = l->copies[i];
    return INLAY_OK;
}

static inlay_result make_tensors(tensor_list *l, const inl_module_list *modules)
{
    for (uint32_t i = 0; i < l->lora->pair_count; i++) {
        const inl_lora_pair *p = &l->lora->pairs[i];
        const inl_module *m = &modules->items[p->module];
        inl_safetensor_out a = {.dims = 2, .shape = {p->r, p->in}, .data = p->a},
                           b = {.dims = 2, .shape = {p->out, p->r}, .data = p->b},
                           magnitude = {.dims = 1, .shape = {p->out}, .data = p->magnitude};
        INL_TRY(add_tensor(l, p, SUFFIX_A, NULL, a));
        INL_TRY(add_tensor(l, p, SUFFIX_B, m, b));
        if (p->magnitude)
            INL_TRY(add_tensor(l, p, SUFFIX_MAGNITUDE, m, magnitude));
    }
    return INLAY_OK;
}

static inlay_result write_tensors(const inl_lora *lora, const inl_module_list *modules,
                                  const char *path)
{
    const inl_env *env = &lora->env;
    size_t room = (size_t)PAIR_TENSORS * lora->pair_count + 1;
    tensor_list l = {.lora = lora};
    l.items = inl_alloc(env, room, sizeof(*l.items));
    l.copies = inl_alloc(env, room, sizeof(*l.copies));
    inlay_result result = INLAY_ERROR_OUT_OF_MEMORY;
    if (l.items && l.copies)
        result = make_tensors(&l, modules);
    if (result == INLAY_OK) {
        qsort(l.items, l.count, sizeof(*l.items), by_name);
        result = inl_safetensors_write(env, path, l.items, l.count);
    }
    for (uint32_t i = 0; i < l.count; i++) {
        inl_free(env, (char *)l.items[i].name);
        inl_free(env, l.copies[i]);
    }
    inl_free(env, l.items);
    inl_free(env, l.copies);
    return result;
}

// The config is on the disk before the tensors get their name: a full disk does not leave the new
// tensors beside the config of older ones.
static inlay_result write_files(const inl_lora *lora, const inl_module_list *modules,
                                const char *config, const char *tensors)
{
    inl_writer w;
    INL_TRY(stage_config(lora, modules, config, &w));
    inlay_result result = write_tensors(lora, modules, tensors);
    if (result == INLAY_OK)
        return inl_writer_commit(&w);
    inl_writer_abandon(&w);
    return result;
}

// PEFT takes the names of experts' modules for parameters of theirs, wherever a module has one.
static void warn_of_dense(const inl_lora *lora, const inl_module_list *modules)
{
    uint32_t experts = 0, dense = 0;
    for (uint32_t i = 0; i < lora->pair_count; i++) {
        const inl_module *m = &modules->items[lora->pairs[i].module];
        experts += m->experts > 0;
        dense += m->experts == 0 && strstr(m->path, ".mlp.") && strstr(m->path, "_proj");
    }
    if (experts > 0 && dense > 0)
        inl_logf(&lora->env, INLAY_LOG_WARN,
                 "PEFT leaves out the pairs of dense layers (%u) beside those of experts; inlay "
                 "loads all",
                 dense);
}

inlay_result inl_lora_save_peft(const inl_lora *lora, const inl_module_list *modules,
                                const char *folder)
{
    const inl_env *env = &lora->env;
    INL_TRY(inl_lora_check_writable(lora, modules));
    warn_of_dense(lora, modules);
    INL_TRY(inl_make_folder(env, folder));
    char *config = inl_path_join(env, folder, CONFIG_FILE);
    char *tensors = inl_path_join(env, folder, TENSOR_FILE);
    inlay_result result = INLAY_ERROR_OUT_OF_MEMORY;
    if (config && tensors)
        result = write_files(lora, modules, config, tensors);
    inl_free(env, config);
    inl_free(env, tensors);
    return result;
}
