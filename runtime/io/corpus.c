// SPDX-License-Identifier: MIT
#include "io/corpus.h"

#include <string.h>

void inl_corpus_free(const inl_env *env, inl_corpus *corpus)
{
    inl_free(env, corpus->tokens.data);
    inl_free(env, corpus->supervised);
    inl_free(env, corpus->sequences);
    inl_free(env, corpus->pairs);
    inl_free(env, corpus->texts);
    *corpus = (inl_corpus){0};
}

static inlay_result add_string(const inl_env *env, inl_corpus *corpus, const char *text,
                               size_t *offset)
{
    size_t size = strlen(text) + 1;
    INL_TRY(inl_grow(env, (void **)&corpus->texts, &corpus->text_cap, corpus->text_size + size, 1));
    memcpy(corpus->texts + corpus->text_size, text, size);
    *offset = corpus->text_size;
    corpus->text_size += size;
    return INLAY_OK;
}

inlay_result inl_corpus_add_pair(const inl_env *env, inl_corpus *corpus, const char *prompt,
                                 const char *completion)
{
    inl_text_pair pair;
    INL_TRY(add_string(env, corpus, prompt, &pair.prompt));
    INL_TRY(add_string(env, corpus, completion, &pair.completion));
    INL_TRY(inl_grow(env, (void **)&corpus->pairs, &corpus->pair_cap, corpus->pair_count + 1,
                     sizeof(*corpus->pairs)));
    corpus->pairs[corpus->pair_count++] = pair;
    return INLAY_OK;
}

inlay_result inl_corpus_push(const inl_env *env, inl_corpus *corpus, inl_sequence sequence)
{
    INL_TRY(inl_grow(env, (void **)&corpus->sequences, &corpus->cap, corpus->count + 1,
                     sizeof(*corpus->sequences)));
    corpus->sequences[corpus->count++] = sequence;
    return INLAY_OK;
}

inlay_result inl_corpus_mark(const inl_env *env, inl_corpus *corpus, size_t marked, bool supervised)
{
    size_t count = corpus->tokens.count;
    INL_TRY(inl_grow(env, (void **)&corpus->supervised, &corpus->supervised_cap, count, 1));
    if (count > marked)
        memset(corpus->supervised + marked, supervised, count - marked);
    return INLAY_OK;
}

inlay_result inl_corpus_add(const inl_env *env, inl_corpus *corpus, const inl_sequence *sequence,
                            const int32_t *tokens, const uint8_t *supervised)
{
    inl_sequence copy = *sequence;
    copy.start = corpus->tokens.count;
    for (uint32_t i = 0; i < sequence->count; i++)
        INL_TRY(inl_ids_push(env, &corpus->tokens, tokens[i]));
    INL_TRY(inl_corpus_mark(env, corpus, copy.start, false));
    memcpy(corpus->supervised + copy.start, supervised, sequence->count);
    return inl_corpus_push(env, corpus, copy);
}
