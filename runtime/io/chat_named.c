// SPDX-License-Identifier: MIT
#include "io/chat_named.h"

#include <string.h>

// In a template's strings: the tokens themselves, whatever the vocabulary calls them.
#define BOS "\1"
#define EOS "\2"

typedef struct turn {
    const char *open;  // before the words
    const char *lead;  // before them too, but supervised with them
    const char *close; // ends the turn, supervised with the words
    const char *tail;  // after that
} turn;

struct inl_named_chat {
    const char *name;
    const char *marker;
    bool trims;          // whitespace around the words is dropped
    bool system_in_user; // the system message is put into the user's turn, before the words
    const char *preset;  // the system message where there is none; NULL: none
    turn system, user, assistant;
};

static const inl_named_chat chats[] = {
    {
        .name = "chatml",
        .marker = "<|im_start|>",
        .system = {"<|im_start|>system\n", "", "<|im_end|>", "\n"},
        .user = {"<|im_start|>user\n", "", "<|im_end|>", "\n"},
        .assistant = {"<|im_start|>assistant\n", "", "<|im_end|>", "\n"},
    },
    {
        .name = "llama2",
        .trims = true,
        .system_in_user = true,
        .system = {"<<SYS>>\n", "", "\n<</SYS>>\n\n", ""},
        .user = {BOS "[INST] ", "", " [/INST]", ""},
        .assistant = {"", " ", " " EOS, ""},
    },
    {
        .name = "llama3",
        .marker = "<|start_header_id|>",
        .trims = true,
        .system = {"<|start_header_id|>system<|end_header_id|>\n\n", "", "<|eot_id|>", ""},
        .user = {"<|start_header_id|>user<|end_header_id|>\n\n", "", "<|eot_id|>", ""},
        .assistant = {"<|start_header_id|>assistant<|end_header_id|>\n\n", "", "<|eot_id|>", ""},
    },
    {
        .name = "zephyr",
        .system = {"<|system|>\n", "", EOS, "\n"},
        .user = {"<|user|>\n", "", EOS, "\n"},
        .assistant = {"<|assistant|>\n", "", EOS, "\n"},
    },
    {
        .name = "gemma",
        .marker = "<start_of_turn>",
        .trims = true,
        .system_in_user = true,
        .system = {"", "", "\n\n", ""},
        .user = {"<start_of_turn>user\n", "", "<end_of_turn>", "\n"},
        .assistant = {"<start_of_turn>model\n", "", "<end_of_turn>", "\n"},
    },
    {
        .name = "phi3",
        .marker = "<|end|>",
        .system = {"<|system|>\n", "", "<|end|>", "\n"},
        .user = {"<|user|>\n", "", "<|end|>", "\n"},
        .assistant = {"<|assistant|>\n", "", "<|end|>", "\n"},
    },
    {
        .name = "mistral-v1", // 7B-Instruct v0.1 and v0.2
        .system_in_user = true,
        .system = {"", "", "\n\n", ""},
        .user = {"[INST] ", "", " [/INST]", ""},
        .assistant = {"", " ", EOS, ""},
    },
    {
        .name = "mistral-v3", // 7B-Instruct v0.3
        .marker = "[INST]",
        .system_in_user = true,
        .system = {"", "", "\n\n", ""},
        .user = {"[INST] ", "", "[/INST]", ""},
        .assistant = {"", " ", EOS, ""},
    },
    {
        .name = "mistral-v3-tekken", // Nemo
        .marker = "[INST]",
        .system_in_user = true,
        .system = {"", "", "\n\n", ""},
        .user = {"[INST]", "", "[/INST]", ""},
        .assistant = {"", "", EOS, ""},
    },
    {
        .name = "mistral-v7", // Large 2411
        .marker = "[SYSTEM_PROMPT]",
        .system = {"[SYSTEM_PROMPT] ", "", "[/SYSTEM_PROMPT]", ""},
        .user = {"[INST] ", "", "[/INST]", ""},
        .assistant = {"", " ", EOS, ""},
    },
    {
        .name = "mistral-v7-tekken", // Small 2501 and after
        .marker = "[SYSTEM_PROMPT]",
        .system = {"[SYSTEM_PROMPT]", "", "[/SYSTEM_PROMPT]", ""},
        .user = {"[INST]", "", "[/INST]", ""},
        .assistant = {"", "", EOS, ""},
    },
    {
        .name = "phi4",
        .marker = "<|im_sep|>",
        .system = {"<|im_start|>system<|im_sep|>", "", "<|im_end|>", ""},
        .user = {"<|im_start|>user<|im_sep|>", "", "<|im_end|>", ""},
        .assistant = {"<|im_start|>assistant<|im_sep|>", "", "<|im_end|>", ""},
    },
    {
        .name = "alpaca",
        .preset = "Below is an instruction that describes a task. Write a response that "
                  "appropriately completes the request.",
        .system = {"", "", "\n\n", ""},
        .user = {"### Instruction:\n", "", "\n\n", ""},
        .assistant = {"### Response:\n", "", EOS, "\n\n"},
    },
    {
        .name = "vicuna", // v1.1
        .preset = "A chat between a curious user and an artificial intelligence assistant. The "
                  "assistant gives helpful, detailed, and polite answers to the user's questions.",
        .system = {"", "", " ", ""},
        .user = {"USER: ", "", " ", ""},
        .assistant = {"ASSISTANT:", " ", EOS, ""},
    },
};

// Other names that are taken.
static const char *const aliases[][2] = {
    {"mistral", "mistral-v1"},
    {"mistral-tekken", "mistral-v3-tekken"},
};

// How a Jinja text gives itself away: the first row of which it has all of `has` and nothing of
// `lacks`. Rows from special to general.
typedef struct sign {
    const char *name;
    const char *has[2];
    const char *lacks[2];
} sign;

static const sign signs[] = {
    {"phi4", {"<|im_start|>", "<|im_sep|>"}, {0}},
    {"chatml", {"<|im_start|>"}, {0}},
    {"llama3", {"<|start_header_id|>", "<|end_header_id|>"}, {0}},
    {"gemma", {"<start_of_turn>"}, {0}},
    {"phi3", {"<|user|>", "<|end|>"}, {0}},
    {"zephyr", {"<|user|>", "eos_token"}, {"[gMASK]"}},
    {"llama2", {"[INST]", "<<SYS>>"}, {0}},
    {"mistral-v7", {"[SYSTEM_PROMPT] ", "[INST]"}, {0}},
    {"mistral-v7-tekken", {"[SYSTEM_PROMPT]", "[INST]"}, {0}},
    {"mistral-v3-tekken", {"\"[INST]\""}, {0}},
    {"mistral-v1", {"[INST] ", " [/INST]"}, {0}},
    {"mistral-v3", {"[INST] ", "[/INST]"}, {0}},
    {"alpaca", {"### Instruction:", "### Response:"}, {0}},
    {"vicuna", {"USER: ", "ASSISTANT:"}, {0}},
};

const inl_named_chat *inl_named_chat_find(const char *name)
{
    for (size_t i = 0; i < INL_COUNT(aliases); i++)
        if (strcmp(aliases[i][0], name) == 0)
            name = aliases[i][1];
    for (size_t i = 0; i < INL_COUNT(chats); i++)
        if (strcmp(chats[i].name, name) == 0)
            return &chats[i];
    return NULL;
}

static bool fits(const sign *s, const char *jinja)
{
    for (size_t i = 0; i < INL_COUNT(s->has); i++)
        if (s->has[i] && !strstr(jinja, s->has[i]))
            return false;
    for (size_t i = 0; i < INL_COUNT(s->lacks); i++)
        if (s->lacks[i] && strstr(jinja, s->lacks[i]))
            return false;
    return true;
}

const inl_named_chat *inl_named_chat_recognise(const char *jinja)
{
    for (size_t i = 0; i < INL_COUNT(signs); i++)
        if (fits(&signs[i], jinja))
            return inl_named_chat_find(signs[i].name);
    return NULL;
}

void inl_named_chat_list(char *out, size_t room)
{
    out[0] = '\0';
    for (size_t i = 0; i < INL_COUNT(chats); i++) {
        strncat(out, i ? ", " : "", room - strlen(out) - 1);
        strncat(out, chats[i].name, room - strlen(out) - 1);
    }
}

const char *inl_named_chat_name(const inl_named_chat *chat)
{
    return chat->name;
}

const char *inl_named_chat_marker(const inl_named_chat *chat)
{
    return chat->marker;
}

const char *inl_named_chat_opening(const inl_named_chat *chat)
{
    return chat->assistant.open;
}

// What one rendering needs to know.
typedef struct renderer {
    const inl_env *env;
    const inl_named_chat *chat;
    const inl_chat_input *input;
    int32_t bos, eos;
    inl_chat_text *text;
} renderer;

static inlay_result add_marker(renderer *r, const char *marker, bool supervised)
{
    while (*marker) {
        size_t plain = strcspn(marker, BOS EOS);
        INL_TRY(inl_chat_text_add(r->env, r->text, marker, plain, true, supervised));
        marker += plain;
        if (!*marker)
            break;
        int32_t token = *marker++ == BOS[0] ? r->bos : r->eos;
        if (token >= 0)
            INL_TRY(inl_chat_text_add_token(r->env, r->text, token, supervised));
    }
    return INLAY_OK;
}

static bool is_blank(char c)
{
    return c == ' ' || (c >= '\t' && c <= '\r');
}

static inlay_result add_string(renderer *r, const char *words, size_t size, bool supervised)
{
    if (r->chat->trims) {
        for (; size > 0 && is_blank(*words); size--)
            words++;
        while (size > 0 && is_blank(words[size - 1]))
            size--;
    }
    return inl_chat_text_add(r->env, r->text, words, size, false, supervised);
}

static inlay_result cannot(const renderer *r, size_t index, const char *what)
{
    return inl_feed_fail(r->input->source, INLAY_ERROR_BAD_FILE,
                         "message %zu has %s, which the template %s does not write", index + 1,
                         what, r->chat->name);
}

// A content: a string, or parts of which each is text.
static inlay_result add_words(renderer *r, size_t index, bool supervised)
{
    const json_t *message = json_array_get(r->input->messages, index);
    const json_t *content = json_object_get(message, "content");
    if (json_array_size(json_object_get(message, "tool_calls")) > 0)
        return cannot(r, index, "tool calls");
    if (json_is_string(content))
        return add_string(r, json_string_value(content), json_string_length(content), supervised);
    for (size_t i = 0; i < json_array_size(content); i++) {
        const json_t *text = json_object_get(json_array_get(content, i), "text");
        if (!json_is_string(text))
            return cannot(r, index, "a part that is no text");
        INL_TRY(add_string(r, json_string_value(text), json_string_length(text), supervised));
    }
    return INLAY_OK;
}

// `system`: the index of a system message that goes into this turn, or SIZE_MAX.
static inlay_result add_turn(renderer *r, const turn *t, size_t system, size_t index,
                             bool supervised)
{
    INL_TRY(add_marker(r, t->open, false));
    if (system != SIZE_MAX) {
        INL_TRY(add_marker(r, r->chat->system.open, false));
        INL_TRY(add_words(r, system, false));
        INL_TRY(add_marker(r, r->chat->system.close, false));
    }
    INL_TRY(add_marker(r, t->lead, supervised));
    INL_TRY(add_words(r, index, supervised));
    INL_TRY(add_marker(r, t->close, supervised));
    return add_marker(r, t->tail, false);
}

static bool has_role(const renderer *r, size_t index, const char *name)
{
    const json_t *role = json_object_get(json_array_get(r->input->messages, index), "role");
    return role && strcmp(json_string_value(role), name) == 0;
}

static inlay_result add_preset(renderer *r)
{
    if (!r->chat->preset || has_role(r, 0, "system"))
        return INLAY_OK;
    INL_TRY(add_marker(r, r->chat->system.open, false));
    INL_TRY(add_marker(r, r->chat->preset, false));
    return add_marker(r, r->chat->system.close, false);
}

static inlay_result unknown_role(const renderer *r, size_t index)
{
    const json_t *message = json_array_get(r->input->messages, index);
    return inl_feed_fail(r->input->source, INLAY_ERROR_BAD_FILE,
                         "message %zu has the role \"%.64s\" (known: system, user, assistant)",
                         index + 1, json_string_value(json_object_get(message, "role")));
}

static inlay_result render_messages(renderer *r)
{
    size_t system = SIZE_MAX; // waits for the user's turn
    size_t count = json_array_size(r->input->messages);
    INL_TRY(add_preset(r));
    for (size_t i = 0; i < count; i++) {
        if (has_role(r, i, "system") && r->chat->system_in_user && system == SIZE_MAX) {
            system = i;
        } else if (has_role(r, i, "system") && !r->chat->system_in_user) {
            INL_TRY(add_turn(r, &r->chat->system, SIZE_MAX, i, false));
        } else if (has_role(r, i, "user")) {
            INL_TRY(add_turn(r, &r->chat->user, system, i, false));
            system = SIZE_MAX;
        } else if (has_role(r, i, "assistant") && system == SIZE_MAX) {
            INL_TRY(add_turn(r, &r->chat->assistant, system, i, inl_chat_learns(r->input, i)));
        } else if (has_role(r, i, "system") || has_role(r, i, "assistant")) {
            break; // a system message waits
        } else {
            return unknown_role(r, i);
        }
    }
    if (system != SIZE_MAX)
        return inl_feed_fail(r->input->source, INLAY_ERROR_BAD_FILE,
                             "the template %s needs a user's message right after the system "
                             "message",
                             r->chat->name);
    return r->input->prompt ? add_marker(r, r->chat->assistant.open, false) : INLAY_OK;
}

inlay_result inl_named_chat_render(const inl_env *env, const inl_named_chat *chat, int32_t bos,
                                   int32_t eos, const inl_chat_input *input, inl_chat_text *text)
{
    renderer r = {.env = env, .chat = chat, .input = input, .bos = bos, .eos = eos, .text = text};
    if (input->tools)
        return inl_feed_fail(input->source, INLAY_ERROR_BAD_FILE,
                             "the record has tools, which the template %s does not write",
                             chat->name);
    return render_messages(&r);
}
