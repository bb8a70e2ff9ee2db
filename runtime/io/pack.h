// SPDX-License-Identifier: MIT
// Sequences laid end to end into rows of max_length tokens, none of them cut.
#ifndef INL_IO_PACK_H
#define INL_IO_PACK_H

#include "base/env.h"

typedef struct inl_sequence {
    uint64_t start;      // in the corpus' tokens
    uint32_t count;      // tokens, at most max_length
    uint32_t supervised; // of them, those with a loss
    uint64_t cut;        // tokens beyond max_length that were left out
    uint64_t record;     // which record it was made from
} inl_sequence;

// Three arrays of (rows, max_length) in one block; see inl_row for what they hold.
typedef struct inl_packed_rows {
    uint64_t rows;
    uint32_t max_length;
    uint32_t *counts;     // (rows): tokens in use
    uint32_t *supervised; // (rows): of them, those with a loss; lies behind the counts
    int32_t *tokens;  // heads the block
    int32_t *starts;
    int32_t *labels;
} inl_packed_rows;

// `tokens` and `supervised` are what the sequences' `start` points into. In order, each sequence
// into the first of the open rows that has room; only the youngest few rows stay open.
inlay_result inl_pack(const inl_env *env, const int32_t *tokens, const uint8_t *supervised,
                      const inl_sequence *sequences, uint64_t count, uint32_t max_length,
                      bool no_packing, inl_packed_rows *out);
void inl_packed_rows_free(const inl_env *env, inl_packed_rows *packed);
// XXH3-64 of max_length and all rows.
uint64_t inl_packed_rows_hash(const inl_packed_rows *packed);

#endif
