// SPDX-License-Identifier: MIT
// Text to ids and back. From a GGUF file: SentencePiece-style BPE ("llama", by score, with and
// without byte tokens) and byte-level BPE ("gpt2", by merge rank after a pre-tokenizer's regular
// expression). From a Hugging Face folder: tokenizer.json's BPE with all that goes with it, or
// what folders had before: vocab.json and merges.txt, or SentencePiece's tokenizer.model, whose ids
// are SentencePiece's, or transformers' where the class is LlamaTokenizer.
// Immutable once made, thread-safe.
//
// Ids are those of the `tokenizers` library. By design, a GGUF file goes with llama.cpp in this: it
// has no Unicode normal form (Qwen's NFC), and a special token takes no white space beside it (but
// for Phi-3). Where ours differ: of overlapping special tokens the leftmost and then the longest
// counts (llama.cpp: the longest); chat markers are control tokens even where a file says
// otherwise; bytes that are no UTF-8 are kept, where `tokenizers` sees U+FFFD; Metaspace's decoder
// drops spaces at a text's start alone, not inside its first token too; a caseless expression never
// takes one character for two letters ("ss" for U+00DF).
#ifndef INL_IO_TOKENIZER_H
#define INL_IO_TOKENIZER_H

#include "io/gguf.h"

typedef struct inl_tokenizer inl_tokenizer;

typedef struct inl_tokenizer_info {
    char model[16]; // "llama": SentencePiece style, "gpt2": byte-level
    char pre[32];   // tokenizer.ggml.pre, or "tokenizer.json", "tokenizer.model"
    uint32_t vocab;
    int32_t bos, eos; // -1: none
    bool add_bos, add_eos;
    // All ids at which generation ends; eos is the first of them.
    const int32_t *ends;
    uint32_t end_count;
    // The model's Jinja chat template, NUL-terminated, or NULL, and the one ("tool_use") in its
    // place where there are tools, or NULL.
    const char *chat_template;
    const char *tool_template;
} inl_tokenizer_info;

inlay_result inl_tokenizer_create(const inl_env *env, const inl_gguf *gguf, inl_tokenizer **out);
// From a Hugging Face folder: tokenizer.json, or else vocab.json and merges.txt (UNSUPPORTED where
// no class says how text is cut), or else tokenizer.model; with tokenizer_config.json,
// added_tokens.json, chat_template.jinja, additional_chat_templates/tool_use.jinja,
// generation_config.json and config.json where they exist.
// NOT_FOUND where there is none of the three.
inlay_result inl_tokenizer_open_folder(const inl_env *env, const char *folder, inl_tokenizer **out);
// A folder's, as metadata of a GGUF file whose embedding has `rows` rows: tokens past them are left
// out, missing ones are filled in. `file` is for messages. UNSUPPORTED: GGUF has no words for it.
inlay_result inl_tokenizer_write_gguf(const inl_tokenizer *tokenizer, const char *file,
                                      uint32_t rows, inl_gguf_writer *writer);
// A GGUF file's, as tokenizer.json and tokenizer_config.json into a folder.
inlay_result inl_tokenizer_write_folder(const inl_tokenizer *tokenizer, const char *file,
                                        const char *folder);
void inl_tokenizer_destroy(inl_tokenizer **tokenizer);
const inl_tokenizer_info *inl_tokenizer_get_info(const inl_tokenizer *tokenizer);

// Ids of `size` bytes (any bytes) into a fresh array the caller frees with inl_free(env, *ids).
// parse_special: control tokens written in the text become their ids. No BOS or EOS is added.
inlay_result inl_tokenizer_encode(const inl_env *env, const inl_tokenizer *tokenizer,
                                  const char *text, size_t size, bool parse_special, int32_t **ids,
                                  size_t *count);
// The bytes of a token, a pointer into the tokenizer. Empty for control tokens and ids out of
// range. `first`: at a text's start the space SentencePiece put there is dropped.
inl_slice inl_tokenizer_decode(const inl_tokenizer *tokenizer, int32_t id, bool first);
// A token as the vocabulary spells it, also a control token; empty for ids out of range.
inl_slice inl_tokenizer_text(const inl_tokenizer *tokenizer, int32_t id);
// The id whose vocabulary entry is exactly `text`, or -1.
int32_t inl_tokenizer_find(const inl_tokenizer *tokenizer, const char *text);
bool inl_tokenizer_is_end(const inl_tokenizer *tokenizer, int32_t id);

#endif
