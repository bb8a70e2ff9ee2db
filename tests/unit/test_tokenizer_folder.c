// SPDX-License-Identifier: MIT
// The tokenizer of a Hugging Face folder from each of its files: tokenizer.json, vocab.json with
// merges.txt, tokenizer.model. Toy vocabularies here; tests/parity has whole ones.
#define _XOPEN_SOURCE 700 // mkdtemp
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/file.h"
#include "harness/failing_env.h"
#include "harness/toy_tokenizer_json.h"
#include "harness/toy_tokenizer_model.h"
#include "io/tokenizer.h"

static const char *const names[] = {
    "tokenizer.json", "tokenizer_config.json", "added_tokens.json", "vocab.json",
    "merges.txt",     "tokenizer.model",       "config.json"};

typedef struct fixture {
    char folder[64];
    failing_env state;
    inl_env env;
} fixture;

static void write_bytes(const fixture *f, const char *name, const void *data, size_t size)
{
    char path[128];
    snprintf(path, sizeof(path), "%s/%s", f->folder, name);
    assert_int_equal(inl_file_write(&f->env, path, data, size), INLAY_OK);
}

static void write_text(const fixture *f, const char *name, const char *text)
{
    write_bytes(f, name, text, strlen(text));
}

static void remove_files(const fixture *f)
{
    char path[128];
    for (size_t i = 0; i < INL_COUNT(names); i++) {
        snprintf(path, sizeof(path), "%s/%s", f->folder, names[i]);
        unlink(path);
    }
}

static int set_up(void **state)
{
    static fixture f;
    f = (fixture){.folder = "/tmp/inlay-tokenizer-XXXXXX"};
    f.env = failing_env_start(&f.state, 0, false);
    *state = &f;
    return mkdtemp(f.folder) ? 0 : -1;
}

static int tear_down(void **state)
{
    fixture *f = *state;
    remove_files(f);
    return rmdir(f->folder);
}

static inl_tokenizer *open_toy(fixture *f)
{
    inl_tokenizer *t;
    f->env = failing_env_start(&f->state, 0, false);
    if (inl_tokenizer_open_folder(&f->env, f->folder, &t) != INLAY_OK)
        fail_msg("%s", f->state.text);
    return t;
}

// `want` ends with -1.
static void check_ids(const fixture *f, const inl_tokenizer *t, const char *text,
                      const int32_t *want)
{
    int32_t *ids;
    size_t count;
    assert_int_equal(inl_tokenizer_encode(&f->env, t, text, strlen(text), true, &ids, &count),
                     INLAY_OK);
    for (size_t i = 0; i < count; i++)
        if (ids[i] != want[i])
            fail_msg("\"%s\": id %zu is %d and should be %d", text, i, ids[i], want[i]);
    assert_int_equal(want[count], -1);
    inl_free(&f->env, ids);
}

#define CHECK(text, ...) check_ids(f, t, text, (const int32_t[]){__VA_ARGS__, -1})

static void check_refused(fixture *f, inlay_result result, const char *message)
{
    inl_tokenizer *t;
    f->env = failing_env_start(&f->state, 0, false);
    assert_int_equal(inl_tokenizer_open_folder(&f->env, f->folder, &t), result);
    assert_null(t);
    assert_int_equal(f->state.errors, 1);
    assert_int_equal(f->state.live, 0);
    if (!strstr(f->state.text, message) || !strstr(f->state.text, f->folder))
        fail_msg("\"%s\" does not say \"%s\"", f->state.text, message);
}

// ---- tokenizer.json

static void test_json(void **state)
{
    fixture *f = *state;
    remove_files(f);
    write_text(f, "tokenizer.json", toy_byte_level_json);
    inl_tokenizer *t = open_toy(f);
    const inl_tokenizer_info *info = inl_tokenizer_get_info(t);
    assert_string_equal(info->pre, "tokenizer.json");
    assert_int_equal(info->vocab, 8);
    assert_true(info->bos == 0 && info->add_bos && info->eos == -1 && !info->add_eos);
    CHECK("ab ab", 3, 4, 3);
    CHECK("aab", 1, 3);
    CHECK("xxa", 2, 1);             // the normalizer's b
    CHECK("ab <tool>  a", 3, 7, 1); // it takes the white space beside it
    CHECK("<s>b", 0, 2);
    inl_tokenizer_destroy(&t);
    write_text(f, "tokenizer.json", toy_byte_fallback_json);
    t = open_toy(f);
    CHECK(" a", 3, 5);
    CHECK("A</s>", 3, 2, 1);
    CHECK("a\xc3\xa9", 5, 0);
    assert_true(inl_tokenizer_decode(t, 5, true).size == 1);
    assert_true(inl_tokenizer_decode(t, 5, false).size == 2);
    inl_tokenizer_destroy(&t);
}

// An id that no array could hold was once taken for an index.
static void test_json_far_ids(void **state)
{
    fixture *f = *state;
    static const char *const ids[] = {"9223372036854775807", "2147483647", "70000", "-1"};
    char text[512];
    remove_files(f);
    for (size_t i = 0; i < INL_COUNT(ids); i++) {
        const char *message = ids[i][0] == '-' ? "no \"id\"" : "a token has the id";
        snprintf(text, sizeof(text),
                 "{\"added_tokens\":[{\"id\":%s,\"content\":\"x\"}],"
                 "\"model\":{\"type\":\"BPE\",\"vocab\":{\"a\":0},\"merges\":[]}}",
                 ids[i]);
        write_text(f, "tokenizer.json", text);
        check_refused(f, INLAY_ERROR_BAD_FILE, message);
        snprintf(text, sizeof(text),
                 "{\"model\":{\"type\":\"BPE\",\"vocab\":{\"a\":%s},\"merges\":[]}}", ids[i]);
        write_text(f, "tokenizer.json", text);
        check_refused(f, INLAY_ERROR_BAD_FILE,
                      ids[i][0] == '-'      ? "the vocabulary has a negative id"
                      : strlen(ids[i]) > 18 ? "a number is too large"
                                            : message);
    }
}

// ---- vocab.json and merges.txt

static const char toy_vocab[] = "{\"a\":0,\"b\":1,\"ab\":2,\"\\u0120\":3,\"\\u0120ab\":4}";
static const char toy_merges[] = "#version: 0.2\na b\r\n\xc4\xa0 ab\n";
static const char toy_config[] =
    "{\"tokenizer_class\":\"Qwen2TokenizerFast\",\"bos_token\":null,\"eos_token\":\"<end>\","
    "\"added_tokens_decoder\":{\"6\":{\"content\":\"<tool>\",\"rstrip\":true},"
    "\"5\":{\"content\":\"<end>\",\"special\":true}}}";

static void write_vocab_files(const fixture *f)
{
    remove_files(f);
    write_text(f, "vocab.json", toy_vocab);
    write_text(f, "merges.txt", toy_merges);
    write_text(f, "tokenizer_config.json", toy_config);
}

static void test_vocab_files(void **state)
{
    fixture *f = *state;
    write_vocab_files(f);
    inl_tokenizer *t = open_toy(f);
    const inl_tokenizer_info *info = inl_tokenizer_get_info(t);
    assert_true(info->bos == -1 && info->eos == 5 && !info->add_bos && !info->add_eos);
    assert_int_equal(info->vocab, 8); // the class's <|endoftext|> is the last
    CHECK("ab ab", 2, 4);
    CHECK("ab<tool>  ab<end>", 2, 6, 2, 5);
    CHECK("a<|endoftext|>", 0, 7);
    inl_tokenizer_destroy(&t);
}

static void test_vocab_files_refused(void **state)
{
    fixture *f = *state;
    static const struct {
        const char *file, *text;
        inlay_result result;
        const char *message;
    } bad[] = {
        {"merges.txt", "a b\na b c\n", INLAY_ERROR_BAD_FILE, "merges.txt, line 2: a merge is two"},
        {"merges.txt", "ab", INLAY_ERROR_BAD_FILE, "merges.txt, line 1: a merge is two"},
        {"merges.txt", "a x\n", INLAY_ERROR_BAD_FILE, "merge 0 (\"a\", \"x\") names no tokens"},
        {"vocab.json", "", INLAY_ERROR_BAD_FILE, "vocab.json"},
        {"vocab.json", "{\"a\":0", INLAY_ERROR_BAD_FILE, "vocab.json"},
        {"vocab.json", "{\"a\":0}{}", INLAY_ERROR_BAD_FILE, "vocab.json"},
        {"vocab.json", "{\"a\":0,\"b\":9223372036854775807}", INLAY_ERROR_BAD_FILE,
         "a number is too large"},
        {"vocab.json", "{\"a\":0,\"b\":2000000000}", INLAY_ERROR_BAD_FILE, "a token has the id"},
        {"vocab.json", "{\"a\":5,\"b\":5,\"ab\":2}", INLAY_ERROR_BAD_FILE, "both have the id 5"},
        {"tokenizer_config.json", "{}", INLAY_ERROR_UNSUPPORTED, "no tokenizer_class"},
        {"tokenizer_config.json", "{\"tokenizer_class\":\"Qwen2Tokenizers\"}",
         INLAY_ERROR_UNSUPPORTED, "the tokenizer class \"Qwen2Tokenizers\""},
        {"tokenizer_config.json",
         "{\"tokenizer_class\":\"GPT2Tokenizer\",\"added_tokens_decoder\":{\"99999999999\":"
         "{\"content\":\"x\"}}}",
         INLAY_ERROR_BAD_FILE, "added_tokens_decoder has the key \"99999999999\""},
        {"added_tokens.json", "{\"x\":\"y\"}", INLAY_ERROR_BAD_FILE, "the token \"x\" has no id"},
    };
    for (size_t i = 0; i < INL_COUNT(bad); i++) {
        write_vocab_files(f);
        write_text(f, bad[i].file, bad[i].text);
        check_refused(f, bad[i].result, bad[i].message);
    }
    remove_files(f);
    check_refused(f, INLAY_ERROR_NOT_FOUND, "there is no tokenizer.json, no vocab.json and no");
}

// ---- tokenizer.model

static void write_model(const fixture *f, const toy_model *m)
{
    toy_model_bytes bytes = {0};
    remove_files(f);
    toy_model_write(&bytes, m);
    write_bytes(f, "tokenizer.model", bytes.data, bytes.size);
}

static void test_model(void **state)
{
    fixture *f = *state;
    write_model(f, &(toy_model){0});
    inl_tokenizer *t = open_toy(f);
    const inl_tokenizer_info *info = inl_tokenizer_get_info(t);
    assert_string_equal(info->model, "llama");
    assert_true(info->bos == 1 && info->eos == 2 && info->add_bos && !info->add_eos);
    CHECK("ab", TOY_SPACE_AB);
    CHECK(" ab", TOY_SPACE, TOY_SPACE_AB);
    CHECK("b</s>", TOY_SPACE, TOY_B, 2);
    inl_tokenizer_destroy(&t);
    write_text(f, "vocab.json", "{}"); // without merges.txt it is not what is read
    t = open_toy(f);
    CHECK("abA", TOY_SPACE_AB, TOY_BYTE_A);
    CHECK("ab\xff", TOY_SPACE_AB, 0);
    CHECK("a<w>b", TOY_SPACE, TOY_A, TOY_WHOLE, TOY_B); // no space before what follows it
    inl_tokenizer_destroy(&t);
    write_model(f, &(toy_model){.strips = true, .no_prefix = true});
    t = open_toy(f);
    CHECK("  b   ab ", TOY_B, TOY_SPACE_AB);
    inl_tokenizer_destroy(&t);
}

static void test_model_with_config(void **state)
{
    fixture *f = *state;
    write_model(f, &(toy_model){0});
    write_text(f, "tokenizer_config.json",
               "{\"tokenizer_class\":\"LlamaTokenizer\",\"add_bos_token\":false,"
               "\"added_tokens_decoder\":{\"20\":{\"content\":\"<x>\",\"special\":true,"
               "\"rstrip\":true}}}");
    inl_tokenizer *t = open_toy(f);
    assert_int_equal(inl_tokenizer_get_info(t)->vocab, 21);
    assert_false(inl_tokenizer_get_info(t)->add_bos);
    CHECK(" ab", TOY_SPACE_AB); // the space that is there is enough
    CHECK("ab<x> b", TOY_SPACE_AB, 20, TOY_B);
    inl_tokenizer_destroy(&t);
}

static void test_model_refused(void **state)
{
    fixture *f = *state;
    static const struct {
        toy_model model;
        inlay_result result;
        const char *message;
    } bad[] = {
        {{.type = 1}, INLAY_ERROR_UNSUPPORTED, "of the type unigram is not supported"},
        {{.type = 77}, INLAY_ERROR_UNSUPPORTED, "of the type unknown is not supported"},
        {{.rules = true}, INLAY_ERROR_UNSUPPORTED, "normalization \"nfkc\" is not supported"},
        {{.suffix = true}, INLAY_ERROR_UNSUPPORTED, "treat_whitespace_as_suffix"},
        {{.extra_kind = 5}, INLAY_ERROR_UNSUPPORTED, "is of the type unused"},
        {{.extra_kind = 2}, INLAY_ERROR_BAD_FILE, "are both unknown"},
        {{.extra_kind = 6}, INLAY_ERROR_BAD_FILE, "is no byte"},
        {{.extra_kind = 9}, INLAY_ERROR_BAD_FILE, "an unknown type"},
        {{.extra_text = "ab"}, INLAY_ERROR_BAD_FILE, "the token \"ab\" has two ids"},
        {{.nothing = true}, INLAY_ERROR_BAD_FILE, "this is no SentencePiece model"},
    };
    for (size_t i = 0; i < INL_COUNT(bad); i++) {
        write_model(f, &bad[i].model);
        check_refused(f, bad[i].result, bad[i].message);
    }
    write_model(f, &(toy_model){0});
    write_text(f, "added_tokens.json", "{\"x\":1000000}");
    check_refused(f, INLAY_ERROR_BAD_FILE, "a token beside it has the id 1000000");
}

// Each of its prefixes either is no model or one of fewer pieces.
static void test_model_truncated(void **state)
{
    fixture *f = *state;
    toy_model_bytes bytes = {0};
    toy_model_write(&bytes, &(toy_model){0});
    remove_files(f);
    for (size_t size = 0; size < bytes.size; size++) {
        inl_tokenizer *t;
        f->env = failing_env_start(&f->state, 0, false);
        write_bytes(f, "tokenizer.model", bytes.data, size);
        f->env = failing_env_start(&f->state, 0, false);
        inlay_result result = inl_tokenizer_open_folder(&f->env, f->folder, &t);
        assert_int_equal(f->state.errors, result == INLAY_OK ? 0 : 1);
        inl_tokenizer_destroy(&t);
        assert_int_equal(f->state.live, 0);
    }
}

// ---- memory

static inlay_result open_and_encode(const inl_env *env, void *user)
{
    inl_tokenizer *t;
    int32_t *ids = NULL;
    size_t count;
    inlay_result result = inl_tokenizer_open_folder(env, user, &t);
    if (result == INLAY_OK)
        result = inl_tokenizer_encode(env, t, "ab <w> ab", 9, true, &ids, &count);
    inl_free(env, ids);
    inl_tokenizer_destroy(&t);
    return result;
}

static void test_out_of_memory(void **state)
{
    fixture *f = *state;
    f->env = failing_env_start(&f->state, 0, false);
    write_vocab_files(f);
    assert_true(check_each_failure("vocab.json", open_and_encode, f->folder, 200) > 15);
    write_model(f, &(toy_model){.strips = true});
    write_text(f, "added_tokens.json", "{\"<x>\":20}");
    assert_true(check_each_failure("tokenizer.model", open_and_encode, f->folder, 200) > 15);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_json),          cmocka_unit_test(test_json_far_ids),
        cmocka_unit_test(test_vocab_files),   cmocka_unit_test(test_vocab_files_refused),
        cmocka_unit_test(test_model),         cmocka_unit_test(test_model_with_config),
        cmocka_unit_test(test_model_refused), cmocka_unit_test(test_model_truncated),
        cmocka_unit_test(test_out_of_memory),
    };
    return cmocka_run_group_tests_name("tokenizer_folder", tests, set_up, tear_down);
}
