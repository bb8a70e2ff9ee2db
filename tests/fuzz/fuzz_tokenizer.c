// SPDX-License-Identifier: MIT
// libFuzzer target: any bytes as a GGUF file's tokenizer, as a vocabulary, and as text.
// The first byte says which.
#include "fuzz/fuzz.h"
#include "harness/toy_vocab.h"
#include "io/tokenizer.h"

#define MAX_TOKENS 64

static inl_tokenizer *open_tokenizer(const inl_env *env, const uint8_t *data, size_t size)
{
    inl_gguf *gguf;
    inl_tokenizer *t = NULL;
    if (inl_gguf_open_memory(env, "fuzz", data, size, &gguf) != INLAY_OK)
        return NULL;
    if (inl_tokenizer_create(env, gguf, &t) != INLAY_OK && t)
        abort();
    inl_gguf_close(&gguf);
    return t;
}

// Encoding always succeeds with ids of the vocabulary; `exact`: decoding gives the text back.
static void encode(const inl_env *env, const inl_tokenizer *t, const char *text, size_t size,
                   bool parse_special, bool exact)
{
    int32_t *ids;
    size_t count;
    size_t at = 0;
    if (inl_tokenizer_encode(env, t, text, size, parse_special, &ids, &count) != INLAY_OK)
        abort();
    for (size_t i = 0; i < count; i++) {
        if (ids[i] < 0 || (uint32_t)ids[i] >= inl_tokenizer_get_info(t)->vocab)
            abort();
        inl_slice s = inl_tokenizer_decode(t, ids[i], i == 0);
        if (exact && (s.size > size - at || memcmp(text + at, s.data, s.size) != 0))
            abort();
        at += s.size;
    }
    if (exact && at != size)
        abort();
    inl_free(env, ids);
}

static void fuzz_toy(const inl_env *env, bool spm, const uint8_t *data, size_t size)
{
    static inl_tokenizer *tokenizers[2];
    if (!tokenizers[spm]) {
        gguf_bytes g;
        if (spm)
            toy_spm(&g, &(toy_options){.no_space_prefix = 1});
        else
            toy_bpe(&g, &(toy_options){.pre = "tekken"});
        tokenizers[spm] = open_tokenizer(env, g.data, g.size);
        gguf_bytes_free(&g);
    }
    bool has_symbol = false; // U+2581 comes back as a space
    for (size_t i = 0; i + 2 < size; i++)
        has_symbol = has_symbol || memcmp(data + i, "\xe2\x96\x81", 3) == 0;
    encode(env, tokenizers[spm], (const char *)data, size, false, !spm || !has_symbol);
    encode(env, tokenizers[spm], (const char *)data, size, true, false);
}

// Newline-separated tokens, each after a byte for its kind and score; merges are all pairs of
// neighbours. The last line is the text.
static void fuzz_vocab(const inl_env *env, bool spm, const uint8_t *data, size_t size)
{
    static char texts[MAX_TOKENS][64];
    static char joined[MAX_TOKENS][160];
    const char *tokens[MAX_TOKENS];
    const char *merges[MAX_TOKENS];
    int32_t kinds[MAX_TOKENS];
    float scores[MAX_TOKENS];
    uint64_t count = 0;
    size_t at = 0;
    while (at < size && count < MAX_TOKENS) {
        const uint8_t *end = memchr(data + at, '\n', size - at);
        if (!end)
            break;
        size_t length = (size_t)(end - (data + at));
        kinds[count] = length ? data[at] % 8 : 1;
        scores[count] = length ? (float)(data[at] >> 3) : 0;
        snprintf(texts[count], sizeof(texts[count]), "%.*s", length ? (int)length - 1 : 0,
                 (const char *)data + at + 1);
        tokens[count] = texts[count];
        snprintf(joined[count], sizeof(joined[count]), "%.63s %.63s", texts[count ? count - 1 : 0],
                 texts[count]);
        merges[count] = joined[count];
        count++;
        at += length + 1;
    }
    gguf_bytes g;
    gguf_bytes_begin(&g);
    gguf_bytes_string(&g, "tokenizer.ggml.model", spm ? "llama" : "gpt2");
    gguf_bytes_strings(&g, "tokenizer.ggml.tokens", tokens, count);
    gguf_bytes_strings(&g, "tokenizer.ggml.merges", merges, count);
    gguf_bytes_i32s(&g, "tokenizer.ggml.token_type", kinds, count);
    gguf_bytes_f32s(&g, "tokenizer.ggml.scores", scores, count);
    gguf_bytes_end(&g);
    inl_tokenizer *t = open_tokenizer(env, g.data, g.size);
    gguf_bytes_free(&g);
    if (t) {
        encode(env, t, (const char *)data + at, size - at, false, false);
        encode(env, t, (const char *)data, size, true, false);
    }
    inl_tokenizer_destroy(&t);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size == 0)
        return 0;
    static int errors; // the toy tokenizers keep the env for good
    inl_env env = fuzz_env(&errors);
    uint8_t mode = data[0];
    data++;
    size--;
    if (mode % 3 == 0) {
        inl_tokenizer *t = open_tokenizer(&env, data, size);
        if (t)
            encode(&env, t, (const char *)data, INL_MIN(size, 4096), mode & 4, false);
        inl_tokenizer_destroy(&t);
    } else if (mode % 3 == 1) {
        fuzz_vocab(&env, mode & 4, data, size);
    } else {
        fuzz_toy(&env, mode & 4, data, size);
    }
    return 0;
}

void fuzz_seeds(fuzz_put *put, void *user)
{
    static const char vocab[] = "1he\n)ll\n\x01"
                                "o\n\x04<tool>\n\x03<s>\nhello <tool>";
    static const char text[] =
        " hello  world\xc3\xa9 12345\n\n\xe2\x96\x81<|im_start|>don't [TOOL]\xff";
    gguf_bytes bpe, spm;
    toy_bpe(&bpe, &(toy_options){.pre = "llama-bpe", .adds_bos = 1});
    toy_spm(&spm, &(toy_options){.adds_bos = 1});
    fuzz_put_with(put, user, "bpe", "\x00", 1, bpe.data, bpe.size);
    fuzz_put_with(put, user, "spm", "\x06", 1, spm.data, spm.size);
    fuzz_put_with(put, user, "bpe-vocab", "\x01", 1, vocab, sizeof(vocab) - 1);
    fuzz_put_with(put, user, "spm-vocab", "\x04", 1, vocab, sizeof(vocab) - 1);
    fuzz_put_with(put, user, "bpe-text", "\x02", 1, text, sizeof(text) - 1);
    fuzz_put_with(put, user, "spm-text", "\x05", 1, text, sizeof(text) - 1);
    gguf_bytes_free(&bpe);
    gguf_bytes_free(&spm);
}
