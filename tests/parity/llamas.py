# SPDX-License-Identifier: MIT
"""Random llamas made by transformers, and the GGUF files llama.cpp's converter would make of them.

Facts used: GGUF v3's keys and tensor names; rows of q and k (weights and biases) change from halves
to interleaved pairs; Llama 3's RoPE scaling becomes a tensor of divisors, linear scaling a key.
"""
import math

import gguf
import nf4
import numpy as np
import quants
import torch
from transformers import LlamaConfig, LlamaForCausalLM

TYPES = {"f32": gguf.GGMLQuantizationType.F32, "f16": gguf.GGMLQuantizationType.F16,
         "bf16": gguf.GGMLQuantizationType.BF16, "q8_0": gguf.GGMLQuantizationType.Q8_0,
         "q4_0": gguf.GGMLQuantizationType.Q4_0, "q5_1": gguf.GGMLQuantizationType.Q5_1,
         "q6_k": gguf.GGMLQuantizationType.Q6_K}
ROLES = {"self_attn.q_proj": "attn_q", "self_attn.k_proj": "attn_k", "self_attn.v_proj": "attn_v",
         "self_attn.o_proj": "attn_output", "mlp.gate_proj": "ffn_gate", "mlp.up_proj": "ffn_up",
         "mlp.down_proj": "ffn_down", "input_layernorm": "attn_norm",
         "post_attention_layernorm": "ffn_norm"}
OUTER = {"model.embed_tokens.weight": "token_embd.weight",
         "model.norm.weight": "output_norm.weight", "lm_head.weight": "output.weight"}


def config_of(dim=48, ffn=172, layers=2, heads=4, kv_heads=2, vocab=259, **more):
    return LlamaConfig(hidden_size=dim, intermediate_size=ffn, num_hidden_layers=layers,
                       num_attention_heads=heads, num_key_value_heads=kv_heads, vocab_size=vocab,
                       max_position_embeddings=256, rms_norm_eps=1e-5, bos_token_id=1,
                       eos_token_id=2, attn_implementation="sdpa",
                       **{"tie_word_embeddings": False, **more})


def randomize(model, seed):
    """Large enough that attention is not flat and each part of the model matters."""
    rng = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, p in model.named_parameters():
            noise = torch.randn(p.shape, generator=rng)
            if "norm" in name:
                p.copy_(1.0 + 0.2 * noise)
            elif name.endswith("bias"):
                p.copy_(0.2 * noise)
            elif "embed_tokens" in name:
                p.copy_(noise * (0.3 if model.config.tie_word_embeddings else 1.0))
            else:
                p.copy_(noise * 1.2 / math.sqrt(p.shape[1]))


def random_llama(seed, **shape):
    config = config_of(**shape)
    model = LlamaForCausalLM(config).to(torch.float32).eval()
    randomize(model, seed)
    return model


# ---- names and orders

def head_counts(config, name):
    """How many heads' rows of this tensor are permuted; 0: it is stored as it is."""
    return {"q_proj": config.num_attention_heads,
            "k_proj": config.num_key_value_heads}.get(name.split(".")[-2], 0)


def interleave(array, heads):
    """Row h*d + j*(d/2) + i becomes row h*d + 2i + j."""
    if not heads:
        return array
    shaped = array.reshape(heads, 2, -1, *array.shape[1:])
    return np.ascontiguousarray(shaped.swapaxes(1, 2)).reshape(array.shape)


def halve(array, heads):
    if not heads:
        return array
    shaped = array.reshape(heads, -1, 2, *array.shape[1:])
    return np.ascontiguousarray(shaped.swapaxes(1, 2)).reshape(array.shape)


def gguf_name(name):
    if name in OUTER:
        return OUTER[name]
    _, _, layer, rest = name.split(".", 3)
    module, kind = rest.rsplit(".", 1)
    return f"blk.{layer}.{ROLES[module]}.{kind}"


def is_layer_matrix(name, array):
    return array.ndim == 2 and name.startswith("model.layers.")


# ---- writing

def stored_type(array, kind, name=""):
    """Rows that a format's blocks do not divide are stored as F16, vectors always as F32."""
    if array.ndim == 1:
        return gguf.GGMLQuantizationType.F32
    wanted = quants.type_in_mix(kind, name) if kind in quants.MIXES else TYPES[kind]
    block, _ = gguf.GGML_QUANT_SIZES[wanted]
    return wanted if array.shape[-1] % block == 0 else gguf.GGMLQuantizationType.F16


def llama3_divisors(config):
    """Slow frequencies become `factor` times slower, fast ones stay, between them it is blended."""
    p = config.rope_parameters
    head = config.head_dim
    wave = 2 * np.pi * p["rope_theta"] ** (np.arange(0, head, 2, dtype=np.float64) / head)
    turns = p["original_max_position_embeddings"] / wave
    low, high = p["low_freq_factor"], p["high_freq_factor"]
    blend = np.clip((turns - low) / (high - low), 0.0, 1.0)
    return (1.0 / ((1.0 - blend) / p["factor"] + blend)).astype(np.float32)


def add_shape(writer, config):
    writer.add_context_length(config.max_position_embeddings)
    writer.add_embedding_length(config.hidden_size)
    writer.add_block_count(config.num_hidden_layers)
    writer.add_feed_forward_length(config.intermediate_size)
    writer.add_head_count(config.num_attention_heads)
    writer.add_head_count_kv(config.num_key_value_heads)
    writer.add_layer_norm_rms_eps(config.rms_norm_eps)
    writer.add_vocab_size(config.vocab_size)
    writer.add_rope_dimension_count(config.head_dim)
    if config.head_dim * config.num_attention_heads != config.hidden_size:
        writer.add_key_length(config.head_dim)
        writer.add_value_length(config.head_dim)
    rope = config.rope_parameters
    writer.add_rope_freq_base(rope["rope_theta"])
    if rope["rope_type"] == "linear":
        writer.add_rope_scaling_type(gguf.RopeScalingType.LINEAR)
        writer.add_rope_scaling_factor(rope["factor"])
    if rope["rope_type"] == "llama3":
        writer.add_tensor("rope_freqs.weight", llama3_divisors(config))


def write(path, model, vocabulary, kind="f32"):
    """Returns the weights as stored, by transformers' names and in its order of rows."""
    writer = gguf.GGUFWriter(path, "llama")
    add_shape(writer, model.config)
    vocabulary(writer, model.config.vocab_size)
    stored = {}
    for name, p in model.named_parameters():  # a tied head is not among them
        array = p.detach().numpy()
        heads = head_counts(model.config, name)
        ggml = stored_type(array, kind, name)
        data = quants.quantize(interleave(array, heads), ggml)
        writer.add_tensor(gguf_name(name), data, raw_dtype=ggml)
        stored[name] = halve(gguf.quants.dequantize(data, ggml), heads)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return stored


def load_weights(model, weights):
    with torch.no_grad():
        for name, p in model.named_parameters():
            p.copy_(torch.from_numpy(np.array(weights[name])))


# ---- requantizing at load

def requantize(config, weights, kind):
    """What --quantize makes of the layers' matrices; blocks run over the file's order of rows."""
    result = dict(weights)
    for name, array in weights.items():
        if not is_layer_matrix(name, array):
            continue
        heads = head_counts(config, name)
        rows = interleave(array, heads)
        if kind == "nf4":
            rows = nf4.round_trip(rows)
        elif array.shape[1] % gguf.GGML_QUANT_SIZES[TYPES[kind]][0] == 0:
            rows = gguf.quants.dequantize(quants.quantize(rows, TYPES[kind]), TYPES[kind])
        result[name] = halve(rows, heads)
    return result


# ---- reading

def from_gguf(path):
    """An F32 llama as transformers' model, for files that others wrote."""
    reader = gguf.GGUFReader(path)

    def value(key, default=None):
        field = reader.get_field("llama." + key)
        return default if field is None else field.contents()

    tensors = {t.name: gguf.quants.dequantize(t.data, t.tensor_type) for t in reader.tensors}
    config = config_of(dim=value("embedding_length"), ffn=value("feed_forward_length"),
                       layers=value("block_count"), heads=value("attention.head_count"),
                       kv_heads=value("attention.head_count_kv", value("attention.head_count")),
                       vocab=tensors["token_embd.weight"].shape[0],
                       tie_word_embeddings="output.weight" not in tensors)
    config.rms_norm_eps = value("attention.layer_norm_rms_epsilon")
    model = LlamaForCausalLM(config).eval()
    load_weights(model, {name: halve(tensors[gguf_name(name)], head_counts(config, name))
                         for name, _ in model.named_parameters()})
    return model
