// SPDX-License-Identifier: MIT
#include "io/records.h"

#include "io/chat.h"
#include "io/conversation.h"
#include "io/encode.h"
#include "io/feed.h"

#include <jansson.h>
#include <stdio.h>
#include <string.h>

typedef struct reader reader;

// One way to write records.
typedef struct record_format {
    const char *name;
    const char *keys[2]; // a record of this kind has them
    bool lists;          // the first key's value is a list
    bool chat;           // a chat template is needed
    inlay_result (*read)(reader *r, const json_t *object);
} record_format;

// One reading of a file.
struct reader {
    const inl_env *env;
    const inl_tokenizer *tokenizer;
    const inl_tokenizer_info *model;
    const inl_dataset_params *params;
    const char *name;
    inl_feed source;
    const record_format *format;
    inl_corpus *corpus;
    // Conversations alone.
    inl_chat *chat;
    inl_chat_text chat_text;
    inl_text_part *parts;
    size_t part_cap;
    inl_ids whole;
};

static inlay_result push_token(reader *r, int32_t token, bool supervised)
{
    size_t marked = r->corpus->tokens.count;
    if (token < 0)
        return INLAY_OK;
    INL_TRY(inl_ids_push(r->env, &r->corpus->tokens, token));
    return inl_corpus_mark(r->env, r->corpus, marked, supervised);
}

static inlay_result push_bos(reader *r)
{
    return r->model->add_bos ? push_token(r, r->model->bos, false) : INLAY_OK;
}

// Whether a text has the token written out at its start, or at its end.
static bool has_token(const reader *r, const char *text, size_t size, int32_t id, bool at_end)
{
    inl_slice token = inl_tokenizer_text(r->tokenizer, id);
    return token.size > 0 && token.size <= size &&
           memcmp(at_end ? text + size - token.size : text, token.data, token.size) == 0;
}

// Text that was rendered before it came here may bring its BOS and EOS along: once is enough.
static inlay_result push_text_bos(reader *r, const char *text, size_t size)
{
    return has_token(r, text, size, r->model->bos, false) ? INLAY_OK : push_bos(r);
}

static inlay_result push_text_eos(reader *r, const char *text, size_t size)
{
    if (r->params->no_eos || has_token(r, text, size, r->model->eos, true))
        return INLAY_OK;
    return push_token(r, r->model->eos, true);
}

static inlay_result push_parts(reader *r, const inl_text_part *parts, size_t count, bool supervised,
                               inl_place *place)
{
    size_t marked = r->corpus->tokens.count;
    INL_TRY(inl_encode_parts(r->env, r->tokenizer, parts, count, place, &r->corpus->tokens));
    return inl_corpus_mark(r->env, r->corpus, marked, supervised);
}

// Special tokens written in it are tokens, as in a prompt of `inlay generate`.
static inlay_result push_text(reader *r, const char *text, size_t size, bool supervised,
                              inl_place *place)
{
    inl_text_part part = {.text = text, .size = size, .parse_special = true};
    return push_parts(r, &part, 1, supervised, place);
}

// Closes the sequence that began at `start`: cuts it to max_length, drops it if nothing is learned.
static inlay_result end_sequence(reader *r, size_t start)
{
    inl_corpus *c = r->corpus;
    size_t count = c->tokens.count - start;
    inl_sequence s = {.start = start, .record = c->records - 1};
    s.count = (uint32_t)INL_MIN(count, r->params->max_length);
    s.cut = count - s.count;
    for (uint32_t i = 1; i < s.count; i++) // the first token is predicted from nothing
        s.supervised += c->supervised[start + i];
    c->tokens.count = start + s.count;
    if (s.supervised > 0)
        return inl_corpus_push(r->env, c, s);
    c->tokens.count = start;
    c->dropped++;
    return INLAY_OK;
}

// A member that must be a string.
static inlay_result get_string(const reader *r, const json_t *object, const char *key,
                               const json_t **out)
{
    *out = json_object_get(object, key);
    if (json_is_string(*out))
        return INLAY_OK;
    return inl_feed_fail(&r->source, INLAY_ERROR_BAD_FILE, "\"%s\" is not a string", key);
}

static inlay_result read_text(reader *r, const json_t *object)
{
    const json_t *text;
    inl_place place = INL_PLACE_START;
    INL_TRY(get_string(r, object, "text", &text));
    size_t size = json_string_length(text);
    INL_TRY(push_text_bos(r, json_string_value(text), size));
    INL_TRY(push_text(r, json_string_value(text), size, true, &place));
    return push_text_eos(r, json_string_value(text), size);
}

// The completion goes on where the prompt ends: SentencePiece puts no space between them.
static inlay_result read_pair(reader *r, const json_t *object)
{
    const json_t *prompt;
    const json_t *completion;
    inl_place place = INL_PLACE_START;
    INL_TRY(get_string(r, object, "prompt", &prompt));
    INL_TRY(get_string(r, object, "completion", &completion));
    size_t size = json_string_length(completion);
    INL_TRY(push_text_bos(r, json_string_value(prompt), json_string_length(prompt)));
    INL_TRY(push_text(r, json_string_value(prompt), json_string_length(prompt), false, &place));
    INL_TRY(push_text(r, json_string_value(completion), size, true, &place));
    INL_TRY(push_text_eos(r, json_string_value(completion), size));
    if (r->params->no_records)
        return INLAY_OK;
    return inl_corpus_add_pair(r->env, r->corpus, json_string_value(prompt),
                               json_string_value(completion));
}

// ---- conversations

// Spans of one kind in a row are read as one text.
static inlay_result push_spans(reader *r)
{
    const inl_chat_text *text = &r->chat_text;
    inl_place place = INL_PLACE_START;
    for (size_t i = 0, start = 0; i < text->count; i++) {
        bool supervised = text->spans[i].supervised;
        if (i + 1 < text->count && text->spans[i + 1].supervised == supervised)
            continue;
        INL_TRY(push_parts(r, r->parts + start, i + 1 - start, supervised, &place));
        start = i + 1;
    }
    return INLAY_OK;
}

// Tokens that the first `count` parts make on their own and as the beginning of the whole.
static inlay_result shared_tokens(reader *r, size_t count, inl_ids *scratch, size_t *shared)
{
    inl_place place = INL_PLACE_START;
    scratch->count = 0;
    INL_TRY(inl_encode_parts(r->env, r->tokenizer, r->parts, count, &place, scratch));
    size_t most = INL_MIN(scratch->count, r->whole.count);
    for (*shared = 0; *shared < most; ++*shared)
        if (scratch->data[*shared] != r->whole.data[*shared])
            break;
    return INLAY_OK;
}

// The whole's tokens in place of the pieces'. A token across a seam is learned.
static inlay_result take_whole(reader *r, size_t first, inl_ids *scratch)
{
    const inl_chat_text *text = &r->chat_text;
    size_t done = 0;
    r->corpus->tokens.count = first;
    for (size_t i = 0; i < text->count; i++) {
        bool supervised = text->spans[i].supervised;
        size_t end = r->whole.count;
        if (i + 1 < text->count && text->spans[i + 1].supervised == supervised)
            continue;
        if (i + 1 < text->count)
            INL_TRY(shared_tokens(r, i + 1, scratch, &end));
        end += supervised && end < r->whole.count && i + 1 < text->count &&
               end < scratch->count; // the whole goes on differently: a token across the seam
        for (; done < end; done++)
            INL_TRY(push_token(r, r->whole.data[done], supervised));
    }
    return INLAY_OK;
}

// The tokens are those of the whole text. Where they end at each seam between what is learned and
// what is not, as they nearly always do, the pieces say which is which.
static inlay_result push_chat(reader *r)
{
    const inl_chat_text *text = &r->chat_text;
    size_t first = r->corpus->tokens.count;
    inl_place place = INL_PLACE_START;
    INL_TRY(inl_grow(r->env, (void **)&r->parts, &r->part_cap, text->count, sizeof(*r->parts)));
    for (size_t i = 0; i < text->count; i++)
        r->parts[i] = inl_chat_part(text, &text->spans[i]);
    INL_TRY(push_spans(r));
    r->whole.count = 0;
    INL_TRY(inl_encode_parts(r->env, r->tokenizer, r->parts, text->count, &place,
                             &r->whole));
    size_t count = r->corpus->tokens.count - first;
    if (count == r->whole.count &&
        (count == 0 || memcmp(r->corpus->tokens.data + first, r->whole.data,
                              count * sizeof(*r->whole.data)) == 0))
        return INLAY_OK;
    inl_ids scratch = {0};
    inlay_result result = take_whole(r, first, &scratch);
    inl_free(r->env, scratch.data);
    return result;
}

// A conversation through the chat template. Takes what is in `c`.
static inlay_result push_conversation(reader *r, inl_conversation *c, inlay_result result)
{
    if (result == INLAY_OK) {
        const inl_chat_input input = {.messages = c->messages,
                                      .tools = c->tools,
                                      .options = c->options,
                                      .learn_from = c->learn_from,
                                      .source = &r->source};
        result = inl_chat_render(r->chat, &input, &r->chat_text);
    }
    inl_conversation_free(c);
    INL_TRY(result);
    if (inl_chat_wants_bos(r->chat) && !inl_chat_begins_with(&r->chat_text, r->model->bos))
        INL_TRY(push_bos(r));
    return push_chat(r);
}

static inlay_result read_messages(reader *r, const json_t *object)
{
    inl_conversation c;
    inlay_result result = inl_conversation_read(&r->source, object, r->format->keys[0], &c);
    return push_conversation(r, &c, result);
}

static inlay_result read_message_pair(reader *r, const json_t *object)
{
    inl_conversation c;
    inlay_result result = inl_conversation_read_pair(&r->source, object, &c);
    return push_conversation(r, &c, result);
}

static inlay_result read_alpaca(reader *r, const json_t *object)
{
    inl_conversation c;
    bool is_alpaca = strcmp(inl_chat_name(r->chat), "alpaca") == 0;
    inlay_result result = inl_conversation_read_alpaca(&r->source, object, is_alpaca, &c);
    return push_conversation(r, &c, result);
}

// ---- tokens

// An item of a list of integers as long as the ids; `otherwise` where there is no list.
static bool get_integer(const json_t *list, size_t index, json_int_t otherwise, json_int_t *out)
{
    const json_t *item = json_array_get(list, index);
    *out = list ? json_integer_value(item) : otherwise;
    return !list || json_is_integer(item);
}

static inlay_result read_id(reader *r, const json_t *object, size_t index)
{
    json_int_t id, label, mask;
    if (!get_integer(json_object_get(object, "input_ids"), index, 0, &id) ||
        !get_integer(json_object_get(object, "labels"), index, id, &label) ||
        !get_integer(json_object_get(object, "attention_mask"), index, 1, &mask))
        return inl_feed_fail(&r->source, INLAY_ERROR_BAD_FILE,
                             "entry %zu of the token lists is no integer", index + 1);
    if (mask == 0) // padding
        return INLAY_OK;
    if (id < 0 || id >= r->model->vocab)
        return inl_feed_fail(&r->source, INLAY_ERROR_BAD_FILE,
                             "token %zu is %lld, but there are %u tokens", index + 1, (long long)id,
                             r->model->vocab);
    if (label != -100 && label != id)
        return inl_feed_fail(&r->source, INLAY_ERROR_BAD_FILE,
                             "label %zu is %lld, but the token there is %lld (labels repeat the "
                             "tokens, or are -100)",
                             index + 1, (long long)label, (long long)id);
    return push_token(r, (int32_t)id, label != -100);
}

static inlay_result read_ids(reader *r, const json_t *object)
{
    static const char *const keys[] = {"input_ids", "labels", "attention_mask"};
    size_t count = json_array_size(json_object_get(object, "input_ids"));
    for (size_t i = 0; i < INL_COUNT(keys); i++) {
        const json_t *list = json_object_get(object, keys[i]);
        if (list && (!json_is_array(list) || json_array_size(list) != count))
            return inl_feed_fail(&r->source, INLAY_ERROR_BAD_FILE,
                                 "\"%s\" is not a list of %zu integers", keys[i], count);
    }
    for (size_t i = 0; i < count; i++)
        INL_TRY(read_id(r, object, i));
    return INLAY_OK;
}

// ---- any record

// From special to general.
static const record_format formats[] = {
    {"tokens", {"input_ids"}, true, false, read_ids},
    {"messages", {"messages"}, false, true, read_messages},
    {"conversations", {"conversations"}, false, true, read_messages},
    {"prompt-completion messages", {"prompt", "completion"}, true, true, read_message_pair},
    {"prompt-completion", {"prompt", "completion"}, false, false, read_pair},
    {"instruction-output", {"instruction", "output"}, false, true, read_alpaca},
    {"text", {"text"}, false, false, read_text},
};

static bool is_format(const json_t *object, const record_format *format)
{
    for (size_t i = 0; i < INL_COUNT(format->keys); i++)
        if (format->keys[i] && !json_object_get(object, format->keys[i]))
            return false;
    return !format->lists || json_is_array(json_object_get(object, format->keys[0]));
}

static inlay_result choose_chat(reader *r)
{
    const char *name = r->params->chat_template;
    if (!name && !r->model->chat_template && strcmp(r->format->name, "instruction-output") == 0)
        name = "alpaca"; // what such records were made for
    INL_TRY(inl_chat_open(r->env, r->tokenizer, name, r->params->now, &r->chat));
    const char *marker = inl_chat_marker(r->chat);
    if (marker && inl_tokenizer_find(r->tokenizer, marker) < 0)
        inl_logf(r->env, INLAY_LOG_WARN,
                 "the model has no token %s, which its chat template needs: it is spelled out",
                 marker);
    return INLAY_OK;
}

// The record's keys, for a message.
static void list_keys(const json_t *object, char *out, size_t room)
{
    const char *key;
    json_t *value;
    out[0] = '\0';
    json_object_foreach((json_t *)object, key, value)
    {
        size_t size = strlen(out);
        snprintf(out + size, room - size, "%s\"%.24s\"", size ? ", " : "", key);
    }
}

// A message of a tree of them (OpenAssistant's), not of a conversation, would be read as a text.
static void warn_of_messages(const reader *r, const json_t *object)
{
    static const char *const signs[] = {"role", "parent_id"};
    for (size_t i = 0; i < INL_COUNT(signs) && r->format->read == read_text; i++)
        if (json_object_get(object, signs[i])) {
            inl_logf(r->env, INLAY_LOG_WARN,
                     "%s %s has a \"%s\" beside its \"text\": it is learned as a text of its own, "
                     "not as a message of a conversation",
                     r->name, r->source.place, signs[i]);
            return;
        }
}

static inlay_result choose_format(reader *r, const json_t *object)
{
    for (size_t i = 0; i < INL_COUNT(formats) && !r->format; i++)
        if (is_format(object, &formats[i]))
            r->format = &formats[i];
    if (!r->format) {
        char keys[160];
        list_keys(object, keys, sizeof(keys));
        return inl_feed_fail(&r->source, INLAY_ERROR_BAD_FILE,
                             "the record has neither \"text\" nor \"prompt\" and "
                             "\"completion\" nor \"messages\" nor \"conversations\" nor "
                             "\"instruction\" and \"output\" nor \"input_ids\"; it has %s",
                             keys[0] ? keys : "nothing");
    }
    snprintf(r->corpus->format, sizeof(r->corpus->format), "%s", r->format->name);
    warn_of_messages(r, object);
    if (r->format->chat)
        return choose_chat(r);
    if (!r->params->no_eos && r->model->eos < 0 && r->format->read != read_ids)
        inl_logf(r->env, INLAY_LOG_WARN,
                 "%s: the model has no end-of-sequence token, so none is added", r->name);
    return INLAY_OK;
}

static inlay_result other_format(reader *r)
{
    const char *second = r->format->keys[1];
    return inl_feed_fail(&r->source, INLAY_ERROR_BAD_FILE,
                         "the record is not like the first one, which has \"%s\"%s%s%s%s",
                         r->format->keys[0], second ? " and \"" : "", second ? second : "",
                         second ? "\"" : "", r->format->lists ? " as lists" : "");
}

static inlay_result read_object(reader *r, const json_t *object)
{
    if (!r->format)
        INL_TRY(choose_format(r, object));
    if (!is_format(object, r->format))
        return other_format(r);
    size_t start = r->corpus->tokens.count;
    r->corpus->records++;
    INL_TRY(r->format->read(r, object));
    return end_sequence(r, start);
}

static inlay_result read_records(reader *r, const char *data, uint64_t size, inl_data_kind kind)
{
    INL_TRY(inl_feed_open(r->env, r->name, data, size, kind, &r->source));
    for (;;) {
        json_t *object;
        INL_TRY(inl_feed_next(&r->source, &object));
        if (!object)
            break;
        inlay_result result = read_object(r, object);
        json_decref(object);
        INL_TRY(result);
    }
    if (r->corpus->records == 0)
        return inl_fail(r->env, INLAY_ERROR_BAD_FILE, "%s holds no record", r->name);
    return INLAY_OK;
}

// One stream of tokens, cut every max_length tokens.
static inlay_result read_txt(reader *r, const char *data, uint64_t size)
{
    inl_corpus *c = r->corpus;
    inl_place place = INL_PLACE_START;
    snprintf(c->format, sizeof(c->format), "txt");
    c->records = 1;
    INL_TRY(push_text_bos(r, data, size));
    INL_TRY(push_text(r, data, size, true, &place));
    for (size_t start = 0; start + 1 < c->tokens.count;) { // a single token teaches nothing
        inl_sequence s = {.start = start};
        s.count = (uint32_t)INL_MIN(c->tokens.count - start, r->params->max_length);
        s.supervised = s.count - 1;
        INL_TRY(inl_corpus_push(r->env, c, s));
        start += s.count;
    }
    if (c->count == 0)
        return inl_fail(r->env, INLAY_ERROR_BAD_FILE, "%s holds no text to train on", r->name);
    return INLAY_OK;
}

static inlay_result report(const reader *r)
{
    const inl_corpus *c = r->corpus;
    uint64_t sequences = 0;
    uint64_t tokens = 0;
    for (size_t i = 0; i < c->count; i++) {
        sequences += c->sequences[i].cut > 0;
        tokens += c->sequences[i].cut;
    }
    if (c->count == 0)
        return inl_fail(r->env, INLAY_ERROR_BAD_FILE,
                        "%s: no record has a token to learn within %u tokens", r->name,
                        r->params->max_length);
    if (sequences > 0)
        inl_logf(r->env, INLAY_LOG_WARN,
                 "%s: %llu of %zu sequences are longer than %u tokens; %llu tokens were cut off",
                 r->name, (unsigned long long)sequences, c->count, r->params->max_length,
                 (unsigned long long)tokens);
    if (c->dropped > 0)
        inl_logf(r->env, INLAY_LOG_WARN,
                 "%s: %llu of %llu records have no token to learn within %u tokens; left out",
                 r->name, (unsigned long long)c->dropped, (unsigned long long)c->records,
                 r->params->max_length);
    return INLAY_OK;
}

static inlay_result read_stream(reader *r, const char *data, uint64_t size)
{
    bool marked = size >= 3 && memcmp(data, "\xef\xbb\xbf", 3) == 0; // byte order mark
    return read_txt(r, data + (marked ? 3 : 0), size - (marked ? 3 : 0));
}

inlay_result inl_corpus_read(const inl_env *env, const inl_tokenizer *tokenizer, const char *name,
                             const char *data, uint64_t size, inl_data_kind kind,
                             const inl_dataset_params *params, inl_corpus *out)
{
    reader r = {.env = env, .tokenizer = tokenizer, .params = params, .name = name, .corpus = out};
    r.model = inl_tokenizer_get_info(tokenizer);
    *out = (inl_corpus){.max_length = params->max_length};
    inlay_result result =
        kind == INL_DATA_TXT ? read_stream(&r, data, size) : read_records(&r, data, size, kind);
    if (result == INLAY_OK)
        result = report(&r);
    inl_feed_close(&r.source);
    inl_chat_close(&r.chat);
    inl_chat_text_free(env, &r.chat_text);
    inl_free(env, r.parts);
    inl_free(env, r.whole.data);
    if (result != INLAY_OK)
        inl_corpus_free(env, out);
    return result;
}
