# SPDX-License-Identifier: MIT
"""GGUF files written by hand, also wrong ones: a small random llama in f32 whose keys, tensors and
header a test may change before it takes the bytes."""
import array
import random
import struct

ALIGNMENT = 32
U32, I32, F32, BOOL, STRING, ARRAY = 4, 5, 6, 7, 8, 9
TYPE_F32 = 0


def text_bytes(text):
    data = text if isinstance(text, bytes) else text.encode()
    return struct.pack("<Q", len(data)) + data


def value_bytes(kind, value):
    if kind == STRING:
        return text_bytes(value)
    return struct.pack({U32: "<I", I32: "<i", F32: "<f", BOOL: "<?"}[kind], value)


def key_bytes(name, kind, value):
    head = text_bytes(name)
    if not isinstance(kind, tuple):
        return head + struct.pack("<I", kind) + value_bytes(kind, value)
    element = kind[1]
    return (head + struct.pack("<IIQ", ARRAY, element, len(value)) +
            b"".join(value_bytes(element, v) for v in value))


def padded(data):
    return data + bytes(-len(data) % ALIGNMENT)


class Tensor:
    """`shape` in GGUF's order, the contiguous dimension first. `offset` None: where it lies."""

    def __init__(self, shape, values, kind=TYPE_F32, offset=None):
        self.shape, self.values, self.kind, self.offset = list(shape), values, kind, offset

    def data(self):
        return array.array("f", self.values).tobytes()


class Gguf:
    """`keys`: name -> (kind, value); `tensors`: name -> Tensor; a count of None: the true one."""

    def __init__(self):
        self.magic, self.version = b"GGUF", 3
        self.keys, self.tensors = {}, {}
        self.key_count = self.tensor_count = None

    def header(self):
        counts = [len(self.tensors) if self.tensor_count is None else self.tensor_count,
                  len(self.keys) if self.key_count is None else self.key_count]
        return self.magic + struct.pack("<IQQ", self.version, *counts)

    def build(self):
        keys = b"".join(key_bytes(name, *pair) for name, pair in self.keys.items())
        infos = payload = b""
        for name, t in self.tensors.items():
            offset = len(payload) if t.offset is None else t.offset
            infos += text_bytes(name) + struct.pack(f"<I{len(t.shape)}QIQ", len(t.shape),
                                                    *t.shape, t.kind, offset)
            payload = padded(payload + t.data())
        return padded(self.header() + keys + infos) + payload

    def write(self, path):
        with open(path, "wb") as f:
            f.write(self.build())
        return str(path)


class Llama(Gguf):
    """`fast`: of each matrix 1024 values are random and come again.

    SentencePiece-style tokens: <unk>, <s>, </s>, the 256 bytes, and `pieces`."""

    def __init__(self, dim=32, ffn=64, layers=2, heads=4, kv_heads=2, context=256, seed=1,
                 pieces=("\u2581", "a", "b", "ab", "\u2581ab"), fast=False):
        super().__init__()
        self.random, self.fast = random.Random(seed), fast
        vocab = 259 + len(pieces)
        self.add_shape(dim, ffn, layers, heads, kv_heads, context)
        self.add_tokenizer(pieces)
        self.add_matrix("token_embd", vocab, dim, 1.0)
        self.add_vector("output_norm", dim)
        self.add_matrix("output", vocab, dim, dim**-0.5)
        for layer in range(layers):
            self.add_layer(f"blk.{layer}.", dim, ffn, dim // heads * kv_heads)

    def add_shape(self, dim, ffn, layers, heads, kv_heads, context):
        self.keys["general.architecture"] = (STRING, "llama")
        for name, value in (("context_length", context), ("embedding_length", dim),
                            ("feed_forward_length", ffn), ("block_count", layers),
                            ("attention.head_count", heads),
                            ("attention.head_count_kv", kv_heads)):
            self.keys["llama." + name] = (U32, value)
        self.keys["llama.attention.layer_norm_rms_epsilon"] = (F32, 1e-5)

    def add_tokenizer(self, pieces):
        tokens = ["<unk>", "<s>", "</s>"] + [f"<0x{b:02X}>" for b in range(256)] + list(pieces)
        kinds = [2, 3, 3] + [6] * 256 + [1] * len(pieces)
        for name, kind, value in (("model", STRING, "llama"), ("tokens", (ARRAY, STRING), tokens),
                                  ("scores", (ARRAY, F32),
                                   [0.0] * 259 + [float(i) for i in range(len(pieces))]),
                                  ("token_type", (ARRAY, I32), kinds),
                                  ("bos_token_id", U32, 1), ("eos_token_id", U32, 2)):
            self.keys["tokenizer.ggml." + name] = (kind, value)

    def add_matrix(self, name, rows, cols, scale):
        count = min(rows * cols, 1024) if self.fast else rows * cols
        values = [self.random.gauss(0.0, scale) for _ in range(count)]
        if self.fast:
            values = array.array("f", values) * (rows * cols // count)
        self.tensors[name + ".weight"] = Tensor([cols, rows], values)

    def add_vector(self, name, size):
        values = [self.random.gauss(1.0, 0.2) for _ in range(size)]
        self.tensors[name + ".weight"] = Tensor([size], values)

    def add_layer(self, prefix, dim, ffn, kv):
        self.add_vector(prefix + "attn_norm", dim)
        self.add_vector(prefix + "ffn_norm", dim)
        for name, rows, cols in (("attn_q", dim, dim), ("attn_k", kv, dim), ("attn_v", kv, dim),
                                 ("attn_output", dim, dim), ("ffn_gate", ffn, dim),
                                 ("ffn_up", ffn, dim), ("ffn_down", dim, ffn)):
            self.add_matrix(prefix + name, rows, cols, cols**-0.5)
