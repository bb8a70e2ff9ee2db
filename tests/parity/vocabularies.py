# SPDX-License-Identifier: MIT
"""Vocabularies for GGUF files, written into a gguf.GGUFWriter, and for folders."""
import json

import gguf
import tokenizers

KIND = gguf.TokenType


def bytes_alone(writer, size):
    """SentencePiece's three specials, the 256 bytes, and unreachable pieces up to `size`."""
    fillers = [f"filler{i}" for i in range(size - 259)]
    tokens = ["<unk>", "<s>", "</s>"] + [f"<0x{b:02X}>" for b in range(256)] + fillers
    kinds = [KIND.UNKNOWN, KIND.CONTROL, KIND.CONTROL] + [KIND.BYTE] * 256
    kinds += [KIND.UNUSED] * len(fillers)
    add_spm(writer, tokens, [0.0] * len(tokens), kinds)


def bytes_alone_folder(folder, size):
    """The same as tokenizer.json, as transformers makes it of a SentencePiece model."""
    tokens = ["<unk>", "<s>", "</s>"] + [f"<0x{b:02X}>" for b in range(256)]
    tokens += [f"filler{i}" for i in range(size - 259)]
    made = tokenizers.Tokenizer(tokenizers.models.BPE(
        {t: i for i, t in enumerate(tokens)}, [], unk_token="<unk>", fuse_unk=True,
        byte_fallback=True))
    parts = tokenizers.normalizers
    made.normalizer = parts.Sequence([parts.Prepend("\u2581"), parts.Replace(" ", "\u2581")])
    parts = tokenizers.decoders
    made.decoder = parts.Sequence([parts.Replace("\u2581", " "), parts.ByteFallback(),
                                   parts.Fuse(), parts.Strip(" ", 1, 0)])
    made.add_special_tokens(tokens[:3])
    made.post_processor = tokenizers.processors.TemplateProcessing(
        single="<s> $A", pair="<s> $A <s> $B", special_tokens=[("<s>", 1)])
    made.save(str(folder / "tokenizer.json"))
    settings = {"bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>",
                "add_bos_token": True, "add_eos_token": False}
    (folder / "tokenizer_config.json").write_text(json.dumps(settings))


def add_spm(writer, tokens, scores, kinds):
    writer.add_tokenizer_model("llama")
    writer.add_token_list(tokens)
    writer.add_token_scores(scores)
    writer.add_token_types([int(k) for k in kinds])
    writer.add_unk_token_id(0)
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(2)


def sentencepiece(processor):
    """A trained SentencePiece model of type BPE."""
    def add(writer, size):
        assert processor.vocab_size() == size
        kinds = []
        for i in range(size):
            kinds.append(KIND.UNKNOWN if processor.is_unknown(i) else
                         KIND.CONTROL if processor.is_control(i) else
                         KIND.BYTE if processor.is_byte(i) else KIND.NORMAL)
        add_spm(writer, [processor.id_to_piece(i) for i in range(size)],
                [processor.get_score(i) for i in range(size)], kinds)
    return add


def byte_level(tokenizer, pre, specials, end=None):
    """A byte-level BPE of the tokenizers package; `pre` is GGUF's name of its pre-tokenizer.

    The first of the specials begins a text, `end` or the same ends it.
    """
    def add(writer, size):
        spec = json.loads(tokenizer.to_str())["model"]
        tokens = sorted(spec["vocab"], key=spec["vocab"].get)
        assert len(tokens) == size
        writer.add_tokenizer_model("gpt2")
        writer.add_tokenizer_pre(pre)
        writer.add_token_list(tokens)
        writer.add_token_types([int(KIND.CONTROL if t in specials else KIND.NORMAL)
                                for t in tokens])
        writer.add_token_merges([m if isinstance(m, str) else " ".join(m) for m in spec["merges"]])
        writer.add_bos_token_id(spec["vocab"][specials[0]])
        writer.add_eos_token_id(spec["vocab"][end or specials[0]])
    return add
