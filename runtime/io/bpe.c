// SPDX-License-Identifier: MIT
#include "io/bpe.h"

#include "io/utf8.h"

#include <string.h>

#define KEY_MERGES "tokenizer.ggml.merges"
#define MAX_MERGES (1u << 28)

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
        if (!resolve(vocab, merges[rank], joined, &merge)) {
            ignored++;
            continue;
        }
        inl_bpe_merge *slot = find_merge(bpe, merge.left, merge.right);
        if (slot->left < 0) // of equals the first has the better rank
            *slot = merge;
    }
    inl_free(env, joined);
    if (ignored > 0)
        inl_logf(env, INLAY_LOG_WARN, "%s: %u of %u merges name no tokens and are ignored",
                 inl_gguf_path(gguf), ignored, count);
    return INLAY_OK;
}

static inlay_result allocate_slots(const inl_env *env, uint32_t count, inl_bpe *bpe)
{
    uint32_t slots = 16;
    while (slots < count * 2)
        slots *= 2;
    bpe->slots = inl_alloc(env, slots, sizeof(*bpe->slots));
    if (!bpe->slots)
        return INLAY_ERROR_OUT_OF_MEMORY;
    bpe->slot_mask = slots - 1;
    for (uint32_t i = 0; i < slots; i++)
        bpe->slots[i].left = -1;
    return INLAY_OK;
}

static inlay_result load_merges(const inl_env *env, const inl_gguf *gguf, const inl_vocab *vocab,
                                inl_bpe *bpe)
{
    inl_gguf_kind kind;
    uint64_t count;
    if (!inl_gguf_get_array(gguf, KEY_MERGES, &kind, &count) || kind != INL_GGUF_STRING)
        return inl_fail(env, INLAY_ERROR_BAD_FILE, "%s: " KEY_MERGES " is no array of strings",
                        inl_gguf_path(gguf));
    if (count > MAX_MERGES)
        return inl_fail(env, INLAY_ERROR_BAD_FILE, "%s: " KEY_MERGES " has %llu entries",
                        inl_gguf_path(gguf), (unsigned long long)count);
    INL_TRY(allocate_slots(env, (uint32_t)count, bpe));
    inl_slice *merges = inl_alloc(env, count, sizeof(*merges));
    if (!merges)
        return INLAY_ERROR_OUT_OF_MEMORY;
    inlay_result result;
    if (inl_gguf_read_strings(gguf, KEY_MERGES, merges, count))
        result = fill_slots(env, gguf, vocab, merges, (uint32_t)count, bpe);
    else
        result = inl_fail(env, INLAY_ERROR_BAD_FILE, "%s: cannot read " KEY_MERGES,
                          inl_gguf_path(gguf));
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
    inlay_result result = inl_pretokenizer_create(env, inl_gguf_path(gguf), pre,
                                                  &out->pretokenizer);
    if (result == INLAY_OK)
        result = load_merges(env, gguf, vocab, out);
    if (result != INLAY_OK)
        inl_bpe_free(env, out);
    else
        warn_missing_bytes(env, gguf, vocab);
    return result;
}

void inl_bpe_free(const inl_env *env, inl_bpe *bpe)
{
    inl_free(env, bpe->slots);
    inl_pretokenizer_destroy(&bpe->pretokenizer);
    *bpe = (inl_bpe){0};
}

static bool merge_rule(const void *context, const inl_symbol *left, const inl_symbol *right,
                       uint32_t *priority, int32_t *id)
{
    if (left->id < 0 || right->id < 0)
        return false;
    const inl_bpe_merge *merge = find_merge(context, left->id, right->id);
    *priority = merge->rank;
    *id = merge->id;
    return merge->left >= 0;
}

// One call of inl_bpe_encode.
typedef struct encoder {
    const inl_env *env;
    const inl_bpe *bpe;
    const inl_vocab *vocab;
    inl_merger *merger;
    inl_ids *ids;
} encoder;

// The token whose text is the whole piece, or -1. Leaves nothing behind in the merger but scratch.
static inlay_result find_whole(encoder *e, const char *piece, size_t size, int32_t *id)
{
    *id = -1;
    if (size > e->vocab->longest)
        return INLAY_OK;
    inl_merger *m = e->merger;
    INL_TRY(inl_grow(e->env, (void **)&m->text, &m->text_cap, size * 2, 1));
    size_t length = 0;
    for (size_t i = 0; i < size; i++)
        length += inl_utf8_encode_short(inl_byte_to_symbol((uint8_t)piece[i]), m->text + length);
    *id = inl_vocab_find_text(e->vocab, m->text, length);
    return INLAY_OK;
}

static inlay_result encode_piece(void *context, const char *piece, size_t size)
{
    encoder *e = context;
    inl_merger *m = e->merger;
    if (inl_pretokenizer_ignores_merges(e->bpe->pretokenizer)) {
        int32_t whole;
        INL_TRY(find_whole(e, piece, size, &whole));
        if (whole >= 0)
            return inl_ids_push(e->env, e->ids, whole);
    }
    inl_merger_clear(m);
    for (size_t i = 0; i < size; i++)
        INL_TRY(inl_merger_push(e->env, m, 1, e->vocab->byte_ids[(uint8_t)piece[i]]));
    INL_TRY(inl_merger_run(e->env, m, merge_rule, e->bpe));
    for (int32_t i = 0; i >= 0; i = m->symbols[i].next) {
        int32_t id = m->symbols[i].id >= 0 ? m->symbols[i].id : e->vocab->unknown;
        if (id >= 0)
            INL_TRY(inl_ids_push(e->env, e->ids, id));
    }
    return INLAY_OK;
}

inlay_result inl_bpe_encode(const inl_env *env, const inl_bpe *bpe, const inl_vocab *vocab,
                            const char *text, size_t size, inl_merger *merger, inl_ids *ids)
{
    encoder e = {.env = env, .bpe = bpe, .vocab = vocab, .merger = merger, .ids = ids};
    return inl_pretokenizer_split(env, bpe->pretokenizer, text, size, encode_piece, &e);
}
