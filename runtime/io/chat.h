// SPDX-License-Identifier: MIT
// Chat templates: messages to one text in spans, each marked as the template's or a speaker's
// words, and as supervised (what the assistant says and the marker that ends its turn) or not.
#ifndef INL_IO_CHAT_H
#define INL_IO_CHAT_H

#include "io/encode.h"
#include "io/feed.h"
#include "io/tokenizer.h"

typedef struct inl_chat inl_chat;

typedef struct inl_chat_input {
    const json_t *messages; // objects with a string "role"
    const json_t *tools;    // a list, or NULL
    const json_t *options;  // an object of more names for the template, or NULL
    size_t learn_from;      // answers among the messages from here on are supervised
    bool prompt;            // the text ends where the assistant's next answer begins
    const inl_feed *source; // whose record it is, for messages
} inl_chat_input;

typedef struct inl_chat_span {
    size_t start, size; // in the text
    bool marker;        // the template's own: special tokens in it count
    bool supervised;
    bool is_token;      // stands for `token`, has no text
    int32_t token;
} inl_chat_span;

// Zero is a valid start; kept from one rendering to the next.
typedef struct inl_chat_text {
    char *text;
    size_t size, cap;
    inl_chat_span *spans;
    size_t count, span_cap;
} inl_chat_text;

// The template called `name` (or written there, in Jinja), or if NULL the model's own. An unknown
// name, and a template that is missing or not known, is INLAY_ERROR_UNSUPPORTED: it lists what can
// be chosen. `now`: seconds since 1970, in local time, for templates that write the date; 0: the
// clock's, in UTC. The tokenizer must outlive the chat.
inlay_result inl_chat_open(const inl_env *env, const inl_tokenizer *tokenizer, const char *name,
                           int64_t now, inl_chat **out);
void inl_chat_close(inl_chat **chat);
// The name, or "the model's own".
const char *inl_chat_name(const inl_chat *chat);
// A token the vocabulary should have if it is to work as the model's makers meant; NULL: none.
const char *inl_chat_marker(const inl_chat *chat);
// Whether a BOS that the model wants and the text does not begin with is to be put before it: not
// before what a model's own template writes, which is what transformers takes, to the token.
bool inl_chat_wants_bos(const inl_chat *chat);

// Replaces what is in `text`. What the template does not take is INLAY_ERROR_BAD_FILE.
inlay_result inl_chat_render(inl_chat *chat, const inl_chat_input *input, inl_chat_text *text);
// Whether an answer there is to be learned: OpenAI's "weight" of 0 says no.
bool inl_chat_learns(const inl_chat_input *input, size_t index);
// What is rendered as tokens, with BOS where it is wanted. Appends to `ids`.
inlay_result inl_chat_encode(inl_chat *chat, const inl_chat_input *input, inl_ids *ids);
// A span as the tokenizer takes it.
inl_text_part inl_chat_part(const inl_chat_text *text, const inl_chat_span *span);
// Whether the text begins with this token.
bool inl_chat_begins_with(const inl_chat_text *text, int32_t token);
void inl_chat_text_free(const inl_env *env, inl_chat_text *text);
inlay_result inl_chat_text_add(const inl_env *env, inl_chat_text *text, const char *data,
                               size_t size, bool marker, bool supervised);
inlay_result inl_chat_text_add_token(const inl_env *env, inl_chat_text *text, int32_t token,
                                     bool supervised);

#endif
