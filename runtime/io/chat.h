// SPDX-License-Identifier: MIT
// Chat templates: messages to one text in spans, each marked as the template's or a speaker's
// words, and as supervised (what the assistant says and the marker that ends its turn) or not.
// The names and markers are those of the models' own Jinja templates; what these do beyond turns
// (dates, tools, a default system message) is left out.
#ifndef INL_IO_CHAT_H
#define INL_IO_CHAT_H

#include "io/gguf.h"

typedef struct inl_chat inl_chat;

typedef struct inl_chat_message {
    inl_slice role; // "system", "user", "assistant"
    inl_slice content;
} inl_chat_message;

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

// `name`, or if NULL the one the model's Jinja text is recognised as. An unknown name, an
// unrecognised or missing Jinja is INLAY_ERROR_UNSUPPORTED, listing what can be chosen.
inlay_result inl_chat_choose(const inl_env *env, const char *name, const char *jinja,
                             const inl_chat **out);
const char *inl_chat_name(const inl_chat *chat);
// A token the vocabulary should have if it is to work as the model's makers meant; NULL: none.
const char *inl_chat_marker(const inl_chat *chat);

// Replaces what is in `text`. bos, eos: token ids, -1 for none. `file` and `line` are for messages:
// an unknown role or a system message without a place is INLAY_ERROR_BAD_FILE.
inlay_result inl_chat_render(const inl_env *env, const inl_chat *chat, int32_t bos, int32_t eos,
                             const inl_chat_message *messages, size_t count, const char *file,
                             uint64_t line, inl_chat_text *text);
void inl_chat_text_free(const inl_env *env, inl_chat_text *text);

#endif
