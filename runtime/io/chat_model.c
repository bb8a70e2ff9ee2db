// SPDX-License-Identifier: MIT
#include "io/chat_model.h"

#include "io/jinja.h"

#include <stdio.h>
#include <string.h>

#define LONGEST_MARKER 64 // bytes of a token like <|im_end|>
#define LEARNED 1         // of a byte: part of what is learned
#define TOKEN 2           // of a byte: part of a special token in an answer's words

struct inl_model_chat {
    inl_env env;
    const inl_tokenizer *tokenizer;
    const inl_named_chat *like;
    inl_jinja *jinja;
    json_t *specials;
    char *choices;
    int64_t now;
    inl_slice eos;
    char *opening; // what begins an assistant's turn and is not learned; NULL: not known yet
    size_t opening_size;
};

// One rendering, and what is known of its bytes.
typedef struct rendering {
    inl_model_chat *chat;
    const inl_chat_input *input;
    inl_jinja_output out;
    uint8_t *marks; // (out.size)
    int32_t late_end; // to be learned behind the text; -1: none
} rendering;

// ---- opening and closing

// Nothing where there is no such token.
static bool put_token(json_t *out, const char *key, const inl_tokenizer *tokenizer, int32_t id)
{
    inl_slice text = inl_tokenizer_text(tokenizer, id);
    return text.size == 0 ||
           json_object_set_new(out, key, json_stringn(text.data, text.size)) == 0;
}

// NULL: out of memory.
static json_t *specials_of(const inl_tokenizer *tokenizer)
{
    const inl_tokenizer_info *info = inl_tokenizer_get_info(tokenizer);
    json_t *out = json_object();
    if (put_token(out, "bos_token", tokenizer, info->bos) &&
        put_token(out, "eos_token", tokenizer, info->eos))
        return out;
    json_decref(out);
    return NULL;
}

inlay_result inl_model_chat_open(const inl_env *env, const inl_tokenizer *tokenizer,
                                 const char *jinja, const inl_named_chat *like, const char *choices,
                                 int64_t now, inl_model_chat **out)
{
    char error[400] = "";
    *out = NULL;
    inl_model_chat *chat = inl_alloc(env, 1, sizeof(*chat));
    if (!chat)
        return INLAY_ERROR_OUT_OF_MEMORY;
    *chat = (inl_model_chat){.env = *env, .tokenizer = tokenizer, .like = like, .now = now};
    chat->eos = inl_tokenizer_text(tokenizer, inl_tokenizer_get_info(tokenizer)->eos);
    chat->choices = inl_strdup(env, choices);
    chat->specials = specials_of(tokenizer);
    inlay_result result = chat->choices && chat->specials ? INLAY_OK : INLAY_ERROR_OUT_OF_MEMORY;
    if (result == INLAY_OK)
        result = inl_jinja_open(env, jinja, strlen(jinja), &chat->jinja, error, sizeof(error));
    *out = chat;
    if (result == INLAY_ERROR_UNSUPPORTED)
        inl_fail(env, result, "the model's chat template cannot be read (%s); choose one of %s",
                 error, choices);
    if (result != INLAY_OK)
        inl_model_chat_close(out);
    return result;
}

void inl_model_chat_close(inl_model_chat **handle)
{
    inl_model_chat *chat = *handle;
    *handle = NULL;
    if (!chat)
        return;
    inl_env env = chat->env;
    inl_jinja_close(&chat->jinja);
    json_decref(chat->specials);
    inl_free(&env, chat->choices);
    inl_free(&env, chat->opening);
    inl_free(&env, chat);
}

// ---- rendering

static inlay_result run(inl_model_chat *chat, const inl_chat_input *input, const json_t *messages,
                        bool prompt, inl_jinja_output *out, char *error, size_t room)
{
    inl_jinja_input in = {.messages = messages,
                          .tools = input->tools,
                          .options = input->options,
                          .specials = chat->specials,
                          .add_generation_prompt = prompt,
                          .now = chat->now};
    return inl_jinja_render(chat->jinja, &in, out, error, room);
}

static inlay_result render(rendering *r)
{
    char error[400] = "";
    inl_model_chat *chat = r->chat;
    inlay_result result =
        run(chat, r->input, r->input->messages, r->input->prompt, &r->out, error, sizeof(error));
    if (result == INLAY_ERROR_BAD_FILE)
        return inl_feed_fail(r->input->source, result,
                             "the model's chat template does not take the record: %s", error);
    if (result == INLAY_ERROR_UNSUPPORTED)
        return inl_fail(&chat->env, result,
                        "the model's chat template needs what is not supported (%s); choose one "
                        "of %s",
                        error, chat->choices);
    return result;
}

// ---- where an assistant's turn begins

static inlay_result keep_opening(inl_model_chat *chat, const char *text, size_t size)
{
    inl_free(&chat->env, chat->opening);
    chat->opening_size = size;
    chat->opening = inl_strndup(&chat->env, text, size);
    return chat->opening ? INLAY_OK : INLAY_ERROR_OUT_OF_MEMORY;
}

static size_t shared(const char *a, size_t a_size, const char *b, size_t b_size)
{
    size_t n = 0;
    while (n < a_size && n < b_size && a[n] == b[n])
        n++;
    return n;
}

// The record's first messages, as a new list; NULL: out of memory.
static json_t *first_messages(const inl_chat_input *input, size_t count)
{
    json_t *list = json_array();
    int failed = list ? 0 : -1;
    for (size_t i = 0; i < count && !failed; i++)
        failed = json_array_append(list, json_array_get(input->messages, i));
    if (!failed)
        return list;
    json_decref(list);
    return NULL;
}

// What the generation prompt adds to the messages before `count`. A template that does not take
// these on their own, or has no prompt, leaves it to the named template it is like.
static inlay_result find_opening(rendering *r, size_t count)
{
    inl_model_chat *chat = r->chat;
    inl_jinja_output without = {0};
    inl_jinja_output with = {0};
    char error[400];
    json_t *before = first_messages(r->input, count);
    if (!before)
        return INLAY_ERROR_OUT_OF_MEMORY;
    inlay_result result = run(chat, r->input, before, false, &without, error, sizeof(error));
    if (result == INLAY_OK)
        result = run(chat, r->input, before, true, &with, error, sizeof(error));
    size_t same = result == INLAY_OK ? shared(without.text, without.size, with.text, with.size) : 0;
    const char *named = chat->like ? inl_named_chat_opening(chat->like) : "";
    bool found = result == INLAY_OK && with.size > same;
    result = result == INLAY_ERROR_OUT_OF_MEMORY ? result
             : found ? keep_opening(chat, with.text + same, with.size - same)
                     : keep_opening(chat, named, strlen(named));
    inl_jinja_output_free(&chat->env, &without);
    inl_jinja_output_free(&chat->env, &with);
    json_decref(before);
    return result;
}

static bool begins_with(const char *text, size_t size, const char *what, size_t what_size)
{
    return size >= what_size && memcmp(text, what, what_size) == 0;
}

// The byte behind the opening in a turn of `size` bytes of which `head` are the template's before
// any word; SIZE_MAX: it is not there.
static size_t skip_opening(const inl_model_chat *chat, const char *turn, size_t size, size_t head)
{
    const char *opening = chat->opening;
    size_t length = chat->opening_size;
    if (begins_with(turn, size, opening, length))
        return length;
    if (head == 0) // after a tool's answer, in some
        return 0;
    for (size_t at = 1; at < head && length > 0; at++) // something stands before it
        if (begins_with(turn + at, head - at, opening, length))
            return at + length;
    // The prompt may go on with what a turn that is over leaves out, like an open thought.
    size_t same = shared(turn, head, opening, length);
    return same > 0 && same == head ? same : SIZE_MAX;
}

// ---- where it ends

static bool is_blank(char c)
{
    return c == ' ' || (c >= '\t' && c <= '\r');
}

// Whether `text` is a token like <|im_end|> of the vocabulary.
static bool is_marker(const inl_model_chat *chat, const char *text, size_t size)
{
    char marker[LONGEST_MARKER + 1];
    if (size < 3 || size > LONGEST_MARKER || !strchr("<[", text[0]) ||
        !strchr(">]", text[size - 1]) || memchr(text, '\0', size))
        return false;
    memcpy(marker, text, size);
    marker[size] = '\0';
    return inl_tokenizer_find(chat->tokenizer, marker) >= 0;
}

// Whether the text ends with a token of the vocabulary that is no ordinary word.
static bool ends_with_token(const inl_model_chat *chat, const char *text, size_t size)
{
    if (chat->eos.size > 0 && size >= chat->eos.size &&
        memcmp(text + size - chat->eos.size, chat->eos.data, chat->eos.size) == 0)
        return true;
    for (size_t length = INL_MIN(size, LONGEST_MARKER); length > 2; length--)
        if (is_marker(chat, text + size - length, length))
            return true;
    return false;
}

// A turn in the text: [start, end), the first and the last word of the speaker's in it.
typedef struct turn {
    size_t start, end, first_word, last_word;
} turn;

// The turn that begins with a piece: *next is the first piece behind it.
static turn turn_at(const rendering *r, size_t piece, size_t *next)
{
    const inl_jinja_piece *p = r->out.pieces;
    turn t = {.start = p[piece].start};
    size_t message = p[piece].message;
    bool words = false;
    size_t i = piece;
    for (; i < r->out.count && p[i].message == message; i++) {
        t.end = p[i].start + p[i].size;
        if (!p[i].from_data)
            continue;
        t.first_word = words ? t.first_word : p[i].start;
        t.last_word = t.end;
        words = true;
    }
    if (!words)
        t.first_word = t.last_word = t.end;
    *next = i;
    return t;
}

static inlay_result not_known(const rendering *r, const char *what)
{
    return inl_fail(&r->chat->env, INLAY_ERROR_UNSUPPORTED,
                    "the model's chat template is not recognised, and %s; choose one of %s", what,
                    r->chat->choices);
}

// The token at which generation ends that the text begins with; -1: none.
static int32_t end_token_at(const inl_model_chat *chat, const char *text, size_t size)
{
    const inl_tokenizer_info *info = inl_tokenizer_get_info(chat->tokenizer);
    for (uint32_t i = 0; i < info->end_count; i++) {
        inl_slice token = inl_tokenizer_text(chat->tokenizer, info->ends[i]);
        if (token.size > 0 && begins_with(text, size, token.data, token.size))
            return info->ends[i];
    }
    return -1;
}

// The token that ends the answer `message` (from 1) where another turn follows: a tool's behind a
// call, else a user's. -1: it is none at which generation ends, or the template takes no such turn.
static inlay_result end_before_next(const rendering *r, size_t message, int32_t *id)
{
    char error[400];
    inl_model_chat *chat = r->chat;
    inl_jinja_output out = {0};
    const json_t *answer = json_array_get(r->input->messages, message - 1);
    bool calls = json_array_size(json_object_get(answer, "tool_calls")) > 0;
    json_t *longer = first_messages(r->input, message);
    json_t *next = json_pack("{s:s, s:s}", "role", calls ? "tool" : "user", "content", "x");
    bool made = json_array_append_new(longer, next) == 0; // takes `next` also where it fails
    inlay_result result = made ? run(chat, r->input, longer, false, &out, error, sizeof(error))
                               : INLAY_ERROR_OUT_OF_MEMORY;
    *id = -1;
    for (size_t i = 0; result == INLAY_OK && i < out.count; i++)
        if (out.pieces[i].message == message + 1) {
            size_t start = out.pieces[i].start;
            *id = end_token_at(chat, out.text + start, out.size - start);
            break;
        }
    inl_jinja_output_free(&chat->env, &out);
    json_decref(longer);
    return result == INLAY_ERROR_OUT_OF_MEMORY ? result : INLAY_OK;
}

// Of an answer that only the next turn's first token ends, like GLM's <|user|>: generation stops
// there, so it is learned, and if the text is over is put behind it.
static inlay_result find_late_end(rendering *r, turn t, size_t message, size_t *end)
{
    const inl_model_chat *chat = r->chat;
    int32_t id = end_token_at(chat, r->out.text + t.end, r->out.size - t.end);
    *end = t.end;
    if (id >= 0) {
        *end += inl_tokenizer_text(chat->tokenizer, id).size;
        return INLAY_OK;
    }
    INL_TRY(end_before_next(r, message, &id));
    if (id < 0)
        return not_known(r, "no token of the vocabulary ends the assistant's turn in it");
    if (t.end == r->out.size && !r->input->prompt)
        r->late_end = id;
    return INLAY_OK;
}

// A turn's end without the blanks behind its last marker; the end marker that the template writes
// only when the next turn begins is taken too.
static inlay_result find_end(rendering *r, turn t, size_t message, size_t from, size_t *end)
{
    const inl_model_chat *chat = r->chat;
    const char *text = r->out.text;
    bool words = t.first_word < t.end;
    size_t least = INL_MAX(words ? t.last_word : from, from);
    *end = INL_MAX(t.end, from);
    while (*end > least && is_blank(text[*end - 1]))
        --*end;
    if (*end == least && chat->eos.size > 0 &&
        begins_with(text + *end, r->out.size - *end, chat->eos.data, chat->eos.size))
        *end += chat->eos.size;
    else if (*end == least) // blanks are all there is to end it
        *end = INL_MAX(t.end, from);
    if (!chat->like && !ends_with_token(chat, text + least, *end - least))
        return find_late_end(r, t, message, end);
    return INLAY_OK;
}

static bool holds(const char *text, size_t size, const char *what, size_t what_size)
{
    for (size_t at = 0; at + what_size <= size; at++)
        if (memcmp(text + at, what, what_size) == 0)
            return true;
    return false;
}

// Special tokens in the assistant's own words count (a thought, a call), but for those that begin
// or end a turn: an answer must not close itself.
static void mark_tokens(rendering *r, turn t, size_t from, size_t end)
{
    const inl_model_chat *chat = r->chat;
    const char *text = r->out.text;
    inl_slice late = inl_tokenizer_text(chat->tokenizer, r->late_end);
    for (size_t at = INL_MAX(from, t.first_word); at < t.last_word; at++) {
        if (text[at] != '<' && text[at] != '[')
            continue;
        size_t most = INL_MIN(t.last_word - at, LONGEST_MARKER);
        for (size_t size = most; size > 2; size--) {
            const char *token = text + at;
            if (!is_marker(chat, token, size) ||
                holds(chat->opening, chat->opening_size, token, size) ||
                holds(chat->eos.data, chat->eos.size, token, size) ||
                holds(late.data, late.size, token, size) ||
                holds(text + t.last_word, end - INL_MIN(end, t.last_word), token, size))
                continue;
            for (size_t i = 0; i < size; i++)
                r->marks[at + i] |= TOKEN;
            at += size - 1;
            break;
        }
    }
}

static void mark_learned(rendering *r, size_t start, size_t end)
{
    for (size_t i = start; i < end; i++)
        r->marks[i] |= LEARNED;
}

static inlay_result mark_turn(rendering *r, turn t, size_t message)
{
    const char *text = r->out.text + t.start;
    size_t size = t.end - t.start;
    size_t head = t.first_word - t.start;
    if (!r->chat->opening)
        INL_TRY(find_opening(r, message - 1));
    size_t skip = skip_opening(r->chat, text, size, head);
    if (skip == SIZE_MAX) { // tools, options or the place may change it
        INL_TRY(find_opening(r, message - 1));
        skip = skip_opening(r->chat, text, size, head);
    }
    if (!r->chat->like && (skip == SIZE_MAX || r->chat->opening_size == 0))
        return not_known(r, "its generation prompt does not begin the assistant's turn");
    if (skip == SIZE_MAX)
        skip = head;
    size_t end;
    INL_TRY(find_end(r, t, message, t.start + skip, &end));
    mark_learned(r, t.start + skip, end);
    mark_tokens(r, t, t.start + skip, end);
    return INLAY_OK;
}

static bool is_answer(const rendering *r, size_t message)
{
    const json_t *m = json_array_get(r->input->messages, message - 1);
    const char *role = json_string_value(json_object_get(m, "role"));
    return inl_chat_learns(r->input, message - 1) && role &&
           (strcmp(role, "assistant") == 0 || strcmp(role, "model") == 0);
}

// By the pieces' messages. An answer that has words none of which are written is no error, but
// answers of which nothing is seen are.
static inlay_result mark_turns(rendering *r)
{
    size_t answers = 0, seen = 0;
    for (size_t i = 0, next; i < r->out.count; i = next) {
        size_t message = r->out.pieces[i].message;
        turn t = turn_at(r, i, &next);
        if (message == 0 || !is_answer(r, message))
            continue;
        seen++;
        INL_TRY(mark_turn(r, t, message));
    }
    for (size_t i = 1; i <= json_array_size(r->input->messages); i++)
        answers += is_answer(r, i);
    if (answers > 0 && seen == 0)
        return inl_fail(&r->chat->env, INLAY_ERROR_UNSUPPORTED,
                        "the model's chat template does not show where the assistant speaks; "
                        "choose one of %s",
                        r->chat->choices);
    return INLAY_OK;
}

static void mark_generated(rendering *r)
{
    for (size_t i = 0; i < r->out.count; i++) {
        const inl_jinja_piece *p = &r->out.pieces[i];
        if (p->generated && (p->message == 0 || inl_chat_learns(r->input, p->message - 1)))
            mark_learned(r, p->start, p->start + p->size);
    }
}

// ---- spans

static inlay_result add_spans(rendering *r, inl_chat_text *text)
{
    const inl_jinja_piece *pieces = r->out.pieces;
    size_t start = 0, piece = 0;
    for (size_t at = 0; at < r->out.size;) {
        bool marker = !pieces[piece].from_data || (r->marks[at] & TOKEN);
        uint8_t marks = r->marks[at];
        while (at < r->out.size && r->marks[at] == marks) {
            if ((!pieces[piece].from_data || (marks & TOKEN)) != marker)
                break;
            at++;
            piece += piece + 1 < r->out.count && at == pieces[piece].start + pieces[piece].size;
        }
        INL_TRY(inl_chat_text_add(&r->chat->env, text, r->out.text + start, at - start, marker,
                                  marks & LEARNED));
        start = at;
    }
    return INLAY_OK;
}

inlay_result inl_model_chat_render(inl_model_chat *chat, const inl_chat_input *input,
                                   inl_chat_text *text)
{
    rendering r = {.chat = chat, .input = input, .late_end = -1};
    INL_TRY(render(&r));
    inlay_result result = INLAY_OK;
    r.marks = inl_alloc(&chat->env, r.out.size + 1, 1);
    if (!r.marks)
        result = INLAY_ERROR_OUT_OF_MEMORY;
    else if (inl_jinja_has_generation(chat->jinja))
        mark_generated(&r);
    else
        result = mark_turns(&r);
    if (result == INLAY_OK)
        result = add_spans(&r, text);
    if (result == INLAY_OK && r.late_end >= 0)
        result = inl_chat_text_add_token(&chat->env, text, r.late_end, true);
    inl_free(&chat->env, r.marks);
    inl_jinja_output_free(&chat->env, &r.out);
    return result;
}
