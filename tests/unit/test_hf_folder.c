// SPDX-License-Identifier: MIT
// Hugging Face folders as GGUF: what the view says of metadata, names, shapes and values, and each
// allocation failing. What is wrong with files is for tests/cli/test_folder.py.
#define _XOPEN_SOURCE 700
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "harness/failing_env.h"
#include "harness/safetensors_bytes.h"
#include "harness/temp_folder.h"
#include "io/hf_folder.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define DIM 8
#define FFN 12
#define VOCAB 5
#define QUANTIZED "model.layers.0.mlp.up_proj.weight"

static void write_file(temp_folder *f, const char *name, const void *data, size_t size)
{
    FILE *file = fopen(temp_path(f, name), "wb");
    assert_non_null(file);
    assert_int_equal(fwrite(data, 1, size, file), size);
    assert_int_equal(fclose(file), 0);
}

static void write_config(temp_folder *f, const char *class, const char *more)
{
    char text[1024];
    snprintf(text, sizeof(text),
             "{\"architectures\": [\"%sForCausalLM\"], \"hidden_size\": 8, \"vocab_size\": 5, "
             "\"intermediate_size\": 12, \"num_hidden_layers\": 1, \"num_attention_heads\": 2, "
             "\"num_key_value_heads\": 1, \"head_dim\": 4, \"max_position_embeddings\": 64%s}",
             class, more);
    write_file(f, "config.json", text, strlen(text));
}

// Element i of a tensor is `first` + i; norms' too.
static void put(safetensors_bytes *s, const char *name, float first, uint64_t rows, uint64_t cols)
{
    float values[FFN * DIM];
    uint64_t count = rows * (cols ? cols : 1);
    for (uint64_t i = 0; i < count; i++)
        values[i] = first + (float)i;
    safetensors_bytes_tensor(s, name, "F32", cols ? 2 : 1, (uint64_t[]){rows, cols}, values,
                             4 * count);
}

static void put_bnb4(safetensors_bytes *s)
{
    static const float absmax[2] = {2.0f, 3.0f};
    static const uint8_t codes[FFN * DIM / 2] = {0x7f, 0x12};
    static const char state[] = "{\"blocksize\": 64, \"shape\": [12, 8]}";
    safetensors_bytes_tensor(s, QUANTIZED, "U8", 2, (uint64_t[]){48, 1}, codes, 48);
    safetensors_bytes_tensor(s, QUANTIZED ".quant_state.bitsandbytes__fp4", "U8", 1,
                             (uint64_t[]){sizeof(state) - 1}, state, sizeof(state) - 1);
    // Behind a length that is odd: these numbers lie unaligned.
    safetensors_bytes_tensor(s, QUANTIZED ".absmax", "F32", 1, (uint64_t[]){2}, absmax, 8);
    safetensors_bytes_tensor(s, QUANTIZED ".quant_map", "F32", 1, (uint64_t[]){16}, inl_fp4_codes,
                             64);
}

static void write_tensors(temp_folder *f, bool four_norms, bool bnb4)
{
    safetensors_bytes s = {0};
    put(&s, "model.embed_tokens.weight", 0.0f, VOCAB, DIM);
    put(&s, "model.norm.weight", 100.0f, DIM, 0);
    put(&s, "lm_head.weight", 200.0f, VOCAB, DIM);
    put(&s, "model.layers.0.input_layernorm.weight", 0.5f, DIM, 0);
    put(&s, "model.layers.0.post_attention_layernorm.weight", 0.25f, DIM, 0);
    if (four_norms) {
        put(&s, "model.layers.0.pre_feedforward_layernorm.weight", 0.0f, DIM, 0);
        put(&s, "model.layers.0.post_feedforward_layernorm.weight", 0.0f, DIM, 0);
    }
    put(&s, "model.layers.0.self_attn.q_proj.weight", 300.0f, DIM, DIM);
    put(&s, "model.layers.0.self_attn.k_proj.weight", 400.0f, DIM / 2, DIM);
    put(&s, "model.layers.0.self_attn.v_proj.weight", 500.0f, DIM / 2, DIM);
    put(&s, "model.layers.0.self_attn.o_proj.weight", 600.0f, DIM, DIM);
    put(&s, "model.layers.0.self_attn.rotary_emb.inv_freq", 0.0f, 2, 0);
    put(&s, "model.layers.0.mlp.gate_proj.weight", 700.0f, FFN, DIM);
    put(&s, "model.layers.0.mlp.down_proj.weight", 800.0f, DIM, FFN);
    if (bnb4)
        put_bnb4(&s);
    else
        put(&s, QUANTIZED, 900.0f, FFN, DIM);
    safetensors_bytes_end(&s);
    write_file(f, "model.safetensors", s.data, s.size);
    safetensors_bytes_free(&s);
}

static float first_of(const inl_gguf *gguf, const char *name, uint64_t cols, uint64_t rows)
{
    const inl_gguf_tensor *t = inl_gguf_find_tensor(gguf, name);
    float value;
    assert_non_null(t);
    assert_int_equal(t->shape[0], cols);
    assert_int_equal(t->shape[1], rows);
    memcpy(&value, t->data, sizeof(value));
    return value;
}

static inl_gguf *open_good(temp_folder *f)
{
    inl_env env = inl_env_resolve(NULL);
    inl_gguf *gguf = NULL;
    assert_int_equal(inl_hf_folder_open(&env, f->path, &gguf), INLAY_OK);
    assert_true(inl_gguf_is_folder(gguf));
    assert_string_equal(inl_gguf_path(gguf), f->path);
    return gguf;
}

static void test_llama(void **state)
{
    uint32_t number;
    float real;
    inl_slice text;
    write_config(*state, "Llama", ", \"rope_theta\": 500");
    write_tensors(*state, false, false);
    inl_gguf *gguf = open_good(*state);
    assert_true(inl_gguf_get_string(gguf, "general.architecture", &text));
    assert_int_equal(text.size, 5);
    assert_true(inl_gguf_get_u32(gguf, "llama.attention.head_count_kv", &number) && number == 1);
    assert_true(inl_gguf_get_u32(gguf, "llama.feed_forward_length", &number) && number == FFN);
    assert_true(inl_gguf_get_f32(gguf, "llama.rope.freq_base", &real) && real == 500.0f);
    assert_int_equal(inl_gguf_tensor_count(gguf), 12);
    assert_true(first_of(gguf, "output.weight", DIM, VOCAB) == 200.0f);
    assert_true(first_of(gguf, "blk.0.attn_norm.weight", DIM, 1) == 0.5f);
    assert_true(first_of(gguf, "blk.0.ffn_norm.weight", DIM, 1) == 0.25f);
    assert_true(first_of(gguf, "blk.0.attn_k.weight", DIM, DIM / 2) == 400.0f);
    assert_true(first_of(gguf, "blk.0.ffn_down.weight", FFN, DIM) == 800.0f);
    const inl_gguf_tensor *t = inl_gguf_find_tensor(gguf, "blk.0.ffn_up.weight");
    assert_string_equal(inl_gguf_stored_name(t), QUANTIZED);
    inl_gguf_close(&gguf);
}

// Norms count from 1, and the head that lies there is the embedding's.
static void test_gemma(void **state)
{
    float scale;
    write_config(*state, "Gemma2", ", \"query_pre_attn_scalar\": 16");
    write_tensors(*state, true, false);
    inl_gguf *gguf = open_good(*state);
    assert_null(inl_gguf_find_tensor(gguf, "output.weight"));
    assert_true(first_of(gguf, "output_norm.weight", DIM, 1) == 101.0f);
    assert_true(first_of(gguf, "blk.0.post_attention_norm.weight", DIM, 1) == 1.25f);
    assert_true(first_of(gguf, "blk.0.post_ffw_norm.weight", DIM, 1) == 1.0f);
    assert_true(first_of(gguf, "blk.0.attn_q.weight", DIM, DIM) == 300.0f);
    assert_true(inl_gguf_get_f32(gguf, "gemma2.attention.scale", &scale) && scale == 0.25f);
    inl_gguf_close(&gguf);
}

#define RULE \
    ", \"quantization_config\": {\"quant_method\": \"bitsandbytes\", \"load_in_4bit\": true}"

static void test_bitsandbytes(void **state)
{
    float values[FFN * DIM];
    inl_env env = inl_env_resolve(NULL);
    inl_nf4 nf4;
    write_config(*state, "Llama", RULE);
    write_tensors(*state, false, true);
    inl_gguf *gguf = open_good(*state);
    assert_int_equal(inl_gguf_tensor_count(gguf), 12);
    const inl_gguf_tensor *t = inl_gguf_find_tensor(gguf, "blk.0.ffn_up.weight");
    assert_true(t && t->bnb4 && t->type == INL_GGUF_TYPE_BNB4);
    assert_true(t->shape[0] == DIM && t->shape[1] == FFN);
    assert_int_equal(inl_nf4_read(&env, t->bnb4, &nf4), INLAY_OK);
    inl_nf4_decode(&nf4, values);
    assert_true(values[0] == 2.0f * inl_fp4_codes[7] && values[1] == 2.0f * inl_fp4_codes[15]);
    assert_true(values[64] == 3.0f * inl_fp4_codes[0]);
    inl_nf4_free(&env, &nf4);
    inl_gguf_close(&gguf);
}

static inlay_result open_and_close(const inl_env *env, void *user)
{
    inl_gguf *gguf = NULL;
    inlay_result result = inl_hf_folder_open(env, user, &gguf);
    inl_gguf_close(&gguf);
    return result;
}

static void test_out_of_memory(void **state)
{
    temp_folder *f = *state;
    write_tensors(f, false, true);
    write_config(f, "Llama", RULE ", \"rope_scaling\": {\"rope_type\": \"llama3\", \"factor\": 8, "
                 "\"low_freq_factor\": 1, \"high_freq_factor\": 4}");
    assert_true(check_each_failure("a folder", open_and_close, f->path, UINT32_MAX) > 20);
    write_tensors(f, true, false);
    write_config(f, "Gemma2", ", \"layer_types\": [\"sliding_attention\"]");
    assert_true(check_each_failure("gemma", open_and_close, f->path, UINT32_MAX) > 20);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        temp_folder_test(test_llama),
        temp_folder_test(test_gemma),
        temp_folder_test(test_bitsandbytes),
        temp_folder_test(test_out_of_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
