// SPDX-License-Identifier: MIT
// libFuzzer target: any bytes as training data. The first byte chooses format, tokenizer and
// template, the second the row length.
#include "fuzz/fuzz.h"
#include "harness/toy_vocab.h"
#include "io/dataset.h"

static inl_tokenizer *toy_tokenizer(const inl_env *env, bool spm)
{
    static inl_tokenizer *tokenizers[2];
    if (!tokenizers[spm]) {
        gguf_bytes g;
        inl_gguf *gguf;
        if (spm)
            toy_spm(&g, &(toy_options){.adds_bos = 1});
        else
            toy_bpe(&g, &(toy_options){.chat_template = "<|im_start|>"});
        if (inl_gguf_open_memory(env, "toy", g.data, g.size, &gguf) != INLAY_OK ||
            inl_tokenizer_create(env, gguf, &tokenizers[spm]) != INLAY_OK)
            abort();
        inl_gguf_close(&gguf);
        gguf_bytes_free(&g);
    }
    return tokenizers[spm];
}

static void check_row(const inl_dataset *d, uint64_t index, uint64_t *tokens, uint64_t *supervised)
{
    uint32_t max_length = inl_dataset_get_info(d)->max_length;
    inl_row row;
    inl_dataset_get_row(d, index, &row);
    fuzz_require(row.count > 0 && row.count <= max_length);
    *tokens += row.count;
    uint64_t before = *supervised;
    for (uint32_t i = 0; i < max_length; i++) {
        bool first = row.starts[i] == (int32_t)i;
        fuzz_require(first || (i > 0 && row.starts[i] == row.starts[i - 1]));
        if (row.labels[i] < 0)
            continue;
        fuzz_require(i + 1 < row.count && row.starts[i + 1] == row.starts[i]);
        fuzz_require(row.labels[i] == row.tokens[i + 1]);
        ++*supervised;
    }
    fuzz_require(row.supervised == *supervised - before);
}

static void check_dataset(const inl_dataset *d)
{
    const inl_dataset_info *info = inl_dataset_get_info(d);
    uint64_t tokens = 0;
    uint64_t supervised = 0;
    fuzz_require(info->rows > 0 && info->rows <= info->sequences && info->supervised_tokens > 0);
    for (uint64_t i = 0; i < info->rows; i++)
        check_row(d, i, &tokens, &supervised);
    fuzz_require(tokens == info->tokens && supervised == info->supervised_tokens);
    const char *prompt;
    const char *completion;
    bool is_pair = strcmp(info->format, "prompt-completion") == 0;
    for (uint64_t i = 0; i < info->records; i++)
        fuzz_require(inl_dataset_get_record(d, i, &prompt, &completion) == is_pair);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const inl_data_kind kinds[] = {INL_DATA_JSONL, INL_DATA_JSON, INL_DATA_CSV,
                                          INL_DATA_JSONL | INL_DATA_ZSTD};
    static const char *const templates[] = {NULL, "llama2", "gemma", "zephyr"};
    if (size < 2)
        return 0;
    static int errors; // the toy tokenizers keep the env for good
    inl_env env = fuzz_env(&errors);
    uint8_t mode = data[0];
    inl_dataset_params params = {.max_length = data[1], .chat_template = templates[mode >> 1 & 3],
                                 .no_packing = mode & 8, .no_eos = mode & 16};
    const inl_tokenizer *t = toy_tokenizer(&env, mode & 32);
    inl_dataset *d;
    inl_dataset *held;
    inl_data_kind kind = mode & 1 ? kinds[mode >> 6] : INL_DATA_TXT;
    inlay_result result = inl_dataset_open_memory(&env, t, "fuzz", data + 2, size - 2, kind,
                                                  &params, &d);
    fuzz_require((result == INLAY_OK) == (d != NULL) && errors == (result != INLAY_OK));
    if (!d)
        return 0;
    check_dataset(d);
    uint64_t tokens = inl_dataset_get_info(d)->tokens;
    if (inl_dataset_split(d, 0.3, mode, &held) == INLAY_OK) {
        check_dataset(held);
        fuzz_require(inl_dataset_get_info(d)->tokens + inl_dataset_get_info(held)->tokens ==
                     tokens);
    }
    check_dataset(d);
    inl_dataset_close(&held);
    inl_dataset_close(&d);
    return 0;
}

void fuzz_seeds(fuzz_put *put, void *user)
{
    static const struct {
        const char *name, *head, *text;
    } seeds[] = {
        {"stream", "\x00\x10", "hello world\n\nhello hello"},
        {"text", "\x21\x08", "{\"text\": \"hello\"}\n\n{\"text\": \"w\\u00f6rld\", \"id\": 3}\n"},
        {"pairs", "\x09\x20", "{\"prompt\": \"hello\", \"completion\": \" world\"}\r\n"
                             "{\"prompt\": \"\", \"completion\": \"12\"}"},
        {"messages", "\x11\x40", "{\"messages\": [{\"role\": \"system\", \"content\": \"s\"}, "
                                "{\"role\": \"user\", \"content\": \"hello\"}, "
                                "{\"role\": \"assistant\", \"content\": \"world\"}]}\n"},
        {"gemma", "\x25\x40", "{\"messages\": [{\"role\": \"user\", \"content\": \"hello\"}, "
                             "{\"role\": \"assistant\", \"content\": \"<bos>\"}]}\n"},
        {"array", "\x41\x40", "[{\"instruction\": \"hello\", \"input\": \"w\", \"output\": \"1\"},"
                              " {\"instruction\": \"\", \"output\": \"]\"}]"},
        {"csv", "\x81\x40", "prompt,completion\r\n\"he\"\"llo\",\" wor\nld\"\r\nab,c\r\n"},
        {"tokens", "\x01\x40", "{\"input_ids\": [104, 101, 12], \"labels\": [-100, 101, 12]}"},
        {"sharegpt", "\x05\x40", "{\"conversations\": [{\"from\": \"human\", \"value\": \"hi\"}, "
                                "{\"from\": \"gpt\", \"value\": \"hello\"}]}"},
    };
    for (size_t i = 0; i < INL_COUNT(seeds); i++)
        fuzz_put_with(put, user, seeds[i].name, seeds[i].head, 2, seeds[i].text,
                      strlen(seeds[i].text));
}
