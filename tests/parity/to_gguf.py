# SPDX-License-Identifier: MIT
"""GGUF files of transformers' models, as llama.cpp's converter writes them (checked against it).

Facts used: GGUF v3's keys and tensor names by gguf's own tables; rows of q and k of llama and
smollm3 change from halves to interleaved pairs; Gemma's norms are stored with their 1; Llama 3's
RoPE scaling becomes a tensor of divisors, Phi 3's two of them and a factor on attention.
"""
import math

import gguf
import llamas
import numpy as np
import torch

ARCHITECTURES = {"llama": "llama", "mistral": "llama", "qwen2": "qwen2", "qwen3": "qwen3",
                 "gemma": "gemma", "gemma2": "gemma2", "gemma3_text": "gemma3", "phi3": "phi3",
                 "smollm3": "smollm3", "qwen3_moe": "qwen3moe"}


def head_dim(config):
    return getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads


def rope_of(config):
    """The parameters of layers that see everything."""
    return config.rope_parameters.get("full_attention", config.rope_parameters)


def add_scaling(writer, config, arch):
    rope = rope_of(config)
    kind = rope["rope_type"]
    if kind == "linear":
        writer.add_rope_scaling_type(gguf.RopeScalingType.LINEAR)
        writer.add_rope_scaling_factor(rope["factor"])
    elif kind == "yarn":
        writer.add_rope_scaling_type(gguf.RopeScalingType.YARN)
        writer.add_rope_scaling_factor(rope["factor"])
        writer.add_rope_scaling_orig_ctx_len(rope["original_max_position_embeddings"])
        for name in ("beta_fast", "beta_slow"):
            if rope.get(name) is not None:
                getattr(writer, f"add_rope_scaling_yarn_{name}")(rope[name])
    elif kind == "llama3":
        writer.add_tensor("rope_freqs.weight", llamas.llama3_divisors(config))
    elif kind == "longrope":
        original = rope["original_max_position_embeddings"]
        scale = config.max_position_embeddings / original
        factor = math.sqrt(1 + math.log(scale) / math.log(original)) if scale > 1 else 1.0
        writer.add_rope_scaling_attn_factors(factor)
        for name in ("long", "short"):
            writer.add_tensor(f"rope_factors_{name}.weight",
                              np.array(rope[name + "_factor"], dtype=np.float32))
    if arch == "phi3":
        writer.add_rope_scaling_orig_ctx_len(
            rope.get("original_max_position_embeddings") or config.original_max_position_embeddings)


def add_shape(writer, config, arch):
    writer.add_context_length(config.max_position_embeddings)
    writer.add_embedding_length(config.hidden_size)
    writer.add_block_count(config.num_hidden_layers)
    writer.add_feed_forward_length(config.intermediate_size)
    writer.add_head_count(config.num_attention_heads)
    writer.add_head_count_kv(config.num_key_value_heads)
    writer.add_layer_norm_rms_eps(config.rms_norm_eps)
    if arch == "qwen3moe":
        writer.add_expert_count(config.num_experts)
        writer.add_expert_used_count(config.num_experts_per_tok)
        writer.add_expert_feed_forward_length(config.moe_intermediate_size)
    size = head_dim(config)
    if arch == "phi3":
        writer.add_rope_dimension_count(int(rope_of(config).get("partial_rotary_factor", 1.0) *
                                            size))
    elif arch in ("llama", "smollm3"):
        writer.add_rope_dimension_count(size)
        writer.add_vocab_size(config.vocab_size)
    if arch != "phi3" and getattr(config, "head_dim", None):
        writer.add_key_length(size)
        writer.add_value_length(size)
    if arch not in ("gemma", "gemma2"):  # whose base is always 10000
        writer.add_rope_freq_base(rope_of(config)["rope_theta"])
    if "sliding_attention" in config.rope_parameters:
        writer.add_rope_freq_base_swa(config.rope_parameters["sliding_attention"]["rope_theta"])
    add_scaling(writer, config, arch)
    if arch == "gemma2":
        writer.add_attn_logit_softcapping(config.attn_logit_softcapping)
        writer.add_final_logit_softcapping(config.final_logit_softcapping)
    if arch in ("gemma2", "gemma3"):
        writer.add_sliding_window(config.sliding_window)
    if arch == "phi3":
        writer.add_sliding_window(config.sliding_window or 0)


def converted(config, arch, name, array):
    """A tensor's values in the file's order."""
    if arch.startswith("gemma") and name.endswith("norm.weight"):
        return array + np.float32(1.0)
    if arch in ("llama", "smollm3"):
        return llamas.interleave(array, llamas.head_counts(config, name))
    return array


def parts_of(model):
    """(name, values) as transformers saves them: gate and up of the experts are two."""
    for name, p in model.named_parameters():  # a tied head is not among them
        if not name.endswith("experts.gate_up_proj"):
            yield name, p.detach().numpy()
            continue
        for part, values in zip(("gate", "up"), p.detach().chunk(2, dim=1), strict=True):
            yield name.replace("gate_up", part) + ".weight", values.contiguous().numpy()


@torch.no_grad()
def keep(model, name, values):
    """Gives the model the values that its file has."""
    if name.endswith("gate_proj.weight") or name.endswith("up_proj.weight"):
        module = model.get_submodule(name.rsplit(".", 2)[0])
        half = module.gate_up_proj.chunk(2, dim=1)["up_proj" in name]
        half.copy_(torch.from_numpy(values))
    else:
        model.get_parameter(name).copy_(torch.from_numpy(values))


def write(path, model, vocabulary, extra=(), kind="f32"):
    """`extra`: (key, value) pairs that the converter does not write.

    `kind`: matrices are stored in this type, and the model gets the values they then have.
    """
    config = model.config
    arch = ARCHITECTURES[config.model_type]
    writer = gguf.GGUFWriter(path, arch)
    add_shape(writer, config, arch)
    for key, value in extra:
        adders = {bool: writer.add_bool, int: writer.add_uint32, float: writer.add_float32,
                  list: writer.add_array}
        adders[type(value)](f"{arch}.{key}", value)
    vocabulary(writer, config.vocab_size)
    names = gguf.get_tensor_name_map(getattr(gguf.MODEL_ARCH, arch.upper()),
                                     config.num_hidden_layers)
    llama_names = gguf.get_tensor_name_map(gguf.MODEL_ARCH.LLAMA, config.num_hidden_layers)
    for name, values in parts_of(model):
        stored = names.get_name(name, try_suffixes=(".weight", ".bias"))
        if name.endswith("experts.down_proj"):
            stored = names.get_name(name) + ".weight"
        elif stored is None:  # a dense layer of qwen3moe: the converter knows none
            stored = llama_names.get_name(name, try_suffixes=(".weight",))
        array = converted(config, arch, name, values)
        if kind == "f32" or "ffn_gate_inp" in stored:
            writer.add_tensor(stored, array)
            continue
        assert arch == "qwen3moe"  # others' values may have changed their order
        ggml = llamas.stored_type(array, kind)
        data = gguf.quants.quantize(array, ggml)
        writer.add_tensor(stored, data, raw_dtype=ggml)
        keep(model, name, gguf.quants.dequantize(data, ggml))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
