// SPDX-License-Identifier: MIT
#include "io/records.h"

#include "io/chat.h"
#include "io/encode.h"

#include <jansson.h>
#include <stdio.h>
#include <string.h>

typedef enum record_format {
    FORMAT_UNKNOWN,
    FORMAT_TEXT,
    FORMAT_PAIR,
    FORMAT_MESSAGES,
} record_format;

static const char *const format_names[] = {"", "text", "prompt-completion", "messages"};
static const char *const format_keys[] = {"", "\"text\"", "\"prompt\" and \"completion\"",
                                          "\"messages\""};

// One reading of a file.
typedef struct reader {
    const inl_env *env;
    const inl_tokenizer *tokenizer;
    const inl_tokenizer_info *model;
    const inl_dataset_params *params;
    const char *name;
    uint64_t line; // counted from 1
    record_format format;
    inl_corpus *corpus;
    uint64_t dropped; // records without a supervised token
    // Messages alone.
    const inl_chat *chat;
    inl_chat_text chat_text;
    inl_chat_message *messages;
    size_t message_cap;
    inl_text_part *parts;
    size_t part_cap;
} reader;

static inlay_result bad_record(const reader *r, const char *what)
{
    return inl_fail(r->env, INLAY_ERROR_BAD_FILE, "%s line %llu: %s", r->name,
                    (unsigned long long)r->line, what);
}

void inl_corpus_free(const inl_env *env, inl_corpus *corpus)
{
    inl_free(env, corpus->tokens.data);
    inl_free(env, corpus->supervised);
    inl_free(env, corpus->sequences);
    inl_free(env, corpus->pairs);
    inl_free(env, corpus->texts);
    *corpus = (inl_corpus){0};
}

static inlay_result add_string(const inl_env *env, inl_corpus *corpus, const char *text,
                               size_t *offset)
{
    size_t size = strlen(text) + 1;
    INL_TRY(inl_grow(env, (void **)&corpus->texts, &corpus->text_cap, corpus->text_size + size, 1));
    memcpy(corpus->texts + corpus->text_size, text, size);
    *offset = corpus->text_size;
    corpus->text_size += size;
    return INLAY_OK;
}

inlay_result inl_corpus_add_pair(const inl_env *env, inl_corpus *corpus, const char *prompt,
                                 const char *completion)
{
    inl_text_pair pair;
    INL_TRY(add_string(env, corpus, prompt, &pair.prompt));
    INL_TRY(add_string(env, corpus, completion, &pair.completion));
    INL_TRY(inl_grow(env, (void **)&corpus->pairs, &corpus->pair_cap, corpus->pair_count + 1,
                     sizeof(*corpus->pairs)));
    corpus->pairs[corpus->pair_count++] = pair;
    return INLAY_OK;
}

static inlay_result push_sequence(const inl_env *env, inl_corpus *corpus, inl_sequence sequence)
{
    INL_TRY(inl_grow(env, (void **)&corpus->sequences, &corpus->cap, corpus->count + 1,
                     sizeof(*corpus->sequences)));
    corpus->sequences[corpus->count++] = sequence;
    return INLAY_OK;
}

// Marks the tokens from `marked` on that have no mark yet.
static inlay_result mark_tokens(const inl_env *env, inl_corpus *corpus, size_t marked,
                                bool supervised)
{
    size_t count = corpus->tokens.count;
    INL_TRY(inl_grow(env, (void **)&corpus->supervised, &corpus->supervised_cap, count, 1));
    if (count > marked)
        memset(corpus->supervised + marked, supervised, count - marked);
    return INLAY_OK;
}

inlay_result inl_corpus_add(const inl_env *env, inl_corpus *corpus, const inl_sequence *sequence,
                            const int32_t *tokens, const uint8_t *supervised)
{
    inl_sequence copy = *sequence;
    copy.start = corpus->tokens.count;
    for (uint32_t i = 0; i < sequence->count; i++)
        INL_TRY(inl_ids_push(env, &corpus->tokens, tokens[i]));
    INL_TRY(mark_tokens(env, corpus, copy.start, false));
    memcpy(corpus->supervised + copy.start, supervised, sequence->count);
    return push_sequence(env, corpus, copy);
}

static inlay_result push_token(reader *r, int32_t token, bool supervised)
{
    size_t marked = r->corpus->tokens.count;
    if (token < 0)
        return INLAY_OK;
    INL_TRY(inl_ids_push(r->env, &r->corpus->tokens, token));
    return mark_tokens(r->env, r->corpus, marked, supervised);
}

static inlay_result push_bos(reader *r)
{
    return r->model->add_bos ? push_token(r, r->model->bos, false) : INLAY_OK;
}

static inlay_result push_parts(reader *r, const inl_text_part *parts, size_t count, bool supervised,
                               bool *after_special)
{
    size_t marked = r->corpus->tokens.count;
    INL_TRY(inl_encode_parts(r->env, r->tokenizer, parts, count, after_special,
                             &r->corpus->tokens));
    return mark_tokens(r->env, r->corpus, marked, supervised);
}

static inlay_result push_text(reader *r, const char *text, size_t size, bool supervised,
                              bool *after_special)
{
    inl_text_part part = {.text = text, .size = size};
    return push_parts(r, &part, 1, supervised, after_special);
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
        return push_sequence(r->env, c, s);
    c->tokens.count = start;
    r->dropped++;
    return INLAY_OK;
}

// A member that must be a string.
static inlay_result get_string(const reader *r, const json_t *object, const char *key,
                               const json_t **out)
{
    *out = json_object_get(object, key);
    if (json_is_string(*out))
        return INLAY_OK;
    return inl_fail(r->env, INLAY_ERROR_BAD_FILE, "%s line %llu: \"%s\" is not a string", r->name,
                    (unsigned long long)r->line, key);
}

static inlay_result read_text(reader *r, const json_t *object)
{
    const json_t *text;
    bool after_special = true;
    INL_TRY(get_string(r, object, "text", &text));
    INL_TRY(push_bos(r));
    INL_TRY(push_text(r, json_string_value(text), json_string_length(text), true, &after_special));
    return r->params->no_eos ? INLAY_OK : push_token(r, r->model->eos, true);
}

// The completion goes on where the prompt ends: SentencePiece puts no space between them.
static inlay_result read_pair(reader *r, const json_t *object)
{
    const json_t *prompt;
    const json_t *completion;
    bool after_special = true;
    INL_TRY(get_string(r, object, "prompt", &prompt));
    INL_TRY(get_string(r, object, "completion", &completion));
    INL_TRY(push_bos(r));
    INL_TRY(push_text(r, json_string_value(prompt), json_string_length(prompt), false,
                      &after_special));
    INL_TRY(push_text(r, json_string_value(completion), json_string_length(completion), true,
                      &after_special));
    if (!r->params->no_eos)
        INL_TRY(push_token(r, r->model->eos, true));
    return inl_corpus_add_pair(r->env, r->corpus, json_string_value(prompt),
                               json_string_value(completion));
}

static inlay_result get_message(reader *r, const json_t *message, size_t index,
                                inl_chat_message *out)
{
    const json_t *role = json_object_get(message, "role"); // NULL if it is no object
    const json_t *content = json_object_get(message, "content");
    if (!json_is_string(role) || !json_is_string(content))
        return inl_fail(r->env, INLAY_ERROR_BAD_FILE,
                        "%s line %llu: message %zu has no string \"role\" or \"content\"", r->name,
                        (unsigned long long)r->line, index + 1);
    out->role = (inl_slice){json_string_value(role), json_string_length(role)};
    out->content = (inl_slice){json_string_value(content), json_string_length(content)};
    return INLAY_OK;
}

static inlay_result render_messages(reader *r, const json_t *messages)
{
    size_t count = json_array_size(messages);
    INL_TRY(inl_grow(r->env, (void **)&r->messages, &r->message_cap, count, sizeof(*r->messages)));
    for (size_t i = 0; i < count; i++)
        INL_TRY(get_message(r, json_array_get(messages, i), i, &r->messages[i]));
    return inl_chat_render(r->env, r->chat, r->model->bos, r->model->eos, r->messages, count,
                           r->name, r->line, &r->chat_text);
}

static inl_text_part part_of(const inl_chat_text *text, const inl_chat_span *span)
{
    return (inl_text_part){.text = text->text ? text->text + span->start : NULL,
                           .size = span->size, .parse_special = span->marker,
                           .is_token = span->is_token, .token = span->token};
}

// Spans of one kind in a row are read as one text, or tokens would end where the template's do.
static inlay_result push_spans(reader *r)
{
    const inl_chat_text *text = &r->chat_text;
    bool after_special = true;
    INL_TRY(inl_grow(r->env, (void **)&r->parts, &r->part_cap, text->count, sizeof(*r->parts)));
    for (size_t i = 0; i < text->count;) {
        bool supervised = text->spans[i].supervised;
        size_t count = 0;
        for (; i < text->count && text->spans[i].supervised == supervised; i++)
            r->parts[count++] = part_of(text, &text->spans[i]);
        INL_TRY(push_parts(r, r->parts, count, supervised, &after_special));
    }
    return INLAY_OK;
}

static inlay_result read_messages(reader *r, const json_t *object)
{
    const json_t *messages = json_object_get(object, "messages");
    if (!json_is_array(messages) || json_array_size(messages) == 0)
        return bad_record(r, "\"messages\" is not a list of messages");
    INL_TRY(render_messages(r, messages));
    const inl_chat_text *text = &r->chat_text;
    bool has_bos = text->count > 0 && text->spans[0].is_token &&
                   text->spans[0].token == r->model->bos;
    if (!has_bos)
        INL_TRY(push_bos(r));
    return push_spans(r);
}

static bool has_keys(const json_t *object, record_format format)
{
    if (format == FORMAT_MESSAGES)
        return json_object_get(object, "messages");
    if (format == FORMAT_PAIR)
        return json_object_get(object, "prompt") && json_object_get(object, "completion");
    return json_object_get(object, "text");
}

static record_format recognise(const json_t *object)
{
    static const record_format formats[] = {FORMAT_MESSAGES, FORMAT_PAIR, FORMAT_TEXT};
    for (size_t i = 0; i < INL_COUNT(formats); i++)
        if (has_keys(object, formats[i]))
            return formats[i];
    return FORMAT_UNKNOWN;
}

static inlay_result choose_chat(reader *r)
{
    INL_TRY(inl_chat_choose(r->env, r->params->chat_template, r->model->chat_template, &r->chat));
    const char *marker = inl_chat_marker(r->chat);
    if (marker && inl_tokenizer_find(r->tokenizer, marker) < 0)
        inl_logf(r->env, INLAY_LOG_WARN,
                 "the model has no token %s: the markers of the template %s are spelled out",
                 marker, inl_chat_name(r->chat));
    return INLAY_OK;
}

static inlay_result choose_format(reader *r, const json_t *object)
{
    r->format = recognise(object);
    if (r->format == FORMAT_UNKNOWN)
        return bad_record(r, "the record has neither \"text\" nor \"prompt\" and \"completion\" "
                             "nor \"messages\"");
    snprintf(r->corpus->format, sizeof(r->corpus->format), "%s", format_names[r->format]);
    if (r->format == FORMAT_MESSAGES)
        return choose_chat(r);
    if (!r->params->no_eos && r->model->eos < 0)
        inl_logf(r->env, INLAY_LOG_WARN,
                 "%s: the model has no end-of-sequence token, so none is added", r->name);
    return INLAY_OK;
}

static inlay_result read_object(reader *r, const json_t *object)
{
    if (!json_is_object(object))
        return bad_record(r, "the record is not a JSON object");
    if (r->format == FORMAT_UNKNOWN)
        INL_TRY(choose_format(r, object));
    if (!has_keys(object, r->format))
        return inl_fail(r->env, INLAY_ERROR_BAD_FILE,
                        "%s line %llu: the record is not like the first one, which has %s", r->name,
                        (unsigned long long)r->line, format_keys[r->format]);
    size_t start = r->corpus->tokens.count;
    r->corpus->records++;
    if (r->format == FORMAT_TEXT)
        INL_TRY(read_text(r, object));
    else if (r->format == FORMAT_PAIR)
        INL_TRY(read_pair(r, object));
    else
        INL_TRY(read_messages(r, object));
    return end_sequence(r, start);
}

static inlay_result read_line(reader *r, const char *line, size_t size)
{
    json_error_t error;
    json_t *object = json_loadb(line, size, JSON_REJECT_DUPLICATES, &error);
    if (!object)
        return inl_fail(r->env, INLAY_ERROR_BAD_FILE, "%s line %llu: invalid JSON at byte %d: %s",
                        r->name, (unsigned long long)r->line, error.position, error.text);
    inlay_result result = read_object(r, object);
    json_decref(object);
    return result;
}

static bool is_blank_line(const char *line, size_t size)
{
    for (size_t i = 0; i < size; i++)
        if (line[i] != ' ' && line[i] != '\t' && line[i] != '\r')
            return false;
    return true;
}

static inlay_result read_jsonl(reader *r, const char *data, uint64_t size)
{
    for (uint64_t at = 0; at < size;) {
        const char *line = data + at;
        const char *end = memchr(line, '\n', size - at);
        size_t length = end ? (size_t)(end - line) : size - at;
        r->line++;
        if (!is_blank_line(line, length))
            INL_TRY(read_line(r, line, length));
        at += length + 1;
    }
    if (r->corpus->records == 0)
        return inl_fail(r->env, INLAY_ERROR_BAD_FILE, "%s holds no record", r->name);
    return INLAY_OK;
}

// One stream of tokens, cut every max_length tokens.
static inlay_result read_txt(reader *r, const char *data, uint64_t size)
{
    inl_corpus *c = r->corpus;
    bool after_special = true;
    snprintf(c->format, sizeof(c->format), "txt");
    c->records = 1;
    INL_TRY(push_bos(r));
    INL_TRY(push_text(r, data, size, true, &after_special));
    for (size_t start = 0; start + 1 < c->tokens.count;) { // a single token teaches nothing
        inl_sequence s = {.start = start};
        s.count = (uint32_t)INL_MIN(c->tokens.count - start, r->params->max_length);
        s.supervised = s.count - 1;
        INL_TRY(push_sequence(r->env, c, s));
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
    if (r->dropped > 0)
        inl_logf(r->env, INLAY_LOG_WARN,
                 "%s: %llu of %llu records have no token to learn within %u tokens; left out",
                 r->name, (unsigned long long)r->dropped, (unsigned long long)c->records,
                 r->params->max_length);
    return INLAY_OK;
}

inlay_result inl_corpus_read(const inl_env *env, const inl_tokenizer *tokenizer, const char *name,
                             const char *data, uint64_t size, bool is_jsonl,
                             const inl_dataset_params *params, inl_corpus *out)
{
    reader r = {.env = env, .tokenizer = tokenizer, .params = params, .name = name, .corpus = out};
    r.model = inl_tokenizer_get_info(tokenizer);
    *out = (inl_corpus){.max_length = params->max_length};
    if (size >= 3 && memcmp(data, "\xef\xbb\xbf", 3) == 0) { // byte order mark
        data += 3;
        size -= 3;
    }
    inlay_result result = is_jsonl ? read_jsonl(&r, data, size) : read_txt(&r, data, size);
    if (result == INLAY_OK)
        result = report(&r);
    inl_chat_text_free(env, &r.chat_text);
    inl_free(env, r.messages);
    inl_free(env, r.parts);
    if (result != INLAY_OK)
        inl_corpus_free(env, out);
    return result;
}
