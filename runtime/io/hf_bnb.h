// SPDX-License-Identifier: MIT
// bitsandbytes' 4-bit tensors in safetensors: codes under the weight's own name, scales and
// settings beside them as "<name>.absmax", "<name>.quant_state.bitsandbytes__nf4" and so on.
#ifndef INL_IO_HF_BNB_H
#define INL_IO_HF_BNB_H

#include "io/hf_shards.h"
#include "quant/nf4.h"

typedef struct inl_hf_bnb {
    bool found; // the tensor is one
    inl_bnb4 values; // into the files, but for `copies`
    uint64_t shape[2]; // [out, in]
    void *copies[4]; // of numbers that lie unaligned; NULL: none. The caller's
} inl_hf_bnb;

// Whether `name` is what stands beside some weight.
bool inl_hf_bnb_is_part(const char *name);
// What `weight`, a tensor of `file`, and all beside it make. Also after a failure the caller frees
// the copies.
inlay_result inl_hf_bnb_read(const inl_hf_shards *shards, const inl_safetensors *file,
                             const inl_safetensor *weight, inl_hf_bnb *out);

#endif
