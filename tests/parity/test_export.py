# SPDX-License-Identifier: MIT
"""A Hugging Face folder and an adapter merged into a GGUF file: tensor by tensor what is merged of
the base's own GGUF file, with a tokenizer that gives the folder's ids."""
import json
import subprocess
import unicodedata

import driver
import gguf
import llamas
import numpy as np
import pytest
import test_bnb
import test_experts
import test_merge
import test_tokenizer_files as files
import test_tokenizer_json as kinds
import to_gguf
import tokenizers
import torch
import transformers
import vocabularies
from peft import LoraConfig, get_peft_model
from test_architectures import CASES, random_model
from test_tokenizers import trained_sentencepiece

BY_NAME = {case.name: (i, case) for i, case in enumerate(CASES)}
NAMES = ["llama", "llama, yarn", "mistral", "qwen2", "qwen3", "qwen3, linear", "gemma", "gemma2",
         "gemma3", "phi3", "phi4, longrope, long", "smollm3"]


NAMED = ["gpt-2", "llama-bpe", "qwen2", "qwen2, NFC", "smollm", "tekken", "gpt-4o",
         "deepseek-coder", "deepseek-v3"]


def make_adapter(model, folder, seed=5):
    """PEFT's, of every linear layer; the model with it."""
    made = get_peft_model(model, LoraConfig(task_type="CAUSAL_LM", r=3, lora_alpha=5,
                                            target_modules="all-linear"))
    rng = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, p in made.named_parameters():
            if "lora_B" in name:
                p.copy_(torch.randn(p.shape, generator=rng) * 0.3)
    made.save_pretrained(folder)
    return made


def tensors(path):
    return {t.name: t for t in gguf.GGUFReader(path).tensors}


def merge(base, adapter, out, *words):
    driver.command("merge", "-m", base, "-a", adapter, "-o", out, *words)
    return tensors(out)


def check_alike(got, want):
    assert got.keys() == want.keys()
    for name, t in want.items():
        assert got[name].tensor_type == t.tensor_type, name
        assert list(got[name].shape) == list(t.shape), name
        assert np.array_equal(got[name].data.view(np.uint8), t.data.view(np.uint8)), name


def check_both(tmp_path, type_name="keep"):
    check_alike(*(merge(tmp_path / base, tmp_path / "made", tmp_path / out, "--type", type_name)
                  for base, out in (("hf", "of_folder.gguf"), ("base.gguf", "of_file.gguf"))))


@pytest.mark.parametrize("name", NAMES)
def test_architectures(tmp_path, name):
    seed, case = BY_NAME[name]
    model = random_model(case, 900 + seed)
    model.save_pretrained(tmp_path / "hf")
    vocabularies.bytes_alone_folder(tmp_path / "hf", model.config.vocab_size)
    to_gguf.write(tmp_path / "base.gguf", model, vocabularies.bytes_alone, case.extra)
    make_adapter(model, tmp_path / "made")
    driver.command("merge", "-m", tmp_path / "hf", "-o", tmp_path / "alone.gguf")
    check_alike(tensors(tmp_path / "alone.gguf"), tensors(tmp_path / "base.gguf"))
    check_both(tmp_path, "f16")
    check_both(tmp_path)
    texts = [driver.command("generate", "-p", "The dog", "-n", 16, *words) for words in (
        ["-m", tmp_path / "hf", "-a", tmp_path / "made"], ["-m", tmp_path / "of_folder.gguf"])]
    assert texts[0] == texts[1]


@pytest.mark.parametrize("one_by_one", [True, False])
def test_experts_stacked(tmp_path, one_by_one):
    """Each expert in tensors of its own, or as transformers 5 keeps them in memory."""
    model = test_experts.make_model(test_experts.Case("export"), 61)
    options = {} if one_by_one else {"save_original_format": False}
    model.save_pretrained(tmp_path / "hf", **options)
    vocabularies.bytes_alone_folder(tmp_path / "hf", model.config.vocab_size)
    to_gguf.write(tmp_path / "base.gguf", model, vocabularies.bytes_alone)
    test_experts.experts.write(tmp_path / "made", model.config, 3, 5, 61)
    for type_name in ("keep", "q8_0"):
        check_both(tmp_path, type_name)


@pytest.mark.parametrize("case", test_bnb.CASES[:3], ids=str)
def test_four_bits(tmp_path, case):
    """bitsandbytes' values, then the sum; half floats where no type is asked for."""
    kind, block, nested, shards, storage = case
    model = test_bnb.plain_model(7)
    saved = test_bnb.quantize(model, kind, block, nested, storage)
    test_bnb.write(tmp_path / "hf", model, saved, kind, nested, shards, storage)
    to_gguf.write(tmp_path / "base.gguf", model, vocabularies.bytes_alone)
    make_adapter(model, tmp_path / "made")
    for type_name in ("f32", "f16", "q8_0"):
        check_both(tmp_path, type_name)
    kept = merge(tmp_path / "hf", tmp_path / "made", tmp_path / "of_folder.gguf")
    assert kept["blk.0.attn_q.weight"].tensor_type == gguf.GGMLQuantizationType.F16
    assert kept["token_embd.weight"].tensor_type == gguf.GGMLQuantizationType.F32


@pytest.mark.parametrize("case", test_bnb.CASES[:4], ids=str)
def test_four_bits_into_a_folder(tmp_path, case):
    """A folder that is not quantized: transformers loads it, with PEFT's sum."""
    kind, block, nested, shards, storage = case
    model = test_bnb.plain_model(9)
    saved = test_bnb.quantize(model, kind, block, nested, storage)
    test_bnb.write(tmp_path / "hf", model, saved, kind, nested, shards, storage)
    with_adapter = make_adapter(model, tmp_path / "made")
    driver.command("merge", "-m", tmp_path / "hf", "-a", tmp_path / "made", "-o", tmp_path / "out",
                   "--type", "f32")
    want = with_adapter.merge_and_unload().state_dict()
    loaded = transformers.AutoModelForCausalLM.from_pretrained(tmp_path / "out")
    assert not hasattr(loaded.config, "quantization_config")
    for key, value in loaded.state_dict().items():
        assert (value - want[key]).abs().max() <= 2e-6 * want[key].abs().max(), key
    driver.command("merge", "-m", tmp_path / "hf", "-a", tmp_path / "made", "-o", tmp_path / "half")
    for key, value in test_merge.state(tmp_path / "half").items():
        quantized = test_bnb.quantized(key)
        assert value.dtype == (torch.float16 if quantized else torch.float32), key
        assert torch.equal(value.float(), loaded.state_dict()[key].to(value.dtype).float()), key


# ---- tokenizers

def export(tmp_path, tokenizer, rows):
    """inlay merge, of a model with this tokenizer: its exit status and what it said."""
    model = llamas.random_llama(1, dim=8, ffn=8, heads=2, kv_heads=1, layers=1, vocab=rows)
    model.save_pretrained(tmp_path / "hf")
    kinds.save(tokenizer, tmp_path / "hf", bos_token="<|endoftext|>", eos_token="<|im_start|>",
               add_bos_token=True, add_eos_token=False, chat_template="{{ messages }}")
    make_adapter(model, tmp_path / "made")
    done = subprocess.run([f"{driver.BUILD}/tools/inlay", "merge", "-m", tmp_path / "hf", "-a",
                           tmp_path / "made", "-o", tmp_path / "out.gguf"], capture_output=True,
                          text=True, check=False)
    return done.returncode, done.stderr


def check_ids(tmp_path, samples):
    for parse_special in (True, False):
        got, want = (kinds.encode(tmp_path / name, [s.encode() for s in samples], parse_special)
                     for name in ("out.gguf", "hf"))
        wrong = [(s, g, w) for s, g, w in zip(samples, got, want, strict=True) if g != w]
        assert not wrong, (len(wrong), ascii(min(wrong, key=lambda w: len(w[0]))))


@pytest.mark.parametrize("name", NAMED)
def test_byte_level(tmp_path, name):
    """The file names the pre-tokenizer, and gives the folder's ids."""
    tokenizer = kinds.train(kinds.KINDS[name])
    rows = tokenizer.get_vocab_size() + 5  # of which five have no token
    code, said = export(tmp_path, tokenizer, rows)
    assert code == 0, said
    fields = gguf.GGUFReader(tmp_path / "out.gguf").fields
    assert fields["tokenizer.ggml.pre"].contents() == name.split(",")[0]
    assert len(fields["tokenizer.ggml.tokens"].contents()) == rows
    assert fields["tokenizer.chat_template"].contents() == "{{ messages }}"
    samples = kinds.texts(31)
    # GGUF has no normal forms.
    check_ids(tmp_path, [unicodedata.normalize("NFC", s) for s in samples] if "NFC" in name
              else samples)


@pytest.mark.parametrize("name,why", [
    ("classes", "its pre_tokenizer is none that GGUF has a name for"),
    ("space before", "its pre_tokenizer is none that GGUF has a name for"),
    ("split, removed, False", "its pre_tokenizer is none that GGUF has a name for"),
    ("NFKC, lower case", "its normalizer changes more than GGUF can say"),
    ("words", "it does more to a text than to write spaces as U+2581"),
    ("llama", "its merges leave out pairs that SentencePiece would merge")])
def test_no_name(tmp_path, name, why):
    tokenizer = kinds.train(kinds.KINDS[name])
    code, said = export(tmp_path, tokenizer, tokenizer.get_vocab_size())
    assert code == 2 and why in said and "merge into a folder instead" in said, said
    assert ("(known: default, gpt-2, " in said) == ("name for" in why), said
    assert not (tmp_path / "out.gguf").exists()


def test_merges_are_ignored(tmp_path):
    """What a name says of it, the file must say too."""
    spec = json.loads(kinds.train(kinds.KINDS["gpt-2"]).to_str())
    spec["model"]["ignore_merges"] = True
    tokenizer = tokenizers.Tokenizer.from_str(json.dumps(spec))
    code, said = export(tmp_path, tokenizer, tokenizer.get_vocab_size())
    assert code == 0 and 'ignore_merges is true, but a GGUF file\'s pre-tokenizer "gpt-2"' in said


def sentencepiece_json(processor, prefix):
    """As transformers makes it of a SentencePiece model: every pair that makes a piece merges."""
    pieces = [processor.id_to_piece(i) for i in range(processor.vocab_size())]
    ids = {piece: i for i, piece in enumerate(pieces)}
    merges = []
    for piece in pieces[259:]:
        pairs = [(piece[:i], piece[i:]) for i in range(1, len(piece))]
        pairs = [(a, b) for a, b in pairs if a in ids and b in ids]
        merges += [(processor.get_score(ids[piece]), ids[a], ids[b], a, b) for a, b in pairs]
    merges.sort(key=lambda m: (-m[0], m[1], m[2]))
    made = tokenizers.Tokenizer(tokenizers.models.BPE(
        ids, [m[3:] for m in merges], unk_token="<unk>", fuse_unk=True, byte_fallback=True))
    parts = tokenizers.normalizers
    made.normalizer = parts.Sequence([parts.Prepend("\u2581")] * prefix +
                                     [parts.Replace(" ", "\u2581")])
    parts = tokenizers.decoders
    made.decoder = parts.Sequence([parts.Replace("\u2581", " "), parts.ByteFallback(), parts.Fuse()]
                                  + [parts.Strip(" ", 1, 0)] * prefix)
    made.add_special_tokens(["<unk>", "<s>", "</s>"])
    return made


@pytest.mark.parametrize("prefix", [True, False])
def test_sentencepiece(tmp_path, prefix):
    processor = trained_sentencepiece(True, prefix)
    tokenizer = sentencepiece_json(processor, prefix)
    code, said = export(tmp_path, tokenizer, processor.vocab_size())
    assert code == 0, said
    fields = gguf.GGUFReader(tmp_path / "out.gguf").fields
    assert fields["tokenizer.ggml.model"].contents() == "llama"
    assert fields["tokenizer.ggml.add_space_prefix"].contents() == prefix
    check_ids(tmp_path, [s for s in kinds.texts(37) if "<s>" not in s])


@pytest.mark.parametrize("name", files.MODELS)
def test_tokenizer_model(tmp_path, name):
    """SentencePiece's own file, whose scores are the GGUF file's."""
    base = tmp_path / "hf"
    processor = files.spm(base, **files.MODELS[name])
    model = llamas.random_llama(1, dim=8, ffn=8, heads=2, kv_heads=1, layers=1,
                                vocab=processor.vocab_size() + 3)
    model.save_pretrained(base)
    done = subprocess.run([f"{driver.BUILD}/tools/inlay", "merge", "-m", base, "-o",
                           tmp_path / "out.gguf"], capture_output=True, text=True, check=False)
    if name in ("strips", "user's", "gemma"):
        why = "takes spaces out" if name == "strips" else "has user-defined pieces"
        assert done.returncode == 2 and why in done.stderr, done.stderr
        return
    assert done.returncode == 0, done.stderr
    check_ids(tmp_path, kinds.texts(41))
