// SPDX-License-Identifier: MIT
// Training text: read, tokenized, packed into rows.
//
// .txt: one stream of tokens cut into rows of max_length. Records come from .jsonl (an object a
// line), .json (an array of objects, or objects in a row), .csv (columns named in the first row),
// each also compressed, with .zst behind it. The first one's keys tell what they are:
// - "text": special tokens written in it are tokens, as in "prompt" and "completion" of strings; a
//   BOS or EOS that it brings along is not added again
// - "prompt" and "completion", strings: loss on the completion alone
// - "messages" as OpenAI writes them, also with "tools"; "conversations" as ShareGPT does ("from",
//   "value"); "prompt" and "completion" as lists of messages: through a chat template, loss on what
//   the assistant says (in the completion)
// - "instruction", "input", "output": a question and an answer through the chat template, or
//   Alpaca's where the model has none
// - "input_ids" and "labels": tokens, and the same tokens or -100 where there is no loss
#ifndef INLAY_DATASET_H
#define INLAY_DATASET_H

#include <inlay/model.h>

INLAY_BEGIN

// Immutable once opened but for inlay_dataset_split, which is to be called before it is used;
// thread-safe to read. A token that is learned is called supervised: it has a loss.
typedef struct inlay_dataset inlay_dataset;

typedef struct inlay_dataset_params {
    uint32_t max_length;  // tokens in a row; 0: the model's context, at most 512
    // "chatml", "llama3", ..., or a template in Jinja; NULL: the model's own, rendered as
    // transformers does. Special tokens in a user's words are text.
    const char *chat_template;
    bool no_packing;      // one sequence a row
    bool no_eos;          // do not end text and completions with the end-of-sequence token
    bool no_records;      // do not keep the texts that inlay_dataset_get_record gives
    // Seconds since 1970 in the user's time zone, for chat templates that write the date; 0: the
    // clock's, in UTC.
    int64_t local_time;
} inlay_dataset_params;

typedef struct inlay_dataset_info {
    char format[32]; // "txt", "text", "prompt-completion", "messages", ...
    uint32_t max_length;
    uint64_t records;           // or 1 for a .txt
    uint64_t sequences;         // pieces that were packed
    uint64_t rows;              // packed rows of max_length tokens
    uint64_t tokens;            // all, after truncation
    uint64_t supervised_tokens; // those that are learned
    uint64_t truncated_sequences, truncated_tokens; // cut off at max_length
    uint64_t dropped_records;   // left out: they have no token to learn
} inlay_dataset_info;

// Errors: NOT_FOUND, IO, BAD_FILE (names file and line or record), UNSUPPORTED (a
// file of another kind, a template that is not known: says what can be chosen).
INLAY_API inlay_result inlay_dataset_open(inlay_dataset **out, const inlay_env *env,
                                          const inlay_model *model, const char *path,
                                          const inlay_dataset_params *params);
// Takes the last `fraction` (0 to 1) of the source's sequences away into *held_out, by a seeded
// draw.
INLAY_API inlay_result inlay_dataset_split(inlay_dataset *source, double fraction, uint32_t seed,
                                           inlay_dataset **held_out);
INLAY_API void inlay_dataset_close(inlay_dataset **dataset);
INLAY_API void inlay_dataset_get_info(const inlay_dataset *dataset, inlay_dataset_info *info);

// One prompt and completion as text, for judging generations: record `index` of a
// prompt-completion dataset, each up to a U+0000 in it. The strings live as long as the dataset.
// Others: UNSUPPORTED.
INLAY_API inlay_result inlay_dataset_get_record(const inlay_dataset *dataset, uint64_t index,
                                                const char **prompt, const char **completion);

// What is packed into rows: a record, or a piece of a .txt.
typedef struct inlay_sequence {
    const int32_t *tokens;
    const uint8_t *supervised; // of each token: 1 if it is learned (but for the first)
    uint32_t count;
    uint64_t cut;    // tokens behind these that were left out
    uint64_t record; // it was made from, from 0
} inlay_sequence;

// `index` < info.sequences, else INVALID_ARGUMENT. The arrays live as long as the dataset.
INLAY_API inlay_result inlay_dataset_get_sequence(const inlay_dataset *dataset, uint64_t index,
                                                  inlay_sequence *out);

INLAY_END

#endif
