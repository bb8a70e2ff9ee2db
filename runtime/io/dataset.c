// SPDX-License-Identifier: MIT
#include "io/dataset.h"

#include "base/file.h"
#include "base/rng.h"
#include "io/records.h"

#include <stdio.h>
#include <string.h>

#define MAX_LENGTH (1u << 24)
#define SPLIT_STREAM 0x53504c54u // keeps the draw apart from other uses of the same seed

struct inl_dataset {
    inl_env env;
    bool no_packing;
    inl_corpus corpus;
    inl_packed_rows packed;
    inl_dataset_info info;
};

static void fill_info(inl_dataset *d)
{
    const inl_corpus *c = &d->corpus;
    inl_dataset_info info = {.max_length = c->max_length, .records = c->records,
                             .sequences = c->count, .rows = d->packed.rows,
                             .dropped_records = c->dropped};
    memcpy(info.format, c->format, sizeof(info.format));
    for (size_t i = 0; i < c->count; i++) {
        const inl_sequence *s = &c->sequences[i];
        info.tokens += s->count;
        info.supervised_tokens += s->supervised;
        info.truncated_sequences += s->cut > 0;
        info.truncated_tokens += s->cut;
    }
    d->info = info;
}

// Takes the corpus over, also on failure.
static inlay_result create(const inl_env *env, inl_corpus *corpus, bool no_packing,
                           inl_dataset **out)
{
    inl_dataset *d = inl_alloc(env, 1, sizeof(*d));
    if (!d) {
        inl_corpus_free(env, corpus);
        return INLAY_ERROR_OUT_OF_MEMORY;
    }
    d->env = *env;
    d->no_packing = no_packing;
    d->corpus = *corpus;
    *corpus = (inl_corpus){0};
    const inl_corpus *c = &d->corpus;
    inlay_result result = inl_pack(env, c->tokens.data, c->supervised, c->sequences, c->count,
                                   c->max_length, no_packing, &d->packed);
    *out = d;
    if (result == INLAY_OK)
        fill_info(d);
    else
        inl_dataset_close(out);
    return result;
}

inlay_result inl_dataset_open_memory(const inl_env *env, const inl_tokenizer *tokenizer,
                                     const char *name, const uint8_t *data, uint64_t size,
                                     inl_data_kind kind, const inl_dataset_params *params,
                                     inl_dataset **out)
{
    *out = NULL;
    if (params->max_length < 2 || params->max_length > MAX_LENGTH)
        return inl_fail(env, INLAY_ERROR_INVALID_ARGUMENT,
                        "max_length is %u, but rows have 2 to %u tokens", params->max_length,
                        MAX_LENGTH);
    inl_corpus corpus;
    INL_TRY(inl_corpus_read(env, tokenizer, name, (const char *)data, size, kind, params,
                            &corpus));
    return create(env, &corpus, params->no_packing, out);
}

static bool ends_with(const char *path, const char *suffix)
{
    size_t path_size = strlen(path);
    size_t size = strlen(suffix);
    if (path_size < size)
        return false;
    for (size_t i = 0; i < size; i++) {
        char c = path[path_size - size + i];
        if ((c >= 'A' && c <= 'Z' ? c - 'A' + 'a' : c) != suffix[i])
            return false;
    }
    return true;
}

// False: no ending that is known.
static bool kind_of(const char *path, inl_data_kind *kind)
{
    static const struct {
        const char *ending;
        inl_data_kind kind;
    } endings[] = {
        {".txt", INL_DATA_TXT},
        {".jsonl", INL_DATA_JSONL},
        {".json", INL_DATA_JSON},
        {".csv", INL_DATA_CSV},
        {".jsonl.zst", INL_DATA_JSONL | INL_DATA_ZSTD},
        {".json.zst", INL_DATA_JSON | INL_DATA_ZSTD},
        {".csv.zst", INL_DATA_CSV | INL_DATA_ZSTD},
    };
    for (size_t i = 0; i < INL_COUNT(endings); i++)
        if (ends_with(path, endings[i].ending)) {
            *kind = endings[i].kind;
            return true;
        }
    return false;
}

inlay_result inl_dataset_open(const inl_env *env, const inl_tokenizer *tokenizer, const char *path,
                              const inl_dataset_params *params, inl_dataset **out)
{
    *out = NULL;
    inl_data_kind kind;
    if (!kind_of(path, &kind))
        return inl_fail(env, INLAY_ERROR_UNSUPPORTED,
                        "%s: training data is a .txt, .jsonl, .json or .csv file (the last three "
                        "also .zst)", path);
    inl_map map;
    INL_TRY(inl_map_open(env, path, &map));
    inlay_result result =
        inl_dataset_open_memory(env, tokenizer, path, map.data, map.size, kind, params, out);
    inl_map_close(&map);
    return result;
}

void inl_dataset_close(inl_dataset **dataset)
{
    inl_dataset *d = *dataset;
    *dataset = NULL;
    if (!d)
        return;
    inl_env env = d->env;
    inl_corpus_free(&env, &d->corpus);
    inl_packed_rows_free(&env, &d->packed);
    inl_free(&env, d);
}

// Flags `take` of `count` sequences by a seeded draw: the first steps of a Fisher-Yates shuffle.
static inlay_result draw(const inl_env *env, uint64_t count, uint64_t take, uint32_t seed,
                         uint8_t *flags)
{
    uint64_t *order = inl_alloc(env, count, sizeof(*order));
    if (!order)
        return INLAY_ERROR_OUT_OF_MEMORY;
    for (uint64_t i = 0; i < count; i++)
        order[i] = i;
    for (uint64_t i = 0; i < take; i++) {
        uint32_t high = inl_rng_u32(seed, SPLIT_STREAM, (uint32_t)(2 * i));
        uint32_t low = inl_rng_u32(seed, SPLIT_STREAM, (uint32_t)(2 * i + 1));
        uint64_t j = i + ((uint64_t)high << 32 | low) % (count - i);
        uint64_t drawn = order[j];
        order[j] = order[i];
        flags[drawn] = 1;
    }
    inl_free(env, order);
    return INLAY_OK;
}

// Records go with the sequence made from them; those no sequence was made from stay.
static inlay_result copy_pairs(const inl_env *env, const inl_corpus *from, const uint8_t *held,
                               bool want, uint64_t *moved_to, inl_corpus *out)
{
    for (size_t i = 0; i < from->pair_count; i++) {
        if ((bool)held[i] != want)
            continue;
        moved_to[i] = out->pair_count;
        INL_TRY(inl_corpus_add_pair(env, out, from->texts + from->pairs[i].prompt,
                                    from->texts + from->pairs[i].completion));
    }
    return INLAY_OK;
}

static inlay_result copy_sequences(const inl_env *env, const inl_corpus *from, const uint8_t *flags,
                                   bool want, const uint64_t *moved_to, inl_corpus *out)
{
    for (size_t i = 0; i < from->count; i++) {
        if ((bool)flags[i] != want)
            continue;
        inl_sequence s = from->sequences[i];
        uint64_t start = s.start;
        if (from->pair_count > 0)
            s.record = moved_to[s.record];
        INL_TRY(inl_corpus_add(env, out, &s, from->tokens.data + start, from->supervised + start));
    }
    return INLAY_OK;
}

// The sequences whose flag is `want`, with their records.
static inlay_result take_part(const inl_env *env, const inl_corpus *from, const uint8_t *flags,
                              bool want, inl_corpus *out)
{
    *out = (inl_corpus){.max_length = from->max_length};
    memcpy(out->format, from->format, sizeof(out->format));
    uint8_t *held = inl_alloc(env, from->pair_count, sizeof(*held));
    uint64_t *moved_to = inl_alloc(env, from->pair_count, sizeof(*moved_to));
    inlay_result result = held && moved_to ? INLAY_OK : INLAY_ERROR_OUT_OF_MEMORY;
    if (result == INLAY_OK) {
        for (size_t i = 0; i < from->count && from->pair_count > 0; i++)
            held[from->sequences[i].record] = flags[i];
        result = copy_pairs(env, from, held, want, moved_to, out);
    }
    if (result == INLAY_OK)
        result = copy_sequences(env, from, flags, want, moved_to, out);
    inl_free(env, held);
    inl_free(env, moved_to);
    if (result != INLAY_OK)
        inl_corpus_free(env, out);
    return result;
}

// A text file is one record on both sides.
static void share_records(const inl_corpus *from, inl_corpus *kept, inl_corpus *held)
{
    bool is_stream = strcmp(from->format, "txt") == 0;
    held->records = is_stream ? 1 : held->count;
    kept->records = is_stream ? 1 : from->records - held->count;
}

static inlay_result split(inl_dataset *source, const uint8_t *flags, inl_dataset **held_out)
{
    const inl_env *env = &source->env;
    inl_corpus kept, held;
    inl_dataset *kept_set = NULL;
    INL_TRY(take_part(env, &source->corpus, flags, true, &held));
    inlay_result result = take_part(env, &source->corpus, flags, false, &kept);
    if (result != INLAY_OK) {
        inl_corpus_free(env, &held);
        return result;
    }
    share_records(&source->corpus, &kept, &held);
    result = create(env, &kept, source->no_packing, &kept_set);
    if (result != INLAY_OK) {
        inl_corpus_free(env, &held);
        return result;
    }
    result = create(env, &held, source->no_packing, held_out);
    if (result == INLAY_OK) { // the source's handle stays, its contents change
        inl_dataset old = *source;
        *source = *kept_set;
        *kept_set = old;
    }
    inl_dataset_close(&kept_set);
    return result;
}

inlay_result inl_dataset_split(inl_dataset *source, double fraction, uint32_t seed,
                               inl_dataset **held_out)
{
    const inl_env *env = &source->env;
    uint64_t count = source->corpus.count;
    *held_out = NULL;
    if (!(fraction > 0.0 && fraction < 1.0))
        return inl_fail(env, INLAY_ERROR_INVALID_ARGUMENT,
                        "the held-out fraction is %g, but must lie between 0 and 1", fraction);
    if (count < 2)
        return inl_fail(env, INLAY_ERROR_INVALID_ARGUMENT,
                        "a dataset of one sequence cannot be split");
    uint64_t take = (uint64_t)((double)count * fraction + 0.5);
    take = INL_MAX(1, INL_MIN(take, count - 1));
    uint8_t *flags = inl_alloc(env, count, sizeof(*flags));
    if (!flags)
        return INLAY_ERROR_OUT_OF_MEMORY;
    inlay_result result = draw(env, count, take, seed, flags);
    if (result == INLAY_OK)
        result = split(source, flags, held_out);
    inl_env saved = source->env;
    inl_free(&saved, flags);
    return result;
}

const inl_dataset_info *inl_dataset_get_info(const inl_dataset *dataset)
{
    return &dataset->info;
}

void inl_dataset_get_row(const inl_dataset *dataset, uint64_t row, inl_row *out)
{
    const inl_packed_rows *p = &dataset->packed;
    uint64_t base = row * p->max_length;
    *out = (inl_row){.count = p->counts[row], .supervised = p->supervised[row],
                     .tokens = p->tokens + base, .starts = p->starts + base,
                     .labels = p->labels + base};
}

const inl_sequence *inl_dataset_get_sequence(const inl_dataset *dataset, uint64_t index,
                                             const int32_t **tokens, const uint8_t **supervised)
{
    const inl_sequence *s = &dataset->corpus.sequences[index];
    *tokens = dataset->corpus.tokens.data + s->start;
    *supervised = dataset->corpus.supervised + s->start;
    return s;
}

uint64_t inl_dataset_hash(const inl_dataset *dataset)
{
    return inl_packed_rows_hash(&dataset->packed);
}

bool inl_dataset_get_record(const inl_dataset *dataset, uint64_t index, const char **prompt,
                            const char **completion)
{
    const inl_corpus *c = &dataset->corpus;
    if (index >= c->pair_count)
        return false;
    *prompt = c->texts + c->pairs[index].prompt;
    *completion = c->texts + c->pairs[index].completion;
    return true;
}
