// SPDX-License-Identifier: MIT
// Chat templates: what those known by name write, and how a model's own is recognised.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/file.h"
#include "harness/data_folder.h"
#include "harness/toy_vocab.h"
#include "io/chat_named.h"

#define CONVERSATION                                                                               \
    "[{\"role\":\"system\",\"content\":\"S\"}, {\"role\":\"user\",\"content\":\" U \"},"           \
    "{\"role\":\"assistant\",\"content\":\"A\\n\"}, {\"role\":\"user\",\"content\":\"V\"},"        \
    "{\"role\":\"assistant\",\"content\":[{\"type\":\"text\",\"text\":\"<B>\"}]}]"

// Spans as text: supervised in {}, tokens as ~1 (BOS) and ~2 (EOS).
static void show_chat(const inl_chat_text *text, char *out)
{
    bool open = false;
    for (size_t i = 0; i < text->count; i++) {
        const inl_chat_span *s = &text->spans[i];
        if (s->supervised != open)
            out += sprintf(out, "%s", s->supervised ? "{" : "}");
        open = s->supervised;
        if (s->is_token)
            out += sprintf(out, "~%d", s->token);
        else
            out += sprintf(out, "%.*s", (int)s->size, text->text + s->start);
    }
    sprintf(out, "%s", open ? "}" : "");
}

static void test_templates(void **state)
{
    (void)state;
    static const char *const cases[][2] = {
        {"chatml", "<|im_start|>system\nS<|im_end|>\n<|im_start|>user\n U <|im_end|>\n"
                   "<|im_start|>assistant\n{A\n<|im_end|>}\n<|im_start|>user\nV<|im_end|>\n"
                   "<|im_start|>assistant\n{<B><|im_end|>}\n"},
        {"llama2", "~1[INST] <<SYS>>\nS\n<</SYS>>\n\nU [/INST]{ A ~2}~1[INST] V [/INST]{ <B> ~2}"},
        {"llama3", "<|start_header_id|>system<|end_header_id|>\n\nS<|eot_id|>"
                   "<|start_header_id|>user<|end_header_id|>\n\nU<|eot_id|>"
                   "<|start_header_id|>assistant<|end_header_id|>\n\n{A<|eot_id|>}"
                   "<|start_header_id|>user<|end_header_id|>\n\nV<|eot_id|>"
                   "<|start_header_id|>assistant<|end_header_id|>\n\n{<B><|eot_id|>}"},
        {"zephyr", "<|system|>\nS~2\n<|user|>\n U ~2\n<|assistant|>\n{A\n~2}\n"
                   "<|user|>\nV~2\n<|assistant|>\n{<B>~2}\n"},
        {"gemma", "<start_of_turn>user\nS\n\nU<end_of_turn>\n<start_of_turn>model\n"
                  "{A<end_of_turn>}\n<start_of_turn>user\nV<end_of_turn>\n<start_of_turn>model\n"
                  "{<B><end_of_turn>}\n"},
        {"phi3", "<|system|>\nS<|end|>\n<|user|>\n U <|end|>\n<|assistant|>\n{A\n<|end|>}\n"
                 "<|user|>\nV<|end|>\n<|assistant|>\n{<B><|end|>}\n"},
        {"mistral-v1", "[INST] S\n\n U  [/INST]{ A\n~2}[INST] V [/INST]{ <B>~2}"},
        {"mistral-v3", "[INST] S\n\n U [/INST]{ A\n~2}[INST] V[/INST]{ <B>~2}"},
        {"mistral-v3-tekken", "[INST]S\n\n U [/INST]{A\n~2}[INST]V[/INST]{<B>~2}"},
        {"mistral-v7", "[SYSTEM_PROMPT] S[/SYSTEM_PROMPT][INST]  U [/INST]{ A\n~2}"
                       "[INST] V[/INST]{ <B>~2}"},
        {"mistral-v7-tekken", "[SYSTEM_PROMPT]S[/SYSTEM_PROMPT][INST] U [/INST]{A\n~2}"
                              "[INST]V[/INST]{<B>~2}"},
        {"phi4", "<|im_start|>system<|im_sep|>S<|im_end|><|im_start|>user<|im_sep|> U <|im_end|>"
                 "<|im_start|>assistant<|im_sep|>{A\n<|im_end|>}<|im_start|>user<|im_sep|>V"
                 "<|im_end|><|im_start|>assistant<|im_sep|>{<B><|im_end|>}"},
        {"alpaca", "S\n\n### Instruction:\n U \n\n### Response:\n{A\n~2}\n\n"
                   "### Instruction:\nV\n\n### Response:\n{<B>~2}\n\n"},
        {"vicuna", "S USER:  U  ASSISTANT:{ A\n~2}USER: V ASSISTANT:{ <B>~2}"},
    };
    inl_env env = inl_env_resolve(NULL);
    inl_chat_text text = {0};
    json_t *messages = json_loads(CONVERSATION, 0, NULL);
    assert_non_null(messages);
    for (size_t i = 0; i < INL_COUNT(cases); i++) {
        const inl_named_chat *chat = inl_named_chat_find(cases[i][0]);
        char got[1024];
        assert_non_null(chat);
        assert_string_equal(inl_named_chat_name(chat), cases[i][0]);
        inl_chat_input input = {.messages = messages};
        text.size = text.count = 0;
        assert_int_equal(inl_named_chat_render(&env, chat, 1, 2, &input, &text), INLAY_OK);
        show_chat(&text, got);
        assert_string_equal(got, cases[i][1]);
        for (size_t j = 0; j < text.count; j++) // the words' spans must not parse as markers
            if (!text.spans[j].is_token && text.spans[j].size == 3 &&
                memcmp(text.text + text.spans[j].start, "<B>", 3) == 0)
                assert_false(text.spans[j].marker);
        input.learn_from = 3;
        input.prompt = true;
        text.size = text.count = 0;
        assert_int_equal(inl_named_chat_render(&env, chat, 1, 2, &input, &text), INLAY_OK);
        size_t learned = 0;
        for (size_t j = 0; j < text.count; j++)
            learned += text.spans[j].supervised && !text.spans[j].marker;
        assert_int_equal(learned, 1);
    }
    json_decref(messages);
    inl_chat_text_free(&env, &text);
}

static void test_recognition(void **state)
{
    (void)state;
    static const char *const cases[][2] = {
        {"'<|im_start|>' + message.role", "chatml"},
        {"'<|im_start|>user<|im_sep|>'", "phi4"},
        {"'[INST] ' + '<<SYS>>\\n' + ' [/INST]'", "llama2"},
        {"bos_token + '[INST] ' + content + ' [/INST]'", "mistral-v1"},
        {"\"[INST] \" + content + \"[/INST]\"", "mistral-v3"},
        {"\"[INST]\" + content + \"[/INST]\"", "mistral-v3-tekken"},
        {"'[SYSTEM_PROMPT]' + content + '[INST]'", "mistral-v7-tekken"},
        {"'<|user|>\\n' + content + eos_token", "zephyr"},
        {"'### Instruction:' + content + '### Response:'", "alpaca"},
    };
    for (size_t i = 0; i < INL_COUNT(cases); i++)
        assert_string_equal(inl_named_chat_name(inl_named_chat_recognise(cases[i][0])),
                            cases[i][1]);
    assert_null(inl_named_chat_recognise("{{ messages }}"));
    assert_null(inl_named_chat_find("mistal"));
    assert_ptr_equal(inl_named_chat_find("mistral"), inl_named_chat_find("mistral-v1"));
}

static void test_real_templates(void **state)
{
    (void)state;
    static const char *const cases[][2] = {
        {"Qwen-Qwen2.5-7B-Instruct", "chatml"},
        {"Qwen-Qwen3-0.6B", "chatml"},
        {"google-gemma-2-2b-it", "gemma"},
        {"meta-llama-Llama-3.2-3B-Instruct", "llama3"},
        {"microsoft-Phi-3.5-mini-instruct", "phi3"},
        {"mistralai-Mistral-Nemo-Instruct-2407", "mistral-v3-tekken"},
    };
    const char *folder = data_folder();
    inl_env env = inl_env_resolve(NULL);
    for (size_t i = 0; i < INL_COUNT(cases); i++) {
        char path[1024];
        inl_map map;
        snprintf(path, sizeof(path), "%s/chat-templates/%s.jinja", folder, cases[i][0]);
        assert_int_equal(inl_map_open(&env, path, &map), INLAY_OK);
        char *jinja = inl_strndup(&env, (const char *)map.data, map.size);
        assert_string_equal(inl_named_chat_name(inl_named_chat_recognise(jinja)), cases[i][1]);
        inl_free(&env, jinja);
        inl_map_close(&map);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_templates),
        cmocka_unit_test(test_recognition),
        cmocka_unit_test(test_real_templates),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
