// SPDX-License-Identifier: MIT
// Adapters in PEFT's folders: what PEFT writes is read, with all its patterns and types; what is
// wrong is refused with the file, the tensor and the reason; what is saved comes back bit for bit.
#define _XOPEN_SOURCE 700
#include <math.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>

#include <cmocka.h>
#include <jansson.h>

#include "adapter/pairs.h"
#include "base/file.h"
#include "base/half.h"
#include "harness/failing_env.h"
#include "harness/safetensors_bytes.h"
#include "harness/temp_folder.h"
#include "harness/toy_adapter.h"
#include "io/safetensors.h"

#define CONFIG "adapter_config.json"
#define TENSORS "adapter_model.safetensors"
#define LAYER "base_model.model.model.layers."

static inl_modules modules;

// ---- folders by hand

// Values 0, 1, 2, ... of a stream as `dtype` stores them.
static void *encode(const char *dtype, uint32_t stream, uint32_t count, size_t *bytes)
{
    bool f32 = strcmp(dtype, "F32") == 0, f16 = strcmp(dtype, "F16") == 0;
    uint8_t *out = malloc(4 * (size_t)count + 1);
    assert_non_null(out);
    *bytes = (f32 ? 4 : 2) * (size_t)count;
    for (uint32_t i = 0; i < count; i++) {
        float value = toy_value(stream, i);
        uint16_t half = f16 ? inl_f32_to_f16(value) : inl_f32_to_bf16(value);
        if (f32)
            memcpy(out + 4 * i, &value, 4);
        else
            memcpy(out + 2 * i, &half, 2);
    }
    return out;
}

static float stored(const char *dtype, uint32_t stream, uint32_t i)
{
    float value = toy_value(stream, i);
    if (strcmp(dtype, "F16") == 0)
        return inl_f16_to_f32(inl_f32_to_f16(value));
    return strcmp(dtype, "BF16") == 0 ? inl_bf16_to_f32(inl_f32_to_bf16(value)) : value;
}

static void put_tensor(safetensors_bytes *s, const char *name, const char *dtype, uint32_t rows,
                       uint32_t cols, uint32_t stream)
{
    size_t bytes;
    void *data = encode(dtype, stream, rows * cols, &bytes);
    safetensors_bytes_tensor(s, name, dtype, 2, (uint64_t[]){rows, cols}, data, bytes);
    free(data);
}

// A's values are those of stream 2 * module, B's of the next one.
static void put_pair(safetensors_bytes *s, uint32_t module, const char *dtype, uint32_t r)
{
    const inl_module *m = &modules.items[module];
    char name[128];
    snprintf(name, sizeof(name), "base_model.model.%s.lora_A.weight", m->path);
    put_tensor(s, name, dtype, r, m->in, 2 * module);
    snprintf(name, sizeof(name), "base_model.model.%s.lora_B.weight", m->path);
    put_tensor(s, name, dtype, m->out, r, 2 * module + 1);
}

static void write_folder(temp_folder *f, const char *config, safetensors_bytes *s)
{
    inl_env env = inl_env_resolve(NULL);
    assert_int_equal(inl_file_write(&env, temp_path(f, CONFIG), config, strlen(config)), INLAY_OK);
    safetensors_bytes_end(s);
    assert_int_equal(inl_file_write(&env, temp_path(f, TENSORS), s->data, s->size), INLAY_OK);
    safetensors_bytes_free(s);
}

// ---- reading

// q and k as the format's index map says; the other modules row by row.
static void check_values(const inl_lora_pair *p, const char *dtype)
{
    const inl_module *m = &modules.items[p->module];
    uint32_t heads = m->permuted_heads, d = heads ? m->out / heads : m->out;
    for (uint32_t i = 0; i < p->r * p->in; i++)
        assert_true(p->a[i] == stored(dtype, 2 * p->module, i));
    for (uint32_t row = 0; row < p->out; row++) {
        uint32_t h = row / d, i = row % d / 2, j = row % 2;
        uint32_t hf = heads ? h * d + j * (d / 2) + i : row;
        for (uint32_t k = 0; k < p->r; k++)
            assert_true(p->b[row * p->r + k] == stored(dtype, 2 * p->module + 1, hf * p->r + k));
    }
}

static void test_types(void **state)
{
    temp_folder *f = *state;
    static const char *const dtypes[] = {"F32", "F16", "BF16"};
    for (size_t t = 0; t < INL_COUNT(dtypes); t++) {
        safetensors_bytes s = {0};
        for (uint32_t i = modules.list.count; i-- > 0;)
            put_pair(&s, i, dtypes[t], 8);
        write_folder(f, "{\"peft_type\": \"LORA\"}", &s);
        inl_lora *lora = toy_load(f->path, &modules.list, "peft");
        // What the file does not say: r 8, alpha 8, no dropout.
        assert_true(lora->r == 8 && lora->alpha == 8.0 && lora->dropout == 0.0f);
        assert_true(!lora->use_rslora && lora->has_head);
        assert_string_equal(lora->architecture, "llama");
        assert_int_equal(lora->pair_count, modules.list.count);
        assert_int_equal(lora->target_count, 8);
        for (uint32_t i = 0; i < lora->pair_count; i++) {
            assert_true(lora->pairs[i].module == i && lora->pairs[i].scale == 1.0f);
            check_values(&lora->pairs[i], dtypes[t]);
        }
        inl_lora_destroy(&lora);
    }
}

// All keys that PEFT 0.21 writes.
static const char full_config[] =
    "{\"alora_invocation_tokens\": null, \"alpha_pattern\": {}, \"arrow_config\": null,"
    " \"auto_mapping\": null, \"base_model_name_or_path\": \"x/y\", \"bias\": \"none\","
    " \"corda_config\": null, \"ensure_weight_tying\": false, \"eva_config\": null,"
    " \"exclude_modules\": null, \"fan_in_fan_out\": false, \"inference_mode\": true,"
    " \"init_lora_weights\": true, \"kasa_config\": null, \"layer_replication\": null,"
    " \"layers_pattern\": null, \"layers_to_transform\": null, \"loftq_config\": {},"
    " \"lora_alpha\": 24.5, \"lora_bias\": false, \"lora_dropout\": 0.05,"
    " \"lora_ga_config\": null, \"megatron_config\": null, \"megatron_core\": \"megatron.core\","
    " \"modules_to_save\": null, \"monteclora_config\": null, \"peft_type\": \"LORA\","
    " \"peft_version\": \"0.21.2\", \"qalora_group_size\": 16, \"r\": 3, \"rank_pattern\": {},"
    " \"revision\": null, \"target_modules\": \".*v_proj\", \"target_parameters\": null,"
    " \"task_type\": \"CAUSAL_LM\", \"trainable_token_indices\": null, \"use_bdlora\": null,"
    " \"use_dora\": false, \"use_qalora\": false, \"use_rslora\": false, \"velora_config\": null,"
    " \"a key of the future\": [1, {\"x\": null}]}";

static void test_configs(void **state)
{
    temp_folder *f = *state;
    static const struct {
        const char *config;
        uint32_t r;
        float scale, dropout;
    } cases[] = {
        {full_config, 3, (float)(24.5 / 3), 0.05f},
        {"{\"peft_type\":\"LORA\",\"r\":null,\"lora_alpha\":null,\"lora_dropout\":null,\"bias\":"
         "null,"
         "\"rank_pattern\":null,\"alpha_pattern\":null,\"use_rslora\":null}",
         8, 1.0f, 0.0f},
        {"{\"peft_type\":\"LORA\",\"r\":5,\"lora_alpha\":0.1}", 5, (float)(0.1 / 5), 0.0f},
        {"{\"peft_type\":\"LORA\",\"r\":5,\"use_rslora\":true}", 5,
         (float)(8.0 / 2.23606797749979), 0.0f}, // the root of 5
        {"{\"peft_type\":\"LORA\",\"lora_alpha\":-4,\"modules_to_save\":[]}", 8, -0.5f, 0.0f},
        {"{\"peft_type\":\"LORA\",\"lora_alpha\":0,\"lora_bias\":false}", 8, 0.0f, 0.0f},
        {"{\"peft_type\":\"LORA\",\"init_lora_weights\":\"gaussian\"}", 8, 1.0f, 0.0f},
    };
    for (size_t i = 0; i < INL_COUNT(cases); i++) {
        safetensors_bytes s = {0};
        put_pair(&s, INL_ROLE_V, "F32", cases[i].r);
        write_folder(f, cases[i].config, &s);
        inl_lora *lora = toy_load(f->path, &modules.list, "peft");
        assert_int_equal(lora->r, cases[i].r);
        if (lora->pairs[0].scale != cases[i].scale || lora->dropout != cases[i].dropout)
            fail_msg("%s: scale %.9g", cases[i].config, (double)lora->pairs[0].scale);
        inl_lora_destroy(&lora);
    }
}

// The first key that matches counts, whatever comes behind it.
static void test_patterns(void **state)
{
    temp_folder *f = *state;
    static const char config[] =
        "{\"peft_type\":\"LORA\",\"r\":4,\"lora_alpha\":16,"
        "\"rank_pattern\":{\"^model.layers.0.self_attn.q_proj\":3,\"q_proj\":2,\"mlp\\\\..*\":5},"
        "\"alpha_pattern\":{\"layers.[1-9].mlp.up_proj\":7.5,\"up_proj\":1,\"k_proj|v_proj\":0.3}}";
    static const struct {
        uint32_t module, r;
        double alpha;
    } pairs[] = {{INL_ROLE_Q, 3, 16},       {INL_ROLE_K, 4, 0.3},
                 {INL_ROLE_O, 4, 16},       {INL_ROLE_UP, 5, 1},
                 {7 + INL_ROLE_Q, 2, 16},   {7 + INL_ROLE_V, 4, 0.3},
                 {7 + INL_ROLE_UP, 5, 7.5}, {14, 4, 16}};
    safetensors_bytes s = {0};
    for (size_t i = 0; i < INL_COUNT(pairs); i++)
        put_pair(&s, pairs[i].module, "F32", pairs[i].r);
    write_folder(f, config, &s);
    inl_lora *lora = toy_load(f->path, &modules.list, "peft");
    assert_int_equal(lora->pair_count, INL_COUNT(pairs));
    for (size_t i = 0; i < INL_COUNT(pairs); i++) {
        const inl_lora_pair *p = &lora->pairs[i];
        assert_true(p->module == pairs[i].module && p->r == pairs[i].r);
        if (p->scale != (float)(pairs[i].alpha / pairs[i].r))
            fail_msg("%s: scale %.9g", p->path, (double)p->scale);
        check_values(p, "F32");
    }
    inl_lora_destroy(&lora);
}

// Read for its info alone: names and order of the file, nothing moved.
static void test_without_base(void **state)
{
    temp_folder *f = *state;
    safetensors_bytes s = {0};
    put_pair(&s, INL_ROLE_Q, "F16", 8);
    put_tensor(&s, LAYER "99.some.thing.lora_A.weight", "F32", 8, 3, 100);
    put_tensor(&s, LAYER "99.some.thing.lora_B.weight", "F32", 2, 8, 101);
    write_folder(f, "{\"peft_type\":\"LORA\"}", &s);
    inl_lora *lora = toy_load(f->path, NULL, "peft");
    assert_true(lora->pair_count == 2 && lora->target_count == 0 && lora->architecture[0] == '\0');
    const inl_lora_pair *q = find_pair(lora, "model.layers.0.self_attn.q_proj");
    const inl_lora_pair *other = find_pair(lora, "model.layers.99.some.thing");
    assert_true(q->b[20 * 1 + 3] == stored("F16", 1, 23));
    assert_true(other->in == 3 && other->out == 2 && other->r == 8);
    failing_env e;
    lora->env = failing_env_start(&e, 0, false);
    assert_int_equal(inl_lora_save_peft(lora, NULL, f->path), INLAY_ERROR_INVALID_ARGUMENT);
    assert_int_equal(inl_lora_save_peft(lora, &modules.list, f->path),
                     INLAY_ERROR_INVALID_ARGUMENT);
    assert_int_equal(inl_lora_save_gguf(lora, NULL, temp_path(f, "x.gguf")),
                     INLAY_ERROR_INVALID_ARGUMENT);
    assert_string_equal(e.text,
                        "an adapter that was loaded without its base model cannot be saved");
    assert_true(e.errors == 3 && temp_folder_entries(f->path) == 2);
    lora->env = inl_env_resolve(NULL);
    inl_lora_destroy(&lora);
}

// PEFT adds the base's own weights of a target that it takes for an embedding.
static void test_base_layer(void **state)
{
    temp_folder *f = *state;
    failing_env e;
    inl_env env = failing_env_start(&e, 0, false);
    safetensors_bytes s = {0};
    put_pair(&s, 14, "F32", 8);
    put_tensor(&s, "base_model.model.lm_head.base_layer.weight", "BF16", 13, 20, 50);
    write_folder(f, "{\"peft_type\":\"LORA\"}", &s);
    inl_lora *lora;
    assert_int_equal(inl_lora_load(&env, &modules.list, f->path, &lora), INLAY_OK);
    assert_true(lora->pair_count == 1 && lora->has_head);
    assert_non_null(strstr(e.warning, "lm_head.base_layer.weight is ignored"));
    inl_lora_destroy(&lora);
    assert_int_equal(e.live, 0);
}

// ---- what is refused

static void test_refused_configs(void **state)
{
    temp_folder *f = *state;
    const inlay_result no = INLAY_ERROR_UNSUPPORTED, bad = INLAY_ERROR_BAD_FILE;
    const struct {
        const char *config;
        inlay_result result;
        const char *what;
    } cases[] = {
        {"", bad, CONFIG ":1: '[' or '{' expected"},
        {"[]", bad, "not a JSON object"},
        {"{\"peft_type\":\"LORA\",\n\"r\":}", bad, CONFIG ":2: "},
        {"{\"r\":8,\"r\":8}", bad, "duplicate object key"},
        {"{}", no, "a \"peft_type\" other than LORA"},
        {"{\"peft_type\":\"LOHA\"}", no, "a \"peft_type\" other than LORA"},
        {"{\"peft_type\":\"LORA\",\"lora_bias\":true}", no, "adapters with lora_bias"},
        {"{\"peft_type\":\"LORA\",\"bias\":\"lora_only\"}", no, "\"bias\" other than none"},
        {"{\"peft_type\":\"LORA\",\"modules_to_save\":[\"lm_head\"]}", no, "modules_to_save"},
        {"{\"peft_type\":\"LORA\",\"layer_replication\":[[0,1]]}", no, "layer_replication"},
        {"{\"peft_type\":\"LORA\",\"trainable_token_indices\":{\"a\":[1]}}", no, "trainable_token"},
        {"{\"peft_type\":\"LORA\",\"alora_invocation_tokens\":[5]}", no, "alora_invocation_tokens"},
        {"{\"peft_type\":\"LORA\",\"use_qalora\":true}", no, "use_qalora"},
        {"{\"peft_type\":\"LORA\",\"init_lora_weights\":\"pissa_niter_4\"}", no,
         "init_lora_weights \"pissa_niter_4\""},
        {"{\"peft_type\":\"LORA\",\"init_lora_weights\":\"olora\"}", no, "the base's weights"},
        {"{\"peft_type\":\"LORA\",\"r\":0}", bad, "\"r\" is not a rank"},
        {"{\"peft_type\":\"LORA\",\"r\":-1}", bad, "\"r\" is not a rank"},
        {"{\"peft_type\":\"LORA\",\"r\":2.5}", bad, "\"r\" is not a rank"},
        {"{\"peft_type\":\"LORA\",\"r\":65537}", bad, "\"r\" is not a rank"},
        {"{\"peft_type\":\"LORA\",\"r\":\"8\"}", bad, "\"r\" is not a number"},
        {"{\"peft_type\":\"LORA\",\"lora_alpha\":[]}", bad, "\"lora_alpha\" is not a number"},
        {"{\"peft_type\":\"LORA\",\"lora_alpha\":1e300}", bad, "\"lora_alpha\" is too large"},
        {"{\"peft_type\":\"LORA\",\"lora_dropout\":1}", bad, "\"lora_dropout\" is not in [0, 1)"},
        {"{\"peft_type\":\"LORA\",\"lora_dropout\":-0.1}", bad,
         "\"lora_dropout\" is not in [0, 1)"},
        {"{\"peft_type\":\"LORA\",\"lora_dropout\":true}", bad, "\"lora_dropout\" is not a number"},
        {"{\"peft_type\":\"LORA\",\"rank_pattern\":[4]}", bad, "\"rank_pattern\" is not an object"},
        {"{\"peft_type\":\"LORA\",\"rank_pattern\":{\"v_proj\":\"4\"}}", bad,
         "\"rank_pattern\" has a value that is not a number"},
        {"{\"peft_type\":\"LORA\",\"alpha_pattern\":{\"v_proj\":null}}", bad,
         "\"alpha_pattern\" has a value that is not a number"},
        {"{\"peft_type\":\"LORA\",\"alpha_pattern\":{\"(v_proj\":1}}", INLAY_ERROR_INVALID_ARGUMENT,
         CONFIG ": the regular expression"},
        {"{\"peft_type\":\"LORA\",\"alpha_pattern\":{\"v_proj\":1e200}}", bad,
         "1e+200 is too large"},
    };
    for (size_t i = 0; i < INL_COUNT(cases); i++) {
        safetensors_bytes s = {0};
        put_pair(&s, INL_ROLE_V, "F32", 8);
        write_folder(f, cases[i].config, &s);
        check_refused(f->path, &modules.list, cases[i].result, CONFIG, cases[i].what);
    }
}

#define V LAYER "0.self_attn.v_proj"
#define W LAYER "2.self_attn.v_proj" // of a layer that the model does not have
#define A ".lora_A.weight"
#define B ".lora_B.weight"

// A pair of any names and shapes. `place` is what the sentence names.
typedef struct pair_case {
    const char *a_name, *b_name;
    uint32_t a[2], b[2];
    inlay_result result;
    const char *place, *what;
} pair_case;

static void test_refused_pairs(void **state)
{
    temp_folder *f = *state;
    const inlay_result other = INLAY_ERROR_MISMATCH, bad = INLAY_ERROR_BAD_FILE;
    const pair_case cases[] = {
        {V A, V B, {8, 21}, {6, 8}, other, V A, "a matrix of 6 x 21, the model's is 6 x 20"},
        {V A, V B, {8, 20}, {7, 8}, other, V B, "a matrix of 7 x 20, the model's is 6 x 20"},
        {W A, W B, {8, 20}, {6, 8}, other, W A, "v_proj, which the model does not have"},
        {V A, V B, {4, 20}, {6, 4}, other, V A, "has rank 4, " CONFIG " says 8"},
        {V A, V B, {8, 20}, {6, 4}, bad, V B, "(6 x 4) are no pair"},
        {V A, V B, {20, 8}, {8, 6}, bad, V A, "(20 x 8) and"},
        {V A, V B, {0, 20}, {6, 0}, bad, V A, "are no pair"},
        {V A, W B, {8, 20}, {6, 8}, other, "there is a tensor", "but no "},
    };
    for (size_t i = 0; i < 2 * INL_COUNT(cases); i++) {
        const pair_case *c = &cases[i / 2];
        safetensors_bytes s = {0};
        if (i % 2) // the order in the file is not what decides
            put_tensor(&s, c->b_name, "F32", c->b[0], c->b[1], 1);
        put_tensor(&s, c->a_name, "F32", c->a[0], c->a[1], 0);
        if (i % 2 == 0)
            put_tensor(&s, c->b_name, "F32", c->b[0], c->b[1], 1);
        write_folder(f, "{\"peft_type\":\"LORA\"}", &s);
        check_refused(f->path, &modules.list, c->result, c->place, c->what);
        check_refused(f->path, &modules.list, c->result, TENSORS, c->what);
    }
}

// Beside a good pair: half a pair, what is no LoRA, and names that PEFT does not write.
static void test_refused_names(void **state)
{
    temp_folder *f = *state;
    static const char *const names[] = {V "s" A,
                                        W B,
                                        "model.layers.0.self_attn.k_proj" A,
                                        V A "s",
                                        V ".lora_embedding_A",
                                        V ".lora_B.bias",
                                        "base_model.model.lm_head.weight",
                                        "base_model.model" B,
                                        ""};
    for (size_t i = 0; i < INL_COUNT(names); i++) {
        safetensors_bytes s = {0};
        put_pair(&s, INL_ROLE_V, "F32", 8);
        put_tensor(&s, names[i], "F32", 8, 20, 5);
        write_folder(f, "{\"peft_type\":\"LORA\"}", &s);
        check_refused(f->path, &modules.list,
                      i < 3 ? INLAY_ERROR_MISMATCH : INLAY_ERROR_UNSUPPORTED, names[i],
                      i < 3 ? "but no" : "is not part of a LoRA");
    }
}

// The same tensor under two of the names that it may have.
static void test_names_that_meet(void **state)
{
    temp_folder *f = *state;
    static const char *const names[] = {V ".lora_A.default.weight",
                                        "model.layers.0.self_attn.v_proj" A};
    for (size_t i = 0; i < INL_COUNT(names); i++) {
        safetensors_bytes s = {0};
        put_pair(&s, INL_ROLE_V, "F32", 8);
        put_tensor(&s, names[i], "F32", 8, 20, 5);
        write_folder(f, "{\"peft_type\":\"LORA\"}", &s);
        check_refused(f->path, &modules.list, INLAY_ERROR_BAD_FILE, V A, "two tensors stand for");
    }
}

static void check_one(temp_folder *f, const char *dtype, uint32_t dims, const uint64_t *shape,
                      size_t bytes, inlay_result result, const char *what)
{
    static const uint8_t zeros[1280];
    safetensors_bytes s = {0};
    safetensors_bytes_tensor(&s, V A, dtype, dims, shape, zeros, bytes);
    put_tensor(&s, V B, "F32", 6, 8, 1);
    write_folder(f, "{\"peft_type\":\"LORA\"}", &s);
    check_refused(f->path, &modules.list, result, V A, what);
}

static void test_refused_shapes(void **state)
{
    temp_folder *f = *state;
    check_one(f, "F32", 1, (uint64_t[]){160}, 640, INLAY_ERROR_BAD_FILE, "has 1 dimensions, not 2");
    check_one(f, "F32", 3, (uint64_t[]){8, 20, 1}, 640, INLAY_ERROR_BAD_FILE, "has 3 dimensions");
    check_one(f, "F32", 0, NULL, 4, INLAY_ERROR_BAD_FILE, "has 0 dimensions");
    check_one(f, "F64", 2, (uint64_t[]){8, 20}, 1280, INLAY_ERROR_UNSUPPORTED, "has type F64");
    check_one(f, "I32", 2, (uint64_t[]){8, 20}, 640, INLAY_ERROR_UNSUPPORTED, "has type I32");
    check_one(f, "F8_E4M3", 2, (uint64_t[]){8, 20}, 160, INLAY_ERROR_UNSUPPORTED, "type F8_E4M3");
}

// Shapes that are large beyond sense, in a file that has no bytes for them.
static void test_huge_shapes(void **state)
{
    temp_folder *f = *state;
    static const uint64_t shapes[][2] = {{65537, 0}, {0, 1ull << 62}, {1ull << 40, 0}, {8, 0}};
    for (size_t i = 0; i < INL_COUNT(shapes); i++) {
        safetensors_bytes s = {0};
        safetensors_bytes_tensor(&s, V A, "F32", 2, shapes[i], NULL, 0);
        safetensors_bytes_tensor(&s, V B, "F32", 2, (uint64_t[]){0, shapes[i][0]}, NULL, 0);
        write_folder(f, "{\"peft_type\":\"LORA\"}", &s);
        check_refused(f->path, &modules.list, INLAY_ERROR_BAD_FILE, V A, "are no pair");
    }
    char name[700];
    snprintf(name, sizeof(name), "base_model.model.%0600d" A, 1);
    safetensors_bytes s = {0};
    put_tensor(&s, name, "F32", 8, 20, 0);
    write_folder(f, "{\"peft_type\":\"LORA\"}", &s);
    check_refused(f->path, &modules.list, INLAY_ERROR_UNSUPPORTED, TENSORS,
                  "is not part of a LoRA");
    write_folder(f, "{\"peft_type\":\"LORA\"}", &s); // no tensors
    check_refused(f->path, &modules.list, INLAY_ERROR_BAD_FILE, TENSORS,
                  "the adapter holds no tensors");
}

static void test_not_finite(void **state)
{
    temp_folder *f = *state;
    static const uint32_t bits[] = {0x7f800000, 0xff800000, 0x7fc00000, 0x7f800001};
    for (uint32_t i = 0; i < 2 * INL_COUNT(bits); i++) {
        bool in_b = i % 2;
        char want[200];
        safetensors_bytes s = {0};
        put_pair(&s, INL_ROLE_Q, "F32", 8); // whose B is permuted: the file's order is what is told
        memcpy(s.payload + (in_b ? 8 * 20 * 4 : 0) + 4 * 37, &bits[i / 2], 4);
        write_folder(f, "{\"peft_type\":\"LORA\"}", &s);
        snprintf(want, sizeof(want), "tensor " LAYER "0.self_attn.q_proj%s has %s at element 37",
                 in_b ? B : A, i / 2 < 2 ? "infinity" : "NaN");
        check_refused(f->path, &modules.list, INLAY_ERROR_NOT_FINITE, TENSORS, want);
    }
    static const uint16_t halves[] = {0x7c00, 0x7f80}; // infinity in F16, in BF16
    for (int i = 0; i < 2; i++) {
        safetensors_bytes s = {0};
        put_pair(&s, INL_ROLE_V, i ? "BF16" : "F16", 8);
        memcpy(s.payload + 2 * 8 * 20, &halves[i], 2);
        write_folder(f, "{\"peft_type\":\"LORA\"}", &s);
        check_refused(f->path, &modules.list, INLAY_ERROR_NOT_FINITE, V B,
                      "has infinity at element 0");
    }
}

static void test_missing_files(void **state)
{
    temp_folder *f = *state;
    inl_env env = inl_env_resolve(NULL);
    check_refused(f->path, &modules.list, INLAY_ERROR_NOT_FOUND, f->path,
                  "holds no adapter_config.json");
    check_refused("/no/such/adapter", &modules.list, INLAY_ERROR_NOT_FOUND, "/no/such/adapter",
                  "No such file");
    assert_int_equal(inl_file_write(&env, temp_path(f, CONFIG), "{\"peft_type\":\"LORA\"}", 20),
                     INLAY_OK);
    check_refused(f->path, &modules.list, INLAY_ERROR_NOT_FOUND, TENSORS, "No such file");
    check_refused(f->file, &modules.list, INLAY_ERROR_BAD_FILE, f->file,
                  "neither a GGUF file nor a folder");
    assert_int_equal(inl_file_write(&env, temp_path(f, TENSORS), "\1\0\0\0", 4), INLAY_OK);
    check_refused(f->path, &modules.list, INLAY_ERROR_BAD_FILE, TENSORS,
                  "does not fit a file of 4 bytes");
}

// ---- saving

static void check_saved(temp_folder *f, const inl_lora *lora)
{
    const char *folder = temp_path(f, "saved/here");
    char path[200];
    inl_env env = inl_env_resolve(NULL);
    inl_map maps[2];
    assert_int_equal(inl_lora_save_peft(lora, &modules.list, folder), INLAY_OK);
    assert_int_equal(temp_folder_entries(folder), 2);
    inl_lora *again = toy_load(folder, &modules.list, "peft");
    check_same_lora(lora, again);
    assert_true(lora->dropout == again->dropout && lora->use_rslora == again->use_rslora);
    // And what is saved again is the same file.
    snprintf(path, sizeof(path), "%s/again", f->path);
    assert_int_equal(inl_lora_save_peft(again, &modules.list, path), INLAY_OK);
    for (int i = 0; i < 2; i++) {
        const char *name = i ? TENSORS : CONFIG;
        snprintf(path, sizeof(path), "%s/saved/here/%s", f->path, name);
        assert_int_equal(inl_map_open(&env, path, &maps[0]), INLAY_OK);
        snprintf(path, sizeof(path), "%s/again/%s", f->path, name);
        assert_int_equal(inl_map_open(&env, path, &maps[1]), INLAY_OK);
        assert_int_equal(maps[0].size, maps[1].size);
        assert_memory_equal(maps[0].data, maps[1].data, maps[0].size);
        inl_map_close(&maps[0]);
        inl_map_close(&maps[1]);
    }
    inl_lora_destroy(&again);
}

static void test_save(void **state)
{
    temp_folder *f = *state;
    static const inl_lora_params cases[] = {
        {.r = 4},
        {.r = 1, .alpha = 0.3f, .target_modules = "lm_head"},
        {.r = 7, .alpha = 0.1f, .use_rslora = true, .dropout = 0.05f},
        {.r = 64, .alpha = 33.3f, .target_modules = ".*\\.0\\.mlp.*"},
    };
    for (size_t i = 0; i < INL_COUNT(cases); i++) {
        inl_lora *lora = toy_lora(&modules, &cases[i]);
        check_saved(f, lora);
        inl_lora_destroy(&lora);
    }
}

// Another rank or scale in every pair, some that no float alpha gives.
static void test_save_patterns(void **state)
{
    temp_folder *f = *state;
    for (uint32_t rslora = 0; rslora < 2; rslora++) {
        inl_lora *lora = toy_lora(&modules, &(inl_lora_params){.r = 5, .use_rslora = rslora});
        for (uint32_t i = 1; i < lora->pair_count; i++) {
            lora->pairs[i].r = 1 + i % 5; // of what there is, the first
            lora->pairs[i].scale = fabsf(toy_value(90 + rslora, i)) * (i % 4 ? 1.0f : 1e-6f);
        }
        lora->pairs[2].scale = -3.0f;
        lora->pairs[3].scale = 0.0f;
        check_saved(f, lora);
        inl_lora_destroy(&lora);
    }
    // An alpha next to a tie of two scales, which 15 digits put on the other side.
    inl_lora *lora = toy_lora(&modules, &(inl_lora_params){.r = 1, .target_modules = "q_proj"});
    lora->alpha = 1.0 + 0x1p-24 + 0x1p-52;
    lora->pairs[0].scale = lora->pairs[1].scale = inl_lora_scale(lora->alpha, 1, false);
    check_saved(f, lora);
    inl_lora_destroy(&lora);
}

static double number_at(const json_t *config, const char *object, const char *key)
{
    const json_t *value = json_object_get(object ? json_object_get(config, object) : config, key);
    assert_true(json_is_number(value));
    return json_number_value(value);
}

static void test_saved_config(void **state)
{
    temp_folder *f = *state;
    inl_lora *lora = toy_lora(
        &modules, &(inl_lora_params){
                      .r = 8, .alpha = 16, .dropout = 0.05f, .target_modules = "q_proj,up_proj"});
    lora->pairs[1].r = 3;
    lora->pairs[1].scale = inl_lora_scale(7.5, 3, false);
    lora->pairs[2].scale = 1.0f;
    assert_int_equal(inl_lora_save_peft(lora, &modules.list, f->path), INLAY_OK);
    json_error_t error;
    json_t *config = json_load_file(temp_path(f, CONFIG), JSON_REJECT_DUPLICATES, &error);
    assert_true(json_is_object(config));
    assert_true(number_at(config, NULL, "r") == 8 && number_at(config, NULL, "lora_alpha") == 16);
    assert_true(json_is_integer(json_object_get(config, "lora_alpha")));
    assert_true(number_at(config, NULL, "lora_dropout") == 0.05);
    assert_int_equal(json_object_size(json_object_get(config, "rank_pattern")), 1);
    assert_true(number_at(config, "rank_pattern", "model.layers.0.mlp.up_proj") == 3);
    assert_int_equal(json_object_size(json_object_get(config, "alpha_pattern")), 2);
    assert_true(number_at(config, "alpha_pattern", "model.layers.0.mlp.up_proj") == 7.5);
    assert_true(number_at(config, "alpha_pattern", "model.layers.1.self_attn.q_proj") == 8);
    assert_string_equal(json_string_value(json_object_get(config, "peft_type")), "LORA");
    const json_t *targets = json_object_get(config, "target_modules");
    assert_int_equal(json_array_size(targets), 2);
    assert_string_equal(json_string_value(json_array_get(targets, 1)), "up_proj");
    json_decref(config);
    inl_lora_destroy(&lora);
}

// The tensors of a folder by hand, f32, and what is saved of them: the same bytes in Hugging Face's
// order.
static void test_saved_order(void **state)
{
    temp_folder *f = *state;
    inl_env env = inl_env_resolve(NULL);
    safetensors_bytes s = {0};
    for (uint32_t i = 0; i < modules.list.count; i++)
        put_pair(&s, i, "F32", 8);
    write_folder(f, "{\"peft_type\":\"LORA\"}", &s);
    inl_lora *lora = toy_load(f->path, &modules.list, "peft");
    inl_safetensors *before, *after;
    assert_int_equal(inl_safetensors_open(&env, f->file, &before), INLAY_OK);
    assert_int_equal(inl_lora_save_peft(lora, &modules.list, temp_path(f, "saved")), INLAY_OK);
    assert_int_equal(inl_safetensors_open(&env, temp_path(f, "saved/" TENSORS), &after), INLAY_OK);
    assert_int_equal(inl_safetensors_count(after), 2 * modules.list.count);
    for (uint32_t i = 0; i < inl_safetensors_count(before); i++) {
        const inl_safetensor *b = inl_safetensors_at(before, i);
        const inl_safetensor *a = inl_safetensors_find(after, b->name);
        assert_true(a && a->bytes == b->bytes && a->shape[0] == b->shape[0]);
        assert_memory_equal(a->data, b->data, b->bytes);
    }
    inl_safetensors_close(&before);
    inl_safetensors_close(&after);
    inl_lora_destroy(&lora);
}

// Where the disk has no room the older adapter stays, whole.
static void check_no_room(temp_folder *f, const inl_lora *older, const inl_lora *newer, rlim_t room)
{
    struct rlimit before, limit;
    failing_env e;
    inl_lora saved = *newer;
    saved.env = failing_env_start(&e, 0, false);
    assert_int_equal(getrlimit(RLIMIT_FSIZE, &before), 0);
    limit = before;
    limit.rlim_cur = room;
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &limit), 0);
    inlay_result result = inl_lora_save_peft(&saved, &modules.list, f->path);
    setrlimit(RLIMIT_FSIZE, &before);
    assert_int_equal(result, INLAY_ERROR_IO);
    assert_true(e.errors == 1 && strstr(e.text, f->path) && strstr(e.text, "File too large"));
    inl_lora *there = toy_load(f->path, &modules.list, "peft");
    check_same_lora(older, there);
    inl_lora_destroy(&there);
    assert_int_equal(temp_folder_entries(f->path), 2);
}

static void test_full_disk(void **state)
{
    temp_folder *f = *state;
    inl_lora *older = toy_lora(&modules, &(inl_lora_params){.r = 2});
    inl_lora *newer = toy_lora(&modules, &(inl_lora_params){.r = 2, .alpha = 7, .seed = 1});
    void (*handler)(int) = signal(SIGXFSZ, SIG_IGN);
    assert_int_equal(inl_lora_save_peft(older, &modules.list, f->path), INLAY_OK);
    check_no_room(f, older, newer, 100);  // for neither file
    check_no_room(f, older, newer, 3000); // for the config alone
    signal(SIGXFSZ, handler);
    inl_lora_destroy(&older);
    inl_lora_destroy(&newer);
}

// ---- DoRA

#define MAGNITUDE ".lora_magnitude_vector"

static void put_magnitude(safetensors_bytes *s, uint32_t module, uint32_t dims, uint64_t count)
{
    char name[128];
    size_t bytes;
    void *data = encode("F32", 100 + module, (uint32_t)count, &bytes);
    snprintf(name, sizeof(name), "base_model.model.%s" MAGNITUDE, modules.items[module].path);
    safetensors_bytes_tensor(s, name, "F32", dims, (uint64_t[]){count, 1}, data, bytes);
    free(data);
}

// The magnitude's elements are the module's rows, so they move as B's do.
static void test_dora(void **state)
{
    temp_folder *f = *state;
    safetensors_bytes s = {0};
    for (uint32_t i = 0; i < modules.list.count; i++) {
        put_pair(&s, i, "F32", 8);
        put_magnitude(&s, i, 1, modules.items[i].out);
    }
    write_folder(f, "{\"peft_type\":\"LORA\",\"use_dora\":true}", &s);
    inl_lora *lora = toy_load(f->path, &modules.list, "peft");
    assert_true(lora->use_dora && !lora->magnitudes_unset);
    for (uint32_t i = 0; i < lora->pair_count; i++) {
        const inl_lora_pair *p = &lora->pairs[i];
        const inl_module *m = &modules.items[p->module];
        uint32_t heads = m->permuted_heads, d = heads ? m->out / heads : m->out;
        check_values(p, "F32");
        for (uint32_t row = 0; row < p->out; row++) {
            uint32_t in_head = row % d, hf = row - in_head + in_head % 2 * (d / 2) + in_head / 2;
            assert_true(p->magnitude[row] == stored("F32", 100 + i, heads ? hf : row));
        }
    }
    check_saved(f, lora);
    inl_lora_destroy(&lora);
}

static void test_refused_dora(void **state)
{
    temp_folder *f = *state;
    const struct {
        const char *config;
        uint32_t dims, count; // of the magnitude; 0: none
        const char *what;
    } cases[] = {
        {"{\"peft_type\":\"LORA\",\"use_dora\":true}", 0, 0, "use_dora is set but there is no"},
        {"{\"peft_type\":\"LORA\"}", 1, modules.items[INL_ROLE_V].out, "does not set use_dora"},
        {"{\"peft_type\":\"LORA\",\"use_dora\":true}", 1, 5, "has not the"},
        {"{\"peft_type\":\"LORA\",\"use_dora\":true}", 2, modules.items[INL_ROLE_V].out,
         "has not the"},
    };
    for (size_t i = 0; i < INL_COUNT(cases); i++) {
        safetensors_bytes s = {0};
        put_pair(&s, INL_ROLE_V, "F32", 8);
        if (cases[i].count > 0)
            put_magnitude(&s, INL_ROLE_V, cases[i].dims, cases[i].count);
        write_folder(f, cases[i].config, &s);
        check_refused(f->path, &modules.list, INLAY_ERROR_MISMATCH, V MAGNITUDE, cases[i].what);
    }
    safetensors_bytes s = {0};
    put_magnitude(&s, INL_ROLE_V, 1, modules.items[INL_ROLE_V].out);
    write_folder(f, "{\"peft_type\":\"LORA\",\"use_dora\":true}", &s);
    check_refused(f->path, &modules.list, INLAY_ERROR_MISMATCH, V MAGNITUDE, V A);
    const inl_module *v = &modules.items[INL_ROLE_V];
    const uint32_t nan = 0x7fc00000;
    put_pair(&s, INL_ROLE_V, "F32", 8);
    put_magnitude(&s, INL_ROLE_V, 1, v->out);
    memcpy(s.payload + 4 * (8 * (v->in + v->out) + 3), &nan, 4);
    write_folder(f, "{\"peft_type\":\"LORA\",\"use_dora\":true}", &s);
    check_refused(f->path, &modules.list, INLAY_ERROR_NOT_FINITE, V MAGNITUDE,
                  "has NaN at element 3");
    // What a file of GGUF cannot hold, and what is not known yet.
    inl_lora *lora = toy_lora(&modules, &(inl_lora_params){.r = 2, .use_dora = true});
    assert_int_equal(inl_lora_save_peft(lora, &modules.list, f->path),
                     INLAY_ERROR_INVALID_ARGUMENT);
    lora->magnitudes_unset = false;
    assert_int_equal(inl_lora_save_gguf(lora, &modules.list, temp_path(f, "x.gguf")),
                     INLAY_ERROR_UNSUPPORTED);
    inl_lora_destroy(&lora);
}

// ---- memory

static void test_out_of_memory(void **state)
{
    temp_folder *f = *state;
    inl_lora *lora =
        toy_lora(&modules, &(inl_lora_params){.r = 2, .target_modules = "q_proj,v_proj"});
    toy_saving saving = {inl_lora_save_peft, lora, &modules.list, f->path};
    assert_true(check_each_failure("a PEFT folder", toy_save_and_load, &saving, 500) > 40);
    assert_int_equal(temp_folder_entries(f->path), 2);
    inl_lora_destroy(&lora);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        temp_folder_test(test_types),          temp_folder_test(test_configs),
        temp_folder_test(test_patterns),       temp_folder_test(test_without_base),
        temp_folder_test(test_base_layer),     temp_folder_test(test_refused_configs),
        temp_folder_test(test_refused_pairs),  temp_folder_test(test_refused_names),
        temp_folder_test(test_names_that_meet),
        temp_folder_test(test_refused_shapes), temp_folder_test(test_huge_shapes),
        temp_folder_test(test_not_finite),     temp_folder_test(test_missing_files),
        temp_folder_test(test_save),           temp_folder_test(test_save_patterns),
        temp_folder_test(test_saved_config),   temp_folder_test(test_saved_order),
        temp_folder_test(test_full_disk),      temp_folder_test(test_out_of_memory),
        temp_folder_test(test_dora),           temp_folder_test(test_refused_dora),
    };
    modules = toy_modules(&toy_odd);
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    toy_modules_free(&modules);
    return failed;
}
