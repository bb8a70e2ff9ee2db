// SPDX-License-Identifier: MIT
// libFuzzer target: any bytes as a safetensors file. Where it opens, the tensors cover the bytes
// behind the header once and in order, each is found by its name, and all of it can be read.
#include "fuzz/fuzz.h"
#include "harness/safetensors_bytes.h"
#include "io/safetensors.h"

static uint64_t check_tensor(const inl_safetensors *file, const inl_safetensor *t)
{
    uint64_t elements = 1;
    fuzz_require(t->name && t->dims <= INL_COUNT(t->shape));
    fuzz_require(inl_safetensors_find(file, t->name) == t);
    for (uint32_t i = 0; i < t->dims; i++)
        fuzz_require(inl_mul_u64(elements, t->shape[i], &elements));
    fuzz_require(elements <= 2 * t->bytes); // 4 bits are the least
    float *values = malloc(elements * sizeof(float) + 1);
    fuzz_require(values != NULL);
    inlay_result result = inl_safetensors_read_f32(file, t, values, elements);
    fuzz_require(result == INLAY_OK || result == INLAY_ERROR_UNSUPPORTED);
    uint64_t sum = result == INLAY_OK ? fuzz_touch(values, elements * sizeof(float)) : 0;
    fuzz_require(inl_safetensors_read_f32(file, t, values, elements + 1) != INLAY_OK);
    free(values);
    return sum + fuzz_touch(t->data, t->bytes);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    int errors;
    inl_env env = fuzz_env(&errors);
    inl_safetensors *file;
    inlay_result result = inl_safetensors_open_memory(&env, "fuzz", data, size, &file);
    fuzz_require((result == INLAY_OK) == (file != NULL) && errors == (result != INLAY_OK));
    if (!file)
        return 0;
    uint64_t sum = 0;
    const uint8_t *end = data + size;
    for (uint32_t i = inl_safetensors_count(file); i-- > 0;) {
        const inl_safetensor *t = inl_safetensors_at(file, i);
        fuzz_require(t->data + t->bytes == end);
        end = t->data;
        sum += check_tensor(file, t);
    }
    fuzz_require(sum != UINT64_MAX && end > data + 8); // the sum is used
    inl_safetensors_close(&file);
    return 0;
}

void fuzz_seeds(fuzz_put *put, void *user)
{
    static const char *const types[] = {"F32", "BF16", "F16", "I64", "U8", "F4"};
    static const uint8_t bytes[64] = {1, 2, 3};
    safetensors_bytes s = {0};
    safetensors_bytes_end(&s);
    put(user, "empty", s.data, s.size);
    for (size_t i = 0; i < INL_COUNT(types); i++) {
        uint64_t elements = i == 0 ? 4 : i < 3 ? 8 : i == 3 ? 2 : i == 4 ? 16 : 32; // in 16 bytes
        safetensors_bytes_tensor(&s, types[i], types[i], 2, (uint64_t[]){2, elements / 2}, bytes,
                                 16);
    }
    safetensors_bytes_end(&s);
    put(user, "types", s.data, s.size);
    safetensors_bytes_free(&s);
    const char header[] =
        "{\"__metadata__\":{\"format\":\"pt\"},"
        "\"a.b\":{\"dtype\":\"F32\",\"shape\":[],\"data_offsets\":[4,8]},"
        "\"\\u00e9\":{\"dtype\":\"F32\",\"shape\":[1,1,1],\"data_offsets\":[0,4]}}   ";
    safetensors_bytes_join(&s, header, sizeof(header) - 1, bytes, 8);
    put(user, "metadata", s.data, s.size);
    safetensors_bytes_free(&s);
}
