# SPDX-License-Identifier: MIT
"""GGUF's pre-tokenizers on much text, against the tokenizers library.

Half a megabyte in many scripts with special tokens in it, and long runs, for each by name.
"""
import random
import re
import unicodedata

import llamas
import pytest
import vocabularies
from test_tokenizer_json import KINDS, encode, many_scripts, train
from test_tokenizers import PRE_TOKENIZERS, SPECIALS

SIZE = 500_000
LISTED = "[A-Za-zµÀ-ÖØ-öø-ƺƼ-ƿǄ-ʓͰ-ͳΆΈ-ΊΌΎ-ΡΣ-ϵЀ-ҁҊ-ԯḀ-\u1f15]"
RUN = 10_000   # bytes
RUNS = ["a", " ", "\n", "1", "é", "가", "\u0301", "ab ", "🦙", "'", " \n", "<|im_start|>", "\r\n",
        "A", "aB", "字", "१", "."]


def save(tokenizer, pre, file):
    size = tokenizer.get_vocab_size()
    model = llamas.random_llama(1, dim=8, ffn=8, heads=2, kv_heads=1, layers=1, vocab=size)
    llamas.write(file, model, vocabularies.byte_level(tokenizer, pre, SPECIALS))
    return file


@pytest.fixture(scope="module", params=PRE_TOKENIZERS)
def tokenizer(request, tmp_path_factory):
    """Its name, one of tokenizers, and inlay's file."""
    made = train(KINDS[request.param])
    file = tmp_path_factory.mktemp("gguf") / "model.gguf"
    return request.param, made, save(made, request.param, file)


def all_know(pre, text):
    """deepseek-llm lists its cased letters; the list in test_tokenizers has those of its texts."""
    if pre != "deepseek-llm":
        return text
    cased = ("Lu", "Ll", "Lt")
    return "".join(c for c in text if c > "\uffff" or re.match(LISTED, c) or
                   unicodedata.category(c) not in cased)


def samples(pre):
    parts = [all_know(pre, t) for t in many_scripts(SIZE)]
    rng = random.Random(SIZE)
    for i in rng.sample(range(len(parts)), len(parts) // 8):
        parts[i] += "".join(rng.choices([*SPECIALS, " ", "<|endof"], k=3)) + parts[i][:9]
    return parts + ["x" + c * (RUN // len(c.encode())) + "y" for c in RUNS]


@pytest.mark.parametrize("parse_special", [True, False])
def test_much_text(tokenizer, parse_special):
    pre, theirs, file = tokenizer
    theirs.encode_special_tokens = not parse_special
    texts = samples(pre)
    got = [ids for ids, _ in encode(file, [t.encode() for t in texts], parse_special)]
    want = [e.ids for e in theirs.encode_batch_fast(texts, add_special_tokens=False)]
    wrong = [(t, g, w) for t, g, w in zip(texts, got, want, strict=True) if g != w]
    assert not wrong, (len(wrong), ascii(min(wrong, key=lambda w: len(w[0])))[:2000])


def test_invalid_utf8(tokenizer):
    """The library takes no such text; no byte is lost."""
    rng = random.Random(SIZE)
    texts = []
    for part in many_scripts(SIZE):
        broken = bytearray(part.encode())
        for _ in range(1 + len(broken) // 40):
            broken[rng.randrange(len(broken))] = rng.choice([0x80, 0xbf, 0xc3, 0xe2, 0xf0, 0xff])
        texts.append(bytes(broken))
    texts += [bytes([b]) * RUN for b in (0x80, 0xc3, 0xe2, 0xf0, 0xff)]
    for text, (_, decoded) in zip(texts, encode(tokenizer[2], texts, False), strict=True):
        assert decoded == text
