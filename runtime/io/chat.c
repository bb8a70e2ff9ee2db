// SPDX-License-Identifier: MIT
#include "io/chat.h"

#include "io/chat_model.h"

#include <string.h>
#include <time.h>

struct inl_chat {
    inl_env env;
    const inl_tokenizer *tokenizer;
    const inl_named_chat *named; // which it is, or is like; NULL: a model's own that is like none
    inl_model_chat *own;         // NULL: `named` is rendered
    inl_model_chat *with_tools;  // the model's "tool_use", opened when tools first come
    const char *tool_template;   // NULL: `own` is taken with tools too
    int64_t now;
};

static bool is_jinja(const char *name)
{
    return strstr(name, "{%") || strstr(name, "{{");
}

static inlay_result open_jinja(const inl_chat *chat, const char *jinja, const char *whose,
                               const inl_named_chat *like, inl_model_chat **out)
{
    char names[256];
    inl_named_chat_list(names, sizeof(names));
    INL_TRY(inl_model_chat_open(&chat->env, chat->tokenizer, jinja, like, names, chat->now, out));
    inl_logf(&chat->env, INLAY_LOG_INFO, "chat template: the %s%s%s", whose, like ? ", like " : "",
             like ? inl_named_chat_name(like) : "");
    return INLAY_OK;
}

static inlay_result open_own(inl_chat *chat, const char *jinja, const char *whose)
{
    chat->named = inl_named_chat_recognise(jinja);
    return open_jinja(chat, jinja, whose, chat->named, &chat->own);
}

static inlay_result choose(inl_chat *chat, const char *name)
{
    char names[256];
    const inl_tokenizer_info *info = inl_tokenizer_get_info(chat->tokenizer);
    inl_named_chat_list(names, sizeof(names));
    if (name && is_jinja(name))
        return open_own(chat, name, "given one");
    if (name) {
        chat->named = inl_named_chat_find(name);
        if (!chat->named)
            return inl_fail(&chat->env, INLAY_ERROR_UNSUPPORTED,
                            "the chat template \"%.64s\" is unknown (known: %s)", name, names);
        return INLAY_OK;
    }
    if (!info->chat_template)
        return inl_fail(&chat->env, INLAY_ERROR_UNSUPPORTED,
                        "the model has no chat template; choose one of %s", names);
    chat->tool_template = info->tool_template;
    return open_own(chat, info->chat_template, "model's own");
}

inlay_result inl_chat_open(const inl_env *env, const inl_tokenizer *tokenizer, const char *name,
                           int64_t now, inl_chat **out)
{
    *out = NULL;
    inl_chat *chat = inl_alloc(env, 1, sizeof(*chat));
    if (!chat)
        return INLAY_ERROR_OUT_OF_MEMORY;
    chat->env = *env;
    chat->tokenizer = tokenizer;
    chat->now = now ? now : (int64_t)time(NULL);
    inlay_result result = choose(chat, name);
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
    inl_model_chat_close(&chat->own);
    inl_model_chat_close(&chat->with_tools);
    inl_free(&env, chat);
}

const char *inl_chat_name(const inl_chat *chat)
{
    return chat->own ? "the model's own" : inl_named_chat_name(chat->named);
}

const char *inl_chat_marker(const inl_chat *chat)
{
    return chat->named ? inl_named_chat_marker(chat->named) : NULL;
}

bool inl_chat_wants_bos(const inl_chat *chat)
{
    return !chat->own;
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
    inl_chat_span span = {
        .start = text->size, .size = size, .marker = marker, .supervised = supervised};
    text->size += size;
    return add_span(env, text, span);
}

inlay_result inl_chat_text_add_token(const inl_env *env, inl_chat_text *text, int32_t token,
                                     bool supervised)
{
    inl_chat_span span = {.start = text->size,
                          .marker = true,
                          .supervised = supervised,
                          .is_token = true,
                          .token = token};
    return add_span(env, text, span);
}

inlay_result inl_chat_render(inl_chat *chat, const inl_chat_input *input, inl_chat_text *text)
{
    const inl_tokenizer_info *info = inl_tokenizer_get_info(chat->tokenizer);
    text->size = 0;
    text->count = 0;
    if (chat->tool_template && input->tools) {
        if (!chat->with_tools)
            INL_TRY(open_jinja(chat, chat->tool_template, "model's own for tools",
                               inl_named_chat_recognise(chat->tool_template), &chat->with_tools));
        return inl_model_chat_render(chat->with_tools, input, text);
    }
    if (chat->own)
        return inl_model_chat_render(chat->own, input, text);
    return inl_named_chat_render(&chat->env, chat->named, info->bos, info->eos, input, text);
}

bool inl_chat_learns(const inl_chat_input *input, size_t index)
{
    const json_t *weight = json_object_get(json_array_get(input->messages, index), "weight");
    bool none = json_is_number(weight) && json_number_value(weight) == 0.0;
    return index >= input->learn_from && !none;
}

inl_text_part inl_chat_part(const inl_chat_text *text, const inl_chat_span *span)
{
    return (inl_text_part){.text = text->text ? text->text + span->start : NULL,
                           .size = span->size,
                           .parse_special = span->marker,
                           .is_token = span->is_token,
                           .token = span->token};
}

bool inl_chat_begins_with(const inl_chat_text *text, int32_t token)
{
    return text->count > 0 && text->spans[0].is_token && text->spans[0].token == token;
}

static inlay_result encode_text(const inl_chat *chat, const inl_chat_text *text, inl_ids *ids)
{
    const inl_tokenizer_info *info = inl_tokenizer_get_info(chat->tokenizer);
    inl_place place = INL_PLACE_START;
    inl_text_part *parts = inl_alloc(&chat->env, text->count, sizeof(*parts));
    if (!parts)
        return INLAY_ERROR_OUT_OF_MEMORY;
    for (size_t i = 0; i < text->count; i++)
        parts[i] = inl_chat_part(text, &text->spans[i]);
    inlay_result result = INLAY_OK;
    if (inl_chat_wants_bos(chat) && info->add_bos && info->bos >= 0 &&
        !inl_chat_begins_with(text, info->bos))
        result = inl_ids_push(&chat->env, ids, info->bos);
    if (result == INLAY_OK)
        result =
            inl_encode_parts(&chat->env, chat->tokenizer, parts, text->count, &place, ids);
    inl_free(&chat->env, parts);
    return result;
}

inlay_result inl_chat_encode(inl_chat *chat, const inl_chat_input *input, inl_ids *ids)
{
    inl_chat_text text = {0};
    inlay_result result = inl_chat_render(chat, input, &text);
    if (result == INLAY_OK)
        result = encode_text(chat, &text, ids);
    inl_chat_text_free(&chat->env, &text);
    return result;
}
