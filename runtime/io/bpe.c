// SPDX-License-Identifier: MIT
#include "io/bpe.h"

#include "io/spm.h"
#include "io/utf8.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define KEY_MERGES "tokenizer.ggml.merges"
#define MAX_MERGES (1u << 28)
// Symbols of a piece that is merged by looking for the best pair again and again; a longer one goes
// through the heap.
#define SHORT_PIECE 40
#define UNRANKED UINT32_MAX

static uint32_t pair_slot(const inl_bpe *bpe, int32_t left, int32_t right)
{
    uint64_t pair = (uint64_t)(uint32_t)left << 32 | (uint32_t)right;
    pair ^= pair >> 29;
    pair *= 0x9e3779b97f4a7c15u; // 2^64 / golden ratio spreads neighbouring ids
    return (uint32_t)(pair >> 32) & bpe->slot_mask;
}

static inl_bpe_merge *find_merge(const inl_bpe *bpe, int32_t left, int32_t right)
{
    uint32_t slot = pair_slot(bpe, left, right);
    while (bpe->slots[slot].left >= 0 &&
           (bpe->slots[slot].left != left || bpe->slots[slot].right != right))
        slot = (slot + 1) & bpe->slot_mask;
    return &bpe->slots[slot];
}

void inl_bpe_add(inl_bpe *bpe, const inl_bpe_merge *merge, bool last_counts)
{
    inl_bpe_merge *slot = find_merge(bpe, merge->left, merge->right);
    if (slot->left < 0 || last_counts)
        *slot = *merge;
}

inlay_result inl_bpe_create(const inl_env *env, uint64_t count, inl_pretokenizer *pretokenizer,
                            inl_bpe *out)
{
    *out = (inl_bpe){.pretokenizer = pretokenizer,
                     .by_bytes = inl_pretokenizer_gives_bytes(pretokenizer),
                     .ignores_merges = inl_pretokenizer_ignores_merges(pretokenizer)};
    if (count > MAX_MERGES)
        return inl_fail(env, INLAY_ERROR_UNSUPPORTED, "%llu merges are too many",
                        (unsigned long long)count);
    uint32_t slots = 16;
    while (slots < count * 2)
        slots *= 2;
    out->slots = inl_alloc(env, slots, sizeof(*out->slots));
    if (!out->slots)
        return INLAY_ERROR_OUT_OF_MEMORY;
    out->slot_mask = slots - 1;
    for (uint32_t i = 0; i < slots; i++)
        out->slots[i].left = -1;
    return INLAY_OK;
}

static int by_rank(const void *one, const void *other)
{
    const inl_bpe_merge *x = one, *y = other;
    return (x->rank > y->rank) - (x->rank < y->rank);
}

inlay_result inl_bpe_list_merges(const inl_env *env, const inl_bpe *bpe, inl_bpe_merge **out,
                                 uint32_t *count)
{
    inl_bpe_merge *all = inl_alloc(env, (size_t)bpe->slot_mask + 1, sizeof(*all));
    *out = all;
    *count = 0;
    if (!all)
        return INLAY_ERROR_OUT_OF_MEMORY;
    for (uint64_t i = 0; i <= bpe->slot_mask; i++)
        if (bpe->slots[i].left >= 0)
            all[(*count)++] = bpe->slots[i];
    qsort(all, *count, sizeof(*all), by_rank);
    return INLAY_OK;
}

void inl_bpe_free(const inl_env *env, inl_bpe *bpe)
{
    inl_free(env, bpe->slots);
    inl_pretokenizer_destroy(&bpe->pretokenizer);
    *bpe = (inl_bpe){0};
}

// ---- from GGUF

// `merge` is "left right"; the first character may be a space. false: it names no tokens.
static bool resolve(const inl_vocab *vocab, inl_slice merge, char *joined, inl_bpe_merge *out)
{
    if (merge.size < 3 || merge.size - 1 > vocab->longest)
        return false;
    const char *gap = memchr(merge.data + 1, ' ', merge.size - 1);
    if (!gap)
        return false;
    uint64_t left = (uint64_t)(gap - merge.data);
    uint64_t right = merge.size - left - 1;
    memcpy(joined, merge.data, left);
    memcpy(joined + left, gap + 1, right);
    out->left = inl_vocab_find_text(vocab, joined, left);
    out->right = inl_vocab_find_text(vocab, joined + left, right);
    out->id = inl_vocab_find_text(vocab, joined, left + right);
    return out->left >= 0 && out->right >= 0 && out->id >= 0;
}

static inlay_result fill_slots(const inl_env *env, const inl_gguf *gguf, const inl_vocab *vocab,
                               const inl_slice *merges, uint32_t count, inl_bpe *bpe)
{
    char *joined = inl_alloc(env, vocab->longest + 1, 1);
    if (!joined)
        return INLAY_ERROR_OUT_OF_MEMORY;
    uint32_t ignored = 0;
    for (uint32_t rank = 0; rank < count; rank++) {
        inl_bpe_merge merge = {.rank = rank};
        if (resolve(vocab, merges[rank], joined, &merge))
            inl_bpe_add(bpe, &merge, false);
        else
            ignored++;
    }
    inl_free(env, joined);
    if (ignored > 0)
        inl_logf(env, INLAY_LOG_WARN, "%s: %u of %u merges name no tokens and are ignored",
                 inl_gguf_path(gguf), ignored, count);
    return INLAY_OK;
}

static inlay_result count_merges(const inl_env *env, const inl_gguf *gguf, uint64_t *count)
{
    inl_gguf_kind kind;
    if (!inl_gguf_get_array(gguf, KEY_MERGES, &kind, count) || kind != INL_GGUF_STRING)
        return inl_fail(env, INLAY_ERROR_BAD_FILE, "%s: " KEY_MERGES " is no array of strings",
                        inl_gguf_path(gguf));
    if (*count > MAX_MERGES)
        return inl_fail(env, INLAY_ERROR_BAD_FILE, "%s: " KEY_MERGES " has %llu entries",
                        inl_gguf_path(gguf), (unsigned long long)*count);
    return INLAY_OK;
}

static inlay_result load_merges(const inl_env *env, const inl_gguf *gguf, const inl_vocab *vocab,
                                uint64_t count, inl_bpe *bpe)
{
    inl_slice *merges = inl_alloc(env, count, sizeof(*merges));
    if (!merges)
        return INLAY_ERROR_OUT_OF_MEMORY;
    inlay_result result;
    if (inl_gguf_read_strings(gguf, KEY_MERGES, merges, count))
        result = fill_slots(env, gguf, vocab, merges, (uint32_t)count, bpe);
    else
        result =
            inl_fail(env, INLAY_ERROR_BAD_FILE, "%s: cannot read " KEY_MERGES, inl_gguf_path(gguf));
    inl_free(env, merges);
    return result;
}

static void warn_missing_bytes(const inl_env *env, const inl_gguf *gguf, const inl_vocab *vocab)
{
    int missing = 0;
    for (int byte = 0; byte < 256; byte++)
        missing += vocab->byte_ids[byte] < 0;
    if (missing > 0)
        inl_logf(env, INLAY_LOG_WARN, "%s: the vocabulary has no token for %d of the 256 bytes",
                 inl_gguf_path(gguf), missing);
}

inlay_result inl_bpe_load(const inl_env *env, const inl_gguf *gguf, const inl_vocab *vocab,
                          const char *pre, inl_bpe *out)
{
    *out = (inl_bpe){0};
    uint64_t count;
    inl_pretokenizer *pretokenizer;
    INL_TRY(inl_pretokenizer_create(env, inl_gguf_path(gguf), pre, &pretokenizer));
    inlay_result result = count_merges(env, gguf, &count);
    if (result != INLAY_OK) {
        inl_pretokenizer_destroy(&pretokenizer);
        return result;
    }
    result = inl_bpe_create(env, count, pretokenizer, out);
    if (result == INLAY_OK)
        result = load_merges(env, gguf, vocab, count, out);
    if (result != INLAY_OK)
        inl_bpe_free(env, out);
    else
        warn_missing_bytes(env, gguf, vocab);
    return result;
}

// ---- encoding

// One call of inl_bpe_encode.
typedef struct encoder {
    const inl_env *env;
    const inl_bpe *bpe;
    const inl_vocab *vocab;
    inl_merger *merger;
    inl_ids *ids;
} encoder;

// The token whose text is the whole piece, or -1.
static inlay_result find_whole(encoder *e, const char *piece, size_t size, int32_t *id)
{
    *id = -1;
    if (size > e->vocab->longest)
        return INLAY_OK;
    if (!e->bpe->by_bytes) {
        *id = inl_vocab_find_text(e->vocab, piece, size);
        return INLAY_OK;
    }
    inl_merger *m = e->merger;
    INL_TRY(inl_grow(e->env, (void **)&m->text, &m->text_cap, size * 2, 1));
    size_t length = 0;
    for (size_t i = 0; i < size; i++)
        length += inl_utf8_encode_short(inl_byte_to_symbol((uint8_t)piece[i]), m->text + length);
    *id = inl_vocab_find_text(e->vocab, m->text, length);
    return INLAY_OK;
}

static inlay_result add_symbol(encoder *e, int32_t id)
{
    return inl_ids_push(e->env, &e->merger->initial, id);
}

// Whether the character's bytes all have tokens, which then follow.
static inlay_result add_fallback(encoder *e, const char *text, size_t size, bool *done)
{
    *done = e->bpe->byte_fallback;
    for (size_t i = 0; i < size && *done; i++)
        *done = e->vocab->byte_ids[(uint8_t)text[i]] >= 0;
    for (size_t i = 0; i < size && *done; i++)
        INL_TRY(add_symbol(e, e->vocab->byte_ids[(uint8_t)text[i]]));
    return INLAY_OK;
}

// A character, or byte, that has a token, `id`, or none. *pending: an unknown one is still to come,
// in the library's order: byte tokens go before it.
static inlay_result add_character(encoder *e, const char *text, size_t size, int32_t id,
                                  bool *pending)
{
    int32_t unknown = e->vocab->unknown;
    if (id >= 0) {
        if (*pending)
            INL_TRY(add_symbol(e, unknown));
        *pending = false;
        return add_symbol(e, id);
    }
    bool done = false;
    if (!e->bpe->by_bytes)
        INL_TRY(add_fallback(e, text, size, &done));
    if (done || unknown < 0)
        return INLAY_OK;
    if (*pending && !e->bpe->fuses_unknown)
        INL_TRY(add_symbol(e, unknown));
    *pending = true;
    return INLAY_OK;
}

// The piece's symbols into merger->initial.
static inlay_result start_symbols(encoder *e, const char *piece, size_t size)
{
    const inl_vocab *v = e->vocab;
    bool pending = false;
    e->merger->initial.count = 0;
    if (e->bpe->by_bytes && !e->bpe->as_json) {
        for (size_t i = 0; i < size; i++)
            INL_TRY(add_symbol(e, v->byte_ids[(uint8_t)piece[i]]));
        return INLAY_OK;
    }
    for (size_t at = 0; at < size;) {
        size_t length = 1;
        int32_t id;
        if (e->bpe->by_bytes) {
            id = v->byte_ids[(uint8_t)piece[at]];
        } else {
            length = INL_MAX(inl_utf8_length(piece + at, size - at), 1);
            id = inl_vocab_find_text(v, piece + at, length);
        }
        INL_TRY(add_character(e, piece + at, length, id, &pending));
        at += length;
    }
    return pending ? add_symbol(e, v->unknown) : INLAY_OK;
}

static uint32_t rank_of(const inl_bpe *bpe, int32_t left, int32_t right, int32_t *id)
{
    if (left < 0 || right < 0)
        return UNRANKED;
    const inl_bpe_merge *merge = find_merge(bpe, left, right);
    *id = merge->id;
    return merge->left < 0 ? UNRANKED : merge->rank;
}

// The leftmost pair of the best rank, until none is left.
static void merge_short(const inl_bpe *bpe, int32_t *ids, size_t *count)
{
    uint32_t ranks[SHORT_PIECE]; // of each symbol with the next
    int32_t made[SHORT_PIECE];
    size_t n = *count;
    for (size_t i = 0; i + 1 < n; i++)
        ranks[i] = rank_of(bpe, ids[i], ids[i + 1], &made[i]);
    while (n > 1) {
        size_t best = 0;
        for (size_t i = 1; i + 1 < n; i++)
            if (ranks[i] < ranks[best])
                best = i;
        if (ranks[best] == UNRANKED)
            break;
        ids[best] = made[best];
        n--;
        for (size_t i = best + 1; i < n; i++) {
            ids[i] = ids[i + 1];
            ranks[i - 1] = ranks[i];
            made[i - 1] = made[i];
        }
        if (best + 1 < n)
            ranks[best] = rank_of(bpe, ids[best], ids[best + 1], &made[best]);
        if (best > 0)
            ranks[best - 1] = rank_of(bpe, ids[best - 1], ids[best], &made[best - 1]);
    }
    *count = n;
}

static bool merge_rule(const void *context, const inl_symbol *left, const inl_symbol *right,
                       uint32_t *priority, int32_t *id)
{
    *priority = rank_of(context, left->id, right->id, id);
    return *priority != UNRANKED;
}

static inlay_result merge_long(encoder *e)
{
    inl_merger *m = e->merger;
    inl_merger_clear(m);
    for (size_t i = 0; i < m->initial.count; i++)
        INL_TRY(inl_merger_push(e->env, m, 1, m->initial.data[i]));
    INL_TRY(inl_merger_run(e->env, m, merge_rule, e->bpe));
    m->initial.count = 0;
    for (int32_t i = 0; i >= 0; i = m->symbols[i].next)
        m->initial.data[m->initial.count++] = m->symbols[i].id;
    return INLAY_OK;
}

static inlay_result merge_piece(encoder *e, const char *piece, size_t size)
{
    inl_ids *symbols = &e->merger->initial;
    INL_TRY(start_symbols(e, piece, size));
    if (symbols->count <= SHORT_PIECE)
        merge_short(e->bpe, symbols->data, &symbols->count);
    else
        INL_TRY(merge_long(e));
    for (size_t i = 0; i < symbols->count; i++) {
        int32_t id = symbols->data[i] >= 0 ? symbols->data[i] : e->vocab->unknown;
        if (id >= 0)
            INL_TRY(inl_ids_push(e->env, e->ids, id));
    }
    return INLAY_OK;
}

static inlay_result encode_word(encoder *e, const char *word, size_t size)
{
    inl_word_key key;
    if (inl_words_find(&e->merger->words, word, size, &key))
        return inl_ids_append(e->env, e->ids, key.ids, key.count);
    size_t first = e->ids->count;
    int32_t whole = -1;
    if (e->bpe->ignores_merges)
        INL_TRY(find_whole(e, word, size, &whole));
    if (whole >= 0)
        INL_TRY(inl_ids_push(e->env, e->ids, whole));
    else
        INL_TRY(merge_piece(e, word, size));
    inl_words_keep(&key, word, size, e->ids->data + first, e->ids->count - first);
    return INLAY_OK;
}

static inlay_result encode_piece(void *context, const char *piece, size_t size)
{
    encoder *e = context;
    if (!e->bpe->cuts_at_spaces)
        return encode_word(e, piece, size);
    for (size_t at = 0; at < size;) {
        size_t length = inl_spm_word_size(piece + at, size - at);
        INL_TRY(encode_word(e, piece + at, length));
        at += length;
    }
    return INLAY_OK;
}

inlay_result inl_bpe_encode(const inl_env *env, const inl_bpe *bpe, const inl_vocab *vocab,
                            const char *text, size_t size, bool at_start, inl_merger *merger,
                            inl_ids *ids)
{
    encoder e = {.env = env, .bpe = bpe, .vocab = vocab, .merger = merger, .ids = ids};
    INL_TRY(inl_words_open(env, &merger->words, size));
    return inl_pretokenizer_split(env, bpe->pretokenizer, text, size, at_start, encode_piece, &e);
}
