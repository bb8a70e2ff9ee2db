# SPDX-License-Identifier: MIT
"""Ids against the libraries that the tokenizers come from, on vocabularies trained here.

Each pre-tokenizer is written as the models' own tokenizer.json has it. The random texts keep to
characters of old Unicode versions, which all engines know alike.
"""
import io
import random

import corpus
import driver
import llamas
import pytest
import sentencepiece
import vocabularies
from tokenizers import Regex, Tokenizer, models, pre_tokenizers, trainers

SEED = 20
SPECIALS = ["<|endoftext|>", "<|im_start|>"]
VOCABULARY = 700

# ---- texts

RANGES = [(0x20, 0x7e), (0x61, 0x7a), (0x30, 0x39), (0xa1, 0x17f), (0x391, 0x3a1), (0x3b1, 0x3c9),
          (0x410, 0x44f), (0x5d0, 0x5ea), (0x621, 0x652), (0x905, 0x94d), (0xe01, 0xe3a),
          (0x1e00, 0x1eff), (0x3041, 0x3096), (0x30a1, 0x30fa), (0x4e00, 0x4fff), (0xac00, 0xad00),
          (0x10330, 0x1034a), (0x1d400, 0x1d454), (0x20000, 0x20100), (0x300, 0x36f),
          (0x2150, 0x218a), (0x660, 0x669)]
ODDITIES = [" ", "  ", "\t", "\n", "\r\n", "\n\n", "\x00", "\x01", "\x1b", "\x7f", "\x85", "\xa0",
            "\u1680", "\u180e", "\u2003", "\u200b", "\u200d", "\u2028", "\u202e", "\u2060",
            "\u3000", "\ufeff", "\ue000", "\U0010fffd", "\u2581", "'", "'s", "'LL", "'ſ", "’t", "½",
            "²", "ⅷ", "٣", "١٢٣٤", "12345", "\U0001f469\u200d\U0001f680", "\U0001f44d\U0001f3fd",
            "\U0001f1ef\U0001f1f5", "☃\ufe0f", "e\u0301", "ǅ", "ʰ", "ª", "İ", "ß", "/", "//", "\\",
            "_", "`", "^", "|", "<|endof", "<s>"]
WRITTEN = ["", " ", "a", "Hello, world!", "  two  spaces ", "It's THEY'LL we'd I'M",
           "x=12345678;y\t= 9.5e-3\n", "Zażółć gęślą jaźń", "Съешь ещё этих мягких булок",
           "Ξεσκεπάζω τὴν ψυχοφθόρα", "דג סקרן שט בים", "نص حكيم له سر قاطع",
           "ऋषियों को सताने वाले", "เป็นมนุษย์สุดประเสริฐ", "いろはにほへと チリヌルヲ", "天地玄黃，宇宙洪荒。",
           "키스의 고유조건은", "CamelCaseWords and SHOUTING", "a\u0000b\u0001c", "\n\n\n \n",
           "tabs\t\t\tand\r\nlines\r\r", "snake_case::path/to//file.c", "🦙🦙 👩‍🚀👍🏽🇯🇵", "¿qué?¡sí!",
           "ⅷ ½ ² ٣٤٥", "<|im_start|>user\nhi<|endoftext|>",
           "<|endoftext|><|endoftext|> <|im_start|", "0 00 000 0000 00000"]


def random_text(rng):
    parts = []
    for _ in range(rng.randint(1, 30)):
        if rng.random() < 0.4:
            parts.append(rng.choice(ODDITIES))
        else:
            low, high = rng.choice(RANGES)
            parts.append("".join(chr(rng.randint(low, high)) for _ in range(rng.randint(1, 6))))
        if rng.random() < 0.3:
            parts.append(" ")
    return "".join(parts)


def texts(seed, count=400):
    rng = random.Random(seed)
    return WRITTEN + [random_text(rng) for _ in range(count)]


def training_texts():
    return [t.replace("\x00", " ") for t in texts(SEED + 1, 2000) + WRITTEN * 60]


def compare(folder, add_vocabulary, size, want, samples, **options):
    """`want` gives the ids of a text; `add_vocabulary` writes the GGUF's tokenizer."""
    file = folder / "model.gguf"
    model = llamas.random_llama(1, dim=8, ffn=8, heads=2, kv_heads=1, layers=1, vocab=size)
    llamas.write(file, model, add_vocabulary)
    got = driver.run(folder / "out", model=file, texts=samples, **options).report["ids"]
    wrong = [(text, mine, want(text)) for text, mine in zip(samples, got, strict=True)
             if mine != want(text)]
    assert not wrong, (len(wrong), ascii(min(wrong, key=lambda w: len(w[0]))))


# ---- byte-level BPE

SUFFIX = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)"
REST = r" ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
CASED = (r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+%s|"
         r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*%s|\p{N}%s|"
         r" ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+")


PUNCTUATED = (r"""[!"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~][A-Za-z]+|"""
              r"""[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+|"""
              r""" ?[\p{P}\p{S}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+""")


def split(*patterns):
    return pre_tokenizers.Sequence([
        *(pre_tokenizers.Split(Regex(p), behavior="isolated") for p in patterns),
        pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)])


def steps(*parts):
    return pre_tokenizers.Sequence([
        *parts, pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)])


def cut(pattern, behavior="isolated", invert=False):
    return pre_tokenizers.Split(Regex(pattern), behavior, invert)


def gpt2(*before):
    return pre_tokenizers.Sequence([*before, pre_tokenizers.ByteLevel(add_prefix_space=False)])


PRE_TOKENIZERS = {
    "gpt-2": gpt2(),
    "llama-bpe": split(SUFFIX + r"|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}|" + REST),
    "qwen2": split(SUFFIX + r"|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}|" + REST),
    "smollm": gpt2(pre_tokenizers.Digits(individual_digits=True)),
    "tekken": split(CASED % ("", "", "")),
    "gpt-4o": split(CASED % (SUFFIX + "?", SUFFIX + "?", "{1,3}")),
    "falcon": pre_tokenizers.Sequence([
        pre_tokenizers.Punctuation("contiguous"), pre_tokenizers.ByteLevel(add_prefix_space=False),
        pre_tokenizers.Digits(False), cut("[0-9][0-9][0-9]")]),
    # The letters of scripts with two cases, here those of the texts alone.
    "deepseek-llm": steps(
        cut("[\r\n]"), cut(r"\s?[A-Za-zµÀ-ÖØ-öø-ƺƼ-ƿǄ-ʓͰ-ͳΆΈ-ΊΌΎ-ΡΣ-ϵЀ-ҁҊ-ԯḀ-\u1f15]+"),
        cut(r"\s?[!-/:-~！-／：-～‘-‟　-。]+"), cut(r"\s+$"), cut("[一-龥ࠀ-一가-\ud7ff]+"),
        pre_tokenizers.Digits(True)),
    "deepseek-coder": split("[\r\n]", r"\s?\p{L}+", r"\s?\p{P}+", "[一-龥ࠀ-一가-\ud7ff]+", r"\p{N}"),
    "deepseek-v3": split(r"\p{N}{1,3}", "[一-龥\u3040-\u309f\u30a0-\u30ff]+", PUNCTUATED),
}
IGNORES_MERGES = ["llama-bpe", "tekken"]


@pytest.fixture(scope="module", params=PRE_TOKENIZERS)
def byte_level(request):
    tokenizer = Tokenizer(models.BPE(ignore_merges=request.param in IGNORES_MERGES))
    tokenizer.pre_tokenizer = PRE_TOKENIZERS[request.param]
    tokenizer.train_from_iterator(training_texts(), trainers.BpeTrainer(
        vocab_size=VOCABULARY, special_tokens=SPECIALS, show_progress=False,
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet())))
    return request.param, tokenizer


@pytest.mark.parametrize("parse_special", [False, True])
def test_byte_level(byte_level, parse_special, tmp_path):
    pre, tokenizer = byte_level
    tokenizer.encode_special_tokens = not parse_special
    compare(tmp_path, vocabularies.byte_level(tokenizer, pre, SPECIALS), tokenizer.get_vocab_size(),
            lambda text: tokenizer.encode(text).ids, texts(SEED), parse_special=parse_special)


# ---- SentencePiece

def trained_sentencepiece(byte_fallback, prefix):
    model = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(WRITTEN * 20 + [w for w in corpus.WORDS for _ in range(30)]),
        model_writer=model, model_type="bpe", vocab_size=900 if byte_fallback else 700,
        character_coverage=0.98, byte_fallback=byte_fallback, split_digits=True,
        normalization_rule_name="identity", add_dummy_prefix=prefix, remove_extra_whitespaces=False,
        minloglevel=2)
    return sentencepiece.SentencePieceProcessor(model_proto=model.getvalue())


@pytest.mark.parametrize("prefix", [True, False])
@pytest.mark.parametrize("byte_fallback", [True, False])
def test_sentencepiece(byte_fallback, prefix, tmp_path):
    processor = trained_sentencepiece(byte_fallback, prefix)

    def add(writer, size):
        vocabularies.sentencepiece(processor)(writer, size)
        writer.add_add_space_prefix(prefix)
    compare(tmp_path, add, processor.vocab_size(), processor.encode, texts(SEED))
