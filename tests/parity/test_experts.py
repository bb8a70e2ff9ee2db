# SPDX-License-Identifier: MIT
"""A mixture of experts in every weight format: gradients, and PEFT loads what inlay has trained."""
import dataclasses
import json
import re

import bitsandbytes.functional as bnb
import compare
import corpus
import driver
import experts
import gguf
import llamas
import measured
import nf4
import pytest
import reference
import test_architectures
import to_gguf
import torch
import vocabularies
from peft import LoraConfig, get_peft_model
from safetensors.torch import load_file, save_file

BOUND = 1e-5  # of a tensor's norm
SEQUENCES = [[1, 5, 77, 130, 200, 9], [40], list(range(3, 103))]
ROUND = dict(hidden_size=64, head_dim=16, moe_intermediate_size=32)


@dataclasses.dataclass(frozen=True)
class Case:
    name: str
    shape: dict = dataclasses.field(default_factory=lambda: dict(ROUND))
    stored: str = "f32"
    quantize: str = None
    router: bool = False
    rank: int = 3
    train: dict = dataclasses.field(default_factory=dict)


CASES = [
    Case("many experts, few tokens", dict(ROUND, num_experts=40, num_experts_per_tok=8),
         train=dict(batch_size=2, checkpointing=1), rank=1),
    Case("f16", stored="f16", train=dict(checkpointing=2)),
    Case("bf16", stored="bf16", train=dict(batch_size=3)),
    Case("q8_0, a router", stored="q8_0", router=True),
    Case("q4_0", stored="q4_0", rank=8, train=dict(accumulation=2)),
    Case("nf4", quantize="nf4"),
    Case("nf4 of f16, odd blocks", dict(hidden_size=60, head_dim=20, moe_intermediate_size=44),
         stored="f16", quantize="nf4", router=True),
    Case("requantized to q8_0", stored="bf16", quantize="q8_0"),
    Case("requantized to q4_0", quantize="q4_0", rank=5),
]


def make_model(case, seed):
    shape = {**dict(num_experts=6, num_experts_per_tok=2, norm_topk_prob=True), **case.shape}
    return test_architectures.random_model(
        test_architectures.Case(case.name, "Qwen3Moe", shape), seed)


def round_trip(array, kind):
    """The values that a format has in place of these."""
    if kind == "nf4":
        return nf4.round_trip(array)
    wanted = llamas.TYPES[kind]
    if array.shape[-1] % gguf.GGML_QUANT_SIZES[wanted][0]:
        return array
    return gguf.quants.dequantize(gguf.quants.quantize(array, wanted), wanted)


@torch.no_grad()
def change(model, kind):
    """--quantize: the layers' matrices, each expert's by itself; not the router."""
    for name, p in model.named_parameters():
        if p.dim() < 2 or not name.startswith("model.layers.") or name.endswith("mlp.gate.weight"):
            continue
        matrices = p.flatten(0, p.dim() - 3) if p.dim() > 2 else p[None]
        for matrix in matrices:
            parts = matrix.chunk(2) if name.endswith("gate_up_proj") else [matrix]
            for part in parts:
                part.copy_(torch.from_numpy(round_trip(part.numpy(), kind)))


class Result:
    def __init__(self, case, seed, folder):
        self.case, self.folder, self.seed = case, folder, seed
        self.model = make_model(case, seed)
        to_gguf.write(folder / "model.gguf", self.model, vocabularies.bytes_alone,
                      kind=case.stored)
        if case.quantize:
            change(self.model, case.quantize)
        self.weights = {name: p.detach().clone() for name, p in self.model.named_parameters()}
        experts.write(folder / "made", self.model.config, case.rank, 2 * case.rank + 1, seed,
                      case.router)
        self.inlay = driver.run(folder / "out", model=folder / "model.gguf",
                                adapter=folder / "made",
                                quantize=case.quantize, steps=6,
                                train={"seed": seed, "learning_rate": 1e-2, **case.train},
                                data=corpus.make(folder, "text", seed), max_length=61,
                                sequences=SEQUENCES)

    def peft(self, folder):
        model = make_model(self.case, self.seed)
        with torch.no_grad():
            for name, p in model.named_parameters():
                p.copy_(self.weights[name])
        return experts.load(model, folder)


@pytest.fixture(params=range(len(CASES)), ids=[c.name for c in CASES], scope="module")
def result(request, tmp_path_factory):
    return Result(CASES[request.param], 700 + request.param, tmp_path_factory.mktemp("experts"))


def test_gradients(result):
    model = result.peft(result.folder / "made").train()
    rows = result.inlay.report["rows"][:result.case.train.get("batch_size", 1)]
    want = experts.unfused(reference.gradients(model, rows), result.model.config.num_experts)
    got = result.inlay.tensors("gradients")
    assert got.keys() == want.keys()
    live = {name: w for name, w in want.items() if float(w.norm()) > 1e-4}
    assert len(live) >= len(want) / 2
    assert all(float(got[name].norm()) < 2e-4 for name in want.keys() - live.keys())
    errors = {name: compare.relative(got[name], w) for name, w in live.items()}
    measured.note(result.case.name, "gradient", max(errors.values()))
    assert max(errors.values()) < BOUND, {n: e for n, e in errors.items() if e >= BOUND}


def test_peft_has_the_trained_model(result):
    folder = result.folder / "out/trained"
    moved = result.inlay.tensors("trained")
    made = result.inlay.tensors("initial")
    assert max(compare.relative(moved[n], made[n]) for n in made) > 1e-2
    want = reference.logits(result.peft(folder), SEQUENCES)
    for mine, theirs in zip(result.inlay.logits(), want, strict=True):
        measured.note(result.case.name, "logits", compare.relative(mine, theirs))
    assert measured.ROWS[result.case.name]["logits"] < BOUND


def shared_pairs(tensors):
    """Gradients of gate's and up's A where both are one."""
    for name in [n for n in tensors if ".gate_proj.lora_A" in n]:
        up = name.replace("gate_proj", "up_proj")
        tensors[name] = tensors.pop(up) + tensors[name]
    return tensors


def fused_gradients(model, rows, count):
    """By the names of modules, gate's A being up's too."""
    want = {}
    for name, g in reference.gradients(model, rows).items():
        if ".mlp.experts." not in name:
            want[name] = g
            continue
        path, kind = name.split(".mlp.experts.")[0] + ".mlp.experts", name.split("lora_")[1][0]
        parts = ["gate_proj", "up_proj"] if "base_layer" in name else ["down_proj"]
        for e in range(count):
            if kind == "A":
                g_e = g.reshape(count, -1, g.shape[1])[e]
                want[f"{path}.{e}.{parts[0]}.lora_A.weight"] = g_e
                continue
            g_e = g.reshape(g.shape[0], -1, count)[:, :, e].chunk(len(parts))
            for part, half in zip(parts, g_e, strict=True):
                want[f"{path}.{e}.{part}.lora_B.weight"] = half
    return want


def test_what_peft_makes_of_parameters(tmp_path):
    """target_parameters, PEFT's way with transformers 5: an A that gate and up share."""
    case = Case("target_parameters", dict(hidden_size=60, head_dim=20, moe_intermediate_size=44))
    model = make_model(case, 41)
    to_gguf.write(tmp_path / "model.gguf", model, vocabularies.bytes_alone)
    torch.manual_seed(41)
    adapted = get_peft_model(model, LoraConfig(
        r=4, lora_alpha=6, target_modules=["q_proj", "o_proj"],
        target_parameters=["mlp.experts.gate_up_proj", "mlp.experts.down_proj", "gate.weight"],
        rank_pattern={"experts.down_proj": 3}, alpha_pattern={"experts.gate_up_proj": 9}))
    with torch.no_grad():
        for name, p in reference.named(adapted).items():
            if "lora_B" in name:
                p.normal_(0.0, 0.1)
    adapted.save_pretrained(tmp_path / "made")
    inlay = driver.run(tmp_path / "out", model=tmp_path / "model.gguf", adapter=tmp_path / "made",
                       steps=1, train={"seed": 1, "learning_rate": 1e-12},
                       data=corpus.make(tmp_path, "text", 41), max_length=61, sequences=SEQUENCES)
    for mine, theirs in zip(inlay.logits(), reference.logits(adapted, SEQUENCES), strict=True):
        measured.note(case.name, "logits", compare.relative(mine, theirs))
    want = fused_gradients(adapted.train(), inlay.report["rows"][:1], model.config.num_experts)
    got = shared_pairs(inlay.tensors("gradients"))
    assert got.keys() == want.keys()
    errors = {n: compare.relative(got[n], w) for n, w in want.items() if float(w.norm()) > 1e-4}
    measured.note(case.name, "gradient", max(errors.values()))
    assert len(errors) > len(want) / 2 and max(errors.values()) < BOUND, errors
    assert measured.ROWS[case.name]["logits"] < BOUND
    # What inlay saves of it, with a pair for gate and one for up, is the same model to PEFT.
    loaded = experts.load(make_model(case, 41), tmp_path / "out/trained")
    again = reference.logits(loaded, SEQUENCES)
    for mine, theirs in zip(inlay.logits(), again, strict=True):
        assert compare.relative(mine, theirs) < BOUND


def test_what_peft_saves_of_ours(tmp_path):
    """PEFT fuses an adapter of single experts as it loads it, and saves it so."""
    case = Case("fused by PEFT")
    model = make_model(case, 43)
    to_gguf.write(tmp_path / "model.gguf", model, vocabularies.bytes_alone)
    experts.write(tmp_path / "made", model.config, 3, 5, 43)
    adapted = experts.load(model, tmp_path / "made")
    adapted.save_pretrained(tmp_path / "fused")
    inlay = driver.run(tmp_path / "out", model=tmp_path / "model.gguf", adapter=tmp_path / "fused",
                       sequences=SEQUENCES)
    for mine, theirs in zip(inlay.logits(), reference.logits(adapted, SEQUENCES), strict=True):
        measured.note(case.name, "logits", compare.relative(mine, theirs))
    assert measured.ROWS[case.name]["logits"] < BOUND


def test_peft_loads_what_was_trained_with_dropout(tmp_path):
    """Which PEFT does not have for experts: it would refuse the file."""
    model = make_model(Case("dropout"), 45)
    to_gguf.write(tmp_path / "model.gguf", model, vocabularies.bytes_alone)
    driver.command("train", "-m", tmp_path / "model.gguf", "-d", corpus.make(tmp_path, "text", 45),
                   "-o", tmp_path / "out", "--lora-r", 2, "--lora-dropout", 0.25, "--max-steps", 3,
                   "--max-length", 61, "-q")
    inlay = driver.run(tmp_path / "run", model=tmp_path / "model.gguf", adapter=tmp_path / "out",
                       sequences=SEQUENCES)
    want = reference.logits(experts.load(model, tmp_path / "out"), SEQUENCES)
    for mine, theirs in zip(inlay.logits(), want, strict=True):
        assert compare.relative(mine, theirs) < BOUND


def test_a_folder_of_fused_experts(tmp_path):
    """As transformers 5 has them in memory, and saves them where it is told to."""
    model = make_model(Case("fused", dict(hidden_size=60, head_dim=20, moe_intermediate_size=44)),
                       47)
    model.save_pretrained(tmp_path / "saved", save_original_format=False, max_shard_size="40KB")
    vocabularies.bytes_alone_folder(tmp_path / "saved", model.config.vocab_size)
    experts.write(tmp_path / "made", model.config, 3, 5, 47)
    inlay = driver.run(tmp_path / "out", model=tmp_path / "saved", adapter=tmp_path / "made",
                       sequences=SEQUENCES)
    want = reference.logits(experts.load(model, tmp_path / "made"), SEQUENCES)
    for mine, theirs in zip(inlay.logits(), want, strict=True):
        assert compare.relative(mine, theirs) < BOUND


def test_merged_and_added_up(tmp_path):
    """Each expert's matrix with its own pair added; two adapters with scales, one not of all."""
    model, file = make_model(Case("merged"), 49), tmp_path / "model.gguf"
    to_gguf.write(file, model, vocabularies.bytes_alone)
    experts.write(tmp_path / "one", model.config, 3, 5, 49, router=True)
    experts.write(tmp_path / "other", model.config, 2, 7, 50)
    words = ["-a", f"{tmp_path / 'one'}:0.5", "-a", f"{tmp_path / 'other'}:-1.25"]
    loss = {}
    data = corpus.make(tmp_path, "text", 49)
    for name, adapters in (("one", ["-a", tmp_path / "one"]), ("sum", words)):
        driver.command("merge", "-m", file, *adapters, "-o", tmp_path / f"{name}.gguf")
        for kind, given in (("merged", ["-m", tmp_path / f"{name}.gguf"]),
                            ("added", ["-m", file, *adapters])):
            loss[name, kind] = json.loads(driver.command(
                "eval", *given, "-d", data, "--max-length", 61, "--json"))["loss"]
        assert abs(loss[name, "merged"] / loss[name, "added"] - 1) < 1e-5
    assert abs(loss["one", "added"] / loss["sum", "added"] - 1) > 1e-3
    want = experts.load(make_model(Case("merged"), 49), tmp_path / "one").merge_and_unload()
    inlay = driver.run(tmp_path / "out", model=tmp_path / "one.gguf", sequences=SEQUENCES)
    for mine, theirs in zip(inlay.logits(), reference.logits(want, SEQUENCES), strict=True):
        assert compare.relative(mine, theirs) < BOUND


def test_continued(tmp_path):
    """Training goes on from any of the files that hold the adapter, at the same loss."""
    model, file = make_model(Case("continued"), 51), tmp_path / "model.gguf"
    to_gguf.write(file, model, vocabularies.bytes_alone)
    experts.write(tmp_path / "peft", model.config, 2, 5, 51)
    experts.load(model, tmp_path / "peft").save_pretrained(tmp_path / "fused")
    driver.command("convert", "-m", file, "-a", tmp_path / "peft", "-o", tmp_path / "a.gguf")
    data, losses = corpus.make(tmp_path, "text", 51), []
    for adapter in ("peft", "fused", "a.gguf"):
        out = tmp_path / f"{adapter}-on"
        driver.command("train", "-m", file, "-d", data, "-o", out, "--adapter", tmp_path / adapter,
                       "--max-steps", 2, "--max-length", 61, "--logging-steps", 1, "-q")
        lines = [json.loads(line) for line in (out / "log.jsonl").read_text("utf-8").splitlines()]
        losses.append([line["loss"] for line in lines if "loss" in line])
    assert abs(losses[1][0] / losses[0][0] - 1) < 1e-6  # of other ranks: it goes on otherwise
    assert losses[2] == pytest.approx(losses[0], rel=1e-6)


@torch.no_grad()
def expert_matrix(model, name):
    """The part of transformers 5's parameter that a tensor of the checkpoint is."""
    found = re.fullmatch(r"(.*\.experts)\.(\d+)\.(gate|up|down)_proj\.weight", name)
    if not found:
        return model.get_parameter(name)
    module, e = model.get_submodule(found[1]), int(found[2])
    if found[3] == "down":
        return module.down_proj[e]
    return module.gate_up_proj[e].chunk(2)[found[3] == "up"]


@pytest.mark.parametrize("kind,nested", [("nf4", True), ("fp4", False)])
def test_a_folder_of_four_bits(tmp_path, kind, nested):
    """bitsandbytes' layout, each expert's matrix for itself, as transformers 4 saves it."""
    model, saved = make_model(Case("four bits"), 53), tmp_path / "saved"
    model.save_pretrained(saved)
    vocabularies.bytes_alone_folder(saved, model.config.vocab_size)
    tensors = {}
    for name, values in load_file(saved / "model.safetensors").items():
        if not name.endswith("_proj.weight"):
            tensors[name] = values
            continue
        tensors[name], state = bnb.quantize_4bit(values, quant_type=kind,
                                                 compress_statistics=nested)
        tensors.update({f"{name}.{k}": v for k, v in state.as_dict(packed=True).items()})
        with torch.no_grad():
            expert_matrix(model, name).copy_(bnb.dequantize_4bit(tensors[name], state))
    save_file(tensors, saved / "model.safetensors", metadata={"format": "pt"})
    config = json.loads((saved / "config.json").read_text())
    config["quantization_config"] = {"quant_method": "bitsandbytes", "load_in_4bit": True,
                                     "bnb_4bit_quant_type": kind}
    (saved / "config.json").write_text(json.dumps(config))
    experts.write(tmp_path / "made", model.config, 3, 5, 53)
    inlay = driver.run(tmp_path / "out", model=saved, adapter=tmp_path / "made",
                       sequences=SEQUENCES)
    want = reference.logits(experts.load(model, tmp_path / "made"), SEQUENCES)
    for mine, theirs in zip(inlay.logits(), want, strict=True):
        assert compare.relative(mine, theirs) < BOUND
