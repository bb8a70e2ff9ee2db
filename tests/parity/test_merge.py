# SPDX-License-Identifier: MIT
"""Adapters that PEFT made: merged into the base as PEFT merges them, added up, trained on."""
import json

import driver
import experts
import gguf
import llamas
import numpy as np
import pytest
import test_experts
import torch
import vocabularies
from peft import AutoPeftModelForCausalLM, LoraConfig, PeftModel, get_peft_model
from safetensors.torch import load_file, save_file

# dim 256: a row holds a block of every format.
SHAPE = {"dim": 256, "ffn": 512, "heads": 4, "kv_heads": 2, "layers": 2}
LINEAR = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]
CASES = {
    "lora": {"r": 4, "lora_alpha": 6, "target_modules": LINEAR},
    "patterns": {"r": 4, "lora_alpha": 6, "use_rslora": True, "target_modules": LINEAR,
                 "rank_pattern": {"q_proj": 7, "layers.1.mlp.up_proj": 2},
                 "alpha_pattern": {"k_proj": 11.5}},
    "dora": {"r": 5, "lora_alpha": 3, "use_dora": True, "target_modules": LINEAR},
    "regex": {"r": 3, "target_modules": r".*\.(q|k)_proj"},
    "one layer": {"r": 3, "target_modules": ["k_proj", "down_proj"], "layers_to_transform": [1]},
    "all-linear": {"r": 3, "target_modules": "all-linear"},
    "head": {"r": 3, "target_modules": ["q_proj", "lm_head"]},
}


class World:
    def __init__(self, folder):
        self.folder, self.file = folder, folder / "model.gguf"
        self.model = llamas.random_llama(3, **SHAPE)
        llamas.write(self.file, self.model, vocabularies.bytes_alone)
        self.data = folder / "data.txt"
        self.data.write_text("The dog sat by a wall.\n" * 3)
        self.made = {}

    def base(self):
        model = type(self.model)(self.model.config).eval()
        model.load_state_dict(self.model.state_dict())
        return model

    def peft(self, name, seed=1):
        """A PEFT model with random B's, and the folder it was saved to."""
        if (name, seed) in self.made:
            return self.made[name, seed]
        model = get_peft_model(self.base(), LoraConfig(task_type="CAUSAL_LM", **CASES[name]))
        rng = torch.Generator().manual_seed(seed)
        with torch.no_grad():
            for key, p in model.named_parameters():
                if "lora_" in key and "magnitude" not in key:
                    p.copy_(torch.randn(p.shape, generator=rng) * 0.6 / p.shape[1] ** 0.5)
                elif "magnitude" in key:
                    p.mul_(1.0 + 0.2 * torch.rand(p.shape, generator=rng))
        folder = self.folder / f"{name}-{seed}"
        model.save_pretrained(folder)
        self.made[name, seed] = model, folder
        return self.made[name, seed]

    def merged(self, *words):
        path = self.folder / "merged.gguf"
        driver.command("merge", "-m", self.file, "-o", path, *words)
        return path

    def loss(self, model, *words):
        return json.loads(driver.command("eval", "-m", model, "-d", self.data, "--json",
                                         *words))["loss"]


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    return World(tmp_path_factory.mktemp("merge"))


def tensors(path):
    """Values by name, matrices as [out, in]."""
    return {t.name: gguf.quants.dequantize(t.data, t.tensor_type)
            for t in gguf.GGUFReader(path).tensors}


def expected(model):
    """A model's tensors as its GGUF file has them."""
    return {llamas.gguf_name(name): llamas.interleave(
        p.detach().numpy(), llamas.head_counts(model.config, name))
        for name, p in model.state_dict().items()}


def check_tensors(path, want, bound):
    got = tensors(path)
    assert got.keys() >= want.keys()
    for name, value in want.items():
        assert np.abs(got[name] - value).max() <= bound * np.abs(value).max(), name


@pytest.mark.parametrize("name", [n for n in CASES if n not in ("lora", "all-linear")])
def test_merged_weights(world, name):
    """Tensor by tensor what PEFT's merge_and_unload has, and the same loss and logits."""
    model, folder = world.peft(name)
    path = world.merged("-a", folder)
    with_adapter = world.loss(world.file, "-a", folder)
    assert abs(world.loss(path) / with_adapter - 1) < 1e-5
    assert abs(with_adapter / world.loss(world.file) - 1) > 1e-3
    ids = torch.tensor([[3 + b for b in b"The dog sat by"]])
    with torch.no_grad():
        logits = model(input_ids=ids).logits[0].numpy()
    got = driver.run(world.folder / "logits", model=path, sequences=[ids[0].tolist()]).logits()[0]
    assert np.abs(got.numpy() - logits).max() < 1e-4 * np.abs(logits).max()
    copy = World.base(world)
    merged = type(model).from_pretrained(copy, folder).merge_and_unload()
    check_tensors(path, expected(merged), 2e-6)


def test_all_linear(world):
    _, folder = world.peft("all-linear")
    info = json.loads(driver.command("info", folder, "--json"))
    assert len(info["targets"]) == 7 * SHAPE["layers"]
    driver.command("convert", "-m", world.file, "-a", folder, "-o", world.folder / "all.gguf")


@pytest.mark.parametrize("type_name", ["f16", "q8_0", "q4_0"])
def test_types(world, type_name):
    """Each matrix is what the gguf package makes of the sum; vectors stay as they are."""
    _, folder = world.peft("lora")
    whole = tensors(world.merged("-a", folder))
    path = world.merged("-a", folder, "--type", type_name)
    want = gguf.GGMLQuantizationType[type_name.upper()]
    for t in gguf.GGUFReader(path).tensors:
        matrix = len(t.shape) > 1
        assert t.tensor_type == (want if matrix else gguf.GGMLQuantizationType.F32), t.name
        if matrix:
            assert np.array_equal(gguf.quants.quantize(whole[t.name], want).view(np.uint8).ravel(),
                                  t.data.view(np.uint8).ravel()), t.name


@pytest.mark.parametrize("type_name", ["q4_k", "iq4_xs"])
def test_loss_of_types(world, type_name):
    _, folder = world.peft("lora")
    path = world.merged("-a", folder, "--type", type_name)
    assert abs(world.loss(path) / world.loss(world.file, "-a", folder) - 1) < 0.1


def test_metadata(world):
    _, folder = world.peft("lora")
    before = gguf.GGUFReader(world.file).fields
    after = gguf.GGUFReader(world.merged("-a", folder)).fields
    for key, field in before.items():
        if not key.startswith("GGUF."):
            assert after[key].contents() == field.contents(), key
    assert gguf.GGUFReader(world.merged("-a", folder, "--type", "q8_0")).fields[
        "general.file_type"].contents() == 7


def test_sum(world):
    """Several adapters with scales are the sum of their changes."""
    _, one = world.peft("lora")
    _, other = world.peft("patterns", 2)
    base = tensors(world.file)
    first, second = tensors(world.merged("-a", one)), tensors(world.merged("-a", other))
    want = {name: base[name] + 0.5 * (first[name] - base[name]) - 1.25 * (second[name] - base[name])
            for name in base}
    words = ["-a", f"{one}:0.5", "-a", f"{other}:-1.25"]
    path = world.merged(*words)
    check_tensors(path, want, 2e-6)
    assert abs(world.loss(path) / world.loss(world.file, *words) - 1) < 1e-5
    text = [driver.command("generate", "-p", "The dog", "-n", 12, *more) for more in (
        ["-m", path], ["-m", world.file, *words])]
    assert text[0] == text[1]


def state(folder):
    """All tensors of a folder."""
    return {name: value for file in sorted(folder.glob("*.safetensors"))
            for name, value in load_file(file).items()}


@pytest.mark.parametrize("shard,tied,name", [("1GB", False, "patterns"), ("400KB", False, "dora"),
                                             ("400KB", True, "head"), ("1GB", True, "head")])
def test_folder(world, shard, tied, name):
    """A Hugging Face folder becomes one that transformers loads: PEFT's sum, tensor by tensor."""
    base = llamas.random_llama(3, **SHAPE, tie_word_embeddings=tied)
    source = world.folder / f"hf-{shard}-{tied}"
    base.save_pretrained(source, max_shard_size=shard)
    vocabularies.bytes_alone_folder(source, base.config.vocab_size)
    _, adapter = world.peft(name)
    out = world.folder / f"hf-{shard}-{tied}-merged"
    driver.command("merge", "-m", source, "-a", adapter, "-o", out)
    files = {f.name for f in source.iterdir()}
    assert {f.name for f in out.iterdir()} == files
    with_adapter = world.loss(source, "-a", adapter)
    assert abs(world.loss(out) / with_adapter - 1) < 1e-5
    if not tied:  # PEFT changes the embedding along with the head
        merged = PeftModel.from_pretrained(base, adapter).merge_and_unload()
        got = state(out)
        for key, want in merged.state_dict().items():
            assert (got[key] - want).abs().max() <= 2e-6 * want.abs().max(), key
    loaded = type(base).from_pretrained(out)
    ids = torch.tensor([[3 + b for b in b"The dog sat by"]])
    logits = driver.run(world.folder / "logits", model=source, adapter=adapter,
                        sequences=[ids[0].tolist()]).logits()[0]
    with torch.no_grad():
        assert (loaded(input_ids=ids).logits[0] - logits).abs().max() < 1e-4 * logits.abs().max()
    half = world.folder / f"hf-{shard}-{tied}-f16"
    driver.command("merge", "-m", source, "-a", adapter, "-o", half, "--type", "f16")
    for key, value in state(half).items():
        assert value.dtype == torch.float16 and torch.equal(value, state(out)[key].half()), key


def test_folder_of_experts(tmp_path):
    """Each expert's matrix in its own tensor."""
    model = test_experts.make_model(test_experts.Case("folder"), 53)
    model.save_pretrained(tmp_path / "hf")
    vocabularies.bytes_alone_folder(tmp_path / "hf", model.config.vocab_size)
    experts.write(tmp_path / "made", model.config, 3, 5, 53)
    driver.command("merge", "-m", tmp_path / "hf", "-a", tmp_path / "made", "-o", tmp_path / "out")
    merged, (before, after) = 0, (state(tmp_path / n) for n in ("hf", "out"))
    pairs = load_file(tmp_path / "made/adapter_model.safetensors")
    for key, value in before.items():
        path = "base_model.model." + key.removesuffix(".weight")
        want = value
        if f"{path}.lora_A.weight" in pairs:
            b, a = (pairs[f"{path}.lora_{side}.weight"].double() for side in "BA")
            change = b @ a
            want, merged = (value.double() + 5 / 3 * change).float(), merged + 1
        assert (after[key] - want).abs().max() <= 2e-7 * want.abs().max(), key
    assert 2 * merged == len(pairs)


def test_tied_head(world):
    """A head that shares the embedding gets a matrix of its own."""
    model = llamas.random_llama(4, **SHAPE, tie_word_embeddings=True)
    file = world.folder / "tied.gguf"
    llamas.write(file, model, vocabularies.bytes_alone)
    _, folder = world.peft("head")
    path = world.folder / "untied.gguf"
    driver.command("merge", "-m", file, "-a", folder, "-o", path)
    got = tensors(path)
    assert not np.array_equal(got["output.weight"], got["token_embd.weight"])
    assert abs(world.loss(path) / world.loss(file, "-a", folder) - 1) < 1e-5


def test_continued(world):
    """Training goes on from either format, at the loss that eval has."""
    _, folder = world.peft("lora")
    other = world.folder / "lora.gguf"
    driver.command("convert", "-m", world.file, "-a", folder, "-o", other)
    losses = [world.loss(world.file, "-a", a, "--max-length", 128) for a in (folder, other)]
    steps = []
    for adapter in (folder, other):
        out = world.folder / f"continued-{adapter.suffix}"
        driver.command("train", "-m", world.file, "-d", world.data, "-o", out, "--adapter", adapter,
                       "--max-steps", 3, "--max-length", 128, "--logging-steps", 1)
        lines = (out / "log.jsonl").read_text("utf-8").splitlines()
        steps.append([json.loads(line)["loss"] for line in lines if "loss" in json.loads(line)])
    assert abs(losses[0] / losses[1] - 1) < 1e-6
    for loss, run in zip(losses, steps):
        assert abs(run[0] / loss - 1) < 1e-5
        assert run[-1] < run[0]
    assert np.allclose(steps[0], steps[1], rtol=1e-5)


def test_name_of_the_base(world):
    """PEFT finds the base by the adapter alone; a name that was there is kept."""
    base = world.folder / "named"
    world.model.save_pretrained(base)
    vocabularies.bytes_alone_folder(base, world.model.config.vocab_size)
    out, again = world.folder / "of-named", world.folder / "of-named-2"
    driver.command("train", "-m", base, "-d", world.data, "-o", out, "--max-steps", 1)
    driver.command("convert", "-m", world.file, "-a", out, "-o", again)
    for folder in (out, again):
        name = json.loads((folder / "adapter_config.json").read_text())["base_model_name_or_path"]
        assert name == str(base)
    loaded = AutoPeftModelForCausalLM.from_pretrained(again)
    want = load_file(out / "adapter_model.safetensors")
    got = {key.replace(".default", ""): p for key, p in loaded.state_dict().items()
           if "lora_" in key}
    assert got.keys() == want.keys()
    assert all(torch.equal(got[key], value) for key, value in want.items())
    driver.command("convert", "-m", world.file, "-a", out / "adapter.gguf", "-o",
                   world.folder / "nameless")
    config = json.loads((world.folder / "nameless/adapter_config.json").read_text())
    assert config["base_model_name_or_path"] is None


def test_names_of_peft(world):
    """Tensors without PEFT's prefix or with the adapter's name in them are the same adapter."""
    _, folder = world.peft("lora")
    values = load_file(folder / "adapter_model.safetensors")
    want = world.loss(world.file, "-a", folder)
    for i, change in enumerate([lambda n: n.removeprefix("base_model.model."),
                                lambda n: n.replace(".weight", ".default.weight")]):
        other = world.folder / f"names-{i}"
        other.mkdir()
        save_file({change(name): value for name, value in values.items()},
                  other / "adapter_model.safetensors")
        (other / "adapter_config.json").write_text((folder / "adapter_config.json").read_text())
        assert world.loss(world.file, "-a", other) == want
