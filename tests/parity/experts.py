# SPDX-License-Identifier: MIT
"""Adapters of a mixture of experts: each expert's matrices have a pair, named as in transformers 4.

transformers 5 keeps the experts of a layer in two parameters. PEFT fuses such a file's pairs for
them as it loads it, gate and up into a block-diagonal pair of twice the rank; here that is undone.
"""
import json
import math
import re

import torch
from peft import PeftModel
from safetensors.torch import save_file

ATTENTION = {"q_proj": "q", "k_proj": "kv", "v_proj": "kv", "o_proj": "o"}


def shapes(config, router):
    """(out, in) of each adapted module by its path."""
    c, all_shapes = config, {}
    heads = {"q": c.num_attention_heads * c.head_dim, "kv": c.num_key_value_heads * c.head_dim}
    for layer in range(c.num_hidden_layers):
        path = f"model.layers.{layer}"
        for name, kind in ATTENTION.items():
            shape = (c.hidden_size, heads["q"]) if kind == "o" else (heads[kind], c.hidden_size)
            all_shapes[f"{path}.self_attn.{name}"] = shape
        if layer in c.mlp_only_layers or (layer + 1) % c.decoder_sparse_step != 0:
            continue  # a dense layer, whose gate_proj PEFT takes for the experts' and drops
        for e in range(c.num_experts):
            wide = (c.moe_intermediate_size, c.hidden_size)
            all_shapes[f"{path}.mlp.experts.{e}.gate_proj"] = wide
            all_shapes[f"{path}.mlp.experts.{e}.up_proj"] = wide
            all_shapes[f"{path}.mlp.experts.{e}.down_proj"] = wide[::-1]
        if router:
            all_shapes[f"{path}.mlp.gate"] = (c.num_experts, c.hidden_size)
    return all_shapes


def write(folder, config, rank, alpha, seed, router=False):
    """A random adapter of everything, B too, in PEFT's files."""
    folder.mkdir(parents=True)
    rng = torch.Generator().manual_seed(seed)
    tensors = {}
    for path, (rows, cols) in shapes(config, router).items():
        a = (2 * torch.rand(rank, cols, generator=rng) - 1) / math.sqrt(cols)
        tensors[f"base_model.model.{path}.lora_A.weight"] = a
        tensors[f"base_model.model.{path}.lora_B.weight"] = 0.1 * torch.randn(rows, rank,
                                                                             generator=rng)
    save_file(tensors, folder / "adapter_model.safetensors")
    targets = sorted(set(name.rsplit(".", 1)[1] for name in shapes(config, router)))
    (folder / "adapter_config.json").write_text(json.dumps(
        {"peft_type": "LORA", "task_type": "CAUSAL_LM", "r": rank, "lora_alpha": alpha,
         "target_modules": targets}))


def load(model, folder):
    return PeftModel.from_pretrained(model, folder, is_trainable=True)


def gate_up(path, a, b, experts):
    """The pairs of gate and up in the one that is fused of both."""
    a = a.reshape(experts, 2, -1, a.shape[1])
    b = b.reshape(2, b.shape[0] // 2, 2, -1, experts)
    for e in range(experts):
        for half, name in enumerate(("gate_proj", "up_proj")):
            yield f"{path}.{e}.{name}", a[e, half], b[half, :, half, :, e]


def down(path, a, b, experts):
    a = a.reshape(experts, -1, a.shape[1])
    b = b.reshape(b.shape[0], -1, experts)
    for e in range(experts):
        yield f"{path}.{e}.down_proj", a[e], b[:, :, e]


def unfused(tensors, experts):
    """What PEFT has by the names of the file."""
    result = dict(tensors)
    for name in tensors:
        inner = re.fullmatch(r"(.*\.mlp\.experts)(\.base_layer)?\.lora_A\.weight", name)
        if not inner:
            continue
        pair = [result.pop(name), result.pop(name.replace("lora_A", "lora_B"))]
        split = gate_up if inner[2] else down
        for path, a, b in split(inner[1], *pair, experts):
            result[path + ".lora_A.weight"], result[path + ".lora_B.weight"] = a, b
    return result
