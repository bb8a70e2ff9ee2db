# SPDX-License-Identifier: MIT
"""Hugging Face folders written by hand, also wrong ones: the random llama of gguf_bytes.py under
the names that transformers gives, whose settings, tensors and files a test may change."""
import json
import struct
from pathlib import Path

import gguf_bytes

NAMES = {"attn_norm": "input_layernorm", "ffn_norm": "post_attention_layernorm",
         "attn_q": "self_attn.q_proj", "attn_k": "self_attn.k_proj", "attn_v": "self_attn.v_proj",
         "attn_output": "self_attn.o_proj", "ffn_gate": "mlp.gate_proj", "ffn_up": "mlp.up_proj",
         "ffn_down": "mlp.down_proj"}
WHOLE = {"token_embd.weight": "model.embed_tokens.weight", "output_norm.weight":
         "model.norm.weight", "output.weight": "lm_head.weight"}


def translate(name):
    if name in WHOLE:
        return WHOLE[name]
    _, layer, module, kind = name.split(".")
    return f"model.layers.{layer}.{NAMES[module]}.{kind}"


def safetensors_bytes(tensors, change=None):
    """`tensors`: name -> (dtype, shape, bytes). `change` may lie in the header."""
    header, data = {}, b""
    for name, (dtype, shape, values) in tensors.items():
        header[name] = {"dtype": dtype, "shape": list(shape),
                        "data_offsets": [len(data), len(data) + len(values)]}
        data += values
    if change:
        change(header)
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    return struct.pack("<Q", len(text)) + text + data


NF4 = [-1.0, -0.6961928009986877, -0.5250730514526367, -0.39491748809814453,
       -0.28444138169288635, -0.18477343022833334, -0.09105003625154495, 0.0, 0.07958029955625534,
       0.16093020141124725, 0.24611230194568634, 0.33791524171829224, 0.44070982933044434,
       0.5626170039176941, 0.7229568362236023, 1.0]


def floats(values):
    return ("F32", [len(values)], struct.pack(f"<{len(values)}f", *values))


def four_bits(name, rows, cols, nested, state=()):
    """A matrix as bitsandbytes stores it, of any codes. `state`: changes to its settings."""
    count = rows * cols
    blocks = -(-count // 64)
    settings = {"quant_type": "nf4", "blocksize": 64, "dtype": "float32", "shape": [rows, cols]}
    parts = {"": ("U8", [count // 2, 1], bytes(i * 37 % 256 for i in range(count // 2))),
             ".quant_map": floats(NF4)}
    if nested:
        parts[".absmax"] = ("U8", [blocks], bytes(i * 11 % 256 for i in range(blocks)))
        parts[".nested_absmax"] = floats([0.05] * -(-blocks // 256))
        parts[".nested_quant_map"] = floats([i / 128 - 1 for i in range(256)])
        settings.update(nested_blocksize=256, nested_dtype="float32", nested_offset=0.1)
    else:
        parts[".absmax"] = floats([0.1] * blocks)
    text = json.dumps({**settings, **dict(state)}).encode()
    parts[".quant_state.bitsandbytes__nf4"] = ("U8", [len(text)], text)
    return {name + part: value for part, value in parts.items()}


class Folder:
    """`config`, `tensors` (name -> (dtype, shape, bytes)) and `tokenizer` become files."""

    def __init__(self, **shape):
        llama = gguf_bytes.Llama(**shape)
        value = {name.removeprefix("llama."): v for name, (_, v) in llama.keys.items()}
        self.tensors = {translate(name): ("F32", t.shape[::-1], t.data())
                        for name, t in llama.tensors.items()}
        self.config = {
            "architectures": ["LlamaForCausalLM"], "model_type": "llama", "hidden_act": "silu",
            "hidden_size": value["embedding_length"], "num_hidden_layers": value["block_count"],
            "intermediate_size": value["feed_forward_length"], "rms_norm_eps": 1e-5,
            "num_attention_heads": value["attention.head_count"],
            "num_key_value_heads": value["attention.head_count_kv"],
            "max_position_embeddings": value["context_length"], "rope_theta": 10000.0,
            "tie_word_embeddings": False, "vocab_size": len(value["tokenizer.ggml.tokens"])}
        self.tokenizer = self.make_tokenizer(value["tokenizer.ggml.tokens"])

    @staticmethod
    def make_tokenizer(tokens):
        """Of the bytes alone: what is behind them is never made."""
        return {"version": "1.0", "truncation": None, "padding": None,
                "added_tokens": [{"id": i, "content": t, "special": True, "single_word": False,
                                  "lstrip": False, "rstrip": False, "normalized": False}
                                 for i, t in enumerate(tokens[:3])],
                "normalizer": {"type": "Replace", "pattern": {"String": " "}, "content": "\u2581"},
                "pre_tokenizer": None, "post_processor": None,
                "decoder": {"type": "Sequence", "decoders": [
                    {"type": "Replace", "pattern": {"String": "\u2581"}, "content": " "},
                    {"type": "ByteFallback"}, {"type": "Fuse"}]},
                "model": {"type": "BPE", "dropout": None, "unk_token": "<unk>", "fuse_unk": True,
                          "continuing_subword_prefix": None, "end_of_word_suffix": None,
                          "byte_fallback": True, "ignore_merges": False, "merges": [],
                          "vocab": {t: i for i, t in enumerate(tokens)}}}

    def write(self, path, shards=1, index=True):
        path = Path(path)
        path.mkdir()
        (path / "config.json").write_text(json.dumps(self.config))
        (path / "tokenizer.json").write_text(json.dumps(self.tokenizer))
        (path / "tokenizer_config.json").write_text(json.dumps(
            {"bos_token": "<s>", "eos_token": "</s>", "add_bos_token": True}))
        if shards == 1:
            (path / "model.safetensors").write_bytes(safetensors_bytes(self.tensors))
        else:
            self.write_shards(path, shards, index)
        return path

    def write_shards(self, path, shards, index):
        names, where = list(self.tensors), {}
        for i in range(shards):
            file = f"model-{i + 1:05d}-of-{shards:05d}.safetensors"
            own = {name: self.tensors[name] for name in names[i::shards]}
            where.update(dict.fromkeys(own, file))
            (path / file).write_bytes(safetensors_bytes(own))
        if index:
            (path / "model.safetensors.index.json").write_text(json.dumps(
                {"metadata": {"total_size": 0}, "weight_map": where}))
