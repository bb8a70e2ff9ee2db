// SPDX-License-Identifier: MIT
// Tokenizers against llama.cpp's own fixtures (where INLAY_TEST_DATA is set) and toy vocabularies.
#include <dirent.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <cmocka.h>
#include <jansson.h>

#include "base/file.h"
#include "base/rng.h"
#include "harness/data_folder.h"
#include "harness/failing_env.h"
#include "harness/toy_vocab.h"
#include "io/encode.h"
#include "io/pretokenizer.h"
#include "io/tokenizer.h"

#define CASE_SEPARATOR "\n__ggml_vocab_test__\n"

static char last_message[2048];
static char all_messages[8192];

static void keep_message(void *user, inlay_log_level level, const char *message)
{
    (void)user;
    (void)level;
    snprintf(last_message, sizeof(last_message), "%s", message);
    strncat(all_messages, message, sizeof(all_messages) - strlen(all_messages) - 1);
}

static inl_env test_env(void)
{
    inlay_env env = {.log = keep_message};
    last_message[0] = all_messages[0] = '\0';
    return inl_env_resolve(&env);
}

static inl_tokenizer *make(const inl_env *env, gguf_bytes *g)
{
    inl_gguf *gguf;
    inl_tokenizer *t = NULL;
    assert_int_equal(inl_gguf_open_memory(env, "toy", g->data, g->size, &gguf), INLAY_OK);
    inlay_result result = inl_tokenizer_create(env, gguf, &t);
    inl_gguf_close(&gguf);
    gguf_bytes_free(g); // the tokenizer must live without it
    if (result != INLAY_OK)
        fail_msg("%s", last_message);
    return t;
}

static inl_tokenizer *make_bpe(const inl_env *env, const toy_options *options)
{
    gguf_bytes g;
    toy_bpe(&g, options);
    return make(env, &g);
}

static inl_tokenizer *make_spm(const inl_env *env, const toy_options *options)
{
    gguf_bytes g;
    toy_spm(&g, options);
    return make(env, &g);
}

// Ids as their vocabulary texts would be unreadable; decoded bytes joined by '|' are not.
// Control tokens show as "#id".
static void assert_pieces(const inl_env *env, const inl_tokenizer *t, const char *text,
                          bool parse_special, const char *expected)
{
    int32_t *ids;
    size_t count;
    char got[1024] = "";
    assert_int_equal(inl_tokenizer_encode(env, t, text, strlen(text), parse_special, &ids, &count),
                     INLAY_OK);
    for (size_t i = 0; i < count; i++) {
        inl_slice s = inl_tokenizer_decode(t, ids[i], false);
        size_t used = strlen(got);
        if (s.size > 0)
            snprintf(got + used, sizeof(got) - used, "%s%.*s", i ? "|" : "", (int)s.size, s.data);
        else
            snprintf(got + used, sizeof(got) - used, "%s#%d", i ? "|" : "", ids[i]);
    }
    inl_free(env, ids);
    assert_string_equal(got, expected);
}

static void assert_ids(const inl_env *env, const inl_tokenizer *t, const char *text, size_t size,
                       const int32_t *want, size_t want_count)
{
    int32_t *ids;
    size_t count;
    assert_int_equal(inl_tokenizer_encode(env, t, text, size, false, &ids, &count), INLAY_OK);
    assert_int_equal(count, want_count);
    for (size_t i = 0; i < count; i++)
        assert_int_equal(ids[i], want[i]);
    inl_free(env, ids);
}

// Decoding gives the bytes back; SentencePiece reads U+2581 as a space, so that is written as one.
static void assert_round_trip(const inl_env *env, const inl_tokenizer *t, const char *text,
                              size_t size)
{
    int32_t *ids;
    size_t count;
    assert_int_equal(inl_tokenizer_encode(env, t, text, size, false, &ids, &count), INLAY_OK);
    char *out = malloc(size * 3 + 64);
    size_t written = 0;
    for (size_t i = 0; i < count; i++) {
        inl_slice s = inl_tokenizer_decode(t, ids[i], i == 0);
        assert_true(written + s.size <= size);
        memcpy(out + written, s.data, s.size);
        written += s.size;
    }
    assert_int_equal(written, size);
    assert_memory_equal(out, text, size);
    free(out);
    inl_free(env, ids);
}

// Characters of all kinds, broken ones too.
static size_t random_text(uint32_t seed, uint32_t stream, char *out, size_t room)
{
    static const char *const bits[] = {
        " ",
        "  ",
        "\n",
        "\r\n",
        "\t",
        "a",
        "hello",
        " world",
        "'s",
        "12",
        "3",
        "!?",
        "\xc3\xa9",
        "\xe4\xbd\xa0",
        "\xf0\x9f\xa6\x99",
        "\xe2\x80\xa8",
        "\xe2\x96",
        "\xff",
        "\xc3",
        "\xed\xa0\x80",
        "<s>",
        "<tool",
        "[INST",
        "\xef\xbf\xbd",
        "A",
        "\xcc\x81",
    };
    size_t size = 0;
    for (uint32_t i = 0;; i++) {
        uint32_t r = inl_rng_u32(seed, stream, i);
        char byte = (char)(r >> 24);
        const char *bit = bits[r % INL_COUNT(bits)];
        size_t length = r & 0x1000 ? strlen(bit) : 1;
        if (size + length > room || (r & 0xff0000) == 0)
            break;
        memcpy(out + size, r & 0x1000 ? bit : &byte, length);
        size += length;
    }
    for (size_t i = 0; i + 2 < size; i++)
        if (memcmp(out + i, "\xe2\x96\x81", 3) == 0)
            out[i] = 'x';
    return size;
}

static void check_round_trips(const inl_env *env, const inl_tokenizer *t, int cases)
{
    uint32_t seed = 20250;
    print_message("seed %u, %d texts\n", seed, cases);
    char text[400];
    for (int i = 0; i < cases; i++) {
        size_t size = random_text(seed, (uint32_t)i, text, sizeof(text));
        assert_round_trip(env, t, text, size);
    }
    assert_round_trip(env, t, "", 0);
}

static void test_bpe_merges(void **state)
{
    (void)state;
    inl_env env = test_env();
    inl_tokenizer *t = make_bpe(&env, &(toy_options){0});
    assert_pieces(&env, t, "hello world", false, "hello| world");
    assert_pieces(&env, t, " hello", false, " hello");
    assert_pieces(&env, t, "helloworld", false, "hello|w|or|ld");
    assert_pieces(&env, t, "aaaaaaa", false, "aaaa|aa|a"); // leftmost of equals first
    assert_pieces(&env, t, "1234", false, "123|4");
    assert_pieces(&env, t, "hold", false, "h|o|ld"); // in the vocabulary, but no merge leads there
    assert_pieces(&env, t, "", false, "");
    int32_t want[] = {'h', 0xff, 0xc3, 'h'};
    assert_ids(&env, t, "h\xff\xc3h", 4, want, 4); // not UTF-8: byte by byte
    int32_t nul[] = {'a', 0, 'b'};
    assert_ids(&env, t, "a\0b", 3, nul, 3);
    const inl_tokenizer_info *info = inl_tokenizer_get_info(t);
    assert_string_equal(info->model, "gpt2");
    assert_string_equal(info->pre, "gpt-2");
    assert_int_equal(info->bos, inl_tokenizer_find(t, "<bos>"));
    assert_int_equal(info->eos, inl_tokenizer_find(t, "<eos>"));
    assert_false(info->add_bos);
    assert_null(info->chat_template);
    inl_tokenizer_destroy(&t);
    assert_null(t);
    inl_tokenizer_destroy(&t);
}

static void test_bpe_ignore_merges(void **state)
{
    (void)state;
    inl_env env = test_env();
    inl_tokenizer *t = make_bpe(&env, &(toy_options){.pre = "llama-bpe", .adds_bos = 1});
    assert_pieces(&env, t, "hold hello", false, "hold| hello");
    assert_pieces(&env, t, "1234", false, "123|4");
    assert_true(inl_tokenizer_get_info(t)->add_bos);
    inl_tokenizer_destroy(&t);
}

static void test_special_tokens(void **state)
{
    (void)state;
    inl_env env = test_env();
    inl_tokenizer *t = make_bpe(&env, &(toy_options){.chat_template = "{{ x }}"});
    char want[64];
    int eos = inl_tokenizer_find(t, "<eos>");
    snprintf(want, sizeof(want), "hello|#%d| world", eos);
    assert_pieces(&env, t, "hello<eos> world", true, want);
    assert_pieces(&env, t, "<eos>", false, "<|e|o|s|>");
    assert_pieces(&env, t, "a<tool>b", false, "a|<tool>|b");   // user-defined: always
    assert_pieces(&env, t, "a<tool>sb", false, "a|<tool>s|b"); // the longest
    assert_pieces(&env, t, "a<tool", false, "a|<|t|o|o|l");
    // Markers are control tokens whatever the file says.
    snprintf(want, sizeof(want), "#%d|#%d", inl_tokenizer_find(t, "<|im_start|>"),
             inl_tokenizer_find(t, "<|im_end|>"));
    assert_pieces(&env, t, "<|im_start|><|im_end|>", true, want);
    assert_pieces(&env, t, "<|im_end|>", false, "<|||i|m|_|e|n|d|||>");
    assert_string_equal(inl_tokenizer_get_info(t)->chat_template, "{{ x }}");
    assert_int_equal(inl_tokenizer_find(t, "no such"), -1);
    assert_int_equal(inl_tokenizer_find(t, ""), -1);
    assert_int_equal(inl_tokenizer_decode(t, eos, false).size, 0);
    assert_int_equal(inl_tokenizer_decode(t, -1, false).size, 0);
    assert_int_equal(inl_tokenizer_decode(t, 1 << 30, false).size, 0);
    inl_tokenizer_destroy(&t);
}

static void test_spm_merges(void **state)
{
    (void)state;
    inl_env env = test_env();
    inl_tokenizer *t = make_spm(&env, &(toy_options){0});
    assert_pieces(&env, t, "hello world", false, " hello| world");
    assert_pieces(&env, t, " hello", false, " | hello"); // " hello" has a better score than "  "
    assert_pieces(&env, t, "aaaaaaa", false, " |aaaa|aa|a");
    assert_pieces(&env, t, "", false, "");
    int32_t bytes[] = {inl_tokenizer_find(t, "\xe2\x96\x81"), 3 + 0xc3, 3 + 0xa9, 3 + 0xff};
    assert_ids(&env, t, "\xc3\xa9\xff", 3, bytes, 4);
    // What is written like a control token stays text, though merges could make it.
    assert_pieces(&env, t, "<s>", false, " |<s|>");
    assert_pieces(&env, t, "a<s>b", true, " |a|#1| |b");
    assert_int_equal(inl_tokenizer_decode(t, inl_tokenizer_find(t, "\xe2\x96\x81hello"), true).size,
                     5);
    assert_int_equal(inl_tokenizer_decode(t, 0, true).size, 3); // unknown: U+FFFD
    inl_tokenizer_destroy(&t);

    t = make_spm(&env, &(toy_options){.no_space_prefix = 1, .adds_bos = 1});
    assert_pieces(&env, t, "hello world", false, "hello| world");
    assert_true(inl_tokenizer_get_info(t)->add_bos);
    assert_int_equal(inl_tokenizer_decode(t, inl_tokenizer_find(t, "\xe2\x96\x81hello"), true).size,
                     6);
    inl_tokenizer_destroy(&t);
}

static void test_spm_unknown(void **state)
{
    (void)state;
    inl_env env = test_env();
    inl_tokenizer *t = make_spm(&env, &(toy_options){.no_bytes = 1});
    int32_t want[] = {inl_tokenizer_find(t, "\xe2\x96\x81"), 0, inl_tokenizer_find(t, "a"), 0};
    assert_ids(&env, t,
               "\xc3\xa9\xc3\xa9"
               "a\xff",
               6, want, 4); // one unknown a run
    inl_tokenizer_destroy(&t);
}

static void test_spm_strips_after_markers(void **state)
{
    (void)state;
    inl_env env = test_env();
    inl_tokenizer *t = make_spm(&env, &(toy_options){.architecture = "phi3"});
    assert_pieces(&env, t, "<s>\n a", true, "#1| |a");
    inl_tokenizer_destroy(&t);
}

static void test_parts(void **state)
{
    (void)state;
    inl_env env = test_env();
    inl_tokenizer *t = make_bpe(&env, &(toy_options){0});
    int32_t eos = inl_tokenizer_find(t, "<eos>");
    inl_ids ids = {0};
    inl_place place = INL_PLACE_START;
    inl_text_part parts[] = {
        {.text = "<eos>hel", .size = 8, .parse_special = true},
        {.text = "lo<eos>", .size = 7},
        {.is_token = true, .token = eos},
        {0},
        {.text = "a", .size = 1},
    };
    assert_int_equal(inl_encode_parts(&env, t, parts, INL_COUNT(parts), &place, &ids), INLAY_OK);
    int32_t want[] = {eos, inl_tokenizer_find(t, "hello"), '<', 'e', 'o', 's', '>', eos, 'a'};
    assert_int_equal(ids.count, INL_COUNT(want));
    assert_memory_equal(ids.data, want, sizeof(want));
    assert_int_equal(place, INL_PLACE_INSIDE);
    inl_free(&env, ids.data);
    inl_tokenizer_destroy(&t);
}

static inlay_result add_piece(void *context, const char *piece, size_t size)
{
    char *out = context;
    if (*out)
        strcat(out, "\x1f");
    strncat(out, piece, size);
    return INLAY_OK;
}

// Expected pieces, 0x1f between them, are those of the Hugging Face tokenizers library for the
// expressions as published.
static void test_pretokenizers(void **state)
{
    (void)state;
    static const struct {
        const char *pre, *text, *pieces;
    } cases[] = {
#include "pretokenizer_cases.inc"
    };
    inl_env env = test_env();
    for (size_t i = 0; i < INL_COUNT(cases); i++) {
        inl_pretokenizer *p;
        char got[2048] = "";
        assert_int_equal(inl_pretokenizer_create(&env, "toy", cases[i].pre, &p), INLAY_OK);
        assert_int_equal(inl_pretokenizer_split(&env, p, cases[i].text, strlen(cases[i].text), true,
                                                add_piece, got),
                         INLAY_OK);
        inl_pretokenizer_destroy(&p);
        if (strcmp(got, cases[i].pieces) != 0)
            fail_msg("%s, case %zu:\n got  %s\n want %s", cases[i].pre, i, got, cases[i].pieces);
    }
}

static void test_invalid_utf8_pieces(void **state)
{
    (void)state;
    inl_env env = test_env();
    inl_pretokenizer *p;
    char got[256] = "";
    const char *text = "ab\xff\xc3(\xed\xa0\x80 d\xf4\x90\x80\x80";
    assert_int_equal(inl_pretokenizer_create(&env, "toy", "gpt-2", &p), INLAY_OK);
    assert_int_equal(inl_pretokenizer_split(&env, p, text, strlen(text), true, add_piece, got),
                     INLAY_OK);
    assert_string_equal(got, "ab\x1f\xff\x1f\xc3\x1f(\x1f\xed\x1f\xa0\x1f\x80\x1f d\x1f\xf4\x1f\x90"
                             "\x1f\x80\x1f\x80");
    inl_pretokenizer_destroy(&p);
}

static inlay_result create_result(const inl_env *env, gguf_bytes *g)
{
    inl_gguf *gguf;
    inl_tokenizer *t = NULL;
    gguf_bytes_end(g);
    assert_int_equal(inl_gguf_open_memory(env, "broken.gguf", g->data, g->size, &gguf), INLAY_OK);
    inlay_result result = inl_tokenizer_create(env, gguf, &t);
    inl_gguf_close(&gguf);
    gguf_bytes_free(g);
    assert_true((t != NULL) == (result == INLAY_OK));
    inl_tokenizer_destroy(&t);
    return result;
}

static void start_broken(gguf_bytes *g, const char *model, const char *pre)
{
    static const char *const tokens[] = {"<unk>", "a"};
    gguf_bytes_begin(g);
    gguf_bytes_string(g, "tokenizer.ggml.model", model);
    gguf_bytes_string(g, "tokenizer.ggml.pre", pre);
    gguf_bytes_strings(g, "tokenizer.ggml.tokens", tokens, 2);
}

static void assert_message(const char *part)
{
    if (!strstr(all_messages, part))
        fail_msg("no \"%s\" in \"%s\"", part, all_messages);
}

static void test_unknown_names(void **state)
{
    (void)state;
    inl_env env = test_env();
    gguf_bytes g;
    start_broken(&g, "gpt2", "nonsense");
    gguf_bytes_strings(&g, "tokenizer.ggml.merges", NULL, 0);
    assert_int_equal(create_result(&env, &g), INLAY_ERROR_UNSUPPORTED);
    assert_message("broken.gguf: the pre-tokenizer \"nonsense\" is unknown");
    assert_message("llama-bpe");
    assert_message("tekken");
    assert_message("hunyuan-dense)"); // the list is whole
    start_broken(&g, "gpt2", "a name that is far too long for any pre-tokenizer");
    assert_int_equal(create_result(&env, &g), INLAY_ERROR_UNSUPPORTED);
    start_broken(&g, "t5", "default");
    assert_int_equal(create_result(&env, &g), INLAY_ERROR_UNSUPPORTED);
    assert_message("\"t5\"");
}

static void test_broken_files(void **state)
{
    (void)state;
    inl_env env = test_env();
    gguf_bytes g;
    gguf_bytes_begin(&g);
    assert_int_equal(create_result(&env, &g), INLAY_ERROR_BAD_FILE);
    gguf_bytes_string(&g, "tokenizer.ggml.model", "llama");
    assert_int_equal(create_result(&env, &g), INLAY_ERROR_BAD_FILE);
    assert_message("tokenizer.ggml.tokens");
    start_broken(&g, "llama", "default");
    assert_int_equal(create_result(&env, &g), INLAY_ERROR_BAD_FILE);
    assert_message("tokenizer.ggml.scores is missing");
    start_broken(&g, "llama", "default");
    gguf_bytes_f32s(&g, "tokenizer.ggml.scores", (float[]){0, 1, 2}, 3);
    assert_int_equal(create_result(&env, &g), INLAY_ERROR_BAD_FILE);
    assert_message("tokenizer.ggml.scores has 3 entries for 2 tokens");
    start_broken(&g, "llama", "default");
    gguf_bytes_f32s(&g, "tokenizer.ggml.scores", (float[]){0, 1}, 2);
    gguf_bytes_u32(&g, "tokenizer.ggml.unknown_token_id", 7);
    assert_int_equal(create_result(&env, &g), INLAY_ERROR_BAD_FILE);
    assert_message("unknown_token_id is 7, but there are 2 tokens");
    assert_message("has no unknown token");
    start_broken(&g, "gpt2", "gpt-2");
    assert_int_equal(create_result(&env, &g), INLAY_ERROR_BAD_FILE);
    assert_message("tokenizer.ggml.merges");
    start_broken(&g, "gpt2", "gpt-2");
    gguf_bytes_i32s(&g, "tokenizer.ggml.merges", (int32_t[]){1}, 1);
    assert_int_equal(create_result(&env, &g), INLAY_ERROR_BAD_FILE);
    start_broken(&g, "gpt2", "gpt-2"); // odd, but usable
    gguf_bytes_strings(&g, "tokenizer.ggml.merges", (const char *[]){"a b", "a", " ", ""}, 4);
    assert_int_equal(create_result(&env, &g), INLAY_OK);
    assert_message("4 of 4 merges name no tokens");
    assert_message("no token for 255 of the 256 bytes");
}

static void test_round_trips(void **state)
{
    (void)state;
    inl_env env = test_env();
    static const char *const pres[] = {"gpt-2",  "default", "llama-bpe", "qwen2", "qwen35",
                                       "smollm", "falcon",  "tekken",    "gpt-4o"};
    for (size_t i = 0; i < INL_COUNT(pres); i++) {
        inl_tokenizer *t = make_bpe(&env, &(toy_options){.pre = pres[i]});
        check_round_trips(&env, t, 300);
        inl_tokenizer_destroy(&t);
    }
    inl_tokenizer *t = make_spm(&env, &(toy_options){.no_space_prefix = 1});
    check_round_trips(&env, t, 1000);
    inl_tokenizer_destroy(&t);
}

// Bytes of a second, at the least. One word of a mebibyte is the slowest text there is.
#if defined(__OPTIMIZE__) && !defined(__SANITIZE_ADDRESS__)
#define SLOWEST_WORD 1e6
#define SLOWEST_TEXT 5e6
#define SPEED_RUNS 3
#else // sanitized or not optimized
#define SLOWEST_WORD 0.5e6
#define SLOWEST_TEXT 0.5e6
#define SPEED_RUNS 1
#endif
#define SPEED_SIZE ((size_t)1 << 20)

static const char *const speed_kinds[] = {"one letter", "letters", "spaces", "invalid bytes",
                                          "text"};

// The text: words of one to eight letters, of which there are 256, and spaces.
static void fill_speed_text(int kind, char *text)
{
    size_t left = 0;
    uint32_t word = 0;
    for (size_t i = 0; i < SPEED_SIZE; i++) {
        uint32_t r = inl_rng_u32(7, (uint32_t)kind, (uint32_t)i);
        if (kind == 4 && left == 0) {
            word = r % 256;
            left = 2 + word % 8;
        }
        if (kind == 4)
            r = inl_rng_u32(8, word, (uint32_t)left--);
        bool space = kind == 2 || (kind == 4 && left == 0);
        text[i] = kind == 0 ? 'a' : kind == 3 ? '\xff' : space ? ' ' : (char)('a' + r % 26);
    }
}

// Processor time, the best of the runs.
static double time_encode(const inl_env *env, const inl_tokenizer *t, const char *text,
                          size_t *count)
{
    double best = 1e9;
    for (int run = 0; run < SPEED_RUNS; run++) {
        int32_t *ids;
        clock_t start = clock();
        assert_int_equal(inl_tokenizer_encode(env, t, text, SPEED_SIZE, false, &ids, count),
                         INLAY_OK);
        best = INL_MIN(best, (double)(clock() - start) / CLOCKS_PER_SEC);
        inl_free(env, ids);
    }
    return best;
}

static void check_speed(const inl_env *env, const inl_tokenizer *t, const char *name)
{
    char *text = malloc(SPEED_SIZE);
    for (int kind = 0; kind < 5; kind++) {
        size_t count;
        fill_speed_text(kind, text);
        double rate = (double)SPEED_SIZE / time_encode(env, t, text, &count);
        print_message("%s, 1 MiB of %s: %.1f MB/s, %zu tokens\n", name, speed_kinds[kind],
                      rate / 1e6, count);
        assert_true(rate >= (kind == 4 ? SLOWEST_TEXT : SLOWEST_WORD));
    }
    free(text);
}

static void test_long_words(void **state)
{
    (void)state;
    inl_env env = test_env();
    inl_tokenizer *t = make_bpe(&env, &(toy_options){0});
    check_speed(&env, t, "byte-level");
    inl_tokenizer_destroy(&t);
    t = make_bpe(&env, &(toy_options){.pre = "tekken"});
    check_speed(&env, t, "byte-level, tekken");
    inl_tokenizer_destroy(&t);
    t = make_spm(&env, &(toy_options){0});
    check_speed(&env, t, "SentencePiece");
    inl_tokenizer_destroy(&t);
}

static inlay_result load_and_encode(const inl_env *env, void *gguf)
{
    inl_tokenizer *t;
    int32_t *ids = NULL;
    size_t count;
    const char *text = "hello<eos> world<tool>\xff aaaaaaaaaaaaaaaaaaaaaaaa";
    INL_TRY(inl_tokenizer_create(env, gguf, &t));
    inlay_result result = inl_tokenizer_encode(env, t, text, strlen(text), true, &ids, &count);
    inl_free(env, ids);
    inl_tokenizer_destroy(&t);
    return result;
}

static void check_out_of_memory(gguf_bytes *g)
{
    inl_env whole = test_env();
    inl_gguf *gguf;
    assert_int_equal(inl_gguf_open_memory(&whole, "toy", g->data, g->size, &gguf), INLAY_OK);
    assert_true(check_each_failure("tokenizer", load_and_encode, gguf, UINT32_MAX) > 10);
    inl_gguf_close(&gguf);
    gguf_bytes_free(g);
}

static void test_out_of_memory(void **state)
{
    (void)state;
    gguf_bytes g;
    toy_bpe(&g, &(toy_options){.chat_template = "x"});
    check_out_of_memory(&g);
    toy_spm(&g, &(toy_options){0});
    check_out_of_memory(&g);
}

// ---- the shared data ----

static char *data_path(const char *name)
{
    static char path[1024];
    snprintf(path, sizeof(path), "%s/tokenizer/%s", data_folder(), name);
    return path;
}

static char *read_file(const inl_env *env, const char *path, size_t *size)
{
    inl_map map;
    assert_int_equal(inl_map_open(env, path, &map), INLAY_OK);
    char *text = calloc(map.size + 1, 1);
    memcpy(text, map.data, map.size);
    *size = map.size;
    inl_map_close(&map);
    return text;
}

// Cases of <name>.inp, between separators, are the id lists that are the lines of <name>.out.
static void check_fixture(const inl_env *env, const inl_tokenizer *t, const char *name)
{
    char file[128];
    size_t size;
    snprintf(file, sizeof(file), "%s.inp", name);
    char *input = read_file(env, data_path(file), &size);
    snprintf(file, sizeof(file), "%s.out", name);
    char *output = read_file(env, data_path(file), &size);
    char *line = output;
    int cases = 0;
    for (char *text = input; text; cases++) {
        char *end = strstr(text, CASE_SEPARATOR);
        char *line_end = strchr(line, '\n');
        if (!line_end)
            break;
        int32_t want[512];
        size_t count = 0;
        *line_end = '\0';
        for (char *number = strtok(line, " "); number; number = strtok(NULL, " "))
            want[count++] = (int32_t)strtol(number, NULL, 10);
        size_t length = end ? (size_t)(end - text) : strlen(text);
        assert_ids(env, t, text, length, want, count);
        line = line_end + 1;
        text = end ? end + strlen(CASE_SEPARATOR) : NULL;
    }
    print_message("%s: %d cases\n", name, cases);
    assert_true(cases > 40);
    assert_int_equal(*line, '\0'); // none left over
    free(input);
    free(output);
}

static void check_vocab_file(const char *name)
{
    inl_env env = test_env();
    inl_gguf *gguf;
    inl_tokenizer *t;
    assert_int_equal(inl_gguf_open(&env, data_path(name), &gguf), INLAY_OK);
    assert_int_equal(inl_tokenizer_create(&env, gguf, &t), INLAY_OK);
    inl_gguf_close(&gguf);
    assert_string_equal(all_messages, ""); // no warnings
    check_fixture(&env, t, name);
    bool byte_level = strcmp(inl_tokenizer_get_info(t)->model, "gpt2") == 0;
    if (byte_level)
        check_round_trips(&env, t, 2000);
    check_speed(&env, t, name);
    inl_tokenizer_destroy(&t);
}

static void test_gpt2_fixture(void **state)
{
    (void)state;
    check_vocab_file("ggml-vocab-gpt-2.gguf");
}

static void test_spm_fixture(void **state)
{
    (void)state;
    check_vocab_file("ggml-vocab-llama-spm.gguf");
}

static void add_qwen_tokens(gguf_bytes *g, const inl_env *env)
{
    size_t size;
    char *text = read_file(env, data_path("qwen2.5/vocab.json"), &size);
    json_t *vocab = json_loadb(text, size, 0, NULL);
    assert_non_null(vocab);
    size_t count = json_object_size(vocab);
    const char **tokens = calloc(count, sizeof(*tokens));
    const char *key;
    json_t *value;
    json_object_foreach(vocab, key, value)
    {
        assert_true((size_t)json_integer_value(value) < count);
        tokens[json_integer_value(value)] = key;
    }
    gguf_bytes_strings(g, "tokenizer.ggml.tokens", tokens, count);
    free(tokens);
    json_decref(vocab);
    free(text);
}

static void add_qwen_merges(gguf_bytes *g, const inl_env *env)
{
    size_t size;
    char *text = read_file(env, data_path("qwen2.5/merges.txt"), &size);
    const char **merges = calloc(size, sizeof(*merges));
    size_t count = 0;
    for (char *line = strtok(text, "\n"); line; line = strtok(NULL, "\n"))
        if (strncmp(line, "#version", 8) != 0)
            merges[count++] = line;
    gguf_bytes_strings(g, "tokenizer.ggml.merges", merges, count);
    free(merges);
    free(text);
}

static void test_qwen2_fixture(void **state)
{
    (void)state;
    inl_env env = test_env();
    gguf_bytes g;
    data_path("qwen2.5/vocab.json"); // skips
    gguf_bytes_begin(&g);
    gguf_bytes_string(&g, "tokenizer.ggml.model", "gpt2");
    gguf_bytes_string(&g, "tokenizer.ggml.pre", "qwen2");
    add_qwen_tokens(&g, &env);
    add_qwen_merges(&g, &env);
    gguf_bytes_end(&g);
    inl_tokenizer *t = make(&env, &g);
    check_fixture(&env, t, "ggml-vocab-qwen2.gguf");
    check_round_trips(&env, t, 500);
    inl_tokenizer_destroy(&t);
}

#define LLAMA_BPE "ggml-vocab-llama-bpe.gguf"

// Of this one only the cases may be there, without the vocabulary that they are of.
static void test_llama_bpe_fixture(void **state)
{
    (void)state;
    FILE *file = fopen(data_path(LLAMA_BPE), "rb");
    if (!file) {
        print_message("skipped: %s, the vocabulary, is not there\n", LLAMA_BPE);
        skip();
    }
    fclose(file);
    check_vocab_file(LLAMA_BPE);
}

// No cases lie in the folder that no test here runs.
static void test_every_fixture(void **state)
{
    (void)state;
    static const char *const known[] = {"ggml-vocab-gpt-2.gguf.inp",
                                        "ggml-vocab-llama-spm.gguf.inp",
                                        "ggml-vocab-qwen2.gguf.inp", LLAMA_BPE ".inp"};
    DIR *folder = opendir(data_path(""));
    assert_non_null(folder);
    for (struct dirent *entry; (entry = readdir(folder));) {
        size_t length = strlen(entry->d_name);
        bool found = length < 4 || strcmp(entry->d_name + length - 4, ".inp") != 0;
        for (size_t i = 0; i < INL_COUNT(known); i++)
            found = found || strcmp(entry->d_name, known[i]) == 0;
        if (!found)
            fail_msg("%s is run by no test", entry->d_name);
    }
    closedir(folder);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_bpe_merges),
        cmocka_unit_test(test_bpe_ignore_merges),
        cmocka_unit_test(test_special_tokens),
        cmocka_unit_test(test_spm_merges),
        cmocka_unit_test(test_spm_unknown),
        cmocka_unit_test(test_spm_strips_after_markers),
        cmocka_unit_test(test_parts),
        cmocka_unit_test(test_pretokenizers),
        cmocka_unit_test(test_invalid_utf8_pieces),
        cmocka_unit_test(test_unknown_names),
        cmocka_unit_test(test_broken_files),
        cmocka_unit_test(test_round_trips),
        cmocka_unit_test(test_long_words),
        cmocka_unit_test(test_out_of_memory),
        cmocka_unit_test(test_gpt2_fixture),
        cmocka_unit_test(test_spm_fixture),
        cmocka_unit_test(test_qwen2_fixture),
        cmocka_unit_test(test_llama_bpe_fixture),
        cmocka_unit_test(test_every_fixture),
    };
    return cmocka_run_group_tests_name("tokenizer", tests, NULL, NULL);
}
