// SPDX-License-Identifier: MIT
// Small tokenizers as GGUF files in memory: a byte-level BPE and a SentencePiece-style one. Include
// after the runtime's headers. Header only.
#ifndef TESTS_HARNESS_TOY_VOCAB_H
#define TESTS_HARNESS_TOY_VOCAB_H

#include "harness/gguf_bytes.h"
#include "io/utf8.h"

#include <stdio.h>

typedef struct toy_options {
    const char *pre;           // byte-level alone; NULL: "gpt-2"
    const char *chat_template; // Jinja, or NULL
    const char *architecture;  // or NULL
    int no_bytes;              // SentencePiece alone: no <0xXX> tokens
    int no_space_prefix;       // SentencePiece alone
    int adds_bos;
    int no_ends; // no bos and eos ids
} toy_options;

#define TOY_MAX 512

typedef struct toy_list {
    char texts[TOY_MAX][32];
    const char *pointers[TOY_MAX];
    float scores[TOY_MAX];
    int32_t kinds[TOY_MAX];
    uint64_t count;
} toy_list;

static inline int32_t toy_add(toy_list *list, const char *text, int32_t kind, float score)
{
    uint64_t i = list->count++;
    snprintf(list->texts[i], sizeof(list->texts[i]), "%s", text);
    list->pointers[i] = list->texts[i];
    list->kinds[i] = kind;
    list->scores[i] = score;
    return (int32_t)i;
}

static inline void toy_common(gguf_bytes *g, const toy_list *list, const toy_options *o,
                              int32_t bos, int32_t eos)
{
    gguf_bytes_string(g, "general.architecture", o->architecture ? o->architecture : "llama");
    gguf_bytes_strings(g, "tokenizer.ggml.tokens", list->pointers, list->count);
    gguf_bytes_i32s(g, "tokenizer.ggml.token_type", list->kinds, list->count);
    gguf_bytes_bool(g, "tokenizer.ggml.add_bos_token", o->adds_bos);
    gguf_bytes_u32(g, "tokenizer.ggml.bos_token_id", o->no_ends ? UINT32_MAX : (uint32_t)bos);
    gguf_bytes_u32(g, "tokenizer.ggml.eos_token_id", o->no_ends ? UINT32_MAX : (uint32_t)eos);
    if (o->chat_template)
        gguf_bytes_string(g, "tokenizer.chat_template", o->chat_template);
}

// Byte b is token b. The space symbol is U+0120, spelled \xc4\xa0.
static const char *const toy_merges[] = {
    "h e",         "l l",      "he ll",         "hell o",          "\xc4\xa0 w", "o r",
    "\xc4\xa0w or", "l d",     "\xc4\xa0wor ld", "\xc4\xa0 hello", "a a",         "aa aa",
    "1 2",         "12 3",     "\xc4\xa0 \xc4\xa0",
};

static inline void toy_bpe(gguf_bytes *g, const toy_options *o)
{
    static toy_list list;
    list.count = 0;
    for (int byte = 0; byte < 256; byte++) {
        char text[4] = "";
        inl_utf8_encode_short(inl_byte_to_symbol((uint8_t)byte), text);
        toy_add(&list, text, 1, 0);
    }
    for (size_t i = 0; i < sizeof(toy_merges) / sizeof(toy_merges[0]); i++) {
        char joined[32];
        const char *gap = strchr(toy_merges[i] + 1, ' ');
        snprintf(joined, sizeof(joined), "%.*s%s", (int)(gap - toy_merges[i]), toy_merges[i],
                 gap + 1);
        toy_add(&list, joined, 1, 0);
    }
    int32_t bos = toy_add(&list, "<bos>", 3, 0);
    int32_t eos = toy_add(&list, "<eos>", 3, 0);
    toy_add(&list, "<|im_start|>", 1, 0); // a marker some file calls an ordinary token
    toy_add(&list, "<|im_end|>", 4, 0);   // and one it calls user-defined
    toy_add(&list, "<tool>", 4, 0);
    toy_add(&list, "<tool>s", 4, 0);
    toy_add(&list, "hold", 1, 0); // no merge makes it
    gguf_bytes_begin(g);
    gguf_bytes_string(g, "tokenizer.ggml.model", "gpt2");
    gguf_bytes_string(g, "tokenizer.ggml.pre", o->pre ? o->pre : "gpt-2");
    gguf_bytes_strings(g, "tokenizer.ggml.merges", toy_merges,
                       sizeof(toy_merges) / sizeof(toy_merges[0]));
    toy_common(g, &list, o, bos, eos);
    gguf_bytes_end(g);
}

// <unk> 0, <s> 1, </s> 2; bytes from 3 on. U+2581 is spelled \xe2\x96\x81.
static inline void toy_spm(gguf_bytes *g, const toy_options *o)
{
    static const char *const pieces[] = {
        "\xe2\x96\x81", "he", "ll", "hell", "hello", "\xe2\x96\x81hello", "\xe2\x96\x81w", "or",
        "ld", "\xe2\x96\x81wor", "\xe2\x96\x81world", "aa", "aaaa", "\xe2\x96\x81\xe2\x96\x81",
    };
    static toy_list list;
    list.count = 0;
    toy_add(&list, "<unk>", 2, 0);
    int32_t bos = toy_add(&list, "<s>", 3, 0);
    int32_t eos = toy_add(&list, "</s>", 3, 0);
    for (int byte = 0; byte < 256 && !o->no_bytes; byte++) {
        char text[8];
        snprintf(text, sizeof(text), "<0x%02X>", byte);
        toy_add(&list, text, 6, 0);
    }
    for (size_t i = 0; i < sizeof(pieces) / sizeof(pieces[0]); i++)
        toy_add(&list, pieces[i], 1, -(float)i);
    for (char c = 'a'; c <= 'z'; c++)
        toy_add(&list, (char[]){c, 0}, 1, -100.0f - (float)c);
    for (const char *c = "<s>/\n"; *c; c++)
        if (*c != 's')
            toy_add(&list, (char[]){*c, 0}, 1, -300.0f);
    toy_add(&list, "<s", 1, -1.0f); // merging on would make the control token
    toy_add(&list, "[TOOL]", 4, 0);
    gguf_bytes_begin(g);
    gguf_bytes_string(g, "tokenizer.ggml.model", "llama");
    gguf_bytes_f32s(g, "tokenizer.ggml.scores", list.scores, list.count);
    if (o->no_space_prefix)
        gguf_bytes_bool(g, "tokenizer.ggml.add_space_prefix", 0);
    toy_common(g, &list, o, bos, eos);
    gguf_bytes_end(g);
}

#endif
