# SPDX-License-Identifier: MIT
"""tokenizer.json against the tokenizers library: ids, and what they decode to.

Tokenizers of every kind are trained here, one for each component and combination that inlay knows,
and asked for the ids of random texts, of texts full of added tokens, and of 2 MB in many scripts.
"""
import json
import os
import random
import struct
import subprocess

import pytest
import transformers
from test_tokenizers import (IGNORES_MERGES, PRE_TOKENIZERS, SPECIALS, cut, steps, texts,
                             training_texts)
from tokenizers import AddedToken, Regex, Tokenizer, models, trainers
from tokenizers import decoders as D
from tokenizers import normalizers as N
from tokenizers import pre_tokenizers as P
from tokenizers import processors

DRIVER = f"{os.environ['INLAY_BUILD']}/tests/tokenizer_driver"
SEED = 23


def driver(path, mode, data=b""):
    return subprocess.run([DRIVER, str(path), mode], input=data, capture_output=True, check=False)


def encode(folder, samples, parse_special=True):
    """[(ids, decoded bytes)]"""
    data = b"".join(struct.pack("<I", len(s)) + s for s in samples)
    done = driver(folder, "special" if parse_special else "text", data)
    assert done.returncode == 0, done.stderr.decode()
    out, at, results = done.stdout, 0, []
    while at < len(out):
        count, = struct.unpack_from("<I", out, at)
        ids = list(struct.unpack_from(f"<{count}i", out, at + 4))
        size, = struct.unpack_from("<I", out, at + 4 + 4 * count)
        at += 8 + 4 * count
        results.append((ids, out[at:at + size]))
        at += size
    return results


def save(tokenizer, folder, **config):
    folder.mkdir(exist_ok=True)
    tokenizer.save(str(folder / "tokenizer.json"))
    (folder / "tokenizer_config.json").write_text(json.dumps(config))
    return folder


# ---- tokenizers

BYTES = P.ByteLevel(add_prefix_space=False, use_regex=False)
LLAMA_DECODER = [D.Replace("▁", " "), D.ByteFallback(), D.Fuse()]


def by_bytes(pre, normalizer=None, **options):
    return {"pre": pre, "normalizer": normalizer, "decoder": D.ByteLevel(), "options": options}


def by_characters(pre=None, normalizer=None, decoder=None, **options):
    return {"pre": pre, "normalizer": normalizer, "decoder": decoder, "options": options}


KINDS = {name: by_bytes(pre, ignore_merges=name in IGNORES_MERGES)
         for name, pre in PRE_TOKENIZERS.items()}
KINDS |= {
    "qwen2, NFC": by_bytes(PRE_TOKENIZERS["qwen2"], N.NFC()),
    "NFKC, lower case": by_bytes(PRE_TOKENIZERS["qwen2"], N.Sequence([N.NFKC(), N.Lowercase()])),
    "NFD, strip": by_bytes(P.ByteLevel(add_prefix_space=True),
                           N.Sequence([N.NFD(), N.StripAccents(), N.Strip()])),
    "NFKD, replace": by_bytes(P.ByteLevel(add_prefix_space=False),
                              N.Sequence([N.NFKD(), N.Replace(Regex(r"\s+"), " "),
                                          N.Replace("a", "bb")])),
    "space before": by_bytes(P.ByteLevel(add_prefix_space=True)),
    "digits": by_bytes(P.Sequence([P.Digits(False), P.ByteLevel(add_prefix_space=False)])),
    "white space": by_bytes(P.Sequence([P.Whitespace(), P.ByteLevel(add_prefix_space=True)])),
    "symbols are cut": by_bytes(P.Sequence([BYTES, cut("Ġ|[a-c]+")])),
    "classes": by_bytes(steps(cut(r"\w+|[[:punct:]]|\h|[^\S\n]"),
                              cut(r"\p{Han}+|\p{^Letter}|[\p{L}&&[^\p{Lu}]]{2}+"))),
    "bloom": by_bytes(steps(cut(r" ?[^(\s|[.,!?…。，、।۔،])]+"))),
    "classes in classes": by_bytes(steps(cut(r"[a[-x\d]]+|[^\p{L}[\s.-]]+"))),
    "names": by_bytes(steps(cut(r"(?<word>\p{L}+)|(?<rest>[^\p{L}\s]+)(?<space>\s)"))),
    "kimi": by_bytes(steps(cut(
        r"[\p{Han}]+|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}&&[^\p{Han}]]*"
        r"[\p{Ll}\p{Lm}\p{Lo}\p{M}&&[^\p{Han}]]+(?i:'s|'t)?|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|"
        r"\s*[\r\n]+|\s+(?!\S)|\s+"))),
    "possessive": by_bytes(steps(cut(
        r"'(?i:[sdmt]|ll|ve|re)|[^\r\n\p{L}\p{N}]?+\p{L}++|\p{N}{1,3}+| ?[^\s\p{L}\p{N}]++[\r\n]*+|"
        r"\s++$|\s*[\r\n]|\s+(?!\S)|\s"))),
    "thousands": by_bytes(steps(cut(r"\p{N}{1,3}(?=(?:\p{N}{3})*(?!\p{N}))|[^\p{N}]+"))),
    "boundaries": by_bytes(steps(cut(r"\p{N}{1,3}(?=(?:\p{N}{3})*\b)|\b[^\d\s]+\b"),
                                 cut(r"\B\p{L}{2}"))),
    "llama": by_characters(None, N.Sequence([N.Prepend("▁"), N.Replace(" ", "▁")]),
                           D.Sequence([*LLAMA_DECODER, D.Strip(" ", 1, 0)]), byte_fallback=True,
                           fuse_unk=True, unk_token="<unk>"),
    "gemma": by_characters(P.Split(" ", "merged_with_previous"), N.Replace(" ", "▁"),
                           D.Sequence(LLAMA_DECODER), byte_fallback=True, unk_token="<unk>"),
    "nothing unknown": by_characters(P.Metaspace(), None, D.Metaspace()),
    "bert": by_characters(P.BertPreTokenizer(), unk_token="<unk>"),
    "words": by_characters(P.WhitespaceSplit(), unk_token="<unk>"),
    "slashes": by_characters(P.CharDelimiterSplit("/"), unk_token="<unk>"),
}
for scheme in ("always", "first", "never"):
    for cuts in (True, False):
        KINDS[f"metaspace, {scheme}, {cuts}"] = by_characters(
            P.Metaspace(prepend_scheme=scheme, split=cuts), None,
            # The library's own decoder loses spaces inside a first token.
            D.Metaspace(prepend_scheme=scheme) if cuts else None, unk_token="<unk>",
            fuse_unk=scheme == "first")
for behavior in ("isolated", "removed", "merged_with_previous", "merged_with_next", "contiguous"):
    KINDS[f"punctuation, {behavior}"] = by_bytes(steps(P.Punctuation(behavior)))
    for invert in (False, True):
        KINDS[f"split, {behavior}, {invert}"] = by_bytes(
            steps(cut(r"\s|[aeiou]|\d+", behavior, invert)))


def train(kind):
    bytewise = isinstance(kind["decoder"], D.ByteLevel)
    options = kind["options"]
    fallback = [f"<0x{b:02X}>" for b in range(256)] if options.get("byte_fallback") else []
    unknown = [options["unk_token"]] if "unk_token" in options else []
    t = Tokenizer(models.BPE(**options))
    if kind["normalizer"]:
        t.normalizer = kind["normalizer"]
    if kind["pre"]:
        t.pre_tokenizer = kind["pre"]
    limits = {"initial_alphabet": sorted(P.ByteLevel.alphabet())} if bytewise else \
        {"limit_alphabet": 400}
    t.train_from_iterator(training_texts()[:2400], trainers.BpeTrainer(
        vocab_size=600 if bytewise else 1400, special_tokens=unknown + SPECIALS + fallback,
        show_progress=False, max_token_length=12, **limits))
    spec = json.loads(t.to_str())
    spec["added_tokens"] = [a for a in spec["added_tokens"] if a["content"] not in fallback]
    t = Tokenizer.from_str(json.dumps(spec))
    if kind["decoder"]:
        t.decoder = kind["decoder"]
    return t


def compare(folder, tokenizer, samples, decoded=True, modes=(True, False)):
    for parse_special in modes:
        tokenizer.encode_special_tokens = not parse_special
        got = encode(folder, [s.encode() for s in samples], parse_special)
        want = [tokenizer.encode(s, add_special_tokens=False).ids for s in samples]
        wrong = [(s, g[0], w) for s, g, w in zip(samples, got, want, strict=True) if g[0] != w]
        assert not wrong, (len(wrong), ascii(min(wrong, key=lambda w: len(w[0]))))
        if not decoded:
            continue
        wrong = [(s, g[1], tokenizer.decode(w)) for s, g, w in zip(samples, got, want)
                 if g[1].decode("utf-8", "replace") != tokenizer.decode(w)]
        assert not wrong, (len(wrong), ascii(min(wrong, key=lambda w: len(w[0]))))


@pytest.mark.parametrize("name", KINDS)
def test_kind(name, tmp_path):
    t = train(KINDS[name])
    compare(save(t, tmp_path / "t"), t, texts(SEED, 120), t.decoder is not None)


# ---- added tokens

ADDED = [AddedToken("lstrip", lstrip=True), AddedToken("rstrip", rstrip=True),
         AddedToken("both", lstrip=True, rstrip=True), AddedToken("word", single_word=True),
         AddedToken("Norm É", normalized=True), AddedToken("raw É", normalized=False),
         AddedToken("  ", normalized=True), AddedToken("ab"),
         AddedToken("abcd", normalized=False)]
ADDED_TEXTS = ["a lstrip b", "a  \n lstrip  lstrip x", "rstrip  \t rstrip a", "x both  both y",
               "word words aword a word. word-word _word éword", "norm é NORM É Norm É",
               "raw É raw É", "a    b   c", "abcdabcabd ab abcd", "x [SP] [SP][SPX]", "[SPX[SP]",
               "<|im_start|>lstrip<|im_start|>", " word", "word ", " both ", "  [SP]", " 1both  "]
ADDED_PARTS = ["lstrip", "rstrip", "both", "word", "Norm É", "raw É", "  ", " ", "\n", "ab", "abcd",
               "[SP]", "[SPX]", "é", "É", "x", "▁", "_", "1"]


@pytest.mark.parametrize("name", ["gpt-2", "qwen2, NFC", "NFKC, lower case", "llama", "gemma",
                                  "metaspace, always, True", "metaspace, first, True",
                                  "white space"])
def test_added(name, tmp_path):
    t = train(KINDS[name])
    t.add_tokens(ADDED)
    t.add_special_tokens([AddedToken("[SP]", lstrip=True), "[SPX]"])
    rng = random.Random(SEED)
    samples = ADDED_TEXTS + ["".join(rng.choices(ADDED_PARTS, k=rng.randint(1, 14)))
                             for _ in range(250)]
    compare(save(t, tmp_path / "t"), t, samples)


# ---- much text

SCRIPTS = [(0x41, 0x5a), (0x61, 0x7a), (0xc0, 0x24f), (0x370, 0x3ff), (0x400, 0x4ff),
           (0x531, 0x587), (0x5d0, 0x5ea), (0x621, 0x669), (0x905, 0x96f), (0x985, 0x9ef),
           (0xa05, 0xa74), (0xb85, 0xbef), (0xc05, 0xc6f), (0xd05, 0xd6f), (0xe01, 0xe5b),
           (0xe81, 0xedd), (0xf00, 0xf6c), (0x10a0, 0x10ff), (0x1200, 0x135a), (0x13a0, 0x13f4),
           (0x1780, 0x17e9), (0x1e00, 0x1eff), (0x3041, 0x3096), (0x30a1, 0x30fa),
           (0x4e00, 0x9fa5), (0xac00, 0xd7a3), (0x1f300, 0x1f64f), (0x1f900, 0x1fafe),
           (0x300, 0x36f), (0x2000, 0x206f), (0x2190, 0x22ff), (0x1d400, 0x1d7ff),
           (0x20000, 0x20fff)]
GAPS = [" ", ". ", ", ", "\n", " 12345 ", "  ", "\t", "-", "'s "]
ENDS = ["\n", "\n\n", " ", "!", "。", "\r\n", "👩‍🚀👍🏽🇯🇵", "<|im_start|>"]


def many_scripts(size):
    rng = random.Random(SEED)
    parts, made = [], 0
    while made < size:
        low, high = rng.choice(SCRIPTS)
        words = ["".join(chr(rng.randint(low, high)) for _ in range(rng.randint(1, 8)))
                 for _ in range(rng.randint(3, 60))]
        parts.append(rng.choice(GAPS).join(words) + rng.choice(ENDS))
        made += len(parts[-1].encode())
    return parts


@pytest.mark.parametrize("name", [*PRE_TOKENIZERS, "qwen2, NFC", "llama", "gemma"])
def test_two_megabytes(name, tmp_path):
    t = train(KINDS[name])
    compare(save(t, tmp_path / "t"), t, many_scripts(2_000_000), modes=[True])


@pytest.mark.parametrize("name", ["qwen2, NFC", "gpt-4o", "deepseek-v3", "llama", "gemma",
                                  "metaspace, always, True"])
def test_scripts(name, tmp_path):
    t = train(KINDS[name])
    compare(save(t, tmp_path / "t"), t, many_scripts(60_000), modes=[True])


@pytest.mark.parametrize("name", ["gpt-2", "qwen2, NFC", "deepseek-v3", "llama", "gemma",
                                  "metaspace, first, True"])
def test_long_runs(name, tmp_path):
    t = train(KINDS[name])
    samples = [c * (100_000 // len(c.encode())) for c in ("a", " ", "\n", "1", "é", "가", "\u0301",
                                                           "ab ", "🦙", "'", " \n")]
    compare(save(t, tmp_path / "t"), t, [s[:10_000] for s in samples], modes=[True])
    encode(tmp_path / "t", [s.encode() for s in samples])


@pytest.mark.parametrize("name", ["gpt-2", "gpt-4o", "deepseek-v3", "falcon"])
def test_invalid_utf8_is_kept(name, tmp_path):
    """The library would see U+FFFD; inlay's ids are those of the bytes."""
    folder = save(train(KINDS[name]), tmp_path / "t")
    rng = random.Random(SEED)
    samples = [bytes(rng.choices([*b"ab 1\n.", 0xc3, 0xa9, 0xff, 0xe2, 0x80, 0xf0, 0xed],
                                 k=rng.randint(1, 60))) for _ in range(500)]
    for sample, (_, decoded) in zip(samples, encode(folder, samples, False), strict=True):
        assert decoded == sample


# ---- what stands beside

def info(folder):
    done = driver(folder, "info")
    assert done.returncode == 0, done.stderr.decode()
    line, template = done.stdout.decode().split("\n", 1)
    kind, vocab, bos, eos, add_bos, add_eos, *ends = line.split()
    return {"kind": kind, "vocab": int(vocab), "bos": int(bos), "eos": int(eos),
            "adds": (int(add_bos), int(add_eos)), "ends": [*map(int, ends)], "template": template}


def template(single):
    return processors.TemplateProcessing(single=single, special_tokens=[("<|endoftext|>", 0),
                                                                        ("<|im_start|>", 1)])


def test_ends_and_template(tmp_path):
    t = train(KINDS["gpt-2"])
    got = info(save(t, tmp_path / "a", eos_token="<|im_start|>", chat_template="{{ messages }}"))
    assert (got["bos"], got["eos"], got["adds"]) == (-1, 1, (0, 0))
    assert got["template"] == "{{ messages }}" and got["kind"] == "gpt2"
    assert got["ends"] == [1, 0]
    t.post_processor = processors.Sequence([processors.ByteLevel(),
                                            template("<|endoftext|> $A <|im_start|>")])
    folder = save(t, tmp_path / "b", chat_template=[{"name": "tools", "template": "no"},
                                                     {"name": "default", "template": "yes"}])
    (folder / "generation_config.json").write_text('{"eos_token_id": [5, 7]}')
    got = info(folder)
    assert (got["bos"], got["eos"], got["adds"]) == (0, 1, (1, 1))
    assert got["ends"] == [1, 5, 7] and got["template"] == "yes"
    (folder / "chat_template.jinja").write_text("from the file")
    assert info(folder)["template"] == "from the file"


@pytest.fixture(scope="module")
def trained():
    return {name: train(KINDS[name]) for name in ("gpt-2", "llama", "gemma")}


@pytest.mark.parametrize("name", [None, "PreTrainedTokenizerFast", "LlamaTokenizer",
                                  "LlamaTokenizerFast", "GemmaTokenizer", "Qwen2Tokenizer",
                                  "GPT2Tokenizer", "GPTNeoXTokenizer"])
def test_flags(name, trained, tmp_path):
    """tokenizer.json's post_processor is heeded, not the configuration's flags."""
    kind = {"LlamaTokenizer": "llama", "LlamaTokenizerFast": "llama", "GemmaTokenizer": "gemma"}
    t = trained[kind.get(name, "gpt-2")]
    config = {"tokenizer_class": name} if name else {}
    config |= {"bos_token": "<|endoftext|>", "eos_token": "<|im_start|>"}
    ends = [(end, t.token_to_id(end)) for end in ("<|endoftext|>", "<|im_start|>")]
    seen = set()
    for single in ("<|endoftext|> $A", "$A <|im_start|>", None):
        t.post_processor = processors.ByteLevel() if single is None else \
            processors.TemplateProcessing(single=single, special_tokens=ends)
        for flags in ({}, {"add_bos_token": False, "add_eos_token": True}, {"add_bos_token": True}):
            folder = save(t, tmp_path / "t", **config, **flags)
            want = transformers.AutoTokenizer.from_pretrained(folder)("a text").input_ids
            got = info(folder)
            (ids, _), = encode(folder, [b"a text"])
            ids = [got["bos"]] * got["adds"][0] + ids + [got["eos"]] * got["adds"][1]
            assert ids == want, (single, flags, got)
            seen.add(got["adds"])
    assert len(seen) == (1 if name == "GPTNeoXTokenizer" else 3)


# ---- refusals

def change(spec, path, value):
    *way, last = path
    for key in way:
        spec = spec[key]
    spec[last] = value


BROKEN = [
    (["model", "type"], "Unigram", 'model.type "Unigram" is not supported'),
    (["model", "merges"], None, "an array is expected at byte"),
    (["model", "merges"], ["a"], "a merge of model.merges is no pair"),
    (["model", "merges"], [["a", "zzzz"]], 'merge 0 ("a", "zzzz") names no tokens'),
    (["model", "dropout"], 0.5, "model.dropout is not supported"),
    (["model", "vocab", "a"], 5, "both have the id"),
    (["model", "vocab", "a"], -1, "the vocabulary has a negative id"),
    (["model", "vocab", "a"], 10**8, "a token has the id 100000000"),
    (["model", "vocab", "a"], 1.5, "an integer is expected"),
    (["added_tokens", 0, "id"], 2**63 - 1, f"a token has the id {2**63 - 1}, but there are"),
    (["added_tokens", 0, "id"], "0", 'added_tokens[0] has no string "content" or no "id"'),
    (["normalizer"], {"type": "Nmt"}, 'normalizer is of the type "Nmt", which is not supported'),
    (["normalizer"], {"type": "Sequence", "normalizers": [{"type": "Precompiled"}]},
     'normalizer.normalizers[0] is of the type "Precompiled"'),
    (["normalizer"], {}, 'normalizer has no "type"'),
    (["pre_tokenizer"], {"type": "UnicodeScripts"},
     'pre_tokenizer is of the type "UnicodeScripts"'),
    (["pre_tokenizer"], {"type": "Split", "pattern": {"Regex": "a"}, "behavior": "Odd",
                         "invert": False}, "pre_tokenizer.behavior is none that is known"),
    (["pre_tokenizer"], {"type": "Split", "pattern": {"Regex": "(?~a)"}, "behavior": "Isolated",
                         "invert": False}, "pre_tokenizer.pattern.Regex: the regular expression"),
    (["pre_tokenizer"], {"type": "Split", "pattern": {"Regex": "(" * 5000}, "behavior": "Isolated",
                         "invert": False}, "groups nested too deeply"),
    (["post_processor"], {"type": "TemplateProcessing", "single": [], "special_tokens": {}},
     "post_processor.single is no template of one text"),
    (["decoder"], {"type": "CTC"}, 'decoder is of the type "CTC"'),
]


@pytest.fixture(scope="module")
def whole():
    return train(KINDS["gpt-2"]).to_str()


@pytest.mark.parametrize("case", range(len(BROKEN)))
def test_refused(case, whole, tmp_path):
    path, value, message = BROKEN[case]
    spec = json.loads(whole)
    change(spec, path, value)
    (tmp_path / "tokenizer.json").write_text(json.dumps(spec, ensure_ascii=False))
    done = driver(tmp_path, "info")
    said = done.stderr.decode()
    assert done.returncode == 1 and message in said and "tokenizer.json" in said, said
    assert said.count("\n") == 1


def test_truncated(whole, tmp_path):
    rng = random.Random(SEED)
    for size in [0, 1, 10, len(whole) - 1, *(rng.randrange(len(whole)) for _ in range(60))]:
        (tmp_path / "tokenizer.json").write_text(whole[:size])
        done = driver(tmp_path, "info")
        assert done.returncode == 1 and done.stderr.decode().count("\n") == 1, size


def test_no_endless_match(whole, tmp_path):
    """An expression that explodes ends with a sentence, not with the day."""
    spec = json.loads(whole)
    spec["pre_tokenizer"] = {"type": "Split", "pattern": {"Regex": "(a+)+$"},
                             "behavior": "Isolated", "invert": False}
    (tmp_path / "tokenizer.json").write_text(json.dumps(spec))
    data = b"a" * 4000 + b"!"
    done = driver(tmp_path, "text", struct.pack("<I", len(data)) + data)
    assert done.returncode == 0 or "takes too long" in done.stderr.decode()
