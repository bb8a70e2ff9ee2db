# SPDX-License-Identifier: MIT
"""A small llama in PyTorch, and its way into and out of a GGUF file.

RoPE turns neighbouring pairs (0,1), (2,3), ... of a head, which is the order
a GGUF file of architecture `llama` stores, so that q and k rows go into the
file as they are. Code that turns (i, i + half) pairs has to permute them.
"""

from dataclasses import asdict, dataclass

import gguf
import numpy as np
import torch
import torch.nn.functional as F
from torch import nn


@dataclass
class Shape:
    vocab: int = 2048
    dim: int = 128
    ffn: int = 384
    layers: int = 6
    heads: int = 4
    kv_heads: int = 2
    context: int = 512
    rope_base: float = 10000.0
    eps: float = 1e-5


def rope_table(shape):
    """Angles of each position as cos and sin, one per pair of a head."""
    width = shape.dim // shape.heads
    freq = shape.rope_base ** (-torch.arange(0, width, 2) / width)
    angle = torch.outer(torch.arange(shape.context).float(), freq)
    return angle.cos(), angle.sin()


def turn(x, cos, sin):
    """RoPE on (batch, head, time, width) over neighbouring pairs."""
    a, b = x.unflatten(-1, (-1, 2)).unbind(-1)
    return torch.stack((a * cos - b * sin, a * sin + b * cos), -1).flatten(-2)


class Norm(nn.Module):
    def __init__(self, shape):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(shape.dim))
        self.eps = shape.eps

    def forward(self, x):
        return F.rms_norm(x, (x.shape[-1],), self.weight, self.eps)


class Block(nn.Module):
    def __init__(self, shape):
        super().__init__()
        self.shape = shape
        width = shape.dim // shape.heads
        kv = shape.kv_heads * width

        def linear(rows_in, rows_out):
            return nn.Linear(rows_in, rows_out, bias=False)

        self.attn_norm = Norm(shape)
        self.attn_q = linear(shape.dim, shape.dim)
        self.attn_k = linear(shape.dim, kv)
        self.attn_v = linear(shape.dim, kv)
        self.attn_output = linear(shape.dim, shape.dim)
        self.ffn_norm = Norm(shape)
        self.ffn_gate = linear(shape.dim, shape.ffn)
        self.ffn_up = linear(shape.dim, shape.ffn)
        self.ffn_down = linear(shape.ffn, shape.dim)

    def attend(self, x, cos, sin, mask):
        s = self.shape

        def split(y, heads):
            return y.unflatten(-1, (heads, -1)).transpose(1, 2)

        q = turn(split(self.attn_q(x), s.heads), cos, sin)
        k = turn(split(self.attn_k(x), s.kv_heads), cos, sin)
        v = split(self.attn_v(x), s.kv_heads)
        k = k.repeat_interleave(s.heads // s.kv_heads, 1)
        v = v.repeat_interleave(s.heads // s.kv_heads, 1)
        y = F.scaled_dot_product_attention(q, k, v, attn_mask=mask,
                                           is_causal=mask is None)
        return self.attn_output(y.transpose(1, 2).flatten(-2))

    def forward(self, x, cos, sin, mask):
        x = x + self.attend(self.attn_norm(x), cos, sin, mask)
        h = self.ffn_norm(x)
        return x + self.ffn_down(F.silu(self.ffn_gate(h)) * self.ffn_up(h))


class Llama(nn.Module):
    """Parameters carry the names that a GGUF file gives them."""

    def __init__(self, shape):
        super().__init__()
        self.shape = shape
        self.token_embd = nn.Embedding(shape.vocab, shape.dim)
        self.blk = nn.ModuleList(Block(shape) for _ in range(shape.layers))
        self.output_norm = Norm(shape)
        cos, sin = rope_table(shape)
        self.register_buffer("cos", cos, persistent=False)
        self.register_buffer("sin", sin, persistent=False)
        self.start()

    def start(self):
        """Small weights; smaller still where a block adds to the stream.

        Embeddings start wide. Words of one kind (all names, say) are pulled
        the same way while the model only knows their kind; with a narrow
        start they end up alike, and copying one of them is never learnt.
        """
        deep = (2 * self.shape.layers) ** -0.5
        for name, p in self.named_parameters():
            if p.dim() == 2:
                out = "attn_output" in name or "ffn_down" in name
                scale = 0.1 if "embd" in name else p.shape[1] ** -0.5 * 0.6
                nn.init.normal_(p, 0.0, scale * (deep if out else 1.0))

    def hidden(self, tokens, mask=None):
        n = tokens.shape[1]
        x = self.token_embd(tokens)
        for block in self.blk:
            x = block(x, self.cos[:n], self.sin[:n], mask)
        return self.output_norm(x)

    def forward(self, tokens, mask=None):
        return self.hidden(tokens, mask) @ self.token_embd.weight.T


def document_mask(tokens, end):
    """Lets a token see only the document it is in; `end` ends a document."""
    ends = (tokens == end).long()
    document = ends.cumsum(1) - ends
    same = document[:, :, None] == document[:, None, :]
    n = tokens.shape[1]
    earlier = torch.ones(n, n, dtype=torch.bool).tril()
    hidden = ~(same & earlier)
    return torch.zeros(hidden.shape).masked_fill(hidden, -1e9)[:, None]


def write_shape(out, shape, name):
    out.add_name(name)
    out.add_license("MIT")
    out.add_file_type(gguf.LlamaFileType.MOSTLY_Q8_0)
    out.add_vocab_size(shape.vocab)
    out.add_context_length(shape.context)
    out.add_embedding_length(shape.dim)
    out.add_block_count(shape.layers)
    out.add_feed_forward_length(shape.ffn)
    out.add_head_count(shape.heads)
    out.add_head_count_kv(shape.kv_heads)
    out.add_layer_norm_rms_eps(shape.eps)
    out.add_rope_dimension_count(shape.dim // shape.heads)
    out.add_rope_freq_base(shape.rope_base)
    out.add_quantization_version(gguf.GGML_QUANT_VERSION)


def write_vocab(out, pieces, merges, end):
    """A byte-level BPE vocabulary; `end` is the only control token."""
    kinds = [gguf.TokenType.NORMAL] * len(pieces)
    kinds[end] = gguf.TokenType.CONTROL
    out.add_tokenizer_model("gpt2")
    out.add_tokenizer_pre("gpt-2")
    out.add_token_list(pieces)
    out.add_token_types(kinds)
    out.add_token_merges(merges)
    out.add_bos_token_id(end)
    out.add_eos_token_id(end)
    out.add_add_bos_token(False)


def save(path, model, name, pieces, merges, end):
    """The whole file: matrices in Q8_0, norms in f32, no output.weight."""
    out = gguf.GGUFWriter(path, "llama")
    write_shape(out, model.shape, name)
    write_vocab(out, pieces, merges, end)
    q8 = gguf.GGMLQuantizationType.Q8_0
    for tensor, p in model.named_parameters():
        data = p.detach().numpy().astype(np.float32)
        if data.ndim == 2:
            out.add_tensor(tensor, gguf.quants.quantize(data, q8),
                           raw_dtype=q8)
        else:
            out.add_tensor(tensor, data)
    out.write_header_to_file()
    out.write_kv_data_to_file()
    out.write_tensors_to_file()
    out.close()


def read_shape(reader):
    def number(key):
        return reader.fields[key].contents()

    return Shape(
        vocab=number("llama.vocab_size"),
        dim=number("llama.embedding_length"),
        ffn=number("llama.feed_forward_length"),
        layers=number("llama.block_count"),
        heads=number("llama.attention.head_count"),
        kv_heads=number("llama.attention.head_count_kv"),
        context=number("llama.context_length"),
        rope_base=number("llama.rope.freq_base"),
        eps=number("llama.attention.layer_norm_rms_epsilon"))


def load(path):
    """The model of a file with its matrices dequantized, and the reader."""
    reader = gguf.GGUFReader(path)
    model = Llama(read_shape(reader))
    params = dict(model.named_parameters())
    assert {t.name for t in reader.tensors} == set(params)
    with torch.no_grad():
        for t in reader.tensors:
            data = gguf.quants.dequantize(t.data, t.tensor_type)
            params[t.name].copy_(torch.from_numpy(data.copy()))
    return model, reader


def load_tokenizer(reader):
    """The file's vocabulary as a `tokenizers` tokenizer."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers
    pieces = reader.fields["tokenizer.ggml.tokens"].contents()
    merges = reader.fields["tokenizer.ggml.merges"].contents()
    vocab = {piece: i for i, piece in enumerate(pieces)}
    pairs = [tuple(m.split(" ")) for m in merges]
    tok = Tokenizer(models.BPE(vocab=vocab, merges=pairs))
    tok.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tok.decoder = decoders.ByteLevel()
    end = reader.fields["tokenizer.ggml.eos_token_id"].contents()
    tok.add_special_tokens([pieces[end]])
    return tok, end


def describe(shape):
    return " ".join(f"{k}={v}" for k, v in asdict(shape).items())
