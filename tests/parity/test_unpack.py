# SPDX-License-Identifier: MIT
"""A GGUF file merged into a Hugging Face folder: transformers loads it and gives the logits of the
model it was made of, and AutoTokenizer gives our ids."""
import json
import subprocess

import compare
import driver
import gguf
import llamas
import pytest
import reference
import test_tokenizer_json as kinds
import to_gguf
import torch
import transformers
import vocabularies
from safetensors.torch import load_file
from test_architectures import CASES, make_adapter, random_model
from test_tokenizers import trained_sentencepiece

LLAMA31 = {"rope_type": "llama3", "rope_theta": 500000.0, "factor": 8.0, "low_freq_factor": 1.0,
           "high_freq_factor": 4.0, "original_max_position_embeddings": 8192}
DENSE = [c for c in CASES if "moe" not in c.name and "dora" not in c.name and c.name != "llama"]


def loaded(folder):
    return transformers.AutoModelForCausalLM.from_pretrained(
        folder, dtype=torch.float32, attn_implementation="eager").eval()


def check_logits(got, want, case):
    sequences = [list(s) for s in case.sequences]
    for mine, theirs in zip(reference.logits(got, sequences), reference.logits(want, sequences),
                            strict=True):
        assert compare.relative(mine, theirs) < 1e-5, case.name


@pytest.mark.parametrize("case", DENSE, ids=[c.name for c in DENSE])
def test_architectures(tmp_path, case):
    model = random_model(case, 700)
    to_gguf.write(tmp_path / "base.gguf", model, vocabularies.bytes_alone, case.extra)
    driver.command("merge", "-m", tmp_path / "base.gguf", "-o", tmp_path / "out")
    folder = loaded(tmp_path / "out")
    assert type(folder) is type(model)
    want = model.state_dict()
    for key, value in folder.state_dict().items():
        assert (value - want[key]).abs().max() <= 1e-6 * want[key].abs().max(), key
    check_logits(folder, model, case)
    adapted = make_adapter(model, case, 5, tmp_path / "made")
    driver.command("merge", "-m", tmp_path / "base.gguf", "-a", tmp_path / "made", "-o",
                   tmp_path / "merged", "--type", "f32")
    check_logits(loaded(tmp_path / "merged"), adapted, case)
    texts = [driver.command("generate", "-p", "The dog", "-n", 12, *words) for words in (
        ["-m", tmp_path / "base.gguf", "-a", tmp_path / "made"], ["-m", tmp_path / "merged"])]
    assert texts[0] == texts[1]


def test_llama31(tmp_path):
    model = llamas.random_llama(3, dim=64, ffn=96, heads=4, kv_heads=2, layers=2,
                                rope_parameters=LLAMA31)
    to_gguf.write(tmp_path / "base.gguf", model, vocabularies.bytes_alone)
    driver.command("merge", "-m", tmp_path / "base.gguf", "-o", tmp_path / "out", "--type", "bf16")
    config = json.loads((tmp_path / "out/config.json").read_text())
    assert config["rope_scaling"] == {k: v for k, v in LLAMA31.items() if k != "rope_theta"}
    assert config["torch_dtype"] == "bfloat16"
    for key, value in load_file(tmp_path / "out/model.safetensors").items():
        assert torch.equal(value, model.state_dict()[key].bfloat16()), key


# ---- tokenizers

def write(tmp_path, add, rows):
    model = llamas.random_llama(1, dim=8, ffn=8, heads=2, kv_heads=1, layers=1, vocab=rows)
    llamas.write(tmp_path / "base.gguf", model, add)
    driver.command("merge", "-m", tmp_path / "base.gguf", "-o", tmp_path / "out")
    return transformers.AutoTokenizer.from_pretrained(tmp_path / "out")


def check_ids(tmp_path, tokenizer, samples):
    for parse_special in (True, False):
        ours, again = (kinds.encode(tmp_path / name, [s.encode() for s in samples], parse_special)
                       for name in ("base.gguf", "out"))
        assert ours == again
    wrong = [(s, tokenizer.encode(s, add_special_tokens=False), g[0])
             for s, g in zip(samples, kinds.encode(
                 tmp_path / "base.gguf", [s.encode() for s in samples], True), strict=True)]
    wrong = [w for w in wrong if w[1] != w[2]]
    assert not wrong, (len(wrong), ascii(min(wrong, key=lambda w: len(w[0]))))


@pytest.mark.parametrize("name", ["gpt-2", "llama-bpe", "qwen2", "smollm", "tekken", "gpt-4o",
                                  "deepseek-coder", "deepseek-v3"])
def test_byte_level(tmp_path, name):
    trained = kinds.train(kinds.KINDS[name])
    size = trained.get_vocab_size()

    def add(writer, count):
        vocabularies.byte_level(trained, name, ["<|endoftext|>", "<|im_start|>"])(writer, count)
        writer.add_chat_template("{{ messages }}")
    tokenizer = write(tmp_path, add, size)
    check_ids(tmp_path, tokenizer, kinds.texts(43))
    assert tokenizer.chat_template == "{{ messages }}"


@pytest.mark.parametrize("prefix", [True, False])
def test_sentencepiece(tmp_path, prefix):
    processor = trained_sentencepiece(True, prefix)

    def add(writer, size):
        vocabularies.sentencepiece(processor)(writer, size)
        writer.add_add_space_prefix(prefix)
    tokenizer = write(tmp_path, add, processor.vocab_size())
    check_ids(tmp_path, tokenizer, [s for s in kinds.texts(47) if "<s>" not in s])
    assert tokenizer("The dog").input_ids[0] == 1


def test_refused(tmp_path):
    case = next(c for c in CASES if c.name == "qwen3moe")
    model = random_model(case, 700)
    to_gguf.write(tmp_path / "base.gguf", model, vocabularies.bytes_alone, case.extra)
    done = subprocess.run([f"{driver.BUILD}/tools/inlay", "merge", "-m", tmp_path / "base.gguf",
                           "-o", tmp_path / "out"], capture_output=True, text=True, check=False)
    assert done.returncode == 2 and "qwen3moe cannot become a folder" in done.stderr, done.stderr
    assert [p.name for p in tmp_path.iterdir()] == ["base.gguf"]
    assert gguf.GGUFReader(tmp_path / "base.gguf").fields
