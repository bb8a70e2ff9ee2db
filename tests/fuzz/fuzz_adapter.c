// SPDX-License-Identifier: MIT
// libFuzzer target: any bytes as an adapter. The first byte chooses a GGUF file or a PEFT folder,
// whether there is a base, and whether that has experts; in a folder's input the config ends with
// the first zero byte. What loads is finite, fits the base, and can be saved in both formats and
// loaded again.
#define _GNU_SOURCE // memfd_create
#include "adapter/lora.h"
#include "fuzz/memory_folder.h"
#include "harness/gguf_bytes.h"
#include "harness/safetensors_bytes.h"
#include "harness/toy_modules.h"

#include <math.h>

#define GGUF_MODE 1
#define NO_BASE_MODE 2
#define MIXTURE_MODE 8

enum { CONFIG, TENSORS, FILES };

static memory_folder files;
static char gguf_path[64], saved[96], saved_gguf[96]; // to read; to save to

static void make_files(void)
{
    static const char *const names[FILES] = {"adapter_config.json", "adapter_model.safetensors"};
    memory_folder_make(&files, names, FILES);
    snprintf(gguf_path, sizeof(gguf_path), "/proc/self/fd/%d", files.files[TENSORS]);
    snprintf(saved, sizeof(saved), "%s/out", files.root);
    snprintf(saved_gguf, sizeof(saved_gguf), "%s/out.gguf", files.root);
}

// Writes the input; returns the path to load.
static const char *write_input(uint8_t mode, const uint8_t *data, size_t size)
{
    make_files();
    size_t config_size = 0;
    const uint8_t *config = mode & GGUF_MODE ? data : fuzz_part(&data, &size, &config_size);
    memory_folder_fill(&files, CONFIG, config, config_size);
    memory_folder_fill(&files, TENSORS, data, size);
    return mode & GGUF_MODE ? gguf_path : files.path;
}

static void check_values(const float *values, uint64_t count)
{
    for (uint64_t i = 0; i < count; i++)
        fuzz_require(isfinite(values[i]));
}

static void check_lora(const inl_lora *lora, const inl_module_list *list)
{
    fuzz_require(lora->pair_count > 0 && lora->r > 0 && isfinite(lora->alpha));
    fuzz_require(lora->dropout >= 0.0f && lora->dropout < 1.0f);
    for (uint32_t i = 0; i < lora->pair_count; i++) {
        const inl_lora_pair *p = &lora->pairs[i];
        fuzz_require(p->path && p->r > 0 && isfinite(p->scale));
        check_values(p->a, (uint64_t)p->r * p->in);
        check_values(p->b, (uint64_t)p->r * p->out);
        if (!list)
            continue;
        const inl_module *m = &list->items[p->module];
        fuzz_require(p->module < list->count && strcmp(p->path, m->path) == 0);
        fuzz_require(p->in == m->in && p->out == m->out);
        fuzz_require(i == 0 || p[-1].module < p->module);
    }
    fuzz_require(!list || lora->target_count > 0);
}

// A PEFT folder keeps everything; a GGUF file moves scales into B, and refuses what overflows
// there.
static void check_saving(const inl_env *env, const inl_lora *lora, const inl_module_list *list)
{
    inl_lora *again;
    fuzz_require(inl_lora_save_peft(lora, list, saved) == INLAY_OK);
    fuzz_require(inl_lora_load(env, list, saved, &again) == INLAY_OK);
    check_lora(again, list);
    fuzz_require(again->pair_count == lora->pair_count && again->dropout == lora->dropout);
    for (uint32_t i = 0; i < lora->pair_count; i++) {
        const inl_lora_pair *p = &lora->pairs[i], *q = &again->pairs[i];
        fuzz_require(p->module == q->module && p->r == q->r && p->scale == q->scale);
        fuzz_require(memcmp(p->a, q->a, sizeof(float) * p->r * p->in) == 0);
        fuzz_require(memcmp(p->b, q->b, sizeof(float) * p->r * p->out) == 0);
    }
    inl_lora_destroy(&again);
    inlay_result result = inl_lora_save_gguf(lora, list, saved_gguf);
    fuzz_require(result == INLAY_OK || result == INLAY_ERROR_NOT_FINITE);
    if (result != INLAY_OK)
        return;
    fuzz_require(inl_lora_load(env, list, saved_gguf, &again) == INLAY_OK);
    check_lora(again, list);
    inl_lora_destroy(&again);
}

// Half of it twice: ranks add, unless they become too many or the parts are DoRA's.
static void check_sum(const inl_env *env, const inl_lora *lora, const inl_module_list *list)
{
    const inl_lora *parts[] = {lora, lora};
    inl_lora *sum;
    inlay_result result =
        inl_lora_combine(env, list, parts, (const float[]){0.5f, 0.5f}, 2, &sum);
    fuzz_require((result == INLAY_OK) == (sum != NULL));
    if (result != INLAY_OK) {
        fuzz_require(result == INLAY_ERROR_UNSUPPORTED || result == INLAY_ERROR_NOT_FINITE);
        return;
    }
    fuzz_require(!lora->use_dora && sum->pair_count == lora->pair_count);
    check_lora(sum, list);
    for (uint32_t i = 0; i < sum->pair_count; i++)
        fuzz_require(sum->pairs[i].r == 2 * lora->pairs[i].r && sum->pairs[i].scale == 1.0f);
    inl_lora_destroy(&sum);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static inl_modules dense, mixture;
    int errors;
    inl_env env = fuzz_env(&errors);
    inl_lora *lora;
    if (size == 0)
        return 0;
    if (!dense.items) {
        dense = toy_modules(&toy_odd);
        mixture = toy_modules(&toy_mixture);
    }
    uint8_t mode = data[0];
    const inl_modules *base = mode & MIXTURE_MODE ? &mixture : &dense;
    const inl_module_list *list = mode & NO_BASE_MODE ? NULL : &base->list;
    const char *path = write_input(mode, data + 1, size - 1);
    inlay_result result = inl_lora_load(&env, list, path, &lora);
    fuzz_require((result == INLAY_OK) == (lora != NULL) && errors == (result != INLAY_OK));
    if (!lora)
        return 0;
    check_lora(lora, list);
    if (list) {
        check_saving(&env, lora, list);
        check_sum(&env, lora, list);
    }
    inl_lora_destroy(&lora);
    return 0;
}

// ---- seeds

static const uint64_t shapes[2][2] = {{2, 20}, {6, 2}}; // A and B of a v_proj, rank 2

static void put_folder(fuzz_put *put, void *user, const char *name, const char *config,
                       const char *dtype)
{
    static const uint8_t bytes[160] = {0, 0, 0x80, 0x3f};
    safetensors_bytes s = {0};
    size_t width = strcmp(dtype, "F32") == 0 ? 4 : 2;
    for (size_t i = 0; i < 2; i++) {
        char tensor[96];
        snprintf(tensor, sizeof(tensor),
                 *name == 'b' ? "model.layers.1.self_attn.v_proj.lora_%c.default.weight"
                              : "base_model.model.model.layers.1.self_attn.v_proj.lora_%c.weight",
                 i ? 'B' : 'A');
        safetensors_bytes_tensor(&s, tensor, dtype, 2, shapes[i], bytes,
                                 width * shapes[i][0] * shapes[i][1]);
    }
    safetensors_bytes_end(&s);
    char head[512];
    size_t length = (size_t)snprintf(head, sizeof(head), "%c%s", 4, config) + 1;
    fuzz_put_with(put, user, name, head, length, s.data, s.size);
    head[0] = 4 + NO_BASE_MODE;
    fuzz_put_with(put, user, (char[]){name[0], '0', 0}, head, length, s.data, s.size);
    safetensors_bytes_free(&s);
}

static void put_gguf(fuzz_put *put, void *user, const char *name, float alpha)
{
    static const float values[40] = {1.0f, -2.0f};
    gguf_bytes g;
    gguf_bytes_begin(&g);
    gguf_bytes_string(&g, "general.architecture", "llama");
    gguf_bytes_string(&g, "general.type", "adapter");
    gguf_bytes_string(&g, "adapter.type", "lora");
    if (alpha != 0.0f)
        gguf_bytes_f32(&g, "adapter.lora.alpha", alpha);
    gguf_bytes_tensor(&g, "blk.0.attn_v.weight.lora_a", 0, 2, (uint64_t[]){20, 2}, values, 160);
    gguf_bytes_tensor(&g, "blk.0.attn_v.weight.lora_b", 1, 2, (uint64_t[]){2, 6}, values, 24);
    gguf_bytes_end(&g);
    fuzz_put_with(put, user, name, (char[]){GGUF_MODE}, 1, g.data, g.size);
    fuzz_put_with(put, user, (char[]){name[0], '0', 0}, (char[]){GGUF_MODE + NO_BASE_MODE}, 1,
                  g.data, g.size);
    gguf_bytes_free(&g);
}

// An expert by its name, and a layer's as PEFT fuses them.
static void put_experts(fuzz_put *put, void *user)
{
    static const float zeros[6 * 28];
    static const char config[] =
        "\x08{\"peft_type\":\"LORA\",\"r\":2,\"target_parameters\":[\"x\"]}";
    static const struct {
        const char *name;
        uint64_t rows, cols;
    } halves[] = {{"0.mlp.experts.1.up_proj.lora_A", 2, 20},
                  {"0.mlp.experts.1.up_proj.lora_B", 14, 2},
                  {"1.mlp.experts.base_layer.lora_A", 6, 20},
                  {"1.mlp.experts.base_layer.lora_B", 28, 6},
                  {"1.mlp.experts.lora_A", 6, 14},
                  {"1.mlp.experts.lora_B", 20, 6}};
    safetensors_bytes s = {0};
    for (size_t i = 0; i < INL_COUNT(halves); i++) {
        char tensor[96];
        snprintf(tensor, sizeof(tensor), "base_model.model.model.layers.%s.weight", halves[i].name);
        safetensors_bytes_tensor(&s, tensor, "F32", 2, &halves[i].rows, zeros,
                                 4 * halves[i].rows * halves[i].cols);
    }
    safetensors_bytes_end(&s);
    fuzz_put_with(put, user, "e", config, sizeof(config), s.data, s.size);
    safetensors_bytes_free(&s);
    gguf_bytes g;
    gguf_bytes_begin(&g);
    gguf_bytes_string(&g, "general.architecture", "qwen3moe");
    gguf_bytes_string(&g, "general.type", "adapter");
    gguf_bytes_string(&g, "adapter.type", "lora");
    gguf_bytes_tensor(&g, "blk.0.ffn_up_exps.weight.lora_a", 0, 3, (uint64_t[]){20, 2, 3}, zeros,
                      480);
    gguf_bytes_tensor(&g, "blk.0.ffn_up_exps.weight.lora_b", 0, 3, (uint64_t[]){2, 14, 3}, zeros,
                      336);
    gguf_bytes_end(&g);
    fuzz_put_with(put, user, "f", (char[]){GGUF_MODE + MIXTURE_MODE}, 1, g.data, g.size);
    gguf_bytes_free(&g);
}

void fuzz_seeds(fuzz_put *put, void *user)
{
    put_experts(put, user);
    put_folder(put, user, "a", "{\"peft_type\":\"LORA\",\"r\":2}", "F32");
    put_folder(
        put, user, "b",
        "{\"peft_type\":\"LORA\",\"rank_pattern\":{\"v_proj\":2},\"lora_alpha\":0.3,"
        "\"alpha_pattern\":{\"layers.[12].*\":7.5},\"use_rslora\":true,\"lora_dropout\":0.05}",
        "BF16");
    put_gguf(put, user, "c", 16.0f);
    put_gguf(put, user, "d", 0.0f);
}
