// SPDX-License-Identifier: MIT
// A small tokenizer.model, written as SentencePiece's protobuf. Header only.
#ifndef HARNESS_TOY_TOKENIZER_MODEL_H
#define HARNESS_TOY_TOKENIZER_MODEL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

// Zero is a BPE model that is in order.
typedef struct toy_model {
    uint8_t type;           // 0: BPE
    bool strips;            // remove_extra_whitespaces
    bool no_prefix;         // add_dummy_prefix off
    bool rules;             // a normalization that is not the identity
    bool suffix;            // treat_whitespace_as_suffix
    bool nothing;           // no pieces
    uint8_t extra_kind;     // a last piece of this type, 0: none, unless
    const char *extra_text; // it has this text
} toy_model;

enum { TOY_SPACE = 3, TOY_A, TOY_B, TOY_AB, TOY_SPACE_AB, TOY_BYTE_A, TOY_WHOLE };

typedef struct toy_model_bytes {
    uint8_t data[512];
    size_t size;
} toy_model_bytes;

static inline void toy_put(toy_model_bytes *out, const void *data, size_t size)
{
    memcpy(out->data + out->size, data, size);
    out->size += size;
}

// A field of a number and wire type, both small.
static inline void toy_put_key(toy_model_bytes *out, uint8_t number, uint8_t wire)
{
    uint8_t key[2] = {(uint8_t)((number << 3 & 0x7f) | wire | (number > 15 ? 0x80 : 0)),
                      (uint8_t)(number >> 4)};
    toy_put(out, key, number > 15 ? 2 : 1);
}

static inline void toy_put_flag(toy_model_bytes *out, uint8_t number, uint8_t value)
{
    toy_put_key(out, number, 0);
    toy_put(out, &value, 1);
}

static inline void toy_put_bytes(toy_model_bytes *out, uint8_t number, const void *data,
                                 uint8_t size)
{
    toy_put_key(out, number, 2);
    toy_put(out, &size, 1);
    toy_put(out, data, size);
}

static inline void toy_put_piece(toy_model_bytes *out, const char *text, float score, uint8_t kind)
{
    toy_model_bytes piece = {0};
    toy_put_bytes(&piece, 1, text, (uint8_t)strlen(text));
    toy_put_key(&piece, 2, 5);
    toy_put(&piece, &score, sizeof(score)); // least byte first, as this machine has it
    if (kind != 1)
        toy_put_flag(&piece, 3, kind);
    toy_put_bytes(out, 1, piece.data, (uint8_t)piece.size);
}

static inline void toy_put_pieces(toy_model_bytes *out, const toy_model *m)
{
    toy_put_piece(out, "<unk>", 0, 2);
    toy_put_piece(out, "<s>", 0, 3);
    toy_put_piece(out, "</s>", 0, 3);
    toy_put_piece(out, "\xe2\x96\x81", -3, 1);
    toy_put_piece(out, "a", -4, 1);
    toy_put_piece(out, "b", -5, 1);
    toy_put_piece(out, "ab", -1, 1);
    toy_put_piece(out,
                  "\xe2\x96\x81"
                  "ab",
                  -2, 1);
    toy_put_piece(out, "<0x41>", 0, 6);
    toy_put_piece(out, "<w>", 0, 4);
    if (m->extra_kind || m->extra_text)
        toy_put_piece(out, m->extra_text ? m->extra_text : "extra", 0,
                      m->extra_kind ? m->extra_kind : 1);
}

static inline void toy_model_write(toy_model_bytes *out, const toy_model *m)
{
    toy_model_bytes trainer = {0}, normalizer = {0};
    if (!m->nothing)
        toy_put_pieces(out, m);
    toy_put_flag(&trainer, 3, m->type ? m->type : 2);
    toy_put_flag(&trainer, 24, m->suffix);
    toy_put_bytes(out, 2, trainer.data, (uint8_t)trainer.size);
    toy_put_bytes(&normalizer, 1, m->rules ? "nfkc" : "identity", m->rules ? 4 : 8);
    if (m->rules)
        toy_put_bytes(&normalizer, 2, "rules", 5);
    toy_put_flag(&normalizer, 3, !m->no_prefix);
    toy_put_flag(&normalizer, 4, m->strips);
    toy_put_bytes(out, 3, normalizer.data, (uint8_t)normalizer.size);
}

#endif
