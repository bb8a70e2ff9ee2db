// SPDX-License-Identifier: MIT
// Chat templates that are known by name: turns between markers. What the models' own templates do
// beyond that (dates, tools, thoughts) is left out. Part of chat.c.
#ifndef INL_IO_CHAT_NAMED_H
#define INL_IO_CHAT_NAMED_H

#include "io/chat.h"

typedef struct inl_named_chat inl_named_chat;

// NULL: there is none of that name.
const inl_named_chat *inl_named_chat_find(const char *name);
// What a Jinja text looks like; NULL: nothing known.
const inl_named_chat *inl_named_chat_recognise(const char *jinja);
// All names, with commas.
void inl_named_chat_list(char *out, size_t room);
const char *inl_named_chat_name(const inl_named_chat *chat);
// A token the vocabulary should have if it is to work as the model's makers meant; NULL: none.
const char *inl_named_chat_marker(const inl_named_chat *chat);
// What begins an assistant's turn and is not learned.
const char *inl_named_chat_opening(const inl_named_chat *chat);
// bos, eos: token ids, -1 for none. Appends to `text`.
inlay_result inl_named_chat_render(const inl_env *env, const inl_named_chat *chat, int32_t bos,
                                   int32_t eos, const inl_chat_input *input, inl_chat_text *text);

#endif
