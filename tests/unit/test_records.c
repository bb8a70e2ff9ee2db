// SPDX-License-Identifier: MIT
// The forms records come in: what each file and each kind of record becomes token by token, and
// what is said about those that are wrong.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "harness/toy_vocab.h"
#include "io/dataset.h"
#if INL_HAVE_ZSTD
#include <zstd.h>
#endif

static char all_messages[8192];

static void keep_message(void *user, inlay_log_level level, const char *message)
{
    (void)user;
    (void)level;
    strncat(all_messages, message, sizeof(all_messages) - strlen(all_messages) - 2);
    strcat(all_messages, "\n");
}

static inl_env env;
static inl_tokenizer *tokenizer; // byte b is token b

static int start(void **state)
{
    (void)state;
    gguf_bytes g;
    inl_gguf *gguf;
    env = inl_env_resolve(&(inlay_env){.log = keep_message});
    toy_bpe(&g, &(toy_options){0});
    assert_int_equal(inl_gguf_open_memory(&env, "toy", g.data, g.size, &gguf), INLAY_OK);
    assert_int_equal(inl_tokenizer_create(&env, gguf, &tokenizer), INLAY_OK);
    inl_gguf_close(&gguf);
    gguf_bytes_free(&g);
    return 0;
}

static int end(void **state)
{
    (void)state;
    inl_tokenizer_destroy(&tokenizer);
    return 0;
}

// The first sequence as text, {} around what is learned.
static void show(const inl_dataset *d, char *out)
{
    inl_row row;
    bool open = false;
    inl_dataset_get_row(d, 0, &row);
    for (uint32_t i = 0; i < row.count && row.starts[i] == 0; i++) {
        bool learned = i > 0 && row.labels[i - 1] >= 0;
        inl_slice text = inl_tokenizer_decode(tokenizer, row.tokens[i], false);
        if (learned != open)
            out += sprintf(out, "%s", learned ? "{" : "}");
        open = learned;
        if (text.size > 0)
            out += sprintf(out, "%.*s", (int)text.size, text.data);
        else
            out += sprintf(out, "~");
    }
    sprintf(out, "%s", open ? "}" : "");
}

static inlay_result read_data(inl_data_kind kind, const char *data, size_t size,
                              const char *chat_template, inl_dataset **out)
{
    inl_dataset_params params = {.max_length = 400, .chat_template = chat_template,
                                 .no_packing = true};
    uint8_t *exact = malloc(size ? size : 1); // a read beyond is seen
    memcpy(exact, data, size);
    all_messages[0] = '\0';
    inlay_result result =
        inl_dataset_open_memory(&env, tokenizer, "f", exact, size, kind, &params, out);
    free(exact);
    return result;
}

static void check(inl_data_kind kind, const char *data, const char *chat_template,
                  const char *format, uint64_t records, const char *expected)
{
    inl_dataset *d;
    char got[4096] = "";
    if (read_data(kind, data, strlen(data), chat_template, &d) != INLAY_OK)
        fail_msg("%s: %s", data, all_messages);
    assert_string_equal(inl_dataset_get_info(d)->format, format);
    assert_int_equal(inl_dataset_get_info(d)->records, records);
    show(d, got);
    assert_string_equal(got, expected);
    inl_dataset_close(&d);
}

static void refuse(inl_data_kind kind, const char *data, const char *expected)
{
    inl_dataset *d;
    inlay_result result = read_data(kind, data, strlen(data), "chatml", &d);
    if (result == INLAY_OK || !strstr(all_messages, expected))
        fail_msg("%s: no \"%s\" in \"%s\"", data, expected, all_messages);
    assert_null(d);
}

static void refuse_template(const char *chat_template, const char *expected)
{
    const char *data = "{\"messages\":[{\"role\":\"user\",\"content\":\"q\"},"
                       "{\"role\":\"assistant\",\"content\":\"r\"}]}";
    inl_dataset *d;
    inlay_result result = read_data(INL_DATA_JSONL, data, strlen(data), chat_template, &d);
    if (result == INLAY_OK || !strstr(all_messages, expected))
        fail_msg("%s: no \"%s\" in \"%s\"", chat_template, expected, all_messages);
    assert_null(d);
}

static void test_json(void **state)
{
    (void)state;
    check(INL_DATA_JSON, " [ {\"text\": \"a]\\\"}\"} ,\n{\"text\":\"b\"}\n]\n", NULL, "text", 2,
          "a{]\"}~}");
    check(INL_DATA_JSON, "[{\"text\":\"abc\",\"id\":1000000000000000019884624838656}]", NULL,
          "text", 1, "a{bc~}");
    check(INL_DATA_JSON, "\xef\xbb\xbf{\n\"text\": \"abc\"\n}\n{\"text\":\"b\"}", NULL, "text", 2,
          "a{bc~}");
    refuse(INL_DATA_JSON, "", "f holds no record");
    refuse(INL_DATA_JSON, "[]", "f holds no record");
    refuse(INL_DATA_JSON, "[", "f record 1: invalid JSON: the array has no end");
    refuse(INL_DATA_JSON, "[{\"text\":\"ab\"}", "f record 2: invalid JSON: the array has no end");
    refuse(INL_DATA_JSON, "[{\"text\":\"ab\"},", "f record 2: invalid JSON: the array has no end");
    refuse(INL_DATA_JSON, "[{\"text\":\"ab\"} {}]", "record 2: invalid JSON: a comma or ]");
    refuse(INL_DATA_JSON, "[{\"text\":\"ab\"}, ]", "f record 2: invalid JSON");
    refuse(INL_DATA_JSON, "[{\"text\":\"ab\"}] 3", "record 2: invalid JSON: something stands");
    refuse(INL_DATA_JSON, "[{\"text\":\"ab\"}, 3]", "f record 2: the record is not a JSON object");
    refuse(INL_DATA_JSON, "[[{\"text\":\"ab\"}]]", "f record 1: the record is not a JSON object");
    refuse(INL_DATA_JSON, "[{\"text\":\"ab]", "f record 1: invalid JSON");
    refuse(INL_DATA_JSON, "[{\"text\":\"ab\"}, {\"text\":}]", "f record 2: invalid JSON at byte");
}

static void test_csv(void **state)
{
    (void)state;
    check(INL_DATA_CSV, "id,text\r\n1,\"b,\"\"c\"\"\r\nd\"\r\n\r\n2,x y\r\n", NULL, "text", 2,
          "b{,\"c\"\r\nd~}");
    check(INL_DATA_CSV, "\xef\xbb\xbfprompt,completion\nab,cd", NULL, "prompt-completion", 1,
          "ab{cd~}");
    check(INL_DATA_CSV, "text,\"a b\"\na\"\"b,\n", NULL, "text", 1, "a{\"\"b~}");
    refuse(INL_DATA_CSV, "text\ra\rb\r",
           "f line 1: a carriage return stands in the name of column 1");
    refuse(INL_DATA_CSV, "", "f holds no record");
    refuse(INL_DATA_CSV, "text\n", "f holds no record");
    refuse(INL_DATA_CSV, "a,b\n1,2\n", "f line 2: the record has neither \"text\"");
    refuse(INL_DATA_CSV, "text,b\n\"1\n2\",2\nx\n", "f line 4: the row has 1 fields, but the");
    refuse(INL_DATA_CSV, "text,b\n1,2\n\"x", "f line 3: a quoted field has no end");
    refuse(INL_DATA_CSV, "text,b\n1,2\n\"x\"y,3\n", "f line 3: text stands behind a field's");
    refuse(INL_DATA_CSV, "text,text\n1,2\n", "f line 1: two columns are called \"text\"");
    refuse(INL_DATA_CSV, "text,b\n1,\xff\n", "f line 2: field 2 is not UTF-8");
}

static void test_conversations(void **state)
{
    (void)state;
    check(INL_DATA_JSONL,
          "{\"system\":\"S\",\"conversations\":[{\"from\":\"human\",\"value\":\"q\"},"
          "{\"from\":\"gpt\",\"value\":\"r\"}]}\n"
          "{\"conversations\":[{\"role\":\"user\",\"content\":\"q\"},"
          "{\"role\":\"assistant\",\"content\":\"r\"}]}",
          "phi4", "conversations", 2,
          "~system<|im_sep|>S~~user<|im_sep|>q~~assistant<|im_sep|>{r~}");
    // A weight goes with its turn; whoever speaks, in whatever case; the record's system message,
    // unless the turns have their own.
    check(INL_DATA_JSONL,
          "{\"system\":\"S\",\"conversations\":[{\"from\":\"System\",\"value\":\"s\"},"
          "{\"from\":\"Human\",\"value\":\"q\"},{\"from\":\"GPT\",\"value\":\"r\",\"weight\":0.0},"
          "{\"from\":\"human\",\"value\":\"t\",\"weight\":null},"
          "{\"from\":\"gpt\",\"value\":\"u\",\"weight\":1}]}",
          "chatml", "conversations", 1,
          "~system\ns~\n~user\nq~\n~assistant\nr~\n~user\nt~\n~assistant\n{u~}\n");
    check(INL_DATA_JSONL,
          "{\"system\":\"S\",\"messages\":[{\"role\":\"user\",\"content\":\"q\"},"
          "{\"role\":\"assistant\",\"content\":\"r\"}]}\n"
          "{\"system\":\"S\",\"messages\":[{\"role\":\"system\",\"content\":\"s\"}]}",
          "chatml", "messages", 2, "~system\nS~\n~user\nq~\n~assistant\n{r~}\n");
    // Calls and their answers, and tools written as text.
    check(INL_DATA_JSONL,
          "{\"tools\":\"[{\\\"name\\\":\\\"f\\\"}]\",\"conversations\":["
          "{\"from\":\"human\",\"value\":\"q\"},"
          "{\"from\":\"function_call\",\"value\":\"{\\\"name\\\":\\\"f\\\","
          "\\\"arguments\\\":{}}\"},"
          "{\"from\":\"observation\",\"value\":\"1\"},{\"from\":\"gpt\",\"value\":\"r\"}]}",
          "{{ tools[0].name }}{% for m in messages %}<|im_start|>{{ m.role }}:{{ m.content }}"
          "{% for c in m.tool_calls %}{{ c.function | tojson }}{% endfor %}<|im_end|>{% endfor %}"
          "{% if add_generation_prompt %}<|im_start|>assistant:{% endif %}",
          "conversations", 1,
          "f~user:q~~assistant:{{\"name\": \"f\", \"arguments\": {}}~}~tool:1~~assistant:{r~}");
    refuse(INL_DATA_JSONL, "{\"conversations\":[{\"from\":\"dog\",\"value\":\"q\"}]}",
           "f line 1: turn 1 is from \"dog\" (known: human, gpt,");
    refuse(INL_DATA_JSONL, "{\"conversations\":[{\"from\":\"gpt\"}]}",
           "f line 1: turn 1 has no string \"from\" or \"value\"");
    refuse(INL_DATA_JSONL, "{\"conversations\":[{\"from\":\"function_call\",\"value\":\"x\"}]}",
           "f line 1: turn 1 is a call, but its value is not the JSON of");
    refuse(INL_DATA_JSONL, "{\"conversations\":[]}", "\"conversations\" is not a list of messages");
    refuse(INL_DATA_JSONL, "{\"tools\":\"x\",\"messages\":[]}", "line 1: \"tools\" is not a list");
    refuse(INL_DATA_JSONL, "{\"tools\":[5],\"messages\":[]}",
           "line 1: entry 1 of \"tools\" is not an object");
    refuse(INL_DATA_JSONL,
           "{\"messages\":[{\"role\":\"assistant\",\"content\":null,\"tool_calls\":[]}]}",
           "line 1: message 1 has no string \"role\" or \"content\"");
    refuse(INL_DATA_JSONL,
           "{\"messages\":[{\"role\":\"assistant\",\"content\":null,\"tool_calls\":[{}]}]}",
           "line 1: message 1 has tool calls, which the template chatml does not write");
}

// A call without words has none, and no key besides is null; OpenAI's older form is the newer one.
static void test_calls(void **state)
{
    (void)state;
    static const char *const chat_template =
        "{% for m in messages %}<|im_start|>{{ m.role }}:"
        "{{ 'no words' if m.content is none else m.content }}"
        "{{ ' null' if m.name is defined and m.name is none }}"
        "{% for c in m.tool_calls %}{{ c.type ~ c.function | tojson }}{% endfor %}<|im_end|>"
        "{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant:{% endif %}";
    static const char *const calls[] = {
        "\"name\":null,\"tool_calls\":[{\"type\":\"function\",\"function\":{\"name\":\"f\"}}]",
        "\"function_call\":{\"name\":\"f\"},\"tool_calls\":null"};
    static const char *const results[] = {"tool", "function"};
    for (size_t i = 0; i < INL_COUNT(calls); i++) {
        char data[400];
        snprintf(data, sizeof(data),
                 "{\"messages\":[{\"role\":\"user\",\"content\":\"q\"},"
                 "{\"role\":\"assistant\",\"content\":null,%s},"
                 "{\"role\":\"%s\",\"content\":\"1\"}]}",
                 calls[i], results[i]);
        check(INL_DATA_JSONL, data, chat_template, "messages", 1,
              "~user:q~~assistant:{no wordsfunction{\"name\": \"f\"}~}~tool:1~");
    }
}

static void test_prompt_messages(void **state)
{
    (void)state;
    // The answer in the prompt is not learned.
    check(INL_DATA_JSONL,
          "{\"prompt\":[{\"role\":\"user\",\"content\":\"q\"},{\"role\":\"assistant\",\"content\":"
          "\"r\"},{\"role\":\"user\",\"content\":\"s\"}],"
          "\"completion\":[{\"role\":\"assistant\",\"content\":\"t\"}]}",
          "chatml", "prompt-completion messages", 1,
          "~user\nq~\n~assistant\nr~\n~user\ns~\n~assistant\n{t~}\n");
    refuse(INL_DATA_JSONL, "{\"prompt\":[],\"completion\":[]}", "\"prompt\" is not a list of");
    refuse(INL_DATA_JSONL,
           "{\"prompt\":[{\"role\":\"user\",\"content\":\"q\"}],\"completion\":\"r\"}",
           "f line 1: \"completion\" is not a list of messages");
}

// Which parts of an answer's turn are learned, by templates of several habits.
static void test_own_templates(void **state)
{
    (void)state;
    static const char *const messages =
        "{\"messages\":[{\"role\":\"user\",\"content\":\"q\"},{\"role\":\"assistant\",\"content\":"
        "\"r\",\"weight\":0},{\"role\":\"user\",\"content\":\"s\"},"
        "{\"role\":\"assistant\",\"content\":\"t\"}]}";
    static const char *const cases[][2] = {
        // No generation prompt: what ChatML begins a turn with.
        {"{% for m in messages %}{{ '<|im_start|>' + m.role + '\n' + m.content }}<|im_end|>\n\n"
         "{% endfor %}",
         "~user\nq~\n\n~assistant\nr~\n\n~user\ns~\n\n~assistant\n{t~}\n\n"},
        // Blanks end the turn.
        {"{% for m in messages %}{{ '### Instruction:' if m.role == 'user' else '### Response:' }}"
         "{{ m.content + '\n\n' }}{% endfor %}"
         "{% if add_generation_prompt %}### Response:{% endif %}",
         "### Instruction:q\n\n### Response:r\n\n### Instruction:s\n\n### Response:{t\n\n}"},
        // The prompt opens a thought that a turn which is over does not have; the end comes late.
        {"{% for m in messages %}{% if m.role == 'user' %}{{ eos_token if not loop.first }}"
         "<|im_start|>{{ m.content }}{% else %}:{{ m.content }}{% endif %}{% endfor %}"
         "{{ eos_token }}{% if add_generation_prompt %}:<think>{% endif %}",
         "~q:r~~s:{t~}"},
        // A named one.
        {"chatml", "~user\nq~\n~assistant\nr~\n~user\ns~\n~assistant\n{t~}\n"},
        {"{% for m in messages %}<|im_start|>{% generation %}{{ m.content }}{% endgeneration %}"
         "{% endfor %}",
         "~{q}~r~{s}~{t}"},
    };
    for (size_t i = 0; i < INL_COUNT(cases); i++)
        check(INL_DATA_JSONL, messages, cases[i][0], "messages", 1, cases[i][1]);
    // The next turn's first token, at which generation stops, ends an answer; also the last one,
    // and it is not closed by its own words.
    check(INL_DATA_JSONL,
          "{\"messages\":[{\"role\":\"user\",\"content\":\"q\"},"
          "{\"role\":\"assistant\",\"content\":\"r\"},{\"role\":\"user\",\"content\":\"s\"},"
          "{\"role\":\"assistant\",\"content\":\"<|im_end|>\"}]}",
          "{% for m in messages %}{{ '<|im_end|>' if m.role == 'user' else ':' }}{{ m.content }}"
          "{% endfor %}{% if add_generation_prompt %}:{% endif %}",
          "messages", 1, "~q:{r~}s:{<|im_end|>~}");
    refuse_template("{% for m in messages %}{{ m.content }}{% endfor %}",
                    "its generation prompt does not begin the assistant's turn; choose one of");
    refuse_template("{% for m in messages %}{{ m.role ~ m.content }}{% endfor %}"
                    "{% if add_generation_prompt %}assistant{% endif %}",
                    "no token of the vocabulary ends the assistant's turn in it; choose one of");
    refuse_template("{{ messages[0].content }}", "does not show where the assistant speaks; ");
    refuse_template("{% include 'x' %}", "cannot be read (line 1: the statement \"include\"");
    refuse_template("{{ messages | frob }}", "needs what is not supported (line 1: the filter");
    refuse_template("{{ raise_exception('No!') }}", "f line 1: the model's chat template does not");
}

// U+0000 is a character as any other; show() leaves it out.
static void test_nul(void **state)
{
    (void)state;
    check(INL_DATA_JSONL, "{\"text\":\"a\\u0000b\"}", NULL, "text", 1, "a{b~}");
    check(INL_DATA_JSONL, "{\"prompt\":\"a\\u0000b\",\"completion\":\"c\\u0000d\"}", NULL,
          "prompt-completion", 1, "ab{cd~}");
    check(INL_DATA_JSONL,
          "{\"instruction\":\"I\\u0000J\",\"input\":\"K\\u0000L\",\"output\":\"O\\u0000P\"}",
          "chatml", "instruction-output", 1, "~user\nIJ\nKL~\n~assistant\n{OP~}\n");
    check(INL_DATA_JSONL,
          "{\"messages\":[{\"role\":\"user\",\"content\":\"q\\u0000r\"},"
          "{\"role\":\"assistant\",\"content\":\"s\\u0000t\"}]}",
          "{% for m in messages %}{{ '<|im_start|>' + m.role + ':' + m.content }}<|im_end|>"
          "{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant:{% endif %}",
          "messages", 1, "~user:qr~~assistant:{st~}");
}

static void test_alpaca(void **state)
{
    (void)state;
    check(INL_DATA_JSON,
          "[{\"instruction\":\"I\",\"input\":\"\",\"output\":\"O\"},"
          "{\"instruction\":\"I\",\"output\":\"O\"}]",
          NULL, "instruction-output", 2,
          "Below is an instruction that describes a task. Write a response that appropriately "
          "completes the request.\n\n### Instruction:\nI\n\n### Response:\n{O~}\n\n");
    check(INL_DATA_JSON, "[{\"instruction\":\"I\",\"input\":\"J\",\"output\":\"O\"}]", NULL,
          "instruction-output", 1,
          "Below is an instruction that describes a task, paired with an input that provides "
          "further context. Write a response that appropriately completes the request.\n\n"
          "### Instruction:\nI\n\n### Input:\nJ\n\n### Response:\n{O~}\n\n");
    check(INL_DATA_CSV, "instruction,input,output\nI,J,O\n", "chatml", "instruction-output", 1,
          "~user\nI\nJ~\n~assistant\n{O~}\n");
    check(INL_DATA_JSON,
          "[{\"instruction\":\"I\",\"output\":\"O\",\"system\":\"S\",\"history\":[[\"a\",\"b\"]]}]",
          "chatml", "instruction-output", 1,
          "~system\nS~\n~user\na~\n~assistant\n{b~}\n~user\nI~\n~assistant\n{O~}\n");
    refuse(INL_DATA_JSON, "[{\"instruction\":\"I\",\"output\":3}]", "\"output\" is not a string");
    refuse(INL_DATA_JSON, "[{\"instruction\":\"I\",\"input\":3,\"output\":\"O\"}]",
           "\"input\" is not a string");
    refuse(INL_DATA_JSON, "[{\"instruction\":\"I\",\"output\":\"O\",\"history\":[[\"a\"]]}]",
           "\"history\" entry 1 is not");
    refuse(INL_DATA_JSON, "[{\"instruction\":\"I\",\"output\":\"O\",\"history\":3}]",
           "\"history\" is not a list");
}

static void test_tokens(void **state)
{
    (void)state;
    check(INL_DATA_JSONL, "{\"input_ids\":[97,98,99,100],\"labels\":[-100,-100,99,-100]}", NULL,
          "tokens", 1, "ab{c}d");
    check(INL_DATA_JSONL, "{\"input_ids\":[0,97,98,0],\"attention_mask\":[0,1,1,0]}", NULL,
          "tokens", 1, "a{b}");
    check(INL_DATA_JSONL,
          "{\"input_ids\":[97,98],\"id\":-1000000000000000019884624838656,"
          "\"a\":1.0000000000000000000001,\"b\":1e+00000000000000000000001,"
          "\"c\":\"\\\"9999999999999999999\"}",
          NULL, "tokens", 1, "a{b}");
    refuse(INL_DATA_JSONL, "{\"input_ids\":[97,98],\"labels\":[97]}",
           "line 1: \"labels\" is not a list of 2 integers");
    refuse(INL_DATA_JSONL, "{\"input_ids\":[97,98],\"labels\":[97,99]}",
           "line 1: label 2 is 99, but the token there is 98");
    refuse(INL_DATA_JSONL, "{\"input_ids\":[97,100000]}", "token 2 is 100000, but there are");
    refuse(INL_DATA_JSONL, "{\"input_ids\":[97,-1]}", "token 2 is -1, but there are");
    refuse(INL_DATA_JSONL, "{\"input_ids\":[97,1.5]}", "entry 2 of the token lists is no integer");
}

static void test_mixed(void **state)
{
    (void)state;
    check(INL_DATA_JSONL, "{\"text\":\"ab\",\"role\":\"prompter\"}", NULL, "text", 1, "a{b~}");
    assert_non_null(strstr(all_messages, "f line 1 has a \"role\" beside its \"text\""));
    refuse(INL_DATA_JSONL, "{\"text\":\"ab\"}\n{\"input_ids\":[1,2]}",
           "f line 2: the record is not like the first one, which has \"text\"");
    refuse(INL_DATA_JSONL,
           "{\"prompt\":[{\"role\":\"user\",\"content\":\"q\"}],\"completion\":[{\"role\":"
           "\"assistant\",\"content\":\"q\"}]}\n{\"prompt\":\"a\",\"completion\":\"b\"}",
           "line 2: the record is not like the first one, which has \"prompt\" and \"completion\" "
           "as lists");
    refuse(INL_DATA_JSONL, "{\"question\":\"a\",\"answer\":\"b\"}",
           "nor \"input_ids\"; it has \"question\", \"answer\"");
}

static void test_zstd(void **state)
{
    (void)state;
#if INL_HAVE_ZSTD
    // Longer than what is unpacked at a time, in two frames.
    enum { LINES = 40000 };
    char *text = malloc(LINES * 24);
    size_t size = 0;
    for (int i = 0; i < LINES; i++)
        size += (size_t)sprintf(text + size, "{\"text\":\"%d\"}\n", i + 100);
    size_t room = ZSTD_compressBound(size);
    char *packed = malloc(2 * room);
    size_t first = ZSTD_compress(packed, room, text, size / 2, 3);
    size_t all = first + ZSTD_compress(packed + first, room, text + size / 2, size - size / 2, 3);
    inl_dataset *d;
    char got[64];
    if (read_data(INL_DATA_JSONL | INL_DATA_ZSTD, packed, all, NULL, &d) != INLAY_OK)
        fail_msg("%s", all_messages);
    assert_int_equal(inl_dataset_get_info(d)->records, LINES);
    show(d, got);
    assert_string_equal(got, "1{00~}");
    inl_dataset_close(&d);
    assert_int_not_equal(read_data(INL_DATA_JSONL | INL_DATA_ZSTD, packed, all - 1, NULL, &d), 0);
    assert_non_null(strstr(all_messages, "f: the zstd stream ends early"));
    packed[0] ^= 1;
    assert_int_not_equal(read_data(INL_DATA_JSONL | INL_DATA_ZSTD, packed, all, NULL, &d), 0);
    assert_non_null(strstr(all_messages, "f: zstd at byte 0: Unknown frame descriptor"));
    free(packed);
    free(text);
#else
    refuse(INL_DATA_JSONL | INL_DATA_ZSTD, "x", "made without libzstd");
#endif
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_json),            cmocka_unit_test(test_csv),
        cmocka_unit_test(test_conversations),   cmocka_unit_test(test_calls),
        cmocka_unit_test(test_prompt_messages), cmocka_unit_test(test_alpaca),
        cmocka_unit_test(test_tokens),          cmocka_unit_test(test_mixed),
        cmocka_unit_test(test_zstd),            cmocka_unit_test(test_own_templates),
        cmocka_unit_test(test_nul),
    };
    return cmocka_run_group_tests(tests, start, end);
}
