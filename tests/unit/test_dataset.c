// SPDX-License-Identifier: MIT
// Datasets: what each format becomes token by token, packing, truncation, errors, split, hash.
#define _POSIX_C_SOURCE 200809L
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/file.h"
#include "harness/data_folder.h"
#include "harness/failing_env.h"
#include "harness/toy_vocab.h"
#include "io/dataset.h"

#define CHATML_JINJA                                                                               \
    "{% for m in messages %}{{ '<|im_start|>' + m.role + '\\n' + m.content + '<|im_end|>' }}\n"    \
    "{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"

static char all_messages[8192];

static void keep_message(void *user, inlay_log_level level, const char *message)
{
    (void)user;
    (void)level;
    strncat(all_messages, message, sizeof(all_messages) - strlen(all_messages) - 2);
    strcat(all_messages, "\n");
}

static inl_env test_env(void)
{
    inlay_env env = {.log = keep_message};
    all_messages[0] = '\0';
    return inl_env_resolve(&env);
}

static void assert_message(const char *part)
{
    if (!strstr(all_messages, part))
        fail_msg("no \"%s\" in \"%s\"", part, all_messages);
}

static inl_tokenizer *make_tokenizer(const inl_env *env, bool spm, const toy_options *options)
{
    gguf_bytes g;
    inl_gguf *gguf;
    inl_tokenizer *t;
    if (spm)
        toy_spm(&g, options);
    else
        toy_bpe(&g, options);
    assert_int_equal(inl_gguf_open_memory(env, "toy", g.data, g.size, &gguf), INLAY_OK);
    assert_int_equal(inl_tokenizer_create(env, gguf, &t), INLAY_OK);
    inl_gguf_close(&gguf);
    gguf_bytes_free(&g);
    return t;
}

static inlay_result open_data(const inl_env *env, const inl_tokenizer *t, const char *name,
                              const char *data, const inl_dataset_params *params, inl_dataset **out)
{
    inl_data_kind kind = strstr(name, ".txt") ? INL_DATA_TXT : INL_DATA_JSONL;
    size_t size = strlen(data);
    uint8_t *copy = malloc(size + 1); // exactly as long as it is, so that a read beyond is seen
    uint8_t *exact = realloc(copy, size ? size : 1);
    memcpy(exact, data, size);
    inlay_result result =
        inl_dataset_open_memory(env, t, name, exact, size, kind, params, out);
    free(exact);
    return result;
}

static inl_dataset *open_ok(const inl_env *env, const inl_tokenizer *t, const char *name,
                            const char *data, const inl_dataset_params *params)
{
    inl_dataset *d;
    if (open_data(env, t, name, data, params, &d) != INLAY_OK)
        fail_msg("%s", all_messages);
    return d;
}

// A row as text: tokens below 256 as characters, others by `names`; '/' before a sequence's first
// token, '*' after a token whose next one is learned. Padding is checked, not shown.
static void show_row(const inl_dataset *d, uint64_t index, const inl_tokenizer *t, char *out)
{
    inl_row row;
    uint32_t max_length = inl_dataset_get_info(d)->max_length;
    inl_dataset_get_row(d, index, &row);
    assert_true(row.count <= max_length);
    char *at = out;
    uint32_t supervised = 0;
    for (uint32_t i = 0; i < row.count; i++) {
        supervised += row.labels[i] >= 0;
        int32_t id = row.tokens[i];
        inl_slice s = inl_tokenizer_decode(t, id, false);
        assert_true(row.starts[i] >= 0 && row.starts[i] <= (int32_t)i);
        bool first = row.starts[i] == (int32_t)i;
        bool last = i + 1 == row.count || row.starts[i + 1] == (int32_t)i + 1;
        if (!first)
            assert_int_equal(row.starts[i], row.starts[i - 1]);
        if (row.labels[i] != -1) {
            assert_false(last);
            assert_int_equal(row.labels[i], row.tokens[i + 1]);
        }
        at += sprintf(at, "%s", first && i > 0 ? " / " : i > 0 ? "," : "");
        if (s.size > 0)
            at += sprintf(at, "%.*s", (int)s.size, s.data);
        else if (id == inl_tokenizer_get_info(t)->bos)
            at += sprintf(at, "BOS");
        else if (id == inl_tokenizer_get_info(t)->eos)
            at += sprintf(at, "EOS");
        else
            at += sprintf(at, "#%s", id == inl_tokenizer_find(t, "<|im_start|>") ? "start" : "end");
        at += sprintf(at, "%s", row.labels[i] >= 0 ? "*" : "");
    }
    assert_int_equal(row.supervised, supervised);
    for (uint32_t i = row.count; i < max_length; i++) {
        assert_int_equal(row.tokens[i], 0);
        assert_int_equal(row.starts[i], i);
        assert_int_equal(row.labels[i], -1);
    }
}

static void assert_row(const inl_dataset *d, uint64_t index, const inl_tokenizer *t,
                       const char *expected)
{
    char got[4096] = "";
    show_row(d, index, t, got);
    assert_string_equal(got, expected);
}

static void test_txt(void **state)
{
    (void)state;
    inl_env env = test_env();
    inl_tokenizer *t = make_tokenizer(&env, false, &(toy_options){0});
    inl_dataset_params params = {.max_length = 4};
    inl_dataset *d = open_ok(&env, t, "a.txt", "bcdfghij", &params);
    assert_row(d, 0, t, "b*,c*,d*,f");
    assert_row(d, 1, t, "g*,h*,i*,j");
    const inl_dataset_info *info = inl_dataset_get_info(d);
    assert_string_equal(info->format, "txt");
    assert_int_equal(info->records, 1);
    assert_int_equal(info->sequences, 2);
    assert_int_equal(info->rows, 2);
    assert_int_equal(info->tokens, 8);
    assert_int_equal(info->supervised_tokens, 6);
    assert_int_equal(info->truncated_tokens, 0);
    inl_dataset_close(&d);
    assert_null(d);

    d = open_ok(&env, t, "a.txt", "\xef\xbb\xbf" "bcdfghi", &params); // byte order mark
    assert_row(d, 1, t, "g*,h*,i");
    inl_dataset_close(&d);
    d = open_ok(&env, t, "a.txt", "bcdfg", &params); // one left over
    assert_int_equal(inl_dataset_get_info(d)->rows, 1);
    assert_int_equal(inl_dataset_get_info(d)->tokens, 4);
    inl_dataset_close(&d);
    inl_tokenizer_destroy(&t);

    t = make_tokenizer(&env, false, &(toy_options){.adds_bos = 1});
    d = open_ok(&env, t, "a.txt", "bcdfg", &params);
    assert_row(d, 0, t, "BOS*,b*,c*,d");
    assert_row(d, 1, t, "f*,g");
    inl_dataset_close(&d);
    inl_tokenizer_destroy(&t);
}

static void test_text(void **state)
{
    (void)state;
    inl_env env = test_env();
    inl_tokenizer *t = make_tokenizer(&env, false, &(toy_options){0});
    inl_dataset_params params = {.max_length = 9};
    const char *data = "{\"text\":\"bcd\"}\r\n\n  \t\r\n{\"text\":\"f<eos>\",\"more\":1}\n";
    inl_dataset *d = open_ok(&env, t, "a.jsonl", data, &params);
    assert_row(d, 0, t, "b*,c*,d*,EOS / f*,EOS"); // the one that is written
    assert_string_equal(inl_dataset_get_info(d)->format, "text");
    assert_int_equal(inl_dataset_get_info(d)->records, 2);
    const char *prompt;
    const char *completion;
    assert_false(inl_dataset_get_record(d, 0, &prompt, &completion));
    inl_dataset_close(&d);
    inl_tokenizer_destroy(&t);

    t = make_tokenizer(&env, false, &(toy_options){.adds_bos = 1});
    params.no_eos = true;
    d = open_ok(&env, t, "a.jsonl", data, &params);
    assert_row(d, 0, t, "BOS*,b*,c*,d / BOS*,f*,EOS"); // this one is written
    inl_dataset_close(&d);
    inl_tokenizer_destroy(&t);

    t = make_tokenizer(&env, false, &(toy_options){.no_ends = 1, .adds_bos = 1});
    params.no_eos = false;
    d = open_ok(&env, t, "a.jsonl", data, &params);
    assert_row(d, 0, t, "b*,c*,d / f*,#end"); // neither BOS nor EOS to add; a token
    assert_message("no end-of-sequence token");
    inl_dataset_close(&d);
    inl_tokenizer_destroy(&t);
}

static void test_prompt_completion(void **state)
{
    (void)state;
    inl_env env = test_env();
    inl_tokenizer *t = make_tokenizer(&env, false, &(toy_options){.adds_bos = 1});
    inl_dataset_params params = {.max_length = 16};
    const char *data = "{\"prompt\":\"bc\",\"completion\":\" hello\"}\n"
                       "{\"completion\":\"\",\"prompt\":\"\xc3\xa9\"}";
    inl_dataset *d = open_ok(&env, t, "a.jsonl", data, &params);
    assert_row(d, 0, t, "BOS,b,c*, hello*,EOS / BOS,\xc3,\xa9*,EOS");
    const inl_dataset_info *info = inl_dataset_get_info(d);
    assert_string_equal(info->format, "prompt-completion");
    assert_int_equal(info->supervised_tokens, 3);
    const char *prompt;
    const char *completion;
    assert_true(inl_dataset_get_record(d, 0, &prompt, &completion));
    assert_string_equal(prompt, "bc");
    assert_string_equal(completion, " hello");
    assert_true(inl_dataset_get_record(d, 1, &prompt, &completion));
    assert_string_equal(prompt, "\xc3\xa9");
    assert_string_equal(completion, "");
    assert_false(inl_dataset_get_record(d, 2, &prompt, &completion));
    inl_dataset_close(&d);
    inl_tokenizer_destroy(&t);

    t = make_tokenizer(&env, true, &(toy_options){.adds_bos = 1});
    d = open_ok(&env, t, "a.jsonl", "{\"prompt\":\"hello\",\"completion\":\"hello\"}", &params);
    assert_row(d, 0, t, "BOS, hello*,hello*,EOS"); // no space between prompt and completion
    inl_dataset_close(&d);
    params.no_records = true;
    d = open_ok(&env, t, "a.jsonl", "{\"prompt\":\"hello\",\"completion\":\"hello\"}", &params);
    assert_row(d, 0, t, "BOS, hello*,hello*,EOS");
    assert_false(inl_dataset_get_record(d, 0, &prompt, &completion));
    inl_dataset_close(&d);
    inl_tokenizer_destroy(&t);
}

static void test_messages(void **state)
{
    (void)state;
    inl_env env = test_env();
    inl_tokenizer *t = make_tokenizer(&env, false, &(toy_options){.chat_template = CHATML_JINJA});
    inl_dataset_params params = {.max_length = 80};
    const char *data = "{\"messages\":[{\"role\":\"user\",\"content\":\"b<|im_end|>\"},"
                       "{\"role\":\"assistant\",\"content\":\"hello\"},"
                       "{\"role\":\"user\",\"content\":\"\"},"
                       "{\"role\":\"assistant\",\"content\":\"c\"}]}\n";
    inl_dataset *d = open_ok(&env, t, "a.jsonl", data, &params);
    assert_string_equal(inl_dataset_get_info(d)->format, "messages");
    assert_message("chatml");
    // What the user writes like a marker is text; the end of the assistant's turn is learned.
    assert_row(d, 0, t,
               "#start,u,s,e,r,\n,b,<,|,i,m,_,e,n,d,|,>,#end,\n,"
               "#start,a,s,s,i,s,t,a,n,t,\n*,hello*,#end,\n,"
               "#start,u,s,e,r,\n,#end,\n,"
               "#start,a,s,s,i,s,t,a,n,t,\n*,c*,#end,\n");
    inl_dataset_close(&d);
    inl_tokenizer_destroy(&t);
}

static void test_messages_spm(void **state)
{
    (void)state;
    inl_env env = test_env();
    inl_tokenizer *t = make_tokenizer(&env, true, &(toy_options){.adds_bos = 1});
    inl_dataset_params params = {.max_length = 80, .chat_template = "llama2"};
    const char *data = "{\"messages\":[{\"role\":\"user\",\"content\":\" hello \"},"
                       "{\"role\":\"assistant\",\"content\":\"world\"},"
                       "{\"role\":\"user\",\"content\":\"a\"},"
                       "{\"role\":\"assistant\",\"content\":\"b</s>\"}]}";
    inl_dataset *d = open_ok(&env, t, "a.jsonl", data, &params);
    // One BOS a user's turn, none twice; words and their spaces are not torn apart at the seams.
    char row[4096] = "";
    show_row(d, 0, t, row);
    assert_string_equal(row, "BOS, ,[,I,N,S,T,], hello, ,[,/,I,N,S,T,]*, world*, *,EOS,"
                             "BOS, ,[,I,N,S,T,], ,a, ,[,/,I,N,S,T,]*, *,b*,<*,/*,s*,>*, *,EOS");
    inl_dataset_close(&d);
    inl_tokenizer_destroy(&t);
}

static void test_packing(void **state)
{
    (void)state;
    inl_env env = test_env();
    inl_tokenizer *t = make_tokenizer(&env, false, &(toy_options){0});
    inl_dataset_params params = {.max_length = 8, .no_eos = true};
    const char *data = "{\"text\":\"bcdfg\"}\n{\"text\":\"hijkl\"}\n{\"text\":\"mn\"}\n"
                       "{\"text\":\"opq\"}\n{\"text\":\"rstuvwxy\"}\n{\"text\":\"zb\"}\n";
    inl_dataset *d = open_ok(&env, t, "a.jsonl", data, &params);
    assert_int_equal(inl_dataset_get_info(d)->rows, 4);
    assert_row(d, 0, t, "b*,c*,d*,f*,g / m*,n");
    assert_row(d, 1, t, "h*,i*,j*,k*,l / o*,p*,q");
    assert_row(d, 2, t, "r*,s*,t*,u*,v*,w*,x*,y");
    assert_row(d, 3, t, "z*,b");
    inl_dataset_close(&d);
    params.no_packing = true;
    d = open_ok(&env, t, "a.jsonl", data, &params);
    assert_int_equal(inl_dataset_get_info(d)->rows, 6);
    assert_row(d, 2, t, "m*,n");
    inl_dataset_close(&d);
    inl_tokenizer_destroy(&t);
}

// 65 rows with a hole: the oldest is closed, so the hole that is filled is the second row's.
static void test_packing_window(void **state)
{
    (void)state;
    inl_env env = test_env();
    inl_tokenizer *t = make_tokenizer(&env, false, &(toy_options){0});
    inl_dataset_params params = {.max_length = 8, .no_eos = true};
    char data[8192] = "";
    for (int i = 0; i < 65; i++)
        strcat(data, "{\"text\":\"bcdfg\"}\n");
    strcat(data, "{\"text\":\"xyz\"}\n");
    inl_dataset *d = open_ok(&env, t, "a.jsonl", data, &params);
    assert_int_equal(inl_dataset_get_info(d)->rows, 65);
    assert_row(d, 0, t, "b*,c*,d*,f*,g");
    assert_row(d, 1, t, "b*,c*,d*,f*,g / x*,y*,z");
    inl_dataset_close(&d);
    inl_tokenizer_destroy(&t);
}

static void test_truncation(void **state)
{
    (void)state;
    inl_env env = test_env();
    inl_tokenizer *t = make_tokenizer(&env, false, &(toy_options){0});
    inl_dataset_params params = {.max_length = 4};
    inl_dataset *d = open_ok(&env, t, "a.jsonl",
                             "{\"prompt\":\"bc\",\"completion\":\"dfghi\"}\n" // 8 tokens, 4 cut
                             "{\"prompt\":\"bcdfg\",\"completion\":\"h\"}\n" // nothing to learn
                             "{\"prompt\":\"b\",\"completion\":\"cd\"}\n" // just fits
                             "{\"prompt\":\"\",\"completion\":\"bcdf\"}\n", // loses its EOS
                             &params);
    const inl_dataset_info *info = inl_dataset_get_info(d);
    assert_int_equal(info->records, 4);
    assert_int_equal(info->sequences, 3);
    assert_int_equal(info->truncated_sequences, 2);
    assert_int_equal(info->truncated_tokens, 5);
    assert_int_equal(info->tokens, 12);
    assert_int_equal(info->supervised_tokens, 2 + 3 + 3);
    assert_message("a.jsonl: 2 of 3 sequences are longer than 4 tokens; 5 tokens were cut off");
    assert_message("a.jsonl: 1 of 4 records have no token to learn within 4 tokens");
    assert_row(d, 0, t, "b,c*,d*,f");
    assert_row(d, 1, t, "b*,c*,d*,EOS");
    assert_row(d, 2, t, "b*,c*,d*,f");
    const char *prompt;
    const char *completion;
    assert_true(inl_dataset_get_record(d, 1, &prompt, &completion)); // records stay as they are
    assert_string_equal(prompt, "bcdfg");
    inl_dataset_close(&d);
    inl_tokenizer_destroy(&t);
}

static void test_bad_files(void **state)
{
    (void)state;
    static const char *const cases[][2] = {
        {"", "bad.jsonl holds no record"},
        {"\n \r\n", "bad.jsonl holds no record"},
        {"\xef\xbb\xbf", "bad.jsonl holds no record"},
        {"{\"text\":\"a\"}\n\n{\"text\":}\n", "bad.jsonl line 3: invalid JSON"},
        {"{\"text\":\"bc\"}\n[1]", "bad.jsonl line 2: the record is not a JSON object"},
        {"{\"text\":\"bc\"} {}", "bad.jsonl line 1: invalid JSON"},
        {"{\"text\":\"bc\",\"text\":\"d\"}", "bad.jsonl line 1: invalid JSON"},
        {"{\"text\":\"\xff\"}", "bad.jsonl line 1: invalid JSON"},
        {"\n{\"input\":\"a\"}", "bad.jsonl line 2: the record has neither \"text\" nor"},
        {"{\"prompt\":\"a\"}", "bad.jsonl line 1: the record has neither"},
        {"{\"text\":3}", "bad.jsonl line 1: \"text\" is not a string"},
        {"{\"text\":null}", "bad.jsonl line 1: \"text\" is not a string"},
        {"{\"prompt\":\"a\",\"completion\":[]}", "line 1: \"completion\" is not a string"},
        {"{\"text\":\"bc\"}\n{\"prompt\":\"a\",\"completion\":\"b\"}",
         "bad.jsonl line 2: the record is not like the first one, which has \"text\""},
        {"{\"prompt\":\"a\",\"completion\":\"b\"}\n{\"prompt\":\"a\"}",
         "bad.jsonl line 2: the record is not like the first one, which has \"prompt\" and"},
        {"{\"messages\":{}}", "bad.jsonl line 1: \"messages\" is not a list"},
        {"{\"messages\":[]}", "bad.jsonl line 1: \"messages\" is not a list"},
        {"{\"messages\":[3]}", "bad.jsonl line 1: message 1 has no string"},
        {"{\"messages\":[{\"role\":\"assistant\",\"content\":\"a\",\"weight\":\"0\"}]}",
         "bad.jsonl line 1: the \"weight\" of message 1 is not 0 or 1"},
        {"{\"conversations\":[{\"from\":\"gpt\",\"value\":\"a\",\"weight\":false}]}",
         "bad.jsonl line 1: the \"weight\" of message 1 is not 0 or 1"},
        {"{\"messages\":[{\"role\":\"user\",\"content\":\"a\"},{\"role\":\"user\"}]}",
         "bad.jsonl line 1: message 2 has no string"},
        {"{\"messages\":[{\"role\":\"robot\",\"content\":\"a\"}]}",
         "bad.jsonl line 1: message 1 has the role \"robot\" (known: system, user, assistant)"},
        {"{\"messages\":[{\"role\":\"user\",\"content\":\"a\"}]}",
         "bad.jsonl: no record has a token to learn within 64 tokens"},
        {"{\"text\":\"\"}", "bad.jsonl: no record has a token to learn"},
    };
    inl_env env = test_env();
    inl_tokenizer *t = make_tokenizer(&env, false, &(toy_options){0});
    inl_dataset_params params = {.max_length = 64, .chat_template = "chatml"};
    inl_dataset *d;
    for (size_t i = 0; i < INL_COUNT(cases); i++) {
        all_messages[0] = '\0';
        assert_int_equal(open_data(&env, t, "bad.jsonl", cases[i][0], &params, &d),
                         INLAY_ERROR_BAD_FILE);
        assert_null(d);
        assert_message(cases[i][1]);
    }
    assert_int_equal(open_data(&env, t, "bad.txt", "", &params, &d), INLAY_ERROR_BAD_FILE);
    assert_int_equal(open_data(&env, t, "bad.txt", "b", &params, &d), INLAY_ERROR_BAD_FILE);
    assert_message("bad.txt holds no text to train on");
    params.chat_template = "gemma";
    assert_int_equal(open_data(&env, t, "bad.jsonl",
                               "{\"messages\":[{\"role\":\"system\",\"content\":\"a\"},"
                               "{\"role\":\"assistant\",\"content\":\"a\"}]}",
                               &params, &d),
                     INLAY_ERROR_BAD_FILE);
    assert_message("bad.jsonl line 1: the template gemma needs a user's message");
    assert_message("the model has no token <start_of_turn>");
    params.chat_template = "vikuna";
    assert_int_equal(open_data(&env, t, "bad.jsonl", cases[19][0], &params, &d),
                     INLAY_ERROR_UNSUPPORTED);
    params.max_length = 1;
    assert_int_equal(open_data(&env, t, "a.txt", "abc", &params, &d), INLAY_ERROR_INVALID_ARGUMENT);
    inl_tokenizer_destroy(&t);
}

static void test_files(void **state)
{
    (void)state;
    inl_env env = test_env();
    inl_tokenizer *t = make_tokenizer(&env, false, &(toy_options){0});
    inl_dataset_params params = {.max_length = 8};
    inl_dataset *d;
    char folder[] = "/tmp/inlay-dataset-XXXXXX";
    char path[256];
    assert_non_null(mkdtemp(folder));
    snprintf(path, sizeof(path), "%s/data.JSONL", folder);
    assert_int_equal(inl_file_write(&env, path, "{\"text\":\"bc\"}", 13), INLAY_OK);
    assert_int_equal(inl_dataset_open(&env, t, path, &params, &d), INLAY_OK);
    assert_row(d, 0, t, "b*,c*,EOS");
    inl_dataset_close(&d);
    remove(path);
    assert_int_equal(inl_dataset_open(&env, t, path, &params, &d), INLAY_ERROR_NOT_FOUND);
    snprintf(path, sizeof(path), "%s/empty.txt", folder);
    assert_int_equal(inl_file_write(&env, path, "", 0), INLAY_OK);
    assert_int_equal(inl_dataset_open(&env, t, path, &params, &d), INLAY_ERROR_BAD_FILE);
    remove(path);
    assert_int_equal(inl_dataset_open(&env, t, "data.tsv", &params, &d), INLAY_ERROR_UNSUPPORTED);
    assert_message("data.tsv: training data is a .txt, .jsonl, .json or .csv file");
    assert_int_equal(inl_dataset_open(&env, t, "txt", &params, &d), INLAY_ERROR_UNSUPPORTED);
    rmdir(folder);
    inl_tokenizer_destroy(&t);
}

// A hundred records, prompts "b" to "b...b", each told apart by its completion.
static inl_dataset *open_hundred(const inl_env *env, const inl_tokenizer *t, bool no_packing)
{
    static char data[16384];
    char *at = data;
    for (int i = 0; i < 100; i++)
        at += sprintf(at, "{\"prompt\":\"%.*s\",\"completion\":\"%d\"}\n", 1 + i % 7, "bbbbbbb", i);
    inl_dataset_params params = {.max_length = 24, .no_packing = no_packing};
    return open_ok(env, t, "hundred.jsonl", data, &params);
}

static void mark_records(const inl_dataset *d, int *seen)
{
    const char *prompt;
    const char *completion;
    uint64_t records = inl_dataset_get_info(d)->records;
    for (uint64_t i = 0; i < records; i++) {
        assert_true(inl_dataset_get_record(d, i, &prompt, &completion));
        int number = atoi(completion);
        assert_int_equal(strlen(prompt), 1 + number % 7);
        seen[number]++;
    }
    assert_false(inl_dataset_get_record(d, records, &prompt, &completion));
}

static void test_split(void **state)
{
    (void)state;
    inl_env env = test_env();
    inl_tokenizer *t = make_tokenizer(&env, false, &(toy_options){0});
    inl_dataset *d = open_hundred(&env, t, false);
    inl_dataset_info before = *inl_dataset_get_info(d);
    uint64_t whole = inl_dataset_hash(d);
    inl_dataset *held;
    assert_int_equal(inl_dataset_split(d, 0.25, 3, &held), INLAY_OK);
    const inl_dataset_info *kept_info = inl_dataset_get_info(d);
    const inl_dataset_info *held_info = inl_dataset_get_info(held);
    assert_int_equal(held_info->sequences, 25);
    assert_int_equal(held_info->records, 25);
    assert_int_equal(kept_info->sequences, 75);
    assert_int_equal(kept_info->records, 75);
    assert_int_equal(kept_info->tokens + held_info->tokens, before.tokens);
    assert_int_equal(kept_info->supervised_tokens + held_info->supervised_tokens,
                     before.supervised_tokens);
    assert_string_equal(held_info->format, "prompt-completion");
    int seen[100] = {0};
    mark_records(d, seen);
    mark_records(held, seen);
    for (int i = 0; i < 100; i++)
        assert_int_equal(seen[i], 1);
    uint64_t kept_hash = inl_dataset_hash(d);
    uint64_t held_hash = inl_dataset_hash(held);
    assert_true(kept_hash != whole && held_hash != whole && kept_hash != held_hash);
    inl_dataset *again;
    assert_int_equal(inl_dataset_split(held, 0.5, 3, &again), INLAY_OK); // a part of the part
    memset(seen, 0, sizeof(seen));
    mark_records(held, seen);
    mark_records(again, seen);
    inl_dataset_close(&again);
    inl_dataset_close(&held);
    inl_dataset_close(&d);

    d = open_hundred(&env, t, false); // the same seed draws the same
    assert_int_equal(inl_dataset_split(d, 0.25, 3, &held), INLAY_OK);
    assert_true(inl_dataset_hash(d) == kept_hash && inl_dataset_hash(held) == held_hash);
    inl_dataset_close(&held);
    inl_dataset_close(&d);
    d = open_hundred(&env, t, false); // another one does not
    assert_int_equal(inl_dataset_split(d, 0.25, 4, &held), INLAY_OK);
    assert_true(inl_dataset_hash(held) != held_hash);
    inl_dataset_close(&held);
    inl_dataset_close(&d);
    inl_tokenizer_destroy(&t);
}

static void test_split_limits(void **state)
{
    (void)state;
    inl_env env = test_env();
    inl_tokenizer *t = make_tokenizer(&env, false, &(toy_options){0});
    inl_dataset *d = open_hundred(&env, t, true);
    inl_dataset *held;
    uint64_t hash = inl_dataset_hash(d);
    static const double bad[] = {0.0, 1.0, -1.0, 2.0, 0.0 / 0.0};
    for (size_t i = 0; i < INL_COUNT(bad); i++)
        assert_int_equal(inl_dataset_split(d, bad[i], 0, &held), INLAY_ERROR_INVALID_ARGUMENT);
    assert_true(inl_dataset_hash(d) == hash);
    assert_int_equal(inl_dataset_split(d, 1e-9, 0, &held), INLAY_OK);
    assert_int_equal(inl_dataset_get_info(held)->sequences, 1);
    assert_int_equal(inl_dataset_get_info(d)->rows, 99); // still one a row
    assert_int_equal(inl_dataset_split(held, 0.5, 0, &(inl_dataset *){NULL}),
                     INLAY_ERROR_INVALID_ARGUMENT);
    assert_message("one sequence cannot be split");
    inl_dataset_close(&held);
    assert_int_equal(inl_dataset_split(d, 1.0 - 1e-9, 0, &held), INLAY_OK);
    assert_int_equal(inl_dataset_get_info(d)->sequences, 1);
    inl_dataset_close(&held);
    inl_dataset_close(&d);

    inl_dataset_params params = {.max_length = 4};
    d = open_ok(&env, t, "a.txt", "bcdfghijklmn", &params);
    assert_int_equal(inl_dataset_split(d, 0.34, 1, &held), INLAY_OK);
    assert_int_equal(inl_dataset_get_info(d)->rows, 2);
    assert_int_equal(inl_dataset_get_info(held)->rows, 1);
    assert_int_equal(inl_dataset_get_info(held)->records, 1);
    inl_dataset_close(&held);
    inl_dataset_close(&d);
    inl_tokenizer_destroy(&t);
}

static uint64_t hash_of(const inl_env *env, const inl_tokenizer *t, const char *data,
                        uint32_t max_length, bool no_packing)
{
    inl_dataset_params params = {.max_length = max_length, .no_packing = no_packing};
    inl_dataset *d = open_ok(env, t, "a.jsonl", data, &params);
    uint64_t hash = inl_dataset_hash(d);
    inl_dataset_close(&d);
    return hash;
}

static void test_hash(void **state)
{
    (void)state;
    inl_env env = test_env();
    inl_tokenizer *t = make_tokenizer(&env, false, &(toy_options){0});
    const char *data = "{\"prompt\":\"b\",\"completion\":\"c\"}\n"
                       "{\"prompt\":\"d\",\"completion\":\"f\"}";
    const char *mask = "{\"prompt\":\"bc\",\"completion\":\"\"}\n"
                       "{\"prompt\":\"d\",\"completion\":\"f\"}";
    const char *token = "{\"prompt\":\"b\",\"completion\":\"c\"}\n"
                       "{\"prompt\":\"d\",\"completion\":\"g\"}";
    uint64_t hash = hash_of(&env, t, data, 8, false);
    assert_true(hash == hash_of(&env, t, data, 8, false));
    assert_true(hash != hash_of(&env, t, data, 9, false));
    assert_true(hash != hash_of(&env, t, data, 8, true));
    assert_true(hash != hash_of(&env, t, mask, 8, false));
    assert_true(hash != hash_of(&env, t, token, 8, false));
    inl_tokenizer_destroy(&t);
}

typedef struct oom_case {
    const inl_tokenizer *tokenizer;
    const char *data;
} oom_case;

static inlay_result open_and_split(const inl_env *env, void *user)
{
    const oom_case *c = user;
    inl_dataset_params params = {.max_length = 64, .chat_template = "chatml"};
    inl_dataset *d;
    inl_dataset *held;
    INL_TRY(open_data(env, c->tokenizer, "a.jsonl", c->data, &params, &d));
    uint64_t hash = inl_dataset_hash(d);
    inlay_result result = inl_dataset_split(d, 0.5, 1, &held);
    if (result != INLAY_OK)
        assert_true(inl_dataset_hash(d) == hash); // as if nothing had been asked
    inl_dataset_close(&held);
    inl_dataset_close(&d);
    return result;
}

static void test_out_of_memory(void **state)
{
    (void)state;
    static const char *const cases[] = {
        "{\"prompt\":\"b\",\"completion\":\"c\"}\n{\"prompt\":\"d\",\"completion\":\"f\"}",
        "{\"messages\":[{\"role\":\"assistant\",\"content\":\"a\"}]}\n"
        "{\"messages\":[{\"role\":\"assistant\",\"content\":\"b\"}]}",
    };
    inl_env env = test_env();
    inl_tokenizer *t = make_tokenizer(&env, false, &(toy_options){0});
    for (size_t i = 0; i < INL_COUNT(cases); i++) {
        oom_case c = {t, cases[i]};
        assert_true(check_each_failure("dataset", open_and_split, &c, UINT32_MAX) > 20);
    }
    inl_tokenizer_destroy(&t);
}

// Real text with a real vocabulary; the count is that of the Hugging Face tokenizers library.
static void test_shakespeare(void **state)
{
    (void)state;
    const char *folder = data_folder();
    inl_env env = test_env();
    inl_gguf *gguf;
    inl_tokenizer *t;
    inl_dataset *d;
    char path[1024];
    snprintf(path, sizeof(path), "%s/tokenizer/ggml-vocab-gpt-2.gguf", folder);
    assert_int_equal(inl_gguf_open(&env, path, &gguf), INLAY_OK);
    assert_int_equal(inl_tokenizer_create(&env, gguf, &t), INLAY_OK);
    inl_gguf_close(&gguf);
    snprintf(path, sizeof(path), "%s/text/shakespeare-300k.txt", folder);
    inl_dataset_params params = {.max_length = 512};
    assert_int_equal(inl_dataset_open(&env, t, path, &params, &d), INLAY_OK);
    const inl_dataset_info *info = inl_dataset_get_info(d);
    assert_int_equal(info->tokens, 90723);
    assert_int_equal(info->rows, 178);
    assert_int_equal(info->supervised_tokens, 90723 - 178);
    inl_dataset_close(&d);
    inl_tokenizer_destroy(&t);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_txt),
        cmocka_unit_test(test_text),
        cmocka_unit_test(test_prompt_completion),
        cmocka_unit_test(test_messages),
        cmocka_unit_test(test_messages_spm),
        cmocka_unit_test(test_packing),
        cmocka_unit_test(test_packing_window),
        cmocka_unit_test(test_truncation),
        cmocka_unit_test(test_bad_files),
        cmocka_unit_test(test_files),
        cmocka_unit_test(test_split),
        cmocka_unit_test(test_split_limits),
        cmocka_unit_test(test_hash),
        cmocka_unit_test(test_out_of_memory),
        cmocka_unit_test(test_shakespeare),
    };
    return cmocka_run_group_tests_name("dataset", tests, NULL, NULL);
}
