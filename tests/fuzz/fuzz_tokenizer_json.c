// SPDX-License-Identifier: MIT
// libFuzzer target: any bytes as the tokenizer of a Hugging Face folder. Zero bytes part the input
// into tokenizer.json, tokenizer_config.json, chat_template.jinja and a text. A file without a byte
// is not there. What opens encodes the text to ids of the vocabulary, and decodes them.
#define _GNU_SOURCE // memfd_create
#include "fuzz/memory_folder.h"
#include "harness/toy_tokenizer_json.h"
#include "io/tokenizer.h"

enum { TOKENIZER, CONFIG, TEMPLATE, FILES };

static memory_folder folder;

static void encode(const inl_env *env, const inl_tokenizer *t, const char *text, size_t size,
                   bool parse_special)
{
    int32_t *ids;
    size_t count;
    uint64_t sum = 0;
    uint32_t vocab = inl_tokenizer_get_info(t)->vocab;
    if (inl_tokenizer_encode(env, t, text, size, parse_special, &ids, &count) != INLAY_OK)
        return; // a pattern of the file may take too long; it has said so
    for (size_t i = 0; i < count; i++) {
        fuzz_require(ids[i] >= 0 && (uint32_t)ids[i] < vocab);
        inl_slice piece = inl_tokenizer_decode(t, ids[i], i == 0);
        sum += fuzz_touch(piece.data, piece.size);
    }
    fuzz_require(sum != UINT64_MAX); // it is used
    inl_free(env, ids);
}

static void check_info(const inl_tokenizer *t)
{
    const inl_tokenizer_info *info = inl_tokenizer_get_info(t);
    int32_t vocab = (int32_t)info->vocab;
    fuzz_require(info->bos >= -1 && info->bos < vocab && info->eos >= -1 && info->eos < vocab);
    fuzz_require((!info->add_bos || info->bos >= 0) && (!info->add_eos || info->eos >= 0));
    for (uint32_t i = 0; i < info->end_count; i++)
        fuzz_require(info->ends[i] >= 0 && info->ends[i] < vocab);
    fuzz_require(!info->chat_template || strlen(info->chat_template) < 1u << 20);
}

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
    check_info(t);
    static const char text[] = " ab <tool> a\xff\xc3\xa9 <s>'s  123\n\nA";
    bool given = size > 0;
    encode(&env, t, given ? (const char *)data : text, given ? INL_MIN(size, 2048) : sizeof(text),
           true);
    encode(&env, t, text, sizeof(text) - 1, false);
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
