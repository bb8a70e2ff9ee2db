// SPDX-License-Identifier: MIT
// libFuzzer target: any bytes as a folder without tokenizer.json. Zero bytes part the input into
// tokenizer_config.json, added_tokens.json, vocab.json and merges.txt; the rest is tokenizer.model,
// which counts where there is no vocab.json. What opens encodes a text to ids of the vocabulary.
#define _GNU_SOURCE // memfd_create
#include "fuzz/check_tokenizer.h"
#include "fuzz/memory_folder.h"
#include "harness/toy_tokenizer_model.h"

enum { CONFIG, ADDED, VOCAB, MERGES, MODEL, FILES };

static memory_folder folder;

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const char *const names[FILES] = {"tokenizer_config.json", "added_tokens.json",
                                             "vocab.json", "merges.txt", "tokenizer.model"};
    int errors;
    inl_env env = fuzz_env(&errors);
    inl_tokenizer *t;
    memory_folder_make(&folder, names, FILES);
    for (size_t i = 0; i < MODEL; i++) {
        size_t part_size;
        const uint8_t *part = fuzz_part(&data, &size, &part_size);
        memory_folder_fill(&folder, i, part_size > 0 ? part : NULL, part_size);
    }
    memory_folder_fill(&folder, MODEL, size > 0 ? data : NULL, size);
    inlay_result result = inl_tokenizer_open_folder(&env, folder.path, &t);
    fuzz_require((result == INLAY_OK) == (t != NULL) && errors == (result != INLAY_OK));
    if (t)
        check_tokenizer(&env, t, NULL, 0);
    inl_tokenizer_destroy(&t);
    return 0;
}

static void put_model(fuzz_put *put, void *user, const char *name, const toy_model *m)
{
    static const char beside[] =
        "{\"tokenizer_class\":\"LlamaTokenizer\",\"added_tokens_decoder\":"
        "{\"12\":{\"content\":\"<tool>\",\"rstrip\":true}}}\0{\"<x>\":11}\0\0";
    toy_model_bytes bytes = {0};
    toy_model_write(&bytes, m);
    fuzz_put_with(put, user, name, beside, sizeof(beside), bytes.data, bytes.size);
}

void fuzz_seeds(fuzz_put *put, void *user)
{
    static const char config[] =
        "{\"tokenizer_class\":\"Qwen2Tokenizer\",\"bos_token\":null,\"eos_token\":{\"content\":"
        "\"<s>\"},\"added_tokens_decoder\":{\"5\":{\"content\":\"<tool>\",\"special\":true}}}\0";
    static const char vocab[] = "{\"a\":0,\"b\":1,\"ab\":2,\"\\u0120\":3,\"\\u0120ab\":4}\0"
                                "#version: 0.2\na b\n\xc4\xa0 ab\n";
    fuzz_put_with(put, user, "vocab", config, sizeof(config), vocab, sizeof(vocab));
    put_model(put, user, "model", &(toy_model){0});
    put_model(put, user, "strips", &(toy_model){.strips = true, .extra_text = "c"});
}
