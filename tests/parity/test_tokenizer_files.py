# SPDX-License-Identifier: MIT
"""Folders without tokenizer.json: vocab.json with merges.txt against transformers, tokenizer.model
against SentencePiece and transformers."""
import io
import json
import random

import corpus
import pytest
import sentencepiece
import transformers
from test_tokenizer_json import KINDS, compare, driver, encode, info, many_scripts, train
from test_tokenizers import SEED, WRITTEN, split, texts
from tokenizers import AddedToken, Tokenizer, decoders, models, normalizers
from transformers.models.qwen3_5 import tokenization_qwen3_5

ADDED = {"<|begin|>": {"special": True}, "<|im_end|>": {"special": True},
         "<tool>": {"special": False}, "<strips>": {"special": True, "lstrip": True,
                                                     "rstrip": True}}
SAMPLES = WRITTEN + ["a<tool>b", " <tool> a", "x <strips>  y", "<|begin|>a<|im_end|> b",
                     "<|begin|>  a\n<|im_end|>\n", "<tool><tool>", "<|endoftext|>a </s>"]


def added_decoder(first):
    rest = {"lstrip": False, "rstrip": False, "normalized": False, "single_word": False}
    return {str(first + i): {"content": name} | rest | flags
            for i, (name, flags) in enumerate(ADDED.items())}


def write(folder, **files):
    folder.mkdir(exist_ok=True)
    for name, content in files.items():
        (folder / f"{name}.json").write_text(json.dumps(content))
    return folder


def theirs(folder, name=None):
    if name == "Qwen3_5Tokenizer":  # its AutoTokenizer reads tokenizer.json alone
        config = json.loads((folder / "tokenizer_config.json").read_text())
        t = Tokenizer(models.BPE.from_file(str(folder / "vocab.json"), str(folder / "merges.txt")))
        t.normalizer = normalizers.NFC()
        t.pre_tokenizer = split(tokenization_qwen3_5.PRETOKENIZE_REGEX)
        t.decoder = decoders.ByteLevel()
        t.add_tokens([AddedToken(**a) for a in config["added_tokens_decoder"].values()])
        t.add_special_tokens(["<|endoftext|>"])
        return t
    return transformers.AutoTokenizer.from_pretrained(folder)._tokenizer


# ---- vocab.json and merges.txt

CLASSES = {"Qwen2Tokenizer": "qwen2, NFC", "Qwen2TokenizerFast": "qwen2, NFC",
           "GPT2Tokenizer": "gpt-2", "GPTNeoXTokenizer": "gpt-2", "CodeGenTokenizer": "gpt-2",
           "CohereTokenizer": "smollm", "Qwen3_5Tokenizer": "qwen2, NFC"}


def vocab_files(folder, kind, **config):
    folder.mkdir()
    t = train(KINDS[kind])
    t.model.save(str(folder))
    return write(folder, tokenizer_config=config), t.get_vocab_size()


@pytest.mark.parametrize("name", CLASSES)
def test_vocab_files(name, tmp_path):
    folder, size = vocab_files(tmp_path / "t", CLASSES[name])
    write(folder, tokenizer_config={"tokenizer_class": name, "bos_token": None,
                                    "eos_token": "<|im_end|>",
                                    "added_tokens_decoder": added_decoder(size)})
    compare(folder, theirs(folder, name), SAMPLES + texts(SEED, 200))
    got = info(folder)
    assert (got["bos"], got["eos"], got["kind"]) == (-1, size + 1, "gpt2")


@pytest.mark.parametrize("space", [True, False])
def test_defaults(space, tmp_path):
    """Without tokenizer_config.json's tokens the class has its own; config.json names the class."""
    folder, size = vocab_files(tmp_path / "t", "gpt-2", add_prefix_space=space,
                               tokenizer_class="GPT2Tokenizer")
    tokenizer = theirs(folder)
    compare(folder, tokenizer, SAMPLES + texts(SEED, 50))
    assert info(folder)["eos"] == tokenizer.token_to_id("<|endoftext|>")
    (folder / "tokenizer_config.json").unlink()
    write(folder, config={"model_type": "qwen2"})
    assert info(folder)["kind"] == "gpt2"
    write(folder, added_tokens={"<tool>": size + 3})
    assert info(folder)["vocab"] == size + 4


def refused(folder, message):
    done = driver(folder, "info")
    said = done.stderr.decode()
    assert done.returncode == 1 and message in said and said.count("\n") == 1, said


def test_vocab_files_refused(tmp_path):
    folder, _ = vocab_files(tmp_path / "t", "gpt-2", tokenizer_class="GPT2Tokenizer")
    merges = (folder / "merges.txt").read_text()
    vocab = (folder / "vocab.json").read_text()
    (folder / "merges.txt").write_text(merges + "\na b c\n")
    refused(folder, "a merge is two tokens with a space between")
    (folder / "merges.txt").write_text(merges + "\nzzzz zzzz\n")
    refused(folder, '("zzzz", "zzzz") names no tokens of the vocabulary')
    (folder / "merges.txt").unlink()
    refused(folder, "merges.txt")
    (folder / "merges.txt").write_text(merges.replace("\n", "\r\n"))
    assert driver(folder, "info").returncode == 0
    (folder / "vocab.json").write_text("[]")
    refused(folder, "vocab.json")
    (folder / "vocab.json").write_text(vocab + "x")
    refused(folder, "vocab.json")
    (folder / "vocab.json").write_text(vocab)
    write(folder, tokenizer_config={"tokenizer_class": "PreTrainedTokenizerFast"})
    refused(folder, 'the tokenizer class "PreTrainedTokenizerFast"')
    write(folder, tokenizer_config={})
    refused(folder, "no tokenizer_class in tokenizer_config.json")
    for bad in ({"x": {"content": "a"}}, {"-1": {"content": "a"}}, {"5": {}}, {"5": "a"},
                {"99999999999999999999": {"content": "a"}}):
        write(folder, tokenizer_config={"tokenizer_class": "GPT2Tokenizer",
                                        "added_tokens_decoder": bad})
        assert driver(folder, "info").returncode == 1
    write(folder, tokenizer_config={"tokenizer_class": "GPT2Tokenizer"}, added_tokens={"a": "b"})
    refused(folder, 'added_tokens.json: the token "a" has no id')


# ---- tokenizer.model

def spm(folder, **options):
    folder.mkdir(exist_ok=True)
    model = io.BytesIO()
    options = {"model_type": "bpe", "vocab_size": 900, "byte_fallback": True,
               "normalization_rule_name": "identity", "remove_extra_whitespaces": False} | options
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(WRITTEN * 20 + [w for w in corpus.WORDS for _ in range(30)]),
        model_writer=model, character_coverage=0.98, split_digits=True, minloglevel=2, **options)
    (folder / "tokenizer.model").write_bytes(model.getvalue())
    return sentencepiece.SentencePieceProcessor(model_proto=model.getvalue())


USER = ["<tool>", "\u2581\u2581", "\u2581\u2581\u2581", "ab", "\n\n"]
MODELS = {
    "llama": {}, "no bytes": {"byte_fallback": False, "vocab_size": 700},
    "no prefix": {"add_dummy_prefix": False}, "strips": {"remove_extra_whitespaces": True},
    "user's": {"user_defined_symbols": USER},
    "gemma": {"user_defined_symbols": USER, "add_dummy_prefix": False},
    "other ends": {"bos_piece": "<begin>", "eos_piece": "<end>", "unk_piece": "<what>",
                   "pad_id": 3, "control_symbols": ["<ctl>"]},
}


@pytest.mark.parametrize("name", MODELS)
def test_model(name, tmp_path):
    folder = tmp_path / "t"
    processor = spm(folder, **MODELS[name])
    samples = SAMPLES + texts(SEED) + [" ", "    a   b ", "ab\n\n  abab<tool> ab", "\u2581a \u2581"]
    if name == "strips":  # SentencePiece then drops all of U+2581 at a decoded text's start
        samples = [s for s in samples if not s.lstrip(" ").startswith("\u2581")]
    got = encode(folder, [s.encode() for s in samples], False)
    wrong = [(s, g[0], processor.encode(s)) for s, g in zip(samples, got, strict=True)
             if g[0] != processor.encode(s)]
    assert not wrong, (len(wrong), ascii(min(wrong, key=lambda w: len(w[0]))))
    wrong = [(s, g[1], processor.decode(g[0])) for s, g in zip(samples, got)
             if g[1].decode("utf-8", "replace").replace("\ufffd", "") !=
             processor.decode(g[0]).replace(" \u2047 ", "").replace("\ufffd", "")]
    assert not wrong, (len(wrong), ascii(min(wrong, key=lambda w: len(w[0]))))
    got = info(folder)
    assert (got["bos"], got["eos"]) == (processor.bos_id(), processor.eos_id())
    assert got["vocab"] == processor.vocab_size() and got["adds"] == (1, 0)


@pytest.mark.parametrize("legacy", [True, False, None])
def test_llama_folder(legacy, tmp_path):
    folder = tmp_path / "t"
    size = spm(folder).vocab_size()
    write(folder, tokenizer_config={
        "tokenizer_class": "LlamaTokenizer", "bos_token": "<s>", "eos_token": "</s>",
        "unk_token": "<unk>", "added_tokens_decoder": added_decoder(size),
        "add_bos_token": legacy is not False} |
        ({"legacy": legacy} if legacy is not None else {}))
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    compare(folder, tokenizer._tokenizer, SAMPLES + texts(SEED, 200))
    assert info(folder)["adds"] == (int(tokenizer("a").input_ids[0] == 1), 0)


def test_two_megabytes(tmp_path):
    folder = tmp_path / "t"
    processor = spm(folder)
    samples = many_scripts(2_000_000)
    got = encode(folder, [s.encode() for s in samples], False)
    assert [g[0] for g in got] == processor.encode(samples)


def test_model_refused(tmp_path):
    folder = tmp_path / "t"
    for options, message in (
            ({"model_type": "unigram", "vocab_size": 500}, "of the type unigram is not supported"),
            ({"model_type": "word", "byte_fallback": False, "vocab_size": 81},
             "of the type word is not supported"),
            ({"normalization_rule_name": "nfkc"}, 'normalization "nfkc" is not supported'),
            ({"treat_whitespace_as_suffix": True}, "treat_whitespace_as_suffix")):
        spm(folder, **options)
        refused(folder, message)
    spm(folder)
    write(folder, added_tokens={"far": 10**7})
    refused(folder, "has the id 10000000, but there are 900 pieces")
    write(folder, added_tokens={"</s>": 905})
    refused(folder, 'the token "</s>" has two ids')


def test_model_broken(tmp_path):
    folder = tmp_path / "t"
    spm(folder, vocab_size=600)
    path = folder / "tokenizer.model"
    whole = path.read_bytes()
    rng = random.Random(SEED)
    for size in [0, 1, *(rng.randrange(len(whole)) for _ in range(40))]:
        path.write_bytes(whole[:size])
        done = driver(folder, "info")
        assert done.returncode == 1 and done.stderr.decode().count("\n") == 1, size
    for _ in range(100):
        broken = bytearray(whole)
        broken[rng.randrange(len(whole))] ^= 1 << rng.randrange(8)
        path.write_bytes(broken)
        assert driver(folder, "info").returncode in (0, 1)
