// SPDX-License-Identifier: MIT
// libFuzzer target: any bytes as the tokenizer of a Hugging Face folder. Zero bytes part the input
// into tokenizer.json, tokenizer_config.json, chat_template.jinja and a text. A file without a byte
// is not there. What opens encodes the text to ids of the vocabulary, and decodes them.
#define _GNU_SOURCE // memfd_create
#include "fuzz/check_tokenizer.h"
#include "fuzz/memory_folder.h"
#include "harness/toy_tokenizer_json.h"

enum { TOKENIZER, CONFIG, TEMPLATE, FILES };

static memory_folder folder;

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const char *const names[FILES] = {"tokenizer.json", "tokenizer_config.json",
                                             "chat_template.jinja"};
    int errors;
    inl_env env = fuzz_env(&errors);
    inl_tokenizer *t;
    memory_folder_make(&folder, names, FILES);
    for (size_t i = 0; i < FILES; i++) {
        size_t part_size;
        const uint8_t *part = fuzz_part(&data, &size, &part_size);
        memory_folder_fill(&folder, i, part_size > 0 ? part : NULL, part_size);
    }
    inlay_result result = inl_tokenizer_open_folder(&env, folder.path, &t);
    fuzz_require((result == INLAY_OK) == (t != NULL) && errors == (result != INLAY_OK));
    if (!t)
        return 0;
    check_tokenizer(&env, t, data, size);
    inl_tokenizer_destroy(&t);
    return 0;
}

void fuzz_seeds(fuzz_put *put, void *user)
{
    static const char beside[] =
        "{\"bos_token\":\"<s>\",\"eos_token\":{\"content\":\"</s>\"},\"add_bos_token\":true,"
        "\"chat_template\":[{\"name\":\"default\",\"template\":\"{{ x }}\"}]}";
    static const char jinja[] = "{% for m in messages %}{{ m.content }}{% endfor %}\0ab <tool>ab";
    fuzz_put_with(put, user, "byte-level", toy_byte_level_json, sizeof(toy_byte_level_json), beside,
                  sizeof(beside));
    fuzz_put_with(put, user, "byte-fallback", toy_byte_fallback_json,
                  sizeof(toy_byte_fallback_json), beside, sizeof(beside) - 1);
    char both[sizeof(toy_byte_level_json) + sizeof(beside)];
    memcpy(both, toy_byte_level_json, sizeof(toy_byte_level_json));
    memcpy(both + sizeof(toy_byte_level_json), beside, sizeof(beside));
    fuzz_put_with(put, user, "template", both, sizeof(both), jinja, sizeof(jinja) - 1);
}
