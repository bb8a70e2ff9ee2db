// SPDX-License-Identifier: MIT
// libFuzzer target: any bytes as a GGUF file: opened, and where that succeeds, everything the
// reader offers is read, so that a sanitizer sees each pointer it hands out.
#include "fuzz/fuzz.h"
#include "io/gguf.h"
#include "quant/format.h"
#include "unit/gguf_by_hand.h"

static uint64_t visit_tensors(const inl_gguf *gguf)
{
    uint64_t sum = 0;
    for (uint32_t i = 0; i < inl_gguf_tensor_count(gguf); i++) {
        const inl_gguf_tensor *t = inl_gguf_tensor_at(gguf, i);
        fuzz_require(inl_gguf_find_tensor(gguf, t->name) == t);
        fuzz_require(t->dims >= 1 && t->dims <= 4 && t->bytes > 0);
        fuzz_require(inl_ggml_type_info(t->type, NULL, NULL) != NULL);
        sum += fuzz_touch(t->data, t->bytes);
        const inl_format *format = inl_format_by_ggml(t->type);
        uint64_t count = t->shape[0] * t->shape[1] * t->shape[2] * t->shape[3];
        if (format)
            sum += format->find_not_finite(t->data, count) == UINT64_MAX;
    }
    return sum;
}

static uint64_t visit_array(const inl_gguf *gguf, const char *key, uint64_t count)
{
    inl_env env = inl_env_resolve(NULL);
    uint64_t sum = 0;
    inl_slice *texts = inl_alloc(&env, count, sizeof(*texts)); // count elements are in the input
    float *floats = inl_alloc(&env, count, sizeof(*floats));
    int32_t *integers = inl_alloc(&env, count, sizeof(*integers));
    fuzz_require(texts && floats && integers);
    if (inl_gguf_read_strings(gguf, key, texts, count))
        for (uint64_t i = 0; i < count; i++)
            sum += fuzz_touch(texts[i].data, texts[i].size);
    sum += inl_gguf_read_f32s(gguf, key, floats, count);
    sum += inl_gguf_read_i32s(gguf, key, integers, count);
    fuzz_require(!inl_gguf_read_strings(gguf, key, texts, count + 1));
    inl_free(&env, texts);
    inl_free(&env, floats);
    inl_free(&env, integers);
    return sum;
}

static uint64_t visit_key(const inl_gguf *gguf, const char *key)
{
    uint32_t number;
    float real;
    bool flag;
    inl_slice text;
    inl_gguf_kind kind;
    uint64_t count, sum = 0;
    sum += inl_gguf_get_u32(gguf, key, &number) + inl_gguf_get_f32(gguf, key, &real);
    sum += inl_gguf_get_bool(gguf, key, &flag);
    if (inl_gguf_get_string(gguf, key, &text))
        sum += fuzz_touch(text.data, text.size);
    if (inl_gguf_get_array(gguf, key, &kind, &count))
        sum += visit_array(gguf, key, count);
    return sum;
}

// The keys the seeds have, and one the reader treats apart.
static const char *const keys[] = {"t", "u", "f", "b", "s", "x", "y", "z", "general.alignment"};

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    int errors;
    inl_env env = fuzz_env(&errors);
    inl_gguf *gguf = NULL;
    inlay_result result = inl_gguf_open_memory(&env, "fuzz", data, size, &gguf);
    fuzz_require((result == INLAY_OK) == (gguf != NULL) && errors == (result != INLAY_OK));
    if (!gguf)
        return 0;
    uint64_t sum = visit_tensors(gguf);
    for (size_t i = 0; i < INL_COUNT(keys); i++)
        sum += visit_key(gguf, keys[i]);
    fuzz_require(sum != UINT64_MAX); // the sums are used: no read may be left out
    inl_gguf_close(&gguf);
    return 0;
}

static bytes metadata_seed(void)
{
    bytes b = header(0, 9);
    put_key(&b, "t", INL_GGUF_STRING), put_text(&b, "llama");
    put_key(&b, "u", INL_GGUF_U32), put_u32(&b, 32);
    put_key(&b, "f", INL_GGUF_F64), put_u64(&b, 0);
    put_key(&b, "b", INL_GGUF_BOOL), put_u8(&b, 1);
    put_array(&b, "s", INL_GGUF_STRING, 2), put_text(&b, "ab"), put_text(&b, "");
    put_array(&b, "x", INL_GGUF_F32, 2), put_u64(&b, 0);
    put_array(&b, "y", INL_GGUF_I8, 3), put(&b, "abc", 3);
    put_array(&b, "z", INL_GGUF_BOOL, 1), put_u8(&b, 0);
    put_key(&b, "general.alignment", INL_GGUF_U32), put_u32(&b, 64);
    return b;
}

static bytes tensor_seed(void)
{
    static const uint32_t types[] = {0, 1, 30, 8, 2, 12};
    bytes b = header(INL_COUNT(types), 0);
    for (size_t i = 0; i < INL_COUNT(types); i++)
        put_tensor(&b, (char[]){(char)('a' + i), 0}, types[i], types[i] == 12 ? 256 : 32, 128 * i);
    put_data(&b, 128 * INL_COUNT(types) + 32);
    return b;
}

void fuzz_seeds(fuzz_put *hand, void *user)
{
    bytes empty = header(0, 0), metadata = metadata_seed(), tensors = tensor_seed();
    hand(user, "empty", empty.data, empty.size);
    hand(user, "metadata", metadata.data, metadata.size);
    hand(user, "tensors", tensors.data, tensors.size);
}
