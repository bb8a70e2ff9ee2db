// SPDX-License-Identifier: MIT
// Conversations as the tokens a model answers to.
#ifndef INLAY_CHAT_H
#define INLAY_CHAT_H

#include <inlay/model.h>

INLAY_BEGIN

typedef struct inlay_chat_params {
    const char *chat_template; // as in inlay_dataset_params
    const char *tools;         // a JSON list, for templates that write tools; NULL: none
    const char *options;       // a JSON object of what the template asks for: {"enable_thinking":
                               // false}; NULL: nothing
    bool no_generation_prompt; // the text ends with the last message, not where an answer begins
    int64_t local_time;        // as in inlay_dataset_params
} inlay_chat_params;

// `messages` is a JSON list as OpenAI writes them: [{"role": "user", "content": "Hi"}]. Special
// tokens in it are text. With a model's own template the ids are those of transformers'
// apply_chat_template. *count holds the room in `ids` and becomes the number of ids;
// INVALID_ARGUMENT when that is larger than the room (call with room 0 and ids NULL to learn it).
// Thread-safe.
// Other errors: BAD_FILE (no such list, or the template does not take it), UNSUPPORTED (unknown
// template: says what can be chosen).
INLAY_API inlay_result inlay_chat_tokenize(const inlay_model *model, const char *messages,
                                           const inlay_chat_params *params, int32_t *ids,
                                           size_t *count);

INLAY_END

#endif
