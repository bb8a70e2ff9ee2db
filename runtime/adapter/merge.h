// SPDX-License-Identifier: MIT
// An adapter added to the weights of its base, and the sum written as a model of its own: of each
// target W + scale B A, or DoRA's m / |W + scale B A| (W + scale B A).
#ifndef INL_ADAPTER_MERGE_H
#define INL_ADAPTER_MERGE_H

#include "adapter/lora.h"
#include "io/gguf.h"
#include "io/tokenizer.h"
#include "quant/format.h"

typedef struct inl_merge_params {
    // Of the matrices; NULL: each keeps the one it has. Norms and biases keep theirs.
    const inl_format *format;
    // Of a folder that becomes a GGUF file.
    const inl_tokenizer *tokenizer;
    // Bytes written of all there are to write; false ends it with INTERRUPTED. May be NULL.
    bool (*progress)(void *user, uint64_t done, uint64_t total);
    void *user;
} inl_merge_params;

// The model as one GGUF file with the metadata of the base's; whole or not at all. `modules` are
// those of the base and of the adapter. Of a folder the file is what llama.cpp's converter makes:
// vectors and routers in F32, 4-bit matrices in F16 where no format is asked for.
inlay_result inl_merge_gguf(const inl_gguf *base, const inl_module_list *modules,
                            const inl_lora *lora, const inl_merge_params *params, const char *path);
// The same of a Hugging Face folder, as a folder that is not there yet or empty: its files, their
// names and their order of tensors stay. The format is F32, F16, BF16 or NULL.
inlay_result inl_merge_folder(const inl_gguf *base, const inl_module_list *modules,
                              const inl_lora *lora, const inl_merge_params *params,
                              const char *folder);

// ---- what the writers share

// A matrix of the base that is read row by row. Where experts share a tensor it has their rows one
// behind the other.
typedef struct inl_merge_matrix {
    const char *name; // for messages
    const inl_format *stored, *wanted;
    const uint8_t *data;
    uint64_t rows, cols;
    const inl_lora_pair *const *pairs; // one for each `pair_rows` rows, some may be NULL
    uint64_t pair_rows;
    // Rows are written in GGUF's order where the base has Hugging Face's (inl_module); 0: as they
    // are.
    uint32_t folder_heads;
    uint32_t file_heads; // the other way round (inl_module.permuted_heads)
} inl_merge_matrix;

typedef struct inl_merge_run {
    inl_env env;
    const inl_merge_params *params;
    uint64_t done, total; // bytes of tensors written
} inl_merge_run;

// The module whose weight the GGUF tensor is, the first of experts; NULL: none.
const inl_module *inl_merge_find_module(const inl_module_list *list, const char *name);
// The one in whose order the tensor's rows are: "blk.0.attn_q.bias" has those of
// "blk.0.attn_q.weight". NULL: none.
const inl_module *inl_merge_find_rows(const inl_module_list *list, const char *name);
// The sum in the wanted format. NOT_FINITE: it does not fit there.
inlay_result inl_merge_put_matrix(inl_merge_run *run, const inl_merge_matrix *m, inl_writer *file);
// The same of bitsandbytes' 4 bits, which `m` has in place of `data` and `stored`.
inlay_result inl_merge_put_bnb4(inl_merge_run *run, const inl_merge_matrix *m,
                                const inl_bnb4 *values, inl_writer *file);
// Bytes as they are.
inlay_result inl_merge_put_bytes(inl_merge_run *run, const uint8_t *data, uint64_t size,
                                 inl_writer *file);

#endif
