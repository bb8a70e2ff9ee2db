// SPDX-License-Identifier: MIT
// Training data: records read and checked, tokenized into sequences with a mask of supervised
// tokens, sequences packed end to end into rows of max_length.
#ifndef INL_IO_DATASET_H
#define INL_IO_DATASET_H

#include "io/pack.h"
#include "io/tokenizer.h"

typedef struct inl_dataset inl_dataset;

// How a file holds its records; INL_DATA_ZSTD is added to one that is compressed.
typedef enum inl_data_kind {
    INL_DATA_TXT, // no records: one text
    INL_DATA_JSONL,
    INL_DATA_JSON, // an array of records, or records in a row
    INL_DATA_CSV,
    INL_DATA_ZSTD = 8,
} inl_data_kind;

typedef struct inl_dataset_params {
    uint32_t max_length; // > 0
    const char *chat_template; // a name, or Jinja; NULL: the model's own
    int64_t now; // seconds since 1970, in local time, for templates that write it; 0: the clock's
    bool no_packing;
    bool no_eos;
    bool no_records; // texts are not kept
} inl_dataset_params;

typedef struct inl_dataset_info {
    char format[32];
    uint32_t max_length;
    uint64_t records, sequences, rows, tokens, supervised_tokens;
    uint64_t truncated_sequences, truncated_tokens;
    uint64_t dropped_records; // without a token to learn
} inl_dataset_info;

// One packed row. Arrays of max_length; entries from `count` on are padding: token 0, its own
// sequence (start = its own index), label -1.
typedef struct inl_row {
    uint32_t count;        // tokens in use
    uint32_t supervised;   // of them, those with a label
    const int32_t *tokens;
    const int32_t *starts; // index in the row where this token's sequence starts
    const int32_t *labels; // the next token where it is supervised, else -1
} inl_row;

inlay_result inl_dataset_open(const inl_env *env, const inl_tokenizer *tokenizer, const char *path,
                              const inl_dataset_params *params, inl_dataset **out);
// The same over bytes in memory, which are not needed afterwards. `name` is for messages.
inlay_result inl_dataset_open_memory(const inl_env *env, const inl_tokenizer *tokenizer,
                                     const char *name, const uint8_t *data, uint64_t size,
                                     inl_data_kind kind, const inl_dataset_params *params,
                                     inl_dataset **out);
inlay_result inl_dataset_split(inl_dataset *source, double fraction, uint32_t seed,
                               inl_dataset **held_out);
void inl_dataset_close(inl_dataset **dataset);
const inl_dataset_info *inl_dataset_get_info(const inl_dataset *dataset);
// `row` < info.rows. Pointers live as long as the dataset.
void inl_dataset_get_row(const inl_dataset *dataset, uint64_t row, inl_row *out);
// `index` < info.sequences. Pointers live as long as the dataset.
const inl_sequence *inl_dataset_get_sequence(const inl_dataset *dataset, uint64_t index,
                                             const int32_t **tokens, const uint8_t **supervised);
// XXH3-64 of all rows and max_length: what a checkpoint compares.
uint64_t inl_dataset_hash(const inl_dataset *dataset);
// Prompt and completion of a prompt-completion record; false for other formats or a bad index.
bool inl_dataset_get_record(const inl_dataset *dataset, uint64_t index, const char **prompt,
                            const char **completion);

#endif
