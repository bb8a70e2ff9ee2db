// SPDX-License-Identifier: MIT
// What a tokenizer is made of, for those who make one from a file. Used by io/tokenizer*.c alone.
#ifndef INL_IO_TOKENIZER_PARTS_H
#define INL_IO_TOKENIZER_PARTS_H

#include "io/added.h"
#include "io/bpe.h"
#include "io/normalizer.h"
#include "io/spm.h"
#include "io/tokenizer.h"

#include <jansson.h>

struct inl_tokenizer {
    inl_env env;
    inl_tokenizer_info info;
    char *chat_template, *tool_template;
    int32_t *ends;
    size_t end_cap;
    inl_vocab vocab;
    bool by_score; // `spm` is in use, else `bpe`
    inl_bpe bpe;
    inl_spm spm;
    bool space_prefix;          // SentencePiece: a text starts as if after a space
    bool prefix_at_start;       // but not after a special token
    bool prefix_unless_space;   // and not before a space
    inl_normalizer *normalizer; // or NULL
    inl_added raw;              // found in the text as it comes
    inl_added normalized;       // found in the normalized text
    char *normalized_texts;     // theirs, end to end
    uint32_t start_spaces;      // spaces that decoding drops where a text starts
};

// Nothing but the environment set.
inlay_result inl_tokenizer_new(const inl_env *env, inl_tokenizer **out);
// Tokens of chat templates that a file calls ordinary or user-defined would let a user's words
// close a turn: they become control tokens.
void inl_tokenizer_mark_control(inl_vocab *vocab);
// A token at which generation ends; -1 and those there already are ignored.
inlay_result inl_tokenizer_add_end(inl_tokenizer *t, int32_t id);
// The control tokens that end a turn by their text alone, as llama.cpp has it.
inlay_result inl_tokenizer_add_turn_ends(inl_tokenizer *t);
// In place of what there is. `tools`: the one for talks with tools.
inlay_result inl_tokenizer_set_template(inl_tokenizer *t, bool tools, const char *text,
                                        uint64_t size);
void inl_tokenizer_drop_templates(inl_tokenizer *t);

// The small files of a folder; each is NULL where there is none.
typedef struct inl_tokenizer_beside {
    const char *folder;
    json_t *config; // tokenizer_config.json
    json_t *added;  // added_tokens.json
    json_t *chat_template;
    json_t *generation; // generation_config.json
    json_t *model;      // config.json
} inl_tokenizer_beside;

// The tokens that tokenizer_config.json and added_tokens.json add, as in tokenizer.json's
// added_tokens, sorted by id. *out is the caller's, also where it fails.
inlay_result inl_tokenizer_list_added(const inl_env *env, const inl_tokenizer_beside *beside,
                                      json_t **out);

// A folder's tokenizer.json, without what the other files say.
inlay_result inl_tokenizer_read_json(inl_tokenizer *t, const char *path);
// The same of vocab.json and merges.txt.
inlay_result inl_tokenizer_read_files(inl_tokenizer *t, const inl_tokenizer_beside *beside);
// The same of tokenizer.model.
inlay_result inl_tokenizer_read_model(inl_tokenizer *t, const char *path,
                                      const inl_tokenizer_beside *beside);

#endif
