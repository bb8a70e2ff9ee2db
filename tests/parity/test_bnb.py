# SPDX-License-Identifier: MIT
"""bitsandbytes' 4-bit checkpoints, read as they are: logits and gradients are those that
transformers and bitsandbytes give on the CPU; every kind of code, block and nesting."""
import json

import bitsandbytes.functional as bnb
import compare
import corpus
import driver
import measured
import pytest
import reference
import torch
import transformers
import vocabularies
from peft import LoraConfig, get_peft_model
from safetensors.torch import save_file

SEQUENCES = [[1, 5, 77, 130, 200, 9], list(range(3, 63))]
BOUND = 1e-5
# kind, elements of a block, double-quantized, shards, the type that codes lie in
CASES = [("nf4", 64, True, 1, "uint8"), ("nf4", 64, False, 2, "bfloat16"),
         ("fp4", 64, True, 2, "float32"), ("fp4", 64, False, 1, "uint8"),
         ("nf4", 128, True, 1, "uint8"), ("nf4", 256, False, 1, "float16"),
         ("fp4", 4096, True, 1, "uint8")]


def plain_model(seed):
    torch.manual_seed(seed)
    config = transformers.Qwen2Config(
        vocab_size=262, hidden_size=96, intermediate_size=200, num_hidden_layers=2,
        num_attention_heads=6, num_key_value_heads=2, max_position_embeddings=128, bos_token_id=1,
        eos_token_id=2, pad_token_id=0, tie_word_embeddings=False, attn_implementation="eager")
    model = transformers.Qwen2ForCausalLM(config).to(torch.float32).eval()
    with torch.no_grad():
        for name, p in model.named_parameters():
            p.copy_(torch.randn(p.shape) * (0.2 if p.ndim == 1 else 1.2 / p.shape[1] ** 0.5) +
                    (1.0 if "norm" in name else 0.0))
    return model


def quantized(name):
    return name.endswith("_proj.weight")


@torch.no_grad()
def quantize(model, kind, block, nested, storage):
    """The tensors of a checkpoint; the model's become what they stand for."""
    tensors = {}
    for name, p in model.named_parameters():
        if not quantized(name):
            tensors[name] = p.detach().clone()
            continue
        packed, state = bnb.quantize_4bit(p.detach(), blocksize=block, quant_type=kind,
                                          compress_statistics=nested,
                                          quant_storage=getattr(torch, storage))
        tensors[name] = packed
        for key, value in state.as_dict(packed=True).items():
            tensors[f"{name}.{key}"] = value
        p.copy_(bnb.dequantize_4bit(packed, state))
    return tensors


def write(folder, model, tensors, kind, nested, shards, storage):
    folder.mkdir()
    settings = model.config.to_dict()
    settings["architectures"] = ["Qwen2ForCausalLM"]
    settings["quantization_config"] = {
        "quant_method": "bitsandbytes", "load_in_4bit": True, "load_in_8bit": False,
        "bnb_4bit_quant_type": kind, "bnb_4bit_use_double_quant": nested,
        "bnb_4bit_compute_dtype": "float32", "bnb_4bit_quant_storage": storage}
    (folder / "config.json").write_text(json.dumps(settings))
    vocabularies.bytes_alone_folder(folder, model.config.vocab_size)
    names, where = sorted(tensors), {}
    for i in range(shards):  # what belongs together is in different files
        file = f"model-{i + 1:05d}-of-{shards:05d}.safetensors" if shards > 1 else \
            "model.safetensors"
        own = {name: tensors[name].contiguous() for name in names[i::shards]}
        where.update(dict.fromkeys(own, file))
        save_file(own, folder / file, metadata={"format": "pt"})
    if shards > 1:
        (folder / "model.safetensors.index.json").write_text(
            json.dumps({"metadata": {}, "weight_map": where}))


class Result:
    def __init__(self, case, folder):
        kind, block, nested, shards, storage = case
        self.name = f"bnb {kind}, {block}{', nested' if nested else ''}"
        self.model = plain_model(block + nested)
        self.folder = folder / "saved"
        tensors = quantize(self.model, kind, block, nested, storage)
        write(self.folder, self.model, tensors, kind, nested, shards, storage)
        torch.manual_seed(block)
        self.adapted = get_peft_model(self.model, LoraConfig(r=3, lora_alpha=7,
                                                             target_modules="all-linear"))
        with torch.no_grad():
            for name, p in reference.named(self.adapted).items():
                if "lora_B" in name:
                    p.normal_(0.0, 0.1)
        self.adapted.save_pretrained(folder / "made")
        self.run = driver.run(folder / "out", model=self.folder, adapter=folder / "made", steps=1,
                              train={"seed": 3, "learning_rate": 1e-12}, max_length=61,
                              data=corpus.make(folder, "text", 3), sequences=SEQUENCES)


@pytest.fixture(params=CASES, ids=str, scope="module")
def result(request, tmp_path_factory):
    return Result(request.param, tmp_path_factory.mktemp("bnb"))


def test_logits(result):
    want = reference.logits(result.adapted, SEQUENCES)
    for mine, theirs in zip(result.run.logits(), want, strict=True):
        measured.note(result.name, "logits", compare.relative(mine, theirs))
    assert measured.ROWS[result.name]["logits"] < BOUND


def test_method_not_named(result, tmp_path):
    """As transformers before 4.34 wrote it."""
    saved = tmp_path / "saved"
    saved.mkdir()
    for file in result.folder.iterdir():
        (saved / file.name).symlink_to(file)
    settings = json.loads((saved / "config.json").read_text())
    del settings["quantization_config"]["quant_method"]
    (saved / "config.json").unlink()
    (saved / "config.json").write_text(json.dumps(settings))
    got = driver.run(tmp_path / "out", model=saved, adapter=result.folder.parent / "made",
                     sequences=SEQUENCES).logits()
    assert all(torch.equal(x, y) for x, y in zip(got, result.run.logits(), strict=True))


def test_gradients(result):
    result.adapted.train()
    want = reference.gradients(result.adapted, result.run.report["rows"][:1])
    got = result.run.tensors("gradients")
    assert got.keys() == want.keys()
    for name, w in want.items():
        measured.note(result.name, "gradient", compare.relative(got[name], w))
    assert measured.ROWS[result.name]["gradient"] < BOUND


def test_transformers_reads_the_same(result, tmp_path):
    """The folder itself, through transformers' own loader and bitsandbytes' kernels."""
    theirs = transformers.AutoModelForCausalLM.from_pretrained(
        result.folder, dtype=torch.float32, device_map="cpu")
    with torch.no_grad():
        want = [theirs(input_ids=torch.tensor([s])).logits[0] for s in SEQUENCES]
    run = driver.run(tmp_path, model=result.folder, sequences=SEQUENCES)
    for mine, expected in zip(run.logits(), want, strict=True):
        measured.note(result.name, "transformers", compare.relative(mine, expected))
    assert measured.ROWS[result.name]["transformers"] < BOUND
