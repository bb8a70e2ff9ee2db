// SPDX-License-Identifier: MIT
#include "io/words.h"

#include <string.h>

#define XXH_INLINE_ALL
#include <xxhash.h>

#define MIN_TEXT 2048        // bytes; a shorter text is not worth the memory
#define MAX_SLOTS (1u << 15) // 2 MiB
#define TEXT_PER_SLOT 16     // bytes

inlay_result inl_words_open(const inl_env *env, inl_words *words, size_t text_size)
{
    if (words->slots || text_size < MIN_TEXT)
        return INLAY_OK;
    uint32_t slots = 64;
    while (slots < MAX_SLOTS && slots < text_size / TEXT_PER_SLOT)
        slots *= 2;
    words->slots = inl_alloc(env, slots, sizeof(*words->slots));
    if (!words->slots)
        return INLAY_ERROR_OUT_OF_MEMORY;
    words->mask = slots - 1;
    return INLAY_OK;
}

void inl_words_free(const inl_env *env, inl_words *words)
{
    inl_free(env, words->slots);
    *words = (inl_words){0};
}

bool inl_words_find(const inl_words *words, const char *text, size_t size, inl_word_key *key)
{
    *key = (inl_word_key){0};
    if (!words->slots || size > INL_WORD_BYTES)
        return false;
    key->slot = &words->slots[(uint32_t)XXH3_64bits(text, size) & words->mask];
    if (key->slot->size != size || memcmp(key->slot->text, text, size) != 0)
        return false;
    key->ids = key->slot->ids;
    key->count = key->slot->count;
    return true;
}

void inl_words_keep(const inl_word_key *key, const char *text, size_t size, const int32_t *ids,
                    size_t count)
{
    if (!key->slot || size == 0 || count > INL_WORD_IDS)
        return;
    key->slot->size = (uint8_t)size;
    key->slot->count = (uint8_t)count;
    memcpy(key->slot->text, text, size);
    if (count > 0)
        memcpy(key->slot->ids, ids, count * sizeof(*ids));
}
