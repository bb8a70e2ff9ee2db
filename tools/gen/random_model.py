#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Writes a llama model of random weights as GGUF, for tests and benchmarks.

usage: random_model.py --dim 512 --ffn 1536 --layers 8 --heads 8 --kv-heads 4 --vocab 512
                       --type q8_0 --seed 1 -o out.gguf

Needs the PyPI packages gguf and numpy. Matrices get the type asked for, vectors are F32. A tensor's
values depend on the seed and its name alone, so models that differ in --type hold the same weights.
Matrices are normal with deviation 0.45 / sqrt(inputs), 0.02 at 512 inputs; those that write to the
residual stream are smaller by sqrt(2 layers), so that depth does not blow it up.
"""
import argparse
import random
import sys
import zlib

import gguf
import numpy as np

TYPES = {  # name -> ggml's type, general.file_type
    "f32": (gguf.GGMLQuantizationType.F32, 0),
    "f16": (gguf.GGMLQuantizationType.F16, 1),
    "bf16": (gguf.GGMLQuantizationType.BF16, 32),
    "q8_0": (gguf.GGMLQuantizationType.Q8_0, 7),
    "q4_0": (gguf.GGMLQuantizationType.Q4_0, 2),
}
GAIN = 0.45
SPACE = "\u2581"
BYTES_AT = 3  # <unk>, <s> and </s> come first
LEAST_VOCAB = BYTES_AT + 256
LONGEST_PIECE = 12


def parse_args():
    p = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    p.add_argument("--dim", type=int, default=512)
    p.add_argument("--ffn", type=int, default=1536)
    p.add_argument("--layers", type=int, default=8)
    p.add_argument("--heads", type=int, default=8)
    p.add_argument("--kv-heads", type=int, help="default: as many as --heads")
    p.add_argument("--head-dim", type=int, help="default: dim / heads")
    p.add_argument("--vocab", type=int, default=512, help=f"at least {LEAST_VOCAB}")
    p.add_argument("--context", type=int, default=2048)
    p.add_argument("--rope-base", type=float, default=10000.0)
    p.add_argument("--type", choices=TYPES, default="q8_0")
    p.add_argument("--tied", action="store_true", help="the embedding is the head too")
    p.add_argument("--biases", action="store_true", help="biases on q, k, v and output")
    p.add_argument("--rope-factors", action="store_true", help="rope_freqs.weight, as in Llama 3")
    p.add_argument("--seed", type=int, default=1)
    p.add_argument("-o", "--output", required=True)
    args = p.parse_args()
    args.kv_heads = args.kv_heads or args.heads
    args.head_dim = args.head_dim or args.dim // args.heads
    return args


def check(args):
    block = gguf.GGML_QUANT_SIZES[TYPES[args.type][0]][0]
    if min(args.dim, args.ffn, args.layers, args.heads, args.kv_heads, args.head_dim) < 1:
        sys.exit("all sizes must be positive")
    if args.vocab < LEAST_VOCAB:
        sys.exit(f"--vocab must be at least {LEAST_VOCAB}: three special tokens and 256 bytes")
    if args.heads % args.kv_heads != 0:
        sys.exit("--heads must be a multiple of --kv-heads")
    if args.head_dim % 2 != 0:
        sys.exit("the head size must be even")
    for name, size in (("--dim", args.dim), ("--ffn", args.ffn),
                       ("--heads x head size", args.heads * args.head_dim)):
        if size % block != 0:
            sys.exit(f"{name} is {size}, no multiple of {args.type}'s blocks of {block}")


# ---- tokenizer

def invent_pieces(count, seed):
    """Characters first, then pairs of earlier pieces, so that merging can reach each of them."""
    pieces = [SPACE] + list("etaoinshrdlcumwfgypbvkjxqz.,!?'\"-0123456789"
                            "TAISHWBMCOLPNDREFGYUVKJXQZ:;()\n")[:max(count - 1, 0)]
    known = set(pieces)
    rng = random.Random(seed)
    while len(pieces) < count:
        # Squared: early, frequent pieces are used more often.
        left = pieces[int(len(pieces) * rng.random() ** 2)]
        right = pieces[int(len(pieces) * rng.random() ** 2)]
        piece = left + right
        if SPACE in right or len(piece) > LONGEST_PIECE or piece in known:
            continue
        known.add(piece)
        pieces.append(piece)
    return pieces[:count]


def add_tokenizer(writer, args):
    pieces = invent_pieces(args.vocab - LEAST_VOCAB, args.seed)
    kind = gguf.TokenType
    tokens = ["<unk>", "<s>", "</s>"] + [f"<0x{b:02X}>" for b in range(256)] + pieces
    kinds = ([kind.UNKNOWN, kind.CONTROL, kind.CONTROL] + [kind.BYTE] * 256 +
             [kind.NORMAL] * len(pieces))
    writer.add_tokenizer_model("llama")
    writer.add_token_list([t.encode("utf-8") for t in tokens])
    writer.add_token_scores([0.0] * LEAST_VOCAB + [-float(i) for i in range(len(pieces))])
    writer.add_token_types([int(k) for k in kinds])
    writer.add_unk_token_id(0)
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(2)
    writer.add_add_bos_token(True)
    writer.add_add_eos_token(False)
    writer.add_add_space_prefix(True)


# ---- metadata and tensors

def add_metadata(writer, args):
    writer.add_type(gguf.GGUFType.MODEL)
    writer.add_name(f"random llama, seed {args.seed}")
    writer.add_file_type(TYPES[args.type][1])
    writer.add_quantization_version(2)
    writer.add_context_length(args.context)
    writer.add_embedding_length(args.dim)
    writer.add_block_count(args.layers)
    writer.add_feed_forward_length(args.ffn)
    writer.add_head_count(args.heads)
    writer.add_head_count_kv(args.kv_heads)
    writer.add_key_length(args.head_dim)
    writer.add_value_length(args.head_dim)
    writer.add_rope_dimension_count(args.head_dim)
    writer.add_rope_freq_base(args.rope_base)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_vocab_size(args.vocab)


class Weights:
    """Adds tensors to the writer; each is drawn from a generator of its own."""

    def __init__(self, writer, args):
        self.writer, self.type, self.seed = writer, TYPES[args.type][0], args.seed

    def normal(self, name, shape, deviation):
        rng = np.random.default_rng([self.seed, zlib.crc32(name.encode())])
        return rng.standard_normal(shape, dtype=np.float32) * np.float32(deviation)

    def matrix(self, name, rows, cols, deviation):
        data = self.normal(name, (rows, cols), deviation)
        self.writer.add_tensor(name, gguf.quants.quantize(data, self.type), raw_dtype=self.type)

    def vector(self, name, size, deviation, centre=0.0):
        self.writer.add_tensor(name, np.float32(centre) + self.normal(name, (size,), deviation))


def add_layer(weights, args, layer):
    q, kv = args.heads * args.head_dim, args.kv_heads * args.head_dim
    residual = (2 * args.layers) ** -0.5
    prefix = f"blk.{layer}."
    weights.vector(prefix + "attn_norm.weight", args.dim, 0.05, 1.0)
    for role, rows, cols, scale in (("attn_q", q, args.dim, 1.0), ("attn_k", kv, args.dim, 1.0),
                                    ("attn_v", kv, args.dim, 1.0),
                                    ("attn_output", args.dim, q, residual)):
        weights.matrix(f"{prefix}{role}.weight", rows, cols, GAIN * scale * cols**-0.5)
        if args.biases:
            weights.vector(f"{prefix}{role}.bias", rows, 0.02)
    weights.vector(prefix + "ffn_norm.weight", args.dim, 0.05, 1.0)
    for role, rows, cols, scale in (("ffn_gate", args.ffn, args.dim, 1.0),
                                    ("ffn_up", args.ffn, args.dim, 1.0),
                                    ("ffn_down", args.dim, args.ffn, residual)):
        weights.matrix(f"{prefix}{role}.weight", rows, cols, GAIN * scale * cols**-0.5)


def rope_factors(args):
    """Llama 3's: slow frequencies become 8 times slower, fast ones stay, the rest is blended."""
    factor, low, high, old_context = 8.0, 1.0, 4.0, args.context / 4
    waves = 2 * np.pi * args.rope_base ** (np.arange(0, args.head_dim, 2) / args.head_dim)
    smooth = np.clip((old_context / waves - low) / (high - low), 0.0, 1.0)
    return (1.0 / ((1.0 - smooth) / factor + smooth)).astype(np.float32)


def add_tensors(writer, args):
    weights = Weights(writer, args)
    weights.matrix("token_embd.weight", args.vocab, args.dim, GAIN * args.dim**-0.5)
    if args.rope_factors:
        writer.add_tensor("rope_freqs.weight", rope_factors(args))
    for layer in range(args.layers):
        add_layer(weights, args, layer)
    weights.vector("output_norm.weight", args.dim, 0.05, 1.0)
    if not args.tied:
        weights.matrix("output.weight", args.vocab, args.dim, GAIN * args.dim**-0.5)


def main():
    args = parse_args()
    check(args)
    writer = gguf.GGUFWriter(args.output, "llama")
    add_metadata(writer, args)
    add_tokenizer(writer, args)
    add_tensors(writer, args)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


if __name__ == "__main__":
    main()
