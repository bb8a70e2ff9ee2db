# SPDX-License-Identifier: MIT
"""llama.cpp's own converters, run in this process, and the folders that they read.

run.sh unpacks them and names their folder, LLAMA_CPP_SOURCE. Imported before gguf: theirs is newer.
"""
import importlib
import io
import json
import logging
import os
import runpy
import sys

SOURCE = os.environ["LLAMA_CPP_SOURCE"]
sys.path[:0] = [SOURCE, f"{SOURCE}/gguf-py"]
os.environ["TQDM_DISABLE"] = "1"
logging.basicConfig(level=logging.ERROR)
base = importlib.import_module("conversion.base")

import sentencepiece  # noqa: E402
import tokenizers  # noqa: E402
from test_tokenizers import PRE_TOKENIZERS  # noqa: E402

PRE = "qwen2"  # the converter knows pre-tokenizers by hashes of real vocabularies
SPECIALS = ["<unk>", "<s>", "</s>"]


def run(script, *words):
    before, sys.argv = sys.argv, [script, *map(str, words)]
    try:
        runpy.run_path(f"{SOURCE}/{script}", run_name="__main__")
    finally:
        sys.argv = before


def model(folder, out):
    base.TextModel.get_vocab_base_pre = lambda self, tokenizer: PRE
    run("convert_hf_to_gguf.py", folder, "--outfile", out, "--outtype", "f32")


def adapter(folder, of, out):
    run("convert_lora_to_gguf.py", folder, "--base", of, "--outfile", out)


def settings(folder, kind):
    (folder / "tokenizer_config.json").write_text(json.dumps(
        {"tokenizer_class": kind, "unk_token": "<unk>", "bos_token": "<s>", "eos_token": "</s>",
         "add_bos_token": True, "add_eos_token": False}))


def write_byte_level(folder, texts, size, kind):
    """tokenizer.json as of Qwen 2; a function from text to ids."""
    made = tokenizers.Tokenizer(tokenizers.models.BPE())
    made.pre_tokenizer = PRE_TOKENIZERS[PRE]
    made.decoder = tokenizers.decoders.ByteLevel()
    made.train_from_iterator(texts, tokenizers.trainers.BpeTrainer(
        vocab_size=size, special_tokens=SPECIALS, show_progress=False,
        initial_alphabet=sorted(tokenizers.pre_tokenizers.ByteLevel.alphabet())))
    made.save(str(folder / "tokenizer.json"))
    settings(folder, kind)
    return lambda text: made.encode(text).ids


def write_sentencepiece(folder, texts, size, prefix):
    """tokenizer.model of bytes and what the texts are made of; a function from text to ids."""
    made = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(texts), model_writer=made, model_type="bpe", vocab_size=size,
        byte_fallback=True, normalization_rule_name="identity", add_dummy_prefix=prefix,
        remove_extra_whitespaces=False, minloglevel=2)
    (folder / "tokenizer.model").write_bytes(made.getvalue())
    settings(folder, "LlamaTokenizer")
    return sentencepiece.SentencePieceProcessor(model_proto=made.getvalue()).encode
