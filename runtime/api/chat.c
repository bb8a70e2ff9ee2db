// SPDX-License-Identifier: MIT
#include "io/chat.h"
#include "api/handles.h"
#include "io/conversation.h"

#include <string.h>

// NULL is no error where there is nothing to read.
static inlay_result read_json(const inl_env *env, const char *what, const char *text, bool list,
                              json_t **out)
{
    json_error_t error;
    *out = text ? json_loads(text, JSON_REJECT_DUPLICATES, &error) : NULL;
    if (!text)
        return INLAY_OK;
    if (!*out)
        return inl_fail(env, INLAY_ERROR_BAD_FILE, "%s: invalid JSON at byte %d: %s", what,
                        error.position, error.text);
    if (list ? json_is_array(*out) : json_is_object(*out))
        return INLAY_OK;
    return inl_fail(env, INLAY_ERROR_BAD_FILE, "%s: this is no JSON %s", what,
                    list ? "list" : "object");
}

// The three texts as a record, which is read as one of a file would be.
static inlay_result read_conversation(const inl_feed *source, const char *messages,
                                      const inlay_chat_params *p, inl_conversation *out)
{
    const inl_env *env = source->input.env;
    json_t *parts[3] = {NULL, NULL, NULL};
    *out = (inl_conversation){0};
    inlay_result result = read_json(env, "messages", messages, true, &parts[0]);
    if (result == INLAY_OK)
        result = read_json(env, "tools", p->tools, true, &parts[1]);
    if (result == INLAY_OK)
        result = read_json(env, "options", p->options, false, &parts[2]);
    json_t *record = json_pack("{s:o*, s:o*, s:o*}", "messages", parts[0], "tools", parts[1],
                               "chat_template_kwargs", parts[2]);
    if (result == INLAY_OK && !record)
        result = INLAY_ERROR_OUT_OF_MEMORY;
    if (result == INLAY_OK)
        result = inl_conversation_read(source, record, "messages", out);
    json_decref(record);
    return result;
}

static inlay_result encode(const inlay_model *model, const char *messages,
                           const inlay_chat_params *p, inl_ids *ids)
{
    const inl_tokenizer *tokenizer = model->model->tokenizer;
    inl_feed source = {.kind = INL_DATA_JSONL, .place = "messages"};
    source.input = (inl_input){.env = &model->env, .name = "the"};
    inl_chat *chat = NULL;
    inl_conversation c;
    inlay_result result = read_conversation(&source, messages, p, &c);
    if (result == INLAY_OK)
        result = inl_chat_open(&model->env, tokenizer, p->chat_template, p->local_time, &chat);
    if (result == INLAY_OK) {
        inl_chat_input input = {.messages = c.messages,
                                .tools = c.tools,
                                .options = c.options,
                                .prompt = !p->no_generation_prompt,
                                .source = &source};
        result = inl_chat_encode(chat, &input, ids);
    }
    inl_chat_close(&chat);
    inl_conversation_free(&c);
    return result;
}

inlay_result inlay_chat_tokenize(const inlay_model *model, const char *messages,
                                 const inlay_chat_params *params, int32_t *ids, size_t *count)
{
    inlay_chat_params p = params ? *params : (inlay_chat_params){0};
    INL_REQUIRE(&model->env, messages != NULL && count != NULL);
    inl_ids encoded = {0};
    inlay_result result = encode(model, messages, &p, &encoded);
    size_t room = *count;
    *count = encoded.count;
    if (result == INLAY_OK && encoded.count > room)
        result = ids || room > 0
                     ? inl_fail(&model->env, INLAY_ERROR_INVALID_ARGUMENT,
                                "%zu tokens do not fit the room for %zu", encoded.count, room)
                     : INLAY_ERROR_INVALID_ARGUMENT;
    if (result == INLAY_OK && ids && encoded.count > 0)
        memcpy(ids, encoded.data, encoded.count * sizeof(*ids));
    inl_free(&model->env, encoded.data);
    return result;
}
