// SPDX-License-Identifier: MIT
#include "io/chat.h"

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

struct inl_chat {
    const char *name;
    const char *marker;
    bool trims;          // whitespace around the words is dropped
    bool system_in_user; // the system message is put into the user's turn, before the words
    turn system, user, assistant;
};

static const inl_chat chats[] = {
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
        .name = "mistral", // 7B-Instruct v0.1 and v0.2
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
        .name = "mistral-tekken", // Nemo and after
        .marker = "[INST]",
        .system_in_user = true,
        .system = {"", "", "\n\n", ""},
        .user = {"[INST]", "", "[/INST]", ""},
        .assistant = {"", "", EOS, ""},
    },
};

// How a Jinja text gives itself away: the first row of which it has all of `has` and nothing of
// `lacks`. Rows from special to general.
typedef struct sign {
    const char *name;
    const char *has[2];
    const char *lacks[2];
} sign;

static const sign signs[] = {
    {"chatml", {"<|im_start|>"}, {"<|im_sep|>"}},
    {"llama3", {"<|start_header_id|>", "<|end_header_id|>"}, {0}},
    {"gemma", {"<start_of_turn>"}, {0}},
    {"phi3", {"<|user|>", "<|end|>"}, {"<|im_sep|>"}},
    {"zephyr", {"<|user|>", "eos_token"}, {"[gMASK]", "<|end|>"}},
    {"llama2", {"[INST]", "<<SYS>>"}, {0}},
    {"mistral-tekken", {"\"[INST]\""}, {"[SYSTEM_PROMPT]"}},
    {"mistral", {"[INST] ", " [/INST]"}, {"[SYSTEM_PROMPT]"}},
    {"mistral-v3", {"[INST] ", "[/INST]"}, {"[SYSTEM_PROMPT]"}},
};

static const inl_chat *find_chat(const char *name)
{
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

static void list_names(char *out, size_t room)
{
    out[0] = '\0';
    for (size_t i = 0; i < INL_COUNT(chats); i++) {
        strncat(out, i ? ", " : "", room - strlen(out) - 1);
        strncat(out, chats[i].name, room - strlen(out) - 1);
    }
}

inlay_result inl_chat_choose(const inl_env *env, const char *name, const char *jinja,
                             const inl_chat **out)
{
    char names[256];
    list_names(names, sizeof(names));
    *out = NULL;
    if (name) {
        *out = find_chat(name);
        if (!*out)
            return inl_fail(env, INLAY_ERROR_UNSUPPORTED,
                            "the chat template \"%.64s\" is unknown (known: %s)", name, names);
        return INLAY_OK;
    }
    if (!jinja)
        return inl_fail(env, INLAY_ERROR_UNSUPPORTED,
                        "the model has no chat template; choose one of %s", names);
    for (size_t i = 0; i < INL_COUNT(signs) && !*out; i++)
        if (fits(&signs[i], jinja))
            *out = find_chat(signs[i].name);
    if (!*out)
        return inl_fail(env, INLAY_ERROR_UNSUPPORTED,
                        "the model's chat template is not recognised; choose one of %s", names);
    inl_logf(env, INLAY_LOG_INFO, "chat template: %s (recognised from the model's)", (*out)->name);
    return INLAY_OK;
}

const char *inl_chat_name(const inl_chat *chat)
{
    return chat->name;
}

const char *inl_chat_marker(const inl_chat *chat)
{
    return chat->marker;
}

void inl_chat_text_free(const inl_env *env, inl_chat_text *text)
{
    inl_free(env, text->text);
    inl_free(env, text->spans);
    *text = (inl_chat_text){0};
}

static inlay_result add_span(const inl_env *env, inl_chat_text *text, inl_chat_span span)
{
    INL_TRY(inl_grow(env, (void **)&text->spans, &text->span_cap, text->count + 1,
                     sizeof(*text->spans)));
    text->spans[text->count++] = span;
    return INLAY_OK;
}

static inlay_result add_text(const inl_env *env, inl_chat_text *text, const char *data, size_t size,
                             bool marker, bool supervised)
{
    if (size == 0)
        return INLAY_OK;
    INL_TRY(inl_grow(env, (void **)&text->text, &text->cap, text->size + size, 1));
    memcpy(text->text + text->size, data, size);
    inl_chat_span span = {.start = text->size, .size = size, .marker = marker,
                          .supervised = supervised};
    text->size += size;
    return add_span(env, text, span);
}

// What one rendering needs to know.
typedef struct renderer {
    const inl_env *env;
    const inl_chat *chat;
    int32_t bos, eos;
    inl_chat_text *text;
} renderer;

static inlay_result add_marker(renderer *r, const char *marker, bool supervised)
{
    while (*marker) {
        size_t plain = strcspn(marker, BOS EOS);
        INL_TRY(add_text(r->env, r->text, marker, plain, true, supervised));
        marker += plain;
        if (!*marker)
            break;
        int32_t token = *marker++ == BOS[0] ? r->bos : r->eos;
        inl_chat_span span = {.start = r->text->size, .marker = true, .supervised = supervised,
                              .is_token = true, .token = token};
        if (token >= 0)
            INL_TRY(add_span(r->env, r->text, span));
    }
    return INLAY_OK;
}

static bool is_blank(char c)
{
    return c == ' ' || (c >= '\t' && c <= '\r');
}

static inlay_result add_words(renderer *r, inl_slice words, bool supervised)
{
    if (r->chat->trims) {
        for (; words.size > 0 && is_blank(words.data[0]); words.size--)
            words.data++;
        while (words.size > 0 && is_blank(words.data[words.size - 1]))
            words.size--;
    }
    return add_text(r->env, r->text, words.data, words.size, false, supervised);
}

// `system`: a system message that goes into this turn, or NULL.
static inlay_result add_turn(renderer *r, const turn *t, const inl_slice *system, inl_slice words,
                             bool supervised)
{
    INL_TRY(add_marker(r, t->open, false));
    if (system) {
        INL_TRY(add_marker(r, r->chat->system.open, false));
        INL_TRY(add_words(r, *system, false));
        INL_TRY(add_marker(r, r->chat->system.close, false));
    }
    INL_TRY(add_marker(r, t->lead, supervised));
    INL_TRY(add_words(r, words, supervised));
    INL_TRY(add_marker(r, t->close, supervised));
    return add_marker(r, t->tail, false);
}

static bool is_role(inl_slice role, const char *name)
{
    return role.size == strlen(name) && memcmp(role.data, name, role.size) == 0;
}

inlay_result inl_chat_render(const inl_env *env, const inl_chat *chat, int32_t bos, int32_t eos,
                             const inl_chat_message *messages, size_t count, const char *file,
                             uint64_t line, inl_chat_text *text)
{
    renderer r = {.env = env, .chat = chat, .bos = bos, .eos = eos, .text = text};
    const inl_slice *system = NULL; // waits for the user's turn
    text->size = 0;
    text->count = 0;
    for (size_t i = 0; i < count; i++) {
        const inl_chat_message *m = &messages[i];
        if (is_role(m->role, "system") && chat->system_in_user && !system) {
            system = &m->content;
        } else if (is_role(m->role, "system") && !chat->system_in_user) {
            INL_TRY(add_turn(&r, &chat->system, NULL, m->content, false));
        } else if (is_role(m->role, "user")) {
            INL_TRY(add_turn(&r, &chat->user, system, m->content, false));
            system = NULL;
        } else if (is_role(m->role, "assistant") && !system) {
            INL_TRY(add_turn(&r, &chat->assistant, NULL, m->content, true));
        } else if (is_role(m->role, "system") || is_role(m->role, "assistant")) {
            break; // a system message waits
        } else {
            return inl_fail(env, INLAY_ERROR_BAD_FILE,
                            "%s line %llu: message %zu has the role \"%.*s\" (known: system, user, "
                            "assistant)",
                            file, (unsigned long long)line, i + 1, (int)INL_MIN(m->role.size, 64),
                            m->role.data);
        }
    }
    if (system)
        return inl_fail(env, INLAY_ERROR_BAD_FILE,
                        "%s line %llu: the template %s needs a user's message right after the "
                        "system message",
                        file, (unsigned long long)line, chat->name);
    return INLAY_OK;
}
