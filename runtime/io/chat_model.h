// SPDX-License-Identifier: MIT
// A model's own chat template, rendered by the interpreter of jinja.h exactly as transformers does.
// What the assistant says is found by where the loop over the messages stood when a piece was
// written: its turn, without what the generation prompt writes, up to the marker that ends it.
// Where that is the next turn's first token and generation stops there (GLM's <|user|>), it is
// learned too, and put behind an answer that ends the text.
// {% generation %} blocks say it themselves, to the byte, as transformers' mask has it. Part of
// chat.c.
#ifndef INL_IO_CHAT_MODEL_H
#define INL_IO_CHAT_MODEL_H

#include "io/chat_named.h"

typedef struct inl_model_chat inl_model_chat;

// `like`: the named template it resembles, or NULL; one that is like none must show where an
// assistant's turn begins and end it with a token of the vocabulary, or it is UNSUPPORTED.
// `choices` is what to say then.
inlay_result inl_model_chat_open(const inl_env *env, const inl_tokenizer *tokenizer,
                                 const char *jinja, const inl_named_chat *like,
                                 const char *choices, int64_t now, inl_model_chat **out);
void inl_model_chat_close(inl_model_chat **chat);
// Appends to `text`.
inlay_result inl_model_chat_render(inl_model_chat *chat, const inl_chat_input *input,
                                   inl_chat_text *text);

#endif
