// SPDX-License-Identifier: MIT
// A base model: opened and checked on the CPU, uploaded to a device by whatever runs it.
#ifndef INLAY_MODEL_H
#define INLAY_MODEL_H

#include <inlay/device.h>

INLAY_BEGIN

// A base model, its shapes and its tokenizer. Immutable once opened: reading functions are
// thread-safe. Must outlive everything made from it.
typedef struct inlay_model inlay_model;

typedef struct inlay_model_params {
    // The type that the layers' matrices get when they are loaded: "NF4" (NormalFloat of 4 bits,
    // blocks of 64, double-quantized: arXiv 2305.14314), or a GGUF file's: "Q8_0", "Q4_K", "F16",
    // ...; case ignored. NULL or "none": each keeps its own. Embedding, head, norms and a router
    // always do, and so does a matrix whose rows are no multiple of the type's blocks (the log
    // says which). NF4, Q8_0 and Q4_0 are encoded on the device, the others by the CPU, a million
    // elements at a time. Read by inlay_model_open alone.
    const char *quantize;
    bool skip_finite_check; // do not look for NaN and infinity in the weights
} inlay_model_params;

typedef struct inlay_model_info {
    char architecture[32];
    char name[128]; // general.name, may be empty
    uint64_t file_bytes; // of all parts of a split file, of a folder's safetensors
    uint64_t parameters;
    uint32_t layers, dim, ffn_dim, heads, kv_heads, head_dim, vocab, context_length;
    uint32_t experts, experts_used; // of a layer that has some, and by a token; 0: none
    uint32_t expert_dim;            // an expert's ffn_dim
    uint32_t expert_layers;         // layers with experts; the others are dense
    float rope_base, norm_eps;
    bool tied_head;
    char tokenizer[16]; // "llama" (SentencePiece style), "gpt2" (byte-level BPE)
    char pre_tokenizer[32];
    int32_t bos, eos; // -1: none
    bool add_bos;
    uint32_t tensor_count;
} inlay_model_info;

typedef struct inlay_tensor_info {
    const char *name; // valid as long as the model
    const char *type; // "F32", "Q8_0", ...
    uint32_t dims;
    uint64_t shape[4]; // shape[0] is the contiguous one, as in the file
    uint64_t bytes;
} inlay_tensor_info;

// Reads and checks a GGUF file, any part of a split one, or a Hugging Face folder. Errors:
// NOT_FOUND, IO, BAD_FILE (with place), UNSUPPORTED (architecture, tensor type), NOT_FINITE (names
// the tensor), INVALID_ARGUMENT (`quantize` names no type that can be made).
INLAY_API inlay_result inlay_model_open(inlay_model **out, const inlay_env *env, const char *path,
                                        const inlay_model_params *params);
INLAY_API void inlay_model_close(inlay_model **model);

INLAY_API void inlay_model_get_info(const inlay_model *model, inlay_model_info *info);
// `index` < tensor_count, else INVALID_ARGUMENT.
INLAY_API inlay_result inlay_model_get_tensor(const inlay_model *model, uint32_t index,
                                              inlay_tensor_info *info);

typedef struct inlay_tokenize_params {
    bool add_special;   // BOS and EOS where the model says so
    bool parse_special; // control tokens written out in the text become their ids
} inlay_tokenize_params;

// Text of `size` bytes, any bytes, to ids. *count holds the room in `ids` and becomes the number of
// ids; INVALID_ARGUMENT when that is larger than the room (call with room 0 and ids NULL to learn
// it).
INLAY_API inlay_result inlay_tokenize(const inlay_model *model, const char *text, size_t size,
                                      const inlay_tokenize_params *params, int32_t *ids,
                                      size_t *count);
// The bytes of one token, not NUL-terminated; may be a part of a UTF-8 character. *size holds the
// room and becomes the length (`bytes` NULL: only that). `first`: at the start of a text a
// SentencePiece space is dropped.
INLAY_API inlay_result inlay_detokenize(const inlay_model *model, int32_t id, bool first,
                                        char *bytes, size_t *size);

// A token as the vocabulary spells it, also a control token that stands for no text. Not
// NUL-terminated; lives as long as the model. *size 0: there is no such token.
INLAY_API const char *inlay_model_get_token(const inlay_model *model, int32_t id, size_t *size);

INLAY_END

#endif
