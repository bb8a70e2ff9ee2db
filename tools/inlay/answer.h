// SPDX-License-Identifier: MIT
// Continuing a prompt as text: ids in, bytes out, cut where characters end.
#ifndef ANSWER_H
#define ANSWER_H

#include "cli.h"

// Ids of `size` bytes. Allocated; NULL after a failure.
int32_t *answer_tokenize(const inlay_model *model, const char *text, size_t size,
                         const inlay_tokenize_params *params, size_t *count);
// A prompt's ids, with BOS in front where the model wants it. Allocated; NULL after a failure.
int32_t *answer_ids(const inlay_model *model, const char *text, bool parse_special, size_t *count);

// Called with whole UTF-8 characters; bytes that never become one come with the next whole one.
// False ends the answer.
typedef bool (*answer_sink)(void *user, const char *bytes, size_t size);

typedef struct answer_params {
    uint32_t max_tokens;
    inlay_sample_params sample;
    bool at_start; // nothing stands before the answer: its leading SentencePiece space is dropped
} answer_params;

// How it went: of clock_seconds(), when the first two tokens and the last one were there. What lies
// between the first two holds what is done once for all further ones.
typedef struct answer_stats {
    uint32_t tokens;
    double first, second, last;
} answer_stats;

// Ends early on a signal (interrupt.h).
inlay_result answer_stream(const inlay_model *model, inlay_generator *generator, const int32_t *ids,
                           size_t count, const answer_params *params, answer_sink sink, void *user,
                           answer_stats *stats);
// The same as one allocated text.
inlay_result answer_text(const inlay_model *model, inlay_generator *generator, const int32_t *ids,
                         size_t count, const answer_params *params, char **text);

#endif
