// SPDX-License-Identifier: MIT
// A data file's records, checked and tokenized into sequences: what is packed afterwards.
#ifndef INL_IO_RECORDS_H
#define INL_IO_RECORDS_H

#include "io/corpus.h"
#include "io/dataset.h"

// `name` is for messages. On failure nothing is left in *out.
inlay_result inl_corpus_read(const inl_env *env, const inl_tokenizer *tokenizer, const char *name,
                             const char *data, uint64_t size, inl_data_kind kind,
                             const inl_dataset_params *params, inl_corpus *out);

#endif
