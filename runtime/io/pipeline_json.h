// SPDX-License-Identifier: MIT
// What a tokenizer.json does around its model: normalizer, pre-tokenizer, post-processor (as far as
// it says BOS and EOS) and decoder. An unsupported part is one sentence that names the file and the
// key.
#ifndef INL_IO_PIPELINE_JSON_H
#define INL_IO_PIPELINE_JSON_H

#include "io/normalizer.h"
#include "io/pretokenizer.h"
#include "io/tokenizer.h"
#include "io/vocab.h"

#include <jansson.h>

// Where messages say that something is wrong: "file: place".
typedef struct inl_json_place {
    const inl_env *env;
    const char *file;
    char path[192]; // such as "pre_tokenizer.pretokenizers[1]"
} inl_json_place;

inl_json_place inl_json_member(const inl_json_place *place, const char *key);
inl_json_place inl_json_element(const inl_json_place *place, const char *key, size_t index);
// "file: place.type X is not supported", or that it is missing.
inlay_result inl_json_refuse_type(const inl_json_place *place, const json_t *spec);
// "file: place.key WHAT"
inlay_result inl_json_refuse(const inl_json_place *place, const char *key, const char *what);
bool inl_json_has_type(const json_t *spec, const char *type);
inlay_result inl_json_get_text(const inl_json_place *place, const json_t *spec, const char *key,
                               inl_slice *out);
inlay_result inl_json_get_flag(const inl_json_place *place, const json_t *spec, const char *key,
                               bool otherwise, bool *out);
// A pattern: {"String": ...} or {"Regex": ...}.
inlay_result inl_json_get_pattern(const inl_json_place *place, const json_t *spec, bool *is_regex,
                                  inl_slice *out);

// Each `spec` may be NULL or null. *out NULL: nothing is to be done.
inlay_result inl_pipeline_normalizer(const inl_env *env, const char *file, const json_t *spec,
                                     inl_normalizer **out);
// *out is never NULL on success.
inlay_result inl_pipeline_pretokenizer(const inl_env *env, const char *file, const json_t *spec,
                                       inl_pretokenizer **out);

// The tokens put before and after a single text, -1: none.
typedef struct inl_ends {
    int64_t before, after;
} inl_ends;

inlay_result inl_pipeline_ends(const inl_env *env, const char *file, const json_t *spec,
                               inl_ends *out);

// How tokens become bytes.
typedef enum inl_decoding_kind {
    INL_DECODING_REPLACE, // `from` becomes `to`
    INL_DECODING_STRIP,   // up to `count` of `from` go from each token's start
    INL_DECODING_BYTES,   // <0xXX> is a byte
    INL_DECODING_SYMBOLS, // byte symbols are bytes
} inl_decoding_kind;

typedef struct inl_decoding_step {
    inl_decoding_kind kind;
    inl_slice from, to; // in the JSON
    uint64_t count;
} inl_decoding_step;

typedef struct inl_decoding {
    inl_decoding_step steps[16];
    uint32_t count;
    uint32_t start_spaces; // that go where a text starts
    bool symbols;
} inl_decoding;

// `out` refers to `spec`.
inlay_result inl_pipeline_decoder(const inl_env *env, const char *file, const json_t *spec,
                                  inl_decoding *out);
// Gives the tokens their bytes.
inlay_result inl_pipeline_decode(const inl_env *env, const inl_decoding *decoding,
                                 inl_vocab *vocab);

#endif
