// SPDX-License-Identifier: MIT
#include "io/conversation.h"

#include <string.h>
#include <strings.h>

#define ALPACA_WITH_INPUT                                                                          \
    "Below is an instruction that describes a task, paired with an input that provides further "   \
    "context. Write a response that appropriately completes the request."

void inl_conversation_free(inl_conversation *c)
{
    json_decref(c->messages);
    json_decref(c->tools);
    json_decref(c->options);
    *c = (inl_conversation){0};
}

static inlay_result append(json_t *list, json_t *item)
{
    return json_array_append_new(list, item) == 0 ? INLAY_OK : INLAY_ERROR_OUT_OF_MEMORY;
}

static inlay_result add_text(json_t *messages, const char *role, const json_t *text)
{
    return append(messages, json_pack("{s:s, s:O}", "role", role, "content", text));
}

// What is not understood, as "0", false or 0.5, would have the answer learned.
static inlay_result check_weight(const inl_feed *s, const json_t *turn, size_t before)
{
    const json_t *weight = json_object_get(turn, "weight");
    double value = json_number_value(weight); // of what is no number: 0
    if (!weight || json_is_null(weight) || (json_is_number(weight) && (value == 0 || value == 1)))
        return INLAY_OK;
    return inl_feed_fail(s, INLAY_ERROR_BAD_FILE, "the \"weight\" of message %zu is not 0 or 1",
                         before + 1);
}

// Whether it is to be learned goes with what is said.
static inlay_result keep_weight(json_t *messages, const json_t *turn)
{
    json_t *weight = json_object_get(turn, "weight");
    json_t *message = json_array_get(messages, json_array_size(messages) - 1);
    if (!json_is_number(weight))
        return INLAY_OK;
    return json_object_set(message, "weight", weight) ? INLAY_ERROR_OUT_OF_MEMORY : INLAY_OK;
}

// ---- messages in OpenAI's form

static bool is_content(const json_t *message)
{
    const json_t *content = json_object_get(message, "content");
    if (!content || json_is_null(content))
        return json_array_size(json_object_get(message, "tool_calls")) > 0 ||
               json_is_object(json_object_get(message, "function_call"));
    return json_is_string(content) || json_is_array(content);
}

static void name_reasoning(json_t *message)
{
    static const char *const names[] = {"reasoning_content", "thinking", "reasoning"};
    json_t *reasoning = NULL;
    for (size_t i = 0; i < INL_COUNT(names) && !reasoning; i++)
        reasoning = json_object_get(message, names[i]);
    if (!reasoning)
        return;
    json_incref(reasoning);
    if (!json_object_get(message, "thinking"))
        json_object_set(message, "thinking", reasoning);
    json_object_set(message, "reasoning_content", reasoning);
    json_decref(reasoning);
}

static json_t *call_of(json_t *function)
{
    return json_pack("{s:s, s:O}", "type", "function", "function", function);
}

// OpenAI's older way to say a call and its result: as templates read it today.
static inlay_result name_calls(json_t *message)
{
    json_t *function = json_object_get(message, "function_call");
    const char *role = json_string_value(json_object_get(message, "role"));
    int failed = strcmp(role, "function") == 0
                     ? json_object_set_new(message, "role", json_string("tool"))
                     : 0;
    if (json_is_object(function) && !json_object_get(message, "tool_calls"))
        failed |= json_object_set_new(message, "tool_calls", json_pack("[o]", call_of(function)));
    json_object_del(message, "function_call");
    return failed ? INLAY_ERROR_OUT_OF_MEMORY : INLAY_OK;
}

// What is null might as well not be there, and templates ask whether it is; but for the content of
// a call, which some of them ask whether it is none.
static bool is_kept(const char *key, const json_t *value)
{
    return !json_is_null(value) || strcmp(key, "content") == 0;
}

// A message of the file, checked, as a new one.
static inlay_result add_message(const inl_feed *s, const json_t *message, json_t *messages)
{
    if (!json_is_string(json_object_get(message, "role")) || !is_content(message))
        return inl_feed_fail(s, INLAY_ERROR_BAD_FILE,
                             "message %zu has no string \"role\" or \"content\"",
                             json_array_size(messages) + 1);
    INL_TRY(check_weight(s, message, json_array_size(messages)));
    json_t *copy = json_object();
    inlay_result result = copy ? INLAY_OK : INLAY_ERROR_OUT_OF_MEMORY;
    const char *key;
    json_t *value;
    json_object_foreach((json_t *)message, key, value)
    {
        if (result == INLAY_OK && is_kept(key, value) && json_object_set(copy, key, value) != 0)
            result = INLAY_ERROR_OUT_OF_MEMORY;
    }
    if (result == INLAY_OK)
        result = name_calls(copy);
    if (result != INLAY_OK) {
        json_decref(copy);
        return result;
    }
    name_reasoning(copy);
    return append(messages, copy);
}

// ---- messages in ShareGPT's form

typedef struct speaker {
    const char *from, *role;
} speaker;

static const speaker speakers[] = {
    {"human", "user"},          {"user", "user"},         {"gpt", "assistant"},
    {"assistant", "assistant"}, {"chatgpt", "assistant"}, {"bing", "assistant"},
    {"bard", "assistant"},      {"model", "assistant"},   {"system", "system"},
    {"tool", "tool"},           {"observation", "tool"},  {"function_response", "tool"},
    {"function_call", "calls"}, {"tool_call", "calls"},
};

static const char *role_of(const char *from)
{
    for (size_t i = 0; i < INL_COUNT(speakers); i++)
        if (strcasecmp(speakers[i].from, from) == 0)
            return speakers[i].role;
    return NULL;
}

// A value that is a call, or a list of calls, as JSON text.
static inlay_result add_calls(const inl_feed *s, const char *text, json_t *messages)
{
    json_t *value = json_loads(text, 0, NULL);
    json_t *calls = json_array();
    size_t count = json_is_array(value) ? json_array_size(value) : 1;
    inlay_result result = value && calls ? INLAY_OK : INLAY_ERROR_BAD_FILE;
    for (size_t i = 0; i < count && result == INLAY_OK; i++) {
        json_t *one = json_is_array(value) ? json_array_get(value, i) : value;
        bool named = json_is_string(json_object_get(one, "name"));
        result = named ? append(calls, call_of(one)) : INLAY_ERROR_BAD_FILE;
    }
    if (result == INLAY_OK)
        result = append(messages, json_pack("{s:s, s:s, s:O}", "role", "assistant", "content", "",
                                            "tool_calls", calls));
    json_decref(value);
    json_decref(calls);
    if (result == INLAY_ERROR_BAD_FILE)
        return inl_feed_fail(s, result,
                             "turn %zu is a call, but its value is not the JSON of "
                             "a \"name\" and \"arguments\"",
                             json_array_size(messages) + 1);
    return result;
}

static inlay_result add_turn(const inl_feed *s, const json_t *turn, json_t *messages)
{
    const json_t *from = json_object_get(turn, "from");
    const json_t *value = json_object_get(turn, "value");
    if (!from && json_object_get(turn, "role"))
        return add_message(s, turn, messages);
    if (!json_is_string(from) || !json_is_string(value))
        return inl_feed_fail(s, INLAY_ERROR_BAD_FILE,
                             "turn %zu has no string \"from\" or \"value\"",
                             json_array_size(messages) + 1);
    const char *role = role_of(json_string_value(from));
    if (!role)
        return inl_feed_fail(s, INLAY_ERROR_BAD_FILE,
                             "turn %zu is from \"%.64s\" (known: human, gpt, system, tool, "
                             "function_call, observation)",
                             json_array_size(messages) + 1, json_string_value(from));
    INL_TRY(check_weight(s, turn, json_array_size(messages)));
    INL_TRY(strcmp(role, "calls") == 0 ? add_calls(s, json_string_value(value), messages)
                                       : add_text(messages, role, value));
    return keep_weight(messages, turn);
}

// ---- records

static bool is_given(const json_t *value)
{
    return value && !json_is_null(value) && !(json_is_string(value) && !json_string_length(value));
}

// "tools": a list, or the JSON of one.
static inlay_result read_tools(const inl_feed *s, const json_t *record, inl_conversation *c)
{
    json_t *tools = json_object_get(record, "tools");
    if (!is_given(tools))
        return INLAY_OK;
    c->tools =
        json_is_string(tools) ? json_loads(json_string_value(tools), 0, NULL) : json_incref(tools);
    if (!json_is_array(c->tools))
        return inl_feed_fail(s, INLAY_ERROR_BAD_FILE, "\"tools\" is not a list");
    for (size_t i = 0; i < json_array_size(c->tools); i++)
        if (!json_is_object(json_array_get(c->tools, i)))
            return inl_feed_fail(s, INLAY_ERROR_BAD_FILE, "entry %zu of \"tools\" is not an object",
                                 i + 1);
    if (json_array_size(c->tools) == 0) {
        json_decref(c->tools);
        c->tools = NULL;
    }
    return INLAY_OK;
}

static inlay_result read_options(const inl_feed *s, const json_t *record, inl_conversation *c)
{
    json_t *options = json_object_get(record, "chat_template_kwargs");
    if (!is_given(options))
        return INLAY_OK;
    if (!json_is_object(options))
        return inl_feed_fail(s, INLAY_ERROR_BAD_FILE, "\"chat_template_kwargs\" is not an object");
    c->options = json_incref(options);
    return INLAY_OK;
}

static inlay_result add_list(const inl_feed *s, const json_t *record, const char *key,
                             json_t *messages)
{
    const json_t *list = json_object_get(record, key);
    if (!json_is_array(list) || json_array_size(list) == 0)
        return inl_feed_fail(s, INLAY_ERROR_BAD_FILE, "\"%s\" is not a list of messages", key);
    bool turns = strcmp(key, "conversations") == 0;
    for (size_t i = 0; i < json_array_size(list); i++) {
        const json_t *item = json_array_get(list, i);
        INL_TRY(turns ? add_turn(s, item, messages) : add_message(s, item, messages));
    }
    return INLAY_OK;
}

static bool begins_with_system(const json_t *list)
{
    const json_t *first = json_array_get(list, 0);
    const char *role = json_string_value(json_object_get(first, "role"));
    const char *from = json_string_value(json_object_get(first, "from"));
    return (role && strcmp(role, "system") == 0) || (from && strcasecmp(from, "system") == 0);
}

// A record's "system" stands before its messages.
static inlay_result add_system(const inl_feed *s, const json_t *record, json_t *messages)
{
    const json_t *system = json_object_get(record, "system");
    if (!is_given(system))
        return INLAY_OK;
    if (!json_is_string(system))
        return inl_feed_fail(s, INLAY_ERROR_BAD_FILE, "\"system\" is not a string");
    return add_text(messages, "system", system);
}

// After it `out` is the caller's to free, on failure too.
static inlay_result start(const inl_feed *s, const json_t *record, inl_conversation *out)
{
    *out = (inl_conversation){.messages = json_array()};
    if (!out->messages)
        return INLAY_ERROR_OUT_OF_MEMORY;
    INL_TRY(read_tools(s, record, out));
    return read_options(s, record, out);
}

inlay_result inl_conversation_read(const inl_feed *source, const json_t *record, const char *key,
                                   inl_conversation *out)
{
    INL_TRY(start(source, record, out));
    if (!begins_with_system(json_object_get(record, key)))
        INL_TRY(add_system(source, record, out->messages));
    return add_list(source, record, key, out->messages);
}

inlay_result inl_conversation_read_pair(const inl_feed *source, const json_t *record,
                                        inl_conversation *out)
{
    INL_TRY(start(source, record, out));
    if (!begins_with_system(json_object_get(record, "prompt")))
        INL_TRY(add_system(source, record, out->messages));
    INL_TRY(add_list(source, record, "prompt", out->messages));
    out->learn_from = json_array_size(out->messages);
    return add_list(source, record, "completion", out->messages);
}

static inlay_result text_of(const inl_feed *s, const json_t *record, const char *key, bool optional,
                            inl_slice *out)
{
    const json_t *text = json_object_get(record, key);
    *out = (inl_slice){.data = "", .size = 0};
    if (optional && !is_given(text))
        return INLAY_OK;
    *out = (inl_slice){.data = json_string_value(text), .size = json_string_length(text)};
    if (out->data)
        return INLAY_OK;
    return inl_feed_fail(s, INLAY_ERROR_BAD_FILE, "\"%s\" is not a string", key);
}

// Turns before this one: [[question, answer], ...].
static inlay_result add_history(const inl_feed *s, const json_t *record, json_t *messages)
{
    const json_t *history = json_object_get(record, "history");
    if (!is_given(history))
        return INLAY_OK;
    if (!json_is_array(history))
        return inl_feed_fail(s, INLAY_ERROR_BAD_FILE, "\"history\" is not a list");
    for (size_t i = 0; i < json_array_size(history); i++) {
        const json_t *question = json_array_get(json_array_get(history, i), 0);
        const json_t *answer = json_array_get(json_array_get(history, i), 1);
        if (!json_is_string(question) || !json_is_string(answer))
            return inl_feed_fail(s, INLAY_ERROR_BAD_FILE,
                                 "\"history\" entry %zu is not a question and an answer", i + 1);
        INL_TRY(add_text(messages, "user", question));
        INL_TRY(add_text(messages, "assistant", answer));
    }
    return INLAY_OK;
}

inlay_result inl_conversation_read_alpaca(const inl_feed *source, const json_t *record,
                                          bool alpaca_prompt, inl_conversation *out)
{
    inl_slice instruction, input, output;
    INL_TRY(start(source, record, out));
    json_t *messages = out->messages;
    INL_TRY(text_of(source, record, "instruction", false, &instruction));
    INL_TRY(text_of(source, record, "input", true, &input));
    INL_TRY(text_of(source, record, "output", false, &output));
    INL_TRY(add_system(source, record, messages));
    if (input.size > 0 && alpaca_prompt && json_array_size(messages) == 0)
        INL_TRY(append(messages,
                       json_pack("{s:s, s:s}", "role", "system", "content", ALPACA_WITH_INPUT)));
    INL_TRY(add_history(source, record, messages));
    const char *between = input.size == 0 ? "" : alpaca_prompt ? "\n\n### Input:\n" : "\n";
    INL_TRY(append(messages, json_pack("{s:s, s:s%++%}", "role", "user", "content",
                                       instruction.data, (size_t)instruction.size, between,
                                       input.data, (size_t)input.size)));
    return append(messages, json_pack("{s:s, s:s%}", "role", "assistant", "content", output.data,
                                      (size_t)output.size));
}
