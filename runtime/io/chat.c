// SPDX-License-Identifier: MIT
#include "io/chat.h"

#include "io/chat_named.h"

#include <string.h>

struct inl_chat {
    inl_env env;
    const inl_tokenizer *tokenizer;
    const inl_named_chat *named;
};

static inlay_result choose(inl_chat *chat, const char *name, const char *jinja)
{
    char names[256];
    inl_named_chat_list(names, sizeof(names));
    if (name) {
        chat->named = inl_named_chat_find(name);
        if (!chat->named)
            return inl_fail(&chat->env, INLAY_ERROR_UNSUPPORTED,
                            "the chat template \"%.64s\" is unknown (known: %s)", name, names);
        return INLAY_OK;
    }
    if (!jinja)
        return inl_fail(&chat->env, INLAY_ERROR_UNSUPPORTED,
                        "the model has no chat template; choose one of %s", names);
    chat->named = inl_named_chat_recognise(jinja);
    if (!chat->named)
        return inl_fail(&chat->env, INLAY_ERROR_UNSUPPORTED,
                        "the model's chat template is not recognised; choose one of %s", names);
    inl_logf(&chat->env, INLAY_LOG_INFO, "chat template: %s (recognised from the model's)",
             inl_named_chat_name(chat->named));
    return INLAY_OK;
}

inlay_result inl_chat_open(const inl_env *env, const inl_tokenizer *tokenizer, const char *name,
                           inl_chat **out)
{
    *out = NULL;
    inl_chat *chat = inl_alloc(env, 1, sizeof(*chat));
    if (!chat)
        return INLAY_ERROR_OUT_OF_MEMORY;
    chat->env = *env;
    chat->tokenizer = tokenizer;
    inlay_result result = choose(chat, name, inl_tokenizer_get_info(tokenizer)->chat_template);
    *out = chat;
    if (result != INLAY_OK)
        inl_chat_close(out);
    return result;
}

void inl_chat_close(inl_chat **handle)
{
    inl_chat *chat = *handle;
    *handle = NULL;
    if (!chat)
        return;
    inl_env env = chat->env;
    inl_free(&env, chat);
}

const char *inl_chat_name(const inl_chat *chat)
{
    return inl_named_chat_name(chat->named);
}

const char *inl_chat_marker(const inl_chat *chat)
{
    return inl_named_chat_marker(chat->named);
}

bool inl_chat_wants_bos(const inl_chat *chat)
{
    (void)chat;
    return true;
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

inlay_result inl_chat_text_add(const inl_env *env, inl_chat_text *text, const char *data,
                               size_t size, bool marker, bool supervised)
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

inlay_result inl_chat_text_add_token(const inl_env *env, inl_chat_text *text, int32_t token,
                                     bool supervised)
{
    inl_chat_span span = {.start = text->size, .marker = true, .supervised = supervised,
                          .is_token = true, .token = token};
    return add_span(env, text, span);
}

inlay_result inl_chat_render(inl_chat *chat, const inl_chat_input *input, inl_chat_text *text)
{
    const inl_tokenizer_info *info = inl_tokenizer_get_info(chat->tokenizer);
    text->size = 0;
    text->count = 0;
    return inl_named_chat_render(&chat->env, chat->named, info->bos, info->eos, input, text);
}
