// SPDX-License-Identifier: MIT
// Records that are conversations, in whatever form they come, as messages in OpenAI's: what a chat
// template is given. Reasoning gets the names templates read it by, OpenAI's older "function_call"
// becomes "tool_calls"; members that are null go, but for the content of a call.
#ifndef INL_IO_CONVERSATION_H
#define INL_IO_CONVERSATION_H

#include "io/feed.h"

typedef struct inl_conversation {
    json_t *messages; // of objects with a string "role"; owned, as all here
    json_t *tools;    // a list, or NULL
    json_t *options;  // names for the template ("chat_template_kwargs"), or NULL
    size_t learn_from; // answers among the messages from here on are learned
} inl_conversation;

// From a record of "messages", of "conversations", and of a "prompt" and a "completion" that are
// lists. `record` must be an object; what is wrong in it is INLAY_ERROR_BAD_FILE, with its place.
inlay_result inl_conversation_read(const inl_feed *source, const json_t *record, const char *key,
                                   inl_conversation *out);
inlay_result inl_conversation_read_pair(const inl_feed *source, const json_t *record,
                                        inl_conversation *out);
// From "instruction", "input" and "output". alpaca_prompt: the input gets Alpaca's heading and
// opening sentence, else it follows the instruction on a line of its own.
inlay_result inl_conversation_read_alpaca(const inl_feed *source, const json_t *record,
                                          bool alpaca_prompt, inl_conversation *out);
void inl_conversation_free(inl_conversation *conversation);

#endif
