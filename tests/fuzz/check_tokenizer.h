// SPDX-License-Identifier: MIT
// What any tokenizer that opened must hold: its ids are of its vocabulary. Header only.
#ifndef FUZZ_CHECK_TOKENIZER_H
#define FUZZ_CHECK_TOKENIZER_H

#include "fuzz/fuzz.h"
#include "io/tokenizer.h"

#include <string.h>

static inline void check_encoding(const inl_env *env, const inl_tokenizer *t, const char *text,
                                  size_t size, bool parse_special)
{
    int32_t *ids;
    size_t count;
    uint64_t sum = 0;
    uint32_t vocab = inl_tokenizer_get_info(t)->vocab;
    if (inl_tokenizer_encode(env, t, text, size, parse_special, &ids, &count) != INLAY_OK)
        return; // a pattern of the file may take too long; it has said so
    for (size_t i = 0; i < count; i++) {
        fuzz_require(ids[i] >= 0 && (uint32_t)ids[i] < vocab);
        inl_slice piece = inl_tokenizer_decode(t, ids[i], i == 0);
        sum += fuzz_touch(piece.data, piece.size);
    }
    fuzz_require(sum != UINT64_MAX); // it is used
    inl_free(env, ids);
}

static inline void check_info(const inl_tokenizer *t)
{
    const inl_tokenizer_info *info = inl_tokenizer_get_info(t);
    int32_t vocab = (int32_t)info->vocab;
    fuzz_require(info->bos >= -1 && info->bos < vocab && info->eos >= -1 && info->eos < vocab);
    fuzz_require((!info->add_bos || info->bos >= 0) && (!info->add_eos || info->eos >= 0));
    for (uint32_t i = 0; i < info->end_count; i++)
        fuzz_require(info->ends[i] >= 0 && info->ends[i] < vocab);
    fuzz_require(!info->chat_template || strlen(info->chat_template) < 1u << 20);
}

// `data`: a text of the input, or nothing.
static inline void check_tokenizer(const inl_env *env, const inl_tokenizer *t, const uint8_t *data,
                                   size_t size)
{
    static const char text[] = " ab <tool> a\xff\xc3\xa9 <s>'s  123\n\nA";
    bool given = size > 0;
    check_info(t);
    check_encoding(env, t, given ? (const char *)data : text,
                   given ? INL_MIN(size, 2048) : sizeof(text), true);
    check_encoding(env, t, text, sizeof(text) - 1, false);
}

#endif
