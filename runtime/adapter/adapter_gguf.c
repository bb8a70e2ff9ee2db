// SPDX-License-Identifier: MIT
// Adapters as llama.cpp's --lora loads them: A as "<tensor>.lora_a" {in, r}, B as "<tensor>.lora_b"
// {r, out}, of experts {in, r, experts} and {r, out, experts}, one alpha for all. A pair's scale is
// alpha / r, r its own rank; where alpha is 0 or missing it is 1.
#include "adapter/pairs.h"
#include "io/gguf.h"
#include "quant/format.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#define SUFFIX_A ".lora_a"
#define SUFFIX_B ".lora_b"
#define MOST_PAIRS (1u << 22)
#define NAME_ROOM 128 // tensor names are shorter than 64 bytes
// A relative difference of two scales that is rounding alone: not worth changing B for.
#define SCALE_TOLERANCE 0x1p-22

static float pair_scale(float alpha, uint32_t r)
{
    return alpha != 0.0f ? inl_lora_scale((double)alpha, r, false) : 1.0f;
}

// ---- reading

typedef struct gguf_reader {
    const inl_env *env;
    const inl_module_list *modules; // or NULL
    const char *path;
    inl_gguf *file;
    float alpha;
    inl_lora *lora;
} gguf_reader;

static bool string_is(const inl_gguf *file, const char *key, const char *wanted)
{
    inl_slice text;
    return inl_gguf_get_string(file, key, &text) && text.size == strlen(wanted) &&
           memcmp(text.data, wanted, text.size) == 0;
}

static inlay_result read_architecture(gguf_reader *r)
{
    inl_slice name;
    char *own = r->lora->architecture;
    if (!inl_gguf_get_string(r->file, "general.architecture", &name))
        return inl_fail(r->env, INLAY_ERROR_BAD_FILE, "%s: the metadata lack general.architecture",
                        r->path);
    snprintf(own, sizeof(r->lora->architecture), "%.*s",
             (int)INL_MIN(name.size, sizeof(r->lora->architecture) - 1), name.data);
    if (r->modules && !string_is(r->file, "general.architecture", r->modules->architecture))
        return inl_fail(r->env, INLAY_ERROR_MISMATCH, "%s is for a %s model, this one is %s",
                        r->path, own, r->modules->architecture);
    return INLAY_OK;
}

static inlay_result read_metadata(gguf_reader *r)
{
    if (!string_is(r->file, "general.type", "adapter") ||
        !string_is(r->file, "adapter.type", "lora"))
        return inl_fail(r->env, INLAY_ERROR_UNSUPPORTED, "%s is not a LoRA adapter", r->path);
    if (inl_gguf_has(r->file, "adapter.alora.invocation_tokens"))
        return inl_fail(r->env, INLAY_ERROR_UNSUPPORTED,
                        "%s: adapters with invocation tokens (aLoRA) are not supported", r->path);
    INL_TRY(read_architecture(r));
    if (!inl_gguf_get_f32(r->file, "adapter.lora.alpha", &r->alpha) &&
        inl_gguf_has(r->file, "adapter.lora.alpha"))
        return inl_fail(r->env, INLAY_ERROR_BAD_FILE, "%s: adapter.lora.alpha is not an f32",
                        r->path);
    if (!isfinite(r->alpha))
        return inl_fail(r->env, INLAY_ERROR_NOT_FINITE, "%s: adapter.lora.alpha is not finite",
                        r->path);
    return INLAY_OK;
}

static inlay_result check_half(const gguf_reader *r, const inl_gguf_tensor *t)
{
    if (!inl_format_by_ggml(t->type))
        return inl_fail(r->env, INLAY_ERROR_UNSUPPORTED,
                        "%s: tensor %s has the type %s, which is not "
                        "supported in an adapter",
                        r->path, t->name, inl_ggml_type_info(t->type, NULL, NULL));
    if (t->shape[3] != 1)
        return inl_fail(r->env, INLAY_ERROR_BAD_FILE, "%s: tensor %s has %u dimensions, not 2",
                        r->path, t->name, t->dims);
    return INLAY_OK;
}

static inlay_result decode(const gguf_reader *r, const inl_gguf_tensor *t, uint32_t expert,
                           float *out)
{
    uint64_t count = t->shape[0] * t->shape[1];
    const uint8_t *data = (const uint8_t *)t->data + t->bytes / t->shape[2] * expert;
    inl_format_by_ggml(t->type)->decode(data, out, count);
    return inl_lora_check_finite(r->env, r->path, t->name, out, count);
}

static inlay_result to_folder_order(const inl_env *env, const inl_module *module, inl_lora_pair *p)
{
    float *hf = inl_alloc(env, (size_t)p->out * p->r, sizeof(float));
    if (!hf)
        return INLAY_ERROR_OUT_OF_MEMORY;
    inl_lora_permute_b(module, p->r, p->b, hf, true);
    memcpy(p->b, hf, (size_t)p->out * p->r * sizeof(float));
    inl_free(env, hf);
    return INLAY_OK;
}

static inlay_result read_matrices(const gguf_reader *r, const inl_gguf_tensor *a,
                                  const inl_gguf_tensor *b, const char *base, uint32_t expert)
{
    inl_lora_halves halves = {.file = r->path,
                              .a = a->name,
                              .b = b->name,
                              .base = base,
                              .a_rank = a->shape[1],
                              .in = a->shape[0],
                              .out = b->shape[1],
                              .b_rank = b->shape[0],
                              .expert = expert,
                              .experts = a->dims > 2 ? (uint32_t)a->shape[2] : 0};
    char own[NAME_ROOM + 16], tensor[NAME_ROOM];
    if (!r->modules && halves.experts > 0 && // as such a matrix would be called by itself
        inl_lora_cut_suffix(base, ".weight", tensor, sizeof(tensor))) {
        snprintf(own, sizeof(own), "%s.%u.weight", tensor, expert);
        halves.base = own;
    }
    inl_lora_pair *p;
    const inl_module *module;
    INL_TRY(inl_lora_add_halves(r->lora, r->modules, &halves, &p, &module));
    p->scale = pair_scale(r->alpha, p->r);
    r->lora->r = INL_MAX(r->lora->r, p->r);
    INL_TRY(decode(r, a, expert, p->a));
    INL_TRY(decode(r, b, expert, p->b));
    return module && module->folder_heads ? to_folder_order(r->env, module, p) : INLAY_OK;
}

// Experts' matrices lie in one tensor, and are pairs each.
static inlay_result read_pair(const gguf_reader *r, const inl_gguf_tensor *a,
                              const inl_gguf_tensor *b, const char *base)
{
    if (strcmp(base, "token_embd.weight") == 0)
        return inl_fail(r->env, INLAY_ERROR_UNSUPPORTED,
                        "%s: tensor %s: adapters of the embedding are not supported", r->path,
                        a->name);
    INL_TRY(check_half(r, a));
    INL_TRY(check_half(r, b));
    if (a->shape[2] != b->shape[2])
        return inl_fail(r->env, INLAY_ERROR_BAD_FILE,
                        "%s: tensors %s and %s are no pair: they are of %llu and %llu experts",
                        r->path, a->name, b->name, (unsigned long long)a->shape[2],
                        (unsigned long long)b->shape[2]);
    for (uint32_t expert = 0; expert < a->shape[2]; expert++)
        INL_TRY(read_matrices(r, a, b, base, expert));
    return INLAY_OK;
}

// An upper bound, for what is allocated: each has bytes in the file.
static inlay_result count_pairs(const gguf_reader *r, uint32_t *pairs)
{
    uint64_t sum = 0;
    for (uint32_t i = 0; i < inl_gguf_tensor_count(r->file); i++)
        sum += inl_gguf_tensor_at(r->file, i)->shape[2];
    if (sum > MOST_PAIRS)
        return inl_fail(r->env, INLAY_ERROR_UNSUPPORTED, "%s: %llu matrices are too many", r->path,
                        (unsigned long long)sum);
    *pairs = (uint32_t)sum;
    return INLAY_OK;
}

// NaN in a file is refused wherever it stands.
static inlay_result check_ignored(const gguf_reader *r, const inl_gguf_tensor *t)
{
    const inl_format *format = inl_format_by_ggml(t->type);
    uint64_t count = t->shape[0] * t->shape[1] * t->shape[2] * t->shape[3];
    uint64_t bad = format ? format->find_not_finite(t->data, count) : UINT64_MAX;
    if (bad == UINT64_MAX)
        return INLAY_OK;
    return inl_fail(r->env, INLAY_ERROR_NOT_FINITE,
                    "%s: tensor %s has NaN or infinity (block %llu)", r->path, t->name,
                    (unsigned long long)bad);
}

// A pair is read where its A stands in the list; a B is only checked for having one.
static inlay_result read_tensor(const gguf_reader *r, const inl_gguf_tensor *t)
{
    char base[NAME_ROOM], partner[NAME_ROOM + 8];
    bool is_a = inl_lora_cut_suffix(t->name, SUFFIX_A, base, sizeof(base));
    if (!is_a && !inl_lora_cut_suffix(t->name, SUFFIX_B, base, sizeof(base))) {
        if (!inl_lora_cut_suffix(t->name, "_norm.weight", base, sizeof(base)))
            return inl_fail(r->env, INLAY_ERROR_UNSUPPORTED, "%s: tensor %s is not part of a LoRA",
                            r->path, t->name);
        INL_TRY(check_ignored(r, t));
        inl_logf(r->env, INLAY_LOG_WARN, "%s: tensor %s is ignored, as llama.cpp does", r->path,
                 t->name);
        return INLAY_OK;
    }
    snprintf(partner, sizeof(partner), "%s%s", base, is_a ? SUFFIX_B : SUFFIX_A);
    const inl_gguf_tensor *other = inl_gguf_find_tensor(r->file, partner);
    if (!other)
        return inl_lora_fail_alone(r->env, r->path, t->name, partner);
    return is_a ? read_pair(r, t, other, base) : INLAY_OK;
}

static inlay_result read_all(gguf_reader *r)
{
    INL_TRY(inl_gguf_open(r->env, r->path, &r->file));
    uint32_t pairs = 0;
    INL_TRY(count_pairs(r, &pairs));
    INL_TRY(inl_lora_begin(r->env, pairs, "gguf", &r->lora));
    INL_TRY(read_metadata(r));
    for (uint32_t i = 0; i < inl_gguf_tensor_count(r->file); i++)
        INL_TRY(read_tensor(r, inl_gguf_tensor_at(r->file, i)));
    if (r->lora->pair_count == 0)
        return inl_fail(r->env, INLAY_ERROR_BAD_FILE, "%s: the adapter holds no tensors", r->path);
    r->lora->alpha = (double)(r->alpha != 0.0f ? r->alpha : (float)r->lora->r);
    return inl_lora_finish(r->lora, r->modules);
}

inlay_result inl_lora_load_gguf(const inl_env *env, const inl_module_list *modules,
                                const char *path, inl_lora **out)
{
    gguf_reader r = {.env = env, .modules = modules, .path = path};
    inlay_result result = read_all(&r);
    inl_gguf_close(&r.file);
    if (result != INLAY_OK)
        inl_lora_destroy(&r.lora);
    *out = r.lora;
    return result;
}

// ---- writing

// The file's one alpha: the adapter's own. 0, a scale of 1 whatever the rank, where that is meant.
static float choose_alpha(const inl_lora *lora)
{
    bool ones = true, same_rank = true;
    for (uint32_t i = 0; i < lora->pair_count; i++) {
        ones &= lora->pairs[i].scale == 1.0f;
        same_rank &= lora->pairs[i].r == lora->pairs[0].r;
    }
    if (ones && !same_rank)
        return 0.0f;
    float alpha = (float)(lora->alpha * (lora->use_rslora ? sqrt((double)lora->r) : 1.0));
    return isnormal(alpha) ? alpha : (float)lora->r;
}

static inlay_result write_metadata(const inl_lora *lora, float alpha, inl_gguf_writer *w)
{
    INL_TRY(inl_gguf_writer_string(w, "general.architecture", lora->architecture));
    INL_TRY(inl_gguf_writer_string(w, "general.type", "adapter"));
    INL_TRY(inl_gguf_writer_string(w, "general.name", "inlay LoRA"));
    INL_TRY(inl_gguf_writer_u32(w, "general.file_type", 0));
    INL_TRY(inl_gguf_writer_u32(w, "general.quantization_version", 2));
    INL_TRY(inl_gguf_writer_string(w, "adapter.type", "lora"));
    return inl_gguf_writer_f32(w, "adapter.lora.alpha", alpha);
}

// What a pair's scale has beyond the file's alpha / r goes into a copy of B; without such a rest
// *copy is NULL and B is written as it is.
static inlay_result fold_scale(const inl_lora *lora, const inl_lora_pair *p, float alpha,
                               float **copy)
{
    double factor = (double)p->scale / (double)pair_scale(alpha, p->r);
    uint64_t count = (uint64_t)p->out * p->r;
    *copy = NULL;
    if (fabs(factor - 1.0) < SCALE_TOLERANCE)
        return INLAY_OK;
    *copy = inl_alloc(&lora->env, count, sizeof(float));
    if (!*copy)
        return INLAY_ERROR_OUT_OF_MEMORY;
    for (uint64_t i = 0; i < count; i++)
        (*copy)[i] = (float)((double)p->b[i] * factor);
    return INLAY_OK;
}

static inlay_result write_pair(const inl_lora_pair *p, const inl_module *m, const float *b,
                               inl_gguf_writer *w)
{
    char name[NAME_ROOM];
    uint32_t f32 = inl_format_by_id(INL_FORMAT_F32)->ggml_type;
    uint64_t a_shape[2] = {p->in, p->r}, b_shape[2] = {p->r, p->out};
    snprintf(name, sizeof(name), "%s" SUFFIX_A, m->gguf);
    INL_TRY(inl_gguf_writer_tensor(w, name, f32, 2, a_shape, p->a, 4ull * p->r * p->in));
    snprintf(name, sizeof(name), "%s" SUFFIX_B, m->gguf);
    return inl_gguf_writer_tensor(w, name, f32, 2, b_shape, b, 4ull * p->r * p->out);
}

// What is written of one tensor: a pair, or the pairs of its experts.
typedef struct group {
    const inl_lora_pair *pairs;
    uint32_t count;
    const inl_module *module; // of pairs[0]
} group;

static group next_group(const inl_lora *lora, const inl_module_list *modules, uint32_t first)
{
    return (group){.pairs = &lora->pairs[first],
                   .count = inl_lora_count_together(lora, modules, first),
                   .module = &modules->items[lora->pairs[first].module]};
}

// Experts of a smaller rank get zeros, and so do those without a pair: nothing is added for them.
static void stack(const group *g, const inl_module_list *modules, float alpha, uint32_t rank,
                  float *a, float *b)
{
    for (uint32_t i = 0; i < g->count; i++) {
        const inl_lora_pair *p = &g->pairs[i];
        uint64_t expert = modules->items[p->module].expert;
        double factor = (double)p->scale / (double)pair_scale(alpha, rank);
        if (fabs(factor - 1.0) < SCALE_TOLERANCE)
            factor = 1.0;
        memcpy(a + expert * rank * p->in, p->a, (size_t)p->r * p->in * sizeof(float));
        for (uint32_t n = 0; n < p->out; n++)
            for (uint32_t r = 0; r < p->r; r++)
                b[(expert * p->out + n) * rank + r] =
                    (float)((double)p->b[(size_t)n * p->r + r] * factor);
    }
}

static inlay_result write_experts(const inl_lora *lora, const group *g,
                                  const inl_module_list *modules, const char *path, float alpha,
                                  float *copies[2], inl_gguf_writer *w)
{
    const inl_module *m = g->module;
    uint32_t rank = 0, f32 = inl_format_by_id(INL_FORMAT_F32)->ggml_type;
    char name[NAME_ROOM];
    for (uint32_t i = 0; i < g->count; i++)
        rank = INL_MAX(rank, g->pairs[i].r);
    uint64_t a_count = (uint64_t)m->experts * rank * m->in;
    uint64_t b_count = (uint64_t)m->experts * rank * m->out;
    copies[0] = inl_alloc(&lora->env, a_count, sizeof(float));
    copies[1] = inl_alloc(&lora->env, b_count, sizeof(float));
    if (!copies[0] || !copies[1])
        return INLAY_ERROR_OUT_OF_MEMORY;
    stack(g, modules, alpha, rank, copies[0], copies[1]);
    INL_TRY(inl_lora_check_finite(&lora->env, path, m->gguf, copies[1], b_count));
    uint64_t a_shape[3] = {m->in, rank, m->experts}, b_shape[3] = {rank, m->out, m->experts};
    snprintf(name, sizeof(name), "%s" SUFFIX_A, m->gguf);
    INL_TRY(inl_gguf_writer_tensor(w, name, f32, 3, a_shape, copies[0], 4 * a_count));
    snprintf(name, sizeof(name), "%s" SUFFIX_B, m->gguf);
    return inl_gguf_writer_tensor(w, name, f32, 3, b_shape, copies[1], 4 * b_count);
}

static inlay_result write_one(const inl_lora *lora, const group *g, const char *path, float alpha,
                              float *copies[2], inl_gguf_writer *w)
{
    const inl_lora_pair *p = g->pairs;
    uint64_t count = (uint64_t)p->out * p->r;
    INL_TRY(fold_scale(lora, p, alpha, &copies[0]));
    if (copies[0])
        INL_TRY(inl_lora_check_finite(&lora->env, path, p->path, copies[0], count));
    const float *b = copies[0] ? copies[0] : p->b;
    if (g->module->folder_heads == 0)
        return write_pair(p, g->module, b, w);
    copies[1] = inl_alloc(&lora->env, count, sizeof(float));
    if (!copies[1])
        return INLAY_ERROR_OUT_OF_MEMORY;
    inl_lora_permute_b(g->module, p->r, b, copies[1], false);
    return write_pair(p, g->module, copies[1], w);
}

// `copies`: two for each pair.
static inlay_result write_all(const inl_lora *lora, const inl_module_list *modules,
                              const char *path, float **copies, inl_gguf_writer *w)
{
    float alpha = choose_alpha(lora);
    INL_TRY(write_metadata(lora, alpha, w));
    for (uint32_t i = 0; i < lora->pair_count;) {
        group g = next_group(lora, modules, i);
        INL_TRY(g.module->experts
                    ? write_experts(lora, &g, modules, path, alpha, &copies[2 * (size_t)i], w)
                    : write_one(lora, &g, path, alpha, &copies[2 * (size_t)i], w));
        i += g.count;
    }
    return inl_gguf_writer_write(w, path);
}

inlay_result inl_lora_save_gguf(const inl_lora *lora, const inl_module_list *modules,
                                const char *path)
{
    INL_TRY(inl_lora_check_writable(lora, modules));
    if (lora->has_head && modules->items[modules->count - 1].tied)
        return inl_fail(&lora->env, INLAY_ERROR_UNSUPPORTED,
                        "%s: a GGUF adapter cannot change the head alone where it shares the "
                        "embedding's matrix: merge the adapter into its model instead", path);
    if (lora->use_dora)
        return inl_fail(&lora->env, INLAY_ERROR_UNSUPPORTED,
                        "%s: a GGUF adapter cannot hold DoRA's magnitudes: merge the adapter into "
                        "its model instead", path);
    inl_gguf_writer *w;
    INL_TRY(inl_gguf_writer_create(&lora->env, &w));
    size_t room = 2 * (size_t)lora->pair_count;
    float **copies = inl_alloc(&lora->env, room + 1, sizeof(*copies));
    inlay_result result =
        copies ? write_all(lora, modules, path, copies, w) : INLAY_ERROR_OUT_OF_MEMORY;
    for (size_t i = 0; copies && i < room; i++)
        inl_free(&lora->env, copies[i]);
    inl_free(&lora->env, copies);
    inl_gguf_writer_destroy(&w);
    return result;
}
