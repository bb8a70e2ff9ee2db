// SPDX-License-Identifier: MIT
// libFuzzer target: any bytes as a chat template, and behind a NUL the messages it is given.
#include "fuzz/fuzz.h"
#include "harness/toy_vocab.h"
#include "io/chat.h"

static inl_tokenizer *toy_tokenizer(const inl_env *env)
{
    static inl_tokenizer *tokenizer;
    gguf_bytes g;
    inl_gguf *gguf;
    if (tokenizer)
        return tokenizer;
    toy_bpe(&g, &(toy_options){0});
    if (inl_gguf_open_memory(env, "toy", g.data, g.size, &gguf) != INLAY_OK ||
        inl_tokenizer_create(env, gguf, &tokenizer) != INLAY_OK)
        abort();
    inl_gguf_close(&gguf);
    gguf_bytes_free(&g);
    return tokenizer;
}

// The messages, or some of ours where there are none.
static json_t *messages_of(const uint8_t *data, size_t size)
{
    json_t *messages = json_loadb((const char *)data, size, 0, NULL);
    bool good = json_is_array(messages);
    for (size_t i = 0; i < json_array_size(messages); i++)
        good = good && json_is_string(json_object_get(json_array_get(messages, i), "role"));
    if (good)
        return messages;
    json_decref(messages);
    return json_loads("[{\"role\":\"system\",\"content\":\"s\"},{\"role\":\"user\",\"content\":"
                      "\" q\"},{\"role\":\"assistant\",\"content\":\"r <eos>\",\"tool_calls\":"
                      "[{\"function\":{\"name\":\"f\",\"arguments\":{\"a\":[1.5,null]}}}]}]",
                      0, NULL);
}

static void check_text(const inl_chat_text *text)
{
    size_t end = 0;
    for (size_t i = 0; i < text->count; i++) {
        const inl_chat_span *s = &text->spans[i];
        fuzz_require(s->start == end && (s->size > 0 || s->is_token));
        end += s->size;
    }
    fuzz_require(end == text->size);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static int errors; // the toy tokenizer keeps the env for good
    inl_env env = fuzz_env(&errors);
    const inl_tokenizer *t = toy_tokenizer(&env);
    const uint8_t *nul = size > 0 ? memchr(data, '\0', size) : NULL;
    size_t length = nul ? (size_t)(nul - data) : size;
    char *template = inl_strndup(&env, (const char *)data, length);
    inl_feed source = {.kind = INL_DATA_JSONL, .place = "line 1"};
    source.input = (inl_input){.env = &env, .name = "fuzz"};
    inl_chat *chat;
    inl_chat_text text = {0};
    inlay_result result = inl_chat_open(&env, t, template, 1, &chat);
    fuzz_require((result == INLAY_OK) == (chat != NULL) && errors == (result != INLAY_OK));
    if (chat) {
        json_t *messages = messages_of(nul ? nul + 1 : data, nul ? size - length - 1 : 0);
        for (int prompt = 0; prompt < 2; prompt++) {
            inl_chat_input input = {.messages = messages,
                                    .tools = prompt ? messages : NULL,
                                    .prompt = prompt,
                                    .source = &source};
            errors = 0;
            result = inl_chat_render(chat, &input, &text);
            fuzz_require(errors == (result != INLAY_OK));
            if (result == INLAY_OK)
                check_text(&text);
        }
        json_decref(messages);
    }
    inl_chat_text_free(&env, &text);
    inl_chat_close(&chat);
    inl_free(&env, template);
    return 0;
}

void fuzz_seeds(fuzz_put *put, void *user)
{
    static const char *const seeds[] = {
        "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content | trim }}<|im_end|>\n"
        "{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}",
        "{{- bos_token }}{%- set ns = namespace(i=0) -%}{% macro f(a, b='x') %}{{ a ~ b }}"
        "{% endmacro %}{% for m in messages[1:][::-1] if m.role != 'x' %}{% set ns.i = ns.i + 1 %}"
        "{% if loop.first and not loop.last %}{% continue %}{% elif ns.i > 3 %}{% break %}"
        "{% else %}{% generation %}{{ f(m['content'], b=ns.i) }}{% endgeneration %}{% endif %}"
        "{% endfor %}{# x #}{% raw %}{{{% endraw %}",
        "{{ tools | tojson(indent=2) }}{{ messages | selectattr('role', 'equalto', 'user') | "
        "map(attribute='content') | join(', ') | upper }}{{ 'a,b'.split(',')[-1].strip() }}"
        "{{ strftime_now('%d %b %Y') }}{{ {'a': (1, 2.5)}.items() | list | sort }}"
        "{{ range(3) | sum / 2 ** -1 // 3 % 2 }}{% set a, b = 'xy' %}{{ a if b in 'y' else none }}",
        "{% filter indent(2, true) %}{% for k, v in messages[0] | dictsort %}{{ k }}={{ v }}\n"
        "{% endfor %}{% endfilter %}{% with q = messages | last %}{{ q.content.replace('r', '\\n') "
        "| default('z', true) | title }}{% endwith %}{{ messages | length is odd }}"
        "{{ '%s'.format(1) }}{{ raise_exception('no') }}",
    };
    for (size_t i = 0; i < INL_COUNT(seeds); i++) {
        char name[16];
        snprintf(name, sizeof(name), "seed %zu", i);
        put(user, name, seeds[i], strlen(seeds[i]));
    }
    static const char with_messages[] =
        "{% for m in messages %}[INST] {{ m.content }} [/INST]{% endfor %}\0"
        "[{\"role\":\"user\",\"content\":\"hello\"},"
        "{\"role\":\"assistant\",\"content\":\"\xc3\xa9\"}]";
    put(user, "messages", with_messages, sizeof(with_messages) - 1);
}
