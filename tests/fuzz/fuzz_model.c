// SPDX-License-Identifier: MIT
// libFuzzer target: any bytes as a model file, opened by its path: metadata, shapes, tensors,
// modules and tokenizer must agree, or be refused with one sentence.
#define _GNU_SOURCE // memfd_create
#include "fuzz/check_model.h"
#include "harness/toy_model.h"

#include <sys/mman.h>
#include <unistd.h>

// A file without a name that lives in memory; written anew for each input.
static const char *write_input(const uint8_t *data, size_t size)
{
    static int fd = -1;
    static char path[64];
    if (fd < 0) {
        fd = memfd_create("fuzz", MFD_CLOEXEC);
        snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
    }
    fuzz_require(fd >= 0 && ftruncate(fd, 0) == 0);
    fuzz_require(pwrite(fd, data, size, 0) == (ssize_t)size);
    return path;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const int formats[] = {-1, INL_FORMAT_NF4, INL_FORMAT_Q8_0, INL_FORMAT_Q4_0};
    int errors;
    inl_env env = fuzz_env(&errors);
    int format = formats[size % INL_COUNT(formats)];
    inl_model_params params = {.quantize = format < 0 ? NULL : inl_format_by_id(format),
                               .skip_finite_check = size & 4};
    inl_model *model;
    inlay_result result = inl_model_open(&env, write_input(data, size), &params, &model);
    fuzz_require((result == INLAY_OK) == (model != NULL) && errors == (result != INLAY_OK));
    if (model)
        check_model(model);
    inl_model_close(&model);
    return 0;
}

void fuzz_seeds(fuzz_put *put, void *user)
{
    static const toy_model models[] = {
        {.dim = 8, .ffn = 12, .layers = 1, .heads = 2, .kv_heads = 1, .head_dim = 4,
         .vocab = TOY_VOCAB, .format = INL_FORMAT_F32, .tied = 1},
        {.dim = 32, .ffn = 32, .layers = 1, .heads = 2, .kv_heads = 2, .head_dim = 16,
         .vocab = TOY_VOCAB, .format = INL_FORMAT_Q4_0, .biases = 1, .rope_factors = 1},
        {.dim = 32, .ffn = 32, .layers = 1, .heads = 1, .kv_heads = 1, .head_dim = 32,
         .vocab = TOY_VOCAB, .format = INL_FORMAT_MXFP4, .tied = 1},
        {.dim = 8, .ffn = 4, .layers = 1, .heads = 2, .kv_heads = 1, .head_dim = 4,
         .vocab = TOY_VOCAB, .format = INL_FORMAT_F16, .tied = 1, .experts = 3, .experts_used = 2},
        {.dim = 4, .ffn = 4, .layers = 2, .heads = 1, .kv_heads = 1, .head_dim = 4,
         .vocab = TOY_VOCAB + 1, .tokens = TOY_VOCAB, .format = INL_FORMAT_F16},
    };
    for (size_t i = 0; i < INL_COUNT(models); i++) {
        gguf_bytes g;
        toy_model_build(&g, &models[i]);
        put(user, (char[]){(char)('a' + i), 0}, g.data, g.size);
        gguf_bytes_free(&g);
    }
}
