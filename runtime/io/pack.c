// SPDX-License-Identifier: MIT
#include "io/pack.h"

#include <string.h>

#define XXH_INLINE_ALL
#include <xxhash.h>

#define OPEN_ROWS 64

typedef struct open_row {
    uint64_t row;
    uint32_t used;
} open_row;

// Rows that may still take a sequence, oldest first.
typedef struct window {
    open_row rows[OPEN_ROWS];
    uint32_t count;
    uint64_t next; // the next row to open
} window;

static void close_row(window *w, uint32_t index)
{
    w->count--;
    memmove(&w->rows[index], &w->rows[index + 1], (w->count - index) * sizeof(w->rows[0]));
}

static uint64_t place(window *w, uint32_t count, uint32_t max_length, bool no_packing)
{
    uint32_t i = 0;
    while (i < w->count && w->rows[i].used + (uint64_t)count > max_length)
        i++;
    if (i == w->count) {
        if (w->count == OPEN_ROWS)
            close_row(w, 0);
        i = w->count++;
        w->rows[i] = (open_row){.row = w->next++};
    }
    w->rows[i].used += count;
    uint64_t row = w->rows[i].row;
    if (no_packing || w->rows[i].used == max_length)
        close_row(w, i);
    return row;
}

static void add_sequence(inl_packed_rows *p, uint64_t row, const int32_t *tokens,
                         const uint8_t *supervised, uint32_t count)
{
    uint32_t start = p->counts[row];
    uint64_t base = row * p->max_length + start;
    for (uint32_t t = 0; t < count; t++) {
        bool learns = t + 1 < count && supervised[t + 1];
        p->tokens[base + t] = tokens[t];
        p->starts[base + t] = (int32_t)start;
        p->labels[base + t] = learns ? tokens[t + 1] : -1;
        p->supervised[row] += learns;
    }
    p->counts[row] = start + count;
}

static void pad_rows(inl_packed_rows *p)
{
    for (uint64_t row = 0; row < p->rows; row++)
        for (uint32_t t = p->counts[row]; t < p->max_length; t++) {
            p->starts[row * p->max_length + t] = (int32_t)t;
            p->labels[row * p->max_length + t] = -1;
        }
}

static inlay_result allocate(const inl_env *env, uint64_t rows, uint32_t max_length,
                             inl_packed_rows *out)
{
    uint64_t entries, total;
    *out = (inl_packed_rows){.rows = rows, .max_length = max_length};
    if (!inl_mul_u64(rows, max_length, &entries) || !inl_mul_u64(entries, 3, &total) ||
        total > SIZE_MAX / sizeof(int32_t))
        return inl_fail(env, INLAY_ERROR_OUT_OF_MEMORY, "%llu rows of %u tokens are too many",
                        (unsigned long long)rows, max_length);
    out->counts = inl_alloc(env, rows, 2 * sizeof(*out->counts));
    out->tokens = inl_alloc(env, total, sizeof(*out->tokens));
    if (!out->counts || !out->tokens) {
        inl_packed_rows_free(env, out);
        return INLAY_ERROR_OUT_OF_MEMORY;
    }
    out->supervised = out->counts + rows;
    out->starts = out->tokens + entries;
    out->labels = out->starts + entries;
    return INLAY_OK;
}

inlay_result inl_pack(const inl_env *env, const int32_t *tokens, const uint8_t *supervised,
                      const inl_sequence *sequences, uint64_t count, uint32_t max_length,
                      bool no_packing, inl_packed_rows *out)
{
    *out = (inl_packed_rows){0};
    uint64_t *rows = inl_alloc(env, count, sizeof(*rows));
    if (!rows)
        return INLAY_ERROR_OUT_OF_MEMORY;
    window w = {0};
    for (uint64_t i = 0; i < count; i++)
        rows[i] = place(&w, sequences[i].count, max_length, no_packing);
    inlay_result result = allocate(env, w.next, max_length, out);
    for (uint64_t i = 0; i < count && result == INLAY_OK; i++)
        add_sequence(out, rows[i], tokens + sequences[i].start, supervised + sequences[i].start,
                     sequences[i].count);
    if (result == INLAY_OK)
        pad_rows(out);
    inl_free(env, rows);
    return result;
}

void inl_packed_rows_free(const inl_env *env, inl_packed_rows *packed)
{
    inl_free(env, packed->counts);
    inl_free(env, packed->tokens);
    *packed = (inl_packed_rows){0};
}

uint64_t inl_packed_rows_hash(const inl_packed_rows *packed)
{
    uint64_t head[2] = {packed->max_length, packed->rows};
    uint64_t bytes = packed->rows * packed->max_length * 3 * sizeof(int32_t);
    uint64_t hash = XXH3_64bits(head, sizeof(head));
    hash = XXH3_64bits_withSeed(packed->counts, packed->rows * sizeof(*packed->counts), hash);
    return XXH3_64bits_withSeed(packed->tokens, bytes, hash);
}
